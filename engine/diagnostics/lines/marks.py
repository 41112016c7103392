"""One direction of a line, cut into units: ENQ, EOT, answers, frames, blocks, text. Pure.

Nothing is refused and nothing is dropped: every byte belongs to a mark or is between two marks (NUL, CR, LF). `Marks`
takes bytes as they come; the marks do not depend on how the bytes were cut on the way.

    05 ENQ  04 EOT  06 ACK  15 NAK     one byte each
    STX .. ETX|ETB ..                  an E1381 frame where a number is first and a record or a checksum confirms it;
                                       else text of a protocol of its own
    VT .. FS CR                        an MLLP block
    anything else                      text, a line at a time

Of an E1381 frame: whether its sum fits, and if not, how it was changed on the way.

    <STX> FN text (<ETX>|<ETB>) C1 C2 <CR><LF>

The link (`adapters.codecs.astm.frames`) accepts a frame or refuses it. Here nothing is refused: a person wants to know
which setting, cable or program changed the frame.
"""

import re
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


MAX_OPEN = 1024 * 1024  # bytes of a frame, block or line without its end; then what came is a mark that was cut off
WAIT_FOR_SUM = 4  # two digits, CR and LF

_SINGLE = {0x05: "ENQ", 0x04: "EOT", 0x06: "ACK", 0x15: "NAK"}
_BETWEEN = b"\x00\r\n"
_STOPS_TEXT = re.compile(rb"[\r\n\x02\x04\x05\x06\x0b\x15]")
# GS leads the checksum of the bioMerieux interfaces, with ETX behind it or without.
_STX_ENDS = re.compile(rb"[\x02\x03\x17]|\x1d[0-9A-Fa-f]{2}(?=[\r\n\x03]|\Z)\x03?")
_BEHIND_END = re.compile(rb"([0-9A-Fa-f]{2})?(\r?\n|\r)?")
_BEGINS_RECORD = re.compile(rb"[0-9][A-Za-z][^\w\s]")


class Kind(StrEnum):
    ENQ = "ENQ"
    EOT = "EOT"
    ACK = "ACK"
    NAK = "NAK"
    FRAME = "frame"
    PACKET = "packet"  # STX .. ETX without number or checksum
    BLOCK = "block"
    TEXT = "text"
    CUT = "cut off"  # a frame or block without its end


@dataclass(frozen=True, slots=True)
class Mark:
    """One unit of the bytes.

    Attributes:
        start, end: its place, counted from the first byte ever given.
        data: its bytes.
        frame: with FRAME.
        content: with PACKET and BLOCK, the bytes between the framing bytes; with TEXT, the line without its end.
        trailer: with PACKET from its end byte on (a checksum, CR, LF); with BLOCK and TEXT, the received CR and LF.
    """

    kind: Kind
    start: int
    data: bytes
    frame: FrameSeen | None = None
    content: bytes = b""
    trailer: bytes = b""

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class Marks:
    """Cuts one direction. `feed` what came; `quiet` when the line fell silent; `finish` when nothing more will come."""

    def __init__(self) -> None:
        self._data = b""
        self._base = 0  # position of its first byte

    @property
    def open(self) -> bytes:
        """Bytes that are no mark yet."""
        return self._data

    def feed(self, data: bytes) -> list[Mark]:
        self._data += data
        return self._cut(quiet=False, final=False)

    def quiet(self) -> list[Mark]:
        """Marks that are complete unless more comes: a frame without its last LF, a line without its end."""
        return self._cut(quiet=True, final=False)

    def finish(self) -> list[Mark]:
        """The rest, although its end never came."""
        return self._cut(quiet=True, final=True)

    def _cut(self, *, quiet: bool, final: bool) -> list[Mark]:
        marks: list[Mark] = []
        at, data = 0, self._data
        while at < len(data):
            if data[at] in _BETWEEN:
                at += 1
                continue
            too_much = len(data) - at > MAX_OPEN
            mark = self._one(at, quiet=quiet or too_much, final=final or too_much)
            if mark is None:
                break
            marks.append(mark)
            at += len(mark.data)
        self._base += at
        self._data = data[at:]
        return marks

    def _one(self, at: int, *, quiet: bool, final: bool) -> Mark | None:
        """The mark that begins at ``at``; None where its end may still come."""
        data, start = self._data, self._base + at
        byte = data[at]
        if byte in _SINGLE:
            return Mark(Kind(_SINGLE[byte]), start, data[at : at + 1])
        if byte == 0x02:
            return self._stx(at, quiet=quiet, final=final)
        if byte == 0x0B:
            return self._block(at, quiet=quiet, final=final)
        stop = _STOPS_TEXT.search(data, at + 1)
        if stop is None and not quiet:
            return None
        end = stop.start() if stop else len(data)
        behind = end + _line_end(data, end)
        if not quiet and behind == len(data) and data[end:behind] == b"\r":
            return None  # LF may follow
        return Mark(Kind.TEXT, start, data[at:behind], content=data[at:end], trailer=data[end:behind])

    def _stx(self, at: int, *, quiet: bool, final: bool) -> Mark | None:
        data, start = self._data, self._base + at
        stop = _STX_ENDS.search(data, at + 1)
        if stop is None:
            return Mark(Kind.CUT, start, data[at:]) if final else None
        if stop[0] == b"\x02":
            return Mark(Kind.CUT, start, data[at : stop.start()])
        if not quiet and len(data) - stop.end() < WAIT_FOR_SUM:
            return None
        behind = _BEHIND_END.match(data, stop.end())
        assert behind is not None
        body, given, trailer = data[at + 1 : stop.end()], behind[1] or b"", behind[2] or b""
        if stop[0] in (b"\x03", b"\x17") and body[:1].isdigit() and (given or _BEGINS_RECORD.match(body)):
            return Mark(Kind.FRAME, start, data[at : behind.end()], frame=FrameSeen(body, given, trailer))
        end = behind.end() if given and trailer else stop.end() + _line_end(data, stop.end())
        return Mark(
            Kind.PACKET, start, data[at:end], content=data[at + 1 : stop.start()], trailer=data[stop.start() : end]
        )

    def _block(self, at: int, *, quiet: bool, final: bool) -> Mark | None:
        data, start = self._data, self._base + at
        fs = data.find(b"\x1c", at + 1)
        if fs < 0:
            return Mark(Kind.CUT, start, data[at:]) if final else None
        if fs + 1 == len(data) and not quiet:
            return None
        end = fs + 2 if data[fs + 1 : fs + 2] in (b"\r", b"\n") else fs + 1
        return Mark(Kind.BLOCK, start, data[at:end], content=data[at + 1 : fs], trailer=data[fs + 1 : end])


def _line_end(data: bytes, at: int) -> int:
    """Length of the line end at ``at``."""
    if data[at : at + 2] == b"\r\n":
        return 2
    return 1 if data[at : at + 1] in (b"\r", b"\n") else 0
