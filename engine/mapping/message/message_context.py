"""One message on its way through a mapping: how its text is read, its warnings, its output.

A generated mapping is straight-line code that calls into this object. Field values travel as raw strings and become
text here: first repetition, first component, first subcomponent, unescaped, without outer blanks. ``""`` (HL7's
explicit null) and blanks are absent, which is None everywhere.

The fields of a message by their text: a warning about a time names each field that this time came in.

Generated code hands on the text of a time without its field, and a time that cannot be read is rare; so its fields are
looked for once there is one. A filler (``-``) is in other fields as well: those are meant in which the standard has a
time.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from types import FrameType
from typing import Any

from engine.config import registry
from engine.mapping.language.structures import HL7
from engine.mapping.message.identity_fields import STANDARD, IdentityFields
from engine.mapping.message.read_cache import ReadCache
from engine.mapping.values.local_time import FIRST_YEAR, LocalTimes, bounds_of_events
from engine.mapping.values.uris import quoted
from engine.model.content.numbers import PLACES
from engine.model.errors import ContentError
from engine.model.message import Group, Issue, MapContext, Parsed, Segment, Unmapped
from engine.model.texts.reasons import ReasonCode

MOST_COMPONENTS = 30  # no type of HL7 has more

_HL7_TIMES = frozenset({"TS", "DTM", "DT"})
_ASTM_TIME = re.compile(r".* at|.*\bdates?\b.*")  # names of the fields of E1394

Place = tuple[str, int, int]  # name of a segment, number of a field, and of the component in it
Places = dict[Place, list[Segment]]
TextOf = Callable[[str], str | None]  # the text of a component as rules read it; None where it says nothing


def times_in(parsed: Parsed, delimiters: tuple[str, str], text_of: TextOf) -> dict[str, Places]:
    """Text of a component in which the standard has a time -> its places in the message, each with its segments.

    Args:
        delimiters: of repetitions and of components.
    """
    found: dict[str, Places] = defaultdict(dict)
    for segment in parsed.segments:
        for number, component, text in _components(segment, delimiters, text_of):
            if _is_time(parsed.format, segment.name, number, component):
                segments = found[text].setdefault((segment.name, number, component), [])
                if not segments or segments[-1] is not segment:  # it may repeat the field
                    segments.append(segment)
    return found


def places_in(segment: Segment, message_format: str, delimiters: tuple[str, str], text_of: TextOf, sent: str) -> Places:
    """The places of a text in one segment: a rule may read a time from any field, but hardly from the number of the
    segment.
    """
    first = 2 if message_format == HL7 else 3
    return {
        (segment.name, number, component): [segment]
        for number, component, text in _components(segment, delimiters, text_of)
        if text == sent and number >= first
    }


def _components(segment: Segment, delimiters: tuple[str, str], text_of: TextOf) -> Iterator[tuple[int, int, str]]:
    between, inside = delimiters
    for number, sent in enumerate(segment.fields[1:], 1):  # the first is the segment's name
        for repetition in sent.split(between):
            for component, part in enumerate(repetition.split(inside), 1):
                if text := text_of(part):
                    yield number, component, text


def _is_time(message_format: str, segment: str, number: int, component: int) -> bool:
    return (component == 1 and _is_time_field(message_format, segment, number)) or (
        message_format == HL7 and component <= MOST_COMPONENTS and _is_time_part(segment, number, component)
    )


@lru_cache(maxsize=1024)
def _is_time_field(message_format: str, segment: str, number: int) -> bool:
    if message_format == HL7:
        return registry.load(registry.WRITERS, HL7).place_type(segment, (number,)) in _HL7_TIMES
    names: tuple[str, ...] = registry.load(registry.FORMATS, message_format).FIELDS.get(segment, ())
    return number < len(names) and _ASTM_TIME.fullmatch(names[number]) is not None


@lru_cache(maxsize=1024)
def _is_time_part(segment: str, number: int, component: int) -> bool:
    return registry.load(registry.WRITERS, HL7).place_type(segment, (number, component)) in _HL7_TIMES


GENERATED = "<mapping>"  # file name of generated code; a frame with it knows its rule by its line number
NEVER = "\ud800"  # replaces a delimiter that a message does not have: strict decoding cannot produce it
NAMED = (
    "a name is in the place of the number of a specimen or order: it is none, and was kept as a note "
    "(not_numbers: [OBR-2] says that this field never holds a number)"
)
MAX_ISSUES = 200  # a message of 10,000 bad values needs no 10,000 lines to say so

RESULT_SEGMENT = {"hl7v2": "OBX", "astm": "R", "json": ""}
# Fields of patient numbers, and of the numbers of orders and specimens after them.
PATIENTS = {"hl7v2": "PID", "astm": "P"}
_ORDER_NUMBERS = {"OBR": (2, 3), "ORC": (2, 3), "SPM": (2,), "SAC": (3,), "O": (3, 4)}  # 2 to 4
_SEARCHED = 1000  # characters of these that are searched for a number before its field is read
CONTROLS = "qc"  # what a filter calls results of a control material

Unescape = Callable[..., str]
RuleOf = Callable[[FrameType], str]  # the rule whose code a frame of generated code runs


@lru_cache(maxsize=1024)
def _namespace(facility: str, name: str) -> str:
    """A system for numbers whose authority has no entry; a site has few of them."""
    return f"urn:labrelay:ns:{quoted(facility)}:{quoted(name)}"


class MessageContext:
    """The state of one application of a mapping. Not shared between messages, nor between threads.

    Attributes:
        noted: how many warnings were given; values computed meanwhile are valid only once.
        named: codes without a row whose name was noted, with their table and unit.
    """

    # Defaults of the class: what most messages do not change.
    named_tubes = False  # a name was in the place of the number of a tube
    noted = 0
    declared_drops = 0
    attached = 0  # results that are documents and went into a report
    at: Segment | None = None  # the current segment of the innermost loop, for places
    results: Any = None  # the results of the message by order, once a function has asked for them
    tested: list[Segment] | None = None  # results that are susceptibilities; read once
    parts: tuple[str, Any] | None = None  # the value of several components that was read last, and its parts
    referred: dict[str, list[tuple[str, Any]]] | None = None  # resources by name, once a function asked
    test_names: dict[str | None, set[str | None]] | None = None  # name of a test -> tests that have it
    trace: Any = None
    named_alone: str | None = None  # see `engine.mapping.message.certain_numbers`, once a function asked
    _order_numbers: str | None = None  # fields with the numbers of orders and specimens, as they were sent

    def __init__(
        self,
        parsed: Parsed,
        context: MapContext,
        unescape: Unescape,
        rule_of: RuleOf,
        policies: dict[str, str],
        reading: ReadCache | None = None,
        identity: IdentityFields | None = None,
    ) -> None:
        """``reading``: the cache for messages that are read alike; none, if not given. ``identity``: the fields
        that ids are made of; those of the standard, if not given."""
        reading = ReadCache(context.settings, context.namespaces) if reading is None else reading
        self.concepts = reading.concepts
        self.reading = reading
        self.named: set[tuple[str, str, str]] = set()
        delimiters = parsed.delimiters
        self.parsed = parsed
        self.context = context
        self.settings = context.settings
        self.root = parsed.root
        self.hl7 = parsed.format == "hl7v2"
        self.F = delimiters.field or NEVER
        self.C = delimiters.component or NEVER
        self.R = delimiters.repetition or NEVER
        self.S = delimiters.subcomponent or NEVER
        self.X = delimiters.escape or NEVER
        self._unescape = unescape
        # Bytes in hexadecimal escapes are in the message's character set; ASTM has a rule of its own for them.
        self._unescape_with = (delimiters, parsed.charset) if self.hl7 else (delimiters,)
        self._rule_of = rule_of
        self._seen_issues: set[tuple[str, str, str]] = set()
        self._warned_times: set[tuple[str, str, str, int]] = set()
        self.policies = policies
        self.identity = STANDARD[parsed.format] if identity is None else identity
        self.issues: list[Issue] = []
        self.unmapped: list[Unmapped] = []
        self.without_row: list[int] = []  # positions of results whose code no code table had
        # Position of a result -> reference to the Observation that it became, or its segment, row or record; None where
        # a rule took it otherwise.
        self.accounted: dict[int, Any] = {}
        self.filtered: dict[str, int] = {}  # name of the filter -> results behind it
        self.controls: list[int] = []  # positions of the results that the filter of controls took
        self.local_system = str(context.settings.get("local_system", ""))
        self.numbers_with_comma = str(context.settings.get("decimal_comma", "")).lower() in ("yes", "true")
        at = self._message_time()
        first = str(self.settings.get("first_year") or FIRST_YEAR)
        bounds = bounds_of_events(first, context.received_at, at, context.timezone)
        self.times = LocalTimes(at, context.timezone, self._warn_of_time, bounds, context.impossible)
        # Patient numbers as they were read, (system, value): those that name a person for good, and those that do not.
        self.lasting: set[tuple[str | None, str]] = set()
        self.counted: set[tuple[str | None, str]] = set()
        if parsed.cleared and self.hl7:
            self.warn("NO_DIGIT", NAMED)

    # -- text ----------------------------------------------------------------------------------------------------

    def text(self, raw: str) -> str | None:
        """The text of a field, component or subcomponent as a rule means it."""
        if raw.isalnum():
            return raw
        if self.R in raw:
            raw = raw[: raw.index(self.R)]
        if self.C in raw:
            raw = raw[: raw.index(self.C)]
        if self.S in raw:
            raw = raw[: raw.index(self.S)]
        if self.X in raw:
            raw = self._unescape(raw, *self._unescape_with)
        raw = raw.strip()
        return raw if raw and raw != '""' else None

    def whole(self, raw: str) -> str | None:
        """A repetition's text with all delimiters that the sender left in it; leading blanks stay."""
        if self.X in raw:
            raw = self._unescape(raw, *self._unescape_with)
        raw = raw.rstrip()
        return raw if raw and raw != '""' else None

    def present(self, raw: str) -> str | None:
        """A raw value, or None where it says nothing."""
        stripped = raw.strip()
        return raw if stripped and stripped != '""' else None

    def repetitions(self, raw: str) -> list[str] | None:
        """The repetitions of a field that say something."""
        return [part for part in raw.split(self.R) if part >= "#" or self.present(part)] or None

    def component(self, raw: str, number: int) -> str | None:
        """A component of a repetition, raw."""
        parts = raw.split(self.C, number)
        return self.present(parts[number - 1]) if len(parts) >= number else None

    def subcomponent(self, raw: str, number: int) -> str | None:
        parts = raw.split(self.S, number)
        return self.present(parts[number - 1]) if len(parts) >= number else None

    def has(self, raw: str, component: int, subcomponent: int) -> bool:
        """Whether a field's first repetition, or a part of it, says something."""
        part: str | None = raw.partition(self.R)[0]
        if component and part:
            part = self.component(part, component)
        if subcomponent and part:
            part = self.subcomponent(part, subcomponent)
        return bool(part) and self.present(part or "") is not None

    def part_text(self, parts: list[str], index: int) -> str | None:
        """The text of a component by its index from 0, None where the sender stopped earlier."""
        return self.text(parts[index]) if len(parts) > index else None

    def each_field(self, segments: Iterable[Segment], field: int) -> list[str] | None:
        """A field of several segments: the first repetition of each that has it."""
        found = []
        for segment in segments:
            fields = segment.fields
            if len(fields) > field and (raw := fields[field]) and (raw[0].isalnum() or self.present(raw)):
                found.append(raw.partition(self.R)[0])
                if self.trace is not None:
                    self.trace.read(segment, field, 0)
        return found or None

    def field(self, segment: str, number: int) -> str:
        """A field of the first segment of that name in the message, raw; for what the engine itself reads."""
        for candidate in self.parsed.segments:  # the first one, for MSH and H
            if candidate.name == segment:
                if self.trace is not None:
                    self.trace.source(candidate, number)
                return candidate.get(number)
        return ""

    def get(self, segment: Segment, number: int) -> str:
        """A field as sent, for a function that reads it: a trace names it as a source."""
        if self.trace is not None:
            self.trace.read(segment, number, 0)
        return segment.get(number)

    def is_beside_orders(self, number: str) -> bool:
        """Whether a patient number is the number of an order or specimen of the same patient as well."""
        if self._order_numbers is None:
            fields = [
                "\x1f".join(segment.fields[2:5]) for segment in self.parsed.segments if segment.name in _ORDER_NUMBERS
            ]
            self._order_numbers = "\x1f".join(fields)
        # As sent, a number is in its field literally, except for escapes.
        if (
            len(self._order_numbers) < _SEARCHED
            and number not in self._order_numbers
            and self.X not in self._order_numbers
        ):
            return False
        return number in self._beside_orders

    @cached_property
    def _beside_orders(self) -> set[str]:
        """Patient numbers that are the number of an order or specimen of the same patient as well."""
        name = PATIENTS[self.parsed.format]
        found, patient = set[str](), set[str]()
        for segment in self.parsed.segments:
            if segment.name == name:
                patient = set(self.numbers_in(segment, PLACES[name]))
            elif patient and segment.name in _ORDER_NUMBERS:
                found |= patient.intersection(self.numbers_in(segment, _ORDER_NUMBERS[segment.name]))
        return found

    def numbers_in(self, segment: Segment, fields: Iterable[int]) -> Iterable[str]:
        """The numbers in some fields of a segment; an O record may have a rack and a position before it."""
        for number in fields:
            field = segment.get(number)
            if field.isalnum():
                yield field
                continue
            for raw in field.split(self.R) if field else ():
                parts = raw.split(self.C) if segment.name == "O" else [raw]
                if text := self.text(parts[2] if len(parts) > 2 and self.present(parts[2]) else parts[0]):
                    yield text

    def _message_time(self) -> str:
        segments = self.parsed.segments
        number = 7 if self.hl7 else 14
        if not segments or len(segments[0].fields) <= number:
            return ""
        return self.text(segments[0].fields[number]) or ""

    # -- settings, systems ---------------------------------------------------------------------------------------

    def setting(self, name: str) -> str | None:
        value = self.settings.get(name)
        if value is None or isinstance(value, (list, dict, tuple)):
            return None
        return str(value) or None

    def policy(self, name: str) -> str:
        """The channel's policy, else the mapping's, for a case with several answers."""
        return str(self.settings.get(name) or self.policies.get(name, ""))

    def namespace(self, name: str) -> str:
        """The system that the site gives a sender's own namespace, else one of ours that says whose it is."""
        known = self.context.namespaces.get(name)
        if known:
            return known
        if self.hl7:
            facility = self.text(self.field("MSH", 4)) or ""
        else:
            facility = self.context.channel
        self.note("NAMESPACE", f"no entry in `namespaces:` for an assigner of {'MSH-4' if self.hl7 else 'the channel'}")
        return _namespace(facility, name)

    @property
    def own_system(self) -> str | None:
        """A system for numbers without their authority: the site's entry for the sending facility, else the channel's.

        MSH-4 alone is not enough: by default, every analyzer of a maker sends the same one.
        """
        namespaces = self.context.namespaces
        if namespaces and self.hl7:
            known = namespaces.get(self.text(self.field("MSH", 4)) or "")
            if known:
                return known
        channel = self.context.channel
        return f"urn:labrelay:ns:{quoted(channel)}" if channel else None

    # -- issues --------------------------------------------------------------------------------------------------

    @property
    def place(self) -> str:
        """The current place of the mapping: ``OBX[3]``."""
        return f"{self.at.name}[{self.at.ordinal}]" if self.at is not None else ""

    @property
    def rule(self) -> str:
        """``lab.yaml:31``: the rule whose code is running. Walks the stack, so for issues only."""
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename == GENERATED:
                return self._rule_of(frame)
            if frame.f_back is None:
                break
            frame = frame.f_back
        return ""

    def place_of(self, field: str) -> str:
        """The place of a field that a rule reads: ``OBX[3]-8`` in the segment of the innermost loop, else ``PV1-2``."""
        segment, mark, number = field.partition("-")
        if self.at is None or segment != self.at.name or not number.replace(".", "").isdigit():
            return field or self.place
        return f"{self.place}{mark}{number}"

    def warn(self, code: str, text: str, *, severity: str = "warning", field: str = "") -> None:
        """Note something that a person should see; never patient data. ``field``: the one it is about, if known."""
        self.noted += 1
        place = self.place_of(field)
        key = (code, place, text)
        if key in self._seen_issues or len(self.issues) >= MAX_ISSUES:
            return
        self._seen_issues.add(key)
        self.issues.append(Issue(code=code, text=text, place=place, rule=self.rule, severity=severity))

    def _warn_of_time(self, code: str, text: str, sent: str) -> None:
        """Warn about a time at each field that it came in: once for a field of several segments, with their number."""
        self.noted += 1
        offset = self.times.message_offset
        places = self._times_sent.get(sent, {}) | self._times_sent.get(f"{sent}{offset}", {})
        # Once for each time: a hostile message may have the same one in each of its segments.
        once = (code, text, sent, 0 if places or self.at is None else self.at.position)
        if once in self._warned_times or len(self.issues) >= MAX_ISSUES:
            return
        self._warned_times.add(once)
        if not places and self.at is not None:
            for given in (sent, f"{sent}{offset}"):
                places |= places_in(self.at, self.parsed.format, (self.R, self.C), self.text, given)
        for (name, number, component), segments in places.items():
            more = f"; the same in {len(segments) - 1} more {name}" if len(segments) > 1 else ""
            part = f".{component}" if component > 1 else ""
            self.warn(code, f"{text}{more}", field=f"{name}[{segments[0].ordinal}]-{number}{part}")
        if not places:  # a rule made it
            self.warn(code, text)

    @cached_property
    def _times_sent(self) -> dict[str, Places]:
        return times_in(self.parsed, (self.R, self.C), self.text)

    def note(self, code: str, text: str) -> None:
        """As `warn`, for what is worth knowing and no fault: for `explain` only, which traces."""
        if self.trace is not None:
            self.warn(code, text, severity="note")

    def dead(self, reason: ReasonCode, text: str, field: int | str = 0) -> ContentError:
        """The error that makes this message a dead letter, to be raised. ``field`` is the one it is about: its number
        in the segment at hand, or as a rule reads it (``PV1-2``)."""
        place = self.place_of(field) if isinstance(field, str) else self.place
        if place and field and isinstance(field, int):
            place = f"{place}-{field}"
        rule = self.rule
        return ContentError(reason, f"{text} ({rule})" if rule else text, place=place)

    def bad_value(self, text: str) -> None:
        """A value that cannot be converted: left out with a warning, or dead where the policy says so."""
        if self.policy("bad_value") == "dead":
            raise self.dead(ReasonCode.BAD_VALUE, text)
        self.warn("BAD_VALUE", text)

    def required(self, element: str) -> None:
        """A required element has no value: the message is dead, never a broken resource."""
        raise self.dead(ReasonCode.REQUIRED_ABSENT, f"{element} has no value")

    def only(self, values: list[Any], element: str) -> Any:
        """The first of several values for an element that takes one."""
        if len(values) > 1:
            self.warn("TOO_MANY", f"{element} takes one value and got {len(values)}; the first was taken")
        return values[0]

    def not_a_code(self, element: str) -> None:
        """A code that the element's required binding does not have: left out."""
        self.bad_value(f"{element} cannot have this code; left out")

    # -- results that do not become observations -----------------------------------------------------------------

    def filter_out(self, group: Group, name: str) -> None:
        """Account for the results of a group that a filter takes out (a control, not a patient's)."""
        wanted = RESULT_SEGMENT[self.parsed.format]
        found = 0
        waiting = [group]
        while waiting:
            inner = waiting.pop()
            for segment in inner.segments.get(wanted, ()):
                self.accounted[segment.position] = None
                if name == CONTROLS:
                    self.controls.append(segment.position)
                found += 1
            for groups in inner.groups.values():
                waiting.extend(groups)
        self.filtered[name] = self.filtered.get(name, 0) + found

    def attach(self, segment: Segment, whole: bool) -> None:
        """Account for a result that is a document: it went into a report, or it cannot be read and is left out."""
        self.accounted[segment.position] = None
        if whole:
            self.attached += 1
        else:
            self.declared_drops += 1

    def drop(self, group: Group) -> None:
        """Account for the results of a group that a rule leaves out on purpose."""
        before = self.filtered.copy()
        self.filter_out(group, "")
        self.declared_drops += self.filtered[""] - before.get("", 0)
        self.filtered = before
