"""Poison messages: find the message that kills the process again and again, across restarts.

An exception in a mapping makes a dead letter at once. A kill of the whole process (memory, a fault of a library) is
noticed at the next start: the last process did not end in order. From then on intake takes messages one at a time, each
only once the one before it is durable (`engine.processing.intake`), so that the first message without a state is the
suspect of a further kill. Each such start notes the suspect before it is processed; a start that finds the same one
noted for the third time makes it a dead letter. After a process that stopped in order, the next start deletes the note.

Rows of the table ``meta``:

    running        there while a daemon runs; a start that finds it was preceded by a kill
    suspect        the message noted last
    suspect_times  how many starts in a row have noted it
"""

from engine.model.outcome import Outcome
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import record_outcome

GIVE_UP_AFTER = 3
DETAIL = "the process ended three times while processing it"
_PUT = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"
_DROP = "DELETE FROM meta WHERE name = ?"


@operation(priority=Priority.SETTLE)
def begin(batch: Batch) -> tuple[bool, int]:
    """Begin a daemon's run. Returns whether the run before it was killed, and the message that is given up for it, or
    0."""
    known = dict(batch.execute("SELECT name, value FROM meta WHERE name IN ('running', 'suspect', 'suspect_times')"))
    killed = "running" in known
    given_up = 0
    if killed and known.get("suspect_times", 0) >= GIVE_UP_AFTER:
        given_up = _give_up(batch, known["suspect"])
    if given_up or not killed:
        _forget(batch)
    batch.execute(_PUT, ("running", batch.boot))
    return killed, given_up


@operation(priority=Priority.SETTLE)
def note(batch: Batch, message_id: int) -> None:
    """Note the suspect: a message that is about to be processed."""
    times = batch.execute(
        "SELECT n.value FROM meta s JOIN meta n ON n.name = 'suspect_times' WHERE s.name = 'suspect' AND s.value = ?",
        (message_id,),
    ).fetchone()
    batch.executemany(_PUT, [("suspect", message_id), ("suspect_times", times[0] + 1 if times else 1)])


@operation(priority=Priority.RECEIVE)
def end(batch: Batch) -> None:
    """The daemon stops in order: delete the notes."""
    batch.execute(_DROP, ("running",))


def _give_up(batch: Batch, message_id: int) -> int:
    row = batch.execute("SELECT channel FROM journal WHERE id = ? AND kind = 1", (message_id,)).fetchone()
    if row is None or batch.execute("SELECT 1 FROM message_state WHERE id = ?", (message_id,)).fetchone():
        return 0
    record_outcome.record(batch, message_id, Outcome("dead", ReasonCode.MAPPING_FAULT, DETAIL))
    return message_id


def _forget(batch: Batch) -> None:
    batch.executemany(_DROP, [("suspect",), ("suspect_times",)])
