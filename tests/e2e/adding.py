"""An engineer's day: an unknown analyzer over a pseudo-terminal, from nothing to its first LOINC result at the server,
in the browser alone. Once with scripts, once with scripts off."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.e2e.chromium import Visitor, chromium, visitor
from tests.engine.features.adding.test_engineers_day import NEXT, ROWS, Laboratory, laboratory
from tests.support.serial_peers import Cable
from tests.support.waiting import until

MOST_CLICKS, MOST_FIELDS = 15, 5  # from the overview to its page after the start; logging in is not counted


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path / "site") as made:
        yield made


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    yield made
    made.close()


class Hand:
    """A hand at the page, which counts.

    Attributes:
        clicks: on links, buttons, choices and folds. fields: that are filled in or chosen from.
    """

    def __init__(self, visitor: Visitor) -> None:
        self.page = visitor.page
        self.clicks = self.fields = 0

    async def click(self, what: Locator, *, leads: bool = True) -> None:
        self.clicks += 1
        if not leads:
            await what.click()
            return
        async with self.page.expect_navigation():
            await what.click()

    async def press(self, words: str) -> None:
        await self.click(self.page.locator("main").get_by_role("button", name=words).first)

    async def follow(self, words: str) -> None:
        await self.click(self.page.locator("main").get_by_role("link", name=words).first)

    async def fill(self, label: str, text: str) -> None:
        self.fields += 1
        await self.page.get_by_label(label, exact=True).fill(text)

    async def choose(self, label: str, option: str) -> None:
        self.fields += 1
        await self.page.get_by_label(label, exact=True).select_option(option)


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "with scripts off"])
async def test_an_engineers_day(lab: Laboratory, cable: Cable, browser: Browser, scripts: bool) -> None:
    async with visitor(browser, lab, java_script_enabled=scripts) as esther:
        await esther.log_in("esther")
        began, hand = time.monotonic(), Hand(esther)
        await esther.open("/?lang=en")
        await it_listens(hand, cable)
        await lab.is_quiet("chemistry-5")
        await cable.send(ROWS)
        await it_is_recognised(hand, lab, scripts=scripts)
        await its_codes_have_a_meaning(hand)
        assert lab.deliveries("chemistry-5") == []
        await its_first_result_is_compared(hand)
        at_start = time.monotonic() - began
        await lab.is_quiet("chemistry-5")
        await cable.send(NEXT)
        await until(lambda: lab.deliveries("chemistry-5") == ["delivered"], 60)
        assert (await lab.at_his("718-7"), await lab.at_his("2345-7")) == ([9.8], [101.5])
        await hand.follow("chemistry-5")
        await expect(hand.page.locator("h1")).to_contain_text("chemistry-5")
        assert esther.faults == []
        told = f"{hand.clicks} clicks, {hand.fields} fields, {at_start:.0f} s to the start"
        print(f"{told}, {time.monotonic() - began:.0f} s to the result at the server")
        assert hand.clicks <= MOST_CLICKS, told
        assert hand.fields <= MOST_FIELDS, told


async def it_listens(hand: Hand, cable: Cable) -> None:
    await hand.follow("Add an analyzer")
    await expect(hand.page.locator("h1")).to_have_text("Welcome. Three things, then results flow")
    await hand.follow("Add an analyzer")
    await hand.fill("Its name here", "Chemistry 5")
    await hand.click(hand.page.get_by_label("is on a serial cable"), leads=False)
    await hand.click(hand.page.locator("summary", has_text="Serial cable"), leads=False)
    await hand.fill("Device", cable.path)
    await hand.press("Listen")
    await expect(hand.page.locator("main")).to_contain_text("Nothing came yet")


async def it_is_recognised(hand: Hand, lab: Laboratory, *, scripts: bool) -> None:
    """With scripts the page says by itself that something came."""
    await lab.came("chemistry-5", 1)
    if not scripts:
        await hand.follow("Look again")
    await expect(hand.page.locator("main")).to_contain_text("rows of 7 columns")
    await hand.choose("Time", "When")
    await hand.choose("How its times are written", "%Y-%m-%d %H:%M:%S")
    await hand.fill("Numbers of controls begin with", "QC")
    await hand.press("Go on to its codes")


async def its_codes_have_a_meaning(hand: Hand) -> None:
    rows = hand.page.get_by_role("row")
    await expect(rows.filter(has_text="LIPX")).to_contain_text("nothing fits")
    for code, loinc in (("HGB", "718-7"), ("GLU", "2345-7")):
        await hand.click(rows.filter(has_text=code).get_by_role("link"))
        await hand.click(rows.filter(has_text=loinc).get_by_role("button"))
        await expect(rows.filter(has_text=code)).to_contain_text("chosen")
    await hand.follow("Go on to the first result")


async def its_first_result_is_compared(hand: Hand) -> None:
    first = hand.page.locator("table.compare").first
    for text in ("13.4", "S-17", "4711", "718-7 Hemoglobin"):
        await expect(first).to_contain_text(text)
    await hand.click(hand.page.get_by_label("I have compared them"), leads=False)
    await hand.press("Start: send its results")
    await expect(hand.page.locator("main")).to_contain_text("Results of this analyzer go out from now on")
