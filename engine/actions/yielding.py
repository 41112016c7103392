"""How an operation that queues deliveries yields to new messages.

The next message of a replay is queued only while the lanes concerned are empty, so that a new message of an analyzer
finds at most one delivery of the replay before it, and waits no longer than for that. It also waits while messages wait
for their mapping, while the journal's writer has a queue, while a destination is unreachable and while a lane is paused
or held: a server that has just come back gets new results first.

An operation must end even under constant live load: having yielded for `YIELDS_S`, its next message is queued anyway,
unless a delivery of its own is still under way. So it sends at least two messages a second, or as many as the lane
carries one at a time, and a live message still finds at most one of them before it. For a lane that is paused, held or
without a server it waits without this limit: nothing of it is queued there.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

from engine.store.queries.bulk import sends_now
from engine.store.queries.reader import Reader

POLL_S = 0.1  # interval of checks whether a lane is free, where no event comes earlier
YIELDS_S = 0.5  # at a stretch to live messages; then one message is queued

LIVE_FIRST = "live messages go first"  # the one reason to wait that has a time limit

Waits = Callable[[str, str], str]  # (channel, destination) -> why nothing may be queued there now, or ""


class Yielding:
    """Lets operations of one journal wait for their lanes.

    Args:
        waits: called for each lane of a message before it is queued.
    """

    def __init__(self, journal: Reader, waits: Waits) -> None:
        self._journal = journal
        self._waits = waits
        self._moved = asyncio.Event()
        self._why: dict[int, str] = {}

    def moved(self) -> None:
        """A delivery has ended: one lane has less to do."""
        self._moved.set()

    def why(self, operation: int) -> str:
        """Why an operation waits now, or empty."""
        return self._why.get(operation, "")

    async def turn(self, operation: int, lanes: Collection[tuple[str, str]]) -> None:
        """Wait until an operation may queue its next message in these lanes."""
        now = asyncio.get_running_loop().time
        until = now() + YIELDS_S
        try:
            while why := next((why for lane in sorted(lanes) if (why := self._waits(*lane))), ""):
                self._why[operation] = why
                if why != LIVE_FIRST:
                    until = now() + YIELDS_S
                elif now() >= until and not await asyncio.to_thread(sends_now, self._journal, operation):
                    return
                self._moved.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._moved.wait()
        finally:
            self._why.pop(operation, None)
