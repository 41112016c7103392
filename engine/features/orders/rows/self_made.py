"""Orders that an analyzer made itself: a reflex, or a test that was ordered at it.

The analyzer says so with the result (`engine.model.ports.Dialogue`, ``self_made``). Such an order has an item of its
own, so that it has a number, a history and an end as every other one. It came with its result:

    accepted -> resulted | in_progress      as the result is final, or is preliminary or held
    in_progress -> resulted | cancelled     the final result; a person has rejected the held one

It is given to no analyzer. It is no order of a laboratory system, also with the number or tube of one. It says nothing
of whose the tube is. Only results of which the analyzer says the same are its results.

Of a reflex the cause is known where the analyzer names one order that it had of this very tube. Then patient and
laboratory system are those of that order. Without it the result is listed as without an order, too
(`engine.features.orders.rows.matching`).

Source: IHE Laboratory Technical Framework volume 2b, LAB-29 (OBR-2, OBR-26, OBR-29).
"""

from engine.features.orders.rows import items
from engine.features.orders.rows.items import Kept
from engine.model.orders import ItemReason, ItemState, OrderedPatient, OrderLine
from engine.model.worklist import EXPIRES_US, SPECIMEN_REUSE_US, ResultOf
from engine.store.core.writing.batch import Batch

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
