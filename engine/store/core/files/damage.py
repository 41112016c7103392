"""The errors of a journal's file: damaged, locked, full or forbidden; which of them it survives, and the way out.

SQLite's own texts ("malformed", "not a database") do not help people, and neither does a restart.
"""

import sqlite3

from engine.model.errors import DamagedError, LabRelayError, NoRoomError, StoreError

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


# Errors of a write that did not happen: the transaction is rolled back, and the next one may succeed.
_RECOVERABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY}
# Errors after which the content of the disk is unknown, or not a database any more.
_FATAL_ANYWHERE = {
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}


def failure(error: Exception) -> StoreError:
    """The error after which the process stops: the database failed."""
    return told(f"the journal failed: {describe(error)}", error, fatal=True)


def fault_of_ours(error: Exception) -> StoreError:
    """The same, where the writer itself failed."""
    return StoreError(f"the journal writer failed: {type(error).__name__}", fatal=True)


def is_fatal(error: BaseException, *, committing: bool) -> bool:
    """Whether the process must stop rather than go on with this journal."""
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(error, sqlite3.Error) or code is None:
        return False
    if code in _FATAL_ANYWHERE or code & _PRIMARY in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return True
    return committing and code not in _RECOVERABLE and code & _PRIMARY not in _RECOVERABLE


def describe(error: BaseException) -> str:
    """A database error for logs: its name and SQLite's own text, which never contains values."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{name}: {error}" if name else f"{type(error).__name__}: {error}"


def is_store_fault(error: BaseException | None) -> bool:
    """Whether the database failed, and not the operation."""
    return isinstance(error, NoRoomError) or (
        isinstance(error, StoreError) and isinstance(error.__cause__, sqlite3.Error)
    )


def is_full(error: BaseException | None) -> bool:
    """Whether the disk had no room for an operation."""
    cause = error.__cause__ if error is not None else None
    return getattr(cause, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)


def translated(error: Exception) -> Exception:
    """The error that the submitter gets."""
    if isinstance(error, LabRelayError):
        return error
    if isinstance(error, sqlite3.Error):
        kept = StoreError(f"the journal cannot keep this: {describe(error)}")
        kept.__cause__ = error
        return kept
    return error
