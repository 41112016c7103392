"""Read messages from files: HL7 v2 or ASTM, framed or bare, one or many, or one of JSON; recognised from the bytes.

For the verbs that work on files; the daemon knows its formats from the channel.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.config import registry
from engine.mapping.loading import Chosen, load
from engine.mapping.measured import Reading
from engine.mapping.program import Program
from engine.mapping.shipped import READER_TABLES, READERS, mapping_for, refusal
from engine.mapping.trying import capture
from engine.mapping.trying.facts_compared import differing
from engine.mapping.values.local_time import LocalTimes, parse_instant, silent
from engine.model.content.facts import Facts
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Issue, MapContext, Mapped, Parsed
from engine.model.ports import Format
from engine.model.texts.reasons import ReasonCode

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
