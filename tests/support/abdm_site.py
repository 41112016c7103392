"""LabRelay's side of ABDM with its journal, beside the simulator, both on loopback: as the daemon composes it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.clients.abdm.gateway import Gateway
from engine.abdm import linking
from engine.abdm.dispatcher import FLOWS, Dispatcher
from engine.abdm.flow import Flow
from engine.abdm.listener import CallbackListener
from engine.config.destination import KINDS
from engine.config.destination_abdm import AbdmDestination
from engine.devtools.abdm import AbdmSandbox, Faults, Settings
from engine.devtools.abdm.people import PEOPLE
from engine.model.clock import Clock, SystemClock
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.journal import Journal
from engine.store.operations.abdm import patients
from engine.store.operations.abdm.contexts import NewReport
from engine.store.operations.abdm.patients import Person
from tests.support.waiting import until

FACILITY = "IN0000000001"
SECRET = "ABDM_CLIENT_SECRET"


def destination(url: str, *, callbacks: dict[str, Any] | None = None, **other: Any) -> AbdmDestination:
    """The configuration of a site beside the simulator at ``url``."""
    given: dict[str, Any] = {
        "kind": "abdm",
        "environment": "sbx",
        "gateway": url,
        "client_id": Settings().client,
        "client_secret": f"${{{SECRET}}}",
        "facilities": {FACILITY: {"name": "Made-up Laboratory"}},
        "callbacks": {"url": "http://127.0.0.1:1/abdm", "listen": "127.0.0.1:0"} | (callbacks or {}),
        "retry": {"first": "50ms", "max": "1s"},
        "timeout": "10s",
    }
    made = KINDS["abdm"].model_validate(given | other)
    assert isinstance(made, AbdmDestination)
    return made


def person(number: int = 0, **other: Any) -> Person:
    """One of the simulator's made-up people."""
    one = PEOPLE[number]
    said = {"address": one.address, "number": one.number or "", "name": one.name, "gender": one.gender}
    return Person(**(said | {"year": one.year, "mobile": one.mobile, "patient": f"PID-{number}"} | other))


def report(report: str = "A-1", *, message_id: int = 1, facility: str = FACILITY, **other: Any) -> NewReport:
    said: dict[str, Any] = {
        "facility": facility, "reference": linking.reference(), "channel": "chem", "report": report, "patient": 0,
        "message_id": message_id, "document_id": message_id, "issued_us": 1, "content": {"display": "Lab report"},
    }  # fmt: skip
    return NewReport(**(said | other))


@dataclass
class Ours:
    """LabRelay's parts; they run until `stop`."""

    journal: Journal
    config: AbdmDestination
    gateway: Gateway
    dispatcher: Dispatcher
    listener: CallbackListener
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    @classmethod
    async def start(
        cls, folder: Path, config: AbdmDestination, flows: Any = FLOWS, clock: Clock | None = None
    ) -> "Ours":
        clock = clock or SystemClock()
        journal = Journal.open(folder, clock=clock)
        journal.start(asyncio.get_running_loop())
        gateway = Gateway("abdm", config, clock)
        await gateway.start()
        dispatcher = Dispatcher(journal, gateway, lambda: config, clock, flows)
        listener = CallbackListener(config, gateway, journal, clock, dispatcher.table.paths, dispatcher.stored)
        await dispatcher.recover()
        await listener.start()
        made = cls(journal, config, gateway, dispatcher, listener)
        made.tasks = [asyncio.create_task(work()) for work in (dispatcher.fold, dispatcher.carry_out)]
        return made

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.port}{self.config.callbacks.path}"

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        for result in await asyncio.gather(*self.tasks, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError), result
        await self.listener.stop()
        await self.gateway.close()
        await self.journal.stop()

    async def offer(self, new: NewReport, one: Person | None) -> int:
        number = await self.journal.run(linking.offer, self.config, new, one)
        self.dispatcher.changed()
        return number

    async def leave(self, address: str) -> None:
        """The patient with this address leaves the network."""

        @operation(priority=Priority.SETTLE)
        def leave(batch: Batch) -> None:
            found = patients.by_address(batch, FACILITY, address)
            assert found is not None
            patients.drop(batch, found.number)

        await self.journal.run(leave)

    def rows(self, table: str, columns: str = "*") -> list[Any]:
        return self.journal.rows(f"SELECT {columns} FROM {table}")

    def states(self, table: str = "abdm_context") -> list[str]:
        return [state for (state,) in self.rows(table, "state")]

    async def is_told(self, *numbers: int) -> None:
        """Wait until the patients' apps were told of the newest version of these contexts."""

        def all_told() -> bool:
            found = dict(self.rows("abdm_context", "number, notified = version AND state = 'linked'"))
            return all(found.get(number) for number in numbers)

        await until(all_told)
        await self.is_quiet()

    async def is_quiet(self) -> None:
        """Wait until no call is to be made, and no callback to be folded."""
        await until(
            lambda: (
                not self.rows("abdm_call WHERE state IN ('waiting', 'sending', 'accepted')")
                and not self.rows("abdm_callback WHERE state = 'stored'")
            )
        )


@dataclass
class AbdmSite:
    """``ours`` is another one after `kill_and_restart`."""

    sandbox: AbdmSandbox
    folder: Path
    http: aiohttp.ClientSession
    config: AbdmDestination
    ours: Ours
    flows: Any

    async def ask(self, path: str, body: Any = None) -> Any:
        """An address of the simulator that is for tests: GET, or POST with a body."""
        method = "GET" if body is None else "POST"
        async with self.http.request(method, self.sandbox.url + path, json=body) as answer:
            assert answer.status in (200, 202, 204), (answer.status, await answer.text())
            return await answer.json() if answer.status == 200 else None

    async def fail(self, **faults: Any) -> None:
        await self.ask("/faults", faults)

    async def is_clean(self) -> None:
        """No violation, and nothing that waits for us."""
        await self.ours.is_quiet()
        assert await self.ask("/violations") == []
        assert await self.ask("/pending") == []

    async def restart(self) -> None:
        """Stop our side in order, and start it on the same journal."""
        await self.ours.stop()
        self.ours = await Ours.start(self.folder, self.config, self.flows)
        await self.ask("/bridge", {"url": self.ours.url})


@asynccontextmanager
async def abdm_site(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    faults: Faults | None = None,
    *,
    flows: tuple[Flow, ...] = FLOWS,
    config: Callable[[str], AbdmDestination] = destination,
    **settings: Any,
) -> AsyncIterator[AbdmSite]:
    """The simulator, and LabRelay's parts with a journal in ``folder``."""
    given = Settings(**({"repeat_after_s": 0.05, "repeats": 3} | settings))
    monkeypatch.setenv(SECRET, given.secret)
    sandbox = AbdmSandbox(settings=given, faults=faults)
    await sandbox.start()
    try:
        async with aiohttp.ClientSession() as http:
            made = config(sandbox.url)
            ours = await Ours.start(folder, made, flows)
            site = AbdmSite(sandbox, folder, http, made, ours, flows)
            await site.ask("/bridge", {"url": ours.url})
            try:
                yield site
            finally:
                await site.ours.stop()
    finally:
        await sandbox.stop()
