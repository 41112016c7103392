"""Facts: what a message says of results, in one form for every format. Pure.

Persons have orders, and orders have samples and results. Each OBX or R of a message is one result here, also a
control's, an answer at order entry and a picture: `Result.kind` and `Sample.role` say so, and who judges decides.
Values are there as sent and as meant: two messages are compared by what was sent, so that a correction of a
code table makes no amendment; alerts, holds and deltas ask for what is meant. Numbers are the digits that were sent.
Absent is None.

Measure is what results of one kind of a sender have in common: results of one way of reading share one
(`engine.mapping.message.read_cache`). A reference range is no part of it: it changes with age and sex.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

# What a result is, where it is none that was measured of a patient's sample.
ANSWER = "answer"  # at order entry: said by who orders
OF_SPECIMEN = "specimen"  # said of a specimen
LEFT_OUT = "left out"  # no result, says the code table or the channel: a mode, an age, a raw signal
DOCUMENT, PICTURE, DATA = "document", "picture", "data"
KINDS = (ANSWER, OF_SPECIMEN, LEFT_OUT, DOCUMENT, PICTURE, DATA)


class Measure(NamedTuple):
    """What was measured, and how the sender writes it.

    Attributes:
        test, name: as sent, the code in the form that names the test (`panel/test`); ``ordered``: the code that it is
            ordered by, where that is another one.
        sub: OBX-4.
        own: codes as sent, each behind its system (``http://loinc.org|718-7``); ``codes``: as meant, with those of the
            code table before them.
        unit: as sent; ``ucum``: as meant, behind a conversion; ``named``: that one in words.
        flags: as sent; ``meant``: codes of table 0078.
        status: as sent, of the result; ``state``: of FHIR, with that of its order where it has none.
    """

    test: str | None = None
    name: str | None = None
    sub: str | None = None
    own: tuple[str, ...] | None = None
    codes: tuple[str, ...] | None = None
    ordered: str | None = None
    unit: str | None = None
    ucum: str | None = None
    named: str | None = None
    status: str | None = None
    state: str | None = None
    flags: tuple[str, ...] | None = None
    meant: tuple[str, ...] | None = None


def plain_codes(measure: Measure) -> frozenset[str]:
    """As sent, and as meant, without their systems."""
    return frozenset(code.rpartition("|")[2] for code in (measure.test, *(measure.codes or ())) if code)


class Value(NamedTuple):
    """What was found.

    Attributes:
        sent: all of it as text, with the delimiters inside.
        call: a word beside a number (``DETECTED^1250``). words: of a value that is no number.
        flags: codes of table 0078 beside it (``71^LL``), as meant.
        unit: as sent inside of the value.
        comparator, number: of one number, its digits as sent; ``meant``: converted by the code table.
        low, high: of a range. numerator, denominator: of a titre or ratio.
        code: of a coded answer, as sent.
        parts: of coded answers, and of a value with components of their own: ``name|text`` each.
        missing: why there is none, as FHIR's dataAbsentReason: ``error``, ``not-performed``, ``unknown`` ...
    """

    sent: str | None = None
    call: str | None = None
    words: str | None = None
    unit: str | None = None
    comparator: str | None = None
    number: str | None = None
    meant: str | None = None
    low: str | None = None
    high: str | None = None
    numerator: str | None = None
    denominator: str | None = None
    code: str | None = None
    missing: str | None = None
    parts: tuple[str, ...] | None = None
    flags: tuple[str, ...] | None = None


class Result(NamedTuple):
    """One OBX or R.

    Attributes:
        place: its number among those of the message, from 1.
        kind: empty, or one of `KINDS`.
        at: when it was measured, FHIR's dateTime; ``stated``: the text that says so; ``timed``: by the result itself.
        analysed: when it was, where it says that beside the time of its observation.
        range: as sent. limits: of the only one, low and high as meant; empty text for an end that it does not have.
        device: of the analyzer, as sent.
        dilution: the factor by which its specimen was diluted for it, as sent; ``1``: it was not.
        tube: number of the specimen that it speaks of, where the result says so itself.
        head: place of the result that it belongs to: of an isolate, or of a panel.
        isolate: it is the head of a culture's susceptibilities.
        misfit: its row of the code table does not fit its number, so that only its own codes are meant.
    """

    place: int
    kind: str | None = None
    measure: Measure = Measure()
    value: Value = Value()
    at: str | None = None
    stated: str | None = None
    timed: str | None = None
    analysed: str | None = None
    range: str | None = None
    limits: tuple[str, ...] | None = None
    device: str | None = None
    comment: str | None = None
    dilution: str | None = None
    tube: str | None = None
    head: int | None = None
    isolate: bool | None = None
    misfit: bool | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """Codes of table 0078, in their own field or beside the value; words where a flag has no code."""
        flags = self.measure.meant or ()
        return flags if self.value.flags is None else (*flags, *self.value.flags)

    @property
    def sent_flags(self) -> tuple[str, ...]:
        """Flags as sent, in their own field or beside the value."""
        return (*(self.measure.flags or ()), *(self.value.flags or ()))


class Sample(NamedTuple):
    """A specimen or a container.

    Attributes:
        number: the one on the tube; ``counted``: the instrument's own count; ``unread``: the number is that, too, for
            it read no barcode; ``container``: that of its only one.
        role: of table 0369, as sent; O-12 ``Q``.
        material: code of its kind, as sent.
        parent: number of the specimen that it was taken from.
    """

    number: str | None = None
    counted: str | None = None
    unread: bool | None = None
    container: str | None = None
    role: str | None = None
    collected: str | None = None
    received: str | None = None
    material: str | None = None
    parent: str | None = None


class Order(NamedTuple):
    """An order with its samples and results.

    Attributes:
        place: of its OBR or O, from 1; 0: the results have none.
        code, name: of what was ordered.
        status: as sent; ``state``: of FHIR.
        role: of the sample, where the order says it (OBR-15.7).
        parent: number of the order that caused it.
    """

    place: int
    placer: str | None = None
    filler: str | None = None
    code: str | None = None
    name: str | None = None
    status: str | None = None
    state: str | None = None
    role: str | None = None
    collected: str | None = None
    received: str | None = None
    issued: str | None = None
    parent: str | None = None
    samples: tuple[Sample, ...] = ()
    results: tuple[Result, ...] = ()


class Person(NamedTuple):
    """Who the orders are of, as sent; nothing where the message names no patient.

    Attributes:
        number: with its ``authority``; others: further numbers. An authority without a number is a text that no other
            message has, of a person who is named in the place of the number.
        gender, birthday: as meant, FHIR's code and date.
        subject: pseudonym, the same in every message and format: the id of this Patient in FHIR; None where nothing
            asks for it (`engine.model.message.MapContext.names_subjects`).
        lasting: the number is one person's for good; else it may be a counter's, or the first bearer's of a number from
            whom a person has found this one to be another.
    """

    number: str | None = None
    authority: str | None = None
    others: tuple[str, ...] | None = None
    name: str | None = None
    born: str | None = None
    sex: str | None = None
    gender: str | None = None
    birthday: str | None = None
    subject: str | None = None
    lasting: bool = False
    orders: tuple[Order, ...] = ()


class Lot(NamedTuple):
    """A reagent lot (`engine.model.message.Reagent`)."""

    lot: str
    name: str
    expires: str
    tests: tuple[str, ...]


class Facts(NamedTuple):
    """One message.

    Attributes:
        control: its own number. sent: its time.
        processing: MSH-11, H-12; ``Q`` is a control's.
    """

    control: str | None = None
    sent: str | None = None
    application: str | None = None
    facility: str | None = None
    processing: str | None = None
    people: tuple[Person, ...] = ()
    lots: tuple[Lot, ...] = ()

    def results(self) -> Iterator[tuple[Person, Order, Result]]:
        """All results with what they are of."""
        for person in self.people:
            for order in person.orders:
                for result in order.results:
                    yield person, order, result


def unpacked(content: bytes) -> Facts:
    """The facts that a reader wrote (`engine.mapping.outputs.collected`).

    Raises:
        ValueError, TypeError: it did not.
    """
    return facts_of(orjson.loads(content))


def facts_of(said: Sequence[Any]) -> Facts:
    """The facts whose members these are, each a list or a tuple.

    Raises:
        ValueError, TypeError: they are none.
    """
    *head, people, lots = said
    return Facts._make((*head, tuple(map(_person, people)), _lots(lots)))


def _lots(said: Sequence[Any]) -> tuple[Lot, ...]:
    return tuple(Lot._make((*one, tuple(tests))) for *one, tests in said)


def measure_of(said: Sequence[Any]) -> Measure:
    """As `facts_of`."""
    test, name, sub, own, codes, *others, flags, meant = said
    return Measure._make((test, name, sub, _texts(own), _texts(codes), *others, _texts(flags), _texts(meant)))


def _person(said: Sequence[Any]) -> Person:
    *rest, orders = said
    return _with_orders((*rest, [(*order, map(_result, results)) for *order, results in orders]))


def _with_orders(said: Sequence[Any]) -> Person:
    """Of one whose results are read."""
    number, authority, others, *rest, orders = said
    return Person._make((number, authority, _texts(others), *rest, tuple(map(_order, orders))))


def _order(said: Sequence[Any]) -> Order:
    *head, samples, results = said
    return Order._make((*head, tuple(map(Sample._make, samples)), tuple(results)))


def _result(said: Sequence[Any]) -> Result:
    place, kind, measure, value, at, stated, timed, analysed, sent, limits, *others, head, isolate, misfit = said
    told = measure if isinstance(measure, Measure) else measure_of(measure)
    *words, parts, flags = value
    found = Value._make((*words, _texts(parts), _texts(flags)))
    belongs = None if head is None else int(head)
    ends = sent, _texts(limits), *others, belongs, isolate, misfit
    return Result(place, kind, told, found, at, stated, timed, analysed, *ends)


def _texts(said: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if said is None else tuple(said)


# -- as they are stored ------------------------------------------------------------------------------------------------
# Results by column: what most of them have in common is one text then, and takes half the room.

_OF_RESULT, _OF_MEASURE = len(Result._fields) - 2, len(Measure._fields)
_TEXTS = {  # columns with a tuple in each place
    *(_OF_RESULT + Measure._fields.index(name) for name in ("own", "codes", "flags", "meant")),
    *(_OF_RESULT + _OF_MEASURE + Value._fields.index(name) for name in ("parts", "flags")),
    Result._fields.index("limits") - 2,
}


def packed(facts: Facts) -> bytes:
    """As `stored` reads them."""
    people = [(*one[:-1], [(*order[:-1], _columns(order.results)) for order in one.orders]) for one in facts.people]
    return orjson.dumps((*facts[:-2], people, facts.lots), default=tuple)


def stored(said: Sequence[Any]) -> Facts:
    """The facts that `packed` has written, once they are read as JSON.

    Raises:
        ValueError, TypeError: they are none.
    """
    *head, people, lots = said
    read = [(*rest, [(*order, _rows(columns)) for *order, columns in orders]) for *rest, orders in people]
    return Facts._make((*head, tuple(map(_with_orders, read)), _lots(lots)))


def _columns(results: Sequence[Result]) -> list[Any]:
    """How many results, and what they say, by column; a column of one thing has it once. One result is a row."""
    n = len(results)
    if n == 1:
        (one,) = results
        return [1, *one[:2], *one[4:], *one.measure, *one.value]
    if not n:
        return [0]
    places, kinds, measures, values, *others = zip(*results, strict=True)
    columns = (places, kinds, *others, *zip(*measures, strict=True), *zip(*values, strict=True))
    told: list[Any] = [n]
    for column in columns:
        first = column[0]
        told.append(column if column.count(first) != n else None if first is None else column[:1])
    return told


def _rows(said: Sequence[Any]) -> tuple[Result, ...]:
    n, *columns = said
    if n == 1:
        return (_row(tuple([tuple(one) if type(one) is list else one for one in columns])),)
    whole = [[None] * n if one is None else _whole(one, n, texts=place in _TEXTS) for place, one in enumerate(columns)]
    return tuple(map(_row, zip(*whole, strict=True)))


def _row(said: Any) -> Result:
    measure = Measure(*said[_OF_RESULT : _OF_RESULT + _OF_MEASURE])
    value = Value(*said[_OF_RESULT + _OF_MEASURE :])
    return Result._make((*said[:2], measure, value, *said[2:_OF_RESULT]))


def _whole(column: Sequence[Any], n: int, *, texts: bool) -> Sequence[Any]:
    made = [None if one is None else tuple(one) for one in column] if texts else column
    return made if len(made) == n else [*made] * n


def as_plain(part: Any) -> Any:
    """A part of facts as it is shown: members by name, without those that are absent."""
    if isinstance(part, tuple) and hasattr(part, "_fields"):
        named = ((name, as_plain(value)) for name, value in zip(part._fields, part, strict=True))
        return {name: value for name, value in named if value not in (None, [], {}, False)}
    return [as_plain(one) for one in part] if isinstance(part, tuple) else part
