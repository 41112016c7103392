"""LabRelay's side of ABDM with its journal, beside the simulator, both on loopback: as the daemon composes it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.clients.http.templated import TemplatedRequests
from engine.config.destinations.destination import kinds
from engine.features.abdm.client.gateway import Gateway
from engine.features.abdm.client.pushes import Pushes
from engine.features.abdm.client.pushes import build as build_pushes
from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import linking, reports
from engine.features.abdm.flows.flow import Flow
from engine.features.abdm.flows.pushing import Pushing
from engine.features.abdm.flows.texting import Texting
from engine.features.abdm.rows import leaving, patients
from engine.features.abdm.rows.contexts import NewReport
from engine.features.abdm.rows.patients import Person
from engine.features.abdm.rules.abha import AbhaAddress, AbhaNumber
from engine.features.abdm.rules.care_contexts import Report
from engine.features.abdm.rules.links import held
from engine.features.abdm.rules.network import GatewayAnswer, Verdict
from engine.features.abdm.service.dispatcher import FLOWS, Dispatcher
from engine.features.abdm.service.listener import CallbackListener
from engine.model.process.clock import Clock, SystemClock, from_us
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox, Faults, Settings
from workbench.abdm.people import PEOPLE

FACILITY = "IN0000000001"
SECRET = "ABDM_CLIENT_SECRET"


def entry(url: str, *, callbacks: dict[str, Any] | None = None, **other: Any) -> dict[str, Any]:
    """The destination of a site beside the simulator at ``url``, as its YAML has it."""
    given: dict[str, Any] = {
        "kind": "abdm",
        "environment": "sbx",
        "gateway": url,
        "client_id": Settings().client,
        "client_secret": f"${{{SECRET}}}",
        "facilities": {FACILITY: {"name": "Made-up Laboratory"}},
        "callbacks": {"url": "http://127.0.0.1:1/abdm", "listen": "127.0.0.1:0"} | (callbacks or {}),
        "push_private": "127.0.0.1",
        "retry": {"first": "50ms", "max": "1s"},
        "timeout": "10s",
    }
    return given | other


def destination(url: str, *, callbacks: dict[str, Any] | None = None, **other: Any) -> AbdmDestination:
    """The configuration of a site beside the simulator at ``url``."""
    made = kinds()["abdm"].model_validate(entry(url, callbacks=callbacks, **other))
    assert isinstance(made, AbdmDestination)
    return made


def person(n: int = 0, /, **other: Any) -> Person:
    """One of the simulator's made-up people."""
    one = PEOPLE[n]
    said = {"address": one.address, "number": one.number or "", "name": one.name, "gender": one.gender}
    return Person(**(said | {"year": one.year, "mobile": one.mobile, "patient": f"PID-{n}"} | other))


def report(report: str = "A-1", *, message_id: int = 1, facility: str = FACILITY, **other: Any) -> NewReport:
    said: dict[str, Any] = {
        "facility": facility, "reference": linking.reference(), "channel": "chem", "report": report, "patient": 0,
        "message_id": message_id, "document_id": message_id, "issued_us": 1, "content": {"display": "Lab report"},
    }  # fmt: skip
    return NewReport(**(said | other))


def of_number(*own: str) -> dict[str, Any]:
    """The content of a report whose patient has these numbers of the laboratory."""
    found = [{"type": {"coding": [{"code": "MR"}]}, "value": number} for number in own]
    return {"display": "Lab report", "patient": {"identifier": found}}


def issue(new: NewReport, one: Person | None) -> Report:
    """An issue of a report: one of a later message is a later one, with another content. Where no person is named, its
    patient is that of the content."""
    said = held(new.content)
    addresses, numbers, own = said.addresses, said.numbers, said.own
    name, gender, year, mobile = said.name, said.gender or "U", said.year or None, said.mobile
    if one is None and "patient" not in new.content:
        own = frozenset({"PID"})
    if one is not None:
        addresses, numbers = frozenset({one.address}), frozenset({one.number} if one.number else ())
        own, mobile = frozenset({one.patient} if one.patient else ()), said.mobile or one.mobile
        name, gender, year = one.name, one.gender, one.year
    return Report(
        document=new.report,
        accession=new.report,
        version=new.message_id,
        digest=hashlib.sha256(f"{new.message_id} {new.document_id}".encode()).digest(),
        issued=from_us(new.issued_us),
        laboratory=frozenset({new.facility}),
        patient=min(said.own, default="p"),
        numbers=frozenset(map(AbhaNumber, numbers)),
        addresses=frozenset(map(AbhaAddress, addresses)),
        own_numbers=frozenset(("urn:made-up", number) for number in own),
        own_number=min(own, default=""),
        name=name,
        gender=gender,
        birth_year=year,
        mobiles=frozenset({mobile} if mobile else ()),
        is_correction=new.content.get("is_correction", False),
    )


def keep(batch: Batch, ours: AbdmDestination, new: NewReport, one: Person | None) -> int:
    """An issue of a report arrives; a person who is verified is known by the network's own word before."""
    if one is not None and one.verified:
        patients.put(batch, new.facility, linking.reference(), one)
    came = reports.Arrival(
        facility=new.facility, channel=new.channel, message_id=new.message_id, document_id=new.document_id
    )
    number: int = reports.keep(batch, ours, came, issue(new, one))
    return number


def leave(batch: Batch, address: str, *facilities: str) -> None:
    """The patient with this address leaves, and the gateway takes our answer to the notice of it."""
    leaving.stop(batch, address, 1, facilities, linking.reference)
    leaving.leave(batch, address, 1, leaving.ALL)


offer = operation(priority=Priority.SETTLE)(keep)


@dataclass
class Ours:
    """LabRelay's parts; they run until `stop`."""

    journal: Journal
    config: AbdmDestination
    gateway: Gateway
    dispatcher: Dispatcher
    listener: CallbackListener
    pushes: Pushes
    pushing: Pushing
    texts: TemplatedRequests | None = None
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    taken: set[tuple[str, ...]] = field(default_factory=set)  # ends of paths (`takes_answers`)

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
        table = dispatcher.table
        listener = CallbackListener(config, gateway, journal, clock, table.paths, dispatcher.stored, table.refused)
        pushes = build_pushes("abdm", config)
        await pushes.start()
        pushing = Pushing(journal, gateway, pushes, config, clock, dispatcher.changed)
        dispatcher.follow(pushing.came)
        dispatcher.follow_calls(pushing.heard)
        await dispatcher.recover()
        await listener.start()
        made = cls(journal, config, gateway, dispatcher, listener, pushes, pushing)
        loops = [dispatcher.fold, dispatcher.carry_out, pushing.run]
        if config.sms is not None:
            made.texts = TemplatedRequests("abdm", config.sms, clock)
            texting = Texting(journal, made.texts, lambda: config, clock, dispatcher.changed)
            dispatcher.follow(texting.changed)
            await made.texts.start()
            await texting.recover()
            loops.append(texting.carry_out)
        made.tasks = [asyncio.create_task(work()) for work in loops]
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
        await self.pushes.close()
        if self.texts is not None:
            await self.texts.close()
        await self.gateway.close()
        await self.journal.stop()

    async def offer(self, new: NewReport, one: Person | None) -> int:
        number: int = await self.journal.run(offer, self.config, new, one)
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

    def takes_answers(self, *paths: str) -> None:
        """The gateway takes our answers to callbacks, also to those that no simulated app has sent."""
        made, ends = self.gateway.call, paths or ("/hip/on-notify", "/status/on-notify", "/on-share")
        if ends in self.taken:
            return
        self.taken.add(ends)

        async def call(method: str, path: str, body: Any, **more: Any) -> GatewayAnswer:
            if path.endswith(ends):
                return GatewayAnswer(202, Verdict.TAKEN)
            return await made(method, path, body, **more)

        self.gateway.call = call  # type: ignore[method-assign]

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
                and not self.rows("abdm_code WHERE state IN ('waiting', 'sending')")
                and not self.rows("abdm_callback WHERE state = 'stored'")
            )
        )


@dataclass
class AbdmSite:
    """``ours`` is another one after each of the ``restarts``."""

    sandbox: AbdmSandbox
    folder: Path
    http: aiohttp.ClientSession
    config: AbdmDestination
    ours: Ours
    flows: Any
    clock: Clock | None = None
    restarts: int = 0

    async def ask(self, path: str, body: Any = None) -> Any:
        """An address of the simulator that is for tests: GET, or POST with a body."""
        method = "GET" if body is None else "POST"
        async with self.http.request(method, self.sandbox.url + path, json=body) as answer:
            assert answer.status in (200, 202, 204), (answer.status, await answer.text())
            return await answer.json() if answer.status == 200 else None

    async def fail(self, **faults: Any) -> None:
        await self.ask("/faults", faults)

    async def is_clean(self) -> None:
        """No violation, and nothing that waits for us. An answer that a stop has cut may be given again."""
        await self.ours.is_quiet()
        allowed = {"answered-twice"} if self.restarts else set()
        assert [one for one in await self.ask("/violations") if one["rule"] not in allowed] == []
        assert await self.ask("/pending") == []

    async def restart(self) -> None:
        """Stop our side in order, and start it on the same journal."""
        self.restarts += 1
        await self.ours.stop()
        await self.start()

    async def start(self) -> None:
        """Start our side on the journal of ``folder``."""
        self.ours = await Ours.start(self.folder, self.config, self.flows, self.clock)
        await self.ask("/bridge", {"url": self.ours.url})


@asynccontextmanager
async def abdm_site(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    faults: Faults | None = None,
    *,
    flows: tuple[Flow, ...] = FLOWS,
    config: Callable[[str], AbdmDestination] = destination,
    clock: Clock | None = None,
    gateway_clock: Clock | None = None,
    **settings: Any,
) -> AsyncIterator[AbdmSite]:
    """The simulator, and LabRelay's parts with a journal in ``folder``.

    Args:
        clock: of our side. gateway_clock: of the simulator.
    """
    given = Settings(**({"repeat_after_s": 0.05, "repeats": 3} | settings))
    monkeypatch.setenv(SECRET, given.secret)
    sandbox = AbdmSandbox(settings=given, faults=faults, clock=gateway_clock)
    await sandbox.start()
    try:
        async with aiohttp.ClientSession() as http:
            made = config(sandbox.url)
            ours = await Ours.start(folder, made, flows, clock)
            site = AbdmSite(sandbox, folder, http, made, ours, flows, clock)
            await site.ask("/bridge", {"url": ours.url})
            try:
                yield site
            finally:
                await site.ours.stop()
    finally:
        await sandbox.stop()
