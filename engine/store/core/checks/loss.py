"""Compare a journal with its anchor: are all acknowledged rows still there?"""

import sqlite3
from contextlib import closing
from hmac import compare_digest
from pathlib import Path

from engine.model.errors import LossError
from engine.store.core import migrate
from engine.store.core.anchor import AnchorState
from engine.store.core.checks import pruned_ranges
from engine.store.core.connecting import Execute
from engine.store.core.vault import Vault


def find_loss_in(path: Path, reading: AnchorState) -> LossError | None:
    """Find out whether rows are missing from the journal in ``path``, before it is opened for writing and without
    changing its files.

    A writable connection empties the log when it closes: commits behind a damaged frame would be gone for good, while
    `engine.store.recovery.salvage` can still read them.

    Raises:
        sqlite3.Error: the file cannot be read.
        StoreError: this version cannot read it.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as connection:
        try:
            migrate.check_readable(connection)
            return _loss_in(connection, reading)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
            return None  # power failed before the new file had a log: a writable connection rolls that back


def _loss_in(connection: sqlite3.Connection, reading: AnchorState) -> LossError | None:
    loss = find_total_loss(connection, reading)
    if loss is not None or not _has(connection, "meta"):
        return loss
    row = connection.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
    return find_loss(connection, reading, row[0]) if row is not None else None


def _has(connection: sqlite3.Connection, table: str) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0])


def find_total_loss(connection: sqlite3.Connection, reading: AnchorState) -> LossError | None:
    """Whether the file holds no journal where the anchor knows one: it must not be taken for a new one."""
    mark = reading.mark
    if mark is None or mark.last_id == 0:
        return None
    if (
        _has(connection, "meta")
        and connection.execute("SELECT count(*) FROM meta WHERE name = 'journal_id'").fetchone()[0]
    ):
        return None
    return LossError(f"rows 1 to {mark.last_id} were acknowledged and there is no journal", 1, mark.last_id)


def find_loss(
    connection: sqlite3.Connection, reading: AnchorState, journal_id: bytes, vault: Vault | None = None
) -> LossError | None:
    """None where journal and anchor agree. An anchor behind the journal is normal: it is written after the commit.

    Args:
        reading: read *before* this call, since a daemon may write meanwhile.
        vault: the keys; without them the seal of the anchor is not checked.
    """
    mark = reading.mark
    last_id = last_number(connection.execute)
    if mark is None:
        if last_id == 0:
            return None
        what = "cannot be read: both of its slots are damaged" if reading.exists else "is missing"
        return LossError(f"the journal has rows 1 to {last_id}, but its anchor {what}; loss cannot be ruled out")
    if mark.journal_id != journal_id:
        return LossError("the anchor belongs to another journal: this one is a copy of another's, or was made anew")
    if vault is not None and not compare_digest(mark.seal, vault.anchor_seal(mark.said)):
        return LossError(
            "the anchor was not written with this journal's key: rows may have been cut off, and it was made to fit"
        )
    if mark.last_id > last_id:
        first, last = last_id + 1, mark.last_id
        return LossError(f"rows {first} to {last} were acknowledged and are not in the journal", first, last)
    if mark.last_id == 0:
        return None
    row = connection.execute("SELECT chain FROM journal WHERE id = ?", (mark.last_id,)).fetchone()
    if row is None and _was_let_go(connection, mark.last_id):
        return None
    if row is None:
        return LossError(f"row {mark.last_id} was acknowledged and is not in the journal", mark.last_id, mark.last_id)
    if row[0] != mark.chain:
        return LossError(f"row {mark.last_id} is not the one that was acknowledged under this number")
    return None


def _was_let_go(connection: sqlite3.Connection, row_id: int) -> bool:
    """Whether retention has deleted the row: an old anchor may still name it."""
    found = pruned_ranges.around(connection.execute, pruned_ranges.JOURNAL, row_id)
    return found is not None and pruned_ranges.is_vouched_for(connection.execute, found)


def last_number(execute: Execute) -> int:
    """The number of the newest row, or the newest number that was given up as lost."""
    (row,) = execute(
        "SELECT max(coalesce((SELECT max(id) FROM journal), 0), coalesce((SELECT max(last_id) FROM gap), 0))"
    ).fetchone()
    return int(row)
