"""A limit on how often something may begin. Pure: the clock is an argument.

So much of it as a quiet time has left over may be used at once, up to `BURST_S` of it: a destination with ``rate: 20``
gets no more than 22 requests in any second, however many wait.
"""

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
