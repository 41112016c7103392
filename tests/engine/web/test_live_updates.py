"""Live updates, read from a real connection: whole at first, then only what changed, and nobody is held up."""

import asyncio
import cProfile
import json
import pstats
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState
from engine.web import server as server_module
from engine.web.feed import changes
from engine.web.identity import Person
from engine.web.render import Live, Renderer
from engine.web.server import MAX_EVENT_READERS
from tests.support.status_server import Page, read_html, running
from tests.support.status_sites import large_site, quiet_site, troubled_site
from tests.support.waiting import until


class Events:
    """Reads one ``/events`` answer."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.last_id = ""

    async def next(self) -> dict[str, Any]:
        """The next event's data; ``last_id`` is its id."""
        data = ""
        while True:
            line = (await asyncio.wait_for(self._reader.readline(), 240.0)).decode()
            assert line, "the events ended"
            if line.startswith("id: "):
                self.last_id = line[4:].strip()
            elif line.startswith("data: "):
                data = line[6:]
            elif line == "\n" and data:
                return dict(json.loads(data))

    async def end(self) -> None:
        """Wait for the end of the events."""
        while await self._reader.readline():
            pass

    async def until(self, part: str) -> dict[str, Any]:
        """The next event that has this part."""
        while True:
            event = await self.next()
            if part in event["parts"]:
                return event


@asynccontextmanager
async def events(page: Page, *, last_id: str = "", path: str = "/events") -> AsyncIterator[Events]:
    # A socket of its own, HTTP/1.0: the answer is not chunked, its lines are the events' lines.
    reader, writer = await asyncio.open_connection("127.0.0.1", page.server.port, limit=1 << 24)
    try:
        more = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n{more}\r\n".encode())
        assert (await asyncio.wait_for(reader.readline(), 240.0)).split()[1] == b"200", "refused"
        head = b""
        while (line := await asyncio.wait_for(reader.readline(), 240.0)) not in (b"\r\n", b""):
            head += line.lower()
        assert b"content-type: text/event-stream" in head
        yield Events(reader)
    finally:
        writer.close()


def silent(site: SiteSnapshot, name: str) -> SiteSnapshot:
    channels = tuple(
        replace(channel, state=ChannelState.SILENT) if channel.name == name else channel for channel in site.channels
    )
    return replace(site, channels=channels)


async def test_the_first_event_is_whole_and_its_parts_are_the_pages() -> None:
    async with running(quiet_site()) as page, events(page) as feed:
        first = await feed.next()
        root, wall = read_html((await page.get("/"))[1]), read_html((await page.get("/?wall"))[1])
    assert first["todo"] == []
    assert first["order"] == {"channels": ["c-chemistry", "c-urinalysis"], "destinations": ["d-lab-fhir"]}
    for part, html in first["parts"].items():
        element = read_html(html).children
        assert [child.attributes["id"] for child in element] == [part]
        if not part.startswith("thumb/"):  # a phone's bar has the first pages alone
            assert (wall if part == "todo-wall" else root).one(id=part).text == element[0].text


async def test_later_events_hold_only_what_changed_and_say_new_states() -> None:
    async with running(quiet_site()) as page, events(page) as feed:
        await feed.next()
        page.site = silent(page.site, "urinalysis")
        event = await feed.until("c-urinalysis")
    entry = "t-silent~2furinalysis"
    assert set(event["parts"]) == {"strip", "c-urinalysis", "channels-caption", f"{entry}-said", "todo-wall"}
    assert event["todo"] == [entry]
    assert event["order"] == {"channels": ["c-urinalysis", "c-chemistry"]}
    assert event["say"] == "urinalysis: silent"
    assert event["title"] == "urinalysis silent · City Lab · LabRelay"


async def test_the_counts_of_the_menu_are_live() -> None:
    async with running(quiet_site()) as page, events(page) as feed:
        await feed.next()
        root = read_html((await page.get("/"))[1])
        assert "hidden" in root.one("span", id="pages/dead-letters").attributes
        page.site = replace(page.site, dead_total=3)
        event = await feed.until("pages/dead-letters")
    counted = read_html(event["parts"]["pages/dead-letters"]).children[0]
    assert (counted.text, counted.attributes["class"]) == ("3", "count attention")
    assert "hidden" not in counted.attributes


async def test_nothing_is_sent_while_nothing_changes() -> None:
    async with running(quiet_site()) as page, events(page) as feed:
        await feed.next()
        version = feed.last_id
        page.site = replace(page.site)  # a new snapshot that looks the same
        page.site = silent(page.site, "chemistry")
        await feed.until("c-chemistry")
    boot, number = version.split("-")
    assert feed.last_id == f"{boot}-{int(number) + 1}"


async def test_a_reader_who_comes_back_gets_what_it_missed() -> None:
    async with running(quiet_site()) as page, events(page) as stays:
        await stays.next()
        page.site = silent(page.site, "chemistry")
        await stays.until("c-chemistry")
        before, number = stays.last_id.split("-")
        async with events(page, last_id=f"{before}-{int(number) - 1}") as back:
            event = await back.next()
            entry = "t-silent~2fchemistry-said"
            assert set(event["parts"]) == {"strip", "c-chemistry", "channels-caption", entry, "todo-wall"}
        for unknown in (f"{before}-{int(number) - 2}", "other-1", "nonsense"):
            async with events(page, last_id=unknown) as back:
                assert "c-urinalysis" in (await back.next())["parts"]


async def test_after_a_time_without_readers_the_first_event_is_fresh() -> None:
    async with running(quiet_site()) as page:
        async with events(page) as feed:
            await feed.next()
        await until(lambda: not page.server.listener.followers)
        await until(lambda: not any(feed.active for feed in page.server._feeds.values()))
        page.site = silent(page.site, "chemistry")
        async with events(page) as feed:
            assert "silent" in (await feed.next())["parts"]["c-chemistry"]


async def test_each_language_has_its_own_events() -> None:
    async with running(troubled_site()) as page, events(page, path="/events?lang=hi") as hindi, events(page) as english:
        assert "समस्या" in (await hindi.next())["parts"]["strip"]
        assert "Problem" in (await english.next())["parts"]["strip"]


async def test_polling_gives_the_same_as_a_first_event() -> None:
    async with running(troubled_site()) as page, events(page) as feed:
        first = await feed.next()
        _, polled = await page.get("/live.json")
        assert json.loads(polled) == first


async def test_readers_are_limited_and_a_place_is_freed() -> None:
    async with running(quiet_site(), MAX_EVENT_READERS=1) as page:
        async with events(page) as feed:
            await feed.next()
            answer, _ = await page.get("/events")
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "10"
        await until(lambda: not page.server.listener.followers)
        async with events(page) as feed:
            await feed.next()


async def test_a_thousand_streams_are_sixteen_and_each_of_these_is_served() -> None:
    async with running(quiet_site()) as page, AsyncExitStack() as windows:
        feeds, refused = [], 0
        for _ in range(1000):
            try:
                feeds.append(await windows.enter_async_context(events(page)))
            except AssertionError:
                refused += 1
        followers = page.server.listener.followers
        assert (len(feeds), refused, len(followers)) == (MAX_EVENT_READERS, 1000 - MAX_EVENT_READERS, MAX_EVENT_READERS)
        page.site = silent(page.site, "chemistry")
        for feed in feeds:
            await feed.until("c-chemistry")


def count_on(page: Page, number: int) -> None:
    channels = tuple(replace(channel, today_received=number) for channel in page.site.channels)
    page.site = replace(page.site, channels=channels)


async def test_a_reader_that_does_not_read_costs_the_others_nothing() -> None:
    """It skips versions instead of queueing them, and is dropped; the one beside it sees every change."""
    site = large_site(2)
    bulky = tuple(replace(channel, description="x" * 200_000) for channel in site.channels)  # fills buffers quickly
    async with running(replace(site, channels=bulky), SEND_TIMEOUT_S=1.0) as page, events(page), events(page) as reads:
        await reads.next()
        number = 0
        while len(page.server.listener.followers) > 1:
            number += 1
            count_on(page, number)
            assert f">{number}</a>" in (await reads.until("c-analyzer-001"))["parts"]["c-analyzer-001"]
        assert len(page.server.listener.followers) == 1
        count_on(page, 1_000_000)
        await reads.until("c-analyzer-001")


async def test_a_fault_while_rendering_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with running(quiet_site()) as page, events(page) as feed:
        await feed.next()
        good, page.site = page.site, None  # type: ignore[assignment]  # the fault
        await until(lambda: bool(caplog.records))
        page.site = silent(good, "chemistry")
        await feed.until("c-chemistry")
    assert {record.getMessage() for record in caplog.records} == {"live update failed"}


async def test_stopping_ends_the_events_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "STOP_TIMEOUT_S", 600.0)
    async with running(quiet_site()) as page, events(page) as feed:
        await feed.next()
        async with asyncio.timeout(240.0):
            await page.server.stop()
            await feed.end()


def test_changes_are_empty_between_equal_moments() -> None:
    live = Live("t", {"a": "x"}, {"channels": ["a"]}, {"a": "a: ok"})  # type: ignore[dict-item]  # plain text will do
    assert changes(live, live) == {"parts": {}, "order": {}}


def test_a_flood_of_state_changes_is_not_read_out_whole() -> None:
    before = Live("t", states={str(n): f"{n}: ok" for n in range(10)})
    after = Live("t", states={str(n): f"{n}: silent" for n in range(10)})
    assert changes(before, after)["say"] == "0: silent. 1: silent. 2: silent"


@pytest.mark.parametrize("channels", [250, 500])
async def test_the_overview_of_a_large_network_costs_as_much_for_each_channel(channels: int) -> None:
    """720 calls a channel, of Python's own and ours; 500 channels are some 30 ms of a quiet machine."""
    site = large_site(channels)
    renderer = Renderer(lambda: site, Page(site).todo)
    await renderer.prepare()
    profile = cProfile.Profile()
    profile.enable()
    text = renderer.overview(await renderer.live("en"), "en", Person())
    profile.disable()
    assert text.count("<tr id=") == channels + 2
    assert pstats.Stats(profile).total_calls < 850 * channels  # type: ignore[attr-defined]  # not in its stubs
