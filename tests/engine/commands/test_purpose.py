"""Patient data is shown for a purpose that is stated first, and that the audit trail keeps."""

import csv
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from engine.__main__ import labrelay as root
from engine.commands.shared import acting
from engine.commands.shared.output import ExitCode
from engine.commands.shared.verb_list import verbs
from engine.features.orders.exchange import taking
from engine.model.orders import OrderedPatient, OrderLine
from engine.model.process.clock import SystemClock
from engine.model.worklist import TakeSettings
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from tests.support.command_line import Ran, labrelay
from tests.support.filled_journal import CANARY, DELIVERED, REFUSED, fill_journal
from tests.support.sites import SITE_YAML, make_site

REVEALING = {"--unmask", "--show-values", "--breach", "--deid"}
# What shows patient data, of the site below; FILE: a file that it writes. And whether the daemon must run for it.
REVEALS = {
    ("messages", "show", str(DELIVERED), "--unmask"),
    ("messages", "show", str(DELIVERED), "--wire", "--unmask"),
    ("messages", "line", "haematology", "--unmask"),
    ("messages", "export", "--to", "FILE.csv", "--unmask"),
    ("dlq", "show", str(REFUSED), "--unmask"),
    ("held", "show", str(DELIVERED), "--unmask"),
    ("orders", "show", "W1", "--unmask"),
    ("orders", "worklist", "--unmask"),
    ("explain", str(DELIVERED), "--mapping", "results", "--show-values"),
    ("reprocess", "--channel", "haematology", "--since", "1d", "--results", "--unmask"),
    ("audit", "export", "--breach", "--to", "FILE.csv"),
    ("listen", "127.0.0.1:0", "--for", "50ms", "--unmask"),
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = make_site(tmp_path / "site", site=SITE_YAML)
    fill_journal(folder / "var")
    return folder


@pytest.fixture
def ordered(site: Path) -> Path:
    """With an order, which is an act in the trail."""
    line = OrderLine(specimen="42", test="TSH", patient=OrderedPatient(family=CANARY))
    known = TakeSettings(known_channels={"haematology": frozenset({"TSH"})})
    with closing(Journal.open(site / "var", clock=SystemClock())) as journal:
        journal.run_alone(lambda batch: taking.add(batch, "Anna", [line], known))
    return site


def test_whose_an_order_is_is_masked(ordered: Path) -> None:
    assert CANARY not in labrelay("orders", "show", "W1", site=ordered).out
    assert CANARY in reveal(ordered, ("orders", "show", "W1", "--unmask"), "--purpose", "complaint 17").out


def reveal(site: Path, words: tuple[str, ...], *more: str) -> Ran:
    return labrelay(*(word.replace("FILE", str(site / "out")) for word in words), *more, site=site)


def looked_at(site: Path) -> list[dict[str, Any]]:
    reader = Reader.beside(site / "var")
    try:
        return [act.what for act in acts_page(reader) if act.verb == "unmask"]
    finally:
        reader.close()


@pytest.mark.parametrize("words", sorted(REVEALS), ids=" ".join)
def test_without_a_purpose_nothing_is_shown_and_with_one_the_trail_has_it(
    words: tuple[str, ...], ordered: Path
) -> None:
    site = ordered
    for more in ((), ("--purpose", " ")):
        ran = reveal(site, words, *more)
        assert ran.code == ExitCode.USAGE
        assert "--purpose TEXT is missing" in ran.err
        assert CANARY not in ran.out
        assert not (site / "out.csv").exists()
    assert looked_at(site) == []
    reveal(site, words, "--purpose", " complaint 17 ")
    assert [what["purpose"] for what in looked_at(site)] == ["complaint 17"]


def _commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, group
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            if (command := group.get_command(context, name)) is not None:
                yield from _commands(command, (*path, name))


def test_each_verb_that_shows_patient_data_takes_a_purpose_and_is_tried_above() -> None:
    assert verbs()
    found = {path: {opt for param in command.params for opt in param.opts} for path, command in _commands(root)}
    revealing_verbs = {path for path, options in found.items() if options & REVEALING}
    assert all("--purpose" in found[path] for path in revealing_verbs)
    tried = {path for path in revealing_verbs if any(words[: len(path)] == path for words in REVEALS)}
    assert revealing_verbs - tried == {("tap",)}, "tests/engine/commands/lines/test_tap.py has it"


def test_a_person_at_a_terminal_is_asked(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "on_terminal", lambda: True)
    ran = labrelay("messages", "show", str(DELIVERED), "--unmask", site=site, given="complaint 18\n")
    assert ran.code == ExitCode.OK
    assert "What for?" in ran.err
    assert looked_at(site)[0]["purpose"] == "complaint 18"


def test_the_trail_shows_and_finds_it(site: Path, tmp_path: Path) -> None:
    for purpose in ("Complaint 17", "audit of May"):
        assert reveal(site, ("messages", "show", str(DELIVERED), "--unmask"), "--purpose", purpose).code == ExitCode.OK
    (found,) = labrelay("audit", "list", "--purpose", "complaint", "-o", "json", site=site).json["acts"]
    assert (found["act"], found["purpose"]) == ("unmask", "Complaint 17")
    assert "Complaint 17" in labrelay("audit", "list", site=site).out
    bundle, persons = tmp_path / "trail.json", tmp_path / "persons.csv"
    assert labrelay("audit", "export", "--to", str(bundle), site=site).code == ExitCode.OK
    events = [AuditEvent.model_validate(entry["resource"]) for entry in json.loads(bundle.read_text())["entry"]]
    assert [event.agent[0].purposeOfUse[0].text for event in events] == ["audit of May", "Complaint 17"]
    assert "purpose" not in {detail.type for event in events for detail in event.entity[0].detail or ()}
    words = ("audit", "export", "--breach", "--to", str(persons), "--purpose", "the authority asks")
    assert labrelay(*words, site=site).code == ExitCode.OK
    with persons.open(newline="") as file:
        assert {row["purpose"] for row in csv.DictReader(file)} == {"Complaint 17", "audit of May"}


def test_a_copy_without_patients_needs_none_and_may_state_one(site: Path) -> None:
    words = ("messages", "export", "--to", "FILE.ndjson", "--deid")
    reveal(site, words)
    reveal(site, words, "--yes", "--purpose", "a bug report")
    assert [what["purpose"] for what in looked_at(site)] == ["a bug report", ""]
