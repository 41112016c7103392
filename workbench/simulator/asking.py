"""An analyzer that asks which tests to run on a tube, checks the answer, and sends results of exactly these tests.

    analyzer   question                 results
    host                  orders                 (ACK of each frame)

What it checks: the answer comes in time, names the tube as it was asked for, with all that the maker wants repeated,
and is whole; no test comes twice. The table of makers is `workbench.simulator.asking_forms`.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from engine.model.errors import LabRelayError
from workbench.errors import WrongAnswerError
from workbench.simulator.asking_forms import FORMS, GENERIC, AskForm, Told
from workbench.simulator.asking_hl7 import LAW, WAYS, Blocks, Law, Way
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.faults import Fault
from workbench.simulator.hearing import Hearing
from workbench.simulator.packs import Model, Sample, find_model, names
from workbench.simulator.people import Reception
from workbench.simulator.play import Analyzer, PlaySettings
from workbench.simulator.shift import RUNS, Kind, PlannedMessage
from workbench.simulator.wires import Wire

ANSWER_WITHIN_S = 10.0  # the shortest time that an analyzer is known to wait over ASTM
ASKS = 3  # times that it asks for one tube
BETWEEN = timedelta(seconds=7)  # from one message to the next, as their times say
COUNTS = ("asked", "answered", "none", "orders", "unanswered", "measured")
"""What is counted: questions, answers, those of them without an order, orders, tubes without an answer, results."""


def read_answer(text: bytes, form: AskForm, tube: str) -> Told:
    """What an answer says of a tube.

    Raises:
        WrongAnswerError: it is not whole, is about another tube, or is not in the maker's form.
    """
    field, repetition, component = tuple(form.delimiters[:3])
    rows = [row.split(field) for row in text.decode("utf-8", "replace").split("\r") if row]
    names = "".join(row[0] for row in rows)
    if names[:1] != "H" or names[-1:] != "L":
        raise WrongAnswerError(f"it has the records {names or 'none'}; H is the first, L the last")
    if rows[0][1] != form.delimiters[1:]:
        raise WrongAnswerError(f"H-2 is {rows[0][1]}; this analyzer has {form.delimiters[1:]}")
    patient = next((row for row in rows if row[0] == "P"), ["P", "1"])
    codes: list[str] = []
    for row in (row for row in rows if row[0] == "O"):
        for at, wanted in form.echo.items():
            said = row[at - 1] if len(row) >= at else ""
            if said != wanted.format(tube=tube):
                raise WrongAnswerError(f"O-{at} is '{said}'; asked for was '{wanted.format(tube=tube)}'")
        tests = row[4].split(repetition) if len(row) > 4 and row[4] else []
        if len(tests) > 1 and not form.together:
            raise WrongAnswerError("several tests in one O record, where this analyzer takes one")
        for test in tests:
            parts = test.split(component)
            codes.append(parts[form.code_at - 1] if len(parts) >= form.code_at else "")
    if "" in codes or len(set(codes)) < len(codes):
        raise WrongAnswerError(f"a test is empty or comes twice: {', '.join(codes)}")
    if not codes and (wrong := _why_no_none(rows, form)):
        raise WrongAnswerError(wrong)
    return Told(tuple(codes), field.join(patient))


def _why_no_none(rows: list[list[str]], form: AskForm) -> str:
    """What is wrong with an answer that has no order; empty: nothing."""
    names = "".join(row[0] for row in rows)
    if form.none == "question":
        marks = [row[12] for row in rows if row[0] == "Q" and len(row) > 12]
        return "" if marks == ["X"] else "no order, and Q-13 is not X"
    if form.none == "order":
        return "" if "O" in names else "no order, and no O record says so"
    return "" if names == "HL" else f"no order, and the records {names}"


def question(form: AskForm, tube: str, at: datetime) -> bytes:
    return _message(form.header, (form.asks.format(tube=tube, time=_stamp(at)),), form, at)


def results(form: AskForm, tube: str, told: Told, at: datetime, units: dict[str, str], rng: random.Random) -> bytes:
    """Results of exactly the tests that were ordered."""
    field, repetition, _ = tuple(form.delimiters[:3])
    tests = repetition.join(form.test.format(code=code) for code in told.codes)
    records = [told.patient, form.order.format(tube=tube, tests=tests, time=_stamp(at))]
    for number, code in enumerate(told.codes, 1):
        value = form.value.format(value=f"{rng.uniform(1, 9):.2f}")
        unit = units.get(code, "")
        said = ["R", str(number), form.result.format(code=code), value, unit, "", "N", "", "F", "", "", "", _stamp(at)]
        records.append(field.join(said))
    return _message(form.results or form.header, records, form, at)


def units_in_hl7(samples: Iterable[Sample]) -> dict[str, str]:
    """As `units_in`: OBX-6 of OBX-3.1."""
    rows = (line.split("|") for sample in samples for line in sample.text.replace("\n", "\r").split("\r"))
    return {row[3].split("^")[0]: row[6] for row in rows if row[0] == "OBX" and len(row) > 6}


def units_in(samples: Iterable[Sample], form: AskForm) -> dict[str, str]:
    """The unit of each test that the samples have a result of."""
    field, _, component = tuple(form.delimiters[:3])
    found: dict[str, str] = {}
    for sample in samples:
        for line in sample.text.replace("\n", "\r").split("\r"):
            row = line.split(field)
            if row[0].strip() == "R" and len(row) > 4:
                parts = row[2].split(component)
                code = parts[form.unit_at - 1].partition("/")[0] if len(parts) >= form.unit_at else ""
                found.setdefault(code, row[4])
    return found


def _message(header: str, records: Iterable[str], form: AskForm, at: datetime) -> bytes:
    return "".join(f"{record}\r" for record in (header.format(time=_stamp(at)), *records, form.end)).encode()


def _stamp(at: datetime) -> str:
    return at.strftime("%Y%m%d%H%M%S")


def find_asker(name: str, site: Path | None = None) -> Model:
    """The analyzer of that name: of a pack, or where there are no samples of it, of a dialect.

    Raises:
        LabRelayError: there is none, or it sends results only.
    """
    plain = name.replace("_", "-")
    if plain in FORMS:
        return Model(plain, "e1381", (), (), dialect="" if plain == GENERIC else plain)
    if plain == LAW:
        return Model(plain, "mllp", (), ())
    if plain in WAYS and plain not in names(site):
        return Model(plain, "mllp", (), (), dialect=plain)
    model = find_model(name, site)
    known = (model.dialect or GENERIC) in FORMS if model.link == "e1381" else _way_of(model) in WAYS
    if not known or model.link not in ("e1381", "mllp"):
        raise LabRelayError(f"'{name}' is not known to ask for orders; these do: {', '.join(sorted({*FORMS, *WAYS}))}")
    return model


def _way_of(model: Model) -> str:
    return model.dialect if model.dialect in WAYS else model.name


def made_up(seed: int, count: int) -> Iterator[str]:
    """Numbers of tubes that no run has had before. ``count`` 0: without end."""
    reception = Reception(str(seed % RUNS), random.Random(seed))
    return (reception.number() for _ in (itertools.count() if count == 0 else range(count)))


class _Astm:
    """The `Way` of analyzers that ask over ASTM."""

    def __init__(self, form: AskForm, model: Model, wire: Wire, dialogue: Dialogue, manner: PlaySettings) -> None:
        self._form = form
        self._wire, self._talk, self._manner = wire, dialogue, manner
        self._units = units_in(model.results, form)
        self._rng = random.Random(manner.seed)

    def question(self, tube: str, at: datetime) -> bytes:
        return question(self._form, tube, at)

    async def hear(self, tube: str) -> Told | None:
        refuses = Fault.BAD_CHECKSUM in self._manner.faults and self._rng.random() < 0.5
        hearing = Hearing(self._wire, self._talk, frame_limit=self._form.frame, refuses=refuses)
        text = await hearing.message(ANSWER_WITHIN_S)
        return None if text is None else read_answer(text, self._form, tube)

    def results(self, tube: str, told: Told, at: datetime) -> list[bytes]:
        return [results(self._form, tube, told, at, self._units, self._rng)]


class AskingAnalyzer:
    """One analyzer on one line.

    Attributes:
        counts: as `COUNTS`.
    """

    def __init__(
        self,
        model: Model,
        wire: Wire,
        dialogue: Dialogue,
        manner: PlaySettings,
        *,
        start: datetime,
        kinds: Counter[str] | None = None,
        counts: Counter[str] | None = None,
        orders: Wire | None = None,
        refuses: Collection[str] = (),
    ) -> None:
        """
        Args:
            start: local time of the first question.
            kinds: counts the messages.
            orders: another line, on which the orders come (IHE LAW). refuses: codes of tests that are refused (HL7 v2).
        """
        self._wire, self._talk, self._manner = wire, dialogue, manner
        self._analyzer = Analyzer(model.link, wire, dialogue, manner)
        self._astm: _Astm | None = None
        self._hl7: Way | None = None
        if model.link == "mllp":
            blocks, rng = Blocks(wire, dialogue), random.Random(manner.seed)
            kind, units = WAYS[_way_of(model)], units_in_hl7(model.results)
            if issubclass(kind, Law):
                self._hl7 = kind(blocks, rng, units, refuses, Blocks(orders, dialogue) if orders is not None else None)
            else:
                self._hl7 = kind(blocks, rng, units, refuses)
        else:
            self._astm = _Astm(FORMS[model.dialect or GENERIC], model, wire, dialogue, manner)
        self._at = start
        self._kinds: Counter[str] = Counter() if kinds is None else kinds
        self.counts: Counter[str] = Counter() if counts is None else counts
        self.counts.update(dict.fromkeys(COUNTS, 0))

    async def work(self, tubes: Iterable[str]) -> None:
        """Ask for each tube, and measure what was ordered."""
        for number, tube in enumerate(tubes):
            if number and self._manner.rate:
                await asyncio.sleep(1 / self._manner.rate)
            told = await self.ask(tube)
            if told is not None and told.codes:
                await self._measure(tube, told)

    async def ask(self, tube: str) -> Told | None:
        """The orders of a tube; None: there was no answer, or a wrong one."""
        for _ in range(ASKS):
            if not await self._put(tube):
                break
            self.counts["asked"] += 1
            try:
                told = await self._hear(tube)
            except WrongAnswerError as error:
                self._talk.violation(f"the answer for {tube} is wrong: {error}")
                return None
            if told is None:
                self._talk.note("no answer in time: the tube is parked, and asked for again")
                continue
            self.counts["answered"] += 1
            self.counts["orders"] += len(told.codes)
            self.counts["none"] += not told.codes
            self._talk.note(f"{tube}: {', '.join(told.codes) or 'no order'}")
            return told
        self.counts["unanswered"] += 1
        return None

    async def _put(self, tube: str) -> bool:
        """Ask; False: there is no line."""
        if self._astm is not None:
            return await self._send(Kind.QUESTION, tube, self._astm.question(tube, self._next_time()))
        assert self._hl7 is not None
        self._kinds[Kind.QUESTION.value] += 1
        self._talk.note(f"-- {Kind.QUESTION.value} {tube}, like the maker's example")
        self._talk.tally.sessions += 1
        try:
            await self._hl7.put(tube, self._next_time())
        except (OSError, TimeoutError) as error:
            self._talk.tally.failed += 1
            await self._lose(error)
            return False
        self._talk.tally.acknowledged += 1
        return True

    async def _hear(self, tube: str) -> Told | None:
        way = self._astm or self._hl7
        assert way is not None
        try:
            return await way.hear(tube)
        except (OSError, TimeoutError) as error:
            await self._lose(error)
            return None

    async def _lose(self, error: Exception) -> None:
        self._talk.tally.lost += 1
        self._talk.note(f"the line broke: {error}")
        await self._wire.drop()

    async def _measure(self, tube: str, told: Told) -> None:
        way = self._astm or self._hl7
        assert way is not None
        done = True
        for message in way.results(tube, told, self._next_time()):
            done = await self._send(Kind.RESULT, tube, message) and done
        if done:
            self.counts["measured"] += len(told.codes)

    def _next_time(self) -> datetime:
        self._at += BETWEEN
        return self._at

    async def send(self, planned: PlannedMessage) -> bool:
        """Any message, as a control run; whether the host has it."""
        self._kinds[planned.kind.value] += 1
        return await self._analyzer.deliver(planned, self._kinds.total())

    async def _send(self, kind: Kind, tube: str, payload: bytes) -> bool:
        return await self.send(PlannedMessage(kind, "the maker's example", (tube,), payload))
