"""Pages on paper: a sheet of A4 has the laboratory, the period and the person, a real table, and no menu."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.features.quality_control.rows import deciding, reading
from engine.features.quality_control.rules.lots import IN_FORCE, Lot
from engine.features.quality_control.rules.tables import TargetRow
from engine.model.content.quality_controls import ControlResult
from engine.store.journal import Journal
from tests.e2e.chromium import Visitor, chromium, visitor
from tests.e2e.laboratory import laboratory

SHEET = {"width": 680, "height": 1000}  # A4 at 96 dots an inch, without its margins
LANGUAGES = ("en", "hi")
PRINTED = (
    "/shift?from=24h",
    "/reports",
    "/messages?since=all",
    "/acts",
    "/held",
    "/dead-letters/each",
    "/system",
    "/codes",
    "/orders?tab=waiting",
    "/orders/worklist",
)
# The colours of the words and rules of a worklist.
COLOURS = """() => [...document.querySelectorAll("table.sheet th, table.sheet td, table.sheet td *")].flatMap((one) => {
  const style = getComputedStyle(one);
  return [style.color, one.matches("th, td") ? style.borderBottomColor : style.color];
})"""
# What is on the sheet: whether the menu and the fields are, how the first table is laid out, and its heading; shadows.
LOOK = """() => {
  const there = (of) => [...document.querySelectorAll(of)].some((one) => one.checkVisibility());
  const table = document.querySelector("main table");
  return {
    controls: there("nav") || there(".search") || there("button") || there(".skip"),
    tables: table && getComputedStyle(table).display,
    rows: table && getComputedStyle(table.querySelector("tbody tr")).display,
    headings: table && there("main thead th"),
    shadows: [...document.querySelectorAll("main tr")].some((one) => getComputedStyle(one).boxShadow !== "none"),
    head: document.querySelector(".printed").checkVisibility() && document.querySelector(".printed").innerText,
  };
}"""


async def printed(one: Visitor, path: str) -> dict[str, Any]:
    """A page as it is on paper."""
    await one.open(path)
    await one.page.emulate_media(media="print")
    await one.page.set_viewport_size(SHEET)  # type: ignore[arg-type]
    found: dict[str, Any] = await one.page.evaluate(LOOK)
    return found


async def test_each_page_on_paper(tmp_path: Path) -> None:
    wrong = []
    async with laboratory(tmp_path / "site") as here, chromium() as browser, visitor(browser, here) as admin:
        await admin.log_in("mohan")
        for path in PRINTED:
            for language in LANGUAGES:
                found = await printed(admin, f"{path}{'&' if '?' in path else '?'}lang={language}")
                faults = [f"too wide: {element}" for element in await admin.too_wide()]
                faults += ["controls"] * found["controls"]
                faults += ["shadows, which Firefox prints as lines around a row"] * found["shadows"]
                if found["tables"] is not None:
                    laid_out = (found["tables"], found["rows"], found["headings"])
                    faults += [] if laid_out == ("table", "table-row", True) else [str(laid_out)]
                faults += [] if "mohan" in found["head"] else [f"head: {found['head']}"]
                wrong += [f"{path} {language}: {fault}" for fault in faults]
        assert await period(admin)
        assert await worklist(admin)
        wrong += admin.faults
    assert not wrong, "\n".join(wrong)


BY = {"actor": "asha", "reason": "a month"}
SIGNED = ["n", "Mean", "SD", "CV %", "Bias %", "Looked at by, date", "Head of laboratory, date"]


async def measured(journal: Journal, levels: int) -> str:
    """A month with 31 controls of each level, some of which fail, an event, and one that is left out; it is over."""
    first = datetime(2026, 1, 1, 9, tzinfo=ZoneInfo("Asia/Kolkata"))
    lots = [Lot("chemistry", f"QC-{at}", "Chemtrol", f"L{at}", f"A{at}", "2027-08-31") for at in range(levels)]
    rows = [TargetRow("chemistry", "", "GLU", one.level, one.lot, "mmol/L", "5.40", "0.10", "lab") for one in lots]
    await journal.run(deciding.load, lots, rows, file="controls.csv", **BY)
    await journal.run(deciding.accept, [one.id for one in reading.list_targets(journal)], IN_FORCE, 1, **BY)
    for day in range(31):
        for place, lot in enumerate(lots):
            value = "5.80" if day == 20 else "5.61" if (day + place) % 4 == 0 else ("5.38", "5.42")[day % 2]
            at_us = round((first + timedelta(days=day, minutes=place)).timestamp() * 1e6)
            one = ControlResult(test="GLU", number=lot.number, value=value, unit="mmol/L", at_us=at_us)
            made = await journal.run(deciding.enter, "chemistry", one, **BY)
        if day in (5, 15):
            await journal.run(deciding.exclude, made["point"], "clot", **BY)
            await journal.run(deciding.add_event, "chemistry", "", at_us + 1, "calibration", **BY)
    return "/quality/month?channel=chemistry&test=GLU&month=2026-01"


@pytest.mark.parametrize("levels", [2, 3, 4])
async def test_a_month_of_controls_is_one_sheet_to_sign(tmp_path: Path, levels: int) -> None:
    async with laboratory(tmp_path / "site") as here, chromium() as browser, visitor(browser, here) as admin:
        path = await measured(here.app.journal, levels)
        await admin.log_in("mohan")
        for language in LANGUAGES:
            found = await printed(admin, f"{path}&lang={language}")
            assert (found["controls"], await admin.too_wide()) == (False, [])
            assert await admin.page.locator(".levey").count() == levels
            sheet = await admin.page.pdf(prefer_css_page_size=True)
            assert len(re.findall(rb"/Type\s*/Page\b", sheet)) == 1, language
        await admin.open(f"{path}&lang=en")
        text = await admin.text()
        assert [one for one in SIGNED if one not in text] == []
        assert "rejected 1-2s" in text
        assert admin.faults == []


async def period(one: Visitor) -> bool:
    """Whether the report of a shift says which time it is about, and is written to paper."""
    await printed(one, "/shift?from=24h&lang=en")
    text = await one.text()
    return " - " in text.splitlines()[2] and (await one.page.pdf(format="A4")).startswith(b"%PDF")


async def worklist(one: Visitor) -> bool:
    """Whether the worklist says when it was made, has tube, patient and the analyzer's code, and uses no colour."""
    await printed(one, "/orders/worklist?lang=en")
    text = await one.text()
    colours = set(await one.page.evaluate(COLOURS))
    said = re.search(r"Made at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text) is not None
    rows = await one.page.locator("table.sheet tbody tr").all_inner_texts()
    tube = any("26030009" in row and "MR-1012" in row and "10" in row.split() for row in rows)
    return said and tube and colours <= {"rgb(0, 0, 0)"} and (await one.page.pdf(format="A4")).startswith(b"%PDF")
