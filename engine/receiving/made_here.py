"""Messages that LabRelay makes itself, of what the journal has noted: each is handed to intake as a received one is."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.model.errors import StoreError
from engine.model.message import Stored

if TYPE_CHECKING:
    from engine.store.journal import Journal

EVERY_S = 0.5


async def run(
    journal: "Journal",
    is_noted: "Callable[[Journal], bool]",
    make: "Callable[[], asyncio.Future[list[Stored]]]",
    stored: Callable[[Stored], None],
) -> None:
    """Until cancelled. Where messages cannot be stored now, it is tried again.

    Args:
        is_noted: whether messages are to be made.
        make: some of them, in one transaction, which takes their notes away.
        stored: as of `engine.receiving.channel.Channel`.
    """

    def made(done: "asyncio.Future[list[Stored]]") -> None:
        if not done.cancelled() and done.exception() is None:
            for one in done.result():
                stored(one)

    while True:
        try:
            while is_noted(journal):
                future = make()
                future.add_done_callback(made)  # in the order of the journal, and also where this task ends
                await asyncio.wait([future])
                future.result()
        except StoreError:
            pass  # the journal reports its trouble
        await asyncio.sleep(EVERY_S)
