"""ID tokens (OpenID Connect Core 1.0, 3.1.3.7): does one prove who is there, and what may that person do here. Pure.

A person is known by issuer and subject. Names and addresses of email can change hands, so they are only shown.
"""

import json
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.util import urlsafe_b64decode

from engine.access.provider_words import NO_ROLE, NO_TIME, NOT_ALLOWED, NOT_ANEW, WRONG
from engine.config.oidc import OidcConfig
from engine.model.accounts import Identity
from engine.model.errors import IdentityProviderError, UnknownKeyError
from engine.model.permissions import ROLES

# Signatures by a private key. Neither "none", nor HS...: a public key would be its secret.
ALGORITHMS = {name: kind for kind, kinds in (("RSA", ("RS", "PS")), ("EC", ("ES",))) for name in
              (f"{one}{bits}" for one in kinds for bits in (256, 384, 512))}  # fmt: skip
SMALLEST_RSA_BITS = 2048
SKEW_S = 60  # between the provider's clock and ours
LONGEST_S = 600  # a token is fresh: it was asked for just now
LONGEST_TEXT = 255  # of a subject (Core 1.0, 2)
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
    header = _header(token)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise IdentityProviderError(WRONG, "algorithm")
    key = _key(header, keys, ALGORITHMS[algorithm])
    try:
        claims = jwt.decode(token, key, algorithms=[algorithm]).claims
    except (JoseError, ValueError):
        raise IdentityProviderError(WRONG, "signature") from None
    _check(claims, issuer=issuer, client_id=client_id, nonce=nonce, now_s=now_s)
    if anew_since_s is not None:
        _check_anew(claims.get("auth_time"), anew_since_s, now_s)
    return claims


def _header(token: str) -> Mapping[str, Any]:
    try:
        first, _, _ = token.split(".")
        header = json.loads(urlsafe_b64decode(first.encode("ascii")))
    except (ValueError, RecursionError):
        raise IdentityProviderError(WRONG, "no token") from None
    if not isinstance(header, dict) or "crit" in header or str(header.get("typ", "JWT")).upper() != "JWT":
        raise IdentityProviderError(WRONG, "header")
    return header


def _key(header: Mapping[str, Any], keys: Sequence[Mapping[str, Any]], kind: str) -> RSAKey | ECKey:
    named = header.get("kid")
    fit = [
        one
        for one in keys
        if one.get("kty") == kind and one.get("use", "sig") == "sig" and (named is None or one.get("kid") == named)
    ]
    if len(fit) != 1:
        raise UnknownKeyError(WRONG, "key")
    public = {name: value for name, value in fit[0].items() if name in ("kty", "n", "e", "crv", "x", "y")}
    try:
        if kind != "RSA":
            return ECKey.import_key(public)
        if int.from_bytes(urlsafe_b64decode(public["n"].encode("ascii")), "big").bit_length() < SMALLEST_RSA_BITS:
            raise ValueError
        return RSAKey.import_key(public)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        raise IdentityProviderError(WRONG, "key") from None


def _check(claims: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str, now_s: float) -> None:
    audience = claims.get("aud")
    meant = audience if isinstance(audience, list) else [audience]
    times = [claims.get(name, usual) for name, usual in (("iat", None), ("exp", None), ("nbf", 0))]
    subject, same = claims.get("sub"), claims.get("nonce")
    wrong = {
        "issuer": claims.get("iss") != issuer,
        "audience": client_id not in meant or (len(meant) > 1 and "azp" not in claims),
        "authorized party": claims.get("azp", client_id) != client_id,
        "nonce": not isinstance(same, str) or not compare_digest(same.encode(), nonce.encode()),
        "subject": not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_TEXT or not subject.isprintable(),
        "times": not all(type(one) in (int, float) for one in times),
    }
    for reason, is_wrong in wrong.items():
        if is_wrong:
            raise IdentityProviderError(WRONG, reason)
    issued, ends, begins = (float(one) for one in times if one is not None)
    if ends <= now_s - SKEW_S:
        raise IdentityProviderError(WRONG, "expired")
    if max(issued, begins) > now_s + SKEW_S or issued < now_s - LONGEST_S - SKEW_S:
        raise IdentityProviderError(WRONG, "issued at another time")


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
