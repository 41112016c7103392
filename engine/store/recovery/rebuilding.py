"""What restoring and salvaging a journal have in common."""

import sqlite3

from engine.model.process.clock import from_us


def put_state(connection: sqlite3.Connection, message_id: int, state: str, reason: str, at_us: int) -> None:
    """Write the verdict of a message that has none."""
    connection.execute(
        "INSERT INTO message_state (id, state, reason, at_us, mapping, detail) VALUES (?, ?, ?, ?, '', x'')",
        (message_id, state, reason, at_us),
    )


def moment(row: tuple[int] | None) -> str:
    """The instant in a row, ISO 8601; empty where there is no row."""
    return from_us(row[0]).isoformat(timespec="seconds") if row is not None else ""
