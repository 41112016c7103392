"""Limits for incomplete messages. They are evidence and never a result, so their bytes are deleted before those of any
message.

A sender that keeps repeating unacceptable data would fill the disk, and a full disk stops every channel. So incomplete
messages have three limits:

    over `max_message`      the first 64 KiB and a hash of all that came are kept (`receiving.large`), once for each
                            channel, peer and content; a repeat is counted. Its frames go, however small they are
    all together            beyond ``limits.incomplete`` content goes, of dismissed ones first, then of the oldest
    dismissed               content goes after ``retention.incomplete``

Only the content is deleted: the row, its notes and its place in the queue for a person stay
(`engine.store.operations.emptying`). Table ``unfinished`` has one row for each incomplete message; only a new one and
the sweep read it.
"""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

from engine.model.journal.records import KIND_FRAME
from engine.model.message import Received
from engine.store.core.connecting import Execute
from engine.store.core.unanswered import host_of
from engine.store.core.writing.batch import Batch
from engine.store.operations import audit, emptying
from engine.store.operations.pruning import PrunableRows, let_go

LEAST_BYTES = 4096  # the least that one counts for: its rows and their index entries
LET_GO_AT_ONCE = 512  # frames that one record attests
EMPTIED_AT_ONCE = 256  # messages in one transaction ...
FRAMES_AT_ONCE = 4096  # ... and of the frames of one; more have less than 4 KiB each
FRAME_BYTES = 1024  # an emptied row of a smaller frame would take about as much as the frame
LEFT_OF = 3, 4  # the share of the limit left after emptying, so that not every new message empties another

VERB = "incomplete"
ACTOR = "labrelay"


def token(batch: Batch, received: Received) -> bytes:
    """Key of an over-long message's repeats: the same channel, peer and content."""
    content = received.cut.digest if received.cut is not None else sha256(received.payload).digest()
    return batch.vault.past_key(b"unfinished", received.channel.encode(), host_of(received.peer).encode(), content)


def known(batch: Batch, token: bytes) -> int:
    """The incomplete message with this token that waits for a person; 0 without one."""
    row = batch.execute(
        "SELECT u.message_id FROM unfinished u JOIN message_state s ON s.id = u.message_id"
        " WHERE u.token = ? AND u.token <> x'' AND s.state = 'incomplete' ORDER BY u.message_id DESC LIMIT 1",
        (token,),
    ).fetchone()
    return int(row[0]) if row is not None else 0


def count_again(batch: Batch, message_id: int, received_us: int) -> None:
    """Count one more arrival of it."""
    batch.execute(
        "UPDATE unfinished SET times = times + 1, last_us = ? WHERE message_id = ?", (received_us, message_id)
    )


def let_frames_go(batch: Batch, frames: Sequence[int], known: int) -> None:
    """Delete the frames of a message over `max_message`, row by row: its beginning and hash are kept, and the frames
    add nothing.

    Args:
        known: the message that it repeats; 0 without one.
    """
    audit.note(
        batch, ACTOR, VERB, {"messages": [known] if known else [], "frames": len(frames), "reason": "max_message"}
    )
    for at in range(0, len(frames), LET_GO_AT_ONCE):
        part = set(frames[at : at + LET_GO_AT_ONCE])
        rows = batch.execute(
            "SELECT id, chain FROM journal WHERE id BETWEEN ? AND ? AND kind = ?", (min(part), max(part), KIND_FRAME)
        ).fetchall()
        gone = {row_id: chain for row_id, chain in rows if row_id in part}
        let_go(batch, PrunableRows(max(part), rows=gone, counts=Counter(frames=len(gone))))


def note(batch: Batch, message_id: int, token: bytes, frames: Sequence[int], received: Received) -> None:
    """Record a new incomplete message; ``frames`` are the rows that it was made of. Others may have to make room."""
    size = len(received.payload)
    first, last = (frames[0], frames[-1]) if frames else (0, 0)
    if frames:  # they hold the same text again
        size *= 2
    batch.execute(
        "INSERT INTO unfinished (message_id, token, bytes, times, last_us, first_row, last_row)"
        " VALUES (?, ?, ?, 1, ?, ?, ?)",
        (message_id, token, max(size, LEAST_BYTES), received.received_us, first, last),
    )
    _keep_within(batch)


def sweep(batch: Batch) -> bool:
    """Delete the content of messages that were dismissed long ago; return True when nothing is left to do."""
    rows = batch.execute(
        "SELECT u.message_id FROM unfinished u INDEXED BY unfinished_kept JOIN message_state s ON s.id = u.message_id"
        " WHERE u.bytes > 0 AND s.state = 'dismissed' AND s.at_us < ? ORDER BY u.message_id LIMIT ?",
        (batch.steady_us - batch.tail.incomplete_us, EMPTIED_AT_ONCE),
    ).fetchall()
    if rows:
        _empty(batch, [row[0] for row in rows], "retention.incomplete")
    return len(rows) < EMPTIED_AT_ONCE


def take_stock(execute: Execute) -> None:
    """After a restore: record the incomplete messages that have no row here yet."""
    execute(
        "INSERT OR IGNORE INTO unfinished (message_id, token, bytes, times, last_us, first_row, last_row)"
        " SELECT s.id, x'', max(j.size, ?), 1, j.received_us, 0, 0"
        " FROM message_state s JOIN journal j ON j.id = s.id WHERE s.state = 'incomplete'",
        (LEAST_BYTES,),
    )


def _keep_within(batch: Batch) -> None:
    limit = batch.tail.incomplete_bytes
    (kept,) = batch.execute("SELECT coalesce(sum(bytes), 0) FROM unfinished WHERE bytes > 0").fetchone()
    if kept <= limit:
        return
    going: list[int] = []
    for message_id, size in batch.execute(
        "SELECT u.message_id, u.bytes FROM unfinished u INDEXED BY unfinished_kept"
        " LEFT JOIN message_state s ON s.id = u.message_id WHERE u.bytes > 0"
        " ORDER BY s.state IS 'dismissed' DESC, u.message_id LIMIT ?",
        (EMPTIED_AT_ONCE,),
    ).fetchall():
        if kept <= limit * LEFT_OF[0] // LEFT_OF[1]:
            break
        going.append(message_id)
        kept -= size
    _empty(batch, going, "limits.incomplete")


def _empty(batch: Batch, messages: Sequence[int], reason: str) -> None:
    act = audit.note(batch, ACTOR, VERB, {"messages": list(messages), "reason": reason})
    emptied: list[emptying.Emptied] = []
    for message_id in messages:
        channel, first, last = batch.execute(
            "SELECT j.channel, u.first_row, u.last_row FROM journal j JOIN unfinished u ON u.message_id = j.id"
            " WHERE j.id = ?",
            (message_id,),
        ).fetchone()
        emptied += [*_empty_frames(batch, message_id, first, last), emptying.empty_row(batch, message_id)]
        batch.count(channel, "", "incomplete_emptied")
    emptying.vouch(batch, emptied, act)
    batch.executemany("UPDATE unfinished SET bytes = 0 WHERE message_id = ?", [(one,) for one in messages])


def _empty_frames(batch: Batch, message_id: int, first: int, last: int) -> list[emptying.Emptied]:
    """Empty the large ones among a message's frames."""
    if not first:
        return []
    rows = batch.execute(
        "SELECT f.id FROM journal m JOIN journal f ON f.session = m.session AND f.channel = m.channel"
        " WHERE m.id = ? AND f.id BETWEEN ? AND ? AND f.kind = ? AND f.size >= ? ORDER BY f.id LIMIT ?",
        (message_id, first, last, KIND_FRAME, FRAME_BYTES, FRAMES_AT_ONCE),
    ).fetchall()
    return [emptying.empty_row(batch, row[0]) for row in rows]
