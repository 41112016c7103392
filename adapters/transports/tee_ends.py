"""The two ends of a tee, and what passes between them, put into a queue for its listener."""

import asyncio
import logging
from collections import deque
from typing import Protocol

from adapters.codecs.rfc2217 import LineSettings
from adapters.transports.sockets.tcp_stream import TcpStream, connect
from adapters.transports.tcp import HostPort
from adapters.transports.waiting import wake
from engine.model.link_events import Direction
from engine.model.ports import StreamHandler

logger = logging.getLogger("labrelay.channel")

UNHEARD_AFTER_BYTES = 8 * 1024 * 1024  # of one line wait to be heard; a listener never leaves more than one read


class End(LineSettings, Protocol):
    """One end of the line: exactly one of these three is set; how a line is set is of a ``device``."""

    listen: HostPort | None
    connect: HostPort | None
    device: str | None


class Hearing:
    """The bytes that pass on one line, for the listener (`engine.model.ports.TappedStream`)."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self._passed: deque[tuple[Direction, bytes]] = deque()
        self._bytes = 0
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def passed(self, way: Direction, data: bytes) -> None:
        """Bytes are passing; never waits."""
        if self._ended:
            return
        if self._bytes + len(data) > UNHEARD_AFTER_BYTES:
            data = b""
            if self._passed and not self._passed[-1][1]:
                return
        self._passed.append((way, data))
        self._bytes += len(data)
        wake(self._waiter)

    async def hear(self, timeout: float | None = None) -> tuple[Direction, bytes] | None:  # noqa: ASYNC109 - as `Stream.read`
        if not self._passed and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(self._waiter, None if timeout is None else max(timeout, 0.0))
            finally:
                self._waiter = None
        if not self._passed:
            return None
        way, data = self._passed.popleft()
        self._bytes -= len(data)
        return way, data

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as `Stream.read`
        """Nothing: a tee is no end of the line."""
        return b""

    async def write(self, data: bytes) -> None:
        raise OSError("a tee says nothing")

    def end(self) -> None:
        self._ended = True
        wake(self._waiter)

    async def close(self) -> None:
        self.end()


async def listen(hearing: Hearing, handler: StreamHandler) -> None:
    """Let the handler listen for as long as it does."""
    try:
        await handler(hearing)
    except Exception:  # a fault of ours: the line goes on, unheard
        logger.exception("the listener of a tee failed", extra={"peer": hearing.peer})
    finally:
        hearing.end()


async def reach(address: HostPort) -> TcpStream:
    """Connect to the far end.

    Raises:
        OSError, TimeoutError: no server answers.
    """
    stream = await connect(address.host, address.port)
    stream.bear_with_slow_readers()
    return stream


def unreachable(who: Direction, address: HostPort, error: BaseException | None) -> str:
    """Why the far end cannot be reached, for the page."""
    why = getattr(error, "strerror", None) or "no answer"
    return f"the {who.value} at {address.host}:{address.port} cannot be reached: {why}"
