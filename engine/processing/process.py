"""Process one message: parse -> route -> map. Pure, so that the process for large messages can do it as well.

When a result was measured, as the worklist compares it with the time of an order. Pure.

A day, a month or a year ends with its last moment, so that it never lies before an order of the same day. A clock that
has lost its battery (`engine.succession.steps.FIRST_YEAR`) says nothing.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from typing import TypeVar
from zoneinfo import ZoneInfo

from engine.mapping.functions.channel import are_one_by_one, are_runs_apart
from engine.mapping.functions.controls import NUMBERS, ORDERS
from engine.mapping.measured import Reading, places_of
from engine.mapping.outputs.collected import order_lines
from engine.mapping.shipped import refusal
from engine.mapping.values.local_time import LocalTimes, silent
from engine.model.content import quality_controls
from engine.model.content.computed import COMPUTED
from engine.model.content.facts import packed
from engine.model.content.order_results import TubeResults, has_results, question_in, tubes_in
from engine.model.content.quality_controls import listed
from engine.model.content.reagents import reagents_in
from engine.model.content.result_times import ResultGroup, result_groups
from engine.model.content.search_keys import NOT_ALL, Number, numbers_in, own_number
from engine.model.errors import ContentError
from engine.model.message import Document, Issue, Mapped, Parsed, Reagent, Stored, Unmapped
from engine.model.orders import OrderLine
from engine.model.outcome import UNREAD, Outcome, ReadResults
from engine.model.ports import Dialogue
from engine.model.process.clock import to_us
from engine.model.routes import ChannelRoutes, Holding, Processed, Route, context_of
from engine.model.texts.reasons import ReasonCode
from engine.model.worklist import Ordered
from engine.processing.criticals import criticals_in
from engine.processing.formats import MEDIA_TYPES
from engine.processing.impossible_times import Readable, readable
from engine.succession.steps import FIRST_YEAR

logger = logging.getLogger("labrelay.processing")

T = TypeVar("T")

Reagents = tuple[Reagent, ...]
Numbers = tuple[Number, ...]
_STATUSES = {"OBR": 25, "OBX": 11, "O": 26, "R": 9}
UNREAD_CONTROL = "the results of its controls cannot be read: it is not known whether they were accepted"
NAMED = "its number is that of a control (`control_numbers`), and the message says that it is a patient's"
EARLY = Issue(code="EARLY", text="a result was measured before its sample was collected, or its patient born")
YIELD_AFTER = 4  # messages processed here before sockets get their turn: about half a millisecond


def process(stored: Stored, channel: ChannelRoutes) -> Processed:
    """Parse, route and map one message. Pure: the same message and configuration give the same outcome."""
    found = _process(stored, channel)
    if found.state == "dead" and channel.takes is not None and channel.takes.answers_later:
        return replace(found, ordered=Ordered(lines=(), settings=channel.takes))  # its sender hears that, too
    return found


def _process(stored: Stored, channel: ChannelRoutes) -> Processed:
    if stored.repeat_of is not None:
        return Outcome("filtered", ReasonCode.REPEAT)
    if stored.filtered not in (None, ReasonCode.DRAFT):
        return Outcome("filtered", stored.filtered)
    if channel.is_draft:
        return Outcome("filtered", ReasonCode.DRAFT)
    header = channel.message_format.header(stored.payload)
    numbers = own_number(header.control_id)
    if header.problem:
        return Outcome("dead", ReasonCode.UNREADABLE, header.problem, numbers=numbers)
    reagents: tuple[Reagent, ...] = ()
    try:
        parsed = channel.message_format.parse(stored.payload, channel.options)
        numbers += _extracted(stored, parsed, "reading numbers failed inside LabRelay", numbers_in, (NOT_ALL,))
        if stored.equal_to is not None and channel.takes is not None and header.control_id:
            # A laboratory system that asks once more: its orders are on the worklist, or were refused.
            return Outcome("filtered", ReasonCode.REPEAT, numbers=numbers)
        reagents = _extracted(stored, parsed, "reading reagent lots failed inside LabRelay", reagents_in, ())
        return _of_whom(stored, parsed, channel, reagents, numbers)
    except ContentError as error:
        return Outcome("dead", error.reason, _told(error), reagents=reagents, numbers=numbers)
    except Exception as error:
        # P2 and P7: an error of ours makes a dead letter with its place, and the next message is not affected.
        logger.exception(
            "processing failed inside LabRelay", extra={"channel": channel.channel, "journal_id": stored.id}
        )
        return Outcome("dead", ReasonCode.MAPPING_FAULT, type(error).__name__, numbers=numbers)


def _told(error: ContentError) -> str:
    return f"{error.place}: {error.detail}" if error.place else error.detail


def _of_whom(stored: Stored, parsed: Parsed, channel: ChannelRoutes, reagents: Reagents, numbers: Numbers) -> Processed:
    """The outcome of a message. A number that a pattern alone makes a control's is a patient's where the message says
    so; of others the outcome says also what they are as patients' (`engine.store.operations.record_outcome`)."""
    found = _routed(stored, parsed, channel, reagents, numbers)
    if not found.controls:
        return found
    doubted = _doubted(stored, parsed, channel, found.controls)
    if named := {number for numbers_of, is_patients in doubted if is_patients for number in numbers_of}:
        channel = _with_patients(channel, named)
        found = replace(_routed(stored, parsed, channel, reagents, numbers), conflict=NAMED)
        doubted = _doubted(stored, parsed, channel, found.controls)
        numbered = {one.number for one in found.controls}
        if not named.isdisjoint(numbered) or any(is_patients for _, is_patients in doubted):
            # The mapping has a filter of its own, or reads the number otherwise.
            return Outcome("dead", ReasonCode.CONTROL_NUMBER, NAMED, reagents=reagents, numbers=numbers)
    if left := {number for numbers_of, _ in doubted for number in numbers_of}:
        other = _routed(stored, parsed, _with_patients(channel, left), reagents, numbers)
        if left.isdisjoint(one.number for one in other.controls):
            found = replace(found, doubted=(tuple(sorted(left)), other))
    return found


def _routed(stored: Stored, parsed: Parsed, channel: ChannelRoutes, reagents: Reagents, numbers: Numbers) -> Processed:
    parsed.is_plain = False  # by the settings of another route it may be
    try:
        routed = _route(stored, parsed, channel, reagents, numbers)
    except ContentError as error:
        controls = _controls(stored, parsed, _reading(stored, parsed, channel), channel, set())
        routed = Outcome("dead", error.reason, _told(error), reagents=reagents, numbers=numbers, controls=controls)
    return replace(routed, controls_of=channel.controls_of) if channel.controls_of else routed


def _doubted(
    stored: Stored, parsed: Parsed, channel: ChannelRoutes, controls: Sequence[quality_controls.ControlResult]
) -> list[tuple[set[str], bool]]:
    patterns = listed(channel.context.settings, NUMBERS)
    if not patterns or not any(one.mark in ("list", "filter") for one in controls):
        return []
    return [*quality_controls.doubts(_reading(stored, parsed, channel).facts, controls, patterns, parsed)]


def _with_patients(channel: ChannelRoutes, numbers: Iterable[str]) -> ChannelRoutes:
    """These numbers are patients', whatever pattern fits them."""
    settings = channel.context.settings
    patterns = [*listed(settings, NUMBERS), *(quality_controls.PATIENTS + number for number in numbers)]
    return replace(channel, context=replace(channel.context, settings={**settings, NUMBERS: patterns}))


def _extracted(
    stored: Stored, parsed: Parsed, failed: str, read: Callable[[Parsed], tuple[T, ...]], otherwise: tuple[T, ...]
) -> tuple[T, ...]:
    """What ``read`` finds in a message: search keys, reagent lots. Never fails: an error here must not block a result
    or hide a message.

    Args:
        failed: the text for the log where it fails. otherwise: the result then.
    """
    try:
        return read(parsed)
    except Exception:
        logger.exception(failed, extra={"channel": stored.channel, "journal_id": stored.id})
        return otherwise


def _route(stored: Stored, parsed: Parsed, channel: ChannelRoutes, reagents: Reagents, numbers: Numbers) -> Processed:
    documents: list[tuple[Document, Route]] = []
    issues: list[Issue] = list(parsed.warnings)
    unmapped: list[Unmapped] = []
    names: list[str] = []
    set_apart: set[int] = set()  # positions of controls
    without_row: set[int] = set()  # ... and of results whose code no code table had
    taken = False
    lines: list[OrderLine] | None = None
    filtered: ReasonCode | None = None
    reading = _reading(stored, parsed, channel)
    if channel.dialogue is not None and (about := about_orders(parsed, channel.dialogue)):
        return Outcome("filtered", about, numbers=numbers)
    sent, (right, judged, reading) = (reading, parsed), _right(stored, parsed, reading, channel)
    parsed = right.shipped
    issues += [EARLY] if right.early else []
    for route in channel.routes:
        if route.when is not None and not route.when(parsed):
            continue
        taken = True
        if route.filter:
            filtered = ReasonCode.FILTERED
            break
        if route.program is None:
            media_type = channel.media_type or MEDIA_TYPES[parsed.format]
            passed = Document(body=stored.payload, media_type=media_type)
            documents += [(document, route) for document in _with_facts([passed], route.hold, parsed, reading)]
            continue
        is_emptied = right.impossible and route.program.is_own
        mapped = route.program.apply(right.own if is_emptied else parsed, reading.context)
        names.append(f"{route.program.name}@{route.program.content_hash[:12]}")
        issues += [issue for issue in mapped.issues if issue.severity != "note"]  # notes are for `explain`
        unmapped += mapped.unmapped
        set_apart.update(mapped.controls)
        without_row.update(mapped.without_row)
        if mapped.filtered is not None:
            filtered = mapped.filtered
        if route.worklist:
            lines = [*(lines or ()), *order_lines(mapped)]
            filtered = filtered or ReasonCode.ORDERS
            continue
        made = _with_facts(mapped.documents, route.hold, parsed, reading, mapped)
        documents += [(document, route) for document in made]
    found = _controls(stored, parsed, reading, channel, set_apart)
    if not taken or (reading.failed and set_apart):
        why = (reading.reason, UNREAD_CONTROL) if taken else refusal(parsed)
        return Outcome("dead", *why, issues=tuple(issues), reagents=reagents, numbers=numbers, controls=found)
    return Outcome(
        "mapped" if documents else "filtered",
        None if documents else filtered or ReasonCode.FILTERED,
        mapping=",".join(names),
        documents=tuple(documents),
        issues=tuple(issues),
        unmapped=tuple(unmapped),
        reagents=reagents,
        controls=found,
        numbers=numbers,
        ordered=Ordered(lines=tuple(lines), settings=channel.takes) if lines is not None and channel.takes else None,
        tubes=_tubes(reading, parsed, channel, set_apart) if documents and channel.dialogue is not None else (),
        results=_results(stored, *sent, channel, set_apart, without_row) if documents else (),
        critical=criticals_in(parsed, reading, documents, set_apart) if documents else (),
        read=_read(parsed, judged, channel) if documents else None,
    )


def _right(
    stored: Stored, parsed: Parsed, reading: Reading, channel: ChannelRoutes
) -> tuple[Readable, Reading, Reading]:
    """The message without times that cannot be; the facts for the judge, and those for all others."""
    right = readable(parsed, reading.facts, reading.context)
    if right.shipped is parsed:
        return right, reading, reading
    judged = reading if right.judged is parsed else _reading(stored, right.judged, channel)
    without = replace(channel, context=replace(channel.context, impossible=right.impossible))
    return right, judged, _reading(stored, right.shipped, without)


def _read(parsed: Parsed, reading: Reading, channel: ChannelRoutes) -> ReadResults | None:
    """The facts of a message as they are stored; None without any. Never fails: what is to be judged by them waits."""
    if reading.facts is None:
        return UNREAD if reading.failed else None
    context = channel.context
    try:
        content = packed(reading.facts)
    except (TypeError, ValueError):
        logger.exception("facts cannot be stored", extra={"channel": channel.channel})
        return UNREAD
    return ReadResults(
        facts=content,
        reader=reading.by,
        is_hl7=parsed.format == "hl7v2",
        of_site=context.results_of == "site",
        whole=not all(route.joins for route in channel.routes),
        runs_apart=are_runs_apart(context.settings),
        one_by_one=are_one_by_one(context.settings),
        unique=context.specimen_ids == "unique",
        of_a_day=context.specimen_ids == "day",
        computed=context.settings.get(COMPUTED),
        numbers=listed(context.settings, NUMBERS),
        orders=listed(context.settings, ORDERS),
        known=reading.facts,
    )


def read_again(stored: Stored, channel: ChannelRoutes) -> ReadResults | None:
    """The facts of a message that has its outcome; None: it has none, or cannot be read."""
    try:
        parsed = channel.message_format.parse(stored.payload, channel.options)
    except ContentError:
        return None
    return _read(parsed, _right(stored, parsed, _reading(stored, parsed, channel), channel)[1], channel)


def _with_facts(
    made: Iterable[Document], hold: Holding | None, parsed: Parsed, reading: Reading, mapped: Mapped | None = None
) -> Iterable[Document]:
    """The documents of a route with what its hold rules ask about; as they are without rules."""
    if hold is None:
        return made
    warned = [issue.code for issue in mapped.issues if issue.severity == "warning"] if mapped is not None else []
    controls = mapped.controls if mapped is not None else None
    asked = ((one, reading.results(one, controls, written=hold.asks_document)) for one in made)
    return [replace(one, facts=hold.facts(parsed, results, warned)) for one, results in asked]


def _reading(stored: Stored, parsed: Parsed, channel: ChannelRoutes) -> Reading:
    return Reading(parsed, partial(context_of, stored, channel.context), channel.reader)


def _controls(
    stored: Stored, parsed: Parsed, reading: Reading, channel: ChannelRoutes, set_apart: set[int]
) -> tuple[quality_controls.ControlResult, ...]:
    """The results of controls, also where no route takes them out, and of a message that is dead for another result of
    it. The facts of a patient's message are not read."""
    numbers, orders = (listed(channel.context.settings, setting) for setting in (NUMBERS, ORDERS))

    def found(one: Parsed) -> tuple[quality_controls.ControlResult, ...]:
        if not (set_apart or quality_controls.may_have_controls(one, numbers=numbers, orders=orders)):
            return ()
        zone, apart = channel.context.timezone, places_of(set_apart, one)
        sent = exact_times(one, zone)

        def at(text: str | None) -> int:
            return 0 if not text else moment(text, zone) if "-" in text else sent(text)

        facts = reading.facts or (_reading(stored, _not_obtained(one), channel).facts if reading.failed else None)
        return quality_controls.control_results(facts, one, at, apart, numbers=numbers, orders=orders)

    return _extracted(stored, parsed, "reading controls failed inside LabRelay", found, ())


def _not_obtained(parsed: Parsed) -> Parsed:
    """The message as if none of its results was: their statuses cannot be read."""
    changed = deepcopy(parsed)
    for segment in changed.segments:
        if (at := _STATUSES.get(segment.name)) and segment.get(at):
            segment.fields[at] = "X"
    return changed


def _tubes(reading: Reading, parsed: Parsed, channel: ChannelRoutes, set_apart: set[int]) -> tuple[TubeResults, ...]:
    return tubes_in(
        reading.measured(set_apart),
        parsed,
        channel.tests,
        channel.groups,
        redundant=channel.redundant,
        moment=cache(lambda found: moment(found, channel.context.timezone)),
        dialogue=channel.dialogue,
    )


def _results(
    stored: Stored, reading: Reading, parsed: Parsed, channel: ChannelRoutes, set_apart: set[int], without_row: set[int]
) -> tuple[ResultGroup, ...]:
    return _extracted(
        stored,
        parsed,
        "reading times of results failed inside LabRelay",
        lambda one: result_groups(
            reading.measured(set_apart),
            one.format,
            lambda found: moment(found, channel.context.timezone),
            places_of(without_row, one),
        ),
        (),
    )


def about_orders(parsed: Parsed, dialogue: Dialogue) -> ReasonCode | None:
    """Why a message of an analyzer that gets orders is for `engine.features.orders` alone; None: it may have
    results."""
    if question_in(parsed, dialogue) is not None:
        return ReasonCode.QUESTION
    if not has_results(parsed) and dialogue.confirmation(parsed) is not None:
        return ReasonCode.ORDER_ANSWER
    return None


def exact_times(parsed: Parsed, zone: str) -> Callable[[str], int]:
    """A reader of times that say at least the minute: text -> microseconds since 1970; 0: it is no such time.

    Args:
        zone: IANA name.
    """
    at = 7 if parsed.format == "hl7v2" else 14
    said = parsed.segments[0].get(at).strip() if parsed.segments else ""
    times = LocalTimes(said, zone, silent)

    def read(text: str) -> int:
        found = times.datetime(text) if text else None
        return 0 if found is None or len(found) <= len("2026-03-01") else moment(found, zone)

    return read


def moment(found: str | None, zone: str) -> int:
    """The last moment that a FHIR dateTime may mean, in microseconds since 1970; 0: it says nothing.

    Args:
        zone: IANA name.
    """
    if found is None or int(found[:4]) < FIRST_YEAR:
        return 0
    try:
        return to_us(_last_moment(found, zone))
    except (ValueError, OverflowError):
        return 0


def _last_moment(found: str, zone: str) -> datetime:
    """Args: found: a FHIR dateTime."""
    if len(found) > 10:
        return datetime.fromisoformat(found)
    parts = [int(part) for part in found.split("-")]
    if len(parts) == 3:
        return datetime(parts[0], parts[1], parts[2], tzinfo=ZoneInfo(zone)) + timedelta(days=1)
    year, month = parts if len(parts) == 2 else (parts[0], 12)
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=ZoneInfo(zone))
