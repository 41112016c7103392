"""The socket between the main process and its worker: frames out in batches, frames in as they come.

All frames of one turn of the event loop are written at once, so that a batch of outcomes or deliveries costs one system
call and wakes the other side once. Nothing here limits the frames: the senders count their outstanding ones, and the
worker stops processing while `congested`.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from engine.model.errors import ProtocolError
from engine.runtime.worker.wire import Decoder, Frame

logger = logging.getLogger("labrelay.worker")

CONGESTED_BYTES = 8 * 1024 * 1024
JOINED_BYTES = 256 * 1024  # of frames that are written in one piece


class Pipe(asyncio.Protocol):
    """One end. ``received`` is called for each frame, ``lost`` once when the other side is gone."""

    def __init__(
        self,
        received: Callable[[Frame], None],
        lost: Callable[[], None],
        flowing: Callable[[], None] = lambda: None,
    ) -> None:
        """``flowing`` is called when a congestion is over."""
        self.congested = False
        self._received = received
        self._lost = lost
        self._flowing = flowing
        self._decoder = Decoder()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def send(self, parts: list[bytes]) -> None:
        """Send a frame; does nothing after the other side is gone."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out += parts

    def flush(self) -> None:
        """Write all waiting frames."""
        out, self._out = self._out, []
        if self._transport is None:
            return
        if sum(map(len, out)) <= JOINED_BYTES:
            self._transport.write(b"".join(out))
        else:  # a copy of a large message takes longer than a write
            self._transport.writelines(out)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has its methods, but is no subclass
        self._transport.set_write_buffer_limits(high=CONGESTED_BYTES)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._decoder.feed(data):
                self._received(frame)
        except ProtocolError:
            logger.exception("the other process cannot be understood")
            self.abort()

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        self._flowing()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._lost()
