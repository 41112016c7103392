"""The words for a person of the laboratory system, where a cancel, a hold, a release or a change was not carried out:
they say what is true of that order, and who decides.
"""

import pytest

from engine.features.orders import rows as worklist
from engine.features.orders.rows import items
from engine.features.orders.rules.order_rules import ItemEvent
from engine.model.orders import Action, ItemReason
from engine.model.worklist import answers
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from tests.engine.features.orders.rows.test_matching import act
from tests.engine.features.orders.rows.test_orders_in_and_out import RAVI, Desk, ResultOf, order

OTHER_CONTENT = "held until a person of the laboratory decides: this order number and test are there with other content"
OTHER_PATIENT = "held until a person of the laboratory decides: this specimen number has orders of another patient"
AT_ANALYZER = "too late: an analyzer has it, or may have it"


@operation(priority=Priority.SETTLE)
def refuse(batch: Batch) -> None:
    one = items.by_number(batch, 1)
    assert one is not None
    items.apply(batch, one, ItemEvent.REFUSED)


async def become(desk: Desk, what: str) -> None:
    """Bring the order to where the name says."""
    await desk.take(order(action="hold") if what == "held" else order())
    if what == "other content":
        await desk.take(order(priority="stat"))
        await act(desk, worklist.cancel, 1)
    elif what == "other patient":
        await desk.take(order(placer="O2", patient=RAVI))
    elif what in ("asked for", "cancelled there"):
        await desk.tell("S1")
    elif what == "resulted":
        await desk.result("S1", ResultOf(test="GLU"))
    elif what == "refused":
        await desk.journal.run(refuse)
    elif what == "expired":
        desk.wait(8)
        await desk.journal.run(worklist.expire)
    if what.startswith("cancelled"):
        await desk.take(order(action="cancel"))


TABLE: dict[tuple[str, Action], str] = {
    ("waiting", "release"): "",  # it is not held: what the LIS asks for is so
    ("asked for", "release"): "",
    ("other content", "release"): OTHER_CONTENT,
    ("other patient", "release"): OTHER_PATIENT,
    ("cancelled", "release"): "too late: it is cancelled",
    ("cancelled there", "release"): "too late: it is being cancelled",
    ("resulted", "release"): "too late: its result is there",
    ("refused", "release"): "too late: the analyzer has refused it",
    ("expired", "release"): "too late: its time is over",
    ("held", "release"): "",
    ("waiting", "hold"): "",
    ("held", "hold"): "",
    ("asked for", "hold"): AT_ANALYZER,
    ("other content", "hold"): OTHER_CONTENT,
    ("other patient", "hold"): OTHER_PATIENT,
    ("cancelled", "hold"): "too late: it is cancelled",
    ("cancelled there", "hold"): "too late: it is being cancelled",
    ("resulted", "hold"): "too late: its result is there",
    ("refused", "hold"): "too late: the analyzer has refused it",
    ("expired", "hold"): "too late: its time is over",
    ("waiting", "cancel"): "",
    ("asked for", "cancel"): "",
    ("other patient", "cancel"): "",
    ("cancelled", "cancel"): "",
    ("resulted", "cancel"): "too late: its result is there",
    ("refused", "cancel"): "too late: the analyzer has refused it",
    ("expired", "cancel"): "too late: its time is over",
    ("resulted", "change"): "too late: its result is there",
    ("other content", "new"): OTHER_CONTENT,
}


@pytest.mark.parametrize(("what", "action"), TABLE)
async def test_the_words_say_what_is_true_of_the_order(desk: Desk, what: str, action: Action) -> None:
    await become(desk, what)
    line = order(action=action, **({"priority": "asap"} if action in ("change", "new") else {}))
    (said,) = answers([line], await desk.take(line))
    assert (said.text, said.done) == (TABLE[what, action], not TABLE[what, action])
    assert (said.reason is ItemReason.NONE) is said.done
