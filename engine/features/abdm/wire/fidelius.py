"""Fidelius: encryption of health records for the reader that a consent names (ABDM). Pure.

For each page of a transfer:

    S      x coordinate of (own private key * the peer's point): 32 bytes, big-endian, with leading zeros
    X      own nonce XOR the peer's nonce; salt = X[0:20], IV = X[20:32]
    K      HKDF-SHA256(S, salt, info empty), 32 bytes
    page   base64 of AES-256-GCM(K, IV, document, no additional data) with the 16-byte tag at its end

K and IV follow from the keys and nonces alone. So a seed and a nonce encrypt one document and no other: of two ones GCM
would reveal the XOR. The caller draws both anew for each page, keeps neither, and sends a page again from its stored
bytes.

The curve is named Curve25519 on the wire, and written as BouncyCastle has it, in short Weierstrass form. X25519 works
on the same curve in Montgomery form (RFC 7748, 4.1)::

    y^2 = x^3 + a x + b        x = u + D, y = v
    v^2 = u^3 + 486662 u^2 + u        D = 486662 / 3 mod p

Only x enters S, so X25519 does the multiplication, in constant time. Of a public key either root y will do: the peer
comes to the same x with both. No secret is compared here; the tag of GCM is compared by the library, in constant time.

Sources: Fidelius CLI 1.2 and its README; NHA's pages on the data flow; RFC 7748, RFC 5869, RFC 5480 (X.509 keys), SEC 1
2.3.3 (points) and C.2 (explicit parameters).
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.features.abdm.wire.times import instant
from engine.model.errors import FideliusError

P = 2**255 - 19
D = 486662 * pow(3, -1, P) % P
A = 0x2AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA984914A144
B = 0x7B425ED097B425ED097B425ED097B425ED097B425ED097B4260B5E9C7710C864
BASE_X = 9 + D
BASE_Y = 0x20AE19A1B8A086B4E01EDD2C7748D14C923D4D7E6D7C61B229E9C5A27ECED3D9
ORDER = 2**252 + 27742317777372353535851937790883648493
COFACTOR = 8

SECRET_BYTES = NONCE_BYTES = SEED_BYTES = KEY_BYTES = 32
SALT_BYTES = 20
POINT_BYTES = 65  # 04, x, y
ALGORITHM = "ECDH"
CURVE = "Curve25519"
PARAMETERS = "Curve25519/32byte random key"  # as NHA's examples say; no program reads it

# u of the points of order 2, 4 and 8 (two of these): a secret made with one is known to all.
LOW_ORDER = frozenset(
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)
_ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


class Fault(StrEnum):
    """Why keys or a page are refused."""

    MISSING = "missing"
    ALGORITHM = "algorithm"
    CURVE = "curve"
    BASE64 = "base64"
    ENCODING = "encoding"
    COMPRESSED = "compressed"
    RAW_X25519 = "raw_x25519"
    COORDINATES = "coordinates"
    TWIST = "twist"
    OFF_CURVE = "off_curve"
    LOW_ORDER = "low_order"
    NONCE_LENGTH = "nonce_length"
    EXPIRY = "expiry"
    EXPIRED = "expired"
    NOT_AUTHENTIC = "not_authentic"


_WORDS = {
    Fault.MISSING: "keyMaterial lacks one of cryptoAlg, curve, nonce, dhPublicKey with keyValue and expiry",
    Fault.ALGORITHM: f"cryptoAlg is not {ALGORITHM}",
    Fault.CURVE: f"curve is not {CURVE}",
    Fault.BASE64: "not standard base64",
    Fault.ENCODING: "the public key is neither a point of 65 bytes nor an X.509 key of an elliptic curve",
    Fault.COMPRESSED: "the public key is a compressed point; expected an uncompressed one, which begins with 04",
    Fault.RAW_X25519: "the public key is in the form of X25519 (RFC 7748); expected a point in short Weierstrass form",
    Fault.COORDINATES: "a coordinate of the public key is not below 2^255 - 19",
    Fault.TWIST: "the public key is a point of the curve's twist",
    Fault.OFF_CURVE: "the public key is no point of the curve",
    Fault.LOW_ORDER: "the public key is a point of low order; a secret made with it is known to all",
    Fault.NONCE_LENGTH: f"a nonce has {NONCE_BYTES} bytes",
    Fault.EXPIRY: "the expiry of the key is no time",
    Fault.EXPIRED: "the key has expired",
    Fault.NOT_AUTHENTIC: "the page was changed, or was encrypted for other keys",
}


class KeyForm(StrEnum):
    """How a public key is written. Each reader that is known takes EXPLICIT."""

    EXPLICIT = "explicit"  # X.509 with the parameters of the curve
    NAMED = "named"  # X.509 with BouncyCastle's name of the curve
    BARE = "bare"  # the point alone


@dataclass(frozen=True, slots=True)
class Peer:
    """The checked public key and nonce of the other side.

    Attributes:
        u: of its point, 32 bytes little-endian, as X25519 takes it.
    """

    u: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Agreement:
    """The values of one page that both sides come to. Secret, but for salt and IV."""

    secret: bytes = field(repr=False)
    salt: bytes
    iv: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SealedPage:
    """One encrypted document, and the public values that its reader needs; all as they are sent.

    Attributes:
        checksum: MD5 of the document in hexadecimal. A label: the tag protects the content.
    """

    content: str
    checksum: str
    key_value: str
    nonce: str


def seal(document: bytes, peer: Peer, *, seed: bytes, nonce: bytes, form: KeyForm = KeyForm.EXPLICIT) -> SealedPage:
    """Encrypt one document.

    Args:
        seed: 32 random bytes, the private key of this page.
        nonce: 32 random bytes, of this page.

    Raises:
        FideliusError: LOW_ORDER, NONCE_LENGTH.
        ValueError: the seed has not 32 bytes.
    """
    agreed = agreement(peer, seed=seed, nonce=nonce)
    return SealedPage(
        content=_text(AESGCM(agreed.key).encrypt(agreed.iv, document, None)),
        checksum=hashlib.md5(document, usedforsecurity=False).hexdigest(),
        key_value=public_key(seed, form),
        nonce=_text(nonce),
    )


def open_page(content: str, peer: Peer, *, seed: bytes, nonce: bytes) -> bytes:
    """Decrypt one document.

    Args:
        content: as it was received.
        peer: who sealed the page.

    Raises:
        FideliusError: BASE64, NOT_AUTHENTIC, or as `seal`.
    """
    agreed = agreement(peer, seed=seed, nonce=nonce)
    try:
        return AESGCM(agreed.key).decrypt(agreed.iv, _bytes(content), None)
    except InvalidTag:
        raise _refused(Fault.NOT_AUTHENTIC) from None


def agreement(peer: Peer, *, seed: bytes, nonce: bytes) -> Agreement:
    """The secret, salt, IV and key of one page.

    Raises:
        FideliusError, ValueError: as `seal`.
    """
    _nonce(nonce)
    try:
        u = X25519PrivateKey.from_private_bytes(seed).exchange(X25519PublicKey.from_public_bytes(peer.u))
    except ValueError:
        if len(seed) != SEED_BYTES:
            raise
        raise _refused(Fault.LOW_ORDER) from None  # the library's own check; `read_key` refuses such a point before
    secret = _shifted(u).to_bytes(SECRET_BYTES, "big")
    mixed = bytes(mine ^ theirs for mine, theirs in zip(nonce, peer.nonce, strict=True))
    salt, iv = mixed[:SALT_BYTES], mixed[SALT_BYTES:]
    key = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"").derive(secret)
    return Agreement(secret, salt, iv, key)


def public_key(seed: bytes, form: KeyForm = KeyForm.EXPLICIT) -> str:
    """The public key of a seed, as it is sent."""
    u = X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = _shifted(u)
    y = _root(_right_side(x))
    assert y is not None, "a multiple of the base point is on the curve"
    return _text(_HEADS[form] + _point(x, y))


def key_material(page: SealedPage, expiry: str) -> dict[str, Any]:
    """The ``keyMaterial`` of a page.

    Args:
        expiry: end of the window of the transfer, UTC with milliseconds and ``Z``.
    """
    public = {"expiry": expiry, "parameters": PARAMETERS, "keyValue": page.key_value}
    return {"cryptoAlg": ALGORITHM, "curve": CURVE, "dhPublicKey": public, "nonce": page.nonce}


def read_key_material(said: object, now: datetime) -> Peer:
    """The keys of the other side from a ``keyMaterial``.

    Args:
        said: as it was read from JSON.
        now: with a zone.

    Raises:
        FideliusError: ``fault`` says which part cannot be used.
    """
    public = said.get("dhPublicKey") if isinstance(said, Mapping) else None
    if not isinstance(said, Mapping) or not isinstance(public, Mapping):
        raise _refused(Fault.MISSING)
    texts = [said.get("cryptoAlg"), said.get("curve"), said.get("nonce"), public.get("keyValue"), public.get("expiry")]
    if not all(isinstance(one, str) and one for one in texts):
        raise _refused(Fault.MISSING)
    algorithm, curve, nonce, key, expiry = (str(one) for one in texts)
    if algorithm.upper() != ALGORITHM:
        raise _refused(Fault.ALGORITHM)
    if curve.lower() != CURVE.lower():
        raise _refused(Fault.CURVE)
    expires = instant(expiry)
    if expires is None:
        raise _refused(Fault.EXPIRY)
    if expires <= now:
        raise _refused(Fault.EXPIRED)
    return read_peer(key, nonce)


def read_peer(key_value: str, nonce: str) -> Peer:
    """A public key, and the nonce beside it.

    Raises:
        FideliusError: ``fault`` says why they cannot be used.
    """
    return Peer(read_key(key_value), _nonce(_bytes(nonce)))


def read_key(key_value: str) -> bytes:
    """The u coordinate of a public key: 32 bytes, little-endian.

    Args:
        key_value: base64 of a point (65 bytes), or of an X.509 key with any parameters that ends with one.

    Raises:
        FideliusError: it is none, or no safe point of the curve.
    """
    point = _point_of(_bytes(key_value))
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    if x >= P or y >= P:
        raise _refused(Fault.COORDINATES)
    right = _right_side(x)
    if y * y % P != right:
        raise _refused(Fault.OFF_CURVE if _root(right) is not None else Fault.TWIST)
    u = (x - D) % P
    if u in LOW_ORDER:
        raise _refused(Fault.LOW_ORDER)
    return u.to_bytes(KEY_BYTES, "little")


def _shifted(u: bytes) -> int:
    """x of a point."""
    return (int.from_bytes(u, "little") + D) % P


def _right_side(x: int) -> int:
    return (x * x * x + A * x + B) % P


def _root(square: int) -> int | None:
    """A square root modulo P, which is 5 modulo 8; None where there is none."""
    root = pow(square, (P + 3) // 8, P)
    for one in (root, root * _ROOT_OF_MINUS_1 % P):
        if one * one % P == square:
            return one
    return None


def _refused(fault: Fault) -> FideliusError:
    return FideliusError(fault.value, _WORDS[fault])


def _text(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise _refused(Fault.BASE64) from None


def _nonce(raw: bytes) -> bytes:
    if len(raw) != NONCE_BYTES:
        raise _refused(Fault.NONCE_LENGTH)
    return raw


# X.509: SEQUENCE { SEQUENCE { id-ecPublicKey, parameters }, BIT STRING point }

_SEQUENCE, _INTEGER, _BITS, _OCTETS = 0x30, 0x02, 0x03, 0x04
_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")  # 1.2.840.10045.2.1
_PRIME_FIELD = bytes.fromhex("06072a8648ce3d0101")  # 1.2.840.10045.1.1
_BOUNCY_CASTLE_NAME = bytes.fromhex("060a2b060104019755010501")  # 1.3.6.1.4.1.3029.1.5.1
_X25519 = bytes.fromhex("06032b656e")  # 1.3.101.110 (RFC 8410)


def _point(x: int, y: int) -> bytes:
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def _tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    width = (size.bit_length() + 7) // 8
    return bytes([tag, 0x80 + width]) + size.to_bytes(width, "big") + content


def _integer(number: int) -> bytes:
    return _tlv(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _head(parameters: bytes) -> bytes:
    """An X.509 key up to its point."""
    algorithm = _tlv(_SEQUENCE, _EC_PUBLIC_KEY, parameters)
    return _tlv(_SEQUENCE, algorithm, _tlv(_BITS, bytes(1 + POINT_BYTES)))[:-POINT_BYTES]


_CURVE = _tlv(
    _SEQUENCE,
    _integer(1),
    _tlv(_SEQUENCE, _PRIME_FIELD, _integer(P)),
    _tlv(_SEQUENCE, _tlv(_OCTETS, A.to_bytes(32, "big")), _tlv(_OCTETS, B.to_bytes(32, "big"))),
    _tlv(_OCTETS, _point(BASE_X, BASE_Y)),
    _integer(ORDER),
    _integer(COFACTOR),
)
_HEADS = {KeyForm.EXPLICIT: _head(_CURVE), KeyForm.NAMED: _head(_BOUNCY_CASTLE_NAME), KeyForm.BARE: b""}


def _point_of(raw: bytes) -> bytes:
    """The uncompressed point of a public key in any of its forms."""
    if len(raw) == KEY_BYTES or (raw[:1] != b"\x04" and _X25519 in raw[:12]):
        raise _refused(Fault.RAW_X25519)
    point = raw
    if raw[:1] == bytes([_SEQUENCE]):
        whole, behind = _content(raw, _SEQUENCE)
        algorithm, rest = _content(whole, _SEQUENCE)
        bits, after = _content(rest, _BITS)
        if behind or after or not algorithm.startswith(_EC_PUBLIC_KEY) or bits[:1] != b"\0":
            raise _refused(Fault.ENCODING)
        point = bits[1:]
    if len(point) == 33 and point[0] in (2, 3):
        raise _refused(Fault.COMPRESSED)
    if len(point) != POINT_BYTES or point[0] != 4:
        raise _refused(Fault.ENCODING)
    return point


def _content(raw: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the DER value at the beginning, and the bytes behind it."""
    if len(raw) < 2 or raw[0] != tag:
        raise _refused(Fault.ENCODING)
    wide = max(raw[1] - 0x80, 0)  # bytes of a length of 128 and more
    begin = 2 + wide
    end = begin + (int.from_bytes(raw[2:begin], "big") if wide else raw[1])
    if wide > 2 or end > len(raw):
        raise _refused(Fault.ENCODING)
    return raw[begin:end], raw[end:]
