"""The receiving link, row by row: what it answers, what it reports, and that a part of a message never becomes one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.astm.frames import FrameReader
from adapters.codecs.astm.link import AstmReceiver, assemble
from adapters.codecs.astm.session import AstmOptions, State
from engine.model.link_events import Frame, LinkFault, SessionEnd
from tests.support.astm_peer import (
    ACK,
    ENQ,
    EOT,
    NAK,
    Line,
    cut_every,
    one_record_a_frame,
    session,
    sum_of,
    wire_frame,
    wire_frames,
)

H, P, O, R, L = b"H|\\^&|||DEMO\r", b"P|1\r", b"O|1|S1\r", b"R|1|^^^GLU|5.4|mmol/L||N||F\r", b"L|1|N\r"  # noqa: E741
MESSAGE = H + P + O + R + L


def line(store=lambda frame: True, **options) -> Line:
    return Line(AstmReceiver(AstmOptions(**options)), store)


# -- the normal way ----------------------------------------------------------------------------------------------


def test_the_worked_session_byte_for_byte() -> None:
    peer = line()
    for sent, answer in [
        (b"\x05", b"\x06"),
        (b"\x021H|\\^&|||DEMO\r\x037E\r\n", b"\x06"),
        (b"\x022O|1|S1\r\x033D\r\n", b"\x15"),  # line noise
        (b"\x022O|1|S1\r\x033E\r\n", b"\x06"),
        (b"\x022O|1|S1\r\x033E\r\n", b"\x06"),  # that ACK was lost
        (b"\x023R|1|^^^GLU|5.4|mm\x1730\r\n", b"\x06"),
        (b"\x024ol/L||N||F\rL|1|N\r\x03EE\r\n", b"\x06"),
        (b"\x04", b""),
    ]:
        assert peer.send(sent) == answer
    assert peer.messages == [H + O + R + L]
    assert peer.ends == ["eot"]
    assert peer.faults == ["bad-checksum"]
    assert [event.number for event in peer.events if isinstance(event, Frame)] == [1, 2, 3, 4]
    assert peer.receiver.state is State.IDLE


def test_the_ack_of_a_frame_waits_until_it_is_durable() -> None:
    receiver = AstmReceiver()
    receiver.receive(ENQ, 0.0)
    assert receiver.outgoing() == ACK
    (frame,) = receiver.receive(wire_frame(1, H), 0.0)
    assert isinstance(frame, Frame)
    assert (frame.raw, frame.number, frame.durable, frame.completes) == (wire_frame(1, H), 1, True, ())
    assert receiver.outgoing() == b""
    assert receiver.deadline() is None  # while the store works, no timer cuts the sender off
    receiver.committed(0.1)
    assert receiver.outgoing() == ACK


def test_what_came_behind_a_frame_waits_for_the_decision() -> None:
    receiver = AstmReceiver()
    frames = one_record_a_frame(MESSAGE)
    events = receiver.receive(session(*frames), 0.0)
    for n, raw in enumerate(frames):
        assert [event.raw for event in events] == [raw]
        assert receiver.receive(b"", 0.0) == []
        assert receiver.tick(1e6) == []
        receiver.committed(0.0)
        assert receiver.outgoing() == (ACK + ACK if n == 0 else ACK)
        events = receiver.receive(b"", 0.0)
    assert events == [SessionEnd("eot")]


def test_a_frame_that_could_not_be_stored_was_never_there() -> None:
    answers = iter([True, False, False, True, True])
    peer = line(store=lambda frame: next(answers))
    first, second, third = one_record_a_frame(H + R + L)
    peer.send(ENQ + first)
    assert peer.send(second) == NAK
    assert peer.send(second) == NAK
    assert peer.send(second) == ACK
    assert [event.number for event in peer.events if isinstance(event, Frame)] == [
        1,
        2,
        2,
        2,
    ]  # no repeat of a known one
    peer.send(third + EOT)
    assert peer.messages == [H + R + L]


# -- an answer to STX and EOT --------------------------------------------------------------------------------------

STX, ETX = b"\x02", b"\x03"


def bare(peer: Line, message: bytes = MESSAGE) -> list[bytes]:
    """The answers to ENQ, STX, text, ETX and EOT, each sent a second after the one before."""
    answers = []
    for sent in (ENQ, STX, message, ETX, EOT):
        answers.append(peer.send(sent) + peer.wait(1.0))
    return answers


def test_each_sign_of_a_frame_without_number_and_sum_is_answered() -> None:
    peer = line(answer_stx=True)
    for _ in range(2):
        assert bare(peer) == [ACK, ACK, b"", ACK, ACK]
    assert peer.messages == [MESSAGE] * 2
    assert (peer.faults, peer.incomplete) == ([], [])
    (frame, _) = (event for event in peer.events if isinstance(event, Frame))
    assert assemble([frame.raw]).completes == (MESSAGE,)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_frame_with_number_and_sum_is_what_it_is_elsewhere(size: int) -> None:
    peer = line(answer_stx=True)
    peer.send(ENQ)
    first, *frames = one_record_a_frame(MESSAGE)
    assert peer.send(first[:-4] + b"00\r\n", size) == NAK
    for raw in (first, *frames):
        assert peer.send(raw, size) == ACK
    assert peer.send(EOT) == b""
    assert (peer.messages, peer.faults) == ([MESSAGE], ["bad-checksum"])


def test_without_the_setting_an_stx_alone_is_not_answered() -> None:
    assert bare(line()) == [ACK, b"", b"", NAK, b""]


@pytest.mark.parametrize("behind", [b"", b"\r\n", b"\r\0"])
def test_an_etx_that_comes_again_is_answered_as_its_frame_was(behind: bytes) -> None:
    answers = iter([True, False])
    peer = line(store=lambda frame: next(answers), answer_stx=True)
    peer.send(ENQ + STX)
    assert peer.wait(1.0) == ACK
    assert peer.send(MESSAGE + ETX + behind) == ACK
    assert peer.send(ETX + behind) == ACK  # that ACK was lost
    peer.send(STX)
    peer.wait(1.0)
    assert peer.send(MESSAGE.replace(b"5.4", b"5.5") + ETX + behind) == NAK
    assert peer.send(ETX) == NAK  # its text is gone
    assert peer.send(EOT) == NAK
    assert peer.incomplete == []


def test_an_etx_of_no_frame_is_never_taken_for_one() -> None:
    peer = line(answer_stx=True)
    bare(peer)
    assert peer.send(ENQ) == ACK
    assert peer.send(ETX) == NAK
    peer.send(EOT)
    peer.send(ENQ)
    assert peer.send(MESSAGE + ETX) + peer.wait(1.0) == NAK  # its STX was lost
    assert peer.messages == [MESSAGE]


def test_an_etx_behind_a_frame_with_number_and_sum_is_no_frame() -> None:
    peer = line(answer_stx=True)
    bare(peer)
    peer.send(ENQ)
    for raw in one_record_a_frame(MESSAGE):
        assert peer.send(raw) == ACK
    assert peer.send(ETX) + peer.wait(1.0) == NAK
    assert peer.messages == [MESSAGE] * 2


@pytest.mark.parametrize("at", range(1, len(MESSAGE) - 4))
def test_a_part_of_a_message_without_number_and_sum_is_taken_for_none(at: int) -> None:
    """A damaged byte is an ETX or an STX: no half is acknowledged, none is joined with what comes again."""
    for first, rest in ((MESSAGE[:at] + ETX, b""), (MESSAGE[:at] + STX, MESSAGE[at + 1 :] + ETX)):
        peer = line(answer_stx=True)
        peer.send(ENQ + STX)
        peer.wait(1.0)
        peer.send(first)
        peer.wait(1.0)
        assert not rest or peer.send(rest) == NAK
        peer.send(STX)
        peer.wait(1.0)
        answer = peer.send(MESSAGE + ETX)  # NAK where the half before it began with what seemed a frame's number
        assert peer.send(EOT) == answer
        assert peer.messages == [MESSAGE] * (answer == ACK)
        assert bare(peer) == [ACK, ACK, b"", ACK, ACK]
        assert peer.messages[-1] == MESSAGE


def test_of_several_etx_that_waited_the_last_one_is_answered() -> None:
    receiver = AstmReceiver(AstmOptions(answer_stx=True))
    receiver.receive(ENQ + STX, 0.0)
    receiver.tick(1.0)
    assert receiver.outgoing() == ACK + ACK
    receiver.receive(MESSAGE + ETX, 1.0)
    receiver.receive(ETX + ETX, 7.0)
    receiver.committed(7.5)
    assert receiver.outgoing() == b""
    receiver.receive(b"", 7.5)
    assert receiver.outgoing() == ACK


def test_an_stx_alone_outside_any_session_is_not_answered() -> None:
    peer = line(answer_stx=True)
    assert peer.send(STX) + peer.wait(1.0) == b""
    assert peer.faults == ["no-enq"]


@pytest.mark.parametrize("size", [1, 2, 5, 12, 13, 240])
def test_records_cut_anywhere_into_etb_frames_are_put_together(size: int) -> None:
    peer = line()
    peer.send(session(*cut_every(MESSAGE, size)))
    assert peer.messages == [MESSAGE]
    assert (peer.faults, peer.incomplete) == ([], [])


@given(st.lists(st.integers(1, 40), min_size=1), st.integers(1, 60), st.booleans())
def test_any_chunking_gives_the_same_events_and_answers(sizes: list[int], size: int, eight_bit: bool) -> None:
    text = MESSAGE.replace(b"DEMO", b"D\xc9MO\xff\x80") if eight_bit else MESSAGE
    bad = bytearray(wire_frame(1, H))
    bad[5] ^= 4
    wire = b"\r\nnoise\x06\x15" + session(*cut_every(text + text, size)) + session()
    wire += ENQ + bytes(bad) + wire_frame(1, H) + wire_frame(1, H) + wire_frame(2, P)[:-1] + EOT
    whole, cut = line(), line()
    whole.send(wire)
    cut.send(wire, *sizes)
    assert cut.events == whole.events
    assert cut.answers == whole.answers
    assert whole.messages == [text, text]
    assert whole.incomplete == [H + P]


@given(st.lists(st.one_of(
    st.binary(max_size=30),
    st.sampled_from([ENQ, EOT, b"\x02", b"\x03", b"\x17", MESSAGE]),
    st.sampled_from([wire_frame(1, H), wire_frame(2, L), wire_frame(1, MESSAGE)]),
), max_size=12), st.fixed_dictionaries({}, optional={
    "framing": st.sampled_from(["e1381", "enq-less", "none"]),
    "checksum": st.sampled_from(["required", "warn", "ignore"]),
    "frame_numbers": st.sampled_from(["strict", "warn", "ignore"]),
    "acks": st.sampled_from(["frame", "session", "none"]),
    "commit": st.sampled_from(["frame", "message"]),
    "end": st.sampled_from(["record", "eot"]),
    "max_frame": st.integers(3, 40),
    "max_message": st.integers(10, 100),
}), st.lists(st.integers(1, 9), min_size=1), st.lists(st.booleans(), min_size=1))  # fmt: skip
def test_no_bytes_raise_and_any_chunking_gives_the_same(
    pieces: list[bytes], options: dict[str, object], sizes: list[int], stored: list[bool]
) -> None:
    wire = b"".join(pieces)
    lines = []
    for chunks in ([len(wire) or 1], sizes):
        decisions = iter(stored * (len(wire) + 1))
        peer = line(store=lambda frame, decisions=decisions: next(decisions), **options)
        peer.send(wire, *chunks)
        peer.wait(1.0)
        peer.wait(60.0)
        assert peer.receiver.deadline() is None
        assert peer.receiver.state is State.IDLE
        peer.close()
        lines.append(peer)
    assert lines[0].events == lines[1].events
    assert lines[0].answers == lines[1].answers


# -- row by row --------------------------------------------------------------------------------------------------


def test_idle_ignores_and_counts_what_belongs_to_nothing() -> None:
    peer = line()
    assert peer.send(b"\x06\x15\x04\x00\xff\r\nabc") == b""
    assert peer.events == []
    assert peer.receiver.stray == 7  # ACK, NAK, NUL, FF, abc; EOT, CR and LF are normal


def test_a_keep_alive_is_silent() -> None:
    peer = line()
    assert peer.send(ENQ + EOT + ENQ + EOT) == ACK + ACK
    assert peer.events == []


def test_stray_bytes_are_counted_over_all_sessions() -> None:
    peer = line()
    peer.send(b"stray" + session(wire_frame(2, H), wire_frame(1, MESSAGE), wire_frame(1, MESSAGE), b"s"))
    assert peer.receiver.stray == 6
    peer.send(ENQ + b"st")
    assert peer.receiver.stray == 8


def test_noise_that_looks_like_frames_while_idle_is_no_fault() -> None:
    peer = line()
    peer.send(b"\x02abc\x02abc")
    peer.wait(60)
    assert peer.events == []


def test_a_frame_without_enq_is_not_taken_but_named() -> None:
    peer = line()
    assert peer.send(wire_frame(1, MESSAGE)) == b""
    assert peer.faults == ["no-enq"]


def test_only_a_byte_identical_frame_is_a_duplicate() -> None:
    peer = line()
    peer.send(ENQ + wire_frame(1, H))
    assert peer.send(wire_frame(1, H)) == ACK
    assert peer.send(wire_frame(1, H).replace(b"\r\n", b"\r")) == b""  # its LF may be missing
    assert peer.wait(1) == ACK
    assert [event.number for event in peer.events if isinstance(event, Frame)] == [1]
    assert peer.send(wire_frame(1, P)) == NAK
    assert peer.send(wire_frame(2, P)) == ACK
    assert peer.send(wire_frame(1, H)) == NAK  # a repeat of an older frame is none
    assert peer.faults == ["frame-number", "frame-number"]


@pytest.mark.parametrize(("mode", "faults"), [("warn", ["frame-number-tolerated"]), ("ignore", [])])
def test_the_same_number_with_other_content_is_appended_where_numbers_are_tolerated(
    mode: str, faults: list[str]
) -> None:
    peer = line(frame_numbers=mode)
    assert (
        peer.send(ENQ + wire_frame(1, H) + wire_frame(2, R) + wire_frame(2, b"R|2|x\r") + wire_frame(3, L)) == ACK * 5
    )
    assert peer.messages == [H + R + b"R|2|x\r" + L]
    assert peer.faults == faults


@pytest.mark.parametrize(("mode", "taken"), [("strict", False), ("warn", True), ("ignore", True)])
@pytest.mark.parametrize("numbers", [(0, 1, 2), (1, 3, 4), (3, 4, 5), (1, 1, 1), (9, 9, 9)])
def test_frame_numbers_out_of_order(mode: str, taken: bool, numbers: tuple[int, ...]) -> None:
    peer = line(frame_numbers=mode)
    peer.send(ENQ + b"".join(wire_frame(n, text) for n, text in zip(numbers, (H, R, L), strict=True)) + EOT)
    assert [text for text in peer.messages if text.startswith(H)] == ([H + R + L] if taken else [])


@pytest.mark.parametrize("mode", ["strict", "warn", "ignore"])
def test_a_sender_that_does_not_listen_gets_no_hole_into_its_message(mode: str) -> None:
    # Frame 3 is damaged and never repeated; eight frames later the number expected comes by again.
    records = [b"R|%d|x\r" % n for n in range(20)]
    frames = wire_frames([(text, "ETX") for text in [H, *records, L]])
    frames[2] = frames[2].replace(b"x", b"y")
    peer = line(frame_numbers=mode)
    assert peer.send(session(*frames)) == ACK * 3 + NAK * 20
    assert (peer.messages, peer.incomplete) == ([], [H + records[0]])


@pytest.mark.parametrize("mode", ["strict", "warn", "ignore"])
def test_a_frame_that_is_repeated_after_a_nak_is_taken(mode: str) -> None:
    damaged, good = wire_frame(2, R).replace(b"5.4", b"5.5"), wire_frame(2, R)
    peer = line(frame_numbers=mode)
    peer.send(session(wire_frame(1, H), damaged, good, wire_frame(3, L)))
    assert peer.messages == [H + R + L]


def test_frame_numbers_wrap_from_seven_to_zero() -> None:
    records = [b"R|%d|x\r" % n for n in range(20)]
    peer = line()
    peer.send(session(*wire_frames([(text, "ETX") for text in [H, *records, L]])))
    assert peer.messages == [H + b"".join(records) + L]
    assert peer.faults == []


def test_every_nak_names_both_checksums_and_both_numbers_and_no_content() -> None:
    peer = line()
    peer.send(ENQ + wire_frame(1, H) + b"\x025R|1|^^^GLU|5.4\r\x03AA\r\n")
    fault = peer.events[-1]
    assert fault == LinkFault(
        "bad-checksum", "checksum AA, computed D5; number 5, expected 2", b"\x025R|1|^^^GLU|5.4\r\x03AA\r\n"
    )


def test_a_fault_shows_at_most_64_bytes() -> None:
    peer = line()
    peer.send(ENQ + wire_frame(5, b"x" * 500) + b"\x02" + b"1" * 100 + b"\x03QQ\r\n")
    peer.wait(1)
    assert [len(event.sample) for event in peer.events if isinstance(event, LinkFault)] == [64, 64]


@pytest.mark.parametrize("frame", [wire_frame(1, H), wire_frame(1, b"\x00\n\x7f\x80\xff")])
def test_checksums_may_be_in_small_letters_and_are_taken_over_raw_bytes(frame: bytes) -> None:
    peer = line()
    assert peer.send(ENQ + frame[:-4] + frame[-4:].lower()) == ACK + ACK


def test_a_checksum_of_00_is_one() -> None:
    texts = (b"C|1|" + b"y" * n + b"\r" for n in range(256))  # an odd character code meets every sum
    text = next(text for text in texts if sum_of(b"1" + text + b"\x03") == "00")
    peer = line()
    assert peer.send(ENQ + wire_frame(1, text)) == ACK + ACK


@pytest.mark.parametrize(
    ("mode", "answer", "faults"),
    [("required", NAK, ["bad-checksum"]), ("warn", ACK, ["checksum-tolerated"]), ("ignore", ACK, [])],
)
def test_a_wrong_checksum(mode: str, answer: bytes, faults: list[str]) -> None:
    peer = line(checksum=mode)
    assert peer.send(ENQ + wire_frame(1, MESSAGE)[:-4] + b"ZZ\r\n".replace(b"ZZ", b"00")) == ACK + answer
    assert peer.faults == faults
    assert bool(peer.messages) is (answer == ACK)


@pytest.mark.parametrize("tail", [b"\r\n", b"\r", b"", b"\n"])
@pytest.mark.parametrize(("mode", "answer"), [("required", NAK), ("warn", ACK), ("ignore", ACK)])
def test_a_missing_checksum(mode: str, answer: bytes, tail: bytes) -> None:
    peer = line(checksum=mode)
    peer.send(ENQ)
    assert peer.send(b"\x021" + MESSAGE + b"\x03" + tail) + peer.wait(1) == answer
    assert peer.faults == {"required": ["bad-layout"], "warn": ["checksum-tolerated"], "ignore": []}[mode]


@pytest.mark.parametrize("frame", [
    b"\x021H|\\^&\r\x037\r\n",  # half a checksum
    b"\x021H|\\^&\r\x03QQ\r\n",
    b"\x02\x0303\r\n",  # nothing in it
    b"\x02H|\\^&\r\x03" + sum_of(b"H|\\^&\r\x03").encode() + b"\r\n",  # no number
    b"1" + H + b"\x0399\r\n",  # no STX
])  # fmt: skip
def test_a_layout_that_is_off_is_answered_once_and_leaves_the_number_expected(frame: bytes) -> None:
    peer = line()
    peer.send(ENQ)
    assert peer.send(frame) + peer.wait(1) == NAK
    assert peer.faults == ["bad-layout"]
    assert peer.send(wire_frame(1, H)) == ACK


@pytest.mark.parametrize(
    ("frame", "detail"),
    [
        (b"\x021H|\\^&\r\x03QQ\r\n", "no checksum; expected number 1"),
        (b"\x021H|\\^&\r\x0300 and more", "no end of frame after the checksum; expected number 1"),
        (b"\x021H|\\^&\r\x0300", "no end of frame after the checksum; expected number 1"),
        (b"\x021H|\\^&\r\x03", "no checksum; expected number 1"),
        (b"\x02" + b"x" * 200 + b"\x0300\r\n", "longer than 100 bytes; expected number 1"),
        (b"\x021H\x05x\r\x0300\r\n", "ENQ or EOT inside a frame; expected number 1"),
        (b"1H\r\x0300\r\n", "end of a frame without its start; expected number 1"),
    ],
)
def test_a_layout_fault_says_what_is_off(frame: bytes, detail: str) -> None:
    peer = line(max_frame=100)
    peer.send(ENQ)
    assert peer.send(frame) + peer.wait(1) == NAK
    (fault,) = [event for event in peer.events if isinstance(event, LinkFault)]
    assert (fault.kind, fault.detail) == ("bad-layout", detail)


def test_a_frame_right_behind_a_broken_one_is_the_one_to_answer() -> None:
    peer = line()
    peer.send(ENQ)
    assert peer.send(b"\x021H|\\^&\r\x03QQ" + wire_frame(1, H)) == ACK
    assert peer.faults == ["bad-layout"]


def test_a_broken_frame_may_be_repeated_under_a_number_that_is_only_tolerated() -> None:
    peer = line(frame_numbers="warn")
    peer.send(ENQ)
    assert peer.send(b"\x025H|\\^&\r\x03QQ\r\n") + peer.wait(1) == NAK
    assert peer.send(wire_frame(5, H) + wire_frame(6, L)) == ACK + ACK


def test_a_frame_that_lost_its_end_is_answered_when_the_next_one_is_whole() -> None:
    peer = line()
    peer.send(ENQ)
    assert peer.send(b"\x021H|\\^&\r\r\n") + peer.wait(10) == b""  # ETX and checksum are gone
    assert peer.send(wire_frame(1, H)) == ACK
    assert peer.faults == ["bad-layout"]


def test_a_frame_that_ends_early_is_answered_once_after_the_whole_transmission() -> None:
    # Noise made an ETX: what follows is still the same transmission, and a second answer would be the next frame's.
    frame = bytearray(wire_frame(1, H + P + R))
    frame[9] = 3
    for size in (1, len(frame)):
        peer = line()
        peer.send(ENQ)
        assert peer.send(bytes(frame), size) + peer.wait(1) == NAK
        assert peer.send(wire_frame(1, H + P + R)) == ACK


def test_a_frame_over_the_limit_is_refused_without_keeping_it() -> None:
    peer = line(max_frame=100)
    peer.send(ENQ)
    assert peer.send(wire_frame(1, b"x" * 10_000), 1000) == NAK
    assert peer.faults == ["bad-layout"]
    assert peer.send(wire_frame(1, H)) == ACK


def test_a_message_over_the_limit_is_refused_at_the_frame_that_exceeds_it() -> None:
    peer = line(max_message=100)
    assert peer.send(ENQ + wire_frame(1, H) + wire_frame(2, b"C|1|" + b"x" * 90 + b"\r")) == ACK + ACK + NAK
    assert peer.faults == ["too-large"]


def test_a_message_of_too_many_frames_is_refused() -> None:
    peer = line(max_frames=3)
    peer.send(session(*wire_frames([(H, "ETX"), (L, "ETX"), (H, "ETX"), (L, "ETX")])))  # the limit is a message's
    assert peer.faults == []
    assert (
        peer.send(ENQ + b"".join(wire_frames([(H, "ETX"), (b"", "ETX"), (b"", "ETX"), (b"", "ETX")]))) == ACK * 4 + NAK
    )
    assert peer.faults == ["too-many-frames"]


def test_eot_without_terminator_leaves_an_incomplete_text() -> None:
    peer = line()
    peer.send(session(*one_record_a_frame(H + P + O + R)))
    assert (peer.messages, peer.incomplete, peer.ends) == ([], [H + P + O + R], ["eot"])


def test_enq_while_receiving_sets_aside_what_came_and_begins_anew() -> None:
    peer = line()
    peer.send(ENQ + wire_frame(1, H) + wire_frame(2, R))
    peer.wait(0.1)
    assert peer.send(ENQ) == ACK
    assert (peer.incomplete, peer.ends) == ([H + R], ["enq"])
    peer.send(wire_frame(1, MESSAGE) + EOT)
    assert peer.messages == [MESSAGE]


@pytest.mark.parametrize("tail", [ENQ + b"\n", b"\r" + ENQ, b"\r\n" + ENQ], ids=["CR", "LF", "more"])
@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "by itself"])
@pytest.mark.parametrize("noisy_one", [0, 1])
def test_enq_as_noise_beside_a_frame_gets_no_answer_of_its_own(tail: bytes, apart: bool, noisy_one: int) -> None:
    """The sender waits for one answer. It would take the second for that of its last frame, and forget the message."""
    peer = line()
    frames = one_record_a_frame(MESSAGE)
    peer.send(b"".join([ENQ, *frames[:noisy_one]]))
    noisy = frames[noisy_one][:-2] + tail
    pieces = noisy.partition(ENQ) if apart else (noisy,)
    assert b"".join(peer.send(piece) for piece in pieces) == ACK
    assert peer.faults == ["bad-layout"]
    for frame in frames[noisy_one + 1 :]:
        assert peer.send(frame) == ACK
    peer.send(EOT)
    assert (peer.messages, peer.incomplete, peer.ends) == ([MESSAGE], [], ["eot"])


def test_enq_as_noise_beside_a_frame_that_is_refused_gets_none_either() -> None:
    peer = line(store=lambda frame: False)
    peer.send(ENQ)
    assert peer.send(wire_frame(1, H) + ENQ) == NAK
    assert peer.receiver.state is State.RECEIVING


def test_enq_behind_a_whole_message_begins_anew_and_so_it_does_where_no_frame_is_answered() -> None:
    peer = line()
    assert peer.send(ENQ + wire_frame(1, MESSAGE) + ENQ) == ACK * 3
    assert peer.messages == [MESSAGE]
    peer = line(acks="session")
    assert peer.send(ENQ + wire_frame(1, H) + ENQ) == ACK * 2
    assert (peer.incomplete, peer.ends) == ([H], ["enq"])


def test_repeated_enqs_are_all_acknowledged() -> None:
    peer = line()
    assert peer.send(ENQ * 3) == ACK * 3
    assert peer.events == []


def test_thirty_seconds_without_a_frame_end_the_session() -> None:
    peer = line()
    peer.send(ENQ + wire_frame(1, H))
    peer.wait(29.9)
    assert peer.ends == []
    peer.send(wire_frame(2, P))
    peer.wait(29.9)
    assert peer.receiver.state is State.RECEIVING
    peer.wait(0.2)
    assert (peer.ends, peer.incomplete, peer.faults) == (["timeout"], [H + P], ["receive-timeout"])
    assert peer.send(wire_frame(3, R)) == b""
    assert peer.send(ENQ) == ACK


@pytest.mark.parametrize("commit", ["frame", "message"])
@pytest.mark.parametrize("repeated", [False, True])
def test_each_frame_and_each_repeat_has_thirty_seconds_of_its_own(commit: str, repeated: bool) -> None:
    peer = line(commit=commit)
    peer.send(ENQ)
    for number, text in enumerate((H, P, R, L), 1):
        peer.wait(29)
        assert peer.send(wire_frame(number, text)) == ACK
        if repeated:
            peer.wait(29)
            assert peer.send(wire_frame(number, text)) == ACK
    peer.wait(29)
    assert peer.send(b"x") == b""
    assert peer.receiver.state is State.RECEIVING
    peer.wait(29)
    assert peer.receiver.state is State.IDLE


def test_a_bad_frame_has_thirty_seconds_for_its_repeat() -> None:
    peer = line()
    peer.send(ENQ)
    for _ in range(4):
        peer.wait(29)
        assert peer.send(wire_frame(2, H)) == NAK
    assert peer.receiver.state is State.RECEIVING


def test_a_trickling_peer_is_cut_off_too() -> None:
    peer = line()
    peer.send(ENQ)
    frame = wire_frame(1, MESSAGE)
    for n in range(6):
        assert peer.receiver.state is State.RECEIVING
        peer.send(frame[n : n + 1])
        peer.now += 5.1  # the caller is never woken in time: there is always a byte to read first
    peer.send(frame[6:7])
    assert peer.receiver.state is State.IDLE
    assert peer.faults == ["receive-timeout"]


def test_a_frame_that_came_in_time_counts_even_if_we_look_late() -> None:
    peer = line()
    peer.send(ENQ)
    peer.now += 100
    assert peer.send(wire_frame(1, MESSAGE)) == ACK
    assert peer.messages == [MESSAGE]


def test_a_store_that_takes_longer_than_the_sender_waits_gets_no_ack() -> None:
    # The sender has sent EOT and begun again: it would take the ACK for that of its ENQ.
    receiver = AstmReceiver()
    receiver.receive(ENQ + wire_frame(1, MESSAGE), 0.0)
    receiver.committed(15.1)
    assert receiver.outgoing() == ACK  # of ENQ


def test_enq_behind_a_frame_that_got_no_answer_any_more_begins_anew() -> None:
    """Its sender has waited for as long as senders do, and would wait as long again."""
    receiver = AstmReceiver()
    receiver.receive(ENQ + wire_frame(1, H), 0.0)
    receiver.committed(0.0)
    assert receiver.outgoing() == ACK * 2
    receiver.receive(wire_frame(2, R), 1.0)
    receiver.receive(ENQ, 16.5)
    receiver.committed(17.0)
    assert receiver.tick(17.0) == [SessionEnd("enq", (), H + R)]
    assert receiver.outgoing() == ACK


# -- the end of the stream ---------------------------------------------------------------------------------------


def test_a_lost_connection_leaves_what_came_as_incomplete() -> None:
    peer = line()
    peer.send(ENQ + wire_frame(1, H) + wire_frame(2, R) + b"\x023L|1|")
    peer.close()
    assert (peer.messages, peer.incomplete, peer.ends) == ([], [H + R], ["closed"])


def test_a_connection_closed_after_eot_reports_nothing_more() -> None:
    peer = line()
    peer.send(session(wire_frame(1, MESSAGE)))
    peer.close()
    assert peer.ends == ["eot"]


def test_a_frame_without_its_ack_is_left_to_its_sender() -> None:
    receiver = AstmReceiver()
    receiver.receive(ENQ + wire_frame(1, H) + wire_frame(2, MESSAGE), 0.0)
    receiver.committed(0.0)
    receiver.receive(b"", 0.0)
    assert receiver.closed() == [SessionEnd("closed", (), H)]
    assert receiver.state is State.IDLE
    with pytest.raises(ValueError, match="no frame waits"):
        receiver.committed(0.0)


# -- where a message ends ----------------------------------------------------------------------------------------

OTHER = b"H;\\^&;;;x\rL;1;N\r"


@pytest.mark.parametrize(
    ("pieces", "messages", "incomplete"),
    [
        ([(MESSAGE + MESSAGE, "ETX")], [MESSAGE, MESSAGE], []),
        ([(MESSAGE + OTHER + MESSAGE, "ETX")], [MESSAGE, OTHER, MESSAGE], []),
        ([(MESSAGE, "ETX"), (MESSAGE, "ETX")], [MESSAGE, MESSAGE], []),
        ([(OTHER[:-6], "ETX"), (OTHER[-6:], "ETX")], [OTHER], []),
        ([(H, "ETB"), (L, "ETB")], [H + L], []),  # ETB on every frame
        ([(H + b"L|1", "ETB"), (b"|N", "ETB"), (b"\r", "ETX")], [H + L], []),
        ([(H + b"L|1|N", "ETX")], [H + b"L|1|N"], []),  # no last CR
        ([(H + b"L|1", "ETX")], [H + b"L|1"], []),
        ([(H + b"L|1|N", "ETB")], [], [H + b"L|1|N"]),  # may go on: |T
        ([(H + b"L|1|T\r", "ETX")], [H + b"L|1|T\r"], []),  # the format refuses it
        ([(H + b"l|1|n\r", "ETX")], [H + b"l|1|n\r"], []),
        ([(H + P + H + R + L, "ETX")], [H + P + H + R + L], []),  # several H share one L
        ([(b"\r\n\0" + MESSAGE + b"\n\0\r", "ETX"), (MESSAGE, "ETX")], [MESSAGE, MESSAGE], []),
        ([(MESSAGE.replace(b"\r", b"\r\n"), "ETX")], [MESSAGE.replace(b"\r", b"\r\n")[:-1]], []),
        ([(MESSAGE.replace(b"\r", b"\n"), "ETX")], [MESSAGE.replace(b"\r", b"\n")], []),
        ([(MESSAGE + b"C|1|late\r", "ETX"), (MESSAGE, "ETX")], [MESSAGE, MESSAGE], [b"C|1|late\r"]),
        ([(P + R + L, "ETX")], [P + R + L], []),  # no header: whole, and unreadable
        ([(H + b"C|1|L|1|N\r", "ETX")], [], [H + b"C|1|L|1|N\r"]),
        ([(H + b"C|1|I|see\nLab|2\r" + L, "ETX")], [H + b"C|1|I|see\nLab|2\r" + L], []),
        ([(H + b"LX|1\rL|a\r", "ETX")], [], [H + b"LX|1\rL|a\r"]),
        ([(b" \r", "ETX")], [], []),
    ],
)
def test_the_terminator_ends_a_message_wherever_it_stands(
    pieces: list[tuple[bytes, str]], messages: list[bytes], incomplete: list[bytes]
) -> None:
    peer = line()
    peer.send(session(*wire_frames(pieces)))
    assert (peer.messages, peer.incomplete, peer.faults) == (messages, incomplete, [])


def test_a_message_is_reported_with_the_frame_that_ends_it() -> None:
    peer = line()
    peer.send(session(*one_record_a_frame(H + R + L + H + L)))
    frames = [event for event in peer.events if isinstance(event, Frame)]
    assert [frame.completes for frame in frames] == [(), (), (H + R + L,), (), (H + L,)]


@given(st.lists(st.sampled_from([H, P, R, L, b"L|1|N", b"\r", b"\n", b"C|1|I|L|1\r"]), max_size=12), st.data())
def test_no_text_is_lost_between_messages_and_evidence(records: list[bytes], data: st.DataObject) -> None:
    text = b"".join(records)
    size = data.draw(st.integers(1, max(len(text), 1)))
    peer = line()
    if text:
        peer.send(session(*cut_every(text, size)))
    assert len(b"".join(peer.messages + peer.incomplete).translate(None, b"\r\n")) == len(text.translate(None, b"\r\n"))


def test_a_long_record_in_many_frames_takes_linear_time() -> None:
    peer = line(max_message=64 * 1024 * 1024)
    pieces = [(H, "ETX"), *[(b"M" * 240, "ETB")] * 20_000, (b"\r" + L, "ETX")]
    peer.send(session(*wire_frames(pieces)), 65536)
    assert len(peer.messages[0]) == len(H) + 240 * 20_000 + 1 + len(L)


# -- end: eot ----------------------------------------------------------------------------------------------------


def test_eot_completes_a_message_only_where_the_channel_says_so() -> None:
    peer = line(end="eot")
    peer.send(session(*one_record_a_frame(H + R)))
    assert (peer.messages, peer.incomplete) == ([H + R], [])
    assert isinstance(peer.events[-1], SessionEnd)


@pytest.mark.parametrize(
    "wire",
    [
        ENQ + wire_frame(1, H) + wire_frame(2, R, "ETB") + EOT,  # more was to come
        ENQ + wire_frame(1, H) + wire_frame(2, R)[:-4] + b"00\r\n" + EOT,  # the sender gave up after a NAK
        ENQ + wire_frame(1, H) + wire_frame(7, R) + EOT,
        (ENQ + wire_frame(1, H), ENQ),
        ENQ + wire_frame(1, R) + EOT,  # no header
    ],
)
def test_a_session_that_broke_off_completes_nothing(wire: bytes | tuple[bytes, ...]) -> None:
    peer = line(end="eot")
    for sent in (wire,) if isinstance(wire, bytes) else wire:
        peer.send(sent)
        peer.wait(1)
    assert peer.messages == []
    assert len(peer.incomplete) == 1


@pytest.mark.parametrize("how", ["wait", "close"])
def test_neither_silence_nor_a_lost_connection_is_an_eot(how: str) -> None:
    peer = line(end="eot")
    peer.send(ENQ + wire_frame(1, H + R))
    peer.wait(31) if how == "wait" else peer.close()
    assert (peer.messages, peer.incomplete) == ([], [H + R])


def test_a_nak_that_was_made_good_does_not_count() -> None:
    peer = line(end="eot")
    peer.send(ENQ + wire_frame(1, H) + wire_frame(2, R)[:-4] + b"00\r\n" + wire_frame(2, R) + EOT)
    assert peer.messages == [H + R]


def test_with_end_eot_a_terminator_still_ends_its_message() -> None:
    peer = line(end="eot")
    peer.send(session(wire_frame(1, MESSAGE + H), wire_frame(2, R)))
    assert peer.messages == [MESSAGE, H + R]


# -- commit: message ---------------------------------------------------------------------------------------------


def test_only_the_frame_that_ends_a_message_is_held() -> None:
    receiver = AstmReceiver(AstmOptions(commit="message"))
    assert receiver.receive(ENQ + wire_frame(1, H) + wire_frame(2, R), 0.0) == []
    assert receiver.outgoing() == ACK * 3
    (frame,) = receiver.receive(wire_frame(3, L), 0.0)
    assert (frame.completes, frame.durable, receiver.outgoing()) == ((H + R + L,), False, b"")
    receiver.failed(0.0)
    assert receiver.outgoing() == NAK
    (again,) = receiver.receive(wire_frame(3, L), 0.0)
    assert again == frame


def test_with_end_eot_every_frame_is_held_because_eot_cannot_be() -> None:
    receiver = AstmReceiver(AstmOptions(commit="message", end="eot"))
    (frame,) = receiver.receive(ENQ + wire_frame(1, H), 0.0)
    assert frame.durable


# -- tolerances --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [b"\r", b"\n", b""])
def test_an_incomplete_frame_end_costs_a_moment_once(tail: bytes) -> None:
    frames = [frame[:-2] + tail for frame in one_record_a_frame(H + R + L)]
    peer = line()
    peer.send(ENQ)
    if tail == b"\n":
        assert peer.send(frames[0]) == ACK
    else:
        assert peer.send(frames[0]) == b""
        assert peer.wait(0.29) == b""
        assert peer.wait(0.02) == ACK
    assert peer.send(frames[1]) == ACK
    assert peer.send(frames[2] + EOT) == ACK
    assert peer.messages == [H + R + L]
    assert peer.faults == []


@pytest.mark.parametrize("tail", [b"\r", b"\n", b"", b"\r\n\n", b"\n\n"])
def test_a_stream_without_proper_frame_ends_is_read(tail: bytes) -> None:
    peer = line()
    peer.send(session(*[frame[:-2] + tail for frame in one_record_a_frame(MESSAGE)]))
    assert peer.messages == [MESSAGE]
    assert peer.faults == []


@pytest.mark.parametrize("checksum", [b"", b"00"])
@pytest.mark.parametrize(("mode", "taken"), [("required", False), ("warn", True), ("ignore", True)])
def test_a_stream_without_right_checksums_and_frame_ends_is_read_only_where_that_is_allowed(
    mode: str, taken: bool, checksum: bytes
) -> None:
    peer = line(checksum=mode, acks="none")
    peer.send(session(*[frame[:-4] + checksum for frame in one_record_a_frame(H + R + L)]))
    peer.wait(1)
    assert peer.messages == ([H + R + L] if taken else [])


def test_a_wrong_sum_with_text_behind_it_is_an_early_end_even_where_sums_are_only_warned_of() -> None:
    peer = line(checksum="warn")
    peer.send(ENQ)
    assert peer.send(b"\x021H|\\^&\r\x0300 and more\r\x0399\r\n") == NAK
    assert peer.faults == ["bad-layout"]


def test_stray_bytes_around_frames_are_counted_only() -> None:
    peer = line()
    frames = one_record_a_frame(MESSAGE)
    peer.send(ENQ + b"\x06\x06" + b"\x06".join(frames) + b"\x00\xff" + EOT + b"\xef\xbf\xbd\n\x04")
    assert peer.messages == [MESSAGE]
    assert peer.faults == []
    assert peer.receiver.stray == 2 + 4 + 2 + 3


@pytest.mark.parametrize("inside", [b"\n", b"\r\n", b"\0", b"\x80\xff", b"\x06", b"\x15", b"\x10\x11\x13\x16"])
def test_characters_that_do_not_belong_in_a_text_are_survived(inside: bytes) -> None:
    text = H + b"C|1|I|a" + inside + b"b\r" + L
    peer = line()
    peer.send(session(wire_frame(1, text)))
    assert peer.messages == [text]


def test_enq_in_the_middle_of_a_frame_is_meant_if_the_line_falls_silent() -> None:
    peer = line()
    peer.send(ENQ + wire_frame(1, H) + b"\x022R|1|" + ENQ)
    assert peer.answers == ACK + ACK
    assert peer.wait(1) == ACK
    assert (peer.incomplete, peer.ends) == ([H], ["enq"])
    assert peer.send(wire_frame(1, H)) == ACK


def test_eot_in_the_middle_of_a_frame_is_meant_if_the_line_falls_silent() -> None:
    peer = line(end="eot")
    peer.send(ENQ + wire_frame(1, H) + b"\x022R|1|" + EOT)
    peer.wait(1)
    assert (peer.messages, peer.incomplete, peer.ends) == ([], [H], ["eot"])


@pytest.mark.parametrize("noise", [ENQ, EOT])
def test_enq_or_eot_as_noise_inside_a_frame_cost_that_frame_only(noise: bytes) -> None:
    frame = wire_frame(1, MESSAGE)
    peer = line()
    peer.send(ENQ)
    assert peer.send(frame[:20] + noise + frame[21:]) == NAK
    assert peer.send(frame) == ACK
    assert peer.messages == [MESSAGE]


def test_a_second_answer_is_never_given_to_one_transmission() -> None:
    frame = b"\x021H|\\^&\r\x03" + b"QQ|rest of the frame\r\x0311\r\n"
    peer = line()
    peer.send(ENQ + frame[:12])
    assert peer.wait(5) == NAK  # the line was silent, so this was the end of it as far as one could tell
    assert peer.send(frame[12:]) + peer.wait(5) == b""


# -- senders that do not play by the rules -----------------------------------------------------------------------


def test_without_enq_a_frame_begins_a_session_where_the_channel_says_so() -> None:
    peer = line(framing="enq-less")
    assert peer.send(wire_frame(0, H) + wire_frame(1, R) + wire_frame(2, L)) == ACK * 3
    assert peer.messages == [H + R + L]
    peer.wait(31)
    assert (peer.faults, peer.ends) == ([], ["timeout"])
    assert peer.send(ENQ + wire_frame(1, MESSAGE) + EOT) == ACK * 2


def test_without_enq_a_first_number_with_a_header_begins_anew() -> None:
    peer = line(framing="enq-less")
    peer.send(wire_frame(1, H) + wire_frame(2, R))
    assert peer.send(wire_frame(1, H) + wire_frame(2, b"R|1|other\r") + wire_frame(3, L)) == ACK * 3
    assert peer.messages == [H + b"R|1|other\r" + L]
    assert peer.incomplete == [H + R]
    assert peer.send(wire_frame(1, MESSAGE) + wire_frame(1, MESSAGE)) == ACK * 2
    assert peer.messages[1:] == [MESSAGE]  # the second is a repeat


def test_inside_a_session_of_frames_no_text_without_frames_begins() -> None:
    peer = line(framing="enq-less")
    assert peer.send(wire_frame(1, H) + b"H|" + wire_frame(2, L)) == ACK + ACK
    assert peer.messages == [H + L]


def test_without_enq_a_text_may_come_without_frames_too() -> None:
    peer = line(framing="enq-less")
    assert peer.send(b"\r\n\0" + MESSAGE + MESSAGE) == b""
    assert peer.messages == [MESSAGE, MESSAGE]
    peer.wait(31)
    assert peer.send(wire_frame(1, MESSAGE)) == ACK


@pytest.mark.parametrize("sizes", [(1,), (7,), (1000,)])
@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_text_without_frames(sizes: tuple[int, ...], end: bytes) -> None:
    text = MESSAGE.replace(b"\r", end)
    peer = line(framing="none")
    assert peer.send(b"noise\r" + text + text, *sizes) == b""
    assert peer.messages == [text.removesuffix(b"\n") if end == b"\r\n" else text] * 2
    frame = next(event for event in peer.events if isinstance(event, Frame))
    assert (frame.raw, frame.number, frame.durable) == (peer.messages[0], 0, False)
    peer.wait(31)
    assert (peer.incomplete, peer.faults) == ([], [])


def test_text_without_frames_whose_last_cr_is_missing_is_whole_when_the_line_falls_silent() -> None:
    peer = line(framing="none")
    peer.send(H + R + b"L|1|N")
    assert peer.messages == []
    peer.wait(0.5)
    assert peer.messages == [H + R + b"L|1|N"]
    peer.send(H + R + b"L|1")  # a code may follow
    peer.wait(40)
    assert peer.incomplete == [H + R + b"L|1"]


def test_text_without_frames_that_begins_anew_leaves_the_first_part_as_evidence() -> None:
    peer = line(framing="none")
    peer.send(H + R + MESSAGE)
    peer.wait(40)
    assert (peer.messages, peer.incomplete, peer.faults) == ([MESSAGE], [H + R], ["receive-timeout"])


def test_each_record_without_a_frame_has_thirty_seconds() -> None:
    peer = line(framing="none")
    for record in (H, P, R):
        assert peer.send(record) == b""
        peer.wait(29)
    peer.send(b"C|")
    peer.wait(29)
    assert peer.ends == ["timeout"]
    assert peer.incomplete == [H + P + R + b"C|"]
    peer.send(b"H|")
    peer.wait(29)
    assert peer.receiver.state is State.RECEIVING


def test_a_record_without_a_frame_is_read_in_pieces_no_longer_than_a_frame() -> None:
    reader = FrameReader(max_frame=100, frames=False)
    reader.feed(b"H|" + b"x" * 250 + b"\r")
    assert [len(token.text) for token in iter(reader.next, None)] == [100, 100, 53]


def test_text_without_frames_that_could_not_be_stored_is_set_aside() -> None:
    peer = line(store=lambda frame: False, framing="none")
    peer.send(MESSAGE)
    peer.wait(40)
    assert (peer.incomplete, peer.answers) == ([MESSAGE], b"")


def test_text_without_frames_is_bounded() -> None:
    peer = line(framing="none", max_message=1000)
    peer.send(H + b"x" * 100_000, 500)
    peer.send(b"\r" + L + MESSAGE)
    peer.wait(40)
    assert "too-large" in peer.faults
    assert len(peer.incomplete[0]) == 1000
    assert peer.messages == [MESSAGE]


def test_an_analyzer_that_waits_for_no_answer_gets_none() -> None:
    peer = line(acks="none")
    assert peer.send(session(*one_record_a_frame(MESSAGE))) == b""
    assert peer.messages == [MESSAGE]


@pytest.mark.parametrize(("damaged", "answer"), [(False, ACK), (True, NAK)])
def test_an_analyzer_that_waits_for_an_answer_to_the_session_gets_one(damaged: bool, answer: bytes) -> None:
    frames = one_record_a_frame(MESSAGE)
    if damaged:
        frames[2] = frames[2].replace(b"S1", b"S2")
    peer = line(acks="session")
    assert peer.send(ENQ) == ACK
    assert peer.send(b"".join(frames)) == b""
    assert peer.send(EOT) == answer
    assert peer.messages == ([] if damaged else [MESSAGE])


@pytest.mark.parametrize("loss", ["damaged", "gone", "not stored"])
def test_a_hole_that_nobody_will_fill_makes_its_message_incomplete(loss: str) -> None:
    frames = one_record_a_frame(MESSAGE + MESSAGE)
    wire = list(frames)
    if loss == "damaged":
        wire[3] = wire[3].replace(b"5.4", b"5.5")
    elif loss == "gone":
        del wire[3]
    peer = line(store=lambda frame: not (loss == "not stored" and frame.raw == frames[3]), acks="none")
    peer.send(session(*wire))
    assert peer.messages == [MESSAGE]  # the second
    assert peer.incomplete[0].startswith(H + P + O)
    assert peer.faults == {"damaged": ["bad-checksum"], "gone": ["frame-number"], "not stored": []}[loss]


@pytest.mark.parametrize("acks", ["none", "session"])
@pytest.mark.parametrize("loss", ["damaged", "gone", "not stored"])
def test_a_crash_after_a_hole_does_not_close_it(acks: str, loss: str) -> None:
    other = P + b"O|1|S2\r" + R
    frames = wire_frames([(H + P + O, "ETX"), (R + other, "ETX"), (R, "ETX"), (L, "ETX"), (MESSAGE[:-8], "ETX")])
    wire = list(frames)
    if loss == "damaged":
        wire[1] = wire[1].replace(b"S2", b"S3")
    elif loss == "gone":
        del wire[1]
    peer = line(store=lambda frame: not (loss == "not stored" and frame.raw == frames[1]), acks=acks)
    peer.send(ENQ + b"".join(wire))  # no more: the process is killed
    kept = [event for event in peer.events if isinstance(event, Frame) and event.durable and event.raw != frames[1]]
    for count in range(len(kept) + 1):
        assert assemble([frame.raw for frame in kept[:count]]).completes == ()
    assert frames[0] in [frame.raw for frame in kept]
    assert frames[4] in [frame.raw for frame in kept], "the message behind the hole goes on"


@pytest.mark.parametrize("size", [5, 6, 20])
def test_after_a_hole_the_next_message_may_be_cut_anywhere_behind_its_first_letters(size: int) -> None:
    damaged = wire_frame(2, P + O).replace(b"S1", b"S2")
    rest = [
        wire_frame((3 + n) % 8, MESSAGE[at : at + size], "ETB") for n, at in enumerate(range(0, len(MESSAGE), size))
    ]
    peer = line(acks="none")
    peer.send(session(wire_frame(1, H), damaged, *rest))
    assert peer.messages == [MESSAGE]


def test_a_connection_closed_without_eot_keeps_what_nobody_else_has() -> None:
    receiver = AstmReceiver(AstmOptions(acks="none", framing="enq-less"))
    first, second = wire_frame(1, MESSAGE), wire_frame(2, MESSAGE)
    (held,) = receiver.receive(first + second[:-2], 0.0)
    assert held.completes == (MESSAGE,)
    events = receiver.closed()
    assert [event.completes for event in events if isinstance(event, SessionEnd)] == [(MESSAGE,), (MESSAGE,), ()]


def test_a_line_without_answers_that_ends_between_two_frames_leaves_an_incomplete_message() -> None:
    peer = line(acks="none")
    peer.send(ENQ + wire_frame(1, H))
    peer.close()
    assert (peer.messages, peer.incomplete) == ([], [H])


def test_committed_without_a_frame_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no frame waits"):
        AstmReceiver().committed(0.0)


def test_committed_frames_of_a_session_can_be_put_together_after_a_crash() -> None:
    frames = one_record_a_frame(MESSAGE + H + R)
    assert assemble(frames) == SessionEnd("closed", (MESSAGE,), H + R)
    assert assemble([frame[:-4] + b"00\r\n" for frame in frames]).completes == (MESSAGE,)  # `checksum: warn` took them
    assert assemble([frame[:-4] for frame in frames]).completes == (MESSAGE,)
    assert assemble([frame[:-2] for frame in frames] + [b"", b"\x02"]) == SessionEnd("closed", (MESSAGE,), H + R)


def test_frames_without_numbers_are_taken_where_numbers_are_ignored() -> None:
    peer = line(frame_numbers="ignore")
    texts = [H, *[R] * 7, L]
    texts = [text.replace(b"5.4", b"5.%d" % n) for n, text in enumerate(texts)]
    peer.send(session(*[b"\x02" + t + b"\x03" + sum_of(t + b"\x03").encode() + b"\r\n" for t in texts]))
    assert peer.messages == [b"".join(texts)]
    assert [event.number for event in peer.events if isinstance(event, Frame)] == [1, 2, 3, 4, 5, 6, 7, 0, 1]


@pytest.mark.parametrize("control", [ENQ, EOT])
def test_enq_and_eot_end_a_text_without_frames(control: bytes) -> None:
    peer = line(framing="none", end="eot")
    assert peer.send(H + R + b"C|1" + control) == (ACK if control == ENQ else b"")
    assert (peer.messages, peer.incomplete) == (([], [H + R + b"C|1"]) if control == ENQ else ([H + R + b"C|1"], []))


def test_eot_is_as_good_as_the_last_cr_of_a_text_without_frames() -> None:
    for control, messages in ((EOT, [H + R + b"L|1|N"]), (ENQ, [])):
        peer = line(framing="none")
        peer.send(H + R + b"L|1|N" + control)
        assert peer.messages == messages
        assert peer.incomplete == ([] if messages else [H + R + b"L|1|N"])


def test_text_without_frames_that_stops_in_a_record_is_kept_as_evidence() -> None:
    peer = line(framing="none")
    for byte in H + R + b"C|1|I|" + b"x" * 70:  # no silence: the timer strikes in the middle of a record
        peer.send(bytes([byte]))
        peer.now += 0.29 if byte != 13 else 0
    peer.now += 30
    peer.send(b"x")
    assert peer.incomplete == [H + R + b"C|1|I|" + b"x" * 71]


def test_a_connection_closed_in_a_text_without_frames_keeps_what_is_whole() -> None:
    receiver = AstmReceiver(AstmOptions(framing="none"))
    (held,) = receiver.receive(MESSAGE + MESSAGE[:-1], 0.0)
    assert held.completes == (MESSAGE,)
    events = receiver.closed()
    assert [event.completes for event in events] == [(MESSAGE,), (MESSAGE[:-1],), ()]


def test_a_connection_closed_behind_a_bad_frame_still_names_it() -> None:
    receiver = AstmReceiver(AstmOptions(acks="none"))
    receiver.receive(ENQ + wire_frame(1, MESSAGE) + wire_frame(2, MESSAGE).replace(b"5.4", b"5.5") + EOT, 0.0)
    first, fault, end = receiver.closed()
    assert (first.completes, fault.kind, end.cause) == ((MESSAGE,), "bad-checksum", "eot")
    assert end.incomplete == MESSAGE.replace(b"5.4", b"5.5")


def test_the_link_has_no_answers_of_its_own_to_wrap() -> None:
    assert AstmReceiver().wrap(b"anything") == b""


# -- records without CR --------------------------------------------------------------------------------------------

SYSMEX = [
    rb"H|\^&|||CS-2500^01-70^21768^^^LAB^BV1||||||||E1394-97",
    b"P|1||||^Asha^Rao",
    b"O|1||000000^02^     6550049260^B^||R||||||N",
    b"R|1|^^^041^PT INN~sec^100.00^A^^^|  10.6|sec||N||||||20240919152929",
    b"L|1|N",
]
WITH_CR = b"".join(record + b"\r" for record in SYSMEX)


def test_the_etx_of_a_frame_ends_a_record_where_the_source_says_so() -> None:
    frames = [wire_frame(number, record) for number, record in enumerate(SYSMEX, 1)]
    peer = line(record_end="etx")
    assert [peer.send(sent) for sent in (ENQ, *frames, EOT)] == [ACK] * 6 + [b""]
    assert (peer.messages, peer.incomplete, peer.faults) == ([WITH_CR], [], [])
    assert assemble(frames, AstmOptions(record_end="etx")).completes == (WITH_CR,)  # and after a crash
    unsaid = line()
    assert [unsaid.send(sent) for sent in (ENQ, *frames[:2], EOT)] == [ACK, ACK, NAK, b""]
    assert (unsaid.messages, unsaid.incomplete, unsaid.faults) == ([], [SYSMEX[0]], ["bad-layout"])


@given(st.data())
def test_a_record_without_cr_goes_on_behind_etb_and_ends_with_etx(data: st.DataObject) -> None:
    """However records are cut into frames: the message is whole, or the frame that could be two records is refused."""
    pieces: list[tuple[bytes, bool]] = []
    for record in SYSMEX:
        cuts = sorted(data.draw(st.sets(st.integers(1, len(record) - 1), max_size=3)))
        ends = [*cuts, len(record)]
        pieces += [(record[start:end], end == len(record)) for start, end in zip([0, *cuts], ends, strict=True)]
    peer = line(record_end="etx")
    peer.send(ENQ)
    for number, (text, last) in enumerate(pieces, 1):
        if peer.send(wire_frame(number % 8, text, "ETX" if last else "ETB")) == NAK:
            assert not text.lstrip()[1:2].isalnum()  # as a record begins, whatever its delimiter, or its letter
            return
    peer.send(EOT)
    assert (peer.messages, peer.incomplete) == ([WITH_CR], [])


@pytest.mark.parametrize("behind", [SYSMEX[3], SYSMEX[0], b"r|2", b" P|2||Z", b"\0P|2", b"P||Z", b"P|"])
def test_a_record_that_begins_where_another_has_no_end_is_refused(behind: bytes) -> None:
    """Joined they would be one record, and a result would be hidden in the order before it."""
    peer = line(record_end="etx")
    assert peer.send(ENQ) == ACK
    assert peer.send(wire_frame(1, SYSMEX[0])) == ACK
    assert peer.send(wire_frame(2, SYSMEX[2], "ETB")) == ACK
    assert peer.send(wire_frame(3, behind)) == NAK
    peer.send(EOT)
    assert peer.messages == []
    assert peer.faults == ["bad-layout"]


def test_a_frame_that_is_no_record_behind_the_end_of_one_is_refused() -> None:
    """A sender that ends each frame with ETX, wherever it cuts: 10.6 would be read as 10."""
    peer = line(record_end="etx")
    peer.send(ENQ)
    for number, text in enumerate([*SYSMEX[:3], b"R|1|^^^041^PT|10"], 1):
        assert peer.send(wire_frame(number, text)) == ACK
    assert peer.send(wire_frame(5, b".6|sec")) == NAK
    peer.send(EOT)
    assert (peer.messages, peer.faults) == ([], ["bad-layout"])


def test_the_letter_alone_of_a_record_behind_etb_is_refused() -> None:
    peer = line(record_end="etx")
    peer.send(ENQ)
    peer.send(wire_frame(1, SYSMEX[0]))
    assert peer.send(wire_frame(2, SYSMEX[3], "ETB")) == ACK
    assert peer.send(wire_frame(3, b"P", "ETB")) == NAK
    assert peer.send(wire_frame(3, b"F")) == ACK  # the last letter of the record


def test_a_cr_at_the_beginning_of_a_frame_ends_the_record_before() -> None:
    peer = line(record_end="etx")
    peer.send(ENQ)
    for number, record in enumerate(SYSMEX, 1):
        assert peer.send(wire_frame(number, record if number == 1 else b"\r" + record, "ETB")) == ACK
    assert peer.send(wire_frame(6, b"\r")) == ACK
    assert peer.messages == [WITH_CR]


def test_a_record_with_cr_needs_no_etx_besides() -> None:
    peer = line(record_end="etx")
    ends = ["ETB", "ETB", "ETX", "ETB", "ETX"]
    texts = [record + (b"\r" if end == "ETB" else b"") for record, end in zip(SYSMEX, ends, strict=True)]
    peer.send(ENQ)
    for number, (text, end) in enumerate(zip(texts, ends, strict=True), 1):
        assert peer.send(wire_frame(number, text, end)) == ACK
    assert peer.messages == [WITH_CR]


@pytest.mark.parametrize("acks", ["session", "none"])
def test_the_message_behind_a_record_whose_end_was_lost_is_taken_where_nothing_is_sent_again(acks: str) -> None:
    peer = line(record_end="etx", acks=acks, frame_numbers="ignore")
    peer.send(ENQ)
    texts = [(SYSMEX[0], "ETX"), (b"R|1|^^^041^PT|10", "ETB"), *((record, "ETX") for record in SYSMEX)]
    for number, (text, end) in enumerate(texts, 1):
        peer.send(wire_frame(number % 8, text, end))
    peer.send(EOT)
    assert peer.messages == [WITH_CR]
    assert peer.incomplete == [SYSMEX[0] + b"\rR|1|^^^041^PT|10"]


@pytest.mark.parametrize(
    "frames",
    [
        [(b"R|1|^^^041^PT|10", "ETX"), (b".6|sec", "ETX")],  # as taken with record_end: cr
        [(SYSMEX[3], "ETB"), (b"P|2||Z", "ETX")],
    ],
)
def test_frames_taken_under_another_setting_give_no_record_that_was_never_sent(frames: list[tuple[bytes, str]]) -> None:
    sent = [*((record, "ETX") for record in SYSMEX[:3]), *frames, (SYSMEX[4], "ETX")]
    stored = [wire_frame(number, text, end) for number, (text, end) in enumerate(sent, 1)]
    found = assemble(stored, AstmOptions(record_end="etx"))
    assert found.completes == ()
    assert frames[0][0] in found.incomplete
    assert SYSMEX[4] in found.incomplete


@pytest.mark.parametrize(
    "begins",
    [b"P|2\r", b"P|2||Z\r", b" P||\r", b"P| 2||Z\r", b"O|2|S2\r", b"R|2|^^^NA\r", b"R|02 |^^^NA\r", b"R||^^^NA\r", H],
)
def test_a_record_is_not_joined_with_one_that_lacks_its_cr(begins: bytes) -> None:
    """Joined, the results behind another patient's record would be the first one's."""
    frames = [wire_frame(1, H), wire_frame(2, P), wire_frame(3, R[:-1]), wire_frame(4, begins)]
    peer = line()
    assert [peer.send(sent) for sent in (ENQ, *frames)] == [ACK] * 4 + [NAK]
    peer.send(EOT)
    assert (peer.messages, peer.faults) == ([], ["bad-layout"])
    rest = [wire_frame(5, O), wire_frame(6, L)]
    next_one = [H + O + L] if begins == H else []
    assert list(assemble([*frames, *rest]).completes) == next_one  # after a start with another setting
    lost = line(acks="none")
    for sent in (ENQ, *frames, *rest, EOT):
        lost.send(sent)
    assert lost.messages == next_one


@pytest.mark.parametrize(
    ("end", "begin"), [(b"", b"\r"), (b"", b"\n"), (b"", b"\0\r"), (b"\r\0", b""), (b"\r ", b""), (b"\n\0", b"")]
)
def test_a_line_end_ends_its_record_on_either_side_of_the_etx(end: bytes, begin: bytes) -> None:
    records = [H, P, O, R, L]
    frames = [wire_frame(1, H[:-1] + end)]
    frames += [wire_frame(number, begin + record[:-1] + end) for number, record in enumerate(records[1:], 2)]
    peer = line()
    assert [peer.send(sent) for sent in (ENQ, *frames, EOT)] == [ACK] * 6 + [b""]
    assert (len(peer.messages), peer.incomplete, peer.faults) == (1, [], [])
    assert [one.strip(b"\0 ") for one in peer.messages[0].splitlines() if one.strip(b"\0 ")] == [
        one[:-1] for one in records
    ]


@pytest.mark.parametrize("blanks", [1, 64, 65, 200])
def test_blanks_are_no_line_end(blanks: int) -> None:
    frames = [wire_frame(1, H + P + O + R[:-1] + b" " * blanks), wire_frame(2, b"R|2|^^^NA\r")]
    assert [line_.send(sent) for line_ in [line()] for sent in (ENQ, *frames)] == [ACK, ACK, NAK]


def test_a_record_that_its_sender_cuts_with_etx_is_joined() -> None:
    frames = [wire_frame(1, H + P + O + R[:20]), wire_frame(2, R[20:] + L)]
    peer = line()
    assert [peer.send(sent) for sent in (ENQ, *frames)] == [ACK] * 3
    assert peer.messages == [MESSAGE]
