"""TCP: listening for analyzers, with TLS or mTLS, or connecting to those that listen themselves."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from tenacity import RetryCallState

from adapters.transports.sockets.accepting import Acceptor, Admission, Gate, leaves_files, peer_of, serve
from adapters.transports.sockets.tcp_stream import TcpStream, connect
from adapters.transports.sockets.tls import CertificateFiles, TrustFiles, client_context, names_of, server_context
from adapters.transports.waiting import finish
from engine.model.link_events import LinkFault
from engine.model.process import back_off

logger = logging.getLogger("labrelay.channel")

Handler = Callable[[TcpStream], Awaitable[None]]
TurnedAway = Callable[[LinkFault, str], None]  # why, and which peer


class HostPort(Protocol):
    host: str
    port: int


class ServerTls(CertificateFiles, Protocol):
    client_names: Sequence[str]


class Settings(Protocol):
    """The settings of a channel's ``source:`` for the transport: exactly one of ``listen`` and ``connect``."""

    listen: HostPort | None
    connect: HostPort | None
    allow: Sequence[str]
    tls: ServerTls | None


def build(source: Settings, handler: Handler, turned_away: TurnedAway | None = None) -> "TcpListener | TcpConnector":
    """The transport of one channel; ``turned_away`` hears of each connection that never becomes a stream."""
    if source.listen is not None:
        return listener(source.listen, handler, source.allow, source.tls, turned_away)
    assert source.connect is not None
    return TcpConnector(source.connect.host, source.connect.port, handler)


def connector(address: HostPort, handler: Handler, tls: TrustFiles | None) -> "TcpConnector":
    """A connection of ours beside those of a channel's ``source:``."""
    return TcpConnector(address.host, address.port, handler, tls)


def listener(
    listen: HostPort, handler: Handler, allow: Sequence[str], tls: ServerTls | None, turned_away: TurnedAway | None
) -> "TcpListener":
    """A listener with the conditions of a channel's ``source:``."""
    names = () if tls is None else tls.client_names
    admission = Admission(allow=tuple(allow), names=frozenset(name.lower() for name in names))
    return TcpListener(listen.host, listen.port, handler, tls=tls, admission=admission, turned_away=turned_away)


class TcpListener:
    """Accept connections on one address; ``handler`` runs once per connection, in a task of its own.

    A connection counts from its accept, before its TLS handshake (`accepting`).
    """

    def __init__(
        self,
        host: str,
        port: int,
        handler: Handler,
        *,
        tls: CertificateFiles | None = None,
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
        self._context = server_context(self._tls) if self._tls is not None else None
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
            serve(connection, partial(self._serve, connection, host, peer), self._coming)

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
        loop, stream = asyncio.get_running_loop(), TcpStream()
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
                lambda: stream, connection, ssl=self._context, ssl_handshake_timeout=self._admission.handshake_timeout_s
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
        await finish([*self._coming, *self._open.values()], grace_s)


class TcpConnector:
    """Keep one connection to an analyzer that is the server; connect again, with back-off, without limit."""

    def __init__(self, host: str, port: int, handler: Handler, tls: TrustFiles | None = None) -> None:
        self._host = host
        self._port = port
        self._handler = handler
        self._tls = tls
        self._stream: TcpStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.fault = ""
        self.attempts = 0

    async def start(self) -> int:
        """Begin to connect, and return the port; does not wait for the peer."""
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
            if not self._stopping and loop.time() - began < back_off.FIRST_S:
                await asyncio.sleep(back_off.FIRST_S)

    async def _connect(self) -> TcpStream:
        async for attempt in back_off.trying(back_off.UNREACHABLE, before_sleep=self._say_waiting):
            with attempt:
                # The files are read each time: one that is not there yet costs no more than this attempt.
                tls = None if self._tls is None else client_context(self._tls)
                self._stream = await connect(self._host, self._port, tls)
                self.attempts = 0
        assert self._stream is not None
        return self._stream

    def _say_waiting(self, state: RetryCallState) -> None:
        self.attempts = state.attempt_number
        if state.attempt_number == 1:  # the state changed; repeats are counted, not logged
            error = state.outcome.exception() if state.outcome is not None else None
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
            logger.warning(
                "cannot connect, will keep trying", extra={"peer": f"{self._host}:{self._port}", "detail": str(why)}
            )

    async def stop(self, grace_s: float = 3.0) -> None:
        self._stopping = True
        if self._stream is not None:
            self._stream.end()
        elif self._task is not None:
            self._task.cancel()
        if self._task is not None:
            await finish([self._task], grace_s)
