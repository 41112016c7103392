"""Records whose CR a sender leaves out: ETX ends each of them, where the next frame begins one."""

import pytest

from adapters.codecs.astm.capture import read_capture
from adapters.codecs.astm.messages import MessageAssembler, goes_on_in_a_record, holds_header


@pytest.mark.parametrize(
    ("told", "text", "ends"),
    [
        (b"R|1|^^^ABO|", b"O|1||N||F", False),  # the blood group
        (b"R|1|^^^A|5", b"R|2|^^^B|6", True),
        (b"R|1|^^^A|5", b"R|3|^^^B|6", False),
        (b"R|1|^^^A|5", b"C|1|I|x", True),
        (b"R|1|^^^A|5\rC|1|I|x", b"R|2|^^^B|6", True),
        (b"R|1|^^^A|5\rC|1|I|x", b"C|1|I|y", False),
        (b"R|7|^^^A|5", b"O|2|S2", True),
        (b"R|7|^^^A|5", b"O|3|S2", False),
        (b"R|1|^^^A|5", b"L|1|N", True),
        (b"R|1|^^^A|5\r", b"R|2|^^^B|6", False),
        (b"R|1|^^^A|5\r\nC|1|I|x", b"R|2|^^^B|6", True),
        (b"R|1|^^^A|5", b"R^2^^^B^6", False),  # not the delimiter of the message
        (b"R|1|^^^A|5", b"P", False),
    ],
)
def test_only_the_next_record_of_its_kind_ends_one_without_cr(told: bytes, text: bytes, ends: bool) -> None:
    whole = b"H|\\^&|||X\rP|1\rO|1|S1||^^^A\r" + told
    assert goes_on_in_a_record(whole, whole.rfind(b"\r") + 1, b"|", text) is ends


def test_etx_ends_a_record_where_the_next_frame_begins_one() -> None:
    frames = [b"H|\\^&|||X", b"P|1", b"O|1|S1||^^^A", b"R|1|^^^A|5", b".1|g/L", b"R|2|^^^B|R|1", b"L|1|N"]
    assembler = MessageAssembler(max_message=10_000)
    done: list[bytes] = []
    for text in frames:
        taken = assembler.take(text, last=text != b"R|1|^^^A|5")
        done += taken.completes
        assembler.keep(taken)
    records = [b"H|\\^&|||X", b"P|1", b"O|1|S1||^^^A", b"R|1|^^^A|5.1|g/L", b"R|2|^^^B|R|1", b"L|1|N"]
    assert done == [b"\r".join(records)]


HEAD = [b"H|\\^&|||X", b"P|1||P1", b"O|1|T1||^^^X|R"]
LAST = b"L|1|N"


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([*HEAD, b"R|1|^^^A|5", b"R|3|^^^B|7", LAST], id="a number left out"),
        pytest.param([*HEAD, b"R|1|^^^A|5", b"R|1|^^^B|7", LAST], id="one number for all"),
        pytest.param([*HEAD, b"R|1|^^^A|5", b"O|2|T2||^^^X|R", b"R|2|^^^B|7", LAST], id="numbers run on over orders"),
        pytest.param(
            [*HEAD, b"R|1|^^^A|5", b"P|2||P2", b"O|2|T2||^^^X|R", b"R|1|^^^B|7", LAST], id="orders run on over patients"
        ),
        pytest.param([*HEAD, b"R|0|^^^A|5", b"R|1|^^^B|7", LAST], id="results from 0"),
        pytest.param([HEAD[0], b"P|0||P1", HEAD[2], b"R|1|^^^A|5", LAST], id="patients from 0"),
        pytest.param([*HEAD, b"R|1|^^^A|5", b"C|1|I|a", b"C|1|I|b", b"R|2|^^^B|7", LAST], id="comments that are all 1"),
        pytest.param([*HEAD, b"R|1|^^^A|", b"R|2|^^^B|7", LAST], id="a result without value"),
        pytest.param([*HEAD, b"R|1|^^^A|5", b"r|2|^^^B|7", LAST], id="a small letter"),
        pytest.param(
            [*(one + b"\r" for one in HEAD), b"R|1|^^^A|5", b"R|3|^^^B|7\r", LAST], id="one record without CR"
        ),
    ],
)
def test_no_message_is_whole_where_a_frame_may_begin_a_record_or_not(frames: list[bytes]) -> None:
    whole = [*HEAD, b"R|1|^^^A|5", b"R|2|^^^B|7", LAST]
    assembler = MessageAssembler(max_message=10_000)
    done: list[bytes] = []
    for text in [*frames, *whole, *whole]:
        taken = assembler.take(text, last=True)
        done += taken.completes
        assembler.keep(taken)
    assert done == [b"\r".join(whole)] * 2
    completed, aside = assembler.end(complete=True)
    assert not completed
    assert aside.replace(b"\r", b"") == b"".join(frames).replace(b"\r", b"")
    captured = read_capture(b"".join(b"\x021" + text + b"\x03" for text in [*whole, *frames])).messages
    first, *rest = captured
    assert first == b"\r".join(whole) + b"\r"
    assert not [text for text in rest if holds_header(text) and LAST in text]


def test_a_record_of_which_nothing_above_is_known_goes_on() -> None:
    assert not goes_on_in_a_record(b"X|1", 0, b"|", b"P|1")
    far = b"H|\\^&\rR|1|^^^A|5\r" + b"Y|" + b"x" * (1 << 16) + b"\rY|1"
    assert not goes_on_in_a_record(far, far.rfind(b"\r") + 1, b"|", b"R|2|^^^B|6")


@pytest.mark.parametrize("lost", [True, False])
def test_a_message_after_one_that_was_torn_or_cut_off_begins_anew(lost: bool) -> None:
    assembler = MessageAssembler(max_message=10_000)
    for text in [*HEAD, b"R|1|^^^A|5"]:
        assembler.keep(assembler.take(text, last=True))
    if lost:
        assembler.tear()
    else:
        assembler.end(complete=False)
    done: list[bytes] = []
    # A text that a frame has cut off after its fourth field goes on, as in a message whose records all have their CR.
    for text in [b"H|\\^&|||Y\r", b"P|1\r", b"O|1|T2||^^^A\r", b"R|1|^^^A|po", b"sitive\r", b"L|1|N\r"]:
        taken = assembler.take(text, last=True)
        done += taken.completes
        assembler.keep(taken)
    assert done == [b"H|\\^&|||Y\rP|1\rO|1|T2||^^^A\rR|1|^^^A|positive\rL|1|N\r"]
