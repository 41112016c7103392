"""Tokens of a real authorization server: oidc-provider, certified by the OpenID Foundation."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adapters.clients.http.jwt import key_set
from adapters.destinations import http_out
from engine.commands.shared.output import ExitCode
from engine.model.errors import DestinationDownError
from engine.model.process.clock import ManualClock, SystemClock
from engine.model.texts.reasons import ReasonCode
from tests.e2e.counterparts import fetched, node
from tests.support.command_line import labrelay
from tests.support.deliveries import Auth, OAuth2, Secret, Settings, delivery
from tests.support.sites import SITE_YAML, make_site

SECRET = "a secret of more than 32 characters: /+&=%"
SCOPE = "system/*.cud"


def client(name: str, method: str, **more: Any) -> dict[str, Any]:
    return {
        "client_id": name,
        "token_endpoint_auth_method": method,
        "grant_types": ["client_credentials"],
        "redirect_uris": [],
        "response_types": [],
        "scope": SCOPE,
        **more,
    }


@contextmanager
def server(*clients: dict[str, Any], seconds: int = 600) -> Iterator[str]:
    with node("oidc.mjs", {"clients": clients, "seconds": seconds}) as port:
        yield f"http://127.0.0.1:{port}"


async def delivered(base: str, times: int = 1, clock: Any = None, **oauth2: Any) -> None:
    auth = Auth(oauth2=OAuth2(**{"token_url": f"{base}/token", "scope": SCOPE, **oauth2}))
    out = http_out.build("lab", Settings(url=f"{base}/results", auth=auth, timeout=10), clock or SystemClock())
    await out.start()
    try:
        await asyncio.gather(*(out.deliver(delivery(b"{}", id=number)) for number in range(times)))
    finally:
        await out.close()


@pytest.mark.parametrize("method", ["basic", "post"])
async def test_a_client_with_a_secret(method: str) -> None:
    with server(client("lab+1", f"client_secret_{method}", client_secret=SECRET)) as base:
        await delivered(base, 10, client_id="lab+1", client_secret=Secret(SECRET), client_auth=method)
        seen = fetched(f"{base}/seen")
    assert seen == {"tokens": 1, "results": ["lab+1"] * 10}


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
@pytest.mark.parametrize("wrong_s", [0, 3 * 86_400, -3600])
async def test_a_client_with_a_key_whatever_our_clock_says(tmp_path: Path, algorithm: str, wrong_s: int) -> None:
    key: Any = (
        rsa.generate_private_key(65537, 2048) if algorithm == "RS384" else ec.generate_private_key(ec.SECP384R1())
    )
    file = tmp_path / "smart.key"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key_set(OAuth2(token_url="", key=file))
    registered = client("lab", "private_key_jwt", jwks=public, token_endpoint_auth_signing_alg=algorithm)
    clock = ManualClock(SystemClock().now())
    clock.advance(wrong_s)
    with server(registered) as base:
        await delivered(base, 5, clock, client_id="lab", key=file)
        seen = fetched(f"{base}/seen")
    assert seen == {"tokens": 1, "results": ["lab"] * 5}


async def test_a_revoked_token_is_renewed_within_the_attempt() -> None:
    with server(client("lab", "client_secret_basic", client_secret=SECRET)) as base:
        auth = Auth(
            oauth2=OAuth2(token_url=f"{base}/token", scope=SCOPE, client_id="lab", client_secret=Secret(SECRET))
        )
        out = http_out.build("lab", Settings(url=f"{base}/results", auth=auth), SystemClock())
        await out.start()
        await out.deliver(delivery(b"{}"))
        fetched(f"{base}/revoke", "POST")
        await asyncio.gather(*(out.deliver(delivery(b"{}", id=number)) for number in range(8)))
        await out.close()
        seen = fetched(f"{base}/seen")
    assert seen == {"tokens": 2, "results": ["lab"] * 9}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"client_secret": Secret("wrong")}, "invalid_client"),
        ({"client_id": "nobody"}, "invalid_client"),
    ],
)
async def test_a_wrong_client_is_told_in_words(changes: dict[str, Any], told: str) -> None:
    with (
        server(client("lab", "client_secret_basic", client_secret=SECRET)) as base,
        pytest.raises(DestinationDownError) as caught,
    ):
        await delivered(base, **{"client_id": "lab", "client_secret": Secret(SECRET), **changes})
    assert caught.value.reason is ReasonCode.NOT_AUTHORIZED
    assert told in caught.value.detail


def test_check_online_names_the_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(client("lab", "client_secret_basic", client_secret=SECRET)) as base:
        site = SITE_YAML + (
            f"  b: {{kind: http, url: '{base}/results', auth: {{oauth2: {{token_url: '{base}/token', client_id: lab, "
            f"client_secret: '${{LR_SECRET}}', scope: '{SCOPE}'}}}}}}\n"
        )
        folder = make_site(tmp_path, site=site)
        monkeypatch.setenv("LR_SECRET", SECRET)
        good = labrelay("check", "--online", site=folder)
        monkeypatch.setenv("LR_SECRET", "wrong")
        bad = labrelay("check", "--online", site=folder)
    assert good.code == ExitCode.OK, good.out
    assert bad.code == ExitCode.CONFIG
    assert "destination b: NOT_AUTHORIZED: the token server: HTTP 401 invalid_client: " in bad.out
