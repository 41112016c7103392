"""Promises that every kind of destination keeps: each is built from the YAML and meets a real counterpart.

A kind joins by its model (`engine.config.destinations.destination`) and its counterpart (`tests.support.counterparts`).
"""

import asyncio
import re
import socket
import ssl
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from engine.config.destinations.destination import DestinationConfig, destination_type, kinds
from engine.config.destinations.destination_base import DestinationBase
from engine.model.errors import DeliveryError, DestinationDownError, TransientDeliveryError
from engine.model.ports import Destination
from engine.model.process.clock import ManualClock
from engine.model.spans import TRACEPARENT
from tests.support.certificates import Authority
from tests.support.counterparts import COUNTERPARTS, PATIENT, SECRET, Counterpart, First
from tests.support.running import make_running_site, running_app
from tests.support.waiting import until

CONFIG: TypeAdapter[DestinationConfig] = TypeAdapter(destination_type())
WITHIN_S = 240.0
KINDS = kinds()

each_kind = pytest.mark.parametrize("kind", KINDS)
NO_COUNTERPART = "write its counterpart in tests/support/counterparts.py, with @counterpart and the name of the kind"
WITH_TLS = [kind for kind in KINDS if kind in COUNTERPARTS and COUNTERPARTS[kind].tls is True]
WITH_SECRETS = [kind for kind in KINDS if kind in COUNTERPARTS and not isinstance(COUNTERPARTS[kind].in_clear, str)]
WITH_BOUND = [kind for kind in KINDS if kind in COUNTERPARTS and not isinstance(COUNTERPARTS[kind].bound, str)]


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", SECRET)


def counterpart(
    kind: str, first: First, folder: Path, tls: ssl.SSLContext | None = None
) -> AbstractAsyncContextManager[Counterpart]:
    assert kind in COUNTERPARTS, f"{kind}: {NO_COUNTERPART}"
    return COUNTERPARTS[kind].made(first, folder, tls)


def read(kind: str, there: Counterpart, timeout: str = "30s", **keys: Any) -> DestinationBase:
    return CONFIG.validate_python({"kind": kind, "timeout": timeout, **there.keys, **keys})


@asynccontextmanager
async def opened(kind: str, there: Counterpart, within: str = "30s", **keys: Any) -> AsyncIterator[Destination]:
    destination: Destination = read(kind, there, within, **keys).build("it", ManualClock())
    if (take := there.take()) is not None:
        vars(destination)["take"] = take
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


async def checked(there: Counterpart) -> None:
    """Check the document that was delivered. Where the kind has no answers, it may still be on its way."""
    await until(lambda: there.arrived() >= 1)
    there.check()


@contextmanager
def nothing_listens(there: Counterpart) -> Iterator[None]:
    """Keep the port of a counterpart that has gone, so that no other program gets it."""
    with socket.socket() as kept:
        if found := re.search(r"127\.0\.0\.1:([0-9]+)", there.where):
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            kept.bind(("127.0.0.1", int(found[1])))
        yield


def test_every_kind_has_a_counterpart() -> None:
    assert KINDS.keys() - COUNTERPARTS.keys() == set(), NO_COUNTERPART
    unknown = (
        "no model of this kind is listed in DestinationConfig (engine/config/destinations/destination.py): add it there"
    )
    assert COUNTERPARTS.keys() - KINDS.keys() == set(), unknown


@each_kind
def test_its_declarations_are_those_of_its_model(kind: str) -> None:
    has, model = COUNTERPARTS[kind], KINDS[kind]
    at = f"@counterpart of {kind} in tests/support/counterparts.py"
    with_tls, with_secrets = "tls" in model.model_fields, model.in_clear is not DestinationBase.in_clear
    assert (has.tls is True) == with_tls, f"{at}: tls is True where its model has a key tls, else why it has none"
    assert isinstance(has.in_clear, str) != with_secrets, (
        f"{at}: in_clear has keys where its model has in_clear(), else why it needs none"
    )
    for name, value in vars(has).items():
        assert not isinstance(value, str) or " " in value, f"{at}: {name} says in a few words why there is none"


@each_kind
async def test_a_document_arrives_as_the_yaml_says(kind: str, tmp_path: Path) -> None:
    async with counterpart(kind, First.TAKEN, tmp_path) as there, opened(kind, there) as destination:
        await destination.deliver(there.sent)
        await checked(there)


@pytest.mark.parametrize("kind", ["http", "fhir", "s3"])
async def test_requests_of_an_attempt_carry_its_trace(kind: str, tmp_path: Path) -> None:
    async with counterpart(kind, First.TAKEN, tmp_path) as there, opened(kind, there) as destination:
        TRACEPARENT.set("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")  # of this test's task
        await destination.deliver(there.sent)
        await checked(there)


async def test_the_page_shows_where_each_is(tmp_path: Path) -> None:
    async with AsyncExitStack() as all_of_them:
        there = {
            kind: await all_of_them.enter_async_context(counterpart(kind, First.TAKEN, tmp_path)) for kind in KINDS
        }
        site = make_running_site(tmp_path, {}, {kind: {"kind": kind, **one.keys} for kind, one in there.items()})
        async with running_app(site) as app:
            shown = {one.name: one.address for one in app.observer.snapshot().destinations}
    assert shown == {kind: one.where for kind, one in there.items()}


@each_kind
async def test_it_opens_without_a_counterpart_and_every_attempt_is_transient(kind: str, tmp_path: Path) -> None:
    async with counterpart(kind, First.TAKEN, tmp_path) as there:
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
    async with counterpart(kind, first, tmp_path) as there, opened(kind, there) as destination:
        await failed(destination, there)
        assert there.arrived() == 1
        there.go_on()
        await delivered_at_last(destination, there)
        await checked(there)
    assert not [word for word in (*PATIENT, SECRET) if word in caplog.text]


@each_kind
@pytest.mark.parametrize("first", [First.SILENCE, First.STALL])
async def test_an_answer_that_does_not_come_is_waited_for_until_the_timeout(
    kind: str, first: First, tmp_path: Path
) -> None:
    async with counterpart(kind, first, tmp_path) as there, opened(kind, there, "500ms") as destination:
        await failed(destination, there)
        there.go_on()
        await delivered_at_last(destination, there)
        await checked(there)


@each_kind
async def test_an_attempt_can_be_cancelled_and_harms_no_later_one(kind: str, tmp_path: Path) -> None:
    async with counterpart(kind, First.SILENCE, tmp_path) as there, opened(kind, there) as destination:
        attempt: asyncio.Task[Any] = asyncio.ensure_future(destination.deliver(there.sent))
        await asyncio.sleep(0)
        await until(lambda: there.arrived() == 1)
        assert not attempt.done()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        there.go_on()
        await delivered_at_last(destination, there)
        await checked(there)


@pytest.mark.parametrize("kind", WITH_BOUND)
async def test_an_answer_over_the_bound_is_not_read_to_its_end(kind: str, tmp_path: Path) -> None:
    """It never ends: who would read all of it, waits for an hour."""
    async with counterpart(kind, First.FLOOD, tmp_path) as there, opened(kind, there, "1h") as destination:
        await failed(destination, there)
        assert there.arrived() == 1
        await delivered_at_last(destination, there)
        await checked(there)


@pytest.mark.parametrize("kind", WITH_TLS)
async def test_it_speaks_tls_with_a_certificate_of_its_authority(kind: str, tmp_path: Path) -> None:
    ours = Authority(tmp_path / "ours")
    async with counterpart(kind, First.TAKEN, tmp_path, ours.server_context()) as there:
        async with opened(kind, there, tls={"ca": str(ours.ca)}) as destination:
            await destination.deliver(there.sent)
        await checked(there)


@pytest.mark.parametrize("kind", WITH_TLS)
async def test_a_certificate_of_another_authority_gets_no_document(kind: str, tmp_path: Path) -> None:
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    async with counterpart(kind, First.TAKEN, tmp_path, ours.server_context()) as there:
        async with opened(kind, there, tls={"ca": str(other.ca)}) as destination:
            error = await failed(destination, there)
        assert isinstance(error, DestinationDownError)  # of every document alike
        assert "certificate is not trusted" in str(error)
        assert there.arrived() == 0


@pytest.mark.parametrize("kind", WITH_TLS)
async def test_a_counterpart_without_tls_gets_no_document_where_tls_is_set(kind: str, tmp_path: Path) -> None:
    ours = Authority(tmp_path / "ours")
    async with counterpart(kind, First.TAKEN, tmp_path) as there:
        https = {key: f"https{at[4:]}" for key, at in there.keys.items() if str(at).startswith("http:")}
        async with opened(kind, there, "500ms", tls={"ca": str(ours.ca)}, **https) as destination:
            await failed(destination, there)
        assert there.arrived() == 0


@pytest.mark.parametrize("kind", WITH_SECRETS)
async def test_what_goes_to_another_machine_in_clear_is_named_by_its_key(kind: str, tmp_path: Path) -> None:
    in_clear, with_tls = COUNTERPARTS[kind].in_clear
    async with counterpart(kind, First.TAKEN, tmp_path) as there:
        pass
    found = list(read(kind, there, **in_clear).in_clear())
    assert found
    for path, text in found:
        block: Any = {**there.keys, **in_clear}
        for key in path:
            assert key in block, f"the key {'.'.join(map(str, path))} is not in the entry"
            block = block[key]
        assert "in clear" in text
        assert SECRET not in text
    assert list(read(kind, there, **with_tls).in_clear()) == []
    assert list(read(kind, there).in_clear()) == []  # on loopback


@each_kind
async def test_closing_twice_is_closing_once(kind: str, tmp_path: Path) -> None:
    async with counterpart(kind, First.TAKEN, tmp_path) as there, opened(kind, there) as destination:
        await destination.deliver(there.sent)
        await destination.close()
    async with counterpart(kind, First.TAKEN, tmp_path / "again") as there, opened(kind, there) as destination:
        await destination.close()  # before anything was sent


def test_what_a_site_does_not_use_is_not_loaded() -> None:
    """The daemon and the four plain destinations come without the libraries of the others."""
    code = (
        "import sys, engine.runtime.app\n"
        "from adapters.destinations import fhir_rest, file_out, http_out, mllp_out\n"
        "print(sorted({'aiomqtt', 'confluent_kafka', 'joserfc', 'paho', 'socks'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "[]"
