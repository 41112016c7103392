"""The link of analyzers with a framing of their own: cuts texts out of bytes, as a layout describes it. Pure.

    sender    ENQ       STX text GS checksum ETX       EOT          the layout says which of these exist
    receiver       ACK                             ACK

There are two kinds of senders. The way a text is handed on depends on what each of them may lose:

- One that waits for an answer forgets a text when it has it. The text is a `Frame` that holds a whole message: the
  answer waits until that is durable, and where it cannot be kept, the bad answer asks for it again.
- One that waits for no answer will never send a text again. The text comes with a `SessionEnd`, which is tried until it
  is stored.

A text without its end (silence, a new start, the end of the connection, more than `max_message`) and, where the sender
cannot repeat it, one with a wrong checksum become incomplete evidence, never a message. Nothing closes a connection: a
serial line has no new one, and the next start bytes are a safe place to resume, even after a text that broke off in
bytes which look like their beginning.

A call (ENQ) within a text is a sender that begins anew, or a byte that was damaged on its way. Nothing shows which, and
an ACK to the second would be taken for the answer to its text. The bad answer makes both try again.

Events depend on the bytes and on pauses longer than the timers, not on how the bytes were cut on the way.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from adapters.codecs.text.framing import Framing
from engine.model.errors import ConfigError
from engine.model.link_events import Frame, LinkEvent, LinkFault, SessionEnd

SAMPLE_BYTES = 64
NOISE_STEP = 4096  # bytes of noise since the last text between two faults about it
BLANKS = b" \t\r\n\0"
_LINE_ENDS = (b"\r", b"\n")


class Layout(Protocol):
    at: str
    framing: Framing | None


class Settings(Protocol):
    """The settings of a channel's ``source:`` for the link."""

    max_message: int

    transport: str
    text_layout: Layout


def links(source: Settings) -> "Callable[[], TextLink]":
    """Return the factory that makes a link for each connection of a channel.

    Raises:
        ConfigError: the layout does not describe the line.
    """
    framing = source.text_layout.framing
    if framing is None:
        what = "framing is missing: without it the layout is for files; add framing: {start: <STX>, end: <ETX>}"
        raise ConfigError(f"{source.text_layout.at}: {what} or what else begins and ends a text on the line")
    joins = source.transport == "serial"  # a connection begins with a text; a cable is plugged in at any time
    return lambda: TextLink(framing, max_message=source.max_message, joins=joins)


class _Restart(NamedTuple):
    """Where in the open text its sender began anew."""

    at: int  # here the old text ends ...
    then: int  # ... and here reading goes on
    called: bool = False  # it was a call; else start bytes, which are before ``then``


class TextLink:
    """One connection's texts. Implements `engine.model.ports.Link`; holds at most one unfinished text."""

    def __init__(self, framing: Framing, *, max_message: int = 16 * 1024 * 1024, joins: bool = False) -> None:
        """``joins``: we may have come in the middle of a text. Without start bytes its rest looks like a whole one, so
        the first is discarded, unless the line was silent before it for as long as a text may take.
        """
        self._framing = framing
        self._max = max_message
        self._open = False
        self._text = bytearray()
        self._searched = 0  # of the open text: no start and no end begins before
        self._counted = 0  # ... and its line ends before this are counted
        self._lines = 0
        self._joining = self._torn = joins and not framing.start
        self._joined: float | None = None
        # Without start bytes, torn: the bytes up to the next end belong to a text that was given up, or missed.
        self._head = b""  # between texts: a possible beginning of the start bytes
        self._spent = 0  # ... and how much of it has ended a text: no noise, should it begin nothing
        self._started = 0.0
        self._last_byte = 0.0
        self._noise = 0
        self._waiting = b""  # bytes behind a text that waits to be kept
        self._pending = False
        self._out = bytearray()
        self._calls = bytes(framing.replies)
        behind = framing.checksum is not None and framing.checksum.place == "after"
        self._width = framing.checksum.width if behind and framing.checksum is not None else 0
        self._borders = _borders(framing.start, framing.start)
        self._last = framing.end[len(framing.end) - max(_borders(framing.end, framing.start)) :]

    # -- engine.model.ports.Link -------------------------------------------------------------------------------------

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
            if not self._went_on():
                self._out += self._framing.good

    def failed(self, now: float) -> None:
        if self._pending:
            self._pending = False
            if not self._went_on():
                self._out += self._framing.bad

    def _went_on(self) -> bool:
        """Whether the sender has called again before its answer was out: it would take it for that to its call."""
        return any(byte in self._waiting for byte in self._calls)

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
            if self._pending:  # no answer is possible any more; complete texts are kept, and come again
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
        spent, self._head, self._spent = self._spent, b"", 0
        found = data.find(start)
        if found >= 0:
            self._aside(data[spent:found], events)
            self._begin(now)
            return consumed + found + len(start)
        rest = len(data) - max(_overlaps(data, start))
        self._aside(data[spent:rest], events)
        self._head = data[rest:]
        self._spent = max(0, spent - rest)
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
        again = self._find_restart()
        end = self._find_end()
        if end >= 0 and (again is None or end <= again.at):
            again = self._find_call_in_checksum(end)
        if again is not None:
            del text[again.at :]
            self._give_up("restart", events)
            if again.called:
                self._out += framing.bad or (b"" if framing.good else framing.replies[data[at + again.at - before]])
            else:
                self._begin(now)
            return at + again.then - before
        if end < 0:
            longest = max(len(framing.start), len(framing.end), 1)
            self._searched = max(self._searched, len(text) - longest + 1)
            if len(text) > self._max:
                self._give_up("too-large", events)
            return len(data)
        whole = end + len(framing.end) + self._width
        if len(text) < whole:
            self._searched = end  # the checksum may hold any byte: no start is looked for in it
            return len(data)
        self._finish(bytes(text[:whole]), end, now, events)
        return at + whole - before

    def _find_restart(self) -> _Restart | None:
        """Where the sender begins anew in the open text: start bytes or a call, which occur only between texts."""
        start, text = self._framing.start, self._text
        if not self._searched:
            for size in self._borders:  # the old start broke off, and its last bytes are the first of the new one
                if size and text.startswith(start[size:]):
                    return _Restart(0, len(start) - size)
        found = text.find(start, self._searched) if start else -1
        calls = [at for byte in self._calls if (at := text.find(byte, self._searched)) >= 0]
        if calls and (found < 0 or min(calls) < found):
            return _Restart(min(calls), min(calls) + 1, called=True)
        return None if found < 0 else _Restart(found, found + len(start))

    def _find_call_in_checksum(self, end: int) -> _Restart | None:
        """A call after the end bytes, which begin at ``end``: the text broke off there. Only hex digits can show it."""
        framing = self._framing
        if self._width and framing.checksum is not None and framing.checksum.written == "hex":
            first = end + len(framing.end)
            for at, byte in enumerate(self._text[first : first + self._width], first):
                if byte in self._calls:
                    return _Restart(at, at + 1, called=True)
        return None

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

    def _finish(self, raw: bytes, end: int, now: float, events: list[LinkEvent]) -> None:
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
                    if self._width and self._begins_in(checksum):
                        self._begin_in(checksum, end, now, events)
                    else:
                        self._refuse("checksum", content, events)
                    return
        self._complete(content, events, raw)
        if not self._width:
            self._take_head(self._last)

    def _begins_in(self, checksum: bytes) -> bool:
        """Whether the bytes in the place of a checksum may be the start of the next text: this one broke off there."""
        start, seen = self._framing.start, self._last + checksum
        return bool(start) and (start in seen or max(_overlaps(seen, start)) > 0)

    def _begin_in(self, checksum: bytes, end: int, now: float, events: list[LinkEvent]) -> None:
        """Give up the open text, which broke off at its end bytes, and read what follows them again."""
        del self._text[end:]
        self._give_up("restart", events)
        self._take_head(self._last)
        at = 0
        while at < len(checksum):  # too few bytes for a whole text
            at = (self._inside if self._open else self._between)(checksum, at, now, events)

    def _take_head(self, head: bytes) -> None:
        self._head, self._spent = head, len(head)

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
            limit = " (max_message)" if cause == "too-large" else ""
            detail = f"{len(content)} bytes{limit} without the end of the text"
            events.append(LinkFault(f"text-{cause}", detail, content[:SAMPLE_BYTES]))
        if content.strip(BLANKS + self._framing.between):
            events.append(SessionEnd(cause, incomplete=content, too_large=cause == "too-large"))

    def _close(self) -> None:
        self._open = False
        self._text = bytearray()
        self._searched = self._counted = self._lines = 0

    def _timed_out(self, now: float) -> bool:
        return self._open and now - self._started >= self._framing.timeout


def _overlaps(data: bytes, start: bytes) -> list[int]:
    """How many bytes at the end of ``data`` may be the beginning of ``start``, but not all of it; 0 is one of them."""
    return [length for length in range(max(0, min(len(start) - 1, len(data))), -1, -1) if data.endswith(start[:length])]


def _borders(before: bytes, start: bytes) -> list[int]:
    """How many bytes ``before`` and a ``start`` right behind it may share, when ``before`` broke off; 0 is one of them.

    Only where the rest of ``start`` says that it is one: in a row of the same character two bars look like one longer
    bar.
    """
    return [size for size in _overlaps(before, start) if not size or set(start[size:]) - set(start[:size])]
