"""`labrelay abdm link|withdraw|retry|resume`: beside a running daemon and the simulator; wrong use."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.process.clock import SystemClock
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from tests.support.abdm_daemon import AbdmDaemon, abdm_daemon
from tests.support.abdm_site import destination, entry, keep, person, report
from tests.support.command_line import Ran, labrelay
from tests.support.running import make_running_site
from workbench.abdm.people import PEOPLE

URL = "http://127.0.0.1:1"  # nothing is there
WHY = ("--reason", "card seen")


def card(folder: Path, **other: Any) -> str:
    """A file with the first person, as a clerk writes it from the card."""
    one = PEOPLE[0]
    said = {"number": one.number, "address": one.address, "name": one.name, "gender": one.gender, "year": one.year}
    path = folder / "card.json"
    path.write_text(json.dumps(said | other))
    return str(path)


async def test_a_person_links_retries_withdraws_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_daemon(tmp_path / "site", monkeypatch) as daemon:
        number = await daemon.offer(report(), None)
        assert daemon.context(number)[:2] == ("waiting", "no_abha")
        link = ("link", str(number), "--from", card(tmp_path), *WHY, "--yes")
        refused = await daemon.labrelay(*link)
        assert (refused.code, "otherwise: name" in refused.err) == (ExitCode.REFUSED, True), refused.err
        linked = await daemon.labrelay(*link, "--confirm", "-o", "json")
        assert (linked.code, linked.json["context"]) == (ExitCode.OK, number), linked.err
        await daemon.becomes(number, "linked", "", 1)

        withdrawn = await daemon.labrelay("withdraw", str(number), *WHY)
        assert (withdrawn.code, withdrawn.out) == (ExitCode.OK, f"context {number} is withdrawn\n")
        assert daemon.context(number)[:2] == ("dropped", "withdrawn")

        await daemon.fail(calls={"generate-token": ["ABDM-1036"]})
        failed = await daemon.offer(report("A-2", message_id=2), person(1))
        await daemon.becomes(failed, "failed", "ABDM-1036", 0)
        again = await daemon.labrelay("retry", str(failed), *WHY)
        assert (again.code, "three mistakes" in again.err) == (ExitCode.REFUSED, True), again.err
        assert (await daemon.labrelay("retry", str(failed), "--confirm", *WHY)).code == ExitCode.OK
        await daemon.becomes(failed, "linked", "", 1)

        consent = str(await daemon.suspended())
        unseen = await daemon.labrelay("resume", consent, *WHY)
        assert (unseen.code, "own list" in unseen.err) == (ExitCode.REFUSED, True), unseen.err
        assert (await daemon.labrelay("resume", consent, "--looked", *WHY)).code == ExitCode.OK
        assert daemon.app.journal.rows("SELECT reason FROM abdm_consent") == [("",)]
        is_noted(daemon)


def is_noted(daemon: AbdmDaemon) -> None:
    """Each act is in the audit trail, and no patient."""
    acts = [act for act in acts_page(daemon.app.journal) if act.verb.startswith("abdm-")]
    assert [act.verb for act in reversed(acts)] == [
        "abdm-link", "abdm-withdraw", "abdm-retry", "abdm-consent-resumed",
    ]  # fmt: skip
    said = " ".join(str(act.what) for act in acts).casefold()
    assert said.count("card seen") == 4
    for one in PEOPLE[:2]:
        assert one.name.casefold() not in said
        assert one.address not in said


def refused(folder: Path, *arguments: str, given: str = "") -> Ran:
    return labrelay("abdm", *arguments, *WHY, site=folder, given=given)


# arguments, standard input -> words; an exit code of wrong use
WRONG: dict[str, tuple[tuple[str, ...], str, str]] = {
    "no terminal": (("link", "1"), "", "--from FILE"),
    "no JSON": (("link", "1", "--from", "-", "--yes"), "Meera Iyer", "no JSON"),
    "another name": (("link", "1", "--from", "-", "--yes"), '{"Meera": 1}', "these names alone"),
    "a list": (("link", "1", "--from", "-", "--yes"), '["Meera"]', "these names alone"),
    "retry of nothing": (("retry",), "", "one of CONTEXT"),
    "retry of two": (("retry", "1", "--call", "2"), "", "one of CONTEXT"),
    "a call confirmed": (("retry", "--call", "2", "--confirm"), "", "CONTEXT alone"),
    "no number": (("withdraw", "W1"), "", "W1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_named_without_the_patient(tmp_path: Path, name: str) -> None:
    arguments, given, words = WRONG[name]
    ran = refused(tmp_path, *arguments, given=given)
    assert (ran.code, words in ran.err, "Meera" in ran.err) == (ExitCode.USAGE, True, False), ran.err


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A site in ABDM whose daemon does not run, with a report that waits."""
    make_running_site(tmp_path, {}, {"abdm": entry(URL)})
    journal = Journal.open(tmp_path / "var", clock=SystemClock())
    journal.run_alone(keep, destination(URL), report(), None)
    journal.close()
    return tmp_path


@pytest.mark.parametrize("said", [{"year": "Meera"}, {"year": 1984, "name": 7}, {"year": 1984, "name": "Meera" * 50}])
def test_a_card_of_another_form_is_refused_without_its_words(stopped: Path, said: dict[str, Any]) -> None:
    given = json.dumps({"gender": "F", "name": "X"} | said)
    ran = refused(stopped, "link", "1", "--from", "-", "--yes", given=given)
    assert (ran.code, "abdm_link: " in ran.err) == (ExitCode.FAILED, True), ran.err
    assert "Meera" not in ran.err + ran.out


def test_acts_are_taken_where_no_daemon_runs(stopped: Path, tmp_path: Path) -> None:
    ran = labrelay("abdm", "link", "1", "--from", card(tmp_path), "--yes", "--confirm", *WHY, site=stopped)
    assert ran.code == ExitCode.OK, ran.err
    journal = Journal.open(stopped / "var", clock=SystemClock())
    try:
        assert journal.rows("SELECT state FROM abdm_context") == [("ready",)]
        assert journal.rows("SELECT name, state FROM abdm_call") == [("generate-token", "waiting")]
    finally:
        journal.close()
