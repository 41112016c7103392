"""The page of a running daemon with persons who have logged in, for tests of acts that the whole daemon carries out."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from engine.features.access.service.service import AccessService
from tests.support.access import GOOD, ROOT, Browser
from tests.support.running import Json, RunningSite, running_site
from tests.support.status_server import Element

# Each person with a role, and whether they see patients besides.
PERSONS = {
    "viewer": ("viewer", True),
    "operator": ("operator", False),
    "asha": ("operator", True),
    "engineer": ("engineer", False),
    "ravi": ("engineer", True),
}


@dataclass
class ActingSite:
    """A running site, and browsers of its page."""

    site: RunningSite

    @asynccontextmanager
    async def browser(self, name: str) -> AsyncIterator[Browser]:
        """Of a person of `PERSONS`, logged in."""
        page = self.site.app.page
        assert page is not None
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{page.port}", cookie_jar=jar) as client:
            browser = Browser(client)
            assert (await browser.log_in(name))[0] == 200
            yield browser


@asynccontextmanager
async def acting_site(
    folder: Path, channels: Mapping[str, Json], more: Mapping[str, Json] | None = None
) -> AsyncIterator[ActingSite]:
    """``channels``, ``more``: of `running_site`."""
    async with running_site(folder, channels, more, web="127.0.0.1:0") as site:
        yield await with_persons(site)


async def with_persons(site: RunningSite) -> ActingSite:
    users = site.app.service(AccessService).accounts.users
    for name, (role, sees_patients) in PERSONS.items():
        await users.add(name, role, GOOD, by=ROOT, sees_patients=sees_patients)
    return ActingSite(site)


def form_of(page: Element, to: str) -> tuple[str, dict[str, str]]:
    """The address and the fields of the form whose address ends so: hidden ones, and texts as a browser sends them."""
    (form,) = [
        one for one in page.all("form", method="post") if one.attributes["action"].partition("?")[0].endswith(to)
    ]
    fields = {one.attributes["name"]: one.attributes["value"] for one in form.all("input", type="hidden")}
    for area in form.all("textarea"):
        fields[area.attributes["name"]] = as_a_browser_sends(area)
    return form.attributes["action"], fields


def as_a_browser_sends(area: Element) -> str:
    """HTML drops one line feed at the beginning, and sends CR LF for every line end (HTML 4.10.11 and 4.10.21.4)."""
    text = "".join(area.pieces).replace("\r\n", "\n").replace("\r", "\n").removeprefix("\n")
    return text.replace("\n", "\r\n")


def alert(page: Element) -> str:
    return " ".join(one.text for one in page.one("main").all(role="alert"))


def offers(page: Element) -> dict[str, str]:
    return {one.text: one.attributes["href"] for one in page.one("main").all("a", class_="offer")}
