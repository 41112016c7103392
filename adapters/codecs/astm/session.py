"""One session of a receiving E1381 link: its text, the number of its next frame, and why a frame is refused. Pure."""

from adapters.codecs.astm.frames import SAMPLE_BYTES, WireFrame
from adapters.codecs.astm.messages import Assembled, MessageAssembler, begins_with_header
from adapters.codecs.astm.options import AstmOptions
from engine.model.link_events import LinkEvent, LinkFault, SessionEnd

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
