"""What people and destinations decide about deliveries: counted, kept over a restart, and refused where it makes no
sense."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest_asyncio

from engine.features.results.rows import hold_queue
from engine.features.rework.rows import dismissal, edit_message
from engine.model.content.results import EarlierResults, Result
from engine.model.journal.records import HoldReason
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock, from_us
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.journal.starting import unprocessed
from engine.store.operations import record_outcome
from engine.store.operations.outbox import attempts, claims, decisions, queueing
from engine.store.queries.acts import acts_page
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.letters import dead_letters, held_deliveries
from engine.store.queries.servers import known_versions
from engine.store.queries.tallies import counters_of
from tests.support.journals import DAY_S, NOW_US, queue, received, routed, running, started, store

LATER_US = NOW_US + 60_000_000


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with running(tmp_path) as journal:
        yield journal


def counted(journal: Journal) -> dict[str, int]:
    """What was counted of deliveries today."""
    found: Counter[str] = Counter()
    for one in counters_of(journal, from_us(NOW_US).date().isoformat()):
        found[one.name] += one.n if one.destination else 0
    return found


async def test_an_attempt_that_may_have_arrived_is_marked_over_a_restart(tmp_path: Path) -> None:
    journal = await started(tmp_path)
    await queue(journal, b"1", b"2")
    first, second = await journal.run(claims.claim, "chem", "fhir", 9)
    await journal.run(
        attempts.postpone, first.id, attempt=1, not_before_us=LATER_US, cause=ReasonCode.MAYBE_DELIVERED, detail=""
    )
    await journal.run(
        attempts.postpone, second.id, attempt=1, not_before_us=LATER_US, cause=ReasonCode.BUSY, detail="503"
    )
    await journal.stop()
    async with running(tmp_path) as journal:
        again = await journal.run(claims.claim, "chem", "fhir", 9)
        assert [(one.id, one.maybe_delivered, one.attempt) for one in again] == [
            (first.id, True, 1),
            (second.id, False, 1),
        ]


async def test_a_retry_is_marked_as_a_decision_of_a_person_and_takes_nothing_by_force(journal: Journal) -> None:
    await queue(journal, b"1", b"2")
    for one in await journal.run(claims.claim, "chem", "fhir", 9):
        await journal.run(attempts.bury, one.id, reason=ReasonCode.REFUSED, detail="422", answer=b"")
    assert await journal.run(decisions.requeue, [1]) == 1
    assert await journal.run(decisions.requeue, [1]) == 0  # it waits already
    assert await journal.run(decisions.requeue, [2], unconditional=True) == 1
    first, second = await journal.run(claims.claim, "chem", "fhir", 9)
    assert (first.manual, second.manual) == (True, True)
    assert (first.unconditional, second.unconditional) == (False, True)  # which takes more than a retry


async def test_what_is_not_held_is_not_released_and_each_decision_is_counted_once(journal: Journal) -> None:
    (message,) = await store(journal, b"m")
    await journal.run(record_outcome.record, message.id, Outcome("mapped"), [routed(b"1"), routed(b"2"), routed(b"3")])
    claimed = await journal.run(claims.claim, "chem", "fhir", 1)
    await journal.run(decisions.hold, [2, 3], cause=ReasonCode.HELD_BY_RULE)
    who = {"actor": "ann", "reason": "seen"}
    await journal.run(hold_queue.release, [claimed[0].id], **who)  # under way
    await journal.run(attempts.settle, claimed[0].id, delivered_us=7)
    await journal.run(hold_queue.release, [1], **who)  # delivered
    (lane,) = list_lanes(journal)
    assert (lane.open, lane.held, lane.delivered_us) == (0, 2, 7)
    found = counted(journal)
    assert found["delivered"] == 1
    assert "released" not in found


async def test_the_newest_can_be_claimed_first(journal: Journal) -> None:
    await queue(journal, b"1", b"2", b"3", b"4")
    first = await journal.run(claims.claim_newest, "chem", "fhir", 2, without=[])
    assert [one.id for one in first] == [4, 3]
    await journal.run(claims.unclaim, [3])
    assert [one.id for one in await journal.run(claims.claim_newest, "chem", "fhir", 9, without=[3])] == [2, 1]
    assert [one.id for one in await journal.run(claims.claim_newest, "chem", "fhir", 9, without=[])] == [3]
    assert await journal.run(claims.claim_newest, "chem", "fhir", 9, without=[]) == []
    assert await journal.run(claims.claim_newest, "chem", "elsewhere", 9, without=[]) == []
    await journal.run(attempts.bury, 4, reason=ReasonCode.REFUSED, detail="422", answer=b"", hold_lane=True)
    await journal.run(claims.unclaim, [1, 2, 3])
    assert await journal.run(claims.claim_newest, "chem", "fhir", 9, without=[]) == []  # held by its dead letter


async def test_a_document_that_cannot_be_opened_is_passed_over_from_either_end(journal: Journal) -> None:
    await queue(journal, b"1", b"2", b"3")

    def damage(batch: Batch) -> None:
        batch.execute("UPDATE document SET body = x'00' WHERE id IN (1, 3)")

    assert journal.writer is not None
    await journal.writer.submit(damage)
    assert [one.id for one in await journal.run(claims.claim_newest, "chem", "fhir", 1, without=[])] == [2]
    assert await journal.run(claims.claim, "chem", "fhir", 1) == []
    assert {one.delivery_id for one in dead_letters(journal)} == {1, 3}


async def test_what_stands_otherwise_at_the_other_destination_is_left_alone(journal: Journal) -> None:
    (message,) = await queue(journal, b"1")

    async def replay(*states: str) -> int:
        made = await journal.run(queueing.replay, [message], frozenset({"fhir"}), to="other", states=frozenset(states))
        return len(made)

    assert await replay("waiting") == 1
    (one,) = await journal.run(claims.claim, "chem", "other", 9)
    await journal.run(attempts.bury, one.id, reason=ReasonCode.REFUSED, detail="422", answer=b"")
    assert await replay("waiting") == 0  # there it is dead, and dead letters were not asked for


async def test_what_a_server_has_is_remembered_with_the_delivery(journal: Journal) -> None:
    await queue(journal, b"1")
    (one,) = await journal.run(claims.claim, "chem", "fhir", 9)
    await journal.run(attempts.settle, one.id, delivered_us=1, versions=(("Patient/p", "3"), ("Observation/o", "")))
    assert known_versions(journal, "fhir", ["Patient/p", "Observation/o", "Patient/q"]) == {"Patient/p": "3"}
    assert known_versions(journal, "elsewhere", ["Patient/p"]) == {}


async def test_only_what_waits_is_set_aside_and_only_then_an_act_says_so(journal: Journal) -> None:
    await queue(journal, b"1", b"2")
    await journal.run(attempts.settle, 1, delivered_us=NOW_US)
    assert not await journal.run(dismissal.set_aside, 1, correction=True, actor="ann", reason="never digested")
    assert (acts_page(journal), dead_letters(journal)) == ([], [])
    assert await journal.run(dismissal.set_aside, 2, correction=False, actor="ann", reason="never digested")
    (act,) = acts_page(journal)
    assert (act.actor, act.verb, act.what["messages"]) == ("ann", "set-aside", [2])
    assert [(one.delivery_id, one.reason) for one in dead_letters(journal)] == [(2, ReasonCode.SET_ASIDE.value)]
    assert (
        await journal.run(dismissal.dismiss, deliveries=[1, 2], actor="ann", reason="by hand") == 1
    )  # not what was delivered


async def test_only_what_was_delivered_is_refused_late_and_a_day_that_has_ended_keeps_its_count(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        await queue(journal, b"1", b"2", b"3")
        assert not await journal.run(attempts.refuse_late, 3, detail="AE after CA")  # it still waits
        for delivery in (1, 2):
            await journal.run(attempts.settle, delivery, delivered_us=clock.now_us())
        assert counted(journal)["delivered"] == 2
        assert await journal.run(attempts.refuse_late, 1, detail="AE after CA")
        assert not await journal.run(attempts.refuse_late, 1, detail="AE after CA")  # once
        assert (counted(journal)["delivered"], counted(journal)["dead"]) == (1, 1)
        clock.advance(2 * DAY_S)
        assert await journal.run(attempts.refuse_late, 2, detail="AE after CA")
        assert counted(journal)["delivered"] == 1
        assert [one.reason for one in dead_letters(journal)] == [ReasonCode.REFUSED_LATE.value] * 2


async def test_what_was_erased_is_not_sent_again(journal: Journal) -> None:
    await queue(journal, b"1", b"2")
    for one in await journal.run(claims.claim, "chem", "fhir", 9):
        await journal.run(attempts.bury, one.id, reason=ReasonCode.REFUSED, detail="422", answer=b"")

    def erase(batch: Batch) -> None:
        batch.execute("INSERT INTO erased (what, number, record, act) VALUES ('document', 1, 1, 1)")

    assert journal.writer is not None
    await journal.writer.submit(erase)
    assert await journal.run(decisions.requeue, [1, 2]) == 1
    assert [one.id for one in await journal.run(claims.claim, "chem", "fhir", 9)] == [2]


async def test_what_a_row_notes_beside_its_bytes_is_unknown_where_it_is_gone_or_damaged(journal: Journal) -> None:
    first, second = await store(journal, b"1", b"2")

    def damaged(batch: Batch) -> list[bool]:
        batch.execute("UPDATE journal SET meta = zeroblob(length(meta)) WHERE id = ?", (second.id,))
        return [batch.meta(number, "chem") is None for number in (first.id, second.id, 99)]

    assert await journal.writer.submit(damaged) == [False, True, True]


async def test_what_is_held_goes_nowhere_else_either(journal: Journal) -> None:
    (message,) = await store(journal, b"m")
    kept = replace(routed(b"2"), hold=Always())
    await journal.run(record_outcome.record, message.id, Outcome("mapped"), [routed(b"1"), kept])
    made = await journal.run(queueing.replay, [message.id], to="other", states=frozenset({"waiting", "held"}))
    assert len(made) == 1
    assert [one.body for one in await journal.run(claims.claim, "chem", "other", 9)] == [b"1"]

    def release(batch: Batch) -> bool:
        return decisions.release(batch, 1)

    assert journal.writer is not None
    assert await journal.writer.submit(release) is False  # it was never held


async def test_a_dead_message_is_corrected_once(journal: Journal) -> None:
    (message,) = await store(journal, b"wrong")
    await journal.run(record_outcome.record, message.id, Outcome("dead", ReasonCode.BAD_VALUE))
    who: dict[str, Any] = {"before": b"wrong", "actor": "ann", "reason": "a digit"}
    made = await journal.run(edit_message.correct, message.id, received(b"right"), **who)
    assert made.refused == ""
    assert [one.payload for one in unprocessed(journal)] == [b"right"]
    assert (
        "was edited already" in (await journal.run(edit_message.correct, message.id, received(b"other"), **who)).refused
    )


async def test_an_edit_is_no_message_of_the_analyzer(journal: Journal) -> None:
    (message,) = await store(journal, b"wrong")
    await journal.run(record_outcome.record, message.id, Outcome("dead", ReasonCode.BAD_VALUE))
    edit = received(b"right", at_us=LATER_US)
    await journal.run(edit_message.correct, message.id, edit, before=b"wrong", actor="ann", reason="a digit")
    (channel,) = list_channels(journal)
    assert (channel.last_seq, channel.last_us) == (2, NOW_US)


class Always:
    """Rules that hold every result."""

    results: Sequence[Result] = ()
    answers, tests = (), ()

    def decide(self, earlier: EarlierResults, now_us: int) -> HoldReason | None:
        return HoldReason(reason=ReasonCode.HELD_BY_RULE, text="a rule")


async def test_what_a_rule_keeps_back_is_told_by_its_place_and_each_decision_is_counted(journal: Journal) -> None:
    (message,) = await store(journal, b"m")
    kept = replace(routed(b"2", "a", "b"), hold=Always())
    made = await journal.run(record_outcome.record, message.id, Outcome("mapped"), [routed(b"1"), kept, routed(b"3")])
    assert (made.held, made.waiting) == (frozenset({1, 2}), 2)
    assert {one.delivery_id for one in held_deliveries(journal)} == {2, 3}
    await journal.run(hold_queue.release, [2], actor="ann", reason="seen")
    await journal.run(hold_queue.reject, [3], actor="ann", reason="clotted")
    await journal.run(decisions.supersede, [1])
    await journal.run(decisions.hold, [4], ReasonCode.HELD_BY_RULE)
    found = counted(journal)
    assert {name: found[name] for name in ("released", "rejected", "superseded")} == {
        "released": 1,
        "rejected": 1,
        "superseded": 1,
    }
    assert found["held"] == 2
    assert [(lane.destination, lane.open, lane.held) for lane in list_lanes(journal)] == [
        ("a", 1, 0),  # released, it waits
        ("b", 0, 0),
        ("fhir", 0, 1),
    ]


async def test_a_lane_begins_empty(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await queue(journal, b"1", to=("a", "b"))
        assert [(lane.destination, lane.open, lane.dead, lane.held, lane.last_seq) for lane in list_lanes(journal)] == [
            ("a", 1, 0, 0, 1),
            ("b", 1, 0, 0, 1),
        ]
    async with running(tmp_path) as journal:  # and is read back as it was
        await queue(journal, b"2", to=("a",))
        assert [(lane.destination, lane.open, lane.last_seq) for lane in list_lanes(journal)] == [
            ("a", 2, 2),
            ("b", 1, 1),
        ]
