"""Requests with a text of a site's own: one text, one request. Shared with destinations are log-in, TLS and the meaning
of an answer (`adapters.clients.http.exchange`).

The values of a text are in the body alone, in no address, log or error.
"""

from collections.abc import Mapping
from typing import Protocol

from adapters.clients.http.auth import log_in_of
from adapters.clients.http.exchange import NOT_TAKEN, HttpClient, HttpExchange, Server
from adapters.clients.http.log_in import Config, Secret
from engine.model.errors import ConfigError, DestinationDownError, RefusedDeliveryError
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode
from engine.model.texts.templates import filled

MEDIA = {"json": "application/json", "form": "application/x-www-form-urlencoded", "text": "text/plain; charset=utf-8"}


class Header(Protocol):
    name: str
    secret: Secret


class Settings(Config, Protocol):
    """As `engine.config.destinations.templated_request.TemplatedRequest`."""

    method: str
    header: Header | None
    type: str
    body: str
    taken: str | None


class TemplatedRequests(HttpClient):
    """The service of one owner."""

    def __init__(self, name: str, settings: Settings, clock: Clock) -> None:
        """
        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        self._settings = settings
        server = Server(url=settings.url, tls=settings.tls, timeout=settings.timeout)
        self._http = HttpExchange(
            name,
            server,
            clock,
            accept="*/*",
            redirected=ReasonCode.WRONG_ADDRESS,
            log_in=log_in_of(name, settings, clock),
        )

    async def probe(self) -> None:
        """Connect, and make no request: the service may do something at each one."""
        await self._http.reach()

    async def send(self, values: Mapping[str, str], key: str = "") -> None:
        """Give a text with these values to the service.

        Args:
            key: the same at each attempt, for a service that looks for repeats.

        Raises:
            DeliveryError: it has not taken it; transient: the same may be tried again.
        """
        settings = self._settings
        headers = {"Content-Type": MEDIA[settings.type], **({"Idempotency-Key": key} if key else {})}
        try:
            if settings.header is not None:
                headers[settings.header.name] = settings.header.secret.reveal()
        except ConfigError as error:
            raise DestinationDownError(ReasonCode.NOT_AUTHORIZED, str(error)) from error
        body = filled(settings.body, settings.type, values)
        answer = await self._http.exchange(settings.method, self._http.url, headers, body.encode())
        if not 200 <= answer.status < 300:
            raise self._http.failure(answer)
        if settings.taken is not None and settings.taken.encode() not in answer.body:
            raise RefusedDeliveryError(ReasonCode.REFUSED, NOT_TAKEN)


def build(name: str, settings: Settings, clock: Clock) -> TemplatedRequests:
    """The service of ``name``.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return TemplatedRequests(name, settings, clock)
