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

Invariant: memory always holds the oldest of a lane's open deliveries, in order. A lane that has waiting rows in the
store (``spilled``) takes no new place in memory until a claim has found nothing more, and where a person's act brings
older rows back, what waits in memory is given back to the store and all is claimed anew.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from engine.breaker import Breaker, BreakerState
from engine.clock import Clock, from_us
from engine.conditional import ConditionalGuard
from engine.errors import RefusedDeliveryError, StoreError, TransientDeliveryError
from engine.lane import Failure, Lane
from engine.message import Delivery
from engine.pace import Pace
from engine.packing import unpack
from engine.ports import Destination
from engine.reasons import Reason
from engine.retry import Bury, RetryPolicy, decide
from engine.timing import Timing
from engine.versions import Versions, conditioned, worth_keeping, written

logger = logging.getLogger("labrelay." + __name__)

MEMORY_DELIVERIES = 256  # documents per destination that wait in memory ...
MEMORY_BYTES = 32 * 1024 * 1024  # ... and their bytes together; the rest are read back from the store
LANE_SHARE = 4  # one lane takes no more than a fourth of them
MEMORY_VERSIONS = 20_000  # of resources whose version may not be committed yet; far more than can be under way
CLAIM_AT_ONCE = 16
WRITE_RETRY_S = 1.0
CLOSE_S = 1.0  # a destination may take so long to close
CLAIMS_S = 1.0  # ... and the journal to answer our last claims
REOPEN_S = 5.0
OUR_FAULT_ATTEMPTS = 5  # an exception of ours while delivering is tried this often before the delivery is dead


class Outbox(Protocol):
    """What delivery needs of the journal."""

    def settle(self, delivery_id: int, *, delivered_us: int, versions: Versions = ()) -> "asyncio.Future[None]": ...
    def versions(self, destination: str, resources: Sequence[str]) -> dict[str, str]: ...
    def postpone(
        self, delivery_id: int, *, attempt: int, not_before_us: int, cause: Reason, detail: str, answer: bytes = b""
    ) -> "asyncio.Future[None]": ...
    def bury(
        self, delivery_id: int, *, reason: Reason, detail: str, answer: bytes = b"", hold_lane: bool = False
    ) -> "asyncio.Future[None]": ...
    def supersede(self, delivery_ids: Iterable[int]) -> "asyncio.Future[int]": ...
    def unclaim(self, delivery_ids: Iterable[int], *, maybe_delivered: bool = False) -> "asyncio.Future[int]": ...
    def claim(
        self, channel: str, destination: str, limit: int, *, after: int = 0
    ) -> "asyncio.Future[list[Delivery]]": ...
    def claim_newest(
        self, channel: str, destination: str, limit: int, *, without: Iterable[int]
    ) -> "asyncio.Future[list[Delivery]]": ...
    def is_superseded(self, delivery: Delivery) -> "asyncio.Future[bool]": ...
    def is_overtaken(self, delivery: Delivery) -> "asyncio.Future[bool]": ...
    def hold(self, delivery_ids: Iterable[int], *, cause: Reason) -> "asyncio.Future[int]": ...


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
        postponed: Callable[[Delivery, Reason], None] | None = None,
        expected: Callable[[int], int | None] = lambda now_us: None,
        jitter: Callable[[], float] = random.random,
        rate: float | None = None,
        checks_conflicts: bool = False,
        memory_deliveries: int = MEMORY_DELIVERIES,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """
        Args:
            settled: hears of every delivery that ended: None where delivered, else why it is dead (or superseded).
            rate: attempts per second over all lanes, at most; None: as many as the peer takes.
            checks_conflicts: what was written before goes out on condition that the server still has it as it was.
            postponed: hears of every attempt that failed and will be made again.
            expected: wall time in microseconds -> when the window of expected downtime ends that is open then, or None.
        """
        self.name = name
        self.destination = destination
        self.breaker = breaker
        self.counts = DestinationCounts()
        self.lanes: OrderedDict[str, Lane] = OrderedDict()
        self.in_memory = 0
        self.bytes_in_memory = 0
        self.in_flight = 0
        self._memory_deliveries = memory_deliveries
        self._memory_bytes = memory_bytes
        self._lane_deliveries = max(CLAIM_AT_ONCE, memory_deliveries // LANE_SHARE)
        self._outbox = outbox
        self._clock = clock
        self._retry = retry
        self._patient = replace(retry, give_up_after=None)
        self._expected = expected
        self._guard = guard
        self._concurrency = concurrency
        self._settled = settled
        self._postponed = postponed
        self._jitter = jitter
        self._pace = Pace(rate) if rate is not None else None
        self._checks_conflicts = checks_conflicts
        self._versions: dict[str, str] = {}  # of resources written lately, the oldest first
        self._ready: deque[Lane] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._running = False
        self._opening: asyncio.TimerHandle | None = None
        self._claims: set[asyncio.Future[Any]] = set()
        self._cut_off: list[int] = []  # their attempts were cut off by the stop
        self._store_fails = False
        self._down_since: float | None = None  # when the breaker left its closed state ...
        self._down_said = False  # ... and whether that was worth a warning: not in a window of expected downtime
        self._calm_until: int | None = None  # the window of expected downtime in which failures were last noted
        self._paused = False

    # -- life --------------------------------------------------------------------------------------------------

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

    def lane(self, channel: str) -> Lane:
        """The lane of a channel, made on first use; what the store has for it is looked up before anything new."""
        lane = self.lanes.get(channel)
        if lane is None:
            lane = self.lanes[channel] = Lane(channel, spilled=True)
            self._make_ready(lane)
        return lane

    # -- from intake -------------------------------------------------------------------------------------------

    def reserve(self, lane: Lane, size: int) -> bool:
        """Ask for a place in memory for a delivery about to be committed. False: let it be born waiting.

        Args:
            size: bytes of its document.
        """
        stands = not self._running or self._paused or lane.held
        if stands or lane.spilled or self._full() or lane.in_memory >= self._lane_deliveries:
            lane.spilled = True
            lane.refused += 1
            return False
        lane.reserved += 1
        self.in_memory += 1
        self.bytes_in_memory += size
        return True

    def committed(self, lane: Lane, delivery: Delivery) -> None:
        """A delivery with a place in memory is durable. Called in journal order."""
        lane.reserved -= 1
        lane.queue.append(delivery)
        if lane.recalled:  # older ones are about to be read from the store, and go first
            self._give_up(lane)
        else:
            lane.newest = delivery.seq
        self._make_ready(lane)
        self._pump()

    def left_in_store(self, lane: Lane) -> None:
        """A delivery without a place in memory is durable: a claim will find it."""
        lane.spilled = True
        self._make_ready(lane)
        self._pump()

    def give_back(self, lane: Lane, size: int) -> None:
        """The reserved place is not needed: the message came to nothing, or could not be stored."""
        lane.reserved -= 1
        self.in_memory -= 1
        self.bytes_in_memory -= size
        self._make_ready(lane)
        self._pump()

    def look_again(self, channel: str) -> None:
        """Rows of a lane became waiting by another way (a retry, a replay, recovery): read them from the store.

        They may be older than what waits in memory, and then go first: so that is given back, and all claimed anew.
        """
        lane = self.lane(channel)
        self._give_up(lane)
        self._make_ready(lane)
        self._pump()

    def _give_up(self, lane: Lane) -> None:
        """Give back what of the lane waits in memory; all of it is to be claimed anew."""
        waiting = lane.take_all()
        lane.spilled = lane.recalled = True
        lane.refused += 1
        for delivery in waiting:
            self._leave_memory(delivery)
        if waiting:
            self._note(lane, lambda: self._outbox.unclaim([delivery.id for delivery in waiting]))

    def _full(self) -> bool:
        return self.in_memory >= self._memory_deliveries or self.bytes_in_memory >= self._memory_bytes

    def _leave_memory(self, delivery: Delivery) -> None:
        self.in_memory -= 1
        self.bytes_in_memory -= len(delivery.body)

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
            if lane.held or (lane.newest_first and self._store_fails and lane.unwritten):
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
                future = self._outbox.claim(lane.channel, self.name, limit, after=lane.newest)
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
            elif lane.newest_first:
                lane.put_back(delivery)
            else:
                lane.queue.append(delivery)
        if lane.recalled:  # while they were on their way
            self._give_up(lane)
        # Nothing at all, not just less than asked for: a claim is cut short by bytes, too. A held lane shows nothing.
        if not deliveries and lane.refused == seen and not lane.held:
            lane.spilled = lane.hasty = False
        if deliveries or lane.spilled:
            self._again(lane)

    def _claim_failed(self, lane: Lane, limit: int, error: BaseException) -> None:
        self.in_memory -= limit
        self._say_store_fails(error)
        if not (isinstance(error, StoreError) and error.fatal):
            self._loop.call_later(WRITE_RETRY_S, self._claim_again, lane)

    def _claim_again(self, lane: Lane) -> None:
        lane.claiming = False
        self._again(lane)

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
            if delivery.released and await self._outbox.is_overtaken(delivery):
                self.breaker.abandoned(self._clock.monotonic())
                self._note(lane, lambda: self._outbox.hold((delivery.id,), cause=Reason.OVERTAKEN))
                self._ended(lane, delivery, Reason.OVERTAKEN)
                return
            look = lane.may_be_superseded(delivery)
            lane.begun(delivery)
            if look and await self._outbox.is_superseded(delivery):
                self.breaker.abandoned(self._clock.monotonic())  # nothing was sent, so nothing was learned
                self.counts.superseded += 1
                self._note(lane, lambda: self._outbox.supersede((delivery.id,)))
                self._ended(lane, delivery, Reason.SUPERSEDED)
                return
            sent = await self._conditioned(delivery) if self._checks_conflicts else delivery
            if self._paused or lane.held:  # a person was quicker than this attempt
                back = True
                self.breaker.abandoned(self._clock.monotonic())
                lane.put_back(delivery)
                return
            began = self._clock.monotonic()
            versions = await self.destination.deliver(sent)
        except RefusedDeliveryError as error:
            now = self._clock.monotonic()
            self.breaker.heard(now, error)
            self._look_whether_back(now)
            self._bury(lane, delivery, error.reason, error.detail, error.answer)
        except TransientDeliveryError as error:
            back = self._postpone(lane, delivery, error)
        except asyncio.CancelledError:
            self.breaker.abandoned(self._clock.monotonic())
            self._cut_off.append(delivery.id)
            raise
        except StoreError:
            back = True  # the guard could not be asked; nothing was sent
            self.breaker.abandoned(self._clock.monotonic())
            lane.delayed.append((self._clock.monotonic() + WRITE_RETRY_S, delivery))
        except Exception as error:
            logger.exception("delivery failed inside LabRelay", extra=self._names(lane, delivery))
            fault = TransientDeliveryError(Reason.NO_ANSWER, type(error).__name__, limit=OUR_FAULT_ATTEMPTS)
            back = self._postpone(lane, delivery, fault, ours=True)
        else:
            confirmed = True
            now_us = self._clock.now_us()
            ended = self._clock.monotonic()
            self.breaker.succeeded(ended)
            self._look_whether_back(ended)
            self.counts.seconds.observe(ended - began)
            self.counts.delivered += 1
            self.counts.last_delivered_us = now_us
            self._remember(versions or ())
            self._note(
                lane, lambda: self._outbox.settle(delivery.id, delivered_us=now_us, versions=tuple(versions or ()))
            )
            self._ended(lane, delivery, None)
        finally:
            self.in_flight -= 1
            del lane.in_flight[delivery.id]
            if not back:
                self._leave_memory(delivery)
            self._leave(delivery, confirmed=confirmed)
            self._make_ready(lane)
            self._pump()

    async def _conditioned(self, delivery: Delivery) -> Delivery:
        """The delivery under the condition that the server has what we wrote last; see `engine.versions`."""
        if delivery.unconditional:
            return delivery
        try:
            body = unpack(delivery.body) if delivery.packed else delivery.body
        except ValueError:
            return delivery  # the destination finds the same damage, and says so
        resources = written(body)
        known = {one: self._versions[one] for one in resources if one in self._versions}
        if unknown := [one for one in resources if one not in known]:
            # What is not committed yet is known here; so a look into what is will do, and nothing waits for the writer.
            known |= await asyncio.to_thread(self._outbox.versions, self.name, unknown)
        return replace(delivery, body=conditioned(body, known), packed=False) if known else delivery

    def _remember(self, versions: Versions) -> None:
        for resource, version in worth_keeping(versions):
            self._versions.pop(resource, None)
            self._versions[resource] = version
        while len(self._versions) > MEMORY_VERSIONS:
            del self._versions[next(iter(self._versions))]

    def _leave(self, delivery: Delivery, *, confirmed: bool) -> None:
        """Free its conditional keys for the lanes that wait for them."""
        for blocked in self._guard.leave(delivery.conditional, confirmed, now=self._clock.monotonic()):
            assert isinstance(blocked, Lane)
            self._make_ready(blocked)

    def _postpone(self, lane: Lane, delivery: Delivery, error: TransientDeliveryError, *, ours: bool = False) -> bool:
        """Note a failed attempt. True: it stays in memory for the next one; False: it is dead.

        Args:
            ours: the fault is in LabRelay and says nothing about the destination.
        """
        now, now_us = self._clock.monotonic(), self._clock.now_us()
        maybe_delivered = error.reason is Reason.MAYBE_DELIVERED
        if ours or maybe_delivered:
            self.breaker.abandoned(now)
        else:
            self.breaker.heard(now, error, delivery=delivery.id)
        self.counts.failed[error.reason] += 1
        until_us = self._expected(now_us)
        self._note_outage(now, error.reason, until_us)
        self.counts.last_error = (error.reason, now_us)
        attempt = delivery.attempt + 1
        reason, in_a_row = lane.row.get(delivery.id, (error.reason, 0))
        in_a_row = in_a_row + 1 if reason is error.reason else 1
        verdict = decide(
            error,
            self._retry if until_us is None else self._patient,
            attempt=attempt,
            age=max(0.0, (now_us - delivery.received_us) / 1e6),
            jitter=self._jitter(),
            in_a_row=in_a_row,
        )
        if isinstance(verdict, Bury):
            self._bury(lane, delivery, verdict.reason, error.detail, error.answer)
            return False
        delay = verdict.delay
        if until_us is not None and error.retry_after is None:
            # Over with the window: what waits is not to wait for the rest of a long back-off.
            delay = min(delay, (until_us - now_us) / 1e6 + self._jitter() * self._retry.first)
        due_us = now_us + int(delay * 1e6)
        failed = replace(
            delivery,
            attempt=attempt,
            not_before_us=due_us,
            maybe_delivered=delivery.maybe_delivered or maybe_delivered,
        )
        lane.delayed.append((now + delay, failed))
        if self._postponed is not None:
            self._postponed(failed, error.reason)
        lane.row[delivery.id] = (error.reason, in_a_row)
        # The state changed; repeats are counted and shown, not logged.
        if until_us is None and (lane.failure is None or lane.failure.expected):
            logger.warning("delivery postponed", extra=self._names(lane, delivery, reason=error.reason.value))
        lane.failure = Failure(attempt, error.reason, now + delay, expected=until_us is not None)
        self._note(
            lane,
            lambda: self._outbox.postpone(
                delivery.id,
                attempt=attempt,
                not_before_us=due_us,
                cause=error.reason,
                detail=error.detail,
                answer=error.answer,
            ),
        )
        return True

    def _note_outage(self, now: float, reason: Reason, until_us: int | None) -> None:
        """An attempt has failed: say so once if the destination as a whole is down.

        Args:
            until_us: within a window of expected downtime, its end; then one calm line says it, and the warning
                follows only if the destination is still down after it.
        """
        if until_us is not None and until_us != self._calm_until:
            self._calm_until = until_us
            logger.info(
                "destination fails in its expected downtime",
                extra={
                    "destination": self.name,
                    "reason": reason.value,
                    "until": from_us(until_us).isoformat(timespec="seconds"),
                },
            )
        opened = self._down_since is None and self.breaker.state is BreakerState.OPEN
        if opened:
            self._down_since = now
            self.counts.breaker_opened += 1
        elif self._down_since is not None:
            self._look_whether_back(now)  # a conflict is an answer, too
        if self._down_since is not None and not self._down_said and until_us is None:
            self._down_said = True
            logger.warning("destination is not reachable", extra={"destination": self.name, "reason": reason.value})

    def _look_whether_back(self, now: float) -> None:
        """Say once that the breaker has closed; in between, probes that fail change nothing that anybody must read."""
        if self._down_since is None or self.breaker.state is not BreakerState.CLOSED:
            return
        if self._down_said:
            logger.info(
                "destination is reachable again",
                extra={"destination": self.name, "duration_s": round(now - self._down_since, 1)},
            )
        self._down_since, self._down_said = None, False
        for lane in self.lanes.values():
            if lane.newest_first and lane.spilled:  # what waits in memory is not the newest any more
                self._give_up(lane)
                self._make_ready(lane)

    def _bury(self, lane: Lane, delivery: Delivery, reason: Reason, detail: str, answer: bytes) -> None:
        self.counts.dead += 1
        if lane.hold_on_dead:
            lane.held = True
            self._give_up(lane)  # a lane that waits for a person keeps no memory from the others
        logger.warning("delivery is dead", extra=self._names(lane, delivery, reason=reason.value))
        hold = lane.hold_on_dead

        def write() -> "asyncio.Future[Any]":
            written = self._outbox.bury(delivery.id, reason=reason, detail=detail, answer=answer, hold_lane=hold)
            if hold:  # an act that looked at the lane's row meanwhile did not find it held yet
                written.add_done_callback(lambda done: setattr(lane, "held", lane.held or done.exception() is None))
            return written

        self._note(lane, write)
        self._ended(lane, delivery, reason)

    def _ended(self, lane: Lane, delivery: Delivery, reason: Reason | None) -> None:
        lane.row.pop(delivery.id, None)
        if not lane.delayed:
            lane.failure = None
        if self._settled is not None:
            self._settled(delivery, reason)

    def _note(self, lane: Lane, write: "Callable[[], asyncio.Future[Any]]") -> None:
        """Write an outcome without waiting for it; where the store cannot take it now, try until it can.

        Until it is written, the lane claims nothing: what it would find might be what has just ended.
        """
        lane.unwritten += 1
        self._write(lane, write)

    def _write(self, lane: Lane, write: "Callable[[], asyncio.Future[Any]]") -> None:
        try:
            future = write()
        except StoreError as error:
            self._write_later(lane, write, error)
            return
        future.add_done_callback(lambda done: self._written(lane, write, done))

    def _written(self, lane: Lane, write: "Callable[[], asyncio.Future[Any]]", done: "asyncio.Future[Any]") -> None:
        error = done.exception()
        if error is None:
            self._store_fails = False
            lane.unwritten -= 1
            if (lane.spilled or lane.newest_first) and not lane.unwritten:
                self._again(lane)
        elif isinstance(error, StoreError):
            self._write_later(lane, write, error)
        else:
            raise error

    def _write_later(self, lane: Lane, write: "Callable[[], asyncio.Future[Any]]", error: StoreError) -> None:
        self._say_store_fails(error)
        if not error.fatal:
            self._loop.call_later(WRITE_RETRY_S, self._write, lane, write)

    def _say_store_fails(self, error: BaseException) -> None:
        if not self._store_fails:
            logger.error(
                "cannot read or write the outbox, will try until it works",
                extra={"destination": self.name, "detail": str(error) if isinstance(error, StoreError) else ""},
            )
        self._store_fails = True

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
