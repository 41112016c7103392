"""Codes and units that were seen and are not in a code table, as lines to paste into one."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.message import Unmapped

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_FORMULA = ("=", "+", "-", "@")
COLUMNS = ("code", "unit_in", "loinc", "display", "type", "unit", "ucum", "factor", "digits")


@dataclass(frozen=True, slots=True)
class Seen:
    """One code and unit that a table lacks, how often it was seen, and where (a channel, or a file)."""

    where: str
    table: str
    code: str
    unit: str
    display: str
    count: int


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

    def seen(self) -> list[Seen]:
        """By place and table, most frequent first."""
        rows = [
            Seen(where, table, code, unit, self._displays.get((where, table, code, unit), ""), count)
            for (where, table, code, unit), count in self._counts.items()
        ]
        return sorted(rows, key=lambda row: (row.where, row.table, -row.count, row.code, row.unit))


def csv_lines(rows: Iterable[Seen]) -> Iterator[str]:
    """The rows ready for a code table; what they were seen in and how often stands in comment lines."""
    last = ("", "")
    for row in rows:
        if (row.where, row.table) != last:
            last = (row.where, row.table)
            yield f"# {row.where}: not in table {row.table}"
            yield ",".join(COLUMNS)
        yield f"# seen {row.count} {'time' if row.count == 1 else 'times'}"
        yield _csv([row.code, row.unit, "", row.display, "", "", "", "", ""])


def _csv(cells: list[str]) -> str:
    """One line. What a sender wrote is never a formula where a spreadsheet opens it, nor a line or a comment here."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([plain(cell) for cell in cells])
    line = out.getvalue()
    # A code that begins with # would read as a comment.
    return f'"{cells[0]}"{line[len(cells[0]) :]}' if line.startswith("#") else line


def plain(text: str) -> str:
    """A cell without control characters; before what a spreadsheet would run stands an apostrophe, as there."""
    text = _CONTROL.sub(" ", text)
    return "'" + text if text.startswith(_FORMULA) else text
