"""Between a worker and the store: outcomes are written without waiting for them, rows are claimed in order.

Where the store cannot take an outcome now, it is tried until it can, and the lane claims nothing meanwhile.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from engine.delivery.lane import Lane
from engine.delivery.lane_memory import CLAIM_AT_ONCE, Standing, logger
from engine.model.errors import StoreError
from engine.model.message import Delivery

WRITE_RETRY_S = 1.0


class Storing(Standing):
    """A worker's writing and reading of the store."""

    def _note(self, lane: Lane, write: "Callable[[], asyncio.Future[Any]]") -> None:
        """Write an outcome without waiting for it; where the store cannot take it now, try until it can.

        Until it is written, the lane claims nothing: what it would find might be what has just ended.
        """
        lane.unwritten += 1
        self._write(lane, write)

    def _write(self, lane: Lane, write: "Callable[[], asyncio.Future[Any]]", failed: bool = False) -> None:
        try:
            future = write()
        except StoreError as error:
            self._write_later(lane, write, failed, error)
            return
        future.add_done_callback(lambda done: self._written(lane, write, failed, done))

    def _written(
        self, lane: Lane, write: "Callable[[], asyncio.Future[Any]]", failed: bool, done: "asyncio.Future[Any]"
    ) -> None:
        error = done.exception()
        if error is None:
            self._store_fails = False
            lane.unwritten -= 1
            lane.failing -= failed
            if (lane.spilled or lane.newest_first) and not lane.unwritten:
                self._again(lane)
        elif isinstance(error, StoreError):
            self._write_later(lane, write, failed, error)
        else:
            raise error

    def _write_later(
        self, lane: Lane, write: "Callable[[], asyncio.Future[Any]]", failed: bool, error: StoreError
    ) -> None:
        if not failed:
            lane.failing += 1
        self._say_store_fails(error)
        if not error.fatal:
            self._loop.call_later(WRITE_RETRY_S, self._write, lane, write, True)

    def _claim(self, lane: Lane) -> None:
        """Read the lane's next rows from the store, if it has some there and there is room for them."""
        if not lane.may_claim or (self._full() and not lane.drained):
            return
        # A lane that has nothing in memory may always bring one: others that wait long must not starve it.
        limit = 1 if self._full() else min(CLAIM_AT_ONCE, self._memory_deliveries - self.in_memory)
        seen = lane.refused
        if lane.recalled:
            lane.recalled, lane.newest = False, 0
        lane.claiming = True
        self.in_memory += limit  # until it is known how many they are
        try:
            if lane.newest_first:
                held = [*lane.in_flight, *(delivery.id for _, delivery in lane.delayed)]
                future = self._outbox.claim_newest(lane.channel, self.name, limit, without=held)
            else:
                future = self._outbox.claim(lane.channel, self.name, limit, after=lane.newest, hold=lane.hold_on_dead)
        except StoreError as error:
            self._claim_failed(lane, limit, error)
            return
        self._claims.add(future)
        future.add_done_callback(lambda done: self._claimed(lane, seen, limit, done))

    def _claimed(self, lane: Lane, seen: int, limit: int, done: "asyncio.Future[list[Delivery]]") -> None:
        self._claims.discard(done)
        error = done.exception()
        if error is not None:
            self._claim_failed(lane, limit, error)
            return
        lane.claiming = self._store_fails = False
        deliveries = done.result()
        self.in_memory += len(deliveries) - limit
        now, now_us = self._clock.monotonic(), self._clock.now_us()
        for delivery in deliveries:
            lane.newest = delivery.seq
            self.bytes_in_memory += len(delivery.body)
            wait_s = (delivery.not_before_us - now_us) / 1e6
            if wait_s > 0 and not lane.hasty:
                # The wall clock may have jumped; no wait read from a row is longer than the policy's longest.
                lane.delayed.append((now + min(wait_s, self._retry.max), delivery))
                lane.failure = lane.trouble(expected=self._expected(now_us) is not None)
            elif lane.newest_first:
                lane.put_back(delivery)
            else:
                lane.queue.append(delivery)
        if lane.recalled:  # while they were on their way
            self._give_up(lane)
        # Nothing at all, not just less than asked for: a claim is cut short by bytes, too. A held lane shows nothing.
        if not deliveries and lane.hold_on_dead and not lane.held:
            self._look_whether_held(lane, seen)
            return
        if not deliveries and lane.refused == seen and not lane.held:
            lane.spilled = lane.hasty = False
        if deliveries or lane.spilled:
            self._again(lane)

    def _look_whether_held(self, lane: Lane, seen: int) -> None:
        """Nothing was claimed: where a damaged document holds the lane, more waits behind it."""
        lane.claiming = True
        try:
            future = self._outbox.is_held(lane.channel, self.name)
        except StoreError as error:
            self._claim_failed(lane, 0, error)
            return
        self._claims.add(future)
        future.add_done_callback(lambda done: self._looked_whether_held(lane, seen, done))

    def _looked_whether_held(self, lane: Lane, seen: int, done: "asyncio.Future[bool]") -> None:
        self._claims.discard(done)
        error = done.exception()
        if error is not None:
            self._claim_failed(lane, 0, error)
            return
        lane.claiming = False
        if done.result():
            lane.held = True
            self._give_up(lane)
        elif lane.refused == seen:
            lane.spilled = lane.hasty = False
        if lane.spilled:
            self._again(lane)

    def _claim_failed(self, lane: Lane, limit: int, error: BaseException) -> None:
        self.in_memory -= limit
        self._say_store_fails(error)
        if not (isinstance(error, StoreError) and error.fatal):
            self._loop.call_later(WRITE_RETRY_S, self._claim_again, lane)

    def _claim_again(self, lane: Lane) -> None:
        lane.claiming = False
        self._again(lane)

    def _give_up(self, lane: Lane) -> None:
        """Give back what of the lane waits in memory; all of it is to be claimed anew."""
        waiting = lane.take_all()
        lane.spilled = lane.recalled = True
        lane.refused += 1
        for delivery in waiting:
            self._leave_memory(delivery)
        if waiting:
            self._note(lane, lambda: self._outbox.unclaim([delivery.id for delivery in waiting]))

    def _say_store_fails(self, error: BaseException) -> None:
        if not self._store_fails:
            logger.error(
                "cannot read or write the outbox, will try until it works",
                extra={"destination": self.name, "detail": str(error) if isinstance(error, StoreError) else ""},
            )
        self._store_fails = True
