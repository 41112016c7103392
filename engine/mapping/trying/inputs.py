"""Read messages from files: HL7 v2 or ASTM, framed or bare, one or many, or one of JSON; recognised from the bytes.

For the verbs that work on files; the daemon knows its formats from the channel.

Facts and the document of a mapping, place by place: whether both say the same of each result (`FACTS_DIFFER`).

What judges reads facts, and what is delivered is the document. A mapping may leave a result out, and may say less of
it; what it does say is compared: status, codes, digits, words, unit, time, tube and patient. Of lists and of HL7 v2,
which name these as they like, the status and the number. No text here names a value.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
from orjson import Fragment

from engine.config import registry
from engine.mapping.functions.coding import codes_in
from engine.mapping.language.targets import Target
from engine.mapping.loading import Chosen, load
from engine.mapping.measured import Reading
from engine.mapping.outputs.collected import Part
from engine.mapping.program import Program
from engine.mapping.shipped import READER_TABLES, READERS, mapping_for, refusal
from engine.mapping.trying import capture
from engine.mapping.values.json_text import as_text
from engine.mapping.values.local_time import LocalTimes, parse_instant, silent
from engine.model.content.facts import LEFT_OUT, Facts, Order, Person, Result
from engine.model.errors import ContentError
from engine.model.journal.document_facts import OWN_SYSTEM
from engine.model.message import FormatOptions, Issue, MapContext, Mapped, Parsed
from engine.model.ports import Format
from engine.model.texts.reasons import ReasonCode

PART = "isolate"  # the code of the tag that the head of a culture has
_ENCLOSED = ("document", "picture", "data")
_HL7_STATES = {"F": "final", "P": "preliminary", "C": "corrected", "X": "cancelled", "W": "entered-in-error"}

Json = dict[str, Any]
Said = dict[str, Any]  # what is compared -> how it is written


def differing(facts: Facts, mapped: Mapped, parsed: Parsed, target: Target) -> Iterator[Issue]:
    """What the only document of a message says otherwise than its facts."""
    if not mapped.documents:
        return
    name = "OBX" if parsed.format == "hl7v2" else "R"
    positions = {one.ordinal: one.position for one in parsed.segments if one.name == name}
    resources = _resources(mapped.documents[0].body) if target.kind == "fhir" else {}
    heads = _heads(mapped, parsed, resources)
    for person, order, result in facts.results():
        made = mapped.places.get(positions.get(result.place, 0))
        if made is None or result.kind in _ENCLOSED:
            continue
        if result.kind == LEFT_OUT:
            yield _issue(name, result, "the facts leave it out, and the document has it")
            continue
        if isinstance(made, Part):
            told, meant = _of_part(made, target), _in_short(result)
        else:
            observation = resources.get(made.get("reference", ""), {})
            told, meant = _of_observation(observation, resources), _in_full(person, order, result)
            told["head"] = heads.get(made.get("reference", ""))
            _compare_as_text(told, result)
        for what in sorted(told.keys() & meant.keys()):
            if not _agrees(what, told[what], meant[what]):
                yield _issue(name, result, f"{what}: the document says another than the facts")


def _compare_as_text(told: Said, result: Result) -> None:
    """A value that the document has as text is compared as that."""
    value, unit = result.value, result.measure.unit
    if "words" in told and unit:  # a number that stays text keeps its unit
        told["words"] = told["words"].replace(f" {unit}", "")
    if "words" in told and told["words"] in (value.sent, value.number):
        for what in ("words", "digits", "comparator", "unit"):
            del told[what]


def _agrees(what: str, told: Any, meant: Any) -> bool:
    if (told is None and what in ("tube", "time", "unit")) or (told is False and what == "isolate"):
        return True  # it says less
    match what:
        case "codes":  # it may say fewer
            return set(told) <= set(meant or ())
        case "flags":
            return set(told) <= set(meant)
        case "patient":  # of one who has no number nothing is compared
            return not told or not meant or not set(told).isdisjoint(meant)
        case "status" | "number":  # of a list, which has fewer words for what is no number
            return told in meant
    return bool(told == meant)


def _issue(name: str, result: Result, text: str) -> Issue:
    return Issue(code="FACTS_DIFFER", text=text, place=f"{name}[{result.place}]")


# -- facts -------------------------------------------------------------------------------------------------------------


def _in_full(person: Person, order: Order, result: Result) -> Said:
    measure, value = result.measure, result.value
    return {
        "status": (measure.state,),
        "codes": measure.own if result.misfit else measure.codes,
        "flags": tuple(dict.fromkeys((*result.flags, *((value.call,) if value.call else ())))),
        "digits": value.meant,
        "comparator": value.comparator,
        "unit": measure.ucum if value.number and not (result.misfit or value.unit) else None,
        "words": value.words if not value.code else None,
        "reason for no value": value.missing,
        "time": result.at,
        "head": result.head,
        "isolate": bool(result.isolate),
        "tube": result.tube or _tube(order),
        "patient": tuple(map(_bare, (*((person.number,) if person.number else ()), *(person.others or ())))),
    }


def _tube(order: Order) -> str | None:
    """The number of the only specimen; without one, of the order that it was taken for."""
    numbers = [one.number or one.counted for one in order.samples]
    if len(numbers) != 1:
        return None
    return numbers[0] or order.filler or order.placer


def _in_short(result: Result) -> Said:
    """What a list, or a segment, may say: the status is also that of a value that is none."""
    state, value = result.measure.state, result.value
    texts = (value.number and f"{value.comparator or ''}{value.number}", value.words, value.sent)
    return {
        "status": (state, "cancelled") if value.missing else (state,),
        "number": (None, *(text.replace(" ", "") for text in texts if text)),
    }


# -- documents ---------------------------------------------------------------------------------------------------------


def _resources(body: bytes) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for entry in as_text(body).get("entry", ()):
        resource = entry["resource"]
        found[entry.get("fullUrl", "")] = resource
        found[f"{resource['resourceType']}/{resource.get('id', '')}"] = resource
    return found


def _heads(mapped: Mapped, parsed: Parsed, resources: Mapping[str, Json]) -> dict[str, int]:
    """Reference of a member -> the number of the OBX or R that its head became."""
    found: dict[str, int] = {}
    for position, made in mapped.places.items():
        head = resources.get(made.get("reference", ""), {}) if isinstance(made, dict) else {}
        for member in head.get("hasMember", ()):
            found[member["reference"]] = parsed.segments[position - 1].ordinal
    return found


def _of_observation(observation: Json, resources: Mapping[str, Json]) -> Said:
    quantity = observation.get("valueQuantity", {})
    reason = observation.get("dataAbsentReason", {}).get("coding", [{}])[0].get("code")
    code = observation.get("code", {})
    specimen = resources.get(observation.get("specimen", {}).get("reference", ""), {})
    told: Said = {
        "status": observation.get("status"),
        "codes": tuple(codes_in([code]) or ()) if code.get("coding") else (),
        "flags": tuple(codes_in(observation.get("interpretation", []), "plain") or ()),
        "digits": quantity.get("value"),
        "comparator": quantity.get("comparator"),
        "unit": quantity.get("code"),
        "reason for no value": reason,
        "time": observation.get("effectiveDateTime"),
        "isolate": any(one.get("code") == PART for one in observation.get("meta", {}).get("tag", ())),
        "tube": next((one.get("value") for one in specimen.get("identifier", ())), None),
        "patient": _patient(observation, resources),
    }
    if "valueString" in observation:
        told["words"] = observation["valueString"]
    return told


def _patient(observation: Json, resources: Mapping[str, Json]) -> tuple[str, ...]:
    """The numbers of a patient, without those that LabRelay gives."""
    patient = resources.get(observation.get("subject", {}).get("reference", ""), {})
    sent = (one for one in patient.get("identifier", ()) if one.get("system") != OWN_SYSTEM)
    return tuple(_bare(one.get("value", "")) for one in sent)


def _bare(number: str) -> str:
    """A number without the signs that group its digits (an ABHA number has some)."""
    return "".join(filter(str.isalnum, number))


def _of_part(part: Part, target: Target) -> Said:
    """Of a segment, a row or a record."""
    if part.name == "OBX":
        state = _HL7_STATES.get(str(part.content.get(11)))
        return {"status": state} if state else {}
    said = target.results or {}
    names = {what: said.get(what, ("",))[0].rpartition(".")[2] for what in ("status", "value")}
    told: Said = {}
    if names["status"] in part.content:
        told["status"] = part.content[names["status"]]
    if target.kind == "json":
        number = part.content.get(names["value"])
        if isinstance(number, Fragment):
            told["number"] = f"{part.content.get('comparator', '')}{orjson.dumps(number).decode()}"
    return told


HL7, ASTM, JSON = "hl7v2", "astm", "json"
_MLLP_START, _MLLP_END = b"\x0b", b"\x1c"
_BOM = b"\xef\xbb\xbf"
_BLANKS = b"\x00\t\n\r\x1a "
_HEADERS = (b"MSH", b"FHS", b"BHS")
_ASTM_START = re.compile(rb"[\x05\x02\x04\x06]|[0-7]?[Hh][^0-9A-Za-z\s]")
_HEADER_INSIDE = re.compile(rb"(?:^|[\r\n\x0b])(?:MSH|FHS|BHS)[^0-9A-Za-z\s]")
# H, a delimiter, the other delimiters, and the first one again: an H record behind comments or another sender's noise.
_H_RECORD_INSIDE = re.compile(rb"[\r\n\x02][0-7]?[Hh]([^\w\s])[^\w\s]{2,4}\1")


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """One message in a file.

    Attributes:
        format: ``hl7v2``, ``astm`` or ``json``; empty where the bytes are none of these.
    """

    payload: bytes
    format: str


def detect(data: bytes) -> str:
    """The format that bytes look like; empty where they look like none."""
    start = data.removeprefix(_BOM).lstrip(_BLANKS + _MLLP_START)
    if start.startswith(_HEADERS) or data[:2] in (b"\xff\xfe", b"\xfe\xff") or start[:6] == b"M\0S\0H\0":
        return HL7
    if start.startswith((b"{", b"[")):
        return JSON
    if _ASTM_START.match(start):
        return ASTM
    if _HEADER_INSIDE.search(data[:4096]):
        return HL7
    return ASTM if b"\x02" in data or _H_RECORD_INSIDE.search(data[:4096]) else ""


def messages_in(data: bytes) -> list[FoundMessage]:
    """The messages of a file, in order; bytes that are no message come back as one with an empty format."""
    data = _recorded(data)
    kind = detect(data)
    if kind == ASTM:
        try:
            texts: list[bytes] = _codec(ASTM).text_of_capture(data)
        except ContentError:
            return [FoundMessage(data, "")]
        return [FoundMessage(text, ASTM) for text in texts]
    if kind == HL7:
        return [
            FoundMessage(part, HL7)
            for block in _blocks(data)
            for part in _codec(HL7).split(block)
            if part.strip(_BLANKS)
        ]
    return [FoundMessage(data, kind)]


def _recorded(data: bytes) -> bytes:
    """The bytes that the other side sent, where the file is a recording with times; any other file as it is."""
    try:
        pieces = capture.read(data)
    except ContentError:
        return data
    return capture.received(pieces)


def _codec(name: str) -> ModuleType:
    return registry.load(registry.FORMATS, name)


def _blocks(data: bytes) -> list[bytes]:
    """The content of MLLP blocks, or all of it where there are none."""
    if _MLLP_START not in data and _MLLP_END not in data:
        return [data]
    return [block for block in re.split(rb"[\x0b\x1c]", data) if block.strip(_BLANKS)]


@dataclass(slots=True)
class Mapper:
    """Finds the mapping for each message and gives it its context.

    Attributes:
        search: `mappings` folders.
        mapping: name or path of the one to use; empty for the shipped one that takes the message.
        tables: code tables in place of those that the mapping names.
        options: how to read messages.
        context: facts from outside of the message; the time of receipt and the hash are filled in.
        received: the time of receipt; None for the message's own time.
        message_format: the format of the messages, where a channel says so; None: recognised from the bytes.
    """

    search: Sequence[Path]
    mapping: str = ""
    tables: Chosen | None = None
    options: FormatOptions = field(default_factory=FormatOptions)
    context: MapContext = field(default_factory=MapContext)
    received: datetime | None = None
    message_format: Format | None = None
    _programs: dict[str, Program] = field(default_factory=dict)
    _readers: dict[str, Program] = field(default_factory=dict)

    def look_first_in(self, *folders: Path) -> None:
        """Let files of these folders take the place of others."""
        self.search = (*folders, *self.search)
        self._programs.clear()
        self._readers.clear()

    def program(self, name: str) -> Program:
        """A compiled mapping. Raises ConfigError."""
        if name not in self._programs:
            self._programs[name] = load(name, self.search, tables=self.tables)
        return self._programs[name]

    def read(self, found: FoundMessage) -> Parsed:
        """Parse a message. Raises ContentError."""
        if not found.format and self.message_format is None:
            raise ContentError(ReasonCode.UNREADABLE, "neither HL7 v2 nor ASTM E1394 nor JSON")
        codec: Any = self.message_format or _codec(found.format)
        header = codec.header(found.payload)
        if header.problem:
            raise ContentError(ReasonCode.UNREADABLE, header.problem)
        parsed: Parsed = codec.parse(found.payload, self.options)
        return parsed

    def program_for(self, parsed: Parsed) -> Program:
        """The mapping for a message.

        Raises:
            ContentError: NO_ROUTE or ACCOUNTS, none takes it.
            ConfigError: it is wrong.
        """
        if self.mapping:
            return self.program(self.mapping)
        if name := mapping_for(parsed):
            return self.program(name)
        raise ContentError(*refusal(parsed))

    def facts_of(self, parsed: Parsed, payload: bytes) -> Facts | None:
        """The facts of a message's results; None where it has none, or no shipped reader takes it.

        Raises:
            ContentError: it cannot be read.
            ConfigError: the reader, or a table in place of one of its own, is wrong.
        """
        reader = self._reader(parsed)
        if reader is None:
            return None
        return reader.facts_in(parsed, self.context_for(parsed, payload))

    def reading(self, parsed: Parsed, payload: bytes) -> Reading:
        """What hold rules ask about."""
        return Reading(parsed, partial(self.context_for, parsed, payload), self._reader)

    def _reader(self, parsed: Parsed) -> Program | None:
        name = READERS.get(parsed.format)
        if name is None:
            return None
        if name not in self._readers:
            own = READER_TABLES[parsed.format]
            tables = {table: files for table, files in (self.tables or {}).items() if table in own}
            self._readers[name] = load(name, self.search, tables=tables)
        return self._readers[name] if parsed.structure in self._readers[name].structures else None

    def differing(self, parsed: Parsed, payload: bytes, program: Program, mapped: Mapped) -> list[Issue]:
        """Where the document of a message says another than its facts."""
        if not mapped.places or program.target.kind in ("orders", "results"):
            return []
        try:
            facts = self.facts_of(parsed, payload)
        except ContentError:
            return []
        return [] if facts is None else list(differing(facts, mapped, parsed, program.target))

    def context_for(self, parsed: Parsed, payload: bytes) -> MapContext:
        """The context of one message: with its hash, and its own time where no other is given as that of receipt."""
        received = self.received or own_time(parsed, self.context.timezone)
        return replace(self.context, received_at=received, payload_hash=hashlib.sha256(payload).hexdigest())


def own_time(parsed: Parsed, timezone: str) -> datetime | None:
    """The message's own time (MSH-7, H-14) as an instant, None where it names none."""
    number = 7 if parsed.format == HL7 else 14
    fields = parsed.segments[0].fields if parsed.segments else []
    text = fields[number].strip() if len(fields) > number else ""
    if not text:
        return None
    instant = LocalTimes(text, timezone, silent).datetime(text)
    at = parse_instant(instant) if instant else None
    return at.astimezone(UTC) if at is not None else None
