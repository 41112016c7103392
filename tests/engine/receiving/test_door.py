"""The first bytes of a connection: which of them end it, however the network cut them, and which are an analyzer's."""

import asyncio
from pathlib import Path

import pytest
import yaml

from adapters.codecs.text.framing import Framing, wire
from adapters.codecs.text.link import TextLink
from engine.model.texts.link_words import SPEAKS_TLS
from engine.receiving.channel import Channel
from engine.receiving.channel_parts import Connection
from engine.receiving.door import HOLD_S, MAX_TARGET, MAX_WORDS, Door, Opening
from engine.receiving.link_monitor import CHECKS_S, STRANGERS_S, LinkMonitor
from engine.store.operations.line_trace import LineWay
from tests.support.astm_peer import ENQ, EOT, wire_frame
from tests.support.channels import MemoryStream, ScriptedStore, astm_link_of, block, channel, hl7
from tests.support.clocks import MovedClock
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
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
PROXY_2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(range(12))
# A page chooses the method where it has the name of this machine (DNS rebinding).
ANY_METHODS = {
    "small letters": b"get / HTTP/1.1\r",
    "letters of its own": b"PATIENT 1 HTTP/1.1\r",
    "another version": b"POST a HTTP/2.0\r",
    "each character of a token": b"!#$%&'*+.^_`|~0-9Az- * HTTP/0.9",
    "a beginning of HL7": b"MSH|^~!& /|LAB||L|2026||ORU^R01|1|P|2.5 HTTP/1.1\r\n\r\nOBX|1|NM|K||9\r",
    "a beginning of ASTM": b"H|~^& /||1 HTTP/1.1\r\n",
    "an address": b"x http://h/<<5.4>> HTTP/1.1\r\n",
    "a long target": b"x /" + b"5" * MAX_TARGET,
}
BEFORE = {
    "empty lines": b"\r\n\n\r\n",
    "PROXY 1": b"PROXY TCP4 192.0.2.1 192.0.2.2 51000 2575\r\n",
    "PROXY 1 of an unknown sender": b"PROXY UNKNOWN\r\n",
    "PROXY 1 and empty lines": b"\r\nPROXY TCP6 ::1 ::2 1 2\r\n\r\n",
    "PROXY 2": PROXY_2,
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
    "of almost the version": b"POST a HTTP/x\r",
    "without a target": b"GET  HTTP/1.1\r",
    "a line end in the target": b"GET /\rHTTP/1.1\r",
    "letters of no token": b"(get) / HTTP/1.1\r",
    "a long token": b"x" * 33 + b" / HTTP/1.1\r",
    "lines before it": b"\r\n5.4\rGET / HTTP/1.1\r\n",
    "words on two lines": b"5.4 mg\r/ HTTP/1.1\r",
    "a long text": b"5 " + b"x" * MAX_WORDS,
    "PROXY that is none": b"PROXY 5.4 6\r",
    **{f"{before} before ENQ": BEFORE[before] + ENQ for before in BEFORE},
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
        if not door.holds:
            given += door.release()
    return given


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("case", STRANGERS)
def test_another_programs_first_bytes_end_the_connection(case: str, bytewise: bool) -> None:
    first = STRANGERS[case]
    parts = [first[at : at + 1] for at in range(min(len(first), 10_000))] if bytewise else [first]
    assert through(Door(Opening()), *parts) is None


@pytest.mark.parametrize("case", ANY_METHODS)
def test_a_page_chooses_any_method_and_ends_its_connection_all_the_same(case: str) -> None:
    first = ANY_METHODS[case]
    assert through(Door(Opening()), first) is None
    door, given, slash = Door(Opening()), b"", first.find(b" ") + 2
    for at in range(min(len(first), 3 * MAX_TARGET)):
        if (fault := door.hear(first[at : at + 1])) is not None:
            assert "it speaks HTTP" in fault.detail
            break
        given += b"" if door.holds else door.release()
    else:
        pytest.fail("the connection goes on")
    assert len(given) < slash or case in ("letters of its own", "another version", "an address"), (
        "a path or an address waits"
    )


@pytest.mark.parametrize("before", BEFORE)
def test_empty_lines_and_a_header_of_a_proxy_hide_no_request(before: str) -> None:
    for first in (STRANGERS["GET"], ANY_METHODS["small letters"], HELLO, STRANGERS["SSH"]):
        assert through(Door(Opening()), BEFORE[before] + first) is None
        door = Door(Opening())
        faults = [door.hear((BEFORE[before] + first)[at : at + 1]) for at in range(len(BEFORE[before] + first))]
        assert any(faults)


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("case", ANALYZERS)
def test_an_analyzers_first_bytes_are_all_its_links(case: str, bytewise: bool) -> None:
    first = ANALYZERS[case]
    parts = [first[at : at + 1] for at in range(len(first))] if bytewise else [first]
    door = Door(Opening(frame_waits=True))
    assert through(door, *parts) == first
    assert door.open


def test_not_more_than_some_empty_lines_are_judged() -> None:
    door = Door(Opening())
    assert through(door, b"\r\n" * MAX_TARGET) == b"\r\n" * MAX_TARGET
    assert not door.open
    assert door.hear(b"\n") is None
    assert door.open


@pytest.mark.parametrize("first", [b"\x0b", b"\x05", b"\x02", b"\x04", b"\x00", b"\r", b"M", b"1", b"<", b"\xff"])
def test_a_first_byte_of_no_pattern_decides_at_once(first: bytes) -> None:
    door = Door(Opening(frame_waits=True))
    assert through(door, first) == first
    assert door.open is (first not in (b"\r", b"M", b"1"))  # those may become one: the link has them, and it goes on


@pytest.mark.parametrize("part", [b"5.4", b"5.4 ", b"5.4 mg", b"5.4 mg ", b"MSH|^~", b"PROXY TCP4 1", PROXY_2[:15]])
def test_a_text_that_may_become_a_request_and_names_no_path_is_the_links_at_once(part: bytes) -> None:
    door = Door(Opening())
    assert through(door, part) == part
    assert not door.open


def test_no_sample_and_no_layout_begins_as_a_request() -> None:
    samples = [path for kind in ("hl7", "astm", "txt") for path in ROOT.glob(f"samples/*/*.{kind}")]
    layouts = [yaml.safe_load(path.read_text())["framing"] for path in ROOT.glob("layouts/*.yaml")]
    assert len(samples) > 50
    firsts = [path.read_bytes() for path in samples]
    firsts += [wire(framing["start"]) + b"x / HTTP/1.1\r" for framing in layouts]
    for first in firsts:
        door = Door(Opening())
        assert door.hear(first) is None, first[:40]
        assert door.open, first[:40]


@pytest.mark.parametrize(
    ("first", "ends"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"HEAD /health?a=1 HTTP/1.0\r\nHost: a\r\nUser-Agent: check_http\r\n\r\n", True),
        (BEFORE["PROXY 1"] + b"OPTIONS / HTTP/1.1\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", False),
        (b"GET / HTTP/1.1\r\n\r\n<<5.4>>", False),
        (b"GET /<<5.4>> HTTP/1.1\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nUser-Agent: Mozilla/5.0\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\norigin: http://a\r\n\r\n", False),
        (HELLO, False),
    ],
)
def test_a_bare_check_of_a_monitor_is_off_the_list_after_an_hour(first: bytes, ends: bool) -> None:
    door, clock = Door(Opening()), MovedClock()
    monitor = LinkMonitor("chem", clock)
    fault = door.hear(first)
    assert fault is not None
    monitor.turned_away(fault, "192.0.2.1:1", is_check=door.is_check)
    (listed,) = monitor.counts.strangers.values()
    assert listed.until - clock.monotonic() == pytest.approx(CHECKS_S if ends else STRANGERS_S, abs=60)
    monitor.turned_away(fault, "192.0.2.1:1", is_check=True)  # after a page's it shortens nothing
    (listed,) = monitor.counts.strangers.values()
    assert listed.connections == 2
    assert listed.until - clock.monotonic() == pytest.approx(CHECKS_S if ends else STRANGERS_S, abs=60)


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
        (Opening(frame_waits=True), ENQ + EOT + FRAME, False),  # of no session
        (Opening(frame_waits=True), ENQ + EOT + ENQ + FRAME, True),
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


async def test_the_bytes_of_an_early_frame_are_in_the_trace_of_the_line() -> None:
    store, stream = ScriptedStore(), MemoryStream()
    served = channel(store, new_link=astm_link_of(), opening=Opening(frame_waits=True))
    stream.feed(ENQ + FRAME)
    await served.handle(stream)
    assert (store.messages, store.incomplete, stream.written) == ([], [], b"")
    (line,) = store.lines
    assert [(one.way, one.data) for one in line.entries[:1]] == [(LineWay.IN, ENQ + FRAME)]
    assert b"early-frame" in line.entries[1].data


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


@pytest.mark.parametrize("cut", [1, 4, 6, 12])
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
