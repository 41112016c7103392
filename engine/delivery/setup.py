"""The parameters of one destination's worker; its parts share them."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.delivery.breaker import Breaker
from engine.delivery.conditional_keys import ConditionalGuard, Conditions
from engine.delivery.events import DeliveryEvents
from engine.delivery.lane import Limits
from engine.delivery.retry import RetryPolicy
from engine.model.ports import Destination
from engine.model.process.clock import Clock
from engine.model.site.downtime_windows import DowntimeCalendar

if TYPE_CHECKING:
    from engine.store.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One destination and the rules of delivering to it.

    Attributes:
        conditions: for updates that require our last version on the server; None: no condition.
        unproven: right before an attempt: None where this machine may send; else one to wait for, which raises
            StoreError where it may not.
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
    unproven: Callable[[], Awaitable[None] | None] = lambda: None
