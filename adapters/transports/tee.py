"""A tee: relay a connection between two other systems, and listen to its bytes.

    analyzer  <->  us  <->  middleware

Every byte is relayed unchanged and at once, in both directions, and we add none. The two ends are treated as one
connection. Where one end stops writing (FIN), so does the other, which may go on sending. Where one end breaks (RST),
the other is broken. Where the far end cannot be reached, the near one is broken, too, as it would have been refused
without us. An end that does not read slows the other down after some 256 KiB, as a socket's buffer would.

Bytes are put into a queue for the listener before they are relayed, so that a message is always before its answer
there. The listener can never delay a byte: if it fails, hangs or is too slow, only listening suffers. The queue is
bounded; beyond the bound bytes pass without being queued, and the listener is informed.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from adapters.transports.sockets.tcp_stream import TcpStream
from adapters.transports.tcp import HostPort, TcpListener
from adapters.transports.tee_ends import End, Hearing, listen, reach, unreachable
from adapters.transports.tee_serial import SerialTee
from engine.model.link_events import Direction
from engine.model.ports import StreamHandler, Transport

logger = logging.getLogger("labrelay.channel")


class Ends(Protocol):
    @property
    def ends(self) -> tuple[End, End]:
        """The analyzer's and the middleware's."""


class Settings(Protocol):
    """The settings of a channel's ``source:`` for the tee."""

    tee: Ends
    max_connections: int


def build(source: Settings, handler: StreamHandler) -> Transport:
    """The transport of one channel."""
    analyzer, middleware = source.tee.ends
    if analyzer.device is not None or middleware.device is not None:
        return SerialTee({Direction.ANALYZER: analyzer, Direction.MIDDLEWARE: middleware}, handler)
    if analyzer.listen is not None:
        assert middleware.connect is not None
        return TcpTee(analyzer.listen, middleware.connect, Direction.ANALYZER, handler, source.max_connections)
    assert middleware.listen is not None
    assert analyzer.connect is not None
    return TcpTee(middleware.listen, analyzer.connect, Direction.MIDDLEWARE, handler, source.max_connections)


class Line:
    """Two streams that are one connection."""

    def __init__(self, streams: dict[Direction, TcpStream], handler: StreamHandler) -> None:
        self.hearing = Hearing(streams[Direction.ANALYZER].peer)
        self._streams = streams
        self._handler = handler

    async def carry(self, over: Callable[[], None]) -> None:
        """Pass bytes until both sides have ended, or one has broken; then call ``over`` and let the listener finish."""
        loop = asyncio.get_running_loop()
        listener = loop.create_task(listen(self.hearing, self._handler))
        pumps = {loop.create_task(self._pump(way)) for way in Direction}
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
            if all(pump.exception() is None for pump in done):
                await asyncio.gather(*(stream.close() for stream in self._streams.values()))
            else:
                self.break_off()
            self.hearing.end()
            over()
            await asyncio.wait({listener})
        finally:
            self.break_off()
            over()
            for task in (*pumps, listener):
                task.cancel()
            await asyncio.gather(*pumps, listener, return_exceptions=True)

    def end(self) -> None:
        """Stop passing bytes: both sides see the end of the connection."""
        for stream in self._streams.values():
            stream.end()

    def break_off(self) -> None:
        for stream in self._streams.values():
            stream.reset()

    async def _pump(self, way: Direction) -> None:
        source, sink = self._streams[way], self._streams[way.other]
        while data := await source.read():
            self.hearing.passed(way, data)
            await sink.write(data)
        sink.end_writing()


class TcpTee:
    """One end listens, and for each connection there one is made to the other end."""

    def __init__(
        self, listen: HostPort, connect: HostPort, accepts: Direction, handler: StreamHandler, max_connections: int
    ) -> None:
        """``accepts``: who connects to us."""
        self._connect = connect
        self._accepts = accepts
        self._handler = handler
        self._max_connections = max_connections
        self._listener = TcpListener(listen.host, listen.port, self._accepted)
        self._lines: set[Line] = set()
        self._coming = 0
        self._stopping = False
        self.refused = 0  # connections beyond the limit
        self._unreachable = ""

    @property
    def fault(self) -> str:
        return self._unreachable

    async def start(self) -> int:
        return await self._listener.start()

    async def stop(self, grace_s: float = 3.0) -> None:
        self._stopping = True
        for line in self._lines:
            line.end()
        await self._listener.stop(grace_s)

    async def _accepted(self, stream: TcpStream) -> None:
        if len(self._lines) + self._coming >= self._max_connections:
            self.refused += 1
            logger.error("too many connections through the tee, one was refused", extra={"peer": stream.peer})
            stream.reset()
            return
        self._coming += 1
        try:
            far = await reach(self._connect)
        except (OSError, TimeoutError) as error:
            self._note_unreachable(error)
            stream.reset()
            return
        finally:
            self._coming -= 1
        self._unreachable = ""
        line = Line({self._accepts: stream, self._accepts.other: far}, self._handler)
        stream.bear_with_slow_readers()
        self._lines.add(line)
        if self._stopping:
            line.end()
        await line.carry(lambda: self._lines.discard(line))

    def _note_unreachable(self, error: Exception) -> None:
        text = unreachable(self._accepts.other, self._connect, error)
        if text != self._unreachable:  # the state changed; the same again is not worth a line
            logger.warning(
                "the far end of a tee cannot be reached, so the near one is cut off",
                extra={"peer": f"{self._connect.host}:{self._connect.port}", "detail": text},
            )
        self._unreachable = text
