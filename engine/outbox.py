"""The outbox: deliveries and their states. Operations of a writer's batch; nothing here drops work.

    (queued) -> waiting -> sending -> delivered
    sending  -> waiting      postpone: an attempt failed, another will follow
    sending  -> dead         bury; retry brings it back to waiting with its number, so in its old place
    waiting, dead, held -> superseded | dismissed         a newer result was delivered | a named person decided
    (queued) -> held         a rule of the route keeps it back; no lane waits for it
    held     -> waiting      release by a named person, with its number, so in its old place
    held     -> rejected     a named person decided that it is never delivered

``sending`` means claimed under the lease (boot number) of a running process. After a crash the leases of earlier
processes are void: such deliveries wait again, marked *maybe delivered*, and go out with the same key.

Each transition goes through `_move`, which keeps the gauges of the lane in the same transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from engine import causes, server_versions
from engine.arrival import seal_note
from engine.batch import DOCUMENT_KEYS, Batch, LaneTally
from engine.chain import document_hash
from engine.errors import IntegrityError, StoreError
from engine.hashes import pack_reports, split_hashes, unpack_reports
from engine.message import Delivery, Document
from engine.reasons import Reason
from engine.records import MANUAL, MAYBE_DELIVERED, RELEASED, REMEMBER, UNCONDITIONAL, Held, Routed
from engine.versions import Versions

CLAIM_BYTES = 8 * 1024 * 1024  # stored bytes of documents that one claim brings into memory

# Which gauge of the lane counts a state; the other states are final and counted by day only.
_GAUGE = {"waiting": "open", "sending": "open", "dead": "dead", "held": "held"}


@dataclass(frozen=True, slots=True)
class Queued:
    """What `put` has queued.

    Attributes:
        claimed: the claimed deliveries, in queue order.
        waiting: how many others wait.
        held: the places, in queue order from 0, of deliveries that are kept back.
    """

    claimed: tuple[Delivery, ...]
    waiting: int
    held: frozenset[int]


# -- into the outbox -----------------------------------------------------------------------------------------------


def put(
    batch: Batch,
    *,
    message_id: int,
    channel: str,
    received_us: int,
    message_type: str = "",
    token: bytes,
    routes: Sequence[Routed],
    revision: int = 1,
    manual: bool = False,
    held: Sequence[Held | None] = (),
) -> Queued:
    """Store documents and queue their deliveries.

    Args:
        held: for each of ``routes`` why its deliveries are kept back, or None; shorter: the rest is not.
    """
    claimed: list[Delivery] = []
    waiting = 0
    kept: list[int] = []
    number = -1
    for ordinal, routed in enumerate(routes, start=1):
        document_id = _store_document(batch, message_id, channel, revision, ordinal, routed.document)
        why = held[ordinal - 1] if ordinal <= len(held) else None
        for position, destination in enumerate(routed.destinations):
            number += 1
            lane = batch.lane(channel, destination)
            key = batch.vault.delivery_key(token, revision, ordinal, destination)
            if why is not None:
                row_id = _insert(batch, lane, message_id, document_id, key, "waiting", manual=manual)
                _keep_back(batch, row_id, why)
                kept.append(number)
                continue
            ours = position < len(routed.claimed) and routed.claimed[position]
            row_id = _insert(batch, lane, message_id, document_id, key, "sending" if ours else "waiting", manual=manual)
            if not ours:
                waiting += 1
                continue
            claimed.append(
                Delivery(
                    id=row_id,
                    message_id=message_id,
                    channel=channel,
                    destination=destination,
                    seq=lane.last_seq,
                    key=key.hex(),
                    body=routed.document.body,
                    packed=routed.document.packed,
                    media_type=routed.document.media_type,
                    received_us=received_us,
                    manual=manual,
                    conditional=routed.document.conditional,
                    reports=tuple(report.key for report in routed.document.reports),
                    entries=routed.document.entries,
                    message_type=message_type,
                    maybe_delivered=message_id <= batch.tail.restored_to,
                )
            )
    return Queued(tuple(claimed), waiting, frozenset(kept))


def replay(
    batch: Batch,
    message_ids: Iterable[int],
    destinations: frozenset[str] | None,
    *,
    to: str = "",
    takes: str = "",
    states: frozenset[str] | None = None,
) -> list[int]:
    """Queue the newest documents of these messages again, to all or some of the destinations they went to.

    The newest for each destination, that is: a message that was reprocessed went only where it differed. The new
    deliveries have the keys of the old ones, stand at the end of their lanes and are marked manual. What is held, or
    was rejected, goes nowhere.

    Args:
        to: send them there instead, where a message has not been yet; under a key that is the same each time.
        takes: the media type that ``to`` takes; other documents do not go there. Empty: it takes all.
        states: only what stands so with the destination it went to, by its newest delivery there. None: anything.
    """
    made = []
    for message_id in message_ids:
        found = [
            _Sent(*row) for row in batch.execute(_SENT, (message_id,)).fetchall() if states is None or row[2] in states
        ]
        if destinations is not None:
            found = [one for one in found if batch.lane_of(one.lane).destination in destinations]
        if to:
            found = _instead(batch, message_id, found, to, takes, states)
        for one in found:
            made.append(
                _insert(batch, batch.lane_of(one.lane), message_id, one.document, one.key, "waiting", manual=True)
            )
    return made


@dataclass(frozen=True, slots=True)
class _Sent:
    """A document that went to a destination, and how its newest delivery there stands."""

    document: int
    lane: int
    state: str
    key: bytes


_SENT = (
    "SELECT DISTINCT d.document_id, d.lane, (SELECT s.state FROM delivery s WHERE s.message_id = d.message_id"
    "  AND s.lane = d.lane AND s.document_id = d.document_id ORDER BY s.id DESC LIMIT 1), d.key"
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
    """What of ``found`` goes to another destination: what went there before, or else what it can take, once each.

    Of several revisions of a document the newest that went anywhere is sent, for nobody can ask ``to`` what it has.
    """
    channel, token = batch.execute("SELECT channel, token FROM journal WHERE id = ?", (message_id,)).fetchone()
    lane = batch.lane(channel, to)
    before = [one for one in found if one.lane == lane.id]
    if before:
        return before
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
            "SELECT state FROM delivery WHERE message_id = ? AND lane = ? AND document_id = ? ORDER BY id DESC LIMIT 1",
            (message_id, lane.id, document),
        ).fetchone()
        kept_back = batch.execute(  # from anybody: a rule, or a person, has doubts about the results themselves
            "SELECT 1 FROM delivery WHERE message_id = ? AND document_id = ? AND state IN ('held', 'rejected') LIMIT 1",
            (message_id, document),
        ).fetchone()
        if kept_back is None and (there is None or states is None or there[0] in states):
            chosen.append(_Sent(document, lane.id, "", batch.vault.delivery_key(token, revision, ordinal, to)))
    return chosen


def _store_document(
    batch: Batch, message_id: int, channel: str, revision: int, ordinal: int, document: Document
) -> int:
    # The id is needed before the row, for it is part of what is sealed and hashed.
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
    batch: Batch, lane: LaneTally, message_id: int, document_id: int, key: bytes, state: str, *, manual: bool
) -> int:
    lane.last_seq += 1
    lane.open += 1
    cursor = batch.execute(
        "INSERT INTO delivery (lane, seq, message_id, document_id, key, state, lease, attempt, not_before_us, cause,"
        " flags, settled_us, detail) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, '', ?, 0, x'')",
        (lane.id, lane.last_seq, message_id, document_id, key, state, batch.boot if state == "sending" else 0,
         (MANUAL if manual else 0) | (MAYBE_DELIVERED if message_id <= batch.tail.restored_to else 0)),
    )  # fmt: skip
    return int(cursor.lastrowid or 0)


# -- claims --------------------------------------------------------------------------------------------------------


def claim(batch: Batch, channel: str, destination: str, limit: int, *, after: int = 0) -> list[Delivery]:
    """The next waiting deliveries of a lane, in its order, now under our lease, their documents still compressed.

    Empty only where nothing waits, or where the lane is paused or held; there may be more than it gives. A document
    that cannot be opened any more is buried as DAMAGED and the rest goes on.

    Args:
        after: only deliveries with higher numbers; the caller has the others.
    """
    lane = batch.lane(channel, destination)
    if lane.paused or lane.held_by or not lane.open:
        return []
    while (found := _claim_next(batch, lane, limit, _OLDEST, (after,))) is not None:
        if found:
            return found
    return []


def claim_newest(batch: Batch, channel: str, destination: str, limit: int, *, without: Sequence[int]) -> list[Delivery]:
    """As `claim`, the newest first.

    Args:
        without: deliveries that the caller has already.
    """
    lane = batch.lane(channel, destination)
    if lane.paused or lane.held_by or not lane.open:
        return []
    while (found := _claim_next(batch, lane, limit, _NEWEST, (orjson.dumps(list(without)).decode(),))) is not None:
        if found:
            return found
    return []


# Which waiting deliveries of a lane, and in which order.
_OLDEST = "d.seq > ? ORDER BY d.seq"
_NEWEST = "d.id NOT IN (SELECT value FROM json_each(?)) ORDER BY d.seq DESC"


def _claim_next(
    batch: Batch, lane: LaneTally, limit: int, which: str, values: tuple[int | str, ...]
) -> list[Delivery] | None:
    """The next waiting deliveries that can be opened; None where none waits."""
    channel, destination = lane.channel, lane.destination
    rows = batch.execute(
        "SELECT d.id, d.seq, d.message_id, d.key, d.attempt, d.not_before_us, d.flags, o.id, o.media_type,"  # noqa: S608 - constants
        " o.conditional, o.reports, length(o.body), j.received_us, j.message_type"
        " FROM delivery d JOIN document o ON o.id = d.document_id JOIN journal j ON j.id = d.message_id"
        f" WHERE d.lane = ? AND d.state = 'waiting' AND {which} LIMIT ?",
        (lane.id, *values, limit),
    ).fetchall()
    if not rows:
        return None
    claimed: list[Delivery] = []
    room = CLAIM_BYTES
    for (
        row_id, seq, message_id, key, attempt, not_before_us, flags, document_id, media_type, conditional, reports,
        size, received_us, message_type,
    ) in rows:  # fmt: skip
        if size > room and claimed:
            break
        room -= size
        sealed = batch.execute("SELECT body FROM document WHERE id = ?", (document_id,)).fetchone()[0]
        try:
            body, packed = batch.vault.open_packed(sealed, "document", document_id, channel)
        except IntegrityError as error:
            bury(batch, row_id, Reason.DAMAGED, str(error), b"")
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
                maybe_delivered=bool(flags & MAYBE_DELIVERED),
                manual=bool(flags & MANUAL),
                conditional=split_hashes(conditional),
                reports=tuple(report.key for report in unpack_reports(reports)),
                released=bool(flags & RELEASED),
                unconditional=bool(flags & UNCONDITIONAL),
                message_type=message_type,
            )
        )
    batch.executemany(
        "UPDATE delivery SET state = 'sending', lease = ? WHERE id = ?", [(batch.boot, d.id) for d in claimed]
    )
    return claimed


def unclaim(batch: Batch, delivery_ids: Iterable[int], *, maybe_delivered: bool = False) -> int:
    """Give claims back: they wait again in their old place.

    Args:
        maybe_delivered: they were being sent, and nobody heard how that ended; else they are untried.
    """
    changed = 0
    for delivery_id in delivery_ids:
        if _move(batch, delivery_id, ("sending",), "waiting") is not None:
            changed += 1
        if maybe_delivered:
            mark = "UPDATE delivery SET flags = flags | ? WHERE id = ? AND state = 'waiting'"
            batch.execute(mark, (MAYBE_DELIVERED, delivery_id))
    return changed


def void_leases(batch: Batch) -> int:
    """Return the claims of earlier processes to waiting, marked as maybe delivered; how many may have been under way.

    A retry is made without claiming the row anew, so a failed delivery whose time had come may have been under way too.
    """
    cursor = batch.execute(
        "UPDATE delivery SET state = 'waiting', lease = 0, flags = flags | ? WHERE state = 'sending' AND lease <> ?",
        (MAYBE_DELIVERED, batch.boot),
    )
    retried = batch.execute(
        "UPDATE delivery SET flags = flags | ? WHERE state = 'waiting' AND attempt > 0 AND not_before_us <= ?",
        (MAYBE_DELIVERED, batch.now_us),
    )
    return cursor.rowcount + retried.rowcount


# -- verdicts of one attempt ---------------------------------------------------------------------------------------


def settle(batch: Batch, delivery_id: int, delivered_us: int, versions: Versions = ()) -> None:
    """It was delivered. A fact, so it holds whatever was decided about the delivery in the meantime.

    Args:
        versions: that the server has of our resources now, where that is asked for.
    """
    lane = _move(batch, delivery_id, None, "delivered", settled_us=delivered_us)
    if lane is not None:
        lane.delivered_us = max(lane.delivered_us, delivered_us)
        if versions:
            server_versions.remember(batch, lane.destination, versions)
        batch.count(lane.channel, lane.destination, "delivered")


def postpone(
    batch: Batch, delivery_id: int, *, attempt: int, not_before_us: int, cause: Reason, detail: str, answer: bytes
) -> bool:
    """An attempt failed; wait for the next one. False: it was closed meanwhile, so there is none.

    A delivery that its process keeps in memory between attempts is waiting already from the second one on.
    """
    lane = _move(
        batch,
        delivery_id,
        ("sending", "waiting"),
        "waiting",
        cause=cause.value,
        attempt=attempt,
        not_before_us=not_before_us,
    )
    if cause is Reason.MAYBE_DELIVERED:
        batch.execute("UPDATE delivery SET flags = flags | ? WHERE id = ?", (MAYBE_DELIVERED, delivery_id))
    if lane is None:
        _note_late(batch, delivery_id, cause, detail, answer)
        return False
    _note_attempt(batch, delivery_id, lane.channel, cause, detail, answer)
    batch.count(lane.channel, lane.destination, "postponed")
    return True


def bury(
    batch: Batch, delivery_id: int, reason: Reason, detail: str, answer: bytes, *, hold_lane: bool = False
) -> None:
    """No further attempt: a dead letter.

    Args:
        hold_lane: nothing behind it goes out until a person has decided about it (``on_dead: hold``).
    """
    lane = _move(batch, delivery_id, ("sending", "waiting"), "dead", cause=reason.value, settled_us=batch.now_us)
    if lane is None:
        _note_late(batch, delivery_id, reason, detail, answer)
        return
    _note_attempt(batch, delivery_id, lane.channel, reason, detail, answer)
    sealed = seal_note(batch, "delivery", delivery_id, lane.channel, _note(detail, answer))
    batch.execute("UPDATE delivery SET detail = ? WHERE id = ?", (sealed, delivery_id))
    causes.note_delivery(batch, delivery_id, lane.channel, detail)
    if hold_lane and not lane.held_by:
        lane.held_by = delivery_id
    batch.count(lane.channel, lane.destination, "dead")


# -- decisions -----------------------------------------------------------------------------------------------------


def requeue(batch: Batch, delivery_ids: Iterable[int], *, manual: bool, unconditional: bool = False) -> int:
    """Dead deliveries wait again, in their old place in the lane; how many. What was erased cannot, and what has been
    decided about meanwhile does not: a newer revision may have been delivered.

    Args:
        unconditional: a person has decided that they take the place of what the server has.
    """
    marks = (MANUAL if manual else 0) | (UNCONDITIONAL if unconditional else 0)
    changed = 0
    for delivery_id in delivery_ids:
        if batch.execute(
            "SELECT 1 FROM erased e JOIN delivery d ON e.what = 'document' AND e.number = d.document_id WHERE d.id = ?",
            (delivery_id,),
        ).fetchone():
            continue
        lane = _move(batch, delivery_id, ("dead",), "waiting", attempt=0, not_before_us=0, settled_us=0)
        if lane is not None:
            changed += 1
            batch.count(lane.channel, lane.destination, "requeued")
            if marks:
                batch.execute("UPDATE delivery SET flags = flags | ? WHERE id = ?", (marks, delivery_id))
    return changed


def supersede(batch: Batch, delivery_ids: Iterable[int], detail: str = "") -> int:
    """A newer result was delivered; sending these would undo it."""
    return _close_all(batch, delivery_ids, ("waiting", "sending", "dead", "held"), "superseded", detail)


def dismiss(batch: Batch, delivery_ids: Iterable[int], detail: str) -> int:
    """A person decided that these are not to be delivered. One that is being sent is not theirs to stop."""
    return _close_all(batch, delivery_ids, ("waiting", "dead", "held", "superseded"), "dismissed", detail)


def withdraw(batch: Batch, delivery_ids: Iterable[int], detail: str) -> int:
    """As `dismiss`, also of what is claimed; the caller has made sure that no attempt is under way.

    What a process before this one had claimed may have been delivered, and is marked so.
    """
    ids = list(delivery_ids)
    batch.executemany(
        "UPDATE delivery SET flags = flags | ? WHERE id = ? AND state = 'sending' AND lease <> ?",
        [(MAYBE_DELIVERED, one, batch.boot) for one in ids],
    )
    return _close_all(batch, ids, ("waiting", "sending", "dead", "held"), "dismissed", detail)


def hold(batch: Batch, delivery_ids: Iterable[int], cause: Reason) -> int:
    """Keep single deliveries back until `release`."""
    return _move_all(batch, delivery_ids, ("waiting", "sending"), "held", cause=cause.value, settled_us=batch.now_us)


def _keep_back(batch: Batch, delivery_id: int, why: Held) -> None:
    """A rule holds a delivery that was just queued."""
    lane = _move(batch, delivery_id, ("waiting",), "held", cause=why.reason.value, settled_us=batch.now_us)
    assert lane is not None
    sealed = seal_note(batch, "delivery", delivery_id, lane.channel, _note(why.text, b""))
    batch.execute(
        "UPDATE delivery SET detail = ?, flags = flags | ? WHERE id = ?",
        (sealed, REMEMBER if why.remember else 0, delivery_id),
    )
    batch.count(lane.channel, lane.destination, "held")


def release(batch: Batch, delivery_id: int) -> bool:
    """A named person lets a held delivery go: it waits, in its old place in the lane. False: it was not held.

    It may have been overtaken meanwhile, so it is marked: the guard of `engine.superseding` looks before it is sent.
    """
    lane = _move(batch, delivery_id, ("held",), "waiting", not_before_us=0, settled_us=0)
    if lane is None:
        return False
    batch.execute("UPDATE delivery SET flags = flags | ? WHERE id = ?", (MANUAL | RELEASED, delivery_id))
    batch.count(lane.channel, lane.destination, "released")
    return True


def reject(batch: Batch, delivery_id: int) -> bool:
    """A named person decides that a held delivery is never made; False: it was not held. Its detail stays."""
    lane = _move(batch, delivery_id, ("held",), "rejected", cause=Reason.REJECTED.value, settled_us=batch.now_us)
    if lane is not None:
        batch.count(lane.channel, lane.destination, "rejected")
    return lane is not None


def release_lane(batch: Batch, channel: str, destination: str) -> None:
    """Let a lane go on although the delivery that holds it is still dead."""
    batch.lane(channel, destination).held_by = 0


def messages_of(batch: Batch, delivery_ids: Iterable[int]) -> set[int]:
    """The messages that deliveries belong to."""
    rows = (batch.execute("SELECT message_id FROM delivery WHERE id = ?", (one,)).fetchone() for one in delivery_ids)
    return {row[0] for row in rows if row is not None}


# -- moving --------------------------------------------------------------------------------------------------------


def _move(
    batch: Batch, delivery_id: int, allowed: tuple[str, ...] | None, state: str, **columns: Any
) -> LaneTally | None:
    """Change a delivery's state where it is in one of ``allowed`` (None: any other one).

    Returns:
        Its lane, or None where it was in another state, and nothing was changed.

    Raises:
        StoreError: there is no such delivery.
    """
    row = batch.execute("SELECT lane, state FROM delivery WHERE id = ?", (delivery_id,)).fetchone()
    if row is None:
        raise StoreError(f"there is no delivery {delivery_id}")
    lane_id, old = row
    if old == state if allowed is None else old not in allowed:
        return None
    names = "".join(f", {name} = ?" for name in columns)
    batch.execute(
        f"UPDATE delivery SET state = ?, lease = 0{names} WHERE id = ?",  # noqa: S608 - names are ours, never input
        (state, *columns.values(), delivery_id),
    )
    lane = batch.lane_of(lane_id)
    if (gauge := _GAUGE.get(old)) is not None:
        setattr(lane, gauge, getattr(lane, gauge) - 1)
    if (gauge := _GAUGE.get(state)) is not None:
        setattr(lane, gauge, getattr(lane, gauge) + 1)
    if lane.held_by == delivery_id and old == "dead":
        lane.held_by = 0  # a person has decided about the delivery that held the lane
    return lane


def _move_all(batch: Batch, delivery_ids: Iterable[int], allowed: tuple[str, ...], state: str, **columns: Any) -> int:
    return sum(_move(batch, delivery_id, allowed, state, **columns) is not None for delivery_id in delivery_ids)


def _close_all(batch: Batch, delivery_ids: Iterable[int], allowed: tuple[str, ...], state: str, detail: str) -> int:
    changed = 0
    for delivery_id in delivery_ids:
        lane = _move(batch, delivery_id, allowed, state, settled_us=batch.now_us)
        if lane is None:
            continue
        changed += 1
        batch.count(lane.channel, lane.destination, state)
        if detail:
            sealed = seal_note(batch, "delivery", delivery_id, lane.channel, _note(detail, b""))
            batch.execute("UPDATE delivery SET detail = ? WHERE id = ?", (sealed, delivery_id))
    return changed


def _note_attempt(batch: Batch, delivery_id: int, channel: str, cause: Reason, detail: str, answer: bytes) -> None:
    (n,) = batch.execute("SELECT coalesce(max(n), 0) + 1 FROM attempt WHERE delivery = ?", (delivery_id,)).fetchone()
    sealed = seal_note(batch, f"attempt {n}", delivery_id, channel, _note(detail, answer))
    batch.execute(
        "INSERT INTO attempt (delivery, n, at_us, cause, detail) VALUES (?, ?, ?, ?, ?)",
        (delivery_id, n, batch.now_us, cause.value, sealed),
    )


def _note_late(batch: Batch, delivery_id: int, cause: Reason, detail: str, answer: bytes) -> None:
    """An attempt failed whose delivery was closed while it was under way: how it ended is known, and changes nothing.
    Not of what was erased: the destination's words may name the patient."""
    row = batch.execute(
        "SELECT l.channel FROM delivery d JOIN lane l ON l.id = d.lane WHERE d.id = ? AND NOT EXISTS"
        " (SELECT 1 FROM erased e WHERE e.what = 'document' AND e.number = d.document_id)",
        (delivery_id,),
    ).fetchone()
    if row is not None:
        _note_attempt(batch, delivery_id, row[0], cause, detail, answer)


def _note(detail: str, answer: bytes) -> dict[str, Any]:
    note: dict[str, Any] = {}
    if detail:
        note["detail"] = detail
    if answer:
        # One character a byte: an answer may be anything, and must come back as it was.
        note["answer"] = answer.decode("latin-1")
    return note


def read_note(opened: bytes) -> tuple[str, bytes]:
    """(detail, answer) of a note that `bury` or `postpone` stored; both empty where there is none."""
    if not opened:
        return "", b""
    note = orjson.loads(opened)
    return note.get("detail", ""), note.get("answer", "").encode("latin-1")
