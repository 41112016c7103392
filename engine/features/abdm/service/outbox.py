"""Work that waits in the journal and goes out, some at once: calls to the gateway, SMS.

A piece of work is claimed in a transaction before it goes out, and what came of it is written in another one. Which
work is due, and what an attempt is, the caller says. Twice as much is claimed as may be under way: else the places
would be empty while the journal syncs.

Where the journal takes nothing for a while, it is waited for: what has happened outside cannot be undone.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from engine.model.errors import IntegrityError, StoreError
from engine.model.process.clock import Clock

RETRY_S = 1.0
IDLE_S = 30.0  # a look without a reason to
AHEAD = 2  # attempts that are begun and not noted, for each place
T = TypeVar("T")

logger = logging.getLogger("labrelay.abdm")


async def for_sure(begin: Callable[[], "asyncio.Future[T]"]) -> T:
    """What the journal made of it; while it takes nothing (a full disk), it is asked again.

    Raises:
        StoreError: it has failed for good, or what it has cannot be read.
    """
    while True:
        try:
            return await begin()
        except IntegrityError:
            raise
        except StoreError as error:
            if error.fatal:
                raise
            logger.error("ABDM waits for the journal", extra={"detail": str(error)})
            await asyncio.sleep(RETRY_S)


class SetBack:
    """Whether our clock is behind what it has shown before; asked before work is claimed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest_us = 0

    def __call__(self) -> bool:
        now_us = self._clock.now_us()
        self._latest_us = max(self._latest_us, now_us)
        return now_us < self._latest_us


class Outbox(Generic[T]):
    """Of one kind of work.

    Args:
        places: attempts under way at once.
        claim: claims so many at most; and whether the clock was set back (`engine.features.abdm.rows.calls`).
        attempt: one of those; is under way while it has a `place`, and ends once what came of it is durable.
        put_off: has one made again later, whose attempt ended by a fault of ours.
        due_us: when the next is due; None: there is none.
        fault: the line of the log where an attempt ends by a fault of ours.

    Attributes:
        place: for an attempt, from before its first byte goes out until its answer has come.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        places: int,
        claim: "Callable[[int, bool], asyncio.Future[list[T]]]",
        attempt: Callable[[T], Coroutine[Any, Any, None]],
        put_off: "Callable[[T], asyncio.Future[None]]",
        due_us: Callable[[], int | None],
        fault: str,
    ) -> None:
        self._clock = clock
        self._most = AHEAD * places
        self.place = asyncio.Semaphore(places)
        self._claim = claim
        self._attempt = attempt
        self._put_off = put_off
        self._due_us = due_us
        self._set_back = SetBack(clock)
        self._fault = fault
        self._due = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    def changed(self) -> None:
        """There may be work that is due."""
        self._due.set()

    async def carry_out(self) -> None:
        """Make attempts until cancelled.

        Raises:
            StoreError: the journal has failed for good.
        """
        try:
            while True:
                self._due.clear()
                room = self._most - len(self._under_way)
                begun: list[T] = []
                if room > 0:
                    begun = await for_sure(partial(self._claim, room, self._set_back()))
                for one in begun:
                    task = asyncio.get_running_loop().create_task(self._make(one))
                    self._under_way.add(task)
                    task.add_done_callback(self._over)
                if len(begun) < room or room <= 0:
                    await wait(self._due, self._until_due_s())
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _make(self, one: T) -> None:
        """An attempt. A fault of ours leaves nothing under way of which no end would come."""
        try:
            await self._attempt(one)
        except Exception as error:
            if isinstance(error, StoreError) and error.fatal:
                raise
            logger.error(self._fault, extra={"cause": type(error).__name__})
            await for_sure(partial(self._put_off, one))

    def _over(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._due.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error(self._fault, extra={"cause": type(error).__name__})

    def _until_due_s(self) -> float:
        due_us = self._due_us()
        if due_us is None:
            return IDLE_S
        return min(max((due_us - self._clock.now_us()) / 1_000_000, 0.01), IDLE_S)


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
