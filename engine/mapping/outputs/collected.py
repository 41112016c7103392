"""Collect the output of one message where no FHIR is written: segments, rows or records, in the order of the steps.

It replaces `engine.mapping.message.identity.BundleBuilder`, so that results are counted, dropped and recorded in the
same way: every OBX or R of a message becomes a part, is dropped by a rule, filtered or dead.

Facts of a message (`to: results/1`): collected by generated code, written as `engine.model.content.facts` reads
them.

Order lines: what a message of a laboratory system asks for, one test of one specimen each (`to: orders`).

    {"lines": [{"action": "new", "placer": "P1", "specimen": "S1", "patient": {"number": "7"}, "test": "GLU"}]}

The document has the names of `engine.model.orders.OrderLine`; a field that is empty, or as usual, is left out. A line
without an action that is known has `unknown`, which the worklist rejects: an order control code is never guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast, get_args

import orjson

from engine.mapping.message.identity import NO_NUMBER, BundleBuilder
from engine.mapping.message.key_scope import OTHER, SEPARATOR, KeyScope
from engine.mapping.message.message_context import MessageContext
from engine.mapping.message.read_cache import MEASURES_KEPT
from engine.model.content.facts import Facts, Lot, Order, Person
from engine.model.content.reagents import reagents_in
from engine.model.message import Group, Mapped, Unmapped
from engine.model.orders import MOST_LINES, SPECIMEN_LENGTH, Action, OrderedPatient, OrderLine, Priority
from engine.model.texts.reasons import ReasonCode


@dataclass(slots=True)
class Part:
    """One segment, row or record.

    Attributes:
        name: of the segment, or of the list that contains a record; ``row``.
        content: fields by number, cells by column, or members by name.
        said: an expression in it had a value; a part that only repeats the mapping's literals is left out.
        inner: the records inside, by their list.
        result: position of the result that it was made of; 0: of none.
        patient, order: its groups in the message that was read; None where it is in none.
    """

    name: str
    content: dict[Any, Any]
    key: str
    said: bool = False
    result: int = 0
    patient: Group | None = None
    order: Group | None = None
    inner: dict[str, list["Part"]] = field(default_factory=dict)

    @property
    def reference(self) -> dict[str, str]:
        """By which the trace knows it again."""
        return {"reference": self.key}

    @property
    def there(self) -> bool:
        """Whether it is written: it says something, or a record inside does."""
        return self.said or any(part.there for parts in self.inner.values() for part in parts)


class MessageParts(BundleBuilder):
    """The parts that one message makes.

    Attributes:
        parts: segments or rows in order, or the records directly in the document.
        document: the members of the document itself (JSON).
        header: MSH as it is written, once it is.
    """

    def __init__(self, run: MessageContext, fields: Mapping[str, tuple[str, ...]] | None = None) -> None:
        super().__init__(run, transaction=False)
        self._fields = fields or {}  # of a list: the places of the numbers of patient and order
        self._listed: set[tuple[str | None, str | None, str]] = set()
        self.parts: list[Part] = []
        self.document = Part("document", {}, "document")
        self.header: dict[int, Any] = {}
        self.results = 0
        self._patient: str | None = None
        self._count = 0

    # -- called by generated code ----------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        content: dict[Any, Any],
        said: bool,
        result: int,
        patient: Group | None = None,
        order: Group | None = None,
    ) -> Part | None:
        """A segment or row; None where all its expressions were absent."""
        if not said:
            return None
        self._count += 1
        made = Part(name, content, str(self._count), said=True, result=result, patient=patient, order=order)
        self.parts.append(made)
        self.results += bool(result)
        return made

    def record(self, name: str, around: Part | None, content: dict[Any, Any], said: bool, result: int) -> Part:
        """A record of the list ``name`` in the record around it, else in the document."""
        self._count += 1
        made = Part(name, content, str(self._count), said=said, result=result if said else 0)
        (self.document if around is None else around).inner.setdefault(name, []).append(made)
        self.results += bool(made.result)
        return made

    def describe(self, content: dict[Any, Any], said: bool) -> Part:
        """Members of the document itself; values of an earlier step stay."""
        self.document.content = content | self.document.content
        self.document.said = self.document.said or said
        return self.document

    def patient(self, segment: Part | None) -> None:
        """PID was made: who the orders behind it are about."""
        parts = _first(segment.content.get(3)) if segment is not None else None
        self._patient = self._patient_of("hl7v2", _text(parts, 1), _text(parts, 4) or "")

    def _patient_of(self, kind: str, number: str | None, authority: str = "") -> str | None:
        context = self._run.context
        if number is None:
            return None
        if context.patient_numbers == "lasting" or authority in context.namespaces:
            return f"{kind}{SEPARATOR}{number}{SEPARATOR}{authority}"
        return self.bearers.counter(f"{kind}{SEPARATOR}{number}")

    def listed(self, parts: tuple[Part, ...], time: str, person: list[str]) -> None:
        """Note the patient and the order of a result of a list, as `order` does.

        Args:
            parts: the row, or the record with those around it.
        """
        number, patient = self._said("order", parts), self._said("patient", parts)
        if (number, patient, time) in self._listed:
            return
        self._listed.add((number, patient, time))
        order = NO_NUMBER if number is None else f"list{SEPARATOR}{number}"
        self.report(order, self._patient_of("list", patient), time, person)

    def _said(self, name: str, parts: tuple[Part, ...]) -> str | None:
        """The text of a column or ``list.member``."""
        at, _, member = self._fields.get(name, ("",))[0].rpartition(".")
        value = next((part.content.get(member) for part in parts if part.name == (at or "row")), None)
        return value if isinstance(value, str) or value is None else orjson.dumps(value).decode()

    def order(self, segment: Part | None, time: str, person: list[str]) -> None:
        """Note the patient of an OBR's number, so that its reuse for another patient is noticed.

        Numbers of HL7 messages are recorded apart from those of FHIR: they are the receiver's numbers.
        """
        if segment is None:
            return
        numbers = (_text(_first(segment.content.get(place)), 1) for place in (3, 2))
        number = next((one for one in numbers if one), None)
        self.report(NO_NUMBER if number is None else f"hl7v2{SEPARATOR}{number}", self._patient, time, person)

    def check_owners(self) -> None:
        """In HL7 v2 a result is that of the PID and of the OBR in front of it, and nothing else says whose it is."""
        patient: Group | None = None
        order: Group | None = None
        for part in self.parts:
            if part.name == "PID":
                patient, order = part.patient, None
            elif part.name == "OBR":
                order = part.order
            if patient is not None and part.patient is not None and part.patient is not patient:
                text = f"{part.name} of a patient without PID would be behind the PID of another one"
                raise self._run.dead(ReasonCode.NO_PATIENT, f"{text}; write a PID for each patient")
            if part.name == "OBX" and order is not None and part.order is not None and part.order is not order:
                text = "OBX of an order without OBR would be behind the OBR of another one"
                raise self._run.dead(ReasonCode.NO_IDENTITY, f"{text}; write an OBR for each order")

    @property
    def something(self) -> bool:
        """Whether there is more than a header."""
        return self.document.there or any(part.name != "MSH" for part in self.parts)

    # -- what `BundleBuilder` counts
    # --------------------------------------------------------------------------------------

    @property
    def observations(self) -> int:
        """How many results became a part."""
        return self.results

    def has(self, kind: str) -> bool:
        """Whether a patient was named, where the output has a place for one."""
        return kind != "Patient" or any(part.name == "PID" and 3 in part.content for part in self.parts)

    def made_and_dropped(self) -> tuple[int, int]:
        return self.results, self.dropped

    def check_drops(self, before: tuple[int, int]) -> None:
        """The last result of a report is never dropped."""
        if self.dropped != before[1] and self.results == before[0]:
            raise self._run.dead(ReasonCode.UNMAPPED_CODE, "every result of this report would be dropped")


def _first(content: Any) -> Any:
    """The first repetition of a field."""
    return content[0] if isinstance(content, list) else content


def _text(content: Any, component: int) -> str | None:
    """The text of a component, the first part of it where it has several."""
    if isinstance(content, dict):
        content = content.get(component)
    elif component > 1:
        return None
    while isinstance(content, dict):
        content = content.get(1)
    return content or None


Json = dict[str, Any]

_RESULTS = -1  # of an order: its last member; of a person its orders


class FactsParts(MessageParts):
    """The facts of one message.

    Attributes:
        written: a document is made of them; else nothing is made but the facts.
        head: members of `engine.model.content.facts.Facts` before its people.
        people: each as the members of a `Person`, its orders likewise; samples and results are made.
    """

    def __init__(self, run: MessageContext, *, written: bool = True) -> None:
        self._run = run
        self.written = written
        self._keys: MessageParts | None = None
        self._is_other = False  # the person at hand is another than the first bearer of the number
        self.results = self.dropped = 0
        self.made = {}
        self.scope = cast(KeyScope, None)  # both are named by the code of each mapping, and used by none of facts
        if written:
            super().__init__(run)
        self.head: list[Any] = [None] * 5
        self.people: list[list[Any]] = []

    # -- called by generated code ----------------------------------------------------------------------------------

    def lasting(self, number: str | None, authority: str | None) -> bool:
        """Whether a patient's number is one person's for good, and is that of the person at hand (`subject`)."""
        context, self._is_other, is_other = self._run.context, False, self._is_other
        return (
            number is not None
            and (context.patient_numbers == "lasting" or authority in context.namespaces)
            and not is_other
        )

    def subject(self, identifier: Json | None, group: Group, person: list[str]) -> str | None:
        """The id that FHIR's Patient of this number has, where facts name it. It is asked before `lasting`."""
        if identifier is None:
            return None
        if (keys := self._keys) is None:
            keys = self._keys = MessageParts(self._run)
        patient = keys.whose(identifier, group, person, noted=False)
        self._is_other = patient.startswith(OTHER)
        if not self._run.context.names_subjects:
            return None
        return keys.identity("Patient", keys.patient_key(patient, group))

    def keep(self, memory: dict[Any, Any], key: Any, made: Any, before: tuple[int, int, int]) -> None:
        """Keep a measure for the next result that is written alike.

        Args:
            before: the numbers of warnings, of codes without a row, and of results without one, before it was made.
        """
        run = self._run
        noted, unmapped, without_row = before
        if run.noted - noted != len(run.unmapped) - unmapped:
            return
        told = (run.unmapped[unmapped:], len(run.without_row) > without_row) if run.noted != noted else None
        if len(memory) >= MEASURES_KEPT:
            memory.clear()
        memory[key] = made, told

    def tell_again(self, told: tuple[list[Unmapped], bool]) -> None:
        """The codes that no table has, for one more result."""
        run = self._run
        unmapped, without_row = told
        run.noted += len(unmapped)
        run.unmapped += unmapped
        if without_row and run.at is not None:
            run.without_row.append(run.at.position)

    # -- what is counted -------------------------------------------------------------------------------------------

    @property
    def observations(self) -> int:
        return sum(len(order[_RESULTS]) for person in self.people for order in person[_RESULTS])

    @property
    def something(self) -> bool:
        """A message without results has no facts."""
        return self.observations > 0

    def has(self, kind: str) -> bool:
        return True

    def check_drops(self, before: tuple[int, int]) -> None:
        """Nothing is dropped here."""


def facts_written(facts: Facts) -> bytes:
    """As `engine.model.content.facts.unpacked` reads them."""
    return orjson.dumps(tuple(facts), default=tuple)


def facts_made(run: MessageContext, making: FactsParts) -> Facts:
    """The facts of one message.

    Raises:
        ContentError: COUNT_MISMATCH, a result is in them twice.
    """
    if run.parsed.segments and making.observations + run.declared_drops != len(run.accounted):
        raise run.dead(ReasonCode.COUNT_MISMATCH, "a result is twice in the facts")
    lots = [Lot(one.lot, one.name, one.expires, one.tests) for one in reagents_in(run.parsed)]
    return Facts._make((*making.head, tuple(map(_person, making.people)), tuple(lots)))


def _person(members: Sequence[Any]) -> Person:
    *own, orders = members
    return Person._make((*own, tuple(map(_order, orders))))


def _order(members: Sequence[Any]) -> Order:
    *own, samples, results = members
    return Order._make((*own, tuple(samples), tuple(results)))


LINES = "lines"
ACTIONS: tuple[str, ...] = get_args(Action)
PRIORITIES: tuple[str, ...] = get_args(Priority)
FIELDS = tuple(one.name for one in fields(OrderLine) if one.name not in ("ordered", "panel", "panel_name"))
PATIENT_FIELDS = tuple(one.name for one in fields(OrderedPatient))


def assemble(run: MessageContext, making: MessageParts) -> bytes:
    """The document of the lines that a message makes.

    Raises:
        ContentError: TOO_LARGE, more lines than `MOST_LINES`; BAD_VALUE, an action or a priority that is none.
    """
    found = [part.content for part in making.document.inner.get(LINES, ()) if part.there]
    if len(found) > MOST_LINES:
        raise run.dead(ReasonCode.TOO_LARGE, f"{len(found)} lines of orders; a message has at most {MOST_LINES}")
    return encode([_line(run, content, f"{LINES}[{at}]") for at, content in enumerate(found)])


def encode(lines: list[OrderLine]) -> bytes:
    """The document of lines; `decode` reads it."""
    return orjson.dumps({LINES: [_said(line) for line in lines]})


def decode(body: bytes) -> tuple[OrderLine, ...]:
    """The lines of a document that `encode` wrote.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    return tuple(_made(one) for one in orjson.loads(body)[LINES])


def order_lines(mapped: Mapped) -> tuple[OrderLine, ...]:
    """The lines that a mapping with ``to: orders`` made of a message; none where it was filtered."""
    return tuple(line for document in mapped.documents for line in decode(document.body))


def _line(run: MessageContext, content: dict[str, Any], place: str) -> OrderLine:
    content = {"action": "unknown", **content}
    for name, known in (("action", ACTIONS), ("priority", PRIORITIES)):
        if name in content and content[name] not in known:
            raise run.dead(
                ReasonCode.BAD_VALUE, f"an order's {name} is one of {', '.join(known)}", field=f"{place}.{name}"
            )
    if len(content.get("specimen", "")) > SPECIMEN_LENGTH:
        run.warn("SPECIMEN_NUMBER", f"a specimen number with more than {SPECIMEN_LENGTH} characters is none")
        del content["specimen"]
    return _made(content)


def _made(content: dict[str, Any]) -> OrderLine:
    given = dict(content)
    given["patient"] = OrderedPatient(**given.get("patient", {}))
    given["targets"] = tuple(given.get("targets", ()))
    return OrderLine(**given)


_USUAL = OrderLine()
_NO_ONE = OrderedPatient()


def _said(line: OrderLine) -> dict[str, Any]:
    said = {name: value for name, value in asdict(line).items() if name == "action" or value != getattr(_USUAL, name)}
    if line.patient == _NO_ONE:
        said.pop("patient", None)
    else:
        said["patient"] = {name: value for name, value in asdict(line.patient).items() if value}
    return said
