"""Is a callback really from ABDM's gateway, and for a facility of ours? Pure: the keys and the time are given.

    Authorization: Bearer <JWT>      RS256 or RS512, as the gateway's key of that ``kid`` says
    X-HIP-ID: IN2810014366           the facility

The signature alone proves little. The same keys sign the session token of every program that has an account at the
gateway, of each hospital and laboratory in the country. So the token has to name the gateway itself as its bearer
(``azp``); else each of them could send us a consent that no patient gave. No token of our own account passes, either.

The gateway repeats a delivery that failed some 16 minutes later, with the same token. So a token is taken for a while
after its end; idempotency is what stops a replay (`Proven.late_s` says how late it was).

A consent has a signature of its own: `is_signed` looks at it, where the configuration wants that.

Sources: NHA's pages on the authenticity of callbacks, V3; tokens of its sandbox that integrators have published (issuer
``https://dev.abdm.gov.in/auth/realms/central-registry``, azp ``gateway``); RFC 7515, RFC 7517, RFC 7519.
"""

import base64
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jws
from joserfc.errors import JoseError

from engine.access.oidc.signed import rsa_keys, signed_claims
from engine.model.errors import CallbackError, IdentityProviderError, UnknownGatewayKeyError

ALGORITHMS = frozenset({"RS256", "RS512"})
TYPES = ("JWT", "AT+JWT")
LEEWAY_S = 30 * 60.0
EXPIRED, TOO_EARLY = "expired", "not valid yet"
OF_TIME = frozenset({EXPIRED, TOO_EARLY})
"""Reasons that the time alone gives, which we may know wrongly."""
LONGEST_TOKEN = 16 * 1024  # characters
SCHEME = "bearer "
_ALPHABET = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class Gateway:
    """How the gateway of one environment is known.

    Attributes:
        issuer: of its tokens (``iss``).
        senders: accounts (``azp``) that send callbacks. One that a program of another party uses lets this party in.
        leeway_s: seconds after its end for which a token is taken, and by which our clock may be behind.
    """

    issuer: str
    senders: frozenset[str] = frozenset({"gateway"})
    leeway_s: float = LEEWAY_S


@dataclass(frozen=True, slots=True)
class Proven:
    """A callback of the gateway.

    Attributes:
        late_s: seconds between the end of its token and now; 0 where it had not ended.
        token: SHA-256 of the name of its token (``jti``), or of what is signed of it where it has none.
        made_s: when it was made, in seconds since 1970 by the gateway's clock, as far as it says so: by its TIMESTAMP.
            One that comes again has the token of its first time: it was made before the end of that. None: it does not
            say it.
    """

    facility: str
    sender: str
    late_s: float
    token: bytes
    made_s: float | None = None


def prove(
    headers: Mapping[str, str],
    keys: Sequence[Mapping[str, Any]],
    *,
    gateway: Gateway,
    facilities: Collection[str],
    now_s: float,
) -> Proven:
    """Refuse a callback unless the gateway sent it.

    Args:
        headers: of the request; the case of their names makes no difference.
        keys: of the gateway, as JSON Web Keys.
        facilities: ids of ours.
        now_s: seconds since 1970.

    Raises:
        UnknownGatewayKeyError: the keys have to be fetched anew, once.
        CallbackError: ``reason`` says why.
    """
    named = {name.lower(): value for name, value in headers.items()}
    token = _token(named.get("authorization", ""))
    claims = _claims(token, keys)
    if claims.get("iss") != gateway.issuer:
        raise CallbackError("issuer")
    sender = claims.get("azp")
    if not isinstance(sender, str) or sender not in gateway.senders:
        raise CallbackError("sender")
    late_s = _late_s(claims, gateway.leeway_s, now_s)
    facility = named.get("x-hip-id", "").strip()
    if facility not in facilities:
        raise CallbackError("facility")
    jti = claims.get("jti")
    name = jti if isinstance(jti, str) and jti else token.rpartition(".")[0]  # a signature has several spellings
    digest = sha256(name.encode("utf-8", "surrogatepass")).digest()
    return Proven(facility, sender, late_s, digest, _made_s(claims, named.get("timestamp", ""), late_s))


def is_signed(forms: Iterable[bytes], signature: str, keys: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of these keys has signed one of these texts by RS256.

    Args:
        signature: in base64, of either alphabet, with or without its end.
        keys: of the gateway, as JSON Web Keys.
    """
    try:
        plain = signature.rstrip("=").translate(_ALPHABET)
        raw = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        return False
    usable = [one.public_key for one in rsa_keys([one for one in keys if one.get("alg", "RS256") == "RS256"])]
    return any(_fits(form, raw, key) for form in forms for key in usable)


def _fits(text: bytes, signature: bytes, key: RSAPublicKey) -> bool:
    try:
        key.verify(signature, text, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _token(authorization: str) -> str:
    text = authorization.strip()
    if not text.lower().startswith(SCHEME):
        raise CallbackError("no token")
    if len(text) > LONGEST_TOKEN:
        raise CallbackError("length")
    return text[len(SCHEME) :].strip()


def _claims(token: str, keys: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    header = _header(token)
    kid, algorithm = header.get("kid"), header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise CallbackError("algorithm")
    if not isinstance(kid, str) or not kid:
        raise CallbackError("no key named")
    fit = [one for one in keys if one.get("kid") == kid]
    if not fit:
        raise UnknownGatewayKeyError("key")
    if any(one.get("alg", algorithm) != algorithm for one in fit):
        raise CallbackError("algorithm of the key")
    try:
        return signed_claims(token, fit, TYPES)
    except IdentityProviderError as error:
        raise CallbackError(error.reason) from None


def _header(token: str) -> Mapping[str, Any]:
    """Of a token whose signature is not looked at yet."""
    try:
        header = jws.extract_compact(token.encode("ascii")).headers()
    except (JoseError, ValueError, TypeError, RecursionError):  # the header may be any JSON
        raise CallbackError("no token") from None
    if not isinstance(header, Mapping):
        raise CallbackError("no token")
    return header


def _late_s(claims: Mapping[str, Any], leeway_s: float, now_s: float) -> float:
    ends = _time(claims.get("exp"))
    late_s = now_s - ends
    if late_s > leeway_s:
        raise CallbackError(EXPIRED)
    if any(_time(claims.get(name, 0)) > now_s + leeway_s for name in ("iat", "nbf")):
        raise CallbackError(TOO_EARLY)
    return max(late_s, 0.0)


def _made_s(claims: Mapping[str, Any], timestamp: str, late_s: float) -> float | None:
    ended_s = _time(claims.get("exp"))
    try:
        stamp = datetime.fromisoformat(timestamp.strip())
    except ValueError:
        return ended_s if late_s else None
    named_s = max((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp(), _time(claims.get("iat", 0)))
    return min(named_s, ended_s) if late_s else named_s


def _time(said: object) -> float:
    found = float(str(said)) if type(said) in (int, float) else math.nan
    if not math.isfinite(found):
        raise CallbackError("times")
    return found
