"""Claim deliveries: a worker takes the next ones of a lane under the lease of its process."""

from collections.abc import Iterable, Sequence

import orjson

from engine.model.errors import IntegrityError
from engine.model.journal import records
from engine.model.journal.hashes import split_hashes, unpack_reports
from engine.model.message import Delivery
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch, LaneTally
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations.outbox.attempts import bury
from engine.store.operations.outbox.moving import move

CLAIM_BYTES = 8 * 1024 * 1024  # stored bytes of documents that one claim loads into memory


@operation(priority=Priority.SETTLE)
def claim(
    batch: Batch, channel: str, destination: str, limit: int, *, after: int = 0, hold: bool = False
) -> list[Delivery]:
    """Claim the next waiting deliveries of a lane, in its order. Their documents stay compressed.

    Returns an empty list only where nothing waits, or where the lane is paused or held; there may be more than it
    returns. A document that cannot be opened is buried as DAMAGED, and the rest goes on.

    Args:
        after: only deliveries with higher numbers; the caller has the others.
        hold: a dead letter holds the lane: deliveries behind a damaged one stay where they are (`is_held`).
    """
    return _claim(batch, channel, destination, limit, _OLDEST, after, hold=hold)


@operation(priority=Priority.SETTLE)
def is_held(batch: Batch, channel: str, destination: str) -> bool:
    """Whether a dead letter holds a lane."""
    return bool(batch.lane(channel, destination).held_by)


@operation(priority=Priority.SETTLE)
def claim_newest(batch: Batch, channel: str, destination: str, limit: int, *, without: Sequence[int]) -> list[Delivery]:
    """As `claim`, newest first.

    Args:
        without: deliveries that the caller already has.
    """
    return _claim(batch, channel, destination, limit, _NEWEST, orjson.dumps(list(without)).decode())


# Finished attempts in the journal: of the delivery itself, and of earlier ones under its key.
_MADE = (
    "(SELECT count(*) FROM delivery p CROSS JOIN attempt a ON a.delivery = p.id"
    " WHERE p.message_id = d.message_id AND p.key = d.key) + (SELECT count(*) FROM delivery p"
    " WHERE p.message_id = d.message_id AND p.key = d.key AND p.id < d.id AND p.state = 'delivered')"
)
# The selection and order of a lane's waiting deliveries.
_OLDEST = "d.seq > ? ORDER BY d.seq"
_NEWEST = "d.id NOT IN (SELECT value FROM json_each(?)) ORDER BY d.seq DESC"


def _claim(
    batch: Batch, channel: str, destination: str, limit: int, which: str, value: int | str, *, hold: bool = False
) -> list[Delivery]:
    lane = batch.lane(channel, destination)
    if lane.paused or lane.held_by or not lane.open:
        return []
    while (found := _claim_next(batch, lane, limit, which, value, hold)) is not None:
        if found or lane.held_by:
            return found
    return []


def _claim_next(
    batch: Batch, lane: LaneTally, limit: int, which: str, value: int | str, hold: bool
) -> list[Delivery] | None:
    """The next waiting deliveries that can be opened; None where none waits."""
    channel, destination = lane.channel, lane.destination
    rows = batch.execute(
        "SELECT d.id, d.seq, d.message_id, d.key, d.attempt, d.not_before_us, d.flags, o.id, o.media_type,"  # noqa: S608 - constants
        f" o.conditional, o.reports, length(o.body), j.received_us, j.message_type, {_MADE}"
        " FROM delivery d JOIN document o ON o.id = d.document_id JOIN journal j ON j.id = d.message_id"
        f" WHERE d.lane = ? AND d.state = 'waiting' AND {which} LIMIT ?",
        (lane.id, value, limit),
    ).fetchall()
    if not rows:
        return None
    claimed: list[Delivery] = []
    room = CLAIM_BYTES
    for (
        row_id, seq, message_id, key, attempt, not_before_us, flags, document_id, media_type, conditional, reports,
        size, received_us, message_type, made,
    ) in rows:  # fmt: skip
        if size > room and claimed:
            break
        room -= size
        sealed = batch.execute("SELECT body FROM document WHERE id = ?", (document_id,)).fetchone()[0]
        try:
            body, packed = batch.vault.open_packed(sealed, "document", document_id, channel)
        except IntegrityError as error:
            bury(batch, row_id, ReasonCode.DAMAGED, str(error), b"", hold_lane=hold)
            if hold:
                break
            continue
        claimed.append(
            Delivery(
                id=row_id,
                message_id=message_id,
                channel=channel,
                destination=destination,
                seq=seq,
                key=key.hex(),
                body=body,
                packed=packed,
                media_type=media_type,
                received_us=received_us,
                attempt=attempt,
                not_before_us=not_before_us,
                maybe_delivered=bool(flags & records.MAYBE_DELIVERED),
                manual=bool(flags & records.MANUAL),
                conditional=split_hashes(conditional),
                reports=tuple(report.key for report in unpack_reports(reports)),
                unconditional=bool(flags & records.UNCONDITIONAL),
                joins=bool(flags & (records.JOINS | records.RELEASED)),
                known_order=bool(flags & records.KNOWN_ORDER),
                message_type=message_type,
                earlier=max(made - attempt, 0),
            )
        )
    batch.executemany(
        "UPDATE delivery SET state = 'sending', lease = ? WHERE id = ?", [(batch.boot, d.id) for d in claimed]
    )
    return claimed


@operation(priority=Priority.SETTLE)
def unclaim(batch: Batch, delivery_ids: Iterable[int], *, maybe_delivered: bool = False) -> int:
    """Give claims back: the deliveries wait again in their old place.

    Args:
        maybe_delivered: they were being sent, with unknown result; else they are untried.
    """
    changed = 0
    for delivery_id in delivery_ids:
        if move(batch, delivery_id, ("sending",), "waiting") is not None:
            changed += 1
        if maybe_delivered:
            mark = "UPDATE delivery SET flags = flags | ? WHERE id = ? AND state = 'waiting'"
            batch.execute(mark, (records.MAYBE_DELIVERED, delivery_id))
    return changed


@operation(priority=Priority.SETTLE)
def void_leases(batch: Batch) -> int:
    """Return the claims of earlier processes to waiting, marked as maybe delivered; return how many may have been under
    way.

    A retry does not claim its row anew, so a failed delivery whose next attempt was due may have been under way, too.
    """
    cursor = batch.execute(
        "UPDATE delivery SET state = 'waiting', lease = 0, flags = flags | ? WHERE state = 'sending' AND lease <> ?",
        (records.MAYBE_DELIVERED, batch.boot),
    )
    retried = batch.execute(
        "UPDATE delivery SET flags = flags | ? WHERE state = 'waiting' AND attempt > 0 AND not_before_us <= ?",
        (records.MAYBE_DELIVERED, batch.now_us),
    )
    return cursor.rowcount + retried.rowcount
