"""The kinds of log-in that an ``auth:`` block asks for (`log_in` says what each does)."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from functools import partial

from yarl import URL

from adapters.clients.http import log_in
from adapters.clients.http.log_in import BasicAuth, ServerTime
from adapters.clients.http.oauth2 import OAuth2
from adapters.codecs.signatures import HEADER, sign
from engine.model.errors import ConfigError
from engine.model.process.clock import Clock


def log_in_of(name: str, config: log_in.Config, clock: Clock) -> log_in.LogIn | None:
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
            self._value = log_in.revealed(self._make)
        return {"Authorization": self._value}

    def refused(self, status: int, date: str, sent: Mapping[str, str]) -> bool:
        self._value = None
        return False


class _Signature:
    """A signature of each request by itself (`adapters.codecs.signatures`), at the time of its attempt."""

    def __init__(self, auth: log_in.HmacAuth, clock: Clock) -> None:
        self._auth = auth
        self._time = ServerTime(clock)
        self._key: bytes | None = None

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def headers(self, method: str, url: URL, body: bytes, deadline: float) -> Mapping[str, str]:
        if self._key is None:
            self._key = log_in.revealed(self._auth.secret.reveal).encode()
        given = (self._key, self._auth.key_id, int(self._time.now().timestamp()), method, url.raw_path_qs, body)
        signed = sign(*given) if len(body) <= log_in.LARGE_BODY_BYTES else await asyncio.to_thread(sign, *given)
        return {HEADER: signed}

    def refused(self, status: int, date: str, sent: Mapping[str, str]) -> bool:
        """Try again where it is our clock that is wrong: a receiver refuses signatures that are too old or too new."""
        self._key = None
        return status == 401 and self._time.heard(date)


def _basic(auth: BasicAuth) -> str:
    return "Basic " + base64.b64encode(f"{auth.user}:{auth.password.reveal()}".encode()).decode("ascii")


def _bearer(auth: log_in.BearerAuth) -> str:
    return f"Bearer {log_in.of_one_line(auth.token.reveal(), 'auth.bearer.token')}"
