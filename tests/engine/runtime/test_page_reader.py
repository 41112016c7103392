"""Pages drawn by the process of their own are those that the daemon draws, and its end is no trouble of a reader."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson
import pytest

from engine.actions.verbs import all_acts
from engine.features.access.service.service import AccessService
from engine.model.errors import ElsewhereError, LabRelayError
from engine.model.journal.journal_views import Filter
from engine.model.site.permissions import ACTING, LOOKING, SEEING_PATIENTS, WATCHING, Permission
from engine.runtime.large import process as large_process
from engine.runtime.large.wire import Decoder, Pipe
from engine.runtime.observing import observe
from engine.runtime.reader import child, process
from engine.runtime.reader.process import PageReader
from engine.store.queries.acts import acts_page
from engine.store.queries.bulk import operations_page
from engine.store.queries.messages import messages_page
from engine.web.apart import QUESTIONS
from engine.web.api import service
from engine.web.running import Ask
from tests.engine.web.test_units import ABOUT, ROOT, UNITS, Laboratory, addresses, filled, results, two_units
from tests.faults.test_large_kill import alive
from tests.support.access import GOOD, Browser
from tests.support.live import Daemon
from tests.support.running import eager_reader, hl7_channel, make_running_site, running_app
from tests.support.senders import lines, send_blocks
from tests.support.waiting import until

START_S = 120.0
ALL_OF_UNIT = LOOKING | ACTING | SEEING_PATIENTS
EACH_TIME = re.compile(
    rb'name="once" value="[0-9a-f]{32}"|"trace_id":"[0-9a-f]{16}"|&#34;counted_us&#34;:\d+'
    rb'|(?:ends |ending-at">)\d\d:\d\d'
)


Whole = tuple[int, dict[str, str], bytes]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Laboratory]:
    units = {unit: [f"{unit}bench", f"{unit}tubes"] for unit in UNITS}
    async with two_units(tmp_path, units, apart=True) as made:
        yield made


def reader_of(here: Laboratory) -> PageReader:
    assert here.app.reader is not None
    return here.app.reader


async def ready(here: Laboratory, http: aiohttp.ClientSession) -> None:
    async with http.get("/messages") as answer:
        assert answer.status == 200
    await until(lambda: reader_of(here).ready, START_S)


async def whole(http: aiohttp.ClientSession, method: str, address: str) -> Whole:
    plain = {"Accept-Encoding": "identity"}
    async with http.request(method, address, allow_redirects=False, headers=plain) as answer:
        body = await answer.read()
        without = {"Date", "X-Trace-Id", *(["Etag"] if EACH_TIME.search(body) or method == "HEAD" else [])}
        headers = {name: value for name, value in answer.headers.items() if name not in without}
        return answer.status, headers, EACH_TIME.sub(b"", body)


def differing(there: Whole, own: Whole) -> object:
    """Where two answers are not the same."""
    if there[:2] != own[:2]:
        return there[0], own[0], set(there[1].items()) ^ set(own[1].items())
    at = next(at for at, (one, other) in enumerate(zip(there[2], own[2], strict=False)) if one != other)
    return there[2][max(0, at - 80) : at + 80], own[2][max(0, at - 80) : at + 80]


@pytest.fixture
def eager() -> Iterator[None]:
    with eager_reader():
        yield


@pytest.mark.usefixtures("eager")
async def test_each_page_is_the_one_that_the_daemon_draws(here: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.Buckets, "take", lambda *asked: 0.0)
    monkeypatch.setattr(process, "ANSWER_S", START_S)
    reader, page = reader_of(here), here.page
    drawn: list[bool] = []
    draw = reader.draw

    async def counted(*asked: object) -> object:
        drawn.append((answer := await draw(*asked)) is not None)
        return answer

    asked, tell = set[str](), reader._tell

    async def told(pipe: Pipe, number: int, question: int, kind: str, *more: Any, content: bytes) -> None:
        asked.add(kind)
        await tell(pipe, number, question, kind, *more, content=content)

    monkeypatch.setattr(reader, "draw", counted)
    monkeypatch.setattr(reader, "_tell", told)
    async with AsyncExitStack() as stack:
        person = Browser(
            await stack.enter_async_context(aiohttp.ClientSession(here.base, cookie_jar=aiohttp.CookieJar(unsafe=True)))
        )
        assert (await person.log_in("root-admin"))[0] == 200
        clients = {"person": person.client}
        for name, units, may in (
            ("unit", ("alpha",), LOOKING),
            ("acts", ("alpha",), ALL_OF_UNIT),
            ("wall", (), WATCHING),
        ):
            jar = aiohttp.CookieJar(unsafe=True)
            bearer = {"Authorization": f"Bearer {await here.token(name, *units, may=may)}"}
            clients[name] = await stack.enter_async_context(
                aiohttp.ClientSession(here.base, headers=bearer, cookie_jar=jar)
            )
        await ready(here, clients["acts"])
        await page_of(clients["acts"], "/do/retry?all=1")  # which gives a browser its secret
        await operation(here, clients["acts"])
        for name in ("REFRESH_S", "KEPT_S"):  # one snapshot for both
            monkeypatch.setattr(observe, name, 1e9)
        wrong, elsewhere = [], set()
        for (path, method), route in page.routes.items():
            if not route.may_go or (method == "HEAD" and path not in ("/", "/messages")):
                continue
            if path.startswith("/help"):  # each of the two makes all of it first, giving way to the other tests
                continue
            for who, http in clients.items():
                for address in addresses(path, here, "alpha"):
                    drawn.clear()
                    there = await whole(http, method, address)
                    if drawn == [False]:
                        elsewhere.add((path, who))
                    monkeypatch.setattr(page, "_apart", None)
                    own = await whole(http, method, address)
                    monkeypatch.setattr(page, "_apart", reader)
                    if there != own:
                        wrong.append((method, address, who, drawn, differing(there, own)))
        refused = "/operations/{number}"  # of what is no operation of the unit: a row of the audit trail
        assert elsewhere == {(refused, "unit"), (refused, "acts")}
        assert asked == {"channel", "destination", "look", "purpose", "give"}
        assert not wrong, "\n".join(map(str, wrong))


async def operation(here: Laboratory, http: aiohttp.ClientSession) -> None:
    """One that has ended, of the unit alpha."""
    given = {"selection": {"channel": "alphabench", "all": True}, "reason": "a walk"}
    address = "/api/v1/acts/retry"
    async with http.post(address, json={**given, "dry_run": True}) as answer:
        counted = await answer.json()
    given["selection"] |= {name: counted[name] for name in ("last", "counted_us")}  # type: ignore[operator]
    async with http.post(address, json=given, headers={"Idempotency-Key": "walk"}) as answer:
        here.numbers["alpha"].append((await answer.json())["operation"])
    await until(lambda: [one.stage for one in operations_page(here.app.journal)] == ["ended"])


async def tells_of(here: Laboratory, monkeypatch: pytest.MonkeyPatch, http: aiohttp.ClientSession) -> Ask:
    """What answers the questions of the process that draws, for a request of ``http``."""
    caught: list[Ask] = []

    async def draw(*asked: Any) -> None:
        caught.append(asked[-1])

    with monkeypatch.context() as patched:
        patched.setattr(reader_of(here), "draw", draw)
        await page_of(http)
    return caught[0]


def kept(here: Laboratory) -> object:
    """What an act would change."""
    journal = here.app.journal
    return [one.id for one in acts_page(journal)], [(one.id, one.state) for one in messages_page(journal, Filter())]


async def test_it_is_told_no_act_but_a_dry_run_of_who_may_give_it(
    here: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    dry = list[str]()
    async with here.client(await here.token("all", may=frozenset(Permission))) as http:
        tell = await tells_of(here, monkeypatch, http)
        before = kept(here)
        for name, act in all_acts().items():
            args = filled(ABOUT.get(name, {}), here, "alpha")
            for wrong in ({}, {"dry_run": False}, {"dry_run": 1}, {"dry_run": "true"}, {"dry_run": None}):
                if name not in QUESTIONS:
                    with pytest.raises(ElsewhereError):
                        await tell("give", name, {**args, **wrong})
            if "dry_run" in act.arguments.model_fields:
                with suppress(LabRelayError):
                    await tell("give", name, {**args, "dry_run": True})
                    dry.append(name)
            elif name not in QUESTIONS:
                with pytest.raises(ElsewhereError):
                    await tell("give", name, {**args, "dry_run": True})
        for no_question in (("log_in", "root-admin"), ("channel", 1), ("give", "none", {"dry_run": True}), ()):
            with pytest.raises(ElsewhereError):
                await tell(*no_question)
        assert {"release", "retry", "dismiss", "reload"} <= set(dry)
        assert kept(here) == before
    release = {"selection": {"all": True}, "reason": "seen", "dry_run": True}
    async with here.client(await here.token("looks", may=LOOKING)) as http:
        tell = await tells_of(here, monkeypatch, http)
        assert await tell("give", "operation_waits", {"number": 1}) == {"waits": ""}
        with pytest.raises(ElsewhereError):
            await tell("give", "release", release)
    async with here.client(await here.token("acts", "alpha", may=ALL_OF_UNIT)) as http:
        tell = await tells_of(here, monkeypatch, http)
        assert (await tell("give", "release", release))["channels"] == ["alphabench"]


async def test_what_it_asks_for_a_sender_who_is_gone_is_dropped(here: Laboratory) -> None:
    def looks() -> int:
        return sum(one.verb == "unmask" for one in acts_page(here.app.journal, limit=500))

    reader, message = reader_of(here), here.numbers["alpha"][0]
    async with here.client(await here.token("sees", may=LOOKING | SEEING_PATIENTS)) as http:
        await ready(here, http)
        os.kill(pid_of(here), signal.SIGSTOP)
        asked = asyncio.create_task(http.get(f"/messages/{message}"))
        await until(lambda: bool(reader._under_way))
        ((answered, tell),) = reader._under_way.values()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await until(lambda: cast(Any, tell).args[1].transport is None)
        os.kill(pid_of(here), signal.SIGCONT)
        await until(lambda: not reader._under_way, START_S)
        assert answered.result().kind == "elsewhere"
        assert looks() == 0
        await page_of(http, f"/messages/{message}")
        assert (looks(), reader.ready) == (1, True)


@asynccontextmanager
async def small_site(folder: Path) -> AsyncIterator[Laboratory]:
    """One analyzer, a page, and an admin."""
    destinations = {"lab-fhir": {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"}}
    make_running_site(folder, {"lab": hl7_channel()}, destinations, web="127.0.0.1:0")
    async with running_app(folder, apart=True) as app:
        assert app.page is not None
        yield Laboratory(app, f"http://127.0.0.1:{app.page.port}")


async def page_of(http: aiohttp.ClientSession, path: str = "/messages") -> str:
    async with http.get(path) as answer:
        assert answer.status == 200, path
        return await answer.text()


async def acknowledged(here: Laboratory) -> None:
    port = here.app.parts.sources["lab"].port
    assert port is not None
    (answer,) = await send_blocks(port, [results("alpha", 1)])
    assert lines(answer)["MSA"][1] == "AA"


def pid_of(here: Laboratory) -> int:
    pid = reader_of(here).pid
    assert pid is not None
    return pid


# How it ends, and whether a request is under way then: in each case a reader gets the page, an analyzer its
# acknowledgement, a prober the truth, and another process draws the next page.
ENDS = [("killed", False), ("killed", True), ("stopped", False), ("stopped", True)]


@pytest.mark.parametrize(("how", "amid"), ENDS)
async def test_its_end_is_no_trouble_of_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, amid: bool
) -> None:
    monkeypatch.setattr(large_process, "PING_S", 0.5)
    async with small_site(tmp_path) as here, here.client() as http:
        await ready(here, http)
        pid = pid_of(here)
        os.kill(pid, signal.SIGSTOP)
        asked = asyncio.create_task(page_of(http)) if amid else None
        if asked is not None:
            await until(lambda: bool(reader_of(here)._under_way))
        if how == "killed":
            os.kill(pid, signal.SIGKILL)
        for probe in ("/healthz", "/readyz"):
            await page_of(http, probe)
        await acknowledged(here)
        assert "/messages/1" in await page_of(http)
        if asked is not None:
            await asked
        await until(lambda: reader_of(here).ready and pid_of(here) != pid, START_S)
        assert "/messages/1" in await page_of(http)


async def test_one_that_cannot_start_is_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with small_site(tmp_path) as here, here.client() as http:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        await page_of(http)
        await until(lambda: bool(reader_of(here).fault), START_S)
        assert "ended 3 times" in str(list(here.page.notices()))
        await page_of(http)
        await acknowledged(here)
        monkeypatch.undo()
        await until(lambda: reader_of(here).ready, START_S)


async def test_it_has_the_configuration_that_is_in_force(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with small_site(tmp_path) as here, here.client() as http:
        await ready(here, http)
        (tmp_path / "channels" / "new.yaml").write_text(
            (tmp_path / "channels" / "lab.yaml").read_text().replace("lab\n", "new\n", 1)
        )
        os.kill(pid_of(here), signal.SIGKILL)
        await until(lambda: "pages are drawn beside the messages" in caplog.text, START_S)
        assert ">new<" not in await page_of(http, "/")
        assert not reader_of(here).ready
        await here.app.reload()
        assert ">new<" in await page_of(http, "/")
        await until(lambda: reader_of(here).ready, START_S)
        assert ">new<" in await page_of(http, "/")
        assert reader_of(here).ready


async def test_a_form_that_it_draws_is_one_of_the_daemon(tmp_path: Path) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with small_site(tmp_path) as here, aiohttp.ClientSession(here.base, cookie_jar=jar) as http:
        await here.app.service(AccessService).accounts.users.add("meena", "admin", GOOD, by=ROOT)
        browser = Browser(http)
        assert (await browser.log_in("meena"))[0] == 200
        await ready(here, http)
        address, fields = await browser.fields("/messages", to="/log-out")
        async with http.post(address, data=fields, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/log-in?lang=en")


async def event_of(stream: aiohttp.ClientResponse) -> dict[str, Any]:
    async for line in stream.content:
        if line.startswith(b"data: "):
            return cast(dict[str, Any], orjson.loads(line[6:]))
    raise ConnectionResetError


async def test_live_updates_end_with_it_and_go_on(tmp_path: Path) -> None:
    async with small_site(tmp_path) as here, here.client() as http:
        await ready(here, http)
        async with http.get("/events") as stream, asyncio.timeout(START_S):
            first = await event_of(stream)
            assert "channels" in first["order"]
            await acknowledged(here)
            while "footer" not in (await event_of(stream))["parts"]:
                pass
            await until(lambda: len(reader_of(here)._under_way) == 1)
            os.kill(pid_of(here), signal.SIGKILL)
            with pytest.raises(ConnectionResetError):
                while True:
                    await event_of(stream)
        async with http.get("/events") as stream, asyncio.timeout(START_S):
            assert (await event_of(stream))["order"] == first["order"]
        await until(lambda: not reader_of(here)._under_way)


async def test_live_updates_end_with_the_configuration_that_they_show(tmp_path: Path) -> None:
    async with small_site(tmp_path) as here, here.client() as http:
        await ready(here, http)
        async with http.get("/events") as stream, asyncio.timeout(START_S):
            await event_of(stream)
            await until(lambda: len(reader_of(here)._under_way) == 1)
            (tmp_path / "channels" / "new.yaml").write_text(
                (tmp_path / "channels" / "lab.yaml").read_text().replace("lab\n", "new\n", 1)
            )
            await here.app.reload()
            assert ">new<" in await page_of(http, "/")
            with pytest.raises(ConnectionResetError):
                while True:
                    await event_of(stream)
        await until(lambda: reader_of(here).ready, START_S)
        async with http.get("/events") as stream, asyncio.timeout(START_S):
            assert len((await event_of(stream))["order"]["channels"]) == 2


async def test_one_that_is_too_large_takes_no_further_request_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "MOST_BYTES", 1)
    monkeypatch.setattr(child, "LOOK_S", 0.01)
    ours, theirs = socket.socketpair()
    with ours:
        async with asyncio.timeout(START_S):
            await child.serve(theirs)
        assert [one.kind for one in Decoder().feed(ours.recv(4096))] == ["leaving"]


async def test_it_goes_with_its_daemon(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "site", [], '{kind: fhir, url: "http://127.0.0.1:9/fhir"}', interpreter=True)
    try:
        await daemon.start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{daemon.web_port}") as http:
            await page_of(http)
        await until(lambda: daemon.large_pid() is not None, START_S)
        pid = daemon.large_pid()
        assert pid is not None
        await daemon.kill()
        await until(lambda: not alive(pid))
    except BaseException:
        await daemon.kill()
        raise
