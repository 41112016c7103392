"""One log-in: from our page to the provider, and back with a code; and its end.

What has to be remembered meanwhile is sealed in a cookie of the browser, so that strangers who begin log-ins fill no
memory, and a code is good in the browser alone that has begun.

ID tokens (OpenID Connect Core 1.0, 3.1.3.7): does one prove who is there, and what may that person do here.

A person is known by issuer and subject. Names and addresses of email can change hands, so they are only shown.

Log-out at the provider: what is kept of a log-in for it, and which log-ins the provider ends.

RP-Initiated Logout 1.0 (the person logs out here, then there) and Back-Channel Logout 1.0 (the provider ends a log-in).
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

from engine.features.access.client.provider import Provider, joined
from engine.features.access.config import OidcConfig
from engine.features.access.rules import accounts
from engine.model.errors import IdentityProviderError, IntegrityError, UnknownKeyError
from engine.model.process.clock import Clock
from engine.model.site.permissions import ROLES
from engine.store.core.vault import Vault
from engine.web.signed import JWT, SKEW_S, is_name, raise_if_not_for_us, signed_claims

EVENT = "http://schemas.openid.net/event/backchannel-logout"
TYPES = (*JWT, "LOGOUT+JWT")
LONGEST_TOKEN = 4000  # characters of an ID token that an address may carry


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a log-in until its session ends.

    Attributes:
        session: the provider's name for its own session (``sid``); empty: it gave none.
        hint: the provider's name for the person (``login_hint``, else ``sub``).
        token: the ID token; empty: too long for an address.
    """

    session: str
    hint: str
    token: str = field(repr=False)

    def to_text(self) -> str:
        return orjson.dumps([self.session, self.hint, self.token]).decode()

    @classmethod
    def of_text(cls, text: str) -> "Kept":
        return cls(*orjson.loads(text))


@dataclass(frozen=True, slots=True)
class Ended:
    """What the provider ends: the log-ins of a person, or those of one session of its own. A log-in of which it is not
    known by which session it was proven (None) ends with any.

    Attributes:
        token: names this notice (``jti``).
        subject, session: each log-in has all that is not empty.
        issued_s: only log-ins that began before; a notice that comes again ends no later one.
    """

    token: str
    subject: str
    session: str
    issued_s: float

    def means(self, user: accounts.User, log_in: accounts.LogInSession, kept: Kept | None) -> bool:
        return (
            self.subject in ("", user.subject)
            and (kept is None or self.session in ("", kept.session))
            and log_in.began_us <= (self.issued_s + SKEW_S) * 1e6
        )


def kept_of(claims: Mapping[str, Any], token: str) -> Kept:
    session, hint = claims.get("sid"), claims.get("login_hint")
    return Kept(
        session=str(session) if is_name(session) else "",
        hint=str(hint) if is_name(hint) else str(claims["sub"]),
        token=token if len(token) <= LONGEST_TOKEN else "",
    )


def ended_by(token: str, keys: Sequence[Mapping[str, Any]], *, issuer: str, client_id: str, now_s: float) -> Ended:
    """What a logout token ends (Back-Channel Logout 1.0, 2.6).

    Raises:
        UnknownKeyError: none of these keys is the one of the token.
        IdentityProviderError: it is no notice of this provider for us; ``reason`` says why.
    """
    claims = signed_claims(token, keys, TYPES)
    raise_if_not_for_us(claims, issuer=issuer, client_id=client_id, now_s=now_s)
    events = claims.get("events")
    named = {name: claims[name] for name in ("sub", "sid") if name in claims}
    wrong = {
        "events": not isinstance(events, dict) or not isinstance(events.get(EVENT), dict),
        "nonce": "nonce" in claims,  # else an ID token would do
        "jti": not is_name(claims.get("jti")),
        "subject": not named or not all(is_name(one) for one in named.values()),
    }
    for reason, is_wrong in wrong.items():
        if is_wrong:
            raise IdentityProviderError(accounts.WRONG, reason)
    return Ended(claims["jti"], named.get("sub", ""), named.get("sid", ""), float(claims["iat"]))


MOST_GROUPS = 1000


def claims_of(
    token: str,
    keys: Sequence[Mapping[str, Any]],
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    now_s: float,
    anew_since_s: float | None,
) -> Mapping[str, Any]:
    """The claims of a token that is genuine, fresh, for us, and of this log-in.

    Args:
        keys: of the provider, as JSON Web Keys (RFC 7517).
        anew_since_s: the person has to have proven at the provider who is there since then; None: whenever.

    Raises:
        UnknownKeyError: none of these keys is the one of the token.
        IdentityProviderError: it does not prove that; ``reason`` says why.
    """
    claims = signed_claims(token, keys)
    raise_if_not_for_us(claims, issuer=issuer, client_id=client_id, now_s=now_s)
    same = claims.get("nonce")
    if not isinstance(same, str) or not compare_digest(same.encode("utf-8", "surrogatepass"), nonce.encode()):
        raise IdentityProviderError(accounts.WRONG, "nonce")
    if not is_name(claims.get("sub")):
        raise IdentityProviderError(accounts.WRONG, "subject")
    if anew_since_s is not None:
        _check_anew(claims.get("auth_time"), anew_since_s, now_s)
    return claims


def _check_anew(proven_s: object, since_s: float, now_s: float) -> None:
    """Rule 13: the browser carries the request for a new proof, so a person there can take it out."""
    if not isinstance(proven_s, int | float) or isinstance(proven_s, bool):
        raise IdentityProviderError(accounts.NO_TIME, "no auth_time")
    if not since_s - SKEW_S <= proven_s <= now_s + SKEW_S:
        raise IdentityProviderError(accounts.NOT_ANEW, "auth_time")


def identity_of(claims: Mapping[str, Any], config: OidcConfig) -> accounts.Identity:
    """Who it is, and as what.

    Raises:
        IdentityProviderError: this person may not log in here, or has no role.
    """
    subject = claims["sub"]
    if config.subjects and subject not in config.subjects:
        raise IdentityProviderError(accounts.NOT_ALLOWED, "subject")
    if config.domains and not _domains(claims) & {one.lower() for one in config.domains}:
        raise IdentityProviderError(accounts.NOT_ALLOWED, "domain")
    groups = _groups(claims, config.groups)
    roles = [config.roles[group] for group in groups if group in config.roles]
    if not roles:
        raise IdentityProviderError(accounts.NO_ROLE, "no role")
    of_site = [role for role in roles if role in ROLES]
    given = (claims.get(name) for name in ("preferred_username", "name", "email"))
    return accounts.Identity(
        issuer=config.issuer,
        subject=subject,
        name=next((one for one in given if isinstance(one, str) and one), ""),
        role=max(of_site, key=list(ROLES).index) if of_site else ",".join(sorted(roles)),
        sees_patients=bool(groups & set(config.see_patients)),
    )


def _domains(claims: Mapping[str, Any]) -> set[str]:
    found = {claims.get("hd")}
    if claims.get("email_verified") is True:
        found.add(str(claims.get("email", "")).rpartition("@")[2])
    return {one.lower() for one in found if isinstance(one, str) and one}


def _groups(claims: Mapping[str, Any], path: str) -> frozenset[str]:
    """The groups of a claim: one of exactly this name, or one inside another."""
    found: Any = claims
    for step in (path,) if path in claims else path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    listed = [found] if isinstance(found, str) else found
    if not isinstance(listed, list):
        return frozenset()
    return frozenset(one for one in listed[:MOST_GROUPS] if isinstance(one, str))


Read = TypeVar("Read")
Means = Callable[[accounts.User, accounts.LogInSession], bool]
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

    identity: accounts.Identity
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
            raise IdentityProviderError(accounts.LATE, "state")
        if self._now_s() >= until_s or issuer != self.config.issuer:
            raise IdentityProviderError(accounts.LATE, "late")
        endpoints = await self._provider.endpoints()
        if said.get("iss", "" if endpoints.names_itself else issuer) != issuer:
            raise IdentityProviderError(accounts.WRONG, "iss of the answer")
        if "error" in said or not said.get("code"):
            raise IdentityProviderError(accounts.DENIED, "no code")
        token = await self._provider.exchange(said["code"], verifier, self.ways.log_in)
        claims = await self._by_keys(
            lambda keys: claims_of(
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
        return Proven(identity_of(claims, self.config), to, kept)

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
            raise IdentityProviderError(accounts.WRONG, "jti")
        await end(lambda user, log_in: user.issuer == config.issuer and ended.means(user, log_in, self._kept(log_in)))
        self._notices[ended.token] = None
        if len(self._notices) > MOST_NOTICES:
            self._notices.popitem(last=False)

    def _kept(self, log_in: accounts.LogInSession) -> Kept | None:
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
            raise IdentityProviderError(accounts.LATE, "cookie") from None
        return state, nonce, verifier, to, until_s, issuer

    def _now_s(self) -> int:
        return self._clock.now_us() // 1_000_000
