"""Every route of the server as every kind of person. The oracles are written by hand: a route without a line fails."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from unittest import mock

import pytest
from yarl import URL

from engine.actions.kept import KeptActs
from engine.actions.verbs import all_acts, of_api
from engine.model.site.permissions import WATCHING
from engine.web.api.lists import resources
from engine.web.api.service import Api
from tests.support import oracle
from tests.support.access import ROOT, Browser, Site, site

OF_POST = {one.path for one in resources() if one.of_post}
# What each kind of person gets of a route: "-" a log-in is asked for, "x" refused, "+" let in.
PERSONS = ("nobody", "wall", "viewer", "operator", "engineer", "admin", "seeing", "revoked", "disabled")
OPEN = "+++++++++"
WATCH = "-++++++--"
LOOK = "-x+++++--"
ACT = "-xx++++--"
CHANGE = "-xxx++x--"
ADMIN = "-xxxx+x--"
PATIENTS = "-xxxxx+--"
NEITHER = "-xxxxxx--"  # an engineer who sees patients besides
LINES = {
    oracle.OPEN: OPEN, oracle.WATCH: WATCH, oracle.LOOK: LOOK, oracle.ACT: ACT, oracle.CHANGE: CHANGE,
    oracle.ADMIN: ADMIN, oracle.SEE: PATIENTS, oracle.EDIT: PATIENTS, oracle.NEITHER: NEITHER,
}  # fmt: skip
TABLE = {
    **{route: LINES[may] for route, may in oracle.gathered("PAGES").items()},
    **{f"POST /api/v1/acts/{name}": LINES[may] for name, may in oracle.gathered("ACTS").items() if name in of_api()},
    **{
        f"{'POST' if path in OF_POST else 'GET'} /api/v1{path}": LINES[may]
        for path, (may, _) in oracle.gathered("LISTS").items()
    },
}
GAPS = {"{name}": "page.css", "{number}": "1", "{message}": "1", "{page}": "keys", "{item}": "W1"}
EXPIRED = "This form is too old. Please open the page again."


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    # Behind the gate the API has nothing to read: an answer of 500 is one of a person who was let in.
    api = Api(mock.Mock(), KeptActs(all_acts(), mock.Mock())).routes()
    async with site(tmp_path, api=api, verbs=lambda journal: all_acts(), trial=mock.AsyncMock()) as made:
        yield made


def address_of(path: str) -> str:
    for gap, filled in GAPS.items():
        path = path.replace(gap, filled)
    return path


async def persons(here: Site, stack: AsyncExitStack) -> dict[str, Browser]:
    """A browser of each kind."""
    found = {name: await stack.enter_async_context(here.browser()) for name in PERSONS}
    await here.add("seeing", "operator", sees_patients=True)
    for name in ("revoked", "disabled"):
        await here.add(name, "admin", sees_patients=True)
    for name in PERSONS[2:]:
        assert (await found[name].log_in(name))[0] == 200
    secret = await here.accounts.tokens.create("lobby", WATCHING, ends_us=0, by=ROOT)
    await found["wall"].send(f"/wall?token={secret}")
    ((_, session),) = await here.accounts.sessions("revoked")
    await here.accounts.revoke(session.number, by=ROOT)
    await here.accounts.users.disable("disabled", True, by=ROOT)
    return found


async def test_each_route_as_each_person(here: Site) -> None:
    known = {f"{method} {path}" for path, method in here.page.server.routes if method != "HEAD"}
    assert known - set(TABLE) == set(), "give each new address its line in PAGES of an oracle"
    assert set(TABLE) - known == set(), "take the line of an address that is gone out of its oracle"
    async with AsyncExitStack() as stack:
        browsers = await persons(here, stack)
        for route, line in TABLE.items():
            method, _, path = route.partition(" ")
            for name, expected in zip(PERSONS, line, strict=True):
                got = await answer_to(browsers[name], method, address_of(path))
                assert got == expected, f"{route} as {name}"


async def answer_to(browser: Browser, method: str, path: str) -> str:
    """How the gate answers: what comes behind it (no such analyzer, no form) counts as let in."""
    async with browser.client.request(method, path, allow_redirects=False) as answer:
        if answer.status == 401:
            return "-"
        return "x" if answer.status == 403 and path != "/set-up" and EXPIRED not in await answer.text() else "+"


async def test_head_is_let_in_as_get_is(here: Site) -> None:
    async with here.browser() as browser:
        for path, method in here.page.server.routes:
            if method == "HEAD" and TABLE[f"GET {path}"] != OPEN:
                async with browser.client.head(address_of(path)) as answer:
                    assert answer.status == 401, path


async def test_nothing_else_is_let_in(here: Site) -> None:
    """Of a path that has routes, another method is refused before who asks matters; of one that has none, all are."""
    async with here.browser() as browser:
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            for path in {address_of(path) for path, _ in here.page.server.routes}:
                async with browser.client.request(method, path) as answer:
                    assert answer.status == 405, (method, path)
        async with browser.client.get("/users/../users") as answer:
            assert answer.status == 401
        for path in ("//users", "/Users", "/users/", "/%75sers%00"):
            async with browser.client.get(URL(f"{here.base}{path}", encoded=True)) as answer:
                assert answer.status in (401, 404), path
