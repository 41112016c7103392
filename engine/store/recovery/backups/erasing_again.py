"""Repeat erasures that came after the copy, so that neither the content nor anything derived from it comes back."""

import sqlite3
from contextlib import suppress

from engine.model.errors import IntegrityError, UnreadableResultsError
from engine.model.records import KIND_MESSAGE
from engine.model.results import results_of
from engine.store.core import erased_rows
from engine.store.core.chain import ROW_COLUMNS
from engine.store.core.vault import Vault
from engine.store.operations import delta_history, emptying, search_index
from engine.store.queries.reader import Rows
from engine.store.recovery.backups import decisions, increments


def run(connection: sqlite3.Connection, vault: Vault, content: increments.Content, first: int) -> None:
    """Erase in the new journal the rows that a piece lists as erased.

    Args:
        first: the first row without a state snapshot: from there on messages have no verdict and no deliveries yet.
    """
    execute = connection.execute
    rows = Rows(execute, vault)
    channels: set[str] = set()
    for what, number, _, _ in content.erased:
        if what != erased_rows.JOURNAL:
            continue
        row = execute("SELECT kind, channel FROM journal WHERE id = ?", (number,)).fetchone()
        if row is None:
            continue
        kind, channel = row
        channels.add(channel)
        if kind == KIND_MESSAGE:
            _forget(rows, number, channel)
            if number < first:
                _close(connection, number, channel)
    # Line traces may contain their numbers, and cannot be searched here: delete those of the channel.
    connection.executemany("DELETE FROM line_trace WHERE channel = ?", [(channel,) for channel in sorted(channels)])
    _put_emptied(connection, content)


def _forget(rows: Rows, message_id: int, channel: str) -> None:
    """Delete the lookup entries and notes of an erased message, before its documents are emptied."""
    execute = rows.execute
    for document_id, sealed in execute("SELECT id, body FROM document WHERE message_id = ?", (message_id,)).fetchall():
        with suppress(IntegrityError, UnreadableResultsError, ValueError):
            delta_history.forget(rows, results_of(rows.vault.open(sealed, "document", document_id, channel)))
    search_index.forget(execute, message_id)
    execute("DELETE FROM report WHERE message_id = ?", (message_id,))
    emptying.empty_notes(execute, message_id)


def _close(connection: sqlite3.Connection, message_id: int, channel: str) -> None:
    """Close an erased message: it must not be sent or processed any more, for its documents are empty."""
    execute = connection.execute
    for delivery, lane, state in execute(
        "SELECT id, lane, state FROM delivery WHERE message_id = ? AND state IN ('waiting', 'sending', 'dead', 'held')",
        (message_id,),
    ).fetchall():
        decisions.close_delivery(connection, delivery, lane, state, "dismissed")
        execute("UPDATE delivery SET lease = 0 WHERE id = ?", (delivery,))
    row = execute("SELECT state FROM message_state WHERE id = ?", (message_id,)).fetchone()
    state = row[0] if row is not None else "stored"
    if state in ("stored", "dead", "incomplete"):
        execute(
            "INSERT INTO message_state (id, state, reason, at_us, mapping, detail)"
            " SELECT id, 'dismissed', '', received_us, '', x'' FROM journal WHERE id = ?"
            " ON CONFLICT (id) DO UPDATE SET state = 'dismissed'",
            (message_id,),
        )
        execute(f"UPDATE channel SET {state} = {state} - 1 WHERE name = ?", (channel,))  # noqa: S608 - as above


def _put_emptied(connection: sqlite3.Connection, content: increments.Content) -> None:
    for table, columns, rows in (
        ("journal", ROW_COLUMNS, content.emptied_rows),
        ("document", increments.DOCUMENT_COLUMNS, content.emptied_documents),
    ):
        sets = ", ".join(f"{name} = ?" for name in columns.split(", ")[1:])
        update = f"UPDATE {table} SET {sets} WHERE id = ?"  # noqa: S608 - constants
        connection.executemany(update, [(*row[1:], row[0]) for row in rows])
    connection.executemany(
        "INSERT OR IGNORE INTO erased (what, number, record, act) VALUES (?, ?, ?, ?)", content.erased
    )
