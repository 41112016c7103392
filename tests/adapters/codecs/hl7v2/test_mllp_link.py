"""The MLLP link: blocks out of any bytes, in any chunks; nothing vanishes, nothing grows without bound."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2.mllp import MllpLink, MllpOptions
from engine.model.link_events import Block, LinkEvent, LinkFault, SessionEnd

ORU = b"MSH|^~\\&|XN|LAB|||20260301101530||ORU^R01|1|P|2.5\rPID|1||7\rOBX|1|NM|HGB||14.8\r"
ACK = b"MSH|^~\\&|LIS|HOSP|||20260301101530||ACK|2|P|2.5\rMSA|AA|1\r"

# Content as senders produce it: anything but what MLLP reserves.
WIDE_MARKS = (  # UTF-16 and UTF-32 end by other rules
    *(b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"),
    *(name[:2].encode(codec) for name in ("MSH", "FHS", "BHS") for codec in ("utf-16-le", "utf-16-be")),
    *(letter.encode(codec) for letter in "MFB" for codec in ("utf-32-le", "utf-32-be")),
)
contents = st.binary(min_size=1, max_size=40).filter(
    lambda data: not set(data) & {0x0B, 0x1C} and data.strip(b"\0\r\n") and not data.startswith(WIDE_MARKS)
)
chunk_sizes = st.lists(st.integers(1, 9), min_size=1, max_size=20)


def feed(link: MllpLink, wire: bytes, sizes: list[int], now: float = 0.0) -> list[LinkEvent]:
    events: list[LinkEvent] = []
    at = turn = 0
    while at < len(wire):
        size = sizes[turn % len(sizes)]
        events += link.receive(wire[at : at + size], now)
        at += size
        turn += 1
    return events


def blocks(events: list[LinkEvent]) -> list[bytes]:
    return [event.payload for event in events if isinstance(event, Block)]


@given(st.lists(contents, max_size=5), chunk_sizes)
def test_any_chunking_gives_the_same_blocks(sent: list[bytes], sizes: list[int]) -> None:
    link = MllpLink()
    wire = b"".join(map(link.wrap, sent))
    assert feed(link, wire, sizes) == [Block(content) for content in sent]
    assert link.closed() == []


@given(st.binary(max_size=200), chunk_sizes)
def test_events_depend_on_the_bytes_and_not_on_the_chunks(wire: bytes, sizes: list[int]) -> None:
    whole, cut = MllpLink(), MllpLink()
    expected = whole.receive(wire, 0.0) + whole.closed()
    events = feed(cut, wire, sizes) + cut.closed()

    def kept(events: list[LinkEvent]) -> list[LinkEvent]:
        return [event for event in events if not (isinstance(event, LinkFault) and event.kind == "noise")]

    assert kept(events) == kept(expected)


@given(
    st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"\0", b"MSH|^~\\&|", b"OBX|1", b"M\0S\0H\0"])),
    chunk_sizes,
)
def test_framing_bytes_in_any_order_and_chunking(pieces: list[bytes], sizes: list[int]) -> None:
    wire = b"".join(pieces)
    whole, cut = MllpLink(), MllpLink()
    expected = whole.receive(wire, 0.0) + whole.closed()
    events = feed(cut, wire, sizes) + cut.closed()
    assert blocks(events) == blocks(expected)
    assert [e for e in events if isinstance(e, SessionEnd)] == [e for e in expected if isinstance(e, SessionEnd)]


@given(st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"x", b"MSH|"]), max_size=30), chunk_sizes)
def test_every_byte_of_content_is_in_some_event(pieces: list[bytes], sizes: list[int]) -> None:
    wire = b"".join(pieces)
    link = MllpLink()
    kept = b""
    for event in feed(link, wire, sizes) + link.closed():
        if isinstance(event, Block):
            kept += event.payload
        elif isinstance(event, SessionEnd):
            kept += event.incomplete
        elif event.kind == "noise":
            kept += event.sample
    framing = b"\x0b\x1c\r"
    assert bytes(b for b in kept if b not in framing) == bytes(b for b in wire if b not in framing)


def test_many_messages_in_one_read() -> None:
    link = MllpLink()
    assert link.receive(link.wrap(ORU) + link.wrap(ACK) + link.wrap(ORU), 0.0) == [Block(ORU), Block(ACK), Block(ORU)]


@pytest.mark.parametrize("between", [b"", b"\r", b"\n", b"\r\n", b"\0\0", b"\n\0\r"])
def test_line_ends_and_zero_bytes_between_messages_are_nothing(between: bytes) -> None:
    link = MllpLink()
    wire = between + link.wrap(ORU) + between + link.wrap(ACK) + between
    assert link.receive(wire, 0.0) == [Block(ORU), Block(ACK)]


@pytest.mark.parametrize("after", [b"\n", b"\0", b"\x0bMSH|^~\\&|", b"\n\x0b"])
def test_a_missing_cr_after_fs_is_accepted_when_the_next_byte_shows_the_end(after: bytes) -> None:
    link = MllpLink()
    assert link.receive(b"\x0b" + ORU + b"\x1c" + after, 0.0) == [Block(ORU, ("no CR after FS",))]


def test_a_missing_cr_after_fs_is_accepted_when_nothing_more_comes() -> None:
    link = MllpLink(MllpOptions(fs_wait=0.25))
    assert link.receive(b"\x0b" + ORU + b"\x1c", 10.0) == []
    assert link.deadline() == 10.25
    assert link.tick(10.2) == []
    assert link.tick(10.25) == [Block(ORU, ("no CR after FS",))]
    assert link.deadline() is None
    assert link.receive(b"\r" + link.wrap(ACK), 10.3) == [Block(ACK)]


def test_a_stream_that_ends_after_fs_ends_the_block() -> None:
    link = MllpLink()
    link.receive(b"\x0b" + ORU + b"\x1c", 0.0)
    assert link.closed() == [Block(ORU, ("no CR after FS",))]


def test_fs_before_another_byte_is_content() -> None:
    link = MllpLink()
    assert link.receive(b"\x0bMSH|a\x1cb\x1c\r", 0.0) == [Block(b"MSH|a\x1cb", ("FS inside",))]


def test_vt_inside_content_is_content() -> None:
    link = MllpLink()
    content = ORU + b"NTE|1||first line\x0bsecond line\r"
    assert link.receive(link.wrap(content), 0.0) == [Block(content)]


@pytest.mark.parametrize(
    "start", [b"MSH|", b"FHS|", b"BHS|", b"\xef\xbb\xbfMSH|", b"M\0S\0H\0", b"\0M\0S\0H", b"\xff\xfeM\0S\0H\0"]
)
def test_a_sender_that_starts_again_leaves_incomplete_evidence(start: bytes) -> None:
    link = MllpLink()
    again = start + b"again"
    assert link.receive(b"\x0bMSH|^~\\&|torn\rOBX|1\x0b" + again + b"\x1c", 0.0) == []
    assert link.tick(1.0) == [
        SessionEnd(cause="restart", incomplete=b"MSH|^~\\&|torn\rOBX|1"),
        Block(again, ("no CR after FS",)),
    ]


def test_a_start_that_is_sent_twice_is_one() -> None:
    for wire in (b"\x0b\x0bMSH|1\x1c\r", b"\x0b\r\n\x0bMSH|1\x1c\r"):
        assert MllpLink().receive(wire, 0.0) == [Block(b"MSH|1")]


def test_several_starts_are_several_pieces_of_evidence() -> None:
    link = MllpLink()
    events = link.receive(b"\x0bMSH|1\x0bMSH|2\x0bMSH|3\x1c\r", 0.0)
    assert events == [
        SessionEnd(cause="restart", incomplete=b"MSH|1"),
        SessionEnd(cause="restart", incomplete=b"MSH|2"),
        Block(b"MSH|3"),
    ]


def test_a_stream_that_ends_inside_a_block_leaves_incomplete_evidence() -> None:
    link = MllpLink()
    assert link.receive(b"\x0b" + ORU, 0.0) == []
    assert link.closed() == [SessionEnd(cause="closed", incomplete=ORU)]
    assert link.closed() == []


def test_of_a_block_without_content_that_the_stream_breaks_off_nothing_is_kept() -> None:
    link = MllpLink()
    assert link.receive(b"\x0b\0\r\n", 0.0) == []
    assert link.closed() == []


def test_noise_is_reported_and_costs_no_message() -> None:
    link = MllpLink()
    events = link.receive(b"\x05noise" + link.wrap(ORU), 0.0)
    assert events == [
        LinkFault("noise", "6 bytes between messages, 6 since the last message", b"\x05noise"),
        Block(ORU),
    ]


def test_endless_noise_costs_the_connection() -> None:
    link = MllpLink(MllpOptions(max_noise=1000))
    events = [event for _ in range(20) for event in link.receive(b"x" * 100, 0.0)]
    assert len(events) == 11
    last = events[-1]
    assert isinstance(last, LinkFault)
    assert last.fatal
    assert len(last.sample) == 64
    assert link.receive(link.wrap(ORU), 0.0) == []


def test_a_block_that_is_too_long_is_cut_and_fatal() -> None:
    link = MllpLink(MllpOptions(max_message=1000))
    events = feed(link, b"\x0b" + b"MSH|" + b"x" * 5000, [300])
    assert [type(event) for event in events] == [SessionEnd, LinkFault]
    end, fault = events
    assert isinstance(end, SessionEnd)
    assert isinstance(fault, LinkFault)
    assert (end.cause, len(end.incomplete)) == ("too-large", 1000)
    assert (fault.kind, fault.fatal) == ("too-large", True)
    assert link.closed() == []


@pytest.mark.parametrize("more", range(-20, 21))
def test_a_sender_that_starts_again_near_the_limit_is_the_same_in_any_chunks(more: int) -> None:
    wire = b"\x0b" + b"x" * (64 + more) + b"\x0b" + ACK + b"\x1c\r"
    found = []
    for sizes in ([len(wire)], [1], [7], [66, 3]):
        link = MllpLink(MllpOptions(max_message=64))
        found.append(feed(link, wire, sizes) + link.closed())
    assert all(events == found[0] for events in found)
    assert blocks(found[0]) == ([] if more > 0 else [ACK])
    causes = [event.cause for event in found[0] if isinstance(event, SessionEnd)]
    assert causes == (["too-large"] if more > 0 else ["restart"])  # evidence is never cut in silence


@given(st.lists(st.sampled_from([b"\r\n", b"noise", b"\0", b"x"]), max_size=20), chunk_sizes)
def test_what_is_between_blocks_costs_the_connection_by_its_bytes_and_not_by_its_chunks(
    pieces: list[bytes], sizes: list[int]
) -> None:
    noise = b"".join(pieces)
    lasting = MllpLink(MllpOptions(max_noise=30))
    blocks_behind = blocks(feed(lasting, noise + b"\x0b" + ORU + b"\x1c\r", sizes))
    assert (blocks_behind == [ORU]) == (len(noise.translate(None, b"\r\n\0")) <= 30)


def test_a_block_of_exactly_the_limit_passes() -> None:
    for content in (b"MSH|" + b"x" * 996, b"y" * 1000):
        link = MllpLink(MllpOptions(max_message=1000))
        assert link.receive(link.wrap(content), 0.0) == [Block(content)]
        assert feed(MllpLink(MllpOptions(max_message=1000)), link.wrap(content), [7]) == [Block(content)]
        longer = feed(link, link.wrap(content + b"z"), [2000])
        assert [type(event) for event in longer] == [SessionEnd, LinkFault]


def test_an_endless_block_takes_bounded_memory() -> None:
    link = MllpLink(MllpOptions(max_message=1 << 20))
    chunk = b"OBX|1|TX|" + b"x" * 8000 + b"\x1c" + b"\r"[:0]
    link.receive(b"\x0bMSH|", 0.0)
    tracemalloc.start()
    for _ in range(2000):  # 16 MB
        link.receive(chunk + b"x", 0.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 << 20


def test_a_trickling_peer_is_cut_off() -> None:
    link = MllpLink(MllpOptions(block_timeout=60.0))
    assert link.receive(b"\x0bMSH|", 100.0) == []
    assert link.deadline() == 160.0
    for second in range(1, 60):
        assert link.receive(b"x", 100.0 + second) == []
    assert link.deadline() == 160.0
    events = link.receive(b"y", 160.0)
    assert [type(event) for event in events] == [SessionEnd, LinkFault]
    assert isinstance(events[1], LinkFault)
    assert events[1].fatal
    assert events[1].kind == "block-timeout"
    assert link.deadline() is None


def test_a_silent_peer_is_cut_off_by_the_timer() -> None:
    link = MllpLink()
    link.receive(b"\x0bMSH|torn", 0.0)
    assert link.tick(59.9) == []
    assert link.tick(60.0)[0] == SessionEnd(cause="timeout", incomplete=b"MSH|torn")


def test_an_empty_block_is_a_fault_and_no_message() -> None:
    link = MllpLink()
    assert link.receive(b"\x0b\x1c\r" + link.wrap(ORU), 0.0) == [LinkFault("empty-block", "0 bytes"), Block(ORU)]


def test_endless_empty_blocks_cost_the_connection() -> None:
    link = MllpLink(MllpOptions(max_noise=300))
    events = link.receive(b"\x0b\x1c\r" * 1000, 0.0)
    assert len(events) == 101
    assert [event.fatal for event in events if isinstance(event, LinkFault)] == [False] * 100 + [True]


def test_start_without_vt_is_an_option() -> None:
    wire = ORU + b"\x1c\r" + ACK + b"\x1c\r"
    assert not blocks(MllpLink().receive(wire, 0.0))
    link = MllpLink(MllpOptions(start_without_vt=True))
    assert link.receive(wire, 0.0) == [Block(ORU, ("no VT",)), Block(ACK, ("no VT",))]
    assert link.receive(link.wrap(ORU), 0.0) == [Block(ORU)]


def test_end_by_idle_is_an_option_and_marks_the_message() -> None:
    link = MllpLink(MllpOptions(end_by_idle=2.0))
    link.receive(b"\x0b" + ORU[:10], 0.0)
    link.receive(ORU[10:], 1.5)
    assert link.deadline() == 3.5
    assert link.tick(3.4) == []
    assert link.tick(3.5) == [Block(ORU, ("ended by idle",))]
    link.receive(b"\x0b" + ORU, 4.0)
    assert link.closed() == [SessionEnd(cause="closed", incomplete=ORU)]  # cut short, not idle


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_framing_bytes_inside_utf_16_letters_are_content(codec: str, mark: str) -> None:
    # U+0D1C and U+1C0D are, in one byte order or the other, the bytes FS CR; U+0B1C and U+1C0B hold VT and FS.
    text = f"{mark}MSH|^~\\&|\u0d1c|\u1c0d|\u0b1c|\u1c0b|\u0d1c\u0d1c\rPID|1||\u0d1cx\u1c0d\r"
    content = text.encode(codec)
    for size in (1, 2, 3, 7, 1000):
        link = MllpLink()
        assert feed(link, link.wrap(content) + link.wrap(content), [size]) == [Block(content), Block(content)]


def test_utf_16_without_a_last_cr_ends_when_nothing_more_comes() -> None:
    content = "MSH|^~\\&|A\rPID|1".encode("utf-16-le")
    link = MllpLink()
    assert link.receive(link.wrap(content), 0.0) == []
    assert link.tick(0.3) == [Block(content)]


def test_link_has_nothing_to_say_by_itself() -> None:
    link = MllpLink()
    link.receive(link.wrap(ORU), 0.0)
    link.committed(0.0)
    link.failed(0.0)
    assert link.outgoing() == b""
    assert link.receive(b"", 0.0) == []
