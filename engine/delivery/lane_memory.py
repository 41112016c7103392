"""What of a destination's lanes is in memory, how much more may be, and which lanes are to be looked at."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engine.delivery.lane import Lane
from engine.model.message import Delivery

MEMORY_DELIVERIES = 256  # documents per destination that wait in memory ...
MEMORY_BYTES = 32 * 1024 * 1024  # ... and their bytes together; the rest are read back from the store
LANE_SHARE = 4  # one lane takes no more than a fourth of them
CLAIM_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a destination's may be under way or in memory at once.

    Attributes:
        concurrency: attempts under way.
        rate: attempts per second over all lanes; None: as many as the peer takes.
        deliveries, bytes: in memory.
    """

    concurrency: int
    rate: float | None = None
    deliveries: int = MEMORY_DELIVERIES
    bytes: int = MEMORY_BYTES


class LaneMemory:
    """The lanes of one destination.

    Args:
        pump: starts what may be started now.

    Attributes:
        deliveries: in memory or under way, with the places that are reserved and the rows that are being claimed.
        bytes: of their documents.
        ready: lanes to look at.
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
        """How many deliveries more may come, as far as their number goes."""
        return self._most - self.deliveries

    def lane(self, channel: str) -> Lane:
        """The lane of a channel, made on first use; what the store has for it is looked up before anything new."""
        lane = self.lanes.get(channel)
        if lane is None:
            lane = self.lanes[channel] = Lane(channel, spilled=True)
            self.make_ready(lane)
        return lane

    def make_ready(self, lane: Lane) -> None:
        """Have the next pump look at the lane."""
        if not lane.queued:
            lane.queued = True
            self.ready.append(lane)

    def look_at(self, lane: Lane) -> None:
        """Look at the lane now, behind those that are ready."""
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
        """Give up a place that was taken."""
        lane.reserved -= 1
        self.deliveries -= 1
        self.bytes -= size

    def leave(self, delivery: Delivery) -> None:
        """The delivery is in memory no more."""
        self.deliveries -= 1
        self.bytes -= len(delivery.body)
