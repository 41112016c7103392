"""The live parts of the pages in a browser: nothing moves under the pointer, the focus stays, a log-in has few streams,
a page without answers asks less and less often, and its top says that it is old."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Request, expect

from engine.model.message import Received
from engine.monitoring.snapshot.channels import LaneSnapshot
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState
from engine.store.operations import append, bulk
from engine.store.operations.bulk import Done
from engine.web.server import MAX_OF_ONE_LOG_IN
from tests.e2e.chromium import chromium
from tests.support.access import GOOD, Site, site
from tests.support.status_sites import large_site
from tests.support.waiting import WITHIN_S, until

HIDE = "hidden => { Object.defineProperty(document, 'hidden', {get: () => hidden, configurable: true});\
 document.dispatchEvent(new Event('visibilitychange')) }"
# Notes when the page asks for what is new, and how the last of these asks ended.
NOTE_ASKS = """
globalThis.asks = { times: [], last: Promise.resolve() };
const plain = fetch;
globalThis.fetch = (address, more) => {
  const made = plain(address, more);
  if (address.startsWith("/live.json")) { asks.times.push(Date.now()); asks.last = made; }
  return made;
};
"""
LOST = re.compile("^Not updating since 20")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as made:
        yield made


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context()
    context.set_default_timeout(WITHIN_S * 1000)
    yield await context.new_page()
    await context.close()


def change(here: Site, name: str, state: ChannelState) -> None:
    channels = tuple(replace(one, state=state) if one.name == name else one for one in here.page.site.channels)
    here.page.site = replace(here.page.site, channels=channels)


def message(here: Site, payload: bytes) -> Received:
    now = here.clock.now_us()
    return Received(channel="chemistry", payload=payload, received_us=now, control_id="", message_type="")


def asking(page: Page, path: str) -> list[Request]:
    """The requests that a page makes for such an address from now on."""
    found: list[Request] = []
    page.on("request", lambda one: found.append(one) if path in one.url else None)
    return found


async def names(page: Page) -> list[str]:
    return await page.locator("#channels strong").all_inner_texts()


async def heard_twice(page: Page) -> None:
    """Wait until the page has heard of two moments more."""
    for _ in range(2):
        shown = await page.locator("#as-of").inner_text()
        await expect(page.locator("#as-of")).not_to_have_text(shown)


async def log_in(page: Page, here: Site, name: str = "viewer") -> None:
    await page.goto(f"{here.base}/log-in?lang=en")
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(GOOD)
    async with page.expect_navigation():
        await page.get_by_role("button", name="Log in", exact=True).click()


@asynccontextmanager
async def clock_of(here: Site) -> AsyncIterator[None]:
    """The site's time goes on, so that there is always something new."""

    async def tick() -> None:
        while True:
            shown = here.page.site
            here.page.site = replace(shown, now=shown.now + timedelta(seconds=1))
            await asyncio.sleep(0.1)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()


@pytest.mark.parametrize("held", ["pointer", "focus"])
async def test_rows_change_places_only_without_pointer_and_focus(here: Site, page: Page, held: str) -> None:
    await log_in(page, here)
    async with clock_of(here):
        assert await names(page) == ["chemistry", "urinalysis"]
        link = page.locator("#c-urinalysis strong")
        await (link.hover() if held == "pointer" else link.locator("..").focus())
        change(here, "urinalysis", ChannelState.SILENT)
        await expect(page.locator("#c-urinalysis .state")).to_have_text("silent")
        await heard_twice(page)
        assert await names(page) == ["chemistry", "urinalysis"]
        if held == "pointer":
            await page.mouse.move(0, 0)
        else:
            assert await page.evaluate("document.activeElement.innerText") == "urinalysis"
            await page.locator(".skip").focus()
        await expect(page.locator("#channels strong").first).to_have_text("urinalysis")


async def test_nobody_presses_on_a_wall_so_the_worst_is_always_first(here: Site, page: Page) -> None:
    await log_in(page, here)
    await page.goto(f"{here.base}/?wall&lang=en")
    async with clock_of(here):
        await page.locator("#c-chemistry").hover()
        change(here, "urinalysis", ChannelState.SILENT)
        await expect(page.locator("#channels strong").first).to_have_text("urinalysis")


async def test_text_that_is_marked_stays_and_is_new_when_the_mark_is_gone(here: Site, page: Page) -> None:
    await log_in(page, here)
    async with clock_of(here):
        await page.evaluate("getSelection().selectAllChildren(document.querySelector('#c-urinalysis strong'))")
        change(here, "urinalysis", ChannelState.SILENT)
        await expect(page.locator("#strip")).to_contain_text("urinalysis silent")
        await heard_twice(page)
        assert await page.evaluate("getSelection().toString()") == "urinalysis"
        await expect(page.locator("#c-urinalysis .state")).to_have_text("quiet")
        await page.evaluate("getSelection().empty()")
        await expect(page.locator("#c-urinalysis .state")).to_have_text("silent")


async def test_the_fourth_window_of_a_log_in_asks(here: Site, page: Page) -> None:
    await log_in(page, here)
    windows = [page, *[await page.context.new_page() for _ in range(MAX_OF_ONE_LOG_IN)]]
    followers = here.page.server.listener.followers
    for number, window in enumerate(windows[1:-1], start=2):
        await window.goto(f"{here.base}/?lang=en")
        await until(lambda number=number: len(followers) == number)
    asked = asking(windows[-1], "/live.json")
    await windows[-1].goto(f"{here.base}/?lang=en")
    change(here, "urinalysis", ChannelState.SILENT)
    for window in windows:
        await expect(window.locator("#c-urinalysis .state")).to_have_text("silent")
    assert len(followers) == MAX_OF_ONE_LOG_IN
    assert asked
    await expect(windows[-1].locator("#link")).to_have_text("live")


async def test_a_page_in_the_background_gives_its_stream_back(here: Site, page: Page) -> None:
    followers = here.page.server.listener.followers
    await page.clock.install()
    await log_in(page, here)
    await until(lambda: len(followers) == 1)
    await page.clock.pause_at(
        await page.evaluate("Date.now() / 1000 + 1")
    )  # a clock that goes on adds what the test takes
    asked = asking(page, "/live.json")
    await page.evaluate(HIDE, True)
    await until(lambda: not followers)
    change(here, "urinalysis", ChannelState.SILENT)
    await page.clock.run_for(5_000)
    await expect(page).to_have_title(re.compile("^urinalysis silent"))  # the tab's words are not old
    await page.clock.run_for(59_000)
    assert len(asked) == 1
    await page.clock.run_for(1_000)
    await until(lambda: len(asked) == 2)
    change(here, "urinalysis", ChannelState.RECEIVING)
    await page.evaluate(HIDE, False)
    await expect(page.locator("#c-urinalysis .state")).to_have_text("receiving")
    await until(lambda: len(followers) == 1)
    assert len(asked) == 2


async def test_a_lost_connection_shows_and_is_tried_less_and_less_often(here: Site, page: Page) -> None:
    followers = here.page.server.listener.followers
    await page.add_init_script(NOTE_ASKS)
    await page.clock.install()
    await log_in(page, here)
    await until(lambda: len(followers) == 1)
    async with clock_of(here):
        await expect(page.locator("#link")).to_have_text("live")
    await page.clock.pause_at(await page.evaluate("Date.now() / 1000 + 1"))
    await page.context.set_offline(True)
    connections: list[Any] = [*followers]
    for connection in connections:
        connection.transport.abort()
    await until(lambda: not followers)
    asks: list[int] = []
    while len(asks) < 7:
        await page.clock.run_for(1_000)
        asks = await page.evaluate("asks.last.catch(() => 0).then(() => asks.times)")
    # Whole seconds: an ask that fails within a step of the clock begins its pause when the step ends.
    assert [(later - earlier) // 1000 for earlier, later in pairwise(asks)] == [10, 20, 40, 60, 60, 60]
    await expect(page.locator("#link")).to_have_text(LOST)
    change(here, "urinalysis", ChannelState.SILENT)
    await page.context.set_offline(False)
    await page.clock.run_for(60_000)
    await expect(page.locator("#c-urinalysis .state")).to_have_text("silent")
    await expect(page.locator("#link")).to_have_text("live")
    await until(lambda: len(followers) == 1)


@pytest.mark.parametrize("path", ["/analyzer?name=chemistry&lang=en", "/messages?since=all&lang=en"])
async def test_what_has_not_changed_is_not_sent_again(here: Site, page: Page, path: str) -> None:
    await here.journal.run(append.store_message, received=message(here, b"1"), repeat_window_s=0)
    await page.clock.install()
    await log_in(page, here)
    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status) if ".json" in answer.url else None)
    await page.goto(here.base + path)
    for count in (1, 2, 3):
        await page.clock.run_for(10_000)
        await until(lambda count=count: len(statuses) >= count)
    assert (statuses[0], {*statuses[1:]}) == (200, {304})
    await page.context.set_offline(True)
    await page.clock.run_for(60_000)
    await expect(page.locator("#link")).to_have_text(LOST)


async def test_a_list_and_the_to_do_list_say_how_much_is_new_in_a_link(here: Site, page: Page) -> None:
    await here.journal.run(append.store_message, received=message(here, b"1"), repeat_window_s=0)
    await page.clock.install()
    await log_in(page, here)
    news = page.locator("#news")
    await expect(news).to_be_hidden()
    change(here, "urinalysis", ChannelState.SILENT)
    await expect(news).to_have_text("new: 1")
    await expect(page.get_by_text("Nothing to do")).to_be_hidden()
    change(here, "urinalysis", ChannelState.RECEIVING)
    await expect(news).to_be_hidden()
    await expect(page.get_by_text("Nothing to do")).to_be_visible()
    change(here, "urinalysis", ChannelState.SILENT)
    async with page.expect_navigation():
        await news.get_by_role("link").click()
    await expect(page.locator("#todo-list")).to_contain_text("urinalysis silent")
    await page.goto(f"{here.base}/messages?since=all&lang=en")
    await here.journal.run(append.store_message, received=message(here, b"2"), repeat_window_s=0)
    await page.clock.run_for(10_000)
    await expect(news).to_have_text("1 new")
    async with page.expect_navigation():
        await news.get_by_role("link").click()
    assert await page.locator("tbody tr").count() == 2


async def test_how_far_an_operation_is_shows_by_itself(here: Site, page: Page) -> None:
    members, what = [bulk.Member(1), bulk.Member(2)], {"selection": {"all": True}, "reason": "x"}
    number = await here.journal.run(bulk.begin, "dismiss", members, last=1, counted_us=1, actor="asha", what=what)
    await page.clock.install()
    await log_in(page, here)
    await page.goto(f"{here.base}/operations/{number}?lang=en")
    asks = asking(page, "/operations/")
    for done in (1, 2):
        await here.journal.run(bulk.step, number, done - 1, 1, lambda batch: Done({"dismissed": 1}), payload=0)
        await page.clock.run_for(2_000)
        await expect(page.locator("progress")).to_have_attribute("value", str(done))
    await expect(page.locator("h1")).to_contain_text("ended")
    assert "?auto&" in asks[0].url  # which keeps no log-in open
    assert await page.locator("script[src*='progress.js']").count() == 0


async def test_an_update_of_many_rows_is_laid_out_once(here: Site, page: Page) -> None:
    here.page.site = large_site(100)
    await log_in(page, here)
    measures = await page.context.new_cdp_session(page)
    await measures.send("Performance.enable")

    async def layouts() -> int:
        found = await measures.send("Performance.getMetrics")
        return int({one["name"]: one["value"] for one in found["metrics"]}["LayoutCount"])

    await expect(page.locator("#link")).to_have_text("live")
    before = await layouts()
    channels = tuple(replace(one, today_received=4711) for one in here.page.site.channels)
    here.page.site = replace(here.page.site, channels=channels)
    await expect(page.locator("#channels td.d a.count").last).to_have_text("4711")
    assert await layouts() - before < len(channels)


async def test_a_table_of_a_chart_stays_open_when_the_chart_is_drawn_anew(here: Site, page: Page) -> None:
    here.page.site = busy_site(3)
    await log_in(page, here)
    await page.goto(f"{here.base}/?lang=en")
    await expect(page.locator("#link")).to_have_text("live")
    fold = page.locator("#volume details")
    await fold.locator("summary").click()
    channels = tuple(replace(one, received_by_hour=(4711,) * 24) for one in here.page.site.channels)
    here.page.site = replace(here.page.site, channels=channels)
    await expect(fold.get_by_text("14133").first).to_be_visible()
    assert await page.evaluate("document.activeElement.matches('#volume summary')")


def busy_site(channels: int) -> SiteSnapshot:
    """Analyzers of a laboratory with each kind of trouble, and a day behind them."""
    site, hours = large_site(channels), tuple(range(24))
    states = {1: ChannelState.SILENT, 2: ChannelState.WAITING, 3: ChannelState.WAITING, 4: ChannelState.FAULTED}
    held = (LaneSnapshot(destination="lab-fhir", held=2, held_age_s=900.0, held_critical=1),)
    more: dict[int, dict[str, Any]] = {5: {"lanes": held}, 6: {"dead": 3}, 7: {"incomplete": 1}}
    many = tuple(
        replace(
            one,
            state=states.get(number, ChannelState.RECEIVING),
            received_by_hour=hours,
            dead_by_hour=(0,) * 24,
            **more.get(number, {"lanes": ()}),
        )
        for number, one in enumerate(site.channels)
    )
    destinations = (replace(site.destinations[0], held=2, held_critical=1), *site.destinations[1:])
    usual = tuple((number * 20, number * 26) for number in range(24))
    return replace(site, channels=many, destinations=destinations, dead_total=3, usual_by_hour=usual)


@pytest.mark.parametrize(("width", "most"), [(1440, 2100), (360, 3500)])
async def test_the_overview_of_25_analyzers_is_short(here: Site, page: Page, width: int, most: int) -> None:
    here.page.site = busy_site(25)
    await page.set_viewport_size({"width": width, "height": 900})
    await log_in(page, here)
    for language in ("en", "hi"):
        await page.goto(f"{here.base}/?lang={language}")
        assert await page.evaluate("document.documentElement.scrollHeight") <= most
    heights = await page.evaluate("[...document.querySelectorAll('#channels tr')].map((one) => one.offsetHeight)")
    assert len(heights) == 25
    assert width < 1000 or set(heights) == {44}


async def test_a_hundred_analyzers_can_be_used(here: Site, page: Page) -> None:
    """The seven in trouble are first, and no column is lost on a wide screen or wider than a narrow one."""
    here.page.site = busy_site(100)
    await log_in(page, here)
    for width in (320, 1440):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.goto(f"{here.base}/?lang=en")
        rows = page.locator("#channels tr")
        assert await rows.count() == 100
        levels = await rows.evaluate_all("all => all.map((one) => one.className)")
        assert levels == ["problem"] * 3 + ["attention"] * 4 + ["ok"] * 93
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert {
        await rows.nth(99).evaluate("one => one.offsetHeight"),
        await rows.nth(0).evaluate("one => one.offsetHeight"),
    } == {44}


async def test_the_panel_of_pages_is_reached_by_no_key_while_it_is_closed(here: Site, page: Page) -> None:
    await page.set_viewport_size({"width": 1200, "height": 800})
    await log_in(page, here)
    links = page.locator("#pages a")
    for opened in (False, True, False):
        await page.goto(f"{here.base}/?lang=en{'#pages' if opened else ''}")
        await expect(page.locator("#pages")).to_be_visible(visible=opened)
        reached = await links.evaluate_all(
            "all => all.filter((one) => { one.focus(); return document.activeElement === one; }).length"
        )
        assert reached == (await links.count() if opened else 0)
