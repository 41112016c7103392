"""A page to a reader, over real sockets: where it may go, and what each answer means."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from engine.features.abdm.client.pushes import Pushes, Taken, check
from engine.model.errors import NoRoomError, PushRefusedError
from tests.adapters.clients.http.test_push_guard import INSIDE
from tests.support.certificates import Authority


@dataclass
class Given:
    push_private: tuple[str, ...] = ("127.0.0.1",)
    pushes: int = 4
    timeout: float = 20.0


@dataclass
class Reader:
    """Answers with ``status`` and ``body``; ``heard`` has the requests."""

    port: int = 0
    status: int = 202
    body: bytes = b""
    location: str = ""
    delay_s: float = 0.0
    retry_after: str = ""

    def __post_init__(self) -> None:
        self.heard: list[tuple[str, str, bytes]] = []

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        self.heard.append((request.path, request.headers.get("Authorization", ""), await request.read()))
        await asyncio.sleep(self.delay_s)
        headers = {"Location": self.location} if self.location else {}
        headers |= {"Retry-After": self.retry_after} if self.retry_after else {}
        return web.Response(status=self.status, body=self.body, headers=headers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/push"


@asynccontextmanager
async def reader(given: Given | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Reader, Pushes]]:
    made = Reader()
    runner = web.ServerRunner(web.Server(made.take, access_log=None), shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    made.port = runner.addresses[0][1]
    pushes = Pushes("abdm", given or Given())
    await pushes.start()
    try:
        yield made, pushes
    finally:
        await pushes.close()
        await runner.cleanup()


async def always() -> bool:
    return True


STATUSES = {
    **dict.fromkeys((200, 201, 202, 204), Taken.DELIVERED),
    **dict.fromkeys((408, 425, 429, 500, 502, 503, 504, 599), Taken.AGAIN),
    **dict.fromkeys((400, 403, 404, 405, 409, 410, 413, 415, 422), Taken.FINAL),
    401: Taken.LOG_IN,
}


@pytest.mark.parametrize("status", STATUSES)
async def test_what_a_status_means(status: int) -> None:
    async with reader() as (made, pushes):
        made.status = status
        answer = await pushes.push(made.url, b"page", "token", always)
    assert (answer.taken, answer.status) == (STATUSES[status], status)
    assert made.heard == [("/push", "Bearer token", b"page")]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with reader() as (made, pushes):
        made.status, made.location = status, f"http://127.0.0.1:{made.port}/elsewhere"
        answer = await pushes.push(made.url, b"page", "", always)
    assert answer.taken is Taken.FINAL
    assert made.heard == [("/push", "", b"page")]


async def test_the_page_of_a_proxy_is_no_delivery() -> None:
    async with reader() as (made, pushes):
        made.status, made.body = 200, b"\n <html>log in</html>"
        assert (await pushes.push(made.url, b"page", "", always)).taken is Taken.AGAIN


async def test_a_long_answer_is_not_read() -> None:
    async with reader() as (made, pushes):
        made.body = b"x" * 50_000_000
        assert (await pushes.push(made.url, b"page", "", always)).taken is Taken.DELIVERED


async def test_a_reader_that_does_not_answer() -> None:
    async with reader(Given(timeout=2.0)) as (made, pushes):
        made.delay_s = 60
        answer = await pushes.push(made.url, b"page", "", always)
    assert (answer.taken, answer.status, answer.cause) == (Taken.AGAIN, 0, "no answer in time")
    assert answer.sent  # it may have the page


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), ("999999", 1200.0), ("soon", 0.0), ("", 0.0)])
async def test_how_long_a_reader_asks_us_to_wait(text: str, seconds: float) -> None:
    async with reader() as (made, pushes):
        made.status, made.retry_after = 503, text
        assert (await pushes.push(made.url, b"page", "", always)).retry_after_s == seconds


async def test_a_reader_that_is_not_there() -> None:
    async with reader() as (made, pushes):
        closed = made.url.replace(str(made.port), "1")
        answer = await pushes.push(closed, b"page", "", always)
    assert (answer.taken, answer.status, answer.sent) == (Taken.AGAIN, 0, False)
    assert "127.0.0.1" not in answer.cause


@pytest.mark.parametrize("address", INSIDE)
async def test_no_page_goes_into_the_laboratory(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    async with reader(Given(push_private=())) as (made, pushes):
        for text in (f"https://{host}/push", f"http://{host}/push"):
            answer = await pushes.push(text, b"page", "token", always)
            assert (answer.taken, answer.sent) == (Taken.FINAL, False)
            with pytest.raises(PushRefusedError):
                check(text, Given(push_private=()))
    assert made.heard == []


ADDRESSES = {
    "https://hiu.example/push": True,
    "http://hiu.example/push": False,  # in clear
    "http://127.0.0.1:1/push": True,  # this machine, which the site has named
    "http://127.0.0.2:1/push": False,
    "http://localhost:1/push": False,
    "http://10.0.0.1/push": False,
    "http://8.8.8.8/push": False,
    "https://8.8.8.8/push": True,
    "https://a:b@hiu.example/push": False,
    "ftp://hiu.example/push": False,
    "hiu.example/push": False,
    "": False,
    "https://" + "x" * 3000: False,
}


@pytest.mark.parametrize("text", ADDRESSES, ids=lambda text: text[:30])
def test_which_addresses_of_readers_are_taken(text: str) -> None:
    if ADDRESSES[text]:
        check(text, Given())
    else:
        with pytest.raises(PushRefusedError):
            check(text, Given())


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with reader() as (made, pushes):
        assert (await pushes.push(made.url, b"page", "", always)).taken is Taken.DELIVERED


async def test_a_certificate_that_no_authority_signed_is_refused(tmp_path: Path) -> None:
    async with reader(tls=Authority(tmp_path).server_context()) as (made, pushes):
        answer = await pushes.push(made.url.replace("http:", "https:"), b"page", "token", always)
    assert (answer.taken, answer.status) == (Taken.AGAIN, 0)
    assert made.heard == []


async def test_a_page_that_may_not_go_any_more_when_the_connection_is_made() -> None:
    """Of a connection that is new, and of one that is kept."""
    async with reader() as (made, pushes):
        may_go = iter((False, True, False, True))

        async def asked() -> bool:
            return next(may_go)

        taken = [await pushes.push(made.url, b"page", "token", asked) for _ in range(4)]
    assert [(one.taken, one.sent) for one in taken] == [(Taken.STOPPED, False), (Taken.DELIVERED, True)] * 2
    assert len(made.heard) == 2


async def test_a_fault_of_the_question_sends_nothing() -> None:
    async def asked() -> bool:
        raise NoRoomError("the journal cannot be read")

    async with reader() as (made, pushes):
        with pytest.raises(NoRoomError):
            await pushes.push(made.url, b"page", "token", asked)
    assert made.heard == []


async def test_a_connection_that_does_not_come_about_has_sent_nothing() -> None:
    """A reader that takes the connection and says nothing of TLS."""
    over = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        pushes = Pushes("abdm", Given(timeout=1.0))
        await pushes.start()
        try:
            url = f"https://127.0.0.1:{silent.sockets[0].getsockname()[1]}/push"
            answer = await pushes.push(url, b"page", "token", always)
        finally:
            over.set()
            await pushes.close()
    assert (answer.taken, answer.sent) == (Taken.AGAIN, False)
