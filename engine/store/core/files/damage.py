"""Distinguish a damaged journal file from one that is locked, full or forbidden, and name the way out.

SQLite's own texts ("malformed", "not a database") do not help people, and neither does a restart.
"""

import sqlite3

from engine.model.errors import DamagedError, StoreError

_PRIMARY = 0xFF
# Without its first page nothing in a file can be found: `labrelay verify` and `journal salvage` cannot read it either.
_NO_BEGINNING = (
    "its first page is damaged, so neither labrelay verify nor labrelay journal salvage can read it: "
    "labrelay restore brings back a backup"
)
_A_PAGE = (
    "labrelay verify shows what is damaged, labrelay journal salvage saves the rest, "
    "labrelay restore brings back a backup"
)


def is_damage(error: BaseException) -> bool:
    """Whether an error means that the bytes read are not those that SQLite wrote."""
    if isinstance(error, UnicodeDecodeError):  # a damaged schema makes error texts that are not valid text
        return True
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def told(text: str, error: Exception, *, fatal: bool = False) -> StoreError:
    """The error to raise where SQLite could not read or write a journal.

    Args:
        text: the failed action; SQLite's own text follows, unless the file is damaged.
    """
    if not is_damage(error):
        return StoreError(text, fatal=fatal)
    advice = _NO_BEGINNING if _code(error) == sqlite3.SQLITE_NOTADB else _A_PAGE
    return DamagedError(text, advice, fatal=fatal)


def _code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY
