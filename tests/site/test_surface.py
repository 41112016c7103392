"""What users and other programs see of the command line stays as it is: the help of every verb, and the names in JSON.

`golden/help.txt` holds the help, `engine/commands/topics/json_names.txt` the names and kinds of values that
verbs print of a site with one message in each state. A change that is meant: `make docs` renews both files, and the
changelog has a line.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.commands.topics.commands import RECORDED, commands, json_notes, verbs_with_json
from engine.features.codes import rows as corrections
from engine.features.orders import rows as worklist
from engine.features.orders.exchange import taking
from engine.features.quality_control.rows import closing as closed_tests
from engine.features.quality_control.rows import deciding, points
from engine.features.quality_control.rules.lots import Lot
from engine.features.quality_control.rules.tables import TargetRow
from engine.model.content.quality_controls import ControlResult
from engine.model.message import Unmapped
from engine.model.orders import Asked, OrderLine, Question
from engine.model.process.clock import SystemClock
from engine.model.site.corrections import RowChange
from engine.model.worklist import AskSettings, TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from tests.support import abdm_rows, oracle
from tests.support.command_line import labrelay
from tests.support.expected import UPDATE
from tests.support.filled_journal import DELIVERED, REFUSED, UNMAPPED, fill_journal
from tests.support.sites import SITE_YAML, make_site

GOLDEN = Path(__file__).parents[1] / "golden"
SAMPLE = Path(__file__).parents[2] / "samples" / "sysmex_xp" / "01-monday.astm"
KINDS = {str: "text", int: "number", float: "number", bool: "flag", type(None): "nothing"}

READ: tuple[tuple[str, ...], ...] = (
    ("version",),
    ("abdm", "status"),
    ("abdm", "contexts"),
    ("abdm", "context", "1"),
    ("abdm", "consents"),
    ("abdm", "consent", "1"),
    ("abdm", "transfers"),
    ("check",),
    ("analyzers",),
    ("analyzers", "show", "sysmex-xn"),
    ("dlq", "list"),
    ("dlq", "show", str(REFUSED)),
    ("dlq", "show", str(UNMAPPED)),
    ("gaps",),
    ("held", "list"),
    ("held", "persons"),
    ("key", "status"),
    ("messages", "list"),
    ("messages", "show", str(DELIVERED)),
    ("messages", "show", str(UNMAPPED)),
    ("orders", "list"),
    ("orders", "show", "W1"),
    ("orders", "log"),
    ("orders", "reflexes"),
    ("orders", "unordered"),
    ("quality", "list"),
    ("quality", "points"),
    ("quality", "verdicts", "1"),
    ("quality", "targets"),
    ("quality", "maintenance"),
    ("quality", "lots"),
    ("quality", "failures"),
    ("quality", "sent-before", "1"),
    ("rules", "list"),
    ("rules", "days"),
    ("rules", "untouched"),
    *(
        ("report", what, "--month", "2026-03")
        for what in ("volume", "turnaround", "utilisation", "downtime", "unmapped")
    ),
    ("shift",),
    ("status",),
    ("tables", "list"),
    ("tables", "history"),
    ("tables", "diff"),
    ("tables", "suggest", "roche-cobas-c311"),
    ("journal", "stats"),
    ("verify",),
    ("messages", "show", str(DELIVERED), "--unmask", "--purpose", "test"),
    ("audit", "list"),
    ("audit", "verify"),
    ("backup", "now"),
    ("backup", "list"),
    ("backup", "verify", "COPY"),
    ("backup", "drill"),
    ("check", "--samples", str(SAMPLE.parent)),
    ("detect", str(SAMPLE)),
    ("dlq", "retry", str(REFUSED), "--dry-run"),
    ("dlq", "dismiss", str(REFUSED), "--reason", "known", "--dry-run"),
    ("erase", "--patient", str(DELIVERED), "--dry-run"),
    ("explain", str(SAMPLE), "--mapping", "astm-results"),
    ("journal", "prune", "--dry-run"),
    ("messages", "line", "haematology"),
    ("pause", "channel", "haematology", "--reason", "service", "--dry-run"),
    ("replay", str(DELIVERED), "--dry-run"),
    ("reprocess", "--channel", "haematology", "--since", "1d"),
    ("resume", "channel", "haematology", "--reason", "service", "--dry-run"),
    ("token", "add", "HIS"),
    ("token", "list"),
    ("user", "list"),
    ("user", "show", "Anna"),
    *((*verb.split(), *more) for verb, more in oracle.gathered("READ").items()),
)


def compare(golden: Path, found: str) -> None:
    if UPDATE:
        golden.write_text(found)
    assert found == golden.read_text(), f"if the change is meant, run make docs: {golden.name}"


def names(value: Any, path: str = "") -> Iterator[str]:
    """Each name in a JSON value with the kind of what it names; elements of a list together."""
    if isinstance(value, dict):
        yield f"{path} object"
        for name, inner in value.items():
            yield from names(inner, f"{path}.{name}")
    elif isinstance(value, list):
        yield f"{path} list"
        for inner in value:
            yield from names(inner, f"{path}[]")
    else:
        yield f"{path} {KINDS[type(value)]}"


def test_the_help_of_every_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = []
    for path, _ in commands():
        ran = labrelay(*path, "--help")
        assert ran.code == 0
        told.append(f"== labrelay {' '.join(path)}\n{ran.out}")
    compare(GOLDEN / "help.txt", "\n".join(told))


def test_each_verb_with_json_is_read_here_or_elsewhere() -> None:
    with_json = set(verbs_with_json())
    read = {name for name in with_json if any(" ".join(verb).startswith(name) for verb in READ)}
    notes = json_notes()
    assert notes.keys() - {"*"} <= with_json, "take the note of a verb that is gone away"
    unread = {name for name in with_json - read if not isinstance(notes.get(name), str)}
    assert not unread, (
        "add the verb to READ, or to that of its oracle, with rows to read; where it acts, or needs a daemon, a file "
        "or a line, say its names in json_notes.yaml of its feature's commands, and read its JSON in a test of its own"
    )


def _ordered_and_asked(batch: Batch) -> None:
    lines = [OrderLine(specimen="42", test="TSH")]
    taking.add(batch, "Anna", lines, TakeSettings(known_channels={"chemistry": frozenset({"TSH"})}))
    asked = Question(kind="specimens", asked=(Asked(specimen="42"), Asked(specimen="43")))
    worklist.answer(batch, 1, asked, AskSettings(channel="chemistry", codes={"TSH": "10"}))


def _controlled(batch: Batch) -> None:
    """A control of glucose that failed, with a result that was sent before it."""
    lots = [Lot("chemistry", "QC-L1", "Chemtrol", "L1", "A7", "2027-06-30")]
    targets = [TargetRow("chemistry", "", "GLU", "L1", "A7", "mg/dL", "100", "5", "lab")]
    by = {"actor": "Anna", "reason": "the insert"}
    deciding.load(batch, lots, targets, file="controls.csv", **by)
    deciding.accept(batch, [1], "in force", 1, **by)
    closed_tests.note_results(batch, 1, "chemistry", {"GLU": batch.now_us})
    control = ControlResult(test="GLU", codes=("GLU",), number="QC-L1", value="120", unit="mg/dL")
    points.note(batch, 2, "chemistry", batch.now_us, [control])


def _reported(batch: Batch) -> None:
    """A day of March with something of each report."""
    for code in ("GLU", ""):
        row = ("2026-03-01", "chemistry", code, 1, '{"final": 1, "received-delivered": {"times": {"3": 1}}}')
        batch.execute("INSERT INTO result_day VALUES (?, ?, ?, ?, ?)", row)
    batch.execute("INSERT INTO counter VALUES ('2026-03-01', 'chemistry', '', 'parts_seen', 12)")
    at_us = round(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1e6)
    batch.execute(
        "INSERT INTO downtime VALUES (1, 'channel', 'chemistry', 'silent', ?, ?, 0)", (at_us, at_us + 60_000_000)
    )


def _ruled(batch: Batch) -> None:
    today = batch.day_of(batch.now_us)
    batch.execute("INSERT INTO rule_day VALUES (?, 'chemistry', 'high', '1', 0, 1, 5, 1, 0, 0, 1)", (today,))
    batch.execute("INSERT INTO rule_test_day VALUES (?, 'chemistry', 'K', 1, 5, 1)", (today,))


def test_the_names_in_json(tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    site = make_site(tmp_path, site=f"{SITE_YAML}backup: {{folder: {tmp_path / 'copies'}}}\n")
    fill_journal(site / "var", gaps=[Unmapped("lab.csv", "GLU", "mg/dL", "Glucose")])
    with closing(Journal.open(site / "var", clock=SystemClock())) as journal:
        said = {"key": {"code": "GLU"}, "cells": {"loinc": "2345-7"}, "covers": {"loinc": "2344-0"}}
        row = RowChange(channel="haematology", table="analytes", **said, reason="the maker's list")
        journal.run_alone(lambda batch: corrections.add(batch, row, "Anna", version=0))
        journal.run_alone(_ordered_and_asked)
        journal.run_alone(_reported)
        journal.run_alone(_controlled)
        journal.run_alone(_ruled)
        journal.run_alone(abdm_rows.fill)
    labrelay("user", "add", "Anna", "--role", "admin", "--password-stdin", site=site, given="correct horse battery\n")
    told = []
    for verb in READ:
        copy = next((str(path) for path in (tmp_path / "copies").glob("*/*")), "")
        ran = labrelay(*(copy if word == "COPY" else word for word in verb), "-o", "json", site=site)
        label = " ".join(Path(word).name if word.startswith("/") else word for word in verb)
        try:
            told += [f"{label}: {one}" for one in sorted(set(names(json.loads(ran.out), "$")))]
        except ValueError:
            raise AssertionError(
                f"{verb} ends with {ran.code} and prints no JSON: {ran.out[:200]} {ran.err[:300]}"
            ) from None
    compare(RECORDED, "\n".join(told) + "\n")
