"""TCP: listening for analyzers, or connecting to those that listen themselves; TLS and mTLS for both.

An `asyncio.Protocol` instead of asyncio streams: one copy less per read and no task switch of its own (about 3 us of
30 a message). Keep-alive and ``TCP_USER_TIMEOUT`` are always on, so that a peer that vanished without a FIN, or that
never reads what it is sent, frees its place within 90 s.
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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import tenacity

from adapters.transports.accepting import Acceptor, leaves_files, peer_of
from adapters.transports.gate import Admission, Gate
from adapters.transports.tls import TlsFiles, names_of
from engine.link_events import LinkFault

logger = logging.getLogger("labrelay." + __name__)

READ_HIGH_WATER = 256 * 1024  # bytes that wait for the reader before the peer is slowed down
KEEP_ALIVE_IDLE_S = 30
KEEP_ALIVE_INTERVAL_S = 10
KEEP_ALIVE_COUNT = 4
USER_TIMEOUT_MS = 60_000
RECONNECT_FIRST_S = 1.0
RECONNECT_MAX_S = 30.0
CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
_TCP_CLOSE = 7  # state of a connection that was reset (linux/tcp_states.h)


class TcpStream(asyncio.Protocol):
    """One connection as a `engine.ports.Stream`. Made by the event loop; used by one reader."""

    def __init__(self, opened: Callable[["TcpStream"], None]) -> None:
        self._opened = opened
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
            _expire(self._reader)

    async def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._transport.write(data)
        if self._writing_paused and not self._ended:
            self._writer = self._loop.create_future()
            await self._writer

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

    def end(self) -> None:
        """Make the reader see the end of the stream now, from outside its task.

        What has come is still read, what comes from now on is not. A writer that waits for a peer that does not read
        goes on; `close` gives what it wrote a last second.
        """
        self._eof = self._ended = True
        if not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()
        _wake(self._reader)
        _wake(self._writer)

    def abort(self) -> None:
        """Close at once, whatever was written."""
        self._transport.abort()

    def end_writing(self) -> None:
        """Say that nothing more will be written (FIN); what the peer still sends is read."""
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
    def certificate(self) -> Mapping[str, Any]:
        """The peer's, where TLS has verified one (`ssl.SSLSocket.getpeercert`)."""
        return self._transport.get_extra_info("peercert") or {}

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods, not by its class
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            _keep_alive(sock)
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > READ_HIGH_WATER and not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        self._eof = True
        _wake(self._reader)
        # Half-open: what was received before the FIN is still answered. TLS cannot do that.
        return self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = True
        self._error = exc
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        _wake(self._reader)
        if self._writer is not None and not self._writer.done():
            self._writer.set_exception(ConnectionResetError("the connection was lost while writing"))
            self._writer = None
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        _wake(self._writer)
        self._writer = None


Handler = Callable[[TcpStream], Awaitable[None]]
TurnedAway = Callable[[LinkFault, str], None]  # why, and which peer


class HostPort(Protocol):
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


class ServerTls(Protocol):
    @property
    def cert(self) -> object: ...
    @property
    def key(self) -> object: ...
    @property
    def client_ca(self) -> object | None: ...
    @property
    def client_names(self) -> Sequence[str]: ...
    @property
    def handshakes(self) -> int: ...
    @property
    def handshakes_per_peer(self) -> int: ...
    @property
    def handshake_timeout(self) -> float: ...


class Settings(Protocol):
    """What a channel's ``source:`` says about the transport: exactly one of ``listen`` and ``connect``."""

    @property
    def listen(self) -> HostPort | None: ...
    @property
    def connect(self) -> HostPort | None: ...
    @property
    def allow(self) -> Sequence[str]: ...
    @property
    def tls(self) -> ServerTls | None: ...


def build(source: Settings, handler: Handler, turned_away: TurnedAway | None = None) -> "TcpListener | TcpConnector":
    """The transport of one channel; ``turned_away`` hears of each connection that never becomes a stream."""
    tls = None
    admission = Admission(allow=tuple(source.allow))
    if source.tls is not None:
        ca = source.tls.client_ca
        tls = TlsFiles(cert=str(source.tls.cert), key=str(source.tls.key), ca=str(ca) if ca is not None else None)
        admission = Admission(
            allow=tuple(source.allow),
            names=frozenset(name.lower() for name in source.tls.client_names),
            handshakes=source.tls.handshakes,
            handshakes_per_peer=source.tls.handshakes_per_peer,
            handshake_timeout_s=source.tls.handshake_timeout,
        )
    if source.listen is not None:
        listen = source.listen
        return TcpListener(listen.host, listen.port, handler, tls=tls, admission=admission, turned_away=turned_away)
    assert source.connect is not None
    return TcpConnector(source.connect.host, source.connect.port, handler, tls=tls)


class TcpListener:
    """Accept connections on one address; ``handler`` runs once per connection, in a task of its own.

    A connection counts from its accept, before its TLS handshake (`gate`).
    """

    def __init__(
        self,
        host: str,
        port: int,
        handler: Handler,
        *,
        tls: TlsFiles | None = None,
        admission: Admission | None = None,
        turned_away: TurnedAway | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._handler = handler
        self._tls = tls
        self._admission = admission or Admission()
        self._gate = Gate(self._admission)
        self._turned_away = turned_away or (lambda fault, peer: None)
        self._context: ssl.SSLContext | None = None
        self._acceptor: Acceptor | None = None
        self._stopping = False
        self._coming: set[asyncio.Task[None]] = set()  # amid their handshake
        self._open: dict[TcpStream, asyncio.Task[None]] = {}
        self.fault = ""
        self.refused = 0  # connections turned away because files were running out

    async def start(self) -> int:
        """Begin to listen and return the port (another one than asked for only where 0 was asked for).

        Raises:
            OSError: the address is in use or not ours.
        """
        self._context = self._tls.server_context() if self._tls else None
        self._acceptor = Acceptor(self._host, self._port, self._accepted)
        return await self._acceptor.start()

    def _accepted(self, connection: socket.socket) -> None:
        host, peer = peer_of(connection)
        if not self._gate.lets_in(host):
            self._turned_away(LinkFault("not-allowed"), peer)
            connection.close()
        elif not leaves_files(connection):
            self.refused += 1
            logger.error("too many open files, connection refused", extra={"peer": peer})
            connection.close()
        else:
            task = asyncio.get_running_loop().create_task(self._serve(connection, host, peer))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _serve(self, connection: socket.socket, host: str, peer: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        stream = await self._stream_on(connection, host, peer, task)
        if stream is None:
            return
        self._coming.discard(task)
        self._open[stream] = task
        task.add_done_callback(lambda _: self._open.pop(stream, None))
        if self._stopping:
            stream.abort()
        elif not self._gate.knows(names_of(stream.certificate)):
            self._turned_away(LinkFault("client-name", "its certificate has none of client_names"), peer)
            stream.abort()
        else:
            await self._guarded(stream)

    async def _stream_on(
        self, connection: socket.socket, host: str, peer: str, task: "asyncio.Task[None]"
    ) -> TcpStream | None:
        """A stream once its handshake is over, if there is one; None where that failed, or gave way to another."""
        loop, stream = asyncio.get_running_loop(), TcpStream(lambda _: None)
        number = 0
        try:
            if self._context is None:
                await loop.connect_accepted_socket(lambda: stream, connection)
                return stream
            number, crowded = self._gate.begin(host, task.cancel)
            if crowded:
                self._turned_away(LinkFault("handshakes", f"{self._gate.under_way} under way"), peer)
            # The second value is no protocol of ours with uvloop.
            await loop.connect_accepted_socket(
                lambda: stream,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._admission.handshake_timeout_s,
            )
        except OSError as error:  # ssl.SSLError and TimeoutError are such
            logger.debug("TLS handshake failed", extra={"peer": peer, "cause": type(error).__name__})
            return None
        finally:
            self._gate.over(number)
        return stream

    async def _guarded(self, stream: TcpStream) -> None:
        # A fault of ours in one handler costs that connection, never the listener.
        try:
            await self._handler(stream)
        except Exception:
            logger.exception("connection handler failed", extra={"peer": stream.peer})
        finally:
            await stream.close()

    async def stop(self, grace_s: float = 3.0) -> None:
        """Stop listening, let each handler finish what it has, close the rest after ``grace_s``."""
        self._stopping = True
        if self._acceptor is not None:
            self._acceptor.close()
        for task in self._coming:
            task.cancel()
        for stream in list(self._open):
            stream.end()
        await _finish([*self._coming, *self._open.values()], grace_s)


class TcpConnector:
    """Keep one connection to an analyzer that is the server; connect again, with back-off, for ever."""

    def __init__(self, host: str, port: int, handler: Handler, *, tls: TlsFiles | None = None) -> None:
        self._host = host
        self._port = port
        self._handler = handler
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._stream: TcpStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.fault = ""
        self.attempts = 0

    async def start(self) -> int:
        """Begin to connect, and return the port; does not wait for the peer.

        Raises:
            OSError: a certificate cannot be read.
        """
        self._context = self._tls.client_context() if self._tls else None
        self._task = asyncio.get_running_loop().create_task(self._keep_connected())
        return self._port

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            stream: TcpStream | None = None
            # A fault of ours in one connection costs that one; the next is tried as ever.
            try:
                stream = await self._connect()
                began = loop.time()
                await self._handler(stream)
            except Exception:
                logger.exception("connection handler failed", extra={"peer": f"{self._host}:{self._port}"})
            finally:
                self._stream = None
                if stream is not None:
                    await stream.close()
            # A peer that accepts and hangs up at once must not make us spin.
            if not self._stopping and loop.time() - began < RECONNECT_FIRST_S:
                await asyncio.sleep(RECONNECT_FIRST_S)

    async def _connect(self) -> TcpStream:
        loop = asyncio.get_running_loop()
        async for attempt in tenacity.AsyncRetrying(
            wait=tenacity.wait_random_exponential(multiplier=RECONNECT_FIRST_S, max=RECONNECT_MAX_S),
            retry=tenacity.retry_if_exception_type((OSError, TimeoutError)),
            before_sleep=self._say_waiting,
        ):
            with attempt:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    _, stream = await loop.create_connection(
                        lambda: TcpStream(lambda _: None), self._host, self._port, ssl=self._context
                    )
                self._stream = stream
                self.attempts = 0
        assert self._stream is not None
        return self._stream

    def _say_waiting(self, state: tenacity.RetryCallState) -> None:
        self.attempts = state.attempt_number
        if state.attempt_number == 1:  # the state changed; repeats are counted, not logged
            logger.warning("cannot connect, will keep trying", extra={"peer": f"{self._host}:{self._port}"})

    async def stop(self, grace_s: float = 3.0) -> None:
        self._stopping = True
        if self._stream is not None:
            self._stream.end()
        elif self._task is not None:
            self._task.cancel()
        if self._task is not None:
            await _finish([self._task], grace_s)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _not_taken(sock: socket.socket) -> int:
    """Bytes that were written and not acknowledged by the other side's system (tcp(7), SIOCOUTQ)."""
    size = array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, size)
    return size[0]


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def _finish(tasks: list[asyncio.Task[None]], grace_s: float) -> None:
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=grace_s)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=1.0)


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
