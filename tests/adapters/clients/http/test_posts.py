"""What a server may say to a POST on a connection that is kept, and do to it: over real sockets.

Each answer has the outcome that the library's client gives it, too, but where a comment says that ours is more careful.
"""

import asyncio
import gc
import gzip
import tracemalloc
import zlib

import pytest

from adapters.clients.http import exchange
from engine.model.errors import DestinationDownError
from tests.support.posting import opened, said, server_of
from tests.support.scripted_http import CLOSE, RESET, SILENCE, Script, http, scripted
from tests.support.waiting import until

OK = b"HTTP/1.1 200 OK\r\n"
AB = OK + b"Content-Length: 2\r\n\r\nab"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1;x=y\r\nb\r\n0\r\nX-Sum: 1\r\n\r\n"
NEXT = http(200, b"next")

NOT_HTTP = "the answer is not HTTP"
BROKEN = "the connection broke in the middle of the answer"
ENDED = "the server closed the connection without an answer"
TOO_LATE = "no answer within 0.3 s"


def head(*lines: str) -> bytes:
    return OK + "\r\n".join([*lines, "", ""]).encode()


def packed(body: bytes, coding: str) -> bytes:
    return http(200, body, f"Content-Encoding: {coding}")


SAME: dict[str, tuple[Script, tuple[int, bytes] | str]] = {
    "whole": (AB, (200, b"ab")),
    "chunked": (CHUNKED, (200, b"ab")),
    "one more line end": (AB + b"\r\n", (200, b"ab")),
    "garbage behind it": (AB + b"GARBAGE", NOT_HTTP),
    "two lengths": (head("Content-Length: 2", "Content-Length: 3") + b"abc", NOT_HTTP),
    "twice the same length": (head("Content-Length: 2", "Content-Length: 2") + b"ab", NOT_HTTP),
    "a list of lengths": (head("Content-Length: 2, 2") + b"ab", NOT_HTTP),
    "a negative length": (head("Content-Length: -2") + b"ab", NOT_HTTP),
    "a length with a sign": (head("Content-Length: +2") + b"ab", NOT_HTTP),
    "a length over 64 bits": (head("Content-Length: 99999999999999999999") + b"ab", NOT_HTTP),
    "a length that never comes": ((head("Content-Length: 999999999999") + b"ab", SILENCE), TOO_LATE),
    "length and chunks": (head("Content-Length: 2", "Transfer-Encoding: chunked") + b"0\r\n\r\n", NOT_HTTP),
    "a folded line": (head("X: a", " b", "Content-Length: 2") + b"ab", (200, b"ab")),
    "a folded length": (head("Content-Length:", " 2") + b"ab", (200, b"ab")),
    "a NUL": (head("X: a\0b", "Content-Length: 2") + b"ab", NOT_HTTP),
    "a line without a colon": (head("Nonsense", "Content-Length: 2") + b"ab", NOT_HTTP),
    "headers without end": ((OK + b"X: 1\r\n" * 200_000, SILENCE), NOT_HTTP),
    "a header without end": ((OK + b"X: " + b"y" * 2_000_000, SILENCE), NOT_HTTP),
    "trailers without end": ((CHUNKED[:-2] + b"X: 1\r\n" * 200_000, SILENCE), NOT_HTTP),
    "a trailer without end": ((CHUNKED[:-2] + b"X: " + b"y" * 2_000_000, SILENCE), NOT_HTTP),
    "a reason without end": ((b"HTTP/1.1 200 " + b"y" * 2_000_000, SILENCE), NOT_HTTP),
    "LF": (AB.replace(b"\r\n", b"\n"), (200, b"ab")),
    "CR": (AB.replace(b"\r\n", b"\r"), NOT_HTTP),
    "HTTP/1.0": (AB.replace(b"/1.1", b"/1.0"), (200, b"ab")),
    "HTTP/1.0 until the end": ((b"HTTP/1.0 200 OK\r\n\r\nab", CLOSE), (200, b"ab")),
    "HTTP/0.9": ((b"ab", CLOSE), NOT_HTTP),
    "HTTP/1.1 until the end": ((OK + b"\r\nab", CLOSE), (200, b"ab")),
    "100": (b"HTTP/1.1 100 Continue\r\n\r\n" + AB, (200, b"ab")),
    "103 and 102": (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 102 Yes\r\n\r\n" + AB, (200, b"ab")),
    "200 with an offer": (head("Upgrade: h2", "Connection: Upgrade", "Content-Length: 2") + b"ab", (200, b"ab")),
    "204": (b"HTTP/1.1 204 No\r\n\r\n", (204, b"")),
    "204 with a body": (b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nab", NOT_HTTP),
    "304 with a body": (b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\nab", NOT_HTTP),
    "a length alone, as to HEAD": ((head("Content-Length: 2"), SILENCE), TOO_LATE),
    "a length alone, closed": ((head("Content-Length: 2"), CLOSE), BROKEN),
    "chunks without the last": ((CHUNKED[: CHUNKED.index(b"0\r\n")], CLOSE), BROKEN),
    "a space before a colon": (head("Content-Length : 2") + b"ab", (200, b"ab")),
    "a space before a colon, closed": ((head("Content-Length : 3") + b"ab", CLOSE), BROKEN),
    "a tab before a colon, closed": ((head("Content-Length\t: 3") + b"ab", CLOSE), NOT_HTTP),
    "chunks, a space before a colon": (CHUNKED.replace(b"Encoding:", b"Encoding :"), (200, b"ab")),
    "chunks, a space before a colon, closed": ((head("Transfer-Encoding : chunked") + b"2\r\na", CLOSE), BROKEN),
    "a chunk without a length": (head("Transfer-Encoding: chunked") + b"zz\r\nab\r\n0\r\n\r\n", NOT_HTTP),
    "a chunk over 64 bits": (head("Transfer-Encoding: chunked") + b"f" * 18 + b"\r\nab\r\n0\r\n\r\n", NOT_HTTP),
    "a header behind the body": (CHUNKED.replace(b"X-Sum: 1", b"Content-Encoding: gzip"), (200, b"ab")),
    "gzip": (packed(gzip.compress(b"ab"), "GZIP"), (200, b"ab")),
    "deflate": (packed(zlib.compress(b"ab"), "deflate"), (200, b"ab")),
    "deflate without zlib's head": (packed(zlib.compress(b"ab", wbits=-15), "deflate"), (200, b"ab")),
    "no gzip": (packed(b"ab", "gzip"), BROKEN),
    "a coding that is none": (packed(b"ab", "utf-8"), (200, b"ab")),
    "a status of two digits": (AB.replace(b"200", b"20"), NOT_HTTP),
    "a status of four digits": (AB.replace(b"200", b"2000"), NOT_HTTP),
}


@pytest.mark.parametrize("name", SAME)
async def test_an_odd_answer_has_one_meaning_on_both_ways_and_harms_no_later_one(name: str, way: str) -> None:
    script, expected = SAME[name]
    async with scripted(script, NEXT) as server, opened(server.url, timeout=0.3) as lab:
        assert await said(lab) == expected
        assert await said(lab) == (200, b"next")
    assert server.requests[0].body == b"document"


MORE_CAREFUL: dict[str, tuple[Script, str]] = {
    "an extension without end": ((CHUNKED[: CHUNKED.index(b"0\r\n")] + b"0;" + b"y" * 2_000_000, SILENCE), NOT_HTTP),
    "a second answer behind it": (AB + AB, NOT_HTTP),
    "100 without end": ((b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, SILENCE), NOT_HTTP),
    "101": ((b"HTTP/1.1 101 Yes\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nab", SILENCE), NOT_HTTP),
    "101 without a protocol": ((b"HTTP/1.1 101 Yes\r\n\r\nab", SILENCE), NOT_HTTP),
    "until the end, by a reset": ((OK + b"\r\nab", RESET), "connection reset by peer"),
    "a transfer coding until the end": ((head("Transfer-Encoding: gzip") + b"ab", CLOSE), BROKEN),
    "gzip without its end": (packed(gzip.compress(b"ab")[:-4], "gzip"), BROKEN),
    "gzip in two members": (packed(gzip.compress(b"a") + gzip.compress(b"b"), "gzip"), BROKEN),
    "a coding that cannot be read": (packed(b"ab", "br"), BROKEN),
}


@pytest.mark.parametrize("name", MORE_CAREFUL)
async def test_an_answer_that_leaves_doubt_is_none(name: str) -> None:
    """The client takes these for answers, or waits for their end."""
    script, expected = MORE_CAREFUL[name]
    async with scripted(script, NEXT) as server, opened(server.url) as lab:
        assert await said(lab) == expected
        assert await said(lab) == (200, b"next")


@pytest.mark.parametrize("whole", [AB, CHUNKED, AB.replace(b"/1.1", b"/1.0")])
async def test_an_answer_that_is_cut_at_any_byte_is_none(whole: bytes, way: str) -> None:
    script = [step for end in range(len(whole)) for step in ((whole[:end], CLOSE), NEXT)]
    async with scripted(*script) as server, opened(server.url) as lab:
        for end in range(len(whole)):
            heard = await said(lab)
            assert heard == (BROKEN if b"\r\n\r\n" in whole[:end] else ENDED), whole[:end]
            assert await said(lab) == (200, b"next")
    assert len(server.requests) == 2 * len(whole)  # each was sent once


@pytest.mark.parametrize("whole", [AB, CHUNKED, AB.replace(b"\r\n", b"\n"), packed(gzip.compress(b"ab"), "gzip")])
async def test_an_answer_may_come_in_any_two_pieces(whole: bytes, way: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for end in range(1, len(whole)):
            await reader.readuntil(b"document")
            for piece in (whole[:end], whole[end:]):
                writer.write(piece)
                for _ in range(3):  # rounds of the loop, in which the other side may read
                    await asyncio.sleep(0)

    async with server_of(serve) as url, opened(url) as lab:
        assert [await said(lab) for _ in range(1, len(whole))] == [(200, b"ab")] * (len(whole) - 1)


async def test_the_bytes_of_a_request_are_those_of_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    came = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readuntil(b"document"))
        writer.write(head("Content-Length: 0", "Connection: close"))

    async with server_of(serve) as url:
        for most in (exchange.MOST_POSTED_BYTES, -1):
            monkeypatch.setattr(exchange, "MOST_POSTED_BYTES", most)
            async with opened(f"{url}/a%20b?c=d%2Fe") as lab:
                assert await said(lab) == (200, b"")
    ours, clients = came
    assert ours == clients
    assert ours.startswith(b"POST /fhir/a%20b?c=d/e HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\rb", "a\0b"])
async def test_no_header_begins_another_one(value: str, way: str) -> None:
    async with scripted(NEXT) as server, opened(server.url) as lab:
        with pytest.raises(DestinationDownError, match="NOT_AUTHORIZED: a header has a line end"):
            await lab.exchange("POST", lab.url, {"X-Given": value}, b"document")
    assert not server.requests


# -- the connection ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        (AB, b"unasked"),
        AB.replace(b"/1.1", b"/1.0"),
        head("Connection: close", "Content-Length: 2") + b"ab",
        (OK + b"\r\nab", CLOSE),
    ],
)
async def test_after_these_answers_a_connection_is_not_used_again(first: Script, way: str) -> None:
    async with scripted(first, NEXT) as server, opened(server.url) as lab:
        await said(lab)
        assert await said(lab) == (200, b"next")
    assert server.connections == 2


async def test_what_comes_between_two_requests_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would else be taken for the answer to the next request."""
    monkeypatch.setattr(exchange, "KEEP_ALIVE_S", 1e6)
    asked, unasked = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"document")
        writer.write(NEXT if asked.is_set() else AB)
        if not asked.is_set():
            await asked.wait()
            writer.write(http(200, b"of another"))
            await reader.read()  # ends where the client closes
            unasked.set()

    async with server_of(serve) as url, opened(url) as lab:
        assert await said(lab) == (200, b"ab")
        asked.set()
        await asyncio.wait_for(unasked.wait(), 240.0)
        assert await said(lab) == (200, b"next")


async def test_a_request_on_a_kept_connection_that_is_cut_is_not_sent_again(way: str) -> None:
    async with scripted(AB, RESET, NEXT) as server, opened(server.url) as lab:
        assert await said(lab) == (200, b"ab")
        assert await said(lab) == "connection reset by peer"
        assert len(server.requests) == 2
        assert await said(lab) == (200, b"next")


async def test_a_connection_that_was_quiet_for_long_is_closed(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"document")
        writer.write(AB)
        assert await reader.read() == b""
        ended.set()
        writer.close()

    monkeypatch.setattr(exchange, "KEEP_ALIVE_S", 0.05)
    async with server_of(serve) as url, opened(url) as lab:
        assert await said(lab) == (200, b"ab")
        await asyncio.wait_for(ended.wait(), 240.0)


async def test_connections_that_are_over_their_time_are_not_used(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """The timer that closes them may be late."""
    monkeypatch.setattr(exchange, "KEEP_ALIVE_S", -1.0)
    async with scripted(AB) as server, opened(server.url) as lab:
        for _ in range(3):
            assert await said(lab) == (200, b"ab")
    assert server.connections == 3


async def test_there_are_as_many_connections_as_requests_at_once(way: str) -> None:
    async with scripted(AB) as server, opened(server.url) as lab:
        for _ in range(3):
            assert await asyncio.gather(*(said(lab) for _ in range(4))) == [(200, b"ab")] * 4
    assert server.connections == 4


@pytest.fixture
def long_body(way: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """More than the system takes in for a server that does not read."""
    if way == "posts":
        monkeypatch.setattr(exchange, "MOST_POSTED_BYTES", 1 << 30)
    return b"x" * (16 << 20)


async def test_an_answer_before_the_body_was_taken_counts_and_ends_the_connection(long_body: bytes) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(413))
        await done.wait()  # and it reads no more
        writer.transport.abort()

    done = asyncio.Event()
    async with server_of(serve) as url, opened(url) as lab:
        for _ in range(2):
            assert await said(lab, long_body) == (413, b"")
        done.set()
    assert connections == 2


@pytest.mark.parametrize("half_closed", [False, True])
async def test_what_a_server_accepts_before_it_has_all_of_it_is_sent_to_its_end(
    half_closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MOST_POSTED_BYTES", 1 << 30)
    long_body, came = b"x" * (16 << 20), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(202))
        if half_closed:
            writer.write_eof()
        for _ in range(9):  # rounds of the loop, in which the other side may read
            await asyncio.sleep(0)
        came.append(await reader.readexactly(len(long_body)))
        if not half_closed:
            await reader.readuntil(b"document")
            writer.write(NEXT)

    async with server_of(serve) as url, opened(url, timeout=240.0) as lab:
        assert await said(lab, long_body) == (202, b"")
        if not half_closed:  # the connection is as good as any
            assert await said(lab) == (200, b"next")
    assert came == [long_body]


@pytest.mark.parametrize(("silent", "heard"), [(True, TOO_LATE), (False, "connection reset by peer")])
async def test_what_a_server_accepts_and_does_not_take_is_not_delivered(
    long_body: bytes, way: str, silent: bool, heard: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(202))
        for _ in range(9):  # rounds of the loop, in which the other side may read
            await asyncio.sleep(0)
        if silent:
            await done.wait()
        writer.transport.abort()

    done = asyncio.Event()
    async with server_of(serve) as url, opened(url, timeout=0.3 if silent else 240.0) as lab:
        assert await said(lab, long_body) == (heard if way == "posts" else exchange.EARLY)
        done.set()


async def test_a_server_that_closes_in_the_middle_of_a_request_may_have_it(long_body: bytes) -> None:
    came = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readexactly(200_000))
        writer.transport.abort()

    async with server_of(serve) as url, opened(url) as lab:
        assert isinstance(await said(lab, long_body), str)
    assert len(came) == 1


async def test_a_server_that_does_not_read_is_waited_for_until_the_timeout(long_body: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.transport.abort()

    done = asyncio.Event()
    async with server_of(serve) as url, opened(url, timeout=0.3) as lab:
        assert await said(lab, long_body) == TOO_LATE
        done.set()


async def test_the_time_for_a_request_begins_before_its_connection(way: str) -> None:
    """A server without a word of TLS."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server_of(serve) as url, opened(url.replace("http:", "https:"), timeout=0.3) as lab:
        assert await said(lab) == TOO_LATE


@pytest.mark.parametrize(("answer", "heard"), [(b"no HTTP\r\n\r\n", NOT_HTTP), (AB[:-1], TOO_LATE)])
async def test_a_connection_without_a_whole_answer_is_closed(answer: bytes, heard: str, way: str) -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"document")
        writer.write(answer)
        assert await reader.read() == b""
        closed.set()

    async with server_of(serve) as url, opened(url, timeout=0.3) as lab:
        assert await said(lab) == heard
        await asyncio.wait_for(closed.wait(), 240.0)


async def test_closing_closes_what_is_kept() -> None:
    async with scripted(AB) as server, opened(server.url) as lab:
        await asyncio.gather(*(said(lab) for _ in range(3)))
        before = len(asyncio.all_tasks())
        await lab.close()
        await until(lambda: len(asyncio.all_tasks()) == before - 3)  # the server's, one a connection


async def test_after_closing_a_connection_is_closed_where_its_request_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "KEEP_ALIVE_S", 1e6)
    asked, closing, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"document")
        asked.set()
        await closing.wait()
        writer.write(AB)
        assert await reader.read() == b""
        ended.set()

    async with server_of(serve) as url, opened(url, timeout=240.0) as lab:
        saying = asyncio.create_task(said(lab))
        await asyncio.wait_for(asked.wait(), 240.0)
        await lab.close()
        closing.set()
        assert await saying == (200, b"ab")
        await asyncio.wait_for(ended.wait(), 240.0)


async def test_a_connection_that_ended_leaves_nothing_to_the_collector() -> None:
    script = [head("Connection: close", "Content-Length: 0"), RESET, b"no HTTP\r\n\r\n", (AB[:-1], CLOSE)]
    async with scripted(*script * 10, NEXT) as server, opened(server.url) as lab:
        gc.collect()
        before = _of_ours()  # other tests' results may hold some
        gc.disable()
        try:
            for _ in range(40):
                await said(lab)
            await until(lambda: _of_ours() <= before)
        finally:
            gc.enable()
        assert await said(lab) == (200, b"next")


def _of_ours() -> int:
    kinds = {"_Connection", "HttpResponseParser", "TransientDeliveryError"}
    return sum(type(one).__name__ in kinds for one in gc.get_objects())


async def test_a_body_in_small_chunks_takes_no_more_memory_than_a_whole_one() -> None:
    sent = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"2\r\nab\r\n" * 300_000 + b"0\r\n\r\n"
    async with scripted(sent) as server, opened(server.url, timeout=240.0) as lab:
        tracemalloc.start()
        try:
            assert await said(lab) == (200, b"ab" * 300_000)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 8_000_000  # one object a chunk: 15,000,000
