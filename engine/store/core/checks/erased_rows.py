"""Rows whose content was erased for a patient: how a check distinguishes them from changed ones.

`engine.store.lifecycle.erasure` replaces the old content by an empty, sealed one and leaves the row's hash as it is, so
chain and anchor stay valid. A record attests that such a row no longer matches its hash. The record is a row of the
journal of kind 5, numbered, chained and anchored like all others; its ``token`` has 16 bytes for each erased row::

    SHA-256("labrelay erased" | what | number | stored hash | hash of the row as it is now)[:16]     store/core/chain.py

So a check needs no key, and nothing can empty a row, or change an emptied one, without leaving a trace.
"""

from engine.model.journal.records import KIND_ERASED
from engine.store.core.chain import digests_in, erased_digest
from engine.store.core.rows import Execute

JOURNAL = "journal"
DOCUMENT = "document"
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
