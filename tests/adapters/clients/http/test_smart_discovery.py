"""Where tokens come from, by the FHIR server's own word: whom a client's secret is shown to, and whom never.

One scripted server on a real socket is the FHIR server, and names another, or itself, for tokens.
"""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import KeySet
from yarl import URL

from adapters.clients.http.jwt import key_set
from adapters.clients.http.oauth2 import believed
from adapters.destinations import http_out
from engine.model.errors import DeliveryError, DestinationDownError, TransientDeliveryError
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from tests.support.deliveries import Auth, OAuth2, Secret, Settings, delivery
from tests.support.scripted_http import Script, ScriptedServer, http, scripted

SECRET = "s3cret-value"
TAKEN = http(201)
GRANTED = http(200, b'{"access_token": "tok-1", "token_type": "Bearer"}', media_type="application/json")


def says(endpoint: object, status: int = 200) -> bytes:
    body = json.dumps({"token_endpoint": endpoint, "capabilities": ["client-confidential-asymmetric"]}).encode()
    return http(status, body, media_type="application/json")


async def send(takes: ScriptedServer, times: int = 1, **changes: object) -> DeliveryError | None:
    """Deliver to a server that was given no ``token_url:``; how that ended."""
    proof = {} if "key" in changes else {"client_secret": Secret(SECRET)}
    settings = Settings(url=takes.url, auth=Auth(oauth2=OAuth2(**{**proof, **changes})))  # type: ignore[arg-type] # of the test's own
    out = http_out.build("ehr", settings, ManualClock())
    await out.start()
    error: DeliveryError | None = None
    try:
        for _ in range(times):
            try:
                await out.deliver(delivery(b"x"))
                error = None
            except DeliveryError as raised:
                error = raised
    finally:
        await out.close()
    return error


def asked(server: ScriptedServer) -> list[str]:
    return [request.line.partition(" HTTP")[0] for request in server.requests]


async def test_the_server_says_where_its_tokens_are_given(tmp_path: Path) -> None:
    private = rsa.generate_private_key(65537, 2048)
    key = tmp_path / "key.pem"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    async with scripted(GRANTED) as gives, scripted(says(gives.url), TAKEN) as takes:
        assert await send(takes, times=2, key=key) is None
    assert asked(takes) == ["GET /fhir/.well-known/smart-configuration", "POST /fhir", "POST /fhir"]
    assert "authorization" not in takes.requests[0].headers
    [request] = gives.requests
    assertion = dict(part.split("=") for part in request.body.decode().split("&"))["client_assertion"]
    registered = KeySet.import_key_set(key_set(OAuth2(key=key)))  # type: ignore[arg-type] # JSON, as it is registered
    claims = jwt.decode(assertion, registered, algorithms=["RS384"]).claims
    assert claims["aud"] == gives.url, "the assertion is good for the server that was named"


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("https://evil.example.org/token", "on evil.example.org, and not on 127.0.0.1"),
        ("ftp://127.0.0.1/token", "not https"),
        ("https://u:p@127.0.0.1/token", "no address of a server"),
        ("/token", "no address of a server"),
        ("https://[::1/token", "no URL"),
        (7, "no token_endpoint"),
        (None, "no token_endpoint"),
        ("https://127.0.0.1/\r\nX: y", "no token_endpoint"),
    ],
)
async def test_no_secret_is_sent_to_an_address_that_is_not_believed(endpoint: object, why: str) -> None:
    async with scripted(says(endpoint), TAKEN) as takes:
        error = await send(takes)
    assert isinstance(error, DestinationDownError)
    assert (error.reason, why in error.detail, "token_url" in error.detail) == (ReasonCode.NO_TOKEN, True, True), error
    assert asked(takes) == ["GET /fhir/.well-known/smart-configuration"]
    assert not any(SECRET.encode() in request.body for request in takes.requests)


@pytest.mark.parametrize(
    ("base", "token_host", "endpoint", "is_believed"),
    [
        ("https://fhir.example.org/r4", None, "https://fhir.example.org:8443/token", True),
        ("https://fhir.example.org/r4", None, "http://fhir.example.org/token", False),
        ("https://fhir.example.org/r4", None, "https://auth.example.org/token", False),
        ("https://fhir.example.org/r4", "auth.example.org", "https://auth.example.org/token", True),
        ("https://fhir.example.org/r4", "auth.example.org", "http://auth.example.org/token", False),
        ("https://fhir.example.org/r4", None, "http://127.0.0.1/token", False),
        ("http://fhir.example.org/r4", None, "https://fhir.example.org/token", True),
        ("http://127.0.0.1:8080/r4", None, "http://127.0.0.1:9000/token", True),
    ],
)
def test_which_addresses_are_believed(base: str, token_host: str | None, endpoint: str, is_believed: bool) -> None:
    document = json.dumps({"token_endpoint": endpoint}).encode()
    if is_believed:
        assert str(believed(document, URL(base), token_host)) == endpoint
    else:
        with pytest.raises(DestinationDownError):
            believed(document, URL(base), token_host)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http(404), DestinationDownError),
        (http(200, b"<html>log in"), DestinationDownError),
        (http(302, b"", "Location: https://evil.example.org/"), DestinationDownError),
        (http(503), TransientDeliveryError),
    ],
)
async def test_a_server_that_does_not_say_it_is_told_as_that(answer: Script, kind: type[DeliveryError]) -> None:
    async with scripted(answer) as takes:
        error = await send(takes)
    assert type(error) is kind
    assert error.reason is ReasonCode.NO_TOKEN
    assert ".well-known/smart-configuration" in error.detail


async def test_after_tokens_were_refused_the_server_is_asked_again() -> None:
    refused = http(400, b'{"error": "invalid_client"}', media_type="application/json")
    async with scripted(refused) as old, scripted(GRANTED) as new:
        async with scripted(says(old.url), says(new.url), TAKEN) as takes:
            assert await send(takes, times=2) is None
        assert (len(old.requests), len(new.requests)) == (1, 1)
