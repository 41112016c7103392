"""Mean, SD and what follows from them: of a lot's points, of months, of a new lot beside an old one. Pure, decimal.

The SD is that of a sample (n - 1). An outlier is proposed, never removed: a person excludes a point.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import NamedTuple

QUOTIENT = Context(prec=40, rounding=ROUND_HALF_UP)
_OUTLIER = Decimal("3.5")
_OF_MAD = Decimal("0.6745")  # the 75th percentile of the normal distribution


class Figures(NamedTuple):
    """Of some values. ``sd``: None of fewer than two."""

    n: int
    mean: Decimal
    sd: Decimal | None

    @property
    def cv_percent(self) -> Decimal | None:
        if self.sd is None or not self.mean:
            return None
        return QUOTIENT.divide(QUOTIENT.multiply(self.sd, 100), abs(self.mean))


def figures_of(values: Sequence[Decimal]) -> Figures | None:
    """None of no values."""
    if not values:
        return None
    n = len(values)
    mean = QUOTIENT.divide(_sum(values), n)
    if n < 2:
        return Figures(n, mean, None)
    squares = _sum(QUOTIENT.power(QUOTIENT.subtract(one, mean), 2) for one in values)
    return Figures(n, mean, QUOTIENT.sqrt(QUOTIENT.divide(squares, n - 1)))


def cumulative(parts: Sequence[Figures]) -> Figures | None:
    """Of several periods together; each has an SD."""
    n = sum(one.n for one in parts)
    if n < 2:
        return None
    mean = QUOTIENT.divide(_sum(QUOTIENT.multiply(one.mean, one.n) for one in parts), n)
    squares = Decimal(0)
    for one in parts:
        within = QUOTIENT.multiply(QUOTIENT.power(one.sd or Decimal(0), 2), one.n - 1)
        between = QUOTIENT.multiply(QUOTIENT.power(QUOTIENT.subtract(one.mean, mean), 2), one.n)
        squares = QUOTIENT.add(squares, QUOTIENT.add(within, between))
    return Figures(n, mean, QUOTIENT.sqrt(QUOTIENT.divide(squares, n - 1)))


def bridged_sd(mean: Decimal, cv_percent: Decimal) -> Decimal:
    """The SD of a new lot until it has one of its own: few points of few days show one that is too small."""
    return QUOTIENT.divide(QUOTIENT.multiply(abs(mean), cv_percent), 100)


def outliers(values: Sequence[Decimal]) -> tuple[int, ...]:
    """Places, from 0, of values that are far from the others, by the modified z of the median."""
    if len(values) < 3:
        return ()
    middle = _median(values)
    away = [abs(QUOTIENT.subtract(one, middle)) for one in values]
    spread = _median(away)
    if not spread:
        return ()
    scores = (QUOTIENT.divide(QUOTIENT.multiply(_OF_MAD, one), spread) for one in away)
    return tuple(place for place, score in enumerate(scores) if score > _OUTLIER)


def _median(values: Sequence[Decimal]) -> Decimal:
    ordered, half = sorted(values), len(values) // 2
    if len(values) % 2:
        return ordered[half]
    return QUOTIENT.divide(QUOTIENT.add(ordered[half - 1], ordered[half]), 2)


def _sum(values: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for one in values:
        total = QUOTIENT.add(total, one)
    return total
