"""Verify the worklist: no number is missing but of orders that retention deleted, the history of each item ends where
the item is, and each item is found by what its content says.
"""

import sqlite3
from collections.abc import Iterator, Sequence

from engine.features.orders.rows import items
from engine.model.orders import OrderLine
from engine.store.core.checks import pruned_ranges
from engine.store.core.checks.pruned_ranges import Range
from engine.store.core.vault import Vault
from engine.store.integrity.row_check import Finding
from engine.store.integrity.verify import vouched

_NUMBERS = "SELECT number, lag(number, 1, 0) OVER (ORDER BY number) FROM order_item ORDER BY number"
_HISTORIES = (
    "SELECT i.number FROM order_item i LEFT JOIN order_event e ON e.item = i.number AND e.n = i.events"
    " WHERE e.state IS NOT i.state OR e.reason IS NOT i.reason"
    " OR (SELECT count(*) FROM order_event c WHERE c.item = i.number) <> i.events ORDER BY i.number"
)


_BEHIND = (
    "SELECT DISTINCT item FROM order_event WHERE item > (SELECT coalesce(max(number), 0) FROM order_item) ORDER BY item"
)
_KEYS = (
    "SELECT number, content, rank, specimen, patient, placer, filler, place, tray, test FROM order_item ORDER BY number"
)


def check(connection: sqlite3.Connection, vault: Vault | None) -> Iterator[Finding]:
    jumps = [(before + 1, number - 1) for number, before in connection.execute(_NUMBERS) if number != before + 1]
    # Read after the items, for retention may run beside this.
    gone = vouched(connection, pruned_ranges.ORDER) if jumps else ()
    for first, last in _without(jumps, gone):
        yield Finding("missing", "order_item", first, last, f"orders {first} to {last} are missing")
    for (number,) in connection.execute(_HISTORIES):
        text = f"order {number}: its history does not end where it is"
        yield Finding("changed", "order_item", number, number, text)
    for (number,) in connection.execute(_BEHIND):
        yield Finding("missing", "order_item", number, number, f"order {number} is missing, and its history is there")
    if vault is None:
        return
    for number, content, *keys in connection.execute(_KEYS):
        line = items.opened(vault, number, content)
        # One that was erased has no line, nor has a damaged one, which `row_check` names.
        if line != OrderLine() and keys != [items.RANKS[line.priority], *items.tokens(vault, line)]:
            yield Finding(
                "changed", "order_item", number, number, f"order {number}: it is not found by its own content"
            )


CHECKS = {"worklist": check}


def _without(jumps: Sequence[tuple[int, int]], gone: Sequence[Range]) -> Iterator[tuple[int, int]]:
    """The parts of missing runs of numbers that no range covers; both ascend."""
    for first, last in jumps:
        for one in gone:
            if one.last < first or one.first > last:
                continue
            if one.first > first:
                yield first, one.first - 1
            first = one.last + 1
        if first <= last:
            yield first, last
