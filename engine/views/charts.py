"""Charts of the pages: the place of each mark, and the same numbers as a table. Pure.

x is in per cent of the width and y in pixels, so that one drawing fits each screen and a sheet of paper, and its
letters keep their size; ``components/charts.html`` draws it. A mark's kind is a class of ``page.css``.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from engine.model.texts.phrases import N_, PageText

Band = tuple[int, int] | None
Say = Callable[[PageText], str]
HEAT = 5  # steps of a heat map, beside nothing at all
OF_HOURS = N_(("Messages by hour, before what is usual.", "Hour", "Messages", "usual"))
_NICE = (1, 2, 5)


class Mark(NamedTuple):
    """A rectangle, or where ``height`` is 0 a point."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    says: str


class Label(NamedTuple):
    """``kind``: of an axis, x or y; ``t2``: not on a phone."""

    kind: str
    x: str
    y: float
    text: str


class Chart(NamedTuple):
    """
    Attributes:
        words: one sentence, for who does not see it.
        grid: y of each line.
        lines: kind, and x and y of both ends.
        legend: kind and words.
        heads, rows: the same as a table.
    """

    words: str
    height: int
    grid: Sequence[float]
    lines: Sequence[tuple[str, float, float, float, float]]
    marks: Sequence[Mark]
    labels: Sequence[Label]
    legend: Sequence[tuple[str, str]]
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def columns(self) -> list[str | tuple[str, str]]:
        """The heads as `ui.rows` takes them: all but the first are of numbers."""
        return [self.heads[0], *((head, "number") for head in self.heads[1:])]


def bars(
    words: str,
    heads: Sequence[str],
    names: Sequence[str],
    counts: Sequence[int | None],
    *,
    bands: Sequence[Band] = (),
    now: int = -1,
    every: int = 1,
    height: int = 118,
    kind: str = "bars",
) -> Chart:
    """A bar for each count, before the band that is usual.

    Args:
        counts: None: not yet.
        now: place of one that is not over.
        every: which names are written below.
    """
    step, bands = 100 / len(names), bands or (None,) * len(names)
    grid, at = _scale([*(one or 0 for one in counts), *(band[1] for band in bands if band)], height)
    marks = [
        Mark(
            "band",
            _x(n * step),
            at(high),
            _x(step),
            round(max(1.0, at(low) - at(high)), 1),
            f"{names[n]}: {low}-{high}",
        )
        for n, (low, high) in ((n, band) for n, band in enumerate(bands) if band)
    ]
    marks += [
        Mark(
            "now" if n == now else kind,
            _x((n + 0.2) * step),
            at(one),
            _x(0.6 * step),
            round(height - at(one), 1),
            f"{names[n]}: {one}",
        )
        for n, one in enumerate(counts)
        if one
    ]
    shown = [*_below(names, every, height), *_beside(grid, at)]
    usual = [f"{band[0]}-{band[1]}" if band else "-" for band in bands]
    rows = [row[: len(heads)] for row in zip(names, map(_text, counts), usual, strict=True)]
    legend = [("band", heads[2])] if any(bands) else []
    return Chart(words, height, [at(one) for one in grid], (), marks, shown, legend, heads, rows)


def by_hour(names: Sequence[str], counts: Sequence[int | None], bands: Sequence[Band], say: Say) -> Chart:
    """Messages of a day by hour, before what is usual; the last that is known is not over."""
    now = max((n for n, one in enumerate(counts) if one is not None), default=-1)
    words, *heads = map(say, OF_HOURS)
    return bars(words, heads, names, counts, bands=bands, now=now, every=3)


def curves(
    words: str,
    heads: Sequence[str],
    names: Sequence[str],
    series: Sequence[Sequence[int | None]],
    *,
    every: int = 1,
    height: int = 190,
    shown: Callable[[int], str] = str,
) -> Chart:
    """Two lines at most, each with marks of its own shape. ``shown``: a value as text."""
    step = 100 / len(names)
    grid, at = _scale([one for values in series for one in values if one is not None], height)
    lines, marks = [], []
    for values, line, kind in zip(series, ("l1", "l2"), ("p50", "p90"), strict=False):
        places = [(None if one is None else at(one), _x((n + 0.5) * step)) for n, one in enumerate(values)]
        for (y1, x1), (y2, x2) in pairwise(places):
            if y1 is not None and y2 is not None:
                lines.append((line, x1, y1, x2, y2))
        for name, one, (y, x) in zip(names, values, places, strict=True):
            if one is not None and y is not None:
                marks.append(Mark(kind, x, y, 0, 0, f"{name}: {shown(one)}"))
    labels = [*_below(names, every, height), *_beside(grid, at, shown)]
    legend = list(zip(("p50", "p90"), heads[1:], strict=False))
    rows = [(name, *(_text(one, shown) for one in of)) for name, *of in zip(names, *series, strict=True)]
    return Chart(words, height, [at(one) for one in grid], lines, marks, labels, legend, heads, rows)


def heat(
    words: str, heads: Sequence[str], names: Sequence[str], grid: Sequence[Sequence[int]], every: int = 3
) -> Chart:
    """A map of counts; its five steps are written beside it."""
    most, step, row = max((one for line in grid for one in line), default=0), 100 / len(heads[1:]), 20
    marks = [
        Mark(
            f"h{_step(one, most)}",
            _x(n * step),
            line * row,
            _x(step - 0.3),
            row - 2,
            f"{names[line]} {heads[n + 1]}: {one}",
        )
        for line, counts in enumerate(grid)
        for n, one in enumerate(counts)
    ]
    labels = [Label("y", "-8", line * row + 14, name) for line, name in enumerate(names)]
    labels += _below(heads[1:], every, row * len(names))
    legend = [(f"h{n}", f"≤ {most * n // HEAT}") for n in range(1, HEAT + 1, 2)] if most >= HEAT else []
    rows = [(hour, *map(str, counts)) for hour, *counts in zip(heads[1:], *grid, strict=True)]
    return Chart(words, row * len(names), (), (), marks, labels, legend, [heads[0], *names], rows)


def _step(count: int, most: int) -> int:
    return -(-HEAT * count // most) if count > 0 else 0


def _scale(values: Sequence[int], height: int) -> tuple[list[int], Callable[[float], float]]:
    """The numbers beside a chart, and the way from a number to its y."""
    most = max((1, *values))
    size = 10 ** (len(str(most)) - 1)
    step = next(one for power in (size // 10, size) for nice in _NICE if (one := nice * power) and most <= 5 * one)
    return list(range(step, most + 1, step)), lambda value: round(height - value * (height - 10) / most, 1)


def _below(names: Sequence[str], every: int, height: int) -> Iterator[Label]:
    for n in range(0, len(names), every):
        yield Label("x t2" if n // every % 2 else "x", f"{_x((n + 0.5) * 100 / len(names))}%", height + 17, names[n])


def _beside(grid: Sequence[int], at: Callable[[float], float], shown: Callable[[int], str] = str) -> Iterator[Label]:
    for one in (0, *grid):
        yield Label("y", "-8", at(one) + 4, shown(one))


def _text(one: int | None, shown: Callable[[int], str] = str) -> str:
    return "-" if one is None else shown(one)


def _x(percent: float) -> float:
    return round(percent, 2)
