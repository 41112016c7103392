"""Several materials of one order, under one code and panel: SPM-4 or O-16 alone parts them, in whatever word."""

import random
from collections.abc import Callable, Iterator

from tests.histories.samples.day import Day
from tests.histories.samples.draw import in_turns
from tests.histories.samples.duties import ASTM, HL7
from tests.histories.samples.facts import History, Message, Sample
from tests.histories.samples.lives import Life

WORDS = {  # of table 0487, of O-16, and as people write them
    "serum": ("SER", "S", "Serum"), "urine": ("UR", "U", "Urine"), "plasma": ("PLAS", "P", "Plasma"),
    "venous": ("BLDV",), "capillary": ("BLDC",),
}  # fmt: skip
PAIRS = (("serum", "urine"), ("urine", "serum"), ("plasma", "urine"), ("venous", "capillary"), ("capillary", "venous"))


class Speaking:
    """What an analyzer says of one material."""

    def __init__(self, day: Day, sample: Sample, words: tuple[str, ...], test: str) -> None:
        self.day, self.sample, self.words, self.test = day, sample, words, test
        self.last: Message | None = None

    def says(self, status: str, *, mute: bool = False) -> Message:
        """``mute``: the message names no material."""
        day, before = self.day, self.last
        is_back = status in "CD" and before is not None
        self.last = day.say(
            self.sample, self.test, status, flag="" if status == "D" else day.rng.choice(("", "", "HH", "LL")),
            value=before.value if before is not None and status == "D" else "",
            at=before.at if before is not None and is_back else None,
            material="" if mute else day.rng.choice(self.words),
        )  # fmt: skip
        return self.last

    def goes_on(self) -> Iterator[None]:
        """A correction, a withdrawal, its memory, a rerun, or nothing."""
        day, last = self.day, self.last
        day.later(day.rng.choice((5, 30)))
        match day.rng.choice(("C", "D", "again", "F", "")):
            case "again" if last is not None:
                day.again(last)
            case "D" if not day.can_withdraw:
                return
            case "C" | "D" | "F" as status:
                self.says(status)
            case _:
                return
        yield


def spelled(day: Day) -> Life:
    """One material, in other words or in none: nothing of it may be held."""
    words = day.rng.choice([*WORDS.values()])
    one = Speaking(day, day.sample(), words, day.test())
    for status in day.rng.choice(("PF", "FC", "PFC")):
        day.later(5)
        one.says(status, mute=day.rng.random() < 0.3)
        yield


def parted(day: Day) -> Life:
    """Two materials, collected together or not, each with words of its own, in turns.

    A person decides about the second alone where receivers have identifiers: lists take a second one for the first.
    """
    rng, test = day.rng, day.test()
    names = rng.choice(PAIRS)
    first = day.sample()
    at = first.at if rng.random() < 0.7 else day.minutes + 30
    second = day.sample(first.person, order=first.order, at=at)
    both = [Speaking(day, sample, WORDS[name], test) for sample, name in zip((first, second), names, strict=True)]
    day.later(40)
    for one, status in zip(both, (rng.choice("PF"), rng.choice("PF")), strict=True):
        said = one.says(status)
        yield
        day.later(rng.choice((0, 5)))
        if one is both[1] and day.outputs == ("fhir",) and rng.random() < 0.5:
            day.decide(rng.choice(("release", "reject")), said)
            yield
    for one in rng.sample(both, 2):
        if one.last is not None and one.last.status == "P":
            one.says("F")
            yield
        yield from one.goes_on()


LIVES: tuple[Callable[[Day], Life], ...] = (spelled, parted, parted)


def materials(seed: int) -> History:
    """One of `LIVES`, for one receiver or two."""
    rng = random.Random(f"materials/{seed}")
    life, protocol = rng.choice(LIVES), rng.choice(("hl7", "astm"))
    several = rng.sample([one for one in (HL7 if protocol == "hl7" else ASTM) if one != "raw"], rng.choice((1, 2)))
    outputs = rng.choice((["fhir"], several, several))
    day = Day(rng, outputs[0], protocol, beside=tuple(outputs[1:]))
    in_turns(rng, [life(day)])
    return History(
        seed=seed, name="plain" if life is spelled else life.__name__, fault=0, output=outputs[0],
        protocols=(protocol,), steps=tuple(day.steps), beside=tuple(outputs[1:]),
    )  # fmt: skip
