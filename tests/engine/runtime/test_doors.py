"""Another program at the port of a channel, on real sockets: it gets no answer, and nothing of it is kept.

A page in a browser can have it send any bytes to any port, behind a request line or a TLS hello.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from engine.model.texts.link_words import SPEAKS_TLS
from engine.monitoring.metrics import LINK_FAULTS
from engine.receiving.link_monitor import STRANGERS_S
from engine.store.queries.reader import stored_payload
from tests.support.asking import asking
from tests.support.astm_peer import ENQ, EOT, one_record_a_frame
from tests.support.channels import END, block
from tests.support.doors import BODY, ORU, RECORDS, SESSION, ports
from tests.support.mllp_peer import ack
from tests.support.ordering_lis import kinds, order, ordering
from tests.support.running import RunningSite, hl7_channel, running_site
from tests.support.waiting import WITHIN_S, until

HOST = "127.0.0.1"


def hello() -> bytes:
    """The first flight of a real TLS client."""
    sent = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    return sent.read()


def request(method: str, kind: str, body: bytes = BODY, target: str = "/") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: {HOST}:2575\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Origin: http://127.0.0.2:23799\r\n\r\n" + body


POST = request("POST", "text/plain;charset=UTF-8")
OPENINGS: dict[str, Sequence[bytes]] = {
    "fetch GET": [request("GET", "text/plain", b"")],
    "fetch POST": [POST],
    "form of text/plain": [request("POST", "text/plain", b"x=" + BODY)],
    "preflight": [request("OPTIONS", "text/plain", b"")],
    "WebSocket": [
        f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    ],
    "a message in the address": [request("GET", "text/plain", b"", "/<<5.4>>" + "MSH|^~\\&|A" * 200)],
    "TLS": [hello()],
    "TLS, then a message": [hello() + BODY],
    "head and body apart": [POST[: -len(BODY)], BODY],
    "request line in pieces": [POST[:2], POST[2:5], POST[5:9], POST[9:14], POST[14:]],
    "byte by byte": [POST[at : at + 1] for at in range(20)] + [POST[20:]],
    "hello in pieces": [hello()[:1], hello()[1:4], hello()[4:] + BODY],
}


async def answer_to(port: int, parts: Sequence[bytes]) -> bytes:
    """All bytes that came back until the other side ended the connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WITHIN_S):
                return await reader.read()
        return b""
    finally:
        writer.close()


def refused(site: RunningSite, name: str) -> int:
    return site.app.parts.sources[name].channel.counts.faults["stranger"]


def notices(site: RunningSite) -> list[str]:
    return [str(one.phrase) for one in site.app.observer.take()._findings() if "first bytes" in str(one.phrase)]


async def test_a_browser_puts_nothing_into_any_port(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    channels = ports(tmp_path)
    async with running_site(tmp_path, channels) as site:
        for name in channels:
            for number, (opening, parts) in enumerate(OPENINGS.items(), 1):
                assert await answer_to(site.port(name), parts) == b"", f"{opening} at {name}"
                await until(lambda name=name, number=number: refused(site, name) == number)
            counts = site.app.parts.sources[name].channel.counts
            assert set(counts.faults) == {"stranger"}, name
            (listed,) = [one for one in notices(site) if one.startswith(f"{name}: ")]
            assert "it speaks HTTP" in listed
            assert SPEAKS_TLS in listed
            assert f"last from {HOST}:" in listed
        assert site.messages() == []
        assert read_items(site.journal, ItemFilter()) == []
        cells = [site.app.counters.cell(LINK_FAULTS, name, "stranger") for name in channels]
        await until(lambda: {cell.n for cell in cells} == {len(OPENINGS)})

        # After that an analyzer and a LIS are served as ever.
        async with ordering(site.port("lis")) as lis, asking(site.port("astm")) as analyzer:
            assert kinds([await lis.ask(order("M1", ("NW", "P1", "TSH")))]) == ["AA ORR"]
            await analyzer.send(RECORDS)
        await until(lambda: [one.channel for one in site.messages()] == ["lis", "astm"])
    said = [vars(one) for one in caplog.records if "first bytes" in one.message]
    assert len(said) == len(channels) * len(OPENINGS)
    assert {one["levelname"] for one in said} == {"WARNING"}
    assert "BROWSER" not in str(said)


async def test_a_frame_before_our_answer_ends_the_connection_where_its_sender_waits(tmp_path: Path) -> None:
    channels = {name: one for name, one in ports(tmp_path).items() if name in ("astm", "asking", "auto")}
    async with running_site(tmp_path, channels) as site:
        for name in channels:
            for first in (SESSION, ENQ + SESSION, EOT + SESSION):
                assert await answer_to(site.port(name), [first]) == b""
            counts = site.app.parts.sources[name].channel.counts
            await until(lambda counts=counts: counts.faults["early-frame"] == 3)
            assert set(counts.faults) == {"early-frame"}
            assert [one for one in notices(site) if one.startswith(f"{name}: ") and "acks: none" in one]
        assert site.messages() == []


async def test_a_sender_that_waits_for_no_answer_may_send_all_at_once(tmp_path: Path) -> None:
    channels = {name: ports(tmp_path)[name] for name in ("astm", "auto", "enq-less", "bare-records")}
    for name in ("astm", "auto"):
        channels[name]["source"]["acks"] = "none"
    async with running_site(tmp_path, channels) as site:
        for name, sent in (
            ("astm", SESSION),
            ("auto", SESSION),
            ("enq-less", SESSION),
            ("bare-records", ENQ + RECORDS + EOT),
        ):
            _, writer = await asyncio.open_connection(HOST, site.port(name))
            writer.write(sent)
            await until(lambda name=name: len(site.messages(name)) == 1)
            writer.close()
            assert not notices(site)


@pytest.mark.parametrize("buffered", [ENQ + ENQ, EOT + ENQ, ENQ + EOT + ENQ])
async def test_the_buffer_of_a_device_server_is_no_early_frame(tmp_path: Path, buffered: bytes) -> None:
    channels = {name: ports(tmp_path)[name] for name in ("astm", "auto")}
    async with running_site(tmp_path, channels) as site:
        for name in channels:
            reader, writer = await asyncio.open_connection(HOST, site.port(name))
            writer.write(buffered)
            assert await reader.readexactly(buffered.count(ENQ)) == b"\x06" * buffered.count(ENQ)
            for frame in one_record_a_frame(RECORDS):
                writer.write(frame)
                assert (await reader.readexactly(1)) == b"\x06"
            writer.write(EOT)
            await until(lambda name=name: len(site.messages(name)) == 1)
            writer.close()
        assert not notices(site)


@pytest.mark.parametrize("text", [b"GET 5.4\r", b"PUT HTTP/1.1 5\r", b"P\r", b"\x16\x03 5\r", b"SSH 5\r"])
@pytest.mark.parametrize("bytewise", [False, True])
async def test_a_text_that_begins_like_another_program_is_a_message(
    tmp_path: Path, text: bytes, bytewise: bool
) -> None:
    async with running_site(tmp_path, {"lines": ports(tmp_path)["text-lines"]}) as site:
        _, writer = await asyncio.open_connection(HOST, site.port("lines"))
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in [text[at : at + 1] for at in range(len(text))] if bytewise else [text]:
            writer.write(part)
            await writer.drain()
        await until(lambda: len(site.messages()) == 1)
        assert stored_payload(site.journal, site.messages()[0].id) == text[:-1]
        assert not notices(site)
        writer.close()


async def test_the_list_names_http_for_a_day_and_tls_until_a_message_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_site(tmp_path, {"chem": hl7_channel()}) as site:
        port = site.port("chem")
        await answer_to(port, [hello()])
        await until(lambda: len(notices(site)) == 1)
        assert SPEAKS_TLS in notices(site)[0]
        await say(port, block(ORU))
        await until(lambda: not notices(site))
        await answer_to(port, [POST])
        await say(port, block(ORU.replace(b"|B1|", b"|B2|")))
        await until(lambda: len(site.messages()) == 2)
        (listed,) = notices(site)
        assert listed.startswith(f"chem: connections refused at their first bytes: 1 (last from {HOST}:")
        later = site.app.clock.monotonic() + STRANGERS_S + 1
        monkeypatch.setattr(site.app.clock, "monotonic", lambda: later, raising=False)
        assert not notices(site)


async def say(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(WITHIN_S):
            return await reader.readuntil(END)
    finally:
        writer.close()


async def test_a_tee_passes_a_browsers_bytes_on_and_keeps_nothing_of_them(tmp_path: Path) -> None:
    got = []

    async def middleware(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                got.append(await reader.readuntil(END))
                writer.write(ack(control_id="B1"))
        writer.close()

    server = await asyncio.start_server(middleware, HOST, 0)
    source = {"kind": "mllp", "tee": {"listen": f"{HOST}:0", "connect": f"{HOST}:{server.sockets[0].getsockname()[1]}"}}
    async with running_site(tmp_path, {"chem": hl7_channel(source=source)}) as site:
        await say(site.port("chem"), block(ORU))
        await until(lambda: len(site.messages()) == 1)
        head = POST[: -len(BODY)]
        for parts in ([head + block(ORU)], [head[:3], head[3:], block(ORU)], [head, block(ORU)]):
            assert await say(site.port("chem"), *parts)
        await until(lambda: refused(site, "chem") == 3)
        assert len(notices(site)) == 1
        assert [one.endswith(block(ORU)) for one in got] == [True] * 4
        await say(site.port("chem"), block(ORU.replace(b"|B1|", b"|B2|")))
        await until(lambda: len(site.messages()) == 2)
    server.close()
