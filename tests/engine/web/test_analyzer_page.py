"""The page about one analyzer's line, and the search for reagent lots."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from engine.model.errors import StoreError
from engine.model.journal_views import ReagentView
from engine.store.journal import Journal
from tests.support import journals
from tests.support.status_server import Element, read_html, running
from tests.support.status_sites import quiet_site, troubled_site

LOT = ReagentView(
    channel="coagulation",
    name="STA-NEO CI PLUS 5",
    lot="254169",
    expires="2026-02-28",
    tests=("SPT", "SINR"),
    left="",
    first_us=1_771_000_000_000_000,
    last_us=1_772_400_000_000_000,
    messages=312,
)


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
        "frame with a wrong checksum, refused bad-checksum 3",
        "the sender stopped amid a session receive-timeout 1",
    ]
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
        assert root.one(id=name)
    assert update["order"] == {}


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


async def test_a_search_finds_lots_and_says_how_to_list_the_messages() -> None:
    asked: list[tuple[str | None, str | None]] = []

    def find(lot: str | None, channel: str | None) -> Sequence[ReagentView]:
        asked.append((lot, channel))
        return [LOT]

    async with running(troubled_site(), reagents=find) as page:
        _, text = await page.get("/reagents?lot=+254169+&channel=coagulation")
        _, data = await page.get("/reagents.json?lot=254169")
        await page.get("/reagents")
    root = read_html(text)
    row = root.one("tbody").one("tr").text
    assert row.startswith("coagulation STA-NEO CI PLUS 5 254169 2026-02-28 expired SPT, SINR - 312")
    assert "labrelay messages list --lot 254169" in root.one("main").text
    (link,) = [one for one in root.all("a") if one.attributes["href"].startswith("/messages?lot=")]
    assert link.attributes["href"] == "/messages?lot=254169&since=all&lang=en"
    assert root.one("input", id="lot").attributes["value"] == "254169"
    (told,) = json.loads(data)["reagents"]
    assert (told["lot"], told["messages"], told["tests"]) == ("254169", 312, ["SPT", "SINR"])
    assert told["first"].startswith("2026-02-13T")
    assert asked == [("254169", "coagulation"), ("254169", None), (None, None)]


async def test_a_lot_that_nobody_named_and_one_that_is_no_lot() -> None:
    async with running(quiet_site()) as page:
        _, nothing = await page.get("/reagents?lot=X1")
        _, empty = await page.get("/reagents")
        _, hostile = await page.get("/reagents?lot=%22%3E%3Cscript%3E%27;rm")
    assert "No message names this lot." in read_html(nothing).text
    assert "No analyzer has named a reagent lot yet." in read_html(empty).text
    assert "<script>'" not in hostile


async def test_a_journal_that_cannot_be_read_is_said() -> None:
    def fail(lot: str | None, channel: str | None) -> Sequence[ReagentView]:
        raise StoreError("disk gone")

    async with running(quiet_site(), reagents=fail) as page:
        answer, text = await page.get("/reagents")
        data, _ = await page.get("/reagents.json")
    assert (answer.status, data.status) == (503, 503)
    assert "The journal cannot be read just now." in read_html(text).text
    assert "disk gone" not in text
