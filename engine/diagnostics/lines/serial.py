"""Find wrong settings of a serial line from its bytes: a parity bit read as data, a wrong speed.

A receiver set to 8 data bits, no parity, reads a 7-bit line like this: each byte is the character with its parity bit
on top. The bit makes the number of ones even (or odd) in every byte, which no 8-bit text does for long.

A receiver that is k times too fast sees each bit of the sender k times. Its bytes begin with the start bit, so the bits
come in groups of k: a zero group first (less the start bit itself), then whole ones::

    k = 2   start 0 | b0=0 | b1=b2 | b3=b4 | b5=b6 | b7
    k = 4   start 0 | b0=b1=b2=0 | b3=b4=b5=b6 | b7

A receiver that is too slow sees no such pattern, only bytes that do not occur in text.
"""

from dataclasses import dataclass
from typing import Literal

Parity = Literal["even", "odd", "mark"]

PARITY_BYTES = 16  # so many bytes have all the same parity by chance once in 65,536 times
ALIKE = 0.98  # of the bytes: the line itself may spoil one
GARBAGE_BYTES = 24
SLOWER_BYTES = 8
PLAUSIBLE_BELOW = 0.75  # share of bytes that a protocol's text is made of, below which it is none

# Control characters of text and of analyzers' protocols.
_CONTROLS = frozenset(b"\x02\x03\x04\x05\x06\x09\x0a\x0b\x0c\x0d\x15\x17\x1c\x1d\x1e")
_KNOWN = frozenset(range(0x20, 0x7F)) | _CONTROLS
_EVEN = frozenset(byte for byte in range(256) if byte.bit_count() % 2 == 0)
_TO_7_BITS = bytes(byte & 0x7F for byte in range(256))
TIMES = (8, 6, 4, 3, 2)  # how many times slower a sender can be: 57600, 38400, 19200 ... against 9600


@dataclass(frozen=True, slots=True)
class LineSigns:
    """Signs of the line's settings in its bytes.

    Attributes:
        parity: the bytes are 7-bit characters with this parity bit on top; None if they are not.
        slower: the sender is so many times slower than the receiver; 0 without a sign of that.
        garbage: the bytes are no text of any kind.
    """

    parity: Parity | None = None
    slower: int = 0
    garbage: bool = False


def signs(data: bytes) -> LineSigns:
    """The signs in ``data``, all from one side, about its line."""
    if found := _parity(data):
        return LineSigns(parity=found)
    if plausible(data) >= PLAUSIBLE_BELOW:
        return LineSigns()
    slower = _slower(data) if len(data) >= SLOWER_BYTES else 0
    return LineSigns(slower=slower, garbage=slower > 0 or len(data) >= GARBAGE_BYTES)


def without_parity(data: bytes) -> bytes:
    """The characters of 7-bit data."""
    return data.translate(_TO_7_BITS)


def plausible(data: bytes) -> float:
    """The share of ``data`` that text and protocols are made of; 1.0 for nothing.

    Letters beyond ASCII count as far as there is twice as much ASCII around them.
    """
    if not data:
        return 1.0
    known = sum(byte in _KNOWN for byte in data)
    if _is_utf8(data):  # which noise never is for long
        return (known + sum(byte >= 0x80 for byte in data)) / len(data)
    letters = sum(byte >= 0xA0 for byte in data)
    return (known + (min(letters, known // 2) if known >= len(data) // 2 else 0)) / len(data)


def _parity(data: bytes) -> Parity | None:
    high = sum(byte >= 0x80 for byte in data)
    if len(data) < PARITY_BYTES or high < len(data) * 0.1 or plausible(without_parity(data)) < 0.95:
        return None
    if _is_utf8(data):
        return None
    even = sum(byte in _EVEN for byte in data)
    if even >= ALIKE * len(data):
        return "even"
    if len(data) - even >= ALIKE * len(data):
        return "odd"
    return "mark" if high >= ALIKE * len(data) else None


def _slower(data: bytes) -> int:
    """How many times slower the sender is; the largest that fits nearly every byte."""
    if len(set(data)) == 1:
        return 0
    for times in TIMES:
        first, *groups = _groups(times)
        fit = sum(not byte & first and all(byte & group in (0, group) for group in groups) for byte in data)
        if fit >= 0.9 * len(data):
            return times
    return 0


def _groups(times: int) -> list[int]:
    """Masks of the bits that are one bit of the sender, from the start bit on."""
    cells = ((1 << times) - 1 << at for at in range(0, 9, times))
    return [cell >> 1 & 0xFF for cell in cells]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.end == len(data) and error.start >= len(data) - 3  # cut off in the last character
    return True
