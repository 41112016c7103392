"""End the orders whose time has come."""

import asyncio
from typing import TYPE_CHECKING

from engine.features.orders import rows as worklist
from engine.model.errors import StoreError

if TYPE_CHECKING:
    from engine.store.journal import Journal

EVERY_S = 60.0


async def run(journal: "Journal") -> None:
    """Until cancelled. What cannot be stored now is tried a minute later."""
    while True:
        try:
            while await journal.run(worklist.expire):
                pass
        except StoreError:
            pass
        await asyncio.sleep(EVERY_S)
