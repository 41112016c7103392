"""Record the result of one attempt: delivered, postponed, dead.

Deliveries and messages that a person has tried or sent again, until they are delivered: by which operation, and of
letters how often. Retried is not repaired.
"""

from collections.abc import Sequence

from engine.model.journal.records import MANUAL, MAYBE_DELIVERED
from engine.model.texts.reasons import ReasonCode
from engine.model.versions import Versions
from engine.store.core.notes import note_of
from engine.store.core.writing.batch import Batch, LaneTally
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import dead_letters, servers
from engine.store.operations.append import seal_note
from engine.store.operations.bulk import Member
from engine.store.operations.outbox import moving
from engine.store.operations.outbox.moving import move, note_attempt, note_late


@operation(priority=Priority.SETTLE, can_linger=True)
def settle(batch: Batch, delivery_id: int, delivered_us: int, versions: Versions = ()) -> None:
    """Record a delivery. It is a fact, so it holds whatever was decided about the delivery in the meantime.

    Args:
        versions: the versions of our resources that the server has now, where the destination asks for them.
    """
    moved = move(batch, delivery_id, None, "delivered", settled_us=delivered_us)
    if moved is not None:
        lane = moved.lane
        lane.delivered_us = max(lane.delivered_us, delivered_us)
        if versions:
            servers.remember(batch, lane.destination, versions)
        batch.count(lane.channel, lane.destination, "delivered")
        moving.count(batch, delivery_id, moved)
        if moved.flags & MANUAL:
            forget(batch, Member(moved.message_id, delivery_id))


@operation(priority=Priority.SETTLE)
def settle_at_once(batch: Batch, delivery_id: int, delivered_us: int, versions: Versions = ()) -> None:
    """As `settle`; the lane waits for it."""
    settle(batch, delivery_id, delivered_us, versions)


@operation(priority=Priority.SETTLE)
def postpone(
    batch: Batch,
    delivery_id: int,
    *,
    attempt: int,
    not_before_us: int,
    cause: ReasonCode,
    detail: str = "",
    answer: bytes = b"",
) -> bool:
    """Record a failed attempt, and wait for the next. False: the delivery was closed meanwhile, so there is none.

    A delivery that its process keeps in memory between attempts is already in state waiting from the second one on.
    """
    moved = move(
        batch,
        delivery_id,
        ("sending", "waiting"),
        "waiting",
        cause=cause.value,
        attempt=attempt,
        not_before_us=not_before_us,
    )
    if cause is ReasonCode.MAYBE_DELIVERED:
        batch.execute("UPDATE delivery SET flags = flags | ? WHERE id = ?", (MAYBE_DELIVERED, delivery_id))
    if moved is None:
        note_late(batch, delivery_id, cause, detail, answer)
        return False
    note_attempt(batch, delivery_id, moved.lane.channel, cause, detail, answer)
    batch.count(moved.lane.channel, moved.lane.destination, "postponed")
    return True


@operation(priority=Priority.SETTLE)
def bury(
    batch: Batch,
    delivery_id: int,
    reason: ReasonCode,
    detail: str = "",
    answer: bytes = b"",
    *,
    hold_lane: bool = False,
) -> None:
    """Make a delivery a dead letter: no further attempt.

    Args:
        hold_lane: nothing behind it is sent until a person has decided about it (``on_dead: hold``).
    """
    moved = move(batch, delivery_id, ("sending", "waiting"), "dead", cause=reason.value, settled_us=batch.now_us)
    if moved is None:
        note_late(batch, delivery_id, reason, detail, answer)
        return
    _tell_dead(batch, delivery_id, moved.lane, reason, detail, answer, hold_lane=hold_lane)


@operation(priority=Priority.SETTLE)
def refuse_late(
    batch: Batch, delivery_id: int, detail: str = "", answer: bytes = b"", *, hold_lane: bool = False
) -> bool:
    """Make a delivered document a dead letter after all: it was refused later. False: it is not delivered, or erased,
    and nothing changes.

    Args:
        hold_lane: as for `bury`.
    """
    row = batch.execute(
        "SELECT d.settled_us FROM delivery d WHERE d.id = ? AND d.state = 'delivered' AND NOT EXISTS"
        " (SELECT 1 FROM erased e WHERE e.what = 'document' AND e.number = d.document_id)",
        (delivery_id,),
    ).fetchone()
    if row is None:
        return False
    reason = ReasonCode.REFUSED_LATE
    moved = move(batch, delivery_id, ("delivered",), "dead", cause=reason.value, settled_us=batch.now_us)
    assert moved is not None
    if batch.day_of(row[0]) == batch.day_of(batch.now_us):  # an earlier day's count stays; the dead letter shows it
        batch.count(moved.lane.channel, moved.lane.destination, "delivered", -1)
        moving.take_back(batch, delivery_id, moved)
    _tell_dead(batch, delivery_id, moved.lane, reason, detail, answer, hold_lane=hold_lane)
    return True


def _tell_dead(
    batch: Batch, delivery_id: int, lane: LaneTally, reason: ReasonCode, detail: str, answer: bytes, *, hold_lane: bool
) -> None:
    note_attempt(batch, delivery_id, lane.channel, reason, detail, answer)
    sealed = seal_note(batch, "delivery", delivery_id, lane.channel, note_of(detail, answer))
    batch.execute("UPDATE delivery SET detail = ? WHERE id = ?", (sealed, delivery_id))
    dead_letters.note(batch, "delivery", delivery_id, lane.channel, detail)
    if hold_lane and not lane.held_by:
        lane.held_by = delivery_id
    batch.count(lane.channel, lane.destination, "dead")


@operation(priority=Priority.SETTLE)
def let_go(batch: Batch, lanes: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Lanes, by channel and destination, go on past the dead letter that held them; return those that one held."""
    held = [names for names in lanes if batch.lane(*names).held_by]
    for names in held:
        batch.lane(*names).held_by = 0
    return held


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
