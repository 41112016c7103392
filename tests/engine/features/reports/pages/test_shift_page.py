"""The report of a shift: its counts are those of its hours, its acts those of its time, and it knows no patient."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from engine.config.web import WebConfig
from engine.features.access.service.accounts import Accounts
from engine.features.reports.lists import HANDOVER
from engine.features.reports.pages import shift
from engine.model.process.clock import ManualClock, from_us
from engine.model.site.actor import Actor
from engine.model.site.permissions import ROLES
from engine.monitoring.usual_gaps import hour_of
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from engine.store.operations import audit
from engine.views.shifts import began
from tests.support import journals
from tests.support.access import site
from tests.support.evil_texts import EVIL, FORBIDDEN
from tests.support.journals import NOW_US
from tests.support.status_server import Element, Page, read_html, running
from tests.support.status_sites import quiet_site, troubled_site

SITE = replace(quiet_site(), now=from_us(NOW_US))
ZONE = ZoneInfo(SITE.timezone)
HOUR = timedelta(hours=1)
THIS_HOUR = hour_of(SITE.now, ZONE)
SHIFTS = WebConfig().shifts
OF_THE_SHIFT = (SITE.now - began(SITE.now - HANDOVER, SHIFTS, ZONE)) / HOUR


def counts(ago: int) -> dict[str, tuple[int, ...]]:
    """Of the hour so many hours ago: channel -> received, delivered, dead, held, greatest age."""
    return {"chemistry": (100 + ago, 90 + ago, ago % 3, ago % 2, 60 * ago), "gone": (1, 1, 0, 0, 5)}


def filled(batch: Batch) -> None:
    for ago in range(40):
        begins_us = round((THIS_HOUR - ago * HOUR).timestamp() * 1e6)
        for channel, (*sums, age_s) in counts(ago).items():
            row = (begins_us, channel, *sums, 12, 6, age_s)
            batch.execute("INSERT INTO hour_count VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def acted(batch: Batch) -> None:
    audit.end(batch, audit.begin(batch, "anita", "pause", {"reason": "patient SHARMA waits"}), {})
    audit.begin(batch, Actor("".join(EVIL)), "replay", {})


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    clock = ManualClock()
    clock.advance(-600)
    before = journals.opened(tmp_path, clock=clock)
    before.run_alone(filled)
    before.run_alone(acted)
    before.close()
    async with journals.running(tmp_path, clock=ManualClock()) as made:
        yield made


@pytest.fixture
async def page(journal: Journal) -> AsyncIterator[Page]:
    """As a viewer sees it."""
    async with running(SITE, reader=journal) as started:
        yield started


@pytest.fixture
async def as_admin(journal: Journal) -> AsyncIterator[Page]:
    accounts = Accounts(journal, ManualClock())
    async with running(SITE, reader=journal, accounts=accounts, clock=ManualClock()) as started:
        by = Actor("root", role="root")
        secret = await accounts.tokens.create("program", ROLES["admin"], ends_us=NOW_US + 3_600_000_000, by=by)
        started.http.headers["Authorization"] = f"Bearer {secret}"
        yield started


async def read(page: Page, address: str, status: int = 200) -> Element:
    answer, text = await page.get(address)
    assert answer.status == status, address
    assert [one for one in FORBIDDEN if one in text] == []
    assert "SHARMA" not in text
    return read_html(text)


def row(html: Element, name: str) -> list[str]:
    (found,) = [one for one in html.all("tr") if one.all("strong") and one.one("strong").text == name]
    return [cell.text for cell in found.all("td")]


@pytest.mark.parametrize(("asked", "hours"), [("", OF_THE_SHIFT), ("from=8h", 8), ("from=3h", 3), ("from=24h", 24)])
async def test_the_counts_are_those_of_the_hours(page: Page, asked: str, hours: float) -> None:
    html = await read(page, f"/shift?lang=en&{asked}")
    first = hour_of(SITE.now - hours * HOUR, ZONE)
    within = [counts(ago)["chemistry"] for ago in range(40) if first <= THIS_HOUR - ago * HOUR < SITE.now]
    sums = [sum(column) for column in zip(*within, strict=True)]
    received, delivered, dead, held, longest = row(html, "chemistry")
    assert [int(one.replace(",", "")) for one in (received, delivered, dead, held)] == sums[:4]
    assert longest == f"{max(one[4] for one in within) // 60} min"
    assert row(html, "gone")[0] == str(len(within))
    assert row(html, "urinalysis") == ["0", "0", "0", "0", "-"]


async def test_it_leads_to_this_shift_and_the_one_before(page: Page) -> None:
    html = await read(page, "/shift?lang=en")
    links = {one.text: one.attributes["href"] for one in html.one("main").all("a")}
    this = began(SITE.now, SHIFTS, ZONE).astimezone(ZONE)
    for words, since, until in (("This shift", this, SITE.now), ("The shift before", this - 8 * HOUR, this)):
        shown = await read(page, links[words])
        period = f"{since:%Y-%m-%d %H:%M} - {until.astimezone(ZONE):%Y-%m-%d %H:%M}"
        assert period in shown.one("main").text


async def test_the_count_leads_to_the_messages_of_the_same_time(page: Page) -> None:
    html = await read(page, "/shift?lang=en&from=2026-03-01T09:10&until=2026-03-01T11:00")
    (found,) = [one for one in html.all("tr") if one.all("strong") and one.one("strong").text == "chemistry"]
    href = found.one("a").attributes["href"]
    assert "from=2026-03-01T09%3A00%3A00" in href
    assert "until=2026-03-01T11%3A00%3A00" in href
    answer, _ = await page.get(href)
    assert answer.status == 200


@pytest.mark.parametrize(
    "asked",
    ["from=never", "from=60d", "from=2026-03-01T09:00&until=2026-03-01T08:00", "from=2030-01-01"],
)
async def test_a_time_that_cannot_be_is_refused_in_words(page: Page, asked: str) -> None:
    html = await read(page, f"/shift?lang=en&{asked}", 400)
    assert html.one("p", role="alert").text


@pytest.mark.parametrize(
    ("into", "before", "said"),
    [(timedelta(minutes=20), 1, shift.BEGINS_BEFORE), (2 * HOUR, 0, shift.BEGINS), (7 * HOUR, 0, shift.BEGINS)],
)
async def test_it_begins_with_the_shift_and_says_so(page: Page, into: timedelta, before: int, said: str) -> None:
    """In its first hour with the one before."""
    this = began(SITE.now, SHIFTS, ZONE)
    page.site = replace(SITE, now=this + into)
    html = await read(page, "/shift?lang=en")
    since = (this - before * 8 * HOUR).astimezone(ZONE)
    period = f"{since:%Y-%m-%d %H:%M} - {(this + into).astimezone(ZONE):%Y-%m-%d %H:%M}"
    assert period in html.one("main").text
    assert said in html.one("main").text
    chosen = (await read(page, "/shift?lang=en&from=3h")).one("main").text
    assert (shift.BEGINS in chosen, shift.BEGINS_BEFORE in chosen) == (False, False)


async def test_no_look_changes_what_the_next_one_sees(page: Page) -> None:
    """On a computer that several share."""
    first, _ = await page.get("/shift?lang=en")
    assert not first.cookies
    page.http.headers["Cookie"] = f"labrelay-looked={NOW_US // 1_000_000 - 60}"
    html = await read(page, "/shift?lang=en")
    assert shift.BEGINS in html.one("main").text


async def test_its_hours_are_drawn_and_their_table_adds_up_to_what_was_received(page: Page) -> None:
    html = await read(page, "/shift?lang=en&from=24h")
    (fold,) = (one for one in html.all("details", class_="fold") if "As a table" in one.text)
    hours = [(one.one("th").text, int(one.one("td").text)) for one in fold.one("tbody").all("tr")]
    received = [one.text.replace(",", "") for one in html.all("td", **{"data-label": "Received"}) if one.all("a")]
    assert sum(n for _, n in hours) == sum(map(int, received)) > 0
    drawn = [one.text for one in html.one("div", class_="chart").all("title")]
    assert drawn == [f"{hour}: {n}" for hour, n in hours if n]
    assert " " in hours[0][0], "the first has its day"


async def test_an_hour_in_which_nothing_was_counted_has_its_place(page: Page, journal: Journal) -> None:
    await journal.run(stopped)
    html = await read(page, "/shift?lang=en&from=8h")
    (fold,) = (one for one in html.all("details", class_="fold") if "As a table" in one.text)
    counted = [one.one("td").text for one in fold.one("tbody").all("tr")]
    assert [counted.index("-"), counted.count("-"), len(counted)] == [5, 2, 9]


@operation(priority=Priority.SETTLE)
def stopped(batch: Batch) -> None:
    """LabRelay did not run in two hours."""
    gone = [(round((THIS_HOUR - ago * HOUR).timestamp() * 1e6),) for ago in (2, 3)]
    batch.executemany("DELETE FROM hour_count WHERE begins_us = ?", gone)


async def test_its_columns_are_those_that_the_address_chooses(page: Page) -> None:
    html = await read(page, "/shift?lang=en&from=8h&columns=received,held")
    headings = [one.text for one in html.one("main").all("table")[-1].all("th", role="columnheader")]
    assert headings == ["Analyzer", "Received", "Held back"]
    assert len(row(html, "chemistry")) == 2
    ticked = [one.attributes["value"] for one in html.all("input", type="checkbox") if "checked" in one.attributes]
    assert ticked == ["received", "held"]
    for path in ("/shift", "/operations"):
        refused = await read(page, f"{path}?lang=en&columns=colour", 400)
        assert "There is no such column" in refused.one("main").one(role="alert").text


async def test_paper_says_whose_it_is(page: Page, tmp_path: Path) -> None:
    assert SITE.site_name in (await read(page, "/shift?lang=en")).one("p", class_="printed").text
    async with site(tmp_path / "other") as here, here.browser() as browser:
        await browser.log_in("operator")
        _, html = await browser.get("/shift?lang=en")
        head = html.one("p", class_="printed").text
        assert SITE.site_name in head
        assert "Printed by operator" in head


async def test_acts_are_for_those_who_administer(page: Page, as_admin: Page) -> None:
    assert "Acts of persons" not in (await read(page, "/shift?lang=en")).one("main").text
    main = (await read(as_admin, "/shift?lang=en")).one("main")
    table = main.one("section", **{"aria-labelledby": "acts"})
    assert [one.text for one in table.all("th", class_="name")][-1] == "pause"
    assert "anita" in table.text
    later = await read(as_admin, "/shift?lang=en&from=2026-02-28T01:00&until=2026-02-28T02:00")
    assert "none" in later.one("section", **{"aria-labelledby": "acts"}).text


async def test_many_acts_end_with_a_link_to_all(
    as_admin: Page, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shift, "MOST_ACTS", 1)
    monkeypatch.setattr(shift, "ACTS_AT_ONCE", 2)
    table = (await read(as_admin, "/shift?lang=en")).one("section", **{"aria-labelledby": "acts"})
    assert len(table.all("tbody")[0].all("tr")) == 1
    assert "/acts?since=" in table.all("a")[0].attributes["href"]


async def test_what_is_open_is_said_worst_first(journal: Journal) -> None:
    troubled = replace(troubled_site(), now=from_us(NOW_US))
    async with running(troubled, reader=journal) as page:
        html = await read(page, "/shift?lang=en")
        hindi = await read(page, "/shift?lang=hi")
    said = [one.text for one in html.one("section", **{"aria-labelledby": "open"}).all("li")]
    assert said == [str(one.phrase) for one in troubled.findings()]
    assert hindi.one("h1").text == "शिफ़्ट रिपोर्ट"
