"""The search for reagent lots."""

import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from engine.model.message import Reagent
from engine.model.outcome import Outcome
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.journal import Journal
from engine.store.operations import record_outcome
from tests.support import journals
from tests.support.status_server import read_html, running
from tests.support.status_sites import quiet_site, troubled_site

OTHER = Reagent(lot="254005", name="CACL2 0.025 M", expires="2027-08")


def lot(*tests: str) -> Reagent:
    return Reagent(lot="254169", name="STA-NEO CI PLUS 5", expires="2026-02-28", tests=tests)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with journals.running(tmp_path) as made:
        yield made


async def named(journal: Journal, *reagents: Sequence[Reagent]) -> None:
    """Messages of one analyzer, each with its lots."""
    stored = await journals.store(journal, *(b"%d" % n for n in range(len(reagents))), channel="coagulation")
    for one, lots in zip(stored, reagents, strict=True):
        await journal.run(record_outcome.record, one.id, Outcome("mapped", reagents=lots), [])


async def test_a_search_finds_lots_and_says_how_to_list_the_messages(journal: Journal) -> None:
    await named(journal, [lot("SPT")], [lot("SINR"), OTHER])
    async with running(troubled_site(), reader=journal) as page:
        _, text = await page.get("/reagents?lot=+254169+&channel=coagulation")
        _, data = await page.get("/reagents.json?lot=254169")
        _, every = await page.get("/reagents")
        _, of_another = await page.get("/reagents?channel=haematology-1")
    root = read_html(text)
    (row,) = [one.text for one in root.one("tbody").all("tr")]
    assert row.startswith("coagulation STA-NEO CI PLUS 5 254169 2026-02-28 expired SPT, SINR - 2")
    assert "labrelay messages list --lot 254169" in root.one("main").text
    (link,) = [one for one in root.all("a") if one.attributes["href"].startswith("/messages?lot=")]
    assert link.attributes["href"] == "/messages?lot=254169&since=all&lang=en"
    assert root.one("input", id="lot").attributes["value"] == "254169"
    (told,) = json.loads(data)["reagents"]
    assert (told["lot"], told["messages"], told["tests"]) == ("254169", 2, ["SPT", "SINR"])
    assert len(read_html(every).one("tbody").all("tr")) == 2
    assert "No analyzer has named a reagent lot yet." in read_html(of_another).text


async def test_a_lot_that_no_message_names_and_one_that_is_no_lot(journal: Journal) -> None:
    async with running(quiet_site(), reader=journal) as page:
        _, nothing = await page.get("/reagents?lot=X1")
        _, empty = await page.get("/reagents")
        _, hostile = await page.get("/reagents?lot=%22%3E%3Cscript%3E%27;rm")
    assert "No message names this lot." in read_html(nothing).text
    assert "No analyzer has named a reagent lot yet." in read_html(empty).text
    assert "<script>'" not in hostile


async def test_a_journal_that_cannot_be_read_is_said(journal: Journal, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / JOURNAL_NAME)) as damaging:
        damaging.execute("DROP TABLE reagent")
    async with running(quiet_site(), reader=journal) as page:
        answer, text = await page.get("/reagents")
        data, _ = await page.get("/reagents.json")
    assert (answer.status, data.status) == (503, 503)
    assert "The journal cannot be read just now." in read_html(text).text
    assert "no such table" not in text
