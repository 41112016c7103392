"""HTTP: other systems post messages to an address of the channel's own, over TLS where it is not this machine's alone.

    connection   `adapters.transports.tcp`: who may connect, handshakes, certificates; its bytes go to aiohttp's parser
    request      method, path, sender, type and size are looked at before the body is read
    body         whole, within a time; a body that breaks off is none
    message      `adapters.transports.http_post`: the channel stores it, and its answer is the answer of HTTP

Requests of several connections are handed on as they become whole; the journal has their order (P3). Where all places
are taken the connection goes first that has been without a trusted request for longest, so a crowd that says nothing
only replaces itself.

The memory for bodies of requests that are not whole yet: a limit for all, and one for each address without proof.

Where the signature is over the body, the body must be read before its sender is known. So a stranger can make us hold
bytes, but never more than `UNPROVEN_BYTES` from one address: the rest is there for other senders.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Protocol, cast

from aiohttp import HttpVersion10, StreamReader, hdrs, web

from adapters.transports import http_auth, http_post, tcp
from adapters.transports.errors import RequestError
from adapters.transports.sockets.tcp_stream import TcpStream
from engine.model.errors import ConfigError
from engine.model.link_events import LinkFault
from engine.model.process.clock import Clock, SystemClock

logger = logging.getLogger("labrelay.channel")

MAX_LINE = 8190  # bytes of the request line, and of one header
MAX_HEADERS = 64
PAUSED_RETRY_AFTER_S = 60  # a person has paused the channel, and pauses last
LINGER_S = 2.0  # for so long the rest of a refused body is read, so that its sender sees the answer

Handler = Callable[[http_post.Post], Awaitable[None]]


class Settings(Protocol):
    """The settings of a channel's ``source:`` for HTTP."""

    format: str
    listen: tcp.HostPort
    path: str
    allow: tuple[str, ...]
    tls: tcp.ServerTls | None
    auth: http_auth.Settings | None
    max_connections: int
    max_message: int
    request_timeout: float


def build(
    source: Settings, handler: Handler, turned_away: tcp.TurnedAway | None = None, *, paused: bool = False
) -> "HttpListener":
    """The transport of one channel.

    Args:
        turned_away: hears of connections and requests that were not taken.
        paused: no message is taken; each sender gets 503 and sends it again later.
    """
    return HttpListener(source, handler, turned_away or (lambda fault, peer: None), paused=paused)


@dataclass(slots=True, eq=False)
class _Connection:
    """One connection.

    Attributes:
        since: when it was opened, or its last request was answered.
        ended: the other side, or we, have ended its sending.
        body: of the request under way, while it is read.
        trusted: a request of a proven sender is under way.
        answer: is set by each answer.
    """

    stream: TcpStream
    since: float
    ended: bool = False
    body: StreamReader | None = None
    trusted: bool = False
    answer: asyncio.Event = field(default_factory=asyncio.Event)


class _Requests(web.RequestHandler):
    """aiohttp's side of one connection, with our answer to what is no HTTP."""

    __slots__ = ("connection", "unreadable")
    connection: _Connection
    unreadable: Callable[[], None]

    @property
    def idle(self) -> bool:
        """No request is under way, and none waits; as aiohttp asks it before it ends an idle connection."""
        return self._waiter is not None and not self._waiter.done()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        self.unreadable()
        return http_post.problem(RequestError(status, "this is no request that can be read"), close=True)


class HttpListener:
    """Listens on one address; a `engine.model.ports.Transport`."""

    fault = ""

    def __init__(
        self,
        source: Settings,
        handler: Handler,
        turned_away: tcp.TurnedAway,
        clock: Clock | None = None,
        *,
        paused: bool = False,
    ) -> None:
        """``paused``: as `build` has it."""
        self._source = source
        self._handler = handler
        self._turned_away = turned_away
        self._check = http_auth.check_of(source.auth, clock or SystemClock())
        self._types = http_post.MEDIA_TYPES[source.format]
        self._listener = tcp.listener(source.listen, self._serve, source.allow, source.tls, turned_away)
        self._open: set[_Connection] = set()
        self._paused = paused
        self._bodies = UnfinishedBodies(source.max_message)
        self._loop = asyncio.get_running_loop()
        self._server = web.Server(self._answer, handler_cancellation=True)

    async def start(self) -> int:
        """Begin to listen and return the port.

        Raises:
            OSError, ValueError: the address is in use or not ours; a certificate cannot be read.
        """
        return await self._listener.start()

    async def stop(self, grace_s: float = 3.0) -> None:
        """Stop listening, let requests under way be answered, close the rest after ``grace_s``."""
        await self._listener.stop(grace_s)

    # -- connections -------------------------------------------------------------------------------------------

    async def _serve(self, stream: TcpStream) -> None:
        """Hand the bytes of one connection to aiohttp until either side ends it."""
        if not self._has_room():
            self._turned_away(LinkFault("busy"), stream.peer)
            return
        requests = _Requests(
            self._server,
            loop=self._loop,
            access_log=None,  # type: ignore[arg-type]  # as aiohttp's own servers give it
            keepalive_timeout=self._source.request_timeout,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
            tcp_keepalive=False,
        )
        requests.unreadable = partial(self._turned_away, LinkFault("bad-request"), stream.peer)
        requests.connection = mine = _Connection(stream, self._loop.time())
        self._open.add(mine)
        requests.connection_made(stream.transport)
        try:
            await asyncio.sleep(0)  # from here on aiohttp's own task waits for requests
            while data := await stream.read():
                requests.data_received(data)
            mine.ended = True
            if mine.body is not None:
                _give_up(mine.body)
            while not requests.idle and not stream.transport.is_closing():  # what has come whole is still answered
                await self._next_answer(mine)
        except OSError:
            logger.debug("connection lost", extra={"peer": stream.peer})
        finally:
            self._open.discard(mine)
            requests.connection_lost(None)

    async def _next_answer(self, mine: _Connection) -> None:
        mine.answer.clear()
        waits = [asyncio.ensure_future(mine.answer.wait()), asyncio.ensure_future(mine.stream.lost())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    def _has_room(self) -> bool:
        """Whether there is a place for one more connection; one without a trusted request gives way."""
        if len(self._open) < self._source.max_connections:
            return True
        idle = [one for one in self._open if not one.trusted]
        if not idle:
            return False
        longest = min(idle, key=lambda one: one.since)
        self._turned_away(LinkFault("evicted"), longest.stream.peer)
        self._open.discard(longest)  # its place is free now
        longest.stream.abort()
        return True

    # -- requests ----------------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take one request, and write its response, also where the handler fails."""
        connection = cast(_Requests, request.protocol).connection
        try:
            return await self._take(request, connection)
        except RequestError as error:
            if error.fault:
                self._turned_away(LinkFault(error.fault, str(error)), connection.stream.peer)
            refused = error
        except ConfigError as error:  # a secret of ours is not set
            logger.error("requests cannot be checked", extra={"peer": connection.stream.peer, "detail": str(error)})
            refused = _not_kept()
        except Exception:  # a fault of ours costs this request, never the listener
            logger.exception("connection handler failed", extra={"peer": connection.stream.peer})
            refused = _not_kept()
        finally:
            connection.trusted = False
            connection.since = self._loop.time()
            connection.answer.set()
        return http_post.problem(refused, close=True)

    async def _take(self, request: web.BaseRequest, connection: _Connection) -> web.StreamResponse:
        """Hand one message to the channel.

        Raises:
            RequestError: it is not taken.
            ConfigError: our own secret is not set.
        """
        self._look_at(request)
        connection.trusted = self._check.proves_early
        connection.body = request.content
        try:
            if connection.ended:
                _give_up(request.content)
            body = await self._body(request, connection.stream)
        finally:
            connection.body = None
        proof = self._check.body(request.headers, body)
        connection.trusted = True
        post = http_post.Post(request, body, connection.stream, http_post.READERS.get(self._source.format))
        try:
            if not body:
                raise http_post.no_message()
            await self._handler(post)
        finally:
            self._check.over(proof, taken=post.taken)
        return post.finish()

    def _look_at(self, request: web.BaseRequest) -> None:
        """Look at the head of a request.

        Raises:
            RequestError: it is not taken.
            ConfigError: our own secret is not set.
        """
        headers = request.headers
        if request.version < HttpVersion10:
            raise RequestError(505, "send HTTP/1.1", fault="bad-request")
        if hdrs.ORIGIN in headers or "Sec-Fetch-Site" in headers:
            raise RequestError(403, "a page in a browser may not send here", fault="browser")
        self._check.head(headers)
        if request.path != self._source.path:
            raise RequestError(404, "nothing takes messages at this path", fault="bad-request")
        if request.method != hdrs.METH_POST:
            raise RequestError(405, "messages are sent by POST", {hdrs.ALLOW: "POST"}, "bad-request")
        if headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise RequestError(415, "send the body uncompressed", {hdrs.ACCEPT_ENCODING: "identity"}, "bad-request")
        if headers.get(hdrs.TRANSFER_ENCODING, "chunked").lower() != "chunked":
            raise RequestError(400, "no Transfer-Encoding but chunked is read", fault="bad-request")
        media_type = http_post.media_type_of(headers)
        if media_type and media_type not in self._types:
            types = ", ".join(self._types)
            raise RequestError(415, f"this address takes {types}", {hdrs.ACCEPT: types}, "bad-request")
        if (request.content_length or 0) > self._source.max_message:
            raise self._too_large()
        if self._paused:
            text = "the laboratory has paused this address; nothing is stored, please send it again later"
            raise RequestError(503, text, {hdrs.RETRY_AFTER: str(PAUSED_RETRY_AFTER_S)}, "paused")

    async def _body(self, request: web.BaseRequest, stream: TcpStream) -> bytes:
        """The whole body.

        Raises:
            RequestError: too large, too slow, or there is no room for it just now.
        """
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # nothing of the answer itself
        body = bytearray()
        limit = self._source.max_message
        origin = origin_of(stream.transport.get_extra_info("peername")[0]) if self._check.proven_by_body else ""
        try:
            async with asyncio.timeout(self._source.request_timeout):
                async for chunk in request.content.iter_any():
                    if len(body) + len(chunk) > limit:
                        raise self._too_large()
                    if not self._bodies.hold(len(chunk), origin):
                        raise _not_kept("memory")
                    body += chunk
        except TimeoutError:
            text = f"no whole body within {self._source.request_timeout:g} s"
            raise RequestError(408, text, fault="block-timeout") from None
        except (web.RequestPayloadError, OSError):
            raise RequestError(400, "the body broke off", fault="bad-request") from None
        finally:
            self._bodies.release(len(body), origin)
        return bytes(body)

    def _too_large(self) -> RequestError:
        text = f"the body is larger than max_message ({self._source.max_message} bytes)"
        return RequestError(413, text, fault="too-large")


def _give_up(body: StreamReader) -> None:
    """No more of a body can come: what is not whole breaks off."""
    if not body.is_eof():
        body.set_exception(ConnectionResetError("the sender has ended"))


def _not_kept(fault: str = "") -> RequestError:
    return RequestError(503, http_post.NOT_KEPT, {hdrs.RETRY_AFTER: str(http_post.RETRY_AFTER_S)}, fault)


UNFINISHED_BYTES = 64 * 1024 * 1024  # of all bodies that are being read; never less than one message
UNPROVEN_BYTES = 8 * 1024 * 1024  # of those of one address that the head does not prove; never less than one message
IPV6_BITS = 64  # one machine has all addresses of such a network (RFC 4291, 2.5.4)


class UnfinishedBodies:
    """The bytes that one listener holds.

    Args:
        largest: bytes of the largest message.
    """

    def __init__(self, largest: int) -> None:
        self._most = max(UNFINISHED_BYTES, largest)
        self._most_unproven = max(UNPROVEN_BYTES, largest)
        self._held = 0
        self._unproven: Counter[str] = Counter()

    def hold(self, size: int, origin: str) -> bool:
        """Hold so many bytes more, where there is room.

        Args:
            origin: `origin_of` a sender without proof; empty: the head has proven it, or it needs no proof.
        """
        if self._held + size > self._most or (origin and self._unproven[origin] + size > self._most_unproven):
            return False
        self._held += size
        if origin:
            self._unproven[origin] += size
        return True

    def release(self, size: int, origin: str) -> None:
        """Hold them no longer."""
        self._held -= size
        if origin:
            self._unproven[origin] -= size
            if not self._unproven[origin]:
                del self._unproven[origin]


def origin_of(host: str) -> str:
    """The address that counts as one sender: of IPv6 its network."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> (128 - IPV6_BITS) << (128 - IPV6_BITS)))
