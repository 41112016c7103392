"""The journal's promises in one process: numbering, repeats, verdicts, lanes, recovery."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from engine.features.results.rows import superseding
from engine.features.rework.rows import dismissal
from engine.model.errors import LockedError
from engine.model.journal.journal_views import Filter
from engine.model.journal.records import Assembled, Routed
from engine.model.message import Document, Issue, Report, Unmapped
from engine.model.outcome import Outcome
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.journal.starting import recover, unprocessed
from engine.store.operations import append, audit, record_outcome
from engine.store.operations.outbox import attempts, claims, decisions
from engine.store.queries.acts import acts_page, open_acts
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import Reader, stored_document, stored_payload
from engine.store.queries.tallies import counters_of, list_unmapped
from tests.support.journals import DAY_S, NOW_US, WINDOW_S, opened, received, routed, running, started


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = await started(tmp_path)
    yield journal
    await journal.stop()


async def test_rows_are_numbered_without_gaps_over_all_and_within_each_channel(journal: Journal) -> None:
    stored = await asyncio.gather(
        *(
            journal.run(append.store_message, received(b"%d" % n, channel="ab"[n % 2]), repeat_window_s=WINDOW_S)
            for n in range(10)
        )
    )
    assert [one.id for one in stored] == list(range(1, 11))
    assert [one.seq for one in stored if one.channel == "a"] == [1, 2, 3, 4, 5]
    assert [one.seq for one in stored if one.channel == "b"] == [1, 2, 3, 4, 5]
    assert [one.payload for one in unprocessed(journal)] == [b"%d" % n for n in range(10)]


async def test_what_has_no_verdict_is_found_after_restarts_however_much_came_later(
    journal: Journal, tmp_path: Path
) -> None:
    """Recovery begins its search where all below is done with; that mark never passes open work."""
    first = await journal.run(append.store_message, received(b"open"), repeat_window_s=WINDOW_S)
    await journal.stop()
    for life in range(2):
        async with running(tmp_path) as again:
            assert unprocessed(again) == [first], life
            later = await asyncio.gather(
                *(
                    again.run(append.store_message, received(b"%d.%d" % (life, n)), repeat_window_s=WINDOW_S)
                    for n in range(1100)
                )
            )
            await asyncio.gather(*(again.run(record_outcome.record, one.id, Outcome("filtered")) for one in later))
    async with running(tmp_path) as again:
        assert unprocessed(again) == [first]
        await again.run(record_outcome.record, first.id, Outcome("filtered"))
        await again.run(append.store_message, received(b"the last"), repeat_window_s=WINDOW_S)
        watermark = again.tail.watermark if again.tail is not None else 0
    assert watermark > first.id


async def test_what_was_stored_is_read_back_after_a_restart(journal: Journal, tmp_path: Path) -> None:
    first = await journal.run(
        append.store_message, received(b"\x00\xff" * 500, control_id="C1"), repeat_window_s=WINDOW_S
    )
    await journal.stop()
    again = await started(tmp_path)
    assert unprocessed(again) == [first]
    assert stored_payload(again, first.id) == b"\x00\xff" * 500
    second = await again.run(append.store_message, received(b"x"), repeat_window_s=WINDOW_S)
    assert (second.id, second.seq) == (2, 2)
    await again.stop()


async def test_a_repeat_is_stored_and_not_processed_again(journal: Journal) -> None:
    first = await journal.run(append.store_message, received(control_id="C1", lost=True), repeat_window_s=WINDOW_S)
    again = await journal.run(
        append.store_message, received(control_id="C1", at_us=NOW_US + 20, lost=True), repeat_window_s=WINDOW_S
    )
    assert again.repeat_of == first.id
    assert unprocessed(journal) == [first]
    trace = trace_of(journal, again.id)
    assert trace is not None
    assert (trace.message.state, trace.message.reason, trace.message.repeat_of) == ("filtered", "REPEAT", first.id)


@pytest.mark.parametrize("window_s", [DAY_S, 3600.0])
async def test_after_the_window_the_same_bytes_are_a_new_message(journal: Journal, window_s: float) -> None:
    for number in (1, 2):  # the channel's control ids change
        await journal.run(
            append.store_message, received(b"%d" % number, control_id=f"B{number}"), repeat_window_s=window_s
        )
    window_us = int(window_s * 1e6)
    expected = [(0, None, None), (window_us, 3, None), (window_us + 1, None, 3), (window_us + 2, 5, None)]
    for at_us, *wanted in expected:
        stored = await journal.run(
            append.store_message, received(control_id="C1", at_us=NOW_US + at_us), repeat_window_s=window_s
        )
        assert [stored.repeat_of, stored.equal_to] == wanted


async def test_the_same_id_with_other_bytes_is_flagged_and_processed(journal: Journal) -> None:
    await journal.run(append.store_message, received(b"a", control_id="C1"), repeat_window_s=WINDOW_S)
    other = await journal.run(append.store_message, received(b"b", control_id="C1"), repeat_window_s=WINDOW_S)
    assert other.same_id_other_bytes
    assert other.repeat_of is None
    elsewhere = await journal.run(
        append.store_message, received(b"b", control_id="C1", channel="other"), repeat_window_s=WINDOW_S
    )
    nameless = await journal.run(append.store_message, received(b"c"), repeat_window_s=WINDOW_S)
    another = await journal.run(append.store_message, received(b"d"), repeat_window_s=WINDOW_S)
    assert not any(one.same_id_other_bytes for one in (elsewhere, nameless, another))


async def test_a_message_whose_first_copy_is_dead_is_processed_when_it_comes_again(journal: Journal) -> None:
    first = await journal.run(append.store_message, received(control_id="C1"), repeat_window_s=WINDOW_S)
    await journal.run(record_outcome.record, first.id, Outcome("dead", ReasonCode.NO_ROUTE))
    second = await journal.run(append.store_message, received(control_id="C1", lost=True), repeat_window_s=WINDOW_S)
    third = await journal.run(append.store_message, received(control_id="C1", lost=True), repeat_window_s=WINDOW_S)
    assert (second.repeat_of, third.repeat_of) == (None, second.id)


async def test_a_mapped_message_is_delivered_through_its_lanes(journal: Journal) -> None:
    stored = await journal.run(append.store_message, received(control_id="C1"), repeat_window_s=WINDOW_S)
    outcome = await journal.run(
        record_outcome.record,
        stored.id,
        Outcome(
            "mapped",
            mapping="lab",
            issues=[Issue(code="TEXT", text="kept", place="OBX[1]-5")],
            unmapped=[Unmapped("lab.csv", "GLU", "mg/dL", "Glucose")],
        ),
        [
            Routed(
                document=Document(body=b'{"n":1}', conditional=(b"c" * 16,)),
                destinations=("fhir", "archive"),
                claimed=(True, False),
            )
        ],
    )
    assert (outcome.state, outcome.waiting) == ("mapped", 1)
    (claimed,) = outcome.deliveries
    assert (claimed.destination, claimed.body, claimed.conditional) == ("fhir", b'{"n":1}', (b"c" * 16,))
    (other,) = await journal.run(claims.claim, "chem", "archive", 10)
    assert (other.body, other.conditional, other.received_us) == (b'{"n":1}', (b"c" * 16,), NOW_US)
    assert len({claimed.key, other.key}) == 2
    await journal.run(attempts.settle, claimed.id, delivered_us=77)
    await journal.run(attempts.settle, other.id, delivered_us=78)
    assert [(lane.destination, lane.open, lane.delivered_us) for lane in list_lanes(journal)] == [
        ("archive", 0, 78),
        ("fhir", 0, 77),
    ]
    trace = trace_of(journal, stored.id)
    assert trace is not None
    assert trace.issues[0]["place"] == "OBX[1]-5"
    assert [delivery.state for delivery in trace.deliveries] == ["delivered", "delivered"]
    assert stored_document(journal, trace.documents[0].id) == b'{"n":1}'
    assert [(gap.code, gap.unit, gap.n) for gap in list_unmapped(journal)] == [("GLU", "mg/dL", 1)]


async def test_a_second_verdict_changes_nothing(journal: Journal) -> None:
    stored = await journal.run(append.store_message, received(), repeat_window_s=WINDOW_S)
    await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed()])
    outcome = await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed()])
    assert (outcome.already, outcome.waiting) == (True, 0)
    assert [lane.open for lane in list_lanes(journal)] == [1]


async def test_claims_come_in_lane_order_and_a_retried_delivery_in_its_old_place(journal: Journal) -> None:
    for n in range(4):
        stored = await journal.run(append.store_message, received(b"%d" % n), repeat_window_s=WINDOW_S)
        await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed(b"%d" % n)])
    first, second = await journal.run(claims.claim, "chem", "fhir", 2)
    assert [first.seq, second.seq] == [1, 2]
    await journal.run(attempts.bury, first.id, reason=ReasonCode.REFUSED, detail="422", answer=b"\xffno")
    await journal.run(attempts.postpone, second.id, attempt=1, not_before_us=5, cause=ReasonCode.BUSY, detail="503")
    (dead,) = dead_letters(journal)
    assert (dead.delivery_id, dead.reason) == (first.id, "REFUSED")
    await journal.run(decisions.requeue, [dead.delivery_id])
    claimed = await journal.run(claims.claim, "chem", "fhir", 10)
    assert [(one.seq, one.attempt, one.manual) for one in claimed] == [
        (1, 0, True),
        (2, 1, False),
        (3, 0, False),
        (4, 0, False),
    ]
    trace = trace_of(journal, first.message_id)
    assert trace is not None
    (attempt,) = trace.deliveries[0].attempts
    assert (attempt.cause, attempt.detail, attempt.answer) == ("REFUSED", "422", b"\xffno")


async def test_a_dead_delivery_may_hold_its_lane_until_it_is_decided_about(journal: Journal) -> None:
    for n in range(2):
        stored = await journal.run(append.store_message, received(b"%d" % n), repeat_window_s=WINDOW_S)
        await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed()])
    (first,) = await journal.run(claims.claim, "chem", "fhir", 1)
    await journal.run(attempts.bury, first.id, reason=ReasonCode.REFUSED, hold_lane=True)
    assert await journal.run(claims.claim, "chem", "fhir", 1) == []
    assert await journal.run(dismissal.dismiss, deliveries=[first.id], actor="ann", reason="entered by hand") == 1
    assert [one.seq for one in await journal.run(claims.claim, "chem", "fhir", 1)] == [2]
    (act,) = acts_page(journal)
    assert (act.actor, act.verb, act.what["reason"]) == ("ann", "dismiss", "entered by hand")


async def test_one_number_for_two_patients_is_a_conflict_and_queues_nothing(journal: Journal) -> None:
    async def deliver(payload: bytes, patient: bytes) -> str:
        stored = await journal.run(append.store_message, received(payload), repeat_window_s=WINDOW_S)
        outcome = await journal.run(
            record_outcome.record,
            stored.id,
            Outcome("mapped"),
            [routed(payload, reports=(Report(b"k" * 16, patient),))],
        )
        return outcome.state if outcome.reason is None else outcome.reason.value

    assert await deliver(b"1", b"p" * 16) == "mapped"
    assert await deliver(b"2", b"p" * 16) == "mapped"
    assert await deliver(b"3", b"") == "mapped"
    assert await deliver(b"4", b"q" * 16) == "IDENTITY_CONFLICT"
    assert [lane.open for lane in list_lanes(journal)] == [3]


async def test_an_older_result_is_superseded_once_a_newer_one_was_delivered(journal: Journal) -> None:
    for n in range(3):
        stored = await journal.run(append.store_message, received(b"%d" % n), repeat_window_s=WINDOW_S)
        report = Report(b"k" * 16 if n < 2 else b"other".ljust(16), b"p" * 16)
        await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed(b"%d" % n, reports=(report,))])
    old, correction, unrelated = await journal.run(claims.claim, "chem", "fhir", 10)
    assert not await journal.run(superseding.overtaken_before_sent, old.id)
    assert await journal.run(superseding.have_in_common, old.id, [correction.id])  # nobody can tell what these say
    await journal.run(attempts.settle, unrelated.id, delivered_us=1)
    assert not await journal.run(superseding.overtaken_before_sent, old.id)
    await journal.run(attempts.settle, correction.id, delivered_us=1)
    assert await journal.run(superseding.overtaken_before_sent, old.id)
    assert not await journal.run(superseding.overtaken_before_sent, correction.id)
    assert await journal.run(decisions.supersede, [old.id]) == 1
    assert [lane.open for lane in list_lanes(journal)] == [0]


async def test_after_a_crash_claims_wait_again_and_are_marked(journal: Journal, tmp_path: Path) -> None:
    for n in range(3):
        stored = await journal.run(append.store_message, received(b"%d" % n), repeat_window_s=WINDOW_S)
        if n:
            await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed(claimed=n == 1)])
    await journal.run(audit.begin, "ann", "replay", {"messages": [1]})
    await journal.stop()
    again = opened(tmp_path)
    recovery = recover(again)
    assert (recovery.unprocessed, recovery.maybe_delivered, recovery.acts) == (1, 1, (4,))
    assert [(lane.channel, lane.destination, lane.open) for lane in recovery.lanes] == [("chem", "fhir", 2)]
    again.start(asyncio.get_running_loop())
    assert [one.maybe_delivered for one in await again.run(claims.claim, "chem", "fhir", 10)] == [True, False]
    await again.run(audit.end, 4, {"given up": True})
    assert open_acts(again) == []
    await again.stop()


async def test_after_a_crash_a_retry_that_was_due_may_have_been_delivered(journal: Journal, tmp_path: Path) -> None:
    """A retry runs without a new claim: only its time says that it may have been under way."""
    far = 4_000_000_000_000_000  # the year 2096
    for n, not_before_us in enumerate((1, far)):
        stored = await journal.run(append.store_message, received(b"%d" % n), repeat_window_s=WINDOW_S)
        await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed(claimed=True)])
        await journal.run(attempts.postpone, n + 1, attempt=1, not_before_us=not_before_us, cause=ReasonCode.BUSY)
    await journal.stop()
    again = opened(tmp_path)
    assert recover(again).maybe_delivered == 1
    again.start(asyncio.get_running_loop())
    assert [one.maybe_delivered for one in await again.run(claims.claim, "chem", "fhir", 10)] == [True, False]
    await again.stop()


async def test_frames_become_messages_and_the_rest_stays_as_evidence(journal: Journal, tmp_path: Path) -> None:
    session, torn = journal.new_session(), journal.new_session()
    assert await journal.run(append.store_frame, "chem", session, b"1H", 1) == 1
    stored = await journal.run(
        append.store_completing_frame, "chem", session, b"2L", 2, [received(b"HL")], repeat_window_s=WINDOW_S
    )
    assert [one.id for one in stored] == [3]
    trace = trace_of(journal, 3)
    assert trace is not None
    assert trace.frames == (1, 2)
    await journal.run(append.store_frame, "chem", torn, b"1H", 3)
    await journal.run(append.store_frame, "chem", session, b"1H", 3)
    await journal.run(append.store_frame, "chem", session, b"2L", 4)
    await journal.stop()

    again = await started(tmp_path)

    def read(channel: str, raws: object, received_us: int) -> Assembled:
        if raws == [b"1H", b"2L"]:
            return Assembled(messages=(received(b"HL2", at_us=received_us),))
        return Assembled()

    made = await again.run(append.assemble, read, repeat_window_s=WINDOW_S, before=again.first_session)
    assert [(one.payload, one.received_us) for one in made] == [(b"HL2", 4), (b"1H", 3)]
    assert [one.payload for one in unprocessed(again)] == [b"HL", b"HL2"]
    assert [(letter.state, letter.reason) for letter in dead_letters(again)] == [("incomplete", "INCOMPLETE")]
    assert await again.run(append.assemble, read, repeat_window_s=WINDOW_S, before=again.first_session) == []
    await again.stop()


async def test_a_command_makes_messages_of_frames_before_any_daemon_starts(journal: Journal, tmp_path: Path) -> None:
    await journal.run(append.store_frame, "chem", journal.new_session(), b"1H", 1)
    await journal.run(append.store_frame, "chem", journal.new_session(), b"1H", 2)
    await journal.stop()

    again = opened(tmp_path)
    assert len(again.tail.sessions) == 2
    recover(again)
    made = again.run_alone(
        append.assemble,
        lambda channel, raws, received_us: Assembled(),
        repeat_window_s=WINDOW_S,
        before=again.first_session,
    )
    assert [(one.payload, one.received_us) for one in made] == [(b"1H", 1), (b"1H", 2)]
    assert len(again.tail.sessions) == 0
    again.close()


async def test_frames_of_which_one_cannot_be_opened_become_no_message(journal: Journal, tmp_path: Path) -> None:
    session = journal.new_session()
    for raw in (b"1H", b"2P", b"3L"):
        await journal.run(append.store_frame, "chem", session, raw, 1)
    await journal.stop()
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection, connection:
        connection.execute("UPDATE journal SET body = zeroblob(length(body)) WHERE id = 2")

    again = await started(tmp_path)
    made = await again.run(
        append.assemble,
        lambda channel, raws, received_us: Assembled(messages=(received(b"".join(raws)),)),
        repeat_window_s=WINDOW_S,
        before=again.first_session,
    )
    assert [one.payload for one in made] == [b"1H3L"]
    assert unprocessed(again) == []
    assert [letter.state for letter in dead_letters(again)] == ["incomplete"]
    await again.stop()


async def test_counters_and_gauges_follow_what_happens(journal: Journal) -> None:
    stored = await journal.run(append.store_message, received(b"1", lost=True), repeat_window_s=WINDOW_S)
    await journal.run(append.store_message, received(b"1", lost=True), repeat_window_s=WINDOW_S)
    await journal.run(append.store_incomplete, received(b"2"), ReasonCode.INCOMPLETE)
    dead = await journal.run(append.store_message, received(b"3"), repeat_window_s=WINDOW_S)
    await journal.run(append.store_message, received(b"4"), repeat_window_s=WINDOW_S)
    await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed(claimed=True)])
    await journal.run(record_outcome.record, dead.id, Outcome("dead", ReasonCode.UNREADABLE))
    counts = {(one.destination, one.name): one.n for one in counters_of(journal, "2026-03-01")}
    assert counts == {
        ("", "received"): 5,
        ("", "repeat"): 1,
        ("", "incomplete"): 1,
        ("", "dead"): 1,
    }
    (channel,) = list_channels(journal)
    assert (channel.last_seq, channel.stored, channel.dead, channel.incomplete) == (5, 1, 1, 1)
    assert await journal.run(dismissal.dismiss, messages=[3, dead.id], actor="ann", reason="seen") == 2
    (channel,) = list_channels(journal)
    assert (channel.dead, channel.incomplete) == (0, 0)
    assert [one.id for one in messages_page(journal, Filter(channel="chem", state="dismissed"))] == [4, 3]


async def test_only_one_process_may_write(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(LockedError, match=r"process \d+"):
        opened(tmp_path)


async def test_a_read_only_journal_works_beside_the_daemon_and_without_it(journal: Journal, tmp_path: Path) -> None:
    await journal.run(append.store_message, received(b"1"), repeat_window_s=WINDOW_S)
    beside = Reader.beside(tmp_path)
    assert [one.control_id for one in messages_page(beside)] == [""]
    beside.close()
    await journal.stop()
    without = Reader.beside(tmp_path)
    assert stored_payload(without, 1) == b"1"
    without.close()
