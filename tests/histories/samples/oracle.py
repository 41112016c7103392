"""Nine questions of the end, which ask what is true of samples and never how the program knows them.

a  is a live result false, or a report live that has none left, and no person is shown it
b  is a true final statement absent, and no person is shown it
c  does one place hold two samples, or one sample two live values of one test
d  does a named patient, order or tube belong to another sample; or does a pool or a control have a patient
e  has a critical statement not one alert, or one that is false by now no second word
f  has a receiver a result whose test had an accepted control, and the last one before it shows no good test
g  has one receiver of a message other results of it than another one, or a receiver of whole ones a part
h  is a live result dated by a clock that cannot be right, so that the newest by date is not the newest; or is one of
   such a clock live before a person has decided about it
i  is an alert not open though its value is live and no person has taken it, or open though it is nowhere
plain  was something held of a history of which nothing may be
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.histories.model import same_value
from tests.histories.render import here
from tests.histories.samples.duties import PARTABLE
from tests.histories.samples.facts import CONTROL, PATIENTS, Decision, History, Message, Sample
from tests.histories.samples.receivers import Believed, Held
from tests.histories.samples.render import Clock, patient

QUESTIONS = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "plain")
FAR = timedelta(days=4)  # no time is wrong by more that is not a clock's fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of a message.

    Attributes:
        shown: a person finds it: it waits, is held or dead, or is said to have a wrong time.
        state: in words.
        told: alerts with its key: (state, text), in order.
        waits: a part of it has not gone out, and may.
        doubted: outputs where it waits since a receiver without identifiers may take it for another one.
        alarm: ``open``, or ``over`` where those who were told hear of it; empty: none, or a person has taken it. None:
            nobody has looked.
    """

    shown: bool = False
    state: str = ""
    told: tuple[tuple[str, str], ...] = ()
    waits: bool = False
    doubted: frozenset[str] = frozenset()
    alarm: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Attributes:
    rows: by message; one that came twice has several.
    place: of the history in its batch.
    beside: what the receivers of its further outputs believe.
    undone: messages that a person could not decide about: nothing of them waited.
    """

    place: int
    clock: Clock
    believed: Believed
    rows: dict[int, tuple[Row, ...]]
    beside: tuple[Believed, ...] = ()
    undone: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    question: str
    words: str


def judge(history: History, ended: Ended) -> list[Finding]:
    receivers = (ended.believed, *ended.beside)
    worlds = [_World(history, ended, *one) for one in zip(history.outputs, receivers, strict=True)]
    found = [one for world in worlds for ask in _OF_ONE for one in ask(world)]
    found += [*_alerted(worlds[0]), *_alike(worlds), *_alarmed(worlds)]
    return found + (list(_held(worlds[0])) if history.name == "plain" else [])


class _World:
    """The truth beside what one receiver has."""

    def __init__(self, history: History, ended: Ended, output: str, believed: Believed) -> None:
        self.history, self.ended, self.output, self.believed = history, ended, output, believed
        self.messages = {one.id: one for one in history.messages}
        self.said = [one for one in history.messages if one.id == one.of]
        self.acts: dict[str, set[int]] = defaultdict(set)  # of persons, with their messages
        for step in history.steps:
            if isinstance(step, Decision) and step.of not in ended.undone:
                self.acts[step.act].add(step.of)
        self.refused = self.acts["reject"] | self.acts["dismiss"]
        self.words: dict[tuple[int, str], list[Message]] = defaultdict(list)
        for one in self.said:
            self.words[one.sample.id, one.about].append(one)
        self.read = [(held, self._meant(held.value)) for held in believed.results]
        self.live = [(held, said) for held, said in self.read if held.live and said is not None]
        self.values = [value for held in believed.results for value in (*held.past, held.value)]

    def has_had(self, said: Message) -> bool:
        return any(same_value(said.value, value) for value in self.values)

    def controls(self, said: Message) -> list[Message]:
        """Those of its test that came before it, as they were measured."""
        some = [
            one
            for one in self.said
            if one.id < said.id and one.sample.role == CONTROL and one.about == said.about
            and one.shown.channel == said.shown.channel
        ]  # fmt: skip
        return sorted(some, key=lambda one: (one.at, one.id))

    def _meant(self, value: str) -> Message | None:
        """The first statement with this value; what withdraws it repeats the value. None: also of a control that a copy
        has, and that names nobody."""
        some = (one for one in self.said if one.sample.role != CONTROL or one.shown.named)
        return next((one for one in some if same_value(one.value, value)), None)

    def sample_of(self, value: str) -> Sample | None:
        said = self._meant(value)
        return said.sample if said else None

    def last(self, said: Message) -> Message:
        return self.words[said.sample.id, said.about][-1]

    def is_true(self, said: Message) -> bool:
        last = self.last(said)
        return last.status != "D" and same_value(last.value, said.value) and not self._is_refused(last)

    def _is_refused(self, said: Message) -> bool:
        """A person refuses what waits of a message; of several statements it is not asked which."""
        return said.id in self.refused and len(self.history.carried(said)) == 1

    def rows(self, said: Message) -> list[Row]:
        """Of the statement, as often as it was sent."""
        some = [one for one in self.messages.values() if one.of == said.of]
        return [row for one in some for row in self.ended.rows.get(one.carrier, ())]

    def is_shown(self, said: Message) -> bool:
        return any(row.shown for row in self.rows(said))


def _false(world: _World) -> Iterator[Finding]:
    for held, said in world.live:
        if not world.is_true(said) and not (world.last(said) is not said and world.is_shown(world.last(said))):
            yield Finding(question="a", words=f"{_words(held)} is live and false: {_truth(world, said)}")
    for paper in world.believed.papers:
        if paper.live and paper.results and not any(one.live for one in paper.results):
            yield Finding(question="a", words=f"a report is {paper.status}, and all of its results are withdrawn")


def _absent(world: _World) -> Iterator[Finding]:
    for words in world.words.values():
        last = words[-1]
        if last.status not in "FC" or last.sample.role != PATIENTS:
            continue
        if last.carrier in world.refused or world.is_shown(last):
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
        critical = [one for one in world.history.carried(said) if one.critical]
        if not critical:
            continue
        told = [one for row in world.rows(said) for one in row.told]
        starts = [text.partition("\n")[0] for state, text in told if state == "start"]
        if starts.count(starts[0] if starts else "") != 1:
            yield Finding(question="e", words=f"critical {said.value} has {len(starts)} alerts")
        elif any(map(world.is_true, critical)) or any(world.is_shown(world.last(one)) for one in critical):
            continue
        elif all(text.startswith(starts[0]) for _, text in told):
            yield Finding(
                question="e", words=f"critical {said.value} is false by now, and who was told has no second word"
            )


def _closed(world: _World) -> Iterator[Finding]:
    for said in world.said:
        if said.sample.role != PATIENTS or said.status == "D" or said.carrier in world.acts["release"]:
            continue
        controls = world.controls(said)
        if any(one.passed for one in controls) and not controls[-1].passed and world.has_had(said):
            last = controls[-1]
            how = " ".join(filter(None, [last.value, last.unit, last.flag, f"of {last.sample.tube}"]))
            yield Finding(question="f", words=f"{said.about} {said.value} went out, and its last control was {how}")


def _dated(world: _World) -> Iterator[Finding]:
    decided = [
        said for said in world.said if said.shown.clock and said.carrier in world.acts["release"] | world.refused
    ]
    for held, said in world.live:
        if said.shown.clock and not any(one.id <= said.id for one in decided):
            yield Finding(question="h", words=f"{_words(held)} is live, and no person has decided about its clock")
        is_copy = world.output == "raw" and said.carrier in world.acts["release"]
        if not said.shown.clock or is_copy:
            continue
        measured = datetime.strptime(world.ended.clock.at(said.at), "%Y%m%d%H%M%S")
        for stated in filter(None, (held.at, held.issued)):
            if abs(datetime.strptime(stated, "%Y%m%d%H%M%S") - measured) > FAR:
                words = f"{_words(held)} is dated {stated[:8]}, and was measured {measured:%Y%m%d}"
                yield Finding(question="h", words=words)


_OF_ONE = (_false, _absent, _mixed, _misnamed, _closed, _dated)


def _alike(worlds: Sequence[_World]) -> Iterator[Finding]:
    for message in worlds[0].said:
        if message.carrier != message.id or message.sample.role != PATIENTS:
            continue
        some = [one for one in worlds[0].history.carried(message) if one.status != "D"]
        doubted = {output for row in worlds[0].rows(message) for output in row.doubted}
        had = {
            world.output: [one.about for one in some if world.has_had(one)]
            for world in worlds
            if world.output not in doubted
        }
        parted = {output: tests for output, tests in had.items() if output in PARTABLE}
        whole = [tests for output, tests in had.items() if output not in PARTABLE]
        one = next(iter(parted.values()), None)
        if any(tests != one for tests in parted.values()) or any(
            0 < len(tests) < len(some) and tests != one for tests in whole
        ):
            words = "; ".join(f"{output} has {' '.join(tests) or 'nothing'}" for output, tests in had.items())
            yield Finding(question="g", words=f"of {' '.join(one.about for one in some)} {words}")


def _alarmed(worlds: Sequence[_World]) -> Iterator[Finding]:
    """A receiver of copies cannot know which of two stands."""
    readers = [world for world in worlds if world.output != "raw"] or worlds
    first = worlds[0]
    for message in first.said:
        critical = [one for one in first.history.carried(message) if one.critical]
        rows = first.rows(message)
        if not critical:
            continue
        places = [world.output for world in readers if any(said in critical for _, said in world.live)]
        alarms = {row.alarm for row in rows} - {None}
        if not alarms:
            continue
        what = f"critical {' '.join(one.value for one in critical)}"
        is_taken = message.id in first.acts["take"]
        if places and ("over" in alarms or not (is_taken or "open" in alarms)):
            how = "over" if "over" in alarms else "not open"
            yield Finding(question="i", words=f"{what} is live ({', '.join(places)}), and its alert is {how}")
        elif not places and not any(row.waits for row in rows):
            if "open" in alarms:
                yield Finding(question="i", words=f"{what} is nowhere, and its alert is open")
            elif is_taken and "over" not in alarms and not any(first.last(one).critical for one in critical):
                yield Finding(question="i", words=f"{what} is nowhere, and who took its alert does not hear of it")


def _held(world: _World) -> Iterator[Finding]:
    for message in world.messages.values():
        if message.sample.role == CONTROL:
            continue
        rows = world.ended.rows.get(message.carrier, ())
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
    return ", ".join(row.state for row in world.ended.rows.get(said.carrier, ())) or "never came"
