"""Find the fields of a message in its text, for a page to name or to highlight them. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.model.message import Parsed

HL7 = "hl7v2"
MAX_FIELDS = 50_000
_BEFORE = "\ufeff\0\t\v\x1a "  # characters that may precede a segment
_LINE = re.compile(r"[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Field:
    """A field with content; ``name`` as explanations call it (``OBX[3]-5``), or ``line 14`` of another kind of text."""

    start: int
    end: int
    name: str


def fields_of(text: str, parsed: Parsed) -> list[Field]:
    """The fields of a message in its text, in order.

    Segments are taken as the parser numbered them, so that a line which it joined to the one before, or left out, moves
    no other. A text that was read into records of another format has lines.
    """
    if parsed.places:
        return [Field(match.start(), match.end(), f"line {at}") for at, match in _lines(text)]
    return list(_fields(text, parsed))


def _lines(text: str) -> Iterator[tuple[int, re.Match[str]]]:
    """The lines that say something, with their numbers."""
    number, end = 1, 0
    for match in _LINE.finditer(text):
        gap = text[end : match.start()]
        number += len(re.findall(r"\r\n|\r|\n", gap))
        end = match.end()
        yield number, match


def _fields(text: str, parsed: Parsed) -> Iterator[Field]:
    separator = parsed.delimiters.field
    waiting = iter(parsed.segments)
    segment = next(waiting, None)
    count = 0
    for match in _LINE.finditer(text):
        line = match[0].lstrip(_BEFORE)
        start = match.end() - len(line)
        parts = line.split(separator)
        if segment is None or count > MAX_FIELDS:
            return
        if parts[0].strip()[: len(segment.name)].upper() != segment.name:
            continue  # a continuation, an addendum, or noise
        # E1394 counts the type letter as field 1, HL7 the separator itself as MSH-1.
        shift = 1 if parsed.format != HL7 or segment.name == "MSH" else 0
        name = f"{segment.name}[{segment.ordinal}]"
        for number, part in enumerate(parts):
            if part.strip():
                yield Field(start, start + len(part), f"{name}-{number + shift}" if number else name)
                count += 1
            start += len(part) + len(separator)
        segment = next(waiting, None)
