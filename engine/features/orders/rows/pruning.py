"""Orders and questions that retention deletes, and rows of the journal that it keeps for orders."""

from collections.abc import Iterable, Mapping

from engine.features.orders.rows.items import OPEN
from engine.store.core.checks import pruned_ranges
from engine.store.core.writing.batch import Batch
from engine.store.lifecycle.retention import Need, Rows

QUESTIONS = 128  # of analyzers, deleted in a transaction
_NEEDED = Need(why="order")


def keeps(rows: Rows, row_id: int, kind: int) -> Need:
    """When the orders that a message or act made have changed last. It stays where one of them is open, or may still
    tie its specimen number to its patient."""
    changed_us, is_needed = rows.execute(
        f"SELECT coalesce(max(changed_us), 0), coalesce(max({OPEN} OR changed_us + reuse_us >= ?), 0)"  # noqa: S608 - constants
        " FROM order_item WHERE message_id = ?",
        (rows.now_us, row_id),
    ).fetchone()
    return _NEEDED if is_needed else Need(changed_us=int(changed_us))


def made_of(batch: Batch, rows: Iterable[int]) -> Mapping[str, list[int]]:
    """Delete the items of these messages and acts with their histories; return their numbers."""
    select = "SELECT number FROM order_item WHERE message_id = ?"
    numbers = [number for row in rows for (number,) in batch.execute(select, (row,)).fetchall()]
    for table, column in (("order_event", "item"), ("order_notice", "item"), ("order_item", "number")):
        batch.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(number,) for number in numbers])  # noqa: S608 - constants
    return {pruned_ranges.ORDER: numbers}


def forget_questions(batch: Batch, before_us: int) -> None:
    """Delete the oldest questions of analyzers, and downloads. The newest stays: numbers are counted from it."""
    rows = batch.execute("SELECT number, at_us FROM order_query ORDER BY number LIMIT ?", (QUESTIONS + 1,)).fetchall()
    gone = [(number,) for number, at_us in rows[:-1] if at_us < before_us]
    batch.executemany("DELETE FROM order_asked WHERE query = ?", gone)
    batch.executemany("DELETE FROM order_query WHERE number = ?", gone)
