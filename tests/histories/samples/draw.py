"""A history from a seed: some ordinary lives of samples and at most one trap, in turns."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.histories.render import HERE
from tests.histories.samples.facts import OUTPUTS, Decision, History, Message, Ordered, Sample, Shown, Step

MOST_ORDINARY = 2
PLAIN_SHARE = 0.3


class Day:
    """A history that is being made up."""

    def __init__(self, rng: random.Random, output: str) -> None:
        self.rng = rng
        self.output = output
        spoken = {"hl7": ("astm",), "abdm": ("hl7",)}.get(output, ("hl7", "hl7", "astm"))
        self.protocol = rng.choice(spoken)
        self.channels = 2
        self.steps: list[Step] = []
        self.minutes = 0
        self._samples = self._people = self._values = 0

    def person(self) -> int:
        self._people += 1
        return self._people - 1

    def sample(self, person: int | None = None, **more: Any) -> Sample:
        """Collected now, under an order of its own."""
        self._samples += 1
        more = {"order": f"F{HERE}{self._samples}", "at": self.minutes, **more}
        return Sample(id=self._samples, person=self.person() if person is None else person, **more)

    def test(self) -> str:
        return self.rng.choice(("CRE", "GLU", "UREA", "K"))

    def say(self, sample: Sample, about: str, status: str, *, value: str = "", at: int | None = None, flag: str = "",
            refused: bool = False, **shown: Any) -> Message:  # fmt: skip
        """Measured now, if not ``at`` another time; with a value of its own, unless it is said."""
        self._values += 1
        self.minutes += self.rng.randrange(1, 9)
        number = len(self.steps)
        message = Message(
            id=number, of=number, sample=sample, about=about, status=status, flag=flag, refused=refused,
            value=value or f"{10 + self._values}.{self.rng.randrange(1, 10)}",
            at=self.minutes if at is None else at, sent=self.minutes, shown=Shown(**{"code": about, **shown}),
        )  # fmt: skip
        self.steps.append(message)
        return message

    def again(self, message: Message) -> None:
        """The analyzer sends its memory: another control id and another time of the message."""
        self.minutes += 30
        self.steps.append(replace(message, id=len(self.steps), sent=self.minutes, refused=False))

    def decide(self, act: str, message: Message) -> None:
        self.steps.append(Decision(act=act, of=message.id))

    def order(self, sample: Sample, test: str) -> None:
        self.steps.append(Ordered(sample=sample, test=test))

    def later(self, minutes: int) -> None:
        self.minutes += minutes


def history(seed: int) -> History:
    from tests.histories.samples.lives import ORDINARY, TRAPS  # noqa: PLC0415 - they are drawn with what is above

    rng = random.Random(f"samples/{seed}")
    day = Day(rng, rng.choice(OUTPUTS))
    possible = [trap for trap in TRAPS if day.output in trap.outputs and (not trap.protocol or _speaks(day, trap.protocol))]
    trap = rng.choice(possible) if rng.random() >= PLAIN_SHARE else None
    if trap is not None and trap.protocol:
        day.protocol = trap.protocol
    lives = [rng.choice(ORDINARY)(day) for _ in range(rng.randrange(0 if trap else 1, MOST_ORDINARY + 1))]
    if trap is not None:
        lives.append(trap.life(day))
    in_turns(rng, lives)
    return History(
        seed=seed, name=trap.life.__name__ if trap else "plain", fault=trap.fault if trap else 0, output=day.output,
        protocols=(day.protocol,) * day.channels, steps=tuple(day.steps), holds=bool(trap and trap.holds),
    )  # fmt: skip


def _speaks(day: Day, protocol: str) -> bool:
    return protocol == "hl7" if day.output == "abdm" else protocol == "astm" if day.output == "hl7" else True


def in_turns(rng: random.Random, lives: list[Iterator[None]]) -> None:
    """Each life takes steps until it is over."""
    while lives:
        one = rng.choice(lives)
        if next(one, 0) == 0:
            lives.remove(one)
