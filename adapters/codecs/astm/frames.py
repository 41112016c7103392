r"""ASTM E1381 (LIS1) on the wire: bytes to frames, and a text to a frame. Pure; knows no session and gives no answers.

    <STX> FN text (<ETX>|<ETB>) C1 C2 <CR><LF>      02 ... 03|17 hex hex 0D 0A
    FN     one digit, 1 2 .. 7 0 1 ..; counted from 1 after each ENQ
    C1 C2  sum of all bytes from FN through ETX or ETB, modulo 256, two hexadecimal digits
    ETB    the text goes on in the next frame; ETX: it does not (which is not the end of a message)

Real lines depart from this layout, so the reader follows these rules:

- A sender waits for one answer to one transmission, so a broken frame is reported once, when the transmission is over:
  at its CR LF, or when the line falls silent. A second answer would be taken for the next frame's.
- Some analyzers send no LF, or neither CR nor LF. Then the frame is over at the next byte or at the silence, and once
  that was seen it is over at once: waiting again would cost the silence for every frame.
- ENQ and EOT are not allowed inside a frame. There they are noise, unless the line falls silent after them: then the
  sender gave up in the middle of the frame and it is meant.
- STX inside a frame begins it anew: the earlier part was never finished.
- Where it may wait for an answer of its own (``stx_waits``), an STX that the line falls silent after does. The frame
  has neither a number nor a sum then, and ends with its ETX; an ETX that comes again wants the answer again.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import ClassVar

from engine.model.values import value

ENQ, ACK, NAK, EOT = b"\x05", b"\x06", b"\x15", b"\x04"
STX, ETX, ETB = b"\x02", b"\x03", b"\x17"
CR, LF = b"\r", b"\n"
SAMPLE_BYTES = 64
_AFTER_TEXT = 5  # ETX or ETB, two digits, CR, LF

_LAYOUT_BYTE = re.compile(rb"[\x02\x03\x04\x05\x17]")
_LAYOUT_BYTE_OR_H = re.compile(rb"[\x02\x03\x04\x05\x17Hh]")
_TEXT_ENDS = re.compile(rb"[\r\n\x04\x05]")
_STX_OR_LF = re.compile(rb"[\x02\n]")
_WHOLE = re.compile(rb"\x02[^\x02\x03\x04\x05\x17]+[\x03\x17][0-9A-Fa-f]{2}\r\n")
_TRAILER = re.compile(rb"[\x03\x17][0-9A-Fa-f]{2}\r?\n\Z")
_BEHIND = b"\r\n\0"  # what may follow any frame
_HEX = b"0123456789ABCDEFabcdef"
_LATE_TRAILER = re.compile(rb"[\r\n]")  # no noise: the end of a frame that was taken without it


def checksum(body: bytes | bytearray) -> int:
    """The E1381 sum over FN through ETX or ETB, from 0 to 255. Eight bits: one damaged frame in 256 has it right."""
    return sum(body) & 0xFF


def encode_frame(text: bytes, number: int, *, last: bool) -> bytes:
    """One frame. ``last``: the text is complete with it (ETX), else it goes on (ETB)."""
    body = b"%d" % (number % 8) + text + (ETX if last else ETB)
    return STX + body + b"%02X" % checksum(body) + CR + LF


@dataclass(slots=True)
class WireFrame:
    """One frame as received; its layout is sound, the receiver checks its number and sum.

    Attributes:
        raw: from STX through LF, or as far as it came.
        body: FN through ETX or ETB, over which the sum is taken.
        given: the checksum digits as sent, empty if there were none.
        number: the frame number; None if there is no digit.
        text: the content of the frame, without its number if it has one.
        identity: equal for copies of one frame; CR and LF may differ.
    """

    raw: bytes
    body: bytes
    given: bytes
    number: int | None = field(init=False)
    text: bytes = field(init=False)
    identity: bytes = field(init=False)

    def __post_init__(self) -> None:
        digit = self.body[0] - 0x30
        self.number = digit if 0 <= digit <= 9 else None
        self.text = self.body[1:-1] if self.number is not None else self.body[:-1]
        self.identity = self.body + self.given

    @property
    def last(self) -> bool:
        """Whether the frame ends in ETX."""
        return self.body[-1:] == ETX

    @property
    def computed(self) -> int:
        return checksum(self.body)

    @property
    def sum_is_right(self) -> bool:
        return self.given.upper() == b"%02X" % self.computed


class Seen(Enum):
    """The kind of a token on the wire."""

    ENQ = auto()
    EOT = auto()
    STX = auto()  # the sender waits for an answer before the text of its frame
    ETX = auto()  # of such a frame, again: there was no answer
    FRAME = auto()
    BROKEN = auto()  # a frame whose layout is off; the sender waits for an answer
    TEXT = auto()  # a record without a frame, or a piece of one; an empty one: the line fell silent after it


@value()
class Token:
    """One token on the wire.

    Attributes:
        seen: its kind; None if only ``fault`` is reported and no answer is due.
        frame: with FRAME.
        text: with TEXT.
        fault: why the layout is off, without content.
        sample: the first bytes of what was off.
    """

    seen: Seen | None
    frame: WireFrame | None = None
    text: bytes = b""
    fault: str = ""
    sample: bytes = b""


class _Part(Enum):
    """Where in the layout the next byte belongs."""

    BETWEEN = auto()
    TEXT = auto()
    CHECKSUM = auto()
    TRAILER = auto()
    TRAILER_LF = auto()
    SKIPPED = auto()
    UNFRAMED = auto()


class FrameReader:
    """Cuts a byte stream into tokens, however the bytes were cut on the way.

    `feed` bytes, take tokens with `next` until there is none. While `waiting`, call `silence` when no byte came for a
    moment: some things are only over when the line falls silent.

    Attributes:
        unframed: accept text without frames: from an ``H`` on, until `restart`.
        stray: bytes so far that belonged to nothing.
    """

    def __init__(
        self, *, max_frame: int, frames: bool = True, checksum_needed: bool = True, stx_waits: bool = False
    ) -> None:
        """``frames``: False if the peer uses none. ``checksum_needed``: False to take any, or none. ``stx_waits``: True
        if an STX alone wants an answer."""
        self.unframed = not frames
        self.stray = 0
        self._frames = frames
        self._max_frame = max_frame
        self._checksum_needed = checksum_needed
        self._stx_waits = stx_waits
        self._bare = False  # the frame that is open, or ended last, had its STX answered
        self._input = bytearray()
        self._at = 0
        self._part = _Part.BETWEEN
        self._frame = bytearray()
        self._digits = 0  # of the checksum, so far
        self._fault = ""  # why bytes are skipped
        self._sample = b""
        self._tail = b""  # the last bytes skipped
        self._answered_early = False  # a broken frame was reported at a silence: the rest of it may still come
        self._trailer: bytes = CR + LF  # what this sender puts behind the checksum, as far as we know

    @property
    def held(self) -> int:
        """Bytes of a frame that is not complete, and of what is not looked at yet."""
        return len(self._frame) + len(self._input) - self._at

    @property
    def waiting(self) -> bool:
        """Whether a silence would mean something now."""
        waits = (_Part.CHECKSUM, _Part.TRAILER, _Part.TRAILER_LF, _Part.SKIPPED, _Part.UNFRAMED)
        return self._part in waits or self._stx_alone

    @property
    def _stx_alone(self) -> bool:
        return self._stx_waits and self._part is _Part.TEXT and self._frame == STX and not self._bare

    @property
    def in_text(self) -> bool:
        """Whether text without frames is being read."""
        return self._part is _Part.UNFRAMED

    @property
    def open(self) -> bool:
        """Whether a frame has begun that is not over."""
        return self._part not in (_Part.BETWEEN, _Part.UNFRAMED)

    @property
    def unread(self) -> int:
        """Bytes that were not looked at yet, without what may follow any frame."""
        return len(self._input[self._at :].lstrip(_BEHIND))

    def feed(self, data: bytes) -> None:
        del self._input[: self._at]
        self._at = 0
        self._input += data

    def whole(self, data: bytes) -> WireFrame | None:
        """The frame that ``data`` is, to the byte, where nothing else is under way; else None, and nothing is taken.

        One frame in one read is nearly all that a reader sees; `feed` and `next` would say the same.
        """
        if (
            self._part is not _Part.BETWEEN
            or self._at < len(self._input)
            or not self._frames
            or self._trailer != CR + LF
            or len(data) - _AFTER_TEXT > self._max_frame
            or _WHOLE.fullmatch(data) is None
        ):
            return None
        self._answered_early = self._bare = False
        return WireFrame(data, data[1:-4], data[-4:-2])

    def next(self) -> Token | None:
        """The next token that the bytes so far complete."""
        while self._at < len(self._input):
            token = self._STEPS[self._part](self)
            if token is not None:
                return token
        self._input.clear()
        self._at = 0
        return None

    def silence(self) -> list[Token]:
        """Tokens that end because no byte came for a moment; to be called when `next` has nothing more."""
        part = self._part
        if self._stx_alone:
            self._bare = True
            return [Token(Seen.STX)]
        if part is _Part.TRAILER_LF:
            self._trailer = CR
            return [self._finish()]
        if part is _Part.UNFRAMED:
            return [*([self._take_line()] if self._frame else []), Token(Seen.TEXT)]
        if part is _Part.TRAILER and (self._sum_will_do() or not self._checksum_needed):
            self._trailer = b""
            return [self._finish()]
        if part is _Part.CHECKSUM and not self._checksum_needed:
            return [self._finish()]
        if part is _Part.SKIPPED and self._tail[-1:] in (ENQ, EOT):
            seen = Seen.ENQ if self._tail[-1:] == ENQ else Seen.EOT
            return [self._give_up(None), Token(seen)]
        if part in (_Part.TRAILER, _Part.CHECKSUM):
            self._skip("no end of frame after the checksum" if part is _Part.TRAILER else "no checksum")
        if self._part is _Part.SKIPPED:
            self._answered_early = True
            return [self._give_up(Seen.BROKEN)]
        return []

    def restart(self) -> bytes:
        """The next byte belongs to nothing yet. Returns the text without frames that had no end so far."""
        rest = bytes(self._frame) if self.in_text else b""
        self._part = _Part.BETWEEN
        self._frame.clear()
        return rest

    # -- one step a part: take one byte or a run of them, perhaps return a token ------------------------------------

    def _between(self) -> Token | None:
        match = (_LAYOUT_BYTE_OR_H if self.unframed else _LAYOUT_BYTE).search(self._input, self._at)
        end = match.start() if match else len(self._input)
        self._bare = self._bare and not self._input[self._at : end].strip(_BEHIND)
        self._count_stray(end)
        self._at = end
        if match is None:
            return None
        byte = match[0]
        if byte in b"Hh":
            self._frame.clear()
            self._part = _Part.UNFRAMED
            return None
        self._at += 1
        if byte == ENQ:
            return Token(Seen.ENQ)
        if byte == EOT:
            return Token(Seen.EOT)
        if self._bare and byte == ETX:
            return Token(Seen.ETX)
        if self._frames and byte == STX:
            self._begin()
        elif self._frames and not self._answered_early:
            self._skip("end of a frame without its start", byte)
        else:
            self.stray += 1
        return None

    def _text(self) -> Token | None:
        match = _LAYOUT_BYTE.search(self._input, self._at)
        end = match.start() if match else len(self._input)
        room = self._max_frame - len(self._frame)
        if end - self._at > room:
            self._frame += self._input[self._at : self._at + room]
            self._at += room
            self._skip(f"longer than {self._max_frame} bytes")
            return None
        self._frame += self._input[self._at : end]
        self._at = end
        if match is None:
            return None
        byte = match[0]
        self._at += 1
        if byte in (ETX, ETB):
            self._frame += byte
            if self._bare:
                return self._finish()
            self._digits = 0
            self._part = _Part.CHECKSUM
        elif byte == STX:
            token = Token(None, fault="a frame began inside a frame", sample=bytes(self._frame[:SAMPLE_BYTES]))
            self._begin()
            return token
        else:
            self._skip("ENQ or EOT inside a frame", byte)
        return None

    def _checksum(self) -> Token | None:
        byte = self._input[self._at]
        if byte not in _HEX:
            if not self._checksum_needed:
                self._part = _Part.TRAILER
            else:
                self._skip("no checksum")
            return None
        self._at += 1
        self._frame.append(byte)
        self._digits += 1
        if self._digits == 2:
            self._part = _Part.TRAILER
            if self._trailer == b"" and self._sum_will_do():
                return self._finish()
        return None

    def _after_checksum(self) -> Token | None:
        byte = self._input[self._at : self._at + 1]
        if byte == CR:
            self._take_byte()
            self._part = _Part.TRAILER_LF
            return self._finish() if self._trailer == CR else None
        if byte == LF:
            self._take_byte()
            return self._finish()
        if self._sum_will_do() or (not self._checksum_needed and (self._digits == 0 or byte in (STX, ENQ, EOT))):
            return self._finish()
        self._skip("no end of frame after the checksum")
        return None

    def _after_cr(self) -> Token | None:
        if self._input[self._at : self._at + 1] == LF:
            self._take_byte()
        return self._finish()

    def _skipped(self) -> Token | None:
        match = _STX_OR_LF.search(self._input, self._at)
        end = match.end() if match else len(self._input)
        self._tail = (self._tail + self._input[max(self._at, end - 5) : end])[-5:]
        self._at = end
        if match is None:
            return None
        if match[0] == STX:
            token = self._give_up(None)
            self._begin()
            return token
        return self._give_up(Seen.BROKEN) if _TRAILER.search(self._tail) else None

    def _unframed_text(self) -> Token | None:
        room = self._max_frame - len(self._frame)
        match = _TEXT_ENDS.search(self._input, self._at, self._at + room)
        end = match.start() if match else min(len(self._input), self._at + room)
        self._frame += self._input[self._at : end]
        self._at = end
        if match is None:
            return self._take_line() if len(self._frame) >= self._max_frame else None
        if match[0] in (CR, LF):
            self._take_byte()
        elif not self._frame:
            self._at += 1
            return Token(Seen.ENQ if match[0] == ENQ else Seen.EOT)
        return self._take_line()

    # Of the class: a reader that held its own bound methods would stay until a garbage collection.
    _STEPS: ClassVar = {
        _Part.BETWEEN: _between,
        _Part.TEXT: _text,
        _Part.CHECKSUM: _checksum,
        _Part.TRAILER: _after_checksum,
        _Part.TRAILER_LF: _after_cr,
        _Part.SKIPPED: _skipped,
        _Part.UNFRAMED: _unframed_text,
    }

    # -- and what they share -----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._frame[:] = STX
        self._answered_early = self._bare = False
        self._part = _Part.TEXT

    def _skip(self, fault: str, byte: bytes = b"") -> None:
        """Pass over the rest of a broken transmission. ``byte``: the one that broke it, if it was taken."""
        self._fault = fault
        self._sample = bytes(self._frame[:SAMPLE_BYTES])
        self._tail = bytes(self._frame[-4:]) + byte
        self._part = _Part.SKIPPED

    def _give_up(self, seen: Seen | None) -> Token:
        token = Token(seen, fault=self._fault, sample=self._sample)
        self.restart()
        return token

    def _finish(self) -> Token:
        raw = bytes(self._frame)
        self.restart()
        end = max(raw.rfind(ETX), raw.rfind(ETB)) + 1
        body, given = raw[1:end], raw[end:].rstrip(CR + LF)
        if len(body) < 2:
            return Token(Seen.BROKEN, fault="nothing in the frame", sample=raw[:SAMPLE_BYTES])
        return Token(Seen.FRAME, WireFrame(raw, body, given))

    def _sum_will_do(self) -> bool:
        return self._frame[-2:].upper() == b"%02X" % checksum(self._frame[1:-2])

    def _take_line(self) -> Token:
        text = bytes(self._frame)
        self._frame.clear()
        return Token(Seen.TEXT, text=text)

    def _take_byte(self) -> None:
        self._frame += self._input[self._at : self._at + 1]
        self._at += 1

    def _count_stray(self, end: int) -> None:
        skipped = self._input[self._at : end]
        self.stray += len(skipped) - len(_LATE_TRAILER.findall(skipped))


def read_frame(raw: bytes) -> WireFrame | None:
    """One stored frame, with any sum; None if it is no frame."""
    reader = FrameReader(max_frame=len(raw), checksum_needed=False)
    reader.feed(raw)
    token = reader.next()
    tokens = [token] if token is not None else reader.silence()
    return tokens[0].frame if tokens else None
