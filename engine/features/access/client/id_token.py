"""ID tokens (OpenID Connect Core 1.0, 3.1.3.7): does one prove who is there, and what may that person do here. Pure.

A person is known by issuer and subject. Names and addresses of email can change hands, so they are only shown.
"""

from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import Any

from engine.features.access.config import OidcConfig
from engine.features.access.rules.accounts import NO_ROLE, NO_TIME, NOT_ALLOWED, NOT_ANEW, WRONG, Identity
from engine.model.errors import IdentityProviderError
from engine.model.site.permissions import ROLES
from engine.web.signed import SKEW_S, is_name, raise_if_not_for_us, signed_claims

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
        raise IdentityProviderError(WRONG, "nonce")
    if not is_name(claims.get("sub")):
        raise IdentityProviderError(WRONG, "subject")
    if anew_since_s is not None:
        _check_anew(claims.get("auth_time"), anew_since_s, now_s)
    return claims


def _check_anew(proven_s: object, since_s: float, now_s: float) -> None:
    """Rule 13: the browser carries the request for a new proof, so a person there can take it out."""
    if not isinstance(proven_s, int | float) or isinstance(proven_s, bool):
        raise IdentityProviderError(NO_TIME, "no auth_time")
    if not since_s - SKEW_S <= proven_s <= now_s + SKEW_S:
        raise IdentityProviderError(NOT_ANEW, "auth_time")


def identity_of(claims: Mapping[str, Any], config: OidcConfig) -> Identity:
    """Who it is, and as what.

    Raises:
        IdentityProviderError: this person may not log in here, or has no role.
    """
    subject = claims["sub"]
    if config.subjects and subject not in config.subjects:
        raise IdentityProviderError(NOT_ALLOWED, "subject")
    if config.domains and not _domains(claims) & {one.lower() for one in config.domains}:
        raise IdentityProviderError(NOT_ALLOWED, "domain")
    groups = _groups(claims, config.groups)
    roles = [config.roles[group] for group in groups if group in config.roles]
    if not roles:
        raise IdentityProviderError(NO_ROLE, "no role")
    given = (claims.get(name) for name in ("preferred_username", "name", "email"))
    return Identity(
        issuer=config.issuer,
        subject=subject,
        name=next((one for one in given if isinstance(one, str) and one), ""),
        role=max(roles, key=list(ROLES).index),
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
