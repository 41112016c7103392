"""Before a delivery it is proven that the journal goes on here. A machine that was frozen, or asleep, looks anew; a
folder that says nothing stops no result.

| since the last look | the folder says | then |
|---|---|---|
| 3 s at most, by both clocks | anything | sent, without a look |
| more, by either clock | ours, or nobody's | sent after the look |
| more | another's | not sent, until a person says that it goes on here |
| more | it cannot be read | sent |
| more | nothing at all | sent once that has lasted long enough; for a while the next ones do not wait |
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from engine.model.errors import OvertakenError
from engine.model.process.clock import ManualClock
from engine.runtime.upkeep import spare_watch
from engine.runtime.upkeep.spare_watch import BLIND_S, PROVEN_S, SpareWatch
from engine.store.operations.incarnation import Incarnation
from engine.store.recovery.backups import following
from engine.store.recovery.backups.catalog import CLAIM_NAME, Shelf
from tests.support.journals import started

LATER = Incarnation(2, "ab", "spare")


class Sleeper(ManualClock):
    """Its monotonic clock stands still while the machine sleeps."""

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


class Folder(Shelf):
    """Counts the looks; hangs while ``answers`` is not set."""

    looks = 0

    def claimed_by(self) -> Incarnation | None:
        self.looks += 1
        found = super().claimed_by()
        answers.wait(60.0)
        return found


answers = threading.Event()


@pytest_asyncio.fixture
async def made(tmp_path: Path) -> AsyncIterator[tuple[SpareWatch, Folder, Sleeper]]:
    answers.set()
    clock = Sleeper()
    journal = await started(tmp_path / "var", clock=clock)
    shelf = Folder(tmp_path, journal.journal_id)
    shelf.open()
    yield SpareWatch(journal, clock, lambda: shelf), shelf, clock
    answers.set()
    await journal.stop()


def taken(shelf: Folder) -> None:
    """Another machine takes over."""
    Shelf(shelf.root, bytes.fromhex(shelf._journal_id)).claim(LATER)


async def may_send(watch: SpareWatch) -> bool:
    try:
        if (proof := watch.unproven()) is not None:
            await proof
    except OvertakenError:
        return False
    return True


@pytest.mark.parametrize("passed", ["nothing", "little", "frozen", "asleep", "set back"])
async def test_a_look_is_valid_for_seconds_by_both_clocks(
    made: tuple[SpareWatch, Folder, Sleeper], passed: str
) -> None:
    watch, shelf, clock = made
    assert PROVEN_S < following.STOPS_WITHIN_S
    assert await may_send(watch)
    assert shelf.looks == 1
    {"nothing": lambda: None, "little": lambda: clock.advance(PROVEN_S), "frozen": lambda: clock.advance(3600),
     "asleep": lambda: clock.sleep(3600), "set back": lambda: clock.sleep(-3600)}[passed]()  # fmt: skip
    taken(shelf)
    fresh = passed in ("nothing", "little")
    assert await may_send(watch) is fresh
    assert shelf.looks == (1 if fresh else 2)
    clock.advance(PROVEN_S + 0.1)
    assert not await may_send(watch)  # and from then on
    clock.advance(0.1)
    assert not await may_send(watch)
    watch.own = replace(LATER, number=3)  # a person lets it go on here
    assert await may_send(watch)


async def test_many_deliveries_share_one_look(made: tuple[SpareWatch, Folder, Sleeper]) -> None:
    watch, shelf, _ = made
    assert all(await asyncio.gather(*(may_send(watch) for _ in range(50))))
    assert shelf.looks == 1
    for _ in range(1000):
        assert watch.unproven() is None
    assert shelf.looks == 1


async def test_a_folder_that_cannot_be_read_stops_nothing(made: tuple[SpareWatch, Folder, Sleeper]) -> None:
    watch, shelf, _ = made
    (shelf.path / CLAIM_NAME).write_text("{")
    assert await may_send(watch)


async def test_a_folder_that_hangs_holds_one_delivery_for_seconds(
    made: tuple[SpareWatch, Folder, Sleeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, shelf, clock = made
    monkeypatch.setattr(spare_watch, "LOOK_S", 0.05)
    answers.clear()
    assert await may_send(watch)
    assert watch.unproven() is None
    taken(shelf)
    clock.advance(BLIND_S + 1)
    assert await may_send(watch)  # the same look, which began before the claim
    assert shelf.looks == 1
    answers.set()
    await watch.look()
    assert not await may_send(watch)  # its answer is older than that: the next look says it


async def test_without_a_folder_nothing_is_looked_at(made: tuple[SpareWatch, Folder, Sleeper], tmp_path: Path) -> None:
    watch, _, clock = made
    alone = SpareWatch(watch._journal, clock, lambda: None)
    assert alone.unproven() is None
    await alone.look()
    assert alone.unproven() is None
