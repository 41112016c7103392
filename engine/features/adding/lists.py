"""What came of an analyzer while it is a draft, and what would be made of it. It only reads."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson

from engine.diagnostics.lines.contents import Shared, shared_codes
from engine.diagnostics.lines.guess import Guess, guess
from engine.diagnostics.packs import packs
from engine.mapping.measured import Reading, told_in
from engine.mapping.trying.capture import CapturedBytes, Direction
from engine.model.content.facts import Order, Person
from engine.model.content.facts import Result as Fact
from engine.model.content.results import Result, instant_of, results_of
from engine.model.errors import ContentError, StoreError, UnreadableResultsError
from engine.model.journal.journal_views import Filter
from engine.model.message import Parsed, Stored
from engine.model.packing import unpack
from engine.model.process.clock import from_us
from engine.model.routes import ChannelRoutes, Program, context_of
from engine.model.texts.reasons import ReasonCode
from engine.processing.process import process
from engine.store.operations.line_trace import LineWay
from engine.store.queries.line import frames_of, line_of
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import Reader, stored_message

LOINC = "http://loinc.org"
MOST_MESSAGES, MOST_SESSIONS = 50, 20  # the newest
TORN = ReasonCode.INCOMPLETE.value
MOST_VALUES = 3  # of one code
ENQ, EOT, ACK = b"\x05", b"\x04", b"\x06"
BEHIND_MIN = 2  # a clock that is off by more is named
Told = tuple[Person, Order, Fact, Sequence[Result]]


def came(reader: Reader, channel: str) -> list[Stored]:
    """The newest messages that came while it was a draft, the newest first."""
    found = []
    for view in messages_page(reader, Filter(channel=channel, code=ReasonCode.DRAFT.value), limit=MOST_MESSAGES):
        with suppress(StoreError):  # erased, damaged
            found.append(stored_message(reader, view.id))
    return found


def senders(reader: Reader, channel: str, messages: Collection[int]) -> list[str]:
    """The addresses from which these messages came."""
    found = messages_page(reader, Filter(channel=channel, code=ReasonCode.DRAFT.value), limit=MOST_MESSAGES)
    return sorted({one.peer.rpartition(":")[0] for one in found if one.peer and one.id in messages})


def has_past(reader: Reader, channel: str) -> bool:
    """Whether anything of an analyzer of this name is here: it would be taken for that of a new one."""
    return bool(messages_page(reader, Filter(channel=channel), limit=1) or line_of(reader, channel, limit=1))


def is_torn(reader: Reader, channel: str, last: int) -> bool:
    """Whether the newest that came, behind message ``last``, broke off."""
    return any(one.id > last for one in messages_page(reader, Filter(channel=channel, code=TORN), limit=1))


def guessed(reader: Reader, channel: str, folder: Path) -> Guess:
    """What the bytes say of the other side: those of the line where it has frames, else those of the messages.

    Raises:
        ConfigError: a pack is wrong.
    """
    line = [
        CapturedBytes(entry.data, Direction.THEM if entry.way is LineWay.IN else Direction.US, entry.at_us)
        for record in reversed(line_of(reader, channel, limit=MOST_SESSIONS))
        for entry in record.entries
        if entry.way is not LineWay.ABOUT
    ]
    each = [line]
    if not any(b"\x02" in one.data or b"\x05" in one.data for one in line if one.way is Direction.THEM):
        each = [[*_as_sent(reader, one)] for one in reversed(came(reader, channel))]
    known = packs(folder) if any(each) else ()
    made = guess([piece for pieces in each for piece in pieces], known, live=True)
    if made.is_enough or len(each) < 2:
        return made
    return guess(each[-1], known, live=True)  # an earlier message may be noise, as at another speed


def _as_sent(reader: Reader, one: Stored) -> Iterator[CapturedBytes]:
    """A message as it came on its line; the record of a line may be lost with the process, and its frames are not."""
    trace = trace_of(reader, one.id)
    ids = trace.frames if trace is not None else ()
    frames = frames_of(reader, trace.session, one.channel, ids[0], ids[-1]) if trace is not None and ids else []
    is_hl7 = one.payload.lstrip(b"\x00\r\n ").startswith((b"MSH", b"FHS", b"BHS"))
    if frames:
        for data in (ENQ, *(data for _, data in frames), EOT):
            yield CapturedBytes(data, Direction.THEM)
            yield CapturedBytes(ACK, Direction.US)
    elif is_hl7:
        yield CapturedBytes(b"\x0b" + one.payload + b"\x1c\r", Direction.THEM)
    else:
        yield CapturedBytes(
            one.payload if one.payload.endswith((b"\r", b"\n")) else one.payload + b"\n", Direction.THEM
        )


# -- codes -----------------------------------------------------------------------------------------------------------


class Code(NamedTuple):
    """A code with a unit.

    Attributes:
        loinc, display: as the tables in force have it; empty: they have none.
        values: some of those that came, as sent.
    """

    code: str
    unit: str
    name: str
    loinc: str
    display: str
    values: Sequence[str]


def read(stored: Sequence[Stored], routes: ChannelRoutes) -> Iterator[tuple[Stored, Parsed, list[Told]]]:
    """Those messages whose results can be read, and without results those in which two tests have one code."""
    for one in stored:
        try:
            if routes.message_format.header(one.payload).problem:
                continue
            parsed = routes.message_format.parse(one.payload, routes.options)
        except ContentError:
            continue
        reading = Reading(parsed, partial(context_of, one, routes.context), partial(_aside, routes))
        if reading.facts is not None:
            yield one, parsed, list(told_in(reading.facts, parsed, reading.context))
        elif reading.reason is ReasonCode.SAME_CODE:
            yield one, parsed, []


def _aside(routes: ChannelRoutes, parsed: Parsed) -> Program | None:
    """The reader with caches of its own: another thread maps with it."""
    found = routes.reader(parsed) if routes.reader is not None else None
    return None if found is None else found.aside()


def codes_in(told: Sequence[Told], names: Mapping[str, str]) -> list[Code]:
    """The codes of results, each with a unit, in the order in which they came.

    Args:
        names: LOINC code -> name of the term.
    """
    found: dict[tuple[str, str], Code] = {}
    for _, _, fact, results in told:
        code, unit = fact.measure.test or "", fact.value.unit or fact.measure.unit or ""
        if not code:
            continue
        loinc = next((code for one in results for system, code in one.codes if system == LOINC), "")
        one = found.setdefault((code, unit), Code(code, unit, fact.measure.name or "", loinc, names.get(loinc, ""), ()))
        if len(one.values) < MOST_VALUES and (value := sent(fact)) not in one.values:
            found[code, unit] = one._replace(values=(*one.values, value))
    return list(found.values())


def shared_in(parsed: Sequence[Parsed], routes: ChannelRoutes) -> list[Shared]:
    return shared_codes(parsed, routes.context.settings)


def sent(fact: Fact) -> str:
    value = fact.value
    if value.number is not None and not value.call:
        return f"{value.comparator or ''}{value.number}"
    return value.sent or value.words or ""


# -- the first result ------------------------------------------------------------------------------------------------


class Compared(NamedTuple):
    """A field as it came and as it goes out. ``judged``: ``right``, ``other``, ``own`` (a code without a meaning),
    ``none``, or ``behind`` (the clock, by ``minutes``)."""

    field: str
    came: str
    out: str
    judged: str
    minutes: int = 0


def compared(
    one: Stored, told: Sequence[Told], routes: ChannelRoutes, names: Mapping[str, str]
) -> tuple[str, list[list[Compared]]]:
    """How the message would end, and its results: each as it came beside what a document has.

    A destination that takes no FHIR gets the same values in another form. ``names``: LOINC code -> name of the term.
    """
    aside = [replace(one, program=one.program and one.program.aside()) for one in routes.routes]
    ended = process(replace(one, filtered=None), replace(routes, routes=tuple(aside), is_draft=False))
    written, numbers = list[Result](), set[str]()
    for document, _ in ended.documents:
        body = unpack(document.body) if document.packed else document.body
        with suppress(UnreadableResultsError):
            written += results_of(body)
            numbers |= _numbers(body)
    is_fhir = bool(written)
    rows = []
    for person, order, fact, results in told:
        for result in results:
            out = _taken(result, written) if is_fhir else result
            rows.append(_rows(one, person, order, fact, out, numbers if is_fhir else None, names))
    return (ended.reason.value if ended.reason is not None else ""), rows


def _taken(result: Result, written: list[Result]) -> Result | None:
    at = next((at for at, one in enumerate(written) if not {*one.codes}.isdisjoint(result.codes)), None)
    return None if at is None else written.pop(at)


def _numbers(body: bytes) -> set[str]:
    """The numbers of persons and specimens in a Bundle."""
    resources = [entry["resource"] for entry in orjson.loads(body).get("entry", ())]
    found = [one for one in resources if one["resourceType"] in ("Patient", "Specimen")]
    given = [[*one.get("identifier", ()), one.get("accessionIdentifier", {})] for one in found]
    return {number for listed in given for one in listed if (number := one.get("value"))}


def _rows(
    one: Stored,
    person: Person,
    order: Order,
    fact: Fact,
    out: Result | None,
    numbers: set[str] | None,
    names: Mapping[str, str],
) -> list[Compared]:
    """``numbers``: of the documents; None: they go out as they came."""
    measure, unit = fact.measure, fact.value.unit or fact.measure.unit or ""
    tube = fact.tube or next((sample.number for sample in order.samples if sample.number), None) or order.filler or ""
    who = person.number or ""
    around = (_number("specimen", tube, numbers), _number("person", who, numbers))
    if out is None:
        return [
            around[0],
            *(Compared(*one, "", "none") for one in (("test", measure.test or ""), ("value", sent(fact)))),
        ]
    loinc = next((code for system, code in out.codes if system == LOINC), "")
    ends = "-".join("" if end is None else str(end) for end in (out.low, out.high)) if out.low or out.high else ""
    came_range, came_flags = (fact.range or "").replace(" ", ""), " ".join(fact.sent_flags)
    return [
        around[0],
        Compared(
            "test",
            measure.test or "",
            f"{loinc} {names.get(loinc, '')}".strip() or out.name,
            "right" if loinc else "own",
        ),
        Compared("value", fact.value.sent or "", out.text or "", "right" if out.text == sent(fact) else "other"),
        Compared("unit", unit, out.unit, "right" if unit in out.units or not (unit or out.unit) else "other"),
        Compared("range", fact.range or "", ends, "right" if ends == came_range else "other"),
        _same("flag", came_flags, " ".join(out.flags)),
        _measured(one, fact, out),
        around[1],
    ]


def _same(field: str, came: str, out: str) -> Compared:
    return Compared(field, came, out, "right" if came == out else "other")


def _number(field: str, came: str, numbers: set[str] | None) -> Compared:
    if not came:
        return Compared(field, "", "", "none")
    out = came if numbers is None or came in numbers else ", ".join(sorted(numbers))
    return _same(field, came, out)


def _measured(one: Stored, fact: Fact, out: Result) -> Compared:
    """A clock is compared with ours as far as a result is new; an old one that is sent again says nothing of it."""
    at = out.at_us if out.at_us is not None else instant_of(fact.at or "")
    if at is None:
        return Compared("measured", fact.stated or "", "", "none")
    minutes = (one.received_us - at) // 60_000_000
    said = from_us(at).isoformat(timespec="minutes")
    return Compared("measured", fact.stated or "", said, "behind" if abs(minutes) > BEHIND_MIN else "right", minutes)
