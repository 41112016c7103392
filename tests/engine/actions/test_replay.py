"""Replays: which messages, where to, how they yield, and that they are taken up again without a gap or a repeat."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from engine.actions import replay_messages
from engine.actions.replay import forget_replay, replay_documents, resume_replay
from engine.actions.replay_messages import LIVE_FIRST, ReplayRun
from engine.actions.selection import Selection
from engine.actions.underway import Acts
from engine.model.errors import LabRelayError, StoreError
from engine.model.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.operations import replays
from engine.store.operations.outbox import attempts, claims
from engine.store.queries.acts import acts_page, open_acts
from engine.store.queries.replays import unfinished_replays
from tests.support.journals import queue, replaced, running, started
from tests.support.waiting import until

COUNT = 30


def test_how_long_is_left_follows_from_the_rate_since_it_was_taken_up() -> None:
    run = ReplayRun(number=1, act=2, total=130, done=110, deliveries=0, failed=0, began=50.0, done_before=100)
    told = run.progress(now=55.0)
    assert (told["rate"], told["left_s"]) == (2.0, 10)
    run.done = 100
    assert run.progress(now=55.0)["left_s"] is None


class Lanes:
    """Says whether a replay may go on, and counts what it has queued meanwhile."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.left = 10**9
        self.asked: Counter[tuple[str, str]] = Counter()

    def __call__(self, channel: str, destination: str) -> str:
        self.asked[channel, destination] += 1
        if self.left <= 0:
            return "live messages go first"
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
            if acts is not None:
                acts.replays.settled(delivery.id, None)
    return sent


def acts_on(journal: Journal, lanes: Lanes | None = None) -> Acts:
    return Acts(journal, channels=dict, waits=lanes or Lanes())


async def test_it_goes_out_oldest_first_and_ends_with_its_outcome(journal: Journal) -> None:
    ids = await delivered(journal)
    acts = acts_on(journal)
    begun = await replay_documents(acts, Selection(all=True), actor="anita", rate=100_000, within_s=0)
    assert (begun["count"], begun["going_on"]) == (COUNT, True)
    await until(lambda: acts.replays.progress(begun["act"])["done"] == COUNT)
    assert await deliver(journal, acts) == ids
    assert await acts.replays.wait(begun["act"], 60.0)
    progress = acts.replays.progress(begun["act"])
    assert (progress["state"], progress["outcome"]) == ("ended", {"messages": COUNT, "deliveries": COUNT})
    assert unfinished_replays(journal) == []
    assert open_acts(journal) == []


async def test_each_end_of_a_delivery_is_counted_for_what_it_is(journal: Journal) -> None:
    """A person is told what was kept back, and what was no failure."""
    await delivered(journal, 5)
    acts = acts_on(journal)
    begun = await replay_documents(acts, Selection(all=True), actor="anita", rate=100_000, within_s=0)
    await until(lambda: acts.replays.progress(begun["act"])["done"] == 5)
    ends = [None, ReasonCode.SUPERSEDED, ReasonCode.OVERTAKEN, ReasonCode.OVERTAKEN, ReasonCode.REFUSED]
    for delivery, end in zip(await journal.run(claims.claim, "chem", "fhir", 5), ends, strict=True):
        acts.replays.settled(delivery.id, end)
    assert await acts.replays.wait(begun["act"], 60.0)
    assert acts.replays.progress(begun["act"])["outcome"] == {
        "messages": 5,
        "deliveries": 5,
        "failed": 1,
        "superseded": 1,
        "overtaken": 2,
    }


async def test_one_that_fails_says_so_and_can_be_taken_up_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await delivered(journal)
    acts = acts_on(journal)

    def fails(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as full:
        replaced(full, journal, replays.step, by=fails)
        begun = await replay_documents(acts, Selection(all=True), actor="anita", rate=100_000, within_s=0)
        await until(lambda: acts.replays.progress(begun["act"])["state"] == "failed")
    assert ("a replay failed", "StoreError") in [(one.message, getattr(one, "detail", "")) for one in caplog.records]
    await resume_replay(acts, begun["act"], actor="anita", rate=100_000, within_s=0)
    await until(lambda: acts.replays.progress(begun["act"])["done"] == COUNT)
    assert await deliver(journal, acts) == ids
    assert await acts.replays.wait(begun["act"], 60.0)
    assert acts.replays.progress(begun["act"])["state"] == "ended"


async def test_it_queues_nothing_while_something_live_waits(journal: Journal) -> None:
    await delivered(journal)
    lanes = Lanes()
    lanes.left = 5
    acts = acts_on(journal, lanes)
    begun = await replay_documents(acts, Selection(all=True), actor="anita", rate=100_000, within_s=0)
    await until(lambda: acts.replays.progress(begun["act"])["waits"] == "live messages go first")
    assert len(await journal.run(claims.claim, "chem", "fhir", 99)) == 5
    lanes.left = 10**9
    acts.replays.settled(0, None)  # something has moved
    await until(lambda: acts.replays.progress(begun["act"])["done"] == COUNT)
    await acts.stop()


def _has_done(acts: Acts, act: int, count: int) -> bool:
    return bool(acts.replays.progress(act)["done"] == count)


@pytest.mark.parametrize("why", [LIVE_FIRST, "fhir is not reachable"])
async def test_what_is_live_without_end_does_not_keep_it_for_ever_a_server_that_is_away_does(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """One at a time: the next only once the last has been delivered."""
    monkeypatch.setattr(replay_messages, "YIELDS_S", 0.01)
    monkeypatch.setattr(replay_messages, "POLL_S", 0.002)
    ids = await delivered(journal)
    acts = Acts(journal, channels=dict, waits=lambda channel, destination: why)
    begun = await replay_documents(acts, Selection(all=True), actor="anita", rate=100_000, within_s=0)
    await until(lambda: acts.replays.progress(begun["act"])["waits"] == why)
    sent: list[int] = []
    if why == LIVE_FIRST:
        for number in range(1, COUNT + 1):
            await until(partial(_has_done, acts, begun["act"], number))
            assert acts.replays.progress(begun["act"])["outcome"]["waiting"] == 1
            sent += await deliver(journal, acts)
        assert await acts.replays.wait(begun["act"], 60.0)
    else:
        assert not await acts.replays.wait(begun["act"], 0.1)
    assert sent == (ids if why == LIVE_FIRST else [])
    await acts.stop()


async def test_its_rate_is_a_limit_and_no_wait_is_caught_up_on(journal: Journal) -> None:
    await delivered(journal, 4)
    acts = acts_on(journal)
    begun = await replay_documents(acts, Selection(all=True), actor="anita", rate=0.01, within_s=0)
    await until(lambda: acts.replays.progress(begun["act"])["done"] == 1)
    assert (await acts.replays.halt(begun["act"]))["state"] == "stopped", "also amid a wait of minutes"
    assert len(await journal.run(claims.claim, "chem", "fhir", 99)) == 1


def _rests(acts: Acts, lanes: Lanes, number: int) -> bool:
    return lanes.left <= 0 or not acts.replays.is_running(number) or acts.replays.progress(number)["done"] == COUNT


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_ends_it_nothing_is_left_out_and_nothing_is_queued_twice(tmp_path: Path, seed: int) -> None:
    """Stopped by a person, cut off with the process, killed between two steps: in any order, then taken up again."""
    rng = random.Random(seed)
    journal = await started(tmp_path)
    ids = await delivered(journal)
    number, sent = 0, list[int]()
    while True:
        lanes = Lanes()
        lanes.left = rng.randrange(1, 12)
        acts = acts_on(journal, lanes)
        if not number:
            number = (await replay_documents(acts, Selection(all=True), actor="a", rate=1e5, within_s=0))["act"]
        else:
            await resume_replay(acts, number, actor="b", rate=1e5, within_s=0)
        await until(partial(_rests, acts, lanes, number))
        match rng.choice(["person", "stop", "kill"]):
            case "person":
                await acts.replays.halt(number)
            case "stop":
                await acts.stop()
            case "kill":  # no act has an end, leases are of a process that is gone
                await acts.replays.stop()
                journal.recovered = False
        await journal.stop()
        journal = await started(tmp_path)
        await acts_on(journal).give_up(act.id for act in open_acts(journal))
        sent += await deliver(journal)
        if not unfinished_replays(journal) or len(sent) >= COUNT:
            break
    await journal.stop()
    assert sent == ids


async def test_a_replay_that_ended_cannot_be_taken_up_and_one_may_be_given_up(journal: Journal) -> None:
    await delivered(journal, 3)
    lanes = Lanes()
    lanes.left = 1
    acts = acts_on(journal, lanes)
    number = (await replay_documents(acts, Selection(all=True), actor="anita", rate=1e5, within_s=0))["act"]
    await until(lambda: lanes.left == 0)
    await acts.replays.halt(number)
    assert [one.number for one in unfinished_replays(journal)] == [number]
    await forget_replay(acts, number, actor="anita")
    assert acts_page(journal, limit=1)[0].what == {"given_up": number}
    with pytest.raises(LabRelayError, match="not unfinished"):
        await resume_replay(acts, number, actor="anita")


async def test_what_came_after_it_began_is_no_part_of_it(journal: Journal) -> None:
    await delivered(journal, 3)
    lanes = Lanes()
    lanes.left = 1
    acts = acts_on(journal, lanes)
    number = (await replay_documents(acts, Selection(channel="chem"), actor="anita", rate=1e5, within_s=0))["act"]
    await until(lambda: lanes.left == 0)
    await acts.replays.halt(number)
    await deliver(journal)
    await delivered(journal, 2)
    lanes.left = 10**9
    await resume_replay(acts, number, actor="anita", rate=1e5, within_s=0)
    await until(lambda: acts.replays.progress(number)["done"] == 3)
    assert len(await deliver(journal, acts)) == 2
    await acts.stop()
