"""The links to the other languages show the same page again: of an answer to a form, the page that the form is on."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.features.access.service.service import AccessService
from engine.web.languages import LANGUAGES
from engine.web.render import TEMPLATES
from tests.engine.web.test_every_route import address_of
from tests.support.access import ROOT, Browser
from tests.support.acting_pages import GOOD, ActingSite, acting_site
from tests.support.running import Json
from tests.support.status_server import Element

CHANNELS: dict[str, Json] = {
    "chemistry": {
        "source": {"kind": "mllp", "listen": "127.0.0.1:0"},
        "routes": [{"mapping": "hl7-results", "to": "lab-fhir"}],
    }
}
# Their answers lead on, or show nothing where a person is logged in already.
LEAD_ON = {"/log-in", "/log-out", "/stay"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[ActingSite]:
    async with acting_site(tmp_path, CHANNELS) as made:
        await made.site.app.service(AccessService).accounts.users.add(
            "mohan", "admin", GOOD, by=ROOT, sees_patients=True
        )
        yield made


@pytest.fixture
async def admin(here: ActingSite) -> AsyncIterator[Browser]:
    async with here.browser("mohan") as browser:
        yield browser


def paths(here: ActingSite, of: str) -> list[str]:
    """Of the pages for people, and of their forms."""
    assert here.site.app.page is not None
    not_pages = (".json", ".csv", "/oidc", "/oidc/back", "/events")
    return [
        path
        for path, method in here.site.app.page.routes
        if method == of and not path.startswith("/api/") and not path.endswith(not_pages) and path not in LEAD_ON
    ]


def links(page: Element) -> list[str]:
    """The addresses of the links to all languages; empty: the page has none."""
    found = [nav for nav in page.all("nav") if nav.attributes.get("aria-label") in ("Language", "भाषा")]
    return [link.attributes["href"] for nav in found for link in nav.all("a")]


def in_all_languages(address: str) -> list[str]:
    return [f"{address}{'&' if '?' in address else '?'}lang={code}" for code in LANGUAGES]


async def test_those_of_a_page_lead_to_it_with_all_that_was_asked(here: ActingSite, admin: Browser) -> None:
    seen = 0
    for path in paths(here, "GET"):
        address = f"{address_of(path)}?code=6690-2&x=%C3%A9+%26"
        _, page = await admin.get(f"{address}&lang=hi&auto")
        if found := links(page):
            seen += 1
            assert found == in_all_languages(address), path
    assert seen >= 20


async def test_those_of_an_answer_lead_to_the_page_of_its_form(here: ActingSite, admin: Browser) -> None:
    """Whatever the form was answered with, and although many of these addresses cannot be asked for."""
    seen, on = set(), "/messages?channel=a&x=%C3%A9"
    for path in paths(here, "POST"):
        _, fields = await admin.fields("/account")
        _, page = await admin.post(f"{address_of(path)}?lang=hi", fields | {"on": on}, allow_redirects=False)
        if found := links(page):
            seen.add(path)
            assert found == in_all_languages(on), path
    assert seen >= {"/set-up", "/wall", "/change-user", "/log-in/code", "/messages/{number}/contents", "/affected"}


async def test_each_form_of_a_page_is_answered_with_links_back_to_it(here: ActingSite, admin: Browser) -> None:
    seen = set()
    for path in paths(here, "GET"):
        address = f"{address_of(path)}?name=asha"
        before, page = await admin.get(f"{address}&lang=en")
        for form in page.one("main").all("form", method="post") if page.all("main") else ():
            fields = {one.attributes["name"]: one.attributes["value"] for one in form.all("input", type="hidden")}
            for button in form.all("button"):
                pressed = {button.attributes["name"]: button.attributes["value"]} if "name" in button.attributes else {}
                _, answer = await admin.post(form.attributes["action"], fields | pressed, allow_redirects=False)
                if found := links(answer):
                    seen.add(path)
                    assert found == in_all_languages(address), path
                    assert (await admin.get(found[1]))[0] == before
    assert seen >= {"/account", "/users", "/user"}


@pytest.mark.parametrize(
    "on",
    ["", "users", "//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y", "javascript:alert(1)"],
)
async def test_a_form_names_no_page_of_another_site(admin: Browser, on: str) -> None:
    _, fields = await admin.fields("/change-user?lang=en", to="/log-out")
    _, page = await admin.post("/change-user", fields | {"on": on, "name": "asha", "pin": "1"})
    assert links(page) == in_all_languages("/")


async def test_a_form_names_the_page_that_it_is_on(admin: Browser) -> None:
    _, page = await admin.get("/user?name=asha&lang=hi")
    on = [field.attributes["value"] for field in page.all("input", name="on")]
    assert set(on) == {"/user?name=asha"}
    assert len(on) == len(page.all("form", method="post"))


def test_each_form_names_its_page() -> None:
    without = [
        f"{path.name}: {form}"
        for folder in TEMPLATES
        for path in folder.glob("*.html")
        for form in re.findall(r'<form method="post".*?</form>', path.read_text(encoding="utf-8"), re.DOTALL)
        if "guard(" not in form
    ]
    assert without == []
