"""The outbox as a state machine: whatever is asked in whatever order, no delivery is dropped and the tallies hold."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.features.results.rows import hold_queue
from engine.features.rework.rows import dismissal
from engine.model.errors import StoreError
from engine.model.journal.journal_views import DeliveryView, Filter
from engine.model.journal.records import Decision, Target
from engine.model.outcome import Outcome
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority
from engine.store.integrity import verify
from engine.store.journal import Journal
from engine.store.operations import append, pauses, record_outcome
from engine.store.operations.outbox import attempts, claims, decisions, queueing
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.letters import dead_letters, held_deliveries
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.tallies import counters_of
from tests.support.examples import examples
from tests.support.journals import NOW_US, queue, routed, running, store

VERBS = [
    "claim", "unclaim", "settle", "settle_at_once", "postpone", "bury", "requeue", "supersede", "hold", "release",
    "reject", "dismiss", "set_aside", "refuse_late",
]  # fmt: skip
# verb -> (states it applies to, the state it leads to); in any other state it changes nothing
TABLE: dict[str, tuple[set[str], str]] = {
    "unclaim": ({"sending"}, "waiting"),
    "settle": ({"waiting", "sending", "dead", "held", "rejected", "superseded", "dismissed"}, "delivered"),
    "settle_at_once": ({"waiting", "sending", "dead", "held", "rejected", "superseded", "dismissed"}, "delivered"),
    "postpone": ({"sending"}, "waiting"),
    "bury": ({"waiting", "sending"}, "dead"),
    "requeue": ({"dead"}, "waiting"),
    "supersede": ({"waiting", "sending", "dead", "held"}, "superseded"),
    "hold": ({"waiting", "sending"}, "held"),
    "release": ({"held"}, "waiting"),
    "reject": ({"held"}, "rejected"),
    "dismiss": ({"waiting", "dead", "held", "superseded"}, "dismissed"),
    "set_aside": ({"waiting", "sending"}, "dead"),
    "refuse_late": ({"delivered"}, "dead"),
}
# state -> the verbs that lead to it from ``waiting``
WAYS = {
    "waiting": [],
    "sending": ["claim"],
    "delivered": ["settle"],
    "dead": ["bury"],
    "held": ["hold"],
    "rejected": ["hold", "reject"],
    "superseded": ["supersede"],
    "dismissed": ["dismiss"],
}


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with running(tmp_path) as journal:
        yield journal


async def ask(journal: Journal, verb: str, delivery_id: int) -> None:
    match verb:
        case "unclaim":
            await journal.run(claims.unclaim, [delivery_id])
        case "settle" | "settle_at_once":
            await journal.run(getattr(attempts, verb), delivery_id, delivered_us=1)
        case "postpone":
            await journal.run(
                attempts.postpone, delivery_id, attempt=1, not_before_us=9, cause=ReasonCode.BUSY, detail="503"
            )
        case "bury":
            await journal.run(attempts.bury, delivery_id, reason=ReasonCode.REFUSED, detail="422", answer=b"{}")
        case "requeue":
            await journal.run(decisions.requeue, [delivery_id])
        case "supersede":
            await journal.run(decisions.supersede, [delivery_id])
        case "hold":
            await journal.run(decisions.hold, [delivery_id], ReasonCode.HELD_BY_RULE)
        case "release":
            await journal.run(hold_queue.release, [delivery_id], actor="ann", reason="seen")
        case "reject":
            await journal.run(hold_queue.reject, [delivery_id], actor="ann", reason="seen")
        case "dismiss":
            await journal.run(dismissal.dismiss, deliveries=[delivery_id], actor="ann", reason="by hand")
        case "set_aside":
            await journal.run(dismissal.set_aside, delivery_id, correction=False, actor="ann", reason="never digested")
        case "refuse_late":
            await journal.run(attempts.refuse_late, delivery_id, detail="AE after CA", answer=b"AE")


def deliveries(journal: Journal) -> dict[int, DeliveryView]:
    found = {}
    for message in messages_page(journal, limit=1000):
        trace = trace_of(journal, message.id)
        assert trace is not None
        found |= {delivery.id: delivery for delivery in trace.deliveries}
    return found


async def walk(data: Path, asked: Iterable[tuple[str, int]], count: int) -> None:
    """Asks each verb of a delivery, of ``count``; all is then as the table says. ``claim`` takes its number of them."""
    async with running(data) as journal:
        await queue(journal, *(b"%d" % n for n in range(count)))
        expected = dict.fromkeys(range(1, count + 1), "waiting")
        for verb, delivery_id in asked:
            if verb == "claim":
                claimed = await journal.run(claims.claim, "chem", "fhir", delivery_id)
                waiting = [n for n in range(1, count + 1) if expected[n] == "waiting"]
                assert [delivery.id for delivery in claimed] == waiting[:delivery_id]
                expected |= {delivery.id: "sending" for delivery in claimed}
            else:
                await ask(journal, verb, delivery_id)
                applies, leads_to = TABLE[verb]
                if expected[delivery_id] in applies:
                    expected[delivery_id] = leads_to
        found = deliveries(journal)
        assert {n: delivery.state for n, delivery in found.items()} == expected
        states = Counter(expected.values())
        (lane,) = list_lanes(journal)
        assert lane.open == states["waiting"] + states["sending"]
        assert (lane.dead, lane.held, lane.last_seq) == (states["dead"], states["held"], count)
        for state, letters in (
            ("dead", dead_letters(journal)),
            ("held", held_deliveries(journal)),
            ("rejected", held_deliveries(journal, Filter(state="rejected"))),
        ):
            assert {letter.delivery_id for letter in letters} == {n for n in expected if expected[n] == state}
    assert verify.run(data, deep=True) == []


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(st.sampled_from(VERBS), st.integers(1, 5)), max_size=40))
def test_every_verb_in_every_state_after_a_random_history(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, int]]
) -> None:
    asyncio.run(walk(tmp_path_factory.mktemp("walk"), asked, 5))


@pytest.mark.parametrize("state", WAYS)
async def test_every_verb_in_every_state(state: str, tmp_path: Path) -> None:
    numbered = list(enumerate(TABLE, 1))
    there = [(verb, n) for verb in WAYS[state] for n, _ in numbered]
    await walk(tmp_path, [*there, *((verb, n) for n, verb in numbered)], len(TABLE))


async def test_an_unknown_delivery_is_refused(journal: Journal) -> None:
    for verb in VERBS[1:-1]:
        with pytest.raises(StoreError, match="no delivery 77"):
            await ask(journal, verb, 77)
    assert not await journal.run(attempts.refuse_late, 77, detail="AE after CA")  # retention may have let it go since


async def test_a_paused_lane_gives_no_claims_also_after_a_restart(journal: Journal, tmp_path: Path) -> None:
    await queue(journal, b"1", to=("a", "b"))
    lane = Target(channel="chem", destination="a")
    await journal.run(pauses.pause, lane, actor="anita", reason="test")
    await journal.stop()
    async with running(tmp_path) as again:
        assert await again.run(claims.claim, "chem", "a", 5) == []
        assert len(await again.run(claims.claim, "chem", "b", 5)) == 1
        assert [(lane.destination, lane.paused) for lane in list_lanes(again)] == [("a", True), ("b", False)]
        await again.run(pauses.resume, lane, actor="anita", reason="test")
        assert len(await again.run(claims.claim, "chem", "a", 5)) == 1


async def test_a_retried_delivery_frees_the_lane_that_it_held_and_goes_first(journal: Journal) -> None:
    await queue(journal, b"1", b"2", b"3")
    (first,) = await journal.run(claims.claim, "chem", "fhir", 1)
    await journal.run(attempts.bury, first.id, reason=ReasonCode.REFUSED, hold_lane=True)
    (lane,) = list_lanes(journal)
    assert lane.held_by == first.id
    assert await journal.run(claims.claim, "chem", "fhir", 9) == []
    await journal.run(decisions.requeue, [first.id])
    assert [delivery.seq for delivery in await journal.run(claims.claim, "chem", "fhir", 9)] == [1, 2, 3]


async def test_another_dead_delivery_does_not_let_go_the_lane(journal: Journal) -> None:
    await queue(journal, b"1", b"2", b"3")
    first, second = await journal.run(claims.claim, "chem", "fhir", 2)
    for delivery in (first, second):
        await journal.run(attempts.bury, delivery.id, reason=ReasonCode.REFUSED, hold_lane=True)
    await journal.run(dismissal.dismiss, deliveries=[second.id], actor="ann", reason="by hand")
    (lane,) = list_lanes(journal)
    assert lane.held_by == first.id
    assert await journal.run(claims.claim, "chem", "fhir", 9) == []


async def test_a_retried_delivery_begins_anew(journal: Journal) -> None:
    await queue(journal, b"1")
    await journal.run(claims.claim, "chem", "fhir", 1)
    await journal.run(attempts.postpone, 1, attempt=7, not_before_us=2**60, cause=ReasonCode.BUSY, detail="503")
    await journal.run(claims.claim, "chem", "fhir", 1)
    await journal.run(attempts.bury, 1, reason=ReasonCode.REFUSED)
    await journal.run(decisions.requeue, [1])
    view = deliveries(journal)[1]
    assert (view.state, view.attempt, view.not_before_us, view.settled_us) == ("waiting", 0, 0, 0)
    counts = {one.name: one.n for one in counters_of(journal, "2026-03-01") if one.destination}
    assert (counts["dead"], counts["requeued"]) == (1, 1)


async def test_each_attempt_that_the_journal_knows_of_has_a_request_id_of_its_own(journal: Journal) -> None:
    """Also of what a person has retried or replayed: a server may drop what has the id of an earlier request."""
    await queue(journal, b"1", b"2", to=("a", "b"))

    async def next_id() -> str:
        (delivery,) = await journal.run(claims.claim, "chem", "a", 1)
        return delivery.request_id

    key = deliveries(journal)[1].key[:32]
    assert await next_id() == f"{key}.0"
    await journal.run(attempts.postpone, 1, attempt=1, not_before_us=0, cause=ReasonCode.BUSY, detail="503")
    assert await next_id() == f"{key}.1"
    await journal.run(claims.unclaim, [1])  # it was not made
    assert await next_id() == f"{key}.1"
    for made in (2, 3):
        await journal.run(attempts.bury, 1, reason=ReasonCode.REFUSED, detail="422")
        await journal.run(decisions.requeue, [1])
        assert await next_id() == f"{key}.{made}"
    await journal.run(attempts.postpone, 1, attempt=1, not_before_us=0, cause=ReasonCode.BUSY, detail="503")
    assert await next_id() == f"{key}.4"
    await journal.run(
        claims.unclaim, [1], maybe_delivered=True
    )  # cut off: how it ended is not known, nor that it was made
    assert await next_id() == f"{key}.4"
    await journal.run(attempts.settle, 1, delivered_us=1)
    (other,) = await journal.run(claims.claim, "chem", "a", 9)
    assert other.request_id == f"{other.key[:32]}.0"
    await journal.run(attempts.settle, other.id, delivered_us=1)
    for made in (5, 6):
        (row,) = await journal.run(queueing.replay, [1], destinations=["a"])
        assert await next_id() == f"{key}.{made}"
        await journal.run(attempts.settle, row, delivered_us=2)
    assert {one.request_id.rpartition(".")[2] for one in await journal.run(claims.claim, "chem", "b", 9)} == {"0"}


async def test_a_lane_goes_on_once_a_person_dismisses_the_dead_delivery_that_holds_it(journal: Journal) -> None:
    await queue(journal, b"1", b"2")
    (first,) = await journal.run(claims.claim, "chem", "fhir", 1)
    await journal.run(attempts.bury, first.id, reason=ReasonCode.REFUSED, hold_lane=True)
    await journal.run(dismissal.dismiss, deliveries=[first.id], actor="a.singh", reason="sent by hand")
    assert [delivery.seq for delivery in await journal.run(claims.claim, "chem", "fhir", 9)] == [2]


async def test_a_claim_is_bounded_by_bytes(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from engine.store.operations.outbox import claims

    monkeypatch.setattr(claims, "CLAIM_BYTES", 25_000)
    await queue(journal, *(os.urandom(10_000) for _ in range(5)))
    assert [len(await journal.run(claims.claim, "chem", "fhir", 9)) for _ in range(3)] == [2, 2, 1]
    await queue(journal, os.urandom(90_000))
    assert len(await journal.run(claims.claim, "chem", "fhir", 9)) == 1  # a single one is never too large


async def test_of_what_was_erased_while_it_was_sent_nothing_that_the_server_said_is_kept(journal: Journal) -> None:
    def erase(batch: Batch) -> None:
        batch.execute("INSERT INTO erased (what, number, record, act) VALUES ('document', 1, 1, 1)")

    await queue(journal, b"1", b"2")
    for delivery in await journal.run(claims.claim, "chem", "fhir", 2):
        await journal.run(decisions.supersede, [delivery.id])
    await journal.writer.submit(erase, priority=Priority.SETTLE)
    for number in (1, 2):
        await journal.run(attempts.bury, number, reason=ReasonCode.REFUSED, detail="422", answer=b"no Smith, Anna here")
    assert {number: len(one.attempts) for number, one in deliveries(journal).items()} == {1: 0, 2: 1}


async def test_a_replay_has_the_old_keys_and_new_places(journal: Journal) -> None:
    (first, second) = await queue(journal, b"1", b"2", to=("a", "b"))
    old = deliveries(journal)
    for destination in ("a", "b"):
        for delivery in await journal.run(claims.claim, "chem", destination, 9):
            await journal.run(attempts.settle, delivery.id, delivered_us=1)
    made = await journal.run(queueing.replay, [second, first], destinations=["a"])
    again = await journal.run(claims.claim, "chem", "a", 9)
    assert [(one.id, one.message_id, one.seq, one.manual) for one in again] == [
        (made[0], second, 3, True),
        (made[1], first, 4, True),
    ]
    keys = {(one.message_id, one.destination): one.key for one in old.values()}
    assert {one.key for one in again} == {keys[first, "a"], keys[second, "a"]}
    assert await journal.run(queueing.replay, [first]) != made  # all destinations, and only its own documents
    assert len(deliveries(journal)) == 4 + 2 + 2


async def test_a_message_that_is_not_delivered_everywhere_is_not_counted_and_not_taken_back(journal: Journal) -> None:
    """Of two places one has it and refuses it later, the other one has never had it."""
    await queue(journal, b"1", to=("a", "b"))
    (sent,) = await journal.run(claims.claim, "chem", "a", 1)
    await journal.run(attempts.settle, sent.id, delivered_us=NOW_US)
    assert await journal.run(attempts.refuse_late, sent.id, detail="AE after CA", answer=b"AE")
    assert {one.destination: one.state for one in deliveries(journal).values()} == {"a": "dead", "b": "waiting"}
    counted = {(one.destination, one.name): one.n for one in counters_of(journal, "2026-03-01")}
    assert counted.get(("", "delivered"), 0) == 0
    assert counted.get(("a", "delivered"), 0) == 0


async def test_processing_again_supersedes_what_the_first_time_left_open(journal: Journal) -> None:
    (message,) = await queue(journal, b"1", to=("a", "b"))
    (sent,) = await journal.run(claims.claim, "chem", "a", 1)
    await journal.run(attempts.settle, sent.id, delivered_us=1)
    outcome = await journal.run(
        record_outcome.record, message, Outcome("mapped"), [routed(b"better", "a", "b")], decision=Decision(again=True)
    )
    assert (outcome.already, outcome.waiting) == (False, 2)
    states = [(one.destination, one.state, one.manual) for one in deliveries(journal).values()]
    assert states == [
        ("a", "delivered", False),
        ("b", "superseded", False),
        ("a", "waiting", True),
        ("b", "waiting", True),
    ]
    assert len({one.key for one in deliveries(journal).values()}) == 4  # another content, another key
    await journal.run(queueing.replay, [message])
    assert {one.body if not one.packed else b"" for one in await journal.run(claims.claim, "chem", "a", 9)} == {
        b"better"
    }


async def test_processing_a_dead_message_again_clears_it(journal: Journal) -> None:
    (stored,) = await store(journal, b"1")
    await journal.run(record_outcome.record, stored.id, Outcome("dead", ReasonCode.UNMAPPED_CODE, "OBX[1]"))
    assert [letter.reason for letter in dead_letters(journal)] == ["UNMAPPED_CODE"]
    outcome = await journal.run(
        record_outcome.record, stored.id, Outcome("dead", ReasonCode.NO_ROUTE), decision=Decision(again=True)
    )
    assert (outcome.state, outcome.reason) == ("dead", ReasonCode.NO_ROUTE)
    (channel,) = list_channels(journal)
    assert channel.dead == 1
    await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [routed()], decision=Decision(again=True))
    assert dead_letters(journal) == []
    (channel,) = list_channels(journal)
    assert (channel.dead, channel.stored) == (0, 0)


async def test_a_verdict_on_a_message_that_is_not_there_is_refused(journal: Journal) -> None:
    with pytest.raises(StoreError, match="no message 1"):
        await journal.run(record_outcome.record, 1, Outcome("filtered"))
    frame = await journal.run(append.store_frame, "line", journal.new_session(), b"1H", 1)
    with pytest.raises(StoreError, match=f"no message {frame}"):
        await journal.run(record_outcome.record, frame, Outcome("filtered"))
