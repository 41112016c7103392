"""Tokens of an authorization server: OAuth 2.0 client credentials (RFC 6749, 4.4), SMART backend services.

One token serves all deliveries of a destination. It is kept in memory only.

    no token, or one that has expired    the first request asks for one; requests that come meanwhile wait for it
    a token close to its end             one request is begun, and the old token serves until it is there
    401 from the destination             that token is forgotten, and the delivery goes out once more with a new one
    403                                  that token is forgotten: the next attempt has one with today's rights

Lives are measured on our monotonic clock from before the request, so that a wrong wall clock changes nothing. The wall
clock matters for assertions only; where a server refuses one, the time in its Date header is used. `oauth2_answer`
interprets the server's answers. Where the configuration names no server, the FHIR server is asked for it, and once more
after tokens were refused (`smart_discovery`).

The answer of an authorization server to a token request (RFC 6749, 5.1 and 5.2).

    200 with access_token                   a token
    400, 401, 403 with an error of ours     NOT_AUTHORIZED  the client is wrong: a person must act, the breaker opens
    408, 425, 429, 5xx, or an error that    NO_TOKEN, transient; Retry-After honoured
    says "later"
    anything else                           NO_TOKEN, the destination as a whole: a log-in page, a wrong address

None of it is about the document that waits for the token, so none of it can make a dead letter. Of an answer only its
error code and its description are reported, the latter without any text that we sent.

Find the token endpoint that a FHIR server declares: SMART App Launch 2.2, "Obtaining the server's SMART
configuration" (``[base]/.well-known/smart-configuration``).

A client's secret, or its signed assertion, goes to the address that this document names. So the address is believed
only where it is on the server's own host or on the one that the configuration names (``token_host``), and where it is
https; on loopback, where the server itself is there, http will do.
"""

import asyncio
import base64
import contextlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode

from yarl import URL

from adapters.clients.http.exchange import HttpExchange, Server, retry_after_seconds
from adapters.clients.http.log_in import OAuth2Auth, ServerTime, Tls, revealed
from engine.model.errors import DeliveryError, DestinationDownError, TransientDeliveryError
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode

logger = logging.getLogger("labrelay.delivery")

RENEW_BEFORE_S = 60.0  # the end of a token; of one that lives shorter than four minutes, a quarter of its life before
AGAIN_AFTER_S = 5.0  # after a renewal ahead of time that failed


@dataclass(frozen=True, slots=True)
class _Token:
    """Instants are monotonic seconds."""

    value: str = field(repr=False)
    renew_at: float
    expires_at: float


class OAuth2:
    """See `log_in.LogIn`.

    Args:
        base: of the FHIR server, which is asked for the token server where ``auth`` names none.
        timeout_s: for one request to the token server.

    Raises:
        ConfigError: a certificate file of ``tls`` cannot be used.
    """

    def __init__(
        self, name: str, auth: OAuth2Auth, tls: Tls | None, timeout_s: float, clock: Clock, base: str = ""
    ) -> None:
        self._name = name
        self._auth = auth
        self._clock = clock
        self._time = ServerTime(clock)
        self._base = base
        self._url = None if auth.token_url is None else URL(auth.token_url)
        wants_tls = (auth.token_url or base).startswith("https:")
        self._http = HttpExchange(
            name,
            Server(url=auth.token_url or base, tls=tls if wants_tls else None, timeout=timeout_s),
            clock,
            accept="application/json",
            redirected=ReasonCode.NO_TOKEN,
        )
        self._signed = auth.client_secret is None
        if self._signed:
            from adapters.clients.http import jwt  # brings joserfc along, which takes its time

            self._sign = jwt.sign
            self._assertion_type = jwt.ASSERTION_TYPE
        self._token: _Token | None = None
        self._renewing: asyncio.Task[_Token] | None = None
        self._not_before = 0.0

    async def start(self) -> None:
        await self._http.start()

    async def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        self._token = None
        await self._http.close()

    async def headers(self, method: str, url: URL, body: bytes, deadline: float) -> Mapping[str, str]:
        now = self._clock.monotonic()
        token = self._token
        if token is None or now >= token.expires_at:
            token = await self._new_token(deadline)
        elif now >= token.renew_at and now >= self._not_before:
            self._renewal()
        return {"Authorization": _bearer(token)}

    def refused(self, status: int, date: str, sent: Mapping[str, str]) -> bool:
        if self._token is not None and sent["Authorization"] == _bearer(self._token):
            self._token = None
        return status == 401

    async def _new_token(self, deadline: float) -> _Token:
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(self._renewal())
        except TimeoutError as error:
            raise TransientDeliveryError(ReasonCode.NO_TOKEN, "the token server did not answer in time") from error

    def _renewal(self) -> "asyncio.Task[_Token]":
        """The request that is under way, or a new one."""
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(), name=f"token of {self._name}")
            self._renewing.add_done_callback(self._renewed)
        return self._renewing

    def _renewed(self, task: "asyncio.Task[_Token]") -> None:
        self._renewing = None
        if task.cancelled():
            return
        if task.exception() is None:
            self._token = task.result()
        else:  # waiting requests get the error; the existing token may be valid for some time yet
            self._not_before = self._clock.monotonic() + AGAIN_AFTER_S

    async def _renew(self) -> _Token:
        for corrected in (False, True):
            with _about_tokens():
                if self._url is None:
                    self._url = await token_endpoint(self._http, self._base, self._auth.token_host, self._clock)
            url = self._url
            asked_at = self._clock.monotonic()
            headers, form, secrets = self._request(str(url))
            with _about_tokens():
                answer = await self._http.exchange(
                    "POST", url, headers, urlencode(form, quote_via=quote_plus).encode("ascii")
                )
            found = read_answer(
                answer.status,
                answer.body if answer.whole else b"",
                proof="client_id and client_secret" if not self._signed else "client_id, the private key and kid",
                secrets=secrets,
                retry_after=retry_after_seconds(answer.retry_after, self._clock.now()),
            )
            if isinstance(found, Granted):
                early_s = min(RENEW_BEFORE_S, found.life_s / 4)
                return _Token(found.value, asked_at + found.life_s - early_s, asked_at + found.life_s)
            if self._auth.token_url is None and isinstance(found, DestinationDownError):
                self._url = None  # it may have moved
            refused = found.reason is ReasonCode.NOT_AUTHORIZED
            if corrected or not (refused and self._signed and self._time.heard(answer.date)):
                raise found
            logger.warning(
                "our clock and the token server's differ; its time is used for assertions",
                extra={"destination": self._name, "duration_s": round(self._time.ahead_s)},
            )
        raise AssertionError("the second round returns or raises")

    def _request(self, url: str) -> tuple[dict[str, str], dict[str, str], list[str]]:
        """Headers, form, and the secrets among them.

        Raises:
            DestinationDownError: NOT_AUTHORIZED, a secret or key cannot be read.
        """
        auth = self._auth
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        form = {"grant_type": "client_credentials"}
        if auth.scope is not None:
            form["scope"] = auth.scope
        if auth.audience is not None:
            form["audience"] = auth.audience
        if auth.client_secret is None:
            assertion = revealed(lambda: self._sign(auth, url, self._time.now()))
            form |= {"client_assertion_type": self._assertion_type, "client_assertion": assertion}
            return headers, form, [assertion, assertion.rpartition(".")[2]]
        secret = revealed(auth.client_secret.reveal)
        if auth.client_auth == "post":
            form |= {"client_id": auth.client_id, "client_secret": secret}
            return headers, form, [secret, quote_plus(secret)]
        pair = base64.b64encode(f"{quote_plus(auth.client_id)}:{quote_plus(secret)}".encode()).decode("ascii")
        headers["Authorization"] = f"Basic {pair}"
        return headers, form, [secret, quote_plus(secret), pair]


def _bearer(token: _Token) -> str:
    return f"Bearer {token.value}"


@contextlib.contextmanager
def _about_tokens() -> Iterator[None]:
    """Report a failed request as a fault of the token server."""
    try:
        yield
    except TransientDeliveryError as error:
        kind = DestinationDownError if isinstance(error, DestinationDownError) else TransientDeliveryError
        raise kind(ReasonCode.NO_TOKEN, f"the token server: {error.detail}") from error.__cause__


# Where the server does not say how long a token lives (RFC 6749 only recommends that it does).
UNSAID_LIFE_S = 300.0
LONGEST_LIFE_S = 86_400.0
MAX_TOKEN_CHARS = 32 * 1024
MAX_DESCRIPTION_CHARS = 200
LATER = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
_CODE = re.compile(r"[A-Za-z_]{1,40}")  # any server has some of its own
# Error codes of RFC 6749 and RFC 8707, and where to look.
WRONG: dict[str, str] = {
    "invalid_client": "it does not know this client, or not with this proof; check {proof}",
    "unauthorized_client": "this client may not use the grant client_credentials; have it allowed there",
    "invalid_grant": "it does not take this proof; check {proof}",
    "invalid_scope": "it does not give this scope; check scope",
    "invalid_target": "it does not know this audience; check audience",
    "invalid_request": "it misses something in the request; check scope, audience and {proof}",
    "unsupported_grant_type": "it does not know the grant client_credentials; check token_url",
    "access_denied": "it denies access to this client; have it allowed there",
}


@dataclass(frozen=True, slots=True)
class Granted:
    """A token.

    Attributes:
        value: as it goes into ``Authorization: Bearer``.
        life_s: how long it is good for, from when it was asked for.
    """

    value: str = field(repr=False)
    life_s: float


def read_answer(
    status: int, body: bytes, *, proof: str, secrets: Iterable[str] = (), retry_after: float | None = None
) -> Granted | DeliveryError:
    """The token, or why there is none.

    Args:
        proof: the keys of the configuration that identify us.
        secrets: texts that must not be reported, even if the server repeats them.
    """
    said = _object(body)
    if 200 <= status < 300:
        token, life_s = said.get("access_token"), _life(said.get("expires_in"))
        kind = said.get("token_type", "Bearer")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            return _none(f"HTTP {status}, a token of another type than Bearer")
        if isinstance(token, str) and _is_token(token) and life_s is not None:
            return Granted(token, life_s)
        return _none(f"HTTP {status}, and no token in the answer")
    error = said.get("error")
    code = error if isinstance(error, str) and _CODE.fullmatch(error) else ""
    answered = f"HTTP {status}{f' {code}' if code else ''}"
    if status in (408, 425, 429) or status >= 500 or code in LATER:
        return TransientDeliveryError(ReasonCode.NO_TOKEN, f"the token server: {answered}", retry_after=retry_after)
    if (code and 400 <= status < 500) or status in (401, 403):
        why = WRONG.get(code, "it refuses this client; check {proof}").format(proof=proof)
        words = _description(said.get("error_description"), secrets)
        return DestinationDownError(
            ReasonCode.NOT_AUTHORIZED, f"the token server: {answered}: {why}{f' (it says: {words})' if words else ''}"
        )
    if 300 <= status < 400:
        return _none(f"{answered}, a redirect; none is followed")
    return _none(answered)


def _none(what: str) -> DestinationDownError:
    return DestinationDownError(ReasonCode.NO_TOKEN, f"the token server: {what}; check token_url")


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_token(text: str) -> bool:
    """Nothing that would end a header line, or is no token at all."""
    return 0 < len(text) <= MAX_TOKEN_CHARS and text.isascii() and text.isprintable() and " " not in text


def _life(said: Any) -> float | None:
    """Seconds; some servers write them as text. None where it is no number of seconds."""
    if said is None:
        return UNSAID_LIFE_S
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    try:
        life_s = float(said)
    except (ValueError, OverflowError):
        return None
    return min(life_s, LONGEST_LIFE_S) if life_s > 0 else None  # also where it is no number: NaN


def _description(said: Any, secrets: Iterable[str]) -> str:
    """The server's own words, shortened; none where they repeat a secret."""
    if not isinstance(said, str):
        return ""
    text = " ".join("".join(each if each.isprintable() else " " for each in said).split())
    if any(secret and secret in said for secret in secrets):
        return ""
    return text if len(text) <= MAX_DESCRIPTION_CHARS else text[:MAX_DESCRIPTION_CHARS].rstrip() + " ..."


PATH = ".well-known/smart-configuration"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


async def token_endpoint(http: HttpExchange, base: str, token_host: str | None, clock: Clock) -> URL:
    """Ask the server at ``base`` for the address that gives tokens.

    Raises:
        TransientDeliveryError: NO_TOKEN, it cannot say so now.
        DestinationDownError: NO_TOKEN, it does not say so, or names an address that is not believed.
    """
    where = URL(f"{base}/{PATH}", encoded=True)
    answer = await http.exchange("GET", where, {"Accept": "application/json"})
    if answer.status in (408, 425, 429) or answer.status >= 500:
        raise TransientDeliveryError(
            ReasonCode.NO_TOKEN,
            f"{PATH}: HTTP {answer.status}",
            retry_after=retry_after_seconds(answer.retry_after, clock.now()),
        )
    if answer.status != 200 or not answer.whole:
        raise _not_told(f"HTTP {answer.status}")
    return believed(answer.body, URL(base, encoded=True), token_host)


def believed(document: bytes, base: URL, token_host: str | None) -> URL:
    """The token endpoint that a SMART configuration names.

    Raises:
        DestinationDownError: NO_TOKEN, there is none, or none that secrets may be sent to.
    """
    try:
        said = json.loads(document)
    except (ValueError, RecursionError):
        said = None
    named = said.get("token_endpoint") if isinstance(said, dict) else None
    if not isinstance(named, str) or not named.isascii() or not named.isprintable():
        raise _not_told("no token_endpoint in it")
    try:
        url = URL(named, encoded=True)
        host, given = url.host, url.user is not None or url.password is not None or bool(url.raw_fragment)
    except ValueError:
        raise _not_told("its token_endpoint is no URL") from None
    if host is None or given:
        raise _not_told("its token_endpoint is no address of a server")
    if host not in {base.host, token_host}:
        raise _not_told(
            f"its token_endpoint is on {host[:100]}, and not on {base.host}: no secret is sent there; if that is "
            f"right, write `token_host: {host[:100]}`"
        )
    if url.scheme != "https" and not (url.scheme == "http" and host in LOOPBACK and base.host in LOOPBACK):
        raise _not_told("its token_endpoint is not https: no secret is sent there")
    return url


def _not_told(what: str) -> DestinationDownError:
    return DestinationDownError(ReasonCode.NO_TOKEN, f"{PATH}: {what}; or write token_url: yourself")
