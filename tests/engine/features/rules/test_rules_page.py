"""The page of rules: versions with what they said, the days of one rule, and the files of both."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.features.results.rows import hold_queue
from tests.engine.features.rules.test_counting import ACTIVE, BY, SHADOW, document, first
from tests.support import access
from tests.support.access import Browser
from tests.support.journals import opened
from tests.support.status_server import Element


@pytest.fixture
async def viewer(tmp_path: Path) -> AsyncIterator[Browser]:
    journal = opened(tmp_path)
    first(journal, 1, document([("K", "8"), ("NA", None)]))
    first(journal, 2, document([("K", "4")], 2))
    journal.run_alone(lambda batch: hold_queue.release(batch, [1], **BY))
    journal.close()
    async with access.site(tmp_path) as made, made.browser() as browser:
        assert (await browser.log_in("viewer"))[0] == 200
        yield browser


def rows(page: Element, table: int = 0) -> list[list[str]]:
    return [[row.one("th").text, *(cell.text for cell in row.all("td"))] for row in page.all("tbody")[table].all("tr")]


async def test_rules_and_what_goes_out_untouched(viewer: Browser) -> None:
    status, page = await viewer.get("/rules?lang=en")
    assert status == 200
    found = rows(page)
    assert [(row[0], row[2], *row[5:]) for row in found] == [
        (ACTIVE, "holds", "3", "1", "1", "0", "1"),
        (SHADOW, "only counts", "3", "1", "0", "0", "1"),
    ]
    assert [(row[0], *row[3:]) for row in rows(page, 1)] == [("K", "2", "50.0"), ("NA", "1", "0.0")]
    (link,) = [one for one in page.all("a") if one.text == ACTIVE]
    status, page = await viewer.get(link.attributes["href"])
    assert status == 200
    assert page.one("h1").text == f"{ACTIVE} · chem"
    (row,) = rows(page)
    assert row[4:] == ["3", "1", "1", "0", "1"]


async def test_the_files_have_what_the_page_shows(viewer: Browser) -> None:
    async with viewer.client.get("/rules.csv?channel=chem&rule=high") as answer:
        head, *lines = (await answer.text()).splitlines()
    assert head == "day,channel,rule,version,shadow,seen,hit,unknown,confirmed,overturned"
    assert [line.split(",")[5:] for line in lines] == [["3", "1", "1", "0", "1"]]
    async with viewer.client.get("/rules/untouched.csv") as answer:
        head, *lines = (await answer.text()).splitlines()
    assert head == "month,channel,test,results,untouched,percent"
    assert [line.split(",", 1)[1] for line in lines] == ["chem,K,2,1,50.0", "chem,NA,1,0,0.0"]


async def test_without_rules_the_page_says_so(tmp_path: Path) -> None:
    opened(tmp_path).close()
    async with access.site(tmp_path) as made, made.browser() as browser:
        await browser.log_in("viewer")
        status, page = await browser.get("/rules?lang=en")
    assert status == 200
    assert "No rule was asked in this time." in page.text
