"""*Lately on the line* after a restart: what passed before is still there, and is marked as such."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest

from engine.model.process.clock import ManualClock, from_us
from engine.model.texts.phrases import Phrase
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.channels import LineStep, LinkSnapshot
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.journal import Journal
from engine.store.operations import append
from engine.store.operations.line_trace import LineEntry, LineRecord, LineWay
from engine.store.queries import line
from engine.web.pages import analyzer
from tests.support import journals
from tests.support.status_server import Page, read_html, running
from tests.support.status_sites import quiet_site

FRAME = b"\x021H|\\^&|||SECRET-NAME\r\x03A1\r\n"
START_US = journals.NOW_US + 3_600_000_000
BEFORE = "The rows below are from before."


def session(at_us: int, frames: int = 1) -> LineRecord:
    """One session: ENQ, frames with a wrong checksum, their answers, EOT."""
    entries = [LineEntry(LineWay.IN, at_us, b"\x05"), LineEntry(LineWay.OUT, at_us + 1_000, b"\x06")]
    for number in range(frames):
        entries += [
            LineEntry(LineWay.IN, at_us + 100_000 * (number + 1), FRAME),
            LineEntry(LineWay.OUT, at_us + 100_000 * (number + 1) + 1_000, b"\x15"),
        ]
    return LineRecord("chemistry", 0, (*entries, LineEntry(LineWay.IN, at_us + 9_000_000, b"\x04")))


async def kept(folder: Path, *records: LineRecord) -> None:
    """The traces of a run that has ended."""
    async with journals.running(folder) as journal:
        for record in records:
            journal.keep_line(record)


def site_of(*steps: LineStep) -> SiteSnapshot:
    site = quiet_site()
    first, *others = site.channels
    started = from_us(START_US)
    return replace(
        site,
        started_at=started,
        now=started + timedelta(hours=1),
        channels=(replace(first, link=LinkSnapshot(steps=steps)), *others),
    )


@asynccontextmanager
async def after_restart(folder: Path, site: SiteSnapshot) -> AsyncIterator[tuple[Page, Journal]]:
    async with journals.running(folder, clock=ManualClock()) as journal, running(site, reader=journal) as page:
        yield page, journal


async def lines_of(page: Page) -> tuple[Sequence[str], str]:
    """The rows of the section, without their times, and the whole page."""
    _, text = await page.get("/analyzer?name=chemistry&lang=en")
    rows = read_html(text).one("section", id="line-steps").one("tbody").all("tr")
    return [row.text if BEFORE in row.text else row.text.partition(" ")[2] for row in rows], text


async def test_what_passed_before_the_start_is_below_a_row_that_says_so(tmp_path: Path) -> None:
    await kept(tmp_path, session(journals.NOW_US), session(journals.NOW_US + 60_000_000, frames=2))
    now = LineStep(at=from_us(START_US + 5_000_000), way="in", words=Phrase("{text}", {"text": "ENQ"}))
    async with after_restart(tmp_path, site_of(now)) as (page, _):
        rows, text = await lines_of(page)
    assert rows[0].endswith("analyzer ENQ")
    assert rows[1].startswith("LabRelay started at ")
    assert rows[1].endswith("After a sudden end the last ones may be missing.")
    said = [row.removeprefix("LabRelay ").removeprefix("analyzer ") for row in rows[2:]]
    assert len(said) == 11  # twelve steps, of which one is from this run
    assert said[:6] == [
        "EOT",
        "NAK",
        "frame 1, 27 bytes checksum wrong",
        "NAK",
        "frame 1, 27 bytes checksum wrong",
        "ACK",
    ]
    assert "SECRET" not in text


async def test_a_full_page_of_this_run_needs_nothing_from_before(tmp_path: Path) -> None:
    await kept(tmp_path, session(journals.NOW_US))
    steps = [LineStep(at=from_us(START_US + n), way="in", words=Phrase("{text}", {"text": "ENQ"})) for n in range(12)]
    async with after_restart(tmp_path, site_of(*steps)) as (page, _):
        rows, _ = await lines_of(page)
    assert len(rows) == 12
    assert not any(BEFORE in row for row in rows)


async def test_steps_from_before_are_read_once(tmp_path: Path) -> None:
    await kept(tmp_path, session(journals.NOW_US))
    with mock.patch.object(analyzer, "line_of", side_effect=line.line_of) as read:
        async with after_restart(tmp_path, site_of()) as (page, _):
            first, _ = await lines_of(page)
            _, data = await page.get("/analyzer.json?name=chemistry&lang=en")
            again, _ = await lines_of(page)
    assert first == again
    assert len(first) == 6
    assert "from before" in data
    assert read.call_count == 1


async def test_a_session_of_this_run_is_not_shown_as_one_from_before(tmp_path: Path) -> None:
    await kept(tmp_path, session(journals.NOW_US), session(START_US + 1_000_000, frames=3))
    async with after_restart(tmp_path, site_of()) as (page, _):
        rows, _ = await lines_of(page)
    assert len(rows) == 6


async def test_a_line_without_frames_shows_its_messages(tmp_path: Path) -> None:
    async with after_restart(tmp_path, site_of()) as (page, journal):
        await journals.store(journal, *(b"MSH|SECRET-NAME|%d" % n for n in range(20)), channel="chemistry")
        torn = journals.received(b"MSH|SECRET", channel="chemistry")
        await journal.run(append.store_incomplete, torn, ReasonCode.INCOMPLETE)
        rows, text = await lines_of(page)
    assert BEFORE in rows[0]  # the messages of tests are older than the start
    assert rows[1].endswith("analyzer unfinished message 21, 10 bytes stored")
    assert rows[2].endswith("analyzer message 20, 18 bytes stored")
    assert len(rows) == 13
    assert "SECRET" not in text


@pytest.mark.parametrize("language", ["en", "hi"])
async def test_a_line_on_which_nothing_has_passed_says_so(tmp_path: Path, language: str) -> None:
    async with after_restart(tmp_path, site_of()) as (page, _):
        _, text = await page.get(f"/analyzer?name=chemistry&lang={language}")
    section = read_html(text).one("section", id="line-steps")
    assert section.all("table") == []
    assert section.one("p", class_="empty").text
