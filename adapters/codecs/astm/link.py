"""The receiving side of an ASTM E1381 (LIS1) link: sessions, acknowledgements, timers. Pure: bytes in, events out.

    sender    ENQ      frame 1      frame 2          EOT
    receiver      ACK          ACK          NAK|ACK

A sender forgets a frame once it is acknowledged, and EOT gets no answer at all. So the ACK of each frame is held until
the caller says that the frame is durable; NAK is the answer to everything else, and the sender then repeats the frame
under the same number. `frames` reads the layout, `messages` finds the messages in the text of a session.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from adapters.codecs.astm.frames import ACK, NAK, SAMPLE_BYTES, FrameReader, Seen, Token, WireFrame, read_frame
from adapters.codecs.astm.messages import Assembled, MessageAssembler, begins_with_header
from adapters.codecs.link_options import options_of
from engine.model.link_events import Frame, LinkEvent, LinkFault, SessionEnd

REACTION_S = 0.1  # a sender that gives up amid a message, and begins anew, takes longer than this to do so
SILENCE_S = 0.3  # a frame is over when the line is silent this long: many bytes at 1200 baud, few lost packets on TCP


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
        commit: hold the ACK of each ``frame`` until it is durable, or only that of the frame that ends a ``message``.
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
    commit: Literal["frame", "message"] = "frame"
    end: Literal["record", "eot"] = "record"
    max_frame: int = 64_000
    max_message: int = 16 * 1024 * 1024
    max_frames: int = 100_000
    receive_timeout: float = 30.0
    answer_within: float = 15.0


def links(source: object) -> "Callable[[], AstmReceiver]":
    """Return the factory that makes a link for each connection of a channel."""
    options = options_of(AstmOptions, source)
    return lambda: AstmReceiver(options)


@dataclass(slots=True)
class SessionCounters:
    """Counts since the current session, or the last one, began."""

    frames: int = 0
    naks: int = 0
    duplicates: int = 0
    bad_checksums: int = 0
    late_answers: int = 0
    stray_bytes: int = 0


class State(Enum):
    __hash__ = object.__hash__  # these are looked up for every frame, and Enum's own is slow

    IDLE = auto()
    RECEIVING = auto()
    HOLDING = auto()  # a good frame waits to be durable; bytes that come meanwhile wait, too


class Event(Enum):
    """Input of the link's state machine: checked tokens from the line, and calls of the caller."""

    __hash__ = object.__hash__

    ENQ = auto()
    ENQ_REFUSED = auto()  # ENQ while nothing can be kept
    BEGUN = auto()  # a frame or text that begins a session without ENQ, where that is allowed
    GOOD_FRAME = auto()
    GOOD_FRAME_INSIDE = auto()  # one that ends no message, with `commit: message`
    DUPLICATE = auto()  # the frame just accepted again, byte for byte: our ACK was lost
    BAD_FRAME = auto()
    DURABLE = auto()
    NOT_DURABLE = auto()
    UNANSWERED = auto()  # either, but no answer is due: text without frames, or the sender has given up waiting
    EOT = auto()
    TIMEOUT = auto()
    CLOSED = auto()


# (state, event) -> (next state, answer). A missing pair does not happen: bytes that come while HOLDING wait, and
# what belongs to no session while IDLE never becomes an event.
# GOOD_FRAME has no answer yet: see the module's docstring. BAD_FRAME leaves the expected number as it was, and so does
# NOT_DURABLE: the frame was never there. ENQ while receiving is a sender that starts over; the earlier text is set
# aside. TIMEOUT ends the session and not the connection, which may be a serial server's, open for years.
TRANSITIONS: dict[tuple[State, Event], tuple[State, bytes]] = {
    (State.IDLE, Event.ENQ): (State.RECEIVING, ACK),
    (State.IDLE, Event.ENQ_REFUSED): (State.IDLE, NAK),
    (State.IDLE, Event.BEGUN): (State.RECEIVING, b""),
    (State.RECEIVING, Event.ENQ): (State.RECEIVING, ACK),
    (State.RECEIVING, Event.ENQ_REFUSED): (State.IDLE, NAK),
    (State.RECEIVING, Event.GOOD_FRAME): (State.HOLDING, b""),
    (State.RECEIVING, Event.GOOD_FRAME_INSIDE): (State.RECEIVING, ACK),
    (State.RECEIVING, Event.DUPLICATE): (State.RECEIVING, ACK),
    (State.RECEIVING, Event.BAD_FRAME): (State.RECEIVING, NAK),
    (State.HOLDING, Event.DURABLE): (State.RECEIVING, ACK),
    (State.HOLDING, Event.NOT_DURABLE): (State.RECEIVING, NAK),
    (State.HOLDING, Event.UNANSWERED): (State.RECEIVING, b""),
    (State.RECEIVING, Event.EOT): (State.IDLE, b""),
    (State.RECEIVING, Event.TIMEOUT): (State.IDLE, b""),
    (State.RECEIVING, Event.CLOSED): (State.IDLE, b""),
}
ANSWERED_ONCE_A_SESSION = (Event.ENQ, Event.ENQ_REFUSED)  # with `acks: session`; EOT too, as it went


@dataclass(slots=True)
class _Held:
    """A frame that waits for the caller's word. ``frame`` is None for text without frames."""

    frame: WireFrame | None
    text: bytes
    assembled: Assembled
    since: float


@dataclass(slots=True)
class _Session:
    """The state of a session, besides its text.

    Attributes:
        expected: the next frame number; None where a session without ENQ may begin with any.
        by_enq: it began with ENQ, so EOT will end it.
        carried: it had content, so its end is reported.
        nak_open: the last frame sent did not get through, and ``nak_number`` was its number if that could be read.
        lost: something did not get through and will not be sent again.
        ended_in_etx: the last frame accepted did (text without frames has none to wait for).
        message_frames: frames accepted of the open message.
        too_large: the open message outgrew a limit.
    """

    expected: int | None
    by_enq: bool
    stray_before: int
    last_identity: bytes = b""
    carried: bool = False
    nak_open: bool = False
    nak_number: int | None = None
    lost: bool = False
    ended_in_etx: bool = True
    message_frames: int = 0
    too_large: bool = False


class AstmReceiver:
    """One connection's receiving link (`engine.model.ports.Link`).

    `receive` and `tick` return events up to and including one `Frame`. That frame is held: the caller stores it, calls
    `committed` or `failed`, writes `outgoing`, and fetches what came behind it with ``receive(b"", now)`` until that
    returns nothing. Bytes given meanwhile are kept and looked at later. With ``commit: message`` only frames that end a
    message are reported and held.

    A `SessionEnd` is reported for every session that carried a frame, so that a keep-alive (ENQ, EOT) is silent. A
    message that it completes cannot be refused any more: EOT has no answer.

    Where the analyzer waits for no answer (``acks: session`` or ``none``) a bad frame is not sent again. The message it
    belongs to can then never be whole: it is set aside, and the next one begins with the next frame that begins with H.

    Attributes:
        counters: of the current session, or the last one.
    """

    def __init__(self, options: AstmOptions | None = None) -> None:
        self._options = options or AstmOptions()
        self._reader = FrameReader(
            max_frame=self._options.max_frame,
            frames=self._options.framing != "none",
            checksum_needed=self._options.checksum == "required",
        )
        self._messages = MessageAssembler(max_message=self._options.max_message)
        self._state = State.IDLE
        self._refusing = False
        self._held: _Held | None = None
        self._out = bytearray()
        self._silent_at: float | None = None
        self._frame_due: float | None = None
        self.counters = SessionCounters()
        self._session = _Session(expected=None, by_enq=False, stray_before=0)
        self._behind = False  # what comes next has waited, perhaps longer than its sender did
        self._rest()

    # -- what the caller does ------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        return self._reader.held + self._messages.held

    @property
    def state(self) -> State:
        return self._state

    @property
    def stray(self) -> int:
        """Bytes so far that belonged to nothing."""
        return self._reader.stray

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun that is not over."""
        return self._reader.open

    @property
    def waits_behind(self) -> int:
        """Bytes that wait until a held frame is answered."""
        return self._reader.unread if self._state is State.HOLDING else 0

    traced = True

    @property
    def resting(self) -> bool:
        """Between two sessions, and nothing has begun that may become one."""
        return self._state is State.IDLE and not self._reader.open and not self._reader.in_text

    @property
    def blank(self) -> bool:
        """A session has begun, and nothing of it has come."""
        session, reader = self._session, self._reader
        begun = self._state is State.RECEIVING and not session.carried and not session.nak_open
        return begun and not reader.open and not reader.in_text and not reader.unread

    def refuse(self, refusing: bool) -> None:
        """``True``: nothing can be kept (disk full, draining), so ENQ is answered with NAK. ``False``: it can again."""
        self._refusing = refusing

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        events: list[LinkEvent] = []
        if data:
            self._silent_at = now + SILENCE_S
        if self._state is State.RECEIVING and (frame := self._reader.whole(data)) is not None:
            self._take_frame(frame, now, events)
        elif data or self._reader.unread:
            self._reader.feed(data)
            self._read(now, events)
        if data:
            self._behind = False
        # After the bytes: bytes that came in time count, even if this process reads them late.
        self._check_frame_timer(now, events)
        return events

    def tick(self, now: float) -> list[LinkEvent]:
        events: list[LinkEvent] = []
        self._read(now, events)
        if self._state is State.HOLDING:
            return events
        if self._reader.waiting and self._silent_at is not None and now >= self._silent_at:
            self._fall_silent(now, events)
        self._check_frame_timer(now, events)
        return events

    def silence(self, now: float) -> list[LinkEvent]:
        """The sender has finished its frame: another receiver on the line has answered it."""
        events: list[LinkEvent] = []
        self._read(now, events)
        if self._state is not State.HOLDING and self._reader.open and self._reader.waiting:
            self._fall_silent(now, events)
        return events

    def _fall_silent(self, now: float, events: list[LinkEvent]) -> None:
        self._silent_at = None
        for token in self._reader.silence():
            self._see(token, now, events)

    def committed(self, now: float) -> None:
        held = self._release(now)
        self._accept(held.frame, held.assembled)
        self._go(self._answer_to(held, Event.DURABLE, now))

    def failed(self, now: float) -> None:
        held = self._release(now)
        number = held.frame.number if held.frame is not None else None
        self._reject(number, held.text, answered=held.frame is not None)
        self._go(self._answer_to(held, Event.NOT_DURABLE, now))

    def outgoing(self) -> bytes:
        out = bytes(self._out)
        self._out.clear()
        return out

    def deadline(self) -> float | None:
        if self._state is State.HOLDING:
            return None
        due = self._frame_due
        if self._reader.waiting and self._silent_at is not None and (due is None or self._silent_at < due):
            return self._silent_at
        return due

    def closed(self) -> list[LinkEvent]:
        """The stream ended; no answer is possible any more.

        A frame without its ACK is left to its sender, who still has it. Where the sender waits for no ACK, nothing else
        has the frame: complete frames are kept.
        """
        events: list[LinkEvent] = []
        if self._options.acks == "frame" and not self._reader.in_text:
            if self._held is not None:
                self._release(0.0)
                self._go(Event.UNANSWERED)
        else:
            self._keep_what_came(events)
        if self._state is State.RECEIVING:
            self._end("closed", events)
            self._go(Event.CLOSED)
        return events

    def wrap(self, payload: bytes) -> bytes:
        """Nothing: a session is answered with ACK and NAK only; content goes the other way in a session of its own."""
        return b""

    # -- what was seen on the line -------------------------------------------------------------------------------------

    def _read(self, now: float, events: list[LinkEvent]) -> None:
        while self._state is not State.HOLDING and (token := self._reader.next()) is not None:
            self._see(token, now, events)
        self.counters.stray_bytes = self._reader.stray - self._session.stray_before

    def _see(self, token: Token, now: float, events: list[LinkEvent]) -> None:
        if token.seen is Seen.ENQ and self._is_noise(now):
            detail = f"ENQ beside the answer to a frame; expected number {self._session.expected}"
            events.append(LinkFault("bad-layout", detail))
        elif token.seen is Seen.ENQ:
            self._see_enq(now, events)
        elif token.seen is Seen.EOT:
            self._see_eot(events)
        elif self._state is State.IDLE and not self._begins_without_enq(token, now, events):
            pass
        elif token.seen is Seen.TEXT:
            self._take_text(token.text, now, events)
        elif token.frame is not None:
            self._take_frame(token.frame, now, events)
        else:
            events.append(
                LinkFault("bad-layout", f"{token.fault}; expected number {self._session.expected}", token.sample)
            )
            digit = token.sample[1:2]
            number = int(digit) if digit.isdigit() else None
            if token.seen is Seen.BROKEN:
                self._answer_bad(number, b"", now)
            else:  # the sender went on without waiting for an answer
                self._reject(number, b"")

    def _is_noise(self, now: float) -> bool:
        """Whether an ENQ is where its sender could not have meant it: beside a frame, amid a message.

        Such an ENQ is a disturbed byte: of a frame, perhaps its CR, or between two frames. An answer to it would be one
        more than there are frames: the sender would take it as the answer to its last frame, which would be lost. An
        ENQ beside an ENQ is answered: both sides may have wanted the line. An ENQ after an unanswered frame is answered
        too: the frame was held for longer than senders wait.
        """
        if self._state is not State.RECEIVING or self._options.acks != "frame" or self._frame_due is None:
            return False
        if self._behind:
            return False
        session = self._session
        amid = session.message_frames > 0 and session.last_identity != b""
        answered_at = self._frame_due - self._options.receive_timeout
        return (session.nak_open or amid) and now < answered_at + REACTION_S

    def _see_enq(self, now: float, events: list[LinkEvent]) -> None:
        self._withdraw_late_answers()
        if self._state is State.RECEIVING:
            self._end("enq", events)
        if self._refusing:
            self._go(Event.ENQ_REFUSED)
            events.append(LinkFault("refused", "ENQ answered with NAK: nothing can be stored"))
        else:
            self._begin(1)
            self._go(Event.ENQ)
            self._frame_due = now + self._options.receive_timeout

    def _see_eot(self, events: list[LinkEvent]) -> None:
        self._withdraw_late_answers()
        if self._state is State.RECEIVING:
            if self._options.acks == "session":
                self._out += NAK if self._session.lost else ACK
            self._end("eot", events)
            self._go(Event.EOT)

    def _withdraw_late_answers(self) -> None:
        """Withdraw answers that are no longer awaited: the sender went on, and would take them as answers to its next
        frame.

        This happens where a frame was held for longer than senders wait. Their bytes since then arrive together: the
        EOT with which they gave up, an ENQ, the EOT after that. Only the last of them still wants an answer.
        """
        if self._behind and self._out:
            self.counters.late_answers += 1
            self._out.clear()

    def _begins_without_enq(self, token: Token, now: float, events: list[LinkEvent]) -> bool:
        """Whether a frame or text that came while idle begins a session."""
        if token.seen is None or (token.seen is Seen.TEXT and not token.text):
            return False
        if self._options.framing == "e1381":
            sample = token.frame.raw[:SAMPLE_BYTES] if token.frame else token.sample
            events.append(LinkFault("no-enq", "a frame outside any session", sample))
            return False
        if self._refusing:
            if token.seen is not Seen.TEXT and self._options.acks == "frame":
                self._out += NAK
            events.append(LinkFault("refused", "nothing can be stored"))
            self._reader.restart()
            return False
        self._begin(None)
        self._go(Event.BEGUN)
        self._frame_due = now + self._options.receive_timeout
        return True

    # -- frames and text -----------------------------------------------------------------------------------------------

    def _take_frame(self, frame: WireFrame, now: float, events: list[LinkEvent]) -> None:
        self._reader.unframed = False
        if self._starts_over(frame):
            self._end("enq", events)
            self._begin(None)
        fault = self._judge(frame, events)
        if fault is not None and fault.kind == "frame-number" and self._options.acks != "frame":
            events.append(fault)  # the frames between are lost for good; this one may begin the next message
            self._reject(None, b"")
        elif fault is not None:
            events.append(fault)
            self._answer_bad(frame.number, frame.text, now)
            return
        self._frame_due = now + self._options.receive_timeout
        if frame.identity == self._session.last_identity and self._options.acks == "frame":
            self.counters.duplicates += 1
            self._session.nak_open = False
            self._go(Event.DUPLICATE)
            return
        assembled = self._messages.take(frame.text, last=frame.last)
        each = self._options.commit == "frame" or self._options.end == "eot"  # EOT cannot wait: keep all before it
        if each or assembled.completes:
            number = frame.number if frame.number is not None else self._session.expected or 0
            self._hold(_Held(frame, frame.text, assembled, now), Event.GOOD_FRAME)
            # The rest of a message with a hole is evidence, and comes with the end of the session. Stored as a frame it
            # would, after a crash, be joined with the text before the hole.
            durable = each and not (assembled.torn and self._options.acks != "frame")
            events.append(Frame(frame.raw, number, durable=durable, completes=assembled.completes))
        else:
            self._accept(frame, assembled)
            self._go(Event.GOOD_FRAME_INSIDE)

    def _judge(self, frame: WireFrame, events: list[LinkEvent]) -> LinkFault | None:
        """Why a frame is refused, else None. Tolerated faults are reported here."""
        options, number, expected = self._options, frame.number, self._session.expected
        if not frame.sum_is_right and options.checksum != "ignore":
            self.counters.bad_checksums += 1
            if options.checksum == "required":
                return self._fault("bad-checksum", frame)
            events.append(self._fault("checksum-tolerated", frame))
        if frame.identity == self._session.last_identity and options.acks == "frame":
            return None
        if number is None and options.frame_numbers != "ignore":
            return self._fault("bad-layout", frame, "no frame number; ")
        if self._went_on(number):
            self._session.lost = True
            return self._fault("frame-number", frame, "the sender went on after a NAK; ")
        if expected is not None and number != expected:
            if options.frame_numbers == "strict":
                return self._fault("frame-number", frame)
            elif options.frame_numbers == "warn":
                events.append(self._fault("frame-number-tolerated", frame))
        if not self._messages.room_for(frame.text):
            self._session.too_large = True
            return self._fault("too-large", frame, f"the message is over max_message ({options.max_message} bytes); ")
        if self._session.message_frames >= options.max_frames:
            self._session.too_large = True
            return self._fault("too-many-frames", frame, f"the message has over {options.max_frames} frames; ")
        return None

    def _fault(self, kind: str, frame: WireFrame, why: str = "") -> LinkFault:
        """The fault of a frame, with both sums and both numbers."""
        number, expected = frame.number, self._session.expected
        return LinkFault(
            kind,
            f"{why}checksum {frame.given.decode('ascii') or 'missing'}, computed {frame.computed:02X}; "
            f"number {'missing' if number is None else number}, expected {'any' if expected is None else expected}",
            frame.raw[:SAMPLE_BYTES],
        )

    def _went_on(self, number: int | None) -> bool:
        """Whether the sender left out a frame that it was to repeat.

        It does not listen, or it took an answer for another's. Eight frames later the number would fit again, and the
        message would have a hole: so nothing of this session is taken any more.
        """
        session = self._session
        if self._options.acks != "frame" or session.expected is None:
            return False
        return session.lost or (session.nak_open and number not in (session.expected, session.nak_number))

    def _starts_over(self, frame: WireFrame) -> bool:
        """Whether a sender that uses no ENQ begins a new session."""
        return (
            self._options.framing == "enq-less"
            and frame.number != self._session.expected is not None
            and frame.sum_is_right
            and frame.identity != self._session.last_identity
            and begins_with_header(frame.text)
        )

    def _take_text(self, text: bytes, now: float, events: list[LinkEvent]) -> None:
        """Text without frames: no number, no sum, no answer. An empty one means that the line fell silent."""
        if not text and not self._messages.terminator_pending:
            return
        self._messages.header_restarts = True
        if not self._messages.room_for(text):
            self._session.too_large = True
            events.append(
                LinkFault("too-large", f"the message is over max_message ({self._options.max_message} bytes)")
            )
            self._reject(None, text, answered=False)
            return
        assembled = self._messages.take(text, last=not text)
        if text[-1:] in (b"\r", b"\n", b""):
            self._frame_due = now + self._options.receive_timeout
        if assembled.completes:
            self._hold(_Held(None, text, assembled, now), Event.GOOD_FRAME)
            events.append(Frame(b"".join(assembled.completes), number=0, durable=False, completes=assembled.completes))
        else:
            self._accept(None, assembled)

    def _hold(self, held: _Held, event: Event) -> None:
        self._held = held
        self._frame_due = None
        self._go(event)

    def _release(self, now: float) -> _Held:
        held, self._held = self._held, None
        if held is None:
            raise ValueError("no frame waits to be committed")
        self._frame_due = now + self._options.receive_timeout
        self._silent_at = now + SILENCE_S
        return held

    def _answer_to(self, held: _Held, event: Event, now: float) -> Event:
        if held.frame is None:
            return Event.UNANSWERED
        if now - held.since > self._options.answer_within:
            self.counters.late_answers += 1
            self._behind = True
            return Event.UNANSWERED
        return event

    def _accept(self, frame: WireFrame | None, assembled: Assembled) -> None:
        self._messages.keep(assembled)
        self._session.carried = True
        self._session.nak_open = False
        self.counters.frames += 1
        self._session.message_frames = 0 if assembled.completes else self._session.message_frames + 1
        if frame is not None:
            self._session.last_identity = frame.identity
            self._session.ended_in_etx = frame.last
            if frame.number is not None:
                self._session.expected = (frame.number + 1) % 8
            elif self._session.expected is not None:
                self._session.expected = (self._session.expected + 1) % 8

    def _answer_bad(self, number: int | None, text: bytes, now: float) -> None:
        self._frame_due = now + self._options.receive_timeout
        self._reject(number, text)
        self._go(Event.BAD_FRAME)

    def _reject(self, number: int | None, text: bytes, *, answered: bool = True) -> None:
        """A frame did not get through. Where the sender hears no NAK it is lost, and its message with it."""
        self._session.nak_open = True
        self._session.nak_number = number
        if not answered or self._options.acks != "frame":
            self._session.lost = self._session.carried = True
            self._session.expected = None
            self._messages.tear(text)

    # -- sessions ------------------------------------------------------------------------------------------------------

    def _go(self, event: Event) -> None:
        self._state, answer = TRANSITIONS[self._state, event]
        if self._options.acks == "frame" or (self._options.acks == "session" and event in ANSWERED_ONCE_A_SESSION):
            self._out += answer
            self.counters.naks += answer == NAK

    def _begin(self, expected: int | None) -> None:
        """``expected``: the first frame number; None in a session without ENQ, which may begin with any."""
        self.counters = SessionCounters()
        self._session = _Session(expected, by_enq=expected is not None, stray_before=self._reader.stray)

    def _end(self, cause: str, events: list[LinkEvent]) -> None:
        session = self._session
        whole = self._options.end == "eot" and session.ended_in_etx and not session.nak_open
        in_text = self._reader.in_text
        if rest := self._reader.restart():
            self._messages.keep(self._messages.take(rest, last=False))
        whole = whole or (in_text and self._messages.terminator_pending)
        completes, incomplete = self._messages.end(complete=whole and cause == "eot")
        if self._session.carried:
            events.append(
                SessionEnd(cause, completes, incomplete, too_large=self._session.too_large and bool(incomplete))
            )
        self._rest()

    def _rest(self) -> None:
        """Be as between two sessions."""
        self._frame_due = None
        self._reader.unframed = self._options.framing != "e1381"
        self._messages.header_restarts = False

    def _check_frame_timer(self, now: float, events: list[LinkEvent]) -> None:
        if self._frame_due is None or now < self._frame_due:
            return
        if (
            self._session.by_enq or self._reader.open or not self._messages.blank
        ):  # without ENQ there may be no EOT either
            detail = (
                f"no whole frame within {self._options.receive_timeout:g} s; expected number {self._session.expected}"
            )
            events.append(LinkFault("receive-timeout", detail))
        self._end("timeout", events)
        self._go(Event.TIMEOUT)

    def _keep_what_came(self, events: list[LinkEvent]) -> None:
        """Keep complete frames although no answer is possible."""
        self._take_held(events)
        for token in self._last_tokens():
            seen: list[LinkEvent] = []
            self._see(token, 0.0, seen)
            for event in seen:
                if isinstance(event, Frame):
                    self._take_held(events)
                else:
                    events.append(event)

    def _last_tokens(self) -> Iterator[Token]:
        while (token := self._reader.next()) is not None:
            yield token
        yield from self._reader.silence()

    def _take_held(self, events: list[LinkEvent]) -> None:
        if self._held is not None:
            held = self._release(0.0)
            self._accept(held.frame, held.assembled)
            self._go(Event.UNANSWERED)
            if held.assembled.completes:
                events.append(SessionEnd("closed", held.assembled.completes))


def assemble(frames: Iterable[bytes], *, max_message: int = AstmOptions().max_message) -> SessionEnd:
    """The content of the committed frames of one session; for a start after a crash.

    ``frames``: `Frame.raw` of each, in order. The cause is ``closed``.
    """
    messages = MessageAssembler(max_message=max_message)
    completes: list[bytes] = []
    for raw in frames:
        frame = read_frame(raw)
        if frame is not None:
            assembled = messages.take(frame.text, last=frame.last)
            messages.keep(assembled)
            completes += assembled.completes
    _, incomplete = messages.end(complete=False)
    return SessionEnd("closed", tuple(completes), incomplete)
