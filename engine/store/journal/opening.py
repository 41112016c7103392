"""Open the files of a journal, step by step: the lock, the writer's connection, the key, a new journal's first rows.

What is missing of it is found on the way: by its anchor, and by witnesses elsewhere.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from engine.model.errors import ConfigError, LossError, StoreError
from engine.model.process.clock import Clock
from engine.store.core import anchor as anchor_file
from engine.store.core import connecting, key_encryption_key
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.checks.pruned_ranges import find_loss, find_loss_in, find_total_loss
from engine.store.core.connecting import data_keys
from engine.store.core.files import damage
from engine.store.core.files.durable import sync_folder, sync_way_to
from engine.store.core.files.lock import SiteLock
from engine.store.core.files.ownership import raise_if_foreign
from engine.store.core.files.reserve import Reserve
from engine.store.core.vault import IDENTITY, TOKEN, Vault, check_value, make_kek
from engine.store.core.writing.batch import Batch
from engine.store.integrity import before_upgrade, rollback
from engine.store.integrity.rollback import Witness
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.lifecycle import key_rotation
from engine.store.operations import audit

COMPACTED_NAME = "journal.db.new"  # while `engine.store.recovery.compact` makes it
_PRIMARY = 0xFF
_RIGHTS_OR_ROOM = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL}


class OpenFiles(NamedTuple):
    """The files of a journal, open.

    Attributes:
        notes: as `engine.store.journal.Journal` has them.
        loss: a loss of rows that is accepted. back: later rows are known elsewhere.
    """

    connection: sqlite3.Connection
    vault: Vault
    journal_id: bytes
    notes: list[str]
    reserve: Reserve
    loss: LossError | None
    back: rollback.Rollback | None


def lock_folder(data: Path) -> SiteLock:
    """Make the data folder where there is none, and lock it.

    Raises:
        LockedError: another process writes there.
        StoreError: it cannot be used.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        raise_if_foreign(data)
        return SiteLock.acquire(data)
    except OSError as error:
        raise StoreError(f"{data}: cannot be used for the journal: {error.strerror}") from error


def open_files(
    data: Path,
    path: Path,
    undo: ExitStack,
    *,
    clock: Clock,
    accept_loss: bool,
    key: bytes | None,
    elsewhere: Callable[[bytes], Iterable[Witness]],
) -> OpenFiles:
    """Open the files in a locked folder; the arguments are those of `engine.store.journal.Journal.open`.

    Args:
        undo: gets what closes them.
    """
    with suppress(OSError):  # a compaction that was killed left it
        path.resolve().with_name(COMPACTED_NAME).unlink()
    kept = Reserve(data)
    kept.open()
    reading = anchor_file.read(data / ANCHOR_NAME)
    if not accept_loss and path.exists() and (hidden := find_loss_in(path, reading)):
        raise hidden
    connection = connect(path)
    undo.callback(connection.close)
    loss = find_total_loss(connection, reading)
    if loss is not None and not accept_loss:
        raise loss
    copied = before_upgrade.keep(connection, data, clock)
    connecting.upgrade(connection)
    try:
        notes, vault, journal_id = unlock(connection, data, clock, key)
    except PermissionError as error:
        raise ConfigError(key_encryption_key.not_readable(str(error.filename))) from error
    loss = loss or find_loss(connection, reading, journal_id, vault)
    if loss is not None and not accept_loss:
        raise loss
    back = rollback.find(connection.execute, elsewhere(journal_id), journal_id, vault.anchor_seal)
    if loss is not None and back is not None and back.last:  # a person accepts all missing rows at once
        loss = LossError(back.text, back.first, back.last) if back.last > loss.last else loss
        back = None
    return OpenFiles(connection, vault, journal_id, [copied, *notes] if copied else notes, kept, loss, back)


def connect(path: Path) -> sqlite3.Connection:
    """The writer's connection; a missing file is created (readable by its owner only) and durable."""
    sync_way_to(path.parent)
    fresh = not path.exists()
    if fresh:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(f"{path}: this file system does not carry SQLite's write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -8192")
    connection.execute("PRAGMA busy_timeout = 5000")
    if fresh:
        sync_folder(path.parent)
    return connection


def unlock(
    connection: sqlite3.Connection, data: Path, clock: Clock, given: bytes | None
) -> tuple[list[str], Vault, bytes]:
    """Find or create the key, and the journal's own id; (notes, vault, journal id)."""
    notes: list[str] = []
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    if given is not None and meta.get("key_check") == check_value(given):
        return notes, Vault(given, data_keys(connection)), meta["journal_id"]
    if "key_check" not in meta:
        found = key_encryption_key.first(data)
        if found is None:
            made, note = make_kek(data)
            notes.append(note)
        else:
            made = found.kek
            notes.append(
                f"There was no journal in {data}, and a new one was begun under the key that was there. Where this is "
                "no new site, stop it and look where the old one is: labrelay restore makes one of a copy"
            )
        _found_journal(connection, made, clock)
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    else:
        key_rotation.clear_up(data, meta["key_check"])
    key = key_encryption_key.unlock(data, meta["key_check"])
    return notes, Vault(key.kek, data_keys(connection)), meta["journal_id"]


def _found_journal(connection: sqlite3.Connection, key: bytes, clock: Clock) -> None:
    """Write the first rows of a new journal, in one transaction."""
    maker = Vault(key, ())
    now_us = clock.now_us()
    connection.execute("BEGIN IMMEDIATE")
    for key_id, key_class in enumerate((IDENTITY, TOKEN), start=1):
        wrapped, _ = maker.make(key_id, key_class, "")
        connection.execute(
            "INSERT INTO data_key (id, class, month, wrapped, created_us) VALUES (?, ?, '', ?, ?)",
            (wrapped.id, wrapped.key_class, wrapped.wrapped, now_us),
        )
    connection.executemany(
        "INSERT INTO meta (name, value) VALUES (?, ?)",
        [("journal_id", os.urandom(16)), ("key_check", check_value(key)), ("created_us", now_us), ("boot", 0)],
    )
    connection.execute("COMMIT")


def count_boot(connection: sqlite3.Connection) -> int:
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'boot'")
    return int(connection.execute("SELECT value FROM meta WHERE name = 'boot'").fetchone()[0])


def wal_of(path: Path) -> Path:
    """The log of a database; where that is a link to another disk, SQLite has the log beside the file itself."""
    file = path.resolve()
    return file.with_name(file.name + "-wal")


def unopened(path: Path, error: Exception) -> StoreError:
    """Why the journal cannot be opened. Missing rights or room prove nothing about the file's content, and are no
    reason to doubt it.
    """
    if getattr(error, "sqlite_errorcode", 0) & _PRIMARY not in _RIGHTS_OR_ROOM:
        return damage.told(f"{path}: cannot be opened: {error}", error, fatal=True)
    return StoreError(
        f"{path}: cannot be opened for writing: {error}. The data folder and the files in it have to belong to the "
        "service's user, and the disk needs room"
    )


def note_loss(batch: Batch, loss: LossError, actor: str, reason: str) -> int:
    """Record a loss that a person has accepted; the missing numbers stay unused."""
    what = {"what": str(loss), "first": loss.first, "last": loss.last, "reason": reason}
    act = audit.give_up(batch, actor, "accept-loss", what, [(loss.first, loss.last)] if loss.last else [])
    rollback.begin_history(batch, act)
    rollback.go_on_from_earlier_state(batch, act)
    return act
