"""Links that the laboratory makes by itself, against the simulator."""

from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.features.abdm.flows import later
from engine.features.abdm.rows import callbacks, forgetting
from engine.features.abdm.rows.reading import undecided
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from tests.support.abdm_site import FACILITY, AbdmSite, abdm_site, destination, leave, person, report
from tests.support.waiting import until
from workbench.abdm import Faults
from workbench.abdm import signing as signing_of_links
from workbench.abdm.people import PEOPLE


def linked(site: AbdmSite) -> int:
    return len(site.sandbox.state.linked)


async def test_a_report_is_linked_and_its_patient_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await site.is_clean()

        assert site.ours.states("abdm_call") == ["done"] * 3
        assert [name for (name,) in site.ours.rows("abdm_call ORDER BY number", "name")] == [
            "generate-token",
            "link",
            "context-notify",
        ]
        shown = await site.ask(f"/app/{PEOPLE[0].address}")
        assert [one["reference"] for one in shown["linked"]] == [
            one for (one,) in site.ours.rows("abdm_context", "reference")
        ]


async def test_a_second_report_needs_no_new_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        first = await site.ours.offer(report("A-1"), person())
        await site.ours.is_told(first)
        second = await site.ours.offer(report("A-2", message_id=2), person())
        await site.ours.is_told(first, second)
        await site.is_clean()

        names = [name for (name,) in site.ours.rows("abdm_call ORDER BY number", "name")]
        assert (names.count("generate-token"), names.count("link"), names.count("context-notify")) == (1, 2, 2)
        assert linked(site) == 2


async def test_an_amended_report_is_a_new_version_of_its_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        assert await site.ours.offer(report(message_id=2), person()) == number
        await site.ours.is_told(number)
        await site.is_clean()

        assert site.ours.rows("abdm_context", "version, notified, message_id") == [(2, 2, 2)]
        assert linked(site) == 1


async def test_a_report_without_a_patient_of_the_network_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await site.ours.offer(report(), None)

        assert site.ours.states() == ["waiting"]
        assert site.ours.rows("abdm_call") == []


async def test_a_link_token_that_has_ended_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        state, journal = site.sandbox.state, site.ours.journal
        with monkeypatch.context() as patched:
            patched.setattr(signing_of_links, "LINK_TOKEN_LIFE_S", -1)
            number = await site.ours.offer(report(), person())
            await until(lambda: site.ours.rows("abdm_context", "state, reason") == [("failed", "no-token")])
        assert linked(site) == 0
        assert {name for (name,) in site.ours.rows("abdm_call", "name")} == {"generate-token"}

        state.drop_token(FACILITY, person().address)
        await site.fail(calls={"link": ["503"] * 3})
        await journal.run(later.context, site.config, number, "again", who="a")
        site.ours.dispatcher.changed()
        await until(lambda: site.ours.rows("abdm_call WHERE name = 'link' AND attempt > 0"))
        state.drop_token(FACILITY, person().address)
        await journal.run(ends)  # while its call is tried again
        await site.ours.is_told(number)
        assert len(site.ours.rows("abdm_call WHERE name = 'generate-token'")) == 3
        await site.is_clean()


@operation(priority=Priority.SETTLE)
def ends(batch: Batch) -> None:
    """The life of all link tokens."""
    batch.execute("UPDATE abdm_link_token SET until_us = ?", (batch.now_us,))


CALLS = ("generate-token", "link", "context-notify")
CALLBACKS = ("on-generate-token", "on-link", "on-context-notify")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", ["429", "429-after", "503", "503-after", "html-502", "html", "lost", "reset", "401"])
async def test_a_call_that_fails_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    faults = Faults(calls={name: [kind]}, retry_after_s=0)
    async with abdm_site(tmp_path, monkeypatch, faults) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await site.is_clean()

        assert linked(site) == 1


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize("kind", ["duplicate", "repeat", "early", "late", "late-token", "no-prefix"])
async def test_a_callback_of_any_habit_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    faults = Faults(callbacks={name: [kind]}, late_s=0.2)
    async with abdm_site(tmp_path, monkeypatch, faults) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await until(lambda: site.ours.states("abdm_call") == ["done"] * 3)
        await until(lambda: set(site.ours.states("abdm_callback")) == {"folded"})
        await site.is_clean()

        assert linked(site) == 1


FORGED = (
    *("expired", "wrong-signature", "alg-none", "hs256", "unknown-key", "wrong-issuer", "own-account", "no-token"),
    *("other-facility", "not-json", "too-large"),
)


@pytest.mark.parametrize("kind", FORGED)
async def test_a_forged_callback_is_refused_and_the_true_one_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"on-generate-token": [kind]})) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await site.is_clean()

        assert len(site.ours.rows("abdm_callback")) == 3
        assert sum(site.ours.listener.counts.values()) == 4, site.ours.listener.counts


async def test_our_session_is_renewed_when_it_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        first = await site.ours.offer(report("A-1"), person())
        await site.ours.is_told(first)
        site.sandbox.end_sessions()
        second = await site.ours.offer(report("A-2", message_id=2), person())
        await site.ours.is_told(second)
        await site.is_clean()

        assert site.sandbox.state.counts["call session"] == 2


async def test_a_mismatch_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await site.ours.offer(report(), person(name="Another Person"))
        await site.ours.is_quiet()
        await site.is_clean()

        assert site.ours.rows("abdm_context", "state, reason") == [("failed", "ABDM-1036")]
        assert site.ours.rows("abdm_call", "state, code, attempt") == [("failed", "ABDM-1036", 1)]


async def test_what_the_network_has_refused_of_a_patient_is_not_asked_again_with_his_next_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three mistakes block him for a day; a report that says something else of him is asked with."""
    async with abdm_site(tmp_path, monkeypatch) as site:
        slip = person(name="Made-up Other")
        for n in range(1, 5):
            await site.ours.offer(report(f"A-{n}", message_id=n), slip)
            await site.ours.is_quiet()
        assert site.ours.rows("abdm_context", "state, reason") == [("failed", "ABDM-1036")] * 4
        assert site.ours.rows("abdm_call", "name, code") == [("generate-token", "ABDM-1036")]

        right = await site.ours.offer(report("A-5", message_id=5), person())
        await site.ours.is_told(right)


async def test_a_version_that_the_app_has_not_heard_of_is_notified_once_a_person_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await site.fail(callbacks={"on-context-notify": ["ABDM-1038"]})
        await site.ours.offer(report(message_id=2), person())
        await site.ours.is_quiet()
        assert site.ours.rows("abdm_context", "state, reason, version, notified") == [("linked", "not-notified", 2, 1)]
        assert [(one.what, one.count) for one in undecided(site.ours.journal)] == [("not-notified", 1)]

        await site.ours.journal.run(later.context, site.config, number, "looked at", who="asha")
        site.ours.dispatcher.changed()
        await site.ours.is_told(number)
        assert undecided(site.ours.journal) == []


async def test_a_block_of_a_day_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"on-generate-token": ["ABDM-1027"]})) as site:
        await site.ours.offer(report(), person())
        await site.ours.is_quiet()
        await site.ours.offer(report("A-2", message_id=2), person())
        await site.ours.is_quiet()

        assert site.ours.rows("abdm_context", "state, reason") == [("ready", "blocked")] * 2
        assert len(site.ours.rows("abdm_call")) == 1
        found = [(one.what, one.count) for one in undecided(site.ours.journal)]
        assert found == [("blocked", 2)], "nothing asks for them by itself when the day is over"


@pytest.mark.parametrize("code", ["ABDM-1038", "ABDM-1062", "ABDM-1063"])
async def test_a_token_that_does_not_fit_is_renewed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    faults: dict[str, Any] = {"on-link": [code]}
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks=faults)) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await site.is_clean()
    async with abdm_site(tmp_path / "b", monkeypatch, Faults(callbacks={"on-link": [code, code]})) as site:
        await site.ours.offer(report(), person())
        await site.ours.is_quiet()

        assert site.ours.rows("abdm_context", "state, reason") == [("failed", code)]


async def test_a_stop_between_any_two_steps_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"*": ["late"] * 3}, late_s=0.3)) as site:
        number = await site.ours.offer(report(), person())
        for _ in range(3):
            await site.restart()
        await site.ours.is_told(number)
        await site.is_clean()

        assert linked(site) == 1


CORRECTED = {"content": {"is_correction": True}}


async def test_a_correction_of_the_patient_takes_the_report_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        first = await site.ours.offer(report(), person(0))
        await site.ours.is_told(first)
        second = await site.ours.offer(report(message_id=2, **CORRECTED), person(1))
        await site.ours.is_told(second)
        third = await site.ours.offer(report(message_id=3), person(0))
        await site.is_clean()

        assert site.ours.rows("abdm_context ORDER BY number", "number, state, reason, document_id") == [
            (first, "dropped", "moved", 1),
            (second, "waiting", "same_number", 2),  # no correction: neither goes out until a person has looked
            (third, "waiting", "same_number", 3),
        ]


async def test_an_issue_that_names_no_patient_is_a_version_of_the_same_patients_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), person(0))
        assert await site.ours.offer(report(message_id=2), None) == number
        await site.ours.is_told(number)
        await site.is_clean()

        assert site.ours.rows("abdm_context", "version, notified, message_id") == [(2, 2, 2)]


@pytest.mark.parametrize("name", ["on-link", "on-context-notify"])
@pytest.mark.parametrize("error", [None, {"code": "ABDM-1057", "message": "Invalid"}])
async def test_the_result_of_a_call_brings_no_report_back_that_was_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: Any
) -> None:
    path = {"on-link": "/v3/link/on_carecontext", "on-context-notify": "/v3/links/context/on-notify"}[name]
    call = {"on-link": "link", "on-context-notify": "context-notify"}[name]
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={name: ["dropped"]})) as site:
        first = await site.ours.offer(report(), person(0))
        await until(lambda: site.ours.rows(f"abdm_call WHERE name = '{call}' AND state = 'accepted'"))
        await site.ours.offer(report(message_id=2), person(1, address="unknown@abdm"))  # another patient's sample
        (request_id,) = site.ours.rows(
            f"abdm_request r JOIN abdm_call c ON c.number = r.call WHERE c.name = '{call}'", "request_id"
        )[0]
        body = {"response": {"requestId": request_id}} | ({"error": error} if error else {})
        await site.ours.journal.run(callbacks.store, path, FACILITY, "late", orjson.dumps(body), 0)
        site.ours.dispatcher.stored()
        await site.ours.is_quiet()

        assert site.ours.rows("abdm_context ORDER BY number", "state, reason") == [
            ("waiting", "same_number"),
            ("waiting", "same_number"),
        ]
        told = site.ours.rows("abdm_call WHERE name = 'context-notify'", "subject")
        assert told == ([(first,)] if name == "on-context-notify" else [])


async def test_a_report_that_was_taken_away_is_not_linked_by_a_call_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"link": ["503"] * 1000})) as site:
        await site.ours.offer(report(), person(0))
        await until(lambda: site.ours.states() == ["linking"])
        await site.ours.offer(report(message_id=2, **CORRECTED), person(1, address="unknown@abdm"))
        await site.ours.is_quiet()

        assert sorted(site.ours.states()) == ["dropped", "waiting"]
        assert site.ours.rows("abdm_call WHERE name = 'link'", "state, code") == [("failed", "changed")]


async def test_a_later_version_that_names_the_patient_is_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), None)
        assert await site.ours.offer(report(message_id=2), person()) == number
        await site.ours.is_told(number)
        await site.is_clean()

        assert site.ours.rows("abdm_context", "version, notified") == [(2, 2)]


async def test_a_patient_who_has_left_is_linked_again_by_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        await site.ours.leave(person().address)
        site.sandbox.state.drop_token(FACILITY, person().address)  # as the network does then
        await site.ours.offer(report("A-2", message_id=2), person())

        assert site.ours.rows("abdm_context ORDER BY number", "state, patient")[1] == ("waiting", 0)
        back = await site.ours.offer(report("A-3", message_id=3), person(verified=True))
        await site.ours.is_told(back)


async def test_what_the_network_has_said_of_a_patient_stays_whatever_a_report_spells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        first = await site.ours.offer(report(), person(verified=True))
        second = await site.ours.offer(report("A-2", message_id=2), person(name="IYER M", gender="U"))
        await site.ours.is_told(first, second)
        await site.is_clean()


async def moved(site: AbdmSite) -> int:
    """A report that a correction took away from its patient."""
    first = await site.ours.offer(report(), person(0))
    await site.ours.is_told(first)
    await site.ours.is_told(await site.ours.offer(report(message_id=2, **CORRECTED), person(1)))
    return first


async def test_a_person_is_asked_about_reports_that_were_moved_or_share_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        first = await moved(site)
        assert [(one.what, one.count) for one in undecided(site.ours.journal)] == [("moved", 1)]
        await site.ours.offer(report(message_id=3), person(0))
        found = undecided(site.ours.journal)
        assert [(one.what, one.count) for one in found] == [("moved", 1), ("same_number", 2)]
        for (number,) in site.ours.rows("abdm_context ORDER BY number", "number"):
            await site.ours.journal.run(later.withdraw, number, "looked at", who="asha")
        assert first
        assert undecided(site.ours.journal) == []


@operation(priority=Priority.SETTLE)
def leaves(batch: Batch, address: str) -> None:
    leave(batch, address)


@pytest.mark.parametrize("way", ["erased", "deleted", "left"])
async def test_nothing_stays_of_a_report_that_was_taken_away_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        first = await moved(site)
        if way == "left":
            await site.ours.journal.run(leaves, person(0).address)
        else:
            await site.ours.journal.run(gone, way)
        kept = site.ours.rows(f"abdm_context WHERE number = {first}", "content, accession, tube, mobile, abha")
        assert kept == [(b"", b"", b"", b"", b"")]
        assert undecided(site.ours.journal) == []


@operation(priority=Priority.SETTLE)
def gone(batch: Batch, way: str) -> None:
    if way == "erased":
        forgetting.erase(batch, [1], [])
    else:
        forgetting.let_go(batch, [1])


async def test_a_token_that_was_given_before_and_does_not_come_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(calls={"generate-token": ["ABDM-1092 Duplicate Link token request"] * 9})
    short = partial(destination, answer_within="1s")
    async with abdm_site(tmp_path, monkeypatch, faults, config=short) as site:
        await site.ours.offer(report(), person())
        await until(lambda: site.ours.states() == ["failed"])
        assert site.ours.rows("abdm_context", "reason") == [("ABDM-1092",)]
        assert [(one.what, one.count) for one in undecided(site.ours.journal)] == [("ABDM-1092", 1)]
        assert site.ours.rows("abdm_call", "name, state, attempt, code") == [
            ("generate-token", "failed", 2, "ABDM-1092")
        ]


LATE = {  # what comes late -> whether it is used
    "his token": ({}, True),
    "a token of another address": ({"abhaAddress": PEOPLE[1].address}, False),
    "no token": ({"linkToken": ""}, False),
    "an error": ({"error": {"code": "ABDM-1036", "message": "x"}}, False),
}


@pytest.mark.parametrize("case", LATE)
async def test_the_token_of_a_call_before_he_left_is_his_once_he_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """The network gives no other one (ABDM-1092)."""
    other, is_used = LATE[case]
    faults = Faults(
        calls={"generate-token": [None, *["ABDM-1092 Duplicate Link token request"] * 9], "link": ["hang"] * 9},
        callbacks={"on-generate-token": ["dropped"]},
    )
    async with abdm_site(tmp_path, monkeypatch, faults) as site:
        ours = site.ours
        await ours.offer(report("A-1"), person())
        await until(lambda: ours.states("abdm_call") == ["accepted"])
        await ours.journal.run(leaves, person().address)
        assert ours.rows("abdm_call", "state, code") == [("failed", "left")]
        await ours.offer(report("A-2", message_id=2), person(verified=True))
        await until(lambda: ours.states("abdm_call") == ["failed", "accepted"])
        (request_id,) = ours.rows("abdm_request WHERE call = 1", "request_id")[0]
        said = {"abhaAddress": person().address, "linkToken": "a.b.c", "response": {"requestId": request_id}} | other
        path = "/v3/hip/token/on-generate-token"
        await ours.journal.run(callbacks.store, path, FACILITY, "r-1", orjson.dumps(said), 0)
        ours.dispatcher.stored()
        await until(lambda: ours.rows("abdm_callback WHERE request_id = 'r-1' AND state = 'folded'"))
        held = ours.rows("abdm_link_token", "state")
        assert (held == [("held",)]) is is_used


NAMED: dict[str, tuple[Any, bool]] = {
    "his": (person().address, True),
    "in other letters": (f" {person().address.upper()}", True),
    "made of his number": (f"{person().number}@sbx", True),
    "none": (None, True),
    "another's": (PEOPLE[1].address, False),
    "made of another's number": (f"{PEOPLE[1].number}@sbx", False),
    "no address": ({"x": 1}, False),
}


@pytest.mark.parametrize("case", NAMED)
async def test_a_token_for_another_address_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    named, is_used = NAMED[case]
    faults = Faults(calls={"link": ["hang"] * 9}, callbacks={"on-generate-token": ["dropped"]})
    async with abdm_site(tmp_path, monkeypatch, faults) as site:
        ours = site.ours
        await ours.offer(report("A-1"), person())
        await until(lambda: ours.states("abdm_call") == ["accepted"])
        (request_id,) = ours.rows("abdm_request WHERE call = 1", "request_id")[0]
        said = {"abhaAddress": named, "linkToken": "a.b.c", "response": {"requestId": request_id}}
        path = "/v3/hip/token/on-generate-token"
        await ours.journal.run(callbacks.store, path, FACILITY, "r-1", orjson.dumps(said), 0)
        ours.dispatcher.stored()
        await until(lambda: ours.rows("abdm_callback WHERE request_id = 'r-1' AND state = 'folded'"))
        if is_used:
            assert ours.rows("abdm_link_token", "state") == [("held",)]
            assert ours.states() == ["linking"]
        else:
            assert ours.rows("abdm_link_token") == []
            assert ours.rows("abdm_context", "state, reason") == [("failed", "OTHER_ADDRESS")]
            assert ours.rows("abdm_call", "state, code") == [("failed", "OTHER_ADDRESS")]


@pytest.mark.parametrize("name", ["generate-token", "link"])
async def test_a_late_result_of_a_call_of_which_nothing_is_left_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It was given up, then its patient left."""
    result = {"generate-token": "on-generate-token", "link": "on-link"}[name]
    path = {"generate-token": "/v3/hip/token/on-generate-token", "link": "/v3/link/on_carecontext"}[name]
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={result: ["dropped"]})) as site:
        ours = site.ours
        await ours.offer(report("A-1"), person())
        await until(lambda: ours.rows(f"abdm_call WHERE name = '{name}' AND state = 'accepted'"))

        @operation(priority=Priority.SETTLE)
        def give_up(batch: Batch) -> None:
            batch.execute("UPDATE abdm_call SET state = 'failed', code = 'NO_CALLBACK' WHERE name = ?", (name,))

        await ours.journal.run(give_up)
        await ours.journal.run(leaves, person().address)
        request = f"abdm_request JOIN abdm_call c ON c.number = call WHERE c.name = '{name}'"
        said = {"abhaAddress": person().address, "linkToken": "a.b.c"}
        said |= {"response": {"requestId": ours.rows(request, "request_id")[0][0]}}
        await ours.journal.run(callbacks.store, path, FACILITY, "r-1", orjson.dumps(said), 0)
        ours.dispatcher.stored()
        await until(lambda: not ours.rows("abdm_callback WHERE state = 'stored'"))
        assert ours.rows("abdm_callback WHERE request_id = 'r-1'", "state, reason") == [("folded", "repeat")]
        assert ours.states() == ["dropped"]
