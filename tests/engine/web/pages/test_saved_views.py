"""Saved views, over real connections: which part of an address is kept, by whom, and whom it is shown to.

The tables are written by hand, for the person who saves a view and for the one who must not be shown a patient by it.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from engine.access import saved_views as in_memory
from engine.access.saved_views import LONGEST_NAME, SavedViews, view_name
from engine.model.errors import RefusedError
from engine.model.permissions import LOOKING
from engine.model.saved_views import OF_ALL
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.operations.access import saved_views
from engine.store.queries import accounts
from engine.store.queries.acts import acts_page
from engine.web.pages.replay import LISTED
from engine.web.saved_lists import has_number, kept
from tests.support import access
from tests.support.access import ROOT, Browser, Site
from tests.support.many_messages import fill
from tests.support.revealed import Known
from tests.support.status_server import Element

# The address that is shown -> what a view keeps of it. Times that are relative stay as they are; the page of a long
# list, the language, and names that the list does not know do not belong to a view.
KEPT = {
    "/messages": "",
    "/messages?since=24h&channel=chem&columns=state,received": "since=24h&channel=chem&columns=state%2Creceived",
    "/messages?since=yesterday&state=dead": "since=yesterday&state=dead",
    "/messages?since=7d&before=40&top=90&colour=red&test=%C3%A4%26b": "since=7d&test=%C3%A4%26b",
    "/messages?from=2026-03-01T10:30": "from=2026-03-01T10%3A30",
    "/dead-letters?channel=chem&columns=fix": "channel=chem&columns=fix",
    "/dead-letters/each?code=REFUSED&cause=-&since=today": "code=REFUSED&since=today&cause=-",
    "/held?state=rejected&destination=b": "destination=b&state=rejected",
    "/waiting?destination=a&after=3": "destination=a",
    "/codes?channel=chem": "channel=chem",
    "/acts?act=search&ends=7&since=30d": "act=search&since=30d",
    "/operations?columns=state,person&before=7": "columns=state%2Cperson",
    "/shift?from=24h&columns=received": "from=24h&columns=received",
}
# Paths of made-up forms: other hosts, what browsers read as such, other routes of ours, and what would be a header.
NO_LISTS = (
    "", "/", "//evil.example/messages", "https://evil.example/", "\\\\evil.example", "javascript:alert(1)", "/users",
    "/log-out", "/messages/1", "/messages/../users", "/messages/", "/messages.json", "/api/v1/messages", "/views",
    "/do/retry", "/messages?since=all", "/messages\r\nLocation: https://evil.example", "/messages#x",
    "/static/page.css",
)  # fmt: skip
NAMES = {
    "": None, "   ": None, "\u200d": None, "x" * LONGEST_NAME: "x" * LONGEST_NAME, "x" * (LONGEST_NAME + 1): None,
    " two   words ": "two words", "a\u202eb": None, "a\x1b[0m": None, "<b>": "<b>",
    "क्\u200dष के नतीजे": "क्\u200dष के नतीजे", "e\u0301": "\u00e9",
}  # fmt: skip


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
async def here(tmp_path: Path, known: Known) -> AsyncIterator[Site]:
    fill(tmp_path, 60).close()
    async with access.site(tmp_path, verbs=known.verbs) as made:
        await made.add("asha", "viewer")
        await made.add("seer", "operator", sees_patients=True)
        yield made


@pytest.fixture
async def browsers(here: Site) -> AsyncIterator[dict[str, Browser]]:
    names = ("viewer", "asha", "operator", "engineer", "admin")
    async with here.browser() as a, here.browser() as b, here.browser() as c, here.browser() as d, here.browser() as e:
        found = dict(zip(names, (a, b, c, d, e), strict=True))
        for name, browser in found.items():
            assert (await browser.log_in(name))[0] == 200
        yield found


async def save(browser: Browser, address: str, name: str) -> tuple[int, Element]:
    """By the form on the list itself."""
    return await browser.send(f"{address}{'&' if '?' in address else '?'}lang=en", "save", "/views", name=name)


async def links(browser: Browser, path: str) -> dict[str, str]:
    """The views that a page shows: name -> address."""
    _, page = await browser.get(f"{path}{'&' if '?' in path else '?'}lang=en")
    shown = [one for nav in page.one("main").all("nav") for one in nav.all("a")]
    return {one.one("bdi").text: one.attributes["href"] for one in shown}


async def numbers(browser: Browser) -> dict[str, int]:
    """The views on the page of all views: name -> number."""
    _, page = await browser.get("/views?lang=en")
    rows = [row for row in page.all("tr") if row.attributes.get("id", "").startswith("v-")]
    return {row.one("th").text: int(row.attributes["id"].removeprefix("v-")) for row in rows}


async def change(browser: Browser, act: str, number: int, *, shared: bool = False, **typed: str) -> tuple[int, Element]:
    """Send a form about a view, made up from the guards of another form of the page."""
    _, page = await browser.get("/views?lang=en")
    hidden = {
        one.attributes["name"]: one.attributes["value"]
        for one in page.one("form", action="/log-out?lang=en").all("input")
    }
    to = f"/views{'/shared' if shared else ''}?lang=en"
    return await browser.post(to, hidden | {"act": act, "number": str(number)} | typed)


def trail(here: Site) -> list[tuple[str, str, object]]:
    acts = [one for one in acts_page(here.journal, limit=200) if one.verb.startswith("view-")]
    return [(one.actor, one.verb, one.what["view"]) for one in reversed(acts)]


# -- what is kept ------------------------------------------------------------------------------------------------------


async def test_a_view_keeps_filter_columns_and_time_of_its_address(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("admin")
        for number, (address, query) in enumerate(KEPT.items()):
            path, name = address.partition("?")[0], f"view {number}"
            status, page = await save(browser, address, name)
            assert (status, urlsplit(browser.path).path) == (200, path), "it leads back to the list"
            href = f"{path}?{query}{'&' if query else ''}lang=en"
            for where in (path, address, "/"):
                assert (await links(browser, where))[name] == href, where
            status, page = await browser.get(href)
            here_now = [one.one("bdi").text for one in page.one("main").all("a", **{"aria-current": "page"})]
            assert (status, here_now) == (200, [name])
            assert all(one.startswith(f"{path}?") for one in (await links(browser, path)).values())


async def test_a_time_that_is_relative_follows_the_clock(here: Site) -> None:
    """Of the words alone that are kept: a list opened a year later asks from that day on."""
    async with here.browser() as browser:
        await browser.log_in("viewer")
        await save(browser, "/messages?since=24h", "of a day")
        href = (await links(browser, "/messages"))["of a day"]
    assert dict(parse_qsl(urlsplit(href).query)) == {"since": "24h", "lang": "en"}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_can_be_seen(name: str) -> None:
    if (expected := NAMES[name]) is not None:
        assert view_name(name) == expected
    else:
        with pytest.raises(RefusedError):
            view_name(name)


async def test_a_name_is_text_wherever_it_is_shown(browsers: dict[str, Browser]) -> None:
    name = "<script>alert(1)</script> & \"x' {{ 7 * 7 }}"
    await save(browsers["engineer"], "/messages?since=7d", name)
    await change(browsers["engineer"], "share", (await numbers(browsers["engineer"]))[name], shared=True)
    for path in ("/messages", "/"):
        assert list(await links(browsers["viewer"], path)) == [name]
    for browser in (browsers["viewer"], browsers["engineer"]):
        assert name in await numbers(browser)


# -- what is not kept --------------------------------------------------------------------------------------------------


async def stored(here: Site) -> int:
    return int(here.journal.row("SELECT count(*) FROM saved_view")[0])


async def test_no_address_but_that_of_a_list_is_kept(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("admin")
        action, fields = await browser.fields("/messages?lang=en", "save", "/views")
        for number, path in enumerate(NO_LISTS):
            typed = {"once": f"{number:032}", "name": "x", "path": path, "query": "since=all"}
            status, page = await browser.post(action, fields | typed)
            assert (status, browser.path.partition("?")[0]) == (403, "/views"), path
            assert "This is no list of this page." in page.one("main").one(role="alert").text
            assert not [one for one in page.all("a") if "evil" in one.attributes["href"]]
        assert await stored(here) == 0


async def test_a_query_keeps_nothing_that_the_list_does_not_know(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("admin")
        action, fields = await browser.fields("/messages?lang=en", "save", "/views")
        for number, query in enumerate(("//evil.example", "next=https://evil.example", "lang=hi&before=3", "%00", "=")):
            typed = {"once": f"{number:032}", "name": f"view {number}", "query": query}
            assert (await browser.post(action, fields | typed))[0] == 200
            assert (await links(browser, "/messages"))[f"view {number}"] == "/messages?lang=en"
        assert (await browser.post(action, fields | {"name": "x", "query": "&" * 900}))[0] == 403


async def test_a_list_of_another_role_is_neither_kept_nor_shown(here: Site, browsers: dict[str, Browser]) -> None:
    action, fields = await browsers["viewer"].fields("/messages?lang=en", "save", "/views")
    assert (await browsers["viewer"].post(action, fields | {"name": "x", "path": "/acts"}))[0] == 403
    await save(browsers["admin"], "/acts?actor=asha", "acts of asha")
    await change(browsers["admin"], "share", (await numbers(browsers["admin"]))["acts of asha"], shared=True)
    assert "acts of asha" in await links(browsers["admin"], "/")
    for name in ("viewer", "operator", "engineer"):
        assert await links(browsers[name], "/") == {}
        assert await numbers(browsers[name]) == {}


@pytest.mark.parametrize("name", ["q", "sealed"])
async def test_an_address_with_a_number_is_refused(here: Site, name: str) -> None:
    """It may be a patient's; the number that a person typed is in neither the page's form nor the store."""
    async with here.browser() as browser:
        await browser.log_in("seer")
        await browser.send("/messages?lang=en", to="/messages", q="MRN-4711", since="7d")
        query = dict(parse_qsl(urlsplit(browser.path).query)) if name == "sealed" else {"q": "MRN-4711", "since": "7d"}
        _, page = await browser.get(f"/messages?{urlencode(query)}&lang=en")
        assert "An address with a number is not kept" in page.text
        assert not page.all("button", value="save")
        action, fields = await browser.fields("/messages?lang=en", "save", "/views")
        status, page = await browser.post(action, fields | {"name": "x", "query": urlencode(query)})
        assert status == 403
        assert "it may be a patient's" in page.one("main").one(role="alert").text
        assert not [one for one in page.all("input") if "MRN-4711" in one.attributes.get("value", "")]
        assert await stored(here) == 0


@pytest.mark.parametrize("path", ["/messages", "/dead-letters"])
async def test_a_state_is_said_in_the_language_of_the_reader(browsers: dict[str, Browser], path: str) -> None:
    await save(browsers["viewer"], f"{path}?state=dead", "mine")
    _, page = await browsers["viewer"].get("/views?lang=hi")
    (cell,) = [one for one in page.one("tbody").all("td") if "wrap" in one.attributes.get("class", "")]
    assert "असफल" in cell.text
    assert "dead" not in cell.text
    _, page = await browsers["viewer"].get(f"{path}?state=dead&lang=hi")
    assert "dead" not in page.one("main").one("ul", **{"class_": "chips", "aria-label": "शर्तें"}).text


def test_what_is_to_be_sent_again_is_kept_without_a_number() -> None:
    query = {"channel": "chem", "since": "7d", "specimen": "S-4711", "number": "C-1"}
    assert kept(LISTED, query) == "channel=chem&since=7d"
    for name in ("specimen", "number"):
        assert has_number(LISTED, {"channel": "chem", name: "4711"})
    assert not has_number(LISTED, {"channel": "chem"})


def files_with(folder: Path, *texts: bytes) -> list[Path]:
    files = [(one, one.read_bytes()) for one in folder.rglob("*") if one.is_file()]
    return [file for file, content in files if any(text in content for text in texts)]


async def test_nothing_that_a_person_wrote_is_in_clear_on_the_disk(here: Site, tmp_path: Path) -> None:
    async with here.browser() as browser:
        await browser.log_in("admin")
        await save(browser, "/acts?actor=vani-of-ward-7", "Anita Sharma of ward 7")
        await change(browser, "share", (await numbers(browser))["Anita Sharma of ward 7"], shared=True)
    assert await asyncio.to_thread(files_with, tmp_path, b"Anita Sharma", b"vani-of-ward") == []
    assert await asyncio.to_thread(files_with, tmp_path, b"SQLite format 3"), "where it would be"


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_a_person_has_so_many_views_and_no_more(
    browsers: dict[str, Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_views, "MOST", 2)
    for number in (1, 2):
        await save(browsers["viewer"], "/messages", f"view {number}")
    status, page = await save(browsers["viewer"], "/messages?since=7d", "view 3")
    assert (status, "too many views" in page.one("main").one(role="alert").text) == (403, True)
    assert page.one("input", id="view-name").attributes["value"] == "view 3", "nothing that was typed is lost"
    await save(browsers["engineer"], "/messages", "a third")
    for name in ("a", "b"):
        await save(browsers["operator"], "/messages", name)
    assert len(await numbers(browsers["viewer"])) == len(await numbers(browsers["operator"])) == 2


async def test_two_views_of_a_person_differ_in_more_than_the_case_of_letters(browsers: dict[str, Browser]) -> None:
    asha = browsers["asha"]
    await save(asha, "/messages", "Night")
    assert (await save(asha, "/held", " night "))[0] == 403
    await save(asha, "/held", "day")
    number = (await numbers(asha))["day"]
    assert (await change(asha, "rename", number, name="NIGHT"))[0] == 403
    assert (await change(asha, "rename", number, name="Day"))[0] == 200, "its own name is not taken"
    await save(browsers["viewer"], "/messages", "Night")
    assert set(await numbers(asha)) == {"Day", "Night"}


async def test_a_long_address_is_refused(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("viewer")
        action, fields = await browser.fields("/messages?lang=en", "save", "/views")
        query = urlencode(dict.fromkeys(("channel", "destination", "code", "type"), "x" * 500))
        status, page = await browser.post(action, fields | {"name": "x", "query": query})
        assert (status, "too long" in page.one("main").one(role="alert").text) == (403, True)


async def test_a_page_that_shows_views_costs_no_query(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    real = accounts.saved_views
    monkeypatch.setattr(accounts, "saved_views", lambda reader, user: reads.append(user) or real(reader, user))
    async with here.browser() as browser:
        await browser.log_in("viewer")
        await save(browser, "/messages", "mine")
        await links(browser, "/")
        reads.clear()
        for path in ("/", "/messages", "/held", "/"):
            await links(browser, path)
        assert reads == []
    monkeypatch.setattr(in_memory, "MOST_KNOWN", 2)
    for user in range(10, 20):
        await here.accounts.views.of(user)
    assert len(here.accounts.views._known) <= 2


# -- who has it --------------------------------------------------------------------------------------------------------


async def test_a_view_is_of_its_person_alone_until_it_is_shared(here: Site, browsers: dict[str, Browser]) -> None:
    engineer, others = browsers["engineer"], [browsers[name] for name in ("viewer", "asha", "operator", "admin")]
    await save(engineer, "/held?since=today", "today's held")
    number = (await numbers(engineer))["today's held"]
    for other in others:
        assert (await links(other, "/"), await links(other, "/held")) == ({}, {})
        for act in ("rename", "remove"):
            assert (await change(other, act, number, name="stolen"))[0] == 403
    assert (await change(browsers["admin"], "share", number, shared=True))[0] == 403, "of another person"
    assert trail(here) == [], "a person's own view concerns no other"

    assert (await change(engineer, "share", number, shared=True))[0] == 200
    for other in (engineer, *others):
        assert list(await links(other, "/")) == list(await links(other, "/held")) == ["today's held"]
    for name in ("viewer", "asha", "operator"):
        for act in ("rename", "remove", "withdraw", "share"):
            assert (await change(browsers[name], act, number, shared=True, name="stolen"))[0] == 403
        _, page = await browsers[name].get("/views?lang=en")
        assert not page.one("main").all("form")

    assert (await change(browsers["admin"], "rename", number, shared=True, name="held today"))[0] == 200
    assert (await change(browsers["admin"], "withdraw", number, shared=True))[0] == 200
    assert list(await links(browsers["admin"], "/")) == ["held today"]
    assert await links(engineer, "/") == {}
    assert (await change(browsers["admin"], "share", number, shared=True))[0] == 200
    assert (await change(engineer, "remove", number, shared=True))[0] == 200
    assert await stored(here) == 0
    assert trail(here) == [
        ("engineer", "view-shared", "today's held"),
        ("admin", "view-renamed", "today's held"),
        ("admin", "view-withdrawn", "held today"),
        ("admin", "view-shared", "held today"),
        ("engineer", "view-removed", "held today"),
    ]


async def test_the_page_of_views_offers_what_may_be_done(browsers: dict[str, Browser]) -> None:
    """By the forms of the page, without scripts."""
    for name, buttons in (("viewer", ["rename", "remove"]), ("engineer", ["rename", "remove", "share"])):
        await save(browsers[name], "/held", f"of {name}")
        _, page = await browsers[name].get("/views?lang=en")
        assert [one.attributes["value"] for one in page.one("main").all("button")] == buttons
    assert (await browsers["viewer"].send("/views?lang=en", "rename", name="mine"))[0] == 200
    assert list(await numbers(browsers["viewer"])) == ["mine"]
    _, page = await browsers["engineer"].send("/views?lang=en", "share", "/views/shared")
    assert "All users have the view now." in page.text
    assert set(await numbers(browsers["viewer"])) == {"mine", "of engineer"}
    await browsers["viewer"].send("/views?lang=en", "remove")
    assert list(await numbers(browsers["viewer"])) == ["of engineer"]


async def test_programs_and_screens_have_no_views(here: Site, browsers: dict[str, Browser]) -> None:
    await save(browsers["engineer"], "/held", "of all")
    await change(browsers["engineer"], "share", (await numbers(browsers["engineer"]))["of all"], shared=True)
    secret = await here.accounts.tokens.create("his", LOOKING, ends_us=here.clock.now_us() + 1_000_000_000, by=ROOT)
    async with here.browser(Authorization=f"Bearer {secret}") as program:
        for path in ("/", "/held"):
            assert await links(program, path) == {}
        assert (await program.get("/views"))[0] == 403


async def test_views_go_with_their_user_and_shared_ones_stay(here: Site, browsers: dict[str, Browser]) -> None:
    await save(browsers["engineer"], "/held", "mine")
    await save(browsers["engineer"], "/messages", "of all")
    await change(browsers["engineer"], "share", (await numbers(browsers["engineer"]))["of all"], shared=True)
    await here.accounts.users.remove("engineer", by=ROOT)
    assert list(await numbers(browsers["viewer"])) == ["of all"]
    assert await stored(here) == 1


async def test_views_outlast_a_restart_and_a_damaged_one_can_be_removed(
    here: Site, browsers: dict[str, Browser]
) -> None:
    @operation(priority=Priority.SETTLE)
    def damage(batch: Batch) -> None:
        batch.execute("UPDATE saved_view SET text = zeroblob(60) WHERE id = (SELECT max(id) FROM saved_view)")

    asha = browsers["asha"]
    await save(asha, "/held", "whole")
    await save(asha, "/messages", "broken")
    again = SavedViews(here.journal)
    (user,) = [one.id for one in await here.accounts.users.list() if one.name == "asha"]
    assert [one.name for one in await again.of(user)] == ["broken", "whole"]
    await here.journal.run(damage)
    here.accounts.views._known.clear()
    assert await links(asha, "/") == {"whole": "/held?lang=en"}
    found = await numbers(asha)
    assert set(found) == {"damaged", "whole"}
    assert (await change(asha, "rename", found["damaged"], name="x"))[0] == 403
    assert (await change(asha, "remove", found["damaged"]))[0] == 200
    assert set(await numbers(asha)) == {"whole"}
    assert OF_ALL == 0, "the journal has it as the user of shared views"
