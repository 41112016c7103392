"""The list of messages: which rows an address has, page by page, and that a device's texts are harmless there."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.journal.journal_views import MessageView
from engine.model.message import Received
from engine.model.process.clock import from_us
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append
from engine.store.queries.messages import deliveries_of, messages_page
from engine.web.asked import PAGE
from engine.web.pages import filters, messages
from engine.web.pages.words import grouped
from tests.support.evil_texts import EVIL, FORBIDDEN
from tests.support.examples import examples
from tests.support.journals import NOW_US, WINDOW_S
from tests.support.many_messages import HOUR_US, fill
from tests.support.status_server import Element, Page, read_html, running
from tests.support.status_sites import quiet_site

COUNT = 240  # messages, an hour apart
NOW = from_us(NOW_US + COUNT * HOUR_US)
KOLKATA = timedelta(hours=5, minutes=30)


class Known:
    """A message as the journal has it, with the states of its deliveries by destination."""

    def __init__(self, view: MessageView) -> None:
        self.view = view
        self.lanes: dict[str, set[str]] = {}

    @property
    def age_h(self) -> float:
        return (NOW - from_us(self.view.received_us)).total_seconds() / 3600

    def has(self, *states: str, to: str = "") -> bool:
        return any(those & {*states} for name, those in self.lanes.items() if to in ("", name))


Fits = Callable[[Known], bool]
FILTERS: dict[str, tuple[dict[str, str], Fits]] = {
    "of the last 24 hours": ({}, lambda one: one.age_h <= 24),
    "of the last hour": ({"since": "1h"}, lambda one: one.age_h <= 1),
    "of a week": ({"since": "7d"}, lambda one: one.age_h <= 168),
    "all there is": ({"since": "all"}, lambda one: True),
    "a channel": ({"since": "all", "channel": "haema"}, lambda one: one.view.channel == "haema"),
    "no such channel": ({"since": "all", "channel": "<b>"}, lambda one: False),
    "waiting": ({"since": "all", "state": "waiting"}, lambda one: one.has("waiting", "sending")),
    "waiting for one": (
        {"since": "all", "state": "waiting", "destination": "b"},
        lambda one: one.has("waiting", "sending", to="b"),
    ),
    "not mapped": ({"since": "all", "state": "stored"}, lambda one: one.view.state == "stored"),
    "dead": ({"since": "all", "state": "dead"}, lambda one: one.view.state == "dead"),
    "to a destination": ({"since": "all", "destination": "a"}, lambda one: "a" in one.lanes),
    "a reason": ({"since": "all", "code": "NO_ROUTE"}, lambda one: one.view.reason == "NO_ROUTE"),
    "a type": ({"since": "all", "type": "QRY^A19"}, lambda one: one.view.message_type == "QRY^A19"),
    "a number here, whenever": ({"q": "17"}, lambda one: one.view.id == 17),
    "a control id, whenever": (
        {"q": "c17"},
        lambda one: one.view.control_id == "C17" and one.view.state != "stored",
    ),
    "a specimen": (
        {"q": " s7 "},
        lambda one: int(one.view.control_id[1:]) % 50 == 7 and one.view.state != "stored",
    ),
    "a specimen of a while": (
        {"q": "S7", "from": str((NOW + KOLKATA).replace(tzinfo=None) - timedelta(hours=100))[:16]},
        lambda one: int(one.view.control_id[1:]) % 50 == 7 and one.view.state != "stored" and one.age_h <= 100,
    ),
    "until a day of the site": (
        {"since": "all", "until": "2026-03-03"},  # midnight in Kolkata
        lambda one: from_us(one.view.received_us) + KOLKATA < from_us(NOW_US).replace(day=3, hour=0),
    ),
    "an unknown name in the address": ({"since": "all", "colour": "red", "state": ""}, lambda one: True),
}


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    made = fill(tmp_path_factory.mktemp("listed"), COUNT)
    yield made
    made.close()


@pytest.fixture(scope="module")
def known(journal: Journal) -> list[Known]:
    found = {view.id: Known(view) for view in messages_page(journal, limit=10_000)}
    for delivery in deliveries_of(journal, list(found)):
        found[delivery.message_id].lanes.setdefault(delivery.destination, set()).add(delivery.state)
    return list(found.values())


def site() -> SiteSnapshot:
    return replace(quiet_site(), now=NOW)


@pytest.fixture
async def page(journal: Journal) -> AsyncIterator[Page]:
    async with running(site(), reader=journal) as started:
        yield started


def numbers(html: Element) -> list[int]:
    return [int(row.attributes["id"].removeprefix("m-")) for row in html.all("tr") if "id" in row.attributes]


async def walked(page: Page, address: str) -> tuple[list[int], list[str]]:
    """The rows of all pages from this address on, and the counts that the pages say."""
    found: list[int] = []
    counts = []
    while address:
        answer, text = await page.get(address)
        assert answer.status == 200
        html = read_html(text)
        rows = numbers(html)
        found += rows
        if rows:
            counts.append(html.one("div", class_="head").text.partition("in all: ")[2])
        older = html.all("a", rel="next")
        address = older[0].attributes["href"] if older else ""
    return found, counts


@pytest.mark.parametrize("name", FILTERS)
async def test_an_address_has_the_rows_that_fit(page: Page, known: list[Known], name: str) -> None:
    query, fits = FILTERS[name]
    expected = [one.view.id for one in known if fits(one)]
    found, counts = await walked(page, f"/messages?{urlencode(query)}")
    assert found == expected
    assert {*counts} == ({grouped(len(expected))} if expected else set())
    if not expected:
        _, text = await page.get(f"/messages?{urlencode(query)}")
        assert "No message fits." in read_html(text).one("p", class_="empty").text


@settings(max_examples=examples(10), deadline=None)
@given(size=st.integers(1, 60), name=st.sampled_from(sorted(FILTERS)))
def test_pages_of_any_size_have_each_row_once(journal: Journal, known: list[Known], size: int, name: str) -> None:
    import asyncio

    async def walk() -> list[int]:
        async with running(site(), reader=journal) as page:
            return (await walked(page, f"/messages?{urlencode(FILTERS[name][0])}"))[0]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(messages, "PAGE", size)
        assert asyncio.run(walk()) == [one.view.id for one in known if FILTERS[name][1](one)]


async def test_the_time_that_is_not_chosen_is_a_chip_that_can_be_taken_off(page: Page, known: list[Known]) -> None:
    _, text = await page.get("/messages?lang=en")
    (chip,) = read_html(text).one("ul", class_="chips").all("a")
    assert chip.text.startswith("Time last 24 hours")
    assert (await walked(page, chip.attributes["href"]))[0] == [one.view.id for one in known]


async def test_a_row_says_what_became_of_the_message(page: Page, known: list[Known]) -> None:
    _, text = await page.get("/messages?since=all&lang=en")
    rows = {row.attributes["id"]: row for row in read_html(text).all("tr") if "id" in row.attributes}
    words = {"waiting": "waiting", "sending": "waiting", "delivered": "delivered", "dead": "dead letter"}
    for one in known[:PAGE]:
        row = rows[f"m-{one.view.id}"]
        said = row.all("td")[-1].text
        for destination, those in one.lanes.items():
            for state in those & words.keys():
                if state == "delivered":  # no badge says so: the state of the message does
                    assert (
                        destination in re.sub(r"(waiting|dead letter) \w+(, \w+)*", "", said).replace(",", "").split()
                    )
                else:
                    assert re.search(rf"{words[state]} (\w+, )*{destination}\b", said)
        assert row.one("a").attributes["href"] == f"/messages/{one.view.id}?since=all&top={known[0].view.id}&lang=en"


async def test_a_number_is_looked_for_in_all_there_is_where_no_time_was_chosen(page: Page, known: list[Known]) -> None:
    """As a browser sends the form: with the value of each field."""
    html = read_html((await page.get("/messages?lang=en"))[1])
    sent = {one.attributes["name"]: one.attributes.get("value", "") for one in html.all("input")}
    for field in html.all("select"):
        sent[field.attributes["name"]] = next(
            (one.attributes["value"] for one in field.all("option") if "selected" in one.attributes), ""
        )
    assert known[-1].age_h > 24
    found, _ = await walked(page, f"/messages?{urlencode({**sent, 'q': known[-1].view.id})}")
    assert known[-1].view.id in found


async def test_fields_keep_what_was_asked_and_each_chip_takes_one_away(page: Page) -> None:
    _, text = await page.get("/messages?q=S7&channel=chem&state=waiting&lang=en")
    html = read_html(text)
    assert html.one("input", id="q").attributes["value"] == "S7"
    chosen = [one.attributes.get("value", one.text) for one in html.all("option") if "selected" in one.attributes]
    assert chosen == ["", "chem", "waiting"]
    chips = html.one("ul", class_="chips").all("a")
    assert [chip.text.removesuffix("×remove").strip() for chip in chips] == [
        "Number S7", "Analyzer chem", "State waiting"
    ]  # fmt: skip
    for name, chip in zip(("q", "channel", "state"), chips, strict=True):
        assert f"{name}=" not in chip.attributes["href"]
        assert chip.attributes["href"].count("&") == 2


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=1h&from=2026-03-01", ["From 2026-03-01"]),  # a beginning counts, and a span beside it does not
        ("channel=held&since=all", ["Time all there is", "Analyzer held"]),
        ("type=today&state=held", ["State held back", "Type today", "Time last 24 hours"]),
    ],
)
async def test_chips_say_what_the_filter_does(page: Page, query: str, said: list[str]) -> None:
    _, text = await page.get(f"/messages?{query}&lang=en")
    chips = read_html(text).one("ul", class_="chips").all("a")
    assert [chip.text.removesuffix("×remove").strip() for chip in chips] == said


@pytest.mark.parametrize("query", ["since=yesterday", "from=2026-13-01", "until=x", "state=lost", "from=0001-01-01"])
async def test_an_address_that_cannot_be_read_says_why(page: Page, query: str) -> None:
    answer, text = await page.get(f"/messages?{query}&lang=en")
    html = read_html(text)
    assert answer.status in (200, 400)
    if answer.status == 400:
        assert html.one("p", role="alert").text in (filters.WRONG_TIME, messages.WRONG_STATE)
    assert html.one("input", id="q")


async def test_a_list_counts_what_came_since(tmp_path: Path) -> None:
    with closing(fill(tmp_path, 5)) as made:
        async with running(site(), reader=made) as page:
            _, text = await page.get("/messages?since=all&lang=en")
            news = read_html(text).one("p", id="news").attributes["data-news"]
            assert await (await page.http.get(news)).json() == {"words": ""}
            received = Received(channel="chem", payload=b"new", received_us=NOW_US, control_id="", message_type="")
            made.run_alone(partial(append.store_message, received=received, repeat_window_s=WINDOW_S))
            assert await (await page.http.get(news)).json() == {"words": "1 new"}
            _, text = await page.get("/messages?since=all&before=4&top=5&lang=en")
            assert read_html(text).one("div", class_="head").text.endswith("in all: 5")  # of those that were there


async def test_a_search_that_takes_too_long_says_so(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "deadline_s", 0.0)
    async with running(site(), reader=journal) as page:
        answer, text = await page.get("/messages?since=all&test=GLU&lang=en")
    assert answer.status == 503
    assert "Narrow it" in read_html(text).one("p", role="alert").text


async def test_texts_of_a_device_are_harmless(tmp_path: Path) -> None:
    def plant(batch: Batch) -> None:
        for number, text in enumerate(EVIL):
            one = Received(
                channel="chem", payload=b"%d" % number, received_us=NOW_US, control_id=text, message_type=text
            )
            append.store_message(batch, one, repeat_window_s=WINDOW_S)

    with closing(fill(tmp_path, 1)) as made:
        made.run_alone(plant)
        async with running(site(), reader=made) as page:
            _, text = await page.get("/messages?since=all")
            _, asked = await page.get(f"/messages?{urlencode({'q': EVIL[0], 'type': EVIL[1], 'channel': EVIL[3]})}")
    for html in (text, asked):
        read_html(html)
    assert [one for one in FORBIDDEN if one in text] == []
    assert [one for one in FORBIDDEN[:2] if one in asked] == []


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1000, "1,000"), (99999, "99,999"), (123456, "1,23,456"), (12345678, "1,23,45,678")],
)
def test_counts_are_grouped_as_in_india(count: int, text: str) -> None:
    assert grouped(count) == text
