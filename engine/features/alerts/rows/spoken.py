"""Which results were told as critical, so that an echo rings no second time, and who was told hears when it is not so.

A later message ends one where it says another thing of the same order, specimen and test, and says so itself (a
correction, a withdrawal), or was measured at the same time, or the critical value was not finished. What waits for a
person ends none, and two patients are never one. A person who rejects all of a message ends its values, too.
"""

from collections.abc import Sequence

from engine.features.alerts.rows.changes import note_critical
from engine.model.criticals import Spoken
from engine.store.core.writing.batch import Batch
from engine.store.operations.emptying import ErasedMessage
from engine.succession.steps import CANCELLED, CHANGES, UNFINISHED

NAMELESS_US = 36 * 3_600_000_000  # for so long a number alone says whose a result is


def note(batch: Batch, message_id: int, channel: str, spoken: Sequence[Spoken], *, is_held: bool) -> None:
    """A message goes out, or all of it waits for a person."""
    new = []
    for one in spoken:
        known = _standing(batch, message_id, one)
        if one.critical and not any(said == one.said for _, _, said, _, _ in known):
            new.append(one)
        over = [row for row in known if row[2] != one.said or not one.critical]
        if not is_held:
            _end(batch, [row[:2] for row in over if _takes_the_place(one, measured=row[3], state=row[4])], message_id)
    if new and note_critical(batch, message_id, channel):
        batch.executemany(
            "INSERT INTO critical_result (message_id, key, person, said, measured, state, noted_us)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(message_id, one.key, one.person, one.said, one.at, one.state, batch.now_us) for one in new],
        )


def _standing(batch: Batch, message_id: int, one: Spoken) -> list[tuple[int, int, str, str, str]]:
    """Of the same result, what older messages told: row, message, said, measured, state."""
    if not one.key:
        return []
    return batch.execute(
        "SELECT id, message_id, said, measured, state FROM critical_result WHERE key = ? AND over_us = 0"
        " AND message_id < ? AND (person = ? OR ((person = '' OR ? = '') AND noted_us > ?))",
        (one.key, message_id, one.person, one.person, batch.now_us - NAMELESS_US),
    ).fetchall()


def _takes_the_place(one: Spoken, *, measured: str, state: str) -> bool:
    return one.state in CHANGES or one.state == CANCELLED or one.at == measured or state in UNFINISHED


def _end(batch: Batch, rows: Sequence[tuple[int, int]], by: int) -> None:
    """Their messages have no critical value any more, where none of it is left; it is for a person again."""
    for row, message_id in rows:
        batch.execute("UPDATE critical_result SET over_us = ? WHERE id = ?", (batch.now_us, row))
        batch.execute(
            "UPDATE critical_value SET over_us = ?, over_by = ?, taken_us = 0, taken = 0 WHERE message_id = ?"
            " AND NOT EXISTS (SELECT 1 FROM critical_result WHERE message_id = ? AND over_us = 0)",
            (batch.now_us, by, message_id, message_id),
        )


def decided(batch: Batch, message_id: int) -> None:
    """A person has decided about a delivery of a message."""
    left = "SELECT 1 FROM delivery WHERE message_id = ? AND state <> 'rejected' LIMIT 1"
    if batch.execute(left, (message_id,)).fetchone() is None:
        rows = batch.execute(
            "SELECT id, message_id FROM critical_result WHERE message_id = ? AND over_us = 0", (message_id,)
        ).fetchall()
        _end(batch, rows, 0)


def forget(batch: Batch, message: ErasedMessage) -> int:
    """A message is erased: that it had a critical value stays."""
    batch.execute("UPDATE critical_result SET key = '', person = '', said = '' WHERE message_id = ?", (message.id,))
    return 0
