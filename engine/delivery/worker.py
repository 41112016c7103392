"""One destination's worker: opening and closing it, people's orders, and the pump that starts whatever may be
started.

A limit on how often something may begin. Pure: the clock is an argument.

So much of it as a quiet time has left over may be used at once, up to `BURST_S` of it: a destination with ``rate: 20``
gets no more than 22 requests in any second, however many wait.
"""

import asyncio
import contextlib

from engine.delivery.attempts import AttemptRunner
from engine.delivery.events import DestinationCounts, Setup, logger
from engine.delivery.lane import Lane, LaneMemory
from engine.delivery.outcome_writer import OutcomeWriter
from engine.delivery.settlement import ClaimReader, Settlement
from engine.model.errors import StoreError
from engine.model.message import Delivery
from engine.store.operations.outbox import claims

REOPEN_S = 5.0
CLOSE_S = 1.0  # the time limit for closing a destination
CLAIMS_S = 1.0  # ... and for the journal to answer our last claims


class DestinationWorker:
    """Deliver the messages of all channels to one destination. Lives on the event loop; owns no thread and no row."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.name = setup.name
        self.breaker = setup.breaker
        self.downtime = setup.downtime
        self.counts = DestinationCounts()
        self.memory = LaneMemory(self._pump, setup.limits)
        outcomes = OutcomeWriter(setup.name, self.memory)
        self._claims = ClaimReader(setup, self.memory, outcomes)
        self.settlement = Settlement(setup, self.memory, outcomes, self._claims, self.counts)
        self.attempts = AttemptRunner(setup, self.memory, self._claims, self.settlement)
        self._pace = Pace(setup.limits.rate) if setup.limits.rate is not None else None
        self._running = False
        self._opening: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    async def start(self) -> None:
        """Open the destination and begin. If it cannot be opened, it is tried again, and deliveries wait."""
        self._opening = None
        try:
            await self._setup.destination.start()
        except Exception:  # only an error of ours or of the system gets here: a peer that is down is none
            logger.exception("the destination cannot be opened, will try again", extra={"destination": self.name})
            self._opening = asyncio.get_running_loop().call_later(REOPEN_S, self._start_again)
            return
        if self._setup.conditions is not None:
            with contextlib.suppress(StoreError):  # behind the outcomes of an earlier worker
                await self._setup.journal.run(claims.unclaim, ())
        self._running = True
        self.wake()

    def _start_again(self) -> None:
        self.attempts.run(self.start())

    async def stop(self, grace_s: float = 5.0) -> None:
        """Start nothing new, give attempts in flight ``grace_s``, and give back deliveries without an outcome.

        A cancelled attempt is sent again, marked "maybe delivered".
        """
        self._running = False
        for handle in (self._timer, self._opening):
            if handle is not None:
                handle.cancel()
        await self.attempts.stop(grace_s)
        if self._claims.pending:  # their rows must be given back, too
            await asyncio.wait(self._claims.pending, timeout=CLAIMS_S)
        waiting = [delivery.id for lane in self.memory.lanes.values() for delivery in lane.take_all()]
        with contextlib.suppress(StoreError):  # the next start voids our leases as well
            if waiting:
                await self._setup.journal.run(claims.unclaim, waiting)
            if self.attempts.cut_off:
                await self._setup.journal.run(claims.unclaim, tuple(self.attempts.cut_off), maybe_delivered=True)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._setup.destination.close()
        except Exception as error:
            logger.warning(
                "the destination did not close in order",
                extra={"destination": self.name, "detail": type(error).__name__},
            )

    def attempts_of(self, message_id: int) -> int:
        """The number of present attempts to deliver a message."""
        lanes = self.memory.lanes.values()
        return sum(one.message_id == message_id for lane in lanes for one in lane.in_flight.values())

    # -- places in memory: intake reserves one before it commits a delivery, and reports the result -------------------

    def lane(self, channel: str) -> Lane:
        """The lane of a channel, created on first use."""
        return self.memory.lane(channel)

    def reserve(self, lane: Lane, size: int) -> bool:
        """Reserve a place in memory for a delivery about to be committed. False: queue it in the store only.

        Args:
            size: bytes of its document.
        """
        if self._running and not self.paused and not lane.held and self.memory.reserve(lane, size):
            return True
        lane.spilled = True
        lane.refused += 1
        return False

    def committed(self, lane: Lane, delivery: Delivery, size: int) -> None:
        """A delivery with a place in memory is durable. Called in journal order.

        Args:
            size: as it was reserved; the document may have changed since (`engine.features.results.rows`).
        """
        lane.reserved -= 1
        self.memory.bytes += len(delivery.body) - size
        lane.queue.append(delivery)
        if lane.recalled:  # older ones are about to be claimed from the store, and go first
            self._claims.give_up(lane)
        else:
            lane.newest = delivery.seq
        self.memory.check(lane)

    def left_in_store(self, lane: Lane) -> None:
        """A delivery without a place in memory is durable: a claim will find it."""
        lane.spilled = True
        self.memory.check(lane)

    def give_back(self, lane: Lane, size: int) -> None:
        """The reserved place is not needed: the message is not delivered, or could not be stored."""
        self.memory.release(lane, size)
        self.memory.check(lane)

    def reclaim(self, channel: str) -> None:
        """Claim rows that became waiting by another way (a retry, a replay, recovery).

        They may be older than those in memory, and then go first: so these are given back, and all are claimed anew.
        """
        lane = self.lane(channel)
        self._setup.withdraw(channel)
        self._claims.give_up(lane)
        lane.failure = None  # failed deliveries are claimed anew, unless a person has closed them
        self.memory.check(lane)

    # -- a person's orders --------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether a person has paused the destination: no attempt begins until they resume it."""
        return self.attempts.paused

    def pause(self) -> None:
        """Begin no attempt from now on, not even one about to begin; deliveries in memory go to the store."""
        self.attempts.paused = True
        self._setup.withdraw("")
        for lane in self.memory.lanes.values():
            self._claims.give_up(lane)

    def resume(self) -> None:
        """Go on where `pause` ended."""
        self.attempts.paused = False
        self.wake()

    def try_now(self, channel: str | None = None) -> None:
        """Forget the rest of back-offs: failed deliveries are retried at once, as far as the breaker allows.

        Args:
            channel: in this lane only.
        """
        for lane in self.memory.lanes.values():
            if channel in (None, lane.channel):
                lane.hasty = True
                self._claims.give_up(lane)
        self.wake()

    # -- the pump -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Check every lane again: a timer is due (or a test moved its clock)."""
        self._timer = None
        self._timer_at = float("inf")
        for lane in self.memory.lanes.values():
            self.memory.make_ready(lane)
        self.memory.pump()

    def _pump(self) -> None:
        """Start all that may be started now; every end and every timer comes back here."""
        memory, attempts, most = self.memory, self.attempts, self._setup.limits.concurrency
        while memory.ready and self._running and not attempts.paused and attempts.in_flight < most:
            lane = memory.ready.popleft()
            lane.queued = False
            if lane.held or (lane.newest_first and lane.failing):
                continue  # for the latter: the outcome in question may not be written yet
            now = self._setup.clock.monotonic()
            due = lane.take_due(now)
            if due is not None:
                self._wake_at(due)
            delivery = lane.next()
            if delivery is None:
                self._claims.claim(lane)
                continue
            if not self._setup.guard.try_enter(delivery.conditional, now=now, waiter=lane):
                lane.put_back(delivery)  # `leave_keys` of the delivery that holds the key names this lane
                continue
            if (free_at := self._not_before(now)) is not None:
                attempts.leave_keys(delivery, confirmed=False)
                lane.put_back(delivery)
                # Each lane keeps its turn: else one whose document fails each time might be every probe.
                memory.first_again(lane)
                self._wake_at(free_at)
                return
            if self._pace is not None:
                self._pace.take(now)
            attempts.begin(lane, delivery)
            if lane.order != "channel":
                memory.make_ready(lane)

    def _not_before(self, now: float) -> float | None:
        """When the next attempt may begin, where the rate or the breaker does not allow it now."""
        if self._pace is not None and (free_at := self._pace.next_at(now)) > now:
            return free_at
        return None if self.breaker.allow(now) else self.breaker.next_probe or now + 1.0

    def _wake_at(self, at: float) -> None:
        """Run the pump at ``at`` (monotonic), or earlier."""
        if self._timer is not None and self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        delay = max(0.0, at - self._setup.clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self.wake)


BURST_S = 0.1


class Pace:
    """At most ``rate`` beginnings a second."""

    def __init__(self, rate: float) -> None:
        self._gap = 1.0 / rate
        self._burst = max(BURST_S - self._gap, 0.0)
        self._next = float("-inf")

    def next_at(self, now: float) -> float:
        """When the next may begin: ``now`` or later (monotonic)."""
        return max(now, self._next)

    def take(self, now: float) -> None:
        """One begins."""
        self._next = max(self._next, now - self._burst) + self._gap
