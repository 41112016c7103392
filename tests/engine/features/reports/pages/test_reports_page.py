"""The reports on the page: the figures of the journal, the period, files as the command writes them, and no patient."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.model.process.clock import ManualClock, from_us
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from tests.support import journals
from tests.support.evil_texts import EVIL, FORBIDDEN
from tests.support.journals import NOW_US
from tests.support.status_server import Element, Page, read_html, running
from tests.support.status_sites import quiet_site

SITE = replace(quiet_site(), now=from_us(NOW_US))  # 2026-03-01 11:30 in Kolkata
CODE = "".join(EVIL)[:40]
COUNTS = (
    '{"final": 4, "again": 1, "collected-delivered": {"times": {"60": 1, "3600": 2}, "missing": 1},'
    ' "received-delivered": {"times": {"1": 3}, "impossible": 1}}'
)


def filled(batch: Batch) -> None:
    batch.execute("INSERT INTO counter VALUES ('2026-03-01', '', '', 'ordered', 3)")  # by a person: of no channel
    for day, n in (("2026-03-01", 12), ("2026-02-10", 5)):
        batch.execute("INSERT INTO counter VALUES (?, 'chemistry', '', 'received', ?)", (day, n))
        batch.execute("INSERT INTO counter VALUES (?, 'chemistry', '', 'parts_seen', 24)", (day,))
        batch.execute("INSERT INTO counter VALUES (?, 'chemistry', '', 'parts_busy', 6)", (day,))
    batch.execute("INSERT INTO result_day VALUES ('2026-03-01', 'chemistry', ?, 1, ?)", (CODE, COUNTS))
    batch.execute("INSERT INTO result_day VALUES ('2026-03-01', 'chemistry', '', 1, '{\"final\": 2}')")
    for number, (kind, name, state) in enumerate(
        (("channel", "chemistry", "silent"), ("labrelay", "", "not_running"), ("labrelay", "", "running")), 1
    ):
        row = (number, kind, name, state, NOW_US - 7_200_000_000, NOW_US - 3_600_000_000)
        batch.execute("INSERT INTO downtime VALUES (?, ?, ?, ?, ?, ?, 0)", row)
    hour = 3_600_000_000
    for number, minutes in ((7, 12), (8, 0), (9, 47)):  # minutes until a person has taken it; 0: none has
        taken = (NOW_US - hour + minutes * 60_000_000, 70 + number) if minutes else (0, 0)
        called = (number, number, "chemistry", NOW_US - hour, *taken, NOW_US - 60_000_000 if number == 8 else 0)
        batch.execute("INSERT INTO critical_call VALUES (?, ?, ?, ?, ?, ?, ?)", called)


@operation(priority=Priority.SETTLE)
def _formula(batch: Batch) -> None:
    batch.execute("INSERT INTO result_day VALUES ('2026-03-01', 'chemistry', '=1+1', 1, '{\"final\": 2}')")


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    before = journals.opened(tmp_path, clock=ManualClock())
    before.run_alone(filled)
    before.close()
    async with journals.running(tmp_path, clock=ManualClock()) as made:
        yield made


@pytest.fixture
async def page(journal: Journal) -> AsyncIterator[Page]:
    async with running(SITE, reader=journal) as started:
        yield started


async def read(page: Page, address: str, status: int = 200) -> Element:
    answer, text = await page.get(address)
    assert answer.status == status, address
    assert [one for one in FORBIDDEN if one in text] == []
    return read_html(text)


def tables(html: Element) -> list[list[list[str]]]:
    """The cells of each row of each table."""
    return [
        [[cell.text for cell in (*row.all("th"), *row.all("td"))] for row in table.one("tbody").all("tr")]
        for table in figures(html)
    ]


def figures(html: Element) -> list[Element]:
    """The tables of the reports, without those of the charts."""
    of_charts = [id(table) for fold in html.all("details", class_="fold") for table in fold.all("table")]
    return [table for table in html.all("table") if id(table) not in of_charts]


async def test_it_begins_with_this_month_and_has_its_figures(page: Page) -> None:
    html = await read(page, "/reports?lang=en")
    text = html.one("main").text
    assert "2026-03-01 - 2026-03-01" in text
    assert "LabRelay 0.1.0 · Asia/Kolkata · 2026-03-01 11:30:00" in text
    volume, turnaround, use, down, unmapped, callback, calls = tables(html)
    assert volume == [["-", "0", "0", "0", "0", "3", "0", "0"], ["chemistry", "12", "0", "0", "0", "0", "7", "6"]]
    stages = {row[1]: row[2:] for row in turnaround}
    assert stages["collected to delivery"] == ["3", "1 h", "1 h", "1 h", "1", "0"]
    assert stages["receipt to delivery"] == ["3", "1 s", "1 s", "1 s", "0", "1"]
    assert stages["collected to result"] == ["0", "-", "-", "-", "0", "0"]
    assert use == [["chemistry", "2.0", "0.5", "25.0 %"]]
    assert down == [["chemistry", "silent", "1", "1 h"], ["LabRelay", "LabRelay did not run", "1", "1 h"]]
    assert unmapped == [["chemistry", "2"]]
    assert callback == [["chemistry", "3", "2", "1", "1", "33.3 %", "47 min", "-"]]
    assert [row[:2] + row[3:] for row in calls] == [
        ["8", "chemistry", "-", "2026-03-01 11:29:00", "-"],
        ["9", "chemistry", "47 min", "-", "79"],
        ["7", "chemistry", "12 min", "-", "77"],
    ]


@pytest.mark.parametrize(
    ("by", "name", "place"), [("shift", "Shift", "06:00"), ("month", "Month", "2026-03"), ("test", "Shift", "06:00")]
)
async def test_the_callback_of_critical_values_by_shift_and_month(page: Page, by: str, name: str, place: str) -> None:
    """Reports that have no such rows are by analyzer."""
    html = await read(page, f"/reports?lang=en&by={by}")
    heads = [table.all("th")[0].text for table in figures(html)]
    assert (heads[0], heads[5], tables(html)[5][0][0]) == ("Test" if by == "test" else "Analyzer", name, place)
    _, text = await page.get(f"/reports.csv?lang=en&by={by}&report=callback")
    assert text.splitlines()[0].split(",")[2:6] == ["shift", "values", "taken", "never"]
    assert text.splitlines()[1].endswith("3,2,1,1,33.3,2820,,0")


async def test_what_the_charts_show_is_beside_them_as_tables(page: Page) -> None:
    html = await read(page, "/reports?lang=en&from=2026-02-27")
    folds = {one.one("summary").text: one for one in html.all("details", class_="fold")}
    assert list(folds)[:2] == ["As a table: Turnaround by day", "As a table: Results by day"]
    rows = {
        title: [[cell.text for cell in (row.one("th"), *row.all("td"))] for row in fold.one("tbody").all("tr")]
        for title, fold in folds.items()
    }
    assert rows["As a table: Turnaround by day"] == [["02-27", "-", "-"], ["02-28", "-", "-"], ["03-01", "60", "60"]]
    assert rows["As a table: Results by day"] == [["02-27", "0"], ["02-28", "0"], ["03-01", "7"]]
    figures = {one.one("dt").text: one.one("dd").text for one in html.one("dl", class_="figures").all("div")}
    assert figures == {"Turnaround: Median": "1 h", "Turnaround: 90 %": "1 h", "Results": "7", "Final results": "6"}


async def test_the_month_before_and_rows_by_day_and_test(page: Page) -> None:
    html = await read(page, "/reports?lang=en")
    links = {one.text: one.attributes["href"] for one in html.one("main").all("a")}
    before = await read(page, links["The month before"])
    assert "2026-02-01 - 2026-02-28" in before.one("main").text
    assert tables(before)[0] == [["chemistry", "5", "0", "0", "0", "0", "0", "0"]]
    days = await read(page, "/reports?lang=en&from=2026-02-01&by=day")
    assert [row[0] for row in tables(days)[0]] == ["2026-02-10", "2026-03-01"]
    tests = await read(page, "/reports?lang=en&by=test")
    assert tables(tests)[0][0] == ["chemistry *", "-", "-", "-", "-", "-", "2", "2"]  # a message is of no one test
    heads = [table.one("thead").all("th")[0].text for table in figures(tests)]
    assert heads[:2] == ["Test", "Test"]
    none = await read(page, "/reports?lang=en&channel=urinalysis")
    assert tables(none) == []
    assert none.one("main").text.count("There is none.") == 7


@pytest.mark.parametrize(
    "query", ["from=yesterday", "from=2026-03-02&until=2026-03-01", "from=2020-01-01", "until=9999-12-31"]
)
async def test_a_wrong_period_is_a_sentence(page: Page, query: str) -> None:
    html = await read(page, f"/reports?lang=en&{query}", 400)
    assert "400 days" in html.one("main").text
    assert (await page.get(f"/reports.csv?report=volume&{query}"))[0].status == 400


async def test_each_report_is_a_file_as_the_command_writes_it(page: Page) -> None:
    html = await read(page, "/reports?lang=en&from=2026-02-01&by=day")
    links = [one.attributes["href"] for one in html.one("main").all("a") if "(CSV)" in one.text]
    heads = []
    for link in links:
        answer, text = await page.get(link)
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/csv")
        heads.append(text.splitlines()[0])
        if "report=volume" in link:
            assert [line.split(",")[:4] for line in text.splitlines()[1:]] == [
                ["2026-02-10", "", "", "5"],
                ["2026-03-01", "", "", "12"],
            ]
    assert len(heads) == 7
    assert heads[0].startswith("day,channel,test,received,")
    assert (await page.get("/reports.csv?report=patients"))[0].status == 400


async def test_a_code_that_begins_a_formula_is_none_in_a_file(page: Page, journal: Journal) -> None:
    await journal.run(_formula)
    _, text = await page.get("/reports.csv?report=volume&by=test")
    assert ",=1+1," not in text
