"""A whole site in the test's own event loop: the daemon's parts on real sockets, a sandbox that receives, and peers.

Faster than a process, and as honest: the same composition root (`engine.runtime.app.App`), real sockets and a real
journal.
"""

import asyncio
import contextlib
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import yaml

from engine.commands.shared.output import ExitCode
from engine.model.journal.journal_views import DeliveryView, Filter, MessageView, Trace
from engine.model.process.clock import Clock
from engine.runtime import programs
from engine.runtime.app import App
from engine.runtime.large.process import launch
from engine.runtime.reader import process as reader_process
from engine.store.journal import Journal
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import stored_document
from tests.support.command_line import Ran, labrelay
from tests.support.large import all_large
from tests.support.shipped import compiled_once
from tests.support.waiting import until
from workbench.sandbox import Sandbox

Json = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]

SETTLED_WITHIN_S = 90.0
# In a test nothing is worth waiting for: a failed attempt is repeated at once.
QUICK = {"retry": {"first": "20ms", "max": "100ms"}, "breaker": {"probe_after": "50ms"}}

MLLP = {"kind": "mllp", "listen": "127.0.0.1:0"}
ASTM = {"kind": "astm", "listen": "127.0.0.1:0"}
HL7_ROUTE = {"when": "=MSH-9.1 == 'ORU'", "mapping": "hl7-results", "to": "lab-fhir"}
ASTM_ROUTE = {"mapping": "astm-results", "to": "lab-fhir"}


def channel(source: Mapping[str, Any], *routes: Mapping[str, Any], **more: Any) -> Json:
    """The content of a ``channels/*.yaml``; its name is given by `make_running_site`."""
    return {"source": dict(source), "routes": [dict(route) for route in routes], **more}


def hl7_channel(*, source: Mapping[str, Any] = MLLP, **more: Any) -> Json:
    return channel(source, HL7_ROUTE, **more)


def astm_channel(*, source: Mapping[str, Any] = ASTM, **more: Any) -> Json:
    return channel(source, ASTM_ROUTE, **more)


@dataclass
class RunningSite:
    """A started site; every look at it is a look into its journal."""

    folder: Path
    app: App
    sandbox: Sandbox
    _read: dict[int, Json] = field(default_factory=dict)

    @property
    def journal(self) -> Journal:
        return self.app.journal

    def port(self, name: str) -> int:
        port = self.app.parts.sources[name].port
        assert port is not None, self.app.parts.sources[name].fault
        return port

    # -- what became of messages -------------------------------------------------------------------------------------

    def messages(self, name: str | None = None) -> list[MessageView]:
        """All messages of a channel (or of all), in the order they were journaled."""
        found: list[MessageView] = []
        before: int | None = None
        while page := messages_page(self.journal, Filter(channel=name), before_id=before, limit=500):
            found += page
            before = page[-1].id
        return found[::-1]

    def trace(self, message: int) -> Trace:
        trace = trace_of(self.journal, message)
        assert trace is not None
        return trace

    def deliveries(self, message: int) -> list[DeliveryView]:
        return list(self.trace(message).deliveries)

    def bundles(self, message: int) -> list[Json]:
        """The documents made of a message, oldest first."""
        return [self._document(document.id) for document in self.trace(message).documents]

    def _document(self, document: int) -> Json:
        if document not in self._read:
            self._read[document] = orjson.loads(stored_document(self.journal, document))
        return self._read[document]

    def end_of(self, message: int) -> str:
        """``delivered``, ``waiting`` ... of its newest delivery where it was mapped, else its reason code or state."""
        trace = self.trace(message)
        if trace.message.state != "mapped":
            return trace.message.reason or trace.message.state
        newest = trace.deliveries[-1]
        return newest.cause if newest.state == "dead" else newest.state

    def ends(self, name: str | None = None) -> list[str]:
        return [self.end_of(view.id) for view in self.messages(name)]

    async def settled(self, within_s: float = SETTLED_WITHIN_S) -> None:
        """Wait until no message waits for its verdict and no delivery for its end."""
        await until(self.is_settled, within_s)

    def is_settled(self) -> bool:
        if any(view.stored for view in list_channels(self.journal)):
            return False
        return not any(view.open for view in list_lanes(self.journal))

    # -- acts, as people do them -------------------------------------------------------------------------------------

    async def labrelay(self, *arguments: str) -> Ran:
        """A command beside the running daemon."""
        return await asyncio.to_thread(labrelay, *arguments, site=self.folder)

    async def retry(self, *messages: int) -> Json:
        """`labrelay dlq retry MESSAGE...`; what became of them, once that has ended."""
        ran = await self.labrelay("dlq", "retry", *map(str, messages), "--yes", "-o", "json")
        assert ran.code in {ExitCode.OK, ExitCode.PARTLY}, ran.err  # partly: some are still dead
        await self.settled()
        done: Json = ran.json["done"]
        return done

    async def replay(self, *messages: int) -> Json:
        """`labrelay replay MESSAGE...`; as `retry`."""
        ran = await self.labrelay("replay", *map(str, messages), "--reason", "tested", "--yes", "-o", "json")
        assert ran.code in {ExitCode.OK, ExitCode.PARTLY}, ran.err  # partly: some are still dead
        await self.settled()
        done: Json = ran.json["done"]
        return done


@contextlib.contextmanager
def eager_reader() -> Iterator[None]:
    """The process that draws pages is not nice: on a busy machine a test would wait for each page."""

    def launched(descriptor: int, environ: Mapping[str, str], _module: str) -> Awaitable[Process]:
        path = [str(REPOSITORY), *([environ["PYTHONPATH"]] if "PYTHONPATH" in environ else [])]
        return launch(descriptor, {**environ, "PYTHONPATH": os.pathsep.join(path)}, "tests.support.eager_reader")

    with mock.patch.object(reader_process, "launch", launched):
        yield


def make_running_site(
    folder: Path,
    channels: Mapping[str, Json],
    destinations: Mapping[str, Json],
    *,
    web: str = "",
    namespaces: Mapping[str, str] | None = None,
    patient_numbers: str | None = "lasting",
    practice: bool = True,
) -> Path:
    """Write a site with the shipped mappings.

    Args:
        web: the address of the page, none by default.
        patient_numbers: what the site says of them; None: nothing.
        practice: its patients are invented, so it needs no backup.
    """
    (folder / "config").mkdir(parents=True, exist_ok=True)
    (folder / "channels").mkdir(exist_ok=True)
    site = {
        "site": {"name": "Test Lab", "timezone": "Asia/Kolkata", "practice": practice},
        "web": {"listen": web} if web else {"enabled": False},
        "destinations": dict(destinations),
        "namespaces": dict(namespaces or {}),
        **({} if patient_numbers is None else {"patient_numbers": patient_numbers}),
    }
    (folder / "config" / "labrelay.yaml").write_text(yaml.safe_dump(site), encoding="utf-8")
    for name, content in channels.items():
        text = yaml.safe_dump({"channel": name, **content}, allow_unicode=True)
        (folder / "channels" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


@contextlib.asynccontextmanager
async def running_app(
    folder: Path, *, clock: Clock | None = None, own_tables: bool = False, apart: bool = False
) -> AsyncIterator[App]:
    """`engine.runtime.app.App` on a site, from up to stopped in order; ``own_tables``: the site has some in
    `mappings/`."""
    app = App(folder, clock=clock, apart=apart)
    up = asyncio.Event()
    with contextlib.nullcontext() if own_tables else mock.patch.object(programs, "load_mapping", compiled_once):
        task = asyncio.create_task(app.run(lambda _: up.set()))
        waiting = asyncio.create_task(up.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        task.result()
    try:
        yield app
    finally:
        app.stop()
        async with asyncio.timeout(240.0):
            await task


@contextlib.asynccontextmanager
async def running_site(
    folder: Path,
    channels: Mapping[str, Json],
    more: Mapping[str, Json] | None = None,
    *,
    clock: Clock | None = None,
    web: str = "",
    namespaces: Mapping[str, str] | None = None,
    large: bool = False,
    patient_numbers: str | None = "lasting",
    practice: bool = True,
) -> AsyncIterator[RunningSite]:
    """A site whose destination ``lab-fhir`` is a sandbox; ``more``: the other ones; ``web``: where its page
    listens; ``large``: each message is processed in the process for large ones."""
    sandbox = Sandbox()
    await sandbox.start()
    try:
        destinations = {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}, **(more or {})}
        make_running_site(
            folder,
            channels,
            destinations,
            web=web,
            namespaces=namespaces,
            patient_numbers=patient_numbers,
            practice=practice,
        )
        with all_large(large):
            async with running_app(folder, clock=clock) as app:
                yield RunningSite(folder, app, sandbox)
    finally:
        await sandbox.stop()
