"""Reading the worklist for analyzers that must hear of a cancel."""

from engine.features.orders.rows import items as rows_of
from engine.model.orders import WorkItem
from engine.store.queries.reader import Reader


def given_up(reader: Reader, channel: str, *, limit: int) -> list[WorkItem]:
    """Items that were cancelled, and that the analyzer of this channel has, or may have, all the same."""
    # SQLite takes the index of open items where all of its condition is said.
    rows = reader.rows(
        f"{rows_of.SELECT} INDEXED BY order_item_open"
        " WHERE state IN ('waiting', 'held', 'offered', 'accepted', 'in_progress', 'cancel_pending')"
        " AND state = 'cancel_pending' AND channel = ? AND query = 0 AND sent = 1 AND made = 0 LIMIT ?",
        (channel, limit),
    )
    return [rows_of.kept(reader.vault, row).value() for row in rows]
