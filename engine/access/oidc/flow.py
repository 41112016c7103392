"""One log-in: from our page to the provider, and back with a code.

What has to be remembered meanwhile is sealed in a cookie of the browser, so that strangers who begin log-ins fill no
memory, and a code is good in the browser alone that has begun.
"""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import urlencode, urlsplit

import orjson

from engine.access.oidc import id_token
from engine.access.oidc.provider import Provider
from engine.access.provider_words import DENIED, LATE, WRONG
from engine.config.oidc import OidcConfig
from engine.model.accounts import Identity
from engine.model.clock import Clock
from engine.model.errors import IdentityProviderError, IntegrityError, UnknownKeyError
from engine.store.core.vault import Vault

WITHIN_S = 600
PURPOSE = "oidc"
LONGEST_PATH = 500  # of the page to go to afterwards


@dataclass(frozen=True, slots=True)
class Begun:
    """A log-in that has begun.

    Attributes:
        address: of the provider, where the browser goes.
        sealed: for the browser to keep meanwhile.
    """

    address: str
    sealed: str = field(repr=False)


class Flow:
    """Log-ins at one provider.

    Args:
        redirect: the address that the provider sends browsers back to; fixed, whatever a request says.
    """

    def __init__(self, config: OidcConfig, redirect: str, vault: Vault, clock: Clock) -> None:
        self.config = config
        self.redirect = redirect
        self._vault = vault
        self._clock = clock
        self._provider = Provider(config)

    async def begin(self, to: str) -> Begun:
        """Begin a log-in. ``to``: the path of ours to go to afterwards.

        Raises:
            IdentityProviderError: the provider cannot be asked.
        """
        endpoints = await self._provider.endpoints()
        state, nonce, verifier = (secrets.token_urlsafe(size) for size in (32, 32, 48))
        asked = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": self.redirect,
            "scope": " ".join(dict.fromkeys(["openid", *self.config.scope.split()])),
            "state": state,
            "nonce": nonce,
            "code_challenge": urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("="),
            "code_challenge_method": "S256",
            **({} if self.config.single_sign_on else {"prompt": "login", "max_age": "0"}),
        }
        kept = [state, nonce, verifier, to if len(to) <= LONGEST_PATH else "/", self._now_s() + WITHIN_S]
        joined = "&" if urlsplit(endpoints.authorization).query else "?"
        sealed = self._vault.in_address(orjson.dumps([*kept, self.config.issuer]).decode(), PURPOSE)
        return Begun(f"{endpoints.authorization}{joined}{urlencode(asked)}", sealed)

    async def finish(self, sealed: str, said: Mapping[str, str]) -> tuple[Identity, str]:
        """Who has logged in, and the path to go to.

        Args:
            sealed: as `begin` made it.
            said: what the browser brings in its address.

        Raises:
            IdentityProviderError: it is not proven.
        """
        state, nonce, verifier, to, until_s, issuer = self._opened(sealed)
        if not compare_digest(said.get("state", "").encode("utf-8", "surrogatepass"), state.encode()):
            raise IdentityProviderError(LATE, "state")
        if self._now_s() >= until_s or issuer != self.config.issuer:
            raise IdentityProviderError(LATE, "late")
        endpoints = await self._provider.endpoints()
        if said.get("iss", "" if endpoints.names_itself else issuer) != issuer:
            raise IdentityProviderError(WRONG, "iss of the answer")
        if "error" in said or not said.get("code"):
            raise IdentityProviderError(DENIED, "no code")
        token = await self._provider.exchange(said["code"], verifier, self.redirect)
        return id_token.identity_of(await self._claims(token, nonce, until_s - WITHIN_S), self.config), to

    async def _claims(self, token: str, nonce: str, begun_s: int) -> Mapping[str, object]:
        claims_of = partial(
            id_token.claims_of,
            token,
            issuer=self.config.issuer,
            client_id=self.config.client_id,
            nonce=nonce,
            anew_since_s=None if self.config.single_sign_on else begun_s,
        )
        try:
            return claims_of(await self._provider.keys(), now_s=self._now_s())
        except UnknownKeyError:
            return claims_of(await self._provider.keys(anew=True), now_s=self._now_s())

    def _opened(self, sealed: str) -> tuple[str, str, str, str, int, str]:
        try:
            state, nonce, verifier, to, until_s, issuer = orjson.loads(self._vault.out_of_address(sealed, PURPOSE))
        except IntegrityError:
            raise IdentityProviderError(LATE, "cookie") from None
        return state, nonce, verifier, to, until_s, issuer

    def _now_s(self) -> int:
        return self._clock.now_us() // 1_000_000
