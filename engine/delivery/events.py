"""A destination's events: the log, its counts, and callbacks to other parts of the site.

The parameters of one destination's worker; its parts share them.
"""

import logging
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.delivery.breaker import Breaker
from engine.delivery.conditional_keys import ConditionalGuard, Conditions
from engine.delivery.lane import Lane, Limits
from engine.delivery.retry import RetryPolicy
from engine.model.message import Delivery
from engine.model.ports import Destination
from engine.model.process.clock import Clock
from engine.model.process.timing import Timing
from engine.model.site.downtime_windows import DowntimeCalendar
from engine.model.texts.reasons import ReasonCode

if TYPE_CHECKING:
    from engine.store.journal import Journal


# One logger name for all of delivery: operators filter by it.
logger = logging.getLogger("labrelay.delivery")

LAST_ANSWERS = 20  # documents taken or refused, compared to find whether a destination refuses what it took before


@dataclass(frozen=True, slots=True)
class DeliveryEvents:
    """Callbacks for state changes of a delivery.

    Attributes:
        settled: a delivery ended: delivered (None), or dead or closed for this reason.
        postponed: an attempt failed for this reason and will be retried.
        begun: an attempt is made now; returns the delivery as it is handed to the destination.
    """

    settled: Callable[[Delivery, ReasonCode | None], None] = lambda delivery, reason: None
    postponed: Callable[[Delivery, ReasonCode], None] = lambda delivery, reason: None
    begun: Callable[[Delivery], Delivery] = lambda delivery: delivery


@dataclass(slots=True)
class DestinationCounts:
    """Counts since start, for rates and metrics; the journal has the day's counts."""

    delivered: int = 0
    failed: Counter[ReasonCode] = field(default_factory=Counter)
    breaker_opened: int = 0
    seconds: Timing = field(default_factory=Timing)  # of successful attempts
    last_delivered_us: int | None = None
    last_error: tuple[ReasonCode, int, str] | None = None  # reason, time, why it cannot be reached (`away`)
    refused: deque[bool] = field(default_factory=lambda: deque(maxlen=LAST_ANSWERS))  # of the last answers, newest last


def names(destination: str, lane: Lane, delivery: Delivery, reason: ReasonCode | None = None) -> dict[str, object]:
    """The fields of a delivery in a log line."""
    found: dict[str, object] = {
        "destination": destination,
        "channel": lane.channel,
        "delivery_id": delivery.id,
        "journal_id": delivery.message_id,
        "attempt": delivery.attempt + 1,
    }
    if reason is not None:
        found["reason"] = reason.value
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One destination and the rules of delivering to it.

    Attributes:
        conditions: for updates that require our last version on the server; None: no condition.
        unproven: right before an attempt: None where this machine may send it; else one to wait for. Either raises
            HeldBackError where a person decides, StoreError where it may not be sent now.
        withdraw: see `engine.model.packing.UnpackingDestination`.
    """

    name: str
    destination: Destination
    journal: "Journal"
    clock: Clock
    limits: Limits
    retry: RetryPolicy
    breaker: Breaker
    guard: ConditionalGuard
    conditions: Conditions | None = None
    downtime: DowntimeCalendar = field(default_factory=DowntimeCalendar)
    events: DeliveryEvents = field(default_factory=DeliveryEvents)
    jitter: Callable[[], float] = random.random
    withdraw: Callable[[str], None] = lambda channel: None
    unproven: Callable[[Delivery], Awaitable[None] | None] = lambda delivery: None
