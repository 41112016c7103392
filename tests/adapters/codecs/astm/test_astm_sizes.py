"""Large and odd content on an E1381 link: the largest frame, a session without end, NULs, a line of seven bits."""

import tracemalloc

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.astm.sender import AstmSender, SenderOptions, Sent, frames_of
from adapters.codecs.astm.session import AstmOptions
from engine.model.link_events import Frame, LinkFault
from engine.model.message import FormatOptions
from tests.support.astm_host import StrictHost
from tests.support.astm_peer import ACK, ENQ, EOT, NAK, Line, session, wire_frame

H, L = b"H|\\^&|||MADE-UP\r", b"L|1|N\r"
LARGEST_TEXT = 63_993  # with the seven bytes around it the 64,000 of the 2002 generation
MIB = 1024 * 1024


def text_of(size: int) -> bytes:
    return H + b"M|1|" + b"x" * (size - len(H) - len(L) - 5) + b"\r" + L


@pytest.mark.parametrize("chunk", [64_100, 1460, 1])
def test_the_largest_frame_is_taken_however_it_comes(chunk: int) -> None:
    line = Line(AstmReceiver())
    text = text_of(LARGEST_TEXT)
    assert line.send(session(wire_frame(1, text)), chunk) == ACK + ACK
    assert line.messages == [text]


def test_one_that_is_larger_is_refused_and_costs_no_memory() -> None:
    line = Line(AstmReceiver())
    assert line.send(ENQ + wire_frame(1, text_of(64_100))) == ACK + NAK
    assert line.receiver.held < 1000
    assert line.send(wire_frame(1, H + L) + EOT) == ACK
    assert line.messages == [H + L]


def test_frames_of_any_size_that_a_sender_makes_are_taken_by_both_receivers() -> None:
    for limit in (1, 240, 5_000, LARGEST_TEXT):
        text = text_of(LARGEST_TEXT) if limit > 240 else text_of(600)
        wire = session(*frames_of(text, limit, "packed"))
        line, host = Line(AstmReceiver()), StrictHost()
        line.send(wire)
        host.take(wire)
        assert line.messages == host.sessions == [text]


@pytest.mark.parametrize("commit", ["frame", "message"])
def test_a_session_of_100_mb_takes_no_memory_to_speak_of(commit: str) -> None:
    """Message after message, without EOT between: what is acknowledged is the journal's, and is forgotten here."""
    record = b"M|1|" + b"x" * 60_000 + b"\r"
    message = [H, *[record] * 9, L]
    frames = {(number, text): wire_frame(number, text) for number in range(8) for text in message}
    receiver = AstmReceiver(AstmOptions(commit=commit))
    receiver.receive(ENQ, 0.0)
    taken = messages = number = 0
    tracemalloc.start()
    try:
        while taken < 100 * MIB:
            for text in message:
                number += 1
                taken += len(text)
                for event in receiver.receive(frames[number % 8, text], 0.0):
                    assert isinstance(event, Frame)
                    messages += len(event.completes)
                    receiver.committed(0.0)
                assert receiver.outgoing()[-1:] == ACK
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert messages == number // len(message)
    assert peak < 4 * MIB  # one message, and what is made of it


def test_a_message_that_never_ends_is_bounded() -> None:
    receiver = AstmReceiver(AstmOptions(max_message=MIB))
    receiver.receive(ENQ + wire_frame(1, H), 0.0)
    receiver.committed(0.0)
    receiver.outgoing()
    record, number = b"M|1|" + b"x" * 60_000 + b"\r", 2
    while isinstance((event := receiver.receive(wire_frame(number % 8, record), 0.0)[0]), Frame):
        receiver.committed(0.0)
        assert receiver.outgoing() == ACK
        number += 1
    assert isinstance(event, LinkFault)
    assert event.kind == "too-large"
    assert receiver.outgoing() == NAK
    assert receiver.held <= MIB


def test_nul_between_frames_is_skipped_and_in_a_text_is_text() -> None:
    line = Line(AstmReceiver())
    text = H + b"C|1|I|a\x00b\r" + L
    line.send(b"\x00\x00" + ENQ + b"\x00" + wire_frame(1, text) + b"\x00\x00" + EOT + b"\x00")
    assert line.messages == [text]
    assert line.answers == ACK * 2


@pytest.mark.parametrize(
    "letters", ["é".encode("latin-1"), "µ".encode("latin-1"), "Ж".encode("koi8-r"), "é".encode(), "süß".encode()]
)
def test_letters_of_eight_bits_on_a_line_of_seven(letters: bytes) -> None:
    """The line cuts off the eighth bit of the text, and the sum was taken over all eight."""
    text = H + b"P|1|||4711|" + letters + b"\r" + L
    seven = bytes(byte & 0x7F for byte in wire_frame(1, text))
    line = Line(AstmReceiver())
    high = sum(byte > 0x7F for byte in text)
    answers = line.send(ENQ + seven)
    # An even number of them adds a multiple of 256 to the sum, which is eight bits only: that cannot be seen.
    assert answers == ACK + (NAK if high % 2 else ACK)
    if high % 2:
        assert line.messages == []
        assert line.faults == ["bad-checksum"]


def test_records_of_unknown_type_are_kept() -> None:
    text = H + b"P|1\rO|1|S1||^^^GLU\rZ|1|own^record\rR|1|^^^GLU|5.4|mmol/L\rX|7|more\r" + L
    sender, host = AstmSender(SenderOptions(role="instrument")), StrictHost()
    sender.offer(text, 0.0)
    events: list[object] = []
    while not events:
        events = list(sender.receive(host.take(sender.outgoing()), 0.0))
    host.take(sender.outgoing())
    assert events == [Sent(text)]
    parsed = astm_records.parse(host.sessions[0], FormatOptions())
    assert [segment.name for segment in parsed.segments] == ["H", "P", "O", "Z", "R", "X", "L"]
    assert "own^record" in parsed.segments[3].fields


def test_two_lines_never_mix() -> None:
    """Each connection has a link of its own: whatever the order of their bytes, each gives its own messages."""
    lines = [Line(AstmReceiver()) for _ in range(2)]
    texts = [H + b"O|1|S%d\r" % number + b"R|1|^^^GLU|%d\r" % number + L for number in (1, 2)]
    wires = [session(*frames_of(text, 7)) for text in texts]
    for at in range(max(map(len, wires))):
        for line, wire in zip(lines, wires, strict=True):
            line.send(wire[at : at + 1])
    assert [line.messages for line in lines] == [[text] for text in texts]
