"""How intake reads the names of messages that take turns: each its own, and some at a time. Nothing is stored."""

import asyncio
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import pytest

from engine.model.message import FormatOptions, MapContext, Stored
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.routes import ChannelRoutes, Processed
from engine.model.worklist import TakeSettings
from engine.processing import intake as intake_module
from engine.processing.intake import Intake
from engine.processing.turns import Named
from tests.support.plant import LineFormat
from tests.support.waiting import until


class Silent:
    """A journal that answers later, and a processor of large messages that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Callable[[Processed], None]]] = []
        self.recorded: list[tuple[int, int]] = []

    def run(self, function: Any, stored_id: int, *_: Any, after: int, **more: Any) -> "asyncio.Future[Any]":
        self.recorded.append((stored_id, after))
        return asyncio.get_running_loop().create_future()

    def takes(self, stored: Stored) -> bool:
        return stored.payload.endswith(b"L")

    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Callable[[Processed], None]) -> None:
        self.asked.append((stored.id, answer))

    def forget(self) -> None:
        self.asked.clear()


class Reading:
    """Names are the message's id, read in two pieces. ``turn`` is the loop's."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.turn = 0
        self.read: Counter[int] = Counter()

    def names_of(self, stored: Stored, channel: ChannelRoutes) -> Generator[None, None, Named]:
        for _ in range(self.pieces - 1):
            yield
        self.read[self.turn] += 1
        return Named(frozenset({stored.id}))

    async def count(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)


def intake_of(silent: Silent, reading: Reading) -> tuple[Intake, ManualClock]:
    clock = ManualClock()
    made = Intake(
        silent,  # type: ignore[arg-type]
        clock=clock, aside=silent, names=reading.names_of,
    )  # fmt: skip
    channel = ChannelRoutes(
        channel="a", message_format=LineFormat(), media_type="", options=FormatOptions(), routes=(),
        context=MapContext(),
    )  # fmt: skip
    made.configure({"a": channel, "b": channel}, {})
    made._caught_up = True
    return made, clock


def stored(number: int, channel: str, payload: bytes, clock: ManualClock) -> Stored:
    return Stored(id=number, channel=channel, seq=number, payload=payload, received_us=clock.now_us())


async def test_no_message_gets_the_names_of_another() -> None:
    silent, reading = Silent(), Reading(2)
    intake, clock = intake_of(silent, reading)
    intake.accept(stored(1, "a", b"L", clock))
    intake.accept(stored(2, "b", b"", clock))
    while not silent.asked:
        intake._step()
    assert len(intake._queue) == 1  # its names are read in part
    silent.asked.pop()[1](Outcome("filtered"))
    intake._step()
    assert [number for number, _ in silent.recorded] == [1, 2]  # nothing is late or large: it needs none
    intake.accept(stored(3, "a", b"L", clock))
    while not intake._turns:
        intake._step()
    waiting = intake._turns.oldest()
    assert waiting is not None
    assert (waiting.stored.id, waiting.named.names) == (3, frozenset({3}))


async def test_the_age_of_the_oldest_of_each_channel_is_known() -> None:
    silent, reading = Silent(), Reading(1)
    intake, clock = intake_of(silent, reading)
    at = {}
    for number, (channel, payload) in enumerate([("b", b"L"), ("a", b""), ("b", b""), ("a", b"")], start=1):
        one = stored(number, channel, payload, clock)
        at[number] = one.received_us
        clock.advance(1.0)
        intake.accept(one)
    assert intake.oldest_us() == {"b": at[1], "a": at[2]}
    intake._step()  # the large one is processed aside
    assert intake.oldest_us() == {"b": at[1], "a": at[2]}
    intake._step()
    assert intake.oldest_us() == {"b": at[1], "a": at[4]}
    for _, answer in tuple(silent.asked):
        answer(Outcome("filtered"))
    assert intake.oldest_us() == {"b": at[3], "a": at[4]}


async def test_the_age_of_the_oldest_is_known_of_a_channel_that_is_not_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake_module, "MEMORY_MESSAGES", 1)
    silent, reading = Silent(), Reading(1)
    intake, clock = intake_of(silent, reading)
    came = []
    for number, channel in enumerate("abab", start=1):
        came.append(stored(number, channel, b"", clock))
        clock.advance(5.0)
        intake.accept(came[-1])
    at = [one.received_us for one in came]
    assert intake.oldest_us() == {"a": at[0], "b": at[1]}
    intake._go_back(1)
    assert intake.oldest_us() == {"a": at[0], "b": at[1]}
    batches = [came[1:2], came[2:], []]
    monkeypatch.setattr(intake_module, "unprocessed", lambda *_: batches.pop(0))
    intake._read_back()
    assert intake.oldest_us()["b"] == at[1]
    intake._queue.clear()  # as if it was processed: the next one is not older
    assert intake.oldest_us()["b"] == at[1]
    intake._read_back()
    assert intake.oldest_us() == {"a": at[2], "b": at[3]}
    intake._queue.clear()
    intake._read_back()
    assert intake.oldest_us() == {}


async def test_a_large_message_waits_for_those_of_its_channel_and_names_only() -> None:
    """And no other waits for the large one meanwhile."""
    silent, reading = Silent(), Reading(1)
    intake, clock = intake_of(silent, reading)
    for number, (channel, payload) in enumerate([("a", b"L"), ("b", b"L"), ("a", b"L"), ("b", b"")], start=1):
        intake.accept(stored(number, channel, payload, clock))
    clock.advance(intake_module.LATE_US / 1e6 + 1)
    while intake._step():
        pass
    assert [number for number, _ in silent.asked] == [1, 2]
    silent.asked[1][1](Outcome("filtered"))
    while intake._step():
        pass
    assert [number for number, _ in silent.asked] == [1, 2]
    assert [number for number, _ in silent.recorded] == [2, 4]
    silent.asked[0][1](Outcome("filtered"))
    intake._step()
    assert [number for number, _ in silent.asked] == [1, 2, 3]


async def test_messages_from_before_the_clock_was_set_back_are_late() -> None:
    silent, reading = Silent(), Reading(1)
    intake, clock = intake_of(silent, reading)
    for number, channel in enumerate("aaaab", start=1):
        intake.accept(stored(number, channel, b"x" * 2_000, clock))
    clock.advance(-3_600.0)
    intake._step()
    intake._step()
    assert [number for number, _ in silent.recorded] == [1, 5]
    assert [one.stored.channel for one in intake._turns] == [*"aaa"]


async def test_a_message_whose_names_cannot_be_read_keeps_the_order_of_all() -> None:
    def failing(stored: Stored, channel: ChannelRoutes) -> Generator[None, None, Named]:
        if stored.id == 2:
            raise IndexError
        return Named(frozenset({stored.id}))
        yield

    silent, reading = Silent(), Reading(1)
    reading.names_of = failing  # type: ignore[method-assign]
    intake, clock = intake_of(silent, reading)
    for number, channel in enumerate("abab", start=1):
        intake.accept(stored(number, channel, b"", clock))
    clock.advance(intake_module.LATE_US / 1e6 + 1)
    while intake._step():
        pass
    assert [number for number, _ in silent.recorded] == [1, 2, 3, 4]


async def test_orders_do_not_wait_for_one_of_their_channel_that_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its payload was not in memory, and cannot be read back: it has its outcome already."""
    monkeypatch.setattr(intake_module, "MEMORY_BYTES", 2)
    monkeypatch.setattr(intake_module, "unprocessed", lambda *_: [])
    silent, reading = Silent(), Reading(1)
    intake, clock = intake_of(silent, reading)
    intake._channels = {"a": replace(intake._channels["a"], takes=TakeSettings(known_channels={}))}
    intake.accept(stored(1, "a", b"xL", clock))
    assert intake._in_turn == {"a": 1}
    while intake._step():
        pass
    assert not silent.asked
    assert not silent.recorded
    assert not intake._in_turn


async def test_after_a_reload_an_outcome_waits_for_the_one_before_that_is_not_durable_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent, reading = Silent(), Reading(1)
    intake, clock = intake_of(silent, reading)
    first, large, second = (
        stored(number, channel, payload, clock)
        for number, channel, payload in ((1, "a", b""), (2, "b", b"L"), (3, "a", b""))
    )
    intake.accept(first)
    intake._step()
    intake.accept(large)
    intake._step()
    assert [number for number, _ in silent.asked] == [2]
    intake.configure(intake._channels, {})
    monkeypatch.setattr(intake_module, "unprocessed", lambda *_: [large, second])
    intake._read_back()
    while len(silent.recorded) < 2:
        intake._step()
    assert silent.recorded == [(1, 0), (3, 1)]


@pytest.mark.parametrize(("size", "most"), [(16 * 1024, 9), (100, 20)])
async def test_others_of_the_loop_get_their_turn_while_names_are_read(size: int, most: int) -> None:
    silent, reading = Silent(), Reading(1)
    intake, clock = intake_of(silent, reading)
    for number in range(1, 201):
        intake.accept(stored(number, "ab"[number % 2], b"x" * size, clock))
    clock.advance(intake_module.LATE_US / 1e6 + 1)
    tasks = [asyncio.create_task(reading.count()), asyncio.create_task(intake.run())]
    await until(lambda: reading.read.total() == 200)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert max(reading.read.values()) <= most
