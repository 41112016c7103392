"""The server around the page: health, readiness, metrics, headers, limits, and who may ask."""

import asyncio
import threading

import pytest
from prometheus_client import Counter

from engine.config.web import WebConfig
from engine.model.texts.units import HostPort
from engine.monitoring.counters import Counters
from engine.monitoring.metrics import SiteCollector
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.web.guard import host_allowed
from engine.web.server import StatusServer
from tests.support.status_server import read_html, running
from tests.support.status_sites import quiet_site

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


async def raw(port: int, request: bytes) -> bytes:
    """What the server answers to these bytes, until it closes or nothing comes for a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(65536), 240.0)
    finally:
        writer.close()


async def test_health_and_readiness() -> None:
    async with running(quiet_site()) as page:
        answer, text = await page.get("/healthz")
        assert (answer.status, text) == (200, "ok\n")
        answer, text = await page.get("/readyz")
        assert (answer.status, text) == (200, "ready\n")
        page.missing = ["recovery is not done", "channel chemistry: address already in use"]
        answer, text = await page.get("/readyz")
        assert answer.status == 503
        assert text == "not ready: recovery is not done\nnot ready: channel chemistry: address already in use\n"
        assert (await page.get("/healthz"))[0].status == 200


async def test_metrics_are_collected_where_they_are_counted() -> None:
    """On the event loop's thread: the journal's connection and the running parts belong to it."""
    threads: set[int] = set()

    def noted() -> SiteSnapshot:
        threads.add(threading.get_ident())
        return quiet_site()

    async with running(quiet_site()) as page:
        page.registry.register(SiteCollector(Counters(), noted))
        answer, text = await page.get("/metrics")
    assert answer.status == 200
    assert 'labrelay_lane_waiting{channel="chemistry",destination="lab-fhir"} 0.0' in text
    assert threads == {threading.get_ident()}


async def test_metrics_are_prometheus_text() -> None:
    async with running(quiet_site()) as page:
        Counter("made_up", "A counter.", registry=page.registry).inc(3)
        answer, text = await page.get("/metrics")
    assert answer.content_type == "text/plain"
    assert "made_up_total 3.0" in text


@pytest.mark.parametrize(
    "path", ["/", "/status.json", "/healthz", "/metrics", "/nothing", "/static/page.css", "/live.json"]
)
async def test_every_answer_carries_the_security_headers(path: str) -> None:
    async with running(quiet_site()) as page:
        answer, _ = await page.get(path)
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert "Server" not in answer.headers
    if not path.startswith("/static"):
        assert answer.headers["Cache-Control"] == "no-store"


async def test_pages_link_static_files_that_exist_and_may_be_kept() -> None:
    async with running(quiet_site()) as page:
        root = read_html((await page.get("/"))[1])
        links = [link.attributes["href"] for link in root.all("link")]
        links += [script.attributes["src"] for script in root.all("script")]
        assert len(links) == 7
        for link in links:
            answer, _ = await page.get(link)
            assert answer.status == 200
            assert "immutable" in answer.headers["Cache-Control"]
        answer, _ = await page.get("/static/page.css")
        assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/nothing", "/static/none.css", "/static/..%2Fserver.py", "/static/"])
async def test_what_is_not_there_says_so_without_details(path: str) -> None:
    async with running(quiet_site()) as page:
        answer, text = await page.get(path)
    assert answer.status == 404
    assert read_html(text).one("h1").text == "There is no such page."


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_the_page_can_only_be_read(method: str) -> None:
    async with running(quiet_site()) as page, page.http.request(method, "/") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET,HEAD"
        assert read_html(await answer.text()).one("h1").text == "This page can only be read."


async def test_head_answers_without_a_body() -> None:
    async with running(quiet_site()) as page:
        for path in ("/", "/events", "/status.json"):
            async with page.http.head(path) as answer:
                assert answer.status == 200
                assert await answer.read() == b""


async def test_a_fault_inside_is_a_plain_page(caplog: pytest.LogCaptureFixture) -> None:
    async with running(quiet_site()) as page:
        page.site = None  # type: ignore[assignment]  # the fault
        answer, text = await page.get("/status.json")
    assert answer.status == 500
    assert read_html(text).one("h1").text == "LabRelay could not make this page. Its log says why."
    assert "NoneType" not in text
    assert [record.getMessage() for record in caplog.records] == ["page failed"]


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("127.0.0.1:8580", True),
        ("localhost:8580", True),
        ("LOCALHOST", True),
        ("[::1]:8580", True),
        ("127.0.0.53", True),
        ("relay.lab.example", True),
        ("evil.example:8580", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.5:8580", False),
        ("[::1", False),
        ("[::1]x", False),
        ("localhost:80x", False),
        ("", False),
    ],
)
def test_only_this_machines_names_are_answered(header: str, allowed: bool) -> None:
    assert host_allowed(header, {"relay.lab.example"}) is allowed


async def test_a_foreign_host_name_gets_nothing() -> None:
    async with running(quiet_site()) as page:
        for path in ("/", "/status.json", "/metrics", "/nothing", "/events"):
            answer, text = await page.get(path, headers={"Host": "evil.example"})
            assert answer.status == 421
            assert "City Lab" not in text
        assert (await raw(page.server.port, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.0 421 ")


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 9000 + b"\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ],
)
async def test_oversized_and_broken_requests_are_refused(request_head: bytes) -> None:
    async with running(quiet_site()) as page:
        assert (await raw(page.server.port, request_head)).startswith(b"HTTP/1.")
        assert b" 400 " in (await raw(page.server.port, request_head)).split(b"\r\n")[0]
        assert (await page.get("/healthz"))[0].status == 200


async def test_connections_are_limited() -> None:
    async with running(quiet_site(), MAX_CONNECTIONS=3) as page:
        held = [await asyncio.open_connection("127.0.0.1", page.server.port) for _ in range(3)]
        for reader, writer in held:  # each is accepted only when it is answered
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await asyncio.wait_for(reader.readline(), 240.0) == b"HTTP/1.1 200 OK\r\n"
        assert await raw(page.server.port, b"") == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


async def test_slow_and_idle_connections_keep_nobody_out() -> None:
    async with running(quiet_site(), MAX_CONNECTIONS=3, PATIENCE_S=0.0) as page:
        follower, following = await asyncio.open_connection("127.0.0.1", page.server.port)
        following.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await asyncio.wait_for(follower.readline(), 240.0) == b"HTTP/1.1 200 OK\r\n"
        idle, idling = await asyncio.open_connection("127.0.0.1", page.server.port)
        idling.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await asyncio.wait_for(idle.readline(), 240.0) == b"HTTP/1.1 200 OK\r\n"
        slow = [await asyncio.open_connection("127.0.0.1", page.server.port) for _ in range(6)]
        for _, writer in slow:
            writer.write(b"GET /healthz HTTP/1.1\r\nHo")
        for _ in range(5):
            assert b" 200 OK" in await raw(page.server.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert len(page.server.listener.followers) == 1, "who follows the page rightly asks for nothing more"
        for writer in (following, idling, *(writer for _, writer in slow)):
            writer.close()


async def test_a_taken_address_is_an_error_at_the_start() -> None:
    async with running(quiet_site()) as page:
        taken = WebConfig(listen=HostPort("127.0.0.1", page.server.port))
        second = StatusServer(taken, page.server._running)
        with pytest.raises(OSError, match="ddress already in use"):
            await second.listen()
        await second.stop()
