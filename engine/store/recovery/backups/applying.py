"""Put the files beside a copy into the journal that is made of it, in the order in which they were written.

A state snapshot shows the moment of its last row (`engine.store.recovery.backups.state_snapshot`), so each comes behind
the piece that ends with that row, and before later ones: an erasure in a later piece finds what it has to delete. Each
file is one transaction. The number of the last snapshot is in the table ``meta`` until the journal is complete: a spare
goes on there after a kill (`engine.store.recovery.backups.following`), and applies at most one snapshot a second time,
which changes nothing.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.model.errors import IntegrityError
from engine.store.core import key_encryption_key
from engine.store.core.chain import PUT_ROW, JournalRow
from engine.store.core.checks import pruned_ranges
from engine.store.core.connecting import Execute, data_keys
from engine.store.core.vault import Vault, WrappedKey
from engine.store.lifecycle import key_rotation
from engine.store.recovery.backups import decisions, increments, state_snapshot
from engine.store.recovery.backups.catalog import Copy, Increment, StateSnapshot

_STANDS = "stands"  # of `meta`: the number of the last snapshot, and its last row
ENDED = -1  # in place of that number: no file is applied any more
_PUT_KEY = "INSERT OR IGNORE INTO data_key (id, class, month, wrapped, created_us) VALUES (?, ?, ?, ?, ?)"


@dataclass(eq=False)
class Applying:
    """
    Attributes:
        connection: of the new journal; no transaction is open.
        kek, places: the key of the copy, and folders to search for a newer one.
        said: called with the newest row after each piece.
        wrong: what cannot be applied, and why. waiting: those files, and the ones behind them.
        last_id, chain: of the newest row. number, stands_to: of the last snapshot, or `ENDED`, and its last row.
        is_known: the journal has a note of that.
    """

    connection: sqlite3.Connection
    copy: Copy
    kek: bytes
    places: Sequence[Path]
    said: Callable[[int], object]
    wrong: list[str] = field(default_factory=list)
    waiting: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        execute = self.connection.execute
        row = execute("SELECT id, chain FROM journal ORDER BY id DESC LIMIT 1").fetchone()
        self.last_id: int = row[0] if row is not None else 0
        self.chain: bytes = row[1] if row is not None else bytes(32)
        kept = execute("SELECT value FROM meta WHERE name = ?", (_STANDS,)).fetchone()
        self.is_known = kept is not None
        self.number, self.stands_to = map(int, kept[0].split()) if kept else (0, self.copy.manifest.last_id)

    @property
    def vault(self) -> Vault:
        return Vault(self.kek, data_keys(self.connection))

    def run(self, *, waits: bool = False) -> int:
        """Apply what is there and not yet in the journal; return how many rows that were.

        Args:
            waits: a damaged file ends this, for it may be whole later; else rows go on without the states.
        """
        self.wrong.clear()
        states = deque(one for one in self.copy.standings() if one.number > self.number)
        pieces = deque(one for one in self.copy.pieces() if one.last > self.last_id)
        rows = 0
        try:
            while states:
                while pieces and pieces[0].first <= states[0].last:
                    rows += self._piece(pieces[0])
                    pieces.popleft()
                if not self._state(states[0], waits):
                    break
                states.popleft()
            while pieces:
                rows += self._piece(pieces[0])
                pieces.popleft()
        except (IntegrityError, OSError) as error:
            self.wrong.append(f"{error}; rows from {self.last_id + 1} on are not restored")
        self.waiting = [one.path for one in states] + [one.path for one in pieces]
        return rows

    def _piece(self, piece: Increment) -> int:
        """Raises IntegrityError or OSError: it is damaged, or does not go on from what is before it."""
        content = increments.read(piece.path)
        if content.before != self.chain or content.journal_id.hex() != self.copy.manifest.journal_id:
            raise IntegrityError(f"{piece.path}: does not go on from what is before it")
        emptied = {number for what, number, _, _ in content.erased if what == pruned_ranges.JOURNAL}
        after = self.chain
        for one in content.rows:
            after = _checked(piece.path, one, after, emptied)
        keys = self._keys(content.keys)
        with transaction(self.connection):
            self.connection.executemany(_PUT_KEY, keys)
            gaps = [(*gap, gap[1] + 1) for gap in content.gaps]
            self.connection.executemany("INSERT OR IGNORE INTO gap (first_id, last_id, act) VALUES (?, ?, ?)", gaps)
            self.connection.executemany(PUT_ROW, content.rows)
            if content.erased:
                decisions.run(self.connection, self.vault, content, self.stands_to + 1)
        self.last_id, self.chain = content.last, after
        self.said(self.last_id)
        return len(content.rows)

    def _state(self, state: StateSnapshot, waits: bool) -> bool:
        """Apply a snapshot; whether later ones can follow."""
        try:
            if state.number != self.number + 1:
                raise IntegrityError(f"{self.copy.path}: the file before {state.path.name} is missing")
            state_snapshot.check(state)
            self.connection.executemany(_PUT_KEY, self._keys(state_snapshot.keys(state)))
            state_snapshot.apply(self.connection, state, bytes.fromhex(self.copy.manifest.journal_id))
        except (IntegrityError, OSError) as error:
            if waits:
                raise
            self.wrong.append(f"{error}; the state of messages from {self.stands_to + 1} on is not restored")
            return False
        self.number, self.stands_to = state.number, state.last
        self.note(state.number)
        return True

    def note(self, number: int) -> None:
        """Note the last snapshot, or that this has `ENDED`."""
        said = f"{number} {self.stands_to}"
        self.connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (_STANDS, said))

    def _keys(self, keys: list[tuple[int, str, str, bytes, int]]) -> list[tuple[Any, ...]]:
        """The data keys that are not known yet, wrapped by the copy's key.

        Raises:
            IntegrityError: the site's key was rotated since, and the newer one was not found.
        """
        known = {row[0] for row in self.connection.execute("SELECT id FROM data_key")}
        created = {row[0]: row[4] for row in keys}
        fresh = [WrappedKey(*row[:4]) for row in keys if row[0] not in known]
        others = [one.kek for place in self.places for one in key_encryption_key.candidates(place)] if fresh else []
        return [
            (one.id, one.key_class, one.month, one.wrapped, created[one.id])
            for one in key_rotation.wrapped_again(fresh, self.kek, others)
        ]


def forget(execute: Execute) -> None:
    """The journal is complete."""
    execute("DELETE FROM meta WHERE name = ?", (_STANDS,))


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _checked(path: Path, row: JournalRow, chain: bytes, emptied: set[int]) -> bytes:
    """The chain value behind a row that continues ``chain``."""
    changed = row.computed != row.hash and row.id not in emptied
    if not row.follows(chain) or changed:
        raise IntegrityError(f"{path}: row {row.id} is not what was stored")
    return row.chain
