"""HL7 v2 messages in the bar encoding (ER7): the `engine.model.ports.Format` that the registry knows as ``hl7v2``.
Pure.

    message  = segment { CR segment }        LF and CRLF are read as CR; empty lines and a byte order mark are skipped
    segment  = name { | field }              split here; repetitions, components and escapes when they are read

Its parts: `header` (MSH from the bytes), `batch` (several messages in one block), `charset`, `binding` (who
belongs to whom), `text` (components, escapes), `acknowledgement`. Source: HL7 v2.5 chapter 2.
"""

import re
from dataclasses import astuple
from functools import lru_cache

from adapters.codecs.hl7v2.batch import split
from adapters.codecs.hl7v2.binding import GRAMMARS, bind, structure_for, structure_without_event
from adapters.codecs.hl7v2.charset import declared_set, decode
from adapters.codecs.hl7v2.header import (
    BAD_DELIMITERS,
    NO_MSH,
    Msh,
    event_code,
    header,
    message_type,
    read_msh,
    structure_code,
    type_code,
)
from adapters.codecs.hl7v2.text import components, has_unread_escape, repetitions, subcomponents, unescape
from engine.model.errors import ContentError
from engine.model.message import Delimiters, FormatOptions, Issue, Parsed, Segment
from engine.model.texts.reasons import ReasonCode

__all__ = ["GRAMMARS", "components", "header", "parse", "repetitions", "split", "subcomponents", "unescape"]

UNESCAPED_NEWLINES = "unescaped_newlines"  # the fix: a line that starts no segment continues the field before it

# Of one message. Each part of a field takes a byte or two on the wire and a hundred in memory; what these allow is
# mapped in about 2 s and 300 MB.
MAX_SEGMENTS = 25_000
MAX_DELIMITERS = 400_000

_UNREAD_ESCAPE = r"an escape (\X..\) is no text in the character set of the message, and was kept as it came"
_UNREAD_ESCAPE += "; where MSH-18 is empty, cp1252 in the channel's `charset` reads it"
_BLANK = " \t\x00\x1a\ufffd"
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}").fullmatch
_COMMON = frozenset().union(*(grammar.segments for root in GRAMMARS.values() for grammar in root.walk()))
# Control characters that no FHIR string may hold; ESC (0x1B) is part of ISO 2022 text and is gone once decoded.
_CONTROLS = bytes(code for code in range(0x20) if code not in b"\t\n\r")
_REPLACEMENT = dict.fromkeys(_CONTROLS, "\ufffd")


def parse(payload: bytes, options: FormatOptions) -> Parsed:
    """Read the whole message: decode it, split it into segments, and bind these into groups.

    Fields stay escaped and unsplit; control characters in them are replaced by U+FFFD.

    Raises:
        ContentError: UNREADABLE (no usable MSH, or a line that starts no segment), UNKNOWN_CHARSET.
    """
    msh = read_msh(payload)
    if msh.problem:
        place = "" if msh.problem == NO_MSH else "MSH-2" if msh.problem == BAD_DELIMITERS else "MSH-10"
        raise ContentError(ReasonCode.UNREADABLE, msh.problem, place=place)
    delimiters = msh.delimiters
    declared = declared_set(msh.field(18), delimiters.repetition, payload)
    text, charset, warnings = decode(payload, declared, options.charsets)
    if len(payload.translate(None, _CONTROLS)) != len(payload):
        text = _without_controls(text, warnings)
    join_lines = UNESCAPED_NEWLINES in options.fixes
    lines = _lines(text, msh, join_lines)
    if has_unread_escape(text, delimiters, charset):
        warnings.append(Issue(code="UNREAD_ESCAPE", text=_UNREAD_ESCAPE))
    repeats = bool(delimiters.repetition) and text.count(delimiters.repetition) > 1  # one is in MSH-2
    del text  # of a large message there are its bytes, and soon its fields
    segments, names = _segments(lines, delimiters.field, join_lines, warnings)
    first = segments[0].fields + [""] * 11
    kind, event, declared_structure, *_ = [part.strip() for part in components(first[9], delimiters)[:3]] + ["", "", ""]
    structure = _structure(kind, event, declared_structure)
    if not event and structure not in GRAMMARS and (found := structure_without_event(kind, segments)):
        structure = found
        warnings.append(Issue(code="NO_EVENT", text=f"MSH-9 names no event; read as {structure}", place="MSH-9"))
    root, misplaced = bind(structure, segments, specimen_obx=options.spm_obx == "specimen")
    return Parsed(
        format="hl7v2",
        structure=structure,
        message_type=message_type(first[9][:64], delimiters.component),
        delimiters=delimiters,
        root=root,
        segments=segments,
        charset=charset,
        control_id=first[10].strip(),
        warnings=warnings + misplaced if misplaced else warnings,
        repeats=repeats,
        names=names,
    )


@lru_cache(maxsize=256)
def _structure(kind: str, event: str, declared: str) -> str:
    """The structure that MSH-9 names; parts that are no codes are left out."""
    return structure_for(f"{type_code(kind)}^{event_code(event)}^{structure_code(declared)}")


_MANY_LINES = 1000  # from here on equal fields are one object: of 22,000 results that is 5 MiB


def _lines(text: str, msh: Msh, join_lines: bool) -> list[str]:
    if not text.startswith("MSH"):
        text = text.lstrip("\ufeff\ufffd \t\r\n")
        if not text.startswith("MSH"):
            raise ContentError(ReasonCode.UNKNOWN_CHARSET, "decoded as the channel says, it does not begin with MSH")
    if "\n" in text:
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    if text.count("\r") > MAX_SEGMENTS or (len(text) > MAX_DELIMITERS < _count_delimiters(text, msh.delimiters)):
        raise ContentError(
            ReasonCode.TOO_LARGE, f"more than {MAX_SEGMENTS} segments or {MAX_DELIMITERS} delimiters and escapes"
        )
    lines = text.split("\r")
    return _joined(lines, msh.delimiters.field) if join_lines else lines


def _segments(
    lines: list[str], separator: str, join_lines: bool, warnings: list[Issue]
) -> tuple[list[Segment], dict[str, list[Segment]]]:
    """All segments, and those of each name. ``lines`` is empty afterwards: a line goes as its fields come."""
    segments: list[Segment] = []
    names: dict[str, list[Segment]] = {}
    many, share = len(lines) > _MANY_LINES, dict[str, str]().setdefault
    lines.reverse()
    for number in range(1, len(lines) + 1):
        line = lines.pop()
        fields = line.split(separator)
        if many:
            fields = [*map(share, fields, fields)]
        name = fields[0]
        if name not in _COMMON or (name == "MSH" and segments):
            if not line.strip(_BLANK):
                continue
            name = fields[0] = _odd_name(fields, number, warnings)
        same = names.get(name)
        if same is None:
            same = names[name] = []
        segment = Segment(name, fields, len(segments) + 1, len(same) + 1)
        segments.append(segment)
        same.append(segment)
    segments[0].fields.insert(1, separator)  # MSH-1 is the separator itself
    if join_lines:
        warnings += [_joined_warning(segment) for segment in segments if any("\n" in text for text in segment.fields)]
    return segments, names


def _odd_name(fields: list[str], line: int, warnings: list[Issue]) -> str:
    """The segment name of a line that does not begin with one that we know."""
    name = fields[0].strip(_BLANK) if len(fields) == 1 else fields[0].lstrip(_BLANK)
    if name == "MSH":
        raise ContentError(ReasonCode.UNREADABLE, f"line {line} begins another message; a batch must be split first")
    if not _NAME(name):
        raise ContentError(ReasonCode.UNREADABLE, f"line {line} does not start with a segment name")
    if name != fields[0]:
        warnings.append(Issue(code="LEADING_BLANKS", text="blanks around a segment name", place=name))
    return name


def _count_delimiters(text: str, delimiters: Delimiters) -> int:
    """With escape characters: each escape sequence costs about as much as a component."""
    return sum(text.count(separator) for separator in astuple(delimiters) if separator)


def _joined(lines: list[str], separator: str) -> list[str]:
    """The fix for line ends that a sender did not escape: a line that starts no segment goes on with the last field.

    A line of three letters alone is text here, unless it is the name of a segment.
    """
    joined: list[list[str]] = []
    for line in lines:
        name, bar, _ = line.partition(separator)
        name = name.strip(_BLANK)
        if not joined or name in _COMMON or (bar and _NAME(name)):
            joined.append([line])
        elif line.strip(_BLANK):
            joined[-1].append(line)
    return ["\n".join(parts) for parts in joined]


def _joined_warning(segment: Segment) -> Issue:
    place = f"{segment.name}[{segment.ordinal}]"
    return Issue(code="UNESCAPED_NEWLINE", text="a line was joined to the field before it", place=place)


def _without_controls(text: str, warnings: list[Issue]) -> str:
    cleaned = text.rstrip("\x00\x1a").translate(_REPLACEMENT)
    if cleaned != text.rstrip("\x00\x1a"):
        warnings.append(Issue(code="CONTROL_CHARACTER", text="control characters were replaced by U+FFFD"))
    return cleaned
