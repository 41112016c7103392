"""Numbered schema steps: ``engine/store/schema/NNNN_name.sql``, applied in order, each in one transaction.

``PRAGMA user_version`` holds the number of the last step. It is changed in the same transaction, so a crash leaves
either the old or the new schema, never a mixture. A file is never edited after a release.
"""

import sqlite3
from functools import cache
from pathlib import Path

from engine.model.errors import StoreError

SCHEMA = Path(__file__).parents[1] / "schema"


@cache
def steps() -> list[tuple[int, str]]:
    """Every step of this version: (number, SQL), in order."""
    found = [(int(path.name[:4]), path.read_text("utf-8")) for path in SCHEMA.iterdir() if path.suffix == ".sql"]
    return sorted(found)


def version(connection: sqlite3.Connection) -> int:
    """The number of the last applied step; 0 for an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check(connection: sqlite3.Connection) -> None:
    """Refuse to read a journal with another schema.

    Raises:
        StoreError: its schema is newer than this program, or older (only the daemon upgrades it).
    """
    newest, found = steps()[-1][0], version(connection)
    if found > newest:
        raise StoreError(
            f"the journal has schema {found}, this LabRelay knows {newest} at most: it was written by a newer version. "
            "Install that version or newer. Back to this one leads only the copy from before the upgrade "
            "(before-upgrade in the data folder), and not without a price: docs/operations.md, Going back"
        )
    if found < newest:
        raise StoreError(
            f"the journal has schema {found}, this LabRelay needs {newest}: start the daemon once to upgrade"
        )


def upgrade(connection: sqlite3.Connection, known: list[tuple[int, str]] | None = None) -> int:
    """Apply the missing steps.

    Args:
        connection: in autocommit mode (``isolation_level=None``), writable.
        known: the steps, for tests; by default those of this version.

    Returns:
        The number of applied steps.

    Raises:
        StoreError: the journal is newer than this program, or a step failed; the journal is then unchanged.
    """
    known = steps() if known is None else known
    found = version(connection)
    if found > known[-1][0]:
        check(connection)
    missing = [(number, sql) for number, sql in known if number > found]
    for number, sql in missing:
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\n;PRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise StoreError(f"schema step {number:04} failed, the journal is unchanged: {error}") from error
    return len(missing)
