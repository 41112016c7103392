"""Rows that are gone or emptied by right, and why a number has no message: a lost one must not look like that.

`engine.store.lifecycle.retention` writes the records of deletions, and explains them. A number below the newest without
a row was pruned by it, or given up by a person (table ``gap``: a salvage, a restore, an accepted loss), or its row is
missing: a damaged page.

`engine.store.lifecycle.erasure` replaces the content of a row by an empty, sealed one and leaves the row's hash as it
is, so chain and anchor stay valid. A record attests that such a row no longer matches its hash. The record is a row of
the journal of kind 5, numbered, chained and anchored like all others; its ``token`` has 16 bytes for each erased row::

    SHA-256("labrelay erased" | what | number | stored hash | hash of the row as it is now)[:16]     store/core/chain.py

So a check needs no key, and nothing can empty a row, or change an emptied one, without leaving a trace.

Compare a journal with its anchor: are all acknowledged rows still there?
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from hmac import compare_digest
from itertools import groupby
from pathlib import Path

import orjson

from engine.model.errors import AbsentError, IntegrityError, LossError, StoreError
from engine.model.journal import records
from engine.model.journal.records import KIND_ERASED, KIND_PRUNED
from engine.model.process.clock import from_us
from engine.model.texts.phrases import N_, Said
from engine.store.core import connecting
from engine.store.core.anchor import AnchorState, Mark
from engine.store.core.chain import digests_in, erased_digest, pruned_digest
from engine.store.core.connecting import Execute
from engine.store.core.vault import Vault

JOURNAL = "journal"
DOCUMENT = "document"
ORDER = "order"  # items of the worklist


_COLUMNS = "what, first, last, chain, record"


@dataclass(frozen=True, slots=True)
class Range:
    """A range of removed numbers, of one kind of rows.

    Attributes:
        what: `JOURNAL`, `DOCUMENT`, `ORDER` or the result of `lane`.
        chain: for the journal, the chain value of the last row; else empty.
        record: the row of the journal that attests it.
    """

    what: str
    first: int
    last: int
    chain: bytes
    record: int

    @property
    def digest(self) -> bytes:
        return pruned_digest(self.what, self.first, self.last, self.chain)


def lane(lane_id: int) -> str:
    """The kind of one lane's deliveries, by their numbers in it."""
    return f"lane {lane_id}"


def every(execute: Execute) -> list[Range]:
    return [Range(*row) for row in execute(f"SELECT {_COLUMNS} FROM pruned ORDER BY what, first")]  # noqa: S608 - constant


def of_record(execute: Execute, record: int) -> list[Range]:
    """The ranges that one row of the journal attests."""
    return [Range(*row) for row in execute(f"SELECT {_COLUMNS} FROM pruned WHERE record = ?", (record,)).fetchall()]  # noqa: S608 - constant


def highest(execute: Execute, what: str) -> int:
    """The highest number of this kind that was removed; 0: none was."""
    row = execute("SELECT last FROM pruned WHERE what = ? ORDER BY first DESC LIMIT 1", (what,)).fetchone()
    return int(row[0]) if row is not None else 0


def around(execute: Execute, what: str, number: int) -> Range | None:
    """The range that contains a number."""
    row = execute(
        f"SELECT {_COLUMNS} FROM pruned WHERE what = ? AND first <= ? ORDER BY first DESC LIMIT 1",  # noqa: S608 - constant
        (what, number),
    ).fetchone()
    found = Range(*row) if row is not None else None
    return found if found is not None and number <= found.last else None


def is_vouched_for(execute: Execute, one: Range) -> bool:
    """Whether a record of the journal attests a range. That the record is unchanged is proved by its own hash and the
    chain.
    """
    row = execute("SELECT token FROM journal WHERE id = ? AND kind = ?", (one.record, KIND_PRUNED)).fetchone()
    return row is not None and one.digest in digests_in(row[0])


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive ones among ascending numbers, as (first, last)."""
    for _, run in groupby(enumerate(numbers), lambda each: each[1] - each[0]):
        found = [number for _, number in run]
        yield found[0], found[-1]


COMPACT_DUE = "compact_due"  # in ``meta``, from an erasure until a rewrite of the file: old pages may hold the content


class AccountedRows:
    """The erasures that the records of a journal attest; rereads the records while rows are checked, where it can. That
    the records are unchanged is proved by their own hashes and the chain.

    Raises:
        sqlite3.Error: they cannot be read.
    """

    def __init__(self, execute: Execute | None = None) -> None:
        self._execute = execute
        self._newest = 0  # id of the newest record that was read
        self._digests: set[bytes] = set()
        self._look_again()

    def covers(self, what: str, number: int, stored: bytes, computed: bytes) -> bool:
        """Whether a row with another hash than the stored one was erased, and is as the erasure left it."""
        return self._has(what, number, stored, computed) or (
            self._look_again() and self._has(what, number, stored, computed)
        )

    def _has(self, what: str, number: int, stored: bytes, computed: bytes) -> bool:
        return bool(self._digests) and erased_digest(what, number, stored, computed) in self._digests

    def _look_again(self) -> bool:
        """Read the records that came since; True where there are any."""
        if self._execute is None:
            return False
        newest = self._execute("SELECT coalesce(max(record), 0) FROM erased").fetchone()[0]
        if newest == self._newest:
            return False
        self._newest = newest
        for (token,) in self._execute(
            "SELECT token FROM journal WHERE kind = ? AND id IN (SELECT DISTINCT record FROM erased)", (KIND_ERASED,)
        ).fetchall():
            if isinstance(token, bytes):
                self._digests.update(digests_in(token))
        return True


def act_of(execute: Execute, what: str, number: int) -> int:
    """The audit row of a row's erasure; 0 where it was not erased."""
    row = execute("SELECT act FROM erased WHERE what = ? AND number = ?", (what, number)).fetchone()
    return int(row[0]) if row is not None else 0


NO_MESSAGE = N_("there is no message {n}")
LET_GO = N_("message {n} is not kept any longer: retention deleted it on {day}")
_OTHERS = {
    records.KIND_FRAME: "a frame",
    records.KIND_ACT: "an entry of the audit trail",
    records.KIND_PRUNED: "a record of rows that retention deleted",
    records.KIND_ERASED: "a record of erased rows",
}


def absence(
    execute: Execute, kind: str, row_id: int, *, vault: Vault | None = None, mark: Mark | None = None
) -> StoreError:
    """The error for a number without a message (or row): an `IntegrityError` where the row is missing.

    Args:
        kind: ``message`` or ``row``, for the text.
        vault: the keys; with them the error also names how a lost number was lost.
        mark: of the anchor, where it is known; read *before* the snapshot was taken, as in
        `engine.store.core.checks.pruned_ranges`.

    Raises:
        sqlite3.Error: the journal cannot be read.
    """
    row = execute("SELECT kind FROM journal WHERE id = ?", (row_id,)).fetchone()
    if row is not None:
        return AbsentError(
            f"there is no {kind} {row_id}: this is the number of {_OTHERS.get(row[0], 'something else')}"
        )
    let_go = around(execute, JOURNAL, row_id)
    if let_go is not None:
        at = execute("SELECT received_us FROM journal WHERE id = ?", (let_go.record,)).fetchone()
        if kind == "message" and at is not None:
            return AbsentError(Said(LET_GO, n=row_id, day=f"{from_us(at[0]):%Y-%m-%d}"))
        return AbsentError(f"{kind} {row_id} is not kept any longer: retention deleted it")
    gap = execute(
        "SELECT first_id, last_id, act FROM gap WHERE first_id <= ? AND last_id >= ?", (row_id, row_id)
    ).fetchone()
    if gap is not None:
        first, last, act = gap
        verb, how = _told(execute, vault, act)
        numbers = f"the number {first}" if first == last else f"the numbers {first} to {last}"
        listed = f"labrelay audit list{f' --act {verb}' if verb else ''}"
        return StoreError(
            f"{kind} {row_id} is not here: the row with {numbers} {how}; "
            f"entry {act} of the audit trail says who noted that, and why ({listed})"
        )
    if 0 < row_id <= _newest(execute, mark):
        return IntegrityError(
            f"{kind} {row_id} is missing: its number was given, and no record says that it was deleted. "
            "labrelay verify shows what is damaged"
        )
    return AbsentError(
        Said(NO_MESSAGE, n=row_id) if kind == "message" else f"there is no {kind} {row_id} in the journal"
    )


def _newest(execute: Execute, mark: Mark | None) -> int:
    """The newest number that was given, according to the journal and its anchor."""
    newest, journal_id = execute(
        "SELECT coalesce(max(id), 0), (SELECT value FROM meta WHERE name = 'journal_id') FROM journal"
    ).fetchone()
    return max(newest, mark.last_id) if mark is not None and mark.journal_id == journal_id else int(newest)


def _told(execute: Execute, vault: Vault | None, act: int) -> tuple[str, str]:
    """The verb of the action behind a gap, and a text on how its numbers were lost; an empty verb where it cannot be
    opened.
    """
    row = execute("SELECT body FROM journal WHERE id = ?", (act,)).fetchone()
    if vault is None or row is None:
        return "", "was lost"
    try:
        content = orjson.loads(vault.open(row[0], "body", act, ""))
    except (IntegrityError, ValueError):
        return "", "was lost"
    if content["verb"] == "salvage":
        return "salvage", "was lost with damaged pages"
    if content["verb"] == "restore" and not content["what"]["known"]:
        return "restore", "came after the backup that was restored, if it came at all"
    if content["verb"] == "restore":
        return "restore", "was lost: it is not in the backup that was restored"
    return content["verb"], "was lost, and a person has accepted that"


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
            connecting.check_readable(connection)
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
    found = around(connection.execute, JOURNAL, row_id)
    return found is not None and is_vouched_for(connection.execute, found)


def last_number(execute: Execute) -> int:
    """The number of the newest row, or the newest number that was given up as lost."""
    (row,) = execute(
        "SELECT max(coalesce((SELECT max(id) FROM journal), 0), coalesce((SELECT max(last_id) FROM gap), 0))"
    ).fetchone()
    return int(row)
