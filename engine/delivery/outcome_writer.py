"""Write outcomes to the store without waiting for it.

If the store cannot write an outcome now, it is retried until it can, and the lane claims nothing meanwhile.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from engine.delivery.events import logger
from engine.delivery.lane import Lane, LaneMemory
from engine.model.errors import StoreError

WRITE_RETRY_S = 1.0

Write = Callable[[], "asyncio.Future[Any]"]


class OutcomeWriter:
    """Write the outcomes of a destination's deliveries, and log once that the store fails."""

    def __init__(self, destination: str, memory: LaneMemory) -> None:
        self._destination = destination
        self._memory = memory
        self._fails = False

    def write(self, lane: Lane, write: Write) -> None:
        """Write an outcome of a lane.

        Until it is written, the lane claims nothing: a claim could return the very delivery that has just ended.
        """
        lane.unwritten += 1
        self._write(lane, write)

    def store_works(self) -> None:
        """The store has answered."""
        self._fails = False

    def store_fails(self, error: BaseException) -> None:
        """The store cannot be read or written now."""
        if not self._fails:
            logger.error(
                "cannot read or write the outbox, will try until it works",
                extra={"destination": self._destination, "detail": str(error) if isinstance(error, StoreError) else ""},
            )
        self._fails = True

    def _write(self, lane: Lane, write: Write, failed: bool = False) -> None:
        try:
            future = write()
        except StoreError as error:
            self._write_later(lane, write, failed, error)
            return
        future.add_done_callback(lambda done: self._written(lane, write, failed, done))

    def _written(self, lane: Lane, write: Write, failed: bool, done: "asyncio.Future[Any]") -> None:
        error = done.exception()
        if error is None:
            self._fails = False
            lane.unwritten -= 1
            lane.failing -= failed
            if (lane.spilled or lane.newest_first or lane.fed) and not lane.unwritten:
                self._memory.check(lane)
        elif isinstance(error, StoreError):
            self._write_later(lane, write, failed, error)
        else:
            raise error

    def _write_later(self, lane: Lane, write: Write, failed: bool, error: StoreError) -> None:
        if not failed:
            lane.failing += 1
        self.store_fails(error)
        if not error.fatal:
            asyncio.get_running_loop().call_later(WRITE_RETRY_S, self._write, lane, write, True)
