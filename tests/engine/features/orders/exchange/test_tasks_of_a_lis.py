"""A Task that a laboratory system wrote on its own FHIR server follows its order, with `tasks: update`.

The server is the sandbox: it keeps each version, and refuses a write whose If-Match names an older one.

ordered                                   requested, accepted
its result                                completed
rejected                                  rejected, with the reason
cancelled                                 as its system wrote it; nothing is written
cancelled after the result                cancelled, and it says that there is a result
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.destinations.fhir_tasks import STATUS
from engine.features.orders.rows.reading import ItemFilter, items
from engine.model.process import back_off
from tests.engine.features.orders.exchange.test_orders_of_a_lis import ANALYZER
from tests.engine.features.orders.exchange.test_polled_orders import polling
from tests.support.asking import asking, question, result
from tests.support.running import QUICK, RunningSite, channel, running_site
from tests.support.waiting import WITHIN_S, until
from workbench.sandbox import Sandbox
from workbench.sandbox.fhir_lis import FhirLis
from workbench.sandbox.lis import LisOrder

AT = datetime(2026, 3, 2, 8, 0)
TSH = LisOrder("LIS-1", "00042", "TSH", "SIM-1")
ROUTES = [
    {"when": "=MSH-9.1 == 'ORR'", "mapping": "hl7-order-answers", "to": "emr"},
    {"when": "=MSH-9.1 == 'ORM'", "mapping": "order-status-fhir", "to": "emr"},
]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_off, "FIRST_S", 0.02)
    monkeypatch.setattr(back_off, "MAX_S", 0.1)


@dataclass
class Lis:
    """The laboratory system with its server, and the site that serves it."""

    server: Sandbox
    lis: FhirLis
    site: RunningSite
    http: aiohttp.ClientSession

    async def read(self, name: str = "Task/T-LIS-1") -> dict[str, Any]:
        async with self.http.get(f"{self.server.url}/{name}") as answer:
            found: dict[str, Any] = json.loads(await answer.text())
            return found

    async def statuses(self) -> list[str]:
        """Of all versions of the Task, the first one first."""
        history = await self.read("Task/T-LIS-1/_history")
        return [one["resource"]["status"] for one in reversed(history["entry"])]

    async def becomes(self, status: str, **more: Any) -> dict[str, Any]:
        """The Task, once it is so."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                found = await self.read()
                if found.get("status") == status and all(found.get(name) == value for name, value in more.items()):
                    return found
                await asyncio.sleep(0.02)

    def _is_ordered(self, number: str) -> bool:
        return any(one.line.placer == number for one in items(self.site.journal, ItemFilter()))

    async def idle(self) -> None:
        """All that the server has was read, and all news of it are delivered."""
        for _ in range(2):
            count = len(self.site.messages("his"))
            await self.site.settled()
            marker = LisOrder(f"LIS-M{count}", f"7{count:04d}", "TSH", f"SIM-M{count}")
            await self.lis.order([marker], at=AT)
            await until(partial(self._is_ordered, marker.number))
            await self.site.settled()


@asynccontextmanager
async def laboratory(folder: Path, **source: Any) -> AsyncIterator[Lis]:
    server = Sandbox()
    await server.start()
    news = channel({"kind": "order-status", "of": "his", "answers": True, "tasks": "update", **source}, *ROUTES)
    channels = {"chemistry": ANALYZER, "his": polling(server.url, search="Task"), "news": news}
    emr = {"emr": {"kind": "fhir", "url": server.url, **deepcopy(QUICK)}}
    try:
        async with running_site(folder, channels, emr) as site, aiohttp.ClientSession() as http:
            yield Lis(server, FhirLis(server.url, tasks=True), site, http)
    finally:
        await server.stop()


async def test_the_task_follows_its_order_to_the_result(tmp_path: Path) -> None:
    async with laboratory(tmp_path, updates=True) as here, asking(here.site.port("chemistry")) as analyzer:
        await here.lis.order([TSH], at=AT)
        first = await here.becomes("accepted")
        assert first["businessStatus"] == {"coding": [{"system": STATUS, "code": "accepted"}]}
        await analyzer.ask(question("00042"))
        await analyzer.send(result("00042", "SIM-1", "TSH3", "1.20"))
        last = await here.becomes("completed")
        theirs = {"meta", "status", "businessStatus"}
        assert {name: value for name, value in last.items() if name not in theirs} == {
            name: value for name, value in (await here.read("Task/T-LIS-1/_history/1")).items() if name not in theirs
        }
        await here.idle()
        assert (await here.statuses())[-1] == "completed"
        own = [
            one["resource"]["partOf"][0]["reference"]
            for message in here.site.messages("news")
            for bundle in here.site.bundles(message.id)
            for one in bundle["entry"]
            if one["resource"].get("focus", {}).get("identifier", {}).get("value") == "LIS-1"
        ]
        assert set(own) == {"Task/T-LIS-1"}


async def test_a_task_that_is_rejected_has_the_reason(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as here:
        await here.lis.order([LisOrder("LIS-1", "00042", "XYZ", "SIM-1")], at=AT)
        found = await here.becomes("rejected")
        assert "no analyzer here runs this test" in found["statusReason"]["text"]


async def test_a_cancel_that_is_carried_out_is_left_as_it_was_written(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as here:
        await here.lis.order([TSH], at=AT)
        await here.becomes("accepted")
        await here.lis.order([TSH], "cancel", at=AT)
        await until(lambda: [one.state.value for one in items(here.site.journal, ItemFilter())] == ["cancelled"])
        await here.idle()
        assert await here.statuses() == ["requested", "accepted", "cancelled"]


async def test_an_order_is_held_and_released_by_its_task(tmp_path: Path) -> None:
    async with laboratory(tmp_path, tasks="keep") as here:

        def own() -> list[str]:
            return [
                one["resource"]["status"]
                for message in here.site.messages("news")
                for bundle in here.site.bundles(message.id)
                for one in bundle["entry"]
                if one["resource"].get("focus", {}).get("identifier", {}).get("value") == "LIS-1"
            ]

        await here.lis.order([TSH], at=AT)
        await until(lambda: own() == ["accepted"])
        await here.lis.order([TSH], "hold", at=AT)
        await until(lambda: own() == ["accepted", "on-hold"])
        assert [one.state for one in items(here.site.journal, ItemFilter())] == ["held"]
        await here.lis.order([TSH], "release", at=AT)
        await until(lambda: own() == ["accepted", "on-hold", "accepted"])
        assert [one.state for one in items(here.site.journal, ItemFilter())] == ["waiting"]


async def test_a_cancel_that_comes_too_late_says_so_and_opens_nothing(tmp_path: Path) -> None:
    async with laboratory(tmp_path) as here, asking(here.site.port("chemistry")) as analyzer:
        await here.lis.order([TSH], at=AT)
        await here.becomes("accepted")
        await analyzer.ask(question("00042"))
        await analyzer.send(result("00042", "SIM-1", "TSH3", "1.20"))
        await here.becomes("completed")
        await here.lis.order([TSH], "cancel", at=AT)
        coded = {"coding": [{"system": STATUS, "code": "completed"}]}
        found = await here.becomes("cancelled", businessStatus=coded)
        assert "too late: its result is there" in found["statusReason"]["text"]
        await here.idle()
        assert await here.statuses() == ["requested", "accepted", "completed", "cancelled", "cancelled"]
        ends = here.site.ends("news")
        assert set(ends) == {"delivered"}, ends


async def test_without_the_key_no_task_of_the_laboratory_system_is_changed(tmp_path: Path) -> None:
    async with laboratory(tmp_path, tasks="keep") as here:
        await here.lis.order([TSH], at=AT)
        await until(lambda: here.site.ends("news") == ["delivered"])
        await here.idle()
        assert await here.statuses() == ["requested"]
