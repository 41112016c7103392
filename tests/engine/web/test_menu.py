"""The menu leads each person to the pages that this person may open, and marks the one that is open."""

from collections.abc import AsyncIterator
from pathlib import Path
from unittest import mock

import pytest

from engine.actions.declaring import NoArguments, Verb
from engine.actions.kept import KeptActs
from engine.actions.verbs import all_acts
from engine.features.abdm.pages import abdm
from engine.features.abdm.pages import acts as abdm_acts
from engine.features.orders.pages import acts as order_acts
from engine.model.site.permissions import CHANGING, ROLES
from engine.web.api.service import Api
from engine.web.menu import entries
from tests.support.access import Browser, Site, site
from tests.support.status_server import Element

ENTRIES = {one.path for one in entries()}
DAILY = [one for one in entries() if not one.group]
FOR_PROGRAMMERS = {
    "/api"
}  # of no use to those who look or act: their menu is the shorter for it. It has no menu itself


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    api = Api(mock.Mock(), KeptActs(all_acts(), mock.Mock())).routes()
    place = Verb(CHANGING, NoArguments, mock.AsyncMock(return_value={"closed": []}))
    acts = {**all_acts(), "draft_place": place}
    async with site(tmp_path, api=api, verbs=lambda journal: acts, trial=mock.AsyncMock()) as made:
        yield made


def menu(page: Element) -> Element:
    return page.one("nav", **{"aria-label": "Pages"})


def paths(links: Element) -> list[str]:
    return [link.attributes["href"].partition("?")[0] for link in links.all("a") if "close" not in classes(link)]


def classes(link: Element) -> str:
    return link.attributes.get("class", "")


async def status(browser: Browser, path: str) -> int:
    async with browser.client.get(path, allow_redirects=False) as answer:
        return answer.status


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_it_leads_to_all_that_a_person_may_open_and_to_nothing_else(here: Site, role: str) -> None:
    async with here.browser() as browser:
        await browser.log_in(role)
        _, page = await browser.get("/")
        allowed = {path for path in ENTRIES if await status(browser, path) != 403}
        assert len(paths(menu(page))) == len(set(paths(menu(page))))
        assert set(paths(menu(page))) <= allowed
        assert allowed - set(paths(menu(page))) <= FOR_PROGRAMMERS


async def test_it_has_each_page_that_needs_no_more_of_its_address(here: Site) -> None:
    """But those that another page leads to with more words about them."""
    elsewhere = {
        "/account",
        "/tokens",
        "/quality/targets",
        "/dead-letters/each",
        "/codes/corrections",
        "/orders/worklist",
        "/reflexes",
    }
    elsewhere |= {f"/abdm/{name}" for name in abdm.LISTS}
    not_for_people = ("/log-in", "/change-user", "/set-up", "/wall", "/events", "/metrics", "/healthz", "/readyz")
    no_row = {
        *("/analyzer", "/user", "/quality/chart", "/quality/month", "/todo"),
        *("/add/new", "/codes/row", "/codes/undo", "/order"),
        *(f"/order/{act}" for act in order_acts.DEEDS),
        *(f"/abdm/{act}" for act in ("context", "consent", *abdm_acts.DEEDS)),
    }  # pages of one thing, named in the query
    found = {
        path
        for path, method in here.page.server.routes
        if method == "GET"
        and not path.startswith(("/api/", "/do/", *not_for_people))
        and not path.endswith((".json", ".csv"))
        and "{" not in path
    }
    assert found - elsewhere - no_row == ENTRIES, "put it into MENU, or say here where else it is led to from"


async def test_it_marks_the_page_that_is_open(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("admin")
        for path in sorted(ENTRIES - FOR_PROGRAMMERS):
            _, page = await browser.get(path)
            marked = [link for link in menu(page).all("a") if "aria-current" in link.attributes]
            assert [link.attributes["href"].partition("?")[0] for link in marked] == [path]
            assert len(paths(menu(page))) == len(set(paths(menu(page)))) == len(ENTRIES)


async def test_a_narrow_screen_opens_and_closes_it_without_a_script(here: Site) -> None:
    """A phone has the first four at its foot, and a way to all."""
    async with here.browser() as browser:
        await browser.log_in("admin")
        _, page = await browser.get("/")
        to_menu = [link for link in page.all("a") if link.attributes["href"] == f"#{menu(page).attributes['id']}"]
        assert len(to_menu) == 2
        assert menu(page).one("a", class_="close").attributes["href"] == f"#{page.one('main').attributes['id']}"
        foot = page.one("nav", class_="thumb")
        assert paths(foot) == [*(one.path for one in DAILY[:4]), "#pages"]


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_what_a_technician_opens_first_stands_first(here: Site, role: str) -> None:
    """The others are in groups with a name, none of them empty."""
    async with here.browser() as browser:
        await browser.log_in(role)
        _, page = await browser.get("/")
        assert paths(menu(page))[:4] == ["/", "/held", "/messages", "/dead-letters"]
        groups = menu(page).all("p")
        assert [group.text for group in groups] == ["Laboratory", "Delivery", "Set-up", "Administration"]


async def test_a_stranger_has_none(here: Site) -> None:
    async with here.browser() as browser:
        _, page = await browser.get("/log-in")
        assert not page.all("nav", **{"aria-label": "Pages"})


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_a_page_that_is_not_there_has_the_menu_of_who_asks(here: Site, role: str) -> None:
    async with here.browser() as browser:
        code, page = await browser.get("/nothing")
        assert (code, page.all("nav"), page.one("h1").text) == (404, [], "There is no such page.")
        await browser.log_in(role)
        code, page = await browser.get("/nothing")
        assert (code, page.one("h1").text) == (404, "There is no such page.")
        assert paths(menu(page))[0] == "/"
        assert [link.attributes["href"].partition("?")[0] for link in page.one("main").all("a")] == ["/", "/messages"]
