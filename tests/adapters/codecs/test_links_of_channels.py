"""What a channel's `source:` says becomes a link of its own for each connection, and what every link can be asked."""

from types import SimpleNamespace

import pytest

from adapters.codecs import auto_link
from adapters.codecs.astm import link as astm_link
from adapters.codecs.hl7v2 import mllp
from adapters.codecs.text import link as text_link
from adapters.codecs.text import whole_link
from adapters.codecs.text.framing import Framing, wire
from engine.model.errors import ConfigError
from engine.model.link_events import Block, Frame, LinkFault, SessionEnd
from tests.support.astm_peer import ACK, ENQ, EOT, NAK, one_record_a_frame

RECORDS = b"H|\\^&|||XN\rL|1|N\r"
BLOCK = b"\x0bMSH|^~\\&|LAB\r\x1c\r"
LIMITS = {"max_message": 100, "max_frame": 64_000, "receive_timeout": 3.0, "block_timeout": 7.0}
MLLP = SimpleNamespace(**LIMITS, start_without_vt=False, end_by_idle=None)
E1381 = SimpleNamespace(
    **LIMITS,
    framing="e1381",
    checksum="required",
    frame_numbers="strict",
    acks="frame",
    commit="frame",
    end="record",
)
EITHER = SimpleNamespace(**{**vars(MLLP), **vars(E1381)})


def texts(framing: Framing | None, transport: str = "serial") -> SimpleNamespace:
    layout = SimpleNamespace(framing=framing, at="layouts/x.yaml:3:1")
    return SimpleNamespace(max_message=100, transport=transport, text_layout=layout)


def test_each_connection_has_a_link_of_its_own() -> None:
    for make in (
        mllp.links(MLLP),
        astm_link.links(E1381),
        auto_link.links(EITHER),
        text_link.links(texts(Framing(start=b"\x02", end=b"\x03"))),
        whole_link.links(SimpleNamespace(format="text", transport="folder")),
        whole_link.links(SimpleNamespace(format="hl7v2", transport="kafka", max_message=9)),
    ):
        one, other = make(), make()
        assert one is not other
        assert type(one) is type(other)


def test_an_mllp_link_has_the_channels_limits() -> None:
    link = mllp.links(MLLP)()
    assert (link.held, link.deadline(), link.tick(10.0)) == (0, None, [])
    link.receive(b"\x0bMSH|", 10.0)
    assert (link.held, link.deadline()) == (4, 17.0)
    too_much = mllp.links(MLLP)().receive(b"\x0b" + b"x" * 200 + b"\x1c\r", 0.0)
    assert [event.kind for event in too_much if isinstance(event, LinkFault)] == ["too-large"]
    assert not any(isinstance(event, Block) for event in mllp.links(MLLP)().receive(BLOCK[1:], 0.0))
    lenient = mllp.links(SimpleNamespace(**{**vars(MLLP), "start_without_vt": True}))()
    assert [type(event) for event in lenient.receive(BLOCK[1:], 0.0)] == [Block]
    by_silence = mllp.links(SimpleNamespace(**{**vars(MLLP), "end_by_idle": 2.0}))()
    by_silence.receive(BLOCK[:-2], 10.0)
    assert by_silence.deadline() == 12.0
    assert [type(event) for event in by_silence.tick(12.0)] == [Block]


def test_an_astm_link_has_the_channels_word() -> None:
    link = astm_link.links(E1381)()
    link.receive(ENQ, 10.0)
    assert link.outgoing() == ACK
    assert link.deadline() == 13.0
    frame = one_record_a_frame(RECORDS)[0]
    wrong = frame[:-4] + b"00\r\n"
    assert [event.kind for event in link.receive(wrong, 10.0) if isinstance(event, LinkFault)] == ["bad-checksum"]
    assert link.outgoing() == NAK
    lenient = astm_link.links(SimpleNamespace(**{**vars(E1381), "checksum": "ignore"}))()
    lenient.receive(ENQ, 10.0)
    assert [type(event) for event in lenient.receive(wrong, 10.0)] == [Frame]


def test_a_session_tells_how_it_stands() -> None:
    first, last = one_record_a_frame(RECORDS)
    link = astm_link.links(E1381)()
    link.receive(b"xx" + ENQ, 10.0)
    assert (link.stray, link.blank, link.mid_frame, link.waits_behind) == (2, True, False, 0)
    link.receive(first[:5], 10.0)
    assert (link.blank, link.mid_frame, link.held) == (False, True, 5)
    link.receive(first[5:] + last, 10.0)
    assert (link.mid_frame, link.waits_behind) == (False, len(last))
    assert link.silence(10.0) == []  # the frame that is held is not over
    link.committed(10.0)
    assert [type(event) for event in link.silence(10.0)] == [Frame]
    link.committed(10.0)
    assert link.waits_behind == 0


def test_a_frame_whose_line_end_never_comes_is_over_when_its_sender_is_done() -> None:
    frame = one_record_a_frame(RECORDS)[0]
    link = astm_link.links(E1381)()
    link.receive(ENQ + frame[:-2], 10.0)
    assert link.mid_frame
    found = link.silence(10.1)
    assert [type(event) for event in found] == [Frame]


def test_frames_without_a_number_are_taken_where_numbers_are_ignored_and_nobody_called() -> None:
    lenient = {"framing": "enq-less", "checksum": "ignore", "frame_numbers": "ignore"}
    link = astm_link.links(SimpleNamespace(**{**vars(E1381), **lenient}))()
    for record in (b"H|\\^&|||XN\r", b"L|1|N\r"):
        (event,) = link.receive(b"\x02" + record + b"\x0300\r\n", 0.0)
        link.committed(0.0)
    assert isinstance(event, Frame)
    assert event.completes == (RECORDS,)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_what_is_kept_of_a_frame_is_all_of_it(end: bytes) -> None:
    frame = one_record_a_frame(RECORDS)[0].removesuffix(b"\r\n") + end
    link = astm_link.links(E1381)()
    for byte in ENQ + frame:
        found = link.receive(bytes([byte]), 0.0)
    (event,) = found
    assert isinstance(event, Frame)
    assert event.raw == frame
    link.committed(0.0)
    assert link.stray == 0


def test_the_names_of_ascii_stand_for_its_codes() -> None:
    assert wire("<XON><XOFF><TAB><SP><DEL><FS><GS><RS><US>") == b"\x11\x13\x09 \x7f\x1c\x1d\x1e\x1f"
    assert wire("<SOH><STX><ETX><EOT><ENQ><ACK><NAK><ETB>") == b"\x01\x02\x03\x04\x05\x06\x15\x17"


def test_headers_before_an_l_record_share_it_where_frames_tell_one_from_the_other() -> None:
    both = b"H|\\^&|1\rH|\\^&|2\rL|1|N\r"
    link = astm_link.links(E1381)()
    link.receive(ENQ, 0.0)
    for frame in one_record_a_frame(both):
        (event,) = link.receive(frame, 0.0)
        link.committed(0.0)
    assert isinstance(event, Frame)
    assert event.completes == (both,)
    assert astm_link.assemble(one_record_a_frame(both)).completes == (both,)  # and after a crash


def test_the_line_is_silent_from_the_answer_on_and_not_from_before() -> None:
    first, last = one_record_a_frame(RECORDS)
    link = astm_link.links(E1381)()
    link.receive(ENQ + first + last[:-1], 10.0)  # its LF is on its way
    link.committed(11.0)
    assert link.receive(b"", 11.0) == []
    assert link.tick(11.1) == []
    assert [type(event) for event in link.tick(11.0 + astm_link.SILENCE_S)] == [Frame]


def test_an_answer_to_a_call_that_its_sender_has_given_up_is_withdrawn() -> None:
    first = one_record_a_frame(RECORDS)[0]
    link = astm_link.links(E1381)()
    link.receive(ENQ + first, 10.0)
    assert link.outgoing() == ACK
    link.receive(EOT + ENQ + EOT + ENQ, 40.0)  # meanwhile: given up, called, given up, called again
    link.committed(40.0)
    link.receive(b"", 40.0)
    assert link.outgoing() == ACK  # one, for the last call
    link = astm_link.links(E1381)()
    link.receive(ENQ + first, 10.0)
    link.receive(EOT + ENQ + EOT, 40.0)
    link.outgoing()
    link.committed(40.0)
    link.receive(b"", 40.0)
    assert link.outgoing() == b""


def test_nobody_hears_an_answer_any_more_so_a_frame_that_waits_for_none_is_kept() -> None:
    first, last = one_record_a_frame(RECORDS)
    link = astm_link.links(SimpleNamespace(**{**vars(E1381), "acks": "none"}))()
    assert [type(event) for event in link.receive(ENQ + first, 10.0)] == [Frame]
    assert [event.incomplete for event in link.closed() if isinstance(event, SessionEnd)] == [b"H|\\^&|||XN\r"]
    link = astm_link.links(SimpleNamespace(**{**vars(E1381), "acks": "none"}))()
    assert [type(event) for event in link.receive(ENQ + first + last, 10.0)] == [Frame]
    assert next(event.completes for event in link.closed() if isinstance(event, SessionEnd)) == (RECORDS,)


def test_what_is_behind_a_text_that_is_held_is_read_when_the_stream_ends() -> None:
    link = text_link.links(texts(Framing(start=b"\x02", end=b"\x03", good=b"\x06", bad=b"\x15"), "tcp-server"))()
    (first,) = link.receive(b"\x02one\x03\x02two\x03\x02thr", 1.0)
    assert isinstance(first, Frame)
    assert first.completes == (b"one",)
    assert link.deadline() is None
    second, third = (event for event in link.closed() if isinstance(event, Frame | SessionEnd))
    assert second.completes == (b"two",)
    assert isinstance(third, SessionEnd)
    assert third.incomplete == b"thr"
    link.failed(1.0)  # nothing is pending any more
    link.committed(1.0)
    assert link.outgoing() == b""


def test_a_text_may_take_as_long_as_its_layout_says() -> None:
    link = text_link.links(texts(Framing(start=b"\x02", end=b"\x03", timeout=5.0), "tcp-server"))()
    assert link.deadline() is None
    link.receive(b"\x02one", 1.0)
    assert link.deadline() == 6.0
    link = text_link.links(texts(Framing(start=b"\x02", idle=2.0, timeout=5.0), "tcp-server"))()
    link.receive(b"\x02one", 1.0)
    assert link.deadline() == 3.0


def test_a_link_of_texts_needs_a_layout_that_speaks_of_the_line() -> None:
    with pytest.raises(ConfigError, match=r"layouts/x\.yaml:3:1: framing is missing"):
        text_link.links(texts(None))


@pytest.mark.parametrize(("transport", "whole"), [("tcp-server", True), ("serial", False)])
def test_a_cable_is_plugged_in_at_any_time_and_a_connection_begins_with_a_text(transport: str, whole: bool) -> None:
    link = text_link.links(texts(Framing(end=b"\x03", timeout=5.0), transport))()
    link.tick(1.0)
    events = link.receive(b"end of a text\x03", 1.5)
    ended = [event.completes for event in events if isinstance(event, SessionEnd)]
    assert ((b"end of a text",) in ended) is whole


# -- a link of either kind, before and after it is decided -------------------------------------------------------------


def test_what_is_not_decided_yet_has_nothing_to_say() -> None:
    link = auto_link.links(EITHER)()
    assert (link.traced, link.resting, link.held, link.decided) == (True, True, 0, "")
    assert link.receive(b"", 0.0) == []
    assert link.receive(b"\r\n", 0.0) == []
    link.committed(0.0)
    link.failed(0.0)
    assert (link.outgoing(), link.deadline(), link.tick(0.0), link.closed(), link.wrap(b"x")) == (
        b"", None, [], [], b"",
    )  # fmt: skip


def test_what_is_decided_answers_as_its_link_does() -> None:
    link = auto_link.links(EITHER)()
    assert [type(event) for event in link.receive(ENQ + one_record_a_frame(RECORDS)[0], 1.0)] == [Frame]
    assert (link.decided, link.resting, link.traced) == ("e1381", False, True)
    assert link.outgoing() == ACK
    link.failed(1.0)
    assert link.outgoing() == NAK
    assert link.deadline() == 4.0
    assert link.wrap(b"x") == astm_link.links(E1381)().wrap(b"x")
    assert [event.kind for event in link.tick(4.0) if isinstance(event, LinkFault)] == ["receive-timeout"]
    assert link.resting

    link = auto_link.links(EITHER)()
    assert [type(event) for event in link.receive(BLOCK, 0.0)] == [Block]
    assert (link.decided, link.wrap(b"x")) == ("mllp", b"\x0bx\x1c\r")
    assert [type(event) for event in link.receive(BLOCK[:8], 0.0)] == []
    assert [event.incomplete for event in link.closed() if isinstance(event, SessionEnd)] == [BLOCK[1:8]]


def test_noise_is_counted_from_the_last_message_on() -> None:
    link = auto_link.links(EITHER)()
    noise = b"?" * (auto_link.MAX_NOISE - 10)
    for _ in range(3):
        faults = [event for event in link.receive(noise + BLOCK, 0.0) if isinstance(event, LinkFault)]
        assert [fault.fatal for fault in faults] == [False]
        assert [type(event) for event in link.receive(b"", 0.0)] == [Block]


def test_noise_without_an_end_costs_the_connection_for_good() -> None:
    link = auto_link.links(EITHER)()
    faults = link.receive(b"?" * (auto_link.MAX_NOISE + 1), 0.0)
    assert [event.fatal for event in faults if isinstance(event, LinkFault)] == [True]
    assert link.receive(BLOCK, 0.0) == []
    link = auto_link.links(EITHER)()
    faults = link.receive(b"?" * (auto_link.MAX_NOISE + 1) + BLOCK, 0.0)  # nor is what comes with it looked at
    assert [event.fatal for event in faults if isinstance(event, LinkFault)] == [True]
    assert (link.decided, link.receive(BLOCK, 0.0)) == ("", [])


def test_the_frames_of_a_session_are_assembled_as_astm_has_them() -> None:
    frames = one_record_a_frame(RECORDS)
    link = astm_link.links(E1381)()
    link.receive(ENQ, 0.0)
    raw = []
    for frame in frames:
        (event,) = link.receive(frame, 0.0)
        assert isinstance(event, Frame)
        raw.append(event.raw)
        link.committed(0.0)
    link.receive(EOT, 0.0)
    assert auto_link.assemble(raw) == astm_link.assemble(raw)
    assert auto_link.assemble(raw).completes == (RECORDS,)
    assert auto_link.assemble(raw[:1]).completes == ()
    assert auto_link.assemble([b"no frame", *raw]).completes == (RECORDS,)


# -- a file ------------------------------------------------------------------------------------------------------------


def test_a_file_waits_for_nothing_and_says_nothing_of_a_failure() -> None:
    link = whole_link.WholeLink("text")
    assert (link.deadline(), link.tick(0.0), link.closed(), link.wrap(b"x"), link.held) == (None, [], [], b"x", 0)
    assert [type(event) for event in link.receive(b"a text", 0.0)] == [Block]
    link.failed(0.0)
    assert link.outgoing() == b""


@pytest.mark.parametrize(
    ("content", "data"),
    [
        ("hl7v2", b"\x0b\x1c\r"),
        ("hl7v2", b"\x0b\r\n\x1c\r"),
        ("astm", b"".join((ENQ, *one_record_a_frame(RECORDS), EOT, ENQ, *one_record_a_frame(b"\x1a"), EOT))),
    ],
)
def test_a_file_with_nothing_but_framing_is_not_whole(content: str, data: bytes) -> None:
    link = whole_link.WholeLink(content)
    assert [event.kind for event in link.receive(data, 0.0) if isinstance(event, LinkFault)] == ["not-whole"]
    assert link.outgoing() == NAK
