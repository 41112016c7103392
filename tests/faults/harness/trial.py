"""How much a fault test does, and what it found: scale, seed, time, figures.

    async def test_nothing_is_lost(tmp_path, trial):
        for n in trial.rounds(quick=3, long=300, soak=5_000, unit="kills"):
            ...trial.chance...
        trial.note(judge(data, ledger).must_pass())

`LABRELAY_FAULTS` is ``quick`` (the default), ``long`` or ``soak``; `LABRELAY_SEED` fixes what is left to chance. Under
`make faults` each test has a share of its fault's time; where that is used up `rounds` ends early, and the record says
how far it came: never less in silence.
"""

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.faults.harness.tally import Tally

Scale = Literal["quick", "long", "soak"]
SCALES: tuple[Scale, ...] = ("quick", "long", "soak")
DEFAULT_SEED = 20260302


def scale_asked_for() -> Scale:
    asked = os.environ.get("LABRELAY_FAULTS", "quick")
    for scale in SCALES:
        if asked == scale:
            return scale
    raise ValueError(f"LABRELAY_FAULTS is {asked!r}; wanted one of {', '.join(SCALES)}")


def seeds(*several: int) -> tuple[int, ...]:
    """Of histories that differ by their seed alone: one at the quick scale, all of them at the others."""
    return several[:1] if scale_asked_for() == "quick" else several


def seed_asked_for() -> int:
    return int(os.environ.get("LABRELAY_SEED", str(DEFAULT_SEED)))


@dataclass(slots=True)
class Reached:
    """How much of one kind of thing was to be done, and was."""

    unit: str
    goal: int
    done: int = 0


@dataclass(slots=True)
class Trial:
    """One run of one test.

    Attributes:
        until: when its share of time is used up (`time.monotonic`).
        chance: from the seed and the test's name, so that tests do not share their chances.
        more: figures of this test alone, by name.
    """

    node: str
    scale: Scale = field(default_factory=scale_asked_for)
    seed: int = field(default_factory=seed_asked_for)
    until: float = float("inf")
    reached: list[Reached] = field(default_factory=list)
    tally: Tally | None = None
    more: dict[str, float | int | str] = field(default_factory=dict)
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed} {self.node}")

    @property
    def time_is_up(self) -> bool:
        return time.monotonic() >= self.until

    def goal(self, *, quick: int, long: int, soak: int | None = None, unit: str) -> int:
        """How many, for a test that cannot stop half-way; it is taken for done once the test passes."""
        goal = {"quick": quick, "long": long, "soak": long if soak is None else soak}[self.scale]
        self.reached.append(Reached(unit, goal, goal))
        return goal

    def rounds(self, *, quick: int, long: int, soak: int | None = None, unit: str) -> Iterator[int]:
        """Count from 0 to what the scale asks for, or until the time is up; at least once."""
        goal = self.goal(quick=quick, long=long, soak=soak, unit=unit)
        reached = self.reached[-1]
        reached.done = 0
        while reached.done < goal and (reached.done == 0 or not self.time_is_up):
            yield reached.done
            reached.done += 1

    def no_more(self) -> None:
        """There is no further round: the one under way was the last that there can be."""
        self.reached[-1].done += 1
        self.reached[-1].goal = self.reached[-1].done

    def note(self, tally: Tally, **more: float | int | str) -> None:
        """Add a count to the record and print it; ``more`` are figures of this test alone."""
        if self.tally is None:
            self.tally = Tally()
        self.tally.add(tally)
        print(f"\n{self.node} seed={self.seed} {tally.line()}")
        self.figures(**more)

    def figures(self, **more: float | int | str) -> None:
        self.more |= more
        if more:
            print(f"\n{self.node}: " + " ".join(f"{name}={value}" for name, value in more.items()))
