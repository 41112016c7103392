"""The bound on a channel's bytes without an outcome: a flood is slowed, then refused; nothing acknowledged is lost."""

import asyncio
import random
from pathlib import Path

import pytest

from engine.model.message import Stored
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.receiving import admission
from engine.receiving.admission import Backlog
from engine.store.journal import Journal
from engine.store.lifecycle import erasure
from engine.store.operations import record_outcome
from engine.store.queries.reader import stored_payload
from tests.engine.receiving.test_channel import served
from tests.support.channels import MemoryStream, ScriptedStore, block, channel, hl7
from tests.support.journals import started
from tests.support.waiting import until

LIMIT = 2_000
LARGEST = 3_000  # larger than the bound itself


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "BACKLOG_BYTES", LIMIT)
    monkeypatch.setattr(admission, "SLOWEST_S", 0.001)


class Histories:
    """Two channels at a journal, and what is known of each of their messages."""

    def __init__(self, data: Path, seed: int) -> None:
        self.data = data
        self.random = random.Random(seed)
        self.open: dict[str, dict[int, int]] = {"a": {}, "b": {}}  # channel -> messages without outcome, their sizes
        self.acknowledged: dict[bytes, int] = {}  # payload -> message
        self.sent = self.refused = self.passed = 0

    async def begin(self) -> None:
        self.journal: Journal = await started(self.data, clock=ManualClock())
        made = {name: channel(self.journal, name=name, stored=self.durable, unjudged=self.journal.unjudged)
                for name in self.open}  # fmt: skip
        self.channels = made

    def durable(self, stored: Stored) -> None:
        self.open[stored.channel][stored.id] = len(stored.payload)
        self.acknowledged[stored.payload] = stored.id

    def unjudged(self, name: str) -> int:
        return sum(self.open[name].values())

    async def send(self, name: str) -> None:
        """On up to three connections at once."""
        before = self.unjudged(name)
        streams, payloads = [], []
        for _ in range(self.random.randint(1, 3)):
            self.sent += 1
            payload = hl7(str(self.sent), "x" * self.random.choice((100, 400, 900, LARGEST)))
            payloads.append(payload)
            streams.append(MemoryStream())
            streams[-1].feed(block(payload))
        tasks = [asyncio.create_task(self.channels[name].handle(stream)) for stream in streams]
        await until(lambda: all(stream.codes or stream.closed for stream in streams))
        for stream in streams:
            stream.end()
        await asyncio.gather(*tasks)
        taken = [payload for stream, payload in zip(streams, payloads, strict=True) if stream.codes == ["AA"]]
        assert all(payload in self.acknowledged for payload in taken)
        assert bool(taken) == (before < LIMIT)
        assert self.unjudged(name) - max(self.open[name].values()) < LIMIT
        self.refused += len(streams) - len(taken)
        self.passed += self.unjudged(name) > LIMIT

    async def judge(self, name: str) -> None:
        for message in list(self.open[name])[: self.random.randint(1, 3)]:
            outcome = self.random.choice((
                Outcome("filtered", ReasonCode.QUALITY_CONTROL), Outcome("dead", ReasonCode.UNMAPPED_CODE, "?"), None,
            ))  # fmt: skip
            if outcome is None:
                await self.journal.run(erasure.erase, [message], ["1"], actor="ann", reason="asked", more={})
                self.acknowledged = {one: number for one, number in self.acknowledged.items() if number != message}
            else:
                for _ in range(2):  # the second one finds the first
                    await self.journal.run(record_outcome.record, message, outcome)
            del self.open[name][message]

    async def restart(self) -> None:
        await self.journal.stop()
        await self.begin()

    async def end(self) -> None:
        for payload, message in self.acknowledged.items():
            assert stored_payload(self.journal, message) == payload
        await self.journal.stop()


@pytest.mark.promise("P1")
async def test_a_channel_passes_its_bound_by_one_message_at_most_and_holds_back_no_other(tmp_path: Path) -> None:
    story = Histories(tmp_path, seed=11)
    await story.begin()
    for _ in range(40):
        name = story.random.choice("ab")
        act = story.random.choices((story.send, story.judge), (3, 2))[0]
        await act(name)
        if story.random.random() < 0.1:
            await story.restart()
        assert {name: story.journal.unjudged(name) for name in "ab"} == {name: story.unjudged(name) for name in "ab"}
    await story.end()
    assert story.refused > 5
    assert story.passed > 5


def test_messages_wait_in_proportion_beyond_half_of_the_bound() -> None:
    held = 0
    bound = Backlog(lambda: held)
    pauses = []
    for held in (0, LIMIT // 2, LIMIT * 3 // 4, LIMIT - 1, LIMIT, 5 * LIMIT):
        pauses.append(bound.pause_s / admission.SLOWEST_S)
        assert bound.full == (held >= LIMIT)
    assert pauses == pytest.approx([0.0, 0.0, 0.5, 0.999, 1.0, 1.0])


async def test_messages_that_come_in_one_read_wait_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def pause_s(bound: Backlog) -> float:
        waits.append(0.001)
        return waits[-1]

    monkeypatch.setattr(Backlog, "pause_s", property(pause_s))
    stream = MemoryStream()
    async with served(channel(ScriptedStore()), stream):
        for first in (0, 10):
            stream.feed(b"".join(block(hl7(str(first + number))) for number in range(10)))
            await until(lambda first=first: len(stream.codes) == first + 10)
    assert len(waits) == 2


async def test_of_a_block_of_several_messages_each_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "BACKLOG_BYTES", 10**6)
    store, durable = ScriptedStore(manual=True), 0
    made = channel(store, unjudged=lambda _: durable)
    stream, messages = MemoryStream(), [hl7(str(number)) for number in range(5)]
    size = sum(map(len, messages))
    async with served(made, stream):
        stream.feed(block(b"".join(messages)))
        await until(lambda: len(store.waiting) == len(messages))
        for message in messages:
            assert made.backlog.bytes == size
            durable += len(message)
            store.release()
            await until(lambda: made.backlog.bytes == size)
        await until(lambda: bool(stream.codes))
    assert made.backlog.bytes == size


def test_the_longest_wait_is_far_below_the_time_outs_of_analyzers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert admission.SLOWEST_S <= 15.0 / 5
    assert admission.BACKLOG_BYTES == 64 * 1024 * 1024
