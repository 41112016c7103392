"""Repeat erasures that came after the copy, so that neither the content nor anything derived from it comes back."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress

import orjson

from engine.feature import Hook
from engine.model.content.search_keys import folded
from engine.model.errors import IntegrityError
from engine.model.journal.hashes import unpack_reports
from engine.model.journal.records import KIND_MESSAGE
from engine.store.core.chain import ROW_COLUMNS
from engine.store.core.checks import erased_rows
from engine.store.core.vault import Vault
from engine.store.operations import emptying, search_index
from engine.store.operations.emptying import ErasedAgain, ErasedMessage
from engine.store.queries.reader import Rows
from engine.store.recovery.backups import decisions, increments

FORGETS_AGAIN: Hook[Callable[[Rows, ErasedAgain], object]] = Hook("forgets_again")


def run(connection: sqlite3.Connection, vault: Vault, content: increments.Content, first: int) -> None:
    """Erase in the new journal the rows that a piece lists as erased.

    Args:
        first: the first row without a state snapshot: from there on messages have no verdict and no deliveries yet.
    """
    execute = connection.execute
    rows = Rows(execute, vault)
    channels: set[str] = set()
    for what, number, _, act in content.erased:
        if what != erased_rows.JOURNAL:
            continue
        row = execute("SELECT kind, channel FROM journal WHERE id = ?", (number,)).fetchone()
        if row is None:
            continue
        kind, channel = row
        channels.add(channel)
        if kind == KIND_MESSAGE:
            _forget(rows, number, channel, act, is_known=act < first)
            if number < first:
                _close(connection, number, channel)
    # Line traces may contain their numbers, and cannot be searched here: delete those of the channel.
    connection.executemany("DELETE FROM line_trace WHERE channel = ?", [(channel,) for channel in sorted(channels)])
    _put_emptied(connection, content)


def _forget(rows: Rows, message_id: int, channel: str, act: int, *, is_known: bool) -> None:
    """Delete the lookup entries and notes of an erased message, before its documents are emptied. Where the audit row
    is gone or damaged, too much goes rather than too little.
    """
    execute = rows.execute
    packed = execute("SELECT reports FROM document WHERE message_id = ?", (message_id,)).fetchall()
    patients = {one.patient for (reports,) in packed for one in unpack_reports(reports) if one.patient}
    at_us, tokens = _erased_by(rows, act)
    person = (tokens is None or bool(tokens)) and len(patients) <= 1
    one = ErasedAgain(
        message=ErasedMessage(id=message_id, channel=channel, patients=patients, person=person),
        at_us=at_us,
        is_known=is_known,
        is_his=lambda own: tokens is None or _token(rows, own) in tokens,
    )
    for forget in FORGETS_AGAIN.each():
        forget(rows, one)
    search_index.forget(execute, message_id)
    execute("DELETE FROM report WHERE message_id = ?", (message_id,))
    emptying.empty_notes(execute, message_id)


def _token(rows: Rows, number: str) -> str:
    return rows.vault.search_token("patient", folded(number)).hex()


def _erased_by(rows: Rows, act: int) -> tuple[int, frozenset[str] | None]:
    """The time of an erasure, and keyed tokens of the numbers it names; None: its audit row is gone or damaged."""
    at_us, sealed = rows.execute("SELECT received_us, body FROM journal WHERE id = ?", (act,)).fetchone() or (0, b"")
    with suppress(IntegrityError):
        return at_us, frozenset(orjson.loads(rows.vault.open(sealed, "body", act, ""))["what"].get("patient") or ())
    return at_us, None


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
