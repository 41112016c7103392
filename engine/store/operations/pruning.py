"""Prune rows: delete them with all that refers to them, and append a record that attests which, in one transaction.

`engine.store.lifecycle.retention` decides which rows; `engine.store.core.pruned_ranges` knows which are gone. A new
table that refers to messages must be cleared here.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.features.abdm.rows import forgetting
from engine.features.alerts.rows.changes import prune_critical
from engine.features.reports.rows import result_counts
from engine.model.records import KIND_PRUNED
from engine.store.core import pruned_ranges
from engine.store.core.batch import Batch
from engine.store.core.pruned_ranges import Range

# The most ranges that one record attests, and the most records that one step may merge: where every other message is
# kept, ranges never join. A row's token has 65,535 bytes at most.
RECORD_RANGES = 1000
NUMBER_BLOCK_BITS = 10  # of table message_number


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
    result_counts.finish(batch, found.messages)
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
    orders = dict.fromkeys(_let_go_orders(batch, found.rows), b"")
    ranges.add(pruned_ranges.ORDER, orders)
    for lane, seqs in lanes.items():
        ranges.add(pruned_ranges.lane(lane), seqs)
    ids = [(message_id,) for message_id in found.messages]
    for table in ("delivery", "document", "reagent_use", "edited", "retried", "order_without"):
        batch.executemany(f"DELETE FROM {table} WHERE message_id = ?", ids)  # noqa: S608 - constants
    batch.executemany("DELETE FROM message_state WHERE id = ?", ids)
    batch.executemany("DELETE FROM unfinished WHERE message_id = ?", ids)
    _forget_numbers(batch, found.messages)
    forgetting.let_go(batch, found.messages)
    prune_critical(batch, found.messages)
    erased = [("journal", row_id) for row_id in found.rows] + [("document", document) for document in documents]
    batch.executemany("DELETE FROM erased WHERE what = ? AND number = ?", erased)
    batch.executemany("DELETE FROM journal WHERE id = ?", [(row_id,) for row_id in found.rows])
    ranges.store(dict(found.counts))


def _let_go_orders(batch: Batch, rows: Iterable[int]) -> list[int]:
    """Delete the items of these messages and acts with their histories; return their numbers."""
    select = "SELECT number FROM order_item WHERE message_id = ?"
    numbers = [number for row in rows for (number,) in batch.execute(select, (row,)).fetchall()]
    for table, column in (("order_event", "item"), ("order_notice", "item"), ("order_item", "number")):
        batch.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(number,) for number in numbers])  # noqa: S608 - constants
    return numbers


def forget_questions(batch: Batch, before_us: int, most: int) -> None:
    """Delete the oldest questions of analyzers, and downloads. The newest stays: numbers are counted from it."""
    rows = batch.execute("SELECT number, at_us FROM order_query ORDER BY number LIMIT ?", (most + 1,)).fetchall()
    gone = [(number,) for number, at_us in rows[:-1] if at_us < before_us]
    batch.executemany("DELETE FROM order_asked WHERE query = ?", gone)
    batch.executemany("DELETE FROM order_query WHERE number = ?", gone)


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
