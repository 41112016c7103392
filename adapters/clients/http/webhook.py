"""Signed requests to a web hook of another program: one event, one request.

2xx          taken
400, 422 ..  refused: the receiver cannot use this event
all else     tried again; 410: the receiver wants no more, until a person has looked
"""

from typing import Protocol

from adapters.clients.http.exchange import HttpClient, HttpExchange, Server
from adapters.clients.http.log_in import Secret, Tls
from adapters.codecs import signatures
from engine.model.errors import ConfigError, DestinationDownError
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode


class Settings(Protocol):
    """As `engine.features.events.config.WebhookConfig`."""

    url: str
    secret: Secret
    former_secret: Secret | None
    tls: Tls | None
    timeout: float


class Webhook(HttpClient):
    """The client of one web hook."""

    def __init__(self, name: str, settings: Settings, clock: Clock) -> None:
        """
        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        self._settings = settings
        self._clock = clock
        server = Server(url=settings.url, tls=settings.tls, timeout=settings.timeout)
        self._http = HttpExchange(name, server, clock, accept="*/*", redirected=ReasonCode.WRONG_ADDRESS, whole=False)

    async def probe(self) -> None:
        """Connect, and make no request: a receiver may take each one for an event."""
        await self._http.reach()

    async def send(self, event_id: str, body: bytes) -> None:
        """Make one attempt to give an event to the receiver.

        Args:
            event_id: the same at each attempt.

        Raises:
            DeliveryError: the receiver has not taken it; transient: the same may be tried again.
        """
        signed = signatures.headers(self._keys(), event_id, int(self._clock.now().timestamp()), body)
        answer = await self._http.exchange("POST", self._http.url, {"Content-Type": "application/json", **signed}, body)
        if answer.status == 410:
            raise DestinationDownError(ReasonCode.WRONG_ADDRESS, "HTTP 410: the receiver wants no more events")
        if not 200 <= answer.status < 300:
            raise self._http.failure(answer)

    def _keys(self) -> list[bytes]:
        """The keys, read each time: a new value counts at once."""
        keys = []
        for secret in (self._settings.secret, self._settings.former_secret):
            try:
                keys += [signatures.key_of(secret.reveal())] if secret is not None else []
            except (ConfigError, ValueError) as error:
                text = str(error) if isinstance(error, ConfigError) else f"{secret}: {error}"
                raise DestinationDownError(ReasonCode.NOT_AUTHORIZED, text) from None
        return keys


def build(name: str, settings: Settings, clock: Clock) -> Webhook:
    """The client of the web hook ``name``.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return Webhook(name, settings, clock)
