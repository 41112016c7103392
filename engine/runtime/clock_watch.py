"""Notice jumps of the wall clock: by a person, a time server, an empty battery, a sleeping machine.

Nothing waits by that clock: timers and deadlines are monotonic. But the times of messages come from it, and times from
before a jump cannot be compared with those after it. So a jump is logged, and recorded as a row of the journal, between
the messages from before and those from after.
"""

import asyncio
from collections.abc import Awaitable, Callable

from engine.model.clock import Clock

NOTICED_S = 30.0  # time servers correct smaller differences every day
POLL_S = 5.0


class ClockWatch:
    """Compares the wall clock with the monotonic one.

    Attributes:
        moved: seconds of the last jump, and its time (wall time in microseconds, the new one); None: never.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._distance_s = self._offset_s()
        self.moved: tuple[float, int] | None = None

    def jump(self) -> float | None:
        """Seconds by which the clock jumped since the last call (negative: back); None for a small difference."""
        distance_s = self._offset_s()
        jump_s = distance_s - self._distance_s
        if abs(jump_s) < NOTICED_S:  # many small steps in one direction add up, and are noticed then
            return None
        self._distance_s = distance_s
        self.moved = (jump_s, self._clock.now_us())
        return jump_s

    async def run(self, note: Callable[[float], Awaitable[None]]) -> None:
        """Poll forever and call `note` on every jump."""
        while True:
            await asyncio.sleep(POLL_S)
            if (jump_s := self.jump()) is not None:
                await note(jump_s)

    def _offset_s(self) -> float:
        return self._clock.now_us() / 1e6 - self._clock.monotonic()
