"""A worker process with a site of its own, and nothing else of the daemon."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.config.load import load_site
from engine.model.message import Delivery, Stored
from engine.model.packing import unpack
from engine.model.process.clock import SystemClock
from engine.model.routes import Processed
from engine.runtime.build import BuiltSite, build_destination, build_site
from engine.runtime.supervisor import Supervisor
from engine.runtime.worker.process import HEALTHY_S, LONGEST_BACK_OFF_S, WorkerProcess
from engine.runtime.worker.remote import RemoteDestination
from tests.support.waiting import until

KEY = bytes(range(32))
START_WITHIN_S = 240.0
CHANNELS = {"hl7": ("mllp", "hl7-results"), "astm": ("astm", "astm-results"), "raw": ("mllp", None)}


def make_worker_site(folder: Path, destination: str) -> Path:
    """``destination`` is the YAML of the only one, called ``server``."""
    (folder / "config").mkdir(parents=True)
    (folder / "channels").mkdir()
    (folder / "config" / "labrelay.yaml").write_text(
        "site: {name: Test Lab, timezone: Asia/Kolkata}\n"
        "web: {enabled: false}\n"
        "workers: 1\n"
        f"destinations:\n  server: {destination}\n"
    )
    for name, (kind, mapping) in CHANNELS.items():
        route = f"mapping: {mapping}\n    to: server" if mapping else "to: server"
        (folder / "channels" / f"{name}.yaml").write_text(
            f'channel: {name}\nsource: {{kind: {kind}, listen: "127.0.0.1:0"}}\nroutes:\n  - {route}\n'
        )
    return folder


@dataclass
class RunningWorker:
    """A `WorkerProcess` under supervision."""

    process: WorkerProcess
    built: BuiltSite
    supervisor: Supervisor
    numbers: int = field(default=0)

    @property
    def restarts(self) -> int:
        return next(task.restarts for task in self.supervisor.report())

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def stored(self, channel: str, payload: bytes) -> Stored:
        self.numbers += 1
        return Stored(id=self.numbers, channel=channel, seq=self.numbers, payload=payload, received_us=10**15)

    def ask(self, stored: Stored) -> "asyncio.Future[Processed]":
        answer: asyncio.Future[Processed] = asyncio.get_running_loop().create_future()
        self.process.processor.ask(stored, self.built.channels[stored.channel].routes, answer.set_result)
        return answer

    def destination(self) -> RemoteDestination:
        config = self.built.site.config.destinations["server"]
        return RemoteDestination("server", self.process, lambda: build_destination("server", config, SystemClock()))


@contextlib.asynccontextmanager
async def running_worker(folder: Path, *, wait: bool = True, delivers: bool = True) -> AsyncIterator[RunningWorker]:
    site = load_site(folder)
    process = WorkerProcess(KEY, delivers=delivers)
    process.configure(site)
    async with Supervisor(first_s=0.05) as supervisor:
        supervisor.supervise("worker", process.run, healthy_s=HEALTHY_S, max_s=LONGEST_BACK_OFF_S)
        if wait:
            await until(lambda: process.ready, START_WITHIN_S)
        yield RunningWorker(process, build_site(site, identity_key=KEY, clock=SystemClock()), supervisor)


def whole(verdict: Processed) -> Processed:
    """A verdict as it is before its documents are compressed."""
    return replace(
        verdict,
        documents=tuple(
            (replace(document, body=unpack(document.body), packed=False) if document.packed else document, route)
            for document, route in verdict.documents
        ),
    )


def delivery(number: int, body: bytes = b"{}", *, packed: bool = False) -> Delivery:
    return Delivery(
        id=number, message_id=number, channel="raw", destination="server", seq=number, key=f"{number:032x}",
        body=body, packed=packed, media_type="application/json", received_us=10**15,
    )  # fmt: skip


Answering = Callable[[bytes], Awaitable[bytes]]


@contextlib.asynccontextmanager
async def http_server(answer: Answering) -> AsyncIterator[int]:
    """A server that hands each request whole to ``answer`` and writes what that returns; its port."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"\r\nContent-Length: *(\d+)", head, re.IGNORECASE)
                writer.write(await answer(head + await reader.readexactly(int(length[1]) if length else 0)))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections)


def response(status: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
