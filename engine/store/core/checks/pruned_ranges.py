"""Row numbers that retention removed (not data loss): reading the records of deletions.

`engine.store.lifecycle.retention` writes these records and explains them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from engine.model.journal.records import KIND_PRUNED
from engine.store.core.chain import digests_in, pruned_digest
from engine.store.core.rows import Execute

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
