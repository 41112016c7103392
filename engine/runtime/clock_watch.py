"""Notices that the clock on the wall was moved: by a person, a time server, a battery that is empty, a machine asleep.

Nothing waits by that clock: timers and deadlines are monotonic. But the times that stand beside messages come from it,
and what was received before the clock was moved cannot be compared with what came after. So it is said, and noted as a
row of the journal, between the messages from before and those from after.
"""

import asyncio
from collections.abc import Awaitable, Callable

from engine.model.clock import Clock

NOTICED_S = 30.0  # less is what time servers correct every day
LOOK_S = 5.0


class ClockWatch:
    """Compares the clock on the wall with the one that never jumps.

    Attributes:
        moved: by how many seconds it was moved last, and when (wall time in microseconds, the new one); None: never.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._distance_s = self._look()
        self.moved: tuple[float, int] | None = None

    def look(self) -> float | None:
        """Seconds by which the clock was moved since the last look (negative: back), where that is worth saying."""
        distance_s = self._look()
        jump_s = distance_s - self._distance_s
        if abs(jump_s) < NOTICED_S:  # many small steps in one direction add up, and are noticed then
            return None
        self._distance_s = distance_s
        self.moved = (jump_s, self._clock.now_us())
        return jump_s

    async def run(self, note: Callable[[float], Awaitable[None]]) -> None:
        """Look for ever; ``note`` is told."""
        while True:
            await asyncio.sleep(LOOK_S)
            if (jump_s := self.look()) is not None:
                await note(jump_s)

    def _look(self) -> float:
        return self._clock.now_us() / 1e6 - self._clock.monotonic()
