"""Unmapped codes, the audit trail and the system page: complete, found by their filters, and harmless."""

import csv
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.features.access.service.accounts import Accounts
from engine.features.codes import pages
from engine.model.message import Received, Unmapped
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock, from_us
from engine.model.site.actor import Actor
from engine.model.site.permissions import ROLES
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from engine.store.operations import append, audit, record_outcome
from engine.web.asked import PAGE
from engine.web.pages import acts
from tests.support import journals
from tests.support.bare_channels import bare_channels
from tests.support.evil_texts import EVIL, FORBIDDEN
from tests.support.journals import NOW_US, WINDOW_S
from tests.support.status_server import Element, Page, read_html, running
from tests.support.status_sites import quiet_site, troubled_site

FORMULA = "=cmd|' /C calc'!A0"
CODES = {  # channel -> codes, as often as they come
    "chem": {"GLU": 3, FORMULA: 1, **dict.fromkeys(EVIL, 1)},
    "haema": {"HGB": 5, "GLU": 1},
}
PERSONS = ("asha", "ravi")
VERBS = ("retry", "dismiss", "pause")


def filled(batch: Batch) -> None:
    for channel, seen in CODES.items():
        for code, times in seen.items():
            for number in range(times):
                payload = f"{channel}{code}{number}".encode()
                received = Received(
                    channel=channel, payload=payload, received_us=NOW_US, control_id="", message_type=""
                )
                stored = append.store_message(batch, received, repeat_window_s=WINDOW_S)
                gap = Unmapped(table="codes", code=code, unit="mg/dL", display=code)
                record_outcome.record(batch, stored.id, Outcome("filtered", unmapped=(gap,)))


def acted(batch: Batch) -> None:
    """130 acts: each second one has an end of its own, one is never ended, one was cut short."""
    for number in range(128):
        actor = Actor(PERSONS[number % 2], role="operator", **{"from": "10.0.0.9"})
        what = {"message": number % 5 + 1, "reason": f"why {number}"}
        if number % 2:
            audit.note(batch, actor, VERBS[number % 3], what)
        else:
            audit.end(batch, audit.begin(batch, actor, VERBS[number % 3], what), {"requeued": number})
    audit.begin(batch, Actor("asha"), "replay", {"selection": {"ids": [2]}})
    cut = audit.begin(batch, Actor("ravi"), "replay", {"reason": "".join(EVIL)})
    audit.end(batch, cut, {"interrupted": True})


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    before = journals.opened(tmp_path, clock=ManualClock())
    before.run_alone(filled)
    before.run_alone(acted)
    before.close()
    async with journals.running(tmp_path, clock=ManualClock()) as made:
        yield made


@pytest.fixture
async def page(journal: Journal) -> AsyncIterator[Page]:
    """As an admin sees it."""
    accounts = Accounts(journal, ManualClock())
    async with running(
        replace(quiet_site(), now=from_us(NOW_US)),
        reader=journal,
        accounts=accounts,
        clock=ManualClock(),
        channels=lambda: bare_channels(*CODES),
    ) as started:
        ends_us, by = NOW_US + 3_600_000_000, Actor("root", role="root")
        secret = await accounts.tokens.create("program", ROLES["admin"], ends_us=ends_us, by=by)
        started.http.headers["Authorization"] = f"Bearer {secret}"
        yield started


async def read(page: Page, address: str) -> Element:
    answer, text = await page.get(address)
    assert answer.status == 200, address
    assert [one for one in FORBIDDEN if one in text] == []
    return read_html(text)


@pytest.mark.parametrize("channel", ["", *CODES])
async def test_each_code_is_there_with_its_count(page: Page, channel: str) -> None:
    html = await read(page, f"/codes?channel={channel}&lang=en")
    rows = html.one("tbody").all("tr")
    expected = [
        (times, name) for name, seen in CODES.items() if channel in ("", name) for times in seen.values()
    ]  # fmt: skip
    assert sorted((int(row.one("td", class_="number").text), row.all("td")[1].text) for row in rows) == sorted(expected)
    assert f"in all: {len(expected)} " in html.one("caption").text


async def test_a_line_can_be_copied_into_a_table(page: Page) -> None:
    html = await read(page, "/codes?channel=haema&lang=en")
    assert [one.text for one in html.all("code", class_="copy")] == ["HGB,mg/dL,,HGB,,,,,", "GLU,mg/dL,,GLU,,,,,"]
    file = html.one("caption").one("a").attributes["href"]
    answer, text = await page.get(file)
    assert answer.content_type == "text/csv"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="codes.csv"'
    rows = [row for row in csv.reader(text.splitlines()) if row and not row[0].startswith("#")]
    assert [row[0] for row in rows] == ["code", "HGB", "GLU"]


async def test_no_line_of_the_file_is_a_formula_or_controls_a_terminal(page: Page) -> None:
    _, text = await page.get("/codes.csv")
    assert "\x1b" not in text
    cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []
    assert "'" + FORMULA in cells


async def test_many_codes_are_cut_and_said(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST", 2)
    html = await read(page, "/codes?lang=en")
    assert len(html.one("tbody").all("tr")) == 2
    assert "shown here: 2" in html.one("caption").text


ACTS = {
    "": lambda number: True,
    "actor=ASHA": lambda number: number % 2 == 0,
    "act=dismiss": lambda number: number % 3 == 1,
    "message=3": lambda number: number % 5 == 2,
    "actor=ravi&act=pause&message=1": lambda number: number % 2 == 1 and number % 3 == 2 and number % 5 == 0,
    "actor=nobody": lambda number: False,
    "until=2026-03-01": lambda number: False,
}


@pytest.mark.parametrize("at_once", [3, 200])
@pytest.mark.parametrize("query", ACTS)
async def test_acts_are_found_by_their_filter(
    page: Page, query: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, page by page, with its end also where that was read on an earlier page."""
    monkeypatch.setattr("engine.views.trail.ROWS_AT_ONCE", at_once)
    monkeypatch.setattr(acts, "PAGE", 7)
    reasons: list[str] = []
    address = f"/acts?{query}&lang=en"
    while address:
        html = await read(page, address)
        for row in html.all("tr"):
            if "id" not in row.attributes:
                continue
            cells = row.all("td")
            said = cells[2].text
            if not said.startswith("why "):
                continue
            reasons.append(said)
            number = int(said.removeprefix("why "))
            assert cells[3].text == (f"done requeued {number}" if number % 2 == 0 else "done")
            assert cells[1].text == f"{PERSONS[number % 2]} operator, 10.0.0.9"
        older = html.all("a", rel="next")
        address = older[0].attributes["href"] if older else ""
    assert reasons == [f"why {number}" for number in reversed(range(128)) if ACTS[query](number)]


async def test_an_act_says_whether_it_ended(page: Page) -> None:
    html = await read(page, "/acts?act=replay&lang=en")
    assert [row.all("td")[3].text for row in html.one("tbody").all("tr")] == [
        "cut short: give it again interrupted True",
        "under way",
    ]


async def test_a_damaged_row_of_the_trail_is_shown_with_all_others(page: Page, journal: Journal) -> None:
    def write(batch: Batch) -> tuple[int, int]:
        audit.note(batch, Actor("asha"), "refused", {"verb": "erase"})
        wrong = audit.begin(batch, Actor("asha"), "retry", {})  # it is open: its row is read twice
        batch.execute("UPDATE journal SET body = zeroblob(length(body)) WHERE id = ?", (wrong,))
        return wrong, audit.note(batch, Actor("ravi"), "pause", {})

    wrong, last = await journal.run(operation(priority=Priority.SETTLE)(write))
    rows = (await read(page, "/acts?lang=en")).one("tbody").all("tr")
    assert [row.attributes["id"] for row in rows[:3]] == [f"a-{last}", f"a-{wrong}", f"a-{wrong - 1}"]
    assert [row.all("td")[3].text for row in rows[:3]] == ["done", "damaged: `labrelay verify` names it", "refused"]
    assert len(rows) == PAGE


async def test_the_system_page_says_what_runs_and_what_is_wrong(page: Page) -> None:
    page.site = site = replace(troubled_site(), alarms=("<b>the disk is full</b>",), notes=("a note",))
    text = (await read(page, "/system?lang=en")).one("main").text
    for words in ("<b>the disk is full</b>", "a note", site.version, site.config_hash, "Last verified backup"):
        assert words in text


async def test_an_empty_list_says_so(page: Page) -> None:
    assert "No act fits." in (await read(page, "/acts?actor=x&lang=en")).one("p", class_="empty").text
    html = await read(page, "/codes?channel=nowhere&lang=en")
    assert html.one("p", class_="empty").text == "Every code that came is in its table."
