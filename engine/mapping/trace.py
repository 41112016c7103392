"""What a traced mapping notes while it runs, and the trace that comes of it.

The traced variant of a mapping calls `Tracer` beside doing what the plain one does. A frame of sources is open while a
value is computed; a value computed once and used twice keeps its sources. What the notes say of each value of the
document is worked out where somebody asks for it (`engine.mapping.explaining`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import cached_property
from typing import Any

import orjson

from engine.errors import ContentError
from engine.mapping.explaining import HEADER_FIELDS, Around, Call, Leaf, Noted, Product, explained
from engine.mapping.identity import Json, Making
from engine.mapping.json_text import as_text
from engine.mapping.tables import Row
from engine.message import Issue, MapContext, Mapped, Parsed, Segment


@dataclass(frozen=True)
class Trace:
    """What became of one message and why.

    Attributes:
        unread: fields with content that no rule touched, ``OBX-18`` (of any segment of that name).
        mapped: the outcome, None where the message is dead; then ``error`` says why.
        rules: those that ran.
        explain: gives the leaves; called once, by whoever asks for them first.
    """

    unread: tuple[str, ...]
    issues: tuple[Issue, ...]
    mapped: Mapped | None
    error: ContentError | None
    rules: frozenset[str]
    explain: Callable[[], list[Leaf]] = field(repr=False, compare=False)

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every value of the document with its explanation; of a dead message, of what was made until then."""
        return tuple(self.explain())


Told = tuple[str, str, str]  # rule, name and function of a call, as the compiler writes it


@dataclass(slots=True)
class _Kept:
    """The value of a `let:` or an argument, and what it was made of."""

    told: Told
    frame: "_Frame"


# What a value is made of, in the order it was asked for. Notes are taken for every value of every message that is
# traced, and read for few: here stands only what was at hand. A field is its segment, number and component, a row is a
# row, a text is a source without a field, a table stands by its name in a tuple of one.
_Frame = list[tuple[Segment, int, int] | Row | str | tuple[str] | _Kept]
_Note = tuple[str, str, str, tuple[Told, ...], _Frame | None]  # path, rule, function, uses, None for a literal


class Tracer:
    """Collects the trace of one message; generated code calls it as ``T``."""

    def __init__(self, parsed: Parsed, context: MapContext, mapping: str) -> None:
        self._parsed = parsed
        self._context = context
        self._mapping = mapping
        self._frames: list[_Frame] = []
        self._kept: dict[str, _Kept] = {}
        self._read: set[tuple[str, int]] = set()
        self._open: Product | None = None
        self._key: _Note = ("", "", "", (), None)
        self._noted: list[_Note] = []
        self._products: dict[str, list[tuple[Product, _Note, list[_Note]]]] = {}
        self.rules: set[str] = set()
        self.making: Making | None = None
        self.mapped: Mapped | None = None
        self.error: ContentError | None = None
        self.issues: tuple[Issue, ...] = ()

    # -- called by generated code ------------------------------------------------------------------------------------

    def open(self) -> None:
        """A value is about to be computed."""
        self._frames.append([])

    def read(self, segment: Segment, number: int, component: int) -> None:
        """A field with content was read."""
        self._read.add((segment.name, number))
        if self._frames:
            self._frames[-1].append((segment, number, component))

    def source(self, segment: Segment, number: int) -> None:
        """A field that the engine read for a value: no rule has touched it."""
        if self._frames and len(segment.fields) > number and segment.fields[number].strip():
            self._frames[-1].append((segment, number, 0))

    def setting(self, name: str) -> None:
        """A setting of the channel was asked for."""
        if self._frames:
            self._frames[-1].append(f"setting({name})")

    def row(self, row: Row) -> None:
        if self._frames:
            self._frames[-1].append(row)

    def table(self, name: str) -> None:
        """A code was found in a table of the language. Which one is the message's business."""
        if self._frames:
            self._frames[-1].append((name,))

    def keep(self, variable: str, told: Told) -> None:
        """The value just computed has a name and may be used again."""
        self._kept[variable] = _Kept(told, self._frames.pop())

    def use(self, variable: str) -> None:
        kept = self._kept.get(variable)
        if kept is not None and self._frames:
            self._frames[-1].append(kept)

    def leaf(self, path: str, rule: str, function: str, uses: tuple[Told, ...], value: Any) -> None:
        """A value of an element is computed."""
        frame = self._frames.pop()
        self.rules.add(rule)
        if value is not None and self._open is not None:
            self._noted.append((path, rule, function, uses, frame))

    def fixed(self, path: str, rule: str, uses: tuple[Told, ...]) -> None:
        """An element has a value that is written in the mapping."""
        self.rules.add(rule)
        self._noted.append((path, rule, "", uses, None))

    def item(self, path: str, at: int, value: Any) -> None:
        """An item of a rule's list gave so many values."""
        if self._open is not None:
            self._open.counts[path, at] = 0 if value is None else len(value) if isinstance(value, list | tuple) else 1

    def begin(self, kind: str, request: str, rule: str, uses: tuple[Told, ...]) -> None:
        """A resource begins. What a dropped result left open is closed."""
        self._frames.clear()
        self._noted = []
        self._open = Product(kind, rule, request, _calls(uses))

    def key(self, rule: str, function: str, uses: tuple[Told, ...]) -> None:
        """The key of the resource that was begun last is computed."""
        self._key = ("", rule, function, uses, self._frames.pop())

    def made(self, reference: dict[str, str], resource: Json) -> None:
        """The resource that was begun last is in the document, or joined to one that is."""
        product, self._open = self._open, None
        assert product is not None
        product.elements = dict(resource)
        self._products.setdefault(reference["reference"], []).append((product, self._key, self._noted))

    def abandon(self) -> None:
        """The resource that was begun last exists already."""
        self._open = None

    # -- the result --------------------------------------------------------------------------------------------------

    def trace(self) -> Trace:
        issues = self.mapped.issues if self.mapped is not None else self.issues
        return Trace(self._unread(), issues, self.mapped, self.error, frozenset(self.rules), self._explained)

    def _explained(self) -> list[Leaf]:
        if self.making is None:
            return []
        envelope = [entry["fullUrl"] for entry in self.making.envelope]
        if self.mapped is not None and self.mapped.documents:
            document = as_text(self.mapped.documents[0].body)
        else:  # what there was when the message died, without an envelope
            document = {"resourceType": "Bundle", "entry": as_text(orjson.dumps(self.making.entries))}
        leaves = explained(document, self._written(), envelope, self._around())
        return [self._with_places(leaf) for leaf in leaves] if self._parsed.places else leaves

    def _written(self) -> dict[str, list[Product]]:
        """The resources by fullUrl, with what was noted of them written out."""
        known: dict[int, _Made] = {}
        for products in self._products.values():
            for product, key, notes in products:
                product.key = _noted(key, known)
                product.notes = [_noted(note, known) for note in notes]
        return {url: [product for product, _, _ in products] for url, products in self._products.items()}

    def _around(self) -> Around:
        segments = {segment.name: segment for segment in reversed(self._parsed.segments)}
        fields = {}
        for name in HEADER_FIELDS:
            header, _, number = name.partition("-")
            held = segments[header].fields if header in segments else []
            if len(held) > int(number) and held[int(number)].strip():
                fields[name] = f"{header}[{segments[header].ordinal}]-{number}"
        received = self._context.received_at
        at = "" if received is None else received.astimezone(UTC).isoformat(timespec="milliseconds")
        return Around(fields, self._mapping, at)

    def _with_places(self, leaf: Leaf) -> Leaf:
        return replace(leaf, sources=tuple(map(self._placed, leaf.sources)))

    def _placed(self, source: str) -> str:
        """A source with its place in a text of another kind, where there is one: ``R[3]-4 (line 14)``."""
        place = self._parsed.places.get(source) or self._parsed.places.get(source.partition(".")[0])
        return f"{source} ({place})" if place else source

    def _unread(self) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for segment in self._parsed.segments:
            first = (
                3 if segment.name == "MSH" else 3 if segment.name == "H" else 1 if self._parsed.format == "hl7v2" else 2
            )
            for number in range(first, len(segment.fields)):
                if segment.fields[number].strip() and (segment.name, number) not in self._read:
                    found[f"{segment.name}-{number}"] = None
        return tuple(found)


def _row_text(row: Row) -> str:
    parts = [f"row {row.name}"]
    for name in ("factor", "offset", "digits"):
        if name in row.cells and (name != "factor" or row.factor is not None):
            parts.append(f"{name} {row.cells[name]}")
    return " ".join(parts)


@dataclass(slots=True)
class _Made:
    """What a value is made of, written out; each once."""

    sources: dict[str, None] = field(default_factory=dict)
    rows: dict[str, None] = field(default_factory=dict)
    calls: dict[Call, None] = field(default_factory=dict)


def _noted(note: _Note, known: dict[int, _Made]) -> Noted:
    path, rule, function, uses, frame = note
    if frame is None:
        return Noted(path, rule, function, literal=True, calls=_calls(uses))
    made = made_of(frame, known)
    return Noted(path, rule, function, False, tuple(made.sources), tuple(made.rows), (*_calls(uses), *made.calls))


def made_of(frame: _Frame, known: dict[int, _Made]) -> _Made:
    """What a frame holds; ``known`` is by the identity of frames, which all live as long as the tracer."""
    made = known.get(id(frame))
    if made is not None:
        return made
    made = known[id(frame)] = _Made()
    for part in frame:
        match part:
            case _Kept():
                inner = made_of(part.frame, known)
                made.sources |= inner.sources
                made.rows |= inner.rows
                made.calls |= {Call(*part.told): None, **inner.calls}
            case Row():
                made.rows[_row_text(part)] = None
            case str():
                made.sources[part] = None
            case (str(name),):
                made.rows[f"table {name}"] = None
            case (segment, number, component):
                text = f"{segment.name}[{segment.ordinal}]-{number}"
                made.sources[f"{text}.{component}" if component else text] = None
    return made


def _calls(uses: tuple[Told, ...]) -> tuple[Call, ...]:
    return tuple(Call(*told) for told in uses)
