"""One TCP connection as a stream that a channel reads and answers.

An `asyncio.Protocol` instead of asyncio streams: one copy less per read and no task switch of its own (about 3 us of
30 a message). Keep-alive and ``TCP_USER_TIMEOUT`` are
always on, so that a peer that vanished without a FIN, or that never reads what it is sent, frees its place within 90 s.
"""

import asyncio
import contextlib
import fcntl
import logging
import socket
import ssl
import struct
import termios
from array import array
from collections.abc import Mapping
from typing import Any, cast

from adapters.transports.waiting import expire, wake

logger = logging.getLogger("labrelay.channel")

READ_HIGH_WATER = 64 * 1024  # bytes that wait for the reader before the peer is slowed down
KEEP_ALIVE_IDLE_S = 30
KEEP_ALIVE_INTERVAL_S = 10
KEEP_ALIVE_COUNT = 4
USER_TIMEOUT_MS = 60_000
CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
_TCP_CLOSE = 7  # state of a connection that was reset (linux/tcp_states.h)


class TcpStream(asyncio.Protocol):
    """One connection as a `engine.model.ports.Stream`. Made by the event loop; used by one reader."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport  # from `connection_made` on, so for all who get to see a stream
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._reading_paused = False
        self._eof = False
        self._ended = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._due: float | None = None  # when the read that waits times out
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._writer: asyncio.Future[None] | None = None
        self._writing_paused = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self.peer = ""

    # -- Stream ------------------------------------------------------------------------------------------------

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - asyncio.timeout costs 5 us a read
        if not self._chunks and not self._eof:
            self._reader = waiter = self._loop.create_future()
            self._due = None if timeout is None else self._loop.time() + max(timeout, 0.0)
            if self._due is not None and (self._timer is None or self._timer_at > self._due):
                self._set_timer(self._due)
            try:
                await waiter
            finally:
                self._reader = None
        if self._chunks:
            data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks.clear()
            self._buffered = 0
            if self._reading_paused and not self._ended and not self._transport.is_closing():
                self._reading_paused = False
                self._transport.resume_reading()
            return data
        if self._error is not None:
            raise OSError(f"connection lost: {type(self._error).__name__}") from self._error
        return b""

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._time_out)

    def _time_out(self) -> None:
        """One timer serves many reads: a later read only notes when it is due, and nearly none ever is."""
        self._timer = None
        if self._reader is None or self._due is None:
            return
        if self._loop.time() < self._due:
            self._set_timer(self._due)
        else:
            expire(self._reader)

    async def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._transport.write(data)
        if self._writing_paused and not self._ended:
            self._writer = self._loop.create_future()
            await self._writer

    # -- of TCP ------------------------------------------------------------------------------------------------

    @property
    def gone(self) -> bool:
        """Whether the other side has ended its half of the connection, or all of it: it may hear no answer any more."""
        return self._eof

    async def took(self) -> bool:
        """Whether the other side has taken what was written: a peer that has closed answers it with a reset."""
        sock = self._transport.get_extra_info("socket")
        until = self._loop.time() + CLOSE_TIMEOUT_S
        pause = 0.001
        while not self._transport.is_closing() and sock is not None:
            unsent = self._transport.get_write_buffer_size() or _not_taken(sock)
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE:
                return False
            if not unsent or self._loop.time() >= until:
                return not unsent
            await asyncio.sleep(pause)
            pause *= 2
        return False

    async def close(self) -> None:
        """Close, letting what was written go out; a peer that does not read gets a second for it."""
        if self._closed.done():
            return
        self._transport.close()
        try:
            done, _ = await asyncio.wait({self._closed}, timeout=CLOSE_TIMEOUT_S)
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        if not done:
            self._transport.abort()

    def rouse(self) -> None:
        """End the read that waits now with `TimeoutError`, from outside its task."""
        if self._reader is not None:
            expire(self._reader)

    def end(self) -> None:
        """Make the reader see the end of the stream now, from outside its task.

        Bytes received so far are still read, later ones are not. A writer that waits for a peer that does not read
        continues; `close` gives its bytes a last second.
        """
        self._eof = self._ended = True
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()
        wake(self._reader)
        wake(self._writer)

    def abort(self) -> None:
        """Close at once, also where not all was written."""
        self._transport.abort()

    def end_writing(self) -> None:
        """Send FIN: nothing more will be written. Bytes that the peer still sends are read."""
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def reset(self) -> None:
        """Close at once, so that the peer sees that the connection broke (RST), not that it ended."""
        if self._closed.done():
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def bear_with_slow_readers(self) -> None:
        """Wait for as long as the peer does not read, as the two ends of a connection would without us."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)

    @property
    def transport(self) -> asyncio.Transport:
        """For a protocol above this one, which writes by it and may close it."""
        return self._transport

    async def lost(self) -> None:
        """Wait until the connection is gone in both directions."""
        await asyncio.shield(self._closed)

    @property
    def own(self) -> str:
        """Our address of the connection, for people."""
        return _written(self._transport.get_extra_info("sockname"))

    @property
    def certificate(self) -> Mapping[str, Any]:
        """The peer's, where TLS has verified one (`ssl.SSLSocket.getpeercert`)."""
        return self._transport.get_extra_info("peercert") or {}

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods, not by its class
        self.peer = _written(transport.get_extra_info("peername"))
        sock = transport.get_extra_info("socket")
        if sock is not None:
            _keep_alive(sock)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > READ_HIGH_WATER and not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()
        wake(self._reader)

    def eof_received(self) -> bool:
        self._eof = True
        wake(self._reader)
        # Half-open: messages received before the FIN are still answered. TLS cannot do that.
        return self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = True
        self._error = exc
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake(self._reader)
        if self._writer is not None and not self._writer.done():
            self._writer.set_exception(ConnectionResetError("the connection was lost while writing"))
            self._writer = None
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        wake(self._writer)
        self._writer = None


async def connect(host: str, port: int, tls: ssl.SSLContext | None = None) -> TcpStream:
    """Connect to a peer.

    Raises:
        OSError, TimeoutError: no peer is there, or its certificate is none that ``tls`` trusts.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, stream = await asyncio.get_running_loop().create_connection(TcpStream, host, port, ssl=tls)
    except ssl.SSLError:  # a certificate that is not trusted is a ValueError, too
        raise
    except ValueError as error:  # an empty label, or one that is too long
        raise socket.gaierror(socket.EAI_NONAME, "this can be no host's name") from error
    return stream


def _not_taken(sock: socket.socket) -> int:
    """Bytes that were written and not acknowledged by the other side's system (tcp(7), SIOCOUTQ)."""
    size = array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, size)
    return size[0]


def _keep_alive(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_ALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEP_ALIVE_COUNT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        logger.debug("keep-alive options refused by the system")


def _written(address: object) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
