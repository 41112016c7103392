"""One destination's worker: opening and closing it, people's orders, and the pump that starts what may be started."""

import asyncio
import contextlib

from engine.delivery.attempts import Attempts
from engine.delivery.lane_memory import logger
from engine.model.errors import StoreError

REOPEN_S = 5.0
CLOSE_S = 1.0  # a destination may take so long to close
CLAIMS_S = 1.0  # ... and the journal to answer our last claims


class DestinationWorker(Attempts):
    """Deliver what all channels have for one destination. Lives on the event loop; owns no thread and no row."""

    async def start(self) -> None:
        """Open the destination and begin. Where it cannot be opened, it is tried again, and deliveries wait."""
        self._loop = asyncio.get_running_loop()
        self._opening = None
        try:
            await self.destination.start()
        except Exception:  # only a fault of ours or of the system gets here: a peer that is down is none
            logger.exception("the destination cannot be opened, will try again", extra={"destination": self.name})
            self._opening = self._loop.call_later(REOPEN_S, self._start_again)
            return
        if self._checks_conflicts:
            with contextlib.suppress(StoreError):  # behind what a worker before this one has settled
                await self._outbox.unclaim(())
        self._running = True
        for lane in self.lanes.values():
            self._make_ready(lane)
        self._pump()

    def _start_again(self) -> None:
        task = self._loop.create_task(self.start())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Start nothing new, give what is in flight ``grace_s``, and give back what was not settled.

        What is cut off is sent again, marked "maybe delivered".
        """
        self._running = False
        for handle in (self._timer, self._opening):
            if handle is not None:
                handle.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
        if self._claims:  # what they bring is ours to give back, too
            await asyncio.wait(self._claims, timeout=CLAIMS_S)
        waiting = [delivery.id for lane in self.lanes.values() for delivery in lane.take_all()]
        with contextlib.suppress(StoreError):  # the next start voids our leases as well
            if waiting:
                await self._outbox.unclaim(waiting)
            if self._cut_off:
                await self._outbox.unclaim(self._cut_off, maybe_delivered=True)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.destination.close()
        except Exception as error:
            logger.warning(
                "the destination did not close in order",
                extra={"destination": self.name, "detail": type(error).__name__},
            )

    def attempts_of(self, message_id: int) -> int:
        """How many attempts to deliver something of a message are under way."""
        return sum(one.message_id == message_id for lane in self.lanes.values() for one in lane.in_flight.values())

    @property
    def paused(self) -> bool:
        """A person has paused the destination: no attempt begins until they let it go on."""
        return self._paused

    def pause(self) -> None:
        """Begin no attempt from now on, those that were about to begin included; what waits here goes to the store."""
        self._paused = True
        for lane in self.lanes.values():
            self._give_up(lane)

    def resume(self) -> None:
        """Go on where `pause` ended."""
        self._paused = False
        self.wake()

    def try_now(self, channel: str | None = None) -> None:
        """Forget what is left of back-offs: what failed before is tried at once, as far as the breaker lets it.

        Args:
            channel: in this lane only.
        """
        for lane in self.lanes.values():
            if channel in (None, lane.channel):
                lane.hasty = True
                self._give_up(lane)
        self.wake()

    def wake(self) -> None:
        """Look at every lane again: a timer is due (or a test moved its clock)."""
        self._timer = None
        self._timer_at = float("inf")
        for lane in self.lanes.values():
            self._make_ready(lane)
        self._pump()

    def _pump(self) -> None:
        """Start what may be started now; whatever ends, or a timer, comes back here."""
        while self._ready and self._running and not self._paused and self.in_flight < self._concurrency:
            lane = self._ready.popleft()
            lane.queued = False
            if lane.held or (lane.newest_first and lane.failing):
                continue  # of the latter: what would be asked about may not be written yet
            now = self._clock.monotonic()
            due = lane.take_due(now)
            if due is not None:
                self._wake_at(due)
            delivery = lane.next()
            if delivery is None:
                self._claim(lane)
                continue
            if not self._guard.try_enter(delivery.conditional, now=now, waiter=lane):
                lane.put_back(delivery)  # `leave` of whoever holds the key names this lane
                continue
            if self._pace is not None and (free_at := self._pace.next_at(now)) > now:
                self._leave(delivery, confirmed=False)
                lane.put_back(delivery)
                self._make_ready(lane)
                self._wake_at(free_at)
                return
            if not self.breaker.allow(now):
                self._leave(delivery, confirmed=False)
                lane.put_back(delivery)
                self._make_ready(lane)
                self._wake_at(self.breaker.next_probe or now + 1.0)
                return
            if self._pace is not None:
                self._pace.take(now)
            lane.in_flight[delivery.id] = delivery
            self.in_flight += 1
            task = self._loop.create_task(self._deliver(lane, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if lane.order != "channel":
                self._make_ready(lane)

    def _wake_at(self, at: float) -> None:
        """Come back to the pump at ``at`` (monotonic), or earlier."""
        if self._timer is not None and self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.0, at - self._clock.monotonic()), self.wake)
