"""What a tee makes of an ASTM line: a frame counts when the other side has acknowledged it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.astm.session import AstmOptions
from adapters.codecs.astm.tee import AstmListener
from engine.model.link_events import Answered, Direction, LinkFault, OverheardMessage, TeeEvent
from tests.support.astm_peer import ACK, ENQ, EOT, NAK, cut_every, one_record_a_frame, wire_frame

ANALYZER, MIDDLEWARE = Direction.ANALYZER, Direction.MIDDLEWARE
RESULT = b"H|\\^&\rP|1\rO|1|S1\rR|1|^^^GLU|5.4\rL|1|N\r"
ORDER = b"H|\\^&\rP|1\rO|1|S1||^^^GLU\rL|1|F\r"
Said = tuple[Direction, bytes]


def dialogue(frames: list[bytes], sender: Direction = ANALYZER) -> list[Said]:
    """A session as it should be, as (who, what)."""
    said = [(sender, ENQ), (sender.other, ACK)]
    for frame in frames:
        said += [(sender, frame), (sender.other, ACK)]
    return [*said, (sender, EOT)]


def heard_of(said: list[Said], listener: AstmListener | None = None, *, close: bool = True) -> list[TeeEvent]:
    listener = listener or AstmListener()
    events: list[TeeEvent] = []
    for way, data in said:
        events += listener.hear(way, data, 1.0)
    return events + (listener.closed() if close else [])


def texts(events: list[TeeEvent]) -> list[tuple[Direction, bytes]]:
    return [(event.way, event.payload) for event in events if isinstance(event, OverheardMessage) and event.whole]


def evidence(events: list[TeeEvent]) -> list[OverheardMessage]:
    return [event for event in events if isinstance(event, OverheardMessage) and not event.whole]


def test_a_message_is_heard_once_its_last_frame_is_acknowledged() -> None:
    listener = AstmListener()
    said = dialogue(one_record_a_frame(RESULT))
    assert heard_of(said[:-2], listener, close=False) == []
    assert listener.receiving
    (heard,) = heard_of(said[-2:], listener)
    assert heard == OverheardMessage(ANALYZER, RESULT, answered=Answered.ACCEPTED)
    assert not listener.receiving


def test_a_frame_that_was_refused_and_sent_again_is_one() -> None:
    frames = one_record_a_frame(RESULT)
    said = dialogue(frames)
    at = said.index((ANALYZER, frames[2]))
    said[at:at] = [(ANALYZER, frames[2]), (MIDDLEWARE, NAK)]
    (heard,) = heard_of(said)
    assert heard == OverheardMessage(
        ANALYZER, RESULT, answered=Answered.ACCEPTED, notes=("middleware answered NAK before ACK",)
    )


def test_a_frame_whose_ack_was_lost_behind_us_is_one() -> None:
    frames = one_record_a_frame(RESULT)
    said = dialogue(frames)
    at = said.index((ANALYZER, frames[3]))
    said[at:at] = [(ANALYZER, frames[3]), (MIDDLEWARE, ACK)]
    assert texts(heard_of(said)) == [(ANALYZER, RESULT)]


def test_what_the_middleware_refused_to_the_end_is_evidence() -> None:
    frame = wire_frame(1, RESULT)
    said = [(ANALYZER, ENQ), (MIDDLEWARE, ACK), *[(ANALYZER, frame), (MIDDLEWARE, NAK)] * 6, (ANALYZER, EOT)]
    (heard,) = heard_of(said)
    assert heard == OverheardMessage(
        ANALYZER, RESULT, whole=False, answered=Answered.REFUSED, notes=("middleware answered NAK",)
    )


def test_what_was_refused_in_the_middle_is_evidence_with_what_came_before() -> None:
    frames = one_record_a_frame(RESULT)
    said = [*dialogue(frames[:2])[:-1], (ANALYZER, frames[2]), (MIDDLEWARE, NAK), (ANALYZER, EOT)]
    (heard,) = evidence(heard_of(said))
    assert heard.payload == b"H|\\^&\rP|1\rO|1|S1\r"
    assert heard.answered is Answered.REFUSED


def test_an_end_that_nobody_acknowledged_makes_no_message() -> None:
    frames = one_record_a_frame(RESULT)
    said = dialogue(frames)[:-2]  # the last frame, and then nothing: the middleware is gone
    events = heard_of(said)
    assert texts(events) == []
    assert [(heard.payload, heard.answered) for heard in evidence(events)] == [(RESULT, Answered.NOT)]


@pytest.mark.parametrize("ends", [ENQ, EOT])
def test_a_late_answer_is_no_answer(ends: bytes) -> None:
    """The sender has given up waiting: an ACK now is somebody else's."""
    frames = one_record_a_frame(RESULT)
    said = [*dialogue(frames)[:-2], (ANALYZER, ends), (MIDDLEWARE, ACK)]
    assert texts(heard_of(said)) == []


def test_a_receiver_that_interrupts_with_eot_has_taken_the_frame() -> None:
    frames = one_record_a_frame(RESULT)
    said = [*dialogue(frames)[:-2], (MIDDLEWARE, EOT), (ANALYZER, EOT)]
    assert texts(heard_of(said)) == [(ANALYZER, RESULT)]


def test_both_sides_are_heard_one_after_the_other() -> None:
    query = b"H|\\^&\rQ|1|^S1||ALL\rL|1|N\r"
    said = (
        dialogue(one_record_a_frame(query))
        + dialogue(one_record_a_frame(ORDER), MIDDLEWARE)
        + dialogue(cut_every(RESULT, 7))
    )
    assert texts(heard_of(said)) == [(ANALYZER, query), (MIDDLEWARE, ORDER), (ANALYZER, RESULT)]


def test_contention_is_settled_by_who_goes_on() -> None:
    said = [(ANALYZER, ENQ), (MIDDLEWARE, ENQ), *dialogue(one_record_a_frame(RESULT))]
    said += dialogue(one_record_a_frame(ORDER), MIDDLEWARE)
    assert texts(heard_of(said)) == [(ANALYZER, RESULT), (MIDDLEWARE, ORDER)]


def test_an_enq_that_is_refused_is_silent() -> None:
    assert heard_of([(ANALYZER, ENQ), (MIDDLEWARE, NAK)] * 3 + dialogue([])) == []


def test_an_answer_ends_a_frame_that_has_no_end_of_line() -> None:
    """Some analyzers send neither CR nor LF; the middleware's ACK comes before the line has been silent for long."""
    frames = [frame[:-2] for frame in one_record_a_frame(RESULT)]
    assert texts(heard_of(dialogue(frames))) == [(ANALYZER, RESULT)]


def test_noise_between_frames_hides_no_answer() -> None:
    said = dialogue(one_record_a_frame(RESULT))
    said[1:1] = [(MIDDLEWARE, b"\x02")]  # begins a frame that never ends
    assert texts(heard_of(said)) == [(ANALYZER, RESULT)]


def test_the_channels_own_rules_decide_as_they_would_without_a_middleware() -> None:
    """The middleware takes a wrong checksum. With `checksum: required` LabRelay would not, and says so."""
    frames = [frame[:-4] + b"00\r\n" for frame in one_record_a_frame(RESULT)]
    strict = heard_of(dialogue(frames))
    assert texts(strict) == []
    assert {event.kind for event in strict if isinstance(event, LinkFault)} >= {"bad-checksum"}
    lenient = heard_of(dialogue(frames), AstmListener(AstmOptions(checksum="ignore")))
    assert texts(lenient) == [(ANALYZER, RESULT)]


def test_frames_that_nobody_acknowledges_are_taken_where_the_channel_says_so() -> None:
    frames = one_record_a_frame(RESULT)
    listener = AstmListener(AstmOptions(acks="none"))
    (heard,) = heard_of([(ANALYZER, ENQ + b"".join(frames) + EOT)], listener)
    assert heard == OverheardMessage(ANALYZER, RESULT)


def test_a_sender_that_does_not_wait_is_heard_when_its_frames_are_acknowledged() -> None:
    frames = one_record_a_frame(RESULT)
    said = [(ANALYZER, ENQ), (MIDDLEWARE, ACK), (ANALYZER, b"".join(frames) + EOT)]
    assert texts(heard_of(said, close=False)) == []
    assert texts(heard_of(said + [(MIDDLEWARE, ACK)] * len(frames))) == [(ANALYZER, RESULT)]


def test_a_session_without_an_end_is_over_after_a_time() -> None:
    listener = AstmListener()
    heard_of(dialogue(one_record_a_frame(RESULT)[:2])[:-1], listener, close=False)
    due = listener.deadline()
    assert due is not None
    (fault, heard) = listener.tick(due)
    assert isinstance(fault, LinkFault)
    assert isinstance(heard, OverheardMessage)
    assert (heard.whole, heard.payload) == (False, b"H|\\^&\rP|1\r")


@given(st.lists(st.sampled_from([RESULT, ORDER]), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_any_chunking_and_any_refusals_give_the_same_messages(messages: list[bytes], rng: random.Random) -> None:
    said: list[Said] = []
    expected = []
    for message in messages:
        sender = ANALYZER if message is RESULT else MIDDLEWARE
        expected.append((sender, message))
        said += [(sender, ENQ), (sender.other, ACK)]
        for frame in cut_every(message, rng.randint(3, 40)):
            said += [(sender, frame), (sender.other, NAK)] * rng.choice([0, 0, 0, 1, 3])
            said += [(sender, frame), (sender.other, ACK)] * rng.choice([1, 1, 1, 2])
        said.append((sender, EOT))
    chunks = [(way, data[at : at + 5]) for way, data in said for at in range(0, len(data), 5)]
    assert texts(heard_of(chunks)) == expected


@given(st.lists(st.tuples(st.sampled_from(Direction), st.binary(max_size=12) | st.sampled_from([ENQ, ACK, NAK, EOT]))))
def test_whatever_passes_nothing_is_raised_and_nothing_is_invented(said: list[Said]) -> None:
    listener = AstmListener()
    events = heard_of(said, listener)
    for event in events:
        if isinstance(event, OverheardMessage):
            text = b"".join(data for way, data in said if way is event.way)
            assert all(bytes([byte]) in text for byte in event.payload)
    assert listener.held == 0 or not listener.receiving
