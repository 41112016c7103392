"""The link of analyzers with a framing of their own: texts out of bytes, as a layout describes it. Pure.

    sender    ENQ       STX text GS checksum ETX       EOT          what of it there is, the layout says
    receiver       ACK                             ACK

Two kinds of senders, and what each of them may lose decides how a text is handed on:

- One that waits for an answer forgets a text when it has it. The text is a `Frame` that holds a whole message: the
  answer waits until that is durable, and where it cannot be kept, the bad answer asks for it again.
- One that waits for nothing will never send a text again. The text comes with a `SessionEnd`, which is tried until it
  is stored.

A text without its end (silence, a new start, the end of the connection, more than `max_message`) and, where nobody can
be asked to send again, one with a wrong checksum become incomplete evidence, never a message. Nothing closes a
connection: a serial line has no new one, and the next start bytes are a safe place to go on from.

Events depend on the bytes and on pauses longer than the timers, not on how the bytes were cut on the way.
"""

from collections.abc import Callable
from typing import Protocol

from adapters.codecs.text_framing import Framing
from engine.errors import ConfigError
from engine.message import Frame, LinkEvent, LinkFault, SessionEnd

SAMPLE_BYTES = 64
NOISE_STEP = 4096  # bytes of noise since the last text between two faults about it
BLANKS = b" \t\r\n\0"
_LINE_ENDS = (b"\r", b"\n")


class Layout(Protocol):
    @property
    def at(self) -> str: ...
    @property
    def framing(self) -> Framing | None: ...


class Settings(Protocol):
    """What a channel's ``source:`` says about the link."""

    max_message: int

    @property
    def transport(self) -> str: ...
    @property
    def text_layout(self) -> Layout: ...


def links(source: Settings) -> "Callable[[], TextLink]":
    """What makes a link for each connection of a channel.

    Raises:
        ConfigError: the layout says nothing about the line.
    """
    framing = source.text_layout.framing
    if framing is None:
        what = "framing is missing: without it the layout is for files; add framing: {start: <STX>, end: <ETX>}"
        raise ConfigError(f"{source.text_layout.at}: {what} or what else begins and ends a text on the line")
    joins = source.transport == "serial"  # a connection begins with a text; a cable is plugged in at any time
    return lambda: TextLink(framing, max_message=source.max_message, joins=joins)


class TextLink:
    """One connection's texts. Implements `engine.ports.Link`; holds at most one unfinished text."""

    def __init__(self, framing: Framing, *, max_message: int = 16 * 1024 * 1024, joins: bool = False) -> None:
        """``joins``: we may have come in the middle of a text. Without start bytes its rest looks like a whole one, so
        the first is none, unless the line was silent before it for as long as a text may take."""
        self._framing = framing
        self._max = max_message
        self._open = False
        self._text = bytearray()
        self._searched = 0  # of the open text: no start and no end begins before
        self._counted = 0  # ... and its line ends before this are counted
        self._lines = 0
        self._joining = self._torn = joins and not framing.start
        self._joined: float | None = None
        # Without start bytes, torn: what comes up to the next end belongs to a text that was given up, or missed.
        self._head = b""  # between texts: what may be the beginning of the start bytes
        self._started = 0.0
        self._last_byte = 0.0
        self._noise = 0
        self._waiting = b""  # bytes behind a text that waits to be kept
        self._pending = False
        self._out = bytearray()
        self._calls = bytes(framing.replies)

    # -- engine.ports.Link -------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        return len(self._text) + len(self._waiting)

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        """Events that ``data`` completes, in order; none beyond a text that waits for `committed` or `failed`."""
        if not data and self._open:  # the channel was keeping what came before: that pause was not the sender's
            self._started = self._last_byte = now
        events: list[LinkEvent] = [] if self._pending else self.tick(now)  # the pause before ``data``
        if data or self._waiting:
            self._last_byte = now
        data, self._waiting = self._waiting + data, b""
        at = 0
        while at < len(data) and not self._pending:
            at = self._inside(data, at, now, events) if self._open else self._between(data, at, now, events)
        self._waiting = data[at:]
        return events

    def committed(self, now: float) -> None:
        if self._pending:
            self._pending = False
            self._out += self._framing.good

    def failed(self, now: float) -> None:
        if self._pending:
            self._pending = False
            self._out += self._framing.bad

    def outgoing(self) -> bytes:
        out = bytes(self._out)
        self._out.clear()
        return out

    def deadline(self) -> float | None:
        if self._joining and self._joined is None:
            return 0.0  # at once
        if not self._open or self._pending:
            return None
        due = self._started + self._framing.timeout
        if self._framing.idle is not None:
            due = min(due, self._last_byte + self._framing.idle)
        return due

    def tick(self, now: float) -> list[LinkEvent]:
        events: list[LinkEvent] = []
        if self._joined is None:
            self._joined = now
        if not self._open or self._pending:
            return events
        idle = self._framing.idle
        if idle is not None and now - self._last_byte >= idle:
            self._complete(bytes(self._text), events)
        elif self._timed_out(now):
            self._give_up("timeout", events)
        return events

    def closed(self) -> list[LinkEvent]:
        """The stream ended. A text that only silence would have ended may have been cut off by it: it is not whole."""
        events: list[LinkEvent] = []
        self._pending = False
        rest, self._waiting = self._waiting, b""
        if rest:
            events += self.receive(rest, self._last_byte)
            if self._pending:  # nobody hears an answer any more; what is whole is kept, and comes again
                self._pending = False
                return [*events, *self.closed()]
        if self._open:
            self._give_up("closed", events)
        return events

    def wrap(self, payload: bytes) -> bytes:
        return self._framing.encode(payload)

    # -- between texts -----------------------------------------------------------------------------------------

    def _between(self, data: bytes, at: int, now: float, events: list[LinkEvent]) -> int:
        """Skip to the next text; return where reading goes on."""
        start = self._framing.start
        if not start:
            byte = data[at]
            if byte in self._framing.between or byte in self._framing.replies:
                self._aside(data[at : at + 1], events)
                return at + 1
            self._begin(now)
            return at
        data = self._head + data[at:]
        consumed = at - len(self._head)
        self._head = b""
        found = data.find(start)
        if found >= 0:
            self._aside(data[:found], events)
            self._begin(now)
            return consumed + found + len(start)
        keep = _overlap(data, start)
        self._aside(data[: len(data) - keep], events)
        self._head = data[len(data) - keep :]
        return consumed + len(data)

    def _begin(self, now: float) -> None:
        self._open = True
        self._started = now
        if self._joining and self._joined is not None:
            self._joining = False
            quiet = self._framing.timeout if self._framing.idle is None else self._framing.idle
            self._torn = now - self._joined < quiet

    def _aside(self, data: bytes, events: list[LinkEvent]) -> None:
        """Bytes outside a text: answered, skipped, or noise."""
        noise = bytearray()
        for byte in data:
            if byte in self._framing.replies:
                self._out += self._framing.replies[byte]
                self._torn = False  # the sender begins anew
            elif byte not in self._framing.between:
                noise.append(byte)
        if not noise:
            return
        first = -(-self._noise // NOISE_STEP)  # a fault for the first byte of each step
        self._noise += len(noise)
        for _ in range(first, -(-self._noise // NOISE_STEP)):
            events.append(LinkFault("noise", "bytes outside a text", bytes(noise[:SAMPLE_BYTES])))

    # -- inside a text -----------------------------------------------------------------------------------------

    def _inside(self, data: bytes, at: int, now: float, events: list[LinkEvent]) -> int:
        """Look for the end of the open text from ``at``; return where reading goes on."""
        framing, text = self._framing, self._text
        before = len(text)
        text += data[at:]
        again, skip = self._find_restart()
        end = self._find_end()
        if again >= 0 and (end < 0 or again < end):  # the sender began anew
            del text[again:]
            self._give_up("restart", events)
            if skip:
                self._begin(now)
            return at + again + skip - before
        if end < 0:
            longest = max(len(framing.start), len(framing.end), 1)
            self._searched = max(self._searched, len(text) - longest + 1)
            if len(text) > self._max:
                self._give_up("too-large", events)
            return len(data)
        tail = framing.checksum.width if framing.checksum is not None and framing.checksum.place == "after" else 0
        whole = end + len(framing.end) + tail
        if len(text) < whole:
            self._searched = end  # the checksum may hold any byte: no start is looked for in it
            return len(data)
        self._finish(bytes(text[:whole]), end, events)
        return at + whole - before

    def _find_restart(self) -> tuple[int, int]:
        """Where the sender begins anew in the open text, and how many bytes of start there are; -1 if it does not.

        A byte that wants a reply (ENQ) stands between texts only: in a text it says that the sender gave it up.
        """
        start = self._framing.start
        found = self._text.find(start, self._searched) if start else -1
        calls = [at for byte in self._calls if (at := self._text.find(byte, self._searched)) >= 0]
        if calls and (found < 0 or min(calls) < found):
            return min(calls), 0
        return found, len(start)

    def _find_end(self) -> int:
        """Where the end bytes of the open text begin, -1 if they have not come."""
        if self._framing.end:
            return self._text.find(self._framing.end, self._searched)
        while self._framing.lines:
            found = min((f for end in _LINE_ENDS if (f := self._text.find(end, self._counted)) >= 0), default=-1)
            if found < 0:
                self._counted = len(self._text)
                break
            self._counted = found + 1
            if self._text[found - 1 : found + 1] != b"\r\n":  # else the LF of CR LF
                self._lines += 1
                if self._lines == self._framing.lines:
                    return found + 1
        return -1

    def _finish(self, raw: bytes, end: int, events: list[LinkEvent]) -> None:
        """A text with its end, which begins at ``end``: look at its checksum."""
        framing, rule = self._framing, self._framing.checksum
        content, checksum = raw[:end], raw[end + len(framing.end) :]
        if len(content) > self._max:
            self._give_up("too-large", events)
            self._torn = False  # its end has come
            return
        if rule is not None:
            if rule.place == "before":
                content, checksum = content[: -rule.width], content[-rule.width :]
            wanted, found = rule.of(content, framing.start, framing.end), rule.read(checksum)
            if found != wanted:
                came = "none" if found is None else f"{found:02X}"
                events.append(LinkFault("bad-checksum", f"expected {wanted:02X}, came {came}", content[:SAMPLE_BYTES]))
                if rule.check == "required":
                    self._refuse("checksum", content, events)
                    return
        self._complete(content, events, raw)

    def _complete(self, content: bytes, events: list[LinkEvent], raw: bytes = b"") -> None:
        if self._torn:
            self._refuse("torn", content, events)
            return
        self._close()
        if not content.strip(BLANKS + self._framing.between):
            events.append(LinkFault("empty-text", f"{len(content)} bytes"))
            self._out += self._framing.good
            return
        self._noise = 0
        framing = self._framing
        if framing.good:
            self._pending = True
            events.append(Frame(raw=framing.start + (raw or content), number=0, completes=(content,)))
        else:
            events.append(SessionEnd("end", completes=(content,)))

    def _refuse(self, cause: str, content: bytes, events: list[LinkEvent]) -> None:
        """A text that came whole and is not to be used: asked for again where that can be, else kept as evidence."""
        self._close()
        self._torn = False
        if self._framing.bad:
            self._out += self._framing.bad
        elif content.strip(BLANKS + self._framing.between):
            events.append(SessionEnd(cause, incomplete=content))

    def _give_up(self, cause: str, events: list[LinkEvent]) -> None:
        """The open text will not be whole: evidence of it."""
        content = bytes(self._text[: self._max])
        self._close()
        self._torn = not self._framing.start and cause in ("timeout", "too-large")
        if cause in ("timeout", "too-large"):
            detail = f"{len(content)} bytes without the end of the text"
            events.append(LinkFault(f"text-{cause}", detail, content[:SAMPLE_BYTES]))
        if content.strip(BLANKS + self._framing.between):
            events.append(SessionEnd(cause, incomplete=content))

    def _close(self) -> None:
        self._open = False
        self._text = bytearray()
        self._searched = self._counted = self._lines = 0

    def _timed_out(self, now: float) -> bool:
        return self._open and now - self._started >= self._framing.timeout


def _overlap(data: bytes, start: bytes) -> int:
    """How many bytes at the end of ``data`` may be the beginning of ``start``."""
    for length in range(min(len(start) - 1, len(data)), 0, -1):
        if data.endswith(start[:length]):
            return length
    return 0
