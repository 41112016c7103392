"""Which results were notified as critical: an echo of one rings no second time, and those who were notified of one are
notified when it is so no more.

A later message ends one where it says another thing of the same order, specimen and test, and says so itself (a
correction, a withdrawal), or was measured at the same time, or the critical value was not finished. What waits for a
person ends none, and two patients are never one; where a number may be a counter's, another day is another one. A
person who rejects all of a message ends its values, too.
"""

from collections.abc import Sequence

from engine.features.alerts.rows.changes import note_critical
from engine.model.criticals import Spoken
from engine.store.core.writing.batch import Batch
from engine.store.operations.emptying import ErasedMessage
from engine.succession.steps import CANCELLED, CHANGES, UNFINISHED

COUNTER_US = 36 * 3_600_000_000  # for so long a number that may be a counter's is of one


def note(batch: Batch, message_id: int, channel: str, spoken: Sequence[Spoken], *, is_held: bool) -> None:
    """A message goes out, or all of it waits for a person."""
    new = []
    for one in spoken:
        known = _standing(batch, message_id, channel, one)
        if one.critical and not (one.at and any(row[2] == one.said for row in known)):
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


def _standing(batch: Batch, message_id: int, channel: str, one: Spoken) -> list[tuple[int, int, str, str, str]]:
    """Of the same result, what older messages say: row, message, said, measured, state."""
    if not one.key:
        return []
    return batch.execute(
        "SELECT r.id, r.message_id, r.said, r.measured, r.state FROM critical_result r"
        " JOIN critical_value v ON v.message_id = r.message_id"
        " WHERE r.key = ?1 AND r.over_us = 0 AND r.message_id < ?2 AND CASE WHEN r.person = '' OR ?3 = ''"
        " THEN v.channel = ?4 AND r.noted_us > ?5 ELSE r.person = ?3 AND (?6 OR r.noted_us > ?5) END",
        (one.key, message_id, one.person, channel, batch.now_us - COUNTER_US, one.lasting),
    ).fetchall()


def _takes_the_place(one: Spoken, *, measured: str, state: str) -> bool:
    return one.state in CHANGES or one.state == CANCELLED or one.at == measured != "" or state in UNFINISHED


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
