"""One destination: claim -> deliver -> settle, for all of its lanes. One destination's trouble stays its own (P6).

A *lane* is channel + destination, the unit of order (P3): with ``order: channel`` at most one of its deliveries is in
flight, and a failed one is tried again before the next. ``order: specimen`` keeps the order only among deliveries that
share a report, ``order: none`` keeps none. Lanes never wait for each other, but for three things that belong to the
destination as a whole: its concurrency, its breaker, and conditional keys that it has not confirmed yet.

Where a delivery is:

    intake reserves a place -> born claimed, kept in memory -> queue -> in flight -> settled | buried
                                                                 ^          | postponed (row: not before t)
    no place (or lane has a backlog) -> born waiting, in the store only     v
                                                  claim, in order ------> delayed -> queue

Invariant: a lane that has waiting rows in the store (``spilled``) takes no new place in memory until a claim has come
back short, so memory always holds the oldest of a lane's open deliveries, in order.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from engine.breaker import Breaker, BreakerState
from engine.clock import Clock
from engine.conditional import ConditionalGuard
from engine.errors import RefusedDeliveryError, StoreError, TransientDeliveryError
from engine.message import Delivery
from engine.ports import Destination
from engine.reasons import Reason
from engine.retry import Bury, RetryPolicy, decide
from engine.timing import Timing

logger = logging.getLogger("labrelay." + __name__)

MEMORY_DELIVERIES = 256  # documents per destination that wait in memory; the rest are read back from the store
CLAIM_AT_ONCE = 16
LOOK_AHEAD = 64  # deliveries of a lane looked at for one that may go, where the order allows several in flight
WRITE_RETRY_S = 1.0
OUR_FAULT_ATTEMPTS = 5  # an exception of ours while delivering is tried this often before the delivery is dead


class Outbox(Protocol):
    """What delivery needs of the journal."""

    def settle(self, delivery_id: int, *, delivered_us: int) -> "asyncio.Future[None]": ...
    def postpone(
        self, delivery_id: int, *, attempt: int, not_before_us: int, cause: Reason, detail: str, answer: bytes = b""
    ) -> "asyncio.Future[None]": ...
    def bury(
        self, delivery_id: int, *, reason: Reason, detail: str, answer: bytes = b"", hold_lane: bool = False
    ) -> "asyncio.Future[None]": ...
    def supersede(self, delivery_ids: Iterable[int]) -> "asyncio.Future[int]": ...
    def unclaim(self, delivery_ids: Iterable[int]) -> "asyncio.Future[int]": ...
    def claim(self, channel: str, destination: str, limit: int) -> "asyncio.Future[list[Delivery]]": ...
    def is_superseded(self, delivery: Delivery) -> "asyncio.Future[bool]": ...


@dataclass(slots=True)
class Failure:
    """Why the lane's oldest delivery is not delivered yet."""

    attempt: int
    reason: Reason
    due: float  # monotonic


@dataclass(slots=True, eq=False)
class Lane:
    """One channel's deliveries for one destination."""

    channel: str
    order: str = "channel"
    hold_on_dead: bool = False
    queue: deque[Delivery] = field(default_factory=deque)
    delayed: list[tuple[float, Delivery]] = field(default_factory=list)
    in_flight: dict[int, Delivery] = field(default_factory=dict)
    reserved: int = 0
    spilled: bool = False
    refused: int = 0
    claiming: bool = False
    held: bool = False
    queued: bool = False
    open: int = 0  # deliveries not settled, in memory and in the store
    failure: Failure | None = None
    row: dict[int, tuple[Reason, int]] = field(default_factory=dict)  # delivery -> failures in a row, for one reason

    def oldest(self) -> Delivery | None:
        """The oldest open delivery that is in memory."""
        candidates = [d for _, d in self.delayed]
        candidates += self.in_flight.values()
        if self.queue:
            candidates.append(self.queue[0])
        return min(candidates, key=lambda d: d.seq, default=None)


@dataclass(slots=True)
class DestinationCounts:
    """Since start, for rates and metrics; the journal keeps the day's counts."""

    delivered: int = 0
    failed: Counter[Reason] = field(default_factory=Counter)
    breaker_opened: int = 0
    dead: int = 0
    superseded: int = 0
    seconds: Timing = field(default_factory=Timing)  # of successful attempts
    last_delivered_us: int | None = None
    last_error: tuple[Reason, int] | None = None


class DestinationWorker:
    """Deliver what all channels have for one destination. Lives on the event loop; owns no thread and no row."""

    def __init__(
        self,
        name: str,
        destination: Destination,
        outbox: Outbox,
        *,
        clock: Clock,
        retry: RetryPolicy,
        breaker: Breaker,
        guard: ConditionalGuard,
        concurrency: int,
        settled: Callable[[Delivery, Reason | None], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``settled`` hears of every delivery that ended: None where delivered, else why it is dead."""
        self.name = name
        self.destination = destination
        self.breaker = breaker
        self.counts = DestinationCounts()
        self.lanes: OrderedDict[str, Lane] = OrderedDict()
        self.in_memory = 0
        self.in_flight = 0
        self._outbox = outbox
        self._clock = clock
        self._retry = retry
        self._guard = guard
        self._concurrency = concurrency
        self._settled = settled
        self._jitter = jitter
        self._ready: deque[Lane] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._running = False
        self._paused = False

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.destination.start()
        self._running = True
        for lane in self.lanes.values():
            self._make_ready(lane)
        self._pump()

    async def stop(self, grace_s: float = 5.0) -> None:
        """Start nothing new, give what is in flight ``grace_s``; what is cut off is sent again after the start."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
        waiting = [d.id for lane in self.lanes.values() for d in (*lane.queue, *(d for _, d in lane.delayed))]
        if waiting:
            with contextlib.suppress(StoreError):  # the next start voids our leases as well
                await self._outbox.unclaim(waiting)
        await self.destination.close()

    def pause(self, paused: bool) -> None:
        self._paused = paused
        self._pump()

    def lane(self, channel: str) -> Lane:
        """The lane of a channel, made on first use."""
        lane = self.lanes.get(channel)
        if lane is None:
            lane = self.lanes[channel] = Lane(channel)
        return lane

    # -- from intake -------------------------------------------------------------------------------------------

    def reserve(self, lane: Lane) -> bool:
        """Ask for a place in memory for a delivery about to be committed. False: let it be born waiting."""
        if lane.spilled or self.in_memory >= MEMORY_DELIVERIES:
            lane.spilled = True
            lane.refused += 1
            return False
        lane.reserved += 1
        self.in_memory += 1
        return True

    def committed(self, lane: Lane, delivery: Delivery) -> None:
        """A delivery with a place in memory is durable. Called in journal order."""
        lane.reserved -= 1
        lane.open += 1
        lane.queue.append(delivery)
        self._make_ready(lane)
        self._pump()

    def left_in_store(self, lane: Lane) -> None:
        """A delivery without a place in memory is durable: a claim will find it."""
        lane.open += 1
        self._make_ready(lane)
        self._pump()

    def give_back(self, lane: Lane) -> None:
        """The reserved place is not needed: the message came to nothing, or could not be stored."""
        lane.reserved -= 1
        self.in_memory -= 1
        self._make_ready(lane)
        self._pump()

    def look_again(self, channel: str, *, added: int = 0) -> None:
        """Rows of a lane became waiting by another way (a retry, a replay, recovery): read them from the store."""
        lane = self.lane(channel)
        lane.spilled = True
        lane.refused += 1
        lane.open += added
        self._make_ready(lane)
        self._pump()

    # -- the pump ----------------------------------------------------------------------------------------------

    def _make_ready(self, lane: Lane) -> None:
        if not lane.queued:
            lane.queued = True
            self._ready.append(lane)

    def _pump(self) -> None:
        """Start what may be started now; whatever ends, or a timer, comes back here."""
        while self._ready and self._running and not self._paused and self.in_flight < self._concurrency:
            lane = self._ready.popleft()
            lane.queued = False
            if lane.held:
                continue
            now = self._clock.monotonic()
            self._take_due(lane, now)
            delivery = self._next(lane)
            if delivery is None:
                self._claim_if_drained(lane)
                continue
            if not self._guard.try_enter(delivery.conditional, now=now, waiter=lane):
                lane.queue.appendleft(delivery)  # `leave` of whoever holds the key names this lane
                continue
            if not self.breaker.allow(now):
                self._guard.leave(delivery.conditional, confirmed=False, now=now)
                lane.queue.appendleft(delivery)
                self._make_ready(lane)
                self._wake_at(self.breaker.next_probe or now + 1.0)
                return
            lane.in_flight[delivery.id] = delivery
            self.in_flight += 1
            task = self._loop.create_task(self._deliver(lane, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if lane.order != "channel":
                self._make_ready(lane)

    def _next(self, lane: Lane) -> Delivery | None:
        """Take the delivery of ``lane`` that may go now, if there is one."""
        if not lane.queue:
            return None
        if lane.order == "channel":
            return None if lane.in_flight or lane.delayed else lane.queue.popleft()
        if lane.order == "none":
            return lane.queue.popleft()
        # order: specimen. A delivery waits for every earlier one that shares a report with it; one that names no
        # report is alone in its lane.
        busy = [*lane.in_flight.values(), *(d for _, d in lane.delayed)]
        if any(not d.reports for d in busy):
            return None
        taken = {key for d in busy for key in d.reports}
        for index, delivery in enumerate(lane.queue):
            if index >= LOOK_AHEAD:
                return None
            if not delivery.reports:
                if index == 0 and not busy:
                    return lane.queue.popleft()
                return None
            if taken.isdisjoint(delivery.reports):
                del lane.queue[index]
                return delivery
            taken.update(delivery.reports)
        return None

    def _take_due(self, lane: Lane, now: float) -> None:
        if not lane.delayed:
            return
        due = sorted((d for at, d in lane.delayed if at <= now), key=lambda d: d.seq, reverse=True)
        if due:
            lane.delayed = [(at, d) for at, d in lane.delayed if at > now]
            lane.queue.extendleft(due)
        if lane.delayed:
            self._wake_at(min(at for at, _ in lane.delayed))

    def _claim_if_drained(self, lane: Lane) -> None:
        if not lane.spilled or lane.claiming or lane.queue or lane.reserved or lane.in_flight or lane.delayed:
            return
        lane.claiming = True
        seen = lane.refused
        limit = max(1, min(CLAIM_AT_ONCE, MEMORY_DELIVERIES - self.in_memory))
        future = self._outbox.claim(lane.channel, self.name, limit)
        future.add_done_callback(lambda done: self._claimed(lane, seen, limit, done))

    def _claimed(self, lane: Lane, seen: int, limit: int, done: "asyncio.Future[list[Delivery]]") -> None:
        lane.claiming = False
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:
            logger.error("cannot read the outbox", extra={"destination": self.name, "channel": lane.channel})
            self._loop.call_later(WRITE_RETRY_S, self._again, lane)
            return
        deliveries = done.result()
        self.in_memory += len(deliveries)
        now, now_us = self._clock.monotonic(), self._clock.now_us()
        for delivery in deliveries:
            wait_s = (delivery.not_before_us - now_us) / 1e6
            if wait_s > 0:
                # The wall clock may have jumped; no wait read from a row is longer than the policy's longest.
                lane.delayed.append((now + min(wait_s, self._retry.max), delivery))
            else:
                lane.queue.append(delivery)
        if len(deliveries) < limit and lane.refused == seen:
            lane.spilled = False
        if deliveries or lane.spilled:
            self._make_ready(lane)
            self._pump()

    def _again(self, lane: Lane) -> None:
        self._make_ready(lane)
        self._pump()

    def _wake_at(self, at: float) -> None:
        """Come back to the pump at ``at`` (monotonic), or earlier."""
        if self._timer is not None and self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.0, at - self._clock.monotonic()), self.wake)

    def wake(self) -> None:
        """Look at every lane again: a timer is due (or a test moved its clock)."""
        self._timer = None
        self._timer_at = float("inf")
        for lane in self.lanes.values():
            self._make_ready(lane)
        self._pump()

    # -- one delivery ------------------------------------------------------------------------------------------

    async def _deliver(self, lane: Lane, delivery: Delivery) -> None:
        confirmed = False
        back = False  # the delivery waits in memory for another attempt
        try:
            if delivery.manual and await self._outbox.is_superseded(delivery):
                self.breaker.abandoned(self._clock.monotonic())  # nothing was sent, so nothing was learned
                self.counts.superseded += 1
                self._note(lambda: self._outbox.supersede((delivery.id,)))
                self._ended(lane, delivery, Reason.SUPERSEDED)
                return
            began = self._clock.monotonic()
            await self.destination.deliver(delivery)
        except RefusedDeliveryError as error:
            self.breaker.heard(self._clock.monotonic(), error)
            self._bury(lane, delivery, error.reason, error.detail, error.answer)
        except TransientDeliveryError as error:
            back = self._postpone(lane, delivery, error)
        except asyncio.CancelledError:
            self.breaker.abandoned(self._clock.monotonic())  # stopping: the lease is void at the next start
            raise
        except StoreError:
            back = True  # the guard could not be asked; nothing was sent
            self.breaker.abandoned(self._clock.monotonic())
            lane.delayed.append((self._clock.monotonic() + WRITE_RETRY_S, delivery))
        except Exception as error:
            logger.exception("delivery failed inside LabRelay", extra=self._names(lane, delivery))
            fault = TransientDeliveryError(Reason.NO_ANSWER, type(error).__name__, limit=OUR_FAULT_ATTEMPTS)
            back = self._postpone(lane, delivery, fault)
        else:
            confirmed = True
            now_us = self._clock.now_us()
            ended = self._clock.monotonic()
            self.breaker.succeeded(ended)
            self.counts.seconds.observe(ended - began)
            self.counts.delivered += 1
            self.counts.last_delivered_us = now_us
            lane.failure = None
            self._note(lambda: self._outbox.settle(delivery.id, delivered_us=now_us))
            self._ended(lane, delivery, None)
        finally:
            self.in_flight -= 1
            del lane.in_flight[delivery.id]
            if not back:
                self.in_memory -= 1
            for blocked in self._guard.leave(delivery.conditional, confirmed, now=self._clock.monotonic()):
                assert isinstance(blocked, Lane)
                self._make_ready(blocked)
            self._make_ready(lane)
            self._pump()

    def _postpone(self, lane: Lane, delivery: Delivery, error: TransientDeliveryError) -> bool:
        """Note a failed attempt. True: it stays in memory for the next one; False: it is dead."""
        now, now_us = self._clock.monotonic(), self._clock.now_us()
        before = self.breaker.state
        maybe_delivered = error.reason is Reason.MAYBE_DELIVERED
        if maybe_delivered:
            self.breaker.abandoned(now)  # the fault is ours and says nothing about the destination
        else:
            self.breaker.heard(now, error, delivery=delivery.id)
        self.counts.failed[error.reason] += 1
        if self.breaker.state is BreakerState.OPEN and before is not BreakerState.OPEN:
            self.counts.breaker_opened += 1
            logger.warning(
                "destination is not reachable", extra={"destination": self.name, "reason": error.reason.value}
            )
        self.counts.last_error = (error.reason, now_us)
        attempt = delivery.attempt + 1
        reason, in_a_row = lane.row.get(delivery.id, (error.reason, 0))
        in_a_row = in_a_row + 1 if reason is error.reason else 1
        verdict = decide(
            error,
            self._retry,
            attempt=attempt,
            age=max(0.0, (now_us - delivery.received_us) / 1e6),
            jitter=self._jitter(),
            in_a_row=in_a_row,
        )
        if isinstance(verdict, Bury):
            self._bury(lane, delivery, verdict.reason, error.detail, error.answer)
            return False
        delay = verdict.delay
        due_us = now_us + int(delay * 1e6)
        failed = replace(
            delivery,
            attempt=attempt,
            not_before_us=due_us,
            maybe_delivered=delivery.maybe_delivered or maybe_delivered,
        )
        lane.delayed.append((now + delay, failed))
        lane.row[delivery.id] = (error.reason, in_a_row)
        if lane.failure is None:  # the state changed; repeats are counted and shown, not logged
            logger.warning("delivery postponed", extra=self._names(lane, delivery, reason=error.reason.value))
        lane.failure = Failure(attempt, error.reason, now + delay)
        self._note(
            lambda: self._outbox.postpone(
                delivery.id,
                attempt=attempt,
                not_before_us=due_us,
                cause=error.reason,
                detail=error.detail,
                answer=error.answer,
            )
        )
        return True

    def _bury(self, lane: Lane, delivery: Delivery, reason: Reason, detail: str, answer: bytes) -> None:
        self.counts.dead += 1
        lane.failure = None
        if lane.hold_on_dead:
            lane.held = True
        logger.warning("delivery is dead", extra=self._names(lane, delivery, reason=reason.value))
        self._note(
            lambda: self._outbox.bury(
                delivery.id, reason=reason, detail=detail, answer=answer, hold_lane=lane.hold_on_dead
            )
        )
        self._ended(lane, delivery, reason)

    def _ended(self, lane: Lane, delivery: Delivery, reason: Reason | None) -> None:
        lane.open -= 1
        lane.row.pop(delivery.id, None)
        if self._settled is not None:
            self._settled(delivery, reason)

    def _note(self, write: "Callable[[], asyncio.Future[Any]]") -> None:
        """Write an outcome without waiting for it; where the store cannot take it now, try until it can."""
        try:
            future = write()
        except StoreError as error:
            self._note_later(write, error)
            return
        future.add_done_callback(lambda done: self._noted(write, done))

    def _noted(self, write: "Callable[[], asyncio.Future[Any]]", done: "asyncio.Future[Any]") -> None:
        if done.cancelled():
            return
        error = done.exception()
        if isinstance(error, StoreError):
            self._note_later(write, error)
        elif error is not None:
            raise error

    def _note_later(self, write: "Callable[[], asyncio.Future[Any]]", error: StoreError) -> None:
        if not error.fatal:
            logger.error("cannot note an outcome, will try again", extra={"destination": self.name})
            self._loop.call_later(WRITE_RETRY_S, self._note, write)

    def _names(self, lane: Lane, delivery: Delivery, reason: str = "") -> dict[str, object]:
        names: dict[str, object] = {
            "destination": self.name,
            "channel": lane.channel,
            "delivery_id": delivery.id,
            "journal_id": delivery.message_id,
            "attempt": delivery.attempt + 1,
        }
        if reason:
            names["reason"] = reason
        return names


def waiting(lanes: Iterable[Lane]) -> int:
    """Open deliveries of these lanes."""
    return sum(lane.open for lane in lanes)
