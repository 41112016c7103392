"""Codes and units that were seen and are not in a code table, as lines to paste into one."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.mapping.code_tables.tables import Table
from engine.model.message import Unmapped

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_FORMULA = ("=", "+", "-", "@")
COLUMNS = ("code", "unit_in", "loinc", "display", "type", "unit", "ucum", "factor", "digits")


@dataclass(frozen=True, slots=True)
class MissingCode:
    """One code and unit that a table lacks, how often it was seen, and where (a channel, or a mapping).

    Attributes:
        first, last: when, as ISO 8601; empty where that is not known.
    """

    where: str
    table: str
    code: str
    unit: str
    display: str
    count: int
    first: str = ""
    last: str = ""


ColumnsOf = Callable[[MissingCode], Sequence[str]]
"""The columns that a row for the table of this gap has, key columns first."""


class Tally:
    """Counts what `Mapped.unmapped` names."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str, str], int] = {}
        self._displays: dict[tuple[str, str, str, str], str] = {}

    def add(self, where: str, unmapped: Iterable[Unmapped]) -> None:
        for one in unmapped:
            key = (where, one.table, one.code, one.unit)
            self._counts[key] = self._counts.get(key, 0) + 1
            if one.display:
                self._displays.setdefault(key, one.display)

    def seen(self) -> list[MissingCode]:
        """By place and table, most frequent first."""
        rows = [
            MissingCode(where, table, code, unit, self._displays.get((where, table, code, unit), ""), count)
            for (where, table, code, unit), count in self._counts.items()
        ]
        return sorted(rows, key=lambda row: (row.where, row.table, -row.count, row.code, row.unit))


def without_settled_units(rows: Iterable[MissingCode], tables: Mapping[tuple[str, str], Table]) -> list[MissingCode]:
    """Without units that a table of units lacks and a code table already says the UCUM code of; by (where, table).

    A result with such a unit has its row there, or is a gap of the code table itself: nothing is left to do.
    """
    settled = {
        (where, row.cells.get("unit_in"))
        for (where, _), table in tables.items()
        if "code" in table.key[:1]
        for row in table.rows
        if row.ucum
    }

    def is_open(row: MissingCode) -> bool:
        known = tables.get((row.where, row.table))
        return known is None or known.key[:1] != ("unit_in",) or (row.where, row.code) not in settled

    return [row for row in rows if is_open(row)]


def still_missing(rows: Iterable[MissingCode], tables: Mapping[tuple[str, str], Table]) -> list[MissingCode]:
    """Of codes that were counted once, those that the tables have no row for now; by (where, table)."""

    def is_open(row: MissingCode) -> bool:
        known = tables.get((row.where, row.table))
        return known is None or not _has_row(known, row.code, row.unit)

    return without_settled_units(filter(is_open, rows), tables)


def _has_row(table: Table, code: str, unit: str) -> bool:
    """False where the key has more columns than these."""
    return set(table.key[1:]) <= {"unit_in"} and table.find((code, unit)[: len(table.key)]) is not None


def columns_in(tables: Mapping[tuple[str, str], Table]) -> ColumnsOf:
    """Of each gap the columns of a code table, or the table's own where it is another kind; by (where, table)."""

    def columns_of(row: MissingCode) -> Sequence[str]:
        known = tables.get((row.where, row.table))
        if known is None or "code" in known.key[:1]:
            return COLUMNS
        return (*known.key, *(column for column in known.columns if column not in known.key))

    return columns_of


def shipped_columns(_: MissingCode) -> Sequence[str]:
    return COLUMNS


def csv_lines(rows: Iterable[MissingCode], columns_of: ColumnsOf = shipped_columns) -> Iterator[str]:
    """The rows as code tables to complete, one table after the other. The lines pass the check as they are.

    Comments say where and how often a code was seen. Codes that cannot be a row (a code or unit ``*``) are comments; so
    is each further channel's line of a code that several channels lack.
    """
    by_table: dict[tuple[str, tuple[str, ...]], list[MissingCode]] = {}
    for row in rows:
        by_table.setdefault((row.table, tuple(columns_of(row))), []).append(row)
    for (table, columns), found in by_table.items():
        yield f"# rows for table {table}; a row is done when it says what the code means"
        yield ",".join(columns)
        places: dict[tuple[str, str], list[MissingCode]] = {}
        for row in found:
            places.setdefault((row.code, row.unit), []).append(row)
        for (code, unit), seen in places.items():
            yield f"# {', '.join(_where(row) for row in seen)}"
            line = csv_line(_cells(seen[0], columns))
            yield f"# {line}: a * would match anything" if "*" in (code, unit) else line


def _where(row: MissingCode) -> str:
    last = f", last {row.last[:10]}" if row.last else ""
    return f"{row.where}: seen {row.count} {'time' if row.count == 1 else 'times'}{last}"


def _cells(row: MissingCode, columns: Sequence[str]) -> list[str]:
    """The first key column is what the table was asked for; the unit and the sender's name where there are columns."""
    known = {columns[0]: row.code, "unit_in": row.unit if columns[0] != "unit_in" else row.code, "display": row.display}
    return [known.get(column, "") for column in columns]


def csv_line(cells: list[str]) -> str:
    """One line. A sender's text never becomes a formula in a spreadsheet, nor a line or a comment here."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([plain(cell) for cell in cells])
    line = out.getvalue()
    # A code that begins with # would read as a comment.
    return f'"{cells[0]}"{line[len(cells[0]) :]}' if line.startswith("#") else line


def plain(text: str) -> str:
    """A cell without control characters; an apostrophe precedes text that a spreadsheet would run as a formula."""
    text = _CONTROL.sub(" ", text)
    return "'" + text if text.startswith(_FORMULA) else text


# -- what no rule reads ------------------------------------------------------------------------------------------

HEADERS = frozenset({"MSH", "FHS", "BHS", "H", "L"})


def is_of_use(segment: str, number: int) -> bool:
    """Whether a field may say something about a patient or a result: no header's, and no sequence number."""
    return segment not in HEADERS and number != (1 if len(segment) == 3 else 2)


@dataclass(slots=True)
class UnreadFields:
    """Segments and fields that no rule reads, by channel (or mapping), each with how many messages have it."""

    messages: Counter[str] = field(default_factory=Counter)
    segments: Counter[tuple[str, str]] = field(default_factory=Counter)
    fields: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, where: str, segments: Iterable[str], fields: Iterable[str]) -> None:
        self.messages[where] += 1
        self.segments.update((where, name) for name in segments)
        self.fields.update((where, name) for name in fields)

    def rows(self, *, whole: bool = False) -> list[dict[str, object]]:
        """By place and segment; a whole segment has no field.

        Args:
            whole: with headers and sequence numbers, which are of no use to a rule.
        """
        found = [(where, name, 0, count) for (where, name), count in self.segments.items()]
        for (where, name), count in self.fields.items():
            segment, _, number = name.partition("-")
            if whole or is_of_use(segment, int(number)):
                found.append((where, segment, int(number), count))
        return [
            {
                "where": where,
                "segment": segment,
                "field": f"{segment}-{number}" if number else None,
                "messages": count,
                "of": self.messages[where],
            }
            for where, segment, number, count in sorted(found)
        ]
