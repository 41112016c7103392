"""Which results were notified as critical: an echo of one rings no second time, and those who were notified of one are
notified when it is so no more.

A later message ends one where it says of the same order, specimen and test that it is not critical, and takes it back
itself (a correction or withdrawal of the same sample, or of the same measurement); on the same channel, also where it
has the same time of measurement, or finishes what was preliminary. Of messages without a critical flag, and that take
nothing back, those of a channel with a preliminary critical value alone are asked (`final_words`). No lower status
ends a higher one. A message of which a part waits for a person ends none before that is released, and two patients are
never one; where a number may be a counter's, another day or channel is another one. A person who rejects all of a
message ends its values, too, until it is sent again.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import orjson

from engine.features.alerts.rows.changes import CRITICAL_KEY, note_critical, raise_call
from engine.model.content.facts import stored
from engine.model.content.quality_controls import of_patients
from engine.model.outcome import ReadResults, Spoken
from engine.processing.spoken import spoken
from engine.store.core.writing.batch import Batch
from engine.store.operations.emptying import ErasedMessage
from engine.succession.steps import CANCELLED, CHANGES, RANK, UNFINISHED, WITHDRAWN

COUNTER_US = 36 * 3_600_000_000  # for so long a number that may be a counter's is of one


_PRELIMINARY = (  # as the index has it
    "SELECT 1 FROM critical_result WHERE over_us = 0 AND state IN ('registered', 'preliminary', 'partial')"
    " AND channel = ? LIMIT 1"
)


class Standing(NamedTuple):
    """What an older message says of the same result."""

    row: int
    message: int
    channel: str
    person: str
    said: str
    measured: str
    drawn: str
    state: str


def note(batch: Batch, message_id: int, channel: str, said: Sequence[Spoken], *, is_held: bool) -> None:
    """A message goes out, or some of it waits for a person."""
    is_new, over = False, set[tuple[int, int]]()
    for one in said:
        known = _standing(batch, message_id, channel, one)
        if one.critical:
            is_new |= not (one.at and any(row.said == one.said for row in known))
            _deny(batch, [row.row for row in known], 0)
        else:
            over |= {(row.row, row.message) for row in known if _ends(one, channel, row)}
    if is_held:
        _deny(batch, [row for row, _ in over], message_id)
    else:
        _end(batch, over, message_id)
    if not is_new:
        return
    if not note_critical(batch, message_id, channel):
        _begin_again(batch, message_id, channel)
        return
    batch.executemany(  # also those that are known: the message is critical as long as one of them is
        "INSERT INTO critical_result (message_id, channel, key, person, said, measured, drawn, state, noted_us)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (message_id, channel, one.key, one.person, one.said, one.at, one.drawn, one.state, batch.now_us)
            for one in said
            if one.critical
        ],
    )


def final_words(batch: Batch, channel: str, read: ReadResults | None) -> Sequence[Spoken]:
    """What a message says, where a preliminary result of its channel is critical: it may be the final one of that."""
    if read is None or not read.facts or batch.execute(_PRELIMINARY, (channel,)).fetchone() is None:
        return ()
    facts = read.known or stored(orjson.loads(read.facts))
    measured = of_patients(facts, is_hl7=read.is_hl7, numbers=read.numbers, orders=read.orders)
    return tuple(spoken(measured, batch.vault.identity_key))


def _standing(batch: Batch, message_id: int, channel: str, one: Spoken) -> list[Standing]:
    if not one.key:
        return []
    rows = batch.execute(
        "SELECT id, message_id, channel, person, said, measured, drawn, state FROM critical_result"
        " WHERE key = ?1 AND over_us = 0 AND message_id < ?2 AND (person = ?3 OR person = '' OR ?3 = '')"
        " AND (?6 AND person = ?3 OR channel = ?4 AND noted_us > ?5)",
        (one.key, message_id, one.person, channel, batch.now_us - COUNTER_US, one.lasting),
    ).fetchall()
    return [Standing(*row) for row in rows]


def _ends(one: Spoken, channel: str, row: Standing) -> bool:
    is_same = one.at == row.measured != ""
    is_of_sample = one.drawn == row.drawn and bool(one.drawn or one.person == row.person != "")
    if one.state == CANCELLED:  # a measurement that failed, another one of it may be right
        return is_same and row.channel == channel
    if one.state != WITHDRAWN and RANK.get(one.state, 0) < RANK.get(row.state, 0):
        return False
    if one.state in CHANGES:
        return is_same or is_of_sample
    finishes = row.state in UNFINISHED and one.state not in UNFINISHED
    return row.channel == channel and (is_same or (finishes and is_of_sample))


def _deny(batch: Batch, rows: Collection[int], by: int) -> None:
    """``by``: the message that says otherwise, and waits for a person; 0: none does."""
    batch.executemany("UPDATE critical_result SET denied_by = ? WHERE id = ?", [(by, row) for row in rows])


def _end(batch: Batch, rows: Collection[tuple[int, int]], by: int) -> None:
    """Their messages have no critical value any more, where none of it is left; it is for a person again."""
    batch.executemany("UPDATE critical_result SET over_us = ? WHERE id = ?", [(batch.now_us, row) for row, _ in rows])
    for message_id in sorted({message_id for _, message_id in rows}):
        ended = batch.execute(
            "UPDATE critical_value SET over_us = ?, over_by = ?, taken_us = 0, taken = 0 WHERE message_id = ?"
            " AND NOT EXISTS (SELECT 1 FROM critical_result WHERE message_id = ? AND over_us = 0)",
            (batch.now_us, by, message_id, message_id),
        )
        if ended.rowcount:  # an alert that a person has taken may be kept up to the next look
            key = CRITICAL_KEY.format(message_id)
            over = "UPDATE critical_call SET over_us = ? WHERE message_id = ? AND taken_us = 0"
            batch.execute(over, (batch.now_us, message_id))
            batch.execute("UPDATE alert SET taken_us = 0, taken = 0 WHERE key = ?", (key,))


def _begin_again(batch: Batch, message_id: int, channel: str) -> None:
    """A message whose values ended when a person rejected it is sent all the same: they are critical again."""
    rejected = "SELECT 1 FROM critical_value WHERE message_id = ? AND over_us > 0 AND over_by = 0"
    if batch.execute(rejected, (message_id,)).fetchone() is not None:
        batch.execute("UPDATE critical_result SET over_us = 0 WHERE message_id = ?", (message_id,))
        batch.execute(
            "UPDATE critical_value SET over_us = 0, taken_us = 0, taken = 0 WHERE message_id = ?", (message_id,)
        )
        batch.execute("DELETE FROM alert WHERE key = ?", (CRITICAL_KEY.format(message_id),))  # it starts anew
        raise_call(batch, message_id, channel)


def decided(batch: Batch, message_id: int) -> None:
    """A person has decided about a delivery of a message; what it says counts once none of it waits any more."""
    if not batch.notes_critical:
        return
    rows = "SELECT id, message_id FROM critical_result WHERE {} = ? AND over_us = 0"
    states = batch.execute("SELECT DISTINCT state FROM delivery WHERE message_id = ?", (message_id,)).fetchall()
    if all(state == "rejected" for (state,) in states):
        _end(batch, batch.execute(rows.format("message_id"), (message_id,)).fetchall(), 0)
    elif ("held",) not in states:
        _end(batch, batch.execute(rows.format("denied_by"), (message_id,)).fetchall(), message_id)


def forget(batch: Batch, message: ErasedMessage) -> int:
    """A message is erased: that it had a critical value stays."""
    batch.execute(
        "UPDATE critical_result SET key = '', person = '', said = '', measured = '', drawn = '' WHERE message_id = ?",
        (message.id,),
    )
    return 0
