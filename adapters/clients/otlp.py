"""A collector of traces: OTLP over HTTP, one POST of compressed Protocol Buffers for a batch of spans.

2xx                     taken, but for the spans that the answer says are refused
429, 502, 503, 504      tried again, as is a request without an answer; Retry-After is honoured
3xx, 401, 403, 404, 405 tried again, too: a person mends the address, or the secret
all else                refused, as OTLP has it: a collector answers 500 for spans that it will never take

Spans as OTLP has them: an ``ExportTraceServiceRequest`` in the binary form of Protocol Buffers.

The numbers are those of ``opentelemetry/proto/trace/v1/trace.proto`` and its neighbours, version 1, which is stable: a
field never changes its number. A field with its default value is left out, as the form asks.

    length-delimited  tag, size, bytes        fixed64  tag, eight bytes        varint  tag, seven bits a byte
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from adapters.clients.http.exchange import HttpClient, HttpExchange, Server
from adapters.clients.http.log_in import Tls
from adapters.clients.http.templated import Header
from engine.model.errors import ConfigError, DestinationDownError, RefusedDeliveryError
from engine.model.process.clock import Clock
from engine.model.spans import Span
from engine.model.texts.reasons import ReasonCode

TYPE = "application/x-protobuf"
AGAIN = (401, 403, 404, 405, 429, 502, 503, 504)


class Settings(Protocol):
    """As `engine.features.traces.config.TracesConfig`."""

    address: str
    headers: Sequence[Header]
    tls: Tls | None
    timeout: float


class Collector(HttpClient):
    """The collector of one site.

    Args:
        resource: attributes of the program that the spans are of.
    """

    def __init__(self, settings: Settings, clock: Clock, resource: Mapping[str, str]) -> None:
        """
        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        self._settings = settings
        self._resource = resource
        server = Server(url=settings.address, tls=settings.tls, timeout=settings.timeout)
        self._http = HttpExchange(
            "traces", server, clock, accept="*/*", redirected=ReasonCode.WRONG_ADDRESS, whole=False
        )

    async def send(self, spans: Sequence[Span]) -> int:
        """Give spans to the collector; return how many of them it refuses.

        Raises:
            DeliveryError: it has not taken them; refused: it never will.
        """
        body = zlib.compress(request(spans, self._resource), 1, wbits=31)
        headers = {"Content-Type": TYPE, "Content-Encoding": "gzip"}
        try:
            headers |= {one.name: one.secret.reveal() for one in self._settings.headers}
        except ConfigError as error:
            raise DestinationDownError(ReasonCode.NOT_AUTHORIZED, str(error)) from error
        answer = await self._http.exchange("POST", self._http.url, headers, body)
        if not 200 <= answer.status < 300:
            if answer.status >= 400 and answer.status not in AGAIN:
                raise RefusedDeliveryError(ReasonCode.REFUSED, f"HTTP {answer.status}")
            raise self._http.failure(answer)
        return min(rejected(answer.body), len(spans))


def build(settings: Settings, clock: Clock, resource: Mapping[str, str]) -> Collector:
    """The collector of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return Collector(settings, clock, resource)


SCOPE = "labrelay"
VARINT, FIXED64, BYTES = 0, 1, 2
ERROR = 2  # Status.StatusCode
TEXTS = 1024  # attributes that are kept as bytes


def request(spans: Iterable[Span], resource: Mapping[str, str]) -> bytes:
    """The body of one export.

    Args:
        resource: attributes of the program that the spans are of.
    """
    of_scope = _bytes(1, _bytes(1, SCOPE.encode())) + b"".join([_bytes(2, _span(one)) for one in spans])
    about = b"".join([_bytes(1, _attribute(key, value)) for key, value in resource.items()])
    return _bytes(1, _bytes(1, about) + _bytes(2, of_scope))


def rejected(answer: bytes) -> int:
    """How many spans of an export the collector has refused, by its ``ExportTraceServiceResponse``.

    0 where it says nothing of that, or cannot be read.
    """
    try:
        partial = next((part for field, part in _fields(answer) if field == 1 and isinstance(part, bytes)), b"")
        return next((part for field, part in _fields(partial) if field == 1 and isinstance(part, int)), 0)
    except (IndexError, ValueError):
        return 0


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message that are numbers or have a length.

    Raises:
        IndexError: it ends in the middle of a field.
        ValueError: it has a field of another type, or a number that is too long.
    """
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        number, at = _number(message, at)
        if tag & 7 == VARINT:
            yield tag >> 3, number
        elif tag & 7 == BYTES:
            yield tag >> 3, message[at : at + number]
            at += number
        else:
            raise ValueError("a field of another type")


def _number(message: bytes, at: int) -> tuple[int, int]:
    """A varint, and what is behind it."""
    found = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at
    raise ValueError("a number of more than ten bytes")


def _span(one: Span) -> bytes:
    return b"".join(
        (
            _bytes(1, one.trace),
            _bytes(2, one.span),
            _bytes(4, one.parent) if one.parent else b"",
            _bytes(5, one.name.encode()),
            bytes((6 << 3 | VARINT, one.kind, 7 << 3 | FIXED64)),
            (one.start_us * 1000).to_bytes(8, "little"),
            bytes((8 << 3 | FIXED64,)),
            (one.end_us * 1000).to_bytes(8, "little"),
            *[
                _bytes(9, (_text if isinstance(value, str) else _attribute)(key, value))
                for key, value in one.attributes
            ],
            _bytes(15, _varint(3 << 3 | VARINT) + _varint(ERROR)) if one.failed else b"",
        )
    )


def _attribute(key: str, value: str | int) -> bytes:
    if isinstance(value, str):
        held = _bytes(1, value.encode())
    else:
        held = _varint(3 << 3 | VARINT) + _varint(value)
    return _bytes(1, key.encode()) + _bytes(2, held)


_text = lru_cache(TEXTS)(_attribute)  # names and codes come again and again


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | BYTES) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """A whole number from 0."""
    if number < 0x80:
        return bytes((number,))
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
