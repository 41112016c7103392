"""Erase orders with their patient's data: contents, words of analyzers, keyed hashes. Numbers, states, times stay."""

from collections.abc import Iterable, Sequence

from engine.features.orders.rows import items
from engine.model.orders import ItemReason, ItemState
from engine.store.core.checks import pruned_ranges
from engine.store.core.rows import Execute
from engine.store.core.vault import NOTE_KEYS, Vault
from engine.store.core.writing.batch import Batch

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
    return was_open
