"""A Levey-Jennings chart: the place of each mark. Pure.

x is in per cent of the width and y in pixels, as in `engine.views.charts`; z is on the axis, so a point stays where it
was judged when its target changes. The axis ends at `EDGE` SD: what is further out is on the border, with an arrow
and its value. A point without a value is at the foot.
"""

from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from itertools import pairwise
from typing import NamedTuple

from engine.features.quality_control.rows.reading import EventView, PointView
from engine.features.quality_control.rules.westgard import number_in
from engine.model.texts.phrases import N_, PageText
from engine.views.charts import Label

EDGE = Decimal("4.5")  # SD
HEIGHT = 230
LETTERS = {"calibration": "C", "reagent lot": "R", "control lot": "L", "maintenance": "M", "correction": "A"}
WORDS: dict[str, PageText] = {
    "dot": "accepted",
    "warn": "warning",
    "out": "rejected",
    "gone": "left out",
    "none": "not evaluated",
}
KINDS: dict[str, PageText] = {
    "calibration": "calibration",
    "reagent lot": "reagent lot",
    "control lot": "control lot",
    "maintenance": "maintenance",
    "correction": "correction",
}
N_((*WORDS.values(), *KINDS.values()))
_EXACT = Context(prec=60)
_SHORT = Context(prec=60, rounding=ROUND_HALF_UP)
_LETTER = 10  # pixels
_EVERY = 10  # names below the chart, at most


class Mark(NamedTuple):
    """``flag``: a letter of an event, else empty."""

    kind: str
    x: float
    y: float
    says: str
    flag: str = ""


class Levey(NamedTuple):
    """One chart.

    Attributes:
        inside: y and height of two SD.
        lines: kind, and x and y of both ends, in per cent and pixels.
    """

    words: str
    height: int
    inside: tuple[float, float]
    lines: Sequence[tuple[str, float, float, float, float]]
    marks: Sequence[Mark]
    labels: Sequence[Label]


def kind_of(one: PointView) -> str:
    """Its shape, which is a class of ``page.css``, too."""
    if one.excluded:
        return "gone"
    if one.why:
        return "none"
    return "dot" if not one.rules else "out" if one.verdict == "reject" else "warn"


def short(z: str) -> str:
    """z as people read it: rounded to two places; none stays none."""
    if not z:
        return ""
    rounded = Decimal(z).quantize(Decimal("0.01"), context=_SHORT)
    return str(rounded if rounded else abs(rounded))


def levey(
    words: str,
    points: Sequence[PointView],
    events: Sequence[EventView],
    at: Callable[[int], str],
    say: Callable[[PageText], str],
    *,
    height: int = HEIGHT,
) -> Levey:
    """The chart of one level.

    Args:
        points: oldest first, at least one. events: likewise. at: a time in words.
    """
    step, unit = 100 / len(points), height / float(2 * EDGE)

    def x_of(place: int) -> float:
        return round((place + 0.5) * step, 2)

    def y_of(z: Decimal) -> float:
        return round(height / 2 - float(max(-EDGE, min(EDGE, z))) * unit, 2)

    lines, labels = _limits(points, y_of)
    marks = []
    placed = [(one, x_of(place), _height(one, height, y_of)) for place, one in enumerate(points)]
    for event, x in _placed(points, events, step):
        lines.append(("event", x, -4, x, height))
        says = f"{say(KINDS[event.kind])}, {at(event.at_us)}"
        marks.append(Mark("event", x, -10, says, LETTERS[event.kind]))
    joined = [one for one in placed if kind_of(one[0]) not in ("gone", "none")]
    for (one, x1, y1), (other, x2, y2) in pairwise(joined):
        is_bad = other.verdict == "reject" and one.id in other.pattern
        lines.append(("lj-bad" if is_bad else "lj-link", x1, y1, x2, y2))
    for one, x, y in placed:
        kind = kind_of(one)
        said = (at(one.measured_us), f"{one.value} {one.unit}".strip(), f"z {short(one.z)}" if one.z else "", one.rules)
        marks.append(Mark(kind, x, y, ", ".join(filter(None, (say(WORDS[kind]), *said)))))
        if one.z and abs(Decimal(one.z)) > EDGE:
            arrow, below = ("↑", 20) if one.z[0] != "-" else ("↓", -10)
            labels.append(Label("x bad-text", f"{x}%", y + below, f"{arrow} {one.value}"))
        elif one.rules and kind != "gone":
            of = "bad-text" if kind == "out" else "goal-text t2"
            labels.append(Label(f"x {of}", f"{x}%", y - 11, one.rules.split()[-1] if one.z else one.value))
        elif kind == "none":
            labels.append(Label("x t2", f"{x}%", y - 8, one.value))
    every = -(-len(points) // _EVERY)
    labels += [
        Label(
            "x" if place % (3 * every) == 0 else "x t2",
            f"{x_of(place)}%",
            height + 17,
            at(points[place].measured_us)[5:10],
        )
        for place in range(0, len(points), every)
    ]
    has_sd = any(one.sd for one in points)
    return Levey(words, height, (y_of(Decimal(2)), 4 * unit if has_sd else 0), lines, marks, labels)


def _height(one: PointView, height: int, y_of: Callable[[Decimal], float]) -> float:
    if one.z:
        return y_of(Decimal(one.z))
    if one.why:
        return float(height)
    return y_of(Decimal(4 if one.rules else 0))  # qualitative


def _limits(
    points: Sequence[PointView], y_of: Callable[[Decimal], float]
) -> tuple[list[tuple[str, float, float, float, float]], list[Label]]:
    """The lines of the mean and the SD, with the numbers of the newest target."""
    target = next(((one.mean, one.sd) for one in reversed(points) if one.mean), ("", ""))
    mean, sd = number_in(target[0]), number_in(target[1])
    lines: list[tuple[str, float, float, float, float]] = []
    labels: list[Label] = []
    if mean is None:  # qualitative
        return [("mean", 0, y_of(Decimal(0)), 100, y_of(Decimal(0)))], [
            Label("y", "-8", y_of(Decimal(0)) + 4, target[0])
        ]
    for times in range(3, -4, -1):
        y = y_of(Decimal(times))
        lines.append((f"sd{abs(times)}" if times else "mean", 0, y, 100, y))
        if times % 3 and y_of(Decimal(0)) - y_of(Decimal(1)) < _LETTER:
            continue
        if sd is not None:
            number = _EXACT.add(mean, _EXACT.multiply(sd, times))
            labels.append(Label("y", "-8", y + 4, format(number, "f")))
        name = f"{'+' if times > 0 else '−'}{abs(times)} SD" if times else "x̄"
        labels.append(Label("y t2", "-56", y + 4, name))
    return lines, labels


def _placed(points: Sequence[PointView], events: Sequence[EventView], step: float) -> Sequence[tuple[EventView, float]]:
    """Events between points; a lot of the control that changes is one, too."""
    found = [
        (EventView(other.measured_us, "control lot", other.test, resets=False), round(place * step, 2))
        for place, (one, other) in enumerate(pairwise(points), start=1)
        if one.lot != other.lot
    ]
    for event in events:
        place = sum(one.measured_us < event.at_us for one in points)
        if event.kind != "control lot":
            found.append((event, round(place * step, 2)))
    return found
