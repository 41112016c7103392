"""The whole daemon in ABDM, beside the simulator: for acts that a person gives by command, API and page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.features.abdm.rows import consents
from engine.features.abdm.rows.contexts import NewReport
from engine.features.abdm.rows.patients import Person
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.service.service import AbdmService
from engine.runtime.app import App
from engine.store.core.writing.operation import Priority, operation
from tests.support.abdm_site import FACILITY, SECRET, entry, offer
from tests.support.acting_pages import ActingSite, acting_site
from tests.support.command_line import Ran
from tests.support.waiting import until
from workbench.abdm import AbdmSandbox, Settings

suspend = operation(priority=Priority.SETTLE)(consents.put)


@dataclass
class AbdmDaemon:
    """A running daemon; ``acting`` has its page."""

    acting: ActingSite
    sandbox: AbdmSandbox

    @property
    def app(self) -> App:
        return self.acting.site.app

    async def labrelay(self, *arguments: str) -> Ran:
        return await self.acting.site.labrelay("abdm", *arguments)

    async def offer(self, new: NewReport, one: Person | None) -> int:
        """A report is delivered to ABDM."""
        abdm = self.app.service(AbdmService).abdm
        assert abdm is not None
        number: int = await self.app.journal.run(offer, abdm.ours, new, one)
        abdm.dispatcher.changed()
        return number

    async def suspended(self) -> int:
        """A consent that came back with a backup."""
        ends_us = self.app.parts.clock.now_us() + 86_400_000_000
        number: int = await self.app.journal.run(
            suspend, "c-1", FACILITY, ConsentState.GRANTED, reason="suspended", ends_us=ends_us, content=["{}"]
        )
        return number

    def context(self, number: int) -> tuple[Any, ...]:
        """State, reason and version that the app knows."""
        rows = self.app.journal.rows(f"SELECT state, reason, notified FROM abdm_context WHERE number = {number}")
        return tuple(rows[0])

    async def becomes(self, number: int, *wanted: Any) -> None:
        await until(lambda: self.context(number) == wanted)

    async def fail(self, **faults: Any) -> None:
        async with aiohttp.ClientSession() as http, http.post(f"{self.sandbox.url}/faults", json=faults) as answer:
            assert answer.status in (200, 202, 204)


@asynccontextmanager
async def abdm_daemon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AbdmDaemon]:
    given = Settings()
    monkeypatch.setenv(SECRET, given.secret)
    sandbox = AbdmSandbox(settings=given)
    await sandbox.start()
    try:
        async with acting_site(folder, {}, {"abdm": entry(sandbox.url)}) as acting:
            abdm = acting.site.app.service(AbdmService).abdm
            assert abdm is not None
            await until(lambda: abdm.listener.port > 0)
            async with aiohttp.ClientSession() as http:
                url = f"http://127.0.0.1:{abdm.listener.port}{abdm.ours.callbacks.path}"
                async with http.post(f"{sandbox.url}/bridge", json={"url": url}) as answer:
                    assert answer.status in (200, 202, 204)
            yield AbdmDaemon(acting, sandbox)
    finally:
        await sandbox.stop()
