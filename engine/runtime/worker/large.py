"""Large messages are processed in a process of their own, which is there only while there are any.

To parse and map a report of 40 MiB takes seconds, and single steps of it hundreds of milliseconds in which no other
thread of its process runs: a thread would keep every acknowledgement waiting. So it is a process, the same as the
worker's (`engine.runtime.worker.process`), without destinations. It is started by the first large message, and ends
once none has come for `IDLE_S`; what it needs in memory goes with it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from engine.model import allocator
from engine.model.message import Stored
from engine.processing.process import ChannelRoutes, Processed
from engine.runtime.worker.process import WorkerProcess

LARGE_BYTES = 1024 * 1024  # to map so much takes some 50 ms, and to hand it over 3
IDLE_S = 60.0


class LargeMessages:
    """Where intake has large messages processed (`engine.processing.intake.Aside`). Lives on the event loop."""

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self._wanted = asyncio.Event()

    def takes(self, stored: Stored) -> bool:
        return len(stored.payload) > LARGE_BYTES

    def ask(self, stored: Stored, channel: ChannelRoutes, answer: Callable[[Processed], None]) -> None:
        """As `engine.processing.process.Processor.ask`; the answer comes later."""
        self.process.processor.ask(stored, channel, partial(self._answered, answer))
        self._wanted.set()

    @staticmethod
    def _answered(answer: Callable[[Processed], None], verdict: Processed) -> None:
        allocator.trim()  # its frame came piece by piece; to store and send the document takes several times its size
        answer(verdict)

    def forget(self) -> None:
        self.process.processor.forget()

    async def run(self) -> None:
        """Have the process while it is needed; its supervisor begins anew.

        Raises:
            WorkerError: it ended by itself, or had to be ended; what it had is asked of the next one.
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

    async def _attend(self, life: "asyncio.Task[None]") -> None:
        """Until the process has ended, or nothing is left for it."""
        while not life.done():
            self._wanted.clear()
            wanted = asyncio.create_task(self._wanted.wait())
            try:
                await asyncio.wait({life, wanted}, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                wanted.cancel()
            if not self._wanted.is_set() and not self.process.processor.outstanding:
                return
