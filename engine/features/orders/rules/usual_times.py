"""How long a test usually takes on one analyzer, from the moment that it got the order to the final result. Pure.

The figure is learned from the newest results of that test on that analyzer. Median and ninth decile do not move with a
few odd ones: a tube left overnight, a result that was sent twice.
"""

from collections.abc import Sequence

from engine.model.values import value

MINUTE_US = 60_000_000
NEWEST = 30  # durations that are kept of one test on one analyzer
ENOUGH = 10  # with fewer the default holds
DEFAULT_LATE_US = 120 * MINUTE_US
FLOOR_LATE_US = 10 * MINUTE_US  # no order is late before that, however quick the analyzer is


@value()
class UsualTime:
    """
    Attributes:
        usual_us: the median; 0: too little history.
        late_us: an order without a result is late after this time; a stat order after half of it.
    """

    usual_us: int = 0
    late_us: int = DEFAULT_LATE_US

    def late_after_us(self, *, stat: bool) -> int:
        return self.late_us // 2 if stat else self.late_us


def usual_time(took_us: Sequence[int]) -> UsualTime:
    """Of the newest durations, in any order: late is twice the time within which nine results of ten came."""
    if len(took_us) < ENOUGH:
        return UsualTime()
    ordered = sorted(took_us)
    return UsualTime(ordered[len(ordered) // 2], max(2 * ordered[len(ordered) * 9 // 10], FLOOR_LATE_US))
