"""The errors of a write: which of them a journal survives, and the error that each becomes."""

import sqlite3

from engine.model.errors import LabRelayError, NoRoomError, StoreError
from engine.store.core.files import damage

# Errors of a write that did not happen: the transaction is rolled back, and the next one may succeed.
_RECOVERABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY}
# Errors after which the content of the disk is unknown, or not a database any more.
_FATAL_ANYWHERE = {
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}
_PRIMARY = 0xFF


def failure(error: Exception) -> StoreError:
    """The error after which the process stops: the database failed."""
    return damage.told(f"the journal failed: {describe(error)}", error, fatal=True)


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
        told = StoreError(f"the journal cannot keep this: {describe(error)}")
        told.__cause__ = error
        return told
    return error
