"""Tokens of an authorization server: who asks for them, how often, and what becomes of deliveries without one.

Two scripted servers on real sockets: one that gives tokens, one that takes documents.
"""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import KeySet

from adapters.clients.http import jwt as jwt_assertion
from adapters.clients.http.jwt import key_set
from adapters.clients.http.oauth2 import Granted, read_answer
from adapters.destinations import fhir_rest, http_out
from adapters.destinations.http_out import HttpOut
from engine.config.reading.secrets import Secret as SecretByName
from engine.model.errors import ConfigError, DeliveryError, DestinationDownError, TransientDeliveryError
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from tests.support.certificates import Authority
from tests.support.deliveries import (
    Auth,
    OAuth2,
    Secret,
    Settings,
    Tls,
    delivery,
    put,
    transaction,
    transaction_response,
)
from tests.support.scripted_http import CLOSE, RESET, SILENCE, Request, Script, ScriptedServer, http, scripted

SECRET = "s3cret/+&value"
LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20) | st.just(SECRET)
JSON = st.dictionaries(
    st.sampled_from(["access_token", "token_type", "expires_in", "error", "error_description"]),
    LEAVES | st.sampled_from(["Bearer", "bearer", "invalid_client", "slow_down", "x" * 40_000, 10**400]),
)
TAKEN = http(201)


def granted(token: str, life_s: Any = 3600, **more: Any) -> bytes:
    said = {"access_token": token, "token_type": "Bearer", "expires_in": life_s, **more}
    return http(200, json.dumps(said).encode(), media_type="application/json")


def refusal(status: int, code: str, *headers: str, **more: str) -> bytes:
    return http(status, json.dumps({"error": code, **more}).encode(), *headers, media_type="application/json")


@asynccontextmanager
async def pair(
    tokens: list[Script], answers: list[Script], clock: ManualClock | None = None, **changes: Any
) -> AsyncIterator[tuple[ScriptedServer, ScriptedServer, HttpOut]]:
    """A token server, a destination, and our side of it. ``changes``: of the ``oauth2:`` block, and ``timeout``."""
    async with scripted(*tokens) as gives, scripted(*answers) as takes:
        timeout = changes.pop("timeout", 5.0)
        proof = {} if changes.keys() & {"key", "private_key"} else {"client_secret": Secret(SECRET)}
        oauth2 = OAuth2(**{"token_url": gives.url, **proof, **changes})
        settings = Settings(url=takes.url, auth=Auth(oauth2=oauth2), timeout=timeout, concurrency=32)
        out = http_out.build("archive", settings, clock or ManualClock())
        await out.start()
        try:
            yield gives, takes, out
        finally:
            await out.close()


async def outcome(tokens: Script, **changes: Any) -> DeliveryError:
    """What a delivery meets whose token server says this; nothing must reach the destination."""
    async with pair([tokens], [TAKEN], **changes) as (_, takes, out):
        with pytest.raises(DeliveryError) as caught:
            await out.deliver(delivery(b"x"))
    assert takes.requests == []
    assert SECRET not in str(caught.value)
    assert SECRET.encode() not in caught.value.answer
    return caught.value


def bearers(server: ScriptedServer) -> list[str]:
    return [request.headers["authorization"] for request in server.requests]


def form(server: ScriptedServer, number: int = 0) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(server.requests[number].body.decode()).items()}


# -- a token, and how it is asked for ----------------------------------------------------------------------------


async def test_one_token_serves_many_deliveries() -> None:
    async with pair([granted("tok-1")], [TAKEN], scope="system/*.write", audience="urn:lab") as (gives, takes, out):
        for _ in range(3):
            await out.deliver(delivery(b"x"))
    assert bearers(takes) == ["Bearer tok-1"] * 3
    [request] = gives.requests
    assert request.line == "POST /fhir HTTP/1.1"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert form(gives) == {"grant_type": "client_credentials", "scope": "system/*.write", "audience": "urn:lab"}
    # RFC 6749, 2.3.1: both halves are form-encoded first.
    assert base64.b64decode(request.headers["authorization"].removeprefix("Basic ")) == b"labrelay:s3cret%2F%2B%26value"


async def test_the_client_may_show_its_secret_in_the_form() -> None:
    async with pair([granted("tok-1")], [TAKEN], client_auth="post") as (gives, takes, out):
        await out.deliver(delivery(b"x"))
    assert bearers(takes) == ["Bearer tok-1"]
    assert "authorization" not in gives.requests[0].headers
    assert form(gives) == {"grant_type": "client_credentials", "client_id": "labrelay", "client_secret": SECRET}


async def test_many_waiting_deliveries_ask_once() -> None:
    async with pair([granted("tok-1")], [TAKEN]) as (gives, takes, out):
        await asyncio.gather(*(out.deliver(delivery(b"x", id=number)) for number in range(20)))
    assert len(gives.requests) == 1
    assert bearers(takes) == ["Bearer tok-1"] * 20


async def test_a_token_is_renewed_before_its_end_while_it_still_serves() -> None:
    clock = ManualClock()
    async with pair([granted("tok-1", 600), granted("tok-2", 600)], [TAKEN], clock) as (gives, takes, out):
        await out.deliver(delivery(b"x"))
        clock.advance(539)
        await out.deliver(delivery(b"x"))
        assert len(gives.requests) == 1
        clock.advance(2)  # within a minute of the end
        await out.deliver(delivery(b"x"))
        async with asyncio.timeout(240.0):
            while bearers(takes)[-1] != "Bearer tok-2":
                await out.deliver(delivery(b"x"))
    assert len(gives.requests) == 2
    assert bearers(takes)[:3] == ["Bearer tok-1"] * 3


async def test_a_renewal_that_fails_ahead_of_time_stops_nobody() -> None:
    clock = ManualClock()
    async with pair([granted("tok-1", 600), http(503), granted("tok-3")], [TAKEN], clock) as (gives, takes, out):
        await out.deliver(delivery(b"x"))
        clock.advance(550)
        async with asyncio.timeout(240.0):
            while len(gives.requests) < 2:
                await out.deliver(delivery(b"x"))
        for _ in range(10):  # the failure is not repeated with every delivery
            await out.deliver(delivery(b"x"))
        assert len(gives.requests) == 2
        clock.advance(50)  # now it has expired: whoever comes waits for a new one
        await out.deliver(delivery(b"x"))
    assert len(gives.requests) == 3
    assert bearers(takes)[-1] == "Bearer tok-3"
    assert set(bearers(takes)[:-1]) == {"Bearer tok-1"}


@pytest.mark.parametrize("life_s", ["600", 600.5, 600])
async def test_lives_are_read_however_they_are_written(life_s: Any) -> None:
    clock = ManualClock()
    async with pair([granted("tok-1", life_s), granted("tok-2")], [TAKEN], clock) as (_, takes, out):
        await out.deliver(delivery(b"x"))
        clock.advance(601)
        await out.deliver(delivery(b"x"))
    assert bearers(takes) == ["Bearer tok-1", "Bearer tok-2"]


# -- the destination refuses a token -----------------------------------------------------------------------------


async def test_a_401_renews_once_and_sends_once_more() -> None:
    async with pair([granted("tok-1"), granted("tok-2")], [http(401), TAKEN]) as (gives, takes, out):
        await out.deliver(delivery(b"x", attempt=2))
    assert bearers(takes) == ["Bearer tok-1", "Bearer tok-2"]
    assert len(gives.requests) == 2
    assert {request.headers["x-request-id"] for request in takes.requests} == {f"{delivery().key}.2"}
    assert [request.body for request in takes.requests] == [b"x", b"x"]


async def test_a_second_401_is_a_fault_of_the_destination_and_no_loop() -> None:
    async with pair([granted("tok-1"), granted("tok-2"), granted("tok-3")], [http(401)]) as (gives, takes, out):
        with pytest.raises(DestinationDownError) as caught:
            await out.deliver(delivery(b"x"))
        assert (len(gives.requests), len(takes.requests)) == (2, 2)
        with pytest.raises(DestinationDownError):  # the next attempt has another token again
            await out.deliver(delivery(b"x"))
    assert caught.value.reason is ReasonCode.NOT_AUTHORIZED
    assert bearers(takes)[2] == "Bearer tok-3"


async def test_many_deliveries_refused_together_renew_once() -> None:
    def renewed(request: Request) -> bytes:
        return TAKEN if request.headers["authorization"] == "Bearer tok-2" else http(401)

    async with pair([granted("tok-1"), granted("tok-2")], [TAKEN, renewed]) as (gives, takes, out):
        await out.deliver(delivery(b"x"))
        await asyncio.gather(*(out.deliver(delivery(b"x", id=number)) for number in range(8)))
    assert len(gives.requests) == 2
    assert sorted(bearers(takes)) == ["Bearer tok-1"] * 9 + ["Bearer tok-2"] * 8


async def test_a_403_is_not_repeated_within_the_attempt_but_has_a_new_token_later() -> None:
    async with pair([granted("tok-1"), granted("tok-2")], [http(403), TAKEN]) as (_, takes, out):
        with pytest.raises(DestinationDownError) as caught:
            await out.deliver(delivery(b"x"))
        assert len(takes.requests) == 1
        await out.deliver(delivery(b"x"))
    assert caught.value.reason is ReasonCode.NOT_AUTHORIZED
    assert bearers(takes) == ["Bearer tok-1", "Bearer tok-2"]


async def test_a_fhir_server_gets_the_whole_bundle_again() -> None:
    bundle = transaction(put("Patient", "p", birthDate="1970-01-01"))
    good = http(200, transaction_response("201"))
    async with scripted(granted("tok-1"), granted("tok-2")) as gives, scripted(http(401), good) as takes:
        auth = Auth(oauth2=OAuth2(token_url=gives.url, client_secret=Secret(SECRET)))
        lab = fhir_rest.build("lab", Settings(url=takes.url, auth=auth, gzip=True), ManualClock())
        await lab.start()
        await lab.deliver(delivery(bundle))
        await lab.close()
    assert bearers(takes) == ["Bearer tok-1", "Bearer tok-2"]
    assert [request.content for request in takes.requests] == [bundle, bundle]


# -- no token ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        RESET,
        CLOSE,
        http(503),
        http(429),
        http(500, b"<html>oops"),
        refusal(400, "temporarily_unavailable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", CLOSE),
    ],
)
async def test_a_token_server_that_is_down_is_transient(script: Script) -> None:
    error = await outcome(script)
    assert type(error) is TransientDeliveryError
    assert error.reason is ReasonCode.NO_TOKEN
    assert error.limit is None  # it is tried for ever: it can make no dead letter
    assert error.detail.startswith("the token server: ")


async def test_a_slow_token_server_is_transient_within_the_timeout() -> None:
    error = await outcome(SILENCE, timeout=0.2)
    assert type(error) is TransientDeliveryError
    assert error.reason is ReasonCode.NO_TOKEN


async def test_a_token_server_that_is_not_there() -> None:
    error = await outcome(TAKEN, token_url="http://127.0.0.1:1/token")
    assert type(error) is TransientDeliveryError
    assert error.reason is ReasonCode.NO_TOKEN
    assert error.detail == "the token server: connection refused"


async def test_retry_after_of_the_token_server_is_honoured() -> None:
    error = await outcome(http(503, b"", "Retry-After: 17"))
    assert isinstance(error, TransientDeliveryError)
    assert error.retry_after == 17.0


@pytest.mark.parametrize(
    "script",
    [
        http(200, b"<html>log in"),
        http(200, b"[]"),
        http(200, b"{" * 100_000),
        http(200, b'{"access_token": 5}'),
        http(200, b'{"access_token": ""}'),
        http(200, b'{"access_token": "a\\r\\nX-Evil: 1"}'),
        granted("tok", -5),
        granted("tok", 0),
        granted("tok", True),
        granted("tok", "soon"),
        granted("tok", "nan"),
        granted("tok", [1]),
        granted("tok", token_type="mac"),
        granted("tok", token_type=1),
        granted("t" * 40_000),
        http(204),
        http(302, b"", "Location: /login"),
        http(404),
        http(400, b"?"),
    ],
)
async def test_nonsense_is_no_token_and_opens_the_breaker(script: bytes) -> None:
    error = await outcome(script)
    assert isinstance(error, DestinationDownError)
    assert error.reason is ReasonCode.NO_TOKEN
    assert error.detail.endswith("check token_url")


@given(st.integers(200, 599), st.binary(max_size=200) | st.builds(lambda said: json.dumps(said).encode(), JSON))
def test_whatever_a_token_server_answers_is_a_token_or_no_refusal_of_the_document(status: int, body: bytes) -> None:
    found = read_answer(status, body, proof="client_id", secrets=[SECRET])
    if isinstance(found, Granted):
        assert 200 <= status < 300
        assert found.value.isprintable()
        assert 0 < found.life_s <= 86_400
        assert repr(found.value) not in repr(found)
    else:
        assert isinstance(found, TransientDeliveryError)
        assert found.reason in (ReasonCode.NO_TOKEN, ReasonCode.NOT_AUTHORIZED)
        assert found.detail.isprintable()
        assert SECRET not in found.detail


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            refusal(401, "invalid_client"),
            "HTTP 401 invalid_client: it does not know this client, or not with this proof; "
            "check client_id and client_secret",
        ),
        (
            refusal(400, "invalid_scope", error_description="no\tsuch scope: x"),
            "HTTP 400 invalid_scope: it does not give this scope; check scope (it says: no such scope: x)",
        ),
        (refusal(401, "one of theirs"), "HTTP 401: it refuses this client; check client_id and client_secret"),
        (
            refusal(400, "invalid_client_metadata", error_description="signing_alg must be ES256"),
            "HTTP 400 invalid_client_metadata: it refuses this client; check client_id and client_secret (it says: "
            "signing_alg must be ES256)",
        ),
        (http(403), "HTTP 403: it refuses this client; check client_id and client_secret"),
        (
            refusal(400, "invalid_client", error_description=f"the secret {SECRET} is not yours"),
            "HTTP 400 invalid_client: it does not know this client, or not with this proof; "
            "check client_id and client_secret",
        ),
    ],
)
async def test_a_wrong_client_is_a_fault_of_the_configuration(script: bytes, told: str) -> None:
    error = await outcome(script)
    assert isinstance(error, DestinationDownError)
    assert error.reason is ReasonCode.NOT_AUTHORIZED
    assert error.detail == f"the token server: {told}"


async def test_a_secret_that_is_not_set_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LR_CLIENT_SECRET", raising=False)
    error = await outcome(granted("tok"), client_secret=SecretByName("LR_CLIENT_SECRET"))
    assert error.reason is ReasonCode.NOT_AUTHORIZED
    assert "${LR_CLIENT_SECRET} is not set" in error.detail


async def test_those_who_wait_together_fail_together_and_ask_again() -> None:
    async with pair([http(503), granted("tok-2")], [TAKEN]) as (gives, takes, out):
        ended = await asyncio.gather(
            *(out.deliver(delivery(b"x", id=number)) for number in range(10)), return_exceptions=True
        )
        assert len(gives.requests) == 1
        assert {type(error) for error in ended} == {TransientDeliveryError}
        await out.deliver(delivery(b"x"))
    assert bearers(takes) == ["Bearer tok-2"]


async def test_a_delivery_that_is_cut_off_leaves_the_others_their_token() -> None:
    async with pair([(SILENCE,), granted("tok-2")], [TAKEN], timeout=3.0) as (gives, takes, out):
        first = asyncio.create_task(out.deliver(delivery(b"x")))
        await gives.arrived.wait()
        second = asyncio.create_task(out.deliver(delivery(b"x", id=2)))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not second.done()
        await out.close()  # with a request for a token under way
        with pytest.raises((asyncio.CancelledError, DeliveryError)):
            await second
    assert takes.requests == []


# -- secrets stay secret -----------------------------------------------------------------------------------------


async def test_neither_secret_nor_token_is_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with pair([granted("tok-secret")], [http(401), http(500)]) as (_, _, out):
        with pytest.raises(DeliveryError) as caught:
            await out.deliver(delivery(b"x"))
        shown = [repr(vars(out)), repr(caught.value), str(caught.value), caplog.text]
        for value in vars(out._http._log_in).values():  # what a debugger or a crash report would print of it
            shown.append(repr(value))
    assert not any("tok-secret" in text or SECRET in text.replace(repr(Secret(SECRET)), "") for text in shown)


# -- SMART backend services --------------------------------------------------------------------------------------


def private_key(folder: Path, kind: str) -> Path:
    key: Any = {
        "RS384": lambda: rsa.generate_private_key(65537, 2048),
        "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "weak": lambda: rsa.generate_private_key(65537, 1024),
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    }[kind]()
    path = folder / f"{kind}.key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
async def test_an_assertion_that_the_registered_key_verifies(tmp_path: Path, algorithm: str) -> None:
    clock = ManualClock()
    key = private_key(tmp_path, algorithm)
    answers = [http(401), TAKEN]
    async with pair([granted("tok-1"), granted("tok-2")], answers, clock, key=key, scope="system/*.rs") as (
        gives,
        _,
        o,
    ):
        await o.deliver(delivery(b"x"))
    sent = [form(gives, number) for number in (0, 1)]
    assert sent[0].keys() == {"grant_type", "scope", "client_assertion_type", "client_assertion"}
    assert sent[0]["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    registered = KeySet.import_key_set(key_set(OAuth2(token_url=gives.url, key=key)))
    tokens = [jwt.decode(each["client_assertion"], registered, algorithms=[algorithm]) for each in sent]
    header, claims = tokens[0].header, tokens[0].claims
    assert header == {"alg": algorithm, "typ": "JWT", "kid": registered.keys[0].kid}
    assert claims["iss"] == claims["sub"] == "labrelay"
    assert claims["aud"] == gives.url
    now = clock.now().timestamp()
    assert claims["iat"] <= now < claims["exp"] <= now + 300
    assert tokens[1].claims["jti"] != claims["jti"]


def test_the_key_set_has_no_private_half(tmp_path: Path) -> None:
    [public] = key_set(OAuth2(token_url="https://auth.example.org/t", key=private_key(tmp_path, "RS384")))["keys"]
    assert public.keys() == {"kty", "n", "e", "use", "alg", "kid"}
    [public] = key_set(OAuth2(token_url="https://x/t", key=private_key(tmp_path, "ES384"), kid="2026"))["keys"]
    assert public.keys() == {"kty", "crv", "x", "y", "use", "alg", "kid"}
    assert public["kid"] == "2026"


async def test_a_key_may_come_as_a_secret(tmp_path: Path) -> None:
    pem = private_key(tmp_path, "ES384").read_text()
    async with pair([granted("tok-1")], [TAKEN], private_key=Secret(pem), kid="mine") as (gives, takes, out):
        await out.deliver(delivery(b"x"))
    header = json.loads(base64.urlsafe_b64decode(form(gives)["client_assertion"].partition(".")[0] + "=="))
    assert header["kid"] == "mine"
    assert bearers(takes) == ["Bearer tok-1"]


async def test_the_servers_clock_counts_for_assertions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    key = private_key(tmp_path, "ES384")
    ahead = f"Date: {format_datetime(clock.now().replace(year=2027), usegmt=True)}"
    tokens: list[Script] = [refusal(401, "invalid_client", ahead), granted("tok-1"), granted("tok-2")]
    async with pair(tokens, [TAKEN, http(401), TAKEN], clock, key=key) as (gives, takes, out):
        await out.deliver(delivery(b"x"))
        await out.deliver(delivery(b"x"))
    registered = KeySet.import_key_set(key_set(OAuth2(token_url=gives.url, key=key)))
    exps = [
        jwt.decode(form(gives, number)["client_assertion"], registered, algorithms=["ES384"]).claims["exp"]
        for number in range(3)
    ]
    assert exps[1] - exps[0] == 365 * 86_400
    assert exps[2] == exps[1]  # remembered
    assert bearers(takes) == ["Bearer tok-1", "Bearer tok-1", "Bearer tok-2"]
    assert "our clock and the token server's differ" in caplog.text


async def test_a_refusal_with_the_right_time_is_asked_once(tmp_path: Path) -> None:
    clock = ManualClock()
    date = f"Date: {format_datetime(clock.now(), usegmt=True)}"
    script = refusal(401, "invalid_client", date)
    async with pair([script], [TAKEN], clock, key=private_key(tmp_path, "ES384")) as (gives, _, out):
        with pytest.raises(DestinationDownError, match="check client_id, the private key and kid"):
            await out.deliver(delivery(b"x"))
    assert len(gives.requests) == 1


@pytest.mark.parametrize("kind", ["weak", "P-256", "garbage", "missing"])
async def test_a_key_that_cannot_be_used_is_told(tmp_path: Path, kind: str) -> None:
    key = tmp_path / "smart.key"
    if kind == "garbage":
        key.write_text("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n")
    elif kind != "missing":
        key = private_key(tmp_path, kind)
    error = await outcome(granted("tok"), key=key)
    assert isinstance(error, DestinationDownError)
    assert error.reason is ReasonCode.NOT_AUTHORIZED
    assert key.name in error.detail
    assert "hunter2" not in error.detail
    with pytest.raises(ConfigError):
        jwt_assertion.key_set(OAuth2(token_url="https://x/t", key=key))


# -- TLS ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
async def test_the_token_server_has_the_trust_of_the_destination_or_its_own(tmp_path: Path, own: bool) -> None:
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    async with (
        scripted(granted("tok-1"), tls=(other if own else ours).server_context()) as gives,
        scripted(TAKEN, tls=ours.server_context()) as takes,
    ):
        oauth2 = OAuth2(token_url=gives.url, client_secret=Secret(SECRET), tls=Tls(ca=other.ca) if own else None)
        out = http_out.build(
            "archive", Settings(url=takes.url, auth=Auth(oauth2=oauth2), tls=Tls(ca=ours.ca)), ManualClock()
        )
        await out.start()
        await out.deliver(delivery(b"x"))
        await out.close()
    assert bearers(takes) == ["Bearer tok-1"]


async def test_a_token_server_that_is_not_trusted_gets_no_secret(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with scripted(granted("tok-1"), tls=ours.server_context()) as gives:
        oauth2 = OAuth2(token_url=gives.url, client_secret=Secret(SECRET))
        out = http_out.build("archive", Settings(url="http://127.0.0.1:1/", auth=Auth(oauth2=oauth2)), ManualClock())
        await out.start()
        with pytest.raises(DestinationDownError) as caught:
            await out.deliver(delivery(b"x"))
        await out.close()
    assert caught.value.reason is ReasonCode.NO_TOKEN
    assert "certificate is not trusted" in caught.value.detail
    assert gives.requests == []
