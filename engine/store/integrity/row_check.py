"""Read rows of the journal around damage, and check one after another: numbers, hashes, the chain.

Hashes and chain run over stored bytes, so no key is needed. With the key, what is sealed beside the rows is checked,
too, by the store itself and by features.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from engine.model.errors import IntegrityError
from engine.model.journal.records import KIND_MESSAGE
from engine.store.core.chain import COLUMNS, ROW_COLUMNS, SEALED_COLUMNS, JournalRow, chain_hash
from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import AccountedRows, Range
from engine.store.core.connecting import DAMAGE
from engine.store.core.vault import Vault, sealed_to
from engine.store.operations.pruning import of_features

CHUNK_ROWS = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem.

    Attributes:
        kind: ``missing``, ``changed``, ``chain``, ``numbering``, ``reference``, ``tally``, ``anchor``, ``sealed``,
            ``unreadable``, ``structure`` or ``rollback``.
        table: its table; ``journal`` for rows of the journal.
        first, last: the row numbers concerned (of that table), equal for a single one; 0 where none is known.
        text: for a person, without patient data.
    """

    kind: str
    table: str
    first: int
    last: int
    text: str

    def __str__(self) -> str:
        return self.text


class RowCheck:
    """Checks rows in order of their numbers; keeps the state of one row."""

    def __init__(
        self,
        first: int,
        gaps: Iterable[tuple[int, int]],
        chain: bytes | None,
        gone: Iterable[Range] = (),
        emptied: AccountedRows | None = None,
        look_again: Callable[[], Iterable[Range]] = tuple,
    ) -> None:
        """
        Args:
            first: the number of the first expected row.
            gaps: (first, last) of numbers that a person has given up as lost.
            chain: the chain value before the first row, None if it is not known.
            gone: the pruned ranges with a valid record.
            emptied: the erased rows with a valid record.
            look_again: returns ``gone`` as it is now: retention may run beside a check.
        """
        self._look_again = look_again
        self._emptied = emptied or AccountedRows()
        self._expected = first
        self._gaps = dict(gaps)
        self._gone = {max(one.first, first): one for one in gone}
        # Possible chain values before the next row: the stored one, and the computed one where the stored one may be
        # damaged. Both are needed to find which of two neighbours is the bad one. Empty: not known.
        self._before = [chain] if chain is not None else []
        self._seqs: dict[str, int] | None = {} if first == 1 else None
        self._lost = 0  # missing or damaged rows; any of them may have been a message of any channel

    def feed(self, row: "JournalRow | UnreadableRow") -> Iterator[Finding]:
        if isinstance(row, UnreadableRow):
            yield from self._skip_to(row.id)
            self._expected, self._before = row.id + 1, []
            self._lost += 1
            yield Finding("unreadable", "journal", row.id, row.id, f"row {row.id}: on a damaged page, cannot be read")
            return
        yield from self._skip_to(row.id)
        self._expected = row.id + 1
        findings = list(self._hashes(row))
        yield from findings
        if any(finding.kind == "changed" for finding in findings):
            self._lost += 1  # its own fields cannot be trusted
        elif row.kind == KIND_MESSAGE and self._seqs is not None:
            expected = self._seqs.get(row.channel, 0) + 1
            skipped = row.seq - expected
            if 0 <= skipped <= self._lost:  # those are reported already, as missing rows
                self._lost -= skipped
            else:
                what = f"message {row.seq} of channel {row.channel} comes after {expected - 1}"
                yield Finding("numbering", "journal", row.id, row.id, f"row {row.id}: {what}")
            self._seqs[row.channel] = row.seq

    def end(self, last_id: int) -> Iterator[Finding]:
        """All rows were fed; ``last_id`` is the number of the last expected one."""
        yield from self._skip_to(last_id + 1)

    def _skip_to(self, row_id: int) -> Iterator[Finding]:
        first = self._expected
        while first < row_id and (first in self._gaps or self._is_gone(first, row_id)):
            if first in self._gone:  # pruned; the chain goes on from the value in the record
                one = self._gone[first]
                last, self._before = one.last, [one.chain] if one.chain else []
            else:  # given up as lost; the chain goes on over it
                last = self._gaps[first]
            self._lost += last + 1 - first
            first = last + 1
        if first < row_id:
            last = row_id - 1
            rows = f"row {first} is" if first == last else f"rows {first} to {last} are"
            yield Finding("missing", "journal", first, last, f"{rows} missing")
            self._before = []
            self._lost += last - first + 1

    def _is_gone(self, number: int, row_id: int) -> bool:
        """Whether the missing rows from ``number`` on were pruned, also since the check began.

        Args:
            row_id: the next row that exists, or existed when it was read.
        """
        if number not in self._gone:
            found = next((one for one in self._look_again() if one.first <= number <= one.last), None)
            if found is not None:
                if found.last >= row_id:  # also pruned since it was read: the chain value before it is unknown
                    found = replace(found, last=row_id - 1, chain=b"")
                self._gone[number] = found
        return number in self._gone

    def _hashes(self, row: JournalRow) -> Iterator[Finding]:
        computed = b""
        with suppress(Exception):  # a damaged row may hold values of any type and size
            computed = row.computed
        if computed != row.hash and self._emptied.covers(pruned_ranges.JOURNAL, row.id, row.hash, computed):
            computed = row.hash
        from_computed = [chain_hash(before, computed) for before in self._before]
        from_stored = [chain_hash(before, row.hash) for before in self._before]
        if computed != row.hash:
            intact = row.chain in from_computed
            what = "its hash value is damaged, its content is intact" if intact else "not what was stored"
            yield Finding("changed", "journal", row.id, row.id, f"row {row.id}: {what}")
        elif self._before and row.chain not in from_computed:
            what = f"its chain value does not follow from row {row.id - 1}"
            yield Finding("chain", "journal", row.id, row.id, f"row {row.id}: {what}")
        confirmed = row.chain in from_computed or row.chain in from_stored
        self._before = [row.chain] if confirmed else [row.chain, *from_computed, *from_stored]


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that exists (an index or a neighbour shows it) but is on a damaged page."""

    id: int


def open_sealed(vault: Vault, row: JournalRow) -> dict[str, bytes]:
    """The contents of a row's sealed columns.

    Raises:
        IntegrityError, TypeError: one of them is damaged.
    """
    found = {}
    for name in SEALED_COLUMNS:
        sealed = getattr(row, name)
        absent = COLUMNS[name].optional and row.kind != KIND_MESSAGE and sealed == b""
        found[name] = b"" if absent else vault.open(sealed, name, row.id, row.channel)
    return found


def journal_rows(connection: sqlite3.Connection, first: int, last: int) -> Iterator[JournalRow | UnreadableRow]:
    """The rows of the journal, as `read_rows`."""
    for row in read_rows(connection, first, last, ROW_COLUMNS, "journal"):
        yield row if isinstance(row, UnreadableRow) else JournalRow._make(row)


def read_rows(
    connection: sqlite3.Connection, first: int, last: int, columns: str, table: str, key: str = "id"
) -> Iterator[tuple[Any, ...] | UnreadableRow]:
    """The rows of a table by number, ascending, in short transactions; around damage one by one.

    SQLite may not notice a damaged page: one cell with a wrong number in it ends a range early, or is a row out of its
    place. So a range with a hole is read from its other end, too, and where the two differ, number by number.
    ``columns`` begins with ``key``, or names it.
    """
    select = f"SELECT {columns} FROM {table} WHERE {key}"  # noqa: S608 - constants
    place = [name.strip() for name in columns.split(",")].index(key)
    for begin in range(first, last + 1, CHUNK_ROWS):
        end = min(begin + CHUNK_ROWS - 1, last)
        between = f"{select} BETWEEN ? AND ? ORDER BY {key}"
        try:
            rows = connection.execute(between, (begin, end)).fetchall()
            numbers = [row[place] for row in rows]
            if numbers != list(range(begin, end + 1)):
                backwards = connection.execute(f"{between} DESC", (begin, end)).fetchall()
                if not _ascend(numbers, begin, end) or backwards[::-1] != rows:
                    yield from _one_by_one(connection, select, place, begin, end, [*rows, *backwards])
                    continue
            yield from rows
        except DAMAGE:
            yield from _one_by_one(connection, select, place, begin, end, [])


def _ascend(numbers: list[int], begin: int, end: int) -> bool:
    return all(earlier < later for earlier, later in pairwise([begin - 1, *numbers, end + 1]))


def _one_by_one(
    connection: sqlite3.Connection, select: str, place: int, begin: int, end: int, met: list[tuple[Any, ...]]
) -> Iterator["tuple[Any, ...] | UnreadableRow"]:
    """Read each number on its own; ``met`` are rows that a scan found, which a search may miss."""
    by_walk = {row[place]: row for row in met}
    for row_id in range(begin, end + 1):
        try:
            rows = connection.execute(f"{select} = ?", (row_id,)).fetchall()
        except DAMAGE:
            yield by_walk.get(row_id) or UnreadableRow(row_id)
            continue
        found = next((row for row in rows if row[place] == row_id), None) or by_walk.get(row_id)
        if found is not None:
            yield found


# The store's own sealed columns beside the journal, by table: column, row, channel and content.
_NOTES = {
    "message_state": "SELECT 'message_state', s.id, j.channel, s.detail FROM message_state s"
    " JOIN journal j ON j.id = s.id WHERE s.detail <> x''",
    "delivery": "SELECT 'delivery', d.id, l.channel, d.detail FROM delivery d JOIN lane l ON l.id = d.lane"
    " WHERE d.detail <> x''",
    "attempt": "SELECT 'attempt ' || a.n, a.delivery, l.channel, a.detail FROM attempt a"
    " JOIN delivery d ON d.id = a.delivery JOIN lane l ON l.id = d.lane WHERE a.detail <> x''",
    "line_trace": "SELECT 'line_trace', id, channel, content FROM line_trace",
    "unmapped_code": "SELECT 'unmapped', id, channel, text FROM unmapped_code",
}


def check(connection: sqlite3.Connection, vault: Vault | None) -> Iterator[Finding]:
    """Sealed notes beside the journal; they have no hash of their own, opening them is their check."""
    if vault is None:
        return
    selects = {**_NOTES, **{one.name: one.sealed for one in of_features() if one.sealed}}
    for table, select in selects.items():
        for column, row, channel, sealed in connection.execute(select):
            row_id = row if isinstance(row, int) else sealed_to(row)
            yield from open_one(vault, sealed, column, table, row_id, channel)


def open_one(vault: Vault, sealed: bytes, column: str, table: str, row_id: int, channel: str) -> Iterator[Finding]:
    try:
        vault.open(sealed, column, row_id, channel)
    except IntegrityError as error:
        yield Finding("sealed", table, row_id, row_id, str(error))
