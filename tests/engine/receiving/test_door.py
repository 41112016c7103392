"""The first bytes of a connection: which of them end it, however the network cut them, and which are an analyzer's."""

import asyncio

import pytest

from adapters.codecs.text.framing import Framing
from adapters.codecs.text.link import TextLink
from engine.receiving.channel import Channel
from engine.receiving.channel_parts import Connection
from engine.receiving.door import HOLD_S, MAX_TARGET, Door, Opening
from engine.receiving.link_words import SPEAKS_TLS
from tests.support.astm_peer import ENQ, EOT, wire_frame
from tests.support.channels import MemoryStream, ScriptedStore, block, channel, hl7
from tests.support.waiting import until

FRAME = wire_frame(1, b"H|\\^&\r")
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE")

STRANGERS = {
    **{method: f"{method} /x?y HTTP/1.1\r\n".encode() for method in METHODS},
    "a form whose body is a block": b"POST / HTTP/1.1\r\nHost: a\r\n\r\nx=" + block(hl7()),
    "an old version": b"GET / HTTP/1.0\r\n\r\n",
    "an address": b"GET http://127.0.0.1:2575/ HTTP/1.1\r\n\r\n",
    "bytes over 127": b"GET /\xc3\xa4 HTTP/1.1\r\n\r\n",
    "a text in the target": b"GET /<<5.4>>MSH|H|1 HTTP/1.1\r\n\r\n",
    "a long target": b"POST /" + b"<<5.4>>" * MAX_TARGET + b" HTTP/1.1\r\n\r\n",
    "TLS": HELLO,
    "SSH": b"SSH-2.0-x\r\n",
}
ANALYZERS = {
    "a block": block(hl7()),
    "a header without VT": hl7(),
    "ENQ": ENQ,
    "ENQ and ENQ": ENQ + ENQ,
    "a buffer of a device server": EOT + ENQ + EOT + ENQ,
    "a frame without ENQ": FRAME,
    "a frame before ENQ": FRAME + EOT + ENQ,
    "a record": b"H|\\^&|||\rL|1\r",
    "a header over HEAD": b"HEAD|1\r",
    "a text of a word": b"GET\r",
    "a text like a request": b"GET 5.4\r",
    "two words": b"PUT a b\r",
    "of almost the version": b"POST a HTTP/2.0\r",
    "without a target": b"GET  HTTP/1.1\r",
    "a line end in the target": b"GET /\rHTTP/1.1\r",
    "other letters": b"PATIENT 1 HTTP/1.1\r",
    "small letters": b"get / HTTP/1.1\r",
    "a line before it": b"\r\nGET / HTTP/1.1\r\n",
    "SYN": b"\x16text\r",
    "SYN and ETX": b"\x16\x03\r",
    "a record of TLS that is no hello": b"\x16\x03\x01\x00\x07\x02",
    "almost SSH": b"SSH-A\r",
}


def through(door: Door, *parts: bytes) -> bytes | None:
    """The bytes that a link gets; None: the connection ends."""
    given = b""
    for part in parts:
        if door.open:
            given += part
            continue
        if door.hear(part) is not None:
            assert given == b""
            return None
        if door.open:
            given += door.release()
    return given


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("case", STRANGERS)
def test_another_programs_first_bytes_end_the_connection(case: str, bytewise: bool) -> None:
    first = STRANGERS[case]
    parts = [first[at : at + 1] for at in range(min(len(first), 10_000))] if bytewise else [first]
    assert through(Door(Opening()), *parts) is None


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("case", ANALYZERS)
def test_an_analyzers_first_bytes_are_all_its_links(case: str, bytewise: bool) -> None:
    first = ANALYZERS[case]
    parts = [first[at : at + 1] for at in range(len(first))] if bytewise else [first]
    door = Door(Opening(frame_waits=True))
    assert through(door, *parts) == first
    assert door.open


@pytest.mark.parametrize("first", [b"\x0b", b"\x05", b"\x02", b"\x04", b"\x00", b"\r", b"M", b"1", b"<", b"\xff"])
def test_a_first_byte_of_no_pattern_decides_at_once(first: bytes) -> None:
    door = Door(Opening(frame_waits=True))
    assert through(door, first) == first
    assert door.open


def test_the_reason_is_named_and_no_byte_of_it() -> None:
    firsts = (b"GET /secret HTTP/1.1\r\n\r\n" + ENQ + FRAME, HELLO + ENQ + FRAME, ENQ + FRAME)
    http, tls, early = (Door(Opening(frame_waits=True)).hear(first) for first in firsts)
    assert http is not None
    assert tls is not None
    assert early is not None
    assert (http.kind, tls.kind, early.kind) == ("stranger", "stranger", "early-frame")
    assert "it speaks HTTP" in http.detail
    assert tls.detail == SPEAKS_TLS
    assert "acks: none" in early.detail
    assert [one.fatal and not one.sample for one in (http, tls, early)] == [True] * 3
    assert "secret" not in http.detail


@pytest.mark.parametrize(
    ("opening", "first", "ends"),
    [
        (Opening(frame_waits=True), ENQ + FRAME, True),
        (Opening(frame_waits=True), ENQ + ENQ + FRAME, True),
        (Opening(frame_waits=True), EOT + ENQ + EOT + ENQ + FRAME[:1], True),
        (Opening(frame_waits=True), FRAME + ENQ + FRAME, True),
        (Opening(frame_waits=True), b"x" + ENQ + b"\x0b" + FRAME, True),
        (Opening(frame_waits=True, blocks=True), ENQ + FRAME, True),
        (Opening(frame_waits=True, blocks=True), block(hl7()) + ENQ + FRAME, True),
        (Opening(frame_waits=True, blocks=True), ENQ + block(hl7()), False),
        (Opening(frame_waits=True, blocks=True), block(b"MSH|^~\\&|\x05|\x02\r"), False),
        (Opening(frame_waits=True, blocks=True), block(b"MSH|^~\\&|\x05|\x02\r")[:-3], False),
        (Opening(), ENQ + FRAME, False),  # of senders that wait for no answer
    ],
)
def test_a_frame_before_our_answer_ends_a_connection_whose_senders_wait(
    opening: Opening, first: bytes, ends: bool
) -> None:
    assert (through(Door(opening), first) is None) is ends


def test_a_frame_in_a_later_read_is_the_links() -> None:
    door = Door(Opening(frame_waits=True))
    assert through(door, ENQ, FRAME) == ENQ + FRAME


def text_channel(store: ScriptedStore, framing: Framing) -> Channel:
    return channel(store, new_link=lambda: TextLink(framing), hl7_spoken=False, opening=Opening())


async def test_a_text_that_begins_as_a_request_does_and_ends_by_silence_is_taken() -> None:
    store, stream = ScriptedStore(), MemoryStream()
    task = asyncio.create_task(text_channel(store, Framing(idle=HOLD_S / 4)).handle(stream))
    stream.feed(b"GET 5.4")
    await until(lambda: bool(store.messages))
    assert [one.payload for one in store.messages] == [b"GET 5.4"]
    stream.end()
    await task


@pytest.mark.parametrize("cut", [1, 4, 6, 13])
async def test_a_request_whose_line_stops_amid_is_refused_all_the_same(cut: int) -> None:
    store, stream = ScriptedStore(), MemoryStream()
    served = text_channel(store, Framing(end=b"\r"))
    task = asyncio.create_task(served.handle(stream))
    first = b"GET /5 HTTP/1.1\r5.4\r"
    stream.feed(first[:cut])
    connection = await opened(served)
    await until(lambda: connection.link.held > 0)  # the link has had them
    stream.feed(first[cut:])
    await task
    assert served.counts.faults == {"stranger": 1}
    assert (store.messages, store.incomplete, stream.written) == ([], [], b"")


async def opened(served: Channel) -> Connection:
    await until(lambda: bool(served.connections))
    (connection,) = served.connections.values()
    return connection


async def test_bytes_that_may_become_a_request_are_kept_where_the_connection_ends() -> None:
    store, stream = ScriptedStore(), MemoryStream()
    served = text_channel(store, Framing(end=b"\r"))
    stream.feed(b"GET 5")
    stream.end()
    await served.handle(stream)
    assert [one.payload for one in store.incomplete] == [b"GET 5"]
    assert not served.counts.faults


async def test_a_connection_without_a_byte_ends_as_ever() -> None:
    served = channel(ScriptedStore(), idle_timeout_s=0.01, opening=Opening())
    await served.handle(MemoryStream())
    assert not served.counts.faults


async def test_a_connection_that_we_open_for_orders_is_not_judged() -> None:
    store, stream = ScriptedStore(), MemoryStream()
    served = channel(store, opening=Opening())
    stream.feed(STRANGERS["GET"] + block(hl7()))
    stream.end()
    await served.handle(stream, own=True)
    assert len(store.messages) == 1
