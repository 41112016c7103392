"""One ASTM E1381 frame of a capture: whether its sum fits, and if not, how it was changed on the way.

    <STX> FN text (<ETX>|<ETB>) C1 C2 <CR><LF>

The link (`adapters.codecs.astm.frames`) accepts a frame or refuses it. Here nothing is refused: a person wants to know
which setting, cable or program changed the frame.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import xor

ETB = b"\x17"


class Sum(StrEnum):
    """The state of a frame's checksum."""

    RIGHT = "right"
    LF_FOR_CR = "right once each LF is CR again"  # terminal programs, and tools that store text
    CRLF_FOR_CR = "right once each CR LF is CR again"
    LF_LOST = "right once CR is CR LF again"
    WITHOUT_END = "the sender leaves ETX out of the sum"
    WITH_STX = "the sender counts STX into the sum"
    XOR = "the sender uses another sum (exclusive or)"
    MISSING = "missing"
    WRONG = "wrong"


CHANGED_LINE_ENDS = (Sum.LF_FOR_CR, Sum.CRLF_FOR_CR, Sum.LF_LOST)
OTHER_SUMS = (Sum.WITHOUT_END, Sum.WITH_STX, Sum.XOR)


@dataclass(frozen=True, slots=True)
class FrameSeen:
    """A frame, taken apart.

    Attributes:
        body: FN through ETX or ETB.
        given: the checksum digits as they came; empty where there are none.
        trailer: CR and LF after them, as received.
    """

    body: bytes
    given: bytes
    trailer: bytes

    @property
    def number(self) -> int | None:
        return self.body[0] - 0x30 if self.body[:1].isdigit() else None

    @property
    def text(self) -> bytes:
        """Its content, as received."""
        return self.body[1:-1] if self.number is not None else self.body[:-1]

    @property
    def goes_on(self) -> bool:
        """It ends in ETB."""
        return self.body[-1:] == ETB

    @property
    def computed(self) -> int:
        return sum(self.body) & 0xFF

    @property
    def sum(self) -> Sum:
        """The first explanation of the checksum that fits."""
        if not self.given:
            return Sum.MISSING
        given = int(self.given, 16)
        if given == self.computed:
            return Sum.RIGHT
        for kind, changed in self._repairs():
            if changed != self.body and sum(changed) & 0xFF == given:
                return kind
        if (self.computed - self.body[-1]) & 0xFF == given:
            return Sum.WITHOUT_END
        if (self.computed + 2) & 0xFF == given:
            return Sum.WITH_STX
        return Sum.XOR if reduce(xor, self.body) == given else Sum.WRONG

    @property
    def mended(self) -> bytes:
        """The body with its line ends as they were when the sum was taken."""
        kind = self.sum
        return next((changed for one, changed in self._repairs() if one is kind), self.body)

    def _repairs(self) -> tuple[tuple[Sum, bytes], ...]:
        return (
            (Sum.LF_FOR_CR, self.body.replace(b"\n", b"\r")),
            (Sum.CRLF_FOR_CR, self.body.replace(b"\r\n", b"\r")),
            (Sum.LF_LOST, self.body.replace(b"\r", b"\r\n")),
        )

    def in_words(self) -> str:
        """``checksum 4A right``; both sums where they differ."""
        kind = self.sum
        if kind is Sum.MISSING:
            return f"no checksum (computed {self.computed:02X})"
        if kind is Sum.RIGHT:
            return f"checksum {self.computed:02X} right"
        given = self.given.decode("ascii").upper()
        return f"checksum {given}, computed {self.computed:02X}: {kind.value}"
