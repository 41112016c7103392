"""Fidelius against vectors that Fidelius CLI made or opened, and against the curve written out as textbooks have it.

The oracle is `Curve`: affine addition in short Weierstrass form on plain integers, another way than that of the code,
which lets X25519 multiply. Private keys of the vectors are integers; X25519 takes one of their representatives.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.features.abdm.wire.fidelius import (
    LOW_ORDER,
    Fault,
    KeyForm,
    Peer,
    agreement,
    key_material,
    open_page,
    public_key,
    read_key,
    read_key_material,
    read_peer,
    seal,
)
from engine.model.errors import FideliusError
from tests.support.examples import examples

VECTOR_FILE = json.loads(Path(__file__).with_name("fidelius_vectors.json").read_text(encoding="utf-8"))
CURVE = {name: value if name == "form" else int(str(value), 0) for name, value in VECTOR_FILE["curve"].items()}
P, A, B, N, SHIFT = (int(CURVE[name]) for name in ("p", "a", "b", "n", "shift"))
BASE = (int(CURVE["gx"]), int(CURVE["gy"]))
Point = tuple[int, int] | None  # None: the point at infinity

VECTORS = {one["name"]: one for one in VECTOR_FILE["vectors"]}
EXCHANGES = [name for name, one in VECTORS.items() if one["kind"] == "exchange"]
BAD_KEYS = {
    "reject-not-on-curve": Fault.OFF_CURVE,
    "reject-twist-x": Fault.TWIST,
    "reject-order-2": Fault.LOW_ORDER,
    "reject-compressed": Fault.COMPRESSED,
    "reject-x25519-spki": Fault.RAW_X25519,
}
BAD_PAGES = ["reject-body-bit-flip", "reject-swapped-salt-iv"]
NOW = datetime(2026, 11, 20, 6, 10, tzinfo=UTC)


# -- the oracle ------------------------------------------------------------------------------------------------------


def add(one: Point, other: Point) -> Point:
    if one is None or other is None:
        return one or other
    (x1, y1), (x2, y2) = one, other
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    slope = (3 * x1 * x1 + A) * pow(2 * y1, -1, P) if one == other else (y2 - y1) * pow(x2 - x1, -1, P)
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def times(number: int, point: Point) -> Point:
    made: Point = None
    while number:
        if number & 1:
            made = add(made, point)
        point, number = add(point, point), number >> 1
    return made


def root(square: int) -> int | None:
    """Tonelli and Shanks' way, reduced to p = 5 mod 8."""
    if pow(square, (P - 1) // 2, P) not in (0, 1):
        return None
    found = pow(square, (P + 3) // 8, P)
    return found if found * found % P == square % P else found * pow(2, (P - 1) // 4, P) % P


def bare(x: int, y: int) -> str:
    return b64encode(b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")).decode()


def seed_of(private: str) -> bytes:
    """A seed of X25519 whose public key has the x of this private key: d or -d modulo n, as X25519 clamps it."""
    number = int.from_bytes(b64decode(private), "big")
    for base in (number % N, -number % N):
        for multiple in range(16):
            one = base + multiple * N
            if one % 8 == 0 and 2**254 <= one < 2**255:
                return one.to_bytes(32, "little")
    raise AssertionError("no representative")


def sealed_by_hand(text: bytes, private: int, theirs: Point, mine: bytes, other: bytes) -> str:
    """The scheme written out once more."""
    shared = times(private, theirs)
    assert shared is not None
    mixed = bytes(a ^ b for a, b in zip(mine, other, strict=True))
    key = HKDF(algorithm=SHA256(), length=32, salt=mixed[:20], info=b"").derive(shared[0].to_bytes(32, "big"))
    return b64encode(AESGCM(key).encrypt(mixed[20:], text, None)).decode()


# -- vectors ---------------------------------------------------------------------------------------------------------


def test_every_vector_is_tried() -> None:
    kinds = {one["kind"] for one in VECTORS.values()}
    assert kinds == {"exchange", "reject-public-key", "reject-ciphertext", "reject-nonce"}
    tried = {*EXCHANGES, *BAD_KEYS, *BAD_PAGES, "reject-nonce-16-bytes"}
    assert (tried, len(EXCHANGES)) == (VECTORS.keys(), 7)


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize("side", ["sender", "requester"])
def test_both_sides_come_to_the_values_of_the_vector(name: str, side: str) -> None:
    vector = VECTORS[name]
    mine, theirs = vector[side], vector["requester" if side == "sender" else "sender"]
    for form in ("publicKey", "x509PublicKey", "x509NamedPublicKey"):
        if form not in theirs:  # the published vector has two
            continue
        agreed = agreement(
            read_peer(theirs[form], theirs["nonce"]), seed=seed_of(mine["privateKey"]), nonce=b64decode(mine["nonce"])
        )
        assert {
            "sharedSecret": b64encode(agreed.secret).decode(),
            "xorOfNonces": b64encode(agreed.salt + agreed.iv).decode(),
            "salt": b64encode(agreed.salt).decode(),
            "iv": b64encode(agreed.iv).decode(),
            "aesKey": b64encode(agreed.key).decode(),
        } == vector["intermediate"]


@pytest.mark.parametrize("name", EXCHANGES)
def test_the_ciphertext_of_the_vector_is_made_and_opened(name: str) -> None:
    vector = VECTORS[name]
    sender, requester = vector["sender"], vector["requester"]
    plain = vector["plaintext"].encode()

    page = seal(
        plain,
        read_peer(requester["x509PublicKey"], requester["nonce"]),
        seed=seed_of(sender["privateKey"]),
        nonce=b64decode(sender["nonce"]),
    )

    assert (page.content, page.checksum) == (vector["encryptedData"], vector["checksumMd5Hex"])
    assert page.nonce == sender["nonce"]
    assert read_key(page.key_value) == read_key(sender["publicKey"])
    opened = open_page(
        vector["encryptedData"],
        read_peer(sender["x509PublicKey"], sender["nonce"]),
        seed=seed_of(requester["privateKey"]),
        nonce=b64decode(requester["nonce"]),
    )
    assert opened == plain


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize("side", ["sender", "requester"])
def test_public_keys_are_written_as_in_the_vector(name: str, side: str) -> None:
    """Where y is the other root, so is that of the vector: the key has the same x, and its negative is as good."""
    keys = VECTORS[name][side]
    raw = b64decode(keys["publicKey"])
    x, y = int.from_bytes(raw[1:33], "big"), int.from_bytes(raw[33:], "big")
    seed = seed_of(keys["privateKey"])
    negative = b64encode(b64decode(keys["x509PublicKey"])[:-32] + (P - y).to_bytes(32, "big")).decode()
    assert public_key(seed, KeyForm.BARE) in (bare(x, y), bare(x, P - y))
    assert public_key(seed) in (keys["x509PublicKey"], negative)
    if "x509NamedPublicKey" in keys:
        named = b64decode(public_key(seed, KeyForm.NAMED))
        assert named[:-32] == b64decode(keys["x509NamedPublicKey"])[:-32]


@pytest.mark.parametrize(("name", "fault"), BAD_KEYS.items())
def test_a_bad_public_key_is_refused_by_name(name: str, fault: Fault) -> None:
    with pytest.raises(FideliusError) as refused:
        read_key(VECTORS[name]["publicKey"])
    assert refused.value.fault == fault


@pytest.mark.parametrize("name", BAD_PAGES)
def test_a_page_that_is_not_authentic_is_refused(name: str) -> None:
    vector = VECTORS[name]
    peer = read_peer(vector["senderPublicKey"], vector["senderNonce"])
    mine = vector["requester"]
    with pytest.raises(FideliusError) as refused:
        open_page(vector["encryptedData"], peer, seed=seed_of(mine["privateKey"]), nonce=b64decode(mine["nonce"]))
    assert refused.value.fault == Fault.NOT_AUTHENTIC


def test_a_nonce_of_another_length_is_refused() -> None:
    good = VECTORS["plain-bundle"]["requester"]
    for nonce in (VECTORS["reject-nonce-16-bytes"]["nonce"], b64encode(bytes(33)).decode(), ""):
        with pytest.raises(FideliusError) as refused:
            read_peer(good["publicKey"], nonce)
        assert refused.value.fault == Fault.NONCE_LENGTH


# -- the curve -------------------------------------------------------------------------------------------------------


def test_the_points_of_low_order_are_all_refused() -> None:
    """The curve has 8 n points: those of order 2, 4 and 8 are n times another one."""
    found: set[int] = set()
    x = 0
    while len(found) < len(LOW_ORDER):
        x += 1
        y = root((x**3 + A * x + B) % P)
        if y is None:
            continue
        point = times(N, (x, y))
        while point is not None:
            assert times(8, point) is None
            found.add((point[0] - SHIFT) % P)
            for root_y in (point[1], -point[1] % P):
                with pytest.raises(FideliusError) as refused:
                    read_key(bare(point[0], root_y))
                assert refused.value.fault == Fault.LOW_ORDER
            point = add(point, point)
    assert found == LOW_ORDER


@settings(max_examples=examples(15), deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_public_key_is_that_multiple_of_the_base(seed: bytes, other: bytes) -> None:
    clamped = int.from_bytes(seed, "little") & ~7 & (2**254 - 1) | 2**254
    point = times(clamped, BASE)
    assert point is not None
    assert public_key(seed, KeyForm.BARE) in (bare(*point), bare(point[0], P - point[1]))
    # and the secret that the other side comes to is the product of both
    theirs = times(int.from_bytes(other, "little") % N or 1, BASE)
    assert theirs is not None
    shared = times(clamped, theirs)
    assert shared is not None
    agreed = agreement(Peer(read_key(bare(*theirs)), bytes(32)), seed=seed, nonce=bytes(32))
    assert agreed.secret == shared[0].to_bytes(32, "big")


@settings(max_examples=examples(200), deadline=None)
@given(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1))
def test_any_two_numbers_are_a_point_or_refused_by_the_right_name(x: int, y: int) -> None:
    right = (x**3 + A * x + B) % P
    found = root(right)
    expected = Fault.COORDINATES if x >= P or y >= P else Fault.TWIST if found is None else Fault.OFF_CURVE
    with pytest.raises(FideliusError) as refused:  # no random pair is on the curve
        read_key(bare(x, y))
    assert refused.value.fault == expected
    if x < P and found is not None:
        assert read_key(bare(x, found)) == ((x - SHIFT) % P).to_bytes(32, "little")


@pytest.mark.parametrize("x", [P, P + 1, 2**256 - 1])
def test_a_coordinate_is_not_reduced(x: int) -> None:
    with pytest.raises(FideliusError) as refused:
        read_key(bare(x, 1))
    assert refused.value.fault == Fault.COORDINATES


# -- round trips -----------------------------------------------------------------------------------------------------

SEEDS = st.binary(min_size=32, max_size=32)


@settings(max_examples=examples(60), deadline=None)
@given(st.binary(max_size=3000), SEEDS, SEEDS, SEEDS, SEEDS, st.sampled_from(KeyForm), st.sampled_from(KeyForm))
def test_each_document_comes_back(
    document: bytes, mine: bytes, my_nonce: bytes, theirs: bytes, their_nonce: bytes, out: KeyForm, back: KeyForm
) -> None:
    reader = read_peer(public_key(theirs, back), b64encode(their_nonce).decode())
    page = seal(document, reader, seed=mine, nonce=my_nonce, form=out)
    assert page.checksum == hashlib.md5(document).hexdigest()
    sender = read_peer(page.key_value, page.nonce)
    assert open_page(page.content, sender, seed=theirs, nonce=their_nonce) == document


@settings(max_examples=examples(60), deadline=None)
@given(st.binary(min_size=1, max_size=300), st.data())
def test_no_changed_bit_is_opened(document: bytes, data: st.DataObject) -> None:
    mine, theirs, my_nonce, their_nonce = (bytes([number]) * 32 for number in (1, 2, 3, 4))
    page = seal(document, read_peer(public_key(theirs), b64encode(their_nonce).decode()), seed=mine, nonce=my_nonce)
    raw = bytearray(b64decode(page.content))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.integers(0, len(raw)))
    sender = read_peer(page.key_value, page.nonce)
    for wrong in (bytes(raw), bytes(raw[:cut])):
        with pytest.raises(FideliusError) as refused:
            open_page(b64encode(wrong).decode(), sender, seed=theirs, nonce=their_nonce)
        assert refused.value.fault == Fault.NOT_AUTHENTIC
    other = read_peer(page.key_value, b64encode(bytes(32)).decode())
    with pytest.raises(FideliusError):
        open_page(page.content, other, seed=theirs, nonce=their_nonce)


def test_a_reader_who_multiplies_as_bouncy_castle_does_comes_to_the_same_bytes() -> None:
    """The other side never sees our scalar, and multiplies by one that is not clamped."""
    text = "रक्त शर्करा ≥ 7 mmol/L".encode()
    private, seed = 0x1234567890ABCDEF1234567890ABCDEF1234567890ABCDEF1234567890ABCD, bytes(range(32))
    theirs = times(private, BASE)
    assert theirs is not None
    reader_nonce, nonce = bytes(range(32, 64)), bytes(range(64, 96))
    page = seal(text, Peer(read_key(bare(*theirs)), reader_nonce), seed=seed, nonce=nonce, form=KeyForm.BARE)
    raw = b64decode(page.key_value)
    for y in (int.from_bytes(raw[33:], "big"), P - int.from_bytes(raw[33:], "big")):  # either root
        ours = (int.from_bytes(raw[1:33], "big"), y)
        assert sealed_by_hand(text, private, ours, reader_nonce, nonce) == page.content


def test_a_seed_of_another_length_is_a_fault_of_the_caller() -> None:
    peer = Peer((9).to_bytes(32, "little"), bytes(32))
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError):
            seal(b"", peer, seed=wrong, nonce=bytes(32))


def test_a_point_of_low_order_is_refused_by_the_multiplication_too() -> None:
    for u in LOW_ORDER:
        with pytest.raises(FideliusError) as refused:
            agreement(Peer(u.to_bytes(32, "little"), bytes(32)), seed=bytes(range(32)), nonce=bytes(32))
        assert refused.value.fault == Fault.LOW_ORDER


def test_no_secret_is_in_what_a_traceback_or_log_would_show() -> None:
    agreed = agreement(Peer((9).to_bytes(32, "little"), bytes(32)), seed=bytes(range(32)), nonce=bytes(32))
    assert repr(agreed.secret) not in repr(agreed)
    assert repr(agreed.key) not in repr(agreed)


# -- encodings -------------------------------------------------------------------------------------------------------

SPKI = b64decode(VECTORS["plain-bundle"]["sender"]["x509PublicKey"])
NAMED = b64decode(VECTORS["plain-bundle"]["sender"]["x509NamedPublicKey"])
POINT = SPKI[-65:]
P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")

ENCODINGS: dict[str, tuple[bytes, Fault | None]] = {
    "bare": (POINT, None),
    "explicit": (SPKI, None),
    "named": (NAMED, None),
    "a length in long form": (b"\x30\x81\x5b" + NAMED[2:], None),
    "a point of P-256": (P256 + bytes.fromhex("04") + bytes(31) + b"\x01" + bytes(31) + b"\x02", Fault.OFF_CURVE),
    "32 raw bytes": (bytes(range(32)), Fault.RAW_X25519),
    "X25519 (RFC 8410)": (bytes.fromhex("302a300506032b656e032100") + bytes(range(32)), Fault.RAW_X25519),
    "a compressed point within X.509": (
        b"\x30\x3b" + NAMED[2:25] + b"\x03\x22\x00\x02" + POINT[1:33],
        Fault.COMPRESSED,
    ),
    "a hybrid point": (b"\x06" + POINT[1:], Fault.ENCODING),
    "64 bytes": (POINT[1:], Fault.ENCODING),
    "nothing": (b"", Fault.ENCODING),
    "bytes behind": (SPKI + b"\0", Fault.ENCODING),
    "a value behind the point": (b"\x30\x5d" + NAMED[2:] + b"\x05\x00", Fault.ENCODING),
    "cut off": (SPKI[:-1], Fault.ENCODING),
    "no length": (b"\x30", Fault.ENCODING),
    "an endless length": (b"\x30\x80" + NAMED[2:], Fault.ENCODING),
    "a length of four bytes": (b"\x30\x84\x00\x00\x00\x5b" + NAMED[2:], Fault.ENCODING),
    "unused bits": (NAMED[:-66] + b"\x01" + POINT, Fault.ENCODING),
    "a key of RSA": (bytes.fromhex("300d06092a864886f70d0101010500") + POINT, Fault.ENCODING),
    "another algorithm within X.509": (NAMED.replace(bytes.fromhex("2a8648ce3d0201"), bytes(7)), Fault.ENCODING),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings_of_a_public_key(name: str) -> None:
    raw, fault = ENCODINGS[name]
    text = b64encode(raw).decode()
    if fault is None:
        assert read_key(text) == read_key(b64encode(POINT).decode())
    else:
        with pytest.raises(FideliusError) as refused:
            read_key(text)
        assert refused.value.fault == fault


def fault_of(text: str) -> str:
    """Empty where the key is taken."""
    try:
        assert len(read_key(text)) == 32
    except FideliusError as refused:
        return refused.fault
    return ""


@given(st.one_of(st.text(max_size=400), st.binary(max_size=400).map(lambda raw: b64encode(raw).decode())))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    assert fault_of(text) in {"", *Fault}


@given(st.integers(0, len(SPKI) - 1), st.integers(1, 255))
def test_a_changed_byte_of_an_x509_key_gives_the_same_point_or_none(at: int, change: int) -> None:
    """Parameters are not read: each program writes them a little differently, and the point is checked by itself."""
    raw = bytearray(SPKI)
    raw[at] ^= change
    text = b64encode(raw).decode()
    fault = fault_of(text)
    if not fault:
        assert at < len(SPKI) - 65
        assert read_key(text) == read_key(b64encode(SPKI).decode())
    assert fault in {"", *Fault}


# -- keyMaterial -----------------------------------------------------------------------------------------------------

MINE = VECTORS["plain-bundle"]["requester"]


def material(**changes: Any) -> dict[str, Any]:
    public = {"expiry": "2026-11-20T06:30:00.000Z", "parameters": "", "keyValue": MINE["publicKey"]}
    said: dict[str, Any] = {"cryptoAlg": "ECDH", "curve": "Curve25519", "dhPublicKey": public, "nonce": MINE["nonce"]}
    for name, one in changes.items():
        (public if name in public else said)[name] = one
    return said


MATERIALS: dict[str, tuple[object, Fault | None]] = {
    "as NHA has it": (material(), None),
    "curve in lower case": (material(curve="curve25519"), None),
    "without parameters": (material(parameters=None), None),
    "an offset": (material(expiry="2026-11-20T12:00:00+05:30"), None),
    "nine digits of a second": (material(expiry="2026-11-20T06:10:00.000000100Z"), Fault.EXPIRED),
    "no zone is UTC": (material(expiry="2026-11-20T06:10:00.001"), None),
    "expired": (material(expiry="2026-11-20T06:09:59.999Z"), Fault.EXPIRED),
    "expires now": (material(expiry="2026-11-20T06:10:00.000Z"), Fault.EXPIRED),
    "expired by its offset": (material(expiry="2026-11-20T11:39:00+05:30"), Fault.EXPIRED),
    "no time": (material(expiry="soon"), Fault.EXPIRY),
    "a number of seconds": (material(expiry=1763619000), Fault.MISSING),
    "no expiry": (material(expiry=None), Fault.MISSING),
    "another algorithm": (material(cryptoAlg="RSA"), Fault.ALGORITHM),
    "another curve": (material(curve="P-256"), Fault.CURVE),
    "no nonce": (material(nonce=None), Fault.MISSING),
    "a nonce that is no base64": (material(nonce="é" * 44), Fault.BASE64),
    "a short nonce": (material(nonce=b64encode(bytes(16)).decode()), Fault.NONCE_LENGTH),
    "a key that is no base64": (material(keyValue="-----BEGIN PUBLIC KEY-----"), Fault.BASE64),
    "a key of low order": (material(keyValue=VECTORS["reject-order-2"]["publicKey"]), Fault.LOW_ORDER),
    "a key in a list": (material(keyValue=[MINE["publicKey"]]), Fault.MISSING),
    "no public key": (material(dhPublicKey="x"), Fault.MISSING),
    "a text": ("keyMaterial", Fault.MISSING),
    "nothing": (None, Fault.MISSING),
}


@pytest.mark.parametrize("name", MATERIALS)
def test_key_material(name: str) -> None:
    said, fault = MATERIALS[name]
    if fault is None:
        assert read_key_material(said, NOW) == read_peer(MINE["publicKey"], MINE["nonce"])
    else:
        with pytest.raises(FideliusError) as refused:
            read_key_material(said, NOW)
        assert refused.value.fault == fault


def test_our_own_key_material_is_read_by_ourselves() -> None:
    reader = read_peer(MINE["publicKey"], MINE["nonce"])
    page = seal(b"{}", reader, seed=bytes(range(32)), nonce=bytes(32))
    said = key_material(page, "2026-11-20T06:30:00.000Z")
    assert said["dhPublicKey"]["keyValue"].startswith("MIIBMTCB6gYHKoZIzj0CATCB3gIBATAr")
    assert read_key_material(said, NOW) == read_peer(page.key_value, page.nonce)
    with pytest.raises(FideliusError):
        read_key_material(said, NOW + timedelta(hours=1))


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_is_raised_by_a_test_of_this_file(fault: Fault) -> None:
    raised = {*BAD_KEYS.values(), Fault.NOT_AUTHENTIC, Fault.COORDINATES}
    raised |= {one for _, one in (*MATERIALS.values(), *ENCODINGS.values()) if one is not None}
    assert fault in raised
