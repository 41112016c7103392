"""Pages drawn by the process of their own are those that the daemon draws, and its end is no trouble of a reader."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from engine.model.site.permissions import LOOKING, WATCHING
from engine.runtime.observing import observe
from engine.runtime.reader.process import PageReader
from engine.web.api import service
from tests.engine.web.test_units import UNITS, Laboratory, addresses, two_units
from tests.support.access import GOOD, Browser
from tests.support.waiting import until

START_S = 120.0
EACH_TIME = re.compile(rb'name="once" value="[0-9a-f]{32}"|"trace_id":"[0-9a-f]{16}"')


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


async def test_each_page_is_the_one_that_the_daemon_draws(
    here: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.Buckets, "take", lambda *asked: 0.0)
    reader, page = reader_of(here), here.page
    drawn: list[bool] = []
    draw = reader.draw

    async def counted(*asked: object) -> object:
        drawn.append((answer := await draw(*asked)) is not None)
        return answer

    monkeypatch.setattr(reader, "draw", counted)
    async with AsyncExitStack() as stack:
        person = Browser(await stack.enter_async_context(aiohttp.ClientSession(
            here.base, cookie_jar=aiohttp.CookieJar(unsafe=True))))
        assert (await person.log_in("root-admin"))[0] == 200
        clients = {"person": person.client}
        for name, units, may in (("unit", ("alpha",), LOOKING), ("all", (), LOOKING), ("wall", (), WATCHING)):
            clients[name] = await stack.enter_async_context(here.client(await here.token(name, *units, may=may)))
        await ready(here, clients["all"])
        for name in ("REFRESH_S", "KEPT_S"):  # one snapshot for both
            monkeypatch.setattr(observe, name, 1e9)
        wrong, elsewhere = [], set()
        for (path, method), route in page.routes.items():
            if not route.may_go or (method == "HEAD" and path not in ("/", "/messages")):
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
        assert not elsewhere, elsewhere
        assert not wrong, "\n".join(map(str, wrong))
