"""Each number of the overview that is a link leads to a list with that very number."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.model.message import Received, Unmapped
from engine.model.outcome import Outcome
from engine.model.process.clock import from_us
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.channels import ChannelSnapshot, DestinationSnapshot, LaneSnapshot
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.core.writing.batch import Batch
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.tallies import list_unmapped
from engine.web.pages import waiting
from tests.support.bare_channels import bare_channels
from tests.support.journals import NOW_US, WINDOW_S
from tests.support.many_messages import HOUR_US, fill
from tests.support.status_server import Element, Page, read_html, running
from tests.support.status_sites import quiet_site

COUNT = 200
NUMBER = re.compile(r"\d+")


def incomplete(batch: Batch) -> None:
    received = Received(channel="chem", payload=b"cut", received_us=NOW_US, control_id="", message_type="")
    append.store_incomplete(batch, received, ReasonCode.INCOMPLETE)
    stored = append.store_message(batch, replace(received, payload=b"x"), repeat_window_s=WINDOW_S)
    gap = Unmapped(table="codes", code="GLU", unit="", display="")
    record_outcome.record(batch, stored.id, Outcome("filtered", unmapped=(gap,)))


def snapshot_of(journal: Journal) -> SiteSnapshot:
    """As the daemon counts."""
    now = from_us(NOW_US + COUNT * HOUR_US)
    lanes = list_lanes(journal)
    views = list_channels(journal)
    today = Counter(
        channel
        for channel, at_us in journal.rows("SELECT channel, received_us FROM journal WHERE kind = 1")
        if from_us(at_us + 19_800_000_000).date() == from_us(int(now.timestamp() * 1e6) + 19_800_000_000).date()
    )
    channels = tuple(
        ChannelSnapshot(
            name=view.name,
            kind="mllp",
            address="127.0.0.1:2575",
            today_received=today[view.name],
            stored_waiting=view.stored,
            dead=view.dead,
            incomplete=view.incomplete,
            lanes=tuple(
                LaneSnapshot(destination=one.destination, waiting=one.open, dead=one.dead, held=one.held)
                for one in lanes
                if one.channel == view.name
            ),
        )
        for view in views
    )
    destinations = tuple(
        DestinationSnapshot(
            name=name,
            kind="fhir",
            address="http://127.0.0.1/",
            waiting=sum(one.open for one in lanes if one.destination == name),
            dead=sum(one.dead for one in lanes if one.destination == name),
            held=sum(one.held for one in lanes if one.destination == name),
        )
        for name in sorted({one.destination for one in lanes})
    )
    return replace(
        quiet_site(),
        now=now,
        channels=channels,
        destinations=destinations,
        dead_total=sum(view.dead for view in views) + sum(one.dead for one in lanes),
        incomplete_total=sum(view.incomplete for view in views),
        unmapped_total=len(list_unmapped(journal)),
    )


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    journal = fill(tmp_path, COUNT)
    journal.run_alone(incomplete)
    async with running(snapshot_of(journal), reader=journal, channels=lambda: bare_channels("chem")) as started:
        yield started
    journal.close()


async def counted(page: Page, href: str) -> int:
    answer, text = await page.get(href)
    assert answer.status == 200
    html = read_html(text)
    if not html.all("caption"):
        return 0
    return int(NUMBER.search(html.one("main").text.partition("in all: ")[2])[0])  # type: ignore[index]  # it is there


def links(html: Element) -> list[tuple[int, str]]:
    found = [one for one in html.all("a") if {"count", "badge"} & set(one.attributes.get("class", "").split())]
    return [(int(NUMBER.search(one.text)[0]), one.attributes["href"]) for one in found]  # type: ignore[index]  # as above


async def test_each_number_leads_to_a_list_of_as_many(page: Page) -> None:
    _, text = await page.get("/?lang=en")
    found = links(read_html(text))
    assert {href.partition("?")[0] for _, href in found} == {
        "/messages",
        "/dead-letters/each",
        "/held",
        "/waiting",
    }
    assert len(found) > 15
    for number, href in found:
        assert await counted(page, href) == number, href


async def test_what_waits_for_a_server_is_drawn_over_its_outage(page: Page) -> None:
    age_s = (page.site.now - from_us(NOW_US)).total_seconds()
    away = tuple(replace(one, oldest_age_s=age_s) for one in page.site.destinations)
    page.site = replace(page.site, destinations=away)
    assert any(one.waiting for one in away)
    for one in filter(lambda one: one.waiting, away):
        root = read_html((await page.get(f"/destinations/{one.name}?lang=en"))[1])
        rows = [row.one("td").text for row in root.one("details", class_="fold").one("tbody").all("tr")]
        assert [*map(int, rows)] == sorted(map(int, rows)), "it grows"
        assert int(rows[-1]) == one.waiting
        said = root.one("div", class_="chart").attributes["aria-label"]
        assert said.endswith(f": {one.waiting} now.")
    page.site = replace(page.site, destinations=tuple(replace(one, oldest_age_s=None) for one in away))
    assert read_html((await page.get("/destinations/a?lang=en"))[1]).all("div", class_="chart") == []


# Labels of numbers of messages, deliveries and letters, on whatever page; each such number that is not 0 is in a link.
COUNTED = {
    *(
        "Waiting",
        "Not mapped yet",
        "Received",
        "Received today",
        "Times",
        "Dead",
        "Dead letters",
        "Incomplete messages",
    ),
    *("Unmapped codes", "Messages received", "New dead letters", "Today"),
}
# Of what happened within a time: a message that was sent again since is in no list that is kept.
HAPPENED = {"Delivered", "Delivered today", "Held back", "Dead of the hours", "State"}


async def test_each_number_of_what_can_be_listed_is_a_link(page: Page) -> None:
    channel = page.site.channels[0].name
    seen = set()
    for path in (
        "/",
        "/shift",
        "/dead-letters",
        "/held",
        "/waiting",
        f"/analyzer?name={channel}",
        "/system",
        "/operations",
    ):
        _, text = await page.get(f"{path}{'&' if '?' in path else '?'}lang=en")
        for label, cell in labelled(read_html(text)):
            if path == "/shift" and label == "Dead":
                label = "Dead of the hours"
            numbers = [number for number in NUMBER.findall(cell.text) if int(number)]
            if label in COUNTED and numbers:
                seen.add(label)
                assert any(numbers[0] in link.text for link in cell.all("a")), f"{path}: {label} {cell.text}"
            assert label in COUNTED | HAPPENED or not cell.all("a", class_="count"), f"{path}: name {label} in COUNTED"
    assert seen >= {"Waiting", "Not mapped yet", "Received today", "Times", "Dead", "Dead letters"}


def labelled(html: Element) -> Iterator[tuple[str, Element]]:
    """Each fact, and each cell of a table, with its label."""
    for facts in html.all("dl"):
        for one in facts.all("div"):
            yield one.one("dt").text, one.one("dd")
    for cell in html.all("td"):
        if "data-label" in cell.attributes:
            yield cell.attributes["data-label"], cell


async def test_pages_of_what_waits_have_each_delivery_once(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PAGE", 3)
    found: list[int] = []
    address = "/waiting?lang=en"
    while address:
        _, text = await page.get(address)
        html = read_html(text)
        found += [int(row.attributes["id"].removeprefix("d-")) for row in html.one("tbody").all("tr")]
        further = html.all("a", rel="next")
        address = further[0].attributes["href"] if further else ""
    assert found == sorted(set(found))
    assert len(found) == sum(one.waiting for one in page.site.destinations) > 3


@pytest.mark.parametrize(("path", "least"), [("/analyzer?name=chem&lang=en", 12), ("/destinations/a?lang=en", 7)])
async def test_numbers_of_the_page_of_one_are_links(page: Page, path: str, least: int) -> None:
    _, text = await page.get(path)
    found = links(read_html(text))
    assert len(found) >= least
    for number, href in found:
        assert await counted(page, href) == number, href
