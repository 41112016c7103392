"""Change a delivery's state, with the gauges of its lane and the note of the reason, in one transaction.

Messages that are fully delivered are counted once each, on the day of their last delivery. A message is delivered when
each of its places is; a place is one of its documents at one destination. A place is delivered when one of its
deliveries was, or when its newest one is superseded by a newer result that was delivered. A later replay to another
destination adds no place: it does not affect the count.

The usual message has one delivery and needs no look-up: a flag of the delivery says so.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from engine.feature import Hook
from engine.model.errors import StoreError
from engine.model.journal.records import AGAIN, CRITICAL, OF_CRITICAL, ORDERED, SHARED
from engine.model.texts.reasons import ReasonCode
from engine.store.core.notes import note_of
from engine.store.core.writing.batch import Batch, LaneTally
from engine.store.operations.append import seal_note

DECIDED: Hook[Callable[[Batch, int], None]] = Hook("on_decided")

_OPEN = frozenset({"waiting", "sending"})
_UNDONE = frozenset({"rejected", "dismissed"})
# The lane's gauge for each state; the other states are final and counted per day only.
_GAUGE = {"waiting": "open", "sending": "open", "dead": "dead", "held": "held"}


class MovedDelivery(NamedTuple):
    """A delivery whose state was changed, with its state before."""

    lane: LaneTally
    old: str
    message_id: int
    flags: int


def move(
    batch: Batch, delivery_id: int, allowed: tuple[str, ...] | None, state: str, **columns: Any
) -> MovedDelivery | None:
    """Change a delivery's state where it is in one of ``allowed`` (None: any other one).

    Returns:
        None where it was in another state and nothing changed.

    Raises:
        StoreError: no such delivery exists.
    """
    row = batch.execute("SELECT lane, state, message_id, flags FROM delivery WHERE id = ?", (delivery_id,)).fetchone()
    if row is None:
        raise StoreError(f"there is no delivery {delivery_id}")
    lane_id, old, message_id, flags = row
    if old == state if allowed is None else old not in allowed:
        return None
    names = "".join(f", {name} = ?" for name in columns)
    batch.execute(
        f"UPDATE delivery SET state = ?, lease = 0{names} WHERE id = ?",  # noqa: S608 - names are ours, never input
        (state, *columns.values(), delivery_id),
    )
    lane = batch.lane_of(lane_id)
    if state != "waiting" or old not in _OPEN:  # an attempt that failed is none
        named = {"channel": lane.channel, "destination": lane.destination, "reason": columns.get("cause", "")}
        batch.tell(f"delivery.{state}", delivery=delivery_id, message=message_id, **named)
    if (gauge := _GAUGE.get(old)) is not None:
        setattr(lane, gauge, getattr(lane, gauge) - 1)
    if (gauge := _GAUGE.get(state)) is not None:
        setattr(lane, gauge, getattr(lane, gauge) + 1)
    if lane.held_by == delivery_id and old == "dead":
        lane.held_by = 0  # a person has decided about the delivery that held the lane
    by_person = (old == "held" and state != "superseded") or old in _UNDONE or state in _UNDONE
    is_given_up = flags & OF_CRITICAL and "dead" in (old, state)  # or it is tried again
    if is_given_up or (by_person and (old == "held" or flags & (ORDERED | CRITICAL | OF_CRITICAL))):
        decided(batch, message_id)
    return MovedDelivery(lane, old, message_id, flags)


def decided(batch: Batch, message_id: int) -> None:
    """A person, or a newer result, has decided about a delivery of a message that may be of orders or critical values;
    or one of those was given up."""
    for follow in DECIDED.each():
        follow(batch, message_id)


def close_all(
    batch: Batch, delivery_ids: Iterable[int], allowed: tuple[str, ...], state: str, detail: str
) -> list[tuple[int, MovedDelivery]]:
    """Close deliveries for a reason; return the numbers of those that changed, with their state before."""
    closed: list[tuple[int, MovedDelivery]] = []
    for delivery_id in delivery_ids:
        moved = move(batch, delivery_id, allowed, state, settled_us=batch.now_us)
        if moved is None:
            continue
        closed.append((delivery_id, moved))
        batch.count(moved.lane.channel, moved.lane.destination, state)
        tell(batch, delivery_id, moved.lane.channel, detail)
    return closed


def tell(batch: Batch, delivery_id: int, channel: str, detail: str) -> None:
    """Store the reason for a delivery's state in place of the last one; an empty text changes nothing."""
    if detail:
        sealed = seal_note(batch, "delivery", delivery_id, channel, note_of(detail, b""))
        batch.execute("UPDATE delivery SET detail = ? WHERE id = ?", (sealed, delivery_id))


def note_attempt(batch: Batch, delivery_id: int, channel: str, cause: ReasonCode, detail: str, answer: bytes) -> None:
    (n,) = batch.execute("SELECT coalesce(max(n), 0) + 1 FROM attempt WHERE delivery = ?", (delivery_id,)).fetchone()
    sealed = seal_note(batch, f"attempt {n}", delivery_id, channel, note_of(detail, answer))
    batch.execute(
        "INSERT INTO attempt (delivery, n, at_us, cause, detail) VALUES (?, ?, ?, ?, ?)",
        (delivery_id, n, batch.now_us, cause.value, sealed),
    )


def note_late(batch: Batch, delivery_id: int, cause: ReasonCode, detail: str, answer: bytes) -> None:
    """Record a failed attempt whose delivery was closed while it was under way: its result is known, and changes
    nothing. Not for erased deliveries: the destination's text may name the patient.
    """
    row = batch.execute(
        "SELECT l.channel FROM delivery d JOIN lane l ON l.id = d.lane WHERE d.id = ? AND NOT EXISTS"
        " (SELECT 1 FROM erased e WHERE e.what = 'document' AND e.number = d.document_id)",
        (delivery_id,),
    ).fetchone()
    if row is not None:
        note_attempt(batch, delivery_id, row[0], cause, detail, answer)


COUNTER = "delivered"  # of the channel itself; a lane's has the same name under its destination


def count(batch: Batch, delivery_id: int, moved: MovedDelivery) -> None:
    """Count the message, if this delivery, just delivered or superseded, was the last missing one."""
    alone = not moved.flags & (SHARED | AGAIN) and moved.old != "superseded"
    if alone or _all_delivered(batch, delivery_id, moved) == (False, True):
        batch.count(moved.lane.channel, "", COUNTER)


def take_back(batch: Batch, delivery_id: int, moved: MovedDelivery) -> None:
    """Uncount the message, if it was counted before this delivery was refused after all."""
    if not moved.flags & (SHARED | AGAIN) or _all_delivered(batch, delivery_id, moved) == (True, False):
        batch.count(moved.lane.channel, "", COUNTER, -1)


def _all_delivered(batch: Batch, delivery_id: int, moved: MovedDelivery) -> tuple[bool, bool]:
    """Whether each place of the message was delivered before this delivery moved, and whether it is now."""
    now: dict[tuple[int, int], list[str]] = {}
    before: dict[tuple[int, int], list[str]] = {}
    own: set[tuple[int, int]] = set()
    for number, lane, ordinal, state, flags in batch.execute(
        "SELECT d.id, d.lane, o.ordinal, d.state, d.flags FROM delivery d JOIN document o ON o.id = d.document_id"
        " WHERE d.message_id = ? ORDER BY d.id",
        (moved.message_id,),
    ):
        place = lane, ordinal
        now.setdefault(place, []).append(state)
        before.setdefault(place, []).append(moved.old if number == delivery_id else state)
        if not flags & AGAIN:
            own.add(place)
    return all(_is_delivered(before[place]) for place in own), all(_is_delivered(now[place]) for place in own)


def _is_delivered(states: list[str]) -> bool:
    """Args: states: of a place's deliveries, oldest first."""
    return "delivered" in states or states[-1] == "superseded"
