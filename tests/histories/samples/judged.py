"""Histories before the judge alone: render, parse, read facts, judge, apply to a model of the outputs, ask the
questions. No daemon, no journal, no socket; some thousand histories in a minute.

A receiver of documents keeps a state: a decision that takes a place writes there. One of a stream gets rows, and
believes what `receivers.standing` says. A raw copy goes as it came.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from adapters.codecs.astm import records as astm
from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.content.facts import Facts, unpacked
from engine.model.message import FormatOptions, MapContext
from engine.succession import steps
from engine.succession.judge.judging import judge as judged_by
from engine.succession.judge.memory import remember
from engine.succession.judge.words import CLOCK, Decision, Judgement, Memory, Receipt, Ref
from tests.histories.samples.facts import CONTROL, History, Message, Step
from tests.histories.samples.facts import Decision as Decided
from tests.histories.samples.oracle import Ended, Finding, Row, judge
from tests.histories.samples.receivers import OPEN, WORDS, Believed, Held, Paper, stamp, standing
from tests.histories.samples.render import Clock, payload
from tests.support.decided_memory import rejected
from tests.support.shipped import KEY, program, reader_of

ZONE = ZoneInfo("Asia/Kolkata")
BEGAN = datetime(2026, 3, 2, 8, 0)
STATES = frozenset({"fhir", "abdm"})  # of outputs that keep one
_OUT = frozenset({"new", "follows", "amends", "withdraws"})


@dataclass
class Bench:
    """One history, from its first message on.

    Attributes:
        places: of receivers with a state, by result: its versions.
        rows: of a stream.
        failed: tests whose control failed.
        going: statuses of the last message.
        together: draws which statements come in one message.
        times: what the analyzers write as time of collection (`hard.TIMES`). unique, collection: as of a `Receipt`.
    """

    history: History
    times: str = "sample"
    unique: bool = False
    collection: bool | None = None
    clock: Clock = field(default_factory=lambda: Clock(BEGAN))
    memory: Memory = field(default_factory=Memory)
    places: dict[Ref, list[Held]] = field(default_factory=dict)
    orders: dict[Ref, tuple[str, ...]] = field(default_factory=dict)
    rows: list[Held] = field(default_factory=list)
    became: dict[int, list[tuple[bool, str]]] = field(default_factory=lambda: defaultdict(list))
    failed: set[str] = field(default_factory=set)
    going: dict[Ref, str] = field(default_factory=dict)
    together: random.Random | None = None

    def play(self) -> Ended:
        for group in self._groups():
            if isinstance(group[0], Message):
                self._message([one for one in group if isinstance(one, Message)])
            elif isinstance(group[0], Decided):
                self.memory = rejected(self.memory, group[0].of)
        became = {
            number: tuple(Row(shown=shown, state=state, waits=state.startswith("held")) for shown, state in some)
            for number, some in self.became.items()
        }
        return Ended(place=0, clock=self.clock, believed=self._believed(), rows=became)

    def _groups(self) -> Iterator[list[Step]]:
        """What comes in one message: one statement, or some that follow each other on a channel."""
        waits: list[Message] = []
        for step in self.history.steps:
            joins = isinstance(step, Message) and bool(waits) and self._joins(waits, step)
            if waits and not joins:
                yield [*waits]
                waits.clear()
            if isinstance(step, Message):
                waits.append(step)
            else:
                yield [step]
        if waits:
            yield [*waits]

    def _joins(self, waits: list[Message], step: Message) -> bool:
        if not self.together or self.together.random() < 0.5 or step.shown.channel != waits[0].shown.channel:
            return False
        if step.shown.named is not waits[0].shown.named:
            return False
        known = [one for one in waits if (one.sample.id, one.about) == (step.sample.id, step.about)]
        if self.history.name == "plain" or step.about == "CULT":
            return not known
        # Two runs in one message are two results, as they are today. And where nothing stands, nothing is corrected.
        return step.shown.code == step.about and all(
            one.of == step.of or (one.status != step.status and step.status != "C") for one in known
        )

    def _message(self, group: list[Message]) -> None:
        message, protocol = group[-1], self.history.protocols[0]
        channel = f"c{message.shown.channel}"
        facts = together(
            facts_of(collected(payload([one], protocol, self.clock, 0), self._collection(one)), protocol)
            for one in group
        )
        received = BEGAN + timedelta(minutes=message.sent, seconds=20)
        receipt = Receipt(
            message=group[0].id, channel=channel, received=received.replace(tzinfo=ZONE), is_hl7=protocol == "hl7",
            of_site=self.history.joined, unique=self.unique, collection=self.collection,
        )  # fmt: skip
        judgement = judged_by(facts, self.memory, receipt)
        is_patient = message.sample.role != CONTROL
        held = message.refused or (self.history.holds and message.about in self.failed and is_patient)
        if self.history.holds and message.flag and not is_patient:
            (self.failed.discard if message.flag == "N" else self.failed.add)(message.about)
        self.memory = remember(self.memory, judgement, held=held)
        self.going = {(group[0].id, one.place): one.status for one in judgement.decisions}
        for decision in judgement.decisions:
            shown = held or decision.kind in ("held", "again") or self._is_ambiguous(decision)
            state = f"{decision.kind} {decision.reason}{decision.finding} {decision.words}".strip()
            self.became[group[decision.place - 1].id].append((shown, "held by rule" if held else state))
        if not held:
            self._apply(facts, judgement)

    def _collection(self, message: Message) -> str | None:
        """In the field of collection; None: the time of it."""
        if self.times == "sample":
            return None
        minutes = message.at - (12 if self.times == "start" else 0)
        days = message.shown.clock + message.shown.typed
        return "" if self.times == "absent" else self.clock.at(minutes, days)

    # -- outputs -------------------------------------------------------------------------------------------------------

    def _apply(self, facts: Facts, judgement: Judgement) -> None:
        decided = {one.place: one for one in judgement.decisions}
        for ref in judgement.gone:
            if ref in self.places:
                gone = replace(self.places[ref][-1], status=steps.WITHDRAWN)
                self.places[ref].append(gone)
                if self.history.output != "raw":
                    self.rows.append(gone)
        for person, order, result in facts.results():
            decision = decided.get(result.place)
            if decision is None or decision.kind not in _OUT or self._is_ambiguous(decision):
                continue
            tubes = [one.number for one in order.samples]
            status = decision.status
            if self.history.output == "raw":
                status = WORDS[result.measure.status or ""]
            held = Held(
                patient=person.number or "", numbers=frozenset(filter(None, [order.filler, order.placer, *tubes])),
                code=result.measure.test or "", value=result.value.sent or "", status=status,
                at="" if decision.finding == CLOCK else stamp(result.at or ""),
            )  # fmt: skip
            self.rows.append(held)
            self._put(decision, judgement, held)

    def _is_ambiguous(self, decision: Decision) -> bool:
        """Whether a receiver without ids would take others of the order for this one; then its output is held."""
        others = [
            self.places[ref][-1].status if ref in self.places else self.going.get(ref, "") for ref in decision.beside
        ]
        takes = decision.kind != "new" or not OPEN.isdisjoint(others)
        return bool(others) and takes and self.history.output not in STATES

    def _put(self, decision: Decision, judgement: Judgement, held: Held) -> None:
        said = judgement.said[decision.place]
        ref = decision.meant or (said.message, said.place)
        before = self.places.setdefault(ref, [])
        if not before and decision.kind == "withdraws":  # nobody has it: what waits is closed
            del self.places[ref]
            return
        before.append(replace(held, past=tuple(one.value for one in before)))
        self.orders.setdefault(ref, (said.person, said.number))

    def _believed(self) -> Believed:
        if self.history.output not in STATES:
            return Believed(results=tuple(standing(self.rows)))
        papers: dict[tuple[str, ...], list[list[Held]]] = defaultdict(list)
        for ref, versions in self.places.items():
            papers[self.orders[ref]].append(versions)
        return Believed(
            results=tuple(versions[-1] for versions in self.places.values()),
            papers=tuple(
                Paper(
                    status=steps.of_report("final", "", [one[-1].status for one in some]),
                    results=tuple(one[-1] for one in some),
                )
                for some in papers.values()
            ),
        )


def questions(bench: Bench) -> list[Finding]:
    """What of the questions its history breaks; alerts are of the daemon."""
    history = bench.history
    return [one for one in judge(history, bench.play()) if one.question not in "ei"]


def together(some: Iterable[Facts]) -> Facts:
    """Several messages as one."""
    first, *others = some
    people = list(first.people)
    for number, one in enumerate(others, start=1):
        for person in one.people:
            orders = (
                order._replace(results=tuple(each._replace(place=each.place + number) for each in order.results))
                for order in person.orders
            )
            people.append(person._replace(orders=tuple(orders)))
    return first._replace(people=tuple(people))


def collected(content: bytes, time: str | None) -> bytes:
    """A message with another time of collection: OBR-7, SPM-17, O-8."""
    if time is None:
        return content
    places = {b"OBR": 7, b"SPM": 17, b"O": 7}
    rows = [row.split(b"|") for row in content.split(b"\r")]
    for row in rows:
        if place := places.get(row[0]):
            row[place] = time.encode()
    return b"\r".join(map(b"|".join, rows))


def facts_of(content: bytes, protocol: str) -> Facts:
    parsed = (hl7v2 if protocol == "hl7" else astm).parse(content, FormatOptions())
    mapped = program(reader_of(parsed.format)).apply(parsed, _context())
    return unpacked(mapped.documents[0].body) if mapped.documents else Facts()


@cache
def _context() -> MapContext:
    return MapContext(
        channel="c", key=KEY, timezone="Asia/Kolkata", patient_numbers="lasting",
        settings={"local_system": "urn:labrelay:codes:c", "patient_system": "urn:test:people", "head_codes": ["ORG"],
                  "patient_system_lab": "urn:test:people"},
    )  # fmt: skip
