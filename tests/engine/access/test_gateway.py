"""Callbacks of ABDM's gateway: each way to pretend to be it, and each way in which it really comes."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import RSAKey

from engine.access.gateway import LEEWAY_S, LONGEST_TOKEN, Gateway, Proven, is_signed, prove
from engine.model.errors import CallbackError, UnknownGatewayKeyError
from tests.support.identity_provider import by_public_key, ec, rsa, unsigned

NOW = 1_763_619_000
ISSUER = "https://dev.abdm.gov.in/auth/realms/central-registry"
GATEWAY = Gateway(ISSUER)
FACILITIES = {"IN2810014366", "IN2710001234"}
KEY, KEY_512, STRANGER = rsa(0), rsa(1), rsa(2)
CLAIMS: dict[str, Any] = {"iss": ISSUER, "azp": "gateway", "aud": "account", "iat": NOW - 60, "exp": NOW + 1140}


def public(key: RSAKey, kid: str, **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": kid, "use": "sig", **more}


KEYS = [public(KEY, "k256", alg="RS256"), public(KEY_512, "k512", alg="RS512")]


def signed(key: Any = KEY, /, alg: str = "RS256", kid: str | None = "k256", typ: str = "JWT", **claims: Any) -> str:
    header = {"alg": alg, "typ": typ} | ({} if kid is None else {"kid": kid})
    said = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(header, said, key, algorithms=[alg])


def asked(token: str, keys: list[dict[str, Any]] = KEYS, *, facility: str = "IN2810014366", now: float = NOW) -> Proven:
    headers = {"Authorization": f"Bearer {token}", "X-HIP-ID": facility}
    return prove(headers, keys, gateway=GATEWAY, facilities=FACILITIES, now_s=now)


def text(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


TAKEN: dict[str, tuple[Callable[[], str], list[dict[str, Any]]]] = {
    "RS256": (lambda: signed(), KEYS),
    "RS512": (lambda: signed(KEY_512, alg="RS512", kid="k512"), KEYS),
    "a key that names no algorithm": (lambda: signed(), [public(KEY, "k256")]),
    "a key without its use": (lambda: signed(), [{**KEY.as_dict(private=False), "kid": "k256", "alg": "RS256"}]),
    "an access token by its type": (lambda: signed(typ="at+jwt"), KEYS),
    "no audience": (lambda: signed(aud=None), KEYS),
    "no time of issue": (lambda: signed(iat=None), KEYS),
    "our clock is ten minutes behind": (lambda: signed(iat=NOW + 600, nbf=NOW + 600), KEYS),
    "our clock is ten minutes ahead": (lambda: signed(exp=NOW - 600), KEYS),
}


@pytest.mark.parametrize("name", TAKEN)
def test_the_gateway_is_let_in(name: str) -> None:
    make, keys = TAKEN[name]
    proven = asked(make(), keys)
    assert (proven.facility, proven.sender) == ("IN2810014366", "gateway")


# token, keys -> the reason
REFUSED: dict[str, tuple[Callable[[], str], list[dict[str, Any]], str]] = {
    "no signature": (lambda: unsigned({"alg": "none", "kid": "k256"}, CLAIMS), KEYS, "algorithm"),
    "no signature, in other letters": (lambda: unsigned({"alg": "nOnE", "kid": "k256"}, CLAIMS), KEYS, "algorithm"),
    "HS256 with the public key": (lambda: by_public_key({"kid": "k256", "typ": "JWT"}, CLAIMS), KEYS, "algorithm"),
    "PS256": (lambda: signed(alg="PS256"), KEYS, "algorithm"),
    "RS384": (lambda: signed(alg="RS384"), KEYS, "algorithm"),
    "ES256": (lambda: signed(ec(), alg="ES256"), [{**ec().as_dict(private=False), "kid": "k256"}], "algorithm"),
    "RS512 with the key of RS256": (lambda: signed(alg="RS512"), KEYS, "algorithm of the key"),
    "RS256 with the key of RS512": (lambda: signed(KEY_512, kid="k512"), KEYS, "algorithm of the key"),
    "a key for encryption": (lambda: signed(), [public(KEY, "k256") | {"use": "enc"}], "key"),
    "a stranger's key under a known name": (lambda: signed(STRANGER), KEYS, "signature"),
    "two keys of one name": (lambda: signed(), [*KEYS, public(STRANGER, "k256")], "key"),
    "a symmetric key of that name": (lambda: signed(), [{"kty": "oct", "k": "AAAA", "kid": "k256"}], "key"),
    "a weak key": (lambda: signed(rsa(3, 1024)), [public(rsa(3, 1024), "k256")], "key"),
    "no key named": (lambda: signed(kid=None), KEYS, "no key named"),
    "its own key in the header": (
        lambda: jwt.encode({"alg": "RS256", "jwk": STRANGER.as_dict(private=False)}, CLAIMS, STRANGER),
        KEYS, "no token"),  # larger than a header may be
    "the address of its own keys in the header": (
        lambda: jwt.encode({"alg": "RS256", "jku": "https://evil.example"}, CLAIMS, STRANGER), KEYS, "no key named"),
    "a critical extension": (
        lambda: f"{text({'alg': 'RS256', 'kid': 'k256', 'crit': ['x'], 'x': 1})}.{text(CLAIMS)}.AAAA", KEYS, "header"),
    "another type": (lambda: signed(typ="logout+jwt"), KEYS, "header"),
    "another issuer": (lambda: signed(iss="https://evil.example"), KEYS, "issuer"),
    "the issuer cut off": (lambda: signed(iss=ISSUER[:-9]), KEYS, "issuer"),
    "no issuer": (lambda: signed(iss=None), KEYS, "issuer"),
    "the session of another hospital": (lambda: signed(azp="SBXID_010086"), KEYS, "sender"),
    "no sender": (lambda: signed(azp=None), KEYS, "sender"),
    "several senders": (lambda: signed(azp=["gateway"]), KEYS, "sender"),
    "no end": (lambda: signed(exp=None), KEYS, "times"),
    "an end that is a text": (lambda: signed(exp=str(NOW + 9)), KEYS, "times"),
    "an end that is yes": (lambda: signed(exp=True), KEYS, "times"),
    "no end in any time": (lambda: signed(exp=float("inf")), KEYS, "times"),
    "not a number": (lambda: signed(exp=float("nan")), KEYS, "times"),
    "expired": (lambda: signed(exp=NOW - LEEWAY_S - 1), KEYS, "expired"),
    "of tomorrow": (lambda: signed(iat=NOW + 86_400), KEYS, "not valid yet"),
    "not valid yet": (lambda: signed(nbf=NOW + LEEWAY_S + 1), KEYS, "not valid yet"),
    "nothing": (lambda: "", KEYS, "no token"),
    "three texts": (lambda: "a.b.c", KEYS, "no token"),
    "a header that is a number": (lambda: f"{text(1)}.{text(CLAIMS)}.AAAA", KEYS, "no token"),
    "a header that is a list": (lambda: f"{text(['alg', 'kid'])}.{text(CLAIMS)}.AAAA", KEYS, "no token"),
    "a header without an end": (lambda: f"{text('x')[:-2]}.e30.AAAA", KEYS, "no token"),
    "letters that are no ASCII": (lambda: "é.e.e", KEYS, "no token"),
    "an endless token": (lambda: "a" * LONGEST_TOKEN, KEYS, "length"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_pretender_is_refused(name: str) -> None:
    make, keys, reason = REFUSED[name]
    with pytest.raises(CallbackError) as refused:
        asked(make(), keys)
    assert (refused.value.reason, type(refused.value)) == (reason, CallbackError)


def test_an_unknown_key_is_an_error_of_its_own_for_keys_are_fetched_anew_then() -> None:
    for keys in ([], KEYS[1:]):
        with pytest.raises(UnknownGatewayKeyError):
            asked(signed(), keys)


def test_a_changed_claim_breaks_the_signature() -> None:
    head, _, signature = signed().split(".")
    with pytest.raises(CallbackError) as refused:
        asked(f"{head}.{text(CLAIMS | {'azp': 'gateway', 'sub': 'x'})}.{signature}")
    assert refused.value.reason == "signature"


@pytest.mark.parametrize(("now", "late_s"), [(NOW, 0.0), (CLAIMS["exp"], 0.0), (CLAIMS["exp"] + 960, 960.0)])
def test_a_repeat_of_the_gateway_comes_with_the_old_token(now: float, late_s: float) -> None:
    assert asked(signed(), now=now).late_s == late_s


def test_a_token_is_known_by_its_name_or_by_what_is_signed_of_it() -> None:
    named = {asked(signed(jti=jti, iat=iat)).token for jti in ("a", "b") for iat in (NOW, NOW - 1)}
    assert len(named) == 2
    for jti in (None, "", 7, ["a"]):
        one, other = signed(jti=jti), signed(jti=jti, iat=NOW)
        assert asked(one).token == asked(one).token != asked(other).token
        assert asked(one).token not in named


IAT, EXP = CLAIMS["iat"], CLAIMS["exp"]
# Now, TIMESTAMP in seconds from the issue of the token (None: none), claims -> when it was made, from that issue too.
MADE: dict[str, tuple[float, float | str | None, dict[str, Any], float | None]] = {
    "at once": (IAT + 2, 1, {}, 1),
    "with a token that was made for an earlier one": (IAT + 200, 199, {}, 199),
    "after a while on the way": (IAT + 250, 10, {}, 10),
    "no TIMESTAMP": (IAT + 2, None, {}, None),
    "a TIMESTAMP that is none": (IAT + 2, "soon", {}, None),
    "a TIMESTAMP without a zone": (IAT + 2, "2020-01-01T00:00:00", {}, 0),  # as UTC
    "a TIMESTAMP from before the token": (IAT + 2, -9_000, {}, 0),
    "no time of issue": (IAT + 2, 1, {"iat": None}, 1),
    "again, with the TIMESTAMP of the first time": (EXP + 660, 5, {}, 5),
    "again, with a TIMESTAMP of its own": (EXP + 660, EXP + 660 - IAT, {}, EXP - IAT),
    "again, with a TIMESTAMP from before the token": (EXP + 660, -9_000, {}, 0),
    "again, and no TIMESTAMP": (EXP + 660, None, {}, EXP - IAT),
}


@pytest.mark.parametrize("case", MADE)
def test_a_callback_says_when_it_was_made(case: str) -> None:
    now, stamp, claims, made = MADE[case]
    written = stamp if isinstance(stamp, str) else ""
    if isinstance(stamp, float | int):
        written = datetime.fromtimestamp(IAT + stamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    headers = {"Authorization": f"Bearer {signed(**claims)}", "X-HIP-ID": "IN2810014366", "TIMESTAMP": written}
    proven = prove(headers, KEYS, gateway=GATEWAY, facilities=FACILITIES, now_s=now)
    assert proven.made_s == (None if made is None else pytest.approx(IAT + made, abs=0.001))


def test_the_leeway_ends() -> None:
    assert asked(signed(), now=CLAIMS["exp"] + LEEWAY_S).late_s == LEEWAY_S
    with pytest.raises(CallbackError) as refused:
        asked(signed(), now=CLAIMS["exp"] + LEEWAY_S + 0.001)
    assert refused.value.reason == "expired"


@pytest.mark.parametrize("facility", ["", "IN0000000000", "in2810014366", "IN2810014366,IN2710001234"])
def test_an_unknown_facility_is_refused_but_after_the_token(facility: str) -> None:
    with pytest.raises(CallbackError) as refused:
        asked(signed(), facility=facility)
    assert refused.value.reason == "facility"
    with pytest.raises(CallbackError) as refused:
        asked(signed(STRANGER), facility=facility)
    assert refused.value.reason == "signature"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"bearer {signed()}", "x-hip-id": "IN2710001234"},
        {"AUTHORIZATION": f"  BEARER   {signed()} ", "X-Hip-Id": " IN2710001234 "},
    ],
)
def test_names_of_headers_are_found_in_any_case(headers: dict[str, str]) -> None:
    proven = prove(headers, KEYS, gateway=GATEWAY, facilities=FACILITIES, now_s=NOW)
    assert proven.facility == "IN2710001234"


@pytest.mark.parametrize("headers", [{}, {"Authorization": signed()}, {"Authorization": f"Basic {signed()}"}])
def test_a_token_elsewhere_is_none(headers: dict[str, str]) -> None:
    with pytest.raises(CallbackError) as refused:
        prove({**headers, "X-HIP-ID": "IN2710001234"}, KEYS, gateway=GATEWAY, facilities=FACILITIES, now_s=NOW)
    assert refused.value.reason == "no token"


def test_another_sender_is_let_in_where_a_site_names_it() -> None:
    gateway = Gateway(ISSUER, frozenset({"gateway", "locker"}))
    headers = {"Authorization": f"Bearer {signed(azp='locker')}", "X-HIP-ID": "IN2710001234"}
    assert prove(headers, KEYS, gateway=gateway, facilities=FACILITIES, now_s=NOW).sender == "locker"


def test_no_reason_shows_a_part_of_the_token() -> None:
    for make, keys, _ in REFUSED.values():
        token = make()
        with pytest.raises(CallbackError) as refused:
            asked(token, keys)
        assert all(part not in str(refused.value) for part in token.split(".") if len(part) > 8)


HEADERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["RS256", "none", "k256", "JWT"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), inner, max_size=5)
    ),
    max_leaves=10,
)


@given(st.one_of(st.text(max_size=200), st.tuples(HEADERS, HEADERS).map(lambda two: ".".join(map(text, two)) + ".AA")))
def test_any_token_is_refused_by_our_own_error(token: str) -> None:
    with pytest.raises(CallbackError):
        asked(token)


TEXT = b'{"consentId":"c-1"}'


def signature(key: RSAKey = KEY, said: bytes = TEXT, hashed: Any = SHA256) -> str:
    return b64encode(key.private_key.sign(said, PKCS1v15(), hashed())).decode()


# signature, keys -> whether it proves the text
SIGNATURES: dict[str, tuple[Callable[[], str], list[dict[str, Any]], bool]] = {
    "of the gateway": (signature, KEYS, True),
    "by the second of two keys": (signature, [public(STRANGER, "other"), *KEYS], True),
    "in the other alphabet, without its end": (
        lambda: signature().translate(str.maketrans("+/", "-_")).rstrip("="), KEYS, True),
    "by a key that names no algorithm": (signature, [public(KEY, "k256")], True),
    "of another byte": (lambda: signature(said=TEXT + b" "), KEYS, False),
    "by another key": (lambda: signature(STRANGER), KEYS, False),
    "by a key for RS512": (signature, [public(KEY, "k", alg="RS512")], False),
    "by a key for encryption": (signature, [{**public(KEY, "k"), "use": "enc"}], False),
    "by a weak key": (lambda: signature(rsa(3, 1024)), [public(rsa(3, 1024), "k256")], False),
    "by another hash": (lambda: signature(hashed=SHA512), KEYS, False),
    "without keys": (signature, [], False),
    "with keys that are none": (
        signature, [{"kty": "oct", "k": "AAAA"}, {"kty": "RSA", "n": 1}, ec().as_dict()], False),
    "empty": (lambda: "", KEYS, False),
    "no base64": (lambda: "not base64!", KEYS, False),
    "no ASCII": (lambda: "é", KEYS, False),
    "cut": (lambda: signature()[:-8], KEYS, False),
    "a token without a signature": (lambda: unsigned({"alg": "none", "kid": "k256"}, CLAIMS), KEYS, False),
    "the word none": (lambda: "none", KEYS, False),
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_of_a_consent(name: str) -> None:
    make, keys, proven = SIGNATURES[name]
    assert is_signed([TEXT], make(), keys) is proven


def test_one_form_of_several_is_enough_and_without_a_form_nothing_is_proven() -> None:
    assert is_signed([b"other", TEXT], signature(), KEYS)
    assert not is_signed([], signature(), KEYS)
