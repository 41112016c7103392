"""What a held delivery says of its results, by the facts of its message: the payload is opened and read each time.

Where no reader takes the message, or its channel is not configured any more, the document that is held says it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, localcontext
from functools import cache, partial
from typing import Any, NamedTuple

from engine.features.results.lists import RESULT
from engine.features.results.rows.succession import earlier_value
from engine.mapping.hold_rules.rules import is_named
from engine.mapping.hold_rules.values import percent
from engine.mapping.measured import Reading, told_in
from engine.model.content.facts import Order, Person, Value
from engine.model.content.facts import Result as Fact
from engine.model.content.results import MEMORY_US, Result, results_of
from engine.model.errors import AbsentError, ContentError, ErasedError, StoreError, UnreadableResultsError
from engine.model.journal.journal_views import DeadLetter, Filter
from engine.model.message import Parsed
from engine.model.routes import ChannelRoutes, Program, context_of
from engine.model.texts.phrases import PageText
from engine.model.texts.reasons import ReasonCode
from engine.store.queries.contents import stored_document, stored_message
from engine.store.queries.letters import held_deliveries
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import Reader
from engine.succession.critical import CRITICAL
from engine.views.view import Row

MOST = 500  # results of one message are shown
MOST_AT_ONCE = 100  # deliveries are released together, for each is seen
EARLIER = 3  # messages of the order are looked at
MASKED = ("codes", "flags", "status", "unit", "held")
LOINC = "http://loinc.org"
BY_RULE = frozenset({ReasonCode.HELD_BY_RULE.value, ReasonCode.HOLD_UNDECIDED.value, ReasonCode.HOLD_FAULT.value})
FLAGS: dict[str, PageText] = {  # HL7 table 0078
    "HH": "critically high",
    "LL": "critically low",
    "AA": "critically abnormal",
    "H": "high",
    "L": "low",
    "A": "abnormal",
    "N": "normal",
}


class Before(NamedTuple):
    """An earlier value of the patient.

    Attributes:
        text: as it was sent, or the number that rules compare with.
        number: as rules compare it, where it is one. message: of the same order; 0: what rules find.
    """

    text: str
    number: Decimal | None
    at: str | int
    message: int = 0


class Shown(NamedTuple):
    """One result.

    Attributes:
        held: the reason names it. critical: its sender flags it so.
        test, value, unit, range: as sent; ``sends``: the value with its unit that a release sends, where it is another.
        at: when it was measured, FHIR's dateTime; ``before``: the value before it.
    """

    codes: Sequence[str]
    flags: Sequence[str]
    status: str
    unit: str
    held: bool
    critical: bool
    test: str
    name: str
    loinc: str
    specimen: str
    value: str
    sends: str
    range: str
    at: str
    before: Before | None = None
    change: str = ""
    percent: str = ""


def held_of(reader: Reader, message: int) -> list[DeadLetter]:
    """The deliveries of a message that are held, or were rejected."""
    return [
        one
        for state in ("held", "rejected")
        for one in held_deliveries(reader, Filter(state=state), before_id=message + 1, limit=1)
        if one.message_id == message
    ]


def results_held(
    reader: Reader, routes: Mapping[str, ChannelRoutes], letters: Sequence[DeadLetter], *, masked: bool = False
) -> dict[str, list[Row] | None]:
    """The results of each of these deliveries, of one message, by its number; None: they cannot be read.

    Those that the reason names come first, then the critical ones.

    Args:
        routes: in force; empty: what is held says it.
        masked: without values, and what else may say who it is.
    """
    trace = trace_of(reader, letters[0].message_id) if letters else None
    documents = {one.id: one.document_id for one in trace.deliveries} if trace is not None else {}
    found: dict[str, list[Row] | None] = {}
    for one in letters:
        shown: list[Shown] | None = None
        rows: list[Row] | None = None
        with suppress(StoreError):  # erased, damaged
            shown = _shown(reader, routes.get(one.channel), one, documents[one.delivery_id])
        if shown is not None:
            shown.sort(key=lambda one: (not one.held, not one.critical))
            rows = [RESULT.row(one, MASKED if masked else None) for one in shown[:MOST]]
        found[str(one.delivery_id)] = rows
    return found


def _shown(reader: Reader, routes: ChannelRoutes | None, one: DeadLetter, document: int) -> list[Shown] | None:
    read = None if routes is None else _read(reader, routes, one.message_id)
    if routes is None or read is None:
        return _of_document(reader, one, document)
    is_by_rule = one.reason in BY_RULE
    written = _written(reader, document) or []
    values = cache(partial(_earlier, reader, routes, one.message_id))
    found = []
    for person, order, fact, results in read:
        first = results[0] if results else Result()
        key = _key(person, order, fact)
        of_order = next((found[key] for found in values(key[0]) if key in found), None)
        known = [_remembered(reader, one, first), of_order]
        before = next((value for value in (known if is_by_rule else known[::-1]) if value is not None), None)
        found.append(_of_fact(order, fact, first, _sends(fact.value, first, written), one.detail, before))
    return found


def _read(
    reader: Reader, routes: ChannelRoutes, message: int
) -> Iterator[tuple[Person, Order, Fact, Sequence[Result]]] | None:
    """The results of a message; None: no reader takes it, or it cannot be read."""
    stored = stored_message(reader, message)
    try:
        if routes.message_format.header(stored.payload).problem:
            return None
        parsed = routes.message_format.parse(stored.payload, routes.options)
    except ContentError:
        return None
    of = routes.reader
    reading = Reading(parsed, partial(context_of, stored, routes.context), None if of is None else partial(_aside, of))
    return None if reading.facts is None else told_in(reading.facts, parsed, reading.context)


def _aside(of: Any, parsed: Parsed) -> Program | None:
    """The reader with caches of its own: another thread maps with it."""
    found: Program | None = of(parsed)
    return None if found is None else found.aside()


# -- one result --------------------------------------------------------------------------------------------------------


def _of_fact(order: Order, fact: Fact, first: Result, sends: str, why: str, before: Before | None) -> Shown:
    measure, value = fact.measure, fact.value
    change, share = _changed(first.value, before)
    return Shown(
        codes=[code for _, code in first.codes],
        flags=measure.meant or measure.flags or (),
        status=measure.state or "",
        unit=value.unit or measure.unit or "",
        held=_is_named(why, first),
        critical=not CRITICAL.isdisjoint(measure.meant or ()),
        test=measure.test or "",
        name=measure.name or "",
        loinc=next((code for system, code in first.codes if system == LOINC), ""),
        specimen=_specimen(order, fact) or "",
        value=_sent(value),
        sends=sends,
        range=fact.range or "",
        at=fact.at or "",
        before=before,
        change=change,
        percent=share,
    )


def _sent(value: Value) -> str:
    if value.number is not None and not value.call:
        return f"{value.comparator or ''}{value.number}"
    return value.sent or value.words or ""


def _sends(value: Value, first: Result, written: Sequence[Result]) -> str:
    """What the document that is held says, or else the tables of today; empty: as sent."""
    same = [one for one in written if not set(one.codes).isdisjoint(first.codes)]
    one = same[0] if len(same) == 1 else first
    return f"{one.text} {one.unit}".strip() if one.text is not None and one.text != _sent(value) else ""


def _written(reader: Reader, document: int) -> list[Result] | None:
    with suppress(UnreadableResultsError):
        return results_of(stored_document(reader, document))
    return None


def _of_document(reader: Reader, one: DeadLetter, document: int) -> list[Shown] | None:
    results = _written(reader, document)
    if results is None:
        return None
    found = []
    for result in results:
        before = _remembered(reader, one, result)
        change, share = _changed(result.value, before)
        ends = ["" if end is None else str(end) for end in (result.low, result.high)]
        found.append(
            Shown(
                codes=[code for _, code in result.codes],
                flags=result.flags,
                status=result.status,
                unit=result.unit,
                held=_is_named(one.detail, result),
                critical=not CRITICAL.isdisjoint(result.flags),
                test="",
                name="",
                loinc=next((code for system, code in result.codes if system == LOINC), ""),
                specimen="",
                value=result.text or "",
                sends="",
                range="-".join(ends) if any(ends) else "",
                at="",
                before=before,
                change=change,
                percent=share,
            )
        )
    return found


def _is_named(why: str, result: Result) -> bool:
    codes = {code for _, code in result.codes}
    return is_named(why, result.name) or is_named(why, ", ".join(sorted(codes)))


def _changed(value: Decimal | None, before: Before | None) -> tuple[str, str]:
    """The change of a number, and in per cent; empty: unknown."""
    if value is None or before is None or before.number is None:
        return "", ""
    with localcontext(prec=20):
        change = value - before.number
    share = percent(change, before.number)
    return f"{change:+}", "" if share is None else f"{share:+.0f}"


# -- the value before it -----------------------------------------------------------------------------------------------


def _remembered(reader: Reader, one: DeadLetter, result: Result) -> Before | None:
    """What a rule about it would find."""
    found = earlier_value(reader, one.message_id, one.channel, result, MEMORY_US)
    return None if found is None else Before(str(found[1]), found[1], found[0])


_Key = tuple[str | None, ...]  # specimen, person, test, its part, unit


def _key(person: Person, order: Order, fact: Fact) -> _Key:
    measure = fact.measure
    return _specimen(order, fact), person.subject, measure.test, measure.sub, fact.value.unit or measure.unit


def _specimen(order: Order, fact: Fact) -> str | None:
    return fact.tube or next((one.number for one in order.samples if one.number), None) or order.filler or order.placer


def _earlier(reader: Reader, routes: ChannelRoutes, message: int, specimen: str | None) -> list[dict[_Key, Before]]:
    """What messages before it say of the same specimen, and were delivered; the newest first."""
    if specimen is None:
        return []
    wanted = Filter(channel=routes.channel, specimen=specimen, state="delivered")
    return [
        _values(reader, routes, view.id) for view in messages_page(reader, wanted, before_id=message, limit=EARLIER)
    ]


def _values(reader: Reader, routes: ChannelRoutes, message: int) -> dict[_Key, Before]:
    try:
        read = _read(reader, routes, message) or ()
    except (AbsentError, ErasedError):
        return {}
    return {
        _key(person, order, fact): Before(
            _sent(fact.value), results[0].value if results else None, fact.at or "", message
        )
        for person, order, fact, results in read
        if _sent(fact.value)
    }
