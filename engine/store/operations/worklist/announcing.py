"""What laboratory systems hear of their orders, unasked: each change becomes a message of a channel for that, once.

So does the answer to a message, where it cannot go out on the connection of that; it comes before all changes of its
orders. The message and the note that it is made are one transaction. From there on it is a message as any other: it has
its routes, deliveries and retries. One that cannot be written is a dead letter of that channel (`NOT_WRITTEN`), and
the next ones go on.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from engine.model.errors import IntegrityError
from engine.model.message import Received, Stored
from engine.model.order_rules import heard
from engine.model.orders import (
    STATUS_UPDATES,
    AnsweredOrders,
    ItemReason,
    ItemState,
    OrderLine,
    Status,
    StatusChange,
    item_id,
)
from engine.model.reasons import ReasonCode
from engine.model.values import value
from engine.store.core import order_notes
from engine.store.core.batch import Batch
from engine.store.core.notes import opened_note
from engine.store.core.operation import Priority, operation
from engine.store.operations import append
from engine.store.operations.worklist import items

logger = logging.getLogger("labrelay.orders")

AT_ONCE = 100
_BY_PERSON = "person"


@value(kw_only=True)
class Listener:
    """A channel of messages about the orders of another one.

    Attributes:
        channel: its name.
        updates: also of what does not end an order.
        write: the message of a change.
        answer: that of the answer to a message of orders, or None: its sender asks for none; None: it is answered on
            its connection.
    """

    channel: str
    updates: bool
    write: Callable[[StatusChange], Received]
    answer: Callable[[AnsweredOrders], Received | None] | None = None


@operation(priority=Priority.RECEIVE)
def announce(batch: Batch, listeners: Mapping[str, Sequence[Listener]]) -> list[Stored]:
    """Make messages of the oldest changes, some at once; return them in their order.

    Args:
        listeners: of the orders of a channel. What has none is forgotten.
    """
    rows = batch.execute("SELECT number, item, n FROM order_notice ORDER BY number LIMIT ?", (AT_ONCE,)).fetchall()
    made: list[Stored] = []
    for _, item, n in rows:
        if not item:
            made += _answers(batch, n, listeners)
            continue
        one = items.by_number(batch, item)
        if one is None or one.line == OrderLine() or one.source not in listeners:  # erased, or without a listener
            continue
        change = _change(batch, one, n)
        if change is None:
            continue
        number = f"{item_id(one.number)}.{n}"
        for listener in listeners[one.source]:
            if listener.updates or change.status not in STATUS_UPDATES:
                made += _message(batch, listener, number, partial(listener.write, change))
    batch.executemany("DELETE FROM order_notice WHERE number = ?", [(number,) for number, _, _ in rows])
    return made


def note_answer(batch: Batch, message_id: int) -> None:
    """The orders of a message are on the worklist, or were refused: its answer is to go out."""
    batch.execute("INSERT INTO order_notice (item, n) VALUES (0, ?)", (message_id,))


def _answers(batch: Batch, message_id: int, listeners: Mapping[str, Sequence[Listener]]) -> list[Stored]:
    row = batch.execute(
        "SELECT j.channel, j.body, s.state, s.reason, s.at_us, s.detail FROM journal j"
        " JOIN message_state s ON s.id = j.id WHERE j.id = ?",
        (message_id,),
    ).fetchone()
    if row is None or row[0] not in listeners:
        return []
    channel, body, state, reason, at_us, sealed = row
    try:
        payload = batch.vault.open(body, "body", message_id, channel)
        note = opened_note(batch.vault, sealed, "message_state", message_id, channel)
    except (IntegrityError, ValueError):  # `labrelay verify` names the row
        return []
    if not payload:  # erased
        return []
    meta = batch.meta(message_id, channel) or {}
    asked = AnsweredOrders(
        message_id=message_id,
        payload=payload,
        control_id=meta.get("id", ""),
        at_us=at_us,
        refused=f"no order was taken, the message is kept as a dead letter: {reason}" if state == "dead" else "",
        answers=order_notes.opened(note.get("answers", ())),
    )
    made: list[Stored] = []
    for one in listeners[channel]:
        if one.answer is not None:
            made += _message(batch, one, f"A{message_id}", partial(one.answer, asked))
    return made


def _message(batch: Batch, listener: Listener, number: str, write: Callable[[], Received | None]) -> list[Stored]:
    """Store what ``write`` makes; nothing where it has nothing to say, or fails: then that is a dead letter.

    Args:
        number: of the message that is to be made.
    """
    try:
        made = write()
    except Exception as error:  # an error of ours costs this message alone
        logger.exception("news of orders cannot be written", extra={"channel": listener.channel, "detail": number})
        text = f"LabRelay could not write the message {number}."
        lost = Received(channel=listener.channel, payload=text.encode(), received_us=batch.now_us, control_id=number)
        append.store_dead(batch, lost, ReasonCode.NOT_WRITTEN, type(error).__name__)
        return []
    return [] if made is None else [append.store_message(batch, made, repeat_window_s=0.0)]


def _change(batch: Batch, one: items.Kept, n: int) -> StatusChange | None:
    row = batch.execute(
        "SELECT at_us, event, state, reason, channel, detail FROM order_event WHERE item = ? AND n = ?", (one.number, n)
    ).fetchone()
    if row is None:
        return None
    at_us, event, state, reason, channel, sealed = row
    status = heard(event, ItemState(state))
    if status is None or (status is Status.CANCELLED and not _is_of_a_person(batch, one.number, n)):
        return None
    return StatusChange(
        status=status,
        item=one.number,
        n=n,
        at_us=at_us,
        line=one.line,
        reason=ItemReason(reason),
        channel=channel,
        text=_words(batch, one.number, n, sealed),
    )


def _is_of_a_person(batch: Batch, item: int, n: int) -> bool:
    """Whether a person, and not the LIS, has asked for the cancel that ended with this row."""
    causes = batch.execute(
        "SELECT cause FROM order_event WHERE item = ? AND n <= ? AND event IN ('cancel', 'close')", (item, n)
    ).fetchall()
    return bool(causes) and all(cause == _BY_PERSON for (cause,) in causes)


def _words(batch: Batch, item: int, n: int, sealed: bytes) -> str:
    try:
        return batch.vault.open(sealed, items.event_column(n), item, "").decode() if sealed else ""
    except (IntegrityError, ValueError):  # `labrelay verify` names the row
        return ""
