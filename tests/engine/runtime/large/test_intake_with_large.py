"""Intake whose messages are all large: judged elsewhere, late, by processes that end. Journal and lanes are real.

What holds with one process holds here: no message is lost, overtaken, or judged by two configurations.
"""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.model.errors import StoreError
from engine.model.message import Stored
from engine.model.packing import Packer
from engine.model.routes import ChannelRoutes, Processed
from engine.processing import intake as intake_module
from engine.processing import turns
from engine.processing.process import process
from engine.runtime.large import frames
from engine.runtime.large import processor as processor_module
from engine.runtime.large.processor import RemoteProcessor
from engine.runtime.large.wire import Decoder, Frame
from engine.store.journal import Journal
from engine.store.operations import record_outcome
from tests.support.plant import Plant, numbers, plant
from tests.support.waiting import until

pack = Packer().pack


class Elsewhere:
    """A process for large messages within this one: reads frames, judges now and then, and may end at any moment."""

    def __init__(self, seed: int, *, ends: float = 0.0) -> None:
        self.remote = RemoteProcessor(self._sent)
        self.channels: Callable[[], dict[str, ChannelRoutes]] = dict
        self.lives = 0
        self.stopped = False
        self._rng = random.Random(seed)
        self._ends = ends
        self._decoder = Decoder()
        self._waiting: list[Frame] = []
        self._known: dict[str, ChannelRoutes] = {}

    def takes(self, stored: Stored) -> bool:
        return True

    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Callable[[Processed], None]) -> None:
        self.remote.ask(stored, channel, answer)

    def forget(self) -> None:
        self.remote.forget()

    def _sent(self, parts: list[bytes]) -> None:
        for frame in self._decoder.feed(b"".join(parts)):
            if frame.kind == "forget":
                self._waiting.clear()
            else:
                self._waiting.append(frame)

    def start(self) -> None:
        """Take the configuration that holds now."""
        self.lives += 1
        self._waiting.clear()
        self._known = dict(self.channels())
        self.remote.ready()

    async def run(self) -> None:
        while True:
            for _ in range(self._rng.randrange(4)):
                await asyncio.sleep(0)
            if self._rng.random() < self._ends:
                self._waiting.clear()
                self.remote.lost()
                await asyncio.sleep(0.001)
                self.start()
                continue
            for _ in range(self._rng.randrange(1, 8)):
                if not self._waiting or self.stopped:
                    await asyncio.sleep(0.001)
                    break
                number, stored, _ = frames.read_map(self._waiting.pop(0))
                channel = self._known[stored.channel]
                parts = frames.outcome(number, process(stored, channel), channel, pack)
                (frame,) = Decoder().feed(b"".join(parts))
                self.remote.outcome(frame)


class Flaky:
    """A journal that cannot take some outcomes."""

    def __init__(self, journal: Journal, rng: random.Random, times: int) -> None:
        self._journal = journal
        self._rng = rng
        self.left = times
        self.snapshot, self.vault = journal.snapshot, journal.vault

    def run(self, function: Any, *arguments: Any, **more: Any) -> "asyncio.Future[Any]":
        if function is record_outcome.record and self.left and self._rng.random() < 0.1:
            self.left -= 1
            raise StoreError("queue full")
        return self._journal.run(function, *arguments, **more)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "STORE_RETRY_S", 0.01)


def connect(made: Plant, elsewhere: Elsewhere) -> "asyncio.Task[None]":
    elsewhere.channels = lambda: made.channels
    elsewhere.start()
    return asyncio.create_task(elsewhere.run())


@pytest.mark.parametrize("seed", range(6))
async def test_processes_that_end_and_a_store_that_fails_cost_no_message_and_no_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(intake_module, "ASIDE_BYTES", rng.choice([1, 20, 2048]))
    monkeypatch.setattr(processor_module, "STRIKES", 10_000)  # these processes end by chance, whatever they judge
    monkeypatch.setattr(intake_module, "MEMORY_MESSAGES", rng.choice([10, 2048]))
    elsewhere = Elsewhere(seed, ends=0.1)
    flaky: list[Flaky] = []

    def between(journal: Journal) -> Flaky:
        flaky.append(Flaky(journal, rng, 8 if seed % 2 else 0))
        return flaky[0]

    async with plant(tmp_path, store=between, aside=elsewhere) as made:
        server = await made.destination("server", memory_deliveries=rng.choice([3, 256]))
        for channel in "ab":
            made.channel(channel, "server")
        task = connect(made, elsewhere)
        for start in range(1, 121, 30):
            for channel in "ab":
                await made.send(channel, *numbers(30, start=start))
        await made.drain(within_s=60.0)
        task.cancel()
        assert server.of("a") == server.of("b") == numbers(120)
        assert len(server.taken) == 240  # each once
        assert elsewhere.lives > 3
        assert elsewhere.remote.outstanding == 0
        assert made.intake.counts.ended == {("a", "mapped"): 120, ("b", "mapped"): 120}
        assert made.workers["server"].memory.deliveries == 0


async def test_every_message_is_judged_wholly_by_one_configuration(tmp_path: Path) -> None:
    elsewhere = Elsewhere(1)
    async with plant(tmp_path, aside=elsewhere) as made:
        for name in ("one", "two"):
            await made.destination(name)
        made.channel("a", "one")
        task = connect(made, elsewhere)
        to = "one"
        for turn in range(8):
            sending = asyncio.create_task(made.send("a", *numbers(40, start=1 + 40 * turn)))
            await asyncio.sleep(0.003)
            to = "two" if to == "one" else "one"
            async with made.intake.between_messages():
                elsewhere.remote.pause()
                made.channel("a", to)
            await asyncio.sleep(0.001)  # what is asked meanwhile waits for the new configuration
            elsewhere.start()
            await sending
        await made.drain()
        task.cancel()
        one, two = made.destinations["one"].of("a"), made.destinations["two"].of("a")
        assert one == sorted(one)
        assert two == sorted(two)
        assert sorted(one + two) == numbers(320)
        assert one
        assert two


async def test_while_nothing_is_answered_no_more_is_kept_than_the_limits_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "MEMORY_MESSAGES", 50)
    monkeypatch.setattr(intake_module, "READ_AT_ONCE", 10)
    monkeypatch.setattr(turns, "MESSAGES", 20)
    elsewhere = Elsewhere(1)
    async with plant(tmp_path, aside=elsewhere) as made:
        server = await made.destination("server")
        made.channel("a", "server")
        elsewhere.stopped = True
        task = connect(made, elsewhere)
        await made.send("a", *numbers(300))
        await until(lambda: elsewhere.remote.outstanding == 1)  # the others of its channel wait for it
        assert made.intake.waiting <= 20 + 51
        elsewhere.stopped = False
        await made.drain()
        task.cancel()
        assert server.of("a") == numbers(300)
