"""Westgard's rules: what the points of one test say, run by run. Pure; decimals as they were sent, never floats.

    z = (value - mean) / SD     a rule compares ``|value - mean| > k x SD``: exactly on a limit is inside

Scopes: *point*; *level*, consecutive points of one level and lot, across runs; *run*, points of one run; *all*,
consecutive points of at least two levels in measuring order, across runs.

A point that has no number, no target or no SD cannot be evaluated; it and an excluded one neither break nor complete a
count. One with a fault rejects its run. A value equal to the mean is on no side. A reset empties all counts; a new lot
of a level begins a count of its own, and empties the one across levels.

The verdict on a run is *reject* where a rejecting rule fired at one of its points, else *not evaluated* where a point
could not be, else *warn*, else *accept*.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

EXACT = Context(prec=160)  # numbers have at most 20 digits on each side of the point: nothing here is ever rounded
SHOWN = Context(prec=28)
_NUMBER = re.compile(r"\s*[+-]?\d{1,20}(?:\.\d{1,20})?\s*", re.ASCII)

POINT, LEVEL, RUN, ALL = "point", "level", "run", "all"
_BEYOND = {"1-2s": 2, "1-3s": 3}
_IN_A_ROW = {"3-1s": (3, 1), "4-1s": (4, 1), "6x": (6, 0), "8x": (8, 0), "9x": (9, 0), "10x": (10, 0), "12x": (12, 0)}
_TREND = "7T"
RULES = (*_BEYOND, "2-2s", "2of3-2s", "R-4s", *_IN_A_ROW, _TREND)
WARNINGS = frozenset({"1-2s", _TREND})
LOOKS_BACK = 12  # points of a level and lot, and of all: no rule looks further
FORMS = ("limits", "range")  # of R-4s


class Verdict(Enum):
    """On a run."""

    ACCEPT = "accept"
    WARN = "warn"
    REJECT = "reject"
    NOT_EVALUATED = "not evaluated"

    @property
    def passes(self) -> bool:
        return self in (Verdict.ACCEPT, Verdict.WARN)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """The rules of one test.

    Attributes:
        warnings: those that only warn.
        r4s: ``limits``: one point beyond +2 SD, another beyond -2 SD. ``range``: their z differ by more than 4.
    """

    rules: tuple[str, ...] = ("1-2s", "1-3s", "2-2s", "R-4s", "4-1s", "10x")
    warnings: frozenset[str] = WARNINGS
    r4s: str = "limits"

    def problem(self) -> str:
        """Why such a set is none; empty: it is one."""
        unknown = [one for one in (*self.rules, *self.warnings) if one not in RULES]
        if unknown:
            return f"there is no rule {unknown[0]}: rules are {', '.join(RULES)}"
        if self.r4s not in FORMS:
            return f"R-4s has the forms {' and '.join(FORMS)}"
        if "1-2s" not in self.warnings:
            return "1-2s alone must not reject: it warns"
        return "" if set(self.rules) - self.warnings else "no rule of it rejects"


class Target(NamedTuple):
    mean: Decimal
    sd: Decimal


class Point(NamedTuple):
    """One control result.

    Attributes:
        number: of the point, rising in measuring order. value: as sent.
        target: in force for its level and lot; None: there is none.
        reset: the counts begin anew before it.
        fault: why it cannot be evaluated, where that rejects its run; else empty.
    """

    number: int
    run: int
    level: str
    value: str
    lot: str = ""
    target: Target | None = None
    excluded: bool = False
    reset: bool = False
    fault: str = ""


class Violation(NamedTuple):
    """A rule that fired at the point ``at``, which completes it; ``points``: all that are involved."""

    at: int
    rule: str
    scope: str
    points: tuple[int, ...]


class Judgement(NamedTuple):
    """The violations in measuring order, and the verdict on each run."""

    violations: tuple[Violation, ...]
    runs: dict[int, Verdict]


class _Seen(NamedTuple):
    """A point that can be evaluated: ``off`` is its value less the mean."""

    point: Point
    off: Decimal
    sd: Decimal

    @property
    def side(self) -> int:
        return (self.off > 0) - (self.off < 0)

    def is_beyond(self, times: int, side: int = 0) -> bool:
        """Whether it is further than so many SD from the mean, on this side; 0: on any."""
        far = abs(self.off) > EXACT.multiply(self.sd, times)
        return far and (not side or side == self.side)


def number_in(text: str) -> Decimal | None:
    """A value as a number; None: it is words, a bound (``<60``), or nothing."""
    return Decimal(text.strip()) if _NUMBER.fullmatch(text) else None


def z_of(value: str, target: Target | None) -> Decimal | None:
    """For people: 28 digits; None where the point cannot be evaluated."""
    number = number_in(value)
    if number is None or target is None or target.sd <= 0:
        return None
    return SHOWN.divide(EXACT.subtract(number, target.mean), target.sd)


def judge(
    points: Iterable[Point],
    rules: RuleSet,
    known: Collection[tuple[str, str]] = (),
    past: Collection[int] = (),
) -> Judgement:
    """Judge the points of one test, in measuring order.

    Args:
        known: level and lot of those before the first point: none of them is new.
        past: numbers of points that others count; no rule is asked at them.
    """
    counts = _Counts(rules.r4s, {key: [] for key in known})
    runs: dict[int, list[Point]] = {}
    found: list[Violation] = []
    missing: set[int] = set()  # runs with a point that cannot be evaluated
    for point in points:
        if point.reset:
            counts.reset()
        mine = runs.setdefault(point.run, [])
        if point.excluded:
            continue
        mine.append(point)
        seen = _seen(point)
        if point.fault:
            found.append(Violation(point.number, point.fault, POINT, (point.number,)))
        elif seen is None:
            missing.add(point.run)
        else:
            found += counts.add(seen, () if point.number in past else rules.rules)
    rejected, warned = _by_run(found, runs, rules.warnings)
    verdicts = {run: _verdict(run, rejected, warned, missing, bool(of)) for run, of in runs.items()}
    return Judgement(tuple(found), verdicts)


def _seen(point: Point) -> _Seen | None:
    number, target = number_in(point.value), point.target
    if number is None or target is None or target.sd <= 0:
        return None
    return _Seen(point, EXACT.subtract(number, target.mean), target.sd)


def _by_run(
    found: Sequence[Violation], runs: dict[int, list[Point]], warnings: Collection[str]
) -> tuple[set[int], set[int]]:
    of = {point.number: run for run, points in runs.items() for point in points}
    rejected = {of[one.at] for one in found if one.rule not in warnings}
    return rejected, {of[one.at] for one in found}


def _verdict(run: int, rejected: set[int], warned: set[int], missing: set[int], is_any: bool) -> Verdict:
    if run in rejected:
        return Verdict.REJECT
    if run in missing or not is_any:
        return Verdict.NOT_EVALUATED
    return Verdict.WARN if run in warned else Verdict.ACCEPT


@dataclass(slots=True)
class _Counts:
    """What rules look back at: the last points of each level and lot, of all, and of the run at hand."""

    r4s: str
    levels: dict[tuple[str, str], list[_Seen]] = field(default_factory=dict)
    every: list[_Seen] = field(default_factory=list)
    runs: dict[int, list[_Seen]] = field(default_factory=dict)

    def reset(self) -> None:
        for history in self.levels.values():
            history.clear()
        self.every.clear()
        self.runs.clear()

    def add(self, seen: _Seen, rules: Iterable[str]) -> list[Violation]:
        point = seen.point
        key = point.level, point.lot
        if key not in self.levels and any(level == point.level for level, _ in self.levels):
            self.every.clear()
        level, run = self.levels.setdefault(key, []), self.runs.setdefault(point.run, [])
        for history in (level, self.every):
            history.append(seen)
            del history[:-LOOKS_BACK]
        run.append(seen)
        return [
            Violation(point.number, rule, scope, tuple(sorted(one.point.number for one in involved)))
            for rule in rules
            for scope, involved in self._fired(rule, level, run)
        ]

    def _fired(self, rule: str, level: Sequence[_Seen], run: Sequence[_Seen]) -> Iterator[tuple[str, Sequence[_Seen]]]:
        """The scopes in which a rule fires at the last point, each with the points involved."""
        last = level[-1]
        if (times := _BEYOND.get(rule)) is not None:
            if last.is_beyond(times):
                yield POINT, [last]
        elif rule == "2-2s":
            yield from _two(level, run)
        elif rule == "2of3-2s":
            yield from _two_of_three(level, run)
        elif rule == "R-4s":
            if others := _opposite(run, self.r4s):
                yield RUN, [*others, last]
        elif rule == _TREND:
            if _is_trend(level[-7:]):
                yield LEVEL, level[-7:]
        else:
            yield from _in_a_row(rule, level, self.every)


def _two(level: Sequence[_Seen], run: Sequence[_Seen]) -> Iterator[tuple[str, Sequence[_Seen]]]:
    last = level[-1]
    if not last.is_beyond(2):
        return
    if len(level) > 1 and level[-2].is_beyond(2, last.side):
        yield LEVEL, level[-2:]
    if len(run) > 1 and run[-2].point.level != last.point.level and run[-2].is_beyond(2, last.side):
        yield RUN, run[-2:]


def _two_of_three(level: Sequence[_Seen], run: Sequence[_Seen]) -> Iterator[tuple[str, Sequence[_Seen]]]:
    last = level[-1]
    if not last.is_beyond(2):
        return
    for scope, near in ((LEVEL, level[-3:]), (RUN, run[-3:])):
        far = [one for one in near if one.is_beyond(2, last.side)]
        if len(far) > 1 and (scope == LEVEL or len({one.point.level for one in near}) > 1):
            yield scope, far


def _opposite(run: Sequence[_Seen], form: str) -> list[_Seen]:
    """The points of a run that are, with its last one, too far from each other."""
    *before, last = run
    if form == "limits":
        return [one for one in before if one.is_beyond(2, -last.side)] if last.side and last.is_beyond(2) else []
    return [one for one in before if _is_range_over_4(one, last)]


def _is_range_over_4(one: _Seen, other: _Seen) -> bool:
    """Whether z differ by more than 4, without a division."""
    apart = EXACT.subtract(EXACT.multiply(one.off, other.sd), EXACT.multiply(other.off, one.sd))
    return abs(apart) > EXACT.multiply(EXACT.multiply(one.sd, other.sd), 4)


def _is_trend(near: Sequence[_Seen]) -> bool:
    """Seven values, of one target, that only rise, or only fall."""
    if len(near) < 7:
        return False
    values = [number_in(one.point.value) or Decimal(0) for one in near]
    pairs = list(pairwise(values))
    return all(one < two for one, two in pairs) or all(one > two for one, two in pairs)


def _in_a_row(rule: str, level: Sequence[_Seen], every: Sequence[_Seen]) -> Iterator[tuple[str, Sequence[_Seen]]]:
    many, times = _IN_A_ROW[rule]
    side = level[-1].side
    for scope, near in ((LEVEL, level[-many:]), (ALL, every[-many:])):
        if not side or len(near) < many or not all(one.is_beyond(times, side) for one in near):
            continue
        if scope == LEVEL:
            yield LEVEL, near
        elif len({one.point.level for one in near}) > 1:
            is_of_run = rule == "3-1s" and len({one.point.run for one in near}) == 1
            yield RUN if is_of_run else ALL, near
