"""The process for large messages with a site of its own, and nothing else of the daemon; sites of large messages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

from engine.config.load import load_site
from engine.model.message import Stored
from engine.model.packing import unpack
from engine.model.process.clock import SystemClock
from engine.model.routes import Processed
from engine.runtime.build import BuiltSite, build_site
from engine.runtime.large import messages
from engine.runtime.large.process import HEALTHY_S, LONGEST_BACK_OFF_S, LargeProcess
from engine.runtime.supervisor import Supervisor
from tests.support.forking import forked_large
from tests.support.waiting import until

KEY = bytes(range(32))
START_WITHIN_S = 240.0
CHANNELS = {"hl7": ("mllp", "hl7-results"), "astm": ("astm", "astm-results"), "raw": ("mllp", None)}


def make_large_site(folder: Path) -> Path:
    (folder / "config").mkdir(parents=True)
    (folder / "channels").mkdir()
    (folder / "config" / "labrelay.yaml").write_text(
        "site: {name: Test Lab, timezone: Asia/Kolkata}\n"
        "web: {enabled: false}\n"
        "destinations:\n  server: {kind: file, folder: out}\n"
    )
    for name, (kind, mapping) in CHANNELS.items():
        route = f"mapping: {mapping}\n    to: server" if mapping else "to: server"
        (folder / "channels" / f"{name}.yaml").write_text(
            f'channel: {name}\nsource: {{kind: {kind}, listen: "127.0.0.1:0"}}\nroutes:\n  - {route}\n'
        )
    return folder


@dataclass
class RunningLarge:
    """A `LargeProcess` under supervision."""

    process: LargeProcess
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


@contextlib.asynccontextmanager
async def running_large(folder: Path, *, wait: bool = True) -> AsyncIterator[RunningLarge]:
    site = load_site(folder)
    process = LargeProcess(KEY)
    process.configure(site)
    async with Supervisor(first_s=0.05) as supervisor:
        supervisor.supervise("large messages", process.run, healthy_s=HEALTHY_S, max_s=LONGEST_BACK_OFF_S)
        if wait:
            await until(lambda: process.ready, START_WITHIN_S)
        yield RunningLarge(process, build_site(site, identity_key=KEY, clock=SystemClock()), supervisor)


def whole(verdict: Processed) -> Processed:
    """A verdict as it is before its documents are compressed."""
    return replace(
        verdict,
        documents=tuple(
            (replace(document, body=unpack(document.body), packed=False) if document.packed else document, route)
            for document, route in verdict.documents
        ),
    )


@contextlib.contextmanager
def all_large(large: bool = True) -> Iterator[None]:
    """Each message of the sites within is processed in the process for large ones."""
    with contextlib.ExitStack() as within:
        if large:
            within.enter_context(mock.patch.object(messages, "LARGE_BYTES", 0))
            within.enter_context(forked_large())
        yield
