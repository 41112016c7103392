"""Settings of a serial line that its bytes give away; the line is simulated bit by bit."""

import random

import pytest

from engine.diagnostics.lines.look import look
from engine.diagnostics.lines.serial import LineSigns, signs, without_parity
from engine.mapping.trying.capture import CapturedBytes
from tests.support.astm_peer import one_record_a_frame, session
from tests.support.uart import at_speed, with_parity

SESSION = session(
    *one_record_a_frame(
        b"H|\\^&|||Analyzer^1.0|||||||P|1|20260301101500\rP|1\rO|1|S-1||^^^GLU\rR|1|^^^GLU|5.4|mmol/L\rL|1|N\r"
    )
)


@pytest.mark.parametrize("parity", ["even", "odd", "mark"])
def test_a_parity_bit_is_told_from_data(parity: str) -> None:
    received = with_parity(SESSION, parity)

    assert signs(received).parity == parity
    assert without_parity(received) == SESSION


def test_the_right_setting_has_nothing_to_say() -> None:
    assert at_speed(SESSION, 1) == SESSION
    assert signs(SESSION) == LineSigns()


@pytest.mark.parametrize("times", [2, 3, 4, 6, 8])
def test_a_slower_sender_is_told_by_how_much(times: int) -> None:
    assert signs(at_speed(SESSION, times)) == LineSigns(slower=times, garbage=True)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 2 / 3, 1.5])
def test_another_speed_is_no_text(ratio: float) -> None:
    assert signs(at_speed(SESSION, ratio)) == LineSigns(garbage=True)


@pytest.mark.parametrize("text", ["Prénom élève à l'hôpital", "Größe: groß", "Жұмабаев Ерлан", "检验结果 正常"])
@pytest.mark.parametrize("charset", ["utf-8", "cp1252", "iso8859-5", "gb18030"])
def test_letters_beyond_ascii_are_no_parity(text: str, charset: str) -> None:
    field = text.encode(charset, "ignore")
    message = b"H|\\^&|||X\rP|1||||" + field + b"\rO|1|S1\rR|1|^^^A|" + field + b"\rL|1|N\r"

    assert signs(message * 3).parity is None
    assert signs(message * 3).slower == 0
    assert not look([CapturedBytes(message * 3)]).line.garbage


def test_noise_has_no_parity_and_no_speed() -> None:
    dice = random.Random(1)

    found = [signs(dice.randbytes(dice.randint(1, 300))) for _ in range(2000)]

    assert all(one.parity is None and one.slower == 0 for one in found)
