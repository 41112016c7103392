"""The fields of a message: their names, values and places in its text, and what a mapping made of each. Pure.

A place is written as explanations write it: ``PID[1]-3.1``; people see ``PID-3.1``, or ``OBX[2]-5`` where the message
has several such segments. The second and later repetitions of a field have the place of the first one.

Names of fields and components as the standards have them: HL7 v2 (`PID-3.1`: ID number), ASTM E1394 (`O-3`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from engine.mapping.explanations.explaining import Leaf
from engine.model.message import Parsed, Segment
from engine.model.tables import table_lines

_SOURCE = re.compile(r"[A-Z][A-Z0-9]{0,2}\[\d+\]-\d+(?:\.\d+)*")
_SLUG = re.compile(r"[^A-Za-z0-9]+")
_HEADS = {"MSH": 2, "FHS": 2, "BHS": 2, "H": 2}  # fields up to here declare delimiters


@dataclass(frozen=True, slots=True)
class Place:
    """A field or a component with a value.

    Attributes:
        name: ``PID[1]-3.1``. shown: as people see it. meaning: its name in the standard; empty without one.
        level: 1 a field, 2 a component.
        anchor: its id on a page.
        leaves: the values of documents that were made of it.
    """

    name: str
    shown: str
    meaning: str
    value: str
    level: int
    anchor: str
    leaves: Sequence[Leaf] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a line of a message's text; ``place``: None for what belongs to no field."""

    text: str
    place: Place | None = None


@dataclass(slots=True)
class MessageTree:
    """A parsed message as places.

    Attributes:
        places: in the order of the message, at most as many as were asked for.
        more: there are more of them.
    """

    parsed: Parsed
    places: list[Place] = field(default_factory=list)
    more: bool = False

    @classmethod
    def of(cls, parsed: Parsed, leaves: Iterable[Leaf], *, most: int) -> "MessageTree":
        made = _by_source(leaves)
        tree = cls(parsed)
        found = _members(parsed.tree, "$", made) if parsed.tree is not None else _fields(parsed, made)
        for place in found:
            if len(tree.places) == most:
                tree.more = True
                break
            tree.places.append(place)
        return tree

    @property
    def anchors(self) -> Mapping[str, str]:
        """Name of a place -> its id on the page."""
        return {place.name: place.anchor for place in reversed(self.places)}

    def pieces(self, text: str) -> Iterator[Sequence[Piece]]:
        """The lines of the message's text, each in pieces."""
        by_anchor = {place.anchor: place for place in self.places}
        cut = {place.name.rpartition(".")[0] for place in self.places if place.level > 1}
        at = 0
        line: list[Piece] = []
        for one in fields_of(text, self.parsed) if self.parsed.tree is None else ():
            *whole, rest = text[at : one.start].split("\n")
            for before in whole:
                yield [*line, Piece(before)] if before else line
                line = []
            line += [Piece(rest)] if rest else []
            value, known = text[one.start : one.end], by_anchor.get(_anchor(one.name))
            line += self._parts(value, one.name, by_anchor) if one.name in cut else [Piece(value, known)]
            at = one.end
        *whole, rest = text[at:].split("\n")
        for before in (*whole, rest):
            yield [*line, Piece(before)] if before else line
            line = []

    def _parts(self, text: str, name: str, by_anchor: Mapping[str, Place]) -> Iterator[Piece]:
        marks = self.parsed.delimiters
        repetition = component = 1
        for part in re.split(f"([{re.escape(marks.component + marks.repetition)}])", text):
            if part == marks.repetition:
                repetition, component = repetition + 1, 1
            elif part == marks.component:
                component += 1
            if part:
                known = by_anchor.get(_anchor(f"{name}.{component}", repetition))
                yield Piece(part, None if part in (marks.repetition, marks.component) else known)


def source_of(text: str) -> str:
    """The place in a source as explanations name it (``R[3]-4 (line 14)``); empty where it is none, as a setting."""
    match = _SOURCE.match(text)
    return match[0] if match is not None else text if not text.startswith(("setting(", "table ")) else ""


def shown(name: str, counts: Mapping[str, int]) -> str:
    """A place as people see it. ``counts``: how many segments of each name the message has."""
    segment, bracket, rest = name.partition("[1]")
    return f"{segment}{rest}" if bracket and counts.get(segment, 1) == 1 else name


def counts_of(parsed: Parsed) -> Mapping[str, int]:
    return Counter(segment.name for segment in parsed.segments)


def _by_source(leaves: Iterable[Leaf]) -> Mapping[str, Sequence[Leaf]]:
    made: defaultdict[str, list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        for source in dict.fromkeys(map(source_of, leaf.sources)):
            made[source].append(leaf)
    return made


def _anchor(name: str, repetition: int = 1) -> str:
    return f"f-{_SLUG.sub('-', name)}" + (f"-r{repetition}" if repetition > 1 else "")


def _is_cut(value: str, parsed: Parsed) -> bool:
    marks = parsed.delimiters
    return any(mark and mark in value for mark in (marks.component, marks.repetition))


def _fields(parsed: Parsed, made: Mapping[str, Sequence[Leaf]]) -> Iterator[Place]:
    counts = counts_of(parsed)
    for segment in parsed.segments:
        first = 1 if parsed.format == HL7 else 2  # the type letter is field 1 of ASTM
        for number in range(first, len(segment.fields)):
            if segment.fields[number].strip():
                yield from _field(parsed, segment, number, counts, made)


def _field(
    parsed: Parsed, segment: Segment, number: int, counts: Mapping[str, int], made: Mapping[str, Sequence[Leaf]]
) -> Iterator[Place]:
    name, value = f"{segment.name}[{segment.ordinal}]-{number}", segment.fields[number]
    parts = list(_components(value, parsed)) if number > _HEADS.get(segment.name, 0) else []
    # A field without components is its own first one.
    leaves = made.get(name, ()) if parts else [*made.get(name, ()), *made.get(f"{name}.1", ())]
    meaning = name_of(parsed.format, segment.name, number)
    yield Place(name, shown(name, counts), meaning, value, 1, _anchor(name), leaves)
    for repetition, component, part in parts:
        inner = f"{name}.{component}"
        said = shown(inner, counts) + (f" ({repetition})" if repetition > 1 else "")
        meaning = name_of(parsed.format, segment.name, number, component)
        yield Place(inner, said, meaning, part, 2, _anchor(inner, repetition), made.get(inner, ()))


def _components(value: str, parsed: Parsed) -> Iterator[tuple[int, int, str]]:
    """Repetition, number and value of each component; none where the field has no parts."""
    if not _is_cut(value, parsed):
        return
    marks = parsed.delimiters
    for repetition, text in enumerate(value.split(marks.repetition) if marks.repetition else [value], 1):
        for component, part in enumerate(text.split(marks.component) if marks.component else [text], 1):
            if part:
                yield repetition, component, part


def _members(value: Any, name: str, made: Mapping[str, Sequence[Leaf]]) -> Iterator[Place]:
    """The values of JSON, by their paths."""
    inside: Iterable[tuple[str, Any]]
    if isinstance(value, dict):
        inside = ((f"{name}.{key}", one) for key, one in value.items())
    elif isinstance(value, list):
        inside = ((f"{name}[{at}]", one) for at, one in enumerate(value))
    else:
        yield Place(name, name, "", "" if value is None else str(value), 1, _anchor(name), made.get(name, ()))
        return
    for inner, one in inside:
        yield from _members(one, inner, made)


HL7 = "hl7v2"


def name_of(message_format: str, segment: str, field: int, component: int = 0) -> str:
    """In English; empty where the standard has none.

    Args:
        component: 0: of the field itself.
    """
    if message_format != HL7:
        return "" if component else _part("astm", segment, field)
    kind, _, name = _part("hl7", segment, field).partition(" ")
    if not component:
        return name
    return _part("hl7", f"={kind}", component).partition(" ")[2]


def _part(table: str, line: str, number: int) -> str:
    parts = _lines(table).get(line, "").split("|")
    return parts[number - 1] if 0 < number <= len(parts) else ""


@cache
def _lines(table: str) -> dict[str, str]:
    split = (line.partition("|") for line in table_lines(__file__, f"data/{table}_names.txt"))
    return {name: rest for name, _, rest in split}


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
        return [Field(match.start(), match.end(), f"line {at}") for at, match in _text_lines(text)]
    return list(_segment_fields(text, parsed))


def _text_lines(text: str) -> Iterator[tuple[int, re.Match[str]]]:
    """The lines that say something, with their numbers."""
    number, end = 1, 0
    for match in _LINE.finditer(text):
        gap = text[end : match.start()]
        number += len(re.findall(r"\r\n|\r|\n", gap))
        end = match.end()
        yield number, match


def _segment_fields(text: str, parsed: Parsed) -> Iterator[Field]:
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
