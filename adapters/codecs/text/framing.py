"""The beginning, end and checksum of texts on a line, for analyzers with a framing of their own. Pure.

    noise  START  text  END  checksum             the checksum behind the end bytes
    noise  START  text  checksum  END             ... or before them

A layout (`layout_reader`) defines start and end bytes, a silence or a number of lines; `text_link` reads the line.

The notation of bytes in a layout: printable characters are written as they are, the others by the name that
ASCII gives them or by their number, in angle brackets: ``<STX>``, ``<CR><LF>``, ``<0x1C>``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import Literal

_C0 = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US"
)
NAMES = {name: bytes([number]) for number, name in enumerate(_C0.split())} | {
    "DEL": b"\x7f",
    "SP": b" ",
    "TAB": b"\t",
    "XON": b"\x11",
    "XOFF": b"\x13",
}
_NAMED = re.compile("<([A-Z][A-Z0-9]{1,3}|0x[0-9A-Fa-f]{2})>")
_SHOWN = {code[0]: name for name, code in reversed(NAMES.items())}


def wire(text: str) -> bytes:
    """The bytes of a notation.

    Raises:
        ValueError: an unknown name, or a character that is no byte.
    """
    out = bytearray()
    at = 0
    for match in _NAMED.finditer(text):
        out += _plain(text[at : match.start()])
        name = match[1]
        if name.startswith("0x"):
            out.append(int(name, 16))
        elif name in NAMES:
            out += NAMES[name]
        else:
            raise ValueError(f"no control character is called <{name}>; write it as <STX> or <0x02>")
        at = match.end()
    return bytes(out + _plain(text[at:]))


def shown(data: bytes) -> str:
    """The notation of bytes, for people."""
    return "".join(f"<{_SHOWN[byte]}>" if byte < 32 or byte == 127 else chr(byte) for byte in data)


def _plain(text: str) -> bytes:
    for character in text:
        if not " " <= character <= "~":
            raise ValueError("only printable ASCII is written as it is; write other bytes by name or number, as <0xB5>")
    return text.encode("ascii")


# kind -> checksum of the bytes it covers, 0 to 255
CHECKSUMS: dict[str, Callable[[bytes], int]] = {
    "sum": lambda data: sum(data) & 0xFF,
    "negated-sum": lambda data: -sum(data) & 0xFF,
    "xor": lambda data: reduce(xor, data, 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """How a text is protected.

    Attributes:
        kind: ``sum`` modulo 256, its two's complement ``negated-sum``, or ``xor``.
        start, end: whether the start and end bytes count.
        place: ``after`` or ``before`` the end bytes.
        written: two ``hex`` digits of either case, or one ``byte``.
        check: ``required``; ``warn`` accepts a text with any sum and reports it.
    """

    kind: str = "sum"
    start: bool = False
    end: bool = False
    place: Literal["after", "before"] = "after"
    written: Literal["hex", "byte"] = "hex"
    check: Literal["required", "warn"] = "required"

    @property
    def width(self) -> int:
        """Bytes that it takes on the line."""
        return 2 if self.written == "hex" else 1

    def of(self, text: bytes, start: bytes, end: bytes) -> int:
        covered = (start if self.start else b"") + text + (end if self.end else b"")
        return CHECKSUMS[self.kind](covered)

    def read(self, data: bytes) -> int | None:
        """The number on the line; None where it is none."""
        if self.written == "byte":
            return data[0] if len(data) == 1 else None
        return int(data, 16) if re.fullmatch(rb"[0-9A-Fa-f]{2}", data) else None

    def write(self, value: int) -> bytes:
        return bytes([value]) if self.written == "byte" else b"%02X" % value


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How texts follow each other on a line. Exactly one of ``end``, ``idle`` and ``lines`` ends a text.

    Attributes:
        start: begins a text; empty: its first byte that is not in ``between`` does.
        end: ends a text.
        idle: seconds without a byte that end it. A text that is cut short looks whole then.
        lines: the number of line ends that end it.
        good, bad: the answers that the analyzer waits for: after a text that is kept, after one that must be sent
            again. Empty where it waits for nothing, and will never send a text again.
        replies: answers to single bytes between texts, as ACK to ENQ. Such an answer promises nothing.
        between: bytes between texts that mean nothing.
        timeout: seconds that a text may take.
    """

    start: bytes = b""
    end: bytes = b""
    idle: float | None = None
    lines: int = 0
    checksum: Checksum | None = None
    good: bytes = b""
    bad: bytes = b""
    replies: dict[int, bytes] = field(default_factory=dict)
    between: bytes = b"\x00\r\n"
    timeout: float = 60.0

    def encode(self, text: bytes) -> bytes:
        """A text as its sender puts it on the line."""
        if self.checksum is None:
            return self.start + text + self.end
        checksum = self.checksum.write(self.checksum.of(text, self.start, self.end))
        tail = self.end + checksum if self.checksum.place == "after" else checksum + self.end
        return self.start + text + tail
