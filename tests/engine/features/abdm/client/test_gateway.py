"""Calls to ABDM's gateway, against its simulator: our session, its keys, its answers."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from engine.features.abdm.client import gateway as module
from engine.features.abdm.client.gateway import Gateway
from engine.features.abdm.rules.network import GatewayAnswer, Verdict
from engine.model.errors import GatewayDownError
from engine.model.process.clock import Clock, SystemClock
from tests.support.abdm_site import SECRET, destination
from tests.support.scripted_http import http, scripted
from workbench.abdm import AbdmSandbox, Faults, Settings

SERVICES = "/api/hiecm/gateway/v3/bridge-services"


class Ahead(SystemClock):
    """Ten minutes ahead of the gateway."""

    def now(self) -> Any:
        return super().now() + timedelta(minutes=10)


@asynccontextmanager
async def opened(
    monkeypatch: pytest.MonkeyPatch, faults: Faults | None = None, clock: Clock | None = None, **other: Any
) -> AsyncIterator[tuple[Gateway, AbdmSandbox]]:
    monkeypatch.setenv(SECRET, Settings().secret)
    sandbox = AbdmSandbox(faults=faults)
    await sandbox.start()
    gateway = Gateway("abdm", destination(sandbox.url, **other), clock or SystemClock())
    await gateway.start()
    try:
        yield gateway, sandbox
    finally:
        await gateway.close()
        await sandbox.stop()


async def ask(gateway: Gateway) -> GatewayAnswer:
    return await gateway.call("GET", SERVICES, None, request_id=str(uuid4()))


async def test_calls_at_once_begin_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as (gateway, sandbox):
        answers = await asyncio.gather(*(ask(gateway) for _ in range(20)))
        assert {answer.verdict for answer in answers} == {Verdict.TAKEN}
        assert sandbox.state.counts["call session"] == 1
        assert sandbox.violations == []


async def test_a_session_that_has_ended_is_renewed_for_the_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as (gateway, sandbox):
        await ask(gateway)
        sandbox.end_sessions()
        assert (await ask(gateway)).verdict is Verdict.LOG_IN
        assert (await ask(gateway)).is_taken
        assert sandbox.state.counts["call session"] == 2


async def test_a_refused_log_in_is_not_tried_at_once_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as (gateway, sandbox):
        monkeypatch.setenv(SECRET, "wrong")
        answers = await asyncio.gather(*(ask(gateway) for _ in range(10)))
        assert {answer.verdict for answer in answers} == {Verdict.LOG_IN}
        assert sandbox.state.counts["call session"] == 1
        monkeypatch.setattr(module, "NO_SESSION_S", 0.0)


async def test_a_clock_that_is_off_is_noticed_and_the_gateways_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, clock=Ahead()) as (gateway, sandbox):
        await ask(gateway)  # the first answer shows its time
        assert -610 < gateway.ahead_s < -590
        before = len(sandbox.violations)
        gateway._no_session = None
        assert (await ask(gateway)).is_taken
        assert len(sandbox.violations) == before


KINDS: dict[str, tuple[Verdict, str]] = {
    "429": (Verdict.SLOW, "ABDM-2429"),
    "503": (Verdict.AGAIN, "ABDM-9999"),
    "html": (Verdict.AGAIN, ""),
    "html-502": (Verdict.AGAIN, ""),
    "reset": (Verdict.AGAIN, ""),
    "lost": (Verdict.AGAIN, ""),
    "401": (Verdict.LOG_IN, "900901"),
    "empty": (Verdict.FINAL, ""),
    "text": (Verdict.SETTINGS, ""),
    "object": (Verdict.AGAIN, "ABDM-1024"),
    "list": (Verdict.FINAL, "ABDM-1006"),
    "flat": (Verdict.FINAL, "ABDM-1010"),
    "message": (Verdict.FINAL, ""),
    "fields": (Verdict.FINAL, ""),
    "ABDM-1027": (Verdict.STOP, "ABDM-1027"),
    "ABDM-1092": (Verdict.BEFORE, "ABDM-1092"),
    "ABDM-2402": (Verdict.SETTINGS, "ABDM-2402"),
    "ABDM-1056 already linked": (Verdict.BEFORE, "ABDM-1056"),
    "ABDM-1056": (Verdict.FINAL, "ABDM-1056"),
    "ABDM-9999 Duplicate HIP link request": (Verdict.BEFORE, "ABDM-9999"),
    "ABDM-9999 please try later": (Verdict.AGAIN, "ABDM-9999"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_each_form_of_answer_has_its_meaning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(monkeypatch, Faults(calls={"bridge-services": [kind]})) as (gateway, _):
        answer = await ask(gateway)
        assert (answer.verdict, answer.code) == KINDS[kind]
        assert Settings().secret not in caplog.text + repr(answer)


async def test_retry_after_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(calls={"bridge-services": ["503-after"]}, retry_after_s=7)
    async with opened(monkeypatch, faults) as (gateway, _):
        assert (await ask(gateway)).retry_after_s == 7.0


async def test_an_answer_that_does_not_come_ends_at_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, Faults(calls={"bridge-services": ["hang"]}), timeout="2s") as (gateway, _):
        answer = await ask(gateway)
        assert (answer.status, answer.verdict, answer.cause) == (0, Verdict.AGAIN, module.TIMEOUT)


async def test_keys_are_kept_and_one_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as (gateway, sandbox):
        found = await asyncio.gather(*(gateway.keys() for _ in range(10)))
        number = found[0][1]
        assert {one for _, one in found} == {number}
        _, newer = await gateway.keys(known=number)  # at once: the key may be newer than those that are kept
        assert newer != number
        assert sandbox.state.counts["call certs"] == 2
        for _ in range(10):
            assert (await gateway.keys(known=newer))[1] == newer  # too early for another look
        assert sandbox.state.counts["call certs"] == 2
        assert (await gateway.keys(known=number))[1] == newer  # another callback has caused the look already
        assert sandbox.state.counts["call certs"] == 2


async def test_keys_that_are_kept_survive_a_gateway_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as (gateway, sandbox):
        found = await gateway.keys()
        monkeypatch.setattr(module, "KEYS_S", 0.0)
        sandbox.faults.calls = {"certs": ["503"] * 100}
        assert [await gateway.keys() for _ in range(20)] == [found] * 20
        assert sandbox.state.counts["call certs"] == 2, "one look that failed is enough for a while"


async def test_without_keys_the_gateway_is_asked_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as (gateway, sandbox):
        sandbox.faults.calls = {"certs": ["503"]}
        for _ in range(20):
            with pytest.raises(GatewayDownError):
                await gateway.keys()
        assert sandbox.state.counts["call certs"] == 1
        monkeypatch.setattr(gateway, "_no_keys_until_s", 0.0)
        assert await gateway.keys()


async def test_a_key_that_is_new_is_looked_for_once_however_short_ago_the_last_look_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(monkeypatch) as (gateway, sandbox):
        _, number = await gateway.keys()
        await gateway.keys(known=number)
        assert sandbox.state.counts["call certs"] == 2


async def test_a_key_that_cannot_be_looked_for_is_not_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway has a new key, and its callbacks come while its keys cannot be had: they have to come again."""
    async with opened(monkeypatch) as (gateway, sandbox):
        keys, number = await gateway.keys()
        monkeypatch.setattr(module, "UNKNOWN_KEY_S", 0.0)
        sandbox.faults.calls = {"certs": ["503"]}
        with pytest.raises(GatewayDownError):
            await gateway.keys(known=number)
        assert await gateway.keys() == (keys, number), "those that are kept are good for all others"
        assert (await gateway.keys(known=number))[1] != number


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{}", b"[" * 200_000, b'{"accessToken": "a", "expiresIn": NaN}'),
        *(b'{"accessToken": 1, "expiresIn": 1200}', b'{"accessToken": "a\\nb", "expiresIn": 1200}'),
    ],
)
async def test_a_log_in_without_a_token_is_no_session(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setenv(SECRET, "x")
    async with scripted(http(200, body)) as server:
        gateway = Gateway("abdm", destination(server.url.removesuffix("/")), SystemClock())
        await gateway.start()
        try:
            answer = await ask(gateway)
            assert answer.verdict is Verdict.AGAIN
            assert len(server.requests) == 1
        finally:
            await gateway.close()


async def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "x")
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with scripted(moved) as server:
        gateway = Gateway("abdm", destination(server.url.removesuffix("/")), SystemClock())
        await gateway.start()
        try:
            assert (await ask(gateway)).verdict is Verdict.SETTINGS
            assert len(server.requests) == 1
        finally:
            await gateway.close()
