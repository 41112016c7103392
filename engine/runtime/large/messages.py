"""Which messages are large, and the process for them: the first one starts it, and it ends once none has come for
`IDLE_S`; its memory goes with it.

Bytes alone say little: 1 MiB of Base64 takes 10 ms, 1 MiB of results 500. So a message with many lines or many escapes
is large, too. Each of the three limits is some 50 ms of mapping, or a copy of that much memory.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from engine.model.message import Stored
from engine.model.process import allocator
from engine.model.routes import ChannelRoutes, Processed
from engine.runtime.large.process import LargeProcess

LARGE_BYTES = 1024 * 1024
MANY_LINES = 1000  # segments, records: the mapping of one takes up to 50 us
MANY_ESCAPES = 50_000  # characters; reading one takes up to 0.7 us
IDLE_S = 60.0


class LargeMessages:
    """Processes large messages for intake (`engine.processing.intake.LargeMessageProcessor`). Lives on the event
    loop."""

    def __init__(self, process: LargeProcess) -> None:
        self.process = process
        self._wanted = asyncio.Event()

    def takes(self, stored: Stored) -> bool:
        payload = stored.payload
        size = len(payload)  # without so many bytes there cannot be so many lines or escapes, and none is counted
        return (
            size > LARGE_BYTES
            or (size > 4 * MANY_LINES and _lines(payload) > MANY_LINES)
            or (size > MANY_ESCAPES and _escapes(payload) > MANY_ESCAPES)
        )

    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Callable[[Processed], None]) -> None:
        """See `engine.runtime.large.processor.RemoteProcessor.ask`."""
        self.process.processor.ask(stored, channel, partial(self._answered, answer))
        self._wanted.set()

    @staticmethod
    def _answered(answer: Callable[[Processed], None], verdict: Processed) -> None:
        allocator.trim()  # its frame came piece by piece; storing and sending the document takes several times its size
        answer(verdict)

    def forget(self) -> None:
        self.process.processor.forget()

    async def run(self) -> None:
        """Run the process while it is needed; its supervisor begins anew.

        Raises:
            LargeProcessError: it ended by itself, or had to be ended; its messages go to the next one.
        """
        while True:
            if not self.process.processor.outstanding:
                self._wanted.clear()
                await self._wanted.wait()
            life = asyncio.create_task(self.process.run())
            try:
                await self._attend(life)
            finally:
                life.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await life
                allocator.trim()  # what recording the outcomes took

    async def _attend(self, life: "asyncio.Task[None]") -> None:
        """Wait until the process has ended, or has no work left."""
        while not life.done():
            self._wanted.clear()
            wanted = asyncio.create_task(self._wanted.wait())
            try:
                await asyncio.wait({life, wanted}, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                wanted.cancel()
            if not self._wanted.is_set() and not self.process.processor.outstanding:
                return


def _lines(payload: bytes) -> int:
    return payload.count(b"\r") + payload.count(b"\n")


def _escapes(payload: bytes) -> int:
    """How often it has an escape character of HL7 or of ASTM, each of which is a delimiter of the other."""
    return payload.count(b"\\") + payload.count(b"&")
