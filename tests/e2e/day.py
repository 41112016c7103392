"""A day of three people at the page: trouble is noticed, explained and corrected, and the audit trail has it by name.

None of it is possible for a person who may only look. Once with scripts, once with scripts off."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.e2e.chromium import Visitor, chromium, visitor
from tests.e2e.laboratory import CRITICAL, MISTYPED, REFUSED, RIGHT, Laboratory, laboratory
from tests.support.waiting import until

VALUE = "65 g/L"  # of the critical result
RELEASED_BECAUSE, CORRECTED_BECAUSE = "confirmed from a second sample", "a letter O in the number"
CODE, LOINC, UNIT = "6690-2", "26464-8", "10*9/L"  # leukocytes: counted by hand here, and not by the machine
CODED_BECAUSE = "leukocytes are counted by hand"
# Under which name the audit trail has which act, once the day is over.
ACTS = {("asha", "unmask"), ("asha", "edit"), ("asha", "release"), ("esther", "table-set")}
# Addresses of acts that a viewer might guess or be sent.
GUESSED = (
    "/do/retry?all=1",
    "/do/release?all=1",
    "/do/reject?all=1",
    "/messages/{refused}/edit",
    "/acts",
    "/users",
    "/codes/row",
)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Laboratory]:
    async with laboratory(tmp_path / "site") as made:
        yield made


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "with scripts off"])
async def test_a_day_of_three_people(here: Laboratory, browser: Browser, scripts: bool) -> None:
    as_told = {"java_script_enabled": scripts}
    async with (
        visitor(browser, here, **as_told) as asha,
        visitor(browser, here, **as_told) as esther,
        visitor(browser, here, **as_told) as mohan,
        visitor(browser, here, **as_told) as vani,
    ):
        for name, person in (("asha", asha), ("esther", esther), ("mohan", mohan), ("vani", vani)):
            await person.log_in(name)
        await the_silent_analyzer_is_noticed(asha)
        await nothing_can_be_done(here, vani)
        await the_refused_result_is_corrected(here, asha)
        await the_held_result_is_released(here, asha)
        await the_wrong_code_is_corrected(esther)
        await the_audit_trail_has_it(mohan)
        assert asha.faults + esther.faults + mohan.faults + vani.faults == []


async def the_silent_analyzer_is_noticed(asha: Visitor) -> None:
    await asha.open("/?lang=en")
    await expect(asha.page.locator("#todo")).to_contain_text("serology silent")
    async with asha.page.expect_navigation():
        await asha.page.locator("#channels").get_by_role("link", name="serology").first.click()
    await expect(asha.page.locator("h1")).to_contain_text("silent")


async def the_refused_result_is_corrected(here: Laboratory, asha: Visitor) -> None:
    """Found in its group, explained by its time line and its contents, corrected with a preview, and delivered."""
    page, refused = asha.page, here.number(REFUSED)
    await asha.follow("Dead letters")
    group = page.get_by_role("row").filter(has_text="REFUSED")
    await expect(group).to_contain_text("trying again would not help")
    async with page.expect_navigation():
        await group.get_by_role("link").first.click()
    await asha.follow(str(refused))
    await expect(page.locator(".timeline")).to_contain_text("HTTP 422")
    await asha.follow("Text")
    await page.get_by_label("Look at the contents, for").fill("the hospital refuses it")
    await asha.press("Show the contents")
    await expect(page.locator("main")).to_contain_text(MISTYPED)

    await asha.follow("Edit")
    await page.get_by_label("Look at the contents, for").fill("the number is mistyped")
    await asha.press("Show the text")
    text = page.get_by_label("Text", exact=True)
    await text.fill((await text.input_value()).replace(MISTYPED, RIGHT))
    await asha.press("Show what this changes")
    await expect(page.locator(".diff")).to_contain_text(RIGHT)
    await page.get_by_label("Reason").fill(CORRECTED_BECAUSE)
    before = len(here.hospital.taken)
    await asha.press("Take it as a new message")
    await until(lambda: len(here.hospital.taken) == before + 1)
    assert RIGHT.encode() in here.hospital.taken[-1]


async def the_held_result_is_released(here: Laboratory, asha: Visitor) -> None:
    page, before = asha.page, len(here.hospital.taken)
    await asha.follow("Held results")
    held = page.get_by_role("row").filter(has_text="critical value")
    await expect(held.get_by_role("link", name=str(here.number(CRITICAL)), exact=True)).to_be_visible()
    async with page.expect_navigation():
        await held.get_by_role("link", name="Decide").click()
    form = page.locator("form.release")
    await expect(form).to_contain_text("hospital")
    await expect(page.locator("p.value").first).to_contain_text(VALUE)
    assert len(here.hospital.taken) == before, "a look alone sends nothing"
    await form.get_by_label("Reason").fill(RELEASED_BECAUSE)
    async with page.expect_navigation():
        await form.get_by_role("button", name=f" {VALUE}").click()
    await until(lambda: len(here.hospital.taken) == before + 1)
    await expect(page).to_have_url(re.compile(r"/operations/\d+"))


async def the_wrong_code_is_corrected(esther: Visitor) -> None:
    """A code of a table is wrong since a week: corrected with a preview; the results it concerns are downloaded."""
    page = esther.page
    await esther.follow("Unmapped codes")
    await page.get_by_text("Correct another code").click()
    await page.locator("#of").select_option("haematology")
    await page.get_by_label("Code", exact=True).fill(CODE)
    await esther.press("Go on")
    await page.get_by_label("Unit as it is sent").fill(UNIT)
    await page.get_by_label("LOINC code").fill(LOINC)
    await page.get_by_label("Unit in documents").fill(UNIT)
    await page.get_by_label("UCUM unit").fill(UNIT)
    await esther.press("Show what this changes")
    await expect(page.locator("main")).to_contain_text("Another document")
    await page.get_by_label("Reason").fill(CODED_BECAUSE)
    await esther.press("Put it in force")
    await expect(page.get_by_role("status").first).to_contain_text("In force")

    await esther.open("/affected?channel=haematology&since=7d&lang=en")
    await expect(page.get_by_role("status").first).to_contain_text("All was looked at.")
    await page.get_by_label("Look at the results, for").fill("the ward is told")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download all (CSV)").click()
    listed = (await (await download.value).path()).read_text(encoding="utf-8-sig")
    assert CODE in listed
    assert LOINC in listed


async def nothing_can_be_done(here: Laboratory, vani: Visitor) -> None:
    """A viewer sees the same lists, without an act upon them; and an address of one is refused."""
    for path in ("/dead-letters", "/dead-letters/each", "/held", f"/messages/{here.number(REFUSED)}"):
        await vani.open(f"{path}?lang=en")
        await expect(vani.page.locator("h1")).to_be_visible()
        looks = "".join(f":not([href^='/{one}'])" for one in ("held/", "conflicts/", "destinations/", "codes", "help/"))
        acts = f"main .offer{looks}, main form[method=post]"
        offered = await vani.page.locator(acts).count()
        assert offered == 0, path
        assert MISTYPED not in await vani.text()
    for path in GUESSED:
        assert await vani.open(path.replace("{refused}", str(here.number(REFUSED)))) == 403, path


async def the_audit_trail_has_it(mohan: Visitor) -> None:
    await mohan.follow("Acts of persons")
    rows = await mohan.page.locator("tbody tr").all_inner_texts()
    found = {(name, act) for name, act in ACTS if any(name in row and re.search(rf"\b{act}\b", row) for row in rows)}
    assert found == ACTS, rows
    said = "\n".join(rows)
    assert RELEASED_BECAUSE in said
    assert CORRECTED_BECAUSE in said
    assert "vani" not in "\n".join(row for row in rows if "log-in" not in row and "user-added" not in row)
