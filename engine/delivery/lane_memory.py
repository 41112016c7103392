"""The memory of a destination: which deliveries of its lanes are in it, its limits, and the lanes to check next."""

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
