"""Links that the laboratory makes by itself, against the simulator."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.devtools.abdm import Faults
from engine.devtools.abdm.people import PEOPLE
from engine.store.operations.abdm import callbacks
from tests.support.abdm_site import FACILITY, AbdmSite, abdm_site, person, report
from tests.support.waiting import until


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


async def test_a_block_of_a_day_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"on-generate-token": ["ABDM-1027"]})) as site:
        await site.ours.offer(report(), person())
        await site.ours.is_quiet()
        await site.ours.offer(report("A-2", message_id=2), person())
        await site.ours.is_quiet()

        assert site.ours.rows("abdm_context", "state, reason") == [("ready", "blocked")] * 2
        assert len(site.ours.rows("abdm_call")) == 1


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


async def test_a_later_version_of_another_patient_takes_the_report_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        first = await site.ours.offer(report(), person(0))
        await site.ours.is_told(first)
        second = await site.ours.offer(report(message_id=2), person(1))
        await site.ours.is_told(second)
        third = await site.ours.offer(report(message_id=3), None)
        await site.is_clean()

        assert site.ours.rows("abdm_context ORDER BY number", "number, state, reason, document_id") == [
            (first, "dropped", "other-patient", 1),
            (second, "dropped", "other-patient", 2),
            (third, "waiting", "", 3),
        ]


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
        await site.ours.offer(report(message_id=2), None)  # another patient's sample
        (request_id,) = site.ours.rows(
            f"abdm_request r JOIN abdm_call c ON c.number = r.call WHERE c.name = '{call}'", "request_id"
        )[0]
        body = {"response": {"requestId": request_id}} | ({"error": error} if error else {})
        await site.ours.journal.run(callbacks.store, path, FACILITY, "late", orjson.dumps(body), 0)
        site.ours.dispatcher.stored()
        await site.ours.is_quiet()

        assert site.ours.rows("abdm_context ORDER BY number", "state, reason") == [
            ("dropped", "other-patient"),
            ("waiting", ""),
        ]
        told = site.ours.rows("abdm_call WHERE name = 'context-notify'", "subject")
        assert told == ([(first,)] if name == "on-context-notify" else [])


async def test_a_report_that_was_taken_away_is_not_linked_by_a_call_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"link": ["503"] * 1000})) as site:
        await site.ours.offer(report(), person(0))
        await until(lambda: site.ours.states() == ["linking"])
        await site.ours.offer(report(message_id=2), None)
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
