"""Authenticate each HTTP request: HTTP Basic, a fixed token, a signature, or tokens of an authorization server.

A secret is read when it is first needed and again after the server refused it, so that a rotated one is picked up
without a restart. Neither secrets nor values made of them appear in an error, a log or a repr.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from yarl import URL

from adapters.codecs.signatures.http import HEADER, sign
from adapters.destinations.http.server_time import ServerTime
from adapters.destinations.http.settings import BasicAuth, Secret, Tls
from engine.model.clock import Clock
from engine.model.errors import ConfigError, DestinationDownError
from engine.model.reasons import ReasonCode

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


def log_in_of(name: str, config: Config, clock: Clock) -> LogIn | None:
    """The log-in for the ``auth:`` of destination ``name``; None without ``auth:``.

    Raises:
        ConfigError: ``auth:`` is incomplete, or a file cannot be used.
    """
    auth = config.auth
    if auth is None:
        return None
    if auth.basic is not None:
        return _Fixed(partial(_basic, auth.basic))
    if auth.bearer is not None:
        return _Fixed(partial(_bearer, auth.bearer))
    if auth.hmac is not None:
        return _Signature(auth.hmac, clock)
    if auth.oauth2 is not None:
        from adapters.destinations.http.oauth2 import OAuth2  # only where a site has it

        return OAuth2(name, auth.oauth2, auth.oauth2.tls or config.tls, config.timeout, clock, config.url)
    raise ConfigError(f"destinations.{name}.auth: give basic, bearer, oauth2 or hmac")


class _Fixed:
    """The same ``Authorization`` with each request: HTTP Basic (RFC 7617), a bearer token (RFC 6750)."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make
        self._value: str | None = None

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def headers(self, method: str, url: URL, body: bytes, deadline: float) -> Mapping[str, str]:
        if self._value is None:
            self._value = revealed(self._make)
        return {"Authorization": self._value}

    def refused(self, status: int, date: str, sent: Mapping[str, str]) -> bool:
        self._value = None
        return False


class _Signature:
    """A signature of each request by itself (`adapters.codecs.signatures.http`), at the time of its attempt."""

    def __init__(self, auth: HmacAuth, clock: Clock) -> None:
        self._auth = auth
        self._time = ServerTime(clock)
        self._key: bytes | None = None

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def headers(self, method: str, url: URL, body: bytes, deadline: float) -> Mapping[str, str]:
        if self._key is None:
            self._key = revealed(self._auth.secret.reveal).encode()
        given = (self._key, self._auth.key_id, int(self._time.now().timestamp()), method, url.raw_path_qs, body)
        signed = sign(*given) if len(body) <= LARGE_BODY_BYTES else await asyncio.to_thread(sign, *given)
        return {HEADER: signed}

    def refused(self, status: int, date: str, sent: Mapping[str, str]) -> bool:
        """Try again where it is our clock that is wrong: a receiver refuses signatures that are too old or too new."""
        self._key = None
        return status == 401 and self._time.heard(date)


def _basic(auth: BasicAuth) -> str:
    return "Basic " + base64.b64encode(f"{auth.user}:{auth.password.reveal()}".encode()).decode("ascii")


def _bearer(auth: BearerAuth) -> str:
    return f"Bearer {of_one_line(auth.token.reveal(), 'auth.bearer.token')}"


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
