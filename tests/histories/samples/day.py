"""A history that is being made up: its clock, its people, its samples and what is said of them."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.histories.render import HERE
from tests.histories.samples.facts import Decision, Message, Ordered, Sample, Shown, Step

CHANNELS = 2
ORGANISMS = ("Gram positive cocci", "Escherichia coli", "Candida albicans", "Staphylococcus aureus")


class Day:
    """A history that is being made up."""

    def __init__(self, rng: random.Random, output: str, protocol: str, beside: tuple[str, ...] = ()) -> None:
        self.rng, self.output, self.protocol, self.outputs = rng, output, protocol, (output, *beside)
        self.joined = rng.random() < 0.3
        self.can_withdraw = protocol == "hl7" and output != "abdm"  # there it is a trap
        self._counts = rng.random() < 0.7  # control ids; else each message has the same
        self._organisms = rng.sample(ORGANISMS, len(ORGANISMS))
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

    def organism(self) -> str:
        """That no other culture of the history has."""
        return self._organisms.pop()

    def control(self, number: int) -> str:
        return str(100 + number) if self._counts else "1"

    def say(self, sample: Sample, about: str, status: str, *, value: str = "", at: int | None = None, flag: str = "",
            refused: bool = False, unit: str = "mmol/L", passed: bool = False, beside: Message | None = None,
            **shown: Any) -> Message:  # fmt: skip
        """Measured now, if not ``at`` another time; with a value of its own, unless it is said.

        Args:
            beside: a statement in whose message it comes.
        """
        self._values += 1
        self.minutes += 0 if beside else self.rng.randrange(1, 9)
        number = len(self.steps)
        message = Message(
            id=number, of=number, control=beside.control if beside else self.control(number), sample=sample,
            about=about, status=status, flag=flag, refused=refused, unit=unit, passed=passed,
            carrier=beside.carrier if beside else number,
            value=value or f"{10 + self._values}.{self.rng.randrange(1, 10)}",
            at=self.minutes if at is None else at, sent=self.minutes, shown=Shown(**{"code": about, **shown}),
        )  # fmt: skip
        self.steps.append(message)
        return message

    def again(self, message: Message) -> None:
        """The analyzer sends its memory, all of a message: another control id and another time of the message."""
        self.minutes += 30
        first = len(self.steps)
        more = {"carrier": first, "control": self.control(first), "sent": self.minutes, "refused": False}
        carried = [one for one in self.steps if isinstance(one, Message) and one.carrier == message.id]
        for one in carried:
            self.steps.append(replace(one, id=len(self.steps), **more))  # type: ignore[arg-type]

    def decide(self, act: str, message: Message) -> None:
        self.steps.append(Decision(act=act, of=message.id))

    def order(self, sample: Sample, test: str) -> None:
        self.steps.append(Ordered(sample=sample, test=test))

    def later(self, minutes: int) -> None:
        self.minutes += minutes


def in_turns(rng: random.Random, lives: list[Iterator[None]]) -> None:
    """Each life takes steps until it is over."""
    while lives:
        one = rng.choice(lives)
        if next(one, 0) == 0:
            lives.remove(one)
