"""The pages in Firefox, as Debian has it. `walk.py` and others look more closely, in Chromium; what they ask of a page
that another browser may answer in another way is asked here, too."""

import asyncio
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright, expect

from tests.e2e import day, live, walk
from tests.e2e.chromium import HasPage, Visitor, visitor
from tests.e2e.laboratory import PASSWORD, laboratory
from tests.support.access import GOOD, site
from tests.support.waiting import until

BETWEEN = Path(__file__).with_name("bidi.py")
THEME = "layout.css.prefers-color-scheme.content-override"  # of `about:config`: what the device wants
DARK, LIGHT = 0, 1
# Those with most kinds of controls.
CLOSER = ("/", "/messages?since=all", "/held/{held}", "/add", "/quality/chart?channel=chemistry&test=GLU", "/account")


@asynccontextmanager
async def firefox(folder: Path, preferences: dict[str, Any] | None = None) -> AsyncIterator[Browser]:
    """``folder``: for the file that starts it."""
    program = shutil.which("firefox-esr")
    if program is None:
        pytest.skip("there is no firefox-esr; on Debian: apt install firefox-esr")
    starts = folder / "firefox"
    starts.write_text(f'#!/bin/sh\nexec {shlex.join((sys.executable, str(BETWEEN), program))} "$@"\n', encoding="utf-8")
    starts.chmod(0o755)
    async with async_playwright() as playwright:
        browser = await playwright.firefox.launch(
            channel="moz-firefox", executable_path=starts, firefox_user_prefs=preferences or {}
        )
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with firefox(tmp_path) as started:
        yield started


async def look_at(one: Visitor, address: str, language: str) -> list[str]:
    """What is wrong with a page at the width that this browser has."""
    status = await one.open(walk.in_language(address, language))
    found = [str(status)] if (status >= 400) != (address in walk.REFUSES) else []
    found += [f"too wide: {element}" for element in await one.too_wide()]
    return [f"{address} {language}: {fault}" for fault in found]


@asynccontextmanager
async def person(folder: Path, here: HasPage, theme: int, width: int) -> AsyncIterator[Visitor]:
    """One with a browser that wants these colours and has this width."""
    async with (
        firefox(folder, {THEME: theme}) as browser,
        visitor(browser, here, viewport={"width": width, "height": walk.HEIGHT}) as one,
    ):
        yield one


@pytest.mark.timeout(1500)  # hundreds of pages, also on a busy machine
async def test_each_page(tmp_path: Path) -> None:
    """In Hindi, dark and narrow; every second one in English, too, light and wide. Some have axe-core and keys."""
    async with (
        laboratory(tmp_path / "site") as here,
        person(tmp_path, here, LIGHT, 1440) as light,
        person(tmp_path, here, DARK, 360) as dark,
    ):
        alone = (*walk.BEFORE_LOG_IN, await here.wall_link())

        async def walked(one: Visitor, language: str, looked_at: Sequence[str], at_some: Sequence[str]) -> list[str]:
            wrong = [fault for address in looked_at for fault in await look_at(one, address, language)]
            closer = [walk.in_language(walk.fill_in(here, more), language) for more in at_some]
            for address in closer:
                # A new one has the focus, which the keys have left at a control of Firefox's own.
                new = Visitor(await one.page.context.new_page(), here.base)
                await new.open(address)
                wrong += [f"{address}: {fault}" for fault in await new.by_keyboard()]
                await new.page.close()
            for address in closer:
                await one.open(address)
                wrong += [f"{address}: {fault}" for fault in await one.violations()]
            return wrong + one.faults

        wrong = [fault for address in alone for fault in await look_at(light, address, "en")]
        wrong += [fault for address in alone for fault in await look_at(dark, address, "hi")]
        for one in (light, dark):
            await one.log_in("mohan")
        addresses = await walk.pages(here, light)
        for found in await asyncio.gather(
            walked(light, "en", addresses[::2], CLOSER[::2]), walked(dark, "hi", addresses, CLOSER[1::2])
        ):
            wrong += found
    assert not wrong, "\n".join(wrong)


async def test_what_the_policy_refuses_is_noted(tmp_path: Path, browser: Browser) -> None:
    """So that no page above has done it: Firefox says that in its own words, at another moment than Chromium."""
    async with site(tmp_path) as here, visitor(browser, here) as one:
        await one.open("/log-in?lang=en")
        assert one.faults == []
        await one.page.evaluate("document.body.setAttribute('style', 'color: red')")
        await one.page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
        await until(lambda: len(one.faults) == 2)
        assert "style-src" in one.faults[0]
        assert "img-src" in one.faults[1]


GROUND = (
    "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.documentElement).colorScheme]"
)


@pytest.mark.parametrize(("wants", "other"), [(DARK, "Light"), (LIGHT, "Dark")], ids=["dark", "light"])
async def test_the_menu_and_the_choice_of_colours(tmp_path: Path, wants: int, other: str) -> None:
    grounds = {DARK: ["rgb(14, 19, 23)", "dark"], LIGHT: ["rgb(244, 246, 248)", "light"]}
    async with (
        site(tmp_path) as here,
        firefox(tmp_path, {THEME: wants}) as browser,
        visitor(browser, here) as one,
    ):
        await one.log_in("viewer", GOOD)
        assert await one.page.evaluate(GROUND) == grounds[wants]
        opens = one.page.locator(".bar details.menu > summary")
        choice = one.page.get_by_role("link", name=other, exact=True)
        for close in (lambda: one.page.locator("main").click(), lambda: one.page.keyboard.press("Escape")):
            await opens.click()
            await expect(choice).to_be_visible()
            await close()
            await expect(choice).to_be_hidden()
        await expect(opens).to_be_focused()
        await opens.press("Enter")
        async with one.page.expect_navigation():
            await choice.click()
        await one.open("/messages?lang=en")
        assert await one.page.evaluate(GROUND) == grounds[1 - wants]
        assert one.faults == []


async def test_a_day_of_three_people(tmp_path: Path, browser: Browser) -> None:
    """Two results are corrected and released, by a form with a reason."""
    async with laboratory(tmp_path / "site") as here:
        await day.test_a_day_of_three_people(here, browser, scripts=True)


async def test_an_answer_takes_the_focus_of_the_keyboard(tmp_path: Path, browser: Browser) -> None:
    async with laboratory(tmp_path / "site") as here:
        await walk.test_an_answer_takes_the_focus_of_the_keyboard(here, browser, scripts=True)


async def test_a_held_result_is_released_with_scripts_off(tmp_path: Path) -> None:
    """By keys alone: Playwright waits for scripts before a click, and before it fills in a field."""
    async with (
        laboratory(tmp_path / "site") as here,
        firefox(tmp_path, {"javascript.enabled": False}) as browser,
        visitor(browser, here) as asha,
    ):
        keys = asha.page.keyboard

        async def sent(field: str, text: str, button: str = "") -> None:
            await asha.page.evaluate("of => document.querySelector(of).focus()", field)
            await keys.type(text)
            if button:
                await asha.page.evaluate("of => document.querySelector(of).focus()", button)
            async with asha.page.expect_navigation():
                await keys.press("Enter")

        await asha.open("/log-in?lang=en")
        await keys.type("asha")
        await sent("[name=password]", PASSWORD)
        await asha.open("/?lang=en")
        assert await asha.page.evaluate("document.querySelector('noscript').childElementCount") == 1
        assert await asha.need_scripts() == []
        await asha.open(walk.fill_in(here, "/held/{held}?lang=en"))
        before = len(here.hospital.taken)
        await sent("form.release [name=reason]", "the ward was called", "form.release button")
        await until(lambda: len(here.hospital.taken) == before + 1)
        assert "/operations/" in asha.page.url
        await asha.open("/account?lang=en")
        await sent("form:has([value=offer]) [name=password]", "wrong", "[value=offer]")
        assert await asha.told() == ""
        assert asha.faults == []


# As they are in Chromium.
here, page = live.here, live.page
test_rows_change_places_only_without_pointer_and_focus = live.test_rows_change_places_only_without_pointer_and_focus
test_marked_text_stays = live.test_text_that_is_marked_stays_and_is_new_when_the_mark_is_gone
test_a_lost_connection = live.test_a_lost_connection_shows_and_is_tried_less_and_less_often
