"""Read-only connections to a journal file, beside a running daemon or without one.

One transaction for reading: the writer's batch, or a reader's snapshot.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from engine.model.errors import StoreError
from engine.model.journal.hashes import unpack_reports
from engine.model.journal.records import JOURNAL_NAME as JOURNAL_NAME
from engine.model.message import Report
from engine.model.packing import unpack
from engine.store.core import key_encryption_key, migrate
from engine.store.core.files import damage
from engine.store.core.files.lock import SiteLock
from engine.store.core.vault import KEY_NAME, Vault, WrappedKey

# Errors that a damaged file may raise; a damaged schema makes error texts that are not valid text.
DAMAGE = (sqlite3.Error, UnicodeDecodeError)


def connect(
    path: Path, *, immutable: bool = False, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """A read-only connection. Each statement outside a transaction is a short transaction of its own."""
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=factory)
    connection.execute("PRAGMA query_only = 1")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA cache_size = -2048")
    return connection


@contextmanager
def access(path: Path) -> Iterator[bool]:
    """Choose how a journal file can be read. Yields whether as an immutable file; if so, the lock is held meanwhile.

    A reader needs SQLite's shared-memory files. In a folder that we cannot write, without a daemon that has made them,
    the file is read as it is, under the lock, so that no daemon starts meanwhile.

    Raises:
        StoreError: it cannot be read, or has another schema version; DamagedError: it is damaged.
        LockedError: it can only be read alone, and a daemon has it.
    """
    lock: SiteLock | None = None
    try:
        try:
            with closing(connect(path)) as connection:
                migrate.check(connection)
        except sqlite3.OperationalError:
            lock = SiteLock.acquire(path.parent, shared=True)
            with closing(connect(path, immutable=True)) as connection:
                migrate.check(connection)
        yield lock is not None
    except DAMAGE as error:
        raise damage.told(f"{path}: cannot be read: {error}", error) from error
    finally:
        if lock is not None:
            lock.release()


def key_check(connection: sqlite3.Connection) -> bytes:
    """The check of the journal's key.

    Raises:
        StoreError: the journal has none: the daemon has made its tables, and its first rows are not written yet.
    """
    row = connection.execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()
    if row is None:
        raise StoreError(
            "the journal has no check of its key: the first labrelay run is making it, or was stopped before that was "
            "done; start labrelay run, and ask again"
        )
    return bytes(row[0])


def data_keys(connection: sqlite3.Connection) -> list[WrappedKey]:
    """The journal's data keys, as they are stored."""
    return [WrappedKey(*row) for row in connection.execute("SELECT id, class, month, wrapped FROM data_key")]


def read_vault(path: Path, data: Path, *, immutable: bool) -> tuple[Vault | None, list[str], str]:
    """The unlocked keys where this process may read the key, else None; a note about the failure; and the fix.

    Raises:
        StoreError: as `key_check`.
    """
    with closing(connect(path, immutable=immutable)) as connection:
        connection.execute("BEGIN")
        expected = key_check(connection)
        keys = data_keys(connection)
    try:
        if next(key_encryption_key.candidates(data), None) is None:
            note = f"{data / KEY_NAME}: not here; sealed columns stay closed"
            return None, [note], key_encryption_key.not_there(data, key_encryption_key.key_id(expected))
        return Vault(key_encryption_key.unlock(data, expected).kek, keys), [], ""
    except PermissionError as error:
        note = f"{error.filename}: not readable here; sealed columns stay closed"
        return None, [note], key_encryption_key.not_readable(str(error.filename))


Execute = Callable[..., sqlite3.Cursor]


class Rows(Protocol):
    """Statements of one transaction, and the keys."""

    @property
    def execute(self) -> Execute: ...
    @property
    def vault(self) -> Vault: ...


def body_of(rows: Rows, document_id: int) -> bytes:
    """A stored document.

    Raises:
        IntegrityError, ValueError: it cannot be opened or unpacked.
    """
    sealed, channel = rows.execute(
        "SELECT o.body, j.channel FROM document o JOIN journal j ON j.id = o.message_id WHERE o.id = ?", (document_id,)
    ).fetchone()
    body, packed = rows.vault.open_packed(sealed, "document", document_id, channel)
    del sealed  # of a large document each copy counts
    return unpack(body) if packed else body


def reports_of(rows: Rows, message_id: int) -> list[Report]:
    """The reports that the documents of a message carry."""
    found = rows.execute("SELECT reports FROM document WHERE message_id = ?", (message_id,)).fetchall()
    return [report for (packed,) in found for report in unpack_reports(packed)]
