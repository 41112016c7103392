"""The page about one analyzer's line."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from engine.features.quality_control.rows import deciding
from engine.features.quality_control.rules.maintenance import Job
from engine.model.process.clock import to_us
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from tests.support import journals
from tests.support.status_server import Element, read_html, running
from tests.support.status_sites import NOW, troubled_site

About = Callable[..., Awaitable[Element]]


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with journals.running(tmp_path) as made:
        yield made


@pytest.fixture
def page_about(journal: Journal) -> About:
    async def about(name: str, more: str = "") -> Element:
        async with running(troubled_site(), reader=journal) as page:
            answer, text = await page.get(f"/analyzer?name={name}{more}")
            assert answer.status == 200
        return read_html(text)

    return about


async def test_the_line_is_told_step_by_step_newest_first_with_verdicts(page_about: About) -> None:
    root = await page_about("haematology-1")
    steps = [row.text for row in root.one("section", id="line-steps").one("tbody").all("tr")]
    assert [step.split(" ", 1)[1] for step in steps] == [
        "LabRelay ACK",
        "analyzer frame 1, 57 bytes checksum right",
        "note frame with a wrong checksum, refused (checksum A1, computed 53)",
        "LabRelay NAK",
        "analyzer frame 1, 57 bytes checksum wrong",
        "LabRelay ACK",
        "analyzer ENQ",
    ]
    assert steps[0].startswith("09:24:59.100 ")  # in the site's zone


async def test_link_faults_are_said_in_words(page_about: About) -> None:
    root = await page_about("haematology-1")
    rows = [row.text for row in root.one("section", id="line-faults").one("tbody").all("tr")]
    assert rows == [
        "frame with a wrong checksum, refused 3",
        "the sender stopped amid a session 1",
    ]
    drawn = [one.attributes["width"] for one in root.one("section", id="line-faults").all("rect", class_="part")]
    assert drawn == ["100", "33"]
    assert "Bytes outside a session 17" in root.one("section", id="line-head").text
    assert "Line no connection" in root.one("section", id="line-head").text


async def test_a_tee_says_what_it_has_heard(page_about: About) -> None:
    head = (await page_about("point-of-care")).one("section", id="line-head").text
    assert "Results seen 64" in head
    assert "acknowledged by the middleware 63" in head
    assert "refused by the middleware 1" in head
    assert "Orders seen 3" in head
    assert "Not kept 2" in head


async def test_lots_lead_to_the_search_for_them(page_about: About) -> None:
    root = await page_about("coagulation", "&lang=hi")
    table = root.one("section", id="line-lots")
    assert [link.attributes["href"] for link in table.all("a")] == [
        "/reagents?lot=254169&lang=hi",
        "/reagents?lot=254005&lang=hi",
    ]
    first, second = table.one("tbody").all("tr")
    assert len(first.all("span", class_="attention")) == 1  # expired on 28 February, and it is March
    assert second.all("span", class_="attention") == []


async def test_the_parts_are_asked_for_by_the_script(journal: Journal) -> None:
    async with running(troubled_site(), reader=journal) as page:
        _, text = await page.get("/analyzer?name=haematology-1&lang=hi")
        root = read_html(text)
        poll = root.one("body").attributes["data-poll"]
        answer, data = await page.get(poll)
        update = json.loads(data)
    assert answer.content_type == "application/json"
    for name, html in update["parts"].items():
        assert read_html(html).children[0].attributes["id"] == name
        assert name.startswith("thumb/") or root.one(id=name)  # a phone's bar has the first pages alone
    assert update["order"] == {}


async def test_messages_by_hour_have_the_usual_band_of_this_day_of_the_week(
    journal: Journal, page_about: About
) -> None:
    await journal.run(some_weeks)
    root = await page_about("haematology-1")
    chart = root.one("div", class_="chart")
    says = [mark.text for mark in chart.all("title")]
    assert "09: 41-46" in says, "eight weeks of 40 to 47 messages"
    assert "09: 12" in says, "today"
    assert len(chart.all("rect", class_="now")) == 1, "the hour that is not over"
    rows = {
        row.one("th").text: [cell.text for cell in row.all("td")]
        for row in root.one("details", class_="fold").all("tr")[1:]
    }
    assert (rows["09"], rows["10"], rows["11"]) == (["12", "41-46"], ["3", "-"], ["-", "-"])
    assert (await page_about("chemistry")).all("div", class_="chart") == []


@operation(priority=Priority.SETTLE)
def some_weeks(batch: Batch) -> None:
    """A Monday with messages from nine to after ten, and those before it from nine to ten."""
    nine = NOW.replace(hour=3, minute=30, second=0)  # in Kolkata
    hours = [(nine, 12), (nine + timedelta(hours=1), 3)]
    hours += [(nine - timedelta(weeks=n), 40 + n - 1) for n in range(1, 9)]
    rows = [(round(at.timestamp() * 1e6), "haematology-1", n, n, 0, 0, 12, 12, 60) for at, n in hours]
    batch.executemany("INSERT INTO hour_count VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


async def test_overview_and_analyzer_lead_to_each_other(journal: Journal) -> None:
    async with running(troubled_site(), reader=journal) as page:
        _, text = await page.get("/?lang=hi")
        link = read_html(text).one("tr", id="c-haematology-1").one("th").one("a").attributes["href"]
        assert link == "/analyzer?name=haematology-1&lang=hi"
        _, text = await page.get(link)
    assert "/?lang=hi" in {link.attributes["href"] for link in read_html(text).all("a")}


@pytest.mark.parametrize("path", ["/analyzer", "/analyzer?name=nobody", "/analyzer.json?name=%3Cb%3E"])
async def test_an_analyzer_that_is_not_there(journal: Journal, path: str) -> None:
    async with running(troubled_site(), reader=journal) as page:
        answer, text = await page.get(path)
    assert answer.status == 404
    assert "<b>" not in text


async def test_maintenance_is_shown_with_the_last_and_the_next_day(journal: Journal) -> None:
    jobs = [Job(channel="coagulation", job=job, every=7) for job in ("Clean the needle", "Change the lamp")]
    done_us = to_us(NOW - timedelta(days=9))
    by = {"actor": "Asha", "reason": "weekly"}
    await journal.run(deciding.add_event, "coagulation", "", done_us, "maintenance", job=jobs[0], **by)
    site = replace(troubled_site(), of_features={"maintenance": jobs})
    async with running(site, reader=journal) as page:
        _, text = await page.get("/analyzer?name=coagulation")
        _, other = await page.get("/analyzer?name=haematology-1")
    due = (NOW - timedelta(days=2)).astimezone(ZoneInfo(site.timezone)).date().isoformat()
    rows = [row.text for row in read_html(text).all("tr") if row.text.startswith(("Clean", "Change the lamp"))]
    assert "late" in rows[0]
    assert rows[0].endswith(due)
    assert rows[1] == "Change the lamp never noted - -"
    assert "Maintenance" not in other
