"""A destination as the main process sees it: documents go to the worker, which has the connections.

While the worker is behind with mapping, this process makes those deliveries that need no connection in particular, so
that both have about as much to do. Which of the two makes an attempt changes nothing else: lanes, rate, breaker and
retries are here, and a lane has one attempt under way.

When a worker ends, it is unknown which of its documents were taken: each of these deliveries fails with
`MAYBE_DELIVERED`, which proves nothing about the destination, and is retried with the same key.
"""

import asyncio
from collections.abc import Callable

from engine.model.message import Delivery, LateRefusal
from engine.model.packing import UnpackingDestination
from engine.model.versions import Versions
from engine.runtime.worker.process import WorkerProcess


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
