"""What laboratory systems hear of their orders, unasked: each change becomes a message of a channel for that, once.

The message and the note that it is made are one transaction. From there on it is a message as any other: it has its
routes, deliveries and retries.
"""

from collections.abc import Callable, Mapping, Sequence

from engine.model.errors import IntegrityError
from engine.model.message import Received, Stored
from engine.model.order_rules import heard
from engine.model.orders import STATUS_UPDATES, ItemReason, ItemState, OrderLine, Status, StatusChange
from engine.model.values import value
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.operations import append
from engine.store.operations.worklist import items

AT_ONCE = 100
_BY_PERSON = "person"


@value(kw_only=True)
class Listener:
    """A channel of messages about the orders of another one.

    Attributes:
        updates: also of what does not end an order.
        write: the message of a change.
    """

    updates: bool
    write: Callable[[StatusChange], Received]


@operation(priority=Priority.RECEIVE)
def announce(batch: Batch, listeners: Mapping[str, Sequence[Listener]]) -> list[Stored]:
    """Make messages of the oldest changes, some at once; return them in their order.

    Args:
        listeners: of the orders of a channel. What has none is forgotten.
    """
    rows = batch.execute("SELECT number, item, n FROM order_notice ORDER BY number LIMIT ?", (AT_ONCE,)).fetchall()
    made: list[Stored] = []
    for _, item, n in rows:
        one = items.by_number(batch, item)
        if one is None or one.line == OrderLine() or one.source not in listeners:  # erased, or without a listener
            continue
        change = _change(batch, one, n)
        if change is None:
            continue
        made += [
            append.store_message(batch, listener.write(change), repeat_window_s=0.0)
            for listener in listeners[one.source]
            if listener.updates or change.status not in STATUS_UPDATES
        ]
    batch.executemany("DELETE FROM order_notice WHERE number = ?", [(number,) for number, _, _ in rows])
    return made


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
