"""Rewrite the journal's file without its unused space. Without the daemon.

The new file is written beside the old one and renamed over it in one step: a crash leaves the one or the other, whole.
"""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from engine.model.errors import StoreError
from engine.store.core import anchor
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.checks.pruned_ranges import COMPACT_DUE, find_loss_in, last_number
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.files.durable import write_atomically
from engine.store.core.files.lock import SiteLock
from engine.store.journal.opening import COMPACTED_NAME

SPARE_BYTES = 64 * 1024 * 1024  # that must be free beside the new file


@dataclass(frozen=True, slots=True)
class CompactResult:
    """Bytes of the file, before and after."""

    before: int
    after: int


def run(data: Path) -> CompactResult:
    """Compact the journal in folder ``data``.

    Raises:
        LockedError: a daemon has it.
        LossError: rows are missing from it, or loss cannot be ruled out.
        StoreError: there is none, it cannot be read completely, or the new file has no room. The old file stays
            unchanged.
    """
    path = (data / JOURNAL_NAME).resolve()  # a link to another disk stays a link
    if not path.exists():
        raise StoreError(f"{path}: there is no journal")
    with SiteLock.acquire(data):
        try:
            # What the log hides behind a damaged frame would be gone afterwards.
            if (loss := find_loss_in(path, anchor.read(data / ANCHOR_NAME))) is not None:
                raise loss
            before, free = path.stat().st_size, shutil.disk_usage(path.parent).free
            if free < before + SPARE_BYTES:
                need = (before + SPARE_BYTES - free) >> 20
                raise StoreError(f"{path.parent}: no room for a second copy of the journal; make {need + 1} MiB free")
            with write_atomically(path, path.with_name(COMPACTED_NAME)) as new:
                _copy(path, new)
        except sqlite3.Error as error:
            raise StoreError(f"{path}: cannot be compacted: {error}; labrelay verify says what is wrong") from error
        return CompactResult(before, path.stat().st_size)


def _copy(path: Path, new: Path) -> None:
    """Write all of ``path`` into ``new``, and leave no rows in the old file's log."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreError(f"{path}: another process is reading it; try again")
        connection.execute("VACUUM INTO ?", (str(new),))
        kept = _identity(connection)
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute("DELETE FROM meta WHERE name = ?", (COMPACT_DUE,))
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok" or _identity(connection) != kept:
            raise StoreError(f"{path}: the new file is not the same; it was thrown away")
    # The old file's log is empty and was removed with its last connection; a remaining one would be taken for the new
    # file's.
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _identity(connection: sqlite3.Connection) -> tuple[object, ...]:
    """The counts and ids that must be the same afterwards."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    last = last_number(connection.execute)
    chain = connection.execute("SELECT chain FROM journal ORDER BY id DESC LIMIT 1").fetchone()
    counts = tuple(
        connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - constants
        for table in ("journal", "document", "delivery", "message_state")
    )
    return version, last, chain, counts
