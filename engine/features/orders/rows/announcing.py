"""What laboratory systems hear of their orders, unasked: each change becomes a message of a channel for that, once.

So does the answer to a message, where it cannot go out on the connection of that; it comes before all changes of its
orders. The message and the note that it is made are one transaction. From there on it is a message as any other: it has
its routes, deliveries and retries. One that cannot be written is a dead letter of that channel (`NOT_WRITTEN`), and
the next ones go on.

Of an order that came as a panel the laboratory system hears as of one order:

    a test of it has its result, others are open     the panel is in progress
    one has ended without a result                   that test has, under its own code
    all have ended, one at least with a result       the panel is completed, without these tests
    all have ended, none with a result               the panel has ended as the last of them
    accepted, begun, open again                      the panel is

Of a version in conflict (same order number and test, other content) it has heard that it was not taken. Its end is no
news while another version goes on or has its result: the message would say that of the order.

Reading what became of a message of a laboratory system, and whether there is news for it.

The answers to the orders of a message, in the note of the message's outcome.

A repeat of the message gets the same answer, also where the orders have changed since.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from engine.features.orders.rows import items
from engine.features.orders.rows.items import Kept
from engine.features.orders.rules.order_rules import OF_ENDED, heard, same_patient, same_placer
from engine.model import orders
from engine.model.errors import IntegrityError
from engine.model.message import Received, Stored
from engine.model.orders import ItemReason, ItemState, LineAnswer, OrderLine
from engine.model.texts.reasons import ReasonCode
from engine.model.values import changed, value
from engine.store.core.notes import opened_note
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import append
from engine.store.queries.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The outcome of a message of a laboratory system.

    Attributes:
        state, reason, detail: of the message.
        answers: to each of its order lines; None: it brought none.
    """

    state: str
    reason: ReasonCode | None
    answers: tuple[LineAnswer, ...] | None
    detail: str = ""


def told_of(reader: Reader, message_id: int) -> Told | None:
    """The outcome of a message, or of the first one with its bytes, where it is a repeat; None: it has none yet.

    Raises:
        StoreError: the journal cannot be read.
    """
    with reader.snapshot() as execute:
        while True:
            row = execute(
                "SELECT s.state, s.reason, s.detail, j.channel, j.meta FROM message_state s"
                " JOIN journal j ON j.id = s.id WHERE s.id = ?",
                (message_id,),
            ).fetchone()
            if row is None:
                return None
            state, reason, sealed, channel, meta = row
            said = opened_note(reader.keys, meta, "meta", message_id, channel)
            earlier = said.get("repeat_of") or said.get("equal_to")
            if reason != ReasonCode.REPEAT.value or earlier is None:
                break
            message_id = earlier
    note = opened_note(reader.keys, sealed, "message_state", message_id, channel)
    found = opened(note["answers"]) if "answers" in note else None
    code = ReasonCode[reason] if reason else None
    return Told(state=state, reason=code, answers=found, detail=note.get("detail", ""))


def has_notices(reader: Reader) -> bool:
    """Whether laboratory systems are to hear of changes of their orders."""
    with reader.snapshot() as execute:
        return execute("SELECT 1 FROM order_notice LIMIT 1").fetchone() is not None


_USUAL = {one.name: one.default for one in fields(LineAnswer)}


def packed(told: Sequence[LineAnswer]) -> list[dict[str, Any]]:
    """For JSON, without usual parts."""
    return [{name: said for name, usual in _USUAL.items() if (said := getattr(one, name)) != usual} for one in told]


def opened(found: Sequence[dict[str, Any]]) -> tuple[LineAnswer, ...]:
    return tuple(_opened(one) for one in found)


def _opened(one: dict[str, Any]) -> LineAnswer:
    state = ItemState(one["state"]) if "state" in one else None
    return LineAnswer(
        **{**one, "reason": ItemReason(one.get("reason", "")), "state": state, "items": tuple(one.get("items", ()))}
    )


def said_between(batch: Batch, channel: str, after: int, until: int) -> list[LineAnswer]:
    """The answers to order messages of a channel among these rows, the oldest first."""
    rows = batch.execute(
        "SELECT s.id, s.detail FROM journal j JOIN message_state s ON s.id = j.id"
        " WHERE j.id > ? AND j.id <= ? AND j.channel = ? AND s.detail <> x'' ORDER BY j.id",
        (after, until, channel),
    ).fetchall()
    notes = [opened_note(batch.vault, sealed, "message_state", number, channel) for number, sealed in rows]
    return [one for note in notes for one in opened(note.get("answers", ()))]


def said_of(lines: Sequence[OrderLine], said: Sequence[LineAnswer]) -> dict[int, str]:
    """Place of a line -> what was to be done with its order by the last of these that names it by its number."""
    return {
        place: one.action
        for place, line in enumerate(lines)
        for one in said
        if (one.placer, one.placer or one.filler) == (line.placer, line.placer or line.filler) != ("", "")
        and one.test in ("", line.test)
    }


logger = logging.getLogger("labrelay.orders")

AT_ONCE = 100
_ENDS = frozenset({orders.Status.COMPLETED, orders.Status.REFUSED, orders.Status.CANCELLED, orders.Status.EXPIRED})
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
    write: Callable[[orders.StatusChange], Received]
    answer: Callable[[orders.AnsweredOrders], Received | None] | None = None


@operation(priority=Priority.RECEIVE)
def announce(batch: Batch, listeners: Mapping[str, Sequence[Listener]]) -> list[Stored]:
    """Make messages of the oldest changes, some at once; return them in their order.

    Args:
        listeners: of the orders of a channel. What has none is forgotten.
    """
    rows = batch.execute("SELECT number, item, n FROM order_notice ORDER BY number LIMIT ?", (AT_ONCE,)).fetchall()
    made: list[Stored] = []
    for notice, item, n in rows:
        if not item:
            made += _answers(batch, n, listeners)
            continue
        one = items.by_number(batch, item)
        if (
            one is None or one.line == orders.OrderLine() or one.source not in listeners
        ):  # erased, or without a listener
            continue
        for change in _changes(batch, one, n, notice):
            number = f"{orders.item_id(one.number)}.{n}{'P' if change.of_panel else ''}"
            for listener in listeners[one.source]:
                if listener.updates or change.status not in orders.STATUS_UPDATES:
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
    asked = orders.AnsweredOrders(
        message_id=message_id,
        payload=payload,
        control_id=meta.get("id", ""),
        at_us=at_us,
        refused=f"no order was taken, the message is kept as a dead letter: {reason}" if state == "dead" else "",
        answers=opened(note.get("answers", ())),
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


def _changes(batch: Batch, one: Kept, n: int, notice: int) -> list[orders.StatusChange]:
    change = _change(batch, one, n)
    if change is None:
        return []
    beside = _version_beside(batch, one) if change.status in _ENDS - {orders.Status.COMPLETED} else None
    if beside is not None and beside.line.panel == one.line.panel:
        return []
    is_own = change.status is not orders.Status.CANCELLED or one.made or _is_of_a_person(batch, one.number, n)
    is_told = beside is None and is_own
    own = [change] if is_told else []
    if not one.line.panel:
        return own
    if change.status not in _ENDS:
        return [changed(change, of_panel=True)]
    parts = _parts(batch, one)
    if any(part.is_open for part in parts) or _is_later_news(batch, notice, {one.number, *(p.number for p in parts)}):
        is_begun = change.status is orders.Status.COMPLETED
        return [changed(change, status=orders.Status.IN_PROGRESS, of_panel=True)] if is_begun else own
    done = {part.line.test for part in parts if part.state is orders.ItemState.RESULTED}
    if not done:
        return [changed(each, of_panel=True) for each in own]
    without = dict.fromkeys(part.line.named for part in parts if part.line.test not in done)
    whole = changed(
        change, status=orders.Status.COMPLETED, reason=orders.ItemReason.NONE, of_panel=True, without=tuple(without)
    )
    if change.status is orders.Status.COMPLETED:
        return [whole]
    return [*own, changed(whole, text="", channel="")] if _was_open(batch, one.number, n) else own


def _version_beside(batch: Batch, one: Kept) -> Kept | None:
    """Of an item that was in conflict to its end: the version of its order that goes on, or has its result."""
    if (
        one.parent
        or batch.execute("SELECT 1 FROM order_event WHERE item = ? AND event = 'free'", (one.number,)).fetchone()
    ):
        return None
    near = items.of_order(batch, one.line, orders.MOST_OF_TUBE)
    found = [
        other
        for other in near
        if other.number < one.number
        and not other.made
        and (other.source, other.line.test) == (one.source, one.line.test)
        and (other.is_open or other.state is orders.ItemState.RESULTED)
        and same_placer(other.line, one.line)
    ]
    return found[-1] if found else None


def _parts(batch: Batch, one: Kept) -> list[Kept]:
    """The tests of the panel that an item is of, oldest first; without versions that another has replaced, or that are
    in conflict with one. An order without a number is that of its tube, which may have been another patient's."""
    has_number = bool(one.line.placer or one.line.filler)
    found = [
        other
        for other in items.of_order(batch, one.line, orders.MOST_OF_TUBE)
        if (other.source, other.line.panel) == (one.source, one.line.panel)
        and same_placer(other.line, one.line)
        and (has_number or same_patient(other.line.patient, one.line.patient))
        and other.state not in (orders.ItemState.REJECTED, orders.ItemState.SUPERSEDED)
    ]
    sure = {other.line.test for other in found if other.reason is not orders.ItemReason.ORDER_CONFLICT}
    return [
        other for other in found if other.reason is not orders.ItemReason.ORDER_CONFLICT or other.line.test not in sure
    ]


def _was_open(batch: Batch, item: int, n: int) -> bool:
    """Whether an item was open before this row of its history."""
    row = batch.execute("SELECT state FROM order_event WHERE item = ? AND n = ?", (item, n - 1)).fetchone()
    return row is not None and row[0] in orders.OPEN_STATES


def _is_later_news(batch: Batch, notice: int, of: Collection[int]) -> bool:
    """Whether the LIS is to hear more of these items; the last news says that their panel has ended."""
    rows = batch.execute("SELECT DISTINCT item FROM order_notice WHERE number > ? AND item > 0", (notice,)).fetchall()
    return any(item in of for (item,) in rows)


def _change(batch: Batch, one: Kept, n: int) -> orders.StatusChange | None:
    row = batch.execute(
        "SELECT at_us, event, state, reason, channel, detail FROM order_event WHERE item = ? AND n = ?", (one.number, n)
    ).fetchone()
    if row is None:
        return None
    at_us, event, state, reason, channel, sealed = row
    status = heard(event, orders.ItemState(state))
    if status is None or (event in OF_ENDED and _was_open(batch, one.number, n)):
        return None
    parent = items.by_number(batch, one.parent) if one.made else None
    if one.made and (parent is None or parent.line == orders.OrderLine()):
        return None  # of a reflex the LIS knows the order that it is of alone
    return orders.StatusChange(
        status=status,
        item=one.number,
        n=n,
        at_us=at_us,
        line=one.line,
        reason=orders.ItemReason(reason),
        channel=channel,
        text=_words(batch, one.number, n, sealed),
        parent=None if parent is None else parent.line,
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
