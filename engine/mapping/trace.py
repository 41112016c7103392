"""Where every value came from: what a traced mapping notes while it runs.

    Observation[3].valueQuantity.value = 148   <- lab.yaml:31 quantity()   <- OBX[3]-5, OBX[3]-6 x row HGB,g/dL

The traced variant of a mapping calls `Tracer` beside doing what the plain one does. A frame of sources is open while a
value is computed; a value computed once and used twice keeps its sources.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from orjson import Fragment

from engine.errors import ContentError
from engine.mapping.identity import Making
from engine.mapping.json_text import as_text
from engine.mapping.tables import Row
from engine.message import Issue, Mapped, Parsed, Segment


@dataclass(frozen=True, slots=True)
class Leaf:
    """One produced value.

    Attributes:
        path: ``Observation[3].valueQuantity.value``; resources of a type are numbered from 1.
        value: the value as text, for ``--show-values`` only: it is patient data.
        rule: ``lab.yaml:31``.
        function: ``quantity()``, empty where a field was only read.
        sources: ``OBX[3]-5``; the fields it was made of, as ``R[3]-4 (line 14)`` where they stand in a text.
        rows: ``row HGB,g/dL factor 10``: the table rows it was made with.
    """

    path: str
    value: str
    rule: str
    function: str
    sources: tuple[str, ...]
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """What became of one message and why.

    Attributes:
        unread: fields with content that no rule touched, ``OBX-18`` (of any segment of that name).
        mapped: the outcome, None where the message is dead; then ``error`` says why.
    """

    leaves: tuple[Leaf, ...]
    unread: tuple[str, ...]
    issues: tuple[Issue, ...]
    mapped: Mapped | None
    error: ContentError | None
    rules: frozenset[str]


@dataclass(slots=True)
class _Frame:
    sources: dict[str, None] = field(default_factory=dict)
    rows: dict[str, None] = field(default_factory=dict)


_NUMBERS = re.compile(r"\[\d+\]")
_Noted = tuple[str, str, str, Any, tuple[str, ...], tuple[str, ...]]


class Tracer:
    """Collects the trace of one message; generated code calls it as ``T``."""

    def __init__(self, parsed: Parsed) -> None:
        self._parsed = parsed
        self._frames: list[_Frame] = []
        self._kept: dict[str, _Frame] = {}
        self._read: set[tuple[str, int]] = set()
        self._open: list[tuple[str, list[_Noted]]] = []
        self._leaves: dict[str, list[_Noted]] = {}
        self.rules: set[str] = set()
        self.making: Making | None = None
        self.mapped: Mapped | None = None
        self.error: ContentError | None = None
        self.issues: tuple[Issue, ...] = ()

    # -- called by generated code ------------------------------------------------------------------------------------

    def open(self) -> None:
        """A value is about to be computed."""
        self._frames.append(_Frame())

    def read(self, segment: Segment, number: int, component: int) -> None:
        """A field with content was read."""
        self._read.add((segment.name, number))
        if self._frames:
            part = f".{component}" if component else ""
            self._frames[-1].sources[f"{segment.name}[{segment.ordinal}]-{number}{part}"] = None

    def row(self, row: Row) -> None:
        if self._frames:
            self._frames[-1].rows[_row_text(row)] = None

    def keep(self, variable: str) -> None:
        """The value just computed has a name and may be used again."""
        self._kept[variable] = self._frames.pop()

    def use(self, variable: str) -> None:
        frame = self._kept.get(variable)
        if frame is not None and self._frames:
            self._frames[-1].sources.update(frame.sources)
            self._frames[-1].rows.update(frame.rows)

    def leaf(self, path: str, rule: str, function: str, value: Any) -> None:
        """A value of an element is computed."""
        frame = self._frames.pop()
        self.rules.add(rule)
        if value is not None and self._open:
            noted = (path, rule, function, value, tuple(frame.sources), tuple(frame.rows))
            self._open[-1][1].append(noted)

    def begin(self, kind: str) -> None:
        """A resource begins. What a dropped result left open is closed."""
        self._frames.clear()
        self._open.clear()
        self._open.append((kind, []))

    def made(self, reference: dict[str, str]) -> None:
        """The resource that was begun last is in the document."""
        _, noted = self._open.pop()
        self._leaves.setdefault(reference["reference"], []).extend(noted)

    def abandon(self) -> None:
        """The resource that was begun last exists already."""
        self._open.pop()

    # -- the result --------------------------------------------------------------------------------------------------

    def trace(self) -> Trace:
        leaves: list[Leaf] = []
        numbers: dict[str, int] = {}
        for entry in [*self.making.entries, *self.making.envelope] if self.making is not None else ():
            kind = entry["resource"]["resourceType"]
            numbers[kind] = number = numbers.get(kind, 0) + 1
            for path, rule, function, value, sources, rows in self._leaves.get(entry["fullUrl"], ()):
                _, _, rest = path.partition(".")
                for inner, text in _flatten(value):
                    where = f"{kind}[{number}].{rest}{inner}"
                    leaves.append(Leaf(where, text, rule, function, tuple(map(self._placed, sources)), rows))
        issues = self.mapped.issues if self.mapped is not None else self.issues
        return Trace(tuple(leaves), self._unread(), issues, self.mapped, self.error, frozenset(self.rules))

    def _placed(self, source: str) -> str:
        """A source with its place in a text of another kind, where there is one: ``R[3]-4 (line 14)``."""
        if not self._parsed.places:
            return source
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


def _flatten(value: Any, path: str = "") -> list[tuple[str, str]]:
    """The primitive values inside a value, with their paths below it."""
    if isinstance(value, dict):
        return [pair for name, inner in value.items() for pair in _flatten(inner, f"{path}.{name}")]
    if isinstance(value, (list, tuple)):
        return [pair for at, inner in enumerate(value) for pair in _flatten(inner, f"{path}[{at}]")]
    if isinstance(value, Fragment):
        text = orjson.dumps(value).decode()  # a Fragment shows its text to orjson only
        return _flatten(as_text(text), path) if text[0] in "{[" else [(path, text)]
    return [(path, "true" if value is True else "false" if value is False else str(value))]


# -- for people ------------------------------------------------------------------------------------------------------


def chosen(trace: Trace, field: str) -> list[Leaf]:
    """The values under an element (``Observation[2].value``) or from a source (``OBX[3]-5``, ``OBX-5``)."""
    if not field:
        return list(trace.leaves)
    plain = _NUMBERS.sub("", field)
    found = []
    for leaf in trace.leaves:
        path = leaf.path if "[" in field else _NUMBERS.sub("", leaf.path)
        sources = leaf.sources if "[" in field else tuple(_NUMBERS.sub("", source) for source in leaf.sources)
        wanted = field if "[" in field else plain
        if _is_under(path, wanted) or any(_is_under(source, wanted) for source in sources):
            found.append(leaf)
    return found


def _is_under(path: str, wanted: str) -> bool:
    return path == wanted or (path.startswith(wanted) and not path[len(wanted)].isalnum())


def lines(trace: Trace, leaves: list[Leaf], *, values: bool, whole: bool) -> Iterator[str]:
    """A trace as a tree: resources, their values, then what was not read and what was noticed."""
    resource = ""
    width = min(60, max((len(leaf.path.partition(".")[2]) for leaf in leaves), default=0))
    for leaf in leaves:
        kind, _, path = leaf.path.partition(".")
        if kind != resource:
            resource = kind
            yield kind
        value = f" = {leaf.value}" if values else ""
        made = f" {leaf.function}" if leaf.function else ""
        sources = f" <- {', '.join(leaf.sources)}" if leaf.sources else ""
        rows = f" x {', '.join(leaf.rows)}" if leaf.rows else ""
        yield f"  {(path + value).ljust(width)} <- {leaf.rule}{made}{sources}{rows}"
    if not whole:
        return
    if trace.unread:
        yield "unread: " + ", ".join(trace.unread)
    for issue in trace.issues:
        place = f" at {issue.place}" if issue.place else ""
        rule = f" ({issue.rule})" if issue.rule else ""
        yield f"{issue.severity}: {issue.code}{place}: {issue.text}{rule}"
    if trace.error is not None:
        place = f" at {trace.error.place}" if trace.error.place else ""
        yield f"dead: {trace.error.reason.value}{place}: {trace.error.detail}"
