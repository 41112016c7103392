"""Rows whose content was erased on a patient's demand: how a check tells them from changed ones.

`engine.store.lifecycle.erasure` puts an empty, sealed content in the place of the old one and leaves the row's hash as
it is, so the chain and the anchor stay true. That such a row no longer has its hash, a record vouches for: a row of the
journal of kind 5, numbered, chained and anchored like all others, whose ``token`` has 16 bytes for each erased row::

    SHA-256("labrelay erased" | what | number | stored hash | hash of the row as it is now)[:16]     store/core/chain.py

So a check needs no key to tell, and nobody can empty a row, or change an emptied one, without leaving a trace.
"""

import sqlite3
from collections.abc import Callable

from engine.model.records import KIND_ERASED
from engine.store.core.chain import DIGEST_BYTES, erased_digest

JOURNAL = "journal"
DOCUMENT = "document"
COMPACT_DUE = "compact_due"  # in ``meta``, from an erasure until the file is written anew: old pages may hold it yet

Execute = Callable[..., sqlite3.Cursor]


class Vouched:
    """What the records of a journal vouch for; also those that come while rows are checked, where they can be read."""

    def __init__(self, execute: Execute | None = None) -> None:
        self._execute = execute
        self._newest = 0  # record that was read
        self._digests: set[bytes] = set()
        self._look_again()

    def covers(self, what: str, number: int, stored: bytes, computed: bytes) -> bool:
        """Whether a row that has another hash than the stored one was erased, and is as the erasure left it."""
        return self._has(what, number, stored, computed) or (
            self._look_again() and self._has(what, number, stored, computed)
        )

    def _has(self, what: str, number: int, stored: bytes, computed: bytes) -> bool:
        return bool(self._digests) and erased_digest(what, number, stored, computed) in self._digests

    def _look_again(self) -> bool:
        """Whether something was erased since."""
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
                self._digests.update(token[at : at + DIGEST_BYTES] for at in range(0, len(token), DIGEST_BYTES))
        return True


def vouched(execute: Execute) -> Vouched:
    """Whether these records are what was stored, their own hashes and the chain tell.

    Raises:
        sqlite3.Error: they cannot be read.
    """
    known = execute("SELECT 1 FROM sqlite_schema WHERE name = 'erased'").fetchone()
    return Vouched(execute if known else None)


def is_compact_due(execute: Execute) -> bool:
    return execute("SELECT 1 FROM meta WHERE name = ?", (COMPACT_DUE,)).fetchone() is not None


def act_of(execute: Execute, what: str, number: int) -> int:
    """The act by which a row was erased; 0 where it was not."""
    row = execute("SELECT act FROM erased WHERE what = ? AND number = ?", (what, number)).fetchone()
    return int(row[0]) if row is not None else 0
