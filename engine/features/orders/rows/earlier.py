"""The worklist of an earlier state: a backup was restored, the data folder was put back, or a part of it was lost.

What happened after that state is unknown here, but not to analyzers and laboratory systems:

- An order that waits may have gone out since. It is marked as `MAYBE_KNOWN`: it is offered again with that mark, and a
  cancel of it is pending until an analyzer, or a person, has given it up. So is an order that was held, which may have
  been released since: it stays held, and gets the mark at its release.
- Messages of that time may be processed again. What they order may have gone out since, too.
- Numbers were given since. They name other orders at analyzers (IHE LAW: the work step) and in messages to a
  laboratory system, so none of them is given again.
"""

from engine.features.orders.rows import erasing, items
from engine.features.orders.rules.order_rules import ItemEvent
from engine.model.orders import ItemReason
from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import Range
from engine.store.core.rows import Execute
from engine.store.core.writing.batch import Batch
from engine.store.operations.pruning import vouch

CAUSE = "earlier state"
UNTIL = "orders_until"  # key of the table `meta`: the newest row of the journal of the earlier state
RESERVED = 1_000_000  # numbers that lost orders may have had


def go_on_from(batch: Batch, act: int) -> int:
    """Go on from an earlier state; return how many orders may have gone out since.

    Args:
        act: the row of the audit trail that says why; orders of messages that were erased since are erased by it.
    """
    erasing.erase_again(batch, act)
    numbers = batch.execute(
        f"SELECT number FROM order_item WHERE {items.OPEN} AND sent = 0 AND after = 0"  # noqa: S608 - constants
        " AND ((state = 'waiting' AND reason IN (?, ?)) OR state = 'held') ORDER BY number",
        (ItemReason.NONE, ItemReason.UNMAPPED_CODE),
    ).fetchall()
    for (number,) in numbers:
        one = items.by_number(batch, number)
        if one is not None:
            items.apply(batch, one, ItemEvent.MAYBE_SENT, cause=CAUSE)
    batch.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (UNTIL, batch.last_id))
    first = items.next_number(batch.execute)
    vouch(batch, [Range(pruned_ranges.ORDER, first, first + RESERVED - 1, b"", 0)], {})
    return len(numbers)


def until(execute: Execute) -> int:
    """The newest message of the earlier state: what it orders when it is processed now may have gone out before."""
    row = execute("SELECT value FROM meta WHERE name = ?", (UNTIL,)).fetchone()
    return int(row[0]) if row is not None else 0
