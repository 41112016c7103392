"""Close or reopen deliveries by decision: of a person, or because a newer result was delivered first."""

from collections.abc import Callable, Iterable, Sequence

from engine.feature import Hook
from engine.model.journal import records
from engine.model.texts.reasons import ReasonCode
from engine.store.core.notes import note_of
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import dead_letters
from engine.store.operations.append import seal_note
from engine.store.operations.outbox import moving
from engine.store.operations.outbox.moving import close_all, move, tell

TAKEN_BACK: Hook[Callable[[Batch, int], None]] = Hook("on_taken_back")


@operation(priority=Priority.SETTLE)
def requeue(batch: Batch, delivery_ids: Iterable[int], *, unconditional: bool = False) -> int:
    """Retry dead deliveries in their old place in the lane; return how many. Skipped: erased ones, and those with
    another decision since, for a newer revision may have been delivered.

    Args:
        unconditional: a person has decided that they replace the server's version.
    """
    marks = records.MANUAL | (records.UNCONDITIONAL if unconditional else 0)
    changed = 0
    for delivery_id in delivery_ids:
        if batch.execute(
            "SELECT 1 FROM erased e JOIN delivery d ON e.what = 'document' AND e.number = d.document_id WHERE d.id = ?",
            (delivery_id,),
        ).fetchone():
            continue
        moved = move(batch, delivery_id, ("dead",), "waiting", attempt=0, not_before_us=0, settled_us=0)
        if moved is not None:
            changed += 1
            batch.count(moved.lane.channel, moved.lane.destination, "requeued")
            batch.execute("UPDATE delivery SET flags = flags | ? WHERE id = ?", (marks, delivery_id))
    return changed


_SUPERSEDED_FROM = ("waiting", "sending", "dead", "held")


def set_aside(batch: Batch, delivery_id: int, cause: ReasonCode, detail: str) -> bool:
    """Set one delivery aside, out of its lane's way: it is a dead letter until a person retries or dismisses it. False:
    it was not waiting any more. The caller has made sure that no attempt is under way.
    """
    _mark_claimed_before(batch, [delivery_id])
    moved = move(batch, delivery_id, ("waiting", "sending"), "dead", cause=cause.value, settled_us=batch.now_us)
    if moved is None:
        return False
    tell(batch, delivery_id, moved.lane.channel, detail)
    dead_letters.note(batch, "delivery", delivery_id, moved.lane.channel, "")
    batch.count(moved.lane.channel, moved.lane.destination, "dead")
    return True


@operation(priority=Priority.SETTLE)
def supersede(batch: Batch, delivery_ids: Iterable[int], detail: str = "") -> int:
    """Close deliveries because a newer result was delivered: sending them would undo it."""
    closed = close_all(batch, delivery_ids, _SUPERSEDED_FROM, "superseded", detail)
    for delivery_id, moved in closed:
        moving.count(batch, delivery_id, moved)
    return len(closed)


def take_back(batch: Batch, delivery_ids: Sequence[int], detail: str) -> None:
    """Close held deliveries whose every result is in newer messages, or withdrawn by one."""
    supersede(batch, delivery_ids, detail)
    for message_id in messages_of(batch, delivery_ids):
        for follow in TAKEN_BACK.each():
            follow(batch, message_id)


def replace(batch: Batch, delivery_ids: Iterable[int], detail: str) -> int:
    """Close deliveries whose message was processed again: its new deliveries replace them."""
    return len(close_all(batch, delivery_ids, _SUPERSEDED_FROM, "superseded", detail))


def dismiss(batch: Batch, delivery_ids: Iterable[int], detail: str) -> int:
    """Dismiss deliveries that a person does not want delivered. One that is being sent is left alone."""
    return len(close_all(batch, delivery_ids, ("waiting", "dead", "held", "superseded"), "dismissed", detail))


def withdraw(batch: Batch, delivery_ids: Iterable[int], detail: str) -> int:
    """As `dismiss`, also for claimed deliveries; the caller has made sure that no attempt is under way."""
    ids = list(delivery_ids)
    _mark_claimed_before(batch, ids)
    return len(close_all(batch, ids, ("waiting", "sending", "dead", "held"), "dismissed", detail))


def _mark_claimed_before(batch: Batch, delivery_ids: Iterable[int]) -> None:
    """Mark deliveries that an earlier process had claimed: they may have been delivered."""
    batch.executemany(
        "UPDATE delivery SET flags = flags | ? WHERE id = ? AND state = 'sending' AND lease <> ?",
        [(records.MAYBE_DELIVERED, one, batch.boot) for one in delivery_ids],
    )


@operation(priority=Priority.SETTLE)
def hold(batch: Batch, delivery_ids: Iterable[int], cause: ReasonCode, detail: str = "") -> int:
    """Keep single deliveries back until `release`."""
    changed = 0
    for delivery_id in delivery_ids:
        moved = move(batch, delivery_id, ("waiting", "sending"), "held", cause=cause.value, settled_us=batch.now_us)
        if moved is not None:
            changed += 1
            tell(batch, delivery_id, moved.lane.channel, detail)
    return changed


def keep_back(batch: Batch, delivery_id: int, why: records.HoldReason) -> None:
    """Hold a delivery that was just queued, for the reason of a rule."""
    moved = move(batch, delivery_id, ("waiting",), "held", cause=why.reason.value, settled_us=batch.now_us)
    assert moved is not None
    sealed = seal_note(batch, "delivery", delivery_id, moved.lane.channel, note_of(why.text, b""))
    batch.execute("UPDATE delivery SET detail = ? WHERE id = ?", (sealed, delivery_id))
    batch.count(moved.lane.channel, moved.lane.destination, "held")


def release(batch: Batch, delivery_id: int) -> bool:
    """Release a held delivery, in a person's name: it waits in its old place in the lane. False: it was not held.

    Newer messages may have overtaken it meanwhile, so it is marked: the guard of
    `engine.features.results.rows.superseding`
    checks it before it is sent.
    """
    moved = move(batch, delivery_id, ("held",), "waiting", not_before_us=0, settled_us=0)
    if moved is None:
        return False
    batch.execute(
        "UPDATE delivery SET flags = flags | ? WHERE id = ?", (records.MANUAL | records.RELEASED, delivery_id)
    )
    batch.count(moved.lane.channel, moved.lane.destination, "released")
    return True


def reject(batch: Batch, delivery_id: int) -> bool:
    """Reject a held delivery for good, in a person's name. False: it was not held. Its detail stays."""
    moved = move(batch, delivery_id, ("held",), "rejected", cause=ReasonCode.REJECTED.value, settled_us=batch.now_us)
    if moved is not None:
        batch.count(moved.lane.channel, moved.lane.destination, "rejected")
    return moved is not None


def messages_of(batch: Batch, delivery_ids: Iterable[int]) -> set[int]:
    """The messages of these deliveries."""
    rows = (batch.execute("SELECT message_id FROM delivery WHERE id = ?", (one,)).fetchone() for one in delivery_ids)
    return {row[0] for row in rows if row is not None}
