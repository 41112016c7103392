r"""HL7 v2 messages to bytes, for `hl7v2` to read. Pure.

    fields    {3: {1: "718-7", 3: "LN"}, 5: "148", 8: ["H", "A"]}
    in ER7    OBX|1|NM|718-7^^LN||148|...|H~A

A field is a text, its components by number, or a list of repetitions; a component is a text or its subcomponents by
number. Texts are values: delimiters in them are escaped here, in the message's own encoding characters, line ends as
``\.br\`` where the data type is formatted text and as ``\X0A\`` elsewhere, control characters in hexadecimal, so
that nothing in a value can end a field, a segment or an MLLP block.

Source: HL7 v2.5.1 chapter 2 (2.5.4 delimiters, 2.7 escape sequences, 2.15.9 MSH), table 0354 (message structures).

Check a path such as ``PID-3.4.2`` against the standard: for the linter, never while a message is read. Pure.

The table covers v2.3 to v2.8.2 together, since senders state one version and use fields of another. Only a path that no
version has is a problem, and only where the standard is binding: Z segments and their fields are the sender's, and a
field that holds plain text by the standard may well be divided by an analyzer (``OBX-4.1.2``).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

from adapters.codecs.hl7v2.binding import GRAMMARS, GroupGrammar, bind, structure_for
from adapters.codecs.hl7v2.charset import codec_for
from adapters.codecs.hl7v2.text import LINE_BREAK, escape
from engine.model.errors import ContentError
from engine.model.message import Delimiters, Group, Issue, Segment
from engine.model.tables import table_lines
from engine.model.texts.reasons import ReasonCode

__all__ = ["component_types", "field_types", "path_problem"]  # for the check of mappings, beside what is here

Content = str | dict[int, "Content"] | list["Content"]

MAX_KEPT_SHAPE = 500  # segments of a message whose set IDs are remembered

FORMATTED = frozenset({"FT", "TX"})  # data types in which \.br\ is a line end
SET_ID = "SI"
UTF_8 = "UNICODE UTF-8"

# Fields that the standard requires and without which a segment has no meaning.
REQUIRED: dict[str, tuple[int, ...]] = {
    "EVN": (2,),
    "MRG": (1,),
    "MSA": (1, 2),
    "OBR": (4,),
    "OBX": (3, 11),
    "ORC": (1,),
    "PV1": (2,),
    "SPM": (4,),
    "TXA": (2,),
}
# Required as well, but a sender may not know them, and a receiver may do without: their absence is a warning.
EXPECTED: dict[str, tuple[int, ...]] = {"PID": (3, 5)}

# Table 0354: events whose structure is that of another one.
_STRUCTURES = {
    **dict.fromkeys(("ADT_A04", "ADT_A08", "ADT_A13"), "ADT_A01"),
    **dict.fromkeys(("ADT_A28", "ADT_A31"), "ADT_A05"),
    "ADT_A07": "ADT_A06",
    "ADT_A11": "ADT_A09",
    "ADT_A40": "ADT_A39",
}
_STRUCTURE_SINCE = (2, 3, 1)  # MSH-9.3
_WIDE = ("utf-16", "utf-32", "iso2022")  # bytes of the framing may be parts of a character there
_CONTROLS = frozenset(range(0x20)) - {0x0A, 0x0D}  # line ends have sequences of their own


@dataclass(slots=True)
class Written:
    """A segment on its way out; ``place`` is ``OBX[3]``."""

    name: str
    fields: dict[int, Content] = field(default_factory=dict)
    ordinal: int = 1

    @property
    def place(self) -> str:
        return f"{self.name}[{self.ordinal}]"


def event_type(event: str, version: str = "2.5.1") -> tuple[str, ...]:
    """MSH-9 of an event: ``("ADT", "A08", "ADT_A01")``; without the structure for versions that do not know it."""
    code, _, trigger = event.partition("_")
    number = tuple(int(part) for part in version.split(".") if part.isdigit())
    return (code, trigger, _STRUCTURES.get(event, event)) if number >= _STRUCTURE_SINCE else (code, trigger)


def known_segments(event: str) -> frozenset[str]:
    """The segments that a message of this event can have."""
    return frozenset().union(*(group.segments for group in GRAMMARS[structure_for(event.replace("_", "^", 1))].walk()))


def numbers_itself(segment: str) -> bool:
    """Whether field 1 is a set ID."""
    return field_types(segment)[:1] == (SET_ID,)


def place_type(segment: str, path: Sequence[int]) -> str:
    """The data type at a field, component or subcomponent; empty where the standard does not say."""
    types = field_types(segment)
    found = ""
    for number in path:
        found = _nth(types, number)
        types = component_types(found)
    return found


def delimiters_of(separator: str, encoding: str) -> Delimiters:
    """The delimiters of MSH-1 and MSH-2.

    Raises:
        ValueError: they are not distinct, or occur in the text between them.
    """
    signs = separator + encoding
    if len(separator) != 1 or len(encoding) != 4 or len(set(signs)) != 5:
        raise ValueError("MSH-1 is one sign and MSH-2 four others, each of its own")
    if not signs.isascii() or any(sign.isalnum() or not sign.isprintable() or sign in ' ."+-' for sign in signs):
        raise ValueError("delimiters are visible ASCII signs, no letters or digits and none of . + - and quotes")
    return Delimiters(separator, encoding[0], encoding[1], encoding[2], encoding[3])


def number(segments: Sequence[Written], event: str) -> Sequence[Issue]:
    """Give the segments that have none their set ID, each from 1 within the group around it; say what is misplaced."""
    names = tuple([one.name for one in segments])
    numbered = _numbered if len(names) <= MAX_KEPT_SHAPE else _numbered.__wrapped__
    set_ids, issues = numbered(structure_for(event.replace("_", "^", 1)), names)
    for at, set_id in set_ids:
        segments[at].fields.setdefault(1, set_id)
    return issues


def lines_of(segments: Iterable[Written], delimiters: Delimiters) -> list[str]:
    """Each segment in ER7, without its end; MSH comes first and has its fields from MSH-3 on."""
    writer = _Writer(delimiters)
    return [writer.line(one) for one in segments]


def text_of(segments: Iterable[Written], delimiters: Delimiters) -> str:
    """The message in ER7."""
    return text_of_lines(lines_of(segments, delimiters))


def text_of_lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\r" for line in lines)


def encode(text: str, declared: str) -> bytes:
    """The bytes of a message in the character set that MSH-18 declares.

    Raises:
        ContentError: UNKNOWN_CHARSET: no such character set, or it lacks a character; the place says in which segment.
    """
    codec = codec_for(declared)
    if codec is None or codec.startswith(_WIDE):
        raise ContentError(ReasonCode.UNKNOWN_CHARSET, "a character set that cannot be written", place="MSH-18")
    try:
        return text.encode(codec or "ascii")
    except UnicodeEncodeError as error:
        before = text[: error.start].split("\r")
        name = before[-1][:3] if len(before[-1]) >= 3 else ""
        ordinal = sum(line[:3] == name for line in before)
        what = f"the character set {declared or 'ASCII'} has no sign for a character; declare {UTF_8}"
        raise ContentError(ReasonCode.UNKNOWN_CHARSET, what, place=f"{name}[{ordinal}]") from None


# -- set IDs -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _numbered(structure: str, names: tuple[str, ...]) -> tuple[list[tuple[int, str]], list[Issue]]:
    """The set IDs of a sequence of segments by place, and misplaced segments. A sender has few such sequences."""
    ordinals: dict[str, int] = {}
    bound = []
    for position, name in enumerate(names, 1):
        ordinals[name] = ordinals.get(name, 0) + 1
        bound.append(Segment(name, [], position, ordinals[name]))
    root, issues = bind(structure, bound, specimen_obx=False)
    counted = _counted(root, GRAMMARS[structure])
    return [(at - 1, str(found)) for at, found in counted if numbers_itself(names[at - 1])], issues


def _counted(group: Group, grammar: GroupGrammar) -> Iterator[tuple[int, int]]:
    """(position, set ID) of every segment: among its like in the group, or its group's place among its like."""
    for name, found in group.segments.items():
        if name not in grammar.opens:
            yield from ((segment.position, at) for at, segment in enumerate(found, 1))
    for inner in grammar.groups:
        counts: dict[str, int] = {}
        for one in group.groups.get(inner.name, ()):
            for name in inner.opens:
                for segment in one.segments.get(name, ()):
                    counts[name] = counts.get(name, 0) + 1
                    yield segment.position, counts[name]
            yield from _counted(one, inner)


# -- texts -------------------------------------------------------------------------------------------------------


class _Writer:
    """Writes segments in one set of delimiters. Nearly every text needs no escape, which one search shows."""

    __slots__ = ("_delimiters", "_field", "_needs_escape")

    def __init__(self, delimiters: Delimiters) -> None:
        self._delimiters = delimiters
        self._field = delimiters.field
        self._needs_escape = _needing_escape(delimiters)

    def line(self, one: Written) -> str:
        parts = [one.name]
        fields = one.fields
        if one.name == "MSH":
            signs = self._delimiters
            parts.append(signs.component + signs.repetition + signs.escape + signs.subcomponent)
            fields = {number - 1: content for number, content in fields.items() if number > 2}
        needs, count = self._needs_escape, len(parts)
        for number in sorted(fields):
            content = fields[number]
            if content:
                if number > count:
                    parts += [""] * (number - count)
                if isinstance(content, str) and not needs(content):
                    parts.append(content)
                else:
                    parts.append(self._written(content, one, number))
                count = number + 1
        return self._field.join(parts)

    def _written(self, content: Content, one: Written, number: int) -> str:
        signs = self._delimiters
        if isinstance(content, dict) and (plain := self._plain(content, signs.component)) is not None:
            return plain
        kind = _type_of(one, number)
        if isinstance(content, list):
            return signs.repetition.join([self._part(part, kind, signs.component) for part in content])
        return self._part(content, kind, signs.component)

    def _plain(self, content: dict[int, Content], sign: str) -> str | None:
        """Components that are texts without anything to escape, which most are; None where they are not."""
        needs = self._needs_escape
        parts: list[str] = []
        for number in sorted(content):
            inner = content[number]
            if not isinstance(inner, str) or needs(inner):
                return None
            if inner:
                if number > len(parts) + 1:
                    parts += [""] * (number - len(parts) - 1)
                parts.append(inner)
        return sign.join(parts)

    def _part(self, content: Content, kind: str, sign: str) -> str:
        """A repetition or component: a text, or the parts below it, which ``sign`` separates."""
        needs = self._needs_escape
        if isinstance(content, str):
            return self._escaped(content, kind) if needs(content) else content
        assert isinstance(content, dict)
        parts: list[str] = []
        for number in sorted(content):
            inner = content[number]
            if inner:
                if number > len(parts) + 1:
                    parts += [""] * (number - len(parts) - 1)
                if isinstance(inner, str) and not needs(inner):
                    parts.append(inner)
                else:
                    parts.append(self._part(inner, _nth(component_types(kind), number), self._delimiters.subcomponent))
        return sign.join(parts)

    def _escaped(self, text: str, kind: str) -> str:
        made = escape(text, self._delimiters, line_break=LINE_BREAK if kind in FORMATTED else "X0A")
        if not made.isprintable():
            mark = self._delimiters.escape
            made = made.translate({code: f"{mark}X{code:02X}{mark}" for code in _CONTROLS})
        return made


@lru_cache(maxsize=16)
def _needing_escape(delimiters: Delimiters) -> Callable[[str], object]:
    signs = (
        delimiters.field + delimiters.component + delimiters.repetition + delimiters.escape + delimiters.subcomponent
    )
    return re.compile(f"[\x00-\x1f{re.escape(signs)}]").search


def _type_of(one: Written, number: int) -> str:
    """The data type of a field by its place in the line, which for MSH is one less than its number."""
    if number == 5 and one.name == "OBX" and isinstance(varying := one.fields.get(2), str):
        return varying  # OBX-5 is of the type that OBX-2 names
    return _nth(field_types(one.name), number + (one.name == "MSH"))


def _nth(types: tuple[str, ...], number: int) -> str:
    return types[number - 1] if 0 < number <= len(types) else ""


VARIES = "*"
WITHDRAWN = "-"


@cache
def _segments() -> dict[str, tuple[str, ...]]:
    return _table("segments.txt")


@cache
def _data_types() -> dict[str, tuple[str, ...]]:
    return _table("data_types.txt")


def field_types(segment: str) -> tuple[str, ...]:
    """Data types of a segment's fields, field 1 first; empty for a segment that the standard does not know."""
    return _segments().get(segment, ())


def component_types(data_type: str) -> tuple[str, ...]:
    """Data types of a data type's components; empty where it has none."""
    return _data_types().get(data_type, ())


def path_problem(segment: str, field: int = 0, component: int = 0, subcomponent: int = 0) -> str:
    """Why a path cannot be right, in one sentence; empty if it can. Parts that a path does not have are 0."""
    if segment.startswith("Z"):
        return ""
    fields = field_types(segment)
    if not fields:
        return f"HL7 v2 has no segment {segment}"
    if field > len(fields):
        return f"{segment} has {len(fields)} fields"
    parts = component_types(fields[field - 1]) if field else ()
    if component > len(parts) > 0:
        return f"{segment}-{field} ({fields[field - 1]}) has {len(parts)} components"
    inner = component_types(parts[component - 1]) if component and parts else ()
    if subcomponent > len(inner) > 0:
        return f"{segment}-{field}.{component} ({parts[component - 1]}) has {len(inner)} subcomponents"
    return ""


def _table(name: str) -> dict[str, tuple[str, ...]]:
    lines = table_lines(__file__, name)
    return {name: tuple(types.split()) for name, _, types in (line.partition(": ") for line in lines)}
