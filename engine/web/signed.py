"""What the provider signs (RFC 7515): is a token genuine, from it, and for us. Pure."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.util import urlsafe_b64decode

from engine.model.errors import NOT_PROVEN, IdentityProviderError, UnknownKeyError

# Signatures by a private key. Neither "none", nor HS...: a public key would be its secret.
ALGORITHMS = {name: kind for kind, kinds in (("RSA", ("RS", "PS")), ("EC", ("ES",))) for name in
              (f"{one}{bits}" for one in kinds for bits in (256, 384, 512))}  # fmt: skip
SMALLEST_RSA_BITS = 2048
SKEW_S = 60  # between the provider's clock and ours
LONGEST_S = 600  # a token is fresh: it was made just now
MOST_KEPT = 32  # keys, as they are used
LONGEST_TEXT = 255  # of a subject (Core 1.0, 2)
JWT = ("JWT",)


def signed_claims(token: str, keys: Sequence[Mapping[str, Any]], types: Sequence[str] = JWT) -> Mapping[str, Any]:
    """The claims of a token that one of these keys has signed.

    Args:
        keys: of the provider, as JSON Web Keys (RFC 7517).
        types: that its header may name, in capitals; one that names none is of the first.

    Raises:
        UnknownKeyError: none of these keys is the one of the token.
        IdentityProviderError: it is not genuine; ``reason`` says why.
    """
    header = _header(token, types)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise IdentityProviderError(NOT_PROVEN, "algorithm")
    try:
        return jwt.decode(token, _key(header, keys, ALGORITHMS[algorithm]), algorithms=[algorithm]).claims
    except (JoseError, ValueError):
        raise IdentityProviderError(NOT_PROVEN, "signature") from None


def raise_if_not_for_us(claims: Mapping[str, Any], *, issuer: str, client_id: str, now_s: float) -> None:
    """Refuse a token of another, for another, or of another time.

    Raises:
        IdentityProviderError: ``reason`` says which.
    """
    audience = claims.get("aud")
    meant = audience if isinstance(audience, list) else [audience]
    times = [claims.get(name, usual) for name, usual in (("iat", None), ("exp", None), ("nbf", 0))]
    wrong = {
        "issuer": claims.get("iss") != issuer,
        "audience": client_id not in meant or (len(meant) > 1 and "azp" not in claims),
        "authorized party": claims.get("azp", client_id) != client_id,
        "times": not all(type(one) in (int, float) for one in times),
    }
    for reason, is_wrong in wrong.items():
        if is_wrong:
            raise IdentityProviderError(NOT_PROVEN, reason)
    issued, ends, begins = (float(one) for one in times if one is not None)
    if ends <= now_s - SKEW_S:
        raise IdentityProviderError(NOT_PROVEN, "expired")
    if max(issued, begins) > now_s + SKEW_S or issued < now_s - LONGEST_S - SKEW_S:
        raise IdentityProviderError(NOT_PROVEN, "issued at another time")


def is_name(value: object) -> bool:
    """Whether a claim can be what the provider knows a person or a session by."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and value.isprintable()


def _header(token: str, types: Sequence[str]) -> Mapping[str, Any]:
    try:
        first, _, _ = token.split(".")
        header = json.loads(urlsafe_b64decode(first.encode("ascii")))
    except (ValueError, RecursionError):
        raise IdentityProviderError(NOT_PROVEN, "no token") from None
    if not isinstance(header, dict) or "crit" in header or str(header.get("typ", types[0])).upper() not in types:
        raise IdentityProviderError(NOT_PROVEN, "header")
    return header


def usable_keys(keys: Sequence[Mapping[str, Any]]) -> int:
    """How many of these keys can prove a token."""
    return sum(_is_usable(one) for one in keys if one.get("kty") in ("RSA", "EC") and one.get("use", "sig") == "sig")


def rsa_keys(keys: Sequence[Mapping[str, Any]]) -> list[RSAKey]:
    """Those of these keys that can prove a signature by RSA."""
    fit = [one for one in keys if one.get("kty") == "RSA" and one.get("use", "sig") == "sig" and _is_usable(one)]
    return [made for one in fit if isinstance(made := _imported(one), RSAKey)]


def _is_usable(key: Mapping[str, Any]) -> bool:
    try:
        _imported(key)
    except IdentityProviderError:
        return False
    return True


def _key(header: Mapping[str, Any], keys: Sequence[Mapping[str, Any]], kind: str) -> RSAKey | ECKey:
    named = header.get("kid")
    fit = [
        one
        for one in keys
        if one.get("kty") == kind and one.get("use", "sig") == "sig" and (named is None or one.get("kid") == named)
    ]
    if len(fit) != 1:
        raise UnknownKeyError(NOT_PROVEN, "key")
    return _imported(fit[0])


def _imported(key: Mapping[str, Any]) -> RSAKey | ECKey:
    """
    Raises:
        IdentityProviderError: it is none, or a weak one.
    """
    public = tuple((name, value) for name, value in key.items() if name in ("kty", "n", "e", "crv", "x", "y"))
    try:
        return _made(public)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        raise IdentityProviderError(NOT_PROVEN, "key") from None


@lru_cache(MOST_KEPT)
def _made(public: tuple[tuple[str, Any], ...]) -> RSAKey | ECKey:
    """Making one takes as long as the look at a signature."""
    key = dict(public)
    if key["kty"] != "RSA":
        return ECKey.import_key(key)
    if int.from_bytes(urlsafe_b64decode(key["n"].encode("ascii")), "big").bit_length() < SMALLEST_RSA_BITS:
        raise ValueError
    return RSAKey.import_key(key)
