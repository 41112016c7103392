"""Calls to ABDM's gateway (V3) over HTTP: its headers, our session there, its public keys.

    POST /api/hiecm/gateway/v3/sessions   a token for some minutes; one renewal at a time, a while before its end
    GET  /api/hiecm/gateway/v3/certs      the keys that sign callbacks; kept, and fetched anew once for an unknown one

A call is made once here: a repeat needs another REQUEST-ID, which the journal has to know first. A 401 ends our
session, so the next attempt has a new one. TIMESTAMP is the gateway's own time where its Date headers show that our
clock is off: it refuses calls that are minutes early or late.

Texts of the gateway may quote a patient. They are in the answer, for the journal, and in no log and no error.

Sources: NHA's OpenAPI documents of 2026-09-16 (gateway, hiecm).

Our own health path, fetched by the public name that the gateway uses: whether callbacks can come in.
"""

import asyncio
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import uuid4

import aiohttp
import orjson

from adapters.clients.http.exchange import CAUSES
from adapters.clients.http.log_in import Secret, ServerTime, http_date
from adapters.clients.tls import cause_of, tls_context
from engine.features.abdm.rules.network import GatewayAnswer, Verdict
from engine.features.abdm.wire import times, verdicts
from engine.model.errors import GatewayDownError
from engine.model.process.clock import Clock

SESSIONS = "/api/hiecm/gateway/v3/sessions"
CERTS = "/api/hiecm/gateway/v3/certs"
MAX_ANSWER_BYTES = 1024 * 1024
KEEP_ALIVE_S = 4.0  # shorter than the 5 s after which common servers close a quiet connection
EARLY_S = 60.0  # before its end a session is renewed; at most half of its life
SHORTEST_S, LONGEST_S = 1.0, 86_400.0  # of the life that an answer may name
NO_SESSION_S = 5.0  # after a log-in that failed none is tried
NO_KEYS_S = 5.0  # after a look for keys that failed, where there are none
UNKNOWN_KEY_S = 5.0  # between two looks for a key that is not among those that are kept: 12 a minute at most
KEYS_S = 6 * 3600.0  # then they are fetched anew
MOST_KEYS = 100
TIMEOUT = "no answer in time"


class Settings(Protocol):
    """The settings that are read here, of `engine.features.abdm.config.destination.AbdmDestination`."""

    environment: str
    client_id: str
    client_secret: Secret
    timeout: float
    concurrency: int

    @property
    def place(self) -> str: ...


class Gateway:
    """The gateway, for one account.

    Attributes:
        time: its clock, as its answers show it.
    """

    def __init__(self, name: str, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._base = settings.place
        self._tls = tls_context(name, None) if self._base.startswith("https:") else None
        self._client: aiohttp.ClientSession | None = None
        self.time = ServerTime(clock)
        self._token = ""
        self._token_until_s = 0.0
        self._renewing = asyncio.Lock()
        self._no_session_until_s = 0.0
        self._no_session: GatewayAnswer | None = None
        self._keys: Sequence[Mapping[str, Any]] = ()
        self._keys_at_s = 0.0
        self._no_keys = ""  # why the last look brought none
        self._no_keys_until_s = 0.0
        self._no_look_until_s = 0.0
        self._fetching = asyncio.Lock()

    async def start(self) -> None:
        """Open the client; makes no connection."""
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._settings.concurrency + 2,  # the calls, a log-in and the keys
                keepalive_timeout=KEEP_ALIVE_S,
                ssl=self._tls if self._tls is not None else True,
            ),
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    @property
    def ahead_s(self) -> float:
        """Seconds by which the gateway's clock is ahead of ours; 0: no difference that counts."""
        return self.time.ahead_s

    def now(self) -> datetime:
        return self.time.now()

    # -- calls -----------------------------------------------------------------------------------------------------

    async def call(
        self, method: str, path: str, body: Any, *, request_id: str, headers: Mapping[str, str] | None = None
    ) -> GatewayAnswer:
        """One call, once. Never fails: a call without an answer is an answer, too.

        Args:
            body: as JSON; None: none.
            request_id: a fresh one.
            headers: beside those of each call.
        """
        token, refused = await self._session()
        if refused is not None:
            return refused
        said = {"Authorization": f"Bearer {token}", **(headers or {})}
        answer = await self._send(method, path, body, request_id, said)
        if answer.verdict is Verdict.LOG_IN and token == self._token:
            self._token = ""
        return answer

    async def look(self, path: str) -> Any:
        """What a GET brings, as JSON. Repeated once where our session had ended.

        Raises:
            GatewayDownError: it brings nothing.
        """
        for again in (True, False):
            answer = await self.call("GET", path, None, request_id=str(uuid4()))
            if not (again and answer.verdict is Verdict.LOG_IN):
                break
        if not answer.is_taken:
            raise GatewayDownError(answer.cause or f"it answered {answer.status} {answer.code}".rstrip())
        try:
            return orjson.loads(answer.body)
        except ValueError:
            raise GatewayDownError("its answer is no JSON") from None

    async def token(self) -> str:
        """The token of our session, for a reader that records are pushed to.

        Raises:
            GatewayDownError: we have none.
        """
        token, refused = await self._session()
        if refused is not None:
            raise GatewayDownError(refused.cause or f"the log-in was answered {refused.status}")
        return token

    def refused(self, token: str) -> None:
        """A reader took this token for none: the next one is a new one."""
        if token == self._token:
            self._token = ""

    # -- keys ------------------------------------------------------------------------------------------------------

    async def keys(self, *, known: int = -1) -> tuple[Sequence[Mapping[str, Any]], int]:
        """The keys that sign callbacks, and the number of this set.

        Args:
            known: number of a set that lacked a key: another one is fetched, not within `UNKNOWN_KEY_S` of the last
                look for one.

        Raises:
            GatewayDownError: there are none, or none but a set that lacked a key, and none can be fetched.
        """
        async with self._fetching:
            now_s = asyncio.get_running_loop().time()
            age_s = now_s - self._keys_at_s
            lacks = bool(self._keys) and known == self._set_number
            fresh = bool(self._keys) and age_s < KEYS_S
            if fresh and (not lacks or now_s < self._no_look_until_s):
                return self._keys, self._set_number
            if lacks:
                self._no_look_until_s = now_s + UNKNOWN_KEY_S
            if not self._no_keys or now_s >= self._no_keys_until_s:
                await self._fetch_keys(now_s)
            if self._no_keys and (lacks or not self._keys):
                raise GatewayDownError(self._no_keys)
            return self._keys, self._set_number

    async def _fetch_keys(self, now_s: float) -> None:
        try:
            found = await self.look(CERTS)
            keys = found.get("keys") if isinstance(found, dict) else None
            if not isinstance(keys, list) or not all(isinstance(one, dict) for one in keys) or not keys:
                raise GatewayDownError("its keys are no key set")
        except GatewayDownError as error:
            self._no_keys, self._no_keys_until_s = str(error), now_s + (UNKNOWN_KEY_S if self._keys else NO_KEYS_S)
        else:
            self._keys, self._keys_at_s, self._no_keys = keys[:MOST_KEYS], now_s, ""

    @property
    def _set_number(self) -> int:
        return round(self._keys_at_s * 1000)

    # -- our session -----------------------------------------------------------------------------------------------

    async def _session(self) -> tuple[str, GatewayAnswer | None]:
        """The token of our session; or why there is none."""
        loop = asyncio.get_running_loop()
        async with self._renewing:
            if self._token and loop.time() < self._token_until_s:
                return self._token, None
            if self._no_session is not None and loop.time() < self._no_session_until_s:
                return "", self._no_session
            self._token = ""
            answer = await self._log_in()
            if answer is None:
                self._no_session = None
                return self._token, None
            self._no_session, self._no_session_until_s = answer, loop.time() + NO_SESSION_S
            return "", answer

    async def _log_in(self) -> GatewayAnswer | None:
        """Begin a session; None: done."""
        settings, began_s = self._settings, asyncio.get_running_loop().time()
        body = {
            "clientId": settings.client_id,
            "clientSecret": settings.client_secret.reveal(),
            "grantType": "client_credentials",
        }
        answer = await self._send("POST", SESSIONS, body, str(uuid4()), {})
        if not answer.is_taken:
            return GatewayAnswer(
                answer.status,
                Verdict.LOG_IN if answer.verdict is Verdict.FINAL else answer.verdict,
                answer.code,
                cause=answer.cause or "the gateway refuses to log us in",
                retry_after_s=answer.retry_after_s,
            )
        try:
            said = orjson.loads(answer.body)
            token, life_s = said["accessToken"], float(said["expiresIn"])
            if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
                raise ValueError
        except (ValueError, TypeError, KeyError):
            return GatewayAnswer(answer.status, Verdict.AGAIN, cause="the answer to the log-in has no token")
        life_s = min(max(life_s, SHORTEST_S), LONGEST_S)
        self._token, self._token_until_s = token, began_s + life_s - min(EARLY_S, life_s / 2)
        return None

    async def _send(
        self, method: str, path: str, body: Any, request_id: str, headers: Mapping[str, str]
    ) -> GatewayAnswer:
        client = self._client
        if client is None:
            return GatewayAnswer(0, Verdict.AGAIN, cause="it is not open")
        data = None if body is None else orjson.dumps(body)
        said = {
            "REQUEST-ID": request_id,
            "TIMESTAMP": times.written(self.now()),
            "X-CM-ID": self._settings.environment,
            "Accept": "application/json",
            "User-Agent": "LabRelay",
            **({} if data is None else {"Content-Type": "application/json"}),
            **headers,
        }
        try:
            async with client.request(
                method,
                self._base + path,
                data=None if data is None else io.BytesIO(data),
                headers=said,
                skip_auto_headers=("Content-Type",),
                allow_redirects=False,
                middlewares=(_once(),),
            ) as answer:
                content = await _read(answer)
                self.time.heard(answer.headers.get("Date", ""))
                return verdicts.answer(answer.status, content, retry_after_s=self._retry_after_s(answer))
        except TimeoutError:
            return GatewayAnswer(0, Verdict.AGAIN, cause=TIMEOUT)
        except (aiohttp.ClientError, OSError) as error:
            return GatewayAnswer(0, Verdict.AGAIN, cause=cause_of(error, CAUSES))

    def _retry_after_s(self, answer: aiohttp.ClientResponse) -> float:
        text = answer.headers.get("Retry-After", "").strip()
        if text.isdecimal() and len(text) < 8:
            return min(float(text), LONGEST_S)
        at = http_date(text) if text else None
        return 0.0 if at is None else min(max((at - self.now()).total_seconds(), 0.0), LONGEST_S)


def _once() -> aiohttp.ClientMiddlewareType:
    """aiohttp repeats a GET by itself where the connection ended (RFC 9110, 9.2.2); the REQUEST-ID is used up then."""
    sent = False

    async def send(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal sent
        if sent:
            raise aiohttp.ServerDisconnectedError
        sent = True
        return await handler(request)

    return send


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The body, as far as anything in it counts."""
    found = bytearray()
    async for chunk in answer.content.iter_any():
        found += chunk
        if len(found) > MAX_ANSWER_BYTES:
            return bytes(found[:MAX_ANSWER_BYTES])
    return bytes(found)


def build(name: str, settings: Settings, clock: Clock) -> Gateway:
    """The gateway of a destination."""
    return Gateway(name, settings, clock)


HEALTH_S = 10.0
MAX_HEALTH_BYTES = 64


async def fault_of(url: str) -> str:
    """Why ``url`` does not answer as our listener does; empty: it does."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HEALTH_S), trust_env=False) as client,
            client.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                return f"HTTP {answer.status}"
            content = await answer.content.read(MAX_HEALTH_BYTES)
            return "" if content.strip() == b"ok" else "other content than `ok`: another program answers there"
    except TimeoutError:
        return "no answer in time"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return cause_of(error, CAUSES)
