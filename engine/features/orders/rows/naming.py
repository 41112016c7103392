"""The orders of a message's results, for its documents: looked up in the transaction that records the outcome, before
the results change anything. Where orders with different numbers ask for one result, none of them is named; nor is one
of a specimen that has orders of two patients, where the result names none.

A document finds the order of a result by tube and code. So each result beside it that may have the same code there, and
that is not of this order, is listed as well, without an order: another patient's, one that was measured before, one of
another code list.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from engine.features.orders.rows.closing import Results
from engine.features.orders.rows.items import Kept
from engine.model.content.order_results import TubeResults
from engine.model.orders import ItemState
from engine.model.process.clock import from_us
from engine.store.core.writing.batch import Batch

_LATE = {
    ItemState.CANCELLED: "cancelled", ItemState.CANCEL_PENDING: "cancelled", ItemState.EXPIRED: "expired",
}  # fmt: skip


def orders_of(
    batch: Batch, message_id: int, channel: str, tubes: Iterable[TubeResults], *, came: int, again: bool
) -> tuple[list[dict[str, Any]], bool]:
    """The orders, as `engine.succession.order_names.with_orders` takes them; and whether two of them disagree.

    Args:
        came: the message that brought the results. again: it is processed anew.
    """
    found: list[dict[str, Any]] = []
    without: list[dict[str, Any]] = []
    disagree = False
    for tube in tubes:
        groups = frozenset(tube.groups)
        results = Results(
            batch, message_id, channel, tube.specimen, tube.patient_number, groups, came=came, again=again
        )
        for each in tube.tests:
            meant = [] if results.is_anybodys else results.of(each)
            numbers = {(one.line.placer, one.line.placer_namespace, one.line.filler) for one in meant}
            said = {"specimen": tube.specimen, "codes": sorted({each.code, each.test} - {""})}
            disagree = disagree or len(numbers) > 1
            if len(numbers) == 1:
                found.append(said | _named(batch, message_id, meant[0]))
            else:
                without.append(said)
    named = {key for one in found for key in _keys(one)}
    found += [one for one in without if not named.isdisjoint(_keys(one))]
    return list({orjson.dumps(one): one for one in found}.values()), disagree


def _keys(said: dict[str, Any]) -> list[tuple[str, str]]:
    """The pairs of specimen and code by which a document may find this."""
    return [(said["specimen"], code) for code in said["codes"]]


def _named(batch: Batch, message_id: int, one: Kept) -> dict[str, Any]:
    line = one.line
    said: dict[str, Any] = {"item": one.number}
    numbers = {"placer": line.placer, "namespace": line.placer_namespace, "filler": line.filler}
    said |= {name: text for name, text in numbers.items() if text}
    if late := _late(batch, message_id, one):
        said["late"] = late
    return said


def _late(batch: Batch, message_id: int, one: Kept) -> str:
    """Words about an order that was given up before this result; empty: it was not."""
    if (
        one.state not in _LATE
        and not batch.execute(
            "SELECT 1 FROM order_event WHERE item = ? AND message_id = ? AND late = 1", (one.number, message_id)
        ).fetchone()
    ):
        return ""
    row = batch.execute(
        "SELECT state, min(at_us) FROM order_event WHERE item = ?"
        " AND state IN ('cancelled', 'cancel_pending', 'expired')",
        (one.number,),
    ).fetchone()
    if row is None or row[0] is None:
        return ""
    at = from_us(row[1]).astimezone(batch.zone)
    return f"ordered, {_LATE[ItemState(row[0])]} at {at:%Y-%m-%d %H:%M}, measured"
