"""One HTTP request to a destination, and the meaning of its answer. Shared by the destinations that speak HTTP.

    2xx                         the caller looks at the body
    none, reset, timeout        NO_ANSWER, transient
    408, 425, 429, 5xx          BUSY, transient; Retry-After honoured
    409                         CONFLICT, transient, dead after five in a row
    401, 403                    NOT_AUTHORIZED  the destination as a whole: its breaker opens
    404, 405                    WRONG_ADDRESS   likewise, for every request goes to the same address
    3xx                         likewise (a proxy's page, a moved server); redirects are never followed, since they
                                would carry a patient's results to an address that is not configured
    other 4xx                   REFUSED, dead, with the answer kept

`log_in` authenticates requests. A log-in that can be renewed (a token) is renewed once after a 401, and the
request goes out once more within the same attempt.

Sessions keep connections alive, trust the configured authorities only, take neither proxies nor credentials from
the environment, keep no cookies, and read no more of an answer than a limit. Error texts name statuses and
causes, never the content of a request or an answer.

A large body of a request, sent piece by piece. aiohttp copies a `io.BytesIO` when it asks for its size.
"""

import asyncio
import socket
import ssl
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

import aiohttp
from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from adapters.clients.http.log_in import LogIn, Tls, http_date
from adapters.clients.http.posts import BROKEN, ENDED, NOT_HTTP, Answer, Posts
from adapters.clients.tls import cause_of, reach, tls_context
from engine.model.errors import DeliveryError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.message import Delivery
from engine.model.process.clock import Clock
from engine.model.spans import TRACEPARENT
from engine.model.texts.reasons import ReasonCode

MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_STATUS_ANSWER_BYTES = 64 * 1024  # where the status is what counts
MAX_KEPT_ANSWER_BYTES = 64 * 1024  # of an OperationOutcome, for the person who looks at the dead letter
MAX_CONFLICTS = 5
# Shorter than the 5 s after which common servers close a quiet connection: a request that meets the closing would
# count as NO_ANSWER.
KEEP_ALIVE_S = 4.0
LARGE_BODY_BYTES = 1024 * 1024  # above it, compressing and sending give the event loop a chance in between
MOST_POSTED_BYTES = LARGE_BODY_BYTES  # in one piece, by `posts`
SMALLEST_GZIP_BYTES = 512
NO_HEADER = "a header has a line end or a NUL in it; look at the secret that it is made of"
NOT_TAKEN = "its answer does not have the text of taken"
EARLY = "the server answered before it had the whole document"
_NONE: Mapping[int, ReasonCode] = MappingProxyType({})
CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "the host name cannot be resolved"),
    (aiohttp.ClientConnectorError, "the connection was closed while it was made"),
    (aiohttp.ServerDisconnectedError, ENDED),
    (aiohttp.ClientPayloadError, BROKEN),
    (aiohttp.ClientResponseError, NOT_HTTP),
    (socket.gaierror, "the host name cannot be resolved"),
    (ConnectionError, "the connection was closed while it was made"),
    (OSError, "no connection could be made"),  # to any address of the host, for more than one cause
)


class HttpConfig(Protocol):
    """The settings of a destination over HTTP that are read here, from its YAML block."""

    url: str
    tls: Tls | None
    timeout: float
    gzip: bool
    concurrency: int


@dataclass(slots=True, kw_only=True)
class Server:
    """A server as `HttpExchange` sees it, where the YAML block does not say all of this."""

    url: str
    tls: Tls | None
    timeout: float
    concurrency: int = 1
    gzip: bool = False


class HttpExchange:
    """The HTTP side of one destination.

    Args:
        accept: the media type wanted in answers.
        redirected: the reason to give for a 3xx.
        reasons: reads the body of an answer outside 2xx without patient data.
        log_in: how each request is let in; None where the server asks for nothing.
        refusals: 4xx that have a reason of their own instead of REFUSED.
        whole: False where a 2xx counts also without the end of its body.

    Raises:
        ConfigError: a certificate or key file cannot be read or used.
    """

    def __init__(
        self,
        name: str,
        config: HttpConfig,
        clock: Clock,
        *,
        accept: str,
        redirected: ReasonCode,
        refusals: Mapping[int, ReasonCode] = _NONE,
        reasons: Callable[[bytes], str] = lambda answer: "",
        log_in: LogIn | None = None,
        whole: bool = True,
    ) -> None:
        self._name = name
        self._config = config
        self._clock = clock
        self._redirected = redirected
        self._refusals = refusals
        self._reasons = reasons
        self._tls = tls_context(name, config.tls) if config.url.startswith("https:") else None
        self._session: aiohttp.ClientSession | None = None
        self._log_in = log_in
        self._whole, self._most = whole, MAX_ANSWER_BYTES if whole else MAX_STATUS_ANSWER_BYTES
        self.url = URL(config.url)
        self._headers = {
            "Accept": accept,
            "Accept-Encoding": "gzip" if config.gzip else "identity",
            "User-Agent": "LabRelay",
        }
        self._posts: Posts | None = None

    async def start(self) -> None:
        """Open the session; makes no connection."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._config.concurrency + 1,  # the deliveries, and one probe beside them
                keepalive_timeout=KEEP_ALIVE_S,
                ssl=self._tls if self._tls is not None else True,
            ),
            headers=self._headers,
            skip_auto_headers=("Content-Type",),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        self._posts = Posts(self.url, self._tls, self._headers, most=self._most, keep_s=KEEP_ALIVE_S, whole=self._whole)
        if self._log_in is not None:
            await self._log_in.start()

    async def close(self) -> None:
        if self._log_in is not None:
            await self._log_in.close()
        if self._posts is not None:
            self._posts.close()
            self._posts = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def reach(self) -> None:
        """Connect, with TLS where it is https, and make no request.

        Raises:
            DeliveryError: the server cannot be reached.
        """
        assert self.url.raw_host is not None
        assert self.url.port is not None
        await reach(self.url.raw_host, self.url.port, self._tls, self._config.timeout)

    async def send(self, method: str, delivery: Delivery, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send ``body`` to the destination's address, and return a 2xx answer.

        Raises:
            TransientDeliveryError, DestinationDownError, RefusedDeliveryError
        """
        all_headers = {
            "Content-Type": delivery.media_type,
            "Idempotency-Key": delivery.key,
            "X-Request-Id": delivery.request_id,
            **headers,
        }
        if self._config.gzip and len(body) >= SMALLEST_GZIP_BYTES:
            all_headers["Content-Encoding"] = "gzip"
            body = _gzip(body) if len(body) < LARGE_BODY_BYTES else await asyncio.to_thread(_gzip, body)
        answer = await self.exchange(method, self.url, all_headers, body)
        if 200 <= answer.status < 300:
            return answer
        raise self.failure(answer)

    async def exchange(self, method: str, url: URL, headers: dict[str, str], body: bytes | None = None) -> Answer:
        """One request and its answer, with any status, within the destination's ``timeout``.

        Raises:
            TransientDeliveryError, DestinationDownError: there was no whole answer, or no way to log in.
        """
        if context := TRACEPARENT.get():
            headers = {**headers, "traceparent": context}
        if self._log_in is None:
            return await self._request(method, url, headers, body, self._config.timeout)
        deadline = asyncio.get_running_loop().time() + self._config.timeout
        for again in (False, True):
            log_in = await self._log_in.headers(method, url, body or b"", deadline)
            left_s = max(deadline - asyncio.get_running_loop().time(), 0.001)
            answer = await self._request(method, url, {**headers, **log_in}, body, left_s)
            if answer.status not in (401, 403):
                break
            if not self._log_in.refused(answer.status, answer.date, log_in) or again:
                break
        return answer

    async def _request(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> Answer:
        try:
            if method == "POST" and url is self.url and body is not None and len(body) <= MOST_POSTED_BYTES:
                assert self._posts is not None, "start() comes first"
                return await self._posts.post(headers, body, timeout_s)
            return await self._ask_client(method, url, headers, body, timeout_s)
        except TimeoutError as error:
            why = f"no answer within {self._config.timeout:g} s" if error.errno is None else cause_of(error)
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, why) from error
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as error:
            by = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error
            why = getattr(by, "verify_message", "") or "does not match the address"
            raise DestinationDownError(
                ReasonCode.NO_ANSWER, f"the server's certificate is not trusted: {why}"
            ) from error
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise DestinationDownError(ReasonCode.NO_ANSWER, f"TLS failed: {cause_of(error, CAUSES)}") from error
        except OSError as error:
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, cause_of(error, CAUSES)) from error
        except aiohttp.ClientError as error:
            # The library's text quotes what the peer sent, so that it is not passed on, not even as the cause.
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, cause_of(error, CAUSES)) from None
        except ValueError:  # its text may quote the header
            raise DestinationDownError(ReasonCode.NOT_AUTHORIZED, NO_HEADER) from None

    async def _ask_client(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> Answer:
        """One request by the client for every case."""
        assert self._session is not None, "start() comes first"
        data = Pieces(body) if body is not None and len(body) > LARGE_BODY_BYTES else body
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self._session.request(
            method, url, data=data, headers=headers, allow_redirects=False, timeout=timeout
        ) as response:
            content, whole = await _read(response, self._most)
            if isinstance(data, Pieces) and data.begun < len(body or b"") and 200 <= response.status < 300:
                raise TransientDeliveryError(ReasonCode.NO_ANSWER, EARLY)  # the client sends no more after an answer
            return Answer(response.status, content, whole, response.headers)

    def failure(self, answer: Answer) -> DeliveryError:
        """The error for an answer outside 2xx."""
        status = answer.status
        said = self._reasons(answer.body)
        detail = f"HTTP {status}, {said}" if said else f"HTTP {status}"
        kept = answer.body[:MAX_KEPT_ANSWER_BYTES]
        if status in (401, 403):
            return DestinationDownError(ReasonCode.NOT_AUTHORIZED, detail, answer=kept)
        if status in (404, 405):
            return DestinationDownError(ReasonCode.WRONG_ADDRESS, detail, answer=kept)
        if 300 <= status < 400:
            return DestinationDownError(self._redirected, f"{detail}, a redirect; none is followed", answer=kept)
        if status in (408, 409, 425, 429) or status >= 500:
            conflict = status == 409
            return TransientDeliveryError(
                ReasonCode.CONFLICT if conflict else ReasonCode.BUSY,
                detail,
                retry_after=retry_after_seconds(answer.retry_after, self._clock.now()),
                limit=MAX_CONFLICTS if conflict else None,
                answer=kept,
            )
        return RefusedDeliveryError(self._refusals.get(status, ReasonCode.REFUSED), detail, answer=kept)


def retry_after_seconds(value: str, now: datetime) -> float | None:
    """A Retry-After header (RFC 9110, 10.2.3): seconds, or an HTTP date. None where it is neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    at = http_date(value)
    return None if at is None else max((at - now).total_seconds(), 0.0)


async def _read(response: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """The body, up to the limit, and whether that is all of it; a compressed one counts as unpacked."""
    length = response.content_length
    if length is not None and length <= most and "Content-Encoding" not in response.headers:
        return await response.read(), True
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > most:
            response.close()
            return bytes(content[:most]), False
    return bytes(content), True


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, 1, wbits=31)


class HttpClient:
    """What sends by one `HttpExchange`: opened and closed with it."""

    _http: HttpExchange

    async def start(self) -> None:
        """Open the client; makes no connection."""
        await self._http.start()

    async def close(self) -> None:
        await self._http.close()


PIECE_BYTES = 64 * 1024


class Pieces(Payload):
    """Attributes:
    begun: so many bytes were handed to the connection; it takes a piece once it has passed on those before.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)
        self.begun = 0

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        text: bytes = self._value
        return text.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.begun = 0
        for at in range(0, len(self._value), PIECE_BYTES):
            if at:
                await asyncio.sleep(0)  # other connections get their turn
            piece = self._value[at : at + PIECE_BYTES]
            self.begun += len(piece)
            await writer.write(piece)
