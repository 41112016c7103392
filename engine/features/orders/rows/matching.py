"""Results that no order is there for, and the order that a person says one of them is of.

A person may match a result with an open order of the very same specimen number alone; where result and order both name
a patient, these must agree. The match can be undone until the message of the result, with the match in force, has been
delivered to any destination. A result that is held closes the order once it is released.

Orders that an analyzer made itself: a reflex, or a test that was ordered at it.

The analyzer says so with the result (`engine.model.ports.Dialogue`, ``self_made``). Such an order has an item of its
own, so that it has a number, a history and an end as every other one. It came with its result:

    accepted -> resulted | in_progress      as the result is final, or is preliminary or held
    in_progress -> resulted | cancelled     the final result; a person has rejected the held one

It is given to no analyzer. It is no order of a laboratory system, also with the number or tube of one. It says nothing
of whose the tube is. Only results of which the analyzer says the same are its results.

Of a reflex the cause is known where the analyzer names one order that it had of this very tube. Then patient and
laboratory system are those of that order. Without it the result is listed as without an order, too.

Source: IHE Laboratory Technical Framework volume 2b, LAB-29 (OBR-2, OBR-26, OBR-29).
"""

from collections.abc import Sequence

from engine.features.orders.rows import holding, items
from engine.features.orders.rows.holding import MATCHED
from engine.features.orders.rows.items import Kept
from engine.features.orders.rules.order_rules import UNMATCHED, ItemEvent, Standing, step
from engine.model.errors import RefusedError
from engine.model.orders import ANSWERED_STATES, ItemReason, ItemState, OrderedPatient, OrderLine, item_id
from engine.model.worklist import EXPIRES_US, SPECIMEN_REUSE_US, ResultOf
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

TWO_PATIENTS = b"\0"  # in place of the keyed hash of a patient's number
MOST_CODES = 300  # characters of the codes of results that are kept


def note_without(
    batch: Batch,
    message_id: int,
    channel: str,
    specimen: str,
    patient_number: str,
    results: Sequence[ResultOf],
    *,
    older: bool = False,
) -> None:
    """Note the results of a specimen in a message that have no order; of a message that is processed again, anew. Where
    a message has results of two patients under one specimen number, none of these can be matched.

    Args:
        older: there is an order for one of them, and the result was measured before it came.
    """
    key = message_id, items.specimen_token(batch.vault, specimen)
    patient, bearer = items.patient_token(batch.vault, patient_number), items.bearer_token(batch.vault, patient_number)
    if not results:
        of = "message_id = ? AND specimen = ? AND bearer = ?"
        batch.execute(f"UPDATE order_without SET results = matched WHERE {of}", (*key, bearer))  # noqa: S608
        batch.execute(f"DELETE FROM order_without WHERE {of} AND matched = 0", (*key, bearer))  # noqa: S608
        return
    codes = ", ".join(one.code or one.test for one in results)[:MOST_CODES]
    batch.execute(
        "INSERT INTO order_without (message_id, specimen, patient, bearer, channel, at_us, results, matched, codes,"
        " older) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?)"
        " ON CONFLICT DO UPDATE SET results = max(excluded.results, matched), codes = excluded.codes,"
        " older = excluded.older, bearer = iif(bearer = excluded.bearer, bearer, ?)",
        (*key, patient, bearer, channel, batch.now_us, len(results), codes, int(older), TWO_PATIENTS),
    )


@operation(priority=Priority.SETTLE)
def match(batch: Batch, number: int, message_id: int, *, actor: str, reason: str) -> ItemState:
    """Close an order with a result in a message: a person says that it is of this order.

    Raises:
        RefusedError: there is none of this number, or it is not open; the message has no result without an order of its
            very specimen number, or that is another patient's.
    """
    one = items.needed(batch, number)
    known = step(Standing(one.state, one.reason, one.known), ItemEvent.FINAL).done
    if not known or one.state not in ANSWERED_STATES or one.after or one.made:
        raise RefusedError(f"order {item_id(number)} is {one.state}: no result can be matched with it")
    token = items.specimen_token(batch.vault, one.line.specimen)
    row = batch.execute(
        "SELECT bearer, channel FROM order_without WHERE message_id = ? AND specimen = ? AND specimen <> x''"
        " AND results > matched",
        (message_id, token),
    ).fetchone()
    if row is None:
        raise RefusedError(
            f"message {message_id} has no result without an order of the specimen number of {item_id(number)}"
        )
    bearer = items.bearer_token(batch.vault, one.line.patient.number)
    if bytes(row[0]) == TWO_PATIENTS:
        raise RefusedError(
            f"message {message_id} has results of two patients with this specimen number: none is matched"
        )
    if row[0] and bearer and bytes(row[0]) != bearer:
        raise RefusedError(f"the result in message {message_id} is of another patient than order {item_id(number)}")
    audit.note(batch, actor, "order-match", {"order": number, "message": message_id, "reason": reason})
    batch.execute(
        "UPDATE order_without SET matched = matched + 1 WHERE message_id = ? AND specimen = ?", (message_id, token)
    )
    event = ItemEvent.RESULT_HELD if holding.standing(batch, message_id) == "held" else ItemEvent.FINAL
    items.apply(batch, one, event, message_id=message_id, channel=row[1], cause=MATCHED)
    return one.state


@operation(priority=Priority.SETTLE)
def unmatch(batch: Batch, number: int, *, actor: str, reason: str) -> ItemState:
    """Undo a match: the order is again as it was before.

    Raises:
        RefusedError: there is none of this number, its last change is no match, or its result was delivered since.
    """
    one = items.needed(batch, number)
    last = batch.execute(
        "SELECT cause, message_id, at_us FROM order_event WHERE item = ? AND n = ?", (number, one.events)
    ).fetchone()
    if last[0] != MATCHED:
        raise RefusedError(f"the last change of order {item_id(number)} is no match")
    _, message_id, at_us = last
    if batch.execute(
        "SELECT 1 FROM delivery WHERE message_id = ? AND state = 'delivered' AND settled_us >= ?", (message_id, at_us)
    ).fetchone():
        raise RefusedError(f"the result of order {item_id(number)} was delivered with this match: it cannot be undone")
    state, why = batch.execute(
        "SELECT state, reason FROM order_event WHERE item = ? AND n = ?", (number, one.events - 1)
    ).fetchone()
    act = audit.note(batch, actor, "order-unmatch", {"order": number, "message": message_id, "reason": reason})
    batch.execute(
        "UPDATE order_without SET matched = max(matched - 1, 0) WHERE message_id = ? AND specimen = ?",
        (message_id, items.specimen_token(batch.vault, one.line.specimen)),
    )
    one.sent = holding.was_known(batch, one, message_id, one.events)
    one.state, one.reason, one.changed_us = ItemState(state), ItemReason(why), batch.now_us
    items.note(batch, one, UNMATCHED, message_id=act, cause="person")
    return one.state


REFLEX, ORDERED_THERE = "reflex", "ordered at the analyzer"  # causes of the first row of its history


def make(
    batch: Batch, message_id: int, channel: str, specimen: str, patient_number: str, each: ResultOf, parent: Kept | None
) -> Kept:
    """The item of a result whose order the analyzer made.

    Args:
        parent: the order whose result was the cause of a reflex; None: it is not known.
    """
    if parent is None:
        line = OrderLine(specimen=specimen, patient=OrderedPatient(number=patient_number), test=each.test)
    else:
        of = parent.line
        line = OrderLine(
            specimen=specimen, specimen_namespace=of.specimen_namespace, specimen_type=of.specimen_type,
            patient=of.patient, test=each.test, test_system=of.test_system,
        )  # fmt: skip
    one = Kept(
        number=items.next_number(batch.execute), message_id=message_id, place=0, last_id=message_id,
        source="" if parent is None else parent.source, state=ItemState.ACCEPTED, reason=ItemReason.NONE,
        targets=frozenset({channel}), channel=channel, code=each.code, query=0, sent=True, after=0, run=1,
        parent=0 if parent is None else parent.number, created_us=batch.now_us, changed_us=batch.now_us,
        expires_us=batch.steady_us + EXPIRES_US, waits_us=EXPIRES_US, reuse_us=0, events=1, line=line,
        given_us=batch.now_us, made=True,
    )  # fmt: skip
    items.put(batch, one, ORDERED_THERE if parent is None else REFLEX)
    return one


def may_go_on(batch: Batch, one: Kept, channel: str) -> bool:
    """Whether a result that this channel brings now may be one more of an item that an analyzer made: the tube may
    have become another one meanwhile."""
    return (
        one.channel == channel
        and one.state is not ItemState.CANCELLED
        and one.created_us > batch.now_us - SPECIMEN_REUSE_US
    )
