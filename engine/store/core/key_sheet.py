"""A key on paper: lines that a person can read aloud and type. Pure.

    1   7QK2-M9XD-04TE-HW3A     8 bytes of the key and 2 of a checksum over them and the number of the line
    2   ...                     in Crockford's base 32: no I, L, O, U; small letters, blanks and hyphens do not count
    3   ...
    4   ...

A typing error is detected in its line (one in 65,536 is not), and so are lines in another order. Whether the whole is
the right key, the journal knows.
"""

from collections.abc import Sequence
from hashlib import blake2b

LINES = 4
_BYTES = 8  # of the key in a line
_CHECK_BYTES = 2
_SYMBOLS = 16
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {sign: value for value, sign in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}


def write(key: bytes) -> list[str]:
    """The lines of a key of 32 bytes, in groups of four: ``7QK2-M9XD-04TE-HW3A``."""
    return [_line(number, key[at : at + _BYTES]) for number, at in enumerate(range(0, LINES * _BYTES, _BYTES), start=1)]


def read_line(number: int, text: str) -> bytes:
    """The 8 bytes of line ``number``, from 1.

    Raises:
        ValueError: the text is no such line; the error explains it, and never quotes the line.
    """
    signs = [sign for sign in text.upper() if sign not in " \t-.\u2013"]
    if len(signs) > _SYMBOLS and signs[0] == str(number):
        del signs[0]  # the line number was typed, too
    if len(signs) != _SYMBOLS:
        raise ValueError(f"line {number} has {len(signs)} letters and digits, {_SYMBOLS} are expected")
    bits = 0
    for place, sign in enumerate(signs, start=1):
        if sign not in _VALUES:
            raise ValueError(f"line {number}, place {place}: that sign is in no key")
        bits = bits << 5 | _VALUES[sign]
    found = bits.to_bytes(_BYTES + _CHECK_BYTES, "big")
    if found[_BYTES:] != _check(number, found[:_BYTES]):
        raise ValueError(f"line {number} is mistyped: its checksum does not fit")
    return found[:_BYTES]


def read(lines: Sequence[str]) -> bytes:
    """The key in four lines.

    Raises:
        ValueError: as `read_line`, or there are not four lines.
    """
    if len(lines) != LINES:
        raise ValueError(f"{LINES} lines are expected, not {len(lines)}")
    return b"".join(read_line(number, line) for number, line in enumerate(lines, start=1))


def _line(number: int, part: bytes) -> str:
    bits = int.from_bytes(part + _check(number, part), "big")
    signs = "".join(_ALPHABET[bits >> shift & 31] for shift in range((_SYMBOLS - 1) * 5, -1, -5))
    return "-".join(signs[at : at + 4] for at in range(0, _SYMBOLS, 4))


def _check(number: int, part: bytes) -> bytes:
    return blake2b(part, digest_size=_CHECK_BYTES, person=b"key sheet %d" % number).digest()
