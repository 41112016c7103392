"""An engineer's day: an unknown analyzer, from nothing to its first LOINC result delivered, in the browser alone."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.actions.control import SOCKET_NAME, call
from engine.diagnostics.lines.rows import IDLE_S
from engine.features.access.service.service import AccessService
from engine.model.errors import RefusedError, UnreachableError
from engine.model.journal.journal_views import Filter
from engine.model.site.actor import Actor
from engine.runtime.app import App
from engine.store.queries.acts import acts_page
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import stored_message
from tests.support.access import GOOD, Browser
from tests.support.astm_peer import one_record_a_frame, session
from tests.support.command_line import labrelay
from tests.support.packages import CHECKOUT
from tests.support.ports import quiet_ports
from tests.support.running import QUICK, make_running_site, running_app
from tests.support.senders import AstmAnalyzer, send_blocks
from tests.support.serial_peers import Cable
from tests.support.status_server import Element
from tests.support.waiting import until
from workbench.sandbox import Sandbox

ROOT = Actor("root", role="root")
PEOPLE = (
    ("esther", "engineer", True),
    ("ravi", "engineer", False),
    ("asha", "operator", True),
    ("eva", "engineer", True),
)
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

    @property
    def base(self) -> str:
        assert self.app.page is not None
        return f"http://127.0.0.1:{self.app.page.port}"

    @asynccontextmanager
    async def browser(self, name: str = "esther") -> AsyncIterator[Browser]:
        async with aiohttp.ClientSession(self.base, cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
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
        traces = (
            trace_of(self.app.journal, one.id) for one in messages_page(self.app.journal, Filter(channel=channel))
        )
        return [one.state for trace in traces if trace is not None for one in trace.deliveries]

    def newest(self, channel: str) -> int:
        return messages_page(self.app.journal, Filter(channel=channel))[0].id

    def port(self, channel: str) -> int:
        port = self.app.parts.sources[channel].port
        assert port is not None
        return port

    async def at_his(self, loinc: str) -> list[float]:
        """The values that the server has under a LOINC code."""
        query = {"code": f"http://loinc.org|{loinc}"}
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{self.sandbox.url}/Observation", params=query) as answer,
        ):
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
    given = {
        "how": "listen",
        "address": "127.0.0.1",
        "baud": "9600",
        "bytesize": "8",
        "parity": "none",
        "stopbits": "1",
    }
    return await browser.send("/add/new?lang=en", "listen", called=called, **{**given, **typed})


async def test_from_nothing_to_the_first_loinc_result(lab: Laboratory, cable: Cable) -> None:
    async with lab.browser() as browser, lab.browser("asha") as operator:
        for one, leads in ((browser, 1), (operator, 0)):
            _, page = await one.get("/?lang=en")
            links = [link for link in page.one("main").all("a") if link.attributes["href"].startswith("/add?")]
            assert len(links) == leads  # the overview of a site without analyzers
        _, page = await browser.get("/add?lang=en")
        assert "Welcome" in said(page)
        assert "city-his" in said(page)

        status, page = await listen(browser, "Chemistry 5", how="device", device=cable.path)
        assert status == 200, said(page)
        assert browser.path == "/add/chemistry-5/recognise"
        assert "Nothing came yet" in said(page)

        await lab.is_quiet("chemistry-5")
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
        assert {("13.4", "13.4"), ("S-17", "S-17"), ("4711", "4711")} <= rows
        assert ("HGB", "718-7 Hemoglobin [Mass/volume] in Blood") in rows
        message, file = page.one("main").all("details")[-2:]
        assert "HGB;13,4;g/dL" in message.text  # what a layout has read, it shows with a point
        assert "draft" not in file.text
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


# -- what must never happen ------------------------------------------------------------------------------------------

XN = (
    b"H|\\^&|||XN-350^11\rP|1||4711\rO|1||S-20^^^^\rR|1|^^^^WBC^1|5.1|10*3/uL||N||F||||20261127101500\r"
    b"R|2|^^^^HGB^1|13.4|g/dL||N||F||||20261127101500\rL|1|N\r"
)
HL7 = b"MSH|^~\\&|LAB||||20261127||ORU^R01|4711|P|2.5\rPID|1||4711\rOBR|1||F1|CBC\rOBX|1|NM|WBC||5.1|10*3/uL|||||F\r"


async def over_tcp(lab: Laboratory, browser: Browser, called: str = "Haematology") -> tuple[str, int]:
    (port,) = quiet_ports(1)
    status, page = await listen(browser, called, port=str(port))
    assert status == 200, said(page)
    name = browser.path.split("/")[2]
    await until(lambda: lab.app.parts.sources[name].port == port)
    return name, port


async def send_text(lab: Laboratory, name: str, data: bytes) -> None:
    """A text ends with a silence; the end of a connection may have cut it off."""
    before = len(lab.texts(name))
    _, writer = await asyncio.open_connection("127.0.0.1", lab.port(name))
    writer.write(data)
    await lab.came(name, before + 1)
    writer.close()
    await writer.wait_closed()


async def recognise(browser: Browser, name: str, **typed: str) -> tuple[int, Element]:
    path = f"/add/{name}/recognise?lang=en"
    _, page = await browser.get(path)
    chosen = {one.attributes["name"]: value(one) for one in page.one("main").all("select")}
    return await browser.send(path, "recognise", **{**chosen, **typed})


async def test_a_draft_keeps_all_that_comes_and_sends_nothing_until_a_person_says_so(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, port = await over_tcp(lab, browser)
        await AstmAnalyzer(port).play(session(*one_record_a_frame(XN)))
        assert await send_blocks(port, [HL7])  # it is answered: it is in the journal
        await send_text(lab, name, b"Unit 3 is ready\r\n")
        await lab.came(name, 3)
        assert lab.texts(name) == [XN, HL7, b"Unit 3 is ready\r\n"]

        status, page = await recognise(browser, name, analyzer="sysmex-xn")
        assert status == 200, said(page)
        await AstmAnalyzer(lab.port(name)).play(session(*one_record_a_frame(XN)))
        await lab.came(name, 4)
        assert lab.deliveries(name) == []
        assert {one.reason for one in messages_page(lab.app.journal, Filter(channel=name))} == {"DRAFT"}
        assert (lab.folder / "channels" / f"{name}.yaml").read_text().count("draft: true") == 1

        status, page = await browser.send(f"/add/{name}/first?lang=en", "start")
        assert (status, lab.deliveries(name)) == (400, [])  # not compared
        assert "Compare it with the screen" in said(page)
        await browser.send(f"/add/{name}/first?lang=en", "start", compared="yes")

        # The same result once more is no repeat: nothing of the first one went anywhere.
        await AstmAnalyzer(lab.port(name)).play(session(*one_record_a_frame(XN)))
        await until(lambda: lab.deliveries(name) == ["delivered"], 60)
        _, page = await browser.get(f"/add?started={name}&lang=en")
        (before,) = [one for one in page.one("main").all("a") if "affected" in one.attributes["href"]]
        _, page = await browser.get(before.attributes["href"])
        assert "Affected results: 0" not in said(page), said(page).encode()[300:2000]


async def test_what_came_in_a_draft_can_be_sent_later(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, port = await over_tcp(lab, browser)
        await AstmAnalyzer(port).play(session(*one_record_a_frame(XN)))
        await lab.came(name, 1)
        await recognise(browser, name, analyzer="sysmex-xn")
        await browser.send(f"/add/{name}/first?lang=en", "start", compared="yes")
        assert lab.deliveries(name) == []
        unsent = "messages that came while it was being added, and were not sent: 1"
        await shown(browser, unsent)  # they were acknowledged
        ran = await asyncio.to_thread(
            labrelay,
            "reprocess",
            "--channel",
            name,
            "--since",
            "1d",
            "--apply",
            "--reason",
            "of today",
            "--yes",
            site=lab.folder,
        )
        assert ran.code == 0, ran.err
        await until(lambda: lab.deliveries(name) == ["delivered"], 60)
        assert await lab.at_his("6690-2") == [5.1]
        await shown(browser, unsent, is_there=False)


async def shown(browser: Browser, words: str, *, is_there: bool = True) -> None:
    """Wait until the overview has these words, or has them no more."""
    async with asyncio.timeout(60):
        while (words in said((await browser.get("/?lang=en"))[1])) is not is_there:
            pass


async def test_results_that_share_a_code_stop_the_way(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, port = await over_tcp(lab, browser)
        await AstmAnalyzer(port).play(session(*one_record_a_frame(SHARED)))
        await lab.came(name, 1)
        await recognise(browser, name)
        _, page = await browser.get(f"/add/{name}/codes?lang=en")
        assert "Results of one order share a code" in said(page)
        assert "GLU, NA" in said(page)
        assert not [one for one in page.one("main").all("button") if one.text.startswith("Take it")]
        _, page = await browser.get(f"/add/{name}/first?lang=en")
        assert "Results of one order share a code. Code: 1" in said(page)
        assert not [one for one in page.one("main").all("button") if one.text.startswith("Start")]
        assert "draft: true" in (lab.folder / "channels" / f"{name}.yaml").read_text()

        _, page = await browser.send(f"/add/{name}/codes?lang=en", "part")
        assert "share a code" not in said(page)
        rows = [one.all("th")[0].text for one in page.one("main").all("tr") if one.all("th", scope="row")]
        assert rows == ["GLU", "NA"]
        assert 'test_code: "1"' in (lab.folder / "channels" / f"{name}.yaml").read_text()


async def test_a_second_analyzer_never_takes_the_name_or_the_port_of_another(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, port = await over_tcp(lab, browser)
        before = (lab.folder / "channels" / f"{name}.yaml").read_text()
        (other,) = quiet_ports(1)
        status, page = await listen(browser, "haematology", port=str(other))
        assert (status, "already" in said(page)) == (403, True)
        status, page = await listen(browser, "Chemistry", port=str(port))
        assert (status, "is taken" in said(page)) == (403, True)
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", other)
        async with server:
            status, page = await listen(browser, "Chemistry", port=str(other))
            assert (status, f"port {other} is taken by another program" in said(page).lower()) == (403, True)
        for typed in ({"port": "0"}, {"port": "x"}, {"called": "चौथा"}):
            status, _ = await listen(browser, **{"called": "Chemistry", "port": str(other), **typed})
            assert status == 403
        assert [one.name for one in (lab.folder / "channels").iterdir()] == [f"{name}.yaml"]
        assert (lab.folder / "channels" / f"{name}.yaml").read_text() == before


async def test_two_persons_do_not_write_over_each_other(lab: Laboratory) -> None:
    async with lab.browser() as browser, lab.browser("eva") as other:
        name, port = await over_tcp(lab, browser)
        await AstmAnalyzer(port).play(session(*one_record_a_frame(XN)))
        await lab.came(name, 1)
        action, seen = await other.fields(f"/add/{name}/recognise?lang=en", "recognise")
        await recognise(browser, name, analyzer="sysmex-xn")
        text = (lab.folder / "channels" / f"{name}.yaml").read_text()
        status, page = await other.post(action, seen | {"decimal": "."})
        assert (status, "Another person has changed this draft" in said(page)) == (403, True)
        assert (lab.folder / "channels" / f"{name}.yaml").read_text() == text
        both = await asyncio.gather(
            *(one.send(f"/add/{name}/first?lang=en", "start", compared="yes") for one in (browser, other))
        )
        assert sorted(status for status, _ in both) == [200, 403]
        assert lab.acts().count("draft-start") == 1


async def test_what_was_left_of_another_draft_is_not_taken_over(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        left = lab.folder / "mappings" / "tables" / "chemistry.csv"
        left.parent.mkdir(parents=True)
        left.write_text("code,unit_in,loinc\nHGB,g/dL,2345-7\n")
        assert (await lab.app.reload()).channels == {}
        status, page = await listen(browser, "Chemistry", port=str(quiet_ports(1)[0]))
        assert (status, "already" in said(page)) == (403, True)


async def test_a_layout_of_a_pack_keeps_its_name(lab: Laboratory) -> None:
    """One of the same name in the site's own folder would take its place, for all channels that use it."""
    pack = shutil.copytree(CHECKOUT / "analyzers" / "sysmex-xn", lab.folder / "analyzers" / "chemistry")
    shutil.copy(CHECKOUT / "layouts" / "siemens-rapidlab-348.yaml", pack / "layout.yaml")
    assert (await lab.app.reload()).channels == {}
    async with lab.browser() as browser:
        status, page = await listen(browser, "Chemistry", port=str(quiet_ports(1)[0]))
        assert (status, "already" in said(page)) == (403, True)


async def test_a_busy_analyzer_does_not_keep_a_person_from_starting(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, port = await over_tcp(lab, browser)
        await AstmAnalyzer(port).play(session(*one_record_a_frame(XN)))
        await lab.came(name, 1)
        await recognise(browser, name, analyzer="sysmex-xn")
        action, seen = await browser.fields(f"/add/{name}/first?lang=en", "start")
        await AstmAnalyzer(lab.port(name)).play(session(*one_record_a_frame(XN)))
        await lab.came(name, 2)
        assert (await browser.post(action, seen | {"compared": "yes", "message": "1"}))[0] == 403
        assert (await browser.post(action, seen | {"compared": "yes"}))[0] == 200


async def test_files_that_another_person_edits_do_not_come_into_force_with_a_draft(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        (lab.folder / "channels" / "half-done.yaml").write_text("channel: half-done\n")
        status, page = await listen(browser, "Chemistry", port=str(quiet_ports(1)[0]))
        assert (status, "not reloaded" in said(page)) == (403, True)
        assert not (lab.folder / "channels" / "chemistry.yaml").exists()


async def test_a_code_that_cannot_be_is_refused(lab: Laboratory) -> None:
    async with lab.browser() as browser:
        name, _ = await over_tcp(lab, browser)
        await send_text(lab, name, ROWS)
        times = {"column-time": "When", "time": "%Y-%m-%d %H:%M:%S"}
        for wrong in ({"column-test": ""}, {"column-unit": "Result"}, {"time": "%d/%m/%Y %H:%M"}, {"decimal": ""}):
            status, page = await recognise(browser, name, **{**times, **wrong})
            assert (status, "The columns do not fit" in said(page)) == (403, True), wrong
        await recognise(browser, name, **times)
        path = f"/add/{name}/code?lang=en&code=HGB&unit=g/dL"
        for loinc, why in (("6690-2", "mean"), ("718-8", "check digit"), ("14749-6", "table of terms")):
            status, page = await browser.send(path, "own", loinc=loinc, display="", to=f"/add/{name}/code")
            assert (status, why in said(page)) == (403, True), said(page)
        assert "LIPX" not in (lab.folder / "mappings" / "tables" / f"{name}.csv").read_text()


async def test_who_may_do_what(lab: Laboratory) -> None:
    async with lab.browser() as browser, lab.browser("asha") as operator, lab.browser("ravi") as blind:
        name, _ = await over_tcp(lab, browser)
        await send_text(lab, name, ROWS)
        await recognise(browser, name, **{"column-time": "When", "time": "%Y-%m-%d %H:%M:%S"})
        for path in ("/add", "/add/new", f"/add/{name}/codes", f"/add/{name}/first"):
            assert (await operator.get(f"{path}?lang=en"))[0] == 403
        for step in ("recognise", "codes", "first"):
            status, page = await blind.get(f"/add/{name}/{step}?lang=en")
            assert status == 200
            assert not {"4711", "S-17", "13.4", "13,4"} & set(said(page).replace(";", " ").split()), step
        assert not [one for one in page.one("main").all("button") if "Start" in one.text]
        _, fields = await browser.fields(f"/add/{name}/first?lang=en", "start")
        assert (await blind.post(f"/add/{name}/first?lang=en", fields | {"compared": "yes"}))[0] == 403
        assert lab.acts().count("unmask") == 1  # each person's look is noted once
        assert (await browser.get("/add/none/codes?lang=en"))[0] == 403


async def test_a_half_done_draft_goes_on_after_a_kill(tmp_path: Path) -> None:
    folder = make_running_site(tmp_path / "site", {}, {"out": {"kind": "file", "folder": "out"}})
    (port,) = quiet_ports(1)
    daemon: asyncio.subprocess.Process | None = None

    def give(verb: str, **args: Any) -> dict[str, Any]:
        return call(folder / "var" / SOCKET_NAME, verb, args, timeout=60.0)

    async def given(verb: str, **args: Any) -> dict[str, Any]:
        return await asyncio.to_thread(give, verb, **args)

    async def started() -> None:
        nonlocal daemon
        await kill()
        daemon = await asyncio.create_subprocess_exec(sys.executable, "-m", "engine", "--site", str(folder), "run")
        await until(is_up, 240.0)

    async def kill() -> None:
        if daemon is not None:
            daemon.kill()
            await daemon.wait()

    def is_up() -> bool:
        try:
            return bool(give("draft_look", name="none", step="first"))
        except UnreachableError:
            return False
        except RefusedError:
            return True

    try:
        await started()
        where = f"127.0.0.1:{port}"
        made = await given("draft_listen", called="Chemistry 5", how="listen", where=where)
        assert (await AstmAnalyzer(port).play(session(*one_record_a_frame(XN)))).acknowledged
        await started()
        seen = await given("draft_look", name="chemistry-5", step="recognise")
        assert (seen["version"], seen["messages"], seen["pack"]) == (made["version"], 1, "sysmex-xn")
        # The record of the line is lost with a process; the frames are in the journal.
        assert {one["name"]: (one["value"], one["sure"]) for one in seen["parts"]}["framing"] == ("e1381", "sure")
        made = await given("draft_recognise", name="chemistry-5", version=seen["version"], analyzer="sysmex-xn")
        await started()
        seen = await given("draft_look", name="chemistry-5", step="first", contents=True)
        assert seen["version"] == made["version"]
        assert not list((folder / "out").glob("*"))
        args = {"version": seen["version"], "message": seen["first"]["message"]}
        await given("draft_start", name="chemistry-5", **args)
        await started()
        assert (await AstmAnalyzer(port).play(session(*one_record_a_frame(XN)))).acknowledged
        await until(lambda: len(list((folder / "out").glob("*"))) == 1, 60)
    finally:
        await kill()
