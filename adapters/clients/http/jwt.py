"""Signed assertions of our identity, for SMART backend services (SMART App Launch 2.2, "Asymmetric client
authentication"; RFC 7523): a JWT, good for minutes and for one token server only.

    header  alg RS384 (RSA) or ES384 (EC P-384), kid, typ JWT
    claims  iss, sub  our client id
            aud       the address of the token server
            iat, exp  good for less than the five minutes that SMART allows
            jti       a number used once

The key stays in its file or credential: it is read for each assertion and kept nowhere.
"""

import secrets
from datetime import datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from adapters.clients.http.log_in import OAuth2Auth
from engine.model.errors import ConfigError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ISSUED_BEFORE_S = 10  # the server's clock may be behind by a little
LIFE_S = 240
SMALLEST_RSA_BITS = 2048


def sign(auth: OAuth2Auth, token_url: str, now: datetime) -> str:
    """An assertion for the token server.

    Args:
        token_url: its address.
        now: the server's time, as far as it is known.

    Raises:
        ConfigError: the key cannot be read, or is of no kind that SMART knows.
    """
    key, algorithm = _key(auth)
    issued = int(now.timestamp()) - ISSUED_BEFORE_S
    claims: dict[str, Any] = {
        "iss": auth.client_id,
        "sub": auth.client_id,
        "aud": token_url,
        "iat": issued,
        "exp": issued + LIFE_S,
        "jti": secrets.token_urlsafe(24),
    }
    header = {"alg": algorithm, "kid": auth.kid or key.thumbprint()}
    return jwt.encode(header, claims, key, algorithms=[algorithm])


def key_set(auth: OAuth2Auth) -> dict[str, Any]:
    """The public half as a JSON Web Key Set (RFC 7517), to register at the server.

    Raises:
        ConfigError: as `sign`.
    """
    key, algorithm = _key(auth)
    public = {**key.as_dict(private=False), "use": "sig", "alg": algorithm, "kid": auth.kid or key.thumbprint()}
    return {"keys": [public]}


def _key(auth: OAuth2Auth) -> tuple[RSAKey | ECKey, str]:
    if auth.key is not None:
        place = str(auth.key)
        try:
            pem = auth.key.read_bytes()
        except OSError as error:
            raise ConfigError(f"{place}: {error.strerror}; give the private key as a PEM file that we may read") from (
                error
            )
    else:
        assert auth.private_key is not None, "the configuration has one of the two"
        place, pem = str(auth.private_key), auth.private_key.reveal().encode()
    try:
        private = load_pem_private_key(pem, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):  # their texts may quote the key
        raise ConfigError(f"{place} is no private key in PEM without a password") from None
    if isinstance(private, RSAPrivateKey) and private.key_size >= SMALLEST_RSA_BITS:
        return RSAKey.import_key(private), "RS384"
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP384R1):
        return ECKey.import_key(private), "ES384"
    raise ConfigError(f"{place} is neither an RSA key of at least {SMALLEST_RSA_BITS} bits nor an EC key on P-384")
