"""Large messages are judged elsewhere: their channel waits for them, no other does, and nothing is lost or doubled."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from engine.model.errors import StoreError
from engine.model.message import Stored
from engine.model.routes import ChannelRoutes, Processed
from engine.processing import intake as intake_module
from engine.processing.process import process
from engine.runtime.large import messages
from engine.runtime.large.messages import LARGE_BYTES, MANY_ESCAPES, MANY_LINES, LargeMessages
from engine.runtime.large.process import LargeProcess
from engine.store.journal import Journal
from engine.store.operations import record_outcome
from engine.store.queries.reader import stored_payload
from tests.engine.processing.test_intake import FULL, Flaky
from tests.support.channels import hl7
from tests.support.plant import Plant, numbers, plant
from tests.support.running import hl7_channel, running_site
from tests.support.senders import lines, send_blocks
from tests.support.waiting import until


class Later:
    """Judges what the test says is large, when the test says so, in any order."""

    def __init__(self) -> None:
        self.asked: list[tuple[Stored, ChannelRoutes, Callable[[Processed], None]]] = []
        self.taken = 0

    def takes(self, stored: Stored) -> bool:
        return stored.payload.endswith(b"L")

    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Callable[[Processed], None]) -> None:
        self.taken += 1
        self.asked.append((stored, channel, answer))

    def forget(self) -> None:
        self.asked.clear()

    def release(self, number: int = 0) -> None:
        stored, channel, answer = self.asked.pop(number)
        answer(process(stored, channel))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "STORE_RETRY_S", 0.01)


class Noting(Flaky):
    """Notes which messages got their outcome, in that order, and which ones the store failed to take."""

    def __init__(
        self, journal: Journal, fault: Callable[[int], Exception | None], ended: list[int], failed: set[int]
    ) -> None:
        super().__init__(journal, fault)
        self._ended, self._failed = ended, failed

    def run(self, function: Any, stored_id: int, *arguments: Any, **more: Any) -> "asyncio.Future[Any]":
        future = super().run(function, stored_id, *arguments, **more)
        if function is record_outcome.record:
            future.add_done_callback(lambda done: self._note(stored_id, done))
        return future

    def _note(self, stored_id: int, done: "asyncio.Future[Any]") -> None:
        if done.exception() is None:
            self._ended.append(stored_id)
        else:
            self._failed.add(stored_id)


def one_stored(payload: bytes) -> Stored:
    return Stored(id=1, channel="chem", seq=1, received_us=1_767_225_600_000_000, payload=payload)


def of(made: Plant, channel: str) -> list[str]:
    return made.destinations["server"].of(channel)


@pytest.mark.parametrize(
    ("payload", "large"),
    [
        (hl7("1", "OBX|1|NM|GLU^Glucose^L||5.5|mmol/L|||||F\r" * MANY_LINES), True),
        (hl7("1", "OBX|1|NM|GLU^Glucose^L||5.5|mmol/L|||||F\r" * (MANY_LINES - 100)), False),
        (b"H|\\^&|||AN\r" + b"R|1|^^^GLU|5.5|mmol/L\n" * MANY_LINES + b"L|1\r", True),
        (hl7("1", "a\\.br\\" * (MANY_ESCAPES // 2)), True),
        (hl7("1", "a\\.br\\" * (MANY_ESCAPES // 3)), False),
        (b"H|\\^&|||AN\rC|1||a&S&b" + b"&S&" * (MANY_ESCAPES // 2) + b"\rL|1\r", True),
        (hl7("1", "QUJD" * (LARGE_BYTES // 4 - 1000)), False),
        (hl7("1", "QUJD" * (LARGE_BYTES // 4)), True),
        (b"\r" * MANY_LINES, False),
        (b"", False),
    ],
)
def test_a_message_is_large_by_the_work_that_it_makes(payload: bytes, large: bool) -> None:
    """Bytes of an enclosed document make little work; segments and escapes make a hundred times as much."""
    assert LargeMessages(LargeProcess(bytes(32))).takes(one_stored(payload)) is large


async def test_the_channels_next_ones_wait_for_it_and_no_other_channel_does(tmp_path: Path) -> None:
    later = Later()
    async with plant(tmp_path, aside=later) as made:
        await made.destination("server")
        for channel in "ab":
            made.channel(channel, "server")
        await made.send("a", "00001", "00002L", "00003", "00004L", "00005")
        await made.send("b", *numbers(50))
        await until(lambda: of(made, "b") == numbers(50))
        assert of(made, "a") == ["00001"]
        assert made.intake.waiting == 4
        later.release()
        await until(lambda: of(made, "a") == ["00001", "00002L", "00003"])
        later.release()
        await made.drain()
        assert of(made, "a") == ["00001", "00002L", "00003", "00004L", "00005"]
        assert made.intake.waiting == made.intake._bytes == made.intake._aside_bytes == 0


async def test_across_channels_a_message_waits_for_a_large_one_with_its_names_also_after_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of one channel, whose payloads memory does not hold: what names none of its results goes out at once."""
    monkeypatch.setattr(intake_module, "MEMORY_BYTES", 40)

    async def waits(made: Plant, later: Later, b: list[str]) -> None:
        await until(lambda: len(later.asked) == 1)
        await until(lambda: of(made, "b") == b)
        await made.settle()
        assert of(made, "c") == of(made, "d") == of(made, "flood") == []

    later = Later()
    async with configured(tmp_path, later) as made:
        await made.send("flood", *(f"{number:05d}|order {number}|P{number}||L" for number in range(1, 31)))
        await made.send("c", "00031|order 30|", "00032")  # of an order of the flood, and the next of its channel
        await made.send("b", "00033|other|")
        await made.send("d", "*0034")
        await made.send("b", "00035")
        await waits(made, later, ["00033|other|"])  # the one behind that may have other names waits, too
    later = Later()
    async with configured(tmp_path, later) as made:
        await waits(made, later, [])
        for number in range(1, 31):
            await until(lambda: bool(later.asked))
            assert later.asked[0][0].payload.startswith(f"{number:05d}".encode())
            assert not of(made, "c")
            later.release()
        await made.drain()
        assert of(made, "c") == ["00031|order 30|", "00032"]
        assert of(made, "d") == ["*0034"]
        assert of(made, "b") == ["00035"]
        assert len(of(made, "flood")) == 30
        assert made.intake.waiting == made.intake._bytes == made.intake._aside_bytes == 0


@asynccontextmanager
async def configured(folder: Path, later: Later) -> AsyncIterator[Plant]:
    async with plant(folder, aside=later) as made:
        await made.destination("server")
        for channel in ("flood", "b", "c", "d"):
            made.channel(channel, "server")
        yield made


async def test_messages_that_are_late_take_turns(tmp_path: Path) -> None:
    """The one of a quiet channel does not wait for the whole backlog of another."""
    async with plant(tmp_path) as made:
        server = await made.destination("server")
        made.channel("flood", "server")
        made.channel("quiet", "server")
        async with made.intake.between_messages():
            await made.send("flood", *numbers(100))
            await made.send("quiet", "00101|other|")
            made.clock.advance(intake_module.LATE_US / 1e6 + 1)
        await made.drain()
        assert of(made, "flood") == numbers(100)
        at = server.taken.index(("quiet", "00101|other|"))
        assert at < 100 / intake_module.TURNS_AT_ONCE + 10


@pytest.mark.parametrize("limit", ["", "MEMORY_MESSAGES", "MEMORY_BYTES", "ASIDE_BYTES"])
@pytest.mark.parametrize("seed", range(4))
async def test_every_order_of_answers_faults_and_reloads_keeps_each_channels_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, limit: str
) -> None:
    """Oracle: what a channel was sent is what its destination gets, once each, in that order. Of two messages with a
    name in common, whatever their channels, the earlier one has its outcome first; one that the store failed to take
    comes again.
    """
    if limit:
        monkeypatch.setattr(intake_module, limit, 40)
    rng, later, left = random.Random(f"{seed} {limit}"), Later(), 12

    def fault(number: int) -> Exception | None:
        nonlocal left
        if left and rng.random() < 0.1:
            left -= 1
            return StoreError(FULL)
        return None

    sent: dict[str, list[str]] = {channel: [] for channel in "abc"}
    ended: list[int] = []
    failed: set[int] = set()
    orders: dict[int, str] = {}

    def noted(journal: Journal) -> Flaky:
        return Noting(journal, fault, ended, failed)

    async with plant(tmp_path, store=noted, aside=later) as made:
        server = await made.destination("server")
        for channel in sent:
            made.channel(channel, "server")
        for number in range(1, 81):
            channel = rng.choice("abc")
            orders[number] = str(rng.randrange(6))
            text = f"{number:05d}||{orders[number]}||" + ("L" if rng.random() < 0.3 else "")
            sent[channel].append(text)
            await made.send(channel, text)
            if rng.random() < 0.4 and later.asked:
                later.release(rng.randrange(len(later.asked)))
            if rng.random() < 0.05:
                made.channel(rng.choice("abc"), "server")  # as a reload: what is under way is judged anew
            if rng.random() < 0.05:
                async with made.intake.between_messages():
                    assert not later.asked

        def is_over() -> bool:
            while later.asked:
                later.release(rng.randrange(len(later.asked)))
            return {channel: of(made, channel) for channel in sent} == sent

        await until(is_over, 240.0)
        await made.drain(within_s=60.0)
        assert len(server.taken) == 80  # each once
        assert later.taken > 10
        at = {number: place for place, number in reversed(list(enumerate(ended)))}
        for earlier, other in combinations(orders, 2):
            if orders[earlier] == orders[other] and earlier not in failed:
                assert at[earlier] < at[other]
        assert made.intake.waiting == made.intake._aside_bytes == 0


async def test_the_process_is_there_while_it_is_needed_and_one_that_is_killed_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "LARGE_BYTES", 200)
    big = "a comment of some length " * 20
    async with running_site(tmp_path, {"big": hl7_channel(), "other": hl7_channel()}) as site:
        process = site.app.parts.large.process
        assert process.pid is None
        answers = await send_blocks(site.port("big"), [hl7(str(n), big if n != 3 else "short") for n in range(1, 7)])
        assert [lines(answer)["MSA"][1] for answer in answers] == ["AA"] * 6
        await until(lambda: process.pid is not None, 240.0)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        await send_blocks(site.port("other"), [hl7("1", "short")])
        await site.settled()
        assert {view.state for view in site.messages()} <= {"mapped", "dead"}
        assert len({site.trace(view.id).mapping for view in site.messages("big")}) == 1
        assert process.processor.outstanding == 0
        monkeypatch.setattr(messages, "IDLE_S", 0.05)
        await send_blocks(site.port("big"), [hl7("9", big)])
        await site.settled()
        await until(lambda: process.pid is None, 240.0)


async def test_a_large_message_is_kept_as_every_other(tmp_path: Path) -> None:
    """Hashed and compressed before the writer has it: the bytes and the hash are the same."""
    payload = hl7("4711", "".join(random.Random(1).choices("abcdefgh ", k=2_500_000)))
    async with running_site(tmp_path, {"big": hl7_channel()}) as site:
        (answer,) = await send_blocks(site.port("big"), [payload])
        assert lines(answer)["MSA"][1:3] == ["AA", "4711"]
        await site.settled()
        (kept,) = site.messages("big")
        assert stored_payload(site.journal, kept.id) == payload
        assert kept.size == len(payload)
        ran = await site.labrelay("verify")
        assert ran.code == 0, ran.out
