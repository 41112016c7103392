"""Orders of a FHIR server that is searched: each version once, nothing lost, each trouble by its name.

a resource, new                              one message, its order is on the worklist
the same version again                       nothing
a new version                                one more message: change, cancel, hold
an older version than that taken last        nothing: a copy of the server lags behind
a server that is down, full, locked, wrong   a fault that names it; all is taken once it is well again
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.transports import fhir_search
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from engine.model.process import back_off
from engine.store.queries.reader import stored_message
from tests.engine.features.orders.exchange.test_orders_of_a_lis import ANALYZER, lis, states
from tests.support.fhir_orders import Json, OrderServer, looked, order_server, request, specimen, task
from tests.support.ports import quiet_ports
from tests.support.running import RunningSite, running_site
from tests.support.waiting import until

WAITS = [("TSH", "waiting", "")]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(back_off, "FIRST_S", 0.02)
    monkeypatch.setattr(back_off, "MAX_S", 0.1)


def polling(server: OrderServer | str, **keys: Any) -> dict[str, Any]:
    url = server if isinstance(server, str) else server.url
    source = {"kind": "fhir-search", "url": url, "every": "50ms", **keys}
    return {**lis(source, "orders-fhir"), "settings": {}}


@asynccontextmanager
async def polled(folder: Path, server: OrderServer | str, **keys: Any) -> AsyncIterator[RunningSite]:
    async with running_site(folder, {"chemistry": ANALYZER, "his": polling(server, **keys)}) as site:
        yield site


def fault(site: RunningSite) -> str:
    return site.app.parts.sources["his"].fault


def notice(site: RunningSite) -> str:
    return site.app.parts.sources["his"].notice


def contents(site: RunningSite) -> list[Json]:
    return [json.loads(stored_message(site.journal, one.id).payload) for one in site.messages("his")]


def lines(site: RunningSite) -> list[tuple[str, str, str]]:
    """Order number, specimen and patient of each item."""
    found = [one.line for one in reversed(read_items(site.journal, ItemFilter()))]
    return [(one.placer, one.specimen, one.patient.number) for one in found]


async def becomes(site: RunningSite, found: list[str]) -> None:
    await until(lambda: [one[1] for one in states(site)] == found)


# -- what is taken ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knobs", [{}, {"includes": False}, {"sorts": False}], ids=["includes", "reads", "unsorted"])
async def test_a_request_is_taken_once_with_its_patient_and_its_tube(tmp_path: Path, knobs: dict[str, Any]) -> None:
    async with order_server(**knobs) as server, polled(tmp_path, server) as site:
        server.put(request("1"))
        await until(lambda: states(site) == WAITS)
        await looked(server, 3)
        assert lines(site) == [("P-1", "00042", "P-17")]
        assert site.ends("his") == ["ORDERS"]
        assert fault(site) == notice(site) == ""


async def test_a_new_version_is_a_new_message_and_the_same_one_is_not(tmp_path: Path) -> None:
    async with order_server() as server, polled(tmp_path, server) as site:
        wanted = [
            (request("1"), ["waiting"]),
            (request("1", priority="stat"), ["superseded", "waiting"]),
            (request("1", priority="stat", status="on-hold"), ["superseded", "held"]),
            (request("1", priority="stat"), ["superseded", "waiting"]),
            (request("1", priority="stat", status="revoked"), ["superseded", "cancelled"]),
        ]
        for version, (resource, found) in enumerate(wanted, 1):
            server.put(resource)
            await becomes(site, found)
            await looked(server)
            assert len(site.messages("his")) == version
        assert [one.control_id for one in site.messages("his")] == [f"ServiceRequest/1/{n}" for n in range(1, 6)]


async def test_a_draft_makes_no_order_and_is_counted(tmp_path: Path) -> None:
    async with order_server() as server, polled(tmp_path, server) as site:
        server.put(request("1", status="draft"))
        await until(lambda: site.ends("his") == ["FILTERED"])
        assert states(site) == []
        server.put(request("1"))
        await until(lambda: states(site) == WAITS)


async def test_the_bytes_of_the_server_are_kept_as_they_came(tmp_path: Path) -> None:
    """A number keeps its digits, and a name its place."""
    async with order_server() as server, polled(tmp_path, server) as site:
        await looked(server)
        body = json.dumps(request("1", meta={"versionId": "7", "lastUpdated": datetime.now(UTC).isoformat()}))
        odd = body[:-1] + ',  "quantityQuantity": {"value": 1.500}}'
        page = '{"entry" : [ {"resource":' + odd + '} ] ,"resourceType":"Bundle","type":"searchset"}'
        server.answers.append((200, {"Content-Type": "application/fhir+json"}, page.encode()))
        await until(lambda: states(site) == WAITS)
        assert odd.encode() in stored_message(site.journal, site.messages("his")[0].id).payload


async def test_a_task_brings_its_request_and_what_that_refers_to(tmp_path: Path) -> None:
    for includes in (True, False):
        async with (
            order_server(includes=includes) as server,
            polled(tmp_path / str(includes), server, search="Task") as site,
        ):
            server.put(request("1"), task("t1", "1"))
            await until(lambda: states(site) == WAITS)
            assert lines(site) == [("P-1", "00042", "P-17")]
            server.put(task("t1", "1", "accepted"))  # as LabRelay or another one answers it
            await until(lambda: len(site.messages("his")) == 2)
            await site.settled()
            server.put(task("t1", "1", "cancelled"))
            await until(lambda: states(site) == [("TSH", "cancelled", "")])


async def test_a_task_that_labrelay_wrote_itself_is_no_order(tmp_path: Path) -> None:
    """The server of the orders gets the answers as Tasks, and the search finds these."""
    notice = {
        "resourceType": "Task", "id": "n1", "status": "cancelled", "intent": "order",
        "code": {"coding": [{"system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "fulfill"}]},
        "focus": {"type": "ServiceRequest", "identifier": {"type": {"coding": [{"code": "PLAC"}]}, "value": "P-1"}},
    }  # fmt: skip
    async with order_server() as server, polled(tmp_path, server, search="Task") as site:
        server.put(request("1"), task("t1", "1"))
        await until(lambda: states(site) == WAITS)
        server.put(notice)
        await until(lambda: site.ends("his") == ["ORDERS", "FILTERED"])
        assert states(site) == WAITS
        server.put(task("t1", "1", "cancelled"))
        await until(lambda: states(site) == [("TSH", "cancelled", "")])


async def test_a_resource_that_is_nowhere_leaves_the_order_without_it(tmp_path: Path) -> None:
    async with order_server() as server, polled(tmp_path, server) as site:
        server.put(request("1", specimen="gone"))
        await until(lambda: "a resource that an order refers to is not on the server" in notice(site))
        await until(lambda: states(site) == [("TSH", "rejected", "NO_SPECIMEN")])


async def test_a_reference_to_another_server_is_not_followed(tmp_path: Path) -> None:
    async with order_server() as other, order_server() as server, polled(tmp_path, server) as site:
        reference = [{"reference": f"{other.url}/Specimen/s1"}]
        server.put({**request("1"), "specimen": reference})
        await until(lambda: states(site) == [("TSH", "rejected", "NO_SPECIMEN")])
        assert other.asked == []


async def test_a_contained_specimen_needs_no_question(tmp_path: Path) -> None:
    async with order_server(includes=False) as server, polled(tmp_path, server) as site:
        contained = {**specimen("x", "00077"), "id": "x"}
        server.put({**request("1"), "contained": [contained], "specimen": [{"reference": "#x"}]})
        await until(lambda: states(site) == WAITS)
        assert lines(site) == [("P-1", "00077", "P-17")]
        assert not [one for one in server.asked if "Specimen" in one.partition("?")[0]]


# -- time ---------------------------------------------------------------------------------------------------------


async def test_a_resource_that_is_found_late_is_taken(tmp_path: Path) -> None:
    """A later one was found before it."""
    async with order_server() as server, polled(tmp_path, server) as site:
        server.put(request("1"), request("2"))
        server.hidden.add("ServiceRequest/1")
        await until(lambda: [one[0] for one in lines(site)] == ["P-2"])
        await looked(server, 3)
        server.hidden.clear()
        await until(lambda: [one[0] for one in lines(site)] == ["P-2", "P-1"])


async def test_an_older_version_is_never_taken_after_a_newer_one(tmp_path: Path) -> None:
    """One of two copies of the server lags behind: a cancelled order must not come back."""
    async with order_server() as server, polled(tmp_path, server) as site:
        server.put(request("1"))
        old = dict(server.resources["ServiceRequest/1"])
        await until(lambda: states(site) == WAITS)
        server.put(request("1", status="revoked"), at=datetime.now(UTC) + timedelta(seconds=1))
        await until(lambda: states(site) == [("TSH", "cancelled", "")])
        server.resources["ServiceRequest/1"] = old
        await looked(server, 3)
        assert states(site) == [("TSH", "cancelled", "")]
        assert len(site.messages("his")) == 2


async def test_a_time_of_the_future_hides_no_order(tmp_path: Path) -> None:
    async with order_server() as server, polled(tmp_path, server) as site:
        server.put(request("1"), at=datetime.now(UTC) + timedelta(days=400))
        await until(lambda: len(states(site)) == 1)
        server.put(request("2"))
        await until(lambda: len(states(site)) == 2)


@pytest.mark.parametrize("hours", [9, -9, 100, -100])
async def test_a_clock_that_differs_is_named_and_costs_nothing(tmp_path: Path, hours: int) -> None:
    """Also where it differs by more than the first search goes back."""
    async with order_server() as server:
        server.now = datetime.now(UTC) + timedelta(hours=hours)
        server.put(request("0"), at=server.now - timedelta(days=2))
        async with polled(tmp_path, server) as site:
            server.put(request("1"))
            await until(lambda: [one[0] for one in lines(site)] == ["P-1"])
            await until(lambda: f"min {'ahead' if hours > 0 else 'behind'}" in notice(site))
            server.put(request("2"))
            await until(lambda: [one[0] for one in lines(site)] == ["P-1", "P-2"])


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "stopped meanwhile"])
async def test_a_clock_that_was_ahead_and_is_set_back_hides_nothing(tmp_path: Path, restarts: bool) -> None:
    """Neither an order that comes then, nor the cancel of one that came before."""
    async with order_server() as server:
        server.now = datetime.now(UTC) + timedelta(days=60)
        async with polled(tmp_path, server) as site:
            server.put(request("1"))
            await until(lambda: states(site) == WAITS)
            await looked(server)
            if not restarts:
                await _set_back(server, site)
        if restarts:
            async with polled(tmp_path, server) as site:
                await _set_back(server, site)


async def _set_back(server: OrderServer, site: RunningSite) -> None:
    server.now = None
    server.put(request("2"))
    server.put(request("1", status="revoked"))
    await until(lambda: states(site) == [("TSH", "cancelled", ""), *WAITS])
    await looked(server, 3)
    assert len(site.messages("his")) == 3
    assert fault(site) == notice(site) == ""


async def test_a_clock_that_has_lost_its_time_brings_no_old_order_back(tmp_path: Path) -> None:
    async with order_server() as server:
        server.put(request("0"), at=datetime.now(UTC) - timedelta(days=400))
        async with polled(tmp_path, server) as site:
            server.put(request("1"))
            await until(lambda: states(site) == WAITS)
            server.now = datetime.now(UTC) - timedelta(days=2000)
            await until(lambda: "set back by more than 30 days" in notice(site))
            await looked(server, 3)
            server.now = None
            server.put(request("2"))
            await until(lambda: [one[0] for one in lines(site)] == ["P-1", "P-2"])


async def test_a_version_that_a_restored_server_counts_anew_is_taken(tmp_path: Path) -> None:
    async with order_server() as server, polled(tmp_path, server) as site:
        server.put(request("1"))
        backup = dict(server.resources)
        for priority in ("urgent", "stat"):
            server.put(request("1", priority=priority))
        await until(lambda: len(site.messages("his")) >= 1 and site.is_settled())
        await looked(server)
        server.resources = backup
        server.put(request("1", status="revoked"), at=datetime.now(UTC) + timedelta(seconds=1))
        await until(lambda: {one[1] for one in states(site)} <= {"cancelled", "superseded"})


async def test_what_was_there_before_the_first_search_is_not_taken(tmp_path: Path) -> None:
    """Also not by a server that does not look at times."""
    async with order_server(looks_at_time=False) as server, polled(tmp_path, server) as site:
        server.put(request("1"), at=datetime.now(UTC) - timedelta(days=2))
        server.put(request("2"))
        await until(lambda: [one[0] for one in lines(site)] == ["P-2"])
        await until(lambda: "does not look at _lastUpdated" in notice(site))
        assert [one[0] for one in lines(site)] == ["P-2"]


async def test_a_server_without_versions_or_times_is_taken_by_content(tmp_path: Path) -> None:
    async with (
        order_server(versions=False, times=False, looks_at_time=False) as server,
        polled(tmp_path, server) as site,
    ):
        server.put(request("1"))
        await until(lambda: states(site) == WAITS)
        await looked(server, 3)
        assert len(site.messages("his")) == 1
        server.put(request("1", status="revoked"))
        await until(lambda: states(site) == [("TSH", "cancelled", "")])
        server.put(request("1"))  # the very content of before: ordered once more
        await until(lambda: len(states(site)) == 2)
        await looked(server, 3)
        assert len(site.messages("his")) == 3


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    async with order_server() as server:
        async with polled(tmp_path, server) as site:
            server.put(request("1"))
            await until(lambda: states(site) == WAITS)
            await looked(server)
        server.put(request("2"))
        begun = len(server.searches())
        async with polled(tmp_path, server, begin="1h") as site:
            await until(lambda: len(states(site)) == 2)
            await looked(server)
            assert len(site.messages("his")) == 2
        first = server.searches()[begun].partition("_lastUpdated=ge")[2].partition("&")[0]
        assert datetime.now(UTC) - datetime.fromisoformat(first) < timedelta(minutes=15)  # the overlap, no day


# -- pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knobs", [{}, {"page": 3}, {"looks_at_count": False}], ids=["10", "3", "all"])
async def test_all_pages_are_read(tmp_path: Path, knobs: dict[str, Any]) -> None:
    async with order_server(**knobs) as server, polled(tmp_path, server, page="10") as site:
        server.put(*(request(f"{n:03}", specimen=f"s{n}") for n in range(35)), *(specimen(f"s{n}") for n in range(35)))
        await until(lambda: len(site.messages("his")) == 35)
        await looked(server)
        assert len(site.messages("his")) == 35
        assert ("more resources at once" in notice(site)) == (knobs == {"looks_at_count": False})


async def test_a_search_in_order_of_time_goes_on_after_its_last_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fhir_search, "MAX_PAGES", 4)
    async with order_server() as server:
        now = datetime.now(UTC)
        for n in range(60):
            server.put(request(f"{n:03}"), at=now - timedelta(minutes=600 - n * 10))
        async with polled(tmp_path, server, page="5", overlap="1m") as site:
            await until(lambda: len(site.messages("his")) == 60)
            assert fault(site) == ""


BROKEN_PAGING: list[tuple[str, dict[str, Any], str]] = [
    ("another origin", {"next_link": lambda link: link.replace("127.0.0.1", "127.0.0.2")}, "at another address"),
    ("a circle", {"next_link": lambda link: link.partition("&from")[0] + "&from=2"}, "its paging is broken"),
    ("no end", {"sorts": False}, "more than 4 pages"),
]


@pytest.mark.parametrize(("knobs", "words"), [one[1:] for one in BROKEN_PAGING], ids=[one[0] for one in BROKEN_PAGING])
async def test_broken_paging_is_a_fault_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knobs: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(fhir_search, "MAX_PAGES", 4)
    async with order_server(**knobs) as server, polled(tmp_path, server, page="2") as site:
        server.put(*(request(str(n)) for n in range(12)))
        await until(lambda: words in fault(site))
        server.next_link = lambda link: link
        monkeypatch.setattr(fhir_search, "MAX_PAGES", 100)
        await until(lambda: len(site.messages("his")) == 12)
        await until(lambda: fault(site) == "")


# -- trouble ------------------------------------------------------------------------------------------------------

OUTCOME = json.dumps(
    {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "exception", "diagnostics": "Zebedee"}],
    }
).encode()
HTML = b"<html>log in</html>"
LONG = b'{"resourceType": "Bundle", "x": "' + b"x" * (8 * 1024 * 1024) + b'"}'
CUT = b'{"resourceType": "Bundle", "type": "searchset", "entry": ['
ANSWERS: list[tuple[str, tuple[int, dict[str, str], bytes], str]] = [
    ("locked", (401, {}, b""), "NOT_AUTHORIZED: HTTP 401"),
    ("full", (429, {"Retry-After": "1"}, b""), "BUSY: HTTP 429"),
    ("broken", (500, {}, OUTCOME), "BUSY: HTTP 500, exception"),
    ("gone", (404, {}, b""), "WRONG_ADDRESS: HTTP 404"),
    ("moved", (302, {"Location": "https://elsewhere.example.org/"}, b""), "NOT_FHIR: HTTP 302"),
    ("a page", (200, {}, HTML), "NOT_FHIR: HTTP 200, and"),
    ("an outcome", (200, {}, OUTCOME), "NOT_FHIR: HTTP 200, and an OperationOutcome: exception"),
    ("one resource", (200, {}, json.dumps(request("9")).encode()), "NOT_FHIR: HTTP 200, and no Bundle"),
    ("cut", (200, {}, CUT), "NOT_FHIR: HTTP 200, and line 1"),
    ("too long", (200, {}, LONG), "make page smaller"),
    ("refused", (400, {}, OUTCOME), "say plain: true"),
]


@pytest.mark.parametrize(("answer", "words"), [one[1:] for one in ANSWERS], ids=[one[0] for one in ANSWERS])
async def test_each_trouble_has_a_name_and_ends(
    tmp_path: Path, answer: tuple[int, dict[str, str], bytes], words: str
) -> None:
    async with order_server() as server:
        server.put(request("1"))
        server.answers += [answer] * 3
        async with polled(tmp_path, server) as site:
            seen: set[str] = set()
            await until(lambda: seen.add(fault(site)) or states(site) == WAITS)  # type: ignore[func-returns-value]
            assert [one for one in seen if words in one], seen
            assert not [one for one in seen if "Zebedee" in one]
            await until(lambda: fault(site) == "")
            assert len(site.messages("his")) == 1


async def test_retry_after_is_kept_to(tmp_path: Path) -> None:
    async with order_server() as server:
        server.answers.append((429, {"Retry-After": "3600"}, b""))
        async with polled(tmp_path, server) as site:
            await until(lambda: "BUSY" in fault(site))
            assert len(server.asked) == 1
            assert site.app.parts.sources["his"]._transport._pause_s == 3600.0  # type: ignore[union-attr]


async def test_a_server_that_is_down_is_waited_for(tmp_path: Path) -> None:
    (port,) = quiet_ports(1)
    async with polled(tmp_path, f"http://127.0.0.1:{port}/fhir") as site:
        await until(lambda: "NO_ANSWER" in fault(site))
        ran = await site.labrelay("status")
        assert "NO_ANSWER" in ran.out
        async with order_server(port) as server:
            server.put(request("1"))
            await until(lambda: states(site) == WAITS)
            await until(lambda: fault(site) == "")


async def test_a_reference_that_cannot_be_read_now_makes_the_order_wait(tmp_path: Path) -> None:
    """It is never taken without its tube."""
    async with order_server() as server:
        server.put(request("1"))
        page = {"resourceType": "Bundle", "entry": [{"resource": server.resources["ServiceRequest/1"]}]}
        empty = json.dumps({"resourceType": "Bundle"}).encode()  # to the question for its clock
        server.answers += [(200, {}, empty), (200, {}, json.dumps(page).encode()), (503, {}, b"")]
        async with polled(tmp_path, server) as site:
            await until(lambda: states(site) == WAITS)
            assert len(site.messages("his")) == 1
            assert [one.partition("?")[0] for one in server.asked[:3]] == [
                *["/fhir/ServiceRequest"] * 2,
                "/fhir/Patient/p1",
            ]


async def test_a_strict_server_is_searched_plainly(tmp_path: Path) -> None:
    async with order_server(refused=frozenset({"_include", "_sort"}), sorts=False) as server:
        server.put(request("1"))
        async with polled(tmp_path, server, plain=True) as site:
            await until(lambda: states(site) == WAITS)
            assert lines(site) == [("P-1", "00042", "P-17")]


async def test_it_logs_in_as_a_destination_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIS_TOKEN", "hunter2")
    async with order_server(token="hunter2") as server:
        server.put(request("1"))
        async with polled(tmp_path, server, auth={"bearer": {"token": "${HIS_TOKEN}"}}) as site:
            await until(lambda: states(site) == WAITS)
            ran = await site.labrelay("check", "--online")
            assert ran.code == 0, ran.out
            server.token = "another"
            ran = await site.labrelay("check", "--online")
            assert "channel his: NOT_AUTHORIZED: HTTP 401" in ran.out


async def test_a_pause_asks_for_nothing(tmp_path: Path) -> None:
    async with order_server() as server, polled(tmp_path, server) as site:
        await looked(server)
        ran = await site.labrelay("pause", "channel", "his", "--reason", "tested", "--yes")
        assert ran.code == 0, ran.err
        asked = len(server.asked)
        server.put(request("1"))
        ran = await site.labrelay("resume", "channel", "his", "--reason", "tested", "--yes")
        assert ran.code == 0, ran.err
        assert len(server.asked) <= asked + 1
        await until(lambda: states(site) == WAITS)
