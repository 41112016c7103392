"""Report changes of orders to their laboratory systems: channels of kind ``order-status`` get a message for each.

The worklist notes a change in the transaction that makes it. Here it becomes a message of the journal, which is handed
to intake as a received one is. Where that cannot be stored now, it is tried again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from engine.features.orders.rows.announcing import Listener, announce
from engine.features.orders.rows.order_outcomes import has_notices
from engine.model.message import Stored
from engine.receiving import made_here

if TYPE_CHECKING:
    from engine.store.journal import Journal


async def run(
    journal: "Journal", listeners: Callable[[], Mapping[str, Sequence[Listener]]], stored: Callable[[Stored], None]
) -> None:
    """Until cancelled.

    Args:
        listeners: of the configuration in force, by the channel of the orders.
        stored: as of `engine.receiving.channel.Channel`.
    """
    await made_here.run(journal, has_notices, lambda: journal.run(announce, listeners()), stored)
