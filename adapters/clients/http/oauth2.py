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
"""

import asyncio
import base64
import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus, urlencode

from yarl import URL

from adapters.clients.http.exchange import HttpExchange, Server, retry_after_seconds
from adapters.clients.http.log_in import OAuth2Auth, revealed
from adapters.clients.http.oauth2_answer import Granted, read_answer
from adapters.clients.http.server_time import ServerTime
from adapters.clients.http.settings import Tls
from adapters.clients.http.smart_discovery import token_endpoint
from engine.model.clock import Clock
from engine.model.errors import DestinationDownError, TransientDeliveryError
from engine.model.reasons import ReasonCode

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
