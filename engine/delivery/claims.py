"""Claim rows of the outbox in order, and give them back where a lane must be claimed anew."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from engine.delivery.lane import Lane
from engine.delivery.lane_memory import CLAIM_AT_ONCE, LaneMemory
from engine.delivery.outcome_writer import WRITE_RETRY_S, OutcomeWriter
from engine.delivery.setup import Setup
from engine.model.errors import StoreError
from engine.model.message import Delivery
from engine.store.operations.outbox import claims

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class ClaimReader:
    """Read a destination's waiting rows from the store into its lanes.

    Attributes:
        pending: claims that the store has not answered yet.
    """

    setup: Setup
    memory: LaneMemory
    outcomes: OutcomeWriter
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
        memory.deliveries += limit  # until their number is known
        run, of = self.setup.journal.run, (lane.channel, self.setup.name, limit)
        claimed = partial(self._claimed, lane, seen, limit)
        if lane.newest_first:
            here = (*lane.in_flight, *(delivery.id for _, delivery in lane.delayed))
            self._ask(lane, limit, lambda: run(claims.claim_newest, *of, without=here), claimed)
        else:
            after, hold = lane.newest, lane.hold_on_dead
            self._ask(lane, limit, lambda: run(claims.claim, *of, after=after, hold=hold), claimed)

    def _ask(
        self, lane: Lane, limit: int, question: Callable[[], "asyncio.Future[T]"], answered: Callable[[T], None]
    ) -> None:
        """Ask the store about a lane; nothing else is claimed for it until the answer is here."""
        lane.claiming = True
        try:
            future = question()
        except StoreError as error:
            self._failed(lane, limit, error)
            return
        self.pending.add(future)
        future.add_done_callback(lambda done: self._heard(lane, limit, answered, done))

    def _heard(self, lane: Lane, limit: int, answered: Callable[[T], None], done: "asyncio.Future[T]") -> None:
        self.pending.discard(done)
        if (error := done.exception()) is not None:
            self._failed(lane, limit, error)
            return
        lane.claiming = False
        answered(done.result())

    def give_up(self, lane: Lane) -> None:
        """Give back the lane's deliveries in memory; all are to be claimed anew."""
        waiting = lane.take_all()
        lane.spilled = lane.recalled = True
        lane.refused += 1
        for delivery in waiting:
            self.memory.leave(delivery)
        if waiting:
            run, ids = self.setup.journal.run, [delivery.id for delivery in waiting]
            self.outcomes.write(lane, lambda: run(claims.unclaim, ids))

    def _claimed(self, lane: Lane, seen: int, limit: int, deliveries: list[Delivery]) -> None:
        self.outcomes.store_works()
        self.memory.deliveries += len(deliveries) - limit
        now, now_us = self.setup.clock.monotonic(), self.setup.clock.now_us()
        for delivery in deliveries:
            lane.newest = delivery.seq
            self.memory.bytes += len(delivery.body)
            wait_s = (delivery.not_before_us - now_us) / 1e6
            if wait_s > 0 and not lane.hasty:
                # The wall clock may have jumped; no wait from a row is longer than the policy's longest.
                lane.delayed.append((now + min(wait_s, self.setup.retry.max), delivery))
                lane.failure = lane.trouble(expected=self.setup.downtime.until_us(now_us) is not None)
            elif lane.newest_first:
                lane.put_back(delivery)
            else:
                lane.queue.append(delivery)
        if lane.recalled:  # while they were on their way
            self.give_up(lane)
        # Only an empty claim ends the backlog: a claim is cut short by bytes, too. A held lane returns nothing.
        if not deliveries and lane.hold_on_dead and not lane.held:  # where a damaged document holds it, more waits
            run, of = self.setup.journal.run, (lane.channel, self.setup.name)
            self._ask(lane, 0, lambda: run(claims.is_held, *of), partial(self._held_known, lane, seen))
            return
        if not deliveries and lane.refused == seen and not lane.held:
            lane.spilled = lane.hasty = False
        if deliveries or lane.spilled:
            self.memory.check(lane)

    def _held_known(self, lane: Lane, seen: int, held: bool) -> None:
        if held:
            lane.held = True
            self.give_up(lane)
        elif lane.refused == seen:
            lane.spilled = lane.hasty = False
        if lane.spilled:
            self.memory.check(lane)

    def _failed(self, lane: Lane, limit: int, error: BaseException) -> None:
        self.memory.deliveries -= limit
        self.outcomes.store_fails(error)
        if not (isinstance(error, StoreError) and error.fatal):
            asyncio.get_running_loop().call_later(WRITE_RETRY_S, self._claim_again, lane)

    def _claim_again(self, lane: Lane) -> None:
        lane.claiming = False
        self.memory.check(lane)
