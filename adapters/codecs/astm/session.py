"""One session of a receiving E1381 link: its settings, state and text, the answers that it owes. Pure.

A table maps a state and an event to the next state and the answer. A good frame has no answer there: its ACK is due
once the caller says that the frame is durable.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from adapters.codecs.astm.frames import ACK, NAK, SAMPLE_BYTES, WireFrame
from adapters.codecs.astm.messages import Assembled, MessageAssembler, begins_with_header
from engine.model.link_events import LinkEvent, LinkFault, SessionEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class AstmOptions:
    """A channel's settings for its analyzer's link.

    Attributes:
        framing: ``e1381``; ``enq-less`` takes frames, or text from its H on, without ENQ too; ``none`` is text without
            frames.
        checksum: ``required``; ``warn`` accepts a frame with any sum and reports it, ``ignore`` does not report it.
        frame_numbers: ``strict``; ``warn`` accepts frames with any number (some count from 0, some never restart) and
            reports it, ``ignore`` does not report it and accepts frames without a number.
        acks: the answers that the analyzer waits for: to each ``frame``; to ENQ and EOT only (``session``); ``none``.
        answer_stx: an STX that comes alone waits for an answer, and so does the EOT behind such a frame. It has neither
            a number nor a sum, and ends with its ETX (Snibe).
        commit: hold the ACK of each ``frame`` until it is durable, or only that of the frame that ends a ``message``.
        record_end: a record ends with its ``cr``; with ``etx`` at the end of a frame as well, where that is no ETB.
        end: a message ends with its L ``record``; with ``eot`` the end of the session completes what is open.
        max_frame: bytes from STX through ETX or ETB.
        max_message: bytes of text from H through L.
        max_frames: frames of one message.
        receive_timeout: seconds that a frame may take, counted from the answer to the one before.
        answer_within: seconds after which the sender has given up waiting: a later ACK would be taken as the answer to
            another frame.
    """

    framing: Literal["e1381", "enq-less", "none"] = "e1381"
    checksum: Literal["required", "warn", "ignore"] = "required"
    frame_numbers: Literal["strict", "warn", "ignore"] = "strict"
    acks: Literal["frame", "session", "none"] = "frame"
    answer_stx: bool = False
    commit: Literal["frame", "message"] = "frame"
    record_end: Literal["cr", "etx"] = "cr"
    end: Literal["record", "eot"] = "record"
    max_frame: int = 64_000
    max_message: int = 16 * 1024 * 1024
    max_frames: int = 100_000
    receive_timeout: float = 30.0
    answer_within: float = 15.0


_LINE_END = b"\r\n"


class Session:
    """The frames accepted so far.

    Attributes:
        messages: its text.
        expected: the next frame number; None where a session without ENQ may begin with any.
        by_enq: it began with ENQ, so EOT will end it.
        stx_answered: its sender waits for an answer to STX, so to EOT as well.
        carried: it had content, so its end is reported.
        nak_open: the last frame sent did not get through.
        lost: something did not get through and will not be sent again.
    """

    def __init__(self, options: AstmOptions, *, by_enq: bool) -> None:
        self.messages = MessageAssembler(max_message=options.max_message, etx_ends_record=options.record_end == "etx")
        self.expected = 1 if by_enq else None
        self.by_enq = by_enq
        self.stx_answered = False
        self.carried = False
        self.nak_open = False
        self.lost = False
        self._options = options
        self._resends = options.acks == "frame"  # the sender repeats a frame that got no ACK
        self._nak_number: int | None = None  # of the frame that did not get through, if it could be read
        self._last_identity = b""
        self._ended_in_etx = True  # the last frame accepted did (text without frames has none to wait for)
        self._message_frames = 0  # accepted of the open message
        self._too_large = False  # the open message outgrew a limit

    @property
    def amid(self) -> bool:
        """Whether frames of a message were accepted that is not over."""
        return self._message_frames > 0 and self._last_identity != b""

    def repeats(self, frame: WireFrame) -> bool:
        """Whether it is the frame just accepted, sent again because its ACK was lost."""
        return self._resends and frame.identity == self._last_identity

    def starts_over(self, frame: WireFrame) -> bool:
        """Whether a sender that uses no ENQ begins a new session."""
        return (
            self._options.framing == "enq-less"
            and frame.number != self.expected is not None
            and frame.sum_is_right
            and frame.identity != self._last_identity
            and begins_with_header(frame.text)
        )

    def judge(self, frame: WireFrame, events: list[LinkEvent]) -> LinkFault | None:
        """Why a frame is refused, else None. Tolerated faults are added to ``events``."""
        options, number, expected = self._options, frame.number, self.expected
        bare = self.stx_answered and number is None and not frame.given
        if not (bare or frame.sum_is_right) and options.checksum != "ignore":
            if options.checksum == "required":
                return self._fault("bad-checksum", frame)
            events.append(self._fault("checksum-tolerated", frame))
        if self.repeats(frame):
            return None
        if bare and not self._is_whole(frame):
            return self._fault("bad-layout", frame, "neither number nor sum, and no whole message; ")
        if number is None and not bare and options.frame_numbers != "ignore":
            return self._fault("bad-layout", frame, "no frame number; ")
        if self._went_on(number):
            self.lost = True
            return self._fault("frame-number", frame, "the sender went on after a NAK; ")
        if expected is not None and number != expected and not bare:
            if options.frame_numbers == "strict":
                return self._fault("frame-number", frame)
            elif options.frame_numbers == "warn":
                events.append(self._fault("frame-number-tolerated", frame))
        why = self.messages.misplaced(frame.text, last=frame.last, behind_etx=self._ended_in_etx)
        if why:  # of a sender that repeats nothing, a frame was lost
            return self._fault("bad-layout" if self._resends else "frame-number", frame, f"{why}; ")
        if (full := self.no_room_for(frame.text)) is not None:
            return self._fault("too-large", frame, f"{full}; ")
        if self._message_frames >= options.max_frames:
            self._too_large = True
            return self._fault("too-many-frames", frame, f"the message has over {options.max_frames} frames; ")
        return None

    def _is_whole(self, frame: WireFrame) -> bool:
        """Whether a frame has a message, from its header to its terminator, and nothing besides."""
        found = self.messages.take(frame.text, last=frame.last)
        whole = b"".join(found.completes).rstrip(_LINE_END) == frame.text.rstrip(_LINE_END)
        return begins_with_header(frame.text) and whole and not (found.opens or found.aside)

    def no_room_for(self, text: bytes) -> str | None:
        """Why ``text`` makes the open message too large; None where it has room."""
        if self.messages.room_for(text):
            return None
        self._too_large = True
        return f"the message is over max_message ({self._options.max_message} bytes)"

    def accept(self, frame: WireFrame | None, assembled: Assembled) -> None:
        """A frame, or text without frames (None), is taken."""
        self.messages.keep(assembled)
        self.carried = True
        self.nak_open = False
        self._message_frames = 0 if assembled.completes else self._message_frames + 1
        if frame is not None:
            self._last_identity = frame.identity
            self._ended_in_etx = frame.last
            number = frame.number if frame.number is not None else self.expected
            self.expected = (number + 1) % 8 if number is not None else None

    def reject(self, number: int | None, text: bytes, *, answered: bool = True) -> None:
        """A frame did not get through. Where the sender hears no NAK it is lost, and its message with it."""
        self.nak_open = True
        self._nak_number = number
        if not (answered and self._resends):
            self.lost = self.carried = True
            self.expected = None
            self.messages.tear(text)

    def end(self, cause: str, rest: bytes, *, in_text: bool) -> SessionEnd | None:
        """End it; None where it had no content.

        Args:
            rest: text without frames that had no end so far.
            in_text: such text was being read.
        """
        whole = self._options.end == "eot" and self._ended_in_etx and not self.nak_open
        if rest:
            self.messages.keep(self.messages.take(rest, last=False))
        whole = whole or (in_text and self.messages.terminator_pending)
        completes, incomplete = self.messages.end(complete=whole and cause == "eot")
        if not self.carried:
            return None
        return SessionEnd(cause, completes, incomplete, too_large=self._too_large and bool(incomplete))

    def _went_on(self, number: int | None) -> bool:
        """Whether the sender left out a frame that it was to repeat.

        It does not listen, or it took an answer for another's. Eight frames later the number would fit again, and the
        message would have a hole: so nothing of this session is taken any more.
        """
        if not self._resends or self.expected is None:
            return False
        return self.lost or (self.nak_open and number not in (self.expected, self._nak_number))

    def _fault(self, kind: str, frame: WireFrame, why: str = "") -> LinkFault:
        """The fault of a frame, with both sums and both numbers."""
        number, expected = frame.number, self.expected
        return LinkFault(
            kind,
            f"{why}checksum {frame.given.decode('ascii') or 'missing'}, computed {frame.computed:02X}; "
            f"number {'missing' if number is None else number}, expected {'any' if expected is None else expected}",
            frame.raw[:SAMPLE_BYTES],
        )


class State(Enum):
    __hash__ = object.__hash__  # these are looked up for every frame, and Enum's own is slow

    IDLE = auto()
    RECEIVING = auto()
    HOLDING = auto()  # a good frame waits to be durable; bytes that come meanwhile wait, too


class Event(Enum):
    """Input of the link's state machine: checked tokens from the line, and calls of the caller."""

    __hash__ = object.__hash__

    ENQ = auto()
    STX = auto()  # one that is answered before its frame
    BEGUN = auto()  # a frame or text that begins a session without ENQ, where that is allowed
    GOOD_FRAME = auto()
    GOOD_FRAME_INSIDE = auto()  # one that ends no message, with `commit: message`
    DUPLICATE = auto()  # the frame just accepted again, byte for byte: our ACK was lost
    BAD_FRAME = auto()
    DURABLE = auto()
    NOT_DURABLE = auto()
    UNANSWERED = auto()  # either, but no answer is due: text without frames, or the sender has given up waiting
    EOT = auto()
    EOT_AFTER_LOSS = auto()  # something of the session did not get through
    TIMEOUT = auto()
    CLOSED = auto()


# (state, event) -> (next state, answer). A missing pair does not happen: bytes that come while HOLDING wait, and
# what belongs to no session while IDLE never becomes an event.
# BAD_FRAME leaves the expected number as it was, and so does NOT_DURABLE: the frame was never there. ENQ while
# receiving is a sender that starts over; the earlier text is set aside. TIMEOUT ends the session and not the
# connection, which may be a serial server's, open for years.
TRANSITIONS: dict[tuple[State, Event], tuple[State, bytes]] = {
    (State.IDLE, Event.ENQ): (State.RECEIVING, ACK),
    (State.IDLE, Event.BEGUN): (State.RECEIVING, b""),
    (State.RECEIVING, Event.ENQ): (State.RECEIVING, ACK),
    (State.RECEIVING, Event.STX): (State.RECEIVING, ACK),
    (State.RECEIVING, Event.GOOD_FRAME): (State.HOLDING, b""),
    (State.RECEIVING, Event.GOOD_FRAME_INSIDE): (State.RECEIVING, ACK),
    (State.RECEIVING, Event.DUPLICATE): (State.RECEIVING, ACK),
    (State.RECEIVING, Event.BAD_FRAME): (State.RECEIVING, NAK),
    (State.HOLDING, Event.DURABLE): (State.RECEIVING, ACK),
    (State.HOLDING, Event.NOT_DURABLE): (State.RECEIVING, NAK),
    (State.HOLDING, Event.UNANSWERED): (State.RECEIVING, b""),
    (State.RECEIVING, Event.EOT): (State.IDLE, ACK),
    (State.RECEIVING, Event.EOT_AFTER_LOSS): (State.IDLE, NAK),
    (State.RECEIVING, Event.TIMEOUT): (State.IDLE, b""),
    (State.RECEIVING, Event.CLOSED): (State.IDLE, b""),
}
_EOTS = frozenset({Event.EOT, Event.EOT_AFTER_LOSS})
# The events that the analyzer waits to be answered, by the channel's `acks`.
_AWAITED = {"frame": frozenset(Event) - _EOTS, "session": _EOTS | {Event.ENQ}, "none": frozenset[Event]()}


class Answers:
    """The answers of one link.

    Attributes:
        state: the current state.
    """

    def __init__(self, acks: Literal["frame", "session", "none"]) -> None:
        self.state = State.IDLE
        self._awaited = _AWAITED[acks]
        self._out = bytearray()

    def go(self, event: Event, *, awaited: bool = False) -> None:
        """``awaited``: the analyzer waits for the answer, whatever `acks` says."""
        self.state, answer = TRANSITIONS[self.state, event]
        if awaited or event in self._awaited:
            self._out += answer

    def outgoing(self) -> bytes:
        """The answers that are due; empties them."""
        out = bytes(self._out)
        self._out.clear()
        return out
