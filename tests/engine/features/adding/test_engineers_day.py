"""An engineer's day: an unknown analyzer, from nothing to its first LOINC result delivered, in the browser alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.diagnostics.lines.rows import IDLE_S
from engine.features.access.service.service import AccessService
from engine.model.journal.journal_views import Filter
from engine.model.site.actor import Actor
from engine.runtime.app import App
from engine.store.queries.acts import acts_page
from engine.store.queries.contents import stored_message
from engine.store.queries.messages import messages_page, trace_of
from tests.support.access import GOOD, Browser
from tests.support.astm_peer import one_record_a_frame, session
from tests.support.ports import quiet_ports
from tests.support.running import QUICK, make_running_site, running_app
from tests.support.senders import AstmAnalyzer
from tests.support.serial_peers import Cable
from tests.support.status_server import Element
from tests.support.waiting import until
from workbench.sandbox import Sandbox

ROOT = Actor("root", role="root")
PEOPLE = (("esther", "engineer", True), ("ravi", "engineer", False), ("asha", "operator", True), ("eva", "engineer", True))
ROWS = (
    b"Sample ID;Patient;Test;Result;Unit;When;Rack\r\n"
    b"S-17;4711;HGB;13,4;g/dL;2026-11-27 10:15:00;3\r\n"
    b"S-17;4711;GLU;98,5;mg/dL;2026-11-27 10:15:00;3\r\n"
    b"S-17;4711;LIPX;12;;2026-11-27 10:15:00;3\r\n"
)
NEXT = ROWS.replace(b"S-17", b"S-18").replace(b"13,4", b"9,8").replace(b"98,5", b"101,5")
SHARED = b"H|\\^&|||One^1\rP|1||4711\rO|1|S1\rR|1|GLU^^^1|5.6|mmol/L\rR|2|NA^^^1|142|mmol/L\rL|1|N\r"


@dataclass
class Laboratory:
    app: App
    sandbox: Sandbox
    folder: Path

    @asynccontextmanager
    async def browser(self, name: str = "esther") -> AsyncIterator[Browser]:
        assert self.app.page is not None
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.app.page.port}", cookie_jar=jar) as client:
            browser = Browser(client)
            await browser.log_in(name)
            yield browser

    def texts(self, channel: str) -> list[bytes]:
        found = messages_page(self.app.journal, Filter(channel=channel))
        return [stored_message(self.app.journal, one.id).payload for one in reversed(found)]

    async def came(self, channel: str, count: int) -> None:
        await until(lambda: len(messages_page(self.app.journal, Filter(channel=channel))) >= count, 60)

    async def is_quiet(self, channel: str) -> None:
        """Until its line has been open, and silent, for so long that a text which begins now is a whole one."""
        source, clock = self.app.parts.sources[channel], self.app.clock
        await until(
            lambda: any(clock.monotonic() - one.opened > 2 * IDLE_S for one in source.channel.connections.values()), 60
        )

    def deliveries(self, channel: str) -> list[str]:
        traces = (trace_of(self.app.journal, one.id) for one in messages_page(self.app.journal, Filter(channel=channel)))
        return [one.state for trace in traces if trace is not None for one in trace.deliveries]

    async def at_his(self, loinc: str) -> list[float]:
        """The values that the server has under a LOINC code."""
        query = {"code": f"http://loinc.org|{loinc}"}
        async with aiohttp.ClientSession() as client, client.get(f"{self.sandbox.url}/Observation", params=query) as answer:
            found = await answer.json(content_type=None)
        return [float(one["resource"]["valueQuantity"]["value"]) for one in found.get("entry", ())]

    def acts(self) -> list[str]:
        return [act.verb for act in acts_page(self.app.journal)]


@asynccontextmanager
async def laboratory(folder: Path) -> AsyncIterator[Laboratory]:
    sandbox = Sandbox()
    await sandbox.start()
    try:
        fhir: dict[str, Any] = {"kind": "fhir", "url": sandbox.url, **QUICK}
        make_running_site(folder, {}, {"city-his": fhir}, web="127.0.0.1:0")
        async with running_app(folder, own_tables=True) as app:
            for name, role, sees in PEOPLE:
                await app.service(AccessService).accounts.users.add(name, role, GOOD, by=ROOT, sees_patients=sees)
            yield Laboratory(app, sandbox, folder)
    finally:
        await sandbox.stop()


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path / "site") as made:
        yield made


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    yield made
    made.close()


def said(page: Element) -> str:
    return page.one("main").text


async def listen(browser: Browser, called: str, **typed: str) -> tuple[int, Element]:
    given = {"how": "listen", "address": "127.0.0.1", "baud": "9600", "bytesize": "8", "parity": "none", "stopbits": "1"}
    return await browser.send("/add/new?lang=en", "listen", called=called, **{**given, **typed})


async def test_from_nothing_to_the_first_loinc_result(lab: Laboratory, cable: Cable) -> None:
    async with lab.browser() as browser:
        _, page = await browser.get("/add?lang=en")
        assert "Welcome" in said(page)
        assert "city-his" in said(page)

        status, page = await listen(browser, "Chemistry 5", how="device", device=cable.path)
        assert status == 200, said(page)
        assert browser.path == "/add/chemistry-5/recognise"
        assert "Nothing came yet" in said(page)

        await cable.send(ROWS)
        await lab.came("chemistry-5", 1)
        assert lab.texts("chemistry-5") == [ROWS]

        _, page = await browser.get("/add/chemistry-5/recognise?lang=en")
        assert "rows of 7 cells" in said(page)
        chosen = {one.attributes["name"]: value(one) for one in page.one("main").all("select")}
        assert chosen["column-specimen"] == "Sample ID"
        assert chosen["column-time"] == ""  # no usual word is above it: a person says so
        assert chosen["decimal"] == ","
        chosen |= {"column-time": "When", "time": "%Y-%m-%d %H:%M:%S", "controls": "QC"}
        status, page = await browser.send("/add/chemistry-5/recognise?lang=en", "recognise", **chosen)
        assert (status, browser.path) == (200, "/add/chemistry-5/codes"), said(page)

        row = {one.all("th")[0].text: one.text for one in page.one("main").all("tr") if one.all("th", scope="row")}
        assert "13.4 g/dL" in row["HGB"]
        assert "718-7" in row["HGB"]
        assert "nothing fits" in row["LIPX"]
        assert "chosen" not in row["HGB"]  # no code has a meaning before a person says so
        await choose(browser, "HGB", "718-7")
        await choose(browser, "GLU", "2345-7", unit="mg/dL", search="glucose serum mass")
        _, page = await browser.get("/add/chemistry-5/codes?lang=en")
        assert "chosen: 2 / 3" in said(page)
        assert lab.deliveries("chemistry-5") == []

        _, page = await browser.get("/add/chemistry-5/first?lang=en")
        rows = {tuple(cell.text for cell in one.all("td"))[:2] for one in page.one("main").all("tr")}
        assert {("HGB", "718-7"), ("13.4", "13.4"), ("S-17", "S-17"), ("4711", "4711"), ("GLU", "2345-7")} <= rows
        assert "draft" not in page.one("main").one("details").text
        status, page = await browser.send("/add/chemistry-5/first?lang=en", "start", compared="yes")
        assert (status, browser.path.partition("?")[0]) == (200, "/add"), said(page)

        await lab.is_quiet("chemistry-5")
        await cable.send(NEXT)
        await until(lambda: lab.deliveries("chemistry-5") == ["delivered"], 60)
        assert await lab.at_his("718-7") == [9.8]
        assert await lab.at_his("2345-7") == [101.5]

        assert {"draft-listen", "draft-recognise", "draft-codes", "draft-start", "unmask"} <= {*lab.acts()}


def value(select: Element) -> str:
    chosen = [one for one in select.all("option") if "selected" in one.attributes]
    return chosen[0].attributes.get("value", "") if chosen else ""


async def choose(browser: Browser, code: str, loinc: str, *, unit: str = "g/dL", search: str = "") -> None:
    """Press *Take it* beside a term, on the page about the code."""
    path = f"/add/chemistry-5/code?lang=en&code={code}&unit={unit}&search={search}"
    _, page = await browser.get(path)
    for form in page.one("main").all("form", method="post"):
        hidden = {one.attributes["name"]: one.attributes["value"] for one in form.all("input", type="hidden")}
        if any(row["loinc"] == loinc for row in json.loads(hidden.get("rows", "[]"))):
            status, page = await browser.post(form.attributes["action"], hidden | {"act": "choose"})
            assert (status, browser.path) == (200, "/add/chemistry-5/codes"), said(page)
            return
    raise AssertionError(f"{loinc} is not offered: {said(page)}")
