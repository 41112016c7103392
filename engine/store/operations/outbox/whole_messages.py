"""Count messages that are fully delivered, once each, on the day of their last delivery.

A message is delivered when each of its places is; a place is one of its documents at one destination. A place is
delivered when one of its deliveries was, or when its newest one is superseded by a newer result that was delivered. A
later replay to another destination adds no place: it does not affect the count.

The usual message has one delivery and needs no look-up: a flag of the delivery says so.
"""

from engine.model.journal.records import AGAIN, SHARED
from engine.store.core.writing.batch import Batch
from engine.store.operations.outbox.moving import MovedDelivery

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
