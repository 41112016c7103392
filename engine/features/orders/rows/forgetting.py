"""What goes of orders, and what stays: an erasure, retention, an earlier state.

Erase orders with their patient's data: contents, words of analyzers, keyed hashes. Numbers, states, times stay.

Orders and questions that retention deletes, and rows of the journal that it keeps for orders.

The worklist of an earlier state: a backup was restored, the data folder was put back, or a part of it was lost.

What happened after that state is unknown here, but not to analyzers and laboratory systems:

- An order that waits may have gone out since. It is marked as `MAYBE_KNOWN`: it is offered again with that mark, and a
  cancel of it is pending until an analyzer, or a person, has given it up. So is an order that was held, which may have
  been released since: it stays held, and gets the mark at its release.
- Messages of that time may be processed again. What they order may have gone out since, too.
- Numbers were given since. They name other orders at analyzers (IHE LAW: the work step) and in messages to a
  laboratory system, so none of them is given again.
"""

from collections.abc import Iterable, Mapping, Sequence

from engine.features.orders.rows import items
from engine.features.orders.rows.items import OPEN
from engine.features.orders.rules.order_rules import ItemEvent
from engine.model.orders import ItemReason, ItemState
from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import Range
from engine.store.core.connecting import Execute
from engine.store.core.vault import NOTE_KEYS, Vault
from engine.store.core.writing.batch import Batch
from engine.store.lifecycle.retention import Need, Rows
from engine.store.operations.pruning import vouch

ERASED = "erased"  # the last event of an item


def erase(batch: Batch, messages: Iterable[int], numbers: Sequence[str], act: int) -> int:
    """Erase the orders of these messages, and those of the patient with these numbers; return how many were open.

    An open one is cancelled: nothing is left of it that an analyzer could get.

    Args:
        act: the journal's row that says who, when and why.
    """
    found: dict[int, None] = {}
    for message_id in messages:
        batch.execute("DELETE FROM order_without WHERE message_id = ?", (message_id,))
        rows = batch.execute("SELECT number FROM order_item WHERE message_id = ?", (message_id,))
        found.update((number, None) for (number,) in rows.fetchall())
    for text in numbers:
        token = items.patient_token(batch.vault, text)
        batch.execute("DELETE FROM order_without WHERE patient = ? AND patient <> x''", (token,))
        rows = batch.execute("SELECT number FROM order_item WHERE patient = ? AND patient <> x''", (token,))
        found.update((number, None) for (number,) in rows.fetchall())
    return sum(_erase_one(batch, number, act) for number in sorted(found))


def left_of(execute: Execute, vault: Vault, numbers: Iterable[str]) -> dict[int, bool]:
    """The orders of the patient with these numbers that are not erased -> whether each is open."""
    found: dict[int, bool] = {}
    for text in numbers:
        if token := items.patient_token(vault, text):
            select = f"SELECT number, {items.OPEN} FROM order_item WHERE patient = ? AND patient <> x''"  # noqa: S608 - constant
            found |= {number: bool(is_open) for number, is_open in execute(select, (token,)).fetchall()}
    return found


def erase_again(batch: Batch, act: int) -> int:
    """After a restore: erase the orders of messages that were erased since the copy; return how many were open."""
    rows = batch.execute(
        "SELECT DISTINCT i.message_id FROM order_item i JOIN erased e ON e.what = ? AND e.number = i.message_id"
        " WHERE i.test <> x'' OR i.specimen <> x'' OR i.patient <> x''",
        (pruned_ranges.JOURNAL,),
    )
    return erase(batch, [message_id for (message_id,) in rows.fetchall()], (), act)


def _erase_one(batch: Batch, number: int, act: int) -> bool:
    one = items.by_number(batch, number)
    if one is None:
        return False
    was_open = one.is_open
    if was_open:
        items.leave_query(batch, one, ERASED)
        one.state, one.reason = ItemState.CANCELLED, ItemReason.NONE
        items.free_followers(batch, one)
    batch.execute(
        "DELETE FROM order_asked WHERE specimen = (SELECT specimen FROM order_item WHERE number = ?)", (number,)
    )
    items.note(batch, one, ERASED, message_id=act)
    batch.execute(
        "UPDATE order_item SET specimen = x'', patient = x'', placer = x'', filler = x'', place = x'', tray = x'',"
        " test = x'', content = ? WHERE number = ?",
        (batch.seal(NOTE_KEYS, b"", items.COLUMN, number, ""), number),
    )
    batch.execute("UPDATE order_event SET detail = x'' WHERE item = ?", (number,))
    batch.execute(
        "UPDATE order_reflex SET state = 'withdrawn' WHERE parent = ? AND state IN ('waits', 'proposed', 'unsure')",
        (number,),
    )
    return was_open


CAUSE = "earlier state"
UNTIL = "orders_until"  # key of the table `meta`: the newest row of the journal of the earlier state
RESERVED = 1_000_000  # numbers that lost orders may have had


def go_on_from(batch: Batch, act: int) -> int:
    """Go on from an earlier state; return how many orders may have gone out since.

    Args:
        act: the row of the audit trail that says why; orders of messages that were erased since are erased by it.
    """
    erase_again(batch, act)
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


QUESTIONS = 128  # of analyzers, deleted in a transaction
_NEEDED = Need(why="order")
_OF_ITEMS = (("order_event", "item"), ("order_notice", "item"), ("order_reflex", "parent"), ("order_item", "number"))


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
    for table, column in _OF_ITEMS:
        batch.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(number,) for number in numbers])  # noqa: S608 - constants
    return {pruned_ranges.ORDER: numbers}


def forget_questions(batch: Batch, before_us: int) -> None:
    """Delete the oldest questions of analyzers, and downloads. The newest stays: numbers are counted from it."""
    rows = batch.execute("SELECT number, at_us FROM order_query ORDER BY number LIMIT ?", (QUESTIONS + 1,)).fetchall()
    gone = [(number,) for number, at_us in rows[:-1] if at_us < before_us]
    batch.executemany("DELETE FROM order_asked WHERE query = ?", gone)
    batch.executemany("DELETE FROM order_query WHERE number = ?", gone)
