"""What other processes do for the main one: the worker delivers, a process of their own maps large messages.

A destination as the main process sees it: documents go to the worker, which has the connections.

While the worker is behind with mapping, this process makes those deliveries that need no connection in particular, so
that both have about as much to do. Which of the two makes an attempt changes nothing else: lanes, rate, breaker and
retries are here, and a lane has one attempt under way.

When a worker ends, it is unknown which of its documents were taken: each of these deliveries fails with
`MAYBE_DELIVERED`, which proves nothing about the destination, and is retried with the same key.

Large messages are processed in a process of their own, which exists only while there are any.

Parsing and mapping a report of 40 MiB takes seconds, and single steps of it hundreds of milliseconds in which no other
thread of its process runs: a thread would delay every acknowledgement. So it is a process, the same as the worker's
(`engine.runtime.worker.process`), without destinations. The first large message starts it, and it ends once none has
come for `IDLE_S`; its memory goes with it.

Bytes alone say little: 1 MiB of Base64 takes 10 ms, 1 MiB of results 500. So a message with many lines or many escapes
is large, too. Each of the three limits is some 50 ms of mapping, or a copy of that much memory.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from engine.model.message import Delivery, LateRefusal, Stored
from engine.model.packing import UnpackingDestination
from engine.model.process import allocator
from engine.model.routes import ChannelRoutes, Processed
from engine.model.versions import Versions
from engine.runtime.worker.process import WorkerProcess

LARGE_BYTES = 1024 * 1024
MANY_LINES = 1000  # segments, records: the mapping of one takes up to 50 us
MANY_ESCAPES = 50_000  # characters; reading one takes up to 0.7 us
IDLE_S = 60.0


class LargeMessages:
    """Processes large messages for intake (`engine.processing.intake.LargeMessageProcessor`). Lives on the event
    loop."""

    def __init__(self, process: WorkerProcess) -> None:
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
        """As `engine.processing.process.Processor.ask`; the answer comes later."""
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
            WorkerError: it ended by itself, or had to be ended; its messages go to the next one.
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


class RemoteDestination:
    """See `engine.model.ports.Destination`. Takes documents packed or whole.

    Args:
        make: makes the same destination for this process. It is called once at the beginning, to find errors in the
            configuration; its destination is opened by `start`, or as soon as this process delivers.
        shared: both processes may deliver at once; else this one does only while no worker is available.
    """

    def __init__(
        self, name: str, worker: WorkerProcess, make: Callable[[], UnpackingDestination], *, shared: bool = False
    ) -> None:
        self._worker = worker
        self._make = make
        self._shared = shared
        self._spare: UnpackingDestination | None = make()
        self._local: UnpackingDestination | None = None
        self._in_flight_here = 0
        self._opening = asyncio.Lock()
        self._name = name
        self._late: Callable[[LateRefusal], None] = lambda late: None

    def hear_late(self, late: Callable[[LateRefusal], None]) -> None:
        """See `engine.model.packing.UnpackingDestination`."""
        self._late = late
        self._worker.hear_late(self._name, late)

    async def start(self) -> None:
        """Open it in this process where both deliver. The worker opens it with its configuration."""
        if self._shared:
            await self._opened()

    async def room(self) -> None:
        """Wait until a delivery can be handed over at once: to a ready worker, or to this process."""
        while not (self._worker.has_room() or self._worker.here):
            await self._worker.changed()

    async def deliver(self, delivery: Delivery) -> Versions | None:
        await self.room()
        if self._worker.has_room() and not (self._shared and self._worker.behind):
            return await self._worker.deliver(delivery)
        return await self._deliver_here(delivery)

    async def probe(self) -> str | None:
        return await (await self._opened()).probe()

    async def close(self) -> None:
        if self._local is not None:
            local, self._local = self._local, None
            await local.close()

    async def _deliver_here(self, delivery: Delivery) -> Versions | None:
        self._in_flight_here += 1
        try:
            return await (await self._opened()).deliver(delivery)
        finally:
            self._in_flight_here -= 1
            if not (self._shared or self._in_flight_here or self._worker.here):
                await self.close()  # a worker is back, and some receivers take one connection only

    async def _opened(self) -> UnpackingDestination:
        async with self._opening:
            if self._local is None:
                made, self._spare = self._spare or self._make(), None
                await made.start()
                made.hear_late(self._late)
                self._local = made
            return self._local
