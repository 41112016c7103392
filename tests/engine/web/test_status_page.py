"""The overview as a browser gets it: what it says, how it is built, and what it never contains."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.channels import (
    ChannelSnapshot,
    LaneSnapshot,
    LastError,
    LinkSnapshot,
    PendingRetry,
    TeeSnapshot,
)
from engine.monitoring.snapshot.site import About, Notice, SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Paused
from engine.web import verdict
from engine.web.cells import Cells
from engine.web.languages import catalogue
from engine.web.rows import Rows
from tests.support.status_server import Element, read_html, running
from tests.support.status_sites import NOW, quiet_site, troubled_site


async def overview(site: SiteSnapshot, path: str = "/") -> Element:
    async with running(site) as page:
        answer, text = await page.get(path)
        assert answer.status == 200
        assert answer.content_type == "text/html"
    return read_html(text)


async def test_the_worst_is_said_first_in_words() -> None:
    root = await overview(troubled_site())
    strip = root.one("section", id="strip")
    assert strip.one("h1", class_="headline").text == "Problem: haematology-1 silent 47 min"
    said = [item.one("strong").text for item in root.one("ul", id="todo-list").all("li")]
    assert said[:3] == [
        "haematology-1 silent 47 min",
        "lab-fhir not reachable, 40 waiting",
        "coagulation down: device not found",
    ]
    assert strip.one("a", class_="main").text == "Look at the analyzer"
    assert [fact.text for fact in strip.all("div", class_="attention")] == [
        "Held back 2",
        "Dead letters 3",
        "Incomplete messages 2",
        "Disk 21 days",
    ]
    assert root.one("title").text == "haematology-1 silent 47 min · City Lab · LabRelay"


async def test_that_all_is_stored_is_said_where_nothing_speaks_against_it() -> None:
    site = quiet_site()
    first, *others = site.channels
    doubts = (
        replace(site, channels=(replace(first, notice="files that could not be taken: 1"), *others)),
        replace(site, channels=(replace(first, incomplete=1), *others)),
        replace(site, journal=replace(site.journal, writable=False)),
        replace(site, journal=replace(site.journal, integrity="rows are missing")),
        replace(site, alarms=(Notice("rows are missing that the second anchor has", About.ANCHOR),)),
        replace(site, channels=(replace(first, link=LinkSnapshot(stray_bytes=70)), *others)),
    )
    said = "All that came is stored. Analyzers that receive or rest as usual: 2 of 2."
    assert (await overview(site)).one("div", class_="verdict").one("p").text == said
    for one in doubts:
        assert "is stored" not in (await overview(one)).one("div", class_="verdict").text


async def test_a_site_in_order_is_calm() -> None:
    root = await overview(quiet_site())
    assert root.one("h1", class_="headline").text == "In order: Everything works"
    assert root.all(class_="problem") == []
    assert root.all(class_="attention") == []


@pytest.mark.promise("page")
async def test_channels_stand_worst_first_and_say_what_a_technician_needs() -> None:
    root = await overview(troubled_site())
    rows = root.one("tbody", id="channels").all("tr")
    assert [row.one("strong").text for row in rows][:3] == ["coagulation", "haematology-1", "point-of-care"]
    assert rows[-1].one("strong").text == "urinalysis"
    silent = root.one("tr", id="c-haematology-1")
    assert silent.one("td", class_="state").text == "silent"
    assert silent.one("td", class_="age").text == "47 min ago usual 2 min"
    assert silent.one("td", class_="dead").text == "1"
    assert root.one("tr", id="c-coagulation").one("td", class_="dead").text == "2 incomplete"
    assert root.one("tr", id="c-coagulation").one("th").text == "coagulation device not found"
    assert root.one("tr", id="c-point-of-care").one("td", class_="state").text == "Not kept: 2"
    chemistry = root.one("tr", id="c-chemistry")
    cells = {cell.attributes["data-label"]: cell.text for cell in chemistry.all("td")}
    assert (cells["State"], cells["Waiting"]) == ("receiving", "38 +3 not mapped yet")
    assert chemistry.attributes["class"] == "ok", "that its destination is away is one entry, not one for each analyzer"


async def test_a_destination_that_is_away_says_cause_advice_and_next_try() -> None:
    root = await overview(troubled_site())
    row = root.one("tr", id="d-lab-fhir")
    assert row.one("td", class_="state").text == "not reachable 40 waiting, oldest 20 min next try in 28 s"
    site = troubled_site()
    channels = tuple(replace(one, state=ChannelState.RECEIVING, tee=None) for one in site.channels)
    away = replace(site, channels=channels, backup=quiet_site().backup)
    root = await overview(away)
    assert "lab-fhir not reachable" in root.one("h1", class_="headline").text
    card = root.one("section", id="trouble")
    assert card.one("ol").all("li")[0].one("strong").text == "Is it being maintained?"
    facts = {one.one("dt").text: one.one("dd").text for one in card.one("dl").all("div")}
    assert facts["Cause"] == "The destination did not answer, or the connection failed."
    assert (facts["Failed attempts"], facts["Waiting"], facts["Disk"]) == ("7", "40", "21 days")


async def test_a_destination_that_takes_others_names_the_message_that_it_does_not_take() -> None:
    site = quiet_site()
    one = PendingRetry(attempt=3, code=ReasonCode.NO_ANSWER, channel="chemistry", message=458, others_taken=True)
    away = replace(site.destinations[0], state=DestinationState.RETRYING, retrying=one, waiting=1)
    row = (await overview(replace(site, destinations=(away,)))).one("tr", id="d-lab-fhir")
    assert row.one("td").text == "retrying 1 waiting delivering, but not message 458 of chemistry"


async def test_a_full_disk_is_one_entry_and_its_analyzers_are_calm() -> None:
    site = quiet_site()
    channels = tuple(replace(one, state=ChannelState.REFUSING) for one in site.channels)
    journal = replace(site.journal, writable=False)
    full = replace(site, channels=channels, alarms=(Notice("The disk is full", About.DISK),), journal=journal)
    root = await overview(replace(full, disk_free_bytes=5 << 20, usual_by_hour=((1, 2),) * 24))
    assert "hidden" in root.one("section", id="volume").attributes, "it would push the analyzers down"
    assert root.one("h1", class_="headline").text == "Problem: The disk is full: nothing is stored"
    assert len(root.one("ul", id="todo-list").all("li")) == 1
    assert root.one("a", class_="main").attributes["href"] == "#trouble"
    assert "5.0 MiB" in root.one("section", id="trouble").text
    assert [row.one("td", class_="state").text for row in root.one("tbody", id="channels").all("tr")] == [
        "keeps its results"
    ] * 2
    assert root.one("tbody", id="channels").all(class_="problem") == []
    assert "wait for room on the disk: 2" in root.one("caption", id="channels-caption").text


def full_site(*channels: ChannelSnapshot) -> SiteSnapshot:
    site = quiet_site()
    refusing = tuple(replace(one, state=ChannelState.REFUSING) for one in channels or site.channels)
    journal = replace(site.journal, writable=False)
    return replace(site, channels=refusing, alarms=(Notice("The disk is full", About.DISK),), journal=journal)


async def test_an_analyzer_that_sends_nothing_again_is_no_calm_row_of_a_full_disk() -> None:
    first, second = quiet_site().channels
    for lossy in (replace(first, unheard=True), replace(first, tee=TeeSnapshot())):
        root = await overview(full_site(lossy, second))
        row = root.one("tr", id="c-chemistry")
        assert (row.attributes["class"], row.one("td", class_="state").text) == ("problem", "not taking messages")
        said = root.one("div", class_="verdict").text
        assert "keep their results" not in said
        assert "usual: 0 of 2" in said


def test_a_full_disk_that_was_put_off_leaves_no_analyzer_as_usual() -> None:
    rows = Rows(Cells(full_site(), catalogue("en")))
    found = verdict.strip(rows.cells, (), [rows.channel(one) for one in rows.cells.site.channels])
    assert found["more"] == verdict.FULL


async def test_a_disk_that_has_room_for_weeks_is_to_look_at_and_no_problem() -> None:
    root = await overview(replace(quiet_site(), disk_days_left=20))
    assert root.one("h1", class_="headline").text == "Attention: Disk full in 20 days"
    assert root.one("section", id="trouble").attributes["class"] == "card attention"


async def test_an_analyzer_that_is_switched_off_is_not_counted_as_working() -> None:
    site = quiet_site()
    first, *others = site.channels
    root = await overview(replace(site, channels=(replace(first, state=ChannelState.DISABLED), *others)))
    assert "usual: 1 of 1" in root.one("div", class_="verdict").text


@pytest.mark.parametrize("code", [ReasonCode.NO_ANSWER, ReasonCode.NOT_AUTHORIZED])
@pytest.mark.parametrize("paused", [None, Paused(by="anita")])
async def test_that_results_go_out_by_themselves_is_said_where_no_person_is_needed(
    code: ReasonCode, paused: Paused | None
) -> None:
    site = quiet_site()
    first, *others = site.channels
    lane = LaneSnapshot(destination="lab-fhir", waiting=4, paused=paused)
    error = LastError(code=code, at=NOW)
    away = replace(site.destinations[0], state=DestinationState.BREAKER_OPEN, waiting=4, last_error=error)
    root = await overview(replace(site, destinations=(away,), channels=(replace(first, lanes=(lane,)), *others)))
    said = root.one("div", class_="verdict").text
    assert "not reachable" in said
    assert ("go out by themselves" in said) == (code is ReasonCode.NO_ANSWER and paused is None)


async def test_a_critical_result_is_said_in_words_in_the_first_row() -> None:
    site = quiet_site()
    first, second = site.channels
    lane = LaneSnapshot(destination="lab-fhir", held=2, held_critical=1)
    lossy = replace(first, tee=TeeSnapshot(not_kept=3))
    root = await overview(replace(site, channels=(lossy, replace(second, tee=TeeSnapshot(not_kept=1), lanes=(lane,)))))
    row = root.one("tbody", id="channels").all("tr")[0]
    assert (row.one("strong").text, row.one("td", class_="state").text) == ("urinalysis", "critical: 1")


@pytest.mark.parametrize(
    ("now", "begun", "hours"),
    [
        (datetime(2026, 10, 25, 9, 30, tzinfo=UTC), 12, 25),  # 10:30 of a day that has 02:00 twice
        (datetime(2026, 3, 29, 9, 30, tzinfo=UTC), 11, 23),  # 11:30 of one without 02:00
        (datetime(2026, 10, 25, 22, 30, tzinfo=UTC), 25, 25),  # its first hour is no longer known
    ],
)
def test_todays_hours_are_those_of_a_day_of_23_or_25_hours(now: datetime, begun: int, hours: int) -> None:
    site = quiet_site()
    channels = tuple(replace(one, received_by_hour=tuple(range(1, 25))) for one in site.channels)
    site = replace(site, now=now, timezone="Europe/Berlin", channels=channels, usual_by_hour=((7, 9),) * hours)
    chart = Rows(Cells(site, catalogue("en"))).volume()
    assert chart is not None
    assert len(chart.rows) == hours
    known = [n for _, n, _ in chart.rows if n != "-"]
    assert known == [str(2 * n) for n in range(1, 25)][-begun:]
    assert [n for _, n, _ in chart.rows].index(known[-1]) == begun - 1, "the hour that is not over"
    assert {usual for *_, usual in chart.rows} == {"7-9"}
    assert chart.rows[0][0] == "00"


async def test_analyzers_of_one_kind_of_trouble_are_one_entry_with_their_names() -> None:
    site = quiet_site()
    channels = tuple(replace(one, state=ChannelState.WAITING) for one in site.channels)
    root = await overview(replace(site, channels=channels))
    (entry,) = root.one("ul", id="todo-list").all("li")
    assert entry.one("strong").text == "Analyzers that are not connected: 2"
    assert entry.one("a", class_="button").attributes["href"] == "/?lang=en#analyzers"
    assert root.one("div", id="analyzers")
    names = [one.text for one in entry.one("p", class_="names").all("a")]
    assert names == ["chemistry", "urinalysis"]
    ids = root.one("section", id="todo").attributes["data-ids"].split()
    assert ids == [one.attributes["id"] for one in entry.one("p", class_="names").all("a")], "each is new by itself"
    assert root.one("section", id="todo").one("span", class_="count").text == "1"


async def test_every_state_has_an_icon_a_word_and_a_colour() -> None:
    root = await overview(troubled_site())
    states = root.all("td", class_="state")
    assert len(states) == 8
    known = {symbol.attributes["id"] for symbol in root.all("symbol")}
    for state in states:
        badge = state.one("span", class_="badge")
        assert badge.text
        assert badge.attributes["class"].split()[1] in {"ok", "calm", "attention", "problem"}
        assert badge.one("use").attributes["href"].removeprefix("#") in known
        assert badge.one("svg").attributes["aria-hidden"] == "true"


async def test_tables_have_captions_and_headers_for_screen_readers() -> None:
    root = await overview(troubled_site())
    for table in root.all("table"):
        assert table.one("caption").one("h2").text in {"Analyzers", "Where results go"}
        columns = [header.attributes["scope"] for header in table.one("thead").all("th")]
        assert columns == ["col"] * len(table.one("tbody").all("tr")[0].children)
        for row in table.one("tbody").all("tr"):
            assert row.one("th").attributes["scope"] == "row"
            labels = [cell.attributes["data-label"] for cell in row.all("td")]
            headers = [header.text for header in table.one("thead").all("th")]
            assert labels == [header for header in headers if header not in {"Analyzer", "Destination"}]
    assert root.one("html").attributes["lang"] == "en"
    live = root.one("p", id="announce")
    assert (live.attributes["aria-live"], live.text) == ("polite", "")
    assert [h.tag for h in root.all() if h.tag in {"h1", "h2"}] == ["h1", "h2", "h2", "h2"]


async def test_ids_are_unique_and_the_skip_link_leads_somewhere() -> None:
    root = await overview(troubled_site())
    ids = [element.attributes["id"] for element in root.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    assert root.one("a", class_="skip").attributes["href"].removeprefix("#") in ids


async def test_nothing_comes_from_elsewhere_and_nothing_is_inline() -> None:
    root = await overview(troubled_site())
    for element in root.all():
        assert element.tag != "style"
        assert not [name for name in element.attributes if name == "style" or name.startswith("on")]
        for name in ("src", "href", "action"):
            target = element.attributes.get(name, "")
            assert target.startswith(("/", "#", "?")) or not target
    for script in root.all("script"):
        assert script.text == ""
    assert root.one("noscript").one("meta").attributes == {
        "http-equiv": "refresh",
        "content": "10;url=/?lang=en&auto",
    }


async def test_names_and_descriptions_are_text_whatever_is_in_them() -> None:
    hostile = '<script>alert("x")</script>'
    channel = ChannelSnapshot(name=hostile, description=hostile, kind="mllp", address='"><b>', connections=(hostile,))
    site = replace(quiet_site(), site_name=hostile, channels=(channel,), alarms=(Notice(hostile, About.JOURNAL),))
    root = await overview(site)
    assert len(root.all("script")) == 4  # ours
    assert root.one("ul", id="todo-list").one("strong").text == hostile
    assert root.all("b") == []
    row = root.one("tbody", id="channels").one("tr")
    assert row.one("strong").text == hostile
    assert " " not in row.attributes["id"]
    assert root.one("h1", class_="headline").text == f"Problem: {hostile}"


async def test_without_channels_it_says_how_to_begin() -> None:
    root = await overview(SiteSnapshot(site_name="New", version="0", started_at=NOW, now=NOW))
    assert "labrelay help keys" in root.one("p", class_="empty").text


async def test_times_are_the_sites_own() -> None:
    stamp = (await overview(quiet_site())).one("time", id="as-of")
    assert stamp.text == "2026-03-02 10:12:07"  # Asia/Kolkata
    assert stamp.attributes["datetime"] == "2026-03-02T04:42:07+00:00"


async def test_hindi_by_the_browsers_wish_and_by_link() -> None:
    async with running(troubled_site()) as page:
        answer, wished = await page.get("/", headers={"Accept-Language": "de, hi-IN;q=0.9, en;q=0.1"})
        assert answer.headers["Vary"] == "Accept-Language, Accept-Encoding"
        _, linked = await page.get("/?lang=hi")
        _, back = await page.get("/?lang=en", headers={"Accept-Language": "hi"})
    assert wished == linked
    root = read_html(wished)
    assert root.one("html").attributes["lang"] == "hi"
    assert root.one("h1", class_="headline").text == "समस्या: haematology-1 47 मिनट से मौन"
    assert read_html(back).one("html").attributes["lang"] == "en"


async def test_status_json_is_the_same_snapshot() -> None:
    async with running(troubled_site()) as page:
        answer, text = await page.get("/status.json")
        assert answer.content_type == "application/json"
        assert json.loads(text) == json.loads(json.dumps(page.site.to_json()))
