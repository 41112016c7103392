"""One log-in: from our page to the provider, and back with a code; and its end.

What has to be remembered meanwhile is sealed in a cookie of the browser, so that strangers who begin log-ins fill no
memory, and a code is good in the browser alone that has begun.
"""

import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Any, TypeVar

import orjson

from engine.features.access.client import id_token
from engine.features.access.client.log_out import Ended, Kept, ended_by, kept_of
from engine.features.access.client.provider import Provider, joined
from engine.features.access.config import OidcConfig
from engine.features.access.rules.accounts import DENIED, LATE, WRONG, Identity, LogInSession, User
from engine.model.errors import IdentityProviderError, IntegrityError, UnknownKeyError
from engine.model.process.clock import Clock
from engine.store.core.vault import Vault

Read = TypeVar("Read")
Means = Callable[[User, LogInSession], bool]
WITHIN_S = 600
PURPOSE, KEPT, LEAVING = "oidc", "oidc session", "oidc log-out"
LONGEST_PATH = 500  # of the page to go to afterwards
MOST_NOTICES = 1000  # of ended log-ins that are known again


@dataclass(frozen=True, slots=True)
class Begun:
    """A log-in or log-out at the provider that has begun.

    Attributes:
        address: of the provider, where the browser goes.
        sealed: for the browser to keep meanwhile.
    """

    address: str
    sealed: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proven:
    """A log-in that the provider has proven.

    Attributes:
        to: the path of ours to go to.
        kept: sealed, for the store: what its log-out needs.
    """

    identity: Identity
    to: str
    kept: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ways:
    """The addresses of ours that the provider sends browsers back to; fixed, whatever a request says."""

    log_in: str
    log_out: str


class Flow:
    """Log-ins at one provider, and their ends."""

    def __init__(self, config: OidcConfig, ways: Ways, vault: Vault, clock: Clock) -> None:
        self.config = config
        self.ways = ways
        self._vault = vault
        self._clock = clock
        self._provider = Provider(config)
        self._notices: OrderedDict[str, None] = OrderedDict()

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
            "redirect_uri": self.ways.log_in,
            "scope": " ".join(dict.fromkeys(["openid", *self.config.scope.split()])),
            "state": state,
            "nonce": nonce,
            "code_challenge": urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("="),
            "code_challenge_method": "S256",
            **({} if self.config.single_sign_on else {"prompt": "login", "max_age": "0"}),
        }
        kept = [state, nonce, verifier, to if len(to) <= LONGEST_PATH else "/", self._now_s() + WITHIN_S]
        sealed = self._vault.in_address(orjson.dumps([*kept, self.config.issuer]).decode(), PURPOSE)
        return Begun(joined(endpoints.authorization, asked), sealed)

    async def finish(self, sealed: str, said: Mapping[str, str]) -> Proven:
        """Who has logged in.

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
        token = await self._provider.exchange(said["code"], verifier, self.ways.log_in)
        claims = await self._by_keys(
            lambda keys: id_token.claims_of(
                token,
                keys,
                issuer=self.config.issuer,
                client_id=self.config.client_id,
                nonce=nonce,
                now_s=self._now_s(),
                anew_since_s=None if self.config.single_sign_on else until_s - WITHIN_S,
            )
        )
        kept = self._vault.in_address(kept_of(claims, token).to_text(), KEPT)
        return Proven(id_token.identity_of(claims, self.config), to, kept)

    # -- the end -------------------------------------------------------------------------------------------------

    async def leave(self, kept: str) -> Begun | None:
        """Begin a log-out at the provider; None: it has no address for it, or cannot be asked.

        Args:
            kept: of `Proven`.
        """
        try:
            end_session = (await self._provider.endpoints()).end_session
            said = Kept.of_text(self._vault.out_of_address(kept, KEPT))
        except (IdentityProviderError, IntegrityError):
            return None
        if not end_session:
            return None
        state = secrets.token_urlsafe(32)
        asked = {
            **({"id_token_hint": said.token} if said.token else {}),
            "logout_hint": said.hint,
            "client_id": self.config.client_id,
            "post_logout_redirect_uri": self.ways.log_out,
            "state": state,
        }
        sealed = self._vault.in_address(orjson.dumps([state, self._now_s() + WITHIN_S]).decode(), LEAVING)
        return Begun(joined(end_session, asked), sealed)

    def has_left(self, sealed: str, state: str) -> bool:
        """Whether the provider sends this browser back from the log-out that has begun. ``sealed``: of `leave`."""
        try:
            right, until_s = orjson.loads(self._vault.out_of_address(sealed, LEAVING))
        except IntegrityError:
            return False
        return compare_digest(state.encode("utf-8", "surrogatepass"), right.encode()) and self._now_s() < until_s

    async def ended(self, token: str, end: Callable[[Means], Awaitable[object]]) -> None:
        """Follow a notice of the provider. Where that fails, the notice is good once more: the provider sends it again.

        Args:
            token: a logout token (Back-Channel Logout 1.0, 2.4).
            end: ends the log-ins that the notice means.

        Raises:
            IdentityProviderError: it proves nothing, or has come before.
        """
        config = self.config
        ended: Ended = await self._by_keys(
            lambda keys: ended_by(token, keys, issuer=config.issuer, client_id=config.client_id, now_s=self._now_s())
        )
        if ended.token in self._notices:
            raise IdentityProviderError(WRONG, "jti")
        await end(lambda user, log_in: user.issuer == config.issuer and ended.means(user, log_in, self._kept(log_in)))
        self._notices[ended.token] = None
        if len(self._notices) > MOST_NOTICES:
            self._notices.popitem(last=False)

    def _kept(self, log_in: LogInSession) -> Kept | None:
        """None: it is damaged."""
        try:
            return Kept.of_text(self._vault.out_of_address(log_in.kept, KEPT))
        except IntegrityError:
            return None

    # -- what both need ------------------------------------------------------------------------------------------

    async def _by_keys(self, read: Callable[[Sequence[Mapping[str, Any]]], Read]) -> Read:
        """What ``read`` makes of a token by the provider's keys; they are asked for anew where its key is not known."""
        try:
            return read(await self._provider.keys())
        except UnknownKeyError:
            return read(await self._provider.keys(anew=True))

    def _opened(self, sealed: str) -> tuple[str, str, str, str, int, str]:
        try:
            state, nonce, verifier, to, until_s, issuer = orjson.loads(self._vault.out_of_address(sealed, PURPOSE))
        except IntegrityError:
            raise IdentityProviderError(LATE, "cookie") from None
        return state, nonce, verifier, to, until_s, issuer

    def _now_s(self) -> int:
        return self._clock.now_us() // 1_000_000
