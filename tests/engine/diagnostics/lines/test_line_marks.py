"""One direction of a line cut into what stands there."""

from hypothesis import given
from hypothesis import strategies as st

from engine.diagnostics.lines.marks import MAX_OPEN, FrameSeen, Kind, Mark, Marks, Sum
from tests.support.astm_peer import ENQ, EOT, wire_frame

WIRE = st.lists(
    st.sampled_from(
        [
            ENQ,
            EOT,
            b"\x06",
            b"\x15",
            b"\r\n",
            b"\x00",
            wire_frame(1, b"H|\\^&|||X\r"),
            wire_frame(2, b"P|1|\xc3\xa9", "ETB"),
            wire_frame(3, b"L|1|N\r")[:-2],
            b"\x0bMSH|^~\\&|X\r\x1c\r",
            b"\x0bMSH|^~\\&|X\r\x1c",
            b"\x02text\x03",
            b"\x02\x1emtrsl|\x1db0\n",
            b"Sample No. 1\n",
            b"H|\\^&\rL|1\r",
            b"\x02",
            b"\x0b",
        ]
    ),
    max_size=8,
)


def marks(data: bytes) -> list[Mark]:
    cutter = Marks()
    return cutter.feed(data) + cutter.finish()


def kinds(data: bytes) -> list[Kind]:
    return [mark.kind for mark in marks(data)]


@given(WIRE, st.integers(1, 5))
def test_any_chunking_gives_the_same_marks(parts: list[bytes], size: int) -> None:
    wire = b"".join(parts)
    cutter = Marks()
    found: list[Mark] = []
    for at in range(0, len(wire), size):
        found += cutter.feed(wire[at : at + size])

    assert found + cutter.finish() == marks(wire)


@given(st.one_of(st.binary(max_size=200), WIRE.map(b"".join)))
def test_every_byte_is_in_a_mark_or_between_two(data: bytes) -> None:
    at = 0
    for mark in marks(data):
        assert data[at : mark.start].strip(b"\x00\r\n") == b""
        assert data[mark.start : mark.end] == mark.data
        at = mark.end
    assert data[at:].strip(b"\x00\r\n") == b""


def test_a_session_is_enq_frames_and_eot() -> None:
    wire = ENQ + wire_frame(1, b"H|\\^&\r") + wire_frame(2, b"L|1\r") + EOT

    assert kinds(wire) == [Kind.ENQ, Kind.FRAME, Kind.FRAME, Kind.EOT]


def test_text_between_stx_and_etx_without_number_and_sum_is_no_frame() -> None:
    assert kinds(b"\x0224/10/29 13:08 ID# 1\x03\n") == [Kind.PACKET]


def test_tagged_fields_end_at_their_checksum() -> None:
    (packet,) = marks(b"\x02\x1emtrsl|\x1ert05|\x1db0\n")

    assert packet.kind is Kind.PACKET
    assert packet.content == b"\x1emtrsl|\x1ert05|"


def test_a_frame_waits_for_its_sum_and_is_taken_when_the_line_falls_silent() -> None:
    cutter = Marks()
    frame = wire_frame(1, b"H|\\^&\r")

    assert cutter.feed(frame[:-2]) == []
    (mark,) = cutter.quiet()
    assert mark.frame is not None
    assert mark.frame.sum is Sum.RIGHT


def test_a_frame_begun_anew_cuts_off_the_one_before() -> None:
    assert kinds(b"\x021H|\\^&" + wire_frame(1, b"H|\\^&\r")) == [Kind.CUT, Kind.FRAME]


def test_a_frame_that_never_ends_is_given_up_in_time() -> None:
    cutter = Marks()

    (mark,) = cutter.feed(b"\x02" + bytes(b"A" * (MAX_OPEN + 1)))

    assert mark.kind is Kind.CUT
    assert cutter.open == b""


def frame(body: bytes, total: int) -> FrameSeen:
    return FrameSeen(body, b"%02X" % (total & 0xFF), b"\r\n")


def test_sums_say_what_was_done_to_the_frame() -> None:
    body = b"1H|\\^&\rP|1\r\x03"
    right = sum(body)

    assert frame(body, right).sum is Sum.RIGHT
    assert frame(body.replace(b"\r", b"\n"), right).sum is Sum.LF_FOR_CR
    assert frame(body.replace(b"\r", b"\r\n"), right).sum is Sum.CRLF_FOR_CR
    assert frame(body, sum(body.replace(b"\r", b"\r\n"))).sum is Sum.LF_LOST
    assert frame(body, right - 3).sum is Sum.WITHOUT_END
    assert frame(body, right + 2).sum is Sum.WITH_STX
    assert frame(body, right + 1).sum is Sum.WRONG
    assert FrameSeen(body, b"", b"").sum is Sum.MISSING


def test_a_mended_frame_has_the_line_ends_that_its_sum_was_taken_over() -> None:
    body = b"1H|\\^&\rP|1\r\x03"

    assert frame(body.replace(b"\r", b"\n"), sum(body)).mended == body
    assert frame(body, sum(body)).mended == body


def test_words_name_both_sums() -> None:
    body = b"1H|\\^&\x03"

    assert (
        frame(body, sum(body) + 1).in_words()
        == f"checksum {sum(body) + 1 & 0xFF:02X}, computed {sum(body) & 0xFF:02X}: wrong"
    )
