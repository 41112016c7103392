"""Report changes of orders to their laboratory systems: channels of kind ``order-status`` get a message for each.

The worklist notes a change in the transaction that makes it. Here it becomes a message of the journal, which is handed
to intake as a received one is. Where that cannot be stored now, it is tried again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from engine.model.errors import StoreError
from engine.model.message import Stored
from engine.store.operations.worklist.announcing import Listener, announce
from engine.store.queries.order_outcomes import has_notices

if TYPE_CHECKING:
    from engine.store.journal import Journal

EVERY_S = 0.5


async def run(
    journal: "Journal", listeners: Callable[[], Mapping[str, Sequence[Listener]]], stored: Callable[[Stored], None]
) -> None:
    """Until cancelled.

    Args:
        listeners: of the configuration in force, by the channel of the orders.
        stored: as of `engine.receiving.channel.Channel`.
    """

    def made(done: "asyncio.Future[list[Stored]]") -> None:
        if not done.cancelled() and done.exception() is None:
            for one in done.result():
                stored(one)

    while True:
        try:
            while has_notices(journal):
                future = journal.run(announce, listeners())
                future.add_done_callback(made)  # in the order of the journal, and also where this task ends
                await asyncio.wait([future])
                future.result()
        except StoreError:
            pass  # the journal reports its trouble
        await asyncio.sleep(EVERY_S)
