"""Who may post: a bearer token is looked at before the body is read. Secrets are compared in constant time."""

import hmac
from typing import Protocol

from adapters.transports.errors import RequestError


class Headers(Protocol):
    """The headers of a request, by their names in any case."""

    def getall(self, key: str, default: list[str]) -> list[str]: ...


class Secret(Protocol):
    """A secret by its name, read when it is needed."""

    def reveal(self) -> str: ...


class BearerSettings(Protocol):
    """`bearer:` of ``auth:``."""

    token: Secret


class Settings(Protocol):
    """`auth:` of a channel's ``source:``, exactly one of its keys set."""

    bearer: BearerSettings


class SenderCheck(Protocol):
    """The proof that a channel asks of each request."""

    def head(self, headers: Headers) -> None:
        """Look at the head of a request, before its body is read.

        Raises:
            RequestError: 401.
            ConfigError: our own secret is not set.
        """


class NoCheck:
    """Every program of this machine may send, or TLS has asked for a certificate."""

    def head(self, headers: Headers) -> None:
        """Nothing is asked for."""


class BearerCheck:
    """A fixed token (RFC 6750, 2.1)."""

    def __init__(self, settings: BearerSettings) -> None:
        self._settings = settings

    def head(self, headers: Headers) -> None:
        shown = headers.getall("Authorization", [])
        scheme, _, token = shown[0].partition(" ") if len(shown) == 1 else ("", "", "")
        expected = self._settings.token.reveal().encode()
        # compared also where none was sent, so that the time says nothing
        same = hmac.compare_digest(token.strip().encode("utf-8", "surrogateescape"), expected)
        if not same or scheme.lower() != "bearer":
            raise RequestError(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"}, "unauthorized")


def check_of(auth: Settings | None) -> SenderCheck:
    """The check that ``auth:`` asks for."""
    return NoCheck() if auth is None else BearerCheck(auth.bearer)
