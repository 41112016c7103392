"""Promises that every kind of destination keeps: each is built from the YAML and meets a real counterpart.

A kind joins by its model (`engine.config.destination`) and its counterpart (`tests.support.counterparts`).
"""

import asyncio
import re
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from engine.config.destination import KINDS, DestinationConfig
from engine.config.destination_base import DestinationBase
from engine.model.clock import ManualClock
from engine.model.errors import DeliveryError, TransientDeliveryError
from engine.model.ports import Destination
from tests.support.counterparts import COUNTERPARTS, PATIENT, SECRET, Counterpart, First
from tests.support.running import make_running_site, running_app
from tests.support.waiting import until

CONFIG: TypeAdapter[DestinationConfig] = TypeAdapter(DestinationConfig)
WITHIN_S = 240.0
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", SECRET)


def read(kind: str, there: Counterpart, timeout: str = "30s") -> DestinationBase:
    return CONFIG.validate_python({"kind": kind, "timeout": timeout, **there.keys})


@asynccontextmanager
async def opened(kind: str, there: Counterpart, within: str = "30s") -> AsyncIterator[Destination]:
    destination: Destination = read(kind, there, within).build("it", ManualClock())
    async with asyncio.timeout(WITHIN_S):
        await destination.start()
        try:
            yield destination
        finally:
            await destination.close()


async def failed(destination: Destination, there: Counterpart) -> TransientDeliveryError:
    """The error of an attempt, without a word that must not be in a log."""
    with pytest.raises(TransientDeliveryError) as caught:
        await destination.deliver(there.sent)
    without_secrets(caught.value)
    return caught.value


def without_secrets(error: BaseException) -> None:
    said = "".join(traceback.format_exception(error)) + repr(error) + getattr(error, "detail", "")
    assert not [word for word in (*PATIENT, SECRET) if word in said]


async def delivered_at_last(destination: Destination, there: Counterpart) -> None:
    """As the outbox does it: again and again. `opened` ends it where it never works."""
    attempt = 1
    while True:
        try:
            await destination.deliver(there.sent)
            return
        except TransientDeliveryError as error:
            without_secrets(error)
            attempt += 1
            await asyncio.sleep(0)


@contextmanager
def nothing_listens(there: Counterpart) -> Iterator[None]:
    """Keep the port of a counterpart that has gone, so that no other program gets it."""
    with socket.socket() as kept:
        if found := re.search(r"127\.0\.0\.1:([0-9]+)", there.where):
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            kept.bind(("127.0.0.1", int(found[1])))
        yield


def test_every_kind_has_a_counterpart() -> None:
    assert COUNTERPARTS.keys() == KINDS.keys(), "write one in tests/support/counterparts.py"


@each_kind
async def test_a_document_arrives_as_the_yaml_says(kind: str, tmp_path: Path) -> None:
    async with COUNTERPARTS[kind](First.TAKEN, tmp_path) as there, opened(kind, there) as destination:
        await destination.deliver(there.sent)
        there.check()


async def test_the_page_shows_where_each_is(tmp_path: Path) -> None:
    async with AsyncExitStack() as all_of_them:
        there = {
            kind: await all_of_them.enter_async_context(COUNTERPARTS[kind](First.TAKEN, tmp_path)) for kind in KINDS
        }
        site = make_running_site(tmp_path, {}, {kind: {"kind": kind, **one.keys} for kind, one in there.items()})
        async with running_app(site) as app:
            shown = {one.name: one.address for one in app.observer.snapshot().destinations}
    assert shown == {kind: one.where for kind, one in there.items()}


@each_kind
async def test_it_opens_without_a_counterpart_and_every_attempt_is_transient(kind: str, tmp_path: Path) -> None:
    async with COUNTERPARTS[kind](First.TAKEN, tmp_path) as there:
        pass
    with nothing_listens(there):
        async with opened(kind, there) as destination:
            for _ in range(2):
                await failed(destination, there)
            with pytest.raises(DeliveryError) as caught:
                await destination.probe()
            without_secrets(caught.value)


@each_kind
@pytest.mark.parametrize("first", [First.CUT, First.ECHO])
async def test_an_attempt_that_breaks_is_transient_and_harms_no_later_one(
    kind: str, first: First, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with COUNTERPARTS[kind](first, tmp_path) as there, opened(kind, there) as destination:
        await failed(destination, there)
        assert there.arrived() == 1
        there.go_on()
        await delivered_at_last(destination, there)
        there.check()
    assert not [word for word in (*PATIENT, SECRET) if word in caplog.text]


@each_kind
@pytest.mark.parametrize("first", [First.SILENCE, First.STALL])
async def test_an_answer_that_does_not_come_is_waited_for_until_the_timeout(
    kind: str, first: First, tmp_path: Path
) -> None:
    async with COUNTERPARTS[kind](first, tmp_path) as there, opened(kind, there, "500ms") as destination:
        await failed(destination, there)
        there.go_on()
        await delivered_at_last(destination, there)
        there.check()


@each_kind
async def test_an_attempt_can_be_cancelled_and_harms_no_later_one(kind: str, tmp_path: Path) -> None:
    async with COUNTERPARTS[kind](First.SILENCE, tmp_path) as there, opened(kind, there) as destination:
        attempt: asyncio.Task[Any] = asyncio.ensure_future(destination.deliver(there.sent))
        await asyncio.sleep(0)
        await until(lambda: there.arrived() == 1)
        assert not attempt.done()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        there.go_on()
        await delivered_at_last(destination, there)
        there.check()


@each_kind
async def test_closing_twice_is_closing_once(kind: str, tmp_path: Path) -> None:
    async with COUNTERPARTS[kind](First.TAKEN, tmp_path) as there, opened(kind, there) as destination:
        await destination.deliver(there.sent)
        await destination.close()
    async with COUNTERPARTS[kind](First.TAKEN, tmp_path / "again") as there, opened(kind, there) as destination:
        await destination.close()  # before anything was sent


def test_what_a_site_does_not_use_is_not_loaded() -> None:
    """The daemon and the four plain destinations come without the libraries of the others."""
    code = (
        "import sys, engine.runtime.app\n"
        "from adapters.destinations import fhir_rest, file_out, http_out, mllp_out\n"
        "print(sorted({'aiomqtt', 'joserfc', 'paho', 'socks'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "[]"
