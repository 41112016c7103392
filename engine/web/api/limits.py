"""How often one caller, and one address, may ask: token buckets. Pure: the clock is an argument.

A request costs as much as it makes the daemon work: what is in memory 1, a question to the journal 2, an act 20.
"""

from collections import OrderedDict
from dataclasses import dataclass

RATE = 400.0  # a second
BURST = 800.0
FROM_MEMORY, FROM_JOURNAL, AN_ACT = 1.0, 2.0, 20.0
MOST_REMEMBERED = 1000  # callers and addresses; the one that asked longest ago is forgotten, which fills its bucket


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Buckets:
    """One bucket for each name."""

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, cost: float, now: float) -> float:
        """Take ``cost`` from the bucket; 0.0, or in how many seconds it has so much (then nothing was taken).

        Args:
            now: monotonic.
        """
        bucket = self._buckets.setdefault(name, _Bucket(self._burst, now))
        self._buckets.move_to_end(name)
        if len(self._buckets) > MOST_REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.left < cost:
            return (cost - bucket.left) / self._rate
        bucket.left -= cost
        return 0.0

    def __len__(self) -> int:
        return len(self._buckets)
