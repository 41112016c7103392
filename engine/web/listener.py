"""The page's listener: which machines may connect, over TLS where the site has it, and how many at once.

A connection counts from its accept. One from an address that may not connect ends before a byte is read; TLS handshakes
have the limits of `adapters.transports.sockets.accepting`; beyond the limit of connections the one that has been
without a request for longest makes room, so that slow or idle ones block no other. Where one address holds most of the
places, one of its connections makes room for another address at once.

The certificate of the page: read anew when its files change, and the names that it is good for.
"""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from aiohttp import hdrs, web

from engine.config import registry
from engine.config.tls import ServerTls
from engine.model.texts.units import HostPort
from engine.web.guard import HEADERS, MESSAGES
from engine.web.identity import is_loopback

logger = logging.getLogger("labrelay.web")

FILES_LEFT = 0.5  # the part of the process's reserve of files that the page leaves


class Door(Protocol):
    """Who may connect: ``web:`` of the site, or another listener of aiohttp's servers."""

    @property
    def tls(self) -> ServerTls | None: ...
    @property
    def allow(self) -> Sequence[str]: ...


class Listener:
    """Accepts the connections of one server of aiohttp.

    Args:
        most: connections at once.
        patience_s: a connection without a request for so long may lose its place to a new one.

    Attributes:
        followers: connections with live updates, which rightly send no further request; with the log-in they are of.
        refused: how many connections came from addresses that may not connect.
    """

    def __init__(self, config: Door, *, most: int, patience_s: float) -> None:
        self._tls = config.tls
        self._most = most
        self._patience_s = patience_s
        self.certificate = Certificate(config.tls) if config.tls is not None else None
        self._accepting = registry.load(registry.SOCKETS, "accepting")
        self._gate = _gate(config)
        self._server: web.Server | None = None
        self._acceptors: dict[HostPort, Any] = {}
        self._coming: set[asyncio.Task[None]] = set()  # amid their handshake
        self._heard: dict[asyncio.BaseProtocol, float] = {}  # when it was opened, or sent its last whole request
        self.followers: dict[asyncio.BaseProtocol, str] = {}
        self.refused = 0

    def follow(self, config: Door) -> None:
        """Let in those whom a new configuration names; connections that are open, and handshakes under way, go on."""
        self._gate = _gate(config)

    @property
    def places(self) -> Collection[HostPort]:
        """The addresses that we listen on."""
        return self._acceptors.keys()

    async def open(self, server: web.Server, place: HostPort) -> int:
        """Listen on one more address, and return its port.

        Raises:
            OSError, ValueError: the address is taken or not ours; the certificate cannot be used.
        """
        if self.certificate is not None:
            self.certificate.context()
        self._server = server
        acceptor = self._accepting.Acceptor(place.host, place.port, self._accepted)
        port: int = await acceptor.start()
        self._acceptors[place] = acceptor
        return port

    def stop(self) -> None:
        """Stop listening; connections that are open go on."""
        for acceptor in self._acceptors.values():
            acceptor.close()
        self._acceptors.clear()
        for task in self._coming:
            task.cancel()

    def heard(self, connection: asyncio.BaseProtocol) -> None:
        """A whole request came on this connection."""
        self._heard[connection] = asyncio.get_running_loop().time()

    def knows(self, request: web.Request) -> bool:
        """Whether the client's certificate has one of the names that the site demands, if it demands any."""
        if self._tls is None or not self._tls.client_names:
            return True
        shown = request.get_extra_info("peercert") or {}
        return bool(self._gate.knows(registry.load(registry.SOCKETS, "tls").names_of(shown)))

    def _accepted(self, connection: socket.socket) -> None:
        host, peer = self._accepting.peer_of(connection)
        if not self._gate.lets_in(host) and not is_loopback(host):
            self.refused += 1
            level = logging.WARNING if self.refused == 1 else logging.DEBUG  # a flood of them fills no disk
            logger.log(level, "connection refused: allow does not name it", extra={"peer": peer})
            connection.close()
        elif not self._accepting.leaves_files(connection, FILES_LEFT) or not self._has_room(host):
            connection.close()
        else:
            self._accepting.serve(connection, partial(self._serve, connection, host, peer), self._coming)

    async def _serve(self, connection: socket.socket, host: str, peer: str) -> None:
        """Give a connection to the server, once its handshake is over."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        gate, number = self._gate, 0
        assert self._server is not None
        assert task is not None
        try:
            if self._tls is None or self.certificate is None:
                await loop.connect_accepted_socket(self._protocol, connection)
                return
            number, _ = gate.begin(host, task.cancel)
            await loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self.certificate.context(),
                ssl_handshake_timeout=registry.load(registry.SOCKETS, "accepting").HANDSHAKE_S,
            )
        except OSError as error:  # ssl.SSLError and TimeoutError are such
            logger.debug("connection to the page failed", extra={"peer": peer, "cause": type(error).__name__})
        finally:
            gate.over(number)

    def _protocol(self) -> asyncio.BaseProtocol:
        assert self._server is not None
        made = self._server()
        made.__class__ = _Connection
        self.heard(made)
        return made

    def _has_room(self, host: str) -> bool:
        """Whether one more connection may be served; another one may have to end for it."""
        assert self._server is not None
        open_now = self._server.connections
        if len(self._heard) > 2 * self._most:
            self._heard = {connection: at for connection, at in self._heard.items() if connection in open_now}
        there = [one for one in open_now if one.transport is not None and not one.transport.is_closing()]
        # A handshake has a limit of its own; without one, a connection is about to be there.
        count = len(there) + (len(self._coming) if self._tls is None else 0)
        return count < self._most or self._make_room(there, host)

    def _make_room(self, there: Sequence[web.RequestHandler], host: str) -> bool:
        """End the connection of the address with the most, or else of all, that has been quiet for longest."""
        quiet = [connection for connection in there if connection not in self.followers]
        held = Counter(map(_host_of, quiet))
        greedy = max(held, key=lambda one: held[one], default=host)
        patience_s = self._patience_s
        if held[greedy] > held[host] + 1:
            quiet, patience_s = [one for one in quiet if _host_of(one) == greedy], 0.0
        now = asyncio.get_running_loop().time()
        longest = min(quiet, key=lambda connection: self._heard.get(connection, now), default=None)
        if longest is None or longest.transport is None or now - self._heard.get(longest, now) < patience_s:
            return False
        longest.transport.abort()
        return True


class _Connection(web.RequestHandler):
    """One connection; what is no request gets an answer of ours, without the words of the sender, and ends it."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        level = logging.ERROR if status >= 500 else logging.DEBUG
        logger.log(level, "request not understood", extra={"cause": type(exc).__name__ if exc is not None else ""})
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent")
        own = {hdrs.SERVER: "LabRelay", hdrs.CACHE_CONTROL: "no-store"}
        answer = web.Response(status=status, text=f"{MESSAGES.get(status, MESSAGES[400])}\n", headers=HEADERS | own)
        answer.force_close()
        return answer


def _host_of(connection: web.RequestHandler) -> str:
    peer = connection.transport.get_extra_info("peername") if connection.transport is not None else None
    return str(peer[0]) if peer else ""


def _gate(config: Door) -> Any:
    """The door of `adapters.transports.sockets.accepting` with the conditions of the site."""
    module = registry.load(registry.SOCKETS, "accepting")
    names = () if config.tls is None else config.tls.client_names
    return module.Gate(module.Admission(allow=config.allow, names=frozenset(name.lower() for name in names)))


FileStates = tuple[tuple[int, int, int] | None, ...]


class Certificate:
    """The TLS of one listener.

    Attributes:
        fault: why the files as they are now cannot be used, so that earlier ones are in force; else empty.
        names: the DNS names and addresses of the certificate, in lower case; a name may begin with ``*.``.
    """

    def __init__(self, files: ServerTls) -> None:
        self.files = files
        self.fault = ""
        self.names: frozenset[str] = frozenset()
        self._seen: FileStates = ()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The context for the next handshake: of the files as they are, or, where those cannot be used, of the last
        that could.

        Raises:
            OSError, ValueError: they cannot be used, and there are no earlier ones.
        """
        found = tuple(self._states())
        if self._context is None or found != self._seen:
            try:
                self._context, self.names = self._load()
                self.fault = ""
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                if self._context is None:
                    raise
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                self.fault = f"the page's new certificate cannot be used, the one before is in force: {reason}"
                logger.error("the page's certificate cannot be read", extra={"detail": reason})
            self._seen = found
        return self._context

    def _load(self) -> tuple[ssl.SSLContext, frozenset[str]]:
        context: ssl.SSLContext = registry.load(registry.SOCKETS, "tls").server_context(self.files)
        context.set_alpn_protocols(["http/1.1"])
        return context, frozenset(_names(self.files.cert.read_bytes()))

    def _states(self) -> Iterator[tuple[int, int, int] | None]:
        """Of each file what changes when it is written or replaced."""
        for file in (self.files.cert, self.files.key, self.files.client_ca):
            try:
                found = file.stat() if file is not None else None
            except OSError:
                found = None
            yield (found.st_ino, found.st_size, found.st_mtime_ns) if found is not None else None


def _names(pem: bytes) -> Iterator[str]:
    """RFC 6125, 6.4: of the alternative names; the common name counts no more."""
    from cryptography import x509  # large; a page without TLS needs none of it

    try:
        found = x509.load_pem_x509_certificates(pem)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return
    for name in found.value:
        if isinstance(name, x509.DNSName | x509.IPAddress):
            yield str(name.value).lower()
