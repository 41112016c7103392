"""A tee: relay a connection between two other systems, and listen to its bytes.

    analyzer  <->  us  <->  middleware

Every byte is relayed unchanged and at once, in both directions, and we add none. The two ends are treated as one
connection. Where one end stops writing (FIN), so does the other, which may go on sending. Where one end breaks (RST),
the other is broken. Where the far end cannot be reached, the near one is broken, too, as it would have been refused
without us. An end that does not read slows the other down after some 256 KiB, as a socket's buffer would.

Bytes are put into a queue for the listener before they are relayed, so that a message is always before its answer
there. The listener can never delay a byte: if it fails, hangs or is too slow, only listening suffers. The queue is
bounded; beyond the bound bytes pass without being queued, and the listener is informed.

A tee with a serial line at one end, or at both.

    analyzer  --cable--  us  --cable--  middleware
    analyzer  --cable--  us  <- TCP ->  middleware

A cable knows no connections: bytes sent while the other end is absent are lost, as at a cable that is plugged in on one
side only, and the listener does not get them. A TCP end is connected for as long as the cable's end is open. It is cut
when the cable is pulled. When the TCP end goes, the cable stays open and the next connection takes its place. Otherwise
as `tee`; a port is read in steps of 5 to 25 ms (`serial_device`).

The two ends of a tee, and what passes between them, put into a queue for its listener.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from tenacity import RetryCallState

from adapters.codecs.rfc2217 import LineSettings
from adapters.transports.serial import LineStream, SerialLine
from adapters.transports.serial_lines.serial_device import open_device
from adapters.transports.sockets.tcp_stream import TcpStream, connect
from adapters.transports.tcp import HostPort, TcpListener
from adapters.transports.waiting import finish, wake
from engine.model.link_events import Direction
from engine.model.ports import StreamHandler, Transport
from engine.model.process import back_off

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


PassingStream = LineStream | TcpStream


class SerialTee:
    """One cable between two others (`engine.model.ports.Transport`): there is at most one line at a time."""

    def __init__(self, ends: Mapping[Direction, End], handler: StreamHandler) -> None:
        self._ends = ends
        self._handler = handler
        self._streams: dict[Direction, PassingStream] = {}
        self._hearing: Hearing | None = None
        self._listeners: set[asyncio.Task[None]] = set()
        self._unreachable = ""
        self._stopping = False
        self._transports = [made for way, end in ends.items() if (made := self._open(way, end)) is not None]

    def _open(self, way: Direction, end: End) -> Transport | None:
        if end.device is not None:
            return SerialLine(end.device, partial(open_device, end.device, end), partial(self._cable, way))
        if end.listen is not None:
            return TcpListener(end.listen.host, end.listen.port, partial(self._tcp, way))
        return None  # is connected to while the cable is open

    @property
    def fault(self) -> str:
        faults = [transport.fault for transport in self._transports]
        return "; ".join(fault for fault in [*faults, self._unreachable] if fault)

    async def start(self) -> int:
        port = 0
        for at, transport in enumerate(self._transports):
            try:
                port = max(port, await transport.start())
            except BaseException:
                await asyncio.gather(*(begun.stop(0.0) for begun in self._transports[:at]))
                raise
        return port

    async def stop(self, grace_s: float = 3.0) -> None:
        self._stopping = True
        for way in list(self._streams):
            self._streams[way].end()
        await asyncio.gather(*(transport.stop(grace_s) for transport in self._transports))
        if self._hearing is not None:
            self._hearing.end()
        await finish(self._listeners, grace_s)

    # -- ends that come and go ---------------------------------------------------------------------------------

    async def _cable(self, way: Direction, stream: LineStream) -> None:
        far = self._ends[way.other].connect
        reaching = asyncio.get_running_loop().create_task(self._keep_reaching(way.other, far)) if far else None
        try:
            await self._pass_on(way, stream)
        finally:
            if reaching is not None:
                reaching.cancel()
                await asyncio.gather(reaching, return_exceptions=True)

    async def _tcp(self, way: Direction, stream: TcpStream) -> None:
        if way in self._streams or way.other not in self._streams:
            reason = "the line has a connection already" if way in self._streams else "the cable's end is not open"
            logger.warning("a connection to a tee was refused", extra={"peer": stream.peer, "detail": reason})
            stream.reset()
            return
        stream.bear_with_slow_readers()
        try:
            await self._pass_on(way, stream)
        except OSError:
            stream.reset()
        finally:
            await stream.close()

    async def _keep_reaching(self, way: Direction, far: HostPort) -> None:
        note = partial(self._note_unreachable, way, far)
        while not self._stopping:
            stream: TcpStream = await back_off.trying(back_off.UNREACHABLE, before_sleep=note)(reach, far)
            self._unreachable = ""
            await self._tcp(way, stream)
            await asyncio.sleep(back_off.FIRST_S)

    def _note_unreachable(self, way: Direction, far: HostPort, state: RetryCallState) -> None:
        text = unreachable(way, far, back_off.error_of(state))
        if text != self._unreachable:  # the state changed; the same again is not worth a line
            logger.warning("the far end of a tee cannot be reached, will keep trying", extra={"detail": text})
        self._unreachable = text

    # -- what passes -------------------------------------------------------------------------------------------

    async def _pass_on(self, way: Direction, stream: PassingStream) -> None:
        """Pass on what comes from ``stream`` until it ends."""
        self._streams[way] = stream
        self._meet()
        try:
            while data := await stream.read():
                sink = self._streams.get(way.other)
                if sink is None:
                    continue
                if self._hearing is not None:
                    self._hearing.passed(way, data)
                try:
                    await sink.write(data)
                except OSError:  # its own reader sees that, too, and ends the line
                    logger.debug("a teed line broke while writing", extra={"peer": stream.peer})
        finally:
            del self._streams[way]
            self._part(way.other)

    def _meet(self) -> None:
        """Both ends are there: begin to listen."""
        if len(self._streams) < len(Direction):
            return
        self._hearing = Hearing(self._streams[Direction.ANALYZER].peer)
        task = asyncio.get_running_loop().create_task(listen(self._hearing, self._handler))
        self._listeners.add(task)
        task.add_done_callback(self._listeners.discard)

    def _part(self, left: Direction) -> None:
        """One end is gone. A cable stays, a connection goes with it."""
        if self._hearing is not None:
            self._hearing.end()
            self._hearing = None
        stream = self._streams.get(left)
        if isinstance(stream, TcpStream):
            stream.reset()


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
