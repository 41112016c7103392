"""Orders of the worklist: copy those that are proven, name the others, and have them ordered again.

- The seal of an order's line proves whose it is, of which tube and test; what finds the order is computed from it anew.
- Its state is where its history ends. A history that is not whole proves nothing: then the row's own state counts, and
  the history begins anew (`SALVAGED`).
- An order that is in no readable row of the table may be on an unreachable page.
- Of the others the numbers are named, and never given again. Where they may still be wanted, the messages of the
  laboratory systems from the first of them on are processed again: that makes what is missing anew, under new numbers
  and as maybe known to an analyzer, and changes nothing of what is there.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.features.orders.rows import items
from engine.features.orders.rules.order_rules import MAKES_KNOWN
from engine.model.errors import IntegrityError
from engine.model.orders import OPEN_STATES, ItemReason, ItemState, OrderLine
from engine.model.texts.reasons import ReasonCode
from engine.model.worklist import EXPIRES_US
from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import Range
from engine.store.core.connecting import DAMAGE
from engine.store.core.vault import Vault
from engine.store.core.writing.batch import Batch
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.recovery.salvage.found import MissingOrders
from engine.store.recovery.salvage.tables import Part, Tables, stray_rows

SALVAGED = "salvage"  # the cause of a history that begins anew
_KEYS = ("rank", "specimen", "patient", "placer", "filler", "place", "tray", "test")


def take(tables: Tables, vault: Vault, gone: Sequence[Range]) -> list[Range]:
    """Copy the proven orders and their histories; return the ranges of the missing numbers.

    Args:
        gone: what retention has deleted.
    """
    _take_histories(tables, vault)
    columns = tables.columns("order_item")
    for row in tables.rows("order_item", columns):
        _take_item(tables, vault, columns, row)
    let_go = [(one.first, one.last) for one in gone if one.what == pruned_ranges.ORDER]
    missing = list(_absent(tables, let_go))
    if missing:
        _take_stray_items(tables, vault, columns, missing)
        missing = list(_absent(tables, let_go))
    tables.salvage.orders = [_told(tables.new, first, last) for first, last in missing]
    for table in ("order_event", "order_notice"):
        tables.new.execute(
            f"DELETE FROM {table} WHERE item > 0 AND NOT EXISTS (SELECT 1 FROM order_item i WHERE i.number = item)"  # noqa: S608 - constants
        )
    return [Range(pruned_ranges.ORDER, first, last, b"", 0) for first, last in missing]


def order_again(tables: Tables) -> None:
    """Remove the verdict of messages whose orders are missing, and of those behind them of the same laboratory system,
    which may have changed or cancelled them.
    """
    new, salvage = tables.new, tables.salvage
    (newest_us,) = new.execute("SELECT coalesce(max(received_us), 0) FROM journal").fetchone()
    again: set[int] = set()
    for one in salvage.orders:
        for first, channel in _messages(new, one):
            again |= {
                message
                for (message,) in new.execute(
                    "SELECT j.id FROM journal j JOIN message_state s ON s.id = j.id WHERE j.kind = 1 AND j.channel = ?"
                    " AND j.id >= ? AND j.received_us > ? AND s.state = 'filtered' AND s.reason = ?",
                    (channel, first, newest_us - EXPIRES_US, ReasonCode.ORDERS.value),
                )
            }
    for message in sorted(again):
        new.execute("DELETE FROM message_state WHERE id = ?", (message,))
    for one in salvage.orders:
        one.again = bool(again & set(one.messages)) if one.messages else bool(again)
    salvage.ordered_again = sorted(again)


def go_on(batch: Batch) -> None:
    """Free what waits for an order that is missing, or is in an answer that is: it waits, as maybe known."""
    for (number,) in batch.execute(
        "SELECT number FROM order_item f WHERE after > 0"
        " AND NOT EXISTS (SELECT 1 FROM order_item i WHERE i.number = f.after)"
    ).fetchall():
        one = items.by_number(batch, number)
        assert one is not None
        one.after = 0
        if one.reason is ItemReason.AFTER_CANCEL:
            one.reason = ItemReason.NONE
        items.note(batch, one, items.FREED, cause=SALVAGED)
    batch.execute(
        "UPDATE order_item SET query = 0 WHERE query > 0"
        " AND NOT EXISTS (SELECT 1 FROM order_query q WHERE q.number = order_item.query)"
    )


SALVAGE = Part(own=("order_item", "order_event"), take=take, again=order_again, go_on=go_on)


# -- rows --------------------------------------------------------------------------------------------------------------


def _take_histories(tables: Tables, vault: Vault) -> None:
    columns = tables.columns("order_event")
    for row in tables.rows("order_event", columns):
        fields = dict(zip(columns, row, strict=True))
        try:
            ItemState(fields["state"]), ItemReason(fields["reason"])
            number, n = int(fields["item"]), int(fields["n"])
        except (TypeError, ValueError):
            tables.damaged.add("order_event")
            continue
        if fields["detail"] and not _opens(vault, fields["detail"], items.event_column(n), number):
            tables.damaged.add("order_event")
            fields["detail"] = b""
        tables.insert("order_event", columns, tuple(fields.values()))


def _take_item(tables: Tables, vault: Vault, columns: list[str], row: Sequence[Any]) -> None:
    """Copy an order, mended where its content or its history proves how. One that is not proven is missing."""
    fields = dict(zip(columns, row, strict=True))
    number = fields["number"]
    if not (isinstance(fields["content"], bytes) and _opens(vault, fields["content"], items.COLUMN, number)):
        tables.damaged.add("order_item")
        return
    before = dict(fields)
    line = items.opened(vault, number, fields["content"])
    if line != OrderLine():  # an erased one has no content that it could be found by
        fields |= zip(_KEYS, (items.RANKS[line.priority], *items.tokens(vault, line)), strict=True)
    history = tables.new.execute(
        "SELECT n, event, state, reason FROM order_event WHERE item = ? ORDER BY n", (number,)
    ).fetchall()
    whole = [n for n, *_ in history] == list(range(1, len(history) + 1))
    if history and whole and len(history) >= _count(fields["events"]):
        *_, (_, _, fields["state"], fields["reason"]) = history
        fields["events"] = len(history)
        fields["sent"] = int(bool(fields["sent"]) or any(event in MAKES_KNOWN for _, event, *_ in history))
    try:
        ItemState(fields["state"]), ItemReason(fields["reason"])
        items.kept(vault, tuple(fields[name] for name in items.KEPT_COLUMNS))
        at_us = int(fields["changed_us"])
    except (TypeError, ValueError, AttributeError):
        tables.damaged.add("order_item")
        return
    if len(history) != fields["events"]:
        tables.new.execute("DELETE FROM order_event WHERE item = ?", (number,))
        state, reason, message = fields["state"], fields["reason"], fields["message_id"]
        begins = (number, 1, at_us, items.TAKEN, state, reason, 0, "", message, 0, SALVAGED)
        tables.new.execute(items.ADD_EVENT, (*begins, b"", 0))
        fields["events"] = 1
    if fields != before:
        tables.damaged.add("order_item")
        tables.salvage.mended_orders.append(number)
    tables.insert("order_item", columns, tuple(fields.values()))


def _take_stray_items(tables: Tables, vault: Vault, columns: list[str], missing: Sequence[tuple[int, int]]) -> None:
    """Rows on pages that only a damaged one leads to; the newest writing of each counts."""
    (_, _, name) = tables.source.execute("PRAGMA database_list").fetchone()
    found: dict[int, dict[str, Any]] = {}
    wanted = {number for first, last in missing for number in range(first, last + 1)}
    theirs = [row[1] for row in tables.source.execute("PRAGMA table_info(order_item)")]
    with suppress(*DAMAGE, OSError, ValueError):
        for row in stray_rows(Path(name), PAGE_BYTES, len(theirs), wanted.__contains__):
            fields: dict[str, Any] = dict(zip(theirs, row, strict=True))
            before = found.get(fields["number"], {})
            if _count(fields["written_us"]) >= _count(before.get("written_us")):
                found[fields["number"]] = fields
    for fields in found.values():
        _take_item(tables, vault, columns, [fields[one] for one in columns])


def _opens(vault: Vault, sealed: bytes, column: str, number: int) -> bool:
    try:
        vault.open(sealed, column, number, "")
    except (IntegrityError, TypeError, ValueError):
        return False
    return True


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


# -- the missing ones --------------------------------------------------------------------------------------------------


def _absent(tables: Tables, let_go: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Runs of numbers that were given, and are neither there nor deleted by retention."""
    new = tables.new
    (of_events,) = new.execute("SELECT coalesce(max(item), 0) FROM order_event").fetchone()
    newest = max(tables.largest("order_item", "number"), of_events)
    there = [(number, number) for (number,) in new.execute("SELECT number FROM order_item ORDER BY number")]
    expected = 1
    for first, last in sorted([*there, *let_go, (newest + 1, newest + 1)]):
        if first > expected and expected <= newest:
            yield expected, min(first - 1, newest)
        expected = max(expected, last + 1)


def _told(new: sqlite3.Connection, first: int, last: int) -> MissingOrders:
    """What the histories still say of missing orders."""
    found = MissingOrders(first=first, last=last)
    messages: set[int] = set()
    for number, message in new.execute(
        "SELECT item, message_id FROM order_event WHERE item BETWEEN ? AND ? AND n = 1", (first, last)
    ).fetchall():
        (state,) = new.execute(
            "SELECT state FROM order_event WHERE item = ? ORDER BY n DESC LIMIT 1", (number,)
        ).fetchone()
        found.states[f"W{number}"] = state
        messages.add(message)
    found.messages = sorted(messages)
    return found


def _messages(new: sqlite3.Connection, one: MissingOrders) -> Iterator[tuple[int, str]]:
    """The first message that may have ordered what is missing and may still be open, for each laboratory system."""
    wanted = len(one.states) < one.last - one.first + 1 or any(
        ItemState(state) in OPEN_STATES for state in one.states.values()
    )
    if not wanted:
        return
    if len(one.states) == one.last - one.first + 1:
        marks = ", ".join("?" * len(one.messages))
        yield from new.execute(
            f"SELECT min(id), channel FROM journal WHERE kind = 1 AND id IN ({marks}) GROUP BY channel",  # noqa: S608 - marks
            one.messages,
        ).fetchall()
        return
    # No history says which it was: the orders around the missing ones came before and after.
    (before,) = new.execute(
        "SELECT coalesce(max(message_id), 0) FROM order_item WHERE number < ?", (one.first,)
    ).fetchone()
    yield from new.execute(
        "SELECT min(j.id), j.channel FROM journal j JOIN message_state s ON s.id = j.id AND s.state = 'filtered'"
        " AND s.reason = ? WHERE j.kind = 1 AND j.id >= ? GROUP BY j.channel",
        (ReasonCode.ORDERS.value, min(before, *one.messages) if one.messages else before),
    ).fetchall()
