"""What a worker knows of its destination: the lanes, what is in memory and under way, and what came of it so far."""

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from engine.delivery.breaker import Breaker
from engine.delivery.conditional_keys import ConditionalGuard
from engine.delivery.lane import Lane
from engine.delivery.outbox_port import Outbox
from engine.delivery.retry import RetryPolicy
from engine.model.clock import Clock
from engine.model.message import Delivery
from engine.model.ports import Destination
from engine.model.rate_limit import Pace
from engine.model.reasons import Reason
from engine.model.timing import Timing

# One name for all of delivery: it is what operators filter by.
logger = logging.getLogger("labrelay.engine.delivery")

MEMORY_DELIVERIES = 256  # documents per destination that wait in memory ...
MEMORY_BYTES = 32 * 1024 * 1024  # ... and their bytes together; the rest are read back from the store
LANE_SHARE = 4  # one lane takes no more than a fourth of them
CLAIM_AT_ONCE = 16


LAST_ANSWERS = 20  # documents taken or refused, looked at together: whether a destination refuses what it took before


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
    refused: deque[bool] = field(default_factory=lambda: deque(maxlen=LAST_ANSWERS))  # of the last answers, newest last


async def _at_once() -> None:
    """Nothing to wait for."""


class Standing(ABC):
    """What stands in memory for one destination, and the little that all parts of its worker do with it."""

    _loop: asyncio.AbstractEventLoop

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
        spared: Callable[[int, int], int] = lambda since_us, until_us: 0,
        jitter: Callable[[], float] = random.random,
        rate: float | None = None,
        checks_conflicts: bool = False,
        memory_deliveries: int = MEMORY_DELIVERIES,
        memory_bytes: int = MEMORY_BYTES,
        room: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """
        Args:
            settled: hears of every delivery that ended: None where delivered, else why it is dead (or superseded).
            rate: attempts per second over all lanes, at most; None: as many as the peer takes.
            checks_conflicts: what was written before goes out on condition that the server still has it as it was.
            postponed: hears of every attempt that failed and will be made again.
            room: waits until an attempt can be made at once; where that is always so, None.
            expected: wall time in microseconds -> when the window of expected downtime ends that is open then, or None.
            spared: two wall times in microseconds -> how much between them lay within such windows: that much later is
                something given up.
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
        self._spared = spared
        self._guard = guard
        self._concurrency = concurrency
        self._settled = settled
        self._postponed = postponed
        self._jitter = jitter
        self._room = room or _at_once
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

    @abstractmethod
    def _pump(self) -> None:
        """Start what may be started now; whatever ends, or a timer, comes back here."""

    def _make_ready(self, lane: Lane) -> None:
        if not lane.queued:
            lane.queued = True
            self._ready.append(lane)

    def _again(self, lane: Lane) -> None:
        self._make_ready(lane)
        self._pump()

    def _full(self) -> bool:
        return self.in_memory >= self._memory_deliveries or self.bytes_in_memory >= self._memory_bytes

    def _leave_memory(self, delivery: Delivery) -> None:
        self.in_memory -= 1
        self.bytes_in_memory -= len(delivery.body)

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
