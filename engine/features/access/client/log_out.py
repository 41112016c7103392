"""Log-out at the provider: what is kept of a log-in for it, and which log-ins the provider ends. Pure.

RP-Initiated Logout 1.0 (the person logs out here, then there) and Back-Channel Logout 1.0 (the provider ends a log-in).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from engine.features.access.rules.accounts import WRONG, LogInSession, User
from engine.model.errors import IdentityProviderError
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

    def means(self, user: User, log_in: LogInSession, kept: Kept | None) -> bool:
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
            raise IdentityProviderError(WRONG, reason)
    return Ended(claims["jti"], named.get("sub", ""), named.get("sid", ""), float(claims["iat"]))
