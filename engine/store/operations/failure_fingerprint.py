"""Fingerprints of failures: dead letters of one cause are counted together without opening each of them.

A letter's detail is sealed; `engine.store.operations.dead_letters.cause_of` derives the cause from it. Keyed hashes of
the cause and of the channel are stored in clear beside the reason. Letters with equal hashes are counted together, and
the text is opened once per cause (`engine.features.rework.rows.letter_groups`). A row without hashes has to be opened
on its own there, so rows that a restoration or a salvage has made get theirs in small steps.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engine.store.core.notes import opened_note
from engine.store.operations.dead_letters import cause_of

if TYPE_CHECKING:
    from engine.store.core.writing.batch import Batch

SWEEP_ROWS = 100


def sweep(batch: "Batch") -> bool:
    """Fingerprint the next letters that have none; return True once all have one."""
    messages = batch.execute(
        "SELECT s.id, j.channel, s.detail FROM message_state s INDEXED BY message_cause"
        " CROSS JOIN journal j ON j.id = s.id"
        " WHERE s.state IN ('dead', 'incomplete') AND s.cause_token IS NULL LIMIT ?",
        (SWEEP_ROWS,),
    ).fetchall()
    deliveries = batch.execute(
        "SELECT d.id, l.channel, d.detail FROM delivery d INDEXED BY delivery_cause CROSS JOIN lane l ON l.id = d.lane"
        " WHERE d.state = 'dead' AND d.cause_token IS NULL LIMIT ?",
        (SWEEP_ROWS,),
    ).fetchall()
    for table, rows in (("message_state", messages), ("delivery", deliveries)):
        for row_id, channel, sealed in rows:
            told = opened_note(batch.vault, sealed, table, row_id, channel)
            note(batch, table, row_id, channel, str(told.get("detail", "")), told.get("issues", ()))
    return len(messages) < SWEEP_ROWS and len(deliveries) < SWEEP_ROWS


def note(
    batch: "Batch",
    table: str,
    row_id: int,
    channel: str,
    detail: str,
    issues: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Store the fingerprint of a message (``message_state``) or a ``delivery`` that became a dead letter; ``issues`` as
    for `cause_of`.
    """
    token = batch.vault.cause_token(channel, cause_of(detail, issues))
    batch.execute(f"UPDATE {table} SET cause_token = ? WHERE id = ?", (token, row_id))  # noqa: S608 - of the schema
