"""Random histories of intake with large messages, answered later: nothing is lost, and nothing goes backwards.

Oracle: after each step a message without outcome is in memory, or will be read back. In the end each has its outcome,
those of a channel and those with a name in common in the order in which they came. Nothing is stored.
"""

import asyncio
import random
from collections.abc import Callable, Generator
from itertools import combinations
from typing import Any

import pytest

from engine.model.errors import StoreError
from engine.model.journal.records import Recorded
from engine.model.message import FormatOptions, MapContext, Stored
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.routes import ChannelRoutes, Processed
from engine.processing import committing
from engine.processing import intake as intake_module
from engine.processing.intake import Intake
from engine.processing.turns import Named
from engine.store.operations import poison_message
from tests.support.plant import LineFormat
from tests.support.waiting import until

MESSAGES = 40


class Aside:
    """Answers in the order of asking, when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Callable[[Processed], None]] = []

    def takes(self, stored: Stored) -> bool:
        return stored.payload.endswith(b"L")

    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Callable[[Processed], None]) -> None:
        self.asked.append(answer)

    def forget(self) -> None:
        self.asked.clear()

    def answer(self) -> None:
        if self.asked:
            self.asked.pop(0)(Outcome("filtered"))


class Store:
    """Takes outcomes in the order in which they come, when the test says so; some it fails to take."""

    def __init__(self, came: dict[int, Stored]) -> None:
        self.came = came
        self.ended: list[int] = []
        self.failed: set[int] = set()
        self.suspects: list[int] = []
        self._waiting: list[tuple[int, int, asyncio.Future[Any]]] = []

    def run(self, function: Any, stored_id: int, *_: Any, after: int = 0, **more: Any) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if function is poison_message.note:
            self.suspects.append(stored_id)
            future.set_result(None)
            return future
        self._waiting.append((stored_id, after, future))
        return future

    @property
    def under_way(self) -> set[int]:
        return {number for number, _, _ in self._waiting}

    def commit(self, *, fails: bool) -> None:
        if not self._waiting:
            return
        number, after, future = self._waiting.pop(0)
        if fails or (after and after not in self.ended):
            self.failed.add(number)
            future.set_exception(StoreError("busy"))
            return
        already = number in self.ended
        if not already:
            self.ended.append(number)
        future.set_result(Recorded(state="filtered", reason=None, already=already))

    def unprocessed(self, _: object, after: int, limit: int) -> list[Stored]:
        return [one for number, one in self.came.items() if number > after and number not in self.ended][
            : min(3, limit)
        ]


class History:
    def __init__(self, seed: int) -> None:
        self.rng, self.in_pieces = random.Random(seed), bool(seed)
        self.large, self.mishap = self.rng.choice(((0.0, 5.0), (0.0, 2.0), (0.2, 0.5)))
        self.came: dict[int, Stored] = {}
        self.store, self.aside, self.clock = Store(self.came), Aside(), ManualClock()
        spread, complete = self.rng.choice(((8, 0.95), (1000, 1.0)))
        names = range(1, MESSAGES + 1)
        self.names = {
            number: Named(frozenset({number, -self.rng.randrange(spread)}), self.rng.random() < complete)
            for number in names
        }
        channel = ChannelRoutes(
            channel="", message_format=LineFormat(), media_type="", options=FormatOptions(), routes=(),
            context=MapContext(),
        )  # fmt: skip
        self.intake = Intake(
            self.store,
            clock=self.clock,
            aside=self.aside,
            names=self.named,  # type: ignore[arg-type]
        )
        self.channels = dict.fromkeys("abc", channel)
        self.intake.configure(self.channels, {})

    def named(self, stored: Stored, channel: ChannelRoutes) -> Generator[None, None, Named]:
        if stored.id % 5 == 0 and self.in_pieces:
            yield
        return self.names[stored.id]

    def come(self, channel: str = "") -> None:
        if (number := len(self.came) + 1) <= MESSAGES:
            channel = channel or self.rng.choice("abc")
            payload = b"y" * (3000 if channel == "a" else 1) + (b"L" if self.rng.random() < self.large else b"")
            self.came[number] = Stored(
                id=number, channel=channel, seq=number, payload=payload, received_us=self.clock.now_us()
            )
            self.intake.accept(self.came[number])

    def work(self) -> None:
        """As the loop does."""
        one = self.intake
        if not one._queue and not one._caught_up and one._may_read_back() and one._read_back():
            return
        if not one._resting and not one._commits.is_busy:
            one._step()

    async def go(self) -> None:
        do = self.rng.choices(
            (
                self.come,
                self.work,
                self.aside.answer,
                self.commit,
                self.reload,
                self.fail,
                self.wait,
            ),
            (4, 8, 2, 3, self.mishap, self.mishap / 4, 1),
        )[0]
        for _ in range(1 if do == self.reload else self.rng.choice((1, 3, 12))):
            do()
            await asyncio.sleep(0)
            self.check()

    def commit(self) -> None:
        self.store.commit(fails=False)

    def fail(self) -> None:
        self.store.commit(fails=True)

    def reload(self) -> None:
        self.intake.configure(self.channels, {})

    def wait(self) -> None:
        self.clock.advance(2.0)
        if self.intake._resting:
            self.intake._go_on()

    def check(self) -> None:
        one = self.intake
        held = {each.id for each in (*one._queue, *(waiting.stored for waiting in one._turns))}
        for number in self.came.keys() - set(self.store.ended) - self.store.under_way - held:
            assert number > one._last_id, f"{number} is lost until the next start"
            assert not one._caught_up or number in self.store.failed, f"{number} is not read back"


@pytest.mark.parametrize("seed", range(12))
async def test_no_message_is_lost_and_none_is_overtaken(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(intake_module, "STORE_RETRY_S", 1e6)
    one = History(seed)
    monkeypatch.setattr(intake_module, "unprocessed", one.store.unprocessed)
    for _ in range(one.rng.randrange(20)):
        one.come()
    one.wait()
    for _ in range(5_000):
        await one.go()
        if len(one.store.ended) == MESSAGES:
            break
    assert sorted(one.store.ended) == list(range(1, MESSAGES + 1))
    at = {number: place for place, number in enumerate(one.store.ended)}
    for earlier, later in combinations(one.came, 2):
        same = one.came[earlier].channel == one.came[later].channel
        shared = one.names[earlier].names & one.names[later].names and not one.store.failed
        if same or shared:
            assert at[earlier] < at[later], (earlier, later)


@pytest.mark.parametrize("steps", range(1, 8))
async def test_a_reload_shortly_after_another_loses_no_message(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    one = History(0)
    one.names = {number: Named(frozenset({number})) for number in one.names}
    one.large = 1.0
    monkeypatch.setattr(intake_module, "unprocessed", one.store.unprocessed)
    one.intake._caught_up = True
    for channel in "aaaabbbbb":
        one.come(channel)
    one.wait()
    for _ in range(30):
        one.work()
    assert len(one.aside.asked) == 2
    one.reload()
    for _ in range(steps):
        one.work()
    for _ in range(9):
        one.aside.answer()
        one.work()
    one.reload()
    one.check()


async def test_after_a_kill_messages_go_one_by_one_and_a_large_one_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of a channel that was removed do not count."""
    monkeypatch.setattr(committing, "COMMITTING", 2)
    one = History(0)
    monkeypatch.setattr(intake_module, "unprocessed", one.store.unprocessed)
    one.intake._warily = True
    for number in range(1, 19):
        one.large = float(number == 12)
        one.come("gone" if number <= 10 else "ab"[number % 2])
    task = asyncio.create_task(one.intake.run())
    for number in (11, 12, 13, 14):
        if number == 12:
            await until(lambda: len(one.aside.asked) == 1)
            assert not one.store.under_way
            one.aside.answer()
        await until(lambda: bool(one.store.under_way))
        assert one.store.under_way == {number}
        assert one.intake._is_careful
        one.commit()
        await asyncio.sleep(0)
        assert one.store.ended[-1] == number
    await until(lambda: len(one.store.under_way) > 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert one.store.suspects == [11]
    assert not one.intake._is_careful
