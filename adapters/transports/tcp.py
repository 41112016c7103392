"""TCP: listening for analyzers, or connecting to those that listen themselves; TLS and mTLS for both.

An `asyncio.Protocol` instead of asyncio streams: one copy less per read and no task switch of its own (about 3 us of
30 a message). Keep-alive and ``TCP_USER_TIMEOUT`` are always on, so that a peer that vanished without a FIN, or that
never reads what it is sent, frees its place within 90 s.
"""

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, cast

import tenacity

logger = logging.getLogger("labrelay." + __name__)

READ_HIGH_WATER = 256 * 1024  # bytes that wait for the reader before the peer is slowed down
KEEP_ALIVE_IDLE_S = 30
KEEP_ALIVE_INTERVAL_S = 10
KEEP_ALIVE_COUNT = 4
USER_TIMEOUT_MS = 60_000
RECONNECT_FIRST_S = 1.0
RECONNECT_MAX_S = 30.0
CONNECT_TIMEOUT_S = 10.0
HANDSHAKE_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
# Connections leave this many of the process's files (or half of them, if there are few) to the journal and to
# destinations, which must go on working however many peers connect.
RESERVED_FILES = 64


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

    def leaves_files(self) -> bool:
        """Whether the process has files to spare beside this connection; a new file gets the lowest free number."""
        sock = self._transport.get_extra_info("socket")
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if sock is None or limit == resource.RLIM_INFINITY:
            return True
        return bool(sock.fileno() < limit - min(RESERVED_FILES, limit // 2))

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Paths of PEM files. ``ca``: who may be at the other end; a listener then demands a client certificate."""

    cert: str | None = None
    key: str | None = None
    ca: str | None = None

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        if self.ca:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        return context


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


class Settings(Protocol):
    """What a channel's ``source:`` says about the transport: exactly one of ``listen`` and ``connect``."""

    @property
    def listen(self) -> HostPort | None: ...
    @property
    def connect(self) -> HostPort | None: ...
    @property
    def tls(self) -> ServerTls | None: ...


def build(source: Settings, handler: Handler) -> "TcpListener | TcpConnector":
    """The transport of one channel."""
    tls = None
    if source.tls is not None:
        ca = source.tls.client_ca
        tls = TlsFiles(cert=str(source.tls.cert), key=str(source.tls.key), ca=str(ca) if ca is not None else None)
    if source.listen is not None:
        return TcpListener(source.listen.host, source.listen.port, handler, tls=tls)
    assert source.connect is not None
    return TcpConnector(source.connect.host, source.connect.port, handler, tls=tls)


class TcpListener:
    """Accept connections on one address; ``handler`` runs once per connection, in a task of its own."""

    def __init__(self, host: str, port: int, handler: Handler, *, tls: TlsFiles | None = None) -> None:
        self._host = host
        self._port = port
        self._handler = handler
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._open: dict[TcpStream, asyncio.Task[None]] = {}
        self.fault = ""
        self.refused = 0  # connections turned away because files were running out

    async def start(self) -> int:
        """Begin to listen and return the port (another one than asked for only where 0 was asked for).

        Raises:
            OSError: the address is in use or not ours.
        """
        loop = asyncio.get_running_loop()
        context = self._tls.server_context() if self._tls else None
        handshake = HANDSHAKE_TIMEOUT_S if context else None
        self._server = await loop.create_server(
            lambda: TcpStream(self._run),
            self._host,
            self._port,
            ssl=context,
            ssl_handshake_timeout=handshake,
            backlog=128,
            reuse_address=True,
        )
        return int(self._server.sockets[0].getsockname()[1])

    def _run(self, stream: TcpStream) -> None:
        if self._stopping:  # accepted just before
            stream.abort()
            return
        if not stream.leaves_files():
            self.refused += 1
            logger.error("too many open files, connection refused", extra={"peer": stream.peer})
            stream.abort()
            return
        task = asyncio.get_running_loop().create_task(self._guarded(stream))
        self._open[stream] = task
        task.add_done_callback(lambda _: self._open.pop(stream, None))

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
        if self._server is not None:
            self._server.close()
        for stream in list(self._open):
            stream.end()
        await _finish(list(self._open.values()), grace_s)


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


def _no_password() -> str:
    """Without this OpenSSL would ask on the terminal, and wait, where a key is encrypted."""
    return ""


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


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
