"""What may not grow, and by how much. Pure."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

MOST = {
    "counts": 1.02,
    "in process, CPU": 1.05,
    "in process, wall": 1.15,  # a pause costs no CPU; the clock on the wall is noisy
    "sockets": 1.15,
    "start": 1.15,
    "memory": 1.05,
}
"""Group of figures -> the most that this checkout may have of another program's figure."""
LEAST_DIFFERENCE = {"counts": 0.5}  # half a statement a message is a batch that ended elsewhere
WHOLE = ("statements", "syncs")
WHOLE_DIFFERENCE = 0.9  # of a message: one more each time, whatever the ratio


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of this checkout beside another program's.

    Attributes:
        mine, other: medians over the turns.
        ratio: the median of the ratios of each turn.
    """

    group: str
    name: str
    mine: float
    other: float
    ratio: float
    lowest: float
    highest: float

    @property
    def is_over(self) -> bool:
        difference = self.mine - self.other
        is_one_more = self.name.endswith(WHOLE) and difference > WHOLE_DIFFERENCE
        return is_one_more or (self.ratio > MOST[self.group] and difference > LEAST_DIFFERENCE.get(self.group, 0.0))


def compared(
    group: str, mine: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]]
) -> Iterator[Comparison]:
    """A turn of one beside the same turn of the other.

    Raises:
        ValueError: a figure is of one program alone; names it.
    """
    if alone := mine.keys() ^ other.keys():
        raise ValueError(f"{group}: measured of one program alone: {', '.join(sorted(alone))}")
    for name, turns in mine.items():
        ratios = [
            mine_ / other_ if other_ else math.inf if mine_ else 1.0
            for mine_, other_ in zip(turns, other[name], strict=True)
        ]
        yield Comparison(
            group=group,
            name=name,
            mine=statistics.median(turns),
            other=statistics.median(other[name]),
            ratio=statistics.median(ratios),
            lowest=min(ratios),
            highest=max(ratios),
        )


def lower(first: Sequence[Comparison], second: Sequence[Comparison]) -> list[Comparison]:
    """Those of the first, each replaced by the second's comparison of the same figure where that has a lower ratio."""
    by_figure = {(each.group, each.name): each for each in second}
    return [min(each, by_figure.get((each.group, each.name), each), key=lambda figure: figure.ratio) for each in first]


def lines(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """A table for people; a figure that is over its limit ends with the limit."""
    yield f"{'figure':44}{'now':>12}{'then':>12}{'ratio':>8}   lowest to highest"
    for each in comparisons:
        over = f"  OVER {MOST[each.group]}" if each.is_over else ""
        yield (
            f"{each.group + ': ' + each.name:44}{each.mine:>12,.2f}{each.other:>12,.2f}{each.ratio:>8.3f}"
            f"   {each.lowest:.3f} to {each.highest:.3f}{over}"
        )
