"""Every request to the identity provider: its own document, its keys, and the exchange of a code for a token.

Each has a limit of size and time and follows no redirect. Document and keys are kept for an hour; a token that is
signed by a key we do not have is a reason to ask for the keys anew, at most once a minute.
"""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import aiohttp
import orjson

from engine.features.access.config import OidcConfig
from engine.features.access.rules.accounts import UNREACHABLE, WRONG
from engine.model.errors import ConfigError, IdentityProviderError
from engine.model.texts.units import HostPort

WITHIN_S = 8.0  # for a whole request
MOST_BYTES = 256 * 1024  # of an answer
MOST_KEYS = 100
KEPT_S = 3600.0
KEYS_ANEW_S = 60.0
TRIED_AGAIN_S = 5.0  # after a request that failed
CLIENT_REFUSED = "client_id or client_secret refused"
DOCUMENT = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the provider says of itself (OpenID Connect Discovery 1.0).

    Attributes:
        end_session: where a person logs out there (RP-Initiated Logout 1.0); empty: it says no address that we follow.
        said: its whole document.
        names_itself: it adds its issuer to the answer that a browser brings (RFC 9207).
        in_form: it takes our secret in the form alone, and in no header.
    """

    authorization: str
    token: str
    keys: str
    end_session: str
    names_itself: bool
    in_form: bool
    said: Mapping[str, Any]


@dataclass(slots=True)
class _Kept:
    """An answer, or why there is none.

    Attributes:
        until: by the loop's clock; then it is asked for again.
    """

    value: Any
    until: float
    asked: float


class Provider:
    """Asks one provider.

    Attributes:
        dated: when the last answer was made, as the provider says (``Date``, RFC 9110, 6.6.1); empty: it does not.
    """

    def __init__(self, config: OidcConfig) -> None:
        self.dated = ""
        self._config = config
        self._kept: dict[str, _Kept] = {}
        self._asking = asyncio.Lock()

    async def endpoints(self) -> Endpoints:
        """
        Raises:
            IdentityProviderError: it cannot be asked, or its document is not one that we follow.
        """
        found: Endpoints = await self._cached("document", self._discovered)
        return found

    async def keys(self, *, anew: bool = False) -> Sequence[Mapping[str, Any]]:
        """The public keys of its tokens.

        Args:
            anew: a token is signed by another key.

        Raises:
            IdentityProviderError: as `endpoints`.
        """
        kept, now = self._kept.get("keys"), asyncio.get_running_loop().time()
        if anew and kept is not None and now - kept.asked >= KEYS_ANEW_S:
            del self._kept["keys"]
        found: Sequence[Mapping[str, Any]] = await self._cached("keys", self._read_keys)
        return found

    async def exchange(self, code: str, verifier: str, redirect: str) -> str:
        """The ID token for a code (RFC 6749, 4.1.3).

        Raises:
            IdentityProviderError: the code is refused, or as `endpoints`.
        """
        config, endpoints = self._config, await self.endpoints()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
        headers = {}
        if config.client_secret is None:
            form["client_id"] = config.client_id
        elif endpoints.in_form:
            form |= {"client_id": config.client_id, "client_secret": _revealed(config)}
        else:  # each part is encoded first (RFC 6749, 2.3.1)
            pair = f"{quote_plus(config.client_id)}:{quote_plus(_revealed(config))}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        answer = await self._ask("POST", endpoints.token, form, headers)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise IdentityProviderError(WRONG, "no token")
        return token

    async def leads_back(self, asked: Mapping[str, str]) -> bool:
        """Whether a request for a log-in is answered by a way back to the page that it names, with a code or an error.

        Args:
            asked: its parameters (RFC 6749, 4.1.1), with ``prompt=none``: no person is asked anything.

        Raises:
            IdentityProviderError: as `endpoints`.
        """
        address = joined((await self.endpoints()).authorization, asked)
        try:
            async with self._answer("GET", address, None, {}) as answer:
                return answer.status in (302, 303) and answer.headers.get("Location", "").startswith(
                    asked["redirect_uri"]
                )
        except (OSError, aiohttp.ClientError, ValueError) as error:
            raise IdentityProviderError(UNREACHABLE, type(error).__name__) from None

    async def _cached(self, name: str, make: Callable[[], Any]) -> Any:
        async with self._asking:
            now = asyncio.get_running_loop().time()
            kept = self._kept.get(name)
            if kept is None or now >= kept.until:
                try:
                    value, lasts = await make(), KEPT_S
                except IdentityProviderError as error:  # many who log in do not ask it in turn
                    value, lasts = error, TRIED_AGAIN_S
                kept = self._kept[name] = _Kept(value, asyncio.get_running_loop().time() + lasts, now)
        if isinstance(kept.value, IdentityProviderError):
            raise IdentityProviderError(kept.value.args[0], kept.value.reason)
        return kept.value

    async def _discovered(self) -> Endpoints:
        said = await self._ask("GET", self._config.issuer.rstrip("/") + DOCUMENT)
        if said.get("issuer") != self._config.issuer:
            raise IdentityProviderError(UNREACHABLE, "issuer of the document")
        methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Endpoints(
            authorization=self._followed(said.get("authorization_endpoint")),
            token=self._followed(said.get("token_endpoint")),
            keys=self._followed(said.get("jwks_uri")),
            end_session=self._end_session(said.get("end_session_endpoint")),
            names_itself=said.get("authorization_response_iss_parameter_supported") is True,
            in_form=isinstance(methods, list) and "client_secret_basic" not in methods,
            said=said,
        )

    def _end_session(self, address: object) -> str:
        """Logging in does not need it, so a wrong one is as none."""
        try:
            return self._followed(address)
        except IdentityProviderError:
            return ""

    def _followed(self, address: object) -> str:
        """An address of the document: over TLS, or on this machine where the provider is there itself.

        Raises:
            IdentityProviderError: it is none.
        """
        try:
            parts = urlsplit(address if isinstance(address, str) else "")
            here = HostPort(parts.hostname or "", parts.port or 443).is_loopback
        except ValueError:
            raise IdentityProviderError(UNREACHABLE, "address of the document") from None
        own = urlsplit(self._config.issuer)
        is_ours = parts.scheme == "https" or (parts.scheme == own.scheme and here)
        if not parts.hostname or not is_ours or parts.username is not None or parts.fragment or (
            here and not HostPort(own.hostname or "", 443).is_loopback
        ):  # fmt: skip
            raise IdentityProviderError(UNREACHABLE, "address of the document")
        return str(address)

    async def _read_keys(self) -> Sequence[Mapping[str, Any]]:
        keys = (await self._ask("GET", (await self._endpoints_within()).keys)).get("keys")
        if not isinstance(keys, list) or len(keys) > MOST_KEYS:
            raise IdentityProviderError(UNREACHABLE, "keys")
        return [one for one in keys if isinstance(one, dict)]

    async def _endpoints_within(self) -> Endpoints:
        """As `endpoints`, for who holds the lock."""
        kept = self._kept.get("document")
        return kept.value if kept is not None and isinstance(kept.value, Endpoints) else await self._discovered()

    async def _ask(
        self, method: str, address: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """The JSON object of an answer.

        Raises:
            IdentityProviderError: there is none within the limits.
        """
        try:
            async with self._answer(method, address, form, headers or {}) as answer:
                body = await _read(answer)
                self.dated = answer.headers.get("Date", "")
                if answer.status in (400, 401) and form is not None:
                    raise IdentityProviderError(WRONG, CLIENT_REFUSED if _names_client(body) else "code refused")
                if answer.status != 200:
                    raise IdentityProviderError(UNREACHABLE, f"HTTP {answer.status}")
            found = orjson.loads(body)
        except (OSError, aiohttp.ClientError, ValueError) as error:  # TimeoutError is an OSError
            raise IdentityProviderError(UNREACHABLE, type(error).__name__) from None
        if not isinstance(found, dict):
            raise IdentityProviderError(UNREACHABLE, "no JSON object")
        return found

    @asynccontextmanager
    async def _answer(
        self, method: str, address: str, form: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        asked = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        async with (
            asyncio.timeout(WITHIN_S),
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._trusted(), force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            ) as client,
            client.request(method, address, data=form, headers=asked, allow_redirects=False) as answer,
        ):
            yield answer

    def _trusted(self) -> ssl.SSLContext | bool:
        return True if self._config.ca is None else ssl.create_default_context(cafile=self._config.ca)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in answer.content.iter_any():
        body += part
        if len(body) > MOST_BYTES:
            raise IdentityProviderError(UNREACHABLE, "too large")
    return bytes(body)


def _names_client(body: bytes) -> bool:
    """Whether an error (RFC 6749, 5.2) is about us and not about the code."""
    try:
        said = orjson.loads(body)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("error") in ("invalid_client", "unauthorized_client")


def _revealed(config: OidcConfig) -> str:
    try:
        return config.client_secret.reveal() if config.client_secret is not None else ""
    except ConfigError:
        raise IdentityProviderError(UNREACHABLE, "client_secret is not set") from None


def joined(address: str, asked: Mapping[str, str]) -> str:
    """An address of the provider, which may have a query of its own, with these parameters."""
    return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(asked)}"
