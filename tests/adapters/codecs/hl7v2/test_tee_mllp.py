"""What a tee makes of an MLLP connection: each message with what was answered to it."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.hl7v2 import tee as tee_mllp
from adapters.codecs.hl7v2.mllp import MllpOptions
from adapters.codecs.hl7v2.tee import ANSWER_WITHIN_S, MllpListener
from engine.model.link_events import Answered, Direction, LinkFault, OverheardMessage, TeeEvent
from tests.support.channels import block, hl7
from tests.support.mllp_peer import ack

ANALYZER, MIDDLEWARE = Direction.ANALYZER, Direction.MIDDLEWARE
Said = tuple[Direction, bytes]


def order(control_id: str) -> bytes:
    return hl7(control_id).replace(b"ORU^R01", b"ORM^O01")


def hear(listener: MllpListener, *said: Said, now: float = 1.0) -> list[TeeEvent]:
    return [event for way, data in said for event in listener.hear(way, data, now)]


def test_a_message_is_heard_with_its_answer() -> None:
    listener = MllpListener()
    assert hear(listener, (ANALYZER, block(hl7("1")))) == []
    assert hear(listener, (MIDDLEWARE, ack("AA", "1"))) == [
        OverheardMessage(ANALYZER, hl7("1"), answered=Answered.ACCEPTED)
    ]


def test_a_refusal_is_noted() -> None:
    (heard,) = hear(MllpListener(), (ANALYZER, block(hl7("1"))), (MIDDLEWARE, ack("AE", "1")))
    assert heard == OverheardMessage(ANALYZER, hl7("1"), answered=Answered.REFUSED, notes=("middleware answered AE",))


def test_messages_keep_their_order_whatever_is_answered_first() -> None:
    listener = MllpListener()
    hear(listener, *((ANALYZER, block(hl7(name))) for name in "123"))
    events = hear(listener, (MIDDLEWARE, ack("AA", "2")))
    assert [(e.payload, e.answered) for e in events if isinstance(e, OverheardMessage)] == [
        (hl7("1"), Answered.NOT),
        (hl7("2"), Answered.ACCEPTED),
    ]
    (late,) = hear(listener, (MIDDLEWARE, ack("AA", "1")))
    assert isinstance(late, LinkFault)
    assert late.kind == "unmatched-answer"


def test_an_accept_and_an_application_acknowledgement_answer_one_message() -> None:
    events = hear(
        MllpListener(),
        (ANALYZER, block(hl7("1"))),
        (MIDDLEWARE, ack("CA", "1")),
        (MIDDLEWARE, ack("AA", "1")),
    )
    assert events == [OverheardMessage(ANALYZER, hl7("1"), answered=Answered.ACCEPTED)]


def test_both_directions_at_once() -> None:
    events = hear(
        MllpListener(),
        (ANALYZER, block(hl7("1"))),
        (MIDDLEWARE, block(order("1"))),
        (MIDDLEWARE, ack("AA", "1")),
        (ANALYZER, ack("AR", "1")),
    )
    assert [(e.way, e.payload, e.answered) for e in events if isinstance(e, OverheardMessage)] == [
        (ANALYZER, hl7("1"), Answered.ACCEPTED),
        (MIDDLEWARE, order("1"), Answered.REFUSED),
    ]


def test_an_answer_to_a_query_is_a_message_and_answers_it() -> None:
    reply = b"MSH|^~\\&|R|R|||2026||RSP^K11|9|P|2.5\rMSA|AA|1\rQAK|1|OK\rPID|1\r"
    events = hear(MllpListener(), (ANALYZER, block(hl7("1"))), (MIDDLEWARE, block(reply)), (ANALYZER, ack("AA", "9")))
    assert [(e.way, e.payload) for e in events if isinstance(e, OverheardMessage)] == [
        (ANALYZER, hl7("1")),
        (MIDDLEWARE, reply),
    ]


def test_what_nobody_answers_is_heard_all_the_same() -> None:
    listener = MllpListener()
    hear(listener, (ANALYZER, block(hl7("1"))))
    assert listener.deadline() == 1.0 + ANSWER_WITHIN_S
    assert listener.tick(1.0 + ANSWER_WITHIN_S - 0.1) == []
    (heard,) = listener.tick(1.0 + ANSWER_WITHIN_S)
    assert heard == OverheardMessage(ANALYZER, hl7("1"), notes=("middleware was not heard to answer",))
    hear(listener, (ANALYZER, block(hl7("2"))))
    assert [event.payload for event in listener.closed() if isinstance(event, OverheardMessage)] == [hl7("2")]
    assert listener.held == 0


def test_a_sender_that_never_waits_holds_no_memory() -> None:
    listener = MllpListener()
    said = [(ANALYZER, block(hl7(str(n)))) for n in range(tee_mllp.WAITING_MESSAGES + 10)]
    assert len(hear(listener, *said)) == 10


def test_a_block_that_is_cut_off_is_evidence() -> None:
    listener = MllpListener()
    hear(listener, (ANALYZER, block(hl7("1"))[:-2]))
    assert listener.receiving
    assert listener.closed() == [OverheardMessage(ANALYZER, hl7("1"), whole=False)]


def test_after_a_fault_that_would_cost_us_the_connection_the_listening_goes_on() -> None:
    listener = MllpListener(MllpOptions(max_message=200))
    faults = hear(listener, (ANALYZER, b"\x0b" + b"x" * 5000))
    assert [event.kind for event in faults if isinstance(event, LinkFault)] == ["too-large"]
    events = hear(listener, (ANALYZER, block(hl7("1"))), (MIDDLEWARE, ack("AA", "1")))
    assert OverheardMessage(ANALYZER, hl7("1"), answered=Answered.ACCEPTED) in events


@given(st.lists(st.integers(1, 30), min_size=1))
def test_any_chunking_gives_the_same_messages(sizes: list[int]) -> None:
    listener = MllpListener()
    wire = b"".join(block(hl7(str(n))) for n in range(5))
    at = turn = 0
    while at < len(wire):
        size = sizes[turn % len(sizes)]
        hear(listener, (ANALYZER, wire[at : at + size]))
        at, turn = at + size, turn + 1
    events = hear(listener, *((MIDDLEWARE, ack("AA", str(n))) for n in range(5)))
    assert [event.payload for event in events if isinstance(event, OverheardMessage)] == [hl7(str(n)) for n in range(5)]
