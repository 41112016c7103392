"""Queue deliveries: documents of an outcome or of a replay get numbers in their lanes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.model.journal import records
from engine.model.journal.hashes import pack_reports
from engine.model.message import Delivery, Document
from engine.store.core.chain import document_hash
from engine.store.core.vault import DOCUMENT_KEYS
from engine.store.core.writing.batch import Batch, LaneTally
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations.outbox.decisions import keep_back
from engine.store.operations.outbox.moving import decided


class QueuedMessage(NamedTuple):
    """The message whose documents are queued; ``token`` as in its row, from which the keys of deliveries follow."""

    id: int
    channel: str
    received_us: int
    message_type: str
    token: bytes


def put(
    batch: Batch,
    message: QueuedMessage,
    routes: Sequence[records.Routed],
    held: Sequence[records.HoldReason | None],
    *,
    revision: int,
    manual: bool,
    known_order: bool,
    marks: int,
) -> tuple[tuple[Delivery, ...], int, frozenset[int]]:
    """Store documents and queue their deliveries.

    Args:
        held: the reason for each of ``routes`` why its deliveries are held, or None.
        known_order: other messages have the same orders.
        marks: flags of the deliveries.

    Returns:
        The claimed deliveries, in queue order; how many others wait; and the places, in queue order from 0, of
        deliveries that are held, or left out (an echo).
    """
    claimed: list[Delivery] = []
    waiting = 0
    kept: list[int] = []
    number = -1
    common = (records.MANUAL * manual) | (records.KNOWN_ORDER * known_order) | marks
    if revision > 1 or sum(len(routed.destinations) for routed in routes) > 1:
        common |= records.SHARED
    for ordinal, (routed, why) in enumerate(zip(routes, held, strict=True), start=1):
        if routed.echo:
            kept += range(number + 1, number + 1 + len(routed.destinations))
            number += len(routed.destinations)
            continue
        marks = common | (records.JOINS * routed.joins)
        document_id = _store_document(batch, message.id, message.channel, revision, ordinal, routed.document)
        for position, destination in enumerate(routed.destinations):
            number += 1
            lane = batch.lane(message.channel, destination)
            key = batch.vault.delivery_key(message.token, revision, ordinal, destination)
            if why is not None:
                row_id = _insert(batch, lane, message.id, document_id, key, "waiting", marks)
                keep_back(batch, row_id, why)
                kept.append(number)
                continue
            ours = position < len(routed.claimed) and routed.claimed[position]
            row_id = _insert(batch, lane, message.id, document_id, key, "sending" if ours else "waiting", marks)
            if not ours:
                waiting += 1
                continue
            claimed.append(
                Delivery(
                    id=row_id, message_id=message.id, channel=message.channel, destination=destination,
                    seq=lane.last_seq, key=key.hex(), body=routed.document.body, packed=routed.document.packed,
                    media_type=routed.document.media_type, received_us=message.received_us, manual=manual,
                    conditional=routed.document.conditional,
                    reports=tuple(report.key for report in routed.document.reports), entries=routed.document.entries,
                    message_type=message.message_type, maybe_delivered=message.id <= batch.tail.restored_to,
                    joins=routed.joins, known_order=known_order,
                )
            )  # fmt: skip
    return tuple(claimed), waiting, frozenset(kept)


@operation(priority=Priority.RECEIVE)
def replay(
    batch: Batch,
    message_ids: Iterable[int],
    destinations: frozenset[str] | None = None,
    *,
    to: str = "",
    takes: str = "",
    states: frozenset[str] | None = None,
) -> list[int]:
    """Queue the newest documents of these messages again, to all or some of the destinations that they went to.

    The newest one is chosen for each destination: a reprocessed message went only where it differed. The new deliveries
    have the keys of the old ones, are queued at the end of their lanes and marked manual. A held or rejected document
    goes nowhere.

    Args:
        to: send them to this destination instead, where a message has not been yet; under a key that is the same each
            time.
        takes: the media type that ``to`` takes; other documents do not go there. Empty: it takes all.
        states: only documents in one of these states at their destination (`_Sent`). None: any.
    """
    made = []
    again = (
        records.MANUAL | records.AGAIN | records.KNOWN_ORDER
    )  # by then its report is joined with the destination's version
    for message_id in message_ids:
        found = [
            _Sent(*row) for row in batch.execute(_SENT, (message_id,)).fetchall() if states is None or row[2] in states
        ]
        if destinations is not None:
            found = [one for one in found if batch.lane_of(one.lane).destination in destinations]
        if to:
            found = _instead(batch, message_id, found, to, takes, states)
        for one in found:
            marks = again | one.marks
            made.append(_insert(batch, batch.lane_of(one.lane), message_id, one.document, one.key, "waiting", marks))
        if any(one.marks & records.ORDERED for one in found):
            decided(batch, message_id)
    return made


@dataclass(frozen=True, slots=True)
class _Sent:
    """A document that went to a destination, and its state there: that of its newest delivery. A document stays
    delivered where a later replay of it was superseded. ``marks``: flags that a replay has, too.
    """

    document: int
    lane: int
    state: str
    key: bytes
    marks: int = 0


_SENT = (
    "SELECT DISTINCT d.document_id, d.lane, (SELECT s.state FROM delivery s WHERE s.message_id = d.message_id"  # noqa: S608 - a constant
    "  AND s.lane = d.lane AND s.document_id = d.document_id ORDER BY s.state = 'superseded', s.id DESC LIMIT 1),"
    f" d.key, d.flags & {records.JOINS | records.ORDERED | records.CRITICAL | records.OF_CRITICAL}"
    " FROM delivery d JOIN document o ON o.id = d.document_id"
    " WHERE d.message_id = ? AND o.revision = (SELECT max(p.revision) FROM delivery e"
    "  JOIN document p ON p.id = e.document_id"
    "  WHERE e.message_id = d.message_id AND e.lane = d.lane AND p.ordinal = o.ordinal)"
    " AND NOT EXISTS (SELECT 1 FROM delivery h WHERE h.message_id = d.message_id AND h.lane = d.lane"
    "  AND h.document_id = d.document_id AND h.state IN ('held', 'rejected'))"
    " AND NOT EXISTS (SELECT 1 FROM erased WHERE what = 'document' AND number = d.document_id)"
    " ORDER BY d.document_id, d.lane"
)


def _instead(
    batch: Batch, message_id: int, found: Sequence[_Sent], to: str, takes: str, states: frozenset[str] | None
) -> list[_Sent]:
    """Choose the documents for another destination: those that went there before, else those that it can take, once
    each.

    Of several revisions of a document the newest that was sent anywhere is chosen, for ``to`` cannot be asked for its
    version.
    """
    channel, token = batch.execute("SELECT channel, token FROM journal WHERE id = ?", (message_id,)).fetchone()
    lane = batch.lane(channel, to)
    before = [one for one in found if one.lane == lane.id]
    if before:
        return before
    marks = {one.document: one.marks for one in found}
    newest: dict[int, tuple[int, int]] = {}  # ordinal -> (revision, document)
    for document in {one.document for one in found}:
        revision, ordinal, media_type = batch.execute(
            "SELECT revision, ordinal, media_type FROM document WHERE id = ?", (document,)
        ).fetchone()
        if not takes or media_type == takes:
            newest[ordinal] = max(newest.get(ordinal, (0, 0)), (revision, document))
    chosen = []
    for ordinal, (revision, document) in sorted(newest.items()):
        there = batch.execute(
            "SELECT state FROM delivery WHERE message_id = ? AND lane = ? AND document_id = ?"
            " ORDER BY state = 'superseded', id DESC LIMIT 1",
            (message_id, lane.id, document),
        ).fetchone()
        kept_back = batch.execute(  # at any destination: a rule or a person doubts the results themselves
            "SELECT 1 FROM delivery WHERE message_id = ? AND document_id = ? AND state IN ('held', 'rejected') LIMIT 1",
            (message_id, document),
        ).fetchone()
        if kept_back is None and (there is None or states is None or there[0] in states):
            key = batch.vault.delivery_key(token, revision, ordinal, to)
            chosen.append(_Sent(document, lane.id, "", key, marks[document]))
    return chosen


def _store_document(
    batch: Batch, message_id: int, channel: str, revision: int, ordinal: int, document: Document
) -> int:
    # The id is needed before the row is inserted: it is part of the sealed and hashed content.
    row_id = batch.last_document = batch.last_document + 1
    conditional, reports = b"".join(document.conditional), pack_reports(document.reports)
    body = batch.seal(DOCUMENT_KEYS, document.body, "document", row_id, channel, packed=document.packed)
    own = document_hash(row_id, message_id, revision, ordinal, document.media_type, conditional, reports, body)
    batch.execute(
        "INSERT INTO document (id, message_id, revision, ordinal, media_type, hash, conditional, reports, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row_id, message_id, revision, ordinal, document.media_type, own, conditional, reports, body),
    )
    return row_id


def _insert(
    batch: Batch, lane: LaneTally, message_id: int, document_id: int, key: bytes, state: str, marks: int
) -> int:
    lane.last_seq += 1
    lane.open += 1
    cursor = batch.execute(
        "INSERT INTO delivery (lane, seq, message_id, document_id, key, state, lease, attempt, not_before_us, cause,"
        " flags, settled_us, detail) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, '', ?, 0, x'')",
        (lane.id, lane.last_seq, message_id, document_id, key, state, batch.boot if state == "sending" else 0,
         marks | (records.MAYBE_DELIVERED if message_id <= batch.tail.restored_to else 0)),
    )  # fmt: skip
    return int(cursor.lastrowid or 0)
