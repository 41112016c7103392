"""Edit a dead message. The edited bytes become a new message of the channel and the dead one is closed, in one
transaction. The original row is never changed; each of the two refers to the other.

The new message is *stored* like one that just came in, and intake maps it in its turn. So it keeps the order of
messages and passes the same guards: repeats, conflicts of identity, hold rules, and newer results that have been
delivered meanwhile.
"""

from dataclasses import dataclass
from hashlib import sha256

from engine.model.message import Received, Stored
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import append, audit, record_outcome
from engine.store.operations.outbox import decisions

_CLOSED = ("rejected", "dismissed", "superseded")


@dataclass(frozen=True, slots=True)
class EditResult:
    """The result of an edit.

    Attributes:
        stored: the new message; None where the edit was refused and nothing was changed.
        refused: the reason, for the person.
        lanes: (channel, destination) of the deliveries that were closed: one may have held its lane, or may wait in
            memory.
    """

    stored: Stored | None = None
    refused: str = ""
    lanes: frozenset[tuple[str, str]] = frozenset()


@operation(priority=Priority.SETTLE, size=lambda original, received, **more: len(received.payload))
def correct(batch: Batch, original: int, received: Received, *, before: bytes, actor: str, reason: str) -> EditResult:
    """Journal ``received`` in place of a dead message, or of one with dead deliveries.

    The caller has made sure that no delivery attempt of the original is under way: its claimed deliveries only wait in
    memory.

    Args:
        before: the bytes of the original; the audit row keeps the SHA-256 of both.
    """
    row = batch.execute(
        "SELECT j.channel, s.state FROM journal j JOIN message_state s ON s.id = j.id WHERE j.id = ? AND j.kind = 1",
        (original,),
    ).fetchone()
    if row is None or row[0] != received.channel:
        return EditResult(refused=f"message {original} is no message of {received.channel} with a verdict")
    taken = batch.execute("SELECT message_id FROM edited WHERE original = ?", (original,)).fetchone()
    if taken is not None:
        return EditResult(refused=f"message {original} was edited already: it is message {taken[0]} now")
    left = batch.execute(
        "SELECT d.id, l.channel, l.destination, d.state FROM delivery d JOIN lane l ON l.id = d.lane"
        " WHERE d.message_id = ? AND d.state IN ('dead', 'waiting', 'sending', 'held')",
        (original,),
    ).fetchall()
    if row[1] != "dead" and not any(one[3] == "dead" for one in left):
        return EditResult(refused=f"message {original} is no dead letter any more; it was retried or closed meanwhile")
    earlier = append.repeat_of(batch, received)
    if earlier is not None:
        return EditResult(refused=f"message {earlier} has these very bytes, and was taken; dismiss {original} instead")
    stored = append.store_edited(batch, received, original)
    act = audit.note(
        batch,
        actor,
        "edit",
        {
            "message": original,
            "edited": stored.id,
            "reason": reason,
            "before": sha256(before).hexdigest(),
            "after": sha256(received.payload).hexdigest(),
        },
    )
    batch.execute("INSERT INTO edited (message_id, original, act) VALUES (?, ?, ?)", (stored.id, original, act))
    closing = f"edited by {actor}, and message {stored.id} now: {reason}"
    record_outcome.dismiss(batch, [original], closing)
    decisions.withdraw(batch, [one[0] for one in left], closing)  # their documents contain the error, too
    _free_numbers(batch, original)
    return EditResult(stored, lanes=frozenset((channel, destination) for _, channel, destination, _ in left))


def _free_numbers(batch: Batch, original: int) -> None:
    """Free the original's numbers where nothing of it was or can be delivered: the edit may have corrected them."""
    marks = ",".join("?" * len(_CLOSED))
    left = batch.execute(
        f"SELECT 1 FROM delivery WHERE message_id = ? AND state NOT IN ({marks}) LIMIT 1",  # noqa: S608 - constants
        (original, *_CLOSED),
    ).fetchone()
    if left is None:
        record_outcome.free(batch, original)
