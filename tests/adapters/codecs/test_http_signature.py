"""Signed requests: what is signed, verified by the code that the documentation gives to receivers."""

import gzip
import re
from collections.abc import Callable
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.clients.http import exchange
from adapters.clients.http.log_in import LARGE_BODY_BYTES
from adapters.codecs.signatures import canonical, sign
from adapters.destinations import http_out
from engine.model.errors import DestinationDownError
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from tests.support.deliveries import Auth, Hmac, Secret, Settings, delivery
from tests.support.scripted_http import Request, Script, ScriptedServer, http, scripted

KEY = b"whsec_0123456789"
KEYS = {"2026-03": KEY, "2025-09": b"the old one"}
DOCS = Path(__file__).parents[3] / "docs" / "destinations.md"


def receivers_code(now: float) -> Callable[..., bool]:
    """`is_genuine` of docs/destinations.md, at the time ``now``."""
    [code] = re.findall(r"^```python\n(import hashlib, hmac, time\n.*?)^```", DOCS.read_text(), re.M | re.S)
    assert len(code.strip().splitlines()) <= 10 + 1, "ten lines of Python, and a blank one"
    scope: dict[str, Any] = {}
    exec(compile(code, "destinations.md", "exec"), scope)  # the documentation's own code
    scope["time"] = type("Time", (), {"time": staticmethod(lambda: now)})
    genuine: Callable[..., bool] = scope["is_genuine"]
    return genuine


async def sent(
    *script: Script, body: bytes = b"results", clock: ManualClock | None = None, **changes: Any
) -> ScriptedServer:
    async with scripted(*script) as server:
        auth = Auth(hmac=Hmac("2026-03", Secret(KEY.decode())))
        out = http_out.build("archive", Settings(url=server.url, auth=auth).but(**changes), clock or ManualClock())
        await out.start()
        try:
            await out.deliver(delivery(body))
        finally:
            await out.close()
    return server


def verified(request: Request, now: float, **changes: Any) -> bool:
    method, path, _ = request.line.split(" ")
    given = {"method": method, "path": path, "body": request.body, "keys": KEYS, **changes}
    return receivers_code(now)(request.headers["labrelay-signature"], **given)


NOW = ManualClock().now().timestamp()


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("body", [b"results", b"", bytes(LARGE_BODY_BYTES + 1)])
async def test_receivers_can_verify_it(method: str, body: bytes) -> None:
    [request] = (await sent(http(201), body=body, method=method)).requests
    assert verified(request, NOW)
    assert "authorization" not in request.headers


async def test_a_compressed_body_is_signed_as_it_went_out() -> None:
    [request] = (await sent(http(201), body=b"r" * 5000, gzip=True)).requests
    assert gzip.decompress(request.body) == b"r" * 5000
    assert verified(request, NOW)
    assert len(request.body) < exchange.SMALLEST_GZIP_BYTES


@pytest.mark.parametrize(
    "changes",
    [
        {"body": b"other"},
        {"path": "/elsewhere"},
        {"method": "PUT"},
        {"keys": {"2026-03": b"another key"}},
        {"keys": {"2025-09": KEY}},
        {"now": NOW + 301},
        {"now": NOW - 301},
    ],
)
async def test_nothing_of_it_can_be_changed(changes: dict[str, Any]) -> None:
    [request] = (await sent(http(201))).requests
    assert verified(request, NOW)
    now = changes.pop("now", NOW)
    assert not verified(request, now, **changes)


def test_the_canonical_string_is_what_the_documentation_says() -> None:
    assert canonical("2026-03", 1772353800, "POST", "/in?lab=7", b"") == (
        b"1772353800\n2026-03\nPOST\n/in?lab=7\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_it_is_what_openssl_makes_of_it() -> None:
    """By `openssl dgst -sha256 -hmac key` of the canonical string, another implementation."""
    assert sign(b"key", "k", 1, "GET", "/", b"") == (
        "t=1,kid=k,v1=ca80011e6dc6491b5fcd8216f3fe60592fff7a90812cf7ae5dc0b21dbf8a0df4"
    )


def test_the_example_of_the_documentation_is_a_true_one() -> None:
    [example] = re.findall(r"^LabRelay-Signature: (.*)$", DOCS.read_text(), re.M)
    assert example == sign(KEY, "2026-03", 1772353800, "POST", "/results", b"")


async def test_each_attempt_is_signed_at_its_own_time() -> None:
    clock = ManualClock()
    async with scripted(http(201)) as server:
        auth = Auth(hmac=Hmac("2026-03", Secret(KEY.decode())))
        out = http_out.build("archive", Settings(url=server.url, auth=auth), clock)
        await out.start()
        await out.deliver(delivery(b"x"))
        clock.advance(3600)
        await out.deliver(delivery(b"x", attempt=1))
        await out.close()
    assert [verified(request, NOW + 3600) for request in server.requests] == [False, True]


async def test_a_receiver_with_another_time_gets_one_request_at_its_own() -> None:
    clock = ManualClock()
    date = f"Date: {format_datetime(clock.now().replace(hour=9), usegmt=True)}"
    server = await sent(http(401, b"", date), http(201), clock=clock)
    assert [verified(request, NOW + 3 * 3600) for request in server.requests] == [False, True]


async def test_a_receiver_that_refuses_at_the_right_time_is_asked_once() -> None:
    date = f"Date: {format_datetime(ManualClock().now(), usegmt=True)}"
    async with scripted(http(401, b"", date)) as server:
        auth = Auth(hmac=Hmac("2026-03", Secret("wrong-key-wrong-key")))
        out = http_out.build("archive", Settings(url=server.url, auth=auth), ManualClock())
        await out.start()
        with pytest.raises(DestinationDownError) as caught:
            await out.deliver(delivery(b"x"))
        await out.close()
    assert caught.value.reason is ReasonCode.NOT_AUTHORIZED
    assert "wrong-key" not in str(caught.value)
    assert len(server.requests) == 1


async def test_a_probe_is_signed_too() -> None:
    async with scripted(http(405)) as server:
        auth = Auth(hmac=Hmac("2026-03", Secret(KEY.decode())))
        out = http_out.build("archive", Settings(url=server.url, auth=auth), ManualClock())
        await out.start()
        await out.probe()
        await out.close()
    assert verified(server.requests[0], NOW)
