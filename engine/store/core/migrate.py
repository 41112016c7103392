"""Numbered schema steps: ``NNNN_name.sql`` in ``engine/store/schema`` and in the folder of each feature.

Files with one number are one step: that of the core, then those of the features by the alphabet. Steps are applied in
order, each in one transaction.

``PRAGMA user_version`` holds the number of the last step, ``PRAGMA application_id`` a hash of the statements up to it.
Both are changed in the step's own transaction, so a crash leaves either the old or the new schema, never a mixture. A
file is never edited after a release: a change is one more step. Before the first release there is one file, and a
change is made in it. A journal from before that change is recognised by its hash, and refused.
"""

import re
import sqlite3
from functools import cache
from hashlib import sha256
from pathlib import Path

from engine.model.errors import StoreError

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
