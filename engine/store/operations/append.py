"""Append received data: the transactions that make a message, a frame or incomplete text durable.

Each function is one operation of a writer's batch: it runs inside the transaction, and its result is released only
after that is committed and anchored.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

import orjson

from engine.model.content import repeats
from engine.model.content.search_keys import Number, own_number
from engine.model.errors import IntegrityError
from engine.model.journal.records import KIND_FRAME, KIND_MESSAGE, Assembled
from engine.model.message import Received, Stored
from engine.model.texts.reasons import ReasonCode
from engine.store.core.vault import NOTE_KEYS
from engine.store.core.writing.batch import Batch, ChannelTally
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import dead_letters, dedup, search_index
from engine.store.operations import incomplete as unfinished


def _size(received: Received, *more: object, **named: object) -> int:
    return len(received.payload)


def _size_of_completing(
    channel: str, session: int, raw: bytes, received_us: int, messages: Sequence[Received], **named: object
) -> int:
    return len(raw) + sum(len(message.payload) for message in messages)


@operation(priority=Priority.RECEIVE, size=_size)
def store_message(batch: Batch, received: Received, *, repeat_window_s: float, session: int = 0) -> Stored:
    """Journal one message. A repeat, or a message kept for the record only, gets its state at once and is not
    processed.

    The same bytes may arrive again without being a repeat. They are then processed under a token of their own, so that
    the resources made of them get other ids and delivery keys than those of the first message.
    """
    if received.filtered is not None:
        return _store_for_the_record(batch, received, received.filtered, session)
    payload_hash = received.payload_hash or sha256(received.payload).digest()
    token = batch.vault.message_token(received.channel, received.control_id, payload_hash)
    seen = dedup.look_up(batch, token, received.received_us, has_control_id=bool(received.control_id))
    tally = batch.channel(received.channel)
    again = seen.newest is not None and (seen.apart or not seen.came_to_nothing)
    if again and not seen.came_to_nothing and _is_repeat(batch, tally, received, seen, repeat_window_s):
        stored = _insert(batch, received, token, seen, session, payload_hash, repeat_of=seen.newest)
        set_state(
            batch, stored.id, stored.channel, "filtered", ReasonCode.REPEAT, numbers=own_number(received.control_id)
        )
        batch.count(received.channel, "", "repeat")
        if received.line is not None and seen.newest is not None:
            batch.expect_answer(received.channel, seen.newest, received.line)
        return stored
    own = batch.vault.apart(token, received.received_us, tally.last_seq + 1) if again else token
    stored = _insert(batch, received, own, seen, session, payload_hash, equal_to=seen.newest if again else None)
    dedup.remember(batch, token, stored.id, received.received_us)
    if again or seen.newest is None:  # a message that came to nothing and is sent again says nothing about the counter
        _learn(batch, tally, received, stored.id, seen)
    if received.line is not None:
        batch.expect_answer(received.channel, stored.id, received.line)
    batch.opens(stored.id, received.channel, len(received.payload))
    if seen.other_bytes:
        batch.count(received.channel, "", "same_id_other_bytes")
    if again:
        batch.count(received.channel, "", "same_bytes")
    return stored


def store_repeat(batch: Batch, received: Received, first: int) -> Stored:
    """Journal a message that is message ``first`` again, as its sender says; it is not processed."""
    token = _token(batch, received)
    stored = _insert(batch, received, token, dedup.EarlierCopies(), 0, repeat_of=first)
    set_state(batch, stored.id, stored.channel, "filtered", ReasonCode.REPEAT, numbers=own_number(received.control_id))
    batch.count(received.channel, "", "repeat")
    return stored


def store_adopted(batch: Batch, received: Received, token: bytes, *, repeats: bool) -> Stored:
    """Journal a message that the old machine received with this journal (`engine.store.recovery.adopting`).

    Args:
        token: that it had there, so that its documents have the same delivery keys.
        repeats: it was a repeat there.
    """
    if received.filtered is not None:
        return _store_for_the_record(batch, received, received.filtered, 0)
    own = _token(batch, received)
    seen = dedup.look_up(batch, own, received.received_us, has_control_id=bool(received.control_id))
    known = None if seen.came_to_nothing else seen.newest
    if known is not None and (repeats or token == own):
        return store_repeat(batch, received, known)
    stored = _insert(batch, received, token, seen, 0, equal_to=known)
    dedup.remember(batch, own, stored.id, received.received_us)
    batch.opens(stored.id, received.channel, len(received.payload))
    return stored


def _is_repeat(
    batch: Batch, tally: ChannelTally, received: Received, seen: dedup.EarlierCopies, repeat_window_s: float
) -> bool:
    line = received.line
    unanswered = (
        line is not None and seen.newest is not None and batch.is_unanswered(received.channel, seen.newest, line)
    )
    _know(batch, tally)
    return repeats.is_repeat(
        tally.habit,
        received.control_id,
        received.sent or received.measured,
        received.received_us,
        repeats.EarlierCopy(seen.newest_us, unanswered),
        round(repeat_window_s * 1_000_000),
    )


def _learn(batch: Batch, tally: ChannelTally, received: Received, message_id: int, seen: dedup.EarlierCopies) -> None:
    """Learn from this message how its channel counts."""
    _know(batch, tally)
    repeats.learn(
        tally.habit,
        received.control_id,
        received.sent,
        received.measured,
        received.received_us,
        other_bytes=seen.other_bytes,
    )
    tally.habit.last_message = message_id


def _know(batch: Batch, tally: ChannelTally) -> None:
    """After a start: read the newest control id of the channel back from its row."""
    habit = tally.habit
    if habit.known or not habit.last_message:
        return
    meta = batch.meta(habit.last_message, tally.name)
    if meta is not None:
        habit.control_id, habit.known = meta.get("id", ""), "erased" not in meta


def repeat_of(batch: Batch, received: Received) -> int | None:
    """The earlier message with the bytes of ``received`` that did not come to nothing; None without one."""
    token = _token(batch, received)
    seen = dedup.look_up(batch, token, received.received_us, has_control_id=bool(received.control_id))
    return None if seen.came_to_nothing else seen.newest


def _token(batch: Batch, received: Received) -> bytes:
    return batch.vault.message_token(received.channel, received.control_id, sha256(received.payload).digest())


def store_edited(batch: Batch, received: Received, original: int) -> Stored:
    """Journal a person's edited version of message ``original`` (`engine.features.rework.rows.edit_message`). The
    caller has excluded repeats with `repeat_of`.

    Its control id came before with other bytes; that is expected here and not flagged.
    """
    payload_hash = sha256(received.payload).digest()
    token = batch.vault.message_token(received.channel, received.control_id, payload_hash)
    stored = _insert(batch, received, token, dedup.EarlierCopies(), 0, payload_hash, edited_from=original)
    dedup.remember(batch, token, stored.id, received.received_us)
    batch.opens(stored.id, received.channel, len(received.payload))
    return stored


def _store_for_the_record(batch: Batch, received: Received, reason: ReasonCode, session: int) -> Stored:
    """Journal a message that will never be mapped. It stays out of the repeat memory, which is about results."""
    token = _token(batch, received)
    stored = _insert(batch, received, token, dedup.EarlierCopies(), session)
    set_state(batch, stored.id, stored.channel, "filtered", reason, numbers=own_number(received.control_id))
    batch.count(received.channel, "", "filtered")
    return stored


@operation(priority=Priority.RECEIVE, size=_size)
def store_incomplete(batch: Batch, received: Received, reason: ReasonCode, *, session: int = 0) -> Stored:
    """Journal text that never became a message. It is evidence, never a result, and stays out of the repeat memory.

    When a message over `max_message` repeats a known one, only the repetition is counted.
    """
    frames = batch.frames(session) if session else ()
    repeat_token = b""
    if received.cut is not None:
        repeat_token = unfinished.token(batch, received)
        known = unfinished.known(batch, repeat_token)
        if frames:
            unfinished.let_frames_go(batch, frames, known)
            batch.set_frames(session, ())
            batch.closed.extend(frames)
            frames = ()
        if known:
            unfinished.count_again(batch, known, received.received_us)
            batch.count(received.channel, "", "incomplete_again")
            return Stored(
                id=known,
                channel=received.channel,
                seq=0,
                payload=b"",
                received_us=received.received_us,
                repeat_of=known,
            )
    token = _token(batch, received)
    stored = _insert(batch, received, token, dedup.EarlierCopies(), session, incomplete=reason)
    unfinished.note(batch, stored.id, repeat_token, frames, received)
    set_state(batch, stored.id, stored.channel, "incomplete", reason, numbers=own_number(received.control_id))
    dead_letters.note(batch, "message_state", stored.id, received.channel, "")
    batch.channel(received.channel).incomplete += 1
    batch.count(received.channel, "", "incomplete")
    return stored


def store_dead(batch: Batch, received: Received, reason: ReasonCode, detail: str) -> None:
    """Journal a message of our own that could not be made, as a dead letter: ``payload`` says so. It stays out of the
    repeat memory.
    """
    channel = received.channel
    stored = _insert(batch, received, _token(batch, received), dedup.EarlierCopies(), 0)
    note = seal_note(batch, "message_state", stored.id, channel, {"detail": detail})
    set_state(batch, stored.id, stored.channel, "dead", reason, detail=note, numbers=own_number(received.control_id))
    dead_letters.note(batch, "message_state", stored.id, channel, detail)
    batch.channel(channel).dead += 1
    batch.count(channel, "", "dead")


@operation(priority=Priority.RECEIVE, size=lambda channel, session, raw, received_us: len(raw))
def store_frame(batch: Batch, channel: str, session: int, raw: bytes, received_us: int) -> int:
    """Journal one link frame that belongs to no message yet."""
    row_id = batch.record(KIND_FRAME, channel, received_us, session=session, meta=b"", body=raw)
    batch.set_frames(session, (*batch.frames(session), row_id))
    batch.opened.append(row_id)
    return row_id


@operation(priority=Priority.RECEIVE, size=_size_of_completing)
def store_completing_frame(
    batch: Batch,
    channel: str,
    session: int,
    raw: bytes,
    received_us: int,
    messages: Sequence[Received],
    *,
    repeat_window_s: float,
) -> list[Stored]:
    """Journal a frame together with the messages that it completes."""
    store_frame(batch, channel, session, raw, received_us)
    return [store_message(batch, message, repeat_window_s=repeat_window_s, session=session) for message in messages]


@operation(priority=Priority.RECEIVE)
def assemble(
    batch: Batch, read: Callable[[str, Sequence[bytes], int], Assembled], *, repeat_window_s: float, before: int
) -> list[Stored]:
    """Assemble messages from the frames that earlier processes left without one; keep the rest as incomplete.

    Args:
        read: (channel, raw frames, receive time of the last) -> the messages that the link reads from them.
        before: sessions from this number on belong to this process, and are still open.
    """
    made: list[Stored] = []
    for session in sorted(number for number in batch.tail.sessions if number < before):
        ids = batch.frames(session)
        channel, received_us, raws = _frames(batch, ids)
        # With a frame missing, the remaining frames may look like a whole message.
        whole = len(raws) == len(ids) and not _has_gap(batch, ids)
        found = read(channel, raws, received_us) if whole else Assembled()
        made += [
            store_message(batch, message, repeat_window_s=repeat_window_s, session=session)
            for message in found.messages
        ]
        rest = found.rest
        if rest is None and not found.messages:
            # The link makes no message of them. They are kept as incomplete, so that every byte has a row with its
            # outcome.
            rest = Received(channel=channel, payload=b"".join(raws), received_us=received_us)
        if rest is not None:
            made.append(store_incomplete(batch, rest, ReasonCode.INCOMPLETE, session=session))
    return made


def _has_gap(batch: Batch, ids: Sequence[int]) -> bool:
    """Whether rows were given up as lost among these frames: one of the lost rows may have been a frame of the same
    message.
    """
    return bool(batch.execute("SELECT 1 FROM gap WHERE first_id <= ? AND last_id >= ?", (ids[-1], ids[0])).fetchone())


def _frames(batch: Batch, ids: Sequence[int]) -> tuple[str, int, list[bytes]]:
    """(channel, receive time of the last, raw frames); a frame that cannot be opened any more is left out."""
    channel, received_us, raws = "", 0, []
    for row_id in ids:
        channel, received_us, sealed = batch.execute(
            "SELECT channel, received_us, body FROM journal WHERE id = ?", (row_id,)
        ).fetchone()
        with suppress(IntegrityError):  # `labrelay verify` names the row
            raws.append(batch.vault.open(sealed, "body", row_id, channel))
    return channel, received_us, raws


def set_state(
    batch: Batch,
    message_id: int,
    channel: str,
    state: str,
    reason: ReasonCode | None,
    *,
    mapping: str = "",
    detail: bytes = b"",
    numbers: Sequence[Number] = (),
    results: bytes | None = None,
) -> None:
    """Write the first state of a message.

    Args:
        numbers: it can be searched by them.
        results: as `engine.features.reports.rows.result_counts` packs them.
    """
    batch.execute(
        "INSERT INTO message_state (id, state, reason, at_us, mapping, config, detail, numbers, results)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            message_id,
            state,
            reason.value if reason else "",
            batch.now_us,
            mapping,
            batch.config,
            detail,
            search_index.kept_in_state(batch, message_id, numbers),
            results,
        ),
    )
    if state != "mapped":  # its deliveries tell more
        tell_state(batch, message_id, channel, state, reason)


def tell_state(batch: Batch, message_id: int, channel: str, state: str, reason: ReasonCode | None) -> None:
    """Note the event of a message's new state."""
    batch.tell(f"message.{state}", message=message_id, channel=channel, reason=reason.value if reason else "")


def seal_note(batch: Batch, column: str, row_id: int, channel: str, note: dict[str, Any]) -> bytes:
    """A small sealed JSON object; empty where there is nothing to say."""
    return batch.seal(NOTE_KEYS, orjson.dumps(note), column, row_id, channel) if note else b""


def _insert(
    batch: Batch,
    received: Received,
    token: bytes,
    seen: dedup.EarlierCopies,
    session: int,
    payload_hash: bytes = b"",
    *,
    incomplete: ReasonCode | None = None,
    edited_from: int = 0,
    repeat_of: int | None = None,
    equal_to: int | None = None,
) -> Stored:
    tally = batch.channel(received.channel)
    tally.last_seq += 1
    if not edited_from:  # a person's edit is no message of the analyzer
        tally.last_us = received.received_us
    meta: dict[str, Any] = {"peer": received.peer, "id": received.control_id}
    if received.notes:
        meta["notes"] = received.notes
    if repeat_of is not None:
        meta["repeat_of"] = repeat_of
    if equal_to is not None:
        meta["equal_to"] = equal_to
    rejected_before = (seen.newest or 0) if seen.rejected and repeat_of is None else 0
    if rejected_before:
        meta["rejected_before"] = rejected_before
    if seen.other_bytes:
        meta["other_bytes"] = True
    if received.filtered is not None:
        meta["filtered"] = received.filtered.value
    if edited_from:
        meta["edited_from"] = edited_from
    if incomplete is not None:  # also in the row itself: if its state is lost, it must not be taken for a message
        meta["incomplete"] = incomplete.value
    if session and (frames := batch.frames(session)):
        meta["frames"] = (frames[0], frames[-1])
        batch.set_frames(session, ())
        batch.closed.extend(frames)
    row_id = batch.record(
        KIND_MESSAGE,
        received.channel,
        received.received_us,
        seq=tally.last_seq,
        session=session,
        message_type=received.message_type,
        token=token,
        meta=orjson.dumps(meta),
        body=received.payload,
        packed=received.packed.take() if received.packed is not None else None,
    )
    batch.count(received.channel, "", "received")
    return Stored(
        id=row_id,
        channel=received.channel,
        seq=tally.last_seq,
        payload=received.payload,
        received_us=received.received_us,
        control_id=received.control_id,
        message_type=received.message_type,
        repeat_of=repeat_of,
        equal_to=equal_to,
        rejected_before=rejected_before,
        same_id_other_bytes=seen.other_bytes,
        filtered=received.filtered,
        payload_hash=payload_hash,
    )
