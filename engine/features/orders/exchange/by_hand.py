"""Orders that a person enters: the act and its items, in one transaction."""

from collections.abc import Sequence

from engine.features.orders import rows as worklist
from engine.model.orders import OrderLine
from engine.model.worklist import LineOutcome, TakeSettings
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.operations import audit


@operation(priority=Priority.RECEIVE)
def add(batch: Batch, actor: str, lines: Sequence[OrderLine], settings: TakeSettings) -> tuple[int, list[LineOutcome]]:
    """Note the act, and take the orders; the row of the act, and the outcome of each line.

    The act names the tests, and neither tube nor patient: its items have them.
    """
    act = audit.note(batch, actor, "order-add", {"tests": [line.test for line in lines]})
    return act, worklist.take_orders(batch, act, "", lines, settings)
