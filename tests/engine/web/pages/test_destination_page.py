"""The page about one destination, and the letters and lanes of the page about one analyzer."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.model.errors import StoreError
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.ends import ChannelEnds, ConnectionEnds, DestinationEnds, DeviceEnd, FarEnd
from engine.monitoring.hours import STEPS, queue_of
from engine.monitoring.snapshot.channels import LaneSnapshot, PendingRetry
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import DestinationState
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.journal import Journal
from engine.store.operations import append
from engine.store.operations.outbox import attempts
from engine.store.queries.lanes import last_attempts
from engine.store.queries.messages import deliveries_of
from tests.support import journals
from tests.support.many_messages import fill
from tests.support.status_server import Page, read_html, running
from tests.support.status_sites import NOW, quiet_site


def down() -> SiteSnapshot:
    """The destination is not reachable."""
    site = quiet_site()
    retrying = PendingRetry(attempt=7, code=ReasonCode.NO_ANSWER, channel="chemistry", message=12)
    lane = LaneSnapshot(destination="lab-fhir", waiting=3, oldest_age_s=840, retrying=retrying, held=1, dead=2)
    first, *others = site.channels
    return replace(
        site,
        channels=(replace(first, lanes=(lane,)), *others),
        destinations=(
            replace(
                site.destinations[0],
                state=DestinationState.BREAKER_OPEN,
                breaker_until=NOW + timedelta(seconds=40),
                expected_until=NOW + timedelta(hours=1),
                retrying=retrying,
                waiting=3,
                oldest_age_s=840,
                held=1,
                dead=2,
                in_flight=1,
            ),
        ),
    )


@asynccontextmanager
async def shown(folder: Path, site: SiteSnapshot) -> AsyncIterator[tuple[Page, Journal]]:
    async with journals.running(folder) as journal, running(site, reader=journal) as page:
        yield page, journal


async def test_the_state_and_what_waits_by_analyzer(tmp_path: Path) -> None:
    async with shown(tmp_path, down()) as (page, _):
        answer, text = await page.get("/destinations/lab-fhir?lang=en")
    assert answer.status == 200
    root = read_html(text)
    head = root.one("section", id="line-head")
    assert head.one("h1").text == "lab-fhir not reachable"
    facts = dict(zip([one.text for one in head.all("dt")], [one.text for one in head.all("dd")], strict=True))
    assert facts == {
        "Address": "fhir http://127.0.0.1:8581/fhir",
        "Waiting": "3",
        "Oldest that waits": "oldest 14 min",
        "Under way": "1",
        "Delivered today": "418",
        "Last delivered": "last 11 s ago",
        "Next try": "next try in 40 s",
        "Expected downtime until": "11:12",
        "Held back": "1",
        "Dead letters": "2",
    }
    assert "NO_ANSWER" in head.text
    row = root.one("section", id="line-lanes").one("tbody").one("tr")
    assert "attention" in row.attributes["class"]
    assert [one.attributes["href"] for one in row.all("a")] == [
        "/analyzer?name=chemistry&lang=en",
        "/waiting?channel=chemistry&destination=lab-fhir&lang=en",
        "/held?channel=chemistry&destination=lab-fhir&lang=en",
        "/dead-letters/each?channel=chemistry&destination=lab-fhir&state=dead&lang=en",
    ]


async def test_overview_analyzer_and_destination_lead_to_each_other(tmp_path: Path) -> None:
    async with shown(tmp_path, down()) as (page, _):
        _, text = await page.get("/?lang=hi")
        link = read_html(text).one("tr", id="d-lab-fhir").one("th").one("a").attributes["href"]
        assert link == "/destinations/lab-fhir?lang=hi"
        _, text = await page.get("/analyzer?name=chemistry&lang=hi")
        lanes = read_html(text).one("section", id="line-lanes")
        assert lanes.one("th", scope="row").one("a").attributes["href"] == link
        answer, text = await page.get(link)
    assert answer.status == 200
    assert "/?lang=hi" in {one.attributes["href"] for one in read_html(text).all("a")}


async def test_the_parts_are_asked_for_by_the_script(tmp_path: Path) -> None:
    async with shown(tmp_path, down()) as (page, _):
        _, text = await page.get("/destinations/lab-fhir?lang=hi")
        root = read_html(text)
        answer, data = await page.get(root.one("body").attributes["data-poll"])
    assert answer.content_type == "application/json"
    for name, html in json.loads(data)["parts"].items():
        assert read_html(html).children[0].attributes["id"] == name
        assert name.startswith("thumb/") or root.one(id=name)  # a phone's bar has the first pages alone


@pytest.mark.parametrize(
    "path", ["/destinations/nobody", "/destinations/%3Cb%3E", "/destination.json", "/destination.json?name=x"]
)
async def test_a_destination_that_is_not_there(tmp_path: Path, path: str) -> None:
    async with shown(tmp_path, quiet_site()) as (page, _):
        answer, text = await page.get(path)
    assert answer.status == 404
    assert "<b>" not in text


async def test_the_last_failed_attempts_newest_first(tmp_path: Path) -> None:
    async with shown(tmp_path, quiet_site()) as (page, journal):
        numbers = await journals.queue(journal, b"{}", b"[]", b"1", to=("lab-fhir", "other"), claimed=True)
        mine, second = (
            next(one.id for one in deliveries_of(journal, [number]) if one.destination == "lab-fhir")
            for number in numbers[:2]
        )
        for n in range(1, 4):
            journal_attempt = {"attempt": n, "not_before_us": 0, "detail": "", "answer": b"secret"}
            await journal.run(attempts.postpone, mine, cause=ReasonCode.NO_ANSWER, **journal_attempt)
        await journal.run(attempts.bury, second, ReasonCode.REFUSED, "HTTP 422", b"secret")
        found = last_attempts(journal, "lab-fhir", limit=3)
        assert last_attempts(journal, "nobody", limit=3) == []
        _, text = await page.get("/destinations/lab-fhir?lang=en")
    assert [(one.n, one.cause) for one in found] == [(1, "REFUSED"), (3, "NO_ANSWER"), (2, "NO_ANSWER")]
    table = [row.text for row in read_html(text).all("section")[-1].one("tbody").all("tr")]
    assert len(table) == 4
    assert "secret" not in text
    assert sum("NO_ANSWER" in row and "waiting" in row for row in table) == 3
    assert sum("REFUSED" in row and "dead letter" in row for row in table) == 1


async def test_the_queue_over_an_outage_is_drawn_by_when_its_messages_came(tmp_path: Path) -> None:
    """The oldest came 29 minutes ago, so there is a moment each minute."""
    ages = (1740, 1730, 600, 30)
    async with shown(tmp_path, quiet_site()) as (page, journal):
        numbers = await journals.queue(journal, *(b"%d" % n for n in range(len(ages))), to=("lab-fhir",))
        for number, age_s in zip(numbers, ages, strict=True):
            await journal.run(came, number, round((NOW.timestamp() - age_s) * 1e6))
        found = queue_of(journal, "lab-fhir", 1740.0, NOW, ZoneInfo("Asia/Kolkata"))
        assert queue_of(journal, "other", 1740.0, NOW, UTC) == {}
        assert (len(found), *found)[:2] == (STEPS, "03-02 09:43:07")
        assert [*found.values()] == [1, *[2] * 18, *[3] * 10, 4]
        for days, since in ((0, "since 09:43: 4 now"), (3, "since 02-27 10:12: 4 now")):
            oldest = replace(quiet_site().destinations[0], oldest_age_s=86_400.0 * days or 1740.0, waiting=4)
            page.site = replace(quiet_site(), destinations=(oldest,))
            _, text = await page.get("/destinations/lab-fhir?lang=en")
            chart = read_html(text).one("div", class_="chart")
            assert since in chart.attributes["aria-label"]


@operation(priority=Priority.SETTLE)
def came(batch: Batch, number: int, at_us: int) -> None:
    batch.execute("UPDATE journal SET received_us = ? WHERE id = ?", (at_us, number))


async def test_the_last_dead_letters_of_an_analyzer(tmp_path: Path) -> None:
    fill(tmp_path, 150).close()
    site = quiet_site()
    site = replace(site, channels=(replace(site.channels[0], name="chem"),))
    async with shown(tmp_path, site) as (page, _):
        _, text = await page.get("/analyzer?name=chem&lang=en")
        section = next(one for one in read_html(text).all("section") if "Last dead letters" in one.text)
        rows = section.one("tbody").all("tr")
        assert len(rows) == 5
        for row in rows:
            answer, _ = await page.get(row.all("a")[0].attributes["href"])
            assert answer.status == 200
            assert row.one("code").text in {reason.value for reason in ReasonCode}
            assert not row.all("span", lang="en"), "a command is for engineers"
        answer, _ = await page.get(section.one("caption").one("a").attributes["href"])
        assert answer.status == 200


@pytest.mark.parametrize("path", ["/analyzer?name=chemistry", "/destinations/lab-fhir"])
async def test_a_journal_that_cannot_be_read_hides_no_state(tmp_path: Path, path: str) -> None:
    class Failing:
        deadline_s = 2.0

        def __getattr__(self, name: str) -> object:
            raise StoreError("disk gone")

    async with running(down(), reader=Failing()) as page:  # type: ignore[arg-type]
        answer, text = await page.get(f"{path}?lang=en" if "?" not in path else f"{path}&lang=en")
        data, _ = await page.get(read_html(text).one("body").attributes["data-poll"])
    assert (answer.status, data.status) == (200, 200)
    root = read_html(text)
    assert root.one("section", id="line-head").one("h1").text
    assert root.one("main").one("p", role="alert").text


class Seen:
    """What is known of both ends."""

    def __init__(
        self, device: DeviceEnd | None = None, far: FarEnd | None = None, transport: str = "", **more: Any
    ) -> None:
        since = NOW - timedelta(hours=2)
        connection = ConnectionEnds(own="10.0.0.2:2575", peer="10.0.0.9:50213", since=since)
        self._channel = ChannelEnds(
            transport=transport, connections=() if device or transport else (connection,), device=device
        )
        self._destination = DestinationEnds(far=far, **more)

    async def channel(self, name: str) -> ChannelEnds:
        return self._channel

    async def destination(self, name: str) -> DestinationEnds:
        return self._destination


async def section_of(folder: Path, path: str, seen: Seen, title: str, site: SiteSnapshot | None = None) -> str:
    async with journals.running(folder) as journal, running(site or quiet_site(), reader=journal, ends=seen) as page:
        answer, text = await page.get(f"{path}&lang=en" if "?" in path else f"{path}?lang=en")
    assert answer.status == 200
    (found,) = [one.text for one in read_html(text).all("section") if one.text.startswith(title)]
    return found.removeprefix(f"{title} ")


PLUGGED = DeviceEnd(
    device="usb:0403:6001", settings="9600 8N1", path="/dev/ttyUSB0", names=("/dev/serial/by-id/usb-FTDI",),
    description="FTDI \u202eFT232R", usb="0403:6001", serial_number="A50285BI", driver="ftdi_sio",
)  # fmt: skip
LOOK_THERE = "Is the analyzer on? Is its cable in? Are the line settings in its menu the same as here?"
LINES = [
    (None, "Our end Other end Connected since 10.0.0.2:2575 10.0.0.9:50213 2026-03-02 08:12:07 2 h ago"),
    (PLUGGED, "Device usb:0403:6001 Settings 9600 8N1 Plugged in yes Port /dev/ttyUSB0 Lasting name"
              " /dev/serial/by-id/usb-FTDI Adapter FTDI \\x202eFT232R USB 0403:6001 A50285BI Driver ftdi_sio"
              " No connection now. " + LOOK_THERE),
    (DeviceEnd(device="/dev/ttyUSB3", settings="9600 7E1", fault="there is no such device"),
     "Device /dev/ttyUSB3 Settings 9600 7E1 Plugged in no: there is no such device No connection now. " + LOOK_THERE),
    (DeviceEnd(device="socket://10.1.2.3:4001", is_remote=True),
     "Device socket://10.1.2.3:4001 Place at a device server No connection now. " + LOOK_THERE),
]  # fmt: skip


@pytest.mark.parametrize(("device", "expected"), LINES)
async def test_an_analyzers_page_has_both_ends_of_its_line(
    tmp_path: Path, device: DeviceEnd | None, expected: str
) -> None:
    said = await section_of(tmp_path, "/analyzer?name=chemistry", Seen(device), "Both ends of the line")
    assert said == expected


@pytest.mark.parametrize(
    ("transport", "asks"), [("http", "the right token or signature?"), ("folder", "into this folder"), ("tcp", "cable")]
)
async def test_where_nothing_is_connected_the_page_asks_what_fits_the_transport(
    tmp_path: Path, transport: str, asks: str
) -> None:
    """Who sent last, and from where, is said where there is no lasting connection."""
    journal = journals.opened(tmp_path)
    posted = replace(journals.received(b"posted", channel="chemistry"), peer="192.0.2.9:4411")
    journal.run_alone(append.store_message, posted, repeat_window_s=journals.WINDOW_S)
    journal.close()
    seen = Seen(transport=transport)
    said = await section_of(tmp_path, "/analyzer?name=chemistry", seen, "Both ends of the line")
    assert asks in said
    assert ("cable" in said) is (transport == "tcp")
    assert ("From 192.0.2.9:4411" in said) is (transport != "tcp")


AWAY = FarEnd(trouble="Name or service not known")
ENDING = FarEnd(addresses=("192.0.2.7", "2001:db8::7"), certificate_until=NOW + timedelta(days=9))
WAYS: list[tuple[dict[str, Any], SiteSnapshot, str]] = [
    ({"far": FarEnd()}, quiet_site(), "Circuit closed: attempts are made"),
    ({"far": ENDING, "host": "lab.example", "port": 443, "own_certificate": "us.pem (destination x) ends in 3 days"},
     down(),
     "Circuit no attempt until 2026-03-02 10:12:47 Host lab.example:443 Addresses 192.0.2.7, 2001:db8::7"
     " Its certificate ends 2026-03-11 Our certificate us.pem (destination x) ends in 3 days"),
    ({"far": AWAY, "host": "lab.example", "port": 443, "windows": ("sat 02:00-04:00",)},
     quiet_site(),
     "Circuit closed: attempts are made Expected downtime sat 02:00-04:00 Host lab.example:443"
     " Trouble Name or service not known"),
    ({"far": None, "host": "lab.example", "port": 443},
     replace(down(), destinations=(replace(down().destinations[0], state=DestinationState.PROBING),)),
     "Circuit half-open: one attempt is under way Host lab.example:443 Addresses being looked up: open the page again"),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "site", "expected"), WAYS)
async def test_a_destinations_page_has_the_way_there(
    tmp_path: Path, seen: dict[str, Any], site: SiteSnapshot, expected: str
) -> None:
    assert await section_of(tmp_path, "/destinations/lab-fhir", Seen(**seen), "The way there", site) == expected
