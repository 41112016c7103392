"""A frame that comes whole in one read is looked at in another way than one in pieces: with the same result."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.astm.session import AstmOptions
from tests.support.astm_peer import ENQ, EOT, Line, wire_frame

records = st.one_of(
    st.sampled_from([
        b"H|\\^&|||X\r", b"h|\\^&\r", b"P|1\r", b"R|1|^^^A|5\r", b"R|1|cut", b" in two\r", b"r|2\r", b"Z|9\r", b"5|x\r",
        b"L|1|N\r", b"L|1|N", b"L|1|", b"L", b"  L|1|N\r", b"L|1|N\rH|\\^&\r", b"\r", b"R|1\n", b"R\r\r", b"R|\x00\r",
        b"",
    ]),
    st.binary(max_size=70).map(lambda data: data.translate(None, b"\x02\x03\x04\x05\x17")),
)  # fmt: skip


@st.composite
def transmissions(draw: st.DrawFn) -> list[bytes]:
    """Frames right and wrong, as a sender puts them on the line one at a time."""
    made = [ENQ]
    number = draw(st.integers(0, 2))
    for text in draw(st.lists(records, max_size=12)):
        frame = wire_frame(number % 8, text, draw(st.sampled_from(["ETX", "ETX", "ETB"])))
        match draw(st.integers(0, 12)):
            case 0:
                frame = frame[:-4] + b"00" + frame[-2:]
            case 1:
                frame = frame[:-1]
            case 2:
                frame = frame[:-2]
            case 3:
                frame = frame[:1] + frame[2:]
            case 4:
                made.append(frame)
            case 5:
                frame = frame[:-4] + frame[-4:].lower()
            case 6:
                frame = frame + draw(st.sampled_from([b"\x00", b"\r\n", EOT, b"x"]))
        made.append(frame)
        number += draw(st.sampled_from([1, 1, 1, 1, 0, 2]))
        if draw(st.integers(0, 9)) == 0:
            made += [EOT, ENQ]
            number = 1
    return [*made, EOT]


@pytest.mark.parametrize("commit", ["frame", "message"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"frame_numbers": "warn", "checksum": "warn"},
        {"frame_numbers": "ignore", "checksum": "ignore"},
        {"framing": "enq-less", "end": "eot"},
        {"acks": "none"},
        {"acks": "session"},
        {"max_frame": 40},
    ],
    ids=str,
)
@given(sent=transmissions())
def test_whole_or_byte_by_byte_is_the_same(sent: list[bytes], options: dict[str, object], commit: str) -> None:
    lines = [Line(AstmReceiver(AstmOptions(commit=commit, **options))) for _ in range(2)]  # type: ignore[arg-type]
    for transmission in sent:
        for line, sizes in zip(lines, ((), (1,)), strict=True):
            line.send(transmission, *sizes)
            line.wait(1.0)
    whole, pieces = lines
    assert whole.answers == pieces.answers
    assert whole.events == pieces.events
    assert whole.receiver.stray == pieces.receiver.stray
