"""Records that go out, against the simulator: from the request to the report of its end."""

import asyncio
import json
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.client.pushes import PushAnswer, Taken, build
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import pages, pushing, requests, turns
from engine.features.abdm.rows import contexts
from engine.features.abdm.rows.reading import undecided
from engine.features.abdm.rules.abha import NDHM_IDENTIFIER_TYPE
from engine.model.errors import NoRoomError
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.lifecycle import erasure
from engine.store.queries.acts import acts_page
from tests.support import abdm_records as records
from tests.support.abdm_site import FACILITY, AbdmSite, abdm_site, destination
from tests.support.clocks import MovedClock
from tests.support.waiting import until
from workbench.abdm import Faults
from workbench.abdm.people import PEOPLE

WEST = "IN0000000002"
SENT = ("valueQuantity", "referenceRange", "interpretation", "code", "status", "effectiveDateTime")


def lines(done: Any) -> dict[str, str]:
    """Of the report of a transfer: care context -> DELIVERED or ERRORED."""
    found = done["outcome"]["statusNotification"] if "statusNotification" in done["outcome"] else done["outcome"]
    return {one["careContextReference"]: one["hiStatus"] for one in found["statusResponses"]}


def words(done: Any) -> set[str]:
    return {one["description"] for one in done["outcome"]["statusResponses"]}


def no_bytes_left(site: AbdmSite) -> bool:
    return not site.ours.rows("abdm_page WHERE body <> x''") and not site.ours.rows(
        "abdm_transfer WHERE state NOT IN ('ended', 'refused')"
    )


async def change(site: AbdmSite, work: Any) -> None:
    @operation(priority=Priority.SETTLE)
    def act(batch: Batch) -> None:
        work(batch)

    await site.ours.journal.run(act)


async def test_a_request_gets_its_report_decrypted_and_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await records.published(site, "A-1", value="0.0500")
        done = await records.pulled(site, await records.granted(site))
        await site.is_clean()

        assert (done["state"], done["pages"], done["outcome"]["sessionStatus"]) == ("done", 1, "TRANSFERRED")
        (shown,) = await records.documents(site)
        ours = json.loads(records.document("A-1", value="0.0500"))
        assert of(shown, "Observation") == of(ours, "Observation")
        (result,) = of(shown, "Observation")
        assert set(SENT) & result.keys() >= {"valueQuantity", "referenceRange", "interpretation"}
        shown_text = (await site.ask(f"/app/{PEOPLE[0].address}"))["documents"][0]["document"]
        assert "0.0500" in shown_text
        assert no_bytes_left(site)


def of(bundle: Any, kind: str) -> list[Any]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


async def test_each_page_has_keys_and_a_nonce_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await records.published(site, *(f"A-{number}" for number in range(7)))
        consent = await records.granted(site)
        done = await records.pulled(site, consent)
        again = await records.pulled(site, consent)
        await site.is_clean()

        assert (done["pages"], done["pageCount"], again["pages"]) == (7, 7, 7)
        assert len(site.sandbox.state.page_keys) == len(site.sandbox.state.page_nonces) == 14
        assert set(lines(done).values()) == {"DELIVERED"}


@pytest.mark.parametrize("kind", ["503", "503-after", "429", "429-after", "500", "408", "html", "lost", "reset", "401"])
async def test_a_push_that_fails_is_made_again_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(pushes=[kind, None, kind], retry_after_s=0)) as site:
        await records.published(site, "A-1", "A-2")
        done = await records.pulled(site, await records.granted(site))
        await site.is_clean()

        assert (done["pages"], set(lines(done).values())) == (2, {"DELIVERED"})
        assert len(site.sandbox.state.page_keys) == 2


async def test_a_reader_that_hangs_is_given_up_and_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(pushes=["hang"])) as site:
        await records.published(site, "A-1")
        consent = await records.granted(site)
        impatient = build("abdm", destination(site.sandbox.url, timeout="1s"))
        await impatient.start()
        monkeypatch.setattr(site.ours.pushes, "push", impatient.push)
        done = await records.pulled(site, consent)
        await site.is_clean()
        await impatient.close()

        assert set(lines(done).values()) == {"DELIVERED"}


@pytest.mark.parametrize("kind", ["400", "403", "404", "empty"])
async def test_a_page_that_is_refused_is_final_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(pushes=[kind])) as site:
        await records.published(site, "A-1", "A-2")
        done = await records.pulled(site, await records.granted(site))
        await site.is_clean()

        assert sorted(lines(done).values()) == ["DELIVERED", "ERRORED"]
        assert done["outcome"]["sessionStatus"] == "TRANSFERRED"
        assert requests.WORDS[requests.READER_REFUSED] in words(done)


async def test_a_session_that_has_ended_is_renewed_for_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down")) as site:
        await records.published(site, "A-1")
        transaction = await records.asked(site, await records.granted(site))
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        await site.ask("/end-sessions", {})
        await site.fail(reader="up")
        done = await records.done(site, transaction)
        await site.is_clean()

        assert set(lines(done).values()) == {"DELIVERED"}


async def test_a_revocation_stops_what_was_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down")) as site:
        await records.published(site, "A-1", "A-2")
        consent = await records.granted(site)
        line_is_free = records.line(site, monkeypatch)
        transaction = await records.asked(site, consent)
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        await records.act(site, "revoke", {"consentId": consent})
        await until(lambda: site.ours.rows("abdm_consent WHERE state = 'REVOKED'"))
        assert not site.ours.rows("abdm_page WHERE body <> x''")
        await until(line_is_free)
        await site.fail(reader="up")
        done = await records.done(site, transaction)
        await site.is_clean()

        assert (done["pages"], done["outcome"]["sessionStatus"]) == (0, "FAILED")
        assert words(done) == {requests.WORDS["revoked"]}
        assert no_bytes_left(site)


async def test_a_page_that_arrived_while_its_consent_ended_is_reported_and_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await records.published(site, "A-1")
        consent = await records.granted(site)
        push, arrived, over = site.ours.pushes.push, asyncio.Event(), asyncio.Event()

        async def answered_late(*given: Any) -> Any:
            answer = await push(*given)
            arrived.set()
            await over.wait()
            return answer

        monkeypatch.setattr(site.ours.pushes, "push", answered_late)
        transaction = await records.asked(site, consent)
        await arrived.wait()
        await records.act(site, "revoke", {"consentId": consent})
        await until(lambda: site.ours.rows("abdm_consent WHERE state = 'REVOKED'"))
        over.set()
        done = await records.done(site, transaction)
        await site.is_clean()

        assert (set(lines(done).values()), words(done)) == ({"DELIVERED"}, {""})
        assert [act.verb for act in acts_page(site.ours.journal)] == ["abdm-disclosed"]
        assert no_bytes_left(site)


async def test_a_patient_who_is_erased_between_two_pages_is_reported_and_what_went_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await records.published(site, "A-1", "A-2")
        consent = await records.granted(site)
        push, held, over = site.ours.pushes.push, asyncio.Event(), asyncio.Event()

        async def second_held(*given: Any) -> Any:
            if site.ours.rows("abdm_page WHERE state = 'delivered'"):
                held.set()
                await over.wait()
                return PushAnswer(Taken.AGAIN, cause="no answer in time")
            return await push(*given)

        monkeypatch.setattr(site.ours.pushes, "push", second_held)
        transaction = await records.asked(site, consent)
        await held.wait()
        await site.ours.journal.run(erasure.erase, [], ["PID-0"], actor="a", reason="b", more={})
        over.set()
        done = await records.done(site, transaction)
        await site.ours.is_quiet()

        assert await site.ask("/violations") == []
        said = sorted((one["hiStatus"], one["description"]) for one in done["outcome"]["statusResponses"])
        assert said == [("DELIVERED", ""), ("ERRORED", pages.LEFT["absent"])]
        acts = {act.verb: act.what for act in acts_page(site.ours.journal)}
        assert {"abdm-disclosed", "abdm-maybe-disclosed"} <= acts.keys()
        assert len({acts["abdm-disclosed"]["contexts"][0], acts["abdm-maybe-disclosed"]["contexts"][0]}) == 2
        assert acts["abdm-disclosed"]["reader"] == acts["abdm-maybe-disclosed"]["reader"] != ""
        assert no_bytes_left(site)


async def test_the_report_of_a_transfer_waits_until_its_request_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"on-request": ["503-after"]}, retry_after_s=2)) as site:
        (number,) = await records.published(site, "A-1")
        consent = await records.granted(site)
        await change(site, lambda batch: contexts.withdraw(batch, number, "withdrawn"))
        done = await records.pulled(site, consent)
        await site.is_clean()

        assert words(done) == {pages.LEFT["withdrawn"]}


async def test_a_page_under_way_when_its_patient_leaves_is_reported_as_it_arrived_and_the_other_does_not_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await records.published(site, "A-1", "A-2")
        push, begun, over = site.ours.pushes.push, asyncio.Event(), asyncio.Event()

        async def long_on_its_way(address: str, body: bytes, token: str, may_go: Any) -> Any:
            async def answered_before() -> bool:
                found: bool = await may_go()
                begun.set()
                await over.wait()
                return found

            return await push(address, body, token, answered_before)

        monkeypatch.setattr(site.ours.pushes, "push", long_on_its_way)
        transaction = await records.asked(site, await records.granted(site))
        await begun.wait()
        await records.act(site, "status", {"patient": PEOPLE[0].address, "status": "DELETED"})
        await until(lambda: site.ours.states() == ["dropped"] * 2)
        assert not site.ours.rows("abdm_page WHERE state = 'delivered' OR body <> x''")  # it is on its way
        over.set()
        done = await records.done(site, transaction)
        await site.is_clean()

        said = {(one["hiStatus"], one["description"]) for one in done["outcome"]["statusResponses"]}
        assert said == {("DELIVERED", ""), ("ERRORED", requests.WORDS["left"])}
        (act,) = acts_page(site.ours.journal)
        assert [(one,) for one in act.what["contexts"]] == site.ours.rows("abdm_page WHERE status = 202", "context")


DAMAGE = {
    "request": "UPDATE abdm_transfer SET content = zeroblob(40)",
    "page": "UPDATE abdm_page SET body = zeroblob(40) WHERE state = 'sealed'",
    "patient": "UPDATE abdm_patient SET content = zeroblob(40)",
}


@pytest.mark.parametrize("what", DAMAGE)
async def test_a_transfer_with_a_damaged_row_ends_with_a_name_and_is_on_the_to_do_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down")) as site:
        await records.published(site, "A-1")
        transaction = await records.asked(site, await records.granted(site))
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        await change(site, lambda batch: batch.execute(DAMAGE[what]))
        await until(lambda: site.ours.rows("abdm_transfer WHERE state = 'ended'"))
        assert site.ours.rows("abdm_transfer", "reason") == [(requests.DAMAGED,)]
        assert no_bytes_left(site)
        assert [(one.what, one.count) for one in undecided(site.ours.journal)] == [("damaged", 1)]
        await site.ours.is_quiet()
        if what != "patient":  # else nothing says whose consent it is
            done = await records.done(site, transaction)
            assert words(done) == {requests.WORDS[requests.DAMAGED]}


async def test_a_revocation_before_the_acknowledgement_went_stops_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"on-request": ["503"] * 1000})) as site:
        await records.published(site, "A-1")
        consent = await records.granted(site)
        transaction = await records.asked(site, consent)
        await until(lambda: site.ours.rows("abdm_transfer WHERE state = 'pushing'"))
        await records.act(site, "revoke", {"consentId": consent})
        await until(lambda: site.ours.rows("abdm_consent WHERE state = 'REVOKED'"))
        await site.fail(calls={})
        done = await records.done(site, transaction)
        await site.ours.is_quiet()

        assert (done["pages"], done["outcome"]["sessionStatus"]) == (0, "FAILED")
        rules = {one["rule"] for one in await site.ask("/violations")}
        assert rules <= {"acknowledged-against-consent"}  # it was on its way


async def test_a_consent_that_ends_in_the_window_stops_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = MovedClock()
    both: dict[str, Any] = {"clock": clock, "gateway_clock": clock}
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down"), **both) as site:
        await records.published(site, "A-1")
        consent = await records.granted(site, eraseAt=(clock.now() + timedelta(minutes=10)).isoformat())
        line_is_free = records.line(site, monkeypatch)
        transaction = await records.asked(site, consent)
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        clock.passed_s += 601
        await until(line_is_free)
        await site.fail(reader="up")
        done = await records.done(site, transaction)
        await site.ours.is_quiet()

        assert (done["pages"], words(done)) == (0, {requests.WORDS["expired"]})
        assert await site.ask("/violations") == []


async def test_the_window_ends_a_transfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = MovedClock()
    both: dict[str, Any] = {"clock": clock, "gateway_clock": clock}
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down"), **both) as site:
        await records.published(site, "A-1")
        transaction = await records.asked(site, await records.granted(site))
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        clock.passed_s += 1201
        done = await records.done(site, transaction)
        await site.is_clean()

        assert (done["outcome"]["sessionStatus"], words(done)) == ("FAILED", {requests.WORDS[requests.WINDOW_OVER]})
        assert no_bytes_left(site)


@pytest.mark.parametrize("kind", ["duplicate", "repeat"])
async def test_a_request_that_comes_twice_is_answered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"data-request": [kind]})) as site:
        await records.published(site, "A-1")
        done = await records.pulled(site, await records.granted(site))
        await site.ours.is_quiet()

        assert done["pages"] == 1
        assert await site.ask("/violations") == []
        assert len(site.ours.rows("abdm_transfer")) == 1


@pytest.mark.parametrize("kind", ["503", "429", "lost", "reset", "html", "401"])
@pytest.mark.parametrize("name", ["on-request", "data-notify"])
async def test_a_call_of_a_transfer_that_fails_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={name: [kind]}, retry_after_s=0)) as site:
        await records.published(site, "A-1")
        done = await records.pulled(site, await records.granted(site))
        await site.is_clean()

        assert set(lines(done).values()) == {"DELIVERED"}


async def test_without_an_acknowledgement_nothing_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"on-request": ["ABDM-1052 unknown"]})) as site:
        await records.published(site, "A-1")
        await records.asked(site, await records.granted(site))
        await until(lambda: site.ours.rows("abdm_transfer WHERE state = 'ended'"))
        await site.ours.is_quiet()

        assert site.ours.rows("abdm_transfer", "reason") == [(requests.NOT_ACKNOWLEDGED,)]
        assert site.sandbox.state.counts["pages"] == 0
        assert no_bytes_left(site)


# -- which version -----------------------------------------------------------------------------------------------------


async def test_the_newest_version_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        await records.published(site, "A-1")
        consent = await records.granted(site)
        await records.published(site, "A-1", value="151.00", minute=5)
        done = await records.pulled(site, consent)
        await site.is_clean()

        assert done["pages"] == 1
        (shown,) = await records.documents(site)
        assert shown["meta"]["versionId"] == "2"
        assert of(shown, "Observation")[0]["valueQuantity"]["value"] == 151


async def test_a_report_amended_before_its_first_byte_is_sealed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"on-request": ["503"] * 1000})) as site:
        await records.published(site, "A-1")
        transaction = await records.asked(site, await records.granted(site))
        await until(lambda: site.ours.rows("abdm_transfer WHERE state = 'pushing'"))
        await records.published(site, "A-1", value="151.00", minute=5, told=False)
        await site.fail(calls={})
        await records.done(site, transaction)
        await site.is_clean()

        (shown,) = await records.documents(site, transaction)
        assert of(shown, "Observation")[0]["valueQuantity"]["value"] == 151


async def test_a_page_whose_sending_began_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down")) as site:
        await records.published(site, "A-1")
        transaction = await records.asked(site, await records.granted(site))
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        await records.published(site, "A-1", value="151.00", minute=5)
        await site.fail(reader="up")
        await records.done(site, transaction)
        await site.is_clean()

        (shown,) = await records.documents(site, transaction)
        assert of(shown, "Observation")[0]["valueQuantity"]["value"] == 148.5


async def test_of_a_consent_with_a_report_that_is_not_here_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that was linked after the backup which was restored: the network knows it, and the journal does not."""
    async with abdm_site(tmp_path, monkeypatch) as site:
        here, gone = await records.published(site, "A-1", "A-2")
        known, lost = (site.ours.rows(f"abdm_context WHERE number = {one}", "reference")[0][0] for one in (here, gone))
        await change(site, lambda batch: batch.execute("DELETE FROM abdm_context WHERE number = ?", (gone,)))
        transfer = await records.pulled(site, await records.granted(site))

        assert (transfer["state"], transfer["outcome"]["sessionStatus"]) == ("done", "TRANSFERRED")
        lines = {
            one["careContextReference"]: (one["hiStatus"], one["description"])
            for one in transfer["outcome"]["statusResponses"]
        }
        assert lines == {known: ("DELIVERED", ""), lost: ("ERRORED", pages.LEFT["absent"])}
        await site.is_clean()


# -- refusals ----------------------------------------------------------------------------------------------------------

LATE = {"begin": "2020-01-01T00:00:00.000Z"}
TABLE: dict[str, dict[str, Any]] = {
    "unknown": {"forget": True},
    "not_granted": {"revoke": True},
    "expired": {"expire": True},
    "other_facility": {"pull": {"facility": WEST}},
    "purpose": {"grant": {"purpose": "OTHER"}},
    "hi_type": {"grant": {"hiTypes": ["Prescription"]}},
    "range_inverted": {"pull": {"begin": "2026-05-01T00:00:00.000Z", "end": "2026-04-01T00:00:00.000Z"}},
    "range": {"pull": LATE},
    "frequency": {"grant": {"frequency": {"unit": "DAY", "value": 1, "repeats": 1}}, "before": 1},
    "keys": {"pull": {"keyMaterial": {"cryptoAlg": "ECDH"}, "refuse": "keys"}},
    "address": {"pull": {"pushUrl": "https://10.0.0.1/push", "refuse": "address"}},
    "body": {"pull": {"pushUrl": " ", "refuse": "body"}},
}
NOT_BY_A_READER = {"disputed", "busy", "window"}  # two grants that differ; thousands of requests at once; one too late


def test_the_table_has_each_reason() -> None:
    assert set(TABLE) | NOT_BY_A_READER == set(requests.REFUSALS)


def two(url: str, **other: Any) -> Any:
    facilities = {
        FACILITY: {"name": "Made-up Laboratory", "channels": "chem"},
        WEST: {"name": "Made-up West", "channels": "west"},
    }
    return destination(url, facilities=facilities, **other)


BOTH = {FACILITY: "Made-up Laboratory", WEST: "Made-up West"}


@pytest.mark.parametrize("reason", TABLE)
async def test_a_request_is_refused_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    given = TABLE[reason]
    async with abdm_site(tmp_path, monkeypatch, config=two, facilities=BOTH) as site:
        await records.published(site, "A-1")
        consent = await records.granted(site, **given.get("grant", {}))
        if given.get("forget"):
            await change(site, lambda batch: batch.execute("UPDATE abdm_consent SET consent_id = 'other'"))
        for act in ("revoke", "expire"):
            if given.get(act):
                await records.act(site, act, {"consentId": consent})
                await until(lambda: site.ours.rows("abdm_consent WHERE state IN ('REVOKED', 'EXPIRED')"))
        for _ in range(given.get("before", 0)):
            await records.pulled(site, consent)
        before = site.sandbox.state.counts["pages"]
        transaction = await records.asked(site, consent, **given.get("pull", {}))
        transfer = site.sandbox.state.transfers[transaction]
        await until(lambda: transfer.state == "refused")
        await site.ours.is_quiet()

        assert transfer.error["code"] == requests.REFUSALS[reason][0]
        assert site.sandbox.state.counts["pages"] == before
        assert reason == "unknown" or await site.ask("/violations") == []
        if reason != "body":
            assert site.ours.rows("abdm_transfer ORDER BY number DESC", "state, reason")[0] == ("refused", reason)
        assert no_bytes_left(site)


async def test_a_site_that_is_busy_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MOST_OPEN", 1)
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down")) as site:
        await records.published(site, "A-1")
        consent = await records.granted(site)
        first = await records.asked(site, consent)
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        second = await records.asked(site, consent)
        await until(lambda: site.sandbox.state.transfers[second].state == "refused")
        await site.fail(reader="up")
        await records.done(site, first)

        assert site.ours.rows("abdm_transfer ORDER BY number", "reason") == [("",), ("busy",)]


# -- reports that do not go --------------------------------------------------------------------------------------------


def withdraw(batch: Batch, number: int) -> None:
    contexts.withdraw(batch, number, "made-up")


def executed(statement: str) -> Any:
    return lambda batch, number: batch.execute(statement, (number,))


def with_patient(**members: Any) -> bytes:
    bundle = json.loads(records.document("A-1"))
    of(bundle, "Patient")[0].update(members)
    return json.dumps(bundle).encode()


def pdf_only_too_large() -> bytes:
    bundle = json.loads(records.document("A-1"))
    bundle["entry"][0]["resource"]["title"] = "x" * 70_000
    return json.dumps(bundle).encode()


def without_title() -> bytes:
    bundle = json.loads(records.document("A-1"))
    del bundle["entry"][0]["resource"]["title"]
    return json.dumps(bundle).encode()


OTHER_ABHA = [
    {"type": {"coding": [{"system": NDHM_IDENTIFIER_TYPE, "code": "ABHA"}]}, "value": PEOPLE[1].address},
    {"type": {"coding": [{"code": "MR"}]}, "system": "urn:x", "value": "PID-1"},
]
STAYS: dict[str, tuple[dict[str, Any], Any]] = {
    "absent": ({}, executed("UPDATE abdm_context SET reference = 'other' WHERE number = ?")),
    "withdrawn": ({}, withdraw),
    "outside": ({}, executed("UPDATE abdm_context SET issued_us = 1 WHERE number = ?")),
    "patient_left": ({}, executed("UPDATE abdm_context SET patient = 99 WHERE number = ?")),
    "no_patient": ({}, executed("UPDATE abdm_context SET state = 'waiting', patient = 0 WHERE number = ?")),
    "names_another": ({"body": lambda: with_patient(identifier=OTHER_ABHA)}, None),
    "other_name": ({"body": lambda: with_patient(name=[{"text": "Somebody Else"}], birthDate="1901-01-01")}, None),
    "damaged": ({}, executed("UPDATE document SET body = x'00' WHERE id >= 1 AND ? > 0")),
    "unreadable": ({"body": lambda: b'{"resourceType": "Bundle"}'}, None),
    "too_large": ({"body": pdf_only_too_large}, None),
    "rule": ({"body": without_title}, None),
}
ELSEWHERE = {"other_patient", "too_many"}


def test_the_table_has_each_reason_of_a_report() -> None:
    assert set(STAYS) | ELSEWHERE == set(pages.LEFT)


@pytest.mark.parametrize("reason", STAYS)
async def test_a_report_stays_here_and_the_other_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    given, act = STAYS[reason]
    monkeypatch.setattr(pages, "DOCUMENT_BYTES", 64 * 1024)
    async with abdm_site(tmp_path, monkeypatch) as site:
        body = given["body"]() if "body" in given else None
        (first,) = await records.published(site, "A-1", body=body)
        await records.published(site, "A-2")
        consent = await records.granted(site)
        if act is not None:
            await change(site, lambda batch: act(batch, first))
        if reason == "damaged":
            await records.published(site, "A-2", value="1.0", minute=9)
        done = await records.pulled(site, consent)
        await site.ours.is_quiet()

        assert sorted(lines(done).values()) == ["DELIVERED", "ERRORED"]
        assert pages.LEFT[reason] in words(done)
        assert await site.ask("/violations") == []
        assert len(await records.documents(site)) == 1


async def test_a_report_of_another_patient_never_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        first, _ = await records.published(site, "A-1", "A-2")
        (other,) = await records.published(site, "B-1", who=1)
        consent = await records.granted(site)
        owner = site.ours.rows(f"abdm_context WHERE number = {other}", "patient")[0][0]
        move = "UPDATE abdm_context SET patient = ? WHERE number = ?"
        await change(site, lambda batch: batch.execute(move, (owner, first)))
        done = await records.pulled(site, consent)
        await site.ours.is_quiet()

        assert sorted(lines(done).values()) == ["DELIVERED", "ERRORED"]
        assert pages.LEFT["other_patient"] in words(done)
        assert await site.ask("/violations") == []


async def test_no_more_pages_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_PAGES", 1)
    async with abdm_site(tmp_path, monkeypatch) as site:
        await records.published(site, "A-1", "A-2")
        done = await records.pulled(site, await records.granted(site))
        await site.is_clean()

        assert done["pages"] == 1
        assert pages.LEFT["too_many"] in words(done)


async def test_a_patient_who_leaves_meanwhile_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down")) as site:
        await records.published(site, "A-1")
        line_is_free = records.line(site, monkeypatch)
        transaction = await records.asked(site, await records.granted(site))
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        await site.ours.leave(PEOPLE[0].address)
        await until(line_is_free)
        await site.fail(reader="up")
        done = await records.done(site, transaction)

        assert (done["pages"], done["outcome"]["sessionStatus"]) == (0, "FAILED")


# -- two laboratories, restarts, disks, clocks -------------------------------------------------------------------------


async def test_each_laboratory_answers_for_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=two, facilities=BOTH) as site:
        await records.published(site, "A-1")
        await records.published(site, "A-1", facility=WEST, value="99.00", minute=3)
        for facility, value in ((FACILITY, 148.5), (WEST, 99)):
            done = await records.pulled(site, await records.granted(site, facility=facility))
            assert (done["pages"], len(lines(done))) == (1, 1)
            shown = (await records.documents(site))[-1]
            assert of(shown, "Observation")[0]["valueQuantity"]["value"] == value
        await site.is_clean()


async def test_a_restart_sends_what_was_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down")) as site:
        await records.published(site, "A-1", "A-2")
        transaction = await records.asked(site, await records.granted(site))
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        before = site.ours.rows("abdm_page ORDER BY n", "body")
        await site.restart()
        assert site.ours.rows("abdm_page ORDER BY n", "body") == before
        await site.fail(reader="up")
        done = await records.done(site, transaction)
        await site.is_clean()

        assert set(lines(done).values()) == {"DELIVERED"}


async def test_a_full_disk_while_pages_are_kept_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "AGAIN_S", 0.05)
    async with abdm_site(tmp_path, monkeypatch) as site:
        await records.published(site, "A-1")
        consent = await records.granted(site)
        journal, refused = site.ours.journal, []
        run = journal.run

        def full(function: Any, /, *given: Any, **named: Any) -> Any:
            if function in (turns.keep, turns.look, turns.settle) and refused.count(function) < 3:
                refused.append(function)
                raise NoRoomError("the disk is full")
            return run(function, *given, **named)

        monkeypatch.setattr(journal, "run", full)
        done = await records.pulled(site, consent)
        await site.is_clean()

        assert len(refused) == 9
        assert (done["pages"], set(lines(done).values())) == (1, {"DELIVERED"})


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_a_clock_that_is_off_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float
) -> None:
    async with abdm_site(tmp_path, monkeypatch, clock=MovedClock(jumped_s=60 * minutes)) as site:
        await records.published(site, "A-1")
        done = await records.pulled(site, await records.granted(site))
        await site.ours.is_quiet()
        rules = {one["rule"] for one in await site.ask("/violations")}
        assert rules == {"header-timestamp"}  # of the first call, whose answer shows the gateway's time

        assert set(lines(done).values()) == {"DELIVERED"}


async def test_a_slow_reader_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes connections and says nothing has half of the places."""
    over = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()
        await writer.wait_closed()

    monkeypatch.setattr(AbdmDestination, "pushes", 2)
    config = partial(destination, push_private="127.0.0.0/8", timeout="5m")
    silent = await asyncio.start_server(say_nothing, "127.0.0.2", 0)
    hung = f"http://127.0.0.2:{silent.sockets[0].getsockname()[1]}/push"
    async with silent, abdm_site(tmp_path, monkeypatch, config=config) as site:
        await records.published(site, "A-1")
        consent = await records.granted(site)
        for _ in range(3):
            await records.asked(site, consent, pushUrl=hung)
        await until(lambda: len(site.ours.rows("abdm_transfer WHERE state = 'pushing'")) == 3)
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        done = await records.pulled(site, consent)

        assert set(lines(done).values()) == {"DELIVERED"}
        assert len(site.ours.rows("abdm_page WHERE attempt > 0 AND state = 'sealed'")) == 1
        over.set()
