"""Turnaround times: their stages, and how they are counted so that days add up. Pure.

A stage is the time from one instant of a result to a later one. It is rounded down: to the second below two minutes, to
the minute below a day, to the hour from there on. Rounded times are counted, so that the figures of days, tests and
analyzers add up exactly, and a percentile is one of the rounded times: number ceil(p n / 100) of their sorted list.

A result without one of the two instants is counted apart, and so is one whose later instant lies before the earlier
one, or more than 31 days behind it: clocks disagree, and no average has it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STAGES = ("collected-resulted", "resulted-received", "received-delivered", "collected-delivered")
LONGEST_S = 31 * 86_400
_MINUTES_FROM_S, _HOURS_FROM_S = 120, 86_400
_SECOND_US = 1_000_000


def rounded_s(seconds: int) -> int:
    """A time as it is counted."""
    step = 1 if seconds < _MINUTES_FROM_S else 60 if seconds < _HOURS_FROM_S else 3600
    return seconds - seconds % step


@dataclass(slots=True)
class Stage:
    """The times of one stage.

    Attributes:
        times: rounded time in seconds -> results.
        missing: results without one of the two instants.
        impossible: results whose instants contradict each other.
    """

    times: Counter[int] = field(default_factory=Counter)
    missing: int = 0
    impossible: int = 0

    def note(self, from_us: int, to_us: int) -> None:
        """Count one result; 0: it has no such instant."""
        if not from_us or not to_us:
            self.missing += 1
        elif 0 <= to_us - from_us <= LONGEST_S * _SECOND_US:
            self.times[rounded_s((to_us - from_us) // _SECOND_US)] += 1
        else:
            self.impossible += 1

    def add(self, other: "Stage") -> None:
        self.times.update(other.times)
        self.missing += other.missing
        self.impossible += other.impossible

    @property
    def count(self) -> int:
        return self.times.total()

    def percentile_s(self, percent: int) -> int | None:
        """By nearest rank; None without any time."""
        rank, below = -(-percent * self.count // 100), 0
        for seconds, n in sorted(self.times.items()):
            below += n
            if below >= rank:
                return seconds
        return None


@dataclass(slots=True)
class ResultCounts:
    """Results of one test, or of several.

    Attributes:
        final: the first final result of a specimen and test. The stages are of these alone.
        again: a final result of a test that had one before.
        corrected: corrections and withdrawals.
    """

    final: int = 0
    again: int = 0
    corrected: int = 0
    preliminary: int = 0
    stages: dict[str, Stage] = field(default_factory=lambda: {name: Stage() for name in STAGES})

    @property
    def results(self) -> int:
        return self.final + self.again + self.corrected + self.preliminary

    def add(self, other: "ResultCounts") -> None:
        for name in _NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, stage in self.stages.items():
            stage.add(other.stages[name])

    def as_json(self) -> dict[str, Any]:
        """Without what is nothing."""
        found: dict[str, Any] = {name: n for name in _NAMES if (n := getattr(self, name))}
        for name, stage in self.stages.items():
            times = {str(seconds): n for seconds, n in sorted(stage.times.items())}
            parts = {"times": times, "missing": stage.missing, "impossible": stage.impossible}
            if kept := {part: n for part, n in parts.items() if n}:
                found[name] = kept
        return found

    @classmethod
    def of_json(cls, given: Mapping[str, Any]) -> "ResultCounts":
        made = cls(**{name: given[name] for name in _NAMES if name in given})
        for name, stage in made.stages.items():
            told = given.get(name, {})
            stage.times.update({int(seconds): n for seconds, n in told.get("times", {}).items()})
            stage.missing, stage.impossible = told.get("missing", 0), told.get("impossible", 0)
        return made


HALF_HOUR_US = 1_800_000_000


@dataclass(slots=True)
class CallTimes:
    """From critical values to those who took them. One that no person took counts as longer than any that a person
    took, and so does one that was taken by a clock that had been set back.

    Attributes:
        times_us: of those that were taken.
        impossible: taken before they were seen.
    """

    times_us: list[int] = field(default_factory=list)
    never: int = 0
    impossible: int = 0

    def note(self, seen_us: int, taken_us: int) -> None:
        """``taken_us``: 0: no person has."""
        if not taken_us:
            self.never += 1
        elif taken_us < seen_us:
            self.impossible += 1
        else:
            self.times_us.append(taken_us - seen_us)

    @property
    def count(self) -> int:
        return self.taken + self.never

    @property
    def taken(self) -> int:
        return len(self.times_us) + self.impossible

    @property
    def within(self) -> int:
        return sum(one <= HALF_HOUR_US for one in self.times_us)

    @property
    def percent_within(self) -> float | None:
        return round(100 * self.within / self.count, 1) if self.count else None

    def percentile_s(self, percent: int) -> int | None:
        """By nearest rank; None where it is of one without a time."""
        rank = -(-percent * self.count // 100)
        return sorted(self.times_us)[rank - 1] // _SECOND_US if 0 < rank <= len(self.times_us) else None


_NAMES = ("final", "again", "corrected", "preliminary")


class CountSum:
    """Adds up what `ResultCounts.as_json` wrote, ten times as fast as objects do: a month has thousands of rows."""

    __slots__ = ("_numbers", "_stages")

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._stages: dict[str, dict[str, Any]] = {}

    def add(self, said: Mapping[str, Any]) -> None:
        for name, told in said.items():
            if isinstance(told, int):
                self._numbers[name] = self._numbers.get(name, 0) + told
                continue
            stage = self._stages.setdefault(name, {"times": {}})
            for part, n in told.items():
                if part == "times":
                    times = stage[part]
                    for seconds, results in n.items():
                        times[seconds] = times.get(seconds, 0) + results
                else:
                    stage[part] = stage.get(part, 0) + n

    def counts(self) -> ResultCounts:
        return ResultCounts.of_json({**self._numbers, **self._stages})
