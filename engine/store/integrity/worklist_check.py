"""Verify the worklist: no number is missing, and the history of each item ends where the item is."""

import sqlite3
from collections.abc import Iterator

from engine.store.integrity.row_check import Finding

_NUMBERS = "SELECT number, lag(number, 1, 0) OVER (ORDER BY number) FROM order_item ORDER BY number"
_HISTORIES = (
    "SELECT i.number FROM order_item i LEFT JOIN order_event e ON e.item = i.number AND e.n = i.events"
    " WHERE e.state IS NOT i.state OR e.reason IS NOT i.reason"
    " OR (SELECT count(*) FROM order_event c WHERE c.item = i.number) <> i.events ORDER BY i.number"
)


def check(connection: sqlite3.Connection) -> Iterator[Finding]:
    for number, before in connection.execute(_NUMBERS):
        if number != before + 1:
            text = f"orders {before + 1} to {number - 1} are missing"
            yield Finding("missing", "order_item", before + 1, number - 1, text)
    for (number,) in connection.execute(_HISTORIES):
        text = f"order {number}: its history does not end where it is"
        yield Finding("changed", "order_item", number, number, text)
