"""Short read transactions on one journal file, each with a deadline, and the keys to its sealed columns.

Every query gets a `Reader` (`engine.store.queries`).
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from engine.model.errors import ConfigError, StoreError, TooSlowError
from engine.store.core.connecting import DAMAGE, JOURNAL_NAME, access, connect, read_vault
from engine.store.core.files import damage
from engine.store.core.rows import Execute
from engine.store.core.vault import Vault

DEADLINE_S = 2.0
_STEPS_BETWEEN_LOOKS = 1000


@dataclass(frozen=True, slots=True)
class Rows:
    """One snapshot, for functions that also work on a batch."""

    execute: Execute
    vault: Vault


class Reader:
    """Read access to one journal file.

    Attributes:
        path: the journal's file.
        keys: as `vault`; None where they were not found.
        immutable: the file cannot change while it is open (read-only folder, lock held).
        deadline_s: how long a query may take.
        notes: messages that a person must get once, prominently.
        is_whole: it sees all rows, and not those of some channels alone (`engine.store.queries.within`).
    """

    is_whole = True

    def __init__(self, path: Path, vault: Vault | None, *, immutable: bool = False) -> None:
        self.deadline_s = DEADLINE_S
        self.path = path
        self.keys = vault
        self.immutable = immutable
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self.notes: list[str] = []
        self._why_closed = "the key of this journal is not at hand here"
        self._held = ExitStack()

    @classmethod
    def beside(cls, data: Path) -> Self:
        """Open the journal in folder ``data`` for reading, beside a running daemon or without one; changes nothing.

        Raises:
            ConfigError: the key file is malformed or readable by others.
            IntegrityError: the key is another one.
            StoreError: there is no journal yet, or it cannot be read, or has another version.
            LockedError: it can only be read alone, and a daemon has it.
        """
        path = data / JOURNAL_NAME
        if not path.exists():
            raise StoreError(f"{path}: there is no journal yet; the first labrelay run makes it")
        with ExitStack() as held:
            immutable = held.enter_context(access(path))
            vault, notes, why_closed = read_vault(path, data, immutable=immutable)
            reader = cls(path, vault, immutable=immutable)
            reader.notes += notes
            reader._why_closed = why_closed
            reader._held = held.pop_all()
        return reader

    def close(self) -> None:
        """Close all connections, and release the lock if there is one."""
        self._close_idle()
        self._held.close()

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @property
    def vault(self) -> Vault:
        """The unlocked keys.

        Raises:
            ConfigError: this process does not have them.
        """
        if self.keys is None:
            raise ConfigError(self._why_closed)
        return self.keys

    @contextmanager
    def snapshot(self) -> Iterator[Execute]:
        """One short read transaction; yields the ``execute`` of its connection.

        Raises:
            TooSlowError: the deadline passed.
            StoreError: the file cannot be read.
        """
        try:
            connection = self._take()
            deadline = time.monotonic() + self.deadline_s
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
            connection.execute("BEGIN")
        except DAMAGE as error:
            raise damage.told(f"{self.path}: cannot be read: {error}", error) from error
        try:
            yield connection.execute
        except DAMAGE as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise TooSlowError(f"the query took longer than {self.deadline_s:g} s; narrow it") from error
            raise damage.told(f"{self.path}: cannot be read: {error}", error) from error
        finally:
            self._give_back(connection)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of one statement, in a snapshot of its own."""
        with self.snapshot() as execute:
            return execute(statement, values).fetchall()

    def row(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The first row of one statement, in a snapshot of its own; None without one."""
        with self.snapshot() as execute:
            return execute(statement, values).fetchone()

    @contextmanager
    def unhurried(self) -> Iterator[Execute]:
        """The ``execute`` of a connection without a deadline: for people who ask for a scan of the whole file."""
        with closing(self._connect()) as connection:
            yield connection.execute

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        return connect(self.path, immutable=self.immutable)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        connection.set_progress_handler(None, 0)
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._lock:
            if len(self._idle) < 4:
                self._idle.append(connection)
                return
        connection.close()

    def note(self, sealed: bytes | None, column: str, row_id: int, channel: str) -> bytes:
        """Open a sealed note; empty without one, or without the keys."""
        return self.keys.open(sealed, column, row_id, channel) if sealed and self.keys is not None else b""
