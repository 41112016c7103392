"""Views and their fields: each has its name in JSON, its heading in a table, and the source of its value.

Views as text for people: cells, tables, sentences. A terminal may set the lines that are a `Head` apart.

Rows of views as JSON. Instants are in UTC, as RFC 3339 has them.
"""

import csv
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Generic, TypeVar

import orjson

from engine.model.process.clock import from_us
from engine.model.texts.phrases import Span

T = TypeVar("T")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """One field of a view.

    Attributes:
        name: in JSON; a field without one is in tables only.
        title: the heading of its column; a field without one is in JSON only.
        of: the attribute (of a mapping: the key) with the value, or a function that makes it; empty: as `name`.
        right: the column is aligned to the right.
        shown: makes the cell of a table, where that is not the value.
    """

    name: str
    title: str = ""
    of: str | Callable[[T], Any] = ""
    right: bool = False
    shown: Callable[[T], Any] | None = None

    def value(self, one: T) -> Any:
        if callable(self.of):
            return self.of(one)
        name = self.of or self.name
        return one.get(name) if isinstance(one, Mapping) else getattr(one, name)

    def cell(self, one: T) -> Any:
        return self.value(one) if self.shown is None else self.shown(one)


class View(Generic[T]):
    """The fields of one noun.

    Args:
        name: the name of a list of them in JSON.
    """

    def __init__(self, name: str, *fields: Field[T]) -> None:
        self.name = name
        self.fields = fields
        self.columns = tuple(field for field in fields if field.title)

    def row(self, one: T, names: Collection[str] | None = None) -> dict[str, Any]:
        """The object in JSON; a mapping is its own. ``names``: these fields only."""
        if isinstance(one, Mapping):
            return dict(one)
        return {
            field.name: field.value(one)
            for field in self.fields
            if field.name and (names is None or field.name in names)
        }

    def of_rows(self, names: str, **told: Callable[[Any], str]) -> "View[Row]":
        """The columns of rows that come as JSON: these fields, in this order. A callable makes a cell."""
        found = {field.name: field for field in self.fields}

        def shown(name: str) -> Callable[[Row], str] | None:
            tell = told.get(name)
            return None if tell is None else lambda row: tell(row[name])

        fields: list[Field[Row]] = [
            Field(name, found[name].title, right=found[name].right, shown=shown(name)) for name in names.split()
        ]
        return View(self.name, *fields)

    def rows(self, items: Iterable[T]) -> list[dict[str, Any]]:
        return [self.row(one) for one in items]


def picked(one: object, names: str) -> dict[str, Any]:
    """Some attributes by their names, for objects that one place alone shows."""
    return {name: getattr(one, name) for name in names.split()}


@dataclass(frozen=True, slots=True)
class InstantOf:
    """The instant of an attribute in microseconds since 1970; None where that is 0."""

    name: str

    def __call__(self, one: Any) -> datetime | None:
        return from_us(us) if (us := getattr(one, self.name)) else None


@dataclass(frozen=True, slots=True)
class OrNone:
    """An attribute; None where it is 0 or empty."""

    name: str

    def __call__(self, one: Any) -> Any:
        return getattr(one, self.name) or None


at = InstantOf  # for `Field.of`
or_none = OrNone  # for `Field.of`


# The zone in which people read times; asked for once a time is shown.
ZONE: ContextVar[Callable[[], tzinfo]] = ContextVar("ZONE", default=lambda: UTC)


class Head(str):
    """A line that begins something."""

    __slots__ = ()


def plural(count: int, noun: str) -> str:
    """``1 message``, ``2 messages``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """Text without control characters: data from a peer must not control a terminal."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\n" else f"\\x{ord(sign):02x}" for sign in text)


def harmless(value: Any) -> Any:
    """For a cell of a CSV file: a text that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def csv_line(cells: Iterable[Any]) -> str:
    """A line of a CSV file (RFC 4180); no cell is a formula in a spreadsheet."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(map(harmless, cells))
    return out.getvalue()


def local(instant: datetime) -> datetime:
    """An instant as people read it."""
    return instant.astimezone(ZONE.get()())


def local_time(text: str | None) -> str:
    """An instant of JSON in the cell of a table."""
    return cell(datetime.fromisoformat(text) if text is not None else None)


def age(seconds: float | None) -> str:
    return "" if seconds is None else Span(seconds).say()


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return local(value).strftime("%Y-%m-%d %H:%M:%S%z")
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value)
    return printable(str(value))


def table(items: Sequence[T], columns: Sequence[Field[T]]) -> Iterator[str]:
    """Lines of a table with a heading; a column without any value is left out."""
    cells = [[cell(column.cell(one)) for column in columns] for one in items]
    used = [at for at in range(len(columns)) if any(line[at] for line in cells)]
    heading = [column.title for column in columns]
    widths = {at: max(len(line[at]) for line in [heading, *cells]) for at in used}
    for number, line in enumerate([heading, *cells]):
        parts = [line[at].rjust(widths[at]) if columns[at].right else line[at].ljust(widths[at]) for at in used]
        text = "  ".join(parts).rstrip()
        yield Head(text) if number == 0 else text


def encoded(value: Any, *, indent: bool = False) -> bytes:
    option = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(value, default=_plain, option=option)


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value)
