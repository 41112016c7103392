"""Read a damaged journal row by row, around unreadable pages and from unreachable ones, and write it into a new one.

SQLite finds a row through inner pages; where one of those is damaged, every leaf below it is unreachable, though
intact. Here the pages of the file are scanned one by one, and the cells of table leaves are decoded (SQLite database
file format, https://www.sqlite.org/fileformat2.html, 1.6 B-tree pages, 2.1 record format):

    leaf        0x0D, first freeblock 2, number of cells 2, start of content 2, fragments 1; then 2 bytes per cell
    cell        payload length varint, rowid varint, payload; the rest is on a chain of overflow pages
    record      header length varint, a serial type varint for each column; then the values

Nothing here is proven: a page may be an old one, or belong to another table, and a cell may hold noise. The caller
proves each row, as `engine.store.recovery.salvage.proven` does by its hash. Pages on the free list are skipped: they
may still hold pruned rows.
"""

import mmap
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.feature import Hook
from engine.model.message import Report
from engine.store.core import connecting
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
    connecting.upgrade(connection)
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


Value = int | float | str | bytes | None

LEAF = 0x0D
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)  # by serial type


class _NoRowError(Exception):
    """These bytes are no cell of a table."""


def stray_rows(path: Path, page_bytes: int, columns: int, wanted: Callable[[int], bool]) -> Iterator[list[Value]]:
    """Every row of ``columns`` columns with a ``wanted`` number, as its values. The number is the first value and NULL
    in the record, as SQLite stores an INTEGER PRIMARY KEY in the first column.

    Args:
        path: the database file; its log is ignored.
    """
    if path.stat().st_size < page_bytes:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        usable = page_bytes - content[20]  # reserved space at the end of each page; 0 here
        free = _free_pages(content, page_bytes)
        for page in range(1, len(content) // page_bytes):  # the first page is the schema's
            at = page * page_bytes
            if content[at] != LEAF or page + 1 in free:
                continue
            cells = min(int.from_bytes(content[at + 3 : at + 5]), (page_bytes - 8) // 2)
            for cell in range(cells):
                place = int.from_bytes(content[at + 8 + 2 * cell : at + 10 + 2 * cell])
                with suppress(_NoRowError, IndexError, ValueError, struct.error):
                    row_id, payload = _cell(content, page_bytes, usable, at, place, wanted)
                    values = _record(payload, columns)
                    if values[0] is None:
                        yield [row_id, *values[1:]]


def _free_pages(content: mmap.mmap, page_bytes: int) -> set[int]:
    """Numbers of unused pages, from the chain of trunk pages: next trunk 4, entries 4, and the numbers."""
    free: set[int] = set()
    trunk = int.from_bytes(content[32:36])
    while trunk not in free and 1 < trunk <= len(content) // page_bytes:
        free.add(trunk)
        at = (trunk - 1) * page_bytes
        entries = min(int.from_bytes(content[at + 4 : at + 8]), page_bytes // 4 - 2)
        free.update(struct.unpack_from(f">{entries}I", content, at + 8))
        trunk = int.from_bytes(content[at : at + 4])
    return free


def _cell(
    content: mmap.mmap, page_bytes: int, usable: int, page_at: int, place: int, wanted: Callable[[int], bool]
) -> tuple[int, bytes]:
    size, at = _varint(content, page_at + place)
    row_id, at = _varint(content, at)
    if not wanted(row_id) or size > len(content):
        raise _NoRowError
    most = usable - 35
    if size <= most:
        local = size
    else:
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
    if at + local > page_at + page_bytes:
        raise _NoRowError
    parts, left = [content[at : at + local]], size - local
    number = int.from_bytes(content[at + local : at + local + 4]) if left else 0
    while left:
        begin = (number - 1) * page_bytes
        if number < 1 or begin + page_bytes > len(content):
            raise _NoRowError
        part = content[begin + 4 : begin + 4 + min(left, usable - 4)]
        parts.append(part)
        left -= len(part)
        number = int.from_bytes(content[begin : begin + 4])
    return row_id, b"".join(parts)


def _record(payload: bytes, columns: int) -> list[Value]:
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if at != end or len(kinds) != columns:
        raise _NoRowError
    values = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    if at != len(payload):
        raise _NoRowError
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if kind in (10, 11):
        raise _NoRowError
    size = (kind - 12) // 2 if kind >= 12 else 8 if kind == 7 else _INTEGER_BYTES[kind]
    part = payload[at : at + size]
    if len(part) != size:
        raise _NoRowError
    at += size
    if kind == 7:
        return float(struct.unpack(">d", part)[0]), at
    if kind < 7:
        return int.from_bytes(part, signed=True), at
    return (part.decode() if kind % 2 else part), at


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for n in range(8):
        byte = data[at + n]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + n + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64) if value >> 63 else value, at + 9
