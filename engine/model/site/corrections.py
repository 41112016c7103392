"""Corrections of code tables: what people of the site have said about single keys of a channel's code table.

A correction is never changed. A later one of the same key supersedes it; one without cells gives the key back to the
files. Those in force are one CSV text for each table of each channel, read before the table's files: so a row of it has
precedence over the files' rows, by the rules that several files of one table follow.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

KEY_COLUMNS = ("code", "unit_in", "device", "specimen")
ORDER = (*KEY_COLUMNS, "loinc", "display", "type", "unit", "ucum", "factor", "offset", "digits")
NOTE = "note"  # the column with a person's words
SOURCE = "source"  # the column that names the correction
Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""Channel, table, and the cells of the key columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """A change of one key of a channel's table.

    Attributes:
        key: cells of the key columns; also blank ones, but for columns where blank is any.
        cells: the other cells; none: the files decide about this key.
        covers: the cells of the files' row that decided about this key when the change was made; none: no row did.
        beside: the files' rows of other keys of which it took the place then, as they are named, each with its meaning.
        undoes: the version that it takes back; 0: none.
        reason: a person's words.
    """

    channel: str
    table: str
    key: Mapping[str, str]
    cells: Mapping[str, str] = field(default_factory=dict)
    covers: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    undoes: int = 0
    reason: str = ""

    @property
    def place(self) -> Key:
        return self.channel, self.table, tuple(sorted(self.key.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction(RowChange):
    """A change that was made.

    Attributes:
        version: 1, 2, 3 ...: of the corrections of the site as a whole, from this one on.
        act: row of the audit trail; ``by``: the person's name.
    """

    version: int
    act: int
    at_us: int
    by: str


def without_notes(made: Correction) -> Correction:
    """The same without people's words, for those who do not read them (`Principal.reads_notes`)."""
    cells, covers = (
        {name: "" if name == NOTE else cell for name, cell in row.items()} for row in (made.cells, made.covers)
    )
    return replace(made, cells=cells, covers=covers, reason="")


class Sheet(NamedTuple):
    """Rows of a code table that are in no file."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Corrections:
    """The corrections in force.

    Attributes:
        version: of the newest correction; 0: there was none.
        sheets: channel -> table -> rows.
    """

    version: int = 0
    sheets: Mapping[str, Mapping[str, Sheet]] = field(default_factory=dict)

    def hash(self, files: str) -> str:
        """The hash of a configuration whose files have the hash ``files``; the same where no correction is in force."""
        if not self.sheets:
            return files
        state = hashlib.sha256(files.encode())
        for channel, tables in sorted(self.sheets.items()):
            for table, sheet in sorted(tables.items()):
                for part in (channel, table, sheet.text):
                    data = part.encode("utf-8", "surrogatepass")
                    state.update(b"%d " % len(data) + data)
        return state.hexdigest()


NONE = Corrections()


def latest(made: Iterable[Correction]) -> dict[Key, Correction]:
    """The newest correction of each key, also where it gives the key back to the files."""
    return {one.place: one for one in sorted(made, key=lambda one: one.version)}


def in_force(made: Iterable[Correction]) -> Corrections:
    """The corrections that decide before the files."""
    known = list(made)
    rows: dict[str, dict[str, list[Correction]]] = {}
    for (channel, table, _), one in sorted(latest(known).items()):
        if one.cells:
            rows.setdefault(channel, {}).setdefault(table, []).append(one)
    sheets = {
        channel: {table: sheet_of(channel, table, found) for table, found in tables.items()}
        for channel, tables in rows.items()
    }
    return Corrections(max((one.version for one in known), default=0), sheets)


def sheet_of(channel: str, table: str, rows: Sequence[Correction]) -> Sheet:
    """These corrections as a table; each names its version under ``source``."""
    return Sheet(name_of(channel, table), "".join(f"{line}\n" for line in csv_rows(columns_of(rows), rows)))


def name_of(channel: str, table: str) -> str:
    """How messages for people name the corrections of a table, in the place of a file's name."""
    return f"corrections/{channel}/{table}.csv"


def columns_of(rows: Iterable[RowChange]) -> list[str]:
    """The columns of these rows in their usual order: key columns first, ``source`` last."""
    used = {column for one in rows for column in (*one.key, *one.cells)} - {SOURCE}
    return [*(column for column in ORDER if column in used), *sorted(used.difference(ORDER)), SOURCE]


def csv_rows(columns: Sequence[str], rows: Iterable[Correction]) -> Iterable[str]:
    """Header and rows; each cell in quotes, so that none reads as a comment."""
    yield _line(columns)
    for one in rows:
        cells = {**one.cells, **one.key, SOURCE: f"correction {one.version}"}
        yield _line([cells.get(column, "") for column in columns])


def _line(cells: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="").writerow(cells)
    return out.getvalue()
