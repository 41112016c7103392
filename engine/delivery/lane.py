"""One lane: the deliveries of one channel to one destination, and which of them may go next (P3). Pure.

    order: channel    one at a time, by their numbers; a failed one is tried again before the next
    order: specimen   the same, but only among deliveries that share a report
    order: none       a delivery waits only while one that shares a report with it is under way; failed ones are
                      overtaken, and are not sent again once a newer one for the same report was delivered.
                      Where the answer to a newer one was lost, an older one waits for the next attempt of that
                      one: the server may have it, and an older version must not replace it. Where attempt after
                      attempt fails, the older one waits on only if both have results in common: one document that
                      a server cannot process must not hold back another session's tests

With ``drain: newest-first`` (and ``order: none``) the newest goes first. An older delivery that was passed by a newer
one is checked: it is not sent where that one had newer values of the same results.

With ``order: specimen`` a delivery without a report goes alone, since it is unknown which reports it concerns.

The memory of a destination: which deliveries of its lanes are in it, its limits, and the lanes to check next.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from engine.model.message import Delivery
from engine.model.texts.reasons import ReasonCode

# Failures that prove that the destination did not take it, or was never contacted.
HEARD = frozenset(
    {
        ReasonCode.NEGATIVE_ACK,
        ReasonCode.CONFLICT,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.NO_TOKEN,
        ReasonCode.WRONG_ADDRESS,
    }
)
AWAITED_ATTEMPTS = 5  # of a newer delivery, before it is checked whether an older one has to wait for it at all
LOOK_AHEAD = 64  # deliveries of a lane searched for one that may go, where the order allows several at once


@dataclass(slots=True)
class Failure:
    """The failed delivery that a lane waits for, and the reason: of several the one with the most attempts."""

    attempt: int
    reason: ReasonCode
    due: float  # monotonic
    message_id: int
    delivery: int = 0
    expected: bool = False  # in a window of expected downtime, and so not logged


@dataclass(slots=True, eq=False)
class Lane:
    """The state of a lane in memory. The store has the rest.

    Attributes:
        queue: deliveries that may go as soon as the order allows, oldest first.
        delayed: failed attempts, each with the monotonic instant of the next one.
        in_flight: under way, by number.
        reserved: places in memory for deliveries that are about to be committed.
        spilled: rows of the lane wait in the store, all newer than those in memory; new ones get no place in memory.
        refused: how often a place was refused or rows came to the store by another way; shows whether an empty claim
            has seen all rows.
        newest: the highest number that was in memory since the last claim from the beginning.
        recalled: memory was given back; the next claim starts from the beginning.
        claiming: rows are being claimed.
        unwritten: outcomes that the store does not have yet.
        failing: those that the store failed to write, and that are tried again.
        held: nothing is sent (``on_dead: hold``, or a person paused it).
        hasty: a person wants failed deliveries retried at once: the waits in rows do not count.
        queued: it is in its worker's list of lanes to check.
        row: delivery -> failures in a row for one reason.
        heard: delivery -> number of its attempts that the destination is known not to have taken.
        newest_first: the newest waiting delivery goes first.
        highest: the highest number whose attempt has begun.
        fed: it waits for the end of one to be durable, so that a kill repeats one at most (``order: channel``).
    """

    channel: str
    order: str = "channel"
    hold_on_dead: bool = False
    queue: deque[Delivery] = field(default_factory=deque)
    delayed: list[tuple[float, Delivery]] = field(default_factory=list)
    in_flight: dict[int, Delivery] = field(default_factory=dict)
    reserved: int = 0
    spilled: bool = False
    refused: int = 0
    newest: int = 0
    recalled: bool = False
    claiming: bool = False
    unwritten: int = 0
    failing: int = 0
    held: bool = False
    hasty: bool = False
    queued: bool = False
    failure: Failure | None = None
    row: dict[int, tuple[ReasonCode, int]] = field(default_factory=dict)
    heard: dict[int, int] = field(default_factory=dict)
    newest_first: bool = False
    highest: int = 0
    fed: bool = False

    @property
    def in_memory(self) -> int:
        """The number of deliveries, and of places for them."""
        return len(self.queue) + len(self.delayed) + len(self.in_flight) + self.reserved

    @property
    def drained(self) -> bool:
        """Whether nothing of the lane is in memory."""
        return not self.in_memory

    @property
    def may_claim(self) -> bool:
        """Whether the next rows may be claimed from the store.

        A claim from the beginning needs a lane without deliveries in memory and with all outcomes written: a delivery
        that failed before waits in the store, too, and would come twice. Rows that follow those in memory may come as
        soon as nothing is left to choose from, where a failed delivery does not block those behind it.
        """
        if not self.spilled or self.claiming:
            return False
        if self.order == "channel" or self.recalled:
            return self.drained and not self.unwritten
        if self.newest_first:  # claimed from the end, so numbers do not show which rows are in memory
            return not self.queue and not self.reserved and not self.unwritten
        return not self.queue and not self.reserved

    def oldest(self) -> Delivery | None:
        """The oldest open delivery in memory."""
        candidates = [delivery for _, delivery in self.delayed]
        candidates += self.in_flight.values()
        if self.queue:
            candidates.append(self.queue[0])
        return min(candidates, key=lambda delivery: delivery.seq, default=None)

    def next(self) -> Delivery | None:
        """Remove and return the delivery that may go now, if there is one."""
        if not self.queue:
            return None
        if self.order == "channel":
            return None if self.in_flight or self.delayed or (self.fed and self.unwritten) else self.queue.popleft()
        alone = self.order == "specimen"  # deliveries without a report
        busy = list(self.in_flight.values())
        if alone:
            busy += [delivery for _, delivery in self.delayed]
            if any(not delivery.reports for delivery in busy):
                return None
        self._step_aside()
        taken = {key for delivery in busy for key in delivery.reports}
        newest = _newest_of(() if alone else ((0.0, one) for one in self.queue if self._is_awaited(one)))
        looked = 0
        places = range(len(self.queue))
        for index in reversed(places) if self.newest_first else places:
            delivery = self.queue[index]
            if _newer(newest, delivery) is not None:
                continue  # that one goes first, wherever it is
            if looked >= LOOK_AHEAD:
                return None
            looked += 1
            if alone and not delivery.reports:
                return None if index or busy else self.queue.popleft()
            if taken.isdisjoint(delivery.reports):
                del self.queue[index]
                return delivery
            taken.update(delivery.reports)
        return None

    def _step_aside(self) -> None:
        """Move deliveries that are blocked by a retry to `delayed`, so that later rows can be claimed."""
        if not self.delayed:
            return
        waits = self._after_one_before if self.order == "specimen" else self._after_one_that_may_be_there
        until = waits()
        queue, self.queue = self.queue, deque()
        for delivery in queue:
            if (at := until(delivery)) is not None:
                self.delayed.append((at, delivery))
            else:
                self.queue.append(delivery)

    def _after_one_before(self) -> Callable[[Delivery], float | None]:
        """The order of a report: its failed deliveries go first."""
        latest: dict[bytes, float] = {}
        for at, one in self.delayed:
            for report in one.reports:
                latest[report] = max(at, latest.get(report, at))
        return lambda delivery: max((latest[one] for one in delivery.reports if one in latest), default=None)

    def _after_one_that_may_be_there(self) -> Callable[[Delivery], float | None]:
        """Older deliveries wait for the retry of a newer one that the server may already have."""
        newest = _newest_of((at, delivery) for at, delivery in self.delayed if self._is_awaited(delivery))
        return lambda delivery: _newer(newest, delivery)

    def _may_be_there(self, delivery: Delivery) -> bool:
        """Whether an attempt may have succeeded without our learning of it."""
        return delivery.maybe_delivered or delivery.attempt > self.heard.get(delivery.id, 0)

    def _is_awaited(self, delivery: Delivery) -> bool:
        return delivery.attempt < AWAITED_ATTEMPTS and self._may_be_there(delivery)

    def may_be_there_before(self, delivery: Delivery) -> dict[int, float]:
        """Newer deliveries for one of the same reports that wait in memory and may already be on the server, after any
        number of failed attempts; with the instant of their next attempt.
        """
        if self.order != "none":
            return {}
        reports, age = set(delivery.reports), (delivery.message_id, delivery.seq)
        return {
            one.id: at
            for at, one in (*((0.0, one) for one in self.queue), *self.delayed)
            if self._may_be_there(one) and (one.message_id, one.seq) > age and not reports.isdisjoint(one.reports)
        }

    def failed(self, delivery: Delivery, reason: ReasonCode, in_a_row: int) -> None:
        """Record a failed attempt; another will follow."""
        self.row[delivery.id] = (reason, in_a_row)
        if reason in HEARD:
            self.heard[delivery.id] = self.heard.get(delivery.id, 0) + 1

    def forget(self, delivery_id: int) -> None:
        """Forget a delivery without a next attempt."""
        self.row.pop(delivery_id, None)
        self.heard.pop(delivery_id, None)

    def trouble(self, *, expected: bool) -> Failure | None:
        """The reason why the lane waits: its failed delivery with the most attempts, since its document may be at
        fault.
        """
        tried = [(due, one) for due, one in self.delayed if one.id in self.row]
        if not tried:
            return None
        due, worst = max(tried, key=lambda waits: (waits[1].attempt, -waits[1].seq))
        return Failure(worst.attempt, self.row[worst.id][0], due, worst.message_id, worst.id, expected=expected)

    def put_back(self, delivery: Delivery) -> None:
        """Return a delivery that `next` removed."""
        before = 0
        while before < len(self.queue) and self.queue[before].seq < delivery.seq:
            before += 1
        self.queue.insert(before, delivery)

    def take_due(self, now: float) -> float | None:
        """Queue the failed ones that are due; return when the next one is due, if one is left."""
        if not self.delayed:
            return None
        for delivery in sorted((d for at, d in self.delayed if at <= now), key=lambda d: d.seq):
            self.put_back(delivery)
        self.delayed = [(at, delivery) for at, delivery in self.delayed if at > now]
        return min((at for at, _ in self.delayed), default=None)

    def take_all(self) -> list[Delivery]:
        """Remove and return all deliveries that wait in memory."""
        waiting = [*self.queue, *(delivery for _, delivery in self.delayed)]
        self.queue.clear()
        self.delayed.clear()
        return waiting

    def take(self, delivery_id: int) -> list[Delivery]:
        """Remove and return one delivery that waits in memory, if it is there."""
        found = [one for one in (*self.queue, *(one for _, one in self.delayed)) if one.id == delivery_id]
        if found:
            self.queue = deque(one for one in self.queue if one.id != delivery_id)
            self.delayed = [(at, one) for at, one in self.delayed if one.id != delivery_id]
        return found

    def may_be_superseded(self, delivery: Delivery) -> bool:
        """Whether a newer one for the same report may have been delivered before this one."""
        tried = bool(delivery.attempt or delivery.maybe_delivered)
        # The first after a start may be older than deliveries of an earlier process.
        overtaken = self.highest >= delivery.seq or (self.newest_first and not self.highest)
        return delivery.manual or (self.order == "none" and (tried or overtaken) and bool(delivery.reports))

    def begun(self, delivery: Delivery) -> None:
        """Its attempt begins; `may_be_superseded` was called before."""
        self.highest = max(self.highest, delivery.seq)


def _newest_of(unheard: Iterable[tuple[float, Delivery]]) -> dict[bytes, tuple[int, int, float]]:
    """The newest of these for each report, with its instant. They are compared by message and then by number: a
    replayed delivery is at the end of the lane.
    """
    newest: dict[bytes, tuple[int, int, float]] = {}
    for at, one in unheard:
        for report in one.reports:
            newest[report] = max(newest.get(report, (0, 0, 0.0)), (one.message_id, one.seq, at))
    return newest


def _newer(newest: dict[bytes, tuple[int, int, float]], delivery: Delivery) -> float | None:
    """The instant of a newer one of ``newest`` that shares a report with the delivery, or None."""
    found = [newest[report] for report in delivery.reports if report in newest]
    return max((at for message, seq, at in found if (message, seq) > (delivery.message_id, delivery.seq)), default=None)


MEMORY_DELIVERIES = 256  # documents per destination that wait in memory ...
MEMORY_BYTES = 32 * 1024 * 1024  # ... and their bytes together; the rest are read back from the store
LANE_SHARE = 4  # one lane takes no more than a fourth of them
CLAIM_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a destination's deliveries under way or in memory at once.

    Attributes:
        concurrency: attempts under way.
        rate: attempts per second over all lanes; None: unlimited.
        deliveries, bytes: in memory.
    """

    concurrency: int
    rate: float | None = None
    deliveries: int = MEMORY_DELIVERIES
    bytes: int = MEMORY_BYTES


class LaneMemory:
    """The lanes of one destination.

    Args:
        pump: starts all that may be started now.

    Attributes:
        deliveries: in memory or under way, including reserved places and rows that are being claimed.
        bytes: of their documents.
        ready: lanes to check.
    """

    def __init__(self, pump: Callable[[], None], limits: Limits) -> None:
        self.pump = pump
        self.lanes: dict[str, Lane] = {}
        self.ready: deque[Lane] = deque()
        self.deliveries = 0
        self.bytes = 0
        self._most = limits.deliveries
        self._most_bytes = limits.bytes
        self._most_of_a_lane = max(CLAIM_AT_ONCE, limits.deliveries // LANE_SHARE)

    @property
    def full(self) -> bool:
        return self.deliveries >= self._most or self.bytes >= self._most_bytes

    @property
    def room(self) -> int:
        """How many more deliveries fit, by their number alone."""
        return self._most - self.deliveries

    def lane(self, channel: str) -> Lane:
        """The lane of a channel, created on first use; its rows in the store are claimed before it takes new
        deliveries.
        """
        lane = self.lanes.get(channel)
        if lane is None:
            lane = self.lanes[channel] = Lane(channel, spilled=True)
            self.make_ready(lane)
        return lane

    def make_ready(self, lane: Lane) -> None:
        """Let the next pump check the lane."""
        if not lane.queued:
            lane.queued = True
            self.ready.append(lane)

    def first_again(self, lane: Lane) -> None:
        """Let the next pump check this lane before the others: its turn has come, and it could not go yet."""
        lane.queued = True
        self.ready.appendleft(lane)

    def check(self, lane: Lane) -> None:
        """Check the lane now, behind those that are ready."""
        self.make_ready(lane)
        self.pump()

    def reserve(self, lane: Lane, size: int) -> bool:
        """Take a place for a delivery of ``size`` bytes. False: the lane or the memory is full."""
        if lane.spilled or self.full or lane.in_memory >= self._most_of_a_lane:
            return False
        lane.reserved += 1
        self.deliveries += 1
        self.bytes += size
        return True

    def release(self, lane: Lane, size: int) -> None:
        """Release a reserved place."""
        lane.reserved -= 1
        self.deliveries -= 1
        self.bytes -= size

    def leave(self, delivery: Delivery) -> None:
        """The delivery leaves memory."""
        self.deliveries -= 1
        self.bytes -= len(delivery.body)
