"""Messages with the same bytes, by keyed hashes. Whether one is a repeat, `engine.model.content.repeats` decides.

The table is small: old rows are swept in steps of a few hundred. Its keys are random, which is affordable only in a
small table; the message table has no such key.
"""

from engine.model.texts.reasons import ReasonCode
from engine.model.values import value
from engine.store.core.writing.batch import Batch

HOUR_US = 3_600_000_000
EQUAL_MEMORY_US = 30 * 24 * HOUR_US
REPORT_MEMORY_US = 90 * 24 * HOUR_US

_CONTROL_BYTES = 12  # the first half of a message token
TOKEN_BYTES = 24
_LAST = b"\xff" * 12


@value()
class EarlierCopies:
    """Earlier messages with the token of a message.

    Attributes:
        newest: the newest message with the same channel, control id and bytes, or None.
        newest_us: when it was received.
        came_to_nothing: it was filtered, is dead, or was dismissed; or all its deliveries are.
        rejected: a person has dismissed it, or rejected or dismissed a delivery of it.
        apart: it was itself processed as a second message beside an earlier one with its bytes.
        other_bytes: the control id came before, with other bytes; known only where ``newest`` is None.
    """

    newest: int | None = None
    newest_us: int = 0
    came_to_nothing: bool = False
    rejected: bool = False
    apart: bool = False
    other_bytes: bool = False


def look_up(batch: Batch, token: bytes, received_us: int, *, has_control_id: bool) -> EarlierCopies:
    """Look up the remembered messages with this token."""
    control = token[:_CONTROL_BYTES]
    last = control + _LAST if has_control_id else b""  # without a control id the range is empty
    # The exact token if it is known, else any other one under the same control id. There may be thousands of those:
    # some analyzers never change their control id.
    row = batch.execute(
        "SELECT token, message_id FROM repeat WHERE token = ? AND until_us >= ?"
        " UNION ALL SELECT token, message_id FROM repeat WHERE token BETWEEN ? AND ? AND until_us >= ?"
        " LIMIT 1",
        (token, received_us, control, last, received_us),
    ).fetchone()
    if row is None:
        return EarlierCopies()
    known, first = row
    if known != token:
        return EarlierCopies(other_bytes=True)
    kept = batch.execute("SELECT received_us, length(token) FROM journal WHERE id = ?", (first,)).fetchone()
    if kept is None:  # retention has deleted it, so it is older than a day
        return EarlierCopies(first)
    came_to_nothing, rejected = _became(batch, first)
    return EarlierCopies(first, kept[0], came_to_nothing, rejected, kept[1] != TOKEN_BYTES)


def _became(batch: Batch, message_id: int) -> tuple[bool, bool]:
    """Whether nothing of the message was or will be delivered, or a destination has refused it; and whether a person
    dismissed or rejected it or a part of it.

    A laboratory sends such a message again from the analyzer once the cause is fixed, and today's routes may take it.
    """
    row = batch.execute("SELECT state, reason FROM message_state WHERE id = ?", (message_id,)).fetchone()
    state, reason = row if row is not None else ("", "")
    if reason == ReasonCode.ORDERS.value:  # the worklist has them
        return False, False
    if state != "mapped":
        return state in ("dead", "dismissed", "filtered"), state == "dismissed"
    rows = batch.execute("SELECT DISTINCT state FROM delivery WHERE message_id = ?", (message_id,)).fetchall()
    states = {state for (state,) in rows}
    came_to_nothing = "dead" in states or (bool(states) and states <= {"dismissed", "rejected"})
    return came_to_nothing, bool(states & {"dismissed", "rejected"})


def remember(batch: Batch, token: bytes, message_id: int, received_us: int) -> None:
    """Remember a message as the newest with its token."""
    batch.execute(
        "INSERT OR REPLACE INTO repeat (token, message_id, until_us) VALUES (?, ?, ?)",
        (token, message_id, received_us + EQUAL_MEMORY_US),
    )
