"""Which of the two processes delivers: the worker, or the main process while the worker is behind."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from engine.config.destinations.destination import destination_type
from engine.model.packing import UnpackingDestination
from engine.model.process.clock import SystemClock
from engine.runtime.build import build_destination
from engine.runtime.worker import process as worker_process
from engine.runtime.worker.remote import RemoteDestination
from tests.support.running import MLLP, channel, make_running_site, running_app
from tests.support.waiting import until
from tests.support.workers import RunningWorker, delivery, http_server, make_worker_site, response, running_worker
from workbench.bench.messages import oru
from workbench.sandbox import Sandbox

BEHIND = 4


class Twofold:
    """A destination of a worker that stands still with as many messages as make it behind."""

    def __init__(self, worker: RunningWorker, *, shared: bool) -> None:
        self.worker = worker
        self.made: list[UnpackingDestination] = []
        self.destination = RemoteDestination("server", worker.process, self._make, shared=shared)

    def _make(self) -> UnpackingDestination:
        config = self.worker.built.site.config.destinations["server"]
        self.made.append(build_destination("server", config, SystemClock()))
        return self.made[-1]

    def with_the_worker(self) -> int:
        return len(self.worker.process._under_way)


@asynccontextmanager
async def behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, shared: bool) -> AsyncIterator[Twofold]:
    monkeypatch.setattr(worker_process, "BEHIND_MESSAGES", BEHIND)

    async def answer(request: bytes) -> bytes:
        return response("200 OK")

    async with http_server(answer) as port:
        site = make_worker_site(tmp_path / "site", f'{{kind: http, url: "http://127.0.0.1:{port}/in"}}')
        async with running_worker(site) as worker:
            os.kill(worker.pid, signal.SIGSTOP)
            asked = [worker.ask(worker.stored("raw", oru(1, n, random.Random(n)))) for n in range(BEHIND)]
            made = Twofold(worker, shared=shared)
            try:
                yield made
            finally:
                await made.destination.close()
                os.kill(worker.pid, signal.SIGCONT)
            await asyncio.wait_for(asyncio.gather(*asked), 240.0)


async def test_while_the_worker_is_behind_the_main_process_delivers_over_connections_that_it_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind(tmp_path, monkeypatch, shared=True) as one:
        for number in range(3):
            await asyncio.wait_for(one.destination.deliver(delivery(number)), 240.0)
        assert one.with_the_worker() == 0
        assert len(one.made) == 1
        os.kill(one.worker.pid, signal.SIGCONT)
        await until(lambda: not one.worker.process.behind, 240.0)
        os.kill(one.worker.pid, signal.SIGSTOP)
        task = asyncio.create_task(one.destination.deliver(delivery(4)))
        await until(lambda: one.with_the_worker() == 1)
        os.kill(one.worker.pid, signal.SIGCONT)
        await asyncio.wait_for(task, 240.0)


async def test_a_destination_of_one_connection_waits_for_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind(tmp_path, monkeypatch, shared=False) as one:
        task = asyncio.create_task(one.destination.deliver(delivery(1)))
        await until(lambda: one.with_the_worker() == 1)
        assert one.destination._local is None
        os.kill(one.worker.pid, signal.SIGCONT)
        await asyncio.wait_for(task, 240.0)


class CannotBeOpened:
    """A destination without its secret, as the file of it is away."""

    def hear_late(self, late: Any) -> None: ...

    async def start(self) -> None:
        raise PermissionError


async def test_a_destination_of_both_that_cannot_be_opened_here_takes_no_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start is tried again (`engine.delivery.worker`): no delivery fails for it."""
    async with behind(tmp_path, monkeypatch, shared=True) as one:
        one.destination._spare = CannotBeOpened()
        with pytest.raises(PermissionError):
            await one.destination.start()
        await one.destination.start()
        await asyncio.wait_for(one.destination.deliver(delivery(1)), 240.0)
        assert one.with_the_worker() == 0


TOKENS = {"oauth2": {"client_id": "lab", "client_secret": "${SECRET}", "token_url": "https://example.org/token"}}


@pytest.mark.parametrize(
    ("config", "any_process"),
    [
        ({"kind": "fhir", "url": "https://example.org/fhir"}, True),
        ({"kind": "http", "url": "https://example.org/in", "auth": {"bearer": {"token": "${TOKEN}"}}}, True),
        ({"kind": "http", "url": "https://example.org/in", "auth": TOKENS}, False),
        ({"kind": "mqtt", "connect": "broker.example.org:8883", "client_id": "lab", "topic": "lab/results"}, False),
        ({"kind": "mllp", "connect": "his.example.org:6661"}, False),
        ({"kind": "file", "folder": "out"}, False),
    ],
)
def test_kinds_with_a_connection_of_their_own_are_delivered_to_by_one_process(
    config: dict[str, Any], any_process: bool
) -> None:
    assert TypeAdapter(destination_type()).validate_python(config).any_process is any_process


async def test_where_a_site_allows_one_request_at_a_time_one_process_makes_them(tmp_path: Path) -> None:
    sandbox = Sandbox()
    await sandbox.start()
    fhir = {"kind": "fhir", "url": sandbox.url}
    make_running_site(
        tmp_path,
        {"chem": channel(MLLP, {"mapping": "hl7-results", "to": "many"}, {"mapping": "hl7-results", "to": "one"})},
        {"many": fhir, "one": {**fhir, "concurrency": 1}},
        workers=1,
    )
    try:
        async with running_app(tmp_path) as app:
            made = {name: worker._setup.destination for name, worker in app.parts.delivery_workers.items()}
            assert {name: vars(one)["_shared"] for name, one in made.items()} == {"many": True, "one": False}
    finally:
        await sandbox.stop()
