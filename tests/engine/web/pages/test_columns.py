"""The columns of lists are in the address. The table is written by hand: which columns a list can have, and which it
has where the address chooses none."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from engine.store.queries.acts import acts_page
from engine.web.asked import moment_us
from tests.support import access
from tests.support.access import Browser, Site
from tests.support.many_messages import fill
from tests.support.revealed import Known
from tests.support.status_server import Element
from tests.support.values import mentions

# Path, the columns that name a row, then name -> heading; those without a star are shown unasked.
LISTS = {
    "/messages?since=all": (
        "Message",
        {
            "received": "Received", "channel": "Analyzer", "type": "Type", "state": "State",
            "destinations": "Destinations", "sender": "Sender*", "size": "Size*",
        },
    ),
    "/dead-letters?since=all": (
        "Times Cause",
        {"channels": "Analyzers", "destination": "Destination", "last": "Last", "fix": "Likely fix"},
    ),
    "/dead-letters/each?since=all": (
        "Message",
        {"since": "Since", "channel": "Analyzer", "destination": "Destination", "state": "State", "type": "Type"},
    ),
    "/held?since=all": (
        "Message",
        {
            "why": "Why", "test": "Test", "value": "Value", "flag": "Flag", "before": "Before",
            "channel": "Analyzer", "since": "Since", "type": "Type*",
        },
    ),
    "/acts?since=all": ("Act", {"time": "Time", "person": "Person", "reason": "Reason", "state": "State"}),
}  # fmt: skip
NUMBER = "control_id"  # of messages, for those who see patients


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
async def here(tmp_path: Path, known: Known) -> AsyncIterator[Site]:
    fill(tmp_path, 150).close()
    async with access.site(tmp_path, verbs=known.verbs) as made:
        await made.add("seer", "admin", sees_patients=True)
        yield made


async def logged_in(browser: Browser, name: str) -> Browser:
    assert (await browser.log_in(name))[0] == 200
    return browser


def headings(page: Element) -> list[str]:
    """Of the list; that of the buttons is for screen readers alone."""
    return [
        one.text for one in page.one("main").all("th", role="columnheader") if one.text != "Act" or not one.children
    ]


def ticks(page: Element) -> dict[str, bool]:
    return {
        one.attributes["value"]: "checked" in one.attributes
        for one in page.all("input", name="columns", type="checkbox")
    }


def expected(named: str, columns: dict[str, str], shown: set[str]) -> set[str]:
    return {heading.removesuffix("*") for name, heading in columns.items() if name in shown} | {*named.split()}


@pytest.mark.parametrize("address", LISTS)
async def test_a_list_has_the_columns_that_its_address_chooses(here: Site, address: str) -> None:
    named, columns = LISTS[address]
    usual = {name for name, heading in columns.items() if not heading.endswith("*")}
    async with here.browser() as browser:
        await logged_in(browser, "admin")
        for asked in ("", *columns, ",".join(columns), ",".join(reversed(columns))):
            shown = set(asked.split(",")) if asked else usual
            _, page = await browser.get(f"{address}&lang=en&columns={asked}")
            assert set(headings(page)) == expected(named, columns, shown), asked
            assert ticks(page) == {name: name in shown for name in columns}
            cells = {len([one for one in row.children if one.attributes.get("role") in ("cell", "rowheader")])
                     for row in page.one("main").one("table").one("tbody").children}  # fmt: skip
            assert cells == {len(page.one("main").all("th", role="columnheader"))}


@pytest.mark.parametrize("address", LISTS)
async def test_the_form_works_without_scripts_and_keeps_the_filter(here: Site, address: str) -> None:
    """A browser sends one ``columns`` for each tick."""
    named, columns = LISTS[address]
    first, second, *_ = columns
    path = address.partition("?")[0]
    async with here.browser() as browser:
        await logged_in(browser, "admin")
        _, page = await browser.get(f"{address}&until=2099-01-01&lang=en")
        (form,) = [one for one in page.all("form", method="get") if one.all("input", name="columns", type="checkbox")]
        assert form.attributes["action"] == path
        hidden = {one.attributes["name"]: one.attributes["value"] for one in form.all("input", type="hidden")}
        assert hidden == {"since": "all", "until": "2099-01-01", "lang": "en"}
        query = "&".join(f"{name}={value}" for name, value in hidden.items())
        _, page = await browser.get(f"{path}?{query}&columns={first}&columns={second}")
        assert set(headings(page)) == expected(named, columns, {first, second})
        search = page.one("main").one("form", role="search")
        assert search.one("input", name="columns").attributes["value"] == f"{first},{second}"
        chips = [one.attributes["href"] for one in page.one("main").one("ul", class_="chips").all("a")]
        assert all(f"columns={first}%2C{second}" in href for href in chips), "another filter keeps the columns"
        assert len(chips) == 2, "columns are no filter"


@pytest.mark.parametrize("address", LISTS)
async def test_an_unknown_column_is_said(here: Site, address: str) -> None:
    async with here.browser() as browser:
        await logged_in(browser, "admin")
        for wrong in ("colour", "%3Cb%3Ex", "state,colour"):
            status, page = await browser.get(f"{address}&lang=en&columns={wrong}")
            assert status == 400
            assert "There is no such column" in page.one("main").one(role="alert").text
            assert not page.one("main").all("table")


@pytest.mark.parametrize("person", ["viewer", "operator", "engineer", "admin"])
async def test_a_column_of_those_who_see_patients_is_neither_offered_nor_obeyed(here: Site, person: str) -> None:
    async with here.browser() as browser:
        await logged_in(browser, person)
        status, page = await browser.get(f"/messages?since=all&lang=en&columns=type,{NUMBER}")
        assert (status, headings(page), NUMBER in ticks(page)) == (200, ["Message", "Type"], False)
        assert not any(mentions(page.text, f"C{number}") for number in range(150))
        assert "Not shown, because you may not see it: Control id" in page.text


async def test_who_sees_patients_has_it_and_each_look_is_in_the_trail(here: Site, known: Known) -> None:
    def looks() -> list[tuple[str, object]]:
        return [(one.actor, one.what["export"]) for one in acts_page(known.journal, limit=50) if one.verb == "unmask"]

    async with here.browser() as browser:
        await logged_in(browser, "seer")
        _, page = await browser.get("/messages?since=all&lang=en")
        assert (ticks(page)[NUMBER], looks()) == (False, [])
        _, page = await browser.get(f"/messages?since=all&lang=en&columns={NUMBER}")
        assert headings(page) == ["Message", "Control id"]
        assert mentions(page.one("table").text, "C149")
        assert looks() == [("seer", {"list": "/messages", "column": NUMBER})]
        await browser.get(f"/messages?since=all&lang=en&columns={NUMBER},colour")
        assert len(looks()) == 1, "a refused look shows nothing"


async def test_a_group_leads_to_its_list_whatever_its_columns(here: Site) -> None:
    async with here.browser() as browser:
        await logged_in(browser, "viewer")
        _, page = await browser.get("/dead-letters?lang=en&columns=fix")
        for link in page.one("main").one("table").all("a"):
            assert (await browser.get(link.attributes["href"]))[0] == 200


async def test_a_state_of_the_filter_is_said_in_the_language_of_the_reader(here: Site) -> None:
    async with here.browser() as browser:
        await logged_in(browser, "viewer")
        for path in ("/messages", "/dead-letters"):
            _, page = await browser.get(f"{path}?state=dead&lang=hi")
            chips = page.one("main").one("ul", **{"class_": "chips", "aria-label": "शर्तें"}).text
            assert "असफल" in chips
            assert "dead" not in chips


@pytest.mark.parametrize(
    ("text", "expected"),
    [("today", "2026-03-01T00:00"), ("yesterday", "2026-02-28T00:00"), ("24h", "2026-02-28T03:10")],
)
def test_a_day_that_is_named_follows_the_clock_of_the_site(text: str, expected: str) -> None:
    """Also where it is another day in UTC; so a bookmark of *yesterday* is of yesterday each day."""
    zone = ZoneInfo("Asia/Kolkata")
    now = datetime.fromisoformat("2026-02-28T21:40:00+00:00")
    assert moment_us(text, now, zone) == int(datetime.fromisoformat(expected).replace(tzinfo=zone).timestamp() * 1e6)
