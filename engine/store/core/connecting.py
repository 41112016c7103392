"""Read-only connections to a journal file, beside a running daemon or without one.

One transaction for reading: the writer's batch, or a reader's snapshot.

Numbered schema steps: ``NNNN_name.sql`` in ``engine/store/schema`` and in the folder of each feature.

Files with one number are one step: that of the core, then those of the features by the alphabet. Steps are applied in
order, each in one transaction.

``PRAGMA user_version`` holds the number of the last step, ``PRAGMA application_id`` a hash of the statements up to it.
Both are changed in the step's own transaction, so a crash leaves either the old or the new schema, never a mixture. A
file is never edited after a release: a change is one more step. Before the first release there is one file, and a
change is made in it. A journal from before that change is recognised by its hash, and refused.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from engine.model.errors import StoreError
from engine.model.journal.hashes import unpack_reports
from engine.model.journal.records import JOURNAL_NAME as JOURNAL_NAME
from engine.model.message import Report
from engine.model.packing import unpack
from engine.store.core import key_encryption_key
from engine.store.core.files import damage
from engine.store.core.files.lock import SiteLock
from engine.store.core.vault import KEY_NAME, Vault, WrappedKey

ENGINE = Path(__file__).parents[2]
PLACES = ("store/schema/[0-9]*.sql", "features/*/[0-9]*.sql")
_BETWEEN_WORDS = re.compile(r"(?:--[^\n]*|\s)+")

Steps = list[tuple[int, str]]


@cache
def steps() -> Steps:
    """Every step of this version: (number, SQL), in order."""
    files = [path for place in PLACES for path in sorted(ENGINE.glob(place))]
    found: dict[int, str] = {}
    for path in files:
        number = int(path.name[:4])
        found[number] = found.get(number, "") + path.read_text("utf-8")
    return sorted(found.items())


def version(connection: sqlite3.Connection) -> int:
    """The number of the last applied step; 0 for an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check(connection: sqlite3.Connection) -> None:
    """Refuse to read a journal with another schema.

    Raises:
        StoreError: as `check_readable`, or its schema is older (only the daemon upgrades it).
    """
    check_readable(connection)
    newest, found = steps()[-1][0], version(connection)
    if found < newest:
        raise StoreError(
            f"the journal has schema {found}, this LabRelay needs {newest}: start the daemon once to upgrade"
        )


def check_readable(connection: sqlite3.Connection, known: Steps | None = None) -> None:
    """Refuse a journal that no step of this version can follow on.

    Args:
        known: the steps, for tests; by default those of this version.

    Raises:
        StoreError: its schema is newer than this program, or it was made by a build with other tables.
    """
    known = steps() if known is None else known
    newest, found = known[-1][0], version(connection)
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    is_other = mark != _mark(known, found) if found <= newest else mark == 0
    if found and is_other:
        raise StoreError(
            "the journal was made by another build of LabRelay, with other tables than this one has, and is left as "
            "it is: open it with that build, or move the data folder aside, and labrelay run begins a new journal"
        )
    if found > newest:
        raise StoreError(
            f"the journal has schema {found}, this LabRelay knows {newest} at most: a newer version wrote it. "
            "Install that version or newer. Back to this one leads only the copy from before the upgrade "
            "(before-upgrade in the data folder), and not without a price: docs/operations.md, Going back"
        )


def upgrade(connection: sqlite3.Connection, known: Steps | None = None) -> int:
    """Apply the missing steps.

    Args:
        connection: in autocommit mode (``isolation_level=None``), writable.
        known: the steps, for tests; by default those of this version.

    Returns:
        The number of applied steps.

    Raises:
        StoreError: as `check_readable`, or a step failed; the journal is then unchanged.
    """
    known = steps() if known is None else known
    check_readable(connection, known)
    found = version(connection)
    missing = [(number, sql) for number, sql in known if number > found]
    for number, sql in missing:
        marks = f"PRAGMA user_version = {number};\nPRAGMA application_id = {_mark(known, number)};"
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\n;{marks}\nCOMMIT;")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise StoreError(f"schema step {number:04} failed, the journal is unchanged: {error}") from error
    return len(missing)


def _mark(known: Steps, number: int) -> int:
    """The mark of a journal that the steps up to ``number`` have made: a hash of their statements, never 0."""
    statements = " ".join(sql for each, sql in known if each <= number)
    digest = sha256(_BETWEEN_WORDS.sub(" ", statements).encode()).digest()
    return int.from_bytes(digest[:4], "big", signed=True) or 1


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
                check(connection)
        except sqlite3.OperationalError:
            lock = SiteLock.acquire(path.parent, shared=True)
            with closing(connect(path, immutable=True)) as connection:
                check(connection)
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
