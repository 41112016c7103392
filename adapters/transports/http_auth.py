"""Who may post: a bearer token is looked at before the body is read. Secrets are compared in constant time."""

import hmac
from typing import Protocol

from adapters.transports.errors import RequestError
from adapters.transports.http_signature import Headers, Secret, SignatureCheck
from adapters.transports.http_signature import Settings as HmacSettings
from engine.model.process.clock import Clock


class BearerSettings(Protocol):
    """`bearer:` of ``auth:``."""

    token: Secret


class Settings(Protocol):
    """`auth:` of a channel's ``source:``, exactly one of its keys set."""

    bearer: BearerSettings | None
    hmac: HmacSettings | None


class SenderCheck(Protocol):
    """The proof that a channel asks of each request.

    Attributes:
        proves_early: the head alone proves the sender, before the body comes.
        proven_by_body: the body must be read first; so strangers can send some, too.
    """

    proves_early: bool
    proven_by_body: bool

    def head(self, headers: Headers) -> None:
        """Look at the head of a request, before its body is read.

        Raises:
            RequestError: it is no proof.
            ConfigError: our own secret is not set.
        """

    def body(self, headers: Headers, body: bytes) -> bytes:
        """Look at the whole request; the proof is for `over`. Raises as ``head``."""

    def over(self, proof: bytes, *, taken: bool) -> None:
        """A request has ended; ``taken``: its sender has taken an answer of 2xx."""


class NoCheck:
    """Every program of this machine may send, or TLS has asked for a certificate."""

    proves_early = False
    proven_by_body = False

    def head(self, headers: Headers) -> None:
        """Nothing is asked for."""

    def body(self, headers: Headers, body: bytes) -> bytes:
        return b""

    def over(self, proof: bytes, *, taken: bool) -> None:
        """Nothing is remembered."""


class BearerCheck:
    """A fixed token (RFC 6750, 2.1)."""

    proves_early = True
    proven_by_body = False

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

    def body(self, headers: Headers, body: bytes) -> bytes:
        return b""

    def over(self, proof: bytes, *, taken: bool) -> None:
        """A token may be shown again."""


def check_of(auth: Settings | None, clock: Clock) -> SenderCheck:
    """The check that ``auth:`` asks for."""
    if auth is None:
        return NoCheck()
    if auth.hmac is not None:
        return SignatureCheck(auth.hmac, clock)
    assert auth.bearer is not None
    return BearerCheck(auth.bearer)
