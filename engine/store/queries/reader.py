"""Short read transactions on one journal file, each with a deadline, and the keys to its sealed columns.

Every query gets a `Reader` (`engine.store.queries`).

Read contents: the bytes of a message, a frame or a document, or the reason why they are gone.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from engine.model.errors import AbsentError, ErasedError, KeyAbsentError, StoreError, TooSlowError
from engine.model.journal.hashes import unpack_reports
from engine.model.message import Report, Stored
from engine.model.texts.reasons import ReasonCode
from engine.store.core import anchor
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import absence
from engine.store.core.connecting import DAMAGE, JOURNAL_NAME, Execute, access, connect, read_vault
from engine.store.core.files import damage
from engine.store.core.vault import Vault

DEADLINE_S = 2.0
_STEPS_BETWEEN_LOOKS = 1000


@dataclass(frozen=True, slots=True)
class Rows:
    """One snapshot, for functions that also work on a batch."""

    execute: Execute
    vault: Vault


class Reader:
    """Read access to one journal file.

    Attributes:
        path: the journal's file.
        keys: as `vault`; None where they were not found.
        immutable: the file cannot change while it is open (read-only folder, lock held).
        deadline_s: how long a query may take.
        notes: messages that a person must get once, prominently.
        is_whole: it sees all rows, and not those of some channels alone (`engine.store.queries.within`).
    """

    is_whole = True

    def __init__(self, path: Path, vault: Vault | None, *, immutable: bool = False) -> None:
        self.deadline_s = DEADLINE_S
        self.path = path
        self.keys = vault
        self.immutable = immutable
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self.notes: list[str] = []
        self._why_closed = "the key of this journal is not at hand here"
        self._held = ExitStack()

    @classmethod
    def beside(cls, data: Path) -> Self:
        """Open the journal in folder ``data`` for reading, beside a running daemon or without one; changes nothing.

        Raises:
            ConfigError: the key file is malformed or readable by others.
            IntegrityError: the key is another one.
            StoreError: there is no journal yet, or it cannot be read, or has another version.
            LockedError: it can only be read alone, and a daemon has it.
        """
        path = data / JOURNAL_NAME
        if not path.exists():
            raise StoreError(f"{path}: there is no journal yet; the first labrelay run makes it")
        with ExitStack() as held:
            immutable = held.enter_context(access(path))
            vault, notes, why_closed = read_vault(path, data, immutable=immutable)
            reader = cls(path, vault, immutable=immutable)
            reader.notes += notes
            reader._why_closed = why_closed
            reader._held = held.pop_all()
        return reader

    def close(self) -> None:
        """Close all connections, and release the lock if there is one."""
        self._close_idle()
        self._held.close()

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @property
    def vault(self) -> Vault:
        """The unlocked keys.

        Raises:
            KeyAbsentError: this process does not have them.
        """
        if self.keys is None:
            raise KeyAbsentError(self._why_closed)
        return self.keys

    @contextmanager
    def snapshot(self) -> Iterator[Execute]:
        """One short read transaction; yields the ``execute`` of its connection.

        Raises:
            TooSlowError: the deadline passed.
            StoreError: the file cannot be read.
        """
        try:
            connection = self._take()
            deadline = time.monotonic() + self.deadline_s
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
            connection.execute("BEGIN")
        except DAMAGE as error:
            raise damage.told(f"{self.path}: cannot be read: {error}", error) from error
        try:
            yield connection.execute
        except DAMAGE as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise TooSlowError(f"the query took longer than {self.deadline_s:g} s; narrow it") from error
            raise damage.told(f"{self.path}: cannot be read: {error}", error) from error
        finally:
            self._give_back(connection)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of one statement, in a snapshot of its own."""
        with self.snapshot() as execute:
            return execute(statement, values).fetchall()

    def row(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The first row of one statement, in a snapshot of its own; None without one."""
        with self.snapshot() as execute:
            return execute(statement, values).fetchone()

    @contextmanager
    def unhurried(self) -> Iterator[Execute]:
        """The ``execute`` of a connection without a deadline: for people who ask for a scan of the whole file."""
        with closing(self._connect()) as connection:
            yield connection.execute

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        return connect(self.path, immutable=self.immutable)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        connection.set_progress_handler(None, 0)
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._lock:
            if len(self._idle) < 4:
                self._idle.append(connection)
                return
        connection.close()

    def note(self, sealed: bytes | None, column: str, row_id: int, channel: str) -> bytes:
        """Open a sealed note; empty without one, or without the keys."""
        return self.keys.open(sealed, column, row_id, channel) if sealed and self.keys is not None else b""


def stored_payload(reader: Reader, row_id: int) -> bytes:
    """The bytes of a message or frame, as received.

    Raises:
        StoreError: there is no such row.
        IntegrityError: the stored bytes are damaged.
    """
    row = reader.row("SELECT body, channel FROM journal WHERE id = ?", (row_id,))
    if row is None:
        raise why_absent(reader, "row", row_id)
    content = reader.vault.open(row[0], "body", row_id, row[1])
    return content or _unless_erased(reader, "row", pruned_ranges.JOURNAL, row_id)


def stored_document(reader: Reader, document_id: int) -> bytes:
    """A stored document; raises as `stored_payload`."""
    row = reader.row(
        "SELECT o.body, j.channel FROM document o JOIN journal j ON j.id = o.message_id WHERE o.id = ?", (document_id,)
    )
    if row is None:
        raise AbsentError(f"there is no document {document_id}")
    content = reader.vault.open(row[0], "document", document_id, row[1])
    return content or _unless_erased(reader, "document", pruned_ranges.DOCUMENT, document_id)


def stored_message(reader: Reader, message_id: int) -> Stored:
    """A message as the mapping gets it; raises as `stored_payload`."""
    row = reader.row(
        "SELECT id, channel, seq, received_us, message_type, meta, body FROM journal WHERE id = ? AND kind = 1",
        (message_id,),
    )
    if row is None:
        raise why_absent(reader, "message", message_id)
    stored = open_stored(reader, row)
    if not stored.payload:
        _unless_erased(reader, "message", pruned_ranges.JOURNAL, message_id)
    return stored


def reports_of(reader: Reader, document_id: int) -> frozenset[Report]:
    """The reports that a stored document carries."""
    row = reader.row("SELECT reports FROM document WHERE id = ?", (document_id,))
    return frozenset(unpack_reports(row[0])) if row is not None else frozenset()


def why_absent(reader: Reader, kind: str, row_id: int) -> StoreError:
    """Why a row is missing, as the error to raise (`engine.store.core.checks.pruned_ranges`)."""
    if not reader.is_whole:  # it may be another's
        return AbsentError(f"there is no {kind} {row_id}")
    try:
        mark = anchor.read(reader.path.with_name(ANCHOR_NAME)).mark
    except StoreError:  # not for us to read: the journal speaks for itself
        mark = None
    with reader.snapshot() as execute:
        return absence(execute, kind, row_id, vault=reader.keys, mark=mark)


def open_stored(reader: Reader, row: Sequence[Any]) -> Stored:
    row_id, channel, seq, received_us, message_type, sealed_meta, sealed_body = row
    meta = orjson.loads(reader.vault.open(sealed_meta, "meta", row_id, channel))
    return Stored(
        id=row_id,
        channel=channel,
        seq=seq,
        payload=reader.vault.open(sealed_body, "body", row_id, channel),
        received_us=received_us,
        control_id=meta["id"],
        message_type=message_type,
        repeat_of=meta.get("repeat_of"),
        equal_to=meta.get("equal_to"),
        rejected_before=meta.get("rejected_before", 0),
        same_id_other_bytes=meta.get("other_bytes", False),
        filtered=ReasonCode[meta["filtered"]] if "filtered" in meta else None,
    )


def _unless_erased(reader: Reader, kind: str, what: str, number: int) -> bytes:
    """The empty content of a row that came empty.

    Raises:
        ErasedError: the content was erased.
    """
    with reader.snapshot() as execute:
        act = pruned_ranges.act_of(execute, what, number)
    if act:
        raise ErasedError(f"{kind} {number} was erased (act {act})")
    return b""
