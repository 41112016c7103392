"""MLLP: the link that frames whole HL7 messages (HL7 Transport Specification: MLLP, Release 1). Pure.

    <VT> content <FS> <CR>        0x0B ... 0x1C 0x0D

A strict sender needs no decision. Real ones do, and each tolerance is one of these:

- Between blocks NUL, CR and LF are skipped; anything else is noise: reported, counted, and bounded.
- FS ends a block when CR follows. When VT, LF or NUL follows, or nothing more for `MllpOptions.fs_wait` seconds or
  before the stream ends, the CR is missing and the block ends all the same. FS before any other byte is content.
- In UTF-16 and UTF-32, 0x1C, 0x0D and 0x0B are halves of ordinary letters, so FS ends a block only where a character
  could begin, and a segment has just ended or nothing more comes.
- VT inside a block is content (word processors write it into comments) unless a message header follows it: then the
  sender has started again, and the earlier part is handed on as incomplete. It never vanishes and is never a result.
- A block that outgrows `max_message`, or that is not complete after `block_timeout`, is incomplete evidence, and the
  connection must be closed: there is no safe place to continue.

Events do not depend on how the network cut the bytes, only on the bytes and on pauses longer than the timers.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from adapters.codecs.link_options import options_of
from engine.model.link_events import Block, LinkEvent, LinkFault, SessionEnd

VT = b"\x0b"
FS = b"\x1c"
END = FS + b"\r"
BETWEEN = b"\x00\r\n"  # allowed between blocks without a word
_says_something = re.compile(rb"[^%b]" % BETWEEN).search  # of a large block, to strip these would make a copy
SAMPLE_BYTES = 64
WIDEST = 4  # bytes of one code unit, and enough of a block to know their number

_CR, _LF, _NUL, _VT = 0x0D, 0x0A, 0x00, 0x0B
# VT and a message header, in 8-bit sets (with or without a UTF-8 mark) and in UTF-16/32 of both byte orders. Every
# repetition is bounded, so that the search takes time in proportion to the block whatever it holds.
_RESTART = re.compile(
    b"\x0b(?=[\r\n\x00]{0,8}(?:\xef\xbb\xbf)?(?:MSH|FHS|BHS)"
    b"|(?:\xff\xfe(?:\x00\x00)?|\xfe\xff|\x00\x00\xfe\xff)?\x00{0,3}[MFB]\x00{1,3}[SH]\x00{1,3}[HS])"
)
_LONGEST_RESTART = 17  # bytes that the pattern looks at
_END_8BIT = re.compile(b"\x1c(?=[\r\n\x00\x0b]|\\Z)")
# How a header begins in UTF-32, with a byte order mark or without.
_UTF32_STARTS = tuple(letter.encode(codec) for letter in "MFB\ufeff" for codec in ("utf-32-le", "utf-32-be"))
_UTF16_STARTS = tuple(name[:2].encode(codec) for name in ("MSH", "FHS", "BHS") for codec in ("utf-16-le", "utf-16-be"))
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BARE_START = re.compile(b"[\x0bMFB\xef]")  # VT, or the first byte of MSH, FHS, BHS or of a UTF-8 mark


@dataclass(frozen=True, slots=True, kw_only=True)
class MllpOptions:
    """How one channel reads MLLP.

    Attributes:
        max_message: bytes of content; a longer block costs the connection.
        block_timeout: seconds from VT to FS; a peer that trickles bytes may not hold a connection indefinitely.
        start_without_vt: a message header outside a block starts one.
        end_by_idle: seconds without a byte that end a block in place of FS, or None. A message cut short by the
            sender looks complete then, so this is for devices that send no FS at all.
        fs_wait: seconds to wait for the CR after FS.
        max_noise: bytes of noise and of empty blocks between two messages that cost the connection.
    """

    max_message: int = 16 * 1024 * 1024
    block_timeout: float = 60.0
    start_without_vt: bool = False
    end_by_idle: float | None = None
    fs_wait: float = 0.25
    max_noise: int = 64 * 1024


def links(source: object) -> "Callable[[], MllpLink]":
    """Return the factory that makes a link for each connection of a channel."""
    options = options_of(MllpOptions, source)
    return lambda: MllpLink(options)


class MllpLink:
    """One connection's MLLP state. Implements `engine.model.ports.Link`; holds at most one unfinished block."""

    def __init__(self, options: MllpOptions | None = None) -> None:
        self._options = options or MllpOptions()
        self._block = bytearray()  # content of the open block so far
        self._open = False
        self._held = b""  # FS or FS CR at the end of what came: the end of the block, unless more follows
        self._started = 0.0
        self._last_byte = 0.0
        self._notes: list[str] = []
        self._noise = 0
        self._dead = False

    traced = False  # one block, one answer: the journal holds the same

    @property
    def resting(self) -> bool:
        """Between two blocks."""
        return not self._open

    # -- engine.model.ports.Link -------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        return len(self._block)

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        """Events that ``data`` completes, in order. After a fatal fault further bytes are ignored."""
        if (block := self._whole(data)) is not None:
            return [block]
        if self._dead or not data:
            return []
        self._last_byte = now
        events: list[LinkEvent] = []
        if self._held:
            data = self._held + data
            self._held = b""
        at = 0
        while at < len(data) and not self._dead:
            at = self._inside(data, at, events) if self._open else self._between(data, at, now, events)
        if self._open and now - self._started >= self._options.block_timeout:
            self._time_out(events)
        return events

    def _whole(self, data: bytes) -> Block | None:
        """The block that ``data`` is from its first byte to its last, as nearly always; None: `receive` reads it."""
        if (
            self._open
            or self._dead
            or not data.startswith(b"\x0bMSH")
            or not data.endswith(END)
            or data.find(FS) != len(data) - 2
            or data.find(VT, 1) != -1
            or len(data) - 3 > self._options.max_message
        ):
            return None
        self._noise = 0
        return Block(data[1:-2])

    def committed(self, now: float) -> None:
        """Nothing to do: MLLP has no link acknowledgement, the answer is the format's."""

    def failed(self, now: float) -> None:
        """Nothing to do: the channel closes the socket or answers itself."""

    def outgoing(self) -> bytes:
        return b""

    def deadline(self) -> float | None:
        if not self._open:
            return None
        due = self._started + self._options.block_timeout
        if self._held:
            due = min(due, self._last_byte + self._options.fs_wait)
        if self._options.end_by_idle is not None:
            due = min(due, self._last_byte + self._options.end_by_idle)
        return due

    def tick(self, now: float) -> list[LinkEvent]:
        events: list[LinkEvent] = []
        if not self._open:
            return events
        quiet = now - self._last_byte
        idle = self._options.end_by_idle
        if self._held and quiet >= self._options.fs_wait:
            self._end_at_held(events)
        elif idle is not None and quiet >= idle:
            self._block += self._held
            self._notes.append("ended by idle")
            self._finish(self._taken(), events)
        elif now - self._started >= self._options.block_timeout:
            self._time_out(events)
        return events

    def closed(self) -> list[LinkEvent]:
        events: list[LinkEvent] = []
        if self._held:
            self._end_at_held(events)
        elif self._open:
            self._park(bytes(self._block), "closed", events)
        self._reset()
        return events

    def wrap(self, payload: bytes) -> bytes:
        return VT + payload + END

    # -- between blocks ----------------------------------------------------------------------------------------

    def _between(self, data: bytes, at: int, now: float, events: list[LinkEvent]) -> int:
        """Skip to the start of the next block; return where its content begins."""
        if self._options.start_without_vt:
            found = _BARE_START.search(data, at)
            start = found.start() if found else -1
        else:
            start = data.find(VT, at)
        noise = data[at : start if start >= 0 else len(data)].translate(None, BETWEEN)
        if noise:
            self._noise += len(noise)
            too_much = self._noise > self._options.max_noise
            self._dead = too_much
            events.append(
                LinkFault(
                    "noise",
                    f"{len(noise)} bytes between messages, {self._noise} since the last message",
                    noise[:SAMPLE_BYTES],
                    fatal=too_much,
                )
            )
        if start < 0 or self._dead:
            return len(data)
        self._open = True
        self._started = now
        if data[start] == _VT:
            return start + 1
        self._notes.append("no VT")
        return start

    # -- inside a block ----------------------------------------------------------------------------------------

    def _inside(self, data: bytes, at: int, events: list[LinkEvent]) -> int:
        """Look for the end of the open block from ``at``; return where reading goes on."""
        fs = data.find(FS, at)
        while fs >= 0:
            width = self._width(data, at, fs)
            ends = self._ends_8bit(data, fs) if width == 1 else self._ends_wide(data, at, fs, width)
            if ends > 0:
                if ends == 1:
                    self._notes.append("no CR after FS")
                if self._block:
                    self._block += data[at:fs]
                self._finish(self._taken() if self._block else data[at:fs], events)
                return fs + ends
            if ends < 0:  # unknown before more comes
                self._append(data[at:fs], events)
                if self._open and not self._dead:
                    self._held = data[fs:]
                return len(data)
            if width == 1 and len(self._block) + fs - at >= WIDEST:  # the width is known: look for the end alone
                if "FS inside" not in self._notes:
                    self._notes.append("FS inside")
                found = _END_8BIT.search(data, fs + 1)
                fs = found.start() if found else -1
            else:
                fs = data.find(FS, fs + 1)
        self._append(data[at:], events)
        return len(data)

    def _width(self, data: bytes, at: int, fs: int) -> int:
        """Bytes per code unit of the open block, by its first four bytes."""
        first = bytes(self._block[:WIDEST])
        if len(first) < WIDEST:
            first += data[at : min(fs, at + WIDEST - len(first))]
            if len(first) < WIDEST:
                return 1
        if first in _UTF32_STARTS:
            return 4
        return 2 if first in _UTF16_STARTS or first[:2] in _UTF16_MARKS else 1

    @staticmethod
    def _ends_8bit(data: bytes, fs: int) -> int:
        """How many bytes end the block at ``fs``: 2 or 1, 0 if FS is content, -1 if the next byte must come first."""
        if fs + 1 == len(data):
            return -1
        following = data[fs + 1]
        if following == _CR:
            return 2
        return 1 if following in (_VT, _LF, _NUL) else 0

    def _ends_wide(self, data: bytes, at: int, fs: int, width: int) -> int:
        """As `_ends_8bit`, for UTF-16 and UTF-32."""
        if (len(self._block) + fs - at) % width:
            return 0
        before = bytes(self._block[-width:]) + data[max(at, fs - width) : fs]
        if before[-width:].strip(b"\x00") not in (b"\r", b"\n"):
            return -1 if data[fs + 1 :] in (b"", b"\r") else 0
        if fs + 1 == len(data):
            return -1
        following = data[fs + 1]
        return 2 if following == _CR else 1 if following == _VT else 0

    def _append(self, data: bytes, events: list[LinkEvent]) -> None:
        self._block += data
        # So much more that a start which came in time is whole: where the network cut it must not matter.
        limit = self._options.max_message + _LONGEST_RESTART
        if len(self._block) > limit:
            content = self._split_restarts(bytes(self._block), events)
            if self._dead:
                return
            if len(content) <= limit:
                self._block = bytearray(content)
            else:
                self._too_large(content, events)

    # -- how a block ends --------------------------------------------------------------------------------------

    def _end_at_held(self, events: list[LinkEvent]) -> None:
        if self._held == FS:
            self._notes.append("no CR after FS")
        self._finish(self._taken(), events)

    def _taken(self) -> bytes:
        """The content of the block, which is kept no longer here: of a large one each copy counts."""
        content, self._block = bytes(self._block), bytearray()
        return content

    def _finish(self, content: bytes, events: list[LinkEvent]) -> None:
        if content.find(VT) >= 0:
            content = self._split_restarts(content, events)
            if self._dead:
                return
        if len(content) > self._options.max_message:
            self._too_large(content, events)
            return
        if _says_something(content):
            events.append(Block(content, tuple(self._notes)))
            self._noise = 0
        else:
            self._noise += len(content) + len(VT + END)
            self._dead = self._noise > self._options.max_noise
            events.append(LinkFault("empty-block", f"{len(content)} bytes", fatal=self._dead))
        self._reset()

    def _split_restarts(self, content: bytes, events: list[LinkEvent]) -> bytes:
        """Hand on as incomplete what a restarting sender left unfinished; return the content of the last start.

        Where something unfinished outgrew a block, that is the end: nothing behind it is looked at.
        """
        start = 0
        for restart in _RESTART.finditer(content):
            unfinished = content[start : restart.start()]
            if len(unfinished) > self._options.max_message:
                self._too_large(unfinished, events)
                return b""
            if _says_something(unfinished):
                self._give_up(unfinished, "restart", events)
            start = restart.end()
        return content[start:] if start else content

    def _too_large(self, content: bytes, events: list[LinkEvent]) -> None:
        limit = self._options.max_message
        events.append(SessionEnd(cause="too-large", incomplete=content[:limit], too_large=True))
        detail = f"more than max_message ({limit} bytes) without the end of the block"
        events.append(LinkFault("too-large", detail, content[:SAMPLE_BYTES], fatal=True))
        self._dead = True
        self._reset()

    def _time_out(self, events: list[LinkEvent]) -> None:
        content = bytes(self._block)
        detail = f"{len(content)} bytes in {self._options.block_timeout:g} s without the end of the block"
        self._park(content, "timeout", events)
        events.append(LinkFault("block-timeout", detail, content[:SAMPLE_BYTES], fatal=True))
        self._dead = True
        self._reset()

    def _park(self, content: bytes, cause: str, events: list[LinkEvent]) -> None:
        """Everything that came of unfinished blocks becomes evidence."""
        content = self._split_restarts(content, events)
        if _says_something(content):
            self._give_up(content, cause, events)

    def _give_up(self, content: bytes, cause: str, events: list[LinkEvent]) -> None:
        events.append(SessionEnd(cause=cause, incomplete=content[: self._options.max_message]))

    def _reset(self) -> None:
        self._block = bytearray()
        self._open = False
        self._held = b""
        self._notes = []
