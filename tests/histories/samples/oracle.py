"""Five questions of the end, which ask what is true of samples and never how the program knows them.

a  is a live result false, or a report live that has none left, and no person is shown it
b  is a true final statement absent, and no person is shown it
c  does one place hold two samples, or one sample two live values of one test
d  does a named patient, order or tube belong to another sample; or does a pool or a control have a patient
e  has a critical statement not one alert, or one that is false by now no second word
plain  was something held of a history of which nothing may be
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.histories.model import same_value
from tests.histories.render import here
from tests.histories.samples.facts import PATIENTS, Decision, History, Message, Sample
from tests.histories.samples.receivers import Believed, Held
from tests.histories.samples.render import Clock, patient

QUESTIONS = ("a", "b", "c", "d", "e", "plain")
FAR = timedelta(days=1)  # a time that is wrong by more is another day's


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of a message.

    Attributes:
        shown: a person finds it: it waits, is held or dead, or is said to have a wrong time.
        state: in words.
        told: alerts with its key: (state, text), in order.
    """

    shown: bool = False
    state: str = ""
    told: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Attributes:
    rows: by message; one that came twice has several.
    place: of the history in its batch.
    """

    place: int
    clock: Clock
    believed: Believed
    rows: dict[int, tuple[Row, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    question: str
    words: str


def judge(history: History, ended: Ended) -> list[Finding]:
    world = _World(history, ended)
    asked = [_false(world), _absent(world), _mixed(world), _misnamed(world), _alerted(world)]
    found = [one for answers in asked for one in answers]
    return found + (list(_held(world)) if history.name == "plain" else [])


class _World:
    """The truth beside what was found."""

    def __init__(self, history: History, ended: Ended) -> None:
        self.ended = ended
        self.messages = {one.id: one for one in history.messages}
        self.said = [one for one in history.messages if one.id == one.of]
        self.refused = {step.of for step in history.steps if isinstance(step, Decision)}  # by a person
        self.words: dict[tuple[int, str], list[Message]] = defaultdict(list)
        for one in self.said:
            self.words[one.sample.id, one.about].append(one)
        self.read = [(held, self._meant(held.value)) for held in ended.believed.results]
        self.live = [(held, said) for held, said in self.read if held.live and said is not None]

    def _meant(self, value: str) -> Message | None:
        """The first statement with this value; what withdraws it repeats the value."""
        return next((one for one in self.said if same_value(one.value, value)), None)

    def sample_of(self, value: str) -> Sample | None:
        said = self._meant(value)
        return said.sample if said else None

    def last(self, said: Message) -> Message:
        return self.words[said.sample.id, said.about][-1]

    def is_true(self, said: Message) -> bool:
        last = self.last(said)
        return last.status != "D" and same_value(last.value, said.value) and last.id not in self.refused

    def rows(self, said: Message) -> list[Row]:
        """Of the statement, as often as it was sent."""
        return [row for one in self.messages.values() if one.of == said.of for row in self.ended.rows.get(one.id, ())]

    def is_shown(self, said: Message) -> bool:
        return any(row.shown for row in self.rows(said))


def _false(world: _World) -> Iterator[Finding]:
    for held, said in world.live:
        if not world.is_true(said) and not (world.last(said) is not said and world.is_shown(world.last(said))):
            yield Finding(question="a", words=f"{_words(held)} is live and false: {_truth(world, said)}")
        elif said.shown.clock and world.is_true(said) and not world.is_shown(said):
            measured = datetime.strptime(world.ended.clock.at(said.at), "%Y%m%d%H%M%S")
            if held.at and abs(datetime.strptime(held.at, "%Y%m%d%H%M%S") - measured) > FAR:
                yield Finding(
                    question="a", words=f"{_words(held)} is dated {held.at[:8]}, and was measured {measured:%Y%m%d}"
                )
    for paper in world.ended.believed.papers:
        if paper.live and paper.results and not any(one.live for one in paper.results):
            yield Finding(question="a", words=f"a report is {paper.status}, and all of its results are withdrawn")


def _absent(world: _World) -> Iterator[Finding]:
    for words in world.words.values():
        last = words[-1]
        if last.status not in "FC" or last.sample.role != PATIENTS or last.id in world.refused or world.is_shown(last):
            continue
        if not any(said is world._meant(last.value) for _, said in world.live):
            yield Finding(question="b", words=f"{last.about} {last.value} is nowhere: {_became(world, last)}")


def _mixed(world: _World) -> Iterator[Finding]:
    beside: dict[tuple[int, str], list[Held]] = defaultdict(list)
    for held, said in world.live:
        samples = {one.id for value in (*held.past, held.value) if (one := world.sample_of(value))}
        if len(samples) > 1:
            yield Finding(question="c", words=f"{_words(held)} stands where another sample did: {', '.join(held.past)}")
        beside[said.sample.id, said.about].append(held)
    for place, some in beside.items():
        if len(some) > 1 and not world.is_shown(world.words[place][-1]):
            yield Finding(question="c", words=f"one sample has {' and '.join(map(_words, some))}")


def _misnamed(world: _World) -> Iterator[Finding]:
    place = world.ended.place
    for held, said in world.live:
        own = {here(number, place) for number in said.sample.numbers}
        whose = here(patient(said.sample.person), place)
        if held.patient and said.sample.role != PATIENTS:
            yield Finding(question="d", words=f"{_words(held)} of role {said.sample.role} has patient {held.patient}")
        elif held.patient and held.patient != whose:
            yield Finding(question="d", words=f"{_words(held)} has patient {held.patient} for {whose}")
        if others := held.numbers - own:
            yield Finding(question="d", words=f"{_words(held)} names {', '.join(sorted(others))}")


def _alerted(world: _World) -> Iterator[Finding]:
    for said in world.said:
        if not said.critical:
            continue
        told = [one for row in world.rows(said) for one in row.told]
        starts = [text for state, text in told if state == "start"]
        if len(starts) != 1:
            yield Finding(question="e", words=f"critical {said.value} has {len(starts)} alerts")
        elif not world.is_true(said) and not any(text != starts[0] for _, text in told):
            yield Finding(
                question="e", words=f"critical {said.value} is false by now, and who was told has no second word"
            )


def _held(world: _World) -> Iterator[Finding]:
    for message in world.messages.values():
        rows = world.ended.rows.get(message.id, ())
        if not rows or any(row.shown for row in rows):
            yield Finding(
                question="plain", words=f"{message.about} {message.status} {message.value}: {_became(world, message)}"
            )


def _words(held: Held) -> str:
    return f"{held.code} {held.status} {held.value}"


def _truth(world: _World, said: Message) -> str:
    last = world.last(said)
    return f"a person refused it ({_became(world, last)})" if last.id in world.refused else (
        f"{last.status} {last.value} was said ({_became(world, last)})"
    )  # fmt: skip


def _became(world: _World, said: Message) -> str:
    return ", ".join(row.state for row in world.ended.rows.get(said.id, ())) or "never came"
