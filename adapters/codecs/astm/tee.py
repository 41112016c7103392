"""Listen to the traffic through a tee on an ASTM E1381 line. Pure; it answers nothing.

    analyzer     ENQ      frame 1      frame 2      frame 2      EOT
    middleware       ACK          ACK          NAK          ACK

Both sides may send, one session at a time, so each side has a receiver of its own (`link`), with the options of
the channel: a tee accepts what LabRelay would accept in the middleware's place, and nothing that the middleware
refused. The other side's ACK (or its EOT, by which a receiver interrupts a sender) takes the place of "durable" here,
and its NAK that of "not durable". Text that was neither accepted nor repeated is evidence: of a session that was given
up.

An answer passes here before the next byte of the side that waits for it. So after an ENQ, earlier frames without an
answer will never get one.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from adapters.codecs.astm.frames import ACK, ENQ, EOT, NAK, STX, read_frame
from adapters.codecs.astm.link import AstmReceiver
from adapters.codecs.astm.session import AstmOptions, State
from adapters.codecs.link_options import options_of
from engine.model import link_events

_CONTROL = re.compile(b"[" + ENQ + EOT + ACK + NAK + b"]")


def listeners(source: object) -> "Callable[[], AstmListener]":
    """Return the factory that makes a listener for each connection of a channel."""
    options = replace(options_of(AstmOptions, source), commit="frame")
    return lambda: AstmListener(options)


class AstmListener:
    """One connection, heard from the middle (`engine.model.ports.TeeLink`)."""

    def __init__(self, options: AstmOptions | None = None) -> None:
        options = options or AstmOptions()
        self._sides = {way: _Side(way, options) for way in link_events.Direction}

    @property
    def held(self) -> int:
        return sum(side.receiver.held for side in self._sides.values())

    @property
    def receiving(self) -> bool:
        return any(side.receiver.state is not State.IDLE for side in self._sides.values())

    def hear(self, way: link_events.Direction, data: bytes, now: float) -> list[link_events.TeeEvent]:
        side, other = self._sides[way], self._sides[way.other]
        events: list[link_events.TeeEvent] = []
        at = 0
        for match in _CONTROL.finditer(data):
            events += side.feed(data[at : match.start()], now)
            at = match.start()
            answers = match[0] in (ACK, NAK) and other.waits and side.receiver.state is State.IDLE
            if side.receiver.mid_frame and not answers:  # noise in a frame, or its end; the receiver knows
                continue
            at = match.end()
            if match[0] in (ACK, NAK):
                events += other.answered(match[0], now)
            elif match[0] == EOT:
                events += other.answered(EOT, now)
                events += side.ended(now)
            else:
                events += side.began(now)
        events += side.feed(data[at:], now)
        return events

    def deadline(self) -> float | None:
        due = (side.receiver.deadline() for side in self._sides.values())
        return min((at for at in due if at is not None), default=None)

    def tick(self, now: float) -> list[link_events.TeeEvent]:
        return [event for side in self._sides.values() for event in side.take(side.receiver.tick(now), now)]

    def closed(self) -> list[link_events.TeeEvent]:
        return [event for side in self._sides.values() for event in side.closed()]


class _Side:
    """The frames that one side sends, and the answers of the other."""

    def __init__(self, way: link_events.Direction, options: AstmOptions) -> None:
        self.receiver = AstmReceiver(options)
        self._way = way
        self._answers = options.acks == "frame"
        self._most_behind = options.max_message
        self._held: link_events.Frame | None = None  # waits for the other side's answer
        self._given_up = b""  # text of the frame that was not accepted, until it is sent again
        self._refused = False  # with NAK, since the last message

    @property
    def waits(self) -> bool:
        """Whether the other side may answer now."""
        return self.receiver.state is not State.IDLE

    def feed(self, data: bytes, now: float) -> list[link_events.TeeEvent]:
        if not data:
            return []
        events = self.take(self.receiver.receive(data, now), now)
        if self.receiver.waits_behind > self._most_behind:
            events += self._unanswered(now)
        return events

    def answered(self, answer: bytes, now: float) -> list[link_events.TeeEvent]:
        """The other side answers. This ends the frame that this side was sending, even if bytes are missing."""
        events = self.take(self.receiver.silence(now), now) if self._held is None else []
        frame, self._held = self._held, None
        if frame is None:  # to ENQ, or to what our receiver did not take
            self._refused = self._refused or (answer == NAK and self.receiver.state is not State.IDLE)
            return events
        if answer == NAK:
            self._refused, self._given_up = True, _text(frame)
            self.receiver.failed(now)
        else:
            self._given_up = b""
            self.receiver.committed(now)
            events += self._completed(frame.completes)
        return events + self.take(self.receiver.receive(b"", now), now)

    def began(self, now: float) -> list[link_events.TeeEvent]:
        """ENQ ends everything that this side had sent before, answered or not."""
        events = self._unanswered(now) + self.take(self.receiver.receive(ENQ, now), now) + self._evidence(b"")
        self._refused = False
        return events

    def ended(self, now: float) -> list[link_events.TeeEvent]:
        """EOT. Behind further frames that wait for answers it waits, too: their sender did not wait for them."""
        events = [] if self.receiver.waits_behind else self._unanswered(now)
        events += self.take(self.receiver.receive(EOT, now), now)
        return events if self._held is not None else events + self._evidence(b"")

    def closed(self) -> list[link_events.TeeEvent]:
        if self._held is not None:
            self._given_up, self._held = _text(self._held), None
        return self.take(self.receiver.closed(), 0.0) + self._evidence(b"")

    def take(self, found: list[link_events.LinkEvent], now: float) -> list[link_events.TeeEvent]:
        """Act on what the receiver found."""
        events: list[link_events.TeeEvent] = []
        while found:
            accepted = False
            for event in found:
                if isinstance(event, link_events.Frame):
                    accepted = self._take_frame(event, now, events)
                elif isinstance(event, link_events.SessionEnd):
                    events += self._completed(event.completes)
                    events += self._evidence(event.incomplete)
                elif isinstance(event, link_events.LinkFault):
                    events.append(event)
            found = self.receiver.receive(b"", now) if accepted else []
        self.receiver.outgoing()  # what we would have answered
        return events

    def _take_frame(self, frame: link_events.Frame, now: float, events: list[link_events.TeeEvent]) -> bool:
        """Hold a frame until it is answered. True: no answer will come, so it is accepted as it is."""
        if self._answers and frame.raw.startswith(STX):
            self._held = frame
            return False
        self.receiver.committed(now)
        events += [link_events.OverheardMessage(self._way, text) for text in frame.completes]
        return True

    def _unanswered(self, now: float) -> list[link_events.TeeEvent]:
        """No answer to what is held will come any more."""
        events: list[link_events.TeeEvent] = []
        while self._held is not None:
            self._given_up, self._held = _text(self._held), None
            self.receiver.failed(now)
            events += self.take(self.receiver.receive(b"", now), now)
        return events

    def _completed(self, texts: tuple[bytes, ...]) -> list[link_events.TeeEvent]:
        notes = (f"{self._way.other.value} answered NAK before ACK",) if self._refused and texts else ()
        if texts:
            self._refused = False
        answered = link_events.Answered.ACCEPTED if self._answers else link_events.Answered.NOT
        return [link_events.OverheardMessage(self._way, text, answered=answered, notes=notes) for text in texts]

    def _evidence(self, incomplete: bytes) -> list[link_events.TeeEvent]:
        """Text that never became a message, with the frame that the other side did not accept."""
        given_up, self._given_up = self._given_up, b""
        if not incomplete + given_up:
            return []
        refused, self._refused = self._refused, False
        notes: tuple[str, ...] = ()
        if refused:
            notes = (f"{self._way.other.value} answered NAK",)
        elif given_up:
            notes = (f"{self._way.other.value} did not acknowledge all of it",)
        answered = link_events.Answered.REFUSED if refused else link_events.Answered.NOT
        return [
            link_events.OverheardMessage(self._way, incomplete + given_up, whole=False, answered=answered, notes=notes)
        ]


def _text(frame: link_events.Frame) -> bytes:
    read = read_frame(frame.raw)
    return read.text if read is not None else frame.raw
