"""Tokens of the simulated gateway: session tokens, those of callbacks, link tokens; and those that an attacker makes.

One key signs session tokens and callbacks, as at NHA's gateway: a program's own session token has a right signature,
and proves nothing about a callback.
"""

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

ISSUER = "https://dev.abdm.gov.in/auth/realms/central-registry"
SENDER = "gateway"
KEY_ID, NEXT_KEY_ID = "simulated-gateway-1", "simulated-gateway-2"
CALLBACK_LIFE_S = 300
LATE_S = 16 * 60
LINK_TOKEN_LIFE_S = int(182.5 * 86_400)


class Signer:
    """Makes and reads tokens. The keys are made anew in each process."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._key = self._of_consents = _key("gateway")

    def keys(self) -> dict[str, Any]:
        """As JSON Web Key Set (RFC 7517, 5)."""
        keys = {id(key): key for key in (self._key, self._of_consents)}
        return {"keys": [key.as_dict(private=False) for key in keys.values()]}

    def new_key_of_consents(self) -> None:
        """Sign consents by another key from now on, published beside that of tokens."""
        self._of_consents = _key("consents", NEXT_KEY_ID)

    def session(self, now_s: int, life_s: int) -> str:
        return self._signed(self._claims(now_s, now_s + life_s, self._client))

    def link(self, now_s: int, **claims: str) -> str:
        """A link token for the ``hipId``, ``abhaAddress`` and ``abhaNumber`` of ``claims``."""
        more = {"sub": claims["abhaAddress"], "transactionId": str(uuid4())}
        return self._signed({**claims, **more, "iat": now_s, "exp": now_s + LINK_TOKEN_LIFE_S})

    def signature(self, said: dict[str, Any], *, wrong: bool = False) -> str:
        """Of a consent artefact, by RS256 over its compact JSON: the signed bytes are not published, so these are ours.

        Args:
            wrong: by a key that is not the gateway's.
        """
        key = (_key("stranger") if wrong else self._of_consents).private_key
        assert key is not None, "they are made here"
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
        return base64.b64encode(key.sign(text, PKCS1v15(), SHA256())).decode("ascii")

    def read(self, token: str) -> dict[str, Any] | None:
        """The claims of a token of ours; None where it is none."""
        try:
            return dict(jwt.decode(token, self._key, algorithms=["RS256"]).claims)
        except (JoseError, ValueError):
            return None

    def callback(self, now_s: int, kind: str = "") -> str:
        """The Authorization of a callback; of a ``kind`` of `faults.FORGED`, or ``late-token``."""
        claims = self._claims(now_s, now_s + CALLBACK_LIFE_S, SENDER)
        header = {"alg": "RS256", "typ": "JWT", "kid": KEY_ID}
        if kind == "no-token":
            return ""
        if kind == "late-token":
            claims |= {"iat": now_s - LATE_S - CALLBACK_LIFE_S, "exp": now_s - LATE_S}
        elif kind == "expired":
            claims |= {"iat": now_s - 7200 - CALLBACK_LIFE_S, "exp": now_s - 7200}
        elif kind == "wrong-issuer":
            claims["iss"] = "https://gateway.example"
        elif kind == "own-account":
            claims["azp"] = self._client
        elif kind == "unknown-key":
            header["kid"] = "another"
        if kind == "alg-none":
            return f"Bearer {_part({**header, 'alg': 'none'})}.{_part(claims)}."
        if kind == "hs256":
            text = f"{_part({**header, 'alg': 'HS256'})}.{_part(claims)}"
            mac = hmac.new(self._key.as_pem(private=False), text.encode(), hashlib.sha256).digest()
            return f"Bearer {text}.{_plain(mac)}"
        key = _key("stranger") if kind == "wrong-signature" else self._key
        return f"Bearer {jwt.encode(header, claims, key, algorithms=['RS256'])}"

    def _claims(self, begin_s: int, end_s: int, account: str) -> dict[str, Any]:
        return {
            "iss": ISSUER,
            "azp": account,
            "aud": "account",
            "typ": "Bearer",
            "jti": str(uuid4()),
            "iat": begin_s,
            "exp": end_s,
            "sub": f"service-account-{account}",
        }

    def _signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "typ": "JWT", "kid": KEY_ID}, claims, self._key, algorithms=["RS256"])


@cache
def _key(owner: str, name: str = KEY_ID) -> RSAKey:
    """The key of the gateway, or one of another owner under the same name."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"}, private=True)


def _part(said: dict[str, Any]) -> str:
    return _plain(json.dumps(said).encode())


def _plain(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")
