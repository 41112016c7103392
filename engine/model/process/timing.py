"""A histogram of durations that costs half a microsecond to add to; any thread may own one. Pure values."""

from bisect import bisect_left

# Seconds. Commits take 0.5-20 ms on disks that keep their promise; answers of a FHIR server 5 ms-30 s.
TIMING_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


class Timing:
    """One histogram of durations: fetch it once, then `observe`."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(TIMING_BUCKETS) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(TIMING_BUCKETS, seconds)] += 1
        self.sum_s += seconds
