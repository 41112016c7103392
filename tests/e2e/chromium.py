"""A browser: the system's Chromium, driven by Playwright, and what it notes about each page."""

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.async_api import Browser, BrowserContext, Error, Page, async_playwright, expect

from tests.e2e.counterparts import modules
from tests.e2e.laboratory import PASSWORD
from tests.support.waiting import WITHIN_S

LOOK = Path(__file__).with_name("look.js").read_text(encoding="utf-8")
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast", "link-in-text-block"]  # half of the time of all rules
FOCUS_WITHIN_S = 30.0
AT_ONCE = 8  # presses of the tabulator key before a look at what they led to
BY_ITSELF = re.compile(r"[?&]auto\b")  # the address of a page that was loaded anew by itself
# Chromium says this by itself of a page with such a status.
OF_A_STATUS = "Failed to load resource: the server responded with a status of"
expect.set_options(timeout=WITHIN_S * 1000)


class Rules(Enum):
    """Of axe-core, as its options name them."""

    ALL = f"runOnly: {STANDARDS}"
    OF_COLOUR = f"runOnly: {COLOURS}"
    OTHERS = f"{ALL}, rules: {json.dumps({one: {'enabled': False} for one in COLOURS})}"


class HasPage(Protocol):
    @property
    def base(self) -> str:
        """The address of its page."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium; on Debian or Ubuntu: apt install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program)
        try:
            yield browser
        finally:
            await browser.close()


class Visitor:
    """One person at a browser of their own.

    Attributes:
        page: Playwright's.
        faults: what a page should not have done: written to the console, failed, asked another server.
    """

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.faults: list[str] = []
        self._base = base
        self._examines = False
        page.on("console", lambda said: self._note(f"{page.url}: console: {said.text}"))
        page.on("pageerror", lambda error: self._note(f"{page.url}: {error}"))
        page.on("request", lambda request: self._hear(request.url))

    def _note(self, fault: str) -> None:
        if OF_A_STATUS not in fault:
            self.faults.append(fault)

    def _hear(self, url: str) -> None:
        if not url.startswith((f"{self._base}/", "data:")):
            self.faults.append(f"{self.page.url} asks {url}")

    async def open(self, path: str) -> int:
        """The status of a page, once it is drawn and its scripts have run. Again where the page before it loads itself
        anew at that moment."""
        due = time.monotonic() + FOCUS_WITHIN_S
        while True:
            try:
                answer = await self.page.goto(self._base + path)
            except Error as error:
                if time.monotonic() >= due or "interrupted by another navigation" not in error.message:
                    raise
                continue
            assert answer is not None
            return answer.status

    async def press(self, words: str) -> None:
        """Press the button of these words, and wait for the page that it leads to."""
        async with self.page.expect_navigation():
            await self.page.get_by_role("button", name=words, exact=True).click()

    async def follow(self, words: str) -> None:
        """Follow the link of these words; one of the menu may have a count behind them."""
        link = self.page.get_by_role("link", name=re.compile(rf"^{re.escape(words)}( \d+)?$"))
        async with self.page.expect_navigation(url=lambda address: not BY_ITSELF.search(address)):
            await link.first.click()

    async def log_in(self, name: str, password: str = PASSWORD) -> None:
        await self.open("/log-in?lang=en")
        await self.page.get_by_label("Name").fill(name)
        await self.page.get_by_label("Password").fill(password)
        async with self.page.expect_navigation():
            await self.page.get_by_label("Password").press("Enter")

    async def text(self) -> str:
        return await self.page.locator("main").inner_text()

    # -- looks ---------------------------------------------------------------------------------------------------

    async def _look(self, what: str) -> Any:
        """At once: the page may be another one between two requests to the browser."""
        return await self._evaluated(f"{LOOK}\nlook.{what}()")

    async def _evaluated(self, script: str) -> Any:
        """Again where the page loads itself anew meanwhile, as that of an operation does once it has ended."""
        due = time.monotonic() + FOCUS_WITHIN_S
        while True:
            try:
                return await self.page.evaluate(script)
            except Error as error:
                if time.monotonic() >= due or "Execution context was destroyed" not in error.message:
                    raise
                await self.page.wait_for_load_state()

    async def too_wide(self) -> list[str]:
        found: list[str] = await self._look("tooWide")
        return found

    async def need_scripts(self) -> list[str]:
        found: list[str] = await self._look("needScripts")
        return found

    async def told(self) -> str:
        """What is wrong with the focus on the answer to a form; empty: nothing. A browser sets it after the load."""
        found: str = await self._look("told")
        due = time.monotonic() + FOCUS_WITHIN_S
        while found == "the focus is on nothing" and time.monotonic() < due:
            await asyncio.sleep(0.05)
            found = await self._look("told")
        return found

    async def violations(self, rules: Rules = Rules.ALL) -> list[str]:
        """Of these rules of axe-core. From the first time on, each page of this browser has it from its start."""
        if not self._examines:
            self._examines, axe = True, (modules() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
            await self.page.context.add_init_script(axe)
            await self._evaluated(axe)
        found = await self._evaluated(f"axe.run(document, {{resultTypes: ['violations'], {rules.value}}})")
        return [f"{one['id']}: {node['html'][:160]}" for one in found["violations"] for node in one["nodes"]]

    async def fonts(self, selector: str) -> list[str]:
        """The fonts of ours that an element is drawn in."""
        devtools = await self.page.context.new_cdp_session(self.page)
        for domain in ("DOM", "CSS"):
            await devtools.send(f"{domain}.enable")
        root = (await devtools.send("DOM.getDocument"))["root"]["nodeId"]
        node = (await devtools.send("DOM.querySelector", {"nodeId": root, "selector": selector}))["nodeId"]
        used = (await devtools.send("CSS.getPlatformFontsForNode", {"nodeId": node}))["fonts"]
        await devtools.detach()
        return [one["familyName"] for one in used if one["isCustomFont"]]

    async def by_keyboard(self) -> list[str]:
        """Walk through the page with the tabulator key; what is not reached, or whose focus cannot be seen."""
        await self.page.bring_to_front()  # Firefox shows the focus in one window alone
        stops: list[str] = await self._look("stops")
        missing, faults = dict(enumerate(stops)), []
        left = 8 * len(stops) + 10  # a field of date and time has a stop for each of its parts
        while missing and left > 0:
            for _ in range(few := max(AT_ONCE, len(missing))):
                await self.page.keyboard.press("Tab")
            left -= few
            for found in await self._look("walked"):
                if (stop := missing.pop(found["at"], None)) is not None and found["wrong"]:
                    faults.append(f"{found['wrong']}: {stop}")
        return faults + [f"not reached: {stop}" for stop in missing.values()]


@asynccontextmanager
async def visitor(browser: Browser, here: HasPage, **context: Any) -> AsyncIterator[Visitor]:
    """A browser without cookies; ``context``: as Playwright's `new_context`."""
    made: BrowserContext = await browser.new_context(**context)
    made.set_default_timeout(WITHIN_S * 1000)
    try:
        yield Visitor(await made.new_page(), here.base)
    finally:
        await made.close()
