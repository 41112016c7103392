"""Replays: which messages, where to, how they yield, and that a restart goes on without a gap or a repeat."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from engine.actions import operations, underway
from engine.actions.selection import Selection
from engine.actions.underway import LIVE_FIRST, Acts
from engine.actions.verbs import bulk_acts
from engine.features.rework.acts.verbs import replay_documents
from engine.model.errors import StoreError
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.operations import bulk
from engine.store.operations.bulk import Operation
from engine.store.operations.outbox import attempts, claims, decisions
from engine.store.queries.acts import acts_page, open_acts
from engine.store.queries.bulk import operation_if, running_operations, undelivered
from tests.support.journals import queue, replaced, running, started
from tests.support.waiting import until

COUNT = 30
ALL = Selection(all=True)


class Lanes:
    """Says whether a replay may go on, and counts what it has queued meanwhile."""

    def __init__(self) -> None:
        self.left = 10**9
        self.asked: Counter[tuple[str, str]] = Counter()

    def __call__(self, channel: str, destination: str) -> str:
        self.asked[channel, destination] += 1
        if self.left <= 0:
            return "fhir is paused"
        self.left -= 1
        return ""


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with running(tmp_path) as journal:
        yield journal


async def delivered(journal: Journal, count: int = COUNT) -> list[int]:
    """Messages whose documents have all been delivered."""
    ids = await queue(journal, *(b"%d" % number for number in range(count)))
    await deliver(journal)
    return ids


async def deliver(journal: Journal, acts: Acts | None = None) -> list[int]:
    """Deliver what waits; the messages, in the order in which they went."""
    sent = []
    while found := await journal.run(claims.claim, "chem", "fhir", 50):
        for delivery in found:
            await journal.run(attempts.settle, delivery.id, delivered_us=1)
            sent.append(delivery.message_id)
            if acts is not None and acts.yielding is not None:
                acts.yielding.moved()
    return sent


def acts_on(journal: Journal, lanes: Lanes | None = None) -> Acts:
    return Acts(journal, channels=dict, waits=lanes or Lanes())


async def begun(acts: Acts, selection: Selection = ALL, *, rate: float = 100_000) -> int:
    answer = await replay_documents(acts, selection, actor="anita", rate=rate, within_s=0)
    assert answer["going_on"]
    return int(answer["operation"])


def shown(journal: Journal, number: int) -> Operation:
    found = operation_if(journal, number)
    assert found is not None
    return found


def has_done(journal: Journal, number: int, count: int) -> bool:
    return shown(journal, number).position == count


async def test_it_goes_out_oldest_first_and_ends_with_its_outcome(journal: Journal) -> None:
    ids = await delivered(journal)
    acts = acts_on(journal)
    number = await begun(acts)
    assert await acts.operations.wait(number, 60.0)
    assert await deliver(journal, acts) == ids
    found = shown(journal, number)
    assert (found.stage, found.outcomes, found.actor) == ("ended", {"requeued": COUNT}, "anita")
    assert undelivered(journal, number) == {}
    assert open_acts(journal) == []


async def test_each_end_of_a_delivery_is_counted_for_what_it_is(journal: Journal) -> None:
    """A person is told what was kept back, and what was no failure."""
    await delivered(journal, 6)
    acts = acts_on(journal)
    number = await begun(acts)
    assert await acts.operations.wait(number, 60.0)
    assert undelivered(journal, number) == {"waiting": 6}
    sent, newer, held, dead, *_ = await journal.run(claims.claim, "chem", "fhir", 5)
    await journal.run(attempts.settle, sent.id, delivered_us=1)
    await journal.run(decisions.supersede, [newer.id])
    await journal.run(decisions.hold, [held.id], ReasonCode.OVERTAKEN)
    await journal.run(attempts.bury, dead.id, ReasonCode.REFUSED)
    assert undelivered(journal, number) == {"waiting": 2, "superseded": 1, "held": 1, "dead": 1}


async def test_a_step_that_fails_is_tried_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await delivered(journal)
    acts = acts_on(journal)
    failed: list[None] = []

    def fails(*_: object, **__: object) -> None:
        failed.append(None)
        raise StoreError("the disk is full")

    monkeypatch.setattr(operations, "TRY_AGAIN_S", 0.01)
    with monkeypatch.context() as full:
        replaced(full, journal, bulk.step, by=fails)
        number = await begun(acts)
        await until(lambda: len(failed) > operations.TRIES)
    assert await acts.operations.wait(number, 60.0)
    assert ("a step of an operation failed", "StoreError") in [
        (one.message, getattr(one, "detail", "")) for one in caplog.records
    ]
    assert await deliver(journal, acts) == ids


async def test_it_queues_nothing_while_a_lane_is_paused_and_says_so(journal: Journal) -> None:
    await delivered(journal)
    lanes = Lanes()
    lanes.left = 5
    acts = acts_on(journal, lanes)
    number = await begun(acts)
    assert acts.yielding is not None
    await until(lambda: acts.yielding is not None and acts.yielding.why(number) == "fhir is paused")
    assert len(await journal.run(claims.claim, "chem", "fhir", 99)) == 5
    lanes.left = 10**9
    acts.yielding.moved()
    assert await acts.operations.wait(number, 60.0)
    assert acts.yielding.why(number) == ""


@pytest.mark.parametrize("why", [LIVE_FIRST, "fhir is not reachable"])
async def test_what_is_live_without_end_does_not_keep_it_for_ever_a_server_that_is_away_does(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """One at a time: the next only once the last has been delivered."""
    monkeypatch.setattr(underway, "YIELDS_S", 0.01)
    monkeypatch.setattr(underway, "POLL_S", 0.002)
    ids = await delivered(journal)
    acts = Acts(journal, channels=dict, waits=lambda channel, destination: why)
    number = await begun(acts)
    assert acts.yielding is not None
    await until(lambda: acts.yielding is not None and acts.yielding.why(number) == why)
    sent: list[int] = []
    if why == LIVE_FIRST:
        for position in range(1, COUNT + 1):
            await until(partial(has_done, journal, number, position))
            assert undelivered(journal, number) == {"waiting": 1}
            (delivery,) = await journal.run(claims.claim, "chem", "fhir", 50)
            await journal.run(attempts.settle, delivery.id, delivered_us=1)
            sent.append(delivery.message_id)
            acts.yielding.moved()
        assert await acts.operations.wait(number, 60.0)
    else:
        assert not await acts.operations.wait(number, 0.1)
    assert sent == (ids if why == LIVE_FIRST else [])
    await acts.stop()


@pytest.mark.parametrize("amid", ["a wait for its rate", "a wait for its lane"])
async def test_its_rate_is_a_limit_and_a_person_ends_it_amid_any_wait(journal: Journal, amid: str) -> None:
    await delivered(journal, 4)
    lanes = Lanes()
    lanes.left = 1
    acts = acts_on(journal, lanes)
    number = await begun(acts, rate=0.01 if amid == "a wait for its rate" else 100_000)
    await until(partial(has_done, journal, number, 1))
    await acts.operations.cancel(number, actor="bela")
    assert await acts.operations.wait(number, 60.0), "it does not go on to wait for minutes"
    assert len(await journal.run(claims.claim, "chem", "fhir", 99)) == 1
    assert (shown(journal, number).stage, shown(journal, number).outcomes) == ("cancelled", {"requeued": 1})
    assert running_operations(journal) == []
    assert acts_page(journal, limit=2)[1].what == {"operation": number, "left": 3}


def rests(acts: Acts, lanes: Lanes, number: int) -> bool:
    return lanes.left <= 0 or shown(acts.journal, number).stage == "ended"


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_ends_the_process_nothing_is_left_out_and_nothing_is_queued_twice(
    tmp_path: Path, seed: int
) -> None:
    """Stopped, or killed between two steps: in any order; the next start goes on."""
    rng = random.Random(seed)
    journal = await started(tmp_path)
    ids = await delivered(journal)
    number, sent = 0, list[int]()
    while len(sent) < COUNT:
        lanes = Lanes()
        lanes.left = rng.randrange(1, 12)
        acts = acts_on(journal, lanes)
        taken_up = acts.operations.take_up(bulk_acts(acts))
        assert taken_up == ({number} if number else set())
        number = number or await begun(acts)
        await until(partial(rests, acts, lanes, number))
        await acts.stop()
        if rng.choice([True, False]):  # killed: leases are of a process that is gone
            journal.recovered = False
        await journal.stop()
        journal = await started(tmp_path)
        sent += await deliver(journal)
    assert running_operations(journal) == []
    await journal.stop()
    assert sent == ids


async def test_what_came_after_the_count_is_no_part_of_it(journal: Journal) -> None:
    """Neither a later message, nor an older one that was delivered later."""
    await delivered(journal, 3)
    (late,) = await queue(journal, b"waits")
    acts = acts_on(journal)
    dry = await replay_documents(acts, Selection(channel="chem"), actor="anita", dry_run=True)
    counted = Selection(channel="chem", last=dry["last"], counted_us=dry["counted_us"])
    for delivery in await journal.run(claims.claim, "chem", "fhir", 9):
        await journal.run(attempts.settle, delivery.id, delivered_us=dry["counted_us"] + 1)
    await delivered(journal, 2)
    answer = await replay_documents(acts, counted, actor="anita", rate=1e5, within_s=60)
    assert (dry["count"], answer["count"], answer["done"]) == (3, 3, {"requeued": 3})
    assert late not in await deliver(journal)
