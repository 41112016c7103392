"""Views as text for people: cells, tables, sentences. A terminal may set the lines that are a `Head` apart.

Rows of views as JSON. Instants are in UTC, as RFC 3339 has them.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from typing import Any, TypeVar

import orjson

from engine.model.texts.phrases import Span
from engine.views.view import Field

T = TypeVar("T")

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
