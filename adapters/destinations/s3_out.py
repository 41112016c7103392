"""S3-compatible object storage: each document is one object, put under a name that holds nothing of a patient.

    results/2026/03/01/chemistry/0000004711-3f9c2a7e51d04b860123456789abcdef.json
    prefix, day received (UTC), channel, number of the message in the journal, start of the delivery key

A delivery that is tried again, or replayed, puts the same bytes under the same name. With ``attachments: true`` the
PDFs and pictures that a FHIR document encloses are objects of their own beside it (``...-1.pdf``), put before it: once
the document is there, all of it is.

Delivered means that the storage has confirmed the bytes, not only answered 200: it repeats the SHA-256 that we sent
(``x-amz-checksum-sha256``), or the ETag is the MD5 of the content, as of every storage without encryption keys of its
own; with them (``x-amz-server-side-encryption``) any ETag will do, since the request's own checksums were verified. The
page of a proxy has neither. The signed request carries the SHA-256 of the body twice.

Refusals (codes of the Amazon S3 API Reference, "Error responses"):

    403, ExpiredToken, InvalidToken           NOT_AUTHORIZED  the destination as a whole
    404 NoSuchBucket, 3xx, wrong region,      WRONG_ADDRESS   likewise
    any other 4xx
    413, EntityTooLarge                       REFUSED, dead
    a digest that does not fit, IncompleteBody, RequestTimeout, 408, 429, 5xx     BUSY, transient
    409                                       CONFLICT, transient, dead after five in a row
    none, reset, timeout                      NO_ANSWER, transient
"""

import asyncio
import base64
import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from yarl import URL

from adapters.clients.http.exchange import MAX_KEPT_ANSWER_BYTES, HttpClient, HttpExchange, Server
from adapters.clients.http.log_in import LARGE_BODY_BYTES, Secret, ServerTime, Tls, of_one_line, revealed
from adapters.clients.http.posts import Answer
from adapters.codecs.fhir.attachments import attachments
from adapters.codecs.signatures import authorization
from engine.model.errors import DeliveryError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.message import Delivery
from engine.model.process.clock import Clock, from_us
from engine.model.texts.reasons import ReasonCode

_T = TypeVar("_T")
_OUTSIDE_NAMES = re.compile(r"[^A-Za-z0-9._-]")
_ERROR_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
OUR_KEYS = frozenset({"ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
ON_THE_WAY = frozenset(
    {
        *("BadDigest", "IncompleteBody", "InvalidDigest", "RequestTimeout"),
        *("XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"),
    }
)
SUFFIXES = (("json", ".json"), ("hl7", ".hl7"), ("csv", ".csv"), ("xml", ".xml"))


class S3Config(Protocol):
    """The settings of this destination, from its YAML block."""

    endpoint: str
    bucket: str
    region: str
    prefix: str
    address: str
    access_key: Secret
    secret_key: Secret
    attachments: bool
    tls: Tls | None
    timeout: float
    concurrency: int


class S3Out(HttpClient):
    """See `engine.model.ports.Destination`."""

    def __init__(self, name: str, config: S3Config, clock: Clock) -> None:
        self._config = config
        self._taking_apart = asyncio.Lock()
        self._http = HttpExchange(
            name,
            Server(url=bucket_address(config), tls=config.tls, timeout=config.timeout, concurrency=config.concurrency),
            clock,
            accept="application/xml",
            redirected=ReasonCode.WRONG_ADDRESS,
            log_in=_Signature(config, clock),
        )

    async def deliver(self, delivery: Delivery) -> None:
        name = object_name(self._config.prefix, delivery)
        if self._config.attachments and "fhir" in delivery.media_type:
            # Taken apart, a document is in memory several times over: large ones go one after the other.
            async with self._taking_apart if len(delivery.body) > LARGE_BODY_BYTES else contextlib.nullcontext():
                await self._put_attachments(name, delivery.body)
        await self._put(f"{name}{suffix_of(delivery.media_type)}", delivery.body, delivery.media_type)

    async def probe(self) -> None:
        """Ask for the bucket (HEAD), which needs the right to list it; without that, being known is enough."""
        answer = await self._http.exchange("HEAD", self._http.url, {})
        if answer.status >= 300 and answer.status != 403:
            raise self._failure(answer)
        if answer.status == 403:  # a HEAD has no body to say why; listing nothing of it has
            answer = await self._http.exchange("GET", self._http.url.with_query({"max-keys": "0"}), {})
            if _code(answer) != "AccessDenied" and answer.status >= 300:
                raise self._failure(answer)

    async def _put_attachments(self, name: str, body: bytes) -> None:
        found = await _beside(body, lambda: list(attachments(body)))
        for number, one in enumerate(found, start=1):
            await self._put(f"{name}-{number}{one.suffix}", one.content, one.media_type)

    async def _put(self, name: str, content: bytes, media_type: str) -> None:
        """Put one object.

        Raises:
            TransientDeliveryError, DestinationDownError, RefusedDeliveryError
        """
        url = URL(f"{self._http.url}/{name}", encoded=True)
        answer = await self._http.exchange("PUT", url, {"Content-Type": _printable(media_type)}, content)
        if answer.status != 200:
            raise self._failure(answer)
        if not await _beside(content, lambda: confirmed(content, answer.headers)):
            raise DestinationDownError(
                ReasonCode.WRONG_ADDRESS,
                "HTTP 200 without the checksum of what was sent: no object storage answers there",
                answer=answer.body[:MAX_KEPT_ANSWER_BYTES],
            )

    def _failure(self, answer: Answer) -> DeliveryError:
        """The error for an answer other than 200."""
        code = _code(answer)
        answered = f"HTTP {answer.status}{f' {code}' if code else ''}"
        kept = answer.body[:MAX_KEPT_ANSWER_BYTES]
        if code in OUR_KEYS:
            return DestinationDownError(
                ReasonCode.NOT_AUTHORIZED, f"{answered}; check access_key and secret_key", answer=kept
            )
        if code in ON_THE_WAY:
            return TransientDeliveryError(ReasonCode.BUSY, answered, answer=kept)
        if answer.status == 413 or code == "EntityTooLarge":
            return RefusedDeliveryError(ReasonCode.REFUSED, answered, answer=kept)
        if answer.status in (401, 403):
            return DestinationDownError(
                ReasonCode.NOT_AUTHORIZED, f"{answered}; check the rights of access_key", answer=kept
            )
        if answer.status in (408, 409, 425, 429) or answer.status >= 500:
            return self._http.failure(answer)
        return DestinationDownError(
            ReasonCode.WRONG_ADDRESS, f"{answered}; check endpoint, bucket, region and address", answer=kept
        )


class _Signature:
    """See `log_in.LogIn`: each request is signed, with the checksum of its body."""

    def __init__(self, config: S3Config, clock: Clock) -> None:
        self._config = config
        self._time = ServerTime(clock)
        self._keys: tuple[str, str] | None = None

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def headers(self, method: str, url: URL, body: bytes, deadline: float) -> Mapping[str, str]:
        if self._keys is None:
            self._keys = (
                revealed(lambda: of_one_line(self._config.access_key.reveal(), "access_key")),
                revealed(self._config.secret_key.reveal),
            )
        digest = await _beside(body, lambda: hashlib.sha256(body).digest())
        at = self._time.now().strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": url.authority, "x-amz-date": at, "x-amz-content-sha256": digest.hex()}
        if method == "PUT":
            headers["x-amz-checksum-sha256"] = base64.b64encode(digest).decode("ascii")
        access_key, secret_key = self._keys
        signature = authorization(
            method, url.raw_path, headers, digest.hex(),
            access_key=access_key, secret_key=secret_key, region=self._config.region, at=at,
            query=url.raw_query_string,
        )  # fmt: skip
        return {**headers, "Authorization": signature}

    def refused(self, status: int, date: str, sent: Mapping[str, str]) -> bool:
        """Try again where it is our clock that is wrong: storage takes signatures of the last quarter of an hour."""
        self._keys = None  # rotated ones are read anew
        return self._time.heard(date)


def build(name: str, config: S3Config, clock: Clock) -> S3Out:
    """The destination ``name`` of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return S3Out(name, config, clock)


def bucket_address(config: S3Config) -> str:
    """Where the bucket is: in the path of the endpoint, or before its host name."""
    if config.address == "path":
        return f"{config.endpoint}/{config.bucket}"
    scheme, _, rest = config.endpoint.partition("://")
    return f"{scheme}://{config.bucket}.{rest}"


def object_name(prefix: str, delivery: Delivery) -> str:
    """The name of a delivery's object, without its suffix: the same for every attempt."""
    day = from_us(delivery.received_us).strftime("%Y/%m/%d")
    channel = _OUTSIDE_NAMES.sub("_", delivery.channel)[:64]
    key = _OUTSIDE_NAMES.sub("_", delivery.key)[:32]
    return f"{prefix}{day}/{channel}/{delivery.message_id:010d}-{key}"


def suffix_of(media_type: str) -> str:
    plain = media_type.partition(";")[0]
    return next((suffix for word, suffix in SUFFIXES if word in plain), ".bin")


def confirmed(content: bytes, headers: Mapping[str, str]) -> bool:
    """Whether an answer with these headers says that exactly these bytes are stored."""
    answered = headers.get("x-amz-checksum-sha256", "")
    if answered:
        return answered == base64.b64encode(hashlib.sha256(content).digest()).decode("ascii")
    etag = _MD5.fullmatch(headers.get("ETag", ""))
    if etag is not None and etag[1] == hashlib.md5(content, usedforsecurity=False).hexdigest():
        return True
    return "ETag" in headers and "x-amz-server-side-encryption" in headers


async def _beside(content: bytes, make: Callable[[], _T]) -> _T:
    """Call ``make`` with ``content``; in a thread, where that is large."""
    return make() if len(content) <= LARGE_BODY_BYTES else await asyncio.to_thread(make)


def _code(answer: Answer) -> str:
    """The storage's own error code, or an empty text."""
    found = _ERROR_CODE.search(answer.body[:MAX_KEPT_ANSWER_BYTES])
    return found[1].decode("ascii") if found is not None else ""


def _printable(media_type: str) -> str:
    """A sender's media type goes into a header: without anything that would end the line."""
    return media_type if media_type.isascii() and media_type.isprintable() else "application/octet-stream"
