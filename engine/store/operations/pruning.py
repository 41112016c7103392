"""Prune rows: delete them with all that refers to them, and append a record that attests which, in one transaction.

`engine.store.lifecycle.retention` decides which rows; `engine.store.core.checks.pruned_ranges` knows which are gone. A
new table of the store that refers to messages must be cleared here; one of a feature says so (`engine.feature`).
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.feature import Hook, Table, joined
from engine.model.journal.records import KIND_PRUNED
from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import Range
from engine.store.core.writing.batch import Batch

# The most ranges that one record attests, and the most records that one step may merge: where every other message is
# kept, ranges never join. A row's token has 65,535 bytes at most.
RECORD_RANGES = 1000
NUMBER_BLOCK_BITS = 10  # of table message_number
ON_PRUNE: Hook[Callable[[Batch, Sequence[int]], object]] = Hook("on_prune")
MADE_OF: Hook[Callable[[Batch, Collection[int]], Mapping[str, Iterable[int]]]] = Hook("made_of")


@dataclass(slots=True)
class PrunableRows:
    """The rows that may be pruned.

    Attributes:
        rows: number -> chain value, of rows of the journal.
        messages: numbers of the rows that are messages.
        kept: reason why old messages stay -> how many; for people.
        behind_us: as in `engine.store.lifecycle.retention.RetentionWalk`.
    """

    position: int
    looked: int = 0
    rows: dict[int, bytes] = field(default_factory=dict)
    messages: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    records: list[int] = field(default_factory=list)
    behind_us: int = 0


def let_go(batch: Batch, found: PrunableRows) -> None:
    """Delete the rows that were found, and append the record of it."""
    execute = batch.execute
    for prune in ON_PRUNE.each():
        prune(batch, found.messages)
    ranges = _Recorder(batch)
    for record in found.records:
        ranges.take_over(record)
    ranges.add(pruned_ranges.JOURNAL, found.rows)
    documents: dict[int, bytes] = {}
    lanes: dict[int, dict[int, bytes]] = {}
    for message_id in found.messages:
        documents.update(
            (row[0], b"") for row in execute("SELECT id FROM document WHERE message_id = ?", (message_id,)).fetchall()
        )
        for delivery_id, lane, seq in execute(
            "SELECT id, lane, seq FROM delivery WHERE message_id = ?", (message_id,)
        ).fetchall():
            lanes.setdefault(lane, {})[seq] = b""
            execute("DELETE FROM attempt WHERE delivery = ?", (delivery_id,))
    ranges.add(pruned_ranges.DOCUMENT, documents)
    for made_of in MADE_OF.each():
        for what, numbers in made_of(batch, found.rows.keys()).items():
            ranges.add(what, dict.fromkeys(numbers, b""))
    for lane, seqs in lanes.items():
        ranges.add(pruned_ranges.lane(lane), seqs)
    ids = [(message_id,) for message_id in found.messages]
    theirs = [(one.name, one.pruned) for one in of_features() if one.pruned]
    for table, column in (*_OF_MESSAGE, *theirs):
        batch.executemany(f"DELETE FROM {table} WHERE {column} = ?", ids)  # noqa: S608 - constants
    _forget_numbers(batch, found.messages)
    erased = [("journal", row_id) for row_id in found.rows] + [("document", document) for document in documents]
    batch.executemany("DELETE FROM erased WHERE what = ? AND number = ?", erased)
    batch.executemany("DELETE FROM journal WHERE id = ?", [(row_id,) for row_id in found.rows])
    ranges.store(dict(found.counts))


_OF_MESSAGE = (
    *((table, "message_id") for table in ("delivery", "document", "edited", "retried", "unfinished")),
    ("message_state", "id"),
)


def _forget_numbers(batch: Batch, messages: Iterable[int]) -> None:
    """Delete the search keys of the messages; each block of that table is scanned once."""
    blocks: dict[int, list[int]] = {}
    for message_id in messages:
        blocks.setdefault(message_id >> NUMBER_BLOCK_BITS, []).append(message_id)
    for block, those in blocks.items():
        marks = ",".join("?" * len(those))
        batch.execute(
            f"DELETE FROM message_number WHERE block = ? AND message_id IN ({marks})",  # noqa: S608 - question marks
            (block, *those),
        )


class _Recorder:
    """The ranges that one transaction changes; `store` writes them with the record that attests them."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._ranges: dict[tuple[str, int], Range] = {}  # by kind and first number

    def take_over(self, record: int) -> None:
        """Take over the ranges of a record that is itself being pruned."""
        for one in pruned_ranges.of_record(self._batch.execute, record):
            self._ranges[one.what, one.first] = one

    def add(self, what: str, gone: dict[int, bytes]) -> None:
        """Add numbers with their chain values, as runs joined with the ranges next to them."""
        for first, last in pruned_ranges.runs(sorted(gone)):
            new = Range(what, first, last, gone[last], 0)
            if (before := self._around(what, first - 1)) is not None:
                new = Range(what, before.first, last, new.chain, 0)
            if (behind := self._around(what, last + 1)) is not None:
                new = Range(what, new.first, behind.last, behind.chain, 0)
            for neighbour in (before, behind):
                if neighbour is not None:
                    self._ranges.pop((what, neighbour.first), None)
                    self._batch.execute("DELETE FROM pruned WHERE what = ? AND first = ?", (what, neighbour.first))
            self._ranges[what, new.first] = new

    def _around(self, what: str, number: int) -> Range | None:
        """The range that contains a number: one of this transaction, or a stored one."""
        for one in self._ranges.values():
            if one.what == what and one.first <= number <= one.last:
                return one
        return pruned_ranges.around(self._batch.execute, what, number)

    def store(self, counts: dict[str, int]) -> None:
        vouch(self._batch, [self._ranges[key] for key in sorted(self._ranges)], counts)


def vouch(batch: Batch, ranges: Sequence[Range], counts: dict[str, int]) -> None:
    """Append the record that these ranges are pruned (several where they are many), and store them under its number."""
    for at in range(0, max(len(ranges), 1), RECORD_RANGES):
        part = ranges[at : at + RECORD_RANGES]
        record = batch.attest(KIND_PRUNED, (one.digest for one in part), counts if not at else {})
        batch.executemany(
            "INSERT OR REPLACE INTO pruned (what, first, last, chain, record) VALUES (?, ?, ?, ?, ?)",
            [(one.what, one.first, one.last, one.chain, record) for one in part],
        )


TABLES: Hook[Sequence[Table]] = Hook("tables")


def of_features() -> Iterator[Table]:
    return joined(TABLES)
