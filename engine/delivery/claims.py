"""Claim rows of the outbox in order, and give them back where a lane must be claimed anew."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.config.downtime_windows import DowntimeCalendar
from engine.delivery.lane import Lane
from engine.delivery.lane_memory import CLAIM_AT_ONCE, LaneMemory
from engine.delivery.outcome_writer import WRITE_RETRY_S, OutcomeWriter
from engine.model.clock import Clock
from engine.model.errors import StoreError
from engine.model.message import Delivery
from engine.store.operations.outbox import claims

if TYPE_CHECKING:
    from engine.store.journal import Journal


@dataclass(eq=False, slots=True, kw_only=True)
class ClaimReader:
    """Read a destination's waiting rows from the store into its lanes.

    Args:
        longest_wait: the longest time in seconds that a row's next attempt may be away.

    Attributes:
        pending: claims that the store has not answered yet.
    """

    destination: str
    journal: "Journal"
    clock: Clock
    memory: LaneMemory
    outcomes: OutcomeWriter
    downtime: DowntimeCalendar
    longest_wait: float
    pending: set[asyncio.Future[Any]] = field(default_factory=set)

    def claim(self, lane: Lane) -> None:
        """Claim the lane's next rows from the store, if it has any and memory has room."""
        memory = self.memory
        if not lane.may_claim or (memory.full and not lane.drained):
            return
        # A lane with nothing in memory may always load one: others with long waits must not starve it.
        limit = 1 if memory.full else min(CLAIM_AT_ONCE, memory.room)
        seen = lane.refused
        if lane.recalled:
            lane.recalled, lane.newest = False, 0
        lane.claiming = True
        memory.deliveries += limit  # until their number is known
        try:
            if lane.newest_first:
                held = [*lane.in_flight, *(delivery.id for _, delivery in lane.delayed)]
                future = self.journal.run(
                    claims.claim_newest, lane.channel, self.destination, limit, without=tuple(held)
                )
            else:
                future = self.journal.run(
                    claims.claim, lane.channel, self.destination, limit, after=lane.newest, hold=lane.hold_on_dead
                )
        except StoreError as error:
            self._failed(lane, limit, error)
            return
        self.pending.add(future)
        future.add_done_callback(lambda done: self._claimed(lane, seen, limit, done))

    def give_up(self, lane: Lane) -> None:
        """Give back the lane's deliveries in memory; all are to be claimed anew."""
        waiting = lane.take_all()
        lane.spilled = lane.recalled = True
        lane.refused += 1
        for delivery in waiting:
            self.memory.leave(delivery)
        if waiting:
            self.outcomes.write(lane, lambda: self.journal.run(claims.unclaim, [delivery.id for delivery in waiting]))

    def _claimed(self, lane: Lane, seen: int, limit: int, done: "asyncio.Future[list[Delivery]]") -> None:
        self.pending.discard(done)
        error = done.exception()
        if error is not None:
            self._failed(lane, limit, error)
            return
        lane.claiming = False
        self.outcomes.store_works()
        deliveries = done.result()
        self.memory.deliveries += len(deliveries) - limit
        now, now_us = self.clock.monotonic(), self.clock.now_us()
        for delivery in deliveries:
            lane.newest = delivery.seq
            self.memory.bytes += len(delivery.body)
            wait_s = (delivery.not_before_us - now_us) / 1e6
            if wait_s > 0 and not lane.hasty:
                # The wall clock may have jumped; no wait from a row is longer than the policy's longest.
                lane.delayed.append((now + min(wait_s, self.longest_wait), delivery))
                lane.failure = lane.trouble(expected=self.downtime.until_us(now_us) is not None)
            elif lane.newest_first:
                lane.put_back(delivery)
            else:
                lane.queue.append(delivery)
        if lane.recalled:  # while they were on their way
            self.give_up(lane)
        # Only an empty claim ends the backlog: a claim is cut short by bytes, too. A held lane returns nothing.
        if not deliveries and lane.hold_on_dead and not lane.held:
            self._look_whether_held(lane, seen)
            return
        if not deliveries and lane.refused == seen and not lane.held:
            lane.spilled = lane.hasty = False
        if deliveries or lane.spilled:
            self.memory.look_at(lane)

    def _look_whether_held(self, lane: Lane, seen: int) -> None:
        """The claim was empty: where a damaged document holds the lane, more rows wait behind it."""
        lane.claiming = True
        try:
            future = self.journal.run(claims.is_held, lane.channel, self.destination)
        except StoreError as error:
            self._failed(lane, 0, error)
            return
        self.pending.add(future)
        future.add_done_callback(lambda done: self._looked_whether_held(lane, seen, done))

    def _looked_whether_held(self, lane: Lane, seen: int, done: "asyncio.Future[bool]") -> None:
        self.pending.discard(done)
        error = done.exception()
        if error is not None:
            self._failed(lane, 0, error)
            return
        lane.claiming = False
        if done.result():
            lane.held = True
            self.give_up(lane)
        elif lane.refused == seen:
            lane.spilled = lane.hasty = False
        if lane.spilled:
            self.memory.look_at(lane)

    def _failed(self, lane: Lane, limit: int, error: BaseException) -> None:
        self.memory.deliveries -= limit
        self.outcomes.store_fails(error)
        if not (isinstance(error, StoreError) and error.fatal):
            asyncio.get_running_loop().call_later(WRITE_RETRY_S, self._claim_again, lane)

    def _claim_again(self, lane: Lane) -> None:
        lane.claiming = False
        self.memory.look_at(lane)
