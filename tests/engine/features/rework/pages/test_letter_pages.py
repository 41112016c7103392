"""Dead letters and held results: each number leads to a list with that very count, and lists hold what fits."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.model.journal.journal_views import Filter
from engine.model.journal.records import Routed
from engine.model.message import Document, Received
from engine.model.outcome import Outcome
from engine.model.process.clock import from_us
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import attempts
from engine.store.queries.letters import dead_letters, held_deliveries
from tests.support.evil_texts import EVIL, FORBIDDEN
from tests.support.journals import NOW_US, WINDOW_S
from tests.support.many_messages import HOUR_US, fill
from tests.support.status_server import Element, Page, read_html, running
from tests.support.status_sites import quiet_site

COUNT = 400
FILTERS = {
    "": Filter(),
    "channel=chem": Filter(channel="chem"),
    "destination=b": Filter(destination="b"),
    "code=REFUSED": Filter(code="REFUSED"),
    "code=REFUSED&cause=HTTP+422": Filter(code="REFUSED", cause="HTTP 422"),
    "code=REFUSED&cause=-": Filter(code="REFUSED", cause=""),
    "since=200h": Filter(after_us=NOW_US + 200 * HOUR_US),
    "until=2026-03-04T00:00": Filter(before_us=NOW_US + 60 * HOUR_US + HOUR_US // 2),  # in Kolkata
    "channel=nowhere": Filter(channel="nowhere"),
}


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    made = fill(tmp_path_factory.mktemp("listed"), COUNT)
    made.run_alone(planted)
    yield made
    made.close()


def planted(batch: Batch) -> None:
    """A device's worst texts in all that is shown of a dead letter."""
    text = "".join(EVIL)
    received = Received(channel="evil", payload=b"x", received_us=NOW_US, control_id=text, message_type=text)
    stored = append.store_message(batch, received, repeat_window_s=WINDOW_S)
    record_outcome.record(batch, stored.id, Outcome("dead", ReasonCode.BAD_VALUE, detail=text))
    other = append.store_message(batch, replace(received, payload=b"y"), repeat_window_s=WINDOW_S)
    routed = Routed(document=Document(body=b"{}"), destinations=("a",), claimed=(True,))
    (made,) = record_outcome.record(batch, other.id, Outcome("mapped"), [routed]).deliveries
    attempts.bury(batch, made.id, ReasonCode.REFUSED, text, text.encode())


@pytest.fixture
async def page(journal: Journal) -> AsyncIterator[Page]:
    site = replace(quiet_site(), now=from_us(NOW_US + COUNT * HOUR_US))
    async with running(site, reader=journal) as started:
        yield started


async def read(page: Page, address: str) -> Element:
    answer, text = await page.get(address)
    assert answer.status == 200, address
    return read_html(text)


async def walked(page: Page, address: str) -> tuple[list[str], set[str]]:
    """The ids of the rows of all pages from here, and the counts that they say."""
    found: list[str] = []
    counts = set()
    while address:
        html = await read(page, address)
        rows = [row.attributes["id"] for row in html.all("tr") if "id" in row.attributes]
        found += rows
        if rows:
            counts.add(html.one("caption").text.partition("in all: ")[2])
        older = html.all("a", rel="next")
        address = older[0].attributes["href"] if older else ""
    return found, counts


@pytest.mark.parametrize("query", FILTERS)
async def test_a_list_of_dead_letters_has_what_fits(page: Page, journal: Journal, query: str) -> None:
    expected = [f"l-{one.message_id}-{one.delivery_id}" for one in dead_letters(journal, FILTERS[query], limit=10_000)]
    found, counts = await walked(page, f"/dead-letters/each?{query}&lang=en")
    assert found == expected
    assert counts == ({str(len(expected))} if expected else set())
    assert bool(expected) is ("nowhere" not in query)


@pytest.mark.parametrize("query", [query for query in FILTERS if "cause" not in query and "nowhere" not in query])
async def test_each_group_leads_to_a_list_with_its_count(page: Page, journal: Journal, query: str) -> None:
    html = await read(page, f"/dead-letters?{query}&lang=en")
    links = html.all("a", class_="big")
    assert links
    for link in links:
        found, counts = await walked(page, link.attributes["href"])
        assert ({link.text}, len(found)) == (counts, int(link.text))
    total = html.one("caption").one("a")
    assert (
        int(total.text)
        == sum(int(link.text) for link in links)
        == len((await walked(page, total.attributes["href"]))[0])
    )


async def test_a_group_says_cause_and_meaning(page: Page) -> None:
    text = (await read(page, "/dead-letters?code=NO_ROUTE&lang=en")).one("main").text
    for words in ("NO_ROUTE", "Example: message", "chem"):
        assert words in text
    assert "add a route" not in text  # a command is for engineers


@pytest.mark.parametrize("query", ["", "channel=haema", "destination=a", "channel=nowhere"])
async def test_a_list_of_held_results_has_what_fits(page: Page, journal: Journal, query: str) -> None:
    name, _, value = query.partition("=")
    expected = held_deliveries(journal, Filter(**{name: value}) if name else None, limit=10_000)
    found, counts = await walked(page, f"/held?{query}&lang=en")
    assert found == [f"l-{one.message_id}-{one.delivery_id}" for one in expected]
    assert counts == ({str(len(expected))} if expected else set())
    assert bool(expected) is ("nowhere" not in query)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/dead-letters?", "There is no dead letter. Nothing to do."),
        ("/dead-letters?channel=x", "No dead letter fits."),
        ("/dead-letters/each?", "No dead letter fits."),
        ("/held?", "No result is held back. Nothing to do."),
        ("/held?state=rejected", "No result fits."),
    ],
)
async def test_an_empty_list_says_so(tmp_path: Path, address: str, words: str) -> None:
    made = fill(tmp_path, 0)
    try:
        async with running(quiet_site(), reader=made) as page:
            assert (await read(page, f"{address}&lang=en")).one("p", class_="empty").text == words
    finally:
        made.close()


@pytest.mark.parametrize("path", ["/dead-letters", "/dead-letters/each", "/held"])
async def test_a_time_that_cannot_be_read_is_refused_in_words(page: Page, path: str) -> None:
    answer, text = await page.get(f"{path}?since=soon&lang=en")
    assert answer.status == 400
    assert "This time cannot be read." in read_html(text).one("p", role="alert").text


@pytest.mark.parametrize("path", ["/dead-letters?channel=evil", "/dead-letters/each?channel=evil"])
async def test_texts_of_a_device_are_harmless(page: Page, path: str) -> None:
    _, text = await page.get(path)
    assert "evil" in text
    read_html(text)
    assert [one for one in FORBIDDEN if one in text] == []
