"""The listener for callbacks: who may send, and that each is durable before it is answered."""

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.features.abdm.client import gateway as module
from engine.features.abdm.client.gateway import Gateway
from engine.features.abdm.rows import callbacks
from engine.features.abdm.rules.network import CONSENT_NOTICE
from engine.features.abdm.service import listener
from engine.features.abdm.service.listener import CallbackListener
from engine.model.errors import NoRoomError
from engine.model.journal.records import JOURNAL_NAME
from engine.model.process.clock import Clock, SystemClock
from engine.store.journal import Journal
from tests.support.abdm_site import FACILITY, SECRET, destination
from tests.support.clocks import MovedClock
from workbench.abdm import AbdmSandbox, Settings, signing
from workbench.abdm.signing import LATE_S, Signer

PATH = "/v3/hip/patient/share"


class Open:
    """A listener, with what a gateway needs to be believed."""

    def __init__(self, listener: CallbackListener, journal: Journal, sandbox: AbdmSandbox, http: aiohttp.ClientSession):
        self.listener, self.journal, self.sandbox, self.http = listener, journal, sandbox, http
        self.signer: Signer = sandbox._signer
        self.stored = 0

    def url(self, path: str = PATH) -> str:
        return f"http://127.0.0.1:{self.listener.port}/abdm{path}"

    def headers(self, **other: str | None) -> dict[str, str]:
        said: dict[str, str | None] = {
            "Authorization": self.signer.callback(self.sandbox.state.now_s()),
            "REQUEST-ID": "0b5cf8e0-6d8a-4d4b-9a3e-0123456789ab",
            "X-HIP-ID": FACILITY,
            "Content-Type": "application/json",
        }
        said |= {name.replace("_", "-"): value for name, value in other.items()}
        return {name: value for name, value in said.items() if value is not None}

    async def post(self, body: Any = None, path: str = PATH, **headers: str | None) -> int:
        data = json.dumps({} if body is None else body).encode() if not isinstance(body, bytes) else body
        async with self.http.post(self.url(path), data=data, headers=self.headers(**headers)) as answer:
            return answer.status

    def kept(self) -> list[Any]:
        return self.journal.rows("SELECT path, facility, request_id, state FROM abdm_callback ORDER BY number")


@asynccontextmanager
async def listening(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    callbacks: dict[str, Any] | None = None,
    *,
    clock: Clock | None = None,
    **other: Any,
) -> AsyncIterator[Open]:
    monkeypatch.setenv(SECRET, Settings().secret)
    sandbox = AbdmSandbox()
    await sandbox.start()
    config = destination(sandbox.url, callbacks=callbacks, **other)
    clock = clock or SystemClock()
    journal = Journal.open(folder, clock=clock)
    journal.start(asyncio.get_running_loop())
    gateway = Gateway("abdm", config, clock)
    await gateway.start()
    stored: list[None] = []
    listener = CallbackListener(config, gateway, journal, clock, {PATH}, lambda: stored.append(None))
    await listener.start()
    try:
        async with aiohttp.ClientSession() as http:
            yield Open(listener, journal, sandbox, http)
        assert len(stored) == listener.counts["taken"]
    finally:
        await listener.stop()
        await gateway.close()
        await journal.stop()
        await sandbox.stop()


async def test_a_callback_is_durable_when_it_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(tmp_path, monkeypatch) as here:
        assert await here.post() == 202
        assert here.kept() == [(PATH, FACILITY, "0b5cf8e0-6d8a-4d4b-9a3e-0123456789ab", "stored")]
        assert await here.post(path=f"/api{PATH}") == 202  # the same, under the other spelling of its path
        assert len(here.kept()) == 1
        assert dict(here.listener.counts) == {"taken": 1, "repeat": 1}


async def test_a_callback_is_kept_with_the_age_that_it_names_by_the_gateways_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(tmp_path, monkeypatch) as here:
        now = datetime.now(UTC)
        assert await here.post(TIMESTAMP=f"{now - timedelta(minutes=4):%Y-%m-%dT%H:%M:%S.000Z}") == 202
        late = here.signer.callback(here.sandbox.state.now_s(), "late-token")
        said = {"TIMESTAMP": f"{now:%Y-%m-%dT%H:%M:%S.000Z}", "Authorization": late}
        assert await here.post(REQUEST_ID="0b5cf8e0-6d8a-4d4b-9a3e-000000000002", **said) == 202
        ages = [age_s for (age_s,) in here.journal.rows("SELECT age_s FROM abdm_callback ORDER BY number")]
        assert ages == [pytest.approx(0, abs=60), pytest.approx(LATE_S, abs=60)]


@pytest.mark.parametrize("minutes", [-45, 45, 366 * 1440])
async def test_our_clock_does_not_decide_whether_a_token_is_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    """The gateway's does, as its answers show it: a revocation that we refuse does not come again."""
    for wait in ("UNKNOWN_KEY_S", "NO_KEYS_S", "NO_SESSION_S"):
        monkeypatch.setattr(module, wait, 0.0)
    clock = MovedClock(jumped_s=60 * minutes)
    async with listening(tmp_path, monkeypatch, clock=clock) as here:
        for n, jumped_s in enumerate((60 * minutes, 0, -60 * minutes)):
            clock.jumped_s = jumped_s
            said = {"REQUEST_ID": f"0b5cf8e0-6d8a-4d4b-9a3e-00000000000{n}"}
            assert await here.post(**said) in (202, 503)  # 503: comes again; an answer has shown the time meanwhile
            assert await here.post(**said) == 202
        old = here.signer.callback(here.sandbox.state.now_s(), "expired")
        assert await here.post(REQUEST_ID="0b5cf8e0-6d8a-4d4b-9a3e-000000000009", Authorization=old) == 401
        assert len(here.kept()) == 3


async def test_a_token_proves_one_request_where_the_configuration_wants_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(tmp_path / "a", monkeypatch) as here:
        old = here.signer.callback(here.sandbox.state.now_s())
        for number in ("r-1", "r-2"):
            assert await here.post(REQUEST_ID=number, Authorization=old) == 202
    for _ in range(2):  # and after a restart
        async with listening(tmp_path / "b", monkeypatch, {"one_request_per_token": True}) as here:
            assert await here.post(REQUEST_ID="r-1", Authorization=old) == 202
            assert await here.post(REQUEST_ID="r-2", Authorization=old) == 401
            assert here.listener.counts["token-used"] == 1
            assert await here.post(REQUEST_ID="r-3") == 202  # with one of its own
            assert [number for _, _, number, _ in here.kept()] == ["r-1", "r-3"]


REFUSED = {
    "another facility": ({"X_HIP_ID": "IN9999999999"}, PATH, 403),
    "no facility": ({"X_HIP_ID": None}, PATH, 403),
    "no token": ({"Authorization": None}, PATH, 401),
    "a token that is none": ({"Authorization": "Bearer a.b.c"}, PATH, 401),
    "no REQUEST-ID": ({"REQUEST_ID": None}, PATH, 400),
    "a REQUEST-ID with a blank": ({"REQUEST_ID": "a b"}, PATH, 400),
    "an unknown path": ({}, "/v3/other", 404),
    "the old interface": ({}, "/v0.5/links/link/on-init", 404),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_not_proven_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    headers, path, status = REFUSED[case]
    async with listening(tmp_path, monkeypatch) as here:
        assert await here.post(path=path, **headers) == status
        assert here.kept() == []
        assert await here.post() == 202  # and the next one is


async def test_a_body_of_50_mb_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(tmp_path, monkeypatch) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.listener.port)
        lines = [f"{name}: {value}" for name, value in here.headers(Content_Length=str(50 << 20)).items()]
        writer.write("\r\n".join([f"POST /abdm{PATH} HTTP/1.1", "Host: x", *lines, "", ""]).encode() + b"{")
        answer = await asyncio.wait_for(reader.readline(), 60)
        writer.close()
        assert answer.split()[1] == b"413"
        assert here.kept() == []


async def test_a_body_without_a_length_is_read_to_the_bound_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(10_000):
            yield b" " * 10_000

    async with listening(tmp_path, monkeypatch) as here:
        with pytest.raises((AssertionError, aiohttp.ClientError)):
            async with here.http.post(here.url(), data=endless(), headers=here.headers()) as answer:
                assert answer.status != 413
        assert here.listener.counts["length"] == 1
        assert here.kept() == []


async def test_a_body_that_stops_on_its_way_is_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not 400, which ends the matter: it may be a revocation."""
    monkeypatch.setattr(listener, "BODY_S", 0.2)
    async with listening(tmp_path, monkeypatch) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.listener.port)
        lines = [f"{name}: {value}" for name, value in here.headers(Content_Length="20").items()]
        writer.write("\r\n".join([f"POST /abdm{PATH} HTTP/1.1", "Host: x", *lines, "", ""]).encode() + b'{"a":')
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        assert answer.split()[1] == b"408"
        assert here.kept() == []
        assert await here.post() == 202


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"a":'])
async def test_a_body_that_is_no_object_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    async with listening(tmp_path, monkeypatch) as here:
        assert await here.post(body) == 400
        assert here.kept() == []


async def test_a_sender_is_known_by_its_relay_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behind = {"allow": "192.0.2.7", "relays": "127.0.0.1"}
    async with listening(tmp_path, monkeypatch, behind) as here:
        assert await here.post(X_Forwarded_For="10.1.1.1, 192.0.2.7") == 202
        assert await here.post(X_Forwarded_For="192.0.2.7, 10.1.1.1") == 403  # the relay names the last one
        assert await here.post() == 403
    async with listening(tmp_path / "b", monkeypatch, {"allow": "192.0.2.7"}) as here:
        assert await here.post(X_Forwarded_For="192.0.2.7") == 403  # of a machine that is no relay


async def test_health_is_shown_to_anyone_and_says_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(tmp_path, monkeypatch, {"allow": "192.0.2.7"}) as here:
        async with here.http.get(here.url("/health")) as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with here.http.get(f"http://127.0.0.1:{here.listener.port}/") as answer:
            assert answer.status in (403, 404)


async def test_unknown_keys_cause_one_look_at_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(tmp_path, monkeypatch) as here:
        for _ in range(20):
            token = here.signer.callback(here.sandbox.state.now_s(), "unknown-key")
            assert await here.post(Authorization=token) == 401
        assert here.sandbox.state.counts["call certs"] <= 2


def new_key(here: Open, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(signing, "KEY_ID", name)
    monkeypatch.setattr(here.signer, "_key", signing._key("gateway", name))


async def test_a_second_new_key_is_found_seconds_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway changes its key twice: the callback under the first is taken at once, that under the second soon."""
    async with listening(tmp_path, monkeypatch) as here:
        assert await here.post(REQUEST_ID="old-key") == 202
        new_key(here, monkeypatch, "second")
        assert await here.post(REQUEST_ID="second") == 202
        new_key(here, monkeypatch, "third")
        answers = [401]
        deadline = time.monotonic() + 30
        while answers[-1] == 401 and time.monotonic() < deadline:
            answers.append(await here.post(REQUEST_ID="third"))
        assert answers[-1] == 202
        assert here.sandbox.state.counts["call certs"] <= 4


async def test_a_gateway_without_keys_makes_callbacks_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(tmp_path, monkeypatch) as here:
        here.sandbox.faults.calls = {"certs": ["503", "503"]}
        assert await here.post() == 503
        assert here.kept() == []
        here.sandbox.faults.calls = {}
        monkeypatch.setattr(here.listener._gateway, "_no_keys_until_s", 0.0)
        assert await here.post() == 202


async def test_a_journal_that_keeps_nothing_answers_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(tmp_path, monkeypatch) as here:
        assert await here.post() == 202
        await here.journal.stop()
        assert await here.post(REQUEST_ID="another") == 503


async def test_a_journal_that_another_program_has_locked_costs_no_callback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(tmp_path, monkeypatch) as here:
        assert await here.post() == 202
        assert here.journal._connection is not None
        here.journal._connection.execute("PRAGMA busy_timeout = 50")
        with closing(sqlite3.connect(tmp_path / JOURNAL_NAME, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await here.post(REQUEST_ID="second") == 503
            other.execute("ROLLBACK")
        assert len(here.kept()) == 1, "it was not acknowledged, and is not there"
        assert [await here.post(REQUEST_ID="second") for _ in range(2)] == [202, 202]
        assert len(here.kept()) == 2
        assert here.listener.counts == {"taken": 2, "not-stored": 1, "repeat": 1}


async def test_a_full_disk_costs_no_callback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(tmp_path, monkeypatch) as here:
        connection = here.journal._connection
        assert connection is not None
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 6}")
        body = {"note": os.urandom(9_000).hex()}  # nothing makes it shorter
        answers = {str(n): await here.post(body, REQUEST_ID=str(n)) for n in range(8)}
        assert set(answers.values()) == {202, 503}
        taken = [n for n, status in answers.items() if status == 202]
        assert [request_id for _, _, request_id, _ in here.kept()] == taken
        connection.execute("PRAGMA max_page_count = 1000000")
        assert {await here.post(body, REQUEST_ID=n) for n in answers} == {202}
        assert len(here.kept()) == len(answers)


async def test_a_revocation_is_kept_also_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the room that is kept for what ends work: no other callback gets in, and no long one."""
    async with listening(tmp_path, monkeypatch) as here:
        monkeypatch.setattr(type(here.journal.writer._upkeep), "full", True)
        assert await here.post() == 503
        revoked = b'{"notification": {"status": "REVOKED", "consentId": "c-1"}}'
        assert await here.journal.run(callbacks.store, CONSENT_NOTICE, FACILITY, "r-1", revoked, 0)
        with pytest.raises(NoRoomError):
            await here.journal.run(callbacks.store, CONSENT_NOTICE, FACILITY, "r-2", revoked + b" " * 20_000, 0)
        assert here.kept() == [(CONSENT_NOTICE, FACILITY, "r-1", "stored")]
