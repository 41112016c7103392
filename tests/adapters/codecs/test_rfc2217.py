"""RFC 2217 as a client: what is said, when a line is ready, and that no server can break it."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.rfc2217 import ComPortClient

IAC, DONT, DO, WONT, WILL, SB, SE = b"\xff", b"\xfe", b"\xfd", b"\xfc", b"\xfb", b"\xfa", b"\xf0"
BINARY, ECHO, SGA, COM = b"\x00", b"\x01", b"\x03", b"\x2c"


@dataclass(frozen=True)
class Settings:
    baud: int = 9600
    bytesize: int = 8
    parity: str = "none"
    stopbits: int = 1
    flow: str = "none"


def sub(command: int, value: bytes) -> bytes:
    return IAC + SB + COM + bytes([command]) + value + IAC + SE


def told(baud: int = 9600, bytesize: int = 8, parity: int = 1, stopbits: int = 1) -> bytes:
    """A server's answers to the four settings."""
    return (
        sub(101, baud.to_bytes(4, "big"))
        + sub(102, bytes([bytesize]))
        + sub(103, bytes([parity]))
        + sub(104, bytes([stopbits]))
    )


def ready_line(settings: Settings | None = None) -> ComPortClient:
    line = ComPortClient(settings or Settings())
    line.receive(IAC + DO + COM + told())
    line.outgoing()
    assert line.ready
    return line


def test_it_begins_with_what_it_offers_and_wants() -> None:
    line = ComPortClient(Settings())
    assert line.outgoing() == (
        IAC + WILL + COM + IAC + WILL + BINARY + IAC + DO + BINARY + IAC + WILL + SGA + IAC + DO + SGA
    )
    assert line.outgoing() == b""
    assert not line.ready


def test_settings_go_out_once_the_server_agrees() -> None:
    line = ComPortClient(Settings(baud=19200, bytesize=7, parity="even", stopbits=2, flow="xonxoff"))
    line.outgoing()
    assert line.receive(IAC + DO + COM) == b""
    assert line.outgoing() == (
        sub(1, (19200).to_bytes(4, "big"))
        + sub(2, b"\x07")
        + sub(3, b"\x03")
        + sub(4, b"\x02")
        + sub(5, b"\x02")  # XON/XOFF
        + sub(5, b"\x08")  # DTR on
        + sub(5, b"\x0b")  # RTS on
        + sub(10, b"\x1e")  # tell us of overrun, parity, framing, break
    )


@pytest.mark.parametrize(
    ("flow", "controls"),
    [
        ("none", [1, 8, 11]),
        ("rtscts", [3, 8]),  # RTS is the flow control's
        ("dsrdtr", [19, 18, 11]),  # and so is DTR
    ],
)
def test_flow_control_by_wires_keeps_its_wires(flow: str, controls: list[int]) -> None:
    line = ComPortClient(Settings(flow=flow))
    line.receive(IAC + DO + COM)
    sent = line.outgoing()
    assert [value for value in range(20) if sub(5, bytes([value])) in sent] == sorted(controls)


def test_a_value_that_looks_like_a_command_is_doubled() -> None:
    line = ComPortClient(Settings(baud=255))
    line.receive(IAC + DO + COM)
    assert IAC + SB + COM + b"\x01\x00\x00\x00\xff\xff" + IAC + SE in line.outgoing()
    line.receive(IAC + SB + COM + b"\x65\x00\x00\x00\xff\xff" + IAC + SE)
    assert line.refusal == ""


def test_a_server_that_offers_the_option_itself_is_taken_up() -> None:
    line = ComPortClient(Settings())
    line.outgoing()
    line.receive(IAC + WILL + COM)
    assert line.outgoing().startswith(IAC + DO + COM + IAC + SB)
    line.receive(IAC + DO + COM)  # and agrees to ours afterwards
    assert line.outgoing() == b""
    line.receive(told())
    assert line.ready


def test_the_line_is_ready_when_all_four_settings_are_confirmed() -> None:
    line = ComPortClient(Settings())
    answers = IAC + DO + COM + told()
    for at in range(len(answers) - 1):
        line.receive(answers[at : at + 1])
        assert not line.ready
    line.receive(answers[-1:])
    assert line.ready
    assert line.speaks


@pytest.mark.parametrize(
    ("answers", "refusal"),
    [
        (told(baud=19200), "the server sets baud to 19200, not to 9600"),
        (told(bytesize=7), "the server sets bytesize to 7, not to 8"),
        (told(parity=3), "the server sets parity to even, not to none"),
        (told(stopbits=2), "the server sets stopbits to 2, not to 1"),
        (told(baud=0), "the server sets baud to 0, not to 9600"),
    ],
)
def test_a_server_that_sets_the_line_otherwise_is_not_believed(answers: bytes, refusal: str) -> None:
    line = ComPortClient(Settings())
    line.receive(IAC + DO + COM + answers)
    assert line.refusal == refusal
    assert not line.ready


@pytest.mark.parametrize("baud", [9600, 9615, 9470])
def test_the_speed_may_be_what_the_servers_clock_gives(baud: int) -> None:
    line = ComPortClient(Settings())
    line.receive(IAC + DO + COM + told(baud=baud))
    assert line.ready


def test_a_server_without_the_option_says_so() -> None:
    line = ComPortClient(Settings())
    line.receive(IAC + DONT + COM)
    assert "does not offer RFC 2217" in line.refusal


def test_other_options_are_refused_and_known_ones_agreed_once() -> None:
    line = ComPortClient(Settings())
    line.outgoing()
    line.receive(IAC + WILL + ECHO + IAC + DO + ECHO + IAC + DO + b"\x18")
    assert line.outgoing() == IAC + DONT + ECHO + IAC + WONT + ECHO + IAC + WONT + b"\x18"
    line.receive(IAC + WILL + BINARY + IAC + DO + BINARY)  # answers to what we asked: nothing more to say
    line.receive((IAC + WILL + BINARY) * 5)
    assert line.outgoing() == b""
    line.receive(IAC + WONT + BINARY)
    assert line.outgoing() == IAC + DONT + BINARY
    line.receive((IAC + WONT + BINARY) * 5)
    assert line.outgoing() == b""


def test_the_server_may_stop_us_for_a_while() -> None:
    line = ready_line()
    line.receive(sub(108, b""))
    assert line.suspended
    line.receive(sub(109, b""))
    assert not line.suspended


def test_what_the_server_tells_of_the_line_is_counted() -> None:
    line = ready_line()
    line.receive(sub(106, b"\x08") + sub(106, b"\x0c") + sub(106, b"\x61") + sub(107, b"\x30") + sub(106, b"\x10"))
    assert line.line_errors == {"framing": 2, "parity": 1, "break": 1}
    assert line.errors == 4


def test_commands_between_bytes_of_the_line_leave_no_trace() -> None:
    line = ready_line()
    wire = b"\x021H|" + sub(107, b"\xb0") + b"\xff\xff" + IAC + b"\xf1" + b"|\x03" + IAC + DO + ECHO + b"\r\n"
    assert line.receive(wire) == b"\x021H|\xff|\x03\r\n"


def test_a_subnegotiation_without_end_costs_no_memory() -> None:
    line = ready_line()
    line.receive(IAC + SB + COM + b"\x65")
    for _ in range(100):
        assert line.receive(b"A" * 10_000) == b""
    assert len(line._inside or b"") < 1000
    assert line.receive(IAC + SE + b"again") == b"again"
    assert line.ready


@given(st.binary(max_size=200), st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_bytes_of_the_line_come_through_however_they_are_cut(data: bytes, sizes: list[int]) -> None:
    wire, line, at, turn, came = ready_line().encode(data), ready_line(), 0, 0, b""
    while at < len(wire):
        size = sizes[turn % len(sizes)]
        came += line.receive(wire[at : at + size])
        at, turn = at + size, turn + 1
    assert came == data
    assert line.outgoing() == b""


@given(st.lists(st.binary(max_size=40) | st.sampled_from([IAC, IAC + SB + COM, IAC + SE, IAC + WILL]), max_size=30))
def test_whatever_a_server_sends_we_never_fail_and_never_say_more_than_it_did(chunks: list[bytes]) -> None:
    line = ComPortClient(Settings())
    line.outgoing()
    said = 0
    for chunk in chunks:
        assert len(line.receive(chunk)) <= len(chunk)
        said += len(line.outgoing())
    assert said <= sum(map(len, chunks)) + 120  # the settings, once


@given(st.lists(st.tuples(st.sampled_from([DO, DONT, WILL, WONT]), st.sampled_from([BINARY, ECHO, SGA, COM]))))
def test_two_sides_that_answer_each_other_come_to_an_end(opening: list[tuple[bytes, bytes]]) -> None:
    """Two clients of ours as each other's servers, after any beginning: no loop as RFC 1143 tells of.

    DO and DONT in one breath once kept both saying yes and no for ever.
    """
    one, other = ComPortClient(Settings()), ComPortClient(Settings())
    one.receive(b"".join(IAC + command + option for command, option in opening))
    for _ in range(10):
        to_other, to_one = one.outgoing(), other.outgoing()
        if not to_other and not to_one:
            return
        other.receive(to_other)
        one.receive(to_one)
    pytest.fail("still talking")
