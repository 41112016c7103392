"""Authenticate each HTTP request: HTTP Basic, a fixed token, a signature, or tokens of an authorization server.

A secret is read when it is first needed and again after the server refused it, so that a rotated one is picked up
without a restart. Neither secrets nor values made of them appear in an error, a log or a repr.

Signatures and assertions are valid for minutes, and a laboratory's machine may be off by more: without a battery, or
without a time server behind its firewall. The server checks them by its own clock, so that clock is used, known by the
Date headers of its answers (RFC 9110, 6.6.1).
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Protocol

from yarl import URL

from engine.model.errors import ConfigError, DestinationDownError
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode


class Address(Protocol):
    host: str
    port: int


class Secret(Protocol):
    """A place that a secret is read from, each time it is needed: a rotated one is picked up."""

    def reveal(self) -> str: ...


class BasicAuth(Protocol):
    user: str
    password: Secret


class Tls(Protocol):
    """PEM files: the authorities that we trust (None: the system's), our certificate and its key."""

    ca: Path | None
    cert: Path | None
    key: Path | None


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


TOLERATED_S = 20.0  # a header of whole seconds, and the way of the answer
BELIEVED_YEARS = range(2020, 2200)


class ServerTime:
    """Our clock, and by how much a server's differs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ahead_s = 0.0  # of the server, before ours

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self.ahead_s)

    def heard(self, date: str) -> bool:
        """Take in the Date header of an answer that has just come. True: the time is another one than we thought."""
        said = http_date(date)
        if said is None or said.year not in BELIEVED_YEARS:
            return False
        ahead_s = (said - self._clock.now()).total_seconds()
        if abs(ahead_s - self.ahead_s) <= TOLERATED_S:
            return False
        self.ahead_s = ahead_s if abs(ahead_s) > TOLERATED_S else 0.0
        return True


def http_date(text: str) -> datetime | None:
    """An HTTP date (RFC 9110, 5.6.7); None where it is none."""
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
