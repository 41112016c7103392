"""Who may post: a bearer token is looked at before the body is read. Secrets are compared in constant time.

Requests that are signed with a shared secret (HMAC, RFC 2104), as those of payment services and of GitHub.

    head        before the body is read: the signature has the form of one, each signed header is there, and the time,
                where the signed text has one, is within the window around our clock
    signature   over the text that the template makes of headers and body; compared in constant time
    once        a signature with a time is used up by the answer that its sender took; again, it is a replay (409)

A sender that got no answer may send the same signed request again: its first copy was not answered, so the journal
takes the second for a repeat. One that signs each attempt anew, with another time, sends the same body with another
signature. Without a time nothing sets a replay apart, and each copy is the journal's to judge.
A restart forgets the signatures that were used.
"""

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from adapters.transports.errors import RequestError
from engine.model.process.clock import Clock

MAX_USED = 100_000  # signatures remembered, each for two windows at most; beyond that the oldest are forgotten
MAX_SHOWN = 8  # signatures in one header, as while a sender changes its secret
MILLISECONDS = 10**11  # a time from here on is in milliseconds, below in seconds
_PART = re.compile(r"\{([^{}]*)\}")
_TIME = re.compile(r"[0-9]{1,15}")


class Headers(Protocol):
    """The headers of a request, by their names in any case."""

    def getall(self, key: str, default: list[str]) -> list[str]: ...


class Secret(Protocol):
    """A secret by its name, read when it is needed."""

    def reveal(self) -> str: ...


class HmacSettings(Protocol):
    """`hmac:` of ``auth:``."""

    secret: Secret
    signature: str
    timestamp: str | None
    signed: str
    algorithm: str
    encoding: str
    prefix: str
    window: float


class SignatureCheck:
    """The signatures of one channel."""

    proves_early = False
    proven_by_body = True

    def __init__(self, settings: HmacSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._used: OrderedDict[bytes, float] = OrderedDict()  # until when each could be shown again
        self._under_way: set[bytes] = set()

    def head(self, headers: Headers) -> None:
        """Look at all that can be known before the body is read.

        Raises:
            RequestError: 401.
        """
        if not any(self._has_form(one) for one in self._shown(_one(headers, self._settings.signature))):
            raise _unproven(f"{self._settings.signature} has no signature in {self._settings.encoding}")
        for name in _PART.split(self._settings.signed)[1::2]:
            if name != "body":
                self._named(headers, name)
        if self._settings.timestamp is None:
            return
        text = _one(headers, self._settings.timestamp)
        if not _TIME.fullmatch(text):
            raise _unproven(f"{self._settings.timestamp} is no time in seconds or milliseconds since 1970")
        sent_s = int(text) / (1000 if int(text) >= MILLISECONDS else 1)
        if abs(self._now_s() - sent_s) > self._settings.window:
            raise _unproven(
                f"the time of the signature is more than {self._settings.window:g} s from ours; look at both clocks"
            )

    def body(self, headers: Headers, body: bytes) -> bytes:
        """The proof of a whole request, which is under way until `over`.

        Raises:
            RequestError: 401 for another signature, 409 for one that is used up, 503 while the same one is under way.
            ConfigError: our own secret is not set.
        """
        settings = self._settings
        digest = hmac.digest(settings.secret.reveal().encode(), self._signed(headers, body), settings.algorithm)
        expected = digest.hex().encode() if settings.encoding == "hex" else base64.b64encode(digest)
        shown = self._shown(_one(headers, settings.signature))
        if not sum(hmac.compare_digest(expected, one) for one in shown):  # each is compared, whichever fits
            raise _unproven("the signature is not the one of this request")
        if settings.timestamp is None:
            return b""
        if digest in self._under_way:
            raise RequestError(503, "the same request is under way", {"Retry-After": "1"}, "replayed")
        self._forget()
        if digest in self._used:
            raise RequestError(409, "this signed request was taken before", fault="replayed")
        self._under_way.add(digest)
        return digest

    def over(self, proof: bytes, *, taken: bool) -> None:
        """A request has ended; ``taken``: its sender has taken an answer of 2xx."""
        self._under_way.discard(proof)
        if proof and taken:
            self._used[proof] = self._now_s() + 2 * self._settings.window

    def _shown(self, value: str) -> Iterator[bytes]:
        """The signatures in a header, separated by blanks, without their prefix."""
        for one in value.split()[:MAX_SHOWN]:
            if one.startswith(self._settings.prefix):
                text = one[len(self._settings.prefix) :]
                yield (text.lower() if self._settings.encoding == "hex" else text).encode("utf-8", "surrogateescape")

    def _has_form(self, signature: bytes) -> bool:
        """Whether it is as long as a signature, in its encoding."""
        size = hashlib.new(self._settings.algorithm).digest_size
        try:
            made = (
                bytes.fromhex(signature.decode())
                if self._settings.encoding == "hex"
                else base64.b64decode(signature, validate=True)
            )
        except ValueError:
            return False
        return len(made) == size

    def _signed(self, headers: Headers, body: bytes) -> bytes:
        parts = _PART.split(self._settings.signed)  # text, name, text, name ... text
        return b"".join(
            part.encode() if at % 2 == 0 else body if part == "body" else self._named(headers, part)
            for at, part in enumerate(parts)
        )

    def _named(self, headers: Headers, name: str) -> bytes:
        header = self._settings.timestamp if name == "timestamp" else name
        assert header is not None  # the configuration gives it
        return _one(headers, header).encode("utf-8", "surrogateescape")

    def _forget(self) -> None:
        """Forget signatures whose time is over by now."""
        now_s = self._now_s()
        while self._used and (len(self._used) >= MAX_USED or next(iter(self._used.values())) < now_s):
            self._used.popitem(last=False)

    def _now_s(self) -> float:
        return self._clock.now_us() / 1e6


def _one(headers: Headers, name: str) -> str:
    shown = headers.getall(name, [])
    if len(shown) != 1:
        raise _unproven(f"the header {name} is missing" if not shown else f"the header {name} is there twice")
    return shown[0].strip()


def _unproven(text: str) -> RequestError:
    return RequestError(401, text, {"WWW-Authenticate": "HMAC"}, "unauthorized")


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
