"""POST of one document to one address, again and again, over connections that are kept.

The plain case of a delivery. A client for every case decides for each request about redirects, cookies, proxies, forms,
streams and middleware, which costs several times the rest of the delivery; here the head of the request is made once,
and httptools (Node's llhttp, which aiohttp has built in, too) reads the answer.

A connection has one request at a time. It is used again only after a whole answer that nothing followed, which allows
that, and while all that was sent was taken; bytes between two requests close it. A request is sent once: where the
connection ends before a whole answer came, the receiver may have taken the document. A 2xx that comes early counts once
the whole request was taken: to close the connection before that would cut the document.

The answer to an HTTP request.
"""

import asyncio
import contextlib
import socket
import ssl
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import cast

import aiohappyeyeballs
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from yarl import URL

from adapters.clients.tls import cause_of
from engine.model.errors import TransientDeliveryError
from engine.model.texts.reasons import ReasonCode
from engine.model.values import value


@value()
class Answer:
    """An answer as it came.

    Attributes:
        body: without its content coding; at most `adapters.clients.http.exchange.MAX_ANSWER_BYTES`.
        whole: False where the answer was longer.
        headers: by their names in lower case.
    """

    status: int
    body: bytes
    whole: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def retry_after(self) -> str:
        return self.headers.get("retry-after", "")

    @property
    def date(self) -> str:
        return self.headers.get("date", "")


MAX_HEAD_BYTES = 64 * 1024  # of an answer: in a row, without a byte of its body
CODINGS = frozenset({"gzip", "deflate", "br", "zstd"})  # of bodies that must not be taken as they came
NEXT_ADDRESS_S = 0.25  # RFC 8305, 5: a host's next address is tried, too, where the one before has not answered yet

ENDED = "the server closed the connection without an answer"
BROKEN = "the connection broke in the middle of the answer"
NOT_HTTP = "the answer is not HTTP"


class Posts:
    """The connections to one address. There are as many as requests are under way at once.

    Args:
        tls: for https.
        headers: of all requests.
        most: bytes of an answer's body that are read.
        keep_s: how long a connection without a request is kept.
        whole: False where a 2xx counts also without the end of its body.
    """

    def __init__(
        self,
        url: URL,
        tls: ssl.SSLContext | None,
        headers: Mapping[str, str],
        *,
        most: int,
        keep_s: float,
        whole: bool = True,
    ) -> None:
        self._host, self._port = url.raw_host or "", url.port
        self._tls = tls
        first = {"Host": url.host_port_subcomponent or "", **headers}
        self._head = f"POST {url.raw_path_qs} HTTP/1.1\r\n{_lines(first)}"
        self._most = most
        self._whole = whole
        self._keep_s = keep_s
        self._idle: list[_Connection] = []  # the one that was used last at the end
        self._sweeping: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[Sequence[aiohappyeyeballs.AddrInfoType]] | None = None
        self._closed = False

    async def post(self, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Answer:
        """Send ``body``, and return the answer, with any status.

        Raises:
            TimeoutError: without ``errno``, there was no whole answer within ``timeout_s``.
            OSError: no connection could be made; nothing was sent. ssl.SSLError where TLS was the cause.
            TransientDeliveryError: NO_ANSWER, the request went out, and no whole answer came.
            ValueError: a header has a line end in it; nothing was sent.
        """
        head = f"{self._head}{_lines(headers)}Content-Length: {len(body)}\r\n\r\n".encode()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        connection = self._kept(loop.time())
        if connection is None:
            async with asyncio.timeout_at(deadline):
                connection = await self._connect(loop)
        timer = loop.call_at(deadline, connection.expire)
        try:
            return await connection.ask(head, body, loop)
        finally:
            timer.cancel()
            self._keep(connection, loop)

    def close(self) -> None:
        """Close the connections without a request. Each other one is closed where its request ends."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _kept(self, now: float) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and now - connection.idle_since <= self._keep_s:
                return connection
            connection.close()
        return None

    def _keep(self, connection: "_Connection", loop: asyncio.AbstractEventLoop) -> None:
        if self._closed or not connection.reusable:
            connection.close()
            return
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(self._keep_s, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what was not used for so long."""
        self._sweeping = None
        oldest = loop.time() - self._keep_s
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).close()
        if self._idle:
            self._sweeping = loop.call_at(self._idle[0].idle_since + self._keep_s, self._sweep, loop)

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> "_Connection":
        """A new connection, to that of the host's addresses which answers."""
        addresses = list(await self._look_up(loop))
        while True:
            try:
                there = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S)
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._most, whole=self._whole),
                    sock=there,
                    ssl=self._tls,
                    server_hostname=self._host.rstrip(".") if self._tls is not None else None,
                )
                return connection
            except OSError:
                aiohappyeyeballs.pop_addr_infos_interleave(addresses)
                if not addresses:
                    raise

    async def _look_up(self, loop: asyncio.AbstractEventLoop) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        """The host's addresses.

        All requests share a look-up, also one whose request is over: the threads for it are few, and those of all
        destinations. A name server that does not answer keeps one of them.
        """
        with contextlib.suppress(socket.gaierror):  # at once, where the host is an address
            return socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(
                loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            )
        return await asyncio.shield(self._looking)


class _Connection(asyncio.Protocol):
    """One connection.

    Attributes:
        reusable: another request may be sent.
        idle_since: on the event loop's clock.
    """

    def __init__(self, most: int, *, whole: bool) -> None:
        self.reusable = False
        self.idle_since = 0.0
        self._most = most
        self._whole = whole
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        # Those of aiohttp's parser: both ways to a server read the same.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._answer: asyncio.Future[Answer] | None = None
        self._beside = 0  # bytes that came since the last byte of a body
        self._begin()

    def ask(self, head: bytes, body: bytes, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Answer]:
        """Send a request. The future raises TransientDeliveryError, or TimeoutError after `expire`."""
        self.reusable = False
        self._beside = 0
        self._answer = answer = loop.create_future()
        if self._transport is None:  # it ended since it was made
            self._fail(ENDED)
        else:
            self._transport.writelines((head, body))
        return answer

    def expire(self) -> None:
        """The time for the answer is over."""
        self._end(TimeoutError())

    def close(self) -> None:
        """Close at once: what was not sent yet never is."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods, not by its class

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()
            return
        size = len(self._body)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fail(NOT_HTTP)
            return
        self._beside = 0 if len(self._body) > size else self._beside + len(data)
        if self._complete or len(self._body) > self._most:
            self._succeed()
        elif self._beside > MAX_HEAD_BYTES:
            self._fail(NOT_HTTP)

    def resume_writing(self) -> None:
        if self._complete:  # an early answer, which waited for this
            self._succeed()

    def eof_received(self) -> None:
        self.reusable = False

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.reusable = False
        del self._parser  # it has methods of ours, and would be garbage that only the collector finds
        if error is not None:
            self._fail(cause_of(error))
        elif not self._status:
            self._fail(ENDED)
        elif self._complete:  # and so was the request: it is sent to its end before the connection is closed
            self._succeed()
        elif "content-length" in self._headers or "transfer-encoding" in self._headers:
            self._fail(BROKEN)
        else:  # the end of the connection is the end of the answer
            self._succeed()

    def _succeed(self) -> None:
        """The answer is here, as far as it is read."""
        if self._answer is None or self._answer.done():
            return
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if unsent and self._complete and 200 <= self._status < 300:
            assert self._transport is not None
            self._transport.set_write_buffer_limits(high=0)  # `resume_writing` follows once nothing is left
            return
        body = bytes(self._body)
        coding = self._headers.get("content-encoding", "").lower()
        if body and coding in CODINGS:
            try:
                body = _unpacked(body, coding, self._most)
            except zlib.error:
                self._fail(BROKEN)
                return
        self._answer.set_result(Answer(self._status, body[: self._most], len(body) <= self._most, self._headers))
        self._answer = None
        self.reusable = self._keeps_alive and self._transport is not None and not unsent
        self._begin()

    def _fail(self, why: str) -> None:
        self._end(TransientDeliveryError(ReasonCode.NO_ANSWER, why))

    def _end(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
            if not self._whole and 200 <= self._status < 300 and not unsent:
                self._answer.set_result(Answer(self._status, b"", whole=False, headers=self._headers))
            else:
                self._answer.set_exception(error)
            self._answer = None  # the error holds the call that waits, and that holds us

    # -- what the parser finds ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Nothing of the next answer is here."""
        self._complete = self._keeps_alive = False
        self._status = 0  # until the head is whole
        self._body = bytearray()
        self._headers: dict[str, str] = {}

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if b"\0" in value:
            raise ValueError("a header with a NUL")
        if not self._status:  # else it is behind the body
            self._headers.setdefault(  # the parser understands a name that a space follows
                name.decode("latin-1").lower().rstrip(" "), value.decode("utf-8", "surrogateescape").rstrip(" \t")
            )

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        if 100 <= self._status < 200:  # the answer follows
            self._begin()
        else:
            self._complete = True
            self._keeps_alive = self._parser.should_keep_alive()


def _lines(headers: Mapping[str, str]) -> str:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not len(headers) == lines.count("\r") == lines.count("\n") or "\0" in lines:
        raise ValueError("a header with a line end or a NUL in it")
    return lines


def _unpacked(body: bytes, coding: str, most: int) -> bytes:
    """A body without its content coding; of a longer one than ``most`` one byte more.

    Raises:
        zlib.error: it is damaged, or cut, or of a coding that cannot be read here.
    """
    raw = coding == "deflate" and body[0] & 0x0F != 8  # some servers leave zlib's two bytes out
    unpacking = zlib.decompressobj(wbits=-zlib.MAX_WBITS if raw else zlib.MAX_WBITS | 32)
    unpacked = unpacking.decompress(body, most + 1)
    if unpacking.unused_data or (not unpacking.eof and len(unpacked) <= most):
        raise zlib.error("it does not end where it should")
    return unpacked
