"""One port, HL7 v2 or ASTM: what comes first decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs import auto_format
from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.astm.session import AstmOptions
from adapters.codecs.auto_link import MAX_NOISE, AutoLink
from adapters.codecs.hl7v2.mllp import MllpLink, MllpOptions
from engine.model.link_events import Block, Frame, LinkEvent, LinkFault, SessionEnd
from tests.support.astm_peer import ACK, ENQ, EOT, one_record_a_frame, session

RECORDS = b"H|\\^&|||XN\rP|1\rO|1|S1\rR|1|^^^WBC|5.1\rL|1|N\r"
SESSION = session(*one_record_a_frame(RECORDS))
MESSAGE = b"MSH|^~\\&|LAB||||20260301||ORU^R01|1|P|2.5\rPID|1\r"
BLOCK = b"\x0b" + MESSAGE + b"\x1c\r"


class Conversation:
    """A link and the caller that it needs; every frame is stored at once."""

    def __init__(self) -> None:
        self.link = AutoLink(
            lambda: MllpLink(MllpOptions(start_without_vt=True)), lambda: AstmReceiver(AstmOptions(framing="enq-less"))
        )
        self.now = 10.0
        self.events: list[LinkEvent] = []
        self.out = b""

    def send(self, data: bytes, size: int = 0) -> "Conversation":
        for at in range(0, len(data), size or max(len(data), 1)):
            events = self.link.receive(data[at : at + (size or len(data))], self.now)
            while events:
                for event in events:
                    self.events.append(event)
                    if isinstance(event, Frame):
                        self.link.committed(self.now)
                self.out += self.link.outgoing()
                events = self.link.receive(b"", self.now)
            self.out += self.link.outgoing()
        return self

    def wait(self, seconds: float) -> "Conversation":
        self.now += seconds
        self.events += self.link.tick(self.now)
        return self

    @property
    def messages(self) -> list[bytes]:
        found: list[bytes] = []
        for event in self.events:
            if isinstance(event, Block):
                found.append(event.payload)
            elif isinstance(event, Frame | SessionEnd):
                found += event.completes
        return found

    @property
    def faults(self) -> list[str]:
        return [event.kind for event in self.events if isinstance(event, LinkFault)]


@pytest.mark.parametrize("size", [0, 1, 2, 7])
@pytest.mark.parametrize("before", [b"", b"\r\n", b"\x00\x04", b"\x06"])
def test_enq_begins_astm(before: bytes, size: int) -> None:
    talk = Conversation().send(before + SESSION, size)

    assert talk.messages == [RECORDS]
    assert talk.out == ACK * 6
    assert talk.faults == []


@pytest.mark.parametrize("size", [0, 1, 2, 7])
@pytest.mark.parametrize("before", [b"", b"\r\n", b"\x00\x04"])
def test_vt_begins_mllp(before: bytes, size: int) -> None:
    talk = Conversation().send(before + BLOCK, size)

    assert talk.messages == [MESSAGE]
    assert talk.link.wrap(b"x") == b"\x0bx\x1c\r"
    assert talk.faults == []


@pytest.mark.parametrize("size", [0, 1, 2])
def test_frames_without_enq_begin_astm(size: int) -> None:
    assert Conversation().send(SESSION[1:-1], size).messages == [RECORDS]


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_bare_h_record_begins_astm(size: int) -> None:
    assert Conversation().send(RECORDS, size).wait(1).messages == [RECORDS]


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_bare_msh_begins_hl7(size: int) -> None:
    assert Conversation().send(MESSAGE + b"\x1c\r", size).messages == [MESSAGE]


def test_a_stray_enq_costs_nothing_once_it_is_over() -> None:
    talk = Conversation().send(ENQ + EOT).send(BLOCK).send(SESSION)

    assert talk.messages == [MESSAGE, RECORDS]


@pytest.mark.parametrize("size", [0, 1, 2, 7])
@pytest.mark.parametrize("block", [BLOCK, BLOCK[1:]])
def test_a_block_that_comes_with_the_end_of_a_session_is_a_block(block: bytes, size: int) -> None:
    talk = Conversation().send(SESSION + block + SESSION + block, size)

    assert talk.messages == [RECORDS, MESSAGE] * 2
    assert talk.faults == []


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_a_stray_enq_without_an_end_keeps_no_block_away(size: int) -> None:
    talk = Conversation().send(ENQ).wait(1.0).send(BLOCK, size).send(ENQ + BLOCK, size).send(SESSION, size)

    assert talk.messages == [MESSAGE, MESSAGE, RECORDS]


def test_a_session_under_way_never_goes_to_the_other_link() -> None:
    """A comment with VT in it, cut at its worst place."""
    frames = one_record_a_frame(b"H|\\^&\rC|1|I|a\x0bMSH|b\rL|1|N\r")

    talk = Conversation().send(session(*frames), 1)

    assert talk.messages == [b"H|\\^&\rC|1|I|a\x0bMSH|b\rL|1|N\r"]


def test_noise_is_reported_without_its_end() -> None:
    talk = Conversation().send(b"\xfe\xf8 hello").send(BLOCK)

    assert talk.faults == ["noise"]
    assert talk.messages == [MESSAGE]


def test_endless_noise_costs_the_connection() -> None:
    talk = Conversation().send(b"\xfe" * (MAX_NOISE + 1)).send(BLOCK)

    assert [event.fatal for event in talk.events if isinstance(event, LinkFault)] == [True]
    assert talk.messages == []


@given(st.binary(max_size=60), st.integers(1, 9))
def test_nothing_that_comes_breaks_it(data: bytes, size: int) -> None:
    talk = Conversation().send(data, size)

    talk.wait(60)
    talk.link.closed()


@given(st.lists(st.sampled_from([SESSION, BLOCK, ENQ + EOT, b"\r\n"]), max_size=5), st.integers(1, 60))
def test_exchanges_that_follow_each_other_are_all_read(parts: list[bytes], size: int) -> None:
    talk = Conversation().send(b"".join(parts), size)

    wanted = [RECORDS if part == SESSION else MESSAGE for part in parts if part in (SESSION, BLOCK)]
    assert talk.messages == wanted


def test_the_first_segment_or_record_tells_the_format() -> None:
    assert auto_format.format_of(MESSAGE) == "hl7v2"
    assert auto_format.format_of(b"\xef\xbb\xbf\r\n" + MESSAGE) == "hl7v2"
    assert auto_format.format_of(MESSAGE.decode().encode("utf-16")) == "hl7v2"
    assert auto_format.format_of(RECORDS) == "astm"
    assert auto_format.header(MESSAGE).message_type == "ORU^R01"
    assert auto_format.split(RECORDS + RECORDS) == [RECORDS, RECORDS]
