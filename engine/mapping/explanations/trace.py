"""The notes of a traced mapping while it runs, and the trace made of them.

The traced variant of a mapping does the same as the plain one and also calls `Tracer`. A frame of sources is open while
a value is computed; a value computed once and used twice keeps its sources. The explanation of each value of the
document is computed from the notes on request (`engine.mapping.explanations.explaining`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import cached_property, lru_cache
from typing import Any

import orjson

from engine.mapping.code_tables.tables import Row
from engine.mapping.explanations import explaining
from engine.mapping.message.identity import BundleBuilder, Json
from engine.mapping.values.json_text import as_text
from engine.model.errors import ContentError
from engine.model.message import Issue, MapContext, Mapped, Parsed, Segment


@dataclass(frozen=True)
class Trace:
    """The outcome of one message, with the reasons.

    Attributes:
        mapped: the outcome, None where the message is dead; then ``error`` says why.
        rules: those that ran.
        explain, look: return the leaves and the unread fields; called once, on first use.
    """

    issues: tuple[Issue, ...]
    mapped: Mapped | None
    error: ContentError | None
    rules: frozenset[str]
    explain: Callable[[], list[explaining.Leaf]] = field(repr=False, compare=False)
    look: Callable[[], tuple[str, ...]] = field(repr=False, compare=False)

    @cached_property
    def leaves(self) -> tuple[explaining.Leaf, ...]:
        """Every value of the document with its explanation; of a dead message, of what was made until then."""
        return tuple(self.explain())

    @cached_property
    def unread(self) -> tuple[str, ...]:
        """Fields with content that no rule touched, ``OBX-18`` (of any segment of that name)."""
        return self.look()


Told = tuple[str, str, str]  # rule, name and function of a call, as the compiler writes it
Span = tuple[int, int]  # what was asked for while a value was computed: from and to in the log

# A field that was read, as the log holds it: its segment's position, its number and component, and its reader.
_POSITION, _NUMBER, _ENGINE = 1 << 41, 1 << 21, 1


class Tracer:
    """Collects the trace of one message; generated code calls it as ``T``.

    Every value of every traced message is noted, and few notes are read. So notes are numbers and existing objects in a
    few long lists: a list or tuple for each of some thousand notes would cost more garbage collection than the mapping
    takes. The log holds, in the order of reading: a field as a number from 0, the value of a `let:` as a number below 0
    (-1 is the first), a row, and any other source or table by its words. The sources of a value are the entries of the
    log between its start and its end.
    """

    def __init__(self, parsed: Parsed, context: MapContext, mapping: str) -> None:
        self._parsed = parsed
        self._context = context
        self._mapping = mapping
        self._log: list[int | str | Row] = []
        self._starts: list[int] = []  # of the values that are being computed, the innermost last
        self._kept: dict[str, int] = {}  # variable -> number of the value that it holds
        self._kept_from: list[int] = []
        self._kept_to: list[int] = []
        self._kept_told: list[Told] = []
        self._open: explaining.Product | None = None
        self._key: list[Any] = []
        self._noted: list[Any] = []  # path, rule, function, uses, start and end of each note; a literal has no start
        self._products: dict[str, list[tuple[explaining.Product, list[Any], list[Any]]]] = {}
        self.rules: set[str] = set()
        self.making: BundleBuilder | None = None
        self.mapped: Mapped | None = None
        self.error: ContentError | None = None
        self.issues: tuple[Issue, ...] = ()

    # -- called by generated code ------------------------------------------------------------------------------------

    def open(self) -> None:
        """A value is about to be computed."""
        self._starts.append(len(self._log))

    def close(self) -> Span:
        """It is."""
        return self._starts.pop(), len(self._log)

    def forget(self) -> None:
        """Whatever was being computed will not be: a result was dropped."""
        self._starts.clear()

    def read(self, segment: Segment, number: int, component: int) -> None:
        """A field with content was read."""
        self._log.append(segment.position * _POSITION + number * _NUMBER + component * 2)

    def tree(self, place: str, *positions: int) -> None:
        """A value of JSON was read; ``place`` has `{}` for each position."""
        self._log.append(place.format(*positions))

    def source(self, segment: Segment, number: int) -> None:
        """A field that the engine read for a value: no rule has touched it."""
        if len(segment.fields) > number and segment.fields[number].strip():
            self._log.append(segment.position * _POSITION + number * _NUMBER + _ENGINE)

    def setting(self, name: str) -> None:
        """A setting of the channel was asked for."""
        self._log.append(f"setting({name})")

    def row(self, row: Row) -> None:
        self._log.append(row)

    def table(self, name: str) -> None:
        """A code was found in a table of the language. Which one is the message's business."""
        self._log.append(f"table {name}")

    def keep(self, variable: str, told: Told) -> None:
        """The value just computed has a name and may be used again."""
        self._kept[variable] = len(self._kept_told)
        self._kept_from.append(self._starts.pop())
        self._kept_to.append(len(self._log))
        self._kept_told.append(told)

    def use(self, variable: str) -> None:
        number = self._kept.get(variable)
        if number is not None:
            self._log.append(-1 - number)

    def leaf(self, path: str, rule: str, function: str, uses: tuple[Told, ...], value: Any) -> None:
        """A value of an element is computed."""
        start = self._starts.pop()
        self.rules.add(rule)
        if value is not None and self._open is not None:
            self._noted += (path, rule, function, uses, start, len(self._log))

    def fixed(self, path: str, rule: str, uses: tuple[Told, ...]) -> None:
        """An element has a value that is written in the mapping."""
        self.rules.add(rule)
        self._noted += (path, rule, "", uses, -1, -1)

    def item(self, path: str, at: int, value: Any) -> None:
        """Note how many values an item of a rule's list gave."""
        if self._open is not None:
            self._open.counts[path, at] = 0 if value is None else len(value) if isinstance(value, list | tuple) else 1

    def begin(self, kind: str, request: str, rule: str, uses: tuple[Told, ...]) -> None:
        """A resource begins. Frames that a dropped result left open are closed."""
        self.forget()
        self._noted = []
        self._open = explaining.Product(kind, rule, request, _calls(uses))

    def key(self, rule: str, function: str, uses: tuple[Told, ...]) -> None:
        """The key of the resource that was begun last is computed."""
        self._key = ["", rule, function, uses, *self.close()]

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
        return Trace(issues, self.mapped, self.error, frozenset(self.rules), self._explained, self._unread)

    def _explained(self) -> list[explaining.Leaf]:
        if self.making is None:
            return []
        envelope = [entry["fullUrl"] for entry in self.making.envelope]
        if self.mapped is not None and self.mapped.documents:
            document = as_text(self.mapped.documents[0].body)
        else:  # what there was when the message died, without an envelope
            document = {"resourceType": "Bundle", "entry": as_text(orjson.dumps(self.making.entries))}
        leaves = explaining.explained(document, self._written(), envelope, self._around())
        return [self._with_places(leaf) for leaf in leaves] if self._parsed.places else leaves

    def _written(self) -> dict[str, list[explaining.Product]]:
        """The resources by fullUrl, with what was noted of them written out."""
        known: dict[int, ValueOrigin] = {}
        for products in self._products.values():
            for product, key, notes in products:
                product.key = self._note(key, 0, known)
                product.notes = [self._note(notes, at, known) for at in range(0, len(notes), 6)]
        return {url: [product for product, _, _ in products] for url, products in self._products.items()}

    def _note(self, notes: list[Any], at: int, known: "dict[int, ValueOrigin]") -> explaining.NotedValue:
        path, rule, function, uses, start, end = notes[at : at + 6]
        calls = _calls(uses)
        if start < 0:
            return explaining.NotedValue(path, rule, function, literal=True, calls=calls)
        made = self.made_of((start, end), known)
        return explaining.NotedValue(
            path, rule, function, False, tuple(made.sources), tuple(made.rows), (*calls, *made.calls)
        )

    def made_of(self, span: Span, known: "dict[int, ValueOrigin] | None" = None) -> "ValueOrigin":
        """The sources of a value, written out; ``known`` are kept values by their number."""
        made, known = ValueOrigin(), {} if known is None else known
        for noted in self._log[slice(*span)]:
            if isinstance(noted, Row):
                made.rows[_row_text(noted)] = None
            elif isinstance(noted, str):
                (made.rows if noted.startswith("table ") else made.sources)[noted] = None
            elif noted >= 0:
                made.sources[self._field(noted)] = None
            else:
                number = -1 - noted
                inner = known.get(number)
                if inner is None:
                    kept = self._kept_from[number], self._kept_to[number]
                    inner = known[number] = self.made_of(kept, known)
                made.sources |= inner.sources
                made.rows |= inner.rows
                made.calls |= {explaining.Call(*self._kept_told[number]): None, **inner.calls}
        return made

    def _field(self, noted: int) -> str:
        """``OBX[3]-5.1``"""
        segment = self._parsed.segments[noted // _POSITION - 1]
        number, component = noted % _POSITION // _NUMBER, noted % _NUMBER // 2
        name = f"{segment.name}[{segment.ordinal}]-{number}"
        return f"{name}.{component}" if component else name

    def _around(self) -> explaining.ExplainContext:
        segments = {segment.name: segment for segment in reversed(self._parsed.segments)}
        fields = {}
        for name in explaining.header_fields():
            header, _, number = name.partition("-")
            held = segments[header].fields if header in segments else []
            if len(held) > int(number) and held[int(number)].strip():
                fields[name] = f"{header}[{segments[header].ordinal}]-{number}"
        received = self._context.received_at
        at = "" if received is None else received.astimezone(UTC).isoformat(timespec="milliseconds")
        return explaining.ExplainContext(fields, self._mapping, at)

    def _with_places(self, leaf: explaining.Leaf) -> explaining.Leaf:
        return replace(leaf, sources=tuple(map(self._placed, leaf.sources)))

    def _placed(self, source: str) -> str:
        """A source with its place in a text of another kind, where there is one: ``R[3]-4 (line 14)``."""
        place = self._parsed.places.get(source) or self._parsed.places.get(source.partition(".")[0])
        return f"{source} ({place})" if place else source

    def _unread(self) -> tuple[str, ...]:
        found: dict[str, None] = {}
        names = [segment.name for segment in self._parsed.segments]
        read = {
            (names[noted // _POSITION - 1], noted % _POSITION // _NUMBER)
            for noted in self._log
            if isinstance(noted, int) and noted >= 0 and not noted & _ENGINE
        }
        for segment in self._parsed.segments:
            first = (
                3 if segment.name == "MSH" else 3 if segment.name == "H" else 1 if self._parsed.format == "hl7v2" else 2
            )
            for number in range(first, len(segment.fields)):
                if segment.fields[number].strip() and (segment.name, number) not in read:
                    found[f"{segment.name}-{number}"] = None
        return tuple(found)


@lru_cache(maxsize=1024)
def _calls(uses: tuple[Told, ...]) -> tuple[explaining.Call, ...]:
    """The uses of fragments around a rule: as many as there are such places in the mappings at hand."""
    return tuple(explaining.Call(*told) for told in uses)


def _row_text(row: Row) -> str:
    parts = [f"row {row.name}"]
    for name in ("factor", "offset", "digits"):
        if name in row.cells and (name != "factor" or row.factor is not None):
            parts.append(f"{name} {row.cells[name]}")
    return " ".join(parts)


@dataclass(slots=True)
class ValueOrigin:
    """The sources of a value, written out."""

    sources: dict[str, None] = field(default_factory=dict)
    rows: dict[str, None] = field(default_factory=dict)
    calls: dict[explaining.Call, None] = field(default_factory=dict)
