"""A collector of traces: OTLP over HTTP, one POST of compressed Protocol Buffers for a batch of spans.

2xx                     taken, but for the spans that the answer says are refused
429, 502, 503, 504      tried again, as is a request without an answer; Retry-After is honoured
3xx, 401, 403, 404, 405 tried again, too: a person mends the address, or the secret
all else                refused, as OTLP has it: a collector answers 500 for spans that it will never take
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from adapters.clients.http.exchange import HttpClient, HttpExchange, Server
from adapters.clients.http.settings import Tls
from adapters.clients.http.templated import Header
from adapters.codecs import otlp
from engine.model.clock import Clock
from engine.model.errors import ConfigError, DestinationDownError, RefusedDeliveryError
from engine.model.reasons import ReasonCode
from engine.model.spans import Span

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
        body = zlib.compress(otlp.request(spans, self._resource), 1, wbits=31)
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
        return min(otlp.rejected(answer.body), len(spans))


def build(settings: Settings, clock: Clock, resource: Mapping[str, str]) -> Collector:
    """The collector of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return Collector(settings, clock, resource)
