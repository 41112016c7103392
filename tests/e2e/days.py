"""The days of a technician and of an administrator at the page: each trouble from its sign to its end, in clicks.

What the page has no step for is done as the page says: by a command, or in a file. docs/figures-days.md has the clicks,
which may not become more, and with LABRELAY_FIGURES=1 is written anew.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.async_api import Browser, Locator, expect

from engine.runtime.app import App
from engine.store.core.files import reserve
from tests.e2e.chromium import Visitor, chromium
from tests.e2e.laboratory import CRITICAL, OTHER_PERSON, PASSWORD, Hospital, Laboratory, laboratory, sample
from tests.support.certificates import Authority
from tests.support.command_line import labrelay
from tests.support.running import QUICK, hl7_channel, make_running_site, running_app
from tests.support.senders import lines, send_blocks
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.waiting import until

FIGURES = Path(__file__).parents[2] / "docs" / "figures-days.md"
MiB = 1 << 20
REASON = "asked the ward"
NAME = "mohan"


class Hand:
    """One person at the page.

    Attributes:
        told: what was done -> clicks, fields that were filled, seconds.
    """

    def __init__(self, visitor: Visitor) -> None:
        self.visitor, self.page = visitor, visitor.page
        self.clicks = self.fields = 0
        self.told: dict[str, tuple[int, int, float]] = {}

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        self.clicks = self.fields = 0
        began = time.monotonic()
        yield
        self.told[what] = self.clicks, self.fields, time.monotonic() - began

    async def click(self, where: Locator) -> None:
        self.clicks += 1
        async with self.page.expect_navigation():
            await where.click()

    async def follow(self, words: str) -> None:
        self.clicks += 1
        await self.visitor.follow(words)

    async def fill(self, within: Any, label: str, text: str) -> None:
        self.fields += 1
        await within.get_by_label(label, exact=True).fill(text)

    async def tick(self, within: Any, label: str) -> None:
        self.clicks += 1
        await within.get_by_label(label, exact=True).check()


@asynccontextmanager
async def hand(browser: Browser, base: str) -> AsyncIterator[Hand]:
    context = await browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(240_000)
    try:
        yield Hand(Visitor(await context.new_page(), base))
    finally:
        await context.close()


def kept(day: str, told: Mapping[str, tuple[int, int, float]]) -> None:
    """No trouble may take more clicks than the table has."""
    text = FIGURES.read_text(encoding="utf-8")
    rows = {one[0]: one for one in re.findall(rf"^\| {day} \| ([^|]+) \| (\d+) \| (\d+) \| ([\d.]+) \|$", text, re.M)}
    if os.environ.get("LABRELAY_FIGURES"):
        made = "".join(f"| {day} | {what} | {c} | {f} | {s:.1f} |\n" for what, (c, f, s) in told.items())
        text = re.sub(rf"^\| {day} \|.*\n", "", text, flags=re.M)
        FIGURES.write_text(text + made, encoding="utf-8")
        return
    assert {what: (int(row[1]), int(row[2])) for what, row in rows.items()} == {
        what: (clicks, fields) for what, (clicks, fields, _) in told.items()
    }


# -- a technician ------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    monkeypatch.setattr(reserve, "RESERVE_BYTES", 4 * MiB)
    monkeypatch.setattr(reserve, "MARGIN_BYTES", 20 * MiB)
    monkeypatch.setattr(reserve, "STEP_BYTES", MiB)
    monkeypatch.setattr("engine.store.journal.upkeep.RESERVE_LOOK_S", 0.02)
    (tmp_path / "site").mkdir()
    with small_disk(tmp_path / "site" / "var", 96 * MiB) as made:
        yield made


async def test_a_technicians_day(tmp_path: Path, disk: SmallDisk) -> None:
    async with laboratory(tmp_path / "site") as here, chromium() as browser, hand(browser, here.base) as asha:
        await asha.visitor.log_in("asha")
        with asha.doing("an analyzer is silent"):
            await the_silent_analyzer(asha)
        with asha.doing("a critical result is held"):
            await the_critical_result(here, asha)
        with asha.doing("two persons under one number"):
            await the_two_persons(here, asha)
        with asha.doing("the server is down"):
            await the_server_that_is_down(here, asha)
        with asha.doing("the disk is full"):
            await the_full_disk(here, asha, disk)
        assert asha.visitor.faults == []
        kept("technician", asha.told)


async def the_silent_analyzer(asha: Hand) -> None:
    todo = asha.page.locator("#todo li").filter(has_text="serology silent")
    await expect(todo).to_be_visible()
    await asha.click(asha.page.locator("#channels").get_by_role("link", name="serology").first)
    await expect(asha.page.locator("h1")).to_contain_text("silent")


async def the_critical_result(here: Laboratory, asha: Hand) -> None:
    before = len(here.hospital.taken)
    await asha.follow("Held results")
    row = asha.page.get_by_role("row").filter(has_text="critical value")
    await expect(row.get_by_role("link", name=str(here.number(CRITICAL)), exact=True)).to_be_visible()
    await asha.click(row.get_by_role("link", name="Decide"))
    form = asha.page.locator("form.release")
    await expect(asha.page.locator("p.value").first).to_contain_text("65 g/L")
    await asha.fill(form, "Who was informed", "Dr. Rao, ward 3")
    await asha.tick(form, "The value was read back")
    await asha.fill(form, "Reason", "confirmed from a second sample")
    await asha.click(form.get_by_role("button", name=" 65 g/L"))
    await until(lambda: len(here.hospital.taken) == before + 1)


async def the_two_persons(here: Laboratory, asha: Hand) -> None:
    """Both are beside each other; the result goes to a record of its own."""
    before = len(here.hospital.taken)
    await asha.follow("Held results")
    row = asha.page.get_by_role("row").filter(has=asha.page.get_by_role("link", name=str(here.number(OTHER_PERSON))))
    await asha.click(row.get_by_role("link", name="Compare"))
    compared = asha.page.locator("table.compare")
    await expect(compared.get_by_role("row").filter(has_text="Name")).to_contain_text("differs")
    for name in ("Joshi Sunita", "Kumar Anil"):
        await expect(compared).to_contain_text(name)
    form = asha.page.locator("#answer-other1")
    await asha.fill(form, "Reason", REASON)
    await asha.click(form.get_by_role("button", name="are two persons"))
    await until(lambda: len(here.hospital.taken) == before + 1)
    await expect(asha.page.locator("h1")).to_contain_text(str(here.number(OTHER_PERSON)))


async def the_server_that_is_down(here: Laboratory, asha: Hand) -> None:
    """The page says why nothing arrives and what waits; once the server is back, all of it arrives by itself."""
    port = await here.hospital.go_down()
    before = len(here.hospital.taken)
    coded = sample("mindray_bc5380/05-all-coded.hl7").replace(b"ORD-95|2603020015", b"ORD-99|2603020019")
    (answer,) = await send_blocks(here.port("haematology"), [coded.replace(b"4760|P", b"4769|P")])
    assert lines(answer)["MSA"][1] == "AA", "results are taken all the same"
    await asha.follow("Overview")
    main = asha.page.locator("main")
    rows = main.get_by_role("row").filter(has=asha.page.get_by_role("link", name="hospital", exact=True))
    await until_reloaded(asha, rows.filter(has_text="not reachable"), is_there=True)
    await asha.click(main.get_by_role("link", name="hospital", exact=True).first)
    await expect(asha.page.locator("h1")).to_contain_text("hospital")
    await expect(main).to_contain_text("connection refused")
    await here.hospital.start(port)
    await until(lambda: len(here.hospital.taken) == before + 1)


async def the_full_disk(here: Laboratory, asha: Hand, disk: SmallDisk) -> None:
    """No analyzer gets an answer, so none deletes what it has; with room again its results are taken."""
    disk.fill()
    analyzer = asyncio.create_task(keeps_sending(here))
    await until(lambda: here.app.journal.full, 240.0)
    await asha.follow("Overview")
    entry = asha.page.locator("#todo li").filter(has_text="disk is full")
    await until_reloaded(asha, entry, is_there=True)
    await expect(entry).to_contain_text("MiB")
    analyzer.cancel()
    disk.free()
    await until(lambda: not here.app.journal.full, 240.0)
    (answer,) = await send_blocks(here.port("haematology"), [count_of(0)])
    assert lines(answer)["MSA"][1] == "AA"
    await until_reloaded(asha, entry, is_there=False)


def count_of(number: int) -> bytes:
    coded = sample("mindray_bc5380/05-all-coded.hl7").replace(
        b"ORD-95|2603020015", b"ORD-%d|26030300%d" % (number, number)
    )
    return coded.replace(b"4760|P", b"9%05d|P" % number)


async def keeps_sending(here: Laboratory) -> None:
    """Until it gets no answer."""
    for number in count(1):
        await send_blocks(here.port("haematology"), [count_of(number)])


async def until_reloaded(asha: Hand, entry: Locator, *, is_there: bool) -> None:
    async with asyncio.timeout(240.0):
        while bool(await entry.count()) is not is_there:
            await asha.page.reload()


# -- an administrator --------------------------------------------------------------------------------------------------


async def test_an_administrators_day(tmp_path: Path) -> None:
    """The first user and the other ones by the page; certificate, alerts and backup in a file, as the page says."""
    site, authority, phone = tmp_path / "site", Authority(tmp_path / "authority"), Hospital()
    away = {"kind": "http", "url": await phone.start(), **QUICK}
    (copies := tmp_path / "copies").mkdir()
    make_running_site(site, {"lab": hl7_channel()}, {"lab-fhir": away}, web="127.0.0.1:0", practice=False)
    try:
        async with chromium() as browser:
            told = await the_first_morning(site, browser)
            pair = authority.sign("127.0.0.1")
            change(site, web={"listen": "127.0.0.1:0", "tls": {"cert": str(pair.cert), "key": str(pair.key)}})
            told |= await the_afternoon(site, browser, phone, copies)
    finally:
        await phone.stop()
    kept("administrator", told)


def change(site: Path, **more: Any) -> None:
    """The file of the site, as a person edits it."""
    file = site / "config" / "labrelay.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text(encoding="utf-8")) | more), encoding="utf-8")


def base_of(app: App, scheme: str) -> str:
    assert app.page is not None
    return f"{scheme}://127.0.0.1:{app.page.port}"


async def the_first_morning(site: Path, browser: Browser) -> dict[str, tuple[int, int, float]]:
    async with running_app(site) as app, hand(browser, base_of(app, "http")) as mohan:
        page = mohan.page
        with mohan.doing("the first user"):
            await page.goto(re.sub(r"^http://[^/]+", base_of(app, "http"), app.set_up_link))
            await mohan.fill(page, "Name", NAME)
            await mohan.fill(page, "New password", PASSWORD)
            await mohan.fill(page, "The new password again", PASSWORD)
            await mohan.click(page.get_by_role("button", name="Go on"))
            await expect(page.locator("h1")).to_be_visible()
        with mohan.doing("another user"):
            await mohan.follow("Users")
            await mohan.fill(page, "Name", "asha")
            await page.get_by_label("Role", exact=True).select_option("operator")
            await mohan.fill(page, "New password", PASSWORD)
            await mohan.click(page.get_by_role("button", name="Add", exact=True))
            await expect(page.get_by_role("row").filter(has_text="asha")).to_contain_text("operator")
        assert mohan.visitor.faults == []
        return mohan.told


async def the_afternoon(
    site: Path, browser: Browser, phone: Hospital, copies: Path
) -> dict[str, tuple[int, int, float]]:
    async with running_app(site) as app, hand(browser, base_of(app, "https")) as mohan:
        page = mohan.page
        with mohan.doing("a certificate"):
            await mohan.visitor.log_in(NAME)
            await mohan.follow("System")
            await until_reloaded(
                mohan, page.locator("main").get_by_text(re.compile("certificate", re.I)), is_there=True
            )
        with mohan.doing("alerts"):
            await mohan.follow("Alerts")
            await expect(page.locator("#no-alerts")).to_be_visible()
            sink = {"kind": "http", "url": phone.url, "body": '{"text": "{subject}"}'}
            change(site, alerts={"sinks": {"phone": sink}})
            await commanded(site, "reload")
            before = len(phone.taken)
            async with asyncio.timeout(240.0):
                while (await asyncio.to_thread(labrelay, "alert", "test", site=site)).code:
                    continue  # "it is being opened; try again"
            await until(lambda: len(phone.taken) > before)
            await mohan.follow("Alerts")
            await expect(page.locator("#no-alerts")).to_have_count(0)
        with mohan.doing("a backup"):
            change(site, backup={"folder": str(copies)})
            await commanded(site, "reload")
            await commanded(site, "backup", "now")
            await mohan.follow("System")
            await expect(page.locator("main")).to_contain_text(str(copies))
            verified = page.locator("dl.facts > div").filter(has_text="Last verified backup")
            await until_reloaded(mohan, verified.filter(has_text="none yet"), is_there=False)
        with mohan.doing("a restore for practice"):
            assert "lost" in await commanded(site, "backup", "drill")  # the page has those of the daemon alone
        assert mohan.visitor.faults == []
        return mohan.told


async def commanded(site: Path, *words: str) -> str:
    ran = await asyncio.to_thread(labrelay, *words, site=site)
    assert ran.code == 0, ran.err
    return ran.out
