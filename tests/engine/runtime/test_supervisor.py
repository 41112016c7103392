"""Supervised tasks: none dies unnoticed, none takes another with it, a fatal one takes all."""

import asyncio

import pytest

from engine.model.errors import StoreError
from engine.model.process.clock import ManualClock
from engine.runtime.supervisor import Supervisor
from tests.support.waiting import until


def quick(clock: ManualClock | None = None) -> Supervisor:
    return Supervisor(clock or ManualClock(), first_s=0.001, max_s=0.002)


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_task_that_raises_runs_again_and_is_counted() -> None:
    runs, third = 0, asyncio.Event()

    async def flaky() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ConnectionError("gone")
        third.set()
        await forever()

    async with quick() as supervisor:
        supervisor.supervise("lane chemistry", flaky)
        await asyncio.wait_for(third.wait(), 240.0)
        report = supervisor.report()
    assert [(task.name, task.running, task.restarts) for task in report] == [("lane chemistry", True, 2)]


@pytest.mark.parametrize("end", [None, asyncio.CancelledError])
async def test_a_task_that_ends_without_being_asked_runs_again(end: type[BaseException] | None) -> None:
    runs, again = 0, asyncio.Event()

    async def ends() -> None:
        nonlocal runs
        runs += 1
        if runs > 1:
            again.set()
            await forever()
        if end is not None:
            raise end

    async with quick() as supervisor:
        supervisor.supervise("ends", ends)
        await asyncio.wait_for(again.wait(), 240.0)


async def test_one_tasks_trouble_leaves_the_others_alone() -> None:
    fell, enough, healthy = 0, asyncio.Event(), asyncio.Event()

    async def broken() -> None:
        nonlocal fell
        fell += 1
        if fell == 5:
            enough.set()
        raise ValueError

    async def works() -> None:
        healthy.set()
        await forever()

    async with quick() as supervisor:
        supervisor.supervise("works", works)
        supervisor.supervise("broken", broken)
        await asyncio.wait_for(enough.wait(), 240.0)
        report = {task.name: task for task in supervisor.report()}
    assert healthy.is_set()
    assert (report["works"].running, report["works"].restarts) == (True, 0)


async def test_a_fatal_error_ends_the_wait_and_is_not_retried() -> None:
    runs = 0

    async def writer() -> None:
        nonlocal runs
        runs += 1
        raise StoreError("sync failed", fatal=True)

    async with quick() as supervisor:
        supervisor.supervise("writer", writer)
        supervisor.supervise("other", forever)
        with pytest.raises(StoreError, match="sync failed"):
            await asyncio.wait_for(supervisor.wait(), 240.0)
    assert runs == 1


async def test_a_store_error_that_is_not_fatal_is_retried() -> None:
    runs, again = 0, asyncio.Event()

    async def writer() -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            again.set()
        raise StoreError("disk full")

    async with quick() as supervisor:
        supervisor.supervise("writer", writer)
        await asyncio.wait_for(again.wait(), 240.0)


async def test_stale_names_the_tasks_that_stopped_beating() -> None:
    clock = ManualClock()
    async with quick(clock) as supervisor:
        supervisor.supervise("beats", forever, stale_after_s=10)
        supervisor.supervise("hangs", forever, stale_after_s=10)
        supervisor.supervise("need not", forever)
        await asyncio.sleep(0)
        clock.advance(9)
        supervisor.heartbeat("beats")
        assert supervisor.stale() == []
        clock.advance(9)
        assert supervisor.stale() == ["hangs"]


async def test_a_task_that_waits_for_its_restart_is_not_stale() -> None:
    clock = ManualClock()

    async def falls() -> None:
        raise OSError

    async with Supervisor(clock, first_s=60, max_s=60) as supervisor:
        supervisor.supervise("falls", falls, stale_after_s=1)
        await until(lambda: supervisor.report()[0].restarts == 1)
        clock.advance(30)
        assert supervisor.stale() == []


@pytest.mark.parametrize(
    ("own", "most_s"),
    [({}, [1, 2, 4, 1, 2]), ({"max_s": 3.0}, [1, 2, 3, 1, 2]), ({"healthy_s": 100.0}, [1, 2, 4, 8, 16])],
    ids=["everybody's", "a longest of its own", "long until it is healthy"],
)
async def test_a_healthy_run_takes_the_back_off_to_its_beginning(own: dict[str, float], most_s: list[float]) -> None:
    clock = ManualClock()
    waits: list[float] = []
    runs, done = 0, asyncio.Event()

    async def falls() -> None:
        nonlocal runs
        runs += 1
        if runs == 4:
            clock.advance(61)
        if runs == 6:
            done.set()
        raise OSError

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    async with Supervisor(clock, first_s=1, max_s=100, sleep=noted) as supervisor:
        supervisor.supervise("falls", falls, **own)
        await asyncio.wait_for(done.wait(), 240.0)
    for wait, most in zip(waits, most_s, strict=False):
        assert most / 2 <= wait <= most


async def test_release_ends_one_task_and_frees_its_name() -> None:
    ended = asyncio.Event()

    async def task() -> None:
        try:
            await forever()
        finally:
            ended.set()

    async with quick() as supervisor:
        supervisor.supervise("channel a", task)
        with pytest.raises(ValueError, match="supervised already"):
            supervisor.supervise("channel a", forever)
        await asyncio.sleep(0)
        await supervisor.release("channel a")
        assert ended.is_set()
        supervisor.supervise("channel a", forever)
        await supervisor.release("never there")


async def test_leaving_waits_for_every_task_to_clean_up() -> None:
    cleaned: list[str] = []

    async def task(name: str) -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            cleaned.append(name)

    async with quick() as supervisor:
        for name in ("a", "b"):
            supervisor.supervise(name, lambda name=name: task(name))  # type: ignore[misc]  # the name is bound now
        await asyncio.sleep(0)
    assert sorted(cleaned) == ["a", "b"]
    await asyncio.wait_for(supervisor.wait(), 240.0)
