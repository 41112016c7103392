"""What a message says of its results, or a held delivery of it, by its facts: its payload is read each time.

A document in FHIR that is held says what a release sends: of its results alone, whatever the code tables of today say.
Where no reader takes the message, or its channel is not configured any more, it says everything.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import cache, partial
from itertools import compress, islice, zip_longest
from typing import NamedTuple

from engine.features.results.lists import RESULT
from engine.features.results.lists.pairing import Pair, in_list, listed, named, paired
from engine.features.results.lists.reading import Readings, Told
from engine.features.results.lists.shown import (
    Before,
    Shown,
    first_of,
    of_document,
    of_fact,
    sent,
    sent_on,
    specimen_of,
)
from engine.features.results.rows.succession import earlier_series, earlier_values
from engine.mapping.measured import told_in
from engine.model.content.facts import Result as Fact
from engine.model.content.results import MEMORY_US, WITHDRAWN, Result, results_of
from engine.model.errors import AbsentError, ErasedError, StoreError, UnreadableResultsError
from engine.model.journal.journal_views import DeadLetter, DocumentView, Filter, Trace
from engine.model.routes import ChannelRoutes
from engine.model.texts.phrases import PageText
from engine.model.texts.reasons import ReasonCode
from engine.store.queries.letters import held_deliveries
from engine.store.queries.messages import messages_page, trace_of, worst
from engine.store.queries.reader import Reader, stored_document, stored_message
from engine.succession.kinds import RESULT as OF_PLACE
from engine.views.view import Row

MOST = 500  # results of one message that are shown at once
MOST_READ = 20_000  # of one message
MOST_AT_ONCE = 100  # deliveries are released together, for each is seen
EARLIER = 20  # messages of the specimen are looked at
MASKED = ("codes", "flags", "status", "unit", "held")
# A person says first whose these are: until then a release leaves them held, and no earlier value is theirs for sure.
WHOSE = frozenset({ReasonCode.IDENTITY_CONFLICT.value, ReasonCode.ORDER_MOVED.value})
ACCEPTED = frozenset({"waiting", "sending", "delivered"})
LEFT_OUT = "left out"
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


class Said(NamedTuple):
    """One result of a message.

    Attributes:
        row: as of a held one. control: of a quality control.
        went: destination -> state of its delivery, or `LEFT_OUT`; without those whose document does not surely have it.
        hidden: its value is not shown. patient: which of those that the message is about, from 1, and of how many.
    """

    row: Row
    control: bool
    went: Mapping[str, str]
    hidden: bool
    patient: tuple[int, int]


def held_of(reader: Reader, message: int) -> list[DeadLetter]:
    """The deliveries of a message that are held, or were rejected."""
    return [
        one
        for state in ("held", "rejected")
        for one in held_deliveries(reader, Filter(state=state), before_id=message + 1, limit=1)
        if one.message_id == message
    ]


def results_held(
    reader: Reader,
    routes: Mapping[str, ChannelRoutes],
    letters: Sequence[DeadLetter],
    *,
    masked: bool = False,
    history: bool = False,
) -> dict[str, list[Row] | None]:
    """The results of each of these deliveries, by its number; None: they cannot be read.

    Those that the reason names come first, then the critical ones.

    Args:
        routes: in force; empty: what is held says it.
        masked: without values, and what else may say who it is.
        history: with the ``series`` of each, and ``asked_by``: for those who may see patients.
    """
    of: dict[int, DocumentView] = {}
    for message in dict.fromkeys(one.message_id for one in letters):
        if (trace := trace_of(reader, message)) is not None:
            documents = {one.id: one for one in trace.documents}
            of |= {one.id: documents[one.document_id] for one in trace.deliveries}
    readings = Readings(reader)
    found: dict[str, list[Row] | None] = {}
    for one in letters:
        shown: list[Shown] | None = None
        rows: list[Row] | None = None
        with suppress(StoreError):  # erased, damaged
            shown = _shown(
                reader, readings, routes.get(one.channel), one, of[one.delivery_id], masked=masked, history=history
            )
        if shown and len(shown) <= MOST_READ:
            shown.sort(key=lambda one: (not one.held, not one.critical))
            rows = [RESULT.row(one, MASKED if masked else None) for one in shown]
            if history:
                more = ({"series": one, "asked_by": one.asked_by} for one in shown)
                rows = [{**row, **one} for row, one in zip(rows, more, strict=True)]
        found[str(one.delivery_id)] = rows
    return found


def _shown(
    reader: Reader,
    readings: Readings,
    routes: ChannelRoutes | None,
    one: DeadLetter,
    document: DocumentView,
    *,
    masked: bool,
    history: bool,
) -> list[Shown] | None:
    body = stored_document(reader, document.id)
    written = _written(body)
    told = None if routes is None else readings.told(routes, one.message_id)
    if routes is None or told is None:
        return None if written is None else _of_held(reader, one, written)
    if written is None:
        rows = listed(body, document.media_type, routes, one.destination)
        told = told if rows is None else _told_in(told, rows)
    pairs = [Pair(None)] * len(told) if written is None else paired([results for *_, results in told], written)
    is_shown = [written is None or result is not None for _, result in pairs]
    told = list(compress(told, is_shown))
    none: Sequence[Before | None] = [None] * len(told)
    befores = none if masked or one.reason in WHOSE else _befores(reader, readings, routes, one, told)
    found = []
    for (_, order, fact, results), (_, result), before in zip(told, compress(pairs, is_shown), befores, strict=True):
        sends = "" if result is None or len(results) > 1 else sent_on(fact, result)
        first = first_of(results)
        limits = next(filter(None, (to.hold.limits(result or first) for to in routes.routes if to.hold)), "")
        found.append(of_fact(order, fact, result, first, sends, one.detail, before)._replace(limits=limits))
    if history and one.reason not in WHOSE:
        found = _with_series(reader, one, found, [first_of(results) for *_, results in told])
    if history:
        askers = readings.asked_by(routes, one.message_id)
        found = [
            shown._replace(asked_by=askers.get(order.place, ""))
            for shown, (_, order, *_) in zip(found, told, strict=True)
        ]
    return found + _of_held(reader, one, written or ())


def _with_series(reader: Reader, one: DeadLetter, found: Sequence[Shown], firsts: Sequence[Result]) -> list[Shown]:
    known = earlier_series(reader, one.message_id, one.channel, firsts, MEMORY_US, EARLIER)
    return [
        shown
        if first.value is None or first.comparator or first.at_us is None or not series
        else shown._replace(series=[*series, (first.at_us, first.value)], series_unit=first.unit)
        for shown, first, series in zip(found, firsts, known, strict=True)
    ]


def _told_in(told: Sequence[Told], rows: list[Result]) -> list[Told]:
    """Without those that were left out: they were accepted before."""
    pairs = in_list([named(fact, results) for *_, fact, results in told], rows)
    return [of for of, pair in zip(told, pairs, strict=True) if pair.is_in is not False]


def results_said(
    reader: Reader,
    routes: ChannelRoutes | None,
    trace: Trace,
    *,
    first: int = 0,
    sees: bool = True,
    sees_held: bool = False,
) -> tuple[list[Said], int] | None:
    """Results of a message, a control's too, and how many it has; None: they cannot be read.

    Args:
        routes: of its channel, in force; None: its documents say it.
        first: how many are left out before the `MOST` that are shown.
        sees: else without values, and what else may say who it is. sees_held: of all but those that are surely held.

    Raises:
        StoreError: its contents are erased, or damaged.
    """
    said = _said(reader, routes, trace)
    if said is None or len(said) > MOST_READ:
        return None
    ways = _ways(reader, routes, trace, said)
    hidden = [not sees and not (sees_held and "held" in way.values()) for way in ways]
    persons = list(dict.fromkeys(one.person for one in said))
    shown = slice(first, first + MOST) if first < len(said) else slice(MOST)
    return [
        Said(
            RESULT.row(_masked(one.shown) if is_hidden else one.shown),
            one.control,
            way,
            is_hidden,
            (persons.index(one.person) + 1, len(persons)),
        )
        for one, way, is_hidden in zip(said[shown], ways[shown], hidden[shown], strict=True)
    ], len(said)


class _Said(NamedTuple):
    shown: Shown
    results: Sequence[Result]
    named: Sequence[Result]  # as a list has it
    control: bool
    person: object


def _said(reader: Reader, routes: ChannelRoutes | None, trace: Trace) -> list[_Said] | None:
    opened_as = None if routes is None else Readings(reader).of(routes, trace.message.id)
    if opened_as is None or (facts := opened_as[1].facts) is None:
        if opened_as is not None and opened_as[1].taken and not opened_as[1].failed:
            return []
        return _documented(reader, trace)
    parsed, reading = opened_as
    patients = {fact.place for _, _, fact in reading.measured()}
    found = []
    for person, order, fact, results in islice(told_in(facts, parsed, reading.context, ()), MOST_READ + 1):
        shown = of_fact(order, fact, None, first_of(results), "", "", None)
        who = person.number, person.authority, person.name, person.born
        is_control = fact.place not in patients
        found.append(_Said(shown, results, named(fact, results), is_control, who if any(who) else id(person)))
    return found


def _documented(reader: Reader, trace: Trace) -> list[_Said] | None:
    """What its documents in FHIR say, each result once; None: there are none."""
    found: list[Result] = []
    written = [one for view in trace.documents if (one := _written(stored_document(reader, view.id))) is not None]
    for one in written:
        paired([[result] for result in found], one)
        found += one
    return [_Said(of_document(one, "", None), [one], [], False, one.subject) for one in found] if written else None


def _masked(one: Shown) -> Shown:
    return one._replace(test="", name="", loinc="", specimen="", value="", sends="", range="", collected="", at="")


def _ways(reader: Reader, routes: ChannelRoutes | None, trace: Trace, said: Sequence[_Said]) -> list[dict[str, str]]:
    """Of each result, the worst state of the deliveries to a destination whose documents surely have it.

    A result that a document lacks is left out where the decisions about it say so of as many results.
    """
    ends: list[dict[str, list[str]]] = [{} for _ in said]
    places = {one.id: one for one in trace.documents}
    for one in trace.deliveries:
        document = places[one.document_id]
        pairs = _pairs(reader, routes, trace, document, one.destination, said)
        facts = trace.facts.get(document.ordinal)
        echoes = sum(name.startswith(("Observation/", OF_PLACE)) for name in facts.echoes) if facts is not None else 0
        is_left_out = 0 < echoes == sum(pair.is_in is not True for pair in pairs)
        for pair, end in zip(pairs, ends, strict=True):
            if pair.is_in or is_left_out:
                end.setdefault(one.destination, []).append(one.shown_state if pair.is_in else LEFT_OUT)
    return [{name: _worst(states) for name, states in end.items()} for end in ends]


def _worst(states: Sequence[str]) -> str:
    """It is left out where no document has it."""
    went = [state for state in states if state != LEFT_OUT]
    return worst(went) if went else LEFT_OUT


def _pairs(
    reader: Reader,
    routes: ChannelRoutes | None,
    trace: Trace,
    document: DocumentView,
    destination: str,
    said: Sequence[_Said],
) -> list[Pair]:
    body = stored_document(reader, document.id)
    if (written := _written(body)) is not None:
        return paired([one.results for one in said], written)
    if body == stored_message(reader, trace.message.id).payload:
        return [Pair(True)] * len(said)
    rows = None if routes is None else listed(body, document.media_type, routes, destination)
    return [Pair(None)] * len(said) if rows is None else in_list([one.named for one in said], rows)


def _written(body: bytes) -> list[Result] | None:
    with suppress(UnreadableResultsError):
        return results_of(body)
    return None


def _of_held(reader: Reader, one: DeadLetter, written: Sequence[Result]) -> list[Shown]:
    known = (
        []
        if one.reason in WHOSE or not written
        else earlier_values(reader, one.message_id, one.channel, written, MEMORY_US)
    )
    befores = [_remembered(found, result, result.unit) for found, result in zip(known, written, strict=False)]
    return [of_document(result, one.detail, before) for result, before in zip_longest(written, befores)]


# -- the value before it -----------------------------------------------------------------------------------------------


def _befores(
    reader: Reader, readings: Readings, routes: ChannelRoutes, one: DeadLetter, told: Sequence[Told]
) -> list[Before | None]:
    """A rule is asked about the patient's value before it, a comparison about what was accepted of the same result."""
    firsts = [first_of(results) for *_, results in told]
    known = earlier_values(reader, one.message_id, one.channel, firsts, MEMORY_US)
    accepted = cache(partial(_accepted, reader, readings, routes, one))
    found = []
    for (_, order, fact, _), first, earlier in zip(told, firsts, known, strict=True):
        unit = fact.value.unit or fact.measure.unit or ""
        is_converted = first.value is not None and first.text != sent(fact.value)
        value = _remembered(earlier, first, first.unit if is_converted else unit)
        if value is None or one.reason not in BY_RULE:
            before = (values[first.run] for values in accepted(specimen_of(order, fact)) if first.run in values)
            value = next(before, None) or value
        found.append(value)
    return found


def _remembered(found: tuple[int, Decimal] | None, result: Result, sent_in: str) -> Before | None:
    """What a rule about it would find."""
    return None if found is None else Before(str(found[1]), found[1], result.unit, found[0], sent_in)


def _accepted(
    reader: Reader, readings: Readings, routes: ChannelRoutes, one: DeadLetter, specimen: str | None
) -> list[Mapping[str, Before | None]]:
    """What messages before it say of results of this specimen, and goes to the same destination; the newest first."""
    if specimen is None:
        return []
    wanted = Filter(channel=routes.channel, specimen=specimen)
    views = messages_page(reader, wanted, before_id=one.message_id, limit=EARLIER)
    return [_values(readings, routes, view.id) for view in views if _is_accepted(reader, view.id, one.destination)]


def _is_accepted(reader: Reader, message: int, destination: str) -> bool:
    trace = trace_of(reader, message)
    deliveries = () if trace is None else trace.deliveries
    return any(one.destination == destination and one.state in ACCEPTED for one in deliveries)


def _values(readings: Readings, routes: ChannelRoutes, message: int) -> dict[str, Before | None]:
    """By the pseudonym that corrections share; None: it was withdrawn, or has no value. Another day, another person and
    another order have another one, also where a number is given again.
    """
    try:
        read = readings.told(routes, message) or ()
    except (AbsentError, ErasedError):
        return {}
    return {
        results[0].run: _value_before(fact, results[0], message)
        for *_, fact, results in read
        if results and results[0].run
    }


def _value_before(fact: Fact, result: Result, message: int) -> Before | None:
    text = sent(fact.value)
    if not text or result.status in WITHDRAWN:
        return None
    number = None if result.comparator else result.value
    return Before(text, number, result.unit, fact.at or "", fact.value.unit or fact.measure.unit or "", message)
