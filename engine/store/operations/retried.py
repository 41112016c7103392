"""Deliveries and messages that a person has tried or sent again, until they are delivered: by which operation, and of
letters how often. Retried is not repaired.
"""

from engine.store.core.batch import Batch
from engine.store.operations.bulk import Member


def note(batch: Batch, member: Member, operation: int, reason: str) -> None:
    """A person tries a letter again, that was dead for ``reason``."""
    batch.execute(
        "INSERT INTO retried (message_id, delivery_id, n, operation, at_us, reason) VALUES (?, ?, 1, ?, ?, ?)"
        " ON CONFLICT (message_id, delivery_id) DO UPDATE SET"
        " n = n + 1, operation = excluded.operation, at_us = excluded.at_us, reason = excluded.reason",
        (*member, operation, batch.now_us, reason),
    )


def note_sent(batch: Batch, member: Member, operation: int) -> None:
    """A replay has queued a delivery, which is no letter."""
    batch.execute(
        "INSERT INTO retried (message_id, delivery_id, n, operation, at_us, reason) VALUES (?, ?, 0, ?, ?, '')",
        (*member, operation, batch.now_us),
    )


def forget(batch: Batch, member: Member) -> None:
    """A letter is delivered, or mapped."""
    batch.execute("DELETE FROM retried WHERE message_id = ? AND delivery_id = ?", member)
