"""Any web service that accepts one document per request: POST or PUT to one address, 2xx is delivered; with ``taken``
an answer that has its text.

The document is sent as it is, under its own media type, with the delivery key in ``Idempotency-Key`` (the same over
retries, restarts and replays): a receiver that stores the key can distinguish a repeat from a new result.
`http.exchange` describes the other statuses.
"""

from typing import Protocol

from adapters.clients.http.auth import log_in_of
from adapters.clients.http.exchange import MAX_KEPT_ANSWER_BYTES, NOT_TAKEN, HttpClient, HttpConfig, HttpExchange
from adapters.clients.http.log_in import Config
from engine.model.errors import RefusedDeliveryError
from engine.model.message import Delivery
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode


class HttpOutConfig(HttpConfig, Config, Protocol):
    method: str
    taken: str | None


class HttpOut(HttpClient):
    """See `engine.model.ports.Destination`."""

    def __init__(self, name: str, config: HttpOutConfig, clock: Clock) -> None:
        self._http = HttpExchange(
            name,
            config,
            clock,
            accept="*/*",
            redirected=ReasonCode.WRONG_ADDRESS,
            log_in=log_in_of(name, config, clock),
        )
        self._method = config.method
        self._taken = config.taken.encode() if config.taken is not None else b""

    async def deliver(self, delivery: Delivery) -> None:
        answer = await self._http.send(self._method, delivery, {}, delivery.body)
        if self._taken not in answer.body:
            raise RefusedDeliveryError(ReasonCode.REFUSED, NOT_TAKEN, answer=answer.body[:MAX_KEPT_ANSWER_BYTES])

    async def probe(self) -> None:
        """Any answer below 500 shows that the service is there, except one about our log-in.

        A service for documents need not know HEAD, and a probe must not send it a document.
        """
        answer = await self._http.exchange("HEAD", self._http.url, {})
        if answer.status in (401, 403) or answer.status >= 500:
            raise self._http.failure(answer)


def build(name: str, config: HttpOutConfig, clock: Clock) -> HttpOut:
    """The destination ``name`` of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return HttpOut(name, config, clock)
