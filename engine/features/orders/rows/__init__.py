"""The worklist: the orders of laboratory systems, test by test, and the answers that analyzers got.

taking      orders in: new, change, cancel, hold, release, rerun
answering   questions of analyzers, and what became of each answer
downloading orders that go out unasked
acting      acts of a person on single orders
matching    results without an order, and the order that a person says one is of; orders that an analyzer made itself
closing     results, and the end of an item's time
reflex      tests that a result proposes
holding     results that wait for a person, or were given up
forgetting  what goes by an erasure and by retention, and what is unknown after a backup was restored
naming      the orders of results, for their documents
items       the rows; the one place where an item changes

The rules are pure, in `engine.features.orders.rules.order_rules`. Each change of an item is one row of ``order_event``,
in the same transaction.

Acts of a person on single orders. Each writes its row of the audit trail in the same transaction; the row has
numbers of orders alone, and names no patient.

The tables of the worklist in the journal, and how each comes back with a backup.
"""

from engine.feature import Table
from engine.features.orders.rows import holding, items
from engine.features.orders.rows.announcing import note_answer
from engine.features.orders.rows.answering import answer, confirmed, explain, not_offered, offered, recover, told
from engine.features.orders.rows.closing import expire, result
from engine.features.orders.rows.downloading import download, taken_back
from engine.features.orders.rows.items import Kept
from engine.features.orders.rows.matching import match, unmatch
from engine.features.orders.rows.taking import take_orders
from engine.features.orders.rules import order_rules
from engine.model.errors import RefusedError
from engine.model.orders import ANSWERED_STATES, MOST_OF_TUBE, ItemReason, ItemState, item_id
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit

__all__ = (
    "answer",
    "cancel",
    "confirmed",
    "download",
    "expire",
    "explain",
    "match",
    "not_offered",
    "note_answer",
    "offered",
    "recover",
    "release",
    "resend",
    "result",
    "take_orders",
    "taken_back",
    "told",
    "unmatch",
)


_ACTIVE = ANSWERED_STATES | {ItemState.CANCEL_PENDING}


@operation(priority=Priority.SETTLE)
def cancel(batch: Batch, number: int, *, actor: str, reason: str) -> ItemState:
    """Cancel an order; one that an analyzer may have is ``cancel_pending`` first, and cancelled by a second cancel.
    One that the analyzer refused is given up by it.

    Raises:
        RefusedError: there is none of this number, or it has ended.
    """
    one = items.needed(batch, number)
    closes = one.state is ItemState.REFUSED or (one.state is ItemState.CANCEL_PENDING and not one.query)
    event = order_rules.ItemEvent.CLOSE if closes else order_rules.ItemEvent.CANCEL
    return _do(batch, one, event, "order-cancel", actor, reason)


@operation(priority=Priority.SETTLE)
def release(batch: Batch, number: int, *, actor: str, reason: str) -> ItemState:
    """Let a held order go on. Of a number with two patients, the person says by this whose the tube is: an order whose
    result went out meanwhile has it then, and is not measured again.

    Raises:
        RefusedError: there is none of this number, it is not held, an order of another patient with the same specimen
            number goes on already, or an order in conflict would be beside the one that it is in conflict with.
    """
    one = items.needed(batch, number)
    _raise_if_impossible(one, order_rules.ItemEvent.FREE)
    _raise_if_another_patient(batch, one)
    if one.reason is ItemReason.ORDER_CONFLICT:
        _raise_if_ordered_again(batch, one)
    answer = holding.answer_in_conflict(batch, one) if one.reason is ItemReason.SPECIMEN_CONFLICT else None
    _do(batch, one, order_rules.ItemEvent.FREE, "order-release", actor, reason)
    if answer is not None:
        message_id, channel = answer
        items.apply(batch, one, order_rules.ItemEvent.FINAL, message_id=message_id, channel=channel, cause="person")
    return one.state


@operation(priority=Priority.SETTLE)
def resend(batch: Batch, number: int, *, actor: str, reason: str) -> ItemState:
    """Let an order wait once more: one that an analyzer has lost or refused, or whose time was over.

    Raises:
        RefusedError: there is none of this number, its state allows no sending, the analyzer made it itself, its
            specimen number is another patient's now, or the LIS has ordered the same again.
    """
    one = items.needed(batch, number)
    if one.made:
        raise RefusedError(f"order {item_id(number)} was made by the analyzer itself: it is not sent there")
    _raise_if_impossible(one, order_rules.ItemEvent.RESEND)
    _raise_if_another_patient(batch, one)
    if not one.is_open:
        _raise_if_ordered_again(batch, one)
    if one.state is ItemState.EXPIRED:
        one.expires_us = batch.steady_us + one.waits_us
    return _do(batch, one, order_rules.ItemEvent.RESEND, "order-resend", actor, reason)


def _do(batch: Batch, one: Kept, event: order_rules.ItemEvent, verb: str, actor: str, reason: str) -> ItemState:
    _raise_if_impossible(one, event)
    act = audit.note(batch, actor, verb, {"order": one.number, "state": str(one.state), "reason": reason})
    items.apply(batch, one, event, message_id=act, cause="person")
    return one.state


def _raise_if_impossible(one: Kept, event: order_rules.ItemEvent) -> None:
    if not order_rules.step(order_rules.Standing(one.state, one.reason, one.known), event).done:
        raise RefusedError(f"order {item_id(one.number)} is {one.state}, and cannot be changed so")


def _raise_if_another_patient(batch: Batch, one: Kept) -> None:
    """Two patients may never share one number, also where a person says so."""
    patients = order_rules.PatientsOfTube({})
    for other in items.of_specimen(batch, one.line.specimen, MOST_OF_TUBE):
        if other.number != one.number and other.state in _ACTIVE and not other.made:
            patients.add(other.line.patient)
    if patients.contradicts(one.line.patient):
        raise RefusedError(f"an order of another patient has the specimen number of {item_id(one.number)}: cancel it")


def _raise_if_ordered_again(batch: Batch, one: Kept) -> None:
    """One order goes on once: not beside an open one of the same order number and test."""
    for other in items.of_order(batch, one.line, MOST_OF_TUBE):
        if other.number == one.number or other.made or other.state not in _ACTIVE or other.line.test != one.line.test:
            continue
        one_source = not one.source or not other.source or one.source == other.source
        if order_rules.same_placer(one.line, other.line) and (
            one_source or order_rules.same_patient(one.line.patient, other.line.patient)
        ):
            raise RefusedError(f"order {item_id(other.number)} has the same order number and test: cancel it first")


TABLES = (
    Table(
        name="order_item",
        copied="SELECT * FROM main.order_item WHERE written_us >= :since",
        newest="written_us",
        sealed="SELECT 'order_item', number, '', content FROM order_item",
        unit="channel IN these_channels OR channel = '' AND (source IN these_channels OR EXISTS"
        " (SELECT 1 FROM these_channels c WHERE instr(',' || targets, ',' || c.name || ',')))",
    ),
    Table(
        name="order_event",
        copied="SELECT e.* FROM state.order_item i JOIN main.order_event e ON e.item = i.number",
        sealed="SELECT 'order_event ' || n, item, '', detail FROM order_event WHERE detail <> x''",
        unit="item order_item.number",
    ),
    Table(
        name="order_query",  # an answer that went out a day ago is settled
        copied="SELECT * FROM main.order_query WHERE number > coalesce((SELECT number FROM main.order_query"
        " WHERE at_us < :since - :day ORDER BY number DESC LIMIT 1), 0)",
    ),
    Table(
        name="order_asked",
        copied="SELECT a.* FROM state.order_query q JOIN main.order_asked a ON a.query = q.number",
        unit="query order_query.number",
    ),
    Table(
        name="order_without",
        copied="SELECT w.* FROM state.touched t JOIN main.order_without w ON w.message_id = t.id",
        pruned="message_id",
    ),
    Table(name="order_notice", unit="item order_item.number"),
    Table(name="order_usual"),
    Table(name="order_reflex_rule"),
    Table(
        name="order_reflex",
        restored="UPDATE order_reflex SET restored = state IN ('proposed', 'unsure'), auto = 0"
        " WHERE state IN ('waits', 'proposed', 'unsure', 'withdrawn')",
    ),
)
