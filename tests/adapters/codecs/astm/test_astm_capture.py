"""Captures and files of records: the texts in them, whatever the tool that recorded them did."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.astm.capture import read_capture, text_of_capture
from adapters.codecs.text.whole_link import WholeLink
from engine.model.errors import ContentError
from engine.model.link_events import LinkFault
from engine.model.texts.reasons import ReasonCode
from tests.support.astm_peer import ACK, ENQ, EOT, NAK, cut_every, one_record_a_frame, session, wire_frame

MESSAGE = b"H|\\^&|||DEMO\rP|1\rR|1|^^^GLU|5.4\rL|1|N\r"
OTHER = b"H|\\^&|||DEMO\rP|2\rR|1|^^^GLU|6.1\rL|1|N\r"


@pytest.mark.parametrize("size", [5, 30, 500])
def test_a_session_gives_its_messages(size: int) -> None:
    assert text_of_capture(session(*cut_every(MESSAGE + OTHER, size))) == [MESSAGE, OTHER]


def test_sessions_are_not_joined() -> None:
    part = MESSAGE[: MESSAGE.index(b"L|")]
    assert text_of_capture(session(wire_frame(1, part)) + session(wire_frame(1, OTHER))) == [part, OTHER]


def test_frames_without_any_control_bytes_between_them_are_read() -> None:
    assert text_of_capture(b"".join(one_record_a_frame(MESSAGE))) == [MESSAGE]


def test_records_of_a_session_without_any_cr_end_with_their_frames() -> None:
    records = MESSAGE.split(b"\r")[:-1]
    frames = [wire_frame(number, record) for number, record in enumerate(records, 1)]
    assert text_of_capture(session(*frames)) == [MESSAGE]
    longer = [
        *frames[:2],
        wire_frame(3, records[2][:5], "ETB"),
        wire_frame(4, records[2][5:]),
        wire_frame(5, records[3]),
    ]
    assert text_of_capture(session(*longer)) == [MESSAGE]
    one_cr = [*frames[:2], wire_frame(3, records[2] + b"\r"), frames[3]]
    assert text_of_capture(session(*one_cr)) == [records[0], records[1], records[2] + b"\r" + records[3]]
    no_end = [frames[0], wire_frame(2, records[1], "ETB"), *frames[2:]]
    assert text_of_capture(session(*no_end)) == [records[0], records[1] + records[2], records[3]]
    blank = [*frames[:2], wire_frame(3, records[2], "ETB"), wire_frame(4, b" P||Z"), frames[3]]
    assert len(text_of_capture(session(*blank))[0].split(b"\r")) == 1
    cut_by_etx = [*frames[:2], wire_frame(3, records[2][:-2]), wire_frame(4, records[2][-2:]), frames[3]]
    assert text_of_capture(session(*cut_by_etx)) == records


def test_records_whose_cr_a_tool_lost_are_not_ended_by_their_frames() -> None:
    """A patient joined with the result before it would leave the next result to the patient before."""
    parts = [b"H|\\^&|||DEMO\r", b"P|1\r", b"R|1|^^^GLU|5.4\rP|2\r", b"R|1|^^^GLU|6.1\r", b"L|1|N\r"]
    wire = session(*(wire_frame(number, part) for number, part in enumerate(parts, 1)))
    lost = [part.replace(b"\r", b"") for part in parts]
    assert text_of_capture(wire.replace(b"\r", b"")) == lost
    healthy = session(*one_record_a_frame(MESSAGE))
    assert text_of_capture(wire.replace(b"\r", b"") + healthy) == [*lost, MESSAGE]
    [fault] = WholeLink("astm").receive(wire.replace(b"\r", b"") + healthy, 0.0)
    assert isinstance(fault, LinkFault)


def test_a_record_is_not_joined_with_one_of_another_frame_that_lacks_its_cr() -> None:
    records = [record + b"\r" for record in MESSAGE.split(b"\r")[:-1]]
    frames = [wire_frame(1, b"".join(records[:3])[:-1]), wire_frame(2, b"P|2\r" + records[3])]
    assert text_of_capture(session(*frames)) == [b"".join(records[:3])[:-1], b"P|2\r" + records[3]]


def test_both_directions_and_repeats_are_told_apart() -> None:
    header, patient, result, end = one_record_a_frame(MESSAGE)
    wire = ENQ + ACK + header + ACK + patient + NAK + patient + ACK + patient + ACK + result + ACK + end + ACK + EOT
    capture = read_capture(wire)
    assert capture.messages == [MESSAGE]
    assert (capture.frames, capture.left_out) == (6, 2)


@pytest.mark.parametrize("spoil", [lambda text: text.replace(b"\r", b"\n"), lambda text: text.replace(b"|", b"\n|")])
def test_line_ends_that_a_tool_changed_are_put_back_where_the_sum_proves_it(spoil: Callable[[bytes], bytes]) -> None:
    frame = wire_frame(1, MESSAGE)
    capture = read_capture(frame[:2] + spoil(frame[2:-5]) + frame[-5:])
    assert capture.messages == [MESSAGE]
    assert (capture.right_sums, capture.wrong_sums, capture.repaired) == (0, 1, 1)


def test_a_wrong_checksum_is_counted_and_its_text_read() -> None:
    capture = read_capture(wire_frame(1, MESSAGE).replace(b"5.4", b"5.5"))
    assert capture.messages == [MESSAGE.replace(b"5.4", b"5.5")]
    assert (capture.right_sums, capture.wrong_sums, capture.repaired) == (0, 1, 0)


def test_a_missing_checksum_or_number_is_read_too() -> None:
    assert text_of_capture(b"\x02" + MESSAGE + b"\x03\r\n") == [MESSAGE]


@pytest.mark.parametrize("data", [MESSAGE, MESSAGE + OTHER, b"# made by hand\n" + MESSAGE, ENQ + MESSAGE + EOT])
def test_a_file_of_records_gives_its_messages(data: bytes) -> None:
    found = text_of_capture(data)
    assert b"".join(found) == data.strip(ENQ + EOT)
    assert found[-1].endswith(b"L|1|N\r")


@pytest.mark.parametrize(
    "data",
    [b"", b"plain text\n", b"MSH|^~\\&|A\rPID|1\r", b"\x02no records\x03", b"\x02\x03", b"P|1\rL|1|N\r", ENQ + EOT],
)
def test_what_holds_no_header_is_unreadable(data: bytes) -> None:
    with pytest.raises(ContentError) as caught:
        text_of_capture(data)
    assert caught.value.reason is ReasonCode.UNREADABLE


@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([ENQ, EOT, NAK, wire_frame(1, MESSAGE), MESSAGE]))))
def test_no_bytes_raise_anything_but_a_content_error(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    with contextlib.suppress(ContentError):
        assert sum(map(len, text_of_capture(data))) <= len(data)
