"""A line in both directions: whose turn it is, byte by byte, and that receiving is as without sending."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.astm.sender import SenderOptions
from adapters.codecs.astm.session import AstmOptions
from adapters.codecs.astm.two_way import AstmTwoWayLink, links
from engine.model.link_events import Frame, LinkEvent, NotSent, SendEnd, Sent, SessionEnd
from tests.support.astm_peer import ACK, ENQ, EOT, NAK, one_record_a_frame, session, wire_frame
from tests.support.examples import examples

ANSWER = b"H|\\^&|||LIS\rP|1\rO|1|S1||^^^GLU\rL|1|F\r"
OTHER = b"H|\\^&|||LIS\rP|1\rO|1|S2||^^^GLU\rL|1|F\r"
FRAMES = one_record_a_frame(ANSWER)
QUESTION = b"H|\\^&|||DEMO\rQ|1|^S1||ALL||||||||O\rL|1|N\r"
ASKING = one_record_a_frame(QUESTION)


@dataclass
class Host:
    """A link and the caller that it needs; each frame is durable at once unless ``holds``."""

    link: AstmTwoWayLink = field(default_factory=AstmTwoWayLink)
    now: float = 100.0
    events: list[LinkEvent] = field(default_factory=list)
    ends: list[SendEnd] = field(default_factory=list)
    holds: bool = False

    def hear(self, data: bytes) -> bytes:
        """Give it what comes, and return what it says."""
        said = b""
        events = self.link.receive(data, self.now)
        while True:
            for event in events:
                self.events.append(event)
                if isinstance(event, Frame):
                    if self.holds:
                        return said + self.link.outgoing()
                    self.link.committed(self.now)
            said += self.link.outgoing()
            if not events:
                break
            events = self.link.receive(b"", self.now)
        self.ends += self.link.sends_ended()
        return said

    def offer(self, ticket: int, payload: bytes = ANSWER) -> bytes:
        self.link.offer(ticket, payload, self.now)
        return self.link.outgoing()

    def wait(self, seconds: float) -> bytes:
        """Let time pass, with a tick at each deadline."""
        said = b""
        end = self.now + seconds
        while (due := self.link.deadline()) is not None and due <= end:
            assert due > self.now or not said, "a deadline that does not move"
            self.now = max(due, self.now)
            self.events += self.link.tick(self.now)
            said += self.link.outgoing()
        self.now = end
        self.ends += self.link.sends_ended()
        return said

    @property
    def messages(self) -> list[bytes]:
        return [text for event in self.events if isinstance(event, Frame | SessionEnd) for text in event.completes]


def sending(ticket: int = 1, frames: int = 0) -> Host:
    """A host whose message is on its way: after ``frames`` of it that were acknowledged, the next is out."""
    host = Host()
    assert host.offer(ticket) == ENQ
    for n in range(frames + 1):
        assert host.hear(ACK) == FRAMES[n]
    return host


# -- the usual way -------------------------------------------------------------------------------------------------


def test_a_message_goes_out_in_a_session_of_its_own_and_is_sent_with_its_last_ack() -> None:
    host = sending(7)
    for n in range(1, len(FRAMES)):
        assert host.hear(ACK) == FRAMES[n]
        assert host.ends == []
        assert not host.link.resting
    assert host.link.sending == 1
    assert host.hear(ACK) == EOT
    assert (host.ends, host.link.sending, host.link.resting) == ([Sent(7)], 0, True)
    assert host.link.deadline() is None


def test_nothing_is_sent_inside_the_session_of_the_analyzer_and_the_answer_follows_its_eot_at_once() -> None:
    host = Host()
    assert host.hear(ENQ) == ACK
    assert host.offer(1) == b""
    for frame in ASKING:
        assert host.hear(frame) == ACK
        assert host.wait(14) == b""
    assert host.hear(EOT) == ENQ
    assert host.messages == [QUESTION]
    for n in range(len(FRAMES)):
        assert host.hear(ACK) == FRAMES[n]
    assert host.hear(ACK) == EOT


def test_a_whole_session_in_one_piece_is_heard_before_anything_is_said() -> None:
    host = Host(holds=True)
    host.hear(session(*ASKING))
    assert host.offer(1) == b""
    host.holds = False
    for _ in ASKING:
        host.link.committed(host.now)
        if host.hear(b"").endswith(ENQ):
            break
    assert host.messages == [QUESTION]
    assert host.link.sending == 1


def test_messages_go_one_after_the_other() -> None:
    host = sending(1, frames=len(FRAMES) - 1)
    assert host.offer(2, OTHER) == b""
    assert host.hear(ACK) == EOT + ENQ
    assert host.ends == [Sent(1)]
    for frame in one_record_a_frame(OTHER):
        assert host.hear(ACK) == frame
    assert host.hear(ACK) == EOT
    assert host.ends == [Sent(1), Sent(2)]


def test_an_enq_behind_the_last_ack_goes_before_the_next_message() -> None:
    host = sending(1, frames=len(FRAMES) - 1)
    host.offer(2, OTHER)
    assert host.hear(ACK + ENQ) == EOT + ACK
    for frame in ASKING:
        assert host.hear(frame) == ACK
    assert host.hear(EOT) == ENQ
    assert host.messages == [QUESTION]


def test_a_long_record_is_cut_into_frames_of_240_bytes() -> None:
    record = b"O|1|S1||" + b"\\".join(b"^^^T%d" % n for n in range(60)) + b"\r"
    host = Host()
    host.offer(1, b"H|\\^&\r" + record + b"L|1|F\r")
    assert host.hear(ACK) == wire_frame(1, b"H|\\^&\r")
    assert host.hear(ACK) == wire_frame(2, record[:240], "ETB")
    assert host.hear(ACK) == wire_frame(3, record[240:])


def test_a_text_that_cannot_be_framed_is_refused_and_nothing_waits() -> None:
    host = Host()
    with pytest.raises(ValueError, match="control character 02"):
        host.offer(1, b"H|\\^&|\x02\rL|1\r")
    assert (host.link.sending, host.link.outgoing(), host.link.deadline()) == (0, b"", None)


# -- both want the line --------------------------------------------------------------------------------------------


def test_the_analyzer_wins_contention_and_our_enq_follows_its_session() -> None:
    host = Host()
    assert host.offer(1) == ENQ
    assert host.hear(ENQ) == b""
    assert host.wait(1) == b""
    assert host.hear(ENQ) == ACK
    for frame in ASKING:
        assert host.hear(frame) == ACK
    assert host.hear(EOT) == ENQ
    assert host.hear(ACK) == FRAMES[0]
    assert host.messages == [QUESTION]


def test_after_contention_without_a_session_the_line_rests_for_twenty_seconds() -> None:
    host = Host()
    host.offer(1)
    assert host.hear(ENQ) == b""
    assert host.wait(19.9) == b""
    assert host.wait(0.2) == ENQ


def test_both_enqs_of_the_analyzer_in_one_piece_are_contention_and_a_session() -> None:
    host = Host()
    host.offer(1)
    assert host.hear(ENQ + ENQ) == ACK


def test_contention_with_sessions_between_never_fails_the_message() -> None:
    host = Host()
    assert host.offer(1) == ENQ
    for _ in range(10):
        assert host.hear(ENQ) == b""
        assert host.hear(ENQ) == ACK
        for frame in ASKING:
            host.hear(frame)
        assert host.hear(EOT) == ENQ
    assert host.ends == []


def test_contention_without_sessions_fails_the_message_at_the_sixth_enq() -> None:
    host = Host()
    assert host.offer(1) == ENQ
    for _ in range(5):
        assert host.hear(ENQ) == b""
        assert host.wait(20) == ENQ
    assert host.hear(ENQ) == b""
    assert host.ends == [NotSent(1, "contention")]


def test_eot_for_an_ack_yields_the_line_and_the_whole_message_goes_again() -> None:
    host = sending(1, frames=1)
    assert host.hear(EOT) == EOT
    assert host.hear(ENQ) == ACK
    for frame in ASKING:
        assert host.hear(frame) == ACK
    assert host.hear(EOT) == ENQ
    assert host.hear(ACK) == FRAMES[0]


def test_eot_and_enq_in_one_piece_yield_the_line_too() -> None:
    assert sending(1, frames=1).hear(EOT + ENQ) == EOT + ACK


def test_eot_for_the_last_ack_is_the_ack_and_the_next_message_leaves_the_line_first() -> None:
    host = sending(1, frames=len(FRAMES) - 1)
    host.offer(2, OTHER)
    assert host.hear(EOT) == EOT
    assert host.ends == [Sent(1)]
    assert host.wait(14.9) == b""
    assert host.wait(0.2) == ENQ


def test_an_analyzer_that_refuses_enq_is_asked_again_after_ten_seconds() -> None:
    host = Host()
    host.offer(1)
    for _ in range(5):
        assert host.hear(NAK) == b""
        assert host.wait(10) == ENQ
    assert host.hear(NAK) == b""
    assert host.ends == [NotSent(1, "busy")]


# -- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "maybe"), [(0, False), (len(FRAMES) - 2, False), (len(FRAMES) - 1, True)])
def test_a_frame_without_an_answer_fails_the_message_and_after_the_last_one_it_may_have_come(
    frames: int, maybe: bool
) -> None:
    host = sending(3, frames)
    assert host.wait(15) == EOT
    assert host.ends == [NotSent(3, "no-answer", maybe=maybe)]


@pytest.mark.parametrize(("answer", "maybe"), [(NAK, False), (b"\x07", True)])
def test_the_last_frame_refused_six_times_is_known_to_be_lost_unless_an_answer_was_damaged(
    answer: bytes, maybe: bool
) -> None:
    host = sending(3, len(FRAMES) - 1)
    assert host.hear(answer) == FRAMES[-1]
    for _ in range(4):
        assert host.hear(NAK) == FRAMES[-1]
    assert host.hear(NAK) == EOT
    assert host.ends == [NotSent(3, "rejected", maybe=maybe)]


def test_a_damaged_answer_to_a_frame_before_the_last_one_leaves_no_doubt() -> None:
    host = sending(3, 0)
    assert host.hear(b"\x07") == FRAMES[0]
    for frame in FRAMES[1:]:
        assert host.hear(ACK) == frame
    for _ in range(5):
        assert host.hear(NAK) == FRAMES[-1]
    assert host.hear(NAK) == EOT
    assert host.ends == [NotSent(3, "rejected")]


@pytest.mark.parametrize(("frames", "maybe"), [(1, False), (len(FRAMES) - 1, True)])
def test_a_line_that_is_gone_fails_all_that_waits(frames: int, maybe: bool) -> None:
    host = sending(1, frames)
    host.offer(2, OTHER)
    assert host.link.closed() == []
    assert host.link.sends_ended() == [NotSent(1, "closed", maybe=maybe), NotSent(2, "closed")]
    assert (host.link.sending, host.link.outgoing(), host.link.deadline()) == (0, b"", None)


def test_what_the_analyzer_had_begun_is_evidence_when_the_line_is_gone() -> None:
    host = Host()
    host.hear(ENQ)
    host.hear(ASKING[0])
    host.offer(1)
    assert host.link.closed() == [SessionEnd("closed", (), b"H|\\^&|||DEMO\r")]
    assert host.link.sends_ended() == [NotSent(1, "closed")]


# -- taking a message back -----------------------------------------------------------------------------------------


def test_a_message_that_waits_is_taken_back_without_a_byte() -> None:
    host = Host()
    host.hear(ENQ)
    host.offer(1)
    assert host.link.withdraw(1)
    assert not host.link.withdraw(1)
    assert host.hear(EOT) == b""
    assert (host.link.sending, host.ends) == (0, [])


def test_a_message_that_waits_behind_another_one_is_taken_back() -> None:
    host = sending(1)
    host.offer(2, OTHER)
    assert host.link.withdraw(2)
    assert not host.link.withdraw(1)
    for frame in FRAMES[1:]:
        assert host.hear(ACK) == frame
    assert host.hear(ACK) == EOT
    assert host.ends == [Sent(1)]


def test_a_message_taken_back_in_its_hold_gives_its_place_to_the_next() -> None:
    host = Host()
    host.offer(1)
    host.offer(2, OTHER)
    host.hear(NAK)
    assert host.link.withdraw(1)
    assert host.wait(10) == ENQ
    assert host.hear(ACK) == FRAMES[0]
    assert host.hear(ACK) == FRAMES[1]
    assert host.hear(ACK) == one_record_a_frame(OTHER)[2]


@pytest.mark.parametrize(
    ("heard", "said"), [(ACK, EOT), (NAK, b""), (ENQ, b"")], ids=["acknowledged", "refused", "contended"]
)
def test_a_message_taken_back_behind_its_enq_ends_the_session_without_a_frame(heard: bytes, said: bytes) -> None:
    host = Host()
    host.offer(1)
    assert host.link.withdraw(1)
    assert host.hear(heard) == said
    assert (host.ends, host.link.sending, host.link.deadline()) == ([], 0, None)


def test_a_message_taken_back_behind_its_enq_without_an_answer_ends_with_eot() -> None:
    host = Host()
    host.offer(1)
    assert host.link.withdraw(1)
    assert host.wait(15) == EOT
    assert (host.ends, host.link.sending) == ([], 0)


def test_a_message_taken_back_behind_its_sixth_enq_is_not_reported() -> None:
    host = Host()
    host.offer(1)
    for _ in range(5):
        host.hear(NAK)
        host.wait(10)
    assert host.link.withdraw(1)
    assert host.hear(NAK) == b""
    assert (host.ends, host.link.sending, host.wait(60)) == ([], 0, b"")


def test_a_line_that_is_gone_does_not_report_a_message_taken_back() -> None:
    host = Host()
    host.offer(1)
    assert host.link.withdraw(1)
    host.link.closed()
    assert host.link.sends_ended() == []


# -- what is no session --------------------------------------------------------------------------------------------


def test_a_frame_that_began_outside_a_session_holds_up_a_message_for_a_second_only() -> None:
    host = Host()
    assert host.hear(b"\x021H|\\^&") == b""
    assert host.offer(1) == b""
    assert host.wait(0.9) == b""
    assert host.wait(0.2) == ENQ
    assert host.hear(ACK) == FRAMES[0]


@pytest.mark.parametrize("framing", ["enq-less", "none"])
def test_an_analyzer_that_sends_without_enq_gets_the_line_back(framing: str) -> None:
    host = Host(AstmTwoWayLink(AstmOptions(framing=framing)))
    host.offer(1)
    text = QUESTION if framing == "none" else b"".join(ASKING)
    host.hear(text)
    assert host.messages == [QUESTION]
    assert host.wait(31) == ENQ


def test_an_analyzer_that_waits_for_no_answer_is_heard_amid_our_message() -> None:
    host = Host(AstmTwoWayLink(AstmOptions(framing="enq-less", acks="none")))
    host.offer(1)
    host.hear(ACK)
    assert host.hear(b"".join(ASKING)).startswith(EOT)
    assert host.messages == [QUESTION]
    assert host.ends == []


def test_an_analyzer_that_always_sends_amid_our_message_fails_it() -> None:
    host = Host(AstmTwoWayLink(AstmOptions(acks="none"), SenderOptions(max_attempts=1)))
    host.offer(1)
    for _ in FRAMES:
        host.hear(ACK)
    host.hear(ASKING[0])
    assert host.ends == [NotSent(1, "interrupted", maybe=True)]


def test_a_channel_gives_its_options_to_both_sides() -> None:
    class Source:
        checksum = "ignore"
        frame_limit = 20

    link = links(Source())()
    link.offer(1, b"H|\\^&|||A-NAME-OF-SOME-LENGTH\rL|1\r", 0.0)
    assert link.outgoing() == ENQ
    link.receive(ACK, 0.0)
    assert len(link.outgoing()) == 27


def test_the_rest_of_a_link() -> None:
    link = AstmTwoWayLink()
    assert (link.traced, link.held, link.wrap(b"x"), link.resting, link.stray) == (True, 0, b"", True, 0)
    link.receive(b"x", 0.0)
    assert (link.stray, link.resting) == (1, True)
    link.receive(ENQ, 0.0)
    assert not link.resting
    link.receive(wire_frame(1, b"H|\\^&\r"), 0.0)
    link.failed(0.0)
    assert link.outgoing().endswith(NAK)


# -- receiving is as without sending -------------------------------------------------------------------------------

pieces = st.one_of(
    st.sampled_from([ENQ, EOT, ACK, NAK, *ASKING, *one_record_a_frame(ANSWER), b"\r\n", b"\0", b"\x02", QUESTION]),
    st.binary(max_size=6),
    st.sampled_from([*ASKING]).flatmap(lambda frame: st.integers(0, len(frame)).map(lambda at: frame[:at])),
)
steps = st.lists(
    st.one_of(
        st.lists(pieces, min_size=1, max_size=6).map(b"".join), st.sampled_from([0.0, 0.2, 0.4, 16.0, 31.0]), st.none()
    ),
    max_size=25,
)
options = st.builds(
    AstmOptions,
    framing=st.sampled_from(["e1381", "e1381", "enq-less", "none"]),
    checksum=st.sampled_from(["required", "warn", "ignore"]),
    frame_numbers=st.sampled_from(["strict", "warn"]),
    acks=st.sampled_from(["frame", "frame", "session", "none"]),
    commit=st.sampled_from(["frame", "message"]),
    end=st.sampled_from(["record", "eot"]),
)


@settings(max_examples=examples(300), deadline=None)
@given(options, steps, st.lists(st.booleans(), max_size=40))
def test_where_nothing_is_offered_all_is_as_with_the_receiver_alone(
    how: AstmOptions, steps: list[bytes | float | None], durable: list[bool]
) -> None:
    def run(link: AstmReceiver | AstmTwoWayLink) -> list[object]:
        seen: list[object] = []
        now, store = 0.0, iter(durable)

        def take(events: list[LinkEvent]) -> None:
            while events:
                for event in events:
                    seen.append(event)
                    if isinstance(event, Frame):
                        (link.committed if next(store, True) else link.failed)(now)
                seen.append(link.outgoing())
                events = link.receive(b"", now)
            seen.append(link.outgoing())

        for step in steps:
            if isinstance(step, bytes):
                take(link.receive(step, now))
            else:
                now = max(now, link.deadline() or now) if step is None else now + step
                take(link.tick(now))
            seen += [link.deadline(), link.held, link.resting, link.stray]
        seen += link.closed()
        return seen

    assert run(AstmTwoWayLink(how)) == run(AstmReceiver(how))
