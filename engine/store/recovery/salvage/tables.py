"""Read a damaged journal row by row, around unreadable pages, and write it into a new one."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.feature import Hook
from engine.model.message import Report
from engine.store.core import migrate
from engine.store.core.checks.pruned_ranges import Range
from engine.store.core.connecting import DAMAGE
from engine.store.core.vault import Vault
from engine.store.core.writing.batch import Batch
from engine.store.integrity import row_check
from engine.store.integrity.row_check import UnreadableRow
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.recovery.salvage.found import Salvage

CHUNK_ROWS = 500

BLIND_CHUNKS = 40  # without a row, after which a table with an unreadable end counts as finished

# Tables with rules of their own; all others are copied as they are, as far as readable.
_OWN = ("meta", "data_key", "journal", "gap", "message_state", "document", "channel", "lane", "delivery", "attempt",
        "open_act", "pruned", "event")  # fmt: skip


class Tables:
    """Rows of the damaged journal, and the new one that gets them.

    Attributes:
        damaged: tables with unreadable rows.
    """

    def __init__(self, source: sqlite3.Connection, target: Path, salvage: Salvage) -> None:
        self.source = source
        self.salvage = salvage
        self.damaged: set[str] = set()
        self.new = new_journal(target)

    def memories(self) -> list[str]:
        """Tables that are copied as they are."""
        names = self.new.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
        own = {*_OWN, *(name for one in SALVAGE.each() for name in one.own)}
        return [name for (name,) in names if name not in own]

    def take(self, table: str, where: str = "1") -> None:
        """Copy the readable rows for which ``where`` holds; ``?1`` and ``?2`` are the row's first columns."""
        columns = self.columns(table)
        for row in self.rows(table, columns) if columns else ():
            if where == "1" or self.new.execute(f"SELECT {where}", row[: 2 if "?2" in where else 1]).fetchone()[0]:
                self.insert(table, columns, row)
            else:
                self.damaged.add(table)

    def rows(self, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """The readable rows of a table; unreadable ones are recorded."""
        self.salvage.tables.setdefault(table, 0)
        info = self.new.execute(f"PRAGMA table_info({table})").fetchall()
        key = [row[1] for row in sorted(info, key=lambda row: row[5]) if row[5]]
        if len(key) == 1 and any(row[1] == key[0] and row[2] == "INTEGER" for row in info):
            last = self.largest(table, key[0])
            for row in row_check.read_rows(self.source, 1, last, ", ".join(columns), table, key[0]):
                if isinstance(row, UnreadableRow):
                    self.damaged.add(table)
                else:
                    yield row
        else:
            yield from self._from_both_ends(table, columns, key)

    def take_meta(self) -> None:
        """Copy the journal's own properties and its wrapped keys; unlike a row of a table, none may be missing."""
        for table in ("meta", "data_key"):
            columns = self.columns(table)
            rows = self.source.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()  # noqa: S608 - of the schema
            for row in rows:
                self.insert(table, columns, row)
        # The scan for open work begins anew: rows below the old mark may be open again.
        self.new.execute("DELETE FROM meta WHERE name = 'watermark'")

    def _from_both_ends(self, table: str, columns: list[str], key: list[str]) -> Iterator[tuple[Any, ...]]:
        """Read a table without numbers: forwards to the damaged page, and backwards to it."""
        found: set[tuple[Any, ...]] = set()
        for order in ("ASC", "DESC"):
            by = ", ".join(f"{name} {order}" for name in key)
            query = f"SELECT {', '.join(columns)} FROM {table} ORDER BY {by}"  # noqa: S608 - of the schema
            try:
                for row in self.source.execute(query):
                    names = row[: len(key)]
                    if names not in found:
                        found.add(names)
                        yield row
            except DAMAGE:
                self.damaged.add(table)
            else:
                return

    def largest(self, table: str, key: str = "id") -> int:
        """A table's largest number; where the way to it is damaged, the one that the readable rows show."""
        with suppress(*DAMAGE):
            return int(self.source.execute(f"SELECT coalesce(max({key}), 0) FROM {table}").fetchone()[0])  # noqa: S608 - of the schema
        self.damaged.add(table)
        empty, last, first = 0, 0, 1
        while empty < BLIND_CHUNKS:
            rows = row_check.read_rows(self.source, first, first + CHUNK_ROWS - 1, key, table, key)
            newest = max((row[0] for row in rows if not isinstance(row, UnreadableRow)), default=0)
            empty = 0 if newest else empty + 1
            last = max(last, newest)
            first += CHUNK_ROWS
        return last

    def has(self, table: str, row_id: Any) -> bool:
        return self.new.execute(f"SELECT 1 FROM {table} WHERE id = ?", (row_id,)).fetchone() is not None  # noqa: S608 - of the schema

    def columns(self, table: str) -> list[str]:
        """The columns that both journals have: the damaged one may be of an earlier schema."""
        theirs = {row[1] for row in self.source.execute(f"PRAGMA table_info({table})")}
        return [row[1] for row in self.new.execute(f"PRAGMA table_info({table})") if row[1] in theirs]

    def insert(self, table: str, columns: list[str], row: tuple[Any, ...]) -> None:
        try:
            self.new.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(row))})",  # noqa: S608 - of the schema
                row,
            )
        except sqlite3.IntegrityError:  # a value that its column or a unique index does not allow: a damaged row
            self.damaged.add(table)
        else:
            self.salvage.tables[table] = self.salvage.tables.get(table, 0) + 1


def _none(*_: object) -> list[Range]:
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a feature does in a salvage.

    Attributes:
        own: its tables with rules of their own; the others are copied as they are.
        take: copies these, given what retention has deleted; the ranges of numbers that are missing in them.
        again: has messages processed again, or says what of them was done before; the tallies are counted after it.
        remember: the owners of the numbers of a document that was sent: its message, when that was received, until
            when its reports are remembered, and these.
        go_on: in the new journal, with the audit row of the salvage.
    """

    own: Sequence[str] = ()
    take: Callable[[Tables, Vault, Sequence[Range]], list[Range]] = _none
    again: Callable[[Tables], object] = _none
    remember: Callable[[sqlite3.Connection, int, int, int, Sequence[Report]], object] = _none
    go_on: Callable[[Batch], object] = _none


SALVAGE: Hook[Part] = Hook("salvage")


def new_journal(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    # No write-ahead log: it would hold everything a second time. Opening the journal turns it on.
    connection.execute("PRAGMA synchronous = FULL")
    migrate.upgrade(connection)
    for index in _OWN_INDEXES:
        connection.execute(index)
    return connection


def without_own_indexes(connection: sqlite3.Connection) -> None:
    """Drop the indexes that only the salvage needs."""
    connection.execute("DROP INDEX salvage_channel")
    connection.execute("DROP INDEX salvage_lane")


# They prevent duplicate numbers and speed up frequent look-ups: a running journal needs neither.
_OWN_INDEXES = (
    "CREATE UNIQUE INDEX salvage_channel ON journal (channel, seq) WHERE kind = 1",
    "CREATE UNIQUE INDEX salvage_lane ON delivery (lane, seq)",
)
