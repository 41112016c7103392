"""Authenticate each HTTP request: HTTP Basic, a fixed token, a signature, or tokens of an authorization server.

A secret is read when it is first needed and again after the server refused it, so that a rotated one is picked up
without a restart. Neither secrets nor values made of them appear in an error, a log or a repr.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from yarl import URL

from adapters.clients.http.settings import BasicAuth, Secret, Tls
from engine.model.errors import ConfigError, DestinationDownError
from engine.model.texts.reasons import ReasonCode

LARGE_BODY_BYTES = 1024 * 1024  # above it, a digest is made beside the event loop


class BearerAuth(Protocol):
    token: Secret


class HmacAuth(Protocol):
    key_id: str
    secret: Secret


class OAuth2Auth(Protocol):
    token_url: str | None
    token_host: str | None
    client_id: str
    client_secret: Secret | None
    client_auth: str
    key: Path | None
    private_key: Secret | None
    kid: str | None
    scope: str | None
    audience: str | None
    tls: Tls | None


class Auth(Protocol):
    basic: BasicAuth | None
    bearer: BearerAuth | None
    oauth2: OAuth2Auth | None
    hmac: HmacAuth | None


class Config(Protocol):
    """The settings of a destination for logging in."""

    url: str
    auth: Auth | None
    tls: Tls | None
    timeout: float


class LogIn(Protocol):
    """The authentication of a request."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def headers(self, method: str, url: URL, body: bytes, deadline: float) -> Mapping[str, str]:
        """The headers that log this request in.

        Args:
            body: as it goes out, compressed where it is.
            deadline: of the attempt, on the event loop's clock.

        Raises:
            TransientDeliveryError, DestinationDownError
        """

    def refused(self, status: int, date: str, sent: Mapping[str, str]) -> bool:
        """The server answered 401 or 403 to a request with the headers ``sent``. True: others may let it in.

        Args:
            date: the answer's Date header.
        """


def of_one_line(value: str, place: str) -> str:
    """A secret that goes into a header as it is.

    Raises:
        ConfigError: no header can have it; the text does not repeat it.
    """
    if not value.isascii() or not value.isprintable():
        raise ConfigError(f"{place} has signs that no header can have, a line end perhaps; write the secret anew")
    return value


def revealed(reveal: Callable[[], str]) -> str:
    """The secret that ``reveal`` returns.

    Raises:
        DestinationDownError: NOT_AUTHORIZED, the secret is not set.
    """
    try:
        return reveal()
    except ConfigError as error:
        raise DestinationDownError(ReasonCode.NOT_AUTHORIZED, str(error)) from error
