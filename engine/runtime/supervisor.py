"""Long-lived tasks that must not die unnoticed: listeners, lanes, the writer's watch, the page.

A supervised task that raises *or returns* is started again after a back-off that doubles from `first_s` to `max_s`, and
starts from the beginning once it has run for `HEALTHY_S`. Each failure is logged and counted. The failure of one task
does not affect the others. There are two exceptions, both on purpose: a fatal error (a failed sync: the process must
stop at once) ends everything and is raised by `wait`, and leaving the ``async with`` cancels all tasks and waits for
them.

A task that could hang while it looks alive calls `heartbeat` more often than its `stale_after_s`. `stale` names those
that did not; the systemd watchdog is fed only while it names none.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from tenacity import RetryCallState

from engine.model.errors import StoreError
from engine.model.process import back_off
from engine.model.process.clock import Clock, SystemClock

logger = logging.getLogger("labrelay.tasks")

HEALTHY_S = 60.0  # a task that ran this long starts its back-off from the beginning


@dataclass(slots=True, eq=False)
class Supervised:
    """One task; changed in place by its keeper.

    Attributes:
        beat_at: monotonic, when it last said that it makes progress.
        running: False while it waits to be started again.
        restarts: how often it failed.
    """

    name: str
    factory: Callable[[], Awaitable[None]]
    stale_after_s: float | None
    healthy_s: float
    max_s: float
    beat_at: float
    running: bool = False
    restarts: int = 0
    task: asyncio.Task[None] | None = None


class Supervisor:
    """Starts tasks, restarts them, and knows which are stale.

    Args:
        first_s, max_s: bounds of the back-off.
        sleep: waits for the seconds that it gets.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        first_s: float = 0.5,
        max_s: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock or SystemClock()
        self._first_s = first_s
        self._max_s = max_s
        self._sleep = sleep
        self._tasks: dict[str, Supervised] = {}
        self._ended = asyncio.Event()
        self._fatal: BaseException | None = None

    async def __aenter__(self) -> "Supervisor":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def supervise(
        self,
        name: str,
        factory: Callable[[], Awaitable[None]],
        *,
        stale_after_s: float | None = None,
        healthy_s: float = HEALTHY_S,
        max_s: float | None = None,
    ) -> None:
        """Run the coroutine that ``factory`` makes, now and again whenever it ends.

        Args:
            name: unique; also the label of its restart counter, so no ids in it.
            stale_after_s: without a `heartbeat` for this long it counts as hung; None: it need not beat.
            healthy_s: after running for so long, its back-off starts from the beginning.
            max_s: its longest back-off, if not the common one.
        """
        if name in self._tasks:
            raise ValueError(f"a task named {name} is supervised already")
        entry = Supervised(name, factory, stale_after_s, healthy_s, max_s or self._max_s, self._clock.monotonic())
        self._tasks[name] = entry
        entry.task = asyncio.create_task(self._keep(entry), name=name)

    def heartbeat(self, name: str) -> None:
        """Record that task ``name`` makes progress."""
        entry = self._tasks.get(name)
        if entry is not None:
            entry.beat_at = self._clock.monotonic()

    def stale(self) -> list[str]:
        """The tasks whose heartbeat is overdue; a task that waits to be restarted is not stale."""
        now = self._clock.monotonic()
        return [
            entry.name
            for entry in self._tasks.values()
            if entry.running and entry.stale_after_s is not None and now - entry.beat_at > entry.stale_after_s
        ]

    def report(self) -> list[Supervised]:
        """How each task is now."""
        return [replace(entry) for entry in self._tasks.values()]

    async def release(self, name: str) -> None:
        """Cancel one task, wait for it, and supervise it no more (reload, pause)."""
        entry = self._tasks.pop(name, None)
        if entry is not None:
            await _cancel([entry])

    async def wait(self) -> None:
        """Wait until everything is to end.

        Raises:
            BaseException: the fatal error that ended it; returns after `stop`.
        """
        await self._ended.wait()
        if self._fatal is not None:
            raise self._fatal

    async def stop(self) -> None:
        """Cancel all tasks and wait for them."""
        self._ended.set()
        entries = list(self._tasks.values())
        self._tasks.clear()
        await _cancel(entries)

    async def _keep(self, entry: Supervised) -> None:
        try:
            async for attempt in back_off.trying(
                partial(self._starts_again, entry),
                first_s=self._first_s,
                max_s=entry.max_s,
                before_sleep=partial(self._count_failure, entry),
                sleep=self._sleep,
            ):
                started_at = entry.beat_at = self._clock.monotonic()
                entry.running = True
                with attempt:
                    await entry.factory()
                entry.running = False
                if self._clock.monotonic() - started_at >= entry.healthy_s:
                    back_off.begin_anew(attempt)
        except Exception as error:
            logger.critical("fatal error, stopping", extra={"task": entry.name}, exc_info=error)
            self._fatal = error
            self._ended.set()

    def _starts_again(self, entry: Supervised, state: RetryCallState) -> bool:
        error = back_off.error_of(state)
        if isinstance(error, asyncio.CancelledError):
            # If something inside was cancelled, and not we, the task has failed as by any other error.
            return entry.task is None or not entry.task.cancelling()
        fatal = isinstance(error, StoreError) and error.fatal
        return error is None or (isinstance(error, Exception) and not fatal)

    def _count_failure(self, entry: Supervised, state: RetryCallState) -> None:
        error = back_off.error_of(state)
        entry.restarts += 1
        logger.error(
            "task fell over, starting it again" if error else "task ended by itself, starting it again",
            extra={"task": entry.name, "restarts": entry.restarts, "next_s": round(state.upcoming_sleep, 1)},
            exc_info=error,
        )


async def _cancel(entries: list[Supervised]) -> None:
    tasks = [entry.task for entry in entries if entry.task is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
