"""Seven data bits in bytes of eight."""

import pytest

from adapters.codecs.astm import text

ALL = bytes(range(256))


def test_what_comes_has_bit_7_clear_whatever_stood_there() -> None:
    assert text.strip(ALL) == bytes(range(128)) * 2


@pytest.mark.parametrize("parity", ["none", "even", "odd", "mark", "space"])
def test_parity_never_touches_the_seven_bits(parity: str) -> None:
    assert text.strip(text.with_parity(ALL, parity)) == text.strip(ALL)


def test_parity_is_what_its_name_says() -> None:
    for byte in range(128):
        (even,), (odd,) = text.with_parity(bytes([byte]), "even"), text.with_parity(bytes([byte]), "odd")
        assert bin(even).count("1") % 2 == 0
        assert bin(odd).count("1") % 2 == 1
    assert text.with_parity(b"\x06\x15", "mark") == b"\x86\x95"
    assert text.with_parity(b"\x86\x95", "space") == text.with_parity(b"\x86\x95", "none") == b"\x06\x15"


def test_the_answers_of_an_astm_line() -> None:
    """ACK has two bits set, NAK three: only NAK looks different on a line of seven bits and even parity."""
    assert text.with_parity(b"\x06", "even") == b"\x06"
    assert text.with_parity(b"\x15", "even") == b"\x95"
