"""The receiving side of an ASTM E1381 (LIS1) link: what comes on the line, and its timers. Pure: bytes in, events out.

    sender    ENQ      frame 1      frame 2          EOT
    receiver      ACK          ACK          NAK|ACK

A sender forgets a frame once it is acknowledged, and EOT gets no answer at all. So the ACK of each frame is held until
the caller says that the frame is durable; NAK is the answer to everything else, and the sender then repeats the frame
under the same number. `frames` reads the layout, `session` judges the frames and has what is answered, `messages`
finds the messages in their text.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from adapters.codecs.astm.frames import SAMPLE_BYTES, FrameReader, Seen, Token, WireFrame, read_frame
from adapters.codecs.astm.messages import Assembled
from adapters.codecs.astm.session import Answers, AstmOptions, Event, Session, State
from adapters.codecs.link_options import options_of
from engine.model.link_events import Frame, LinkEvent, LinkFault, SessionEnd

REACTION_S = 0.1  # a sender that gives up amid a message, and begins anew, takes longer than this to do so
STX_ANSWER_S = 3.0  # an analyzer that waits for an answer to STX sends its ETX again after this
SILENCE_S = 0.3  # a frame is over when the line is silent this long: many bytes at 1200 baud, few lost packets on TCP


def links(source: object) -> "Callable[[], AstmReceiver]":
    """Return the factory that makes a link for each connection of a channel."""
    options = options_of(AstmOptions, source)
    return lambda: AstmReceiver(options)


@dataclass(slots=True)
class _Held:
    """A frame that waits for the caller's word. ``frame`` is None for text without frames."""

    frame: WireFrame | None
    text: bytes
    assembled: Assembled
    since: float


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
    """

    def __init__(self, options: AstmOptions | None = None) -> None:
        self._options = options or AstmOptions()
        self._reader = FrameReader(
            max_frame=self._options.max_frame,
            frames=self._options.framing != "none",
            checksum_needed=self._options.checksum == "required",
            stx_waits=self._options.answer_stx,
        )
        self._answers = Answers(self._options.acks)
        self._held: _Held | None = None
        self._silent_at: float | None = None
        self._frame_due: float | None = None
        self._session = Session(self._options, by_enq=False)
        self._behind = False  # what comes next has waited, perhaps longer than its sender did
        self._rest()

    # -- what the caller does ------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        return self._reader.held + self._session.messages.held

    @property
    def state(self) -> State:
        return self._answers.state

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
        return self._reader.unread if self.state is State.HOLDING else 0

    traced = True

    @property
    def resting(self) -> bool:
        """Between two sessions, and nothing has begun that may become one."""
        return self.state is State.IDLE and not self._reader.open and not self._reader.in_text

    @property
    def blank(self) -> bool:
        """A session has begun, and nothing of it has come."""
        session, reader = self._session, self._reader
        begun = self.state is State.RECEIVING and not session.carried and not session.nak_open
        return begun and not reader.open and not reader.in_text and not reader.unread

    def receive(self, data: bytes, now: float) -> list[LinkEvent]:
        events: list[LinkEvent] = []
        if data:
            self._silent_at = now + SILENCE_S
        if data and self.state is State.RECEIVING and (frame := self._reader.whole(data)) is not None:
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
        if self.state is State.HOLDING:
            return events
        if self._reader.waiting and self._silent_at is not None and now >= self._silent_at:
            self._fall_silent(now, events)
        self._check_frame_timer(now, events)
        return events

    def silence(self, now: float) -> list[LinkEvent]:
        """The sender has finished its frame: another receiver on the line has answered it."""
        events: list[LinkEvent] = []
        self._read(now, events)
        if self.state is not State.HOLDING and self._reader.open and self._reader.waiting:
            self._fall_silent(now, events)
        return events

    def _fall_silent(self, now: float, events: list[LinkEvent]) -> None:
        self._silent_at = None
        for token in self._reader.silence():
            self._see(token, now, events)

    def committed(self, now: float) -> None:
        held = self._release(now)
        self._session.accept(held.frame, held.assembled)
        self._answers.go(self._answer_to(held, Event.DURABLE, now))

    def failed(self, now: float) -> None:
        held = self._release(now)
        number = held.frame.number if held.frame is not None else None
        self._session.reject(number, held.text, answered=held.frame is not None)
        self._answers.go(self._answer_to(held, Event.NOT_DURABLE, now))

    def outgoing(self) -> bytes:
        return self._answers.outgoing()

    def deadline(self) -> float | None:
        if self.state is State.HOLDING:
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
                self._answers.go(Event.UNANSWERED)
        else:
            self._keep_what_came(events)
        if self.state is State.RECEIVING:
            self._end("closed", events)
            self._answers.go(Event.CLOSED)
        return events

    def wrap(self, payload: bytes) -> bytes:
        """Nothing: a session is answered with ACK and NAK only; content goes the other way in a session of its own."""
        return b""

    # -- what was seen on the line -------------------------------------------------------------------------------------

    def _read(self, now: float, events: list[LinkEvent]) -> None:
        while self.state is not State.HOLDING and (token := self._reader.next()) is not None:
            self._see(token, now, events)

    def _see(self, token: Token, now: float, events: list[LinkEvent]) -> None:
        if token.seen is Seen.ENQ and self._is_noise(now):
            detail = f"ENQ beside the answer to a frame; expected number {self._session.expected}"
            events.append(LinkFault("bad-layout", detail))
        elif token.seen is Seen.ENQ:
            self._see_enq(now, events)
        elif token.seen is Seen.EOT:
            self._see_eot(events)
        elif self.state is State.IDLE and not self._begins_without_enq(token, now, events):
            pass
        elif token.seen is Seen.STX:
            self._session.stx_answered = True
            self._answers.go(Event.STX, awaited=True)
        elif token.seen is Seen.ETX:
            self._withdraw_late_answers()
            if self._session.carried and not self._session.nak_open:
                self._answers.go(Event.DUPLICATE, awaited=True)
            else:
                self._answer_bad(None, b"", now)
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
                self._session.reject(number, b"")

    def _is_noise(self, now: float) -> bool:
        """Whether an ENQ is where its sender could not have meant it: beside a frame, amid a message.

        Such an ENQ is a disturbed byte: of a frame, perhaps its CR, or between two frames. An answer to it would be one
        more than there are frames: the sender would take it as the answer to its last frame, which would be lost. An
        ENQ beside an ENQ is answered: both sides may have wanted the line. An ENQ after an unanswered frame is answered
        too: the frame was held for longer than senders wait.
        """
        if (
            self.state is not State.RECEIVING
            or self._options.acks != "frame"
            or self._frame_due is None
            or self._behind
        ):
            return False
        session = self._session
        answered_at = self._frame_due - self._options.receive_timeout
        return (session.nak_open or session.amid) and now < answered_at + REACTION_S

    def _see_enq(self, now: float, events: list[LinkEvent]) -> None:
        self._withdraw_late_answers()
        if self.state is State.RECEIVING:
            self._end("enq", events)
        self._begin(Event.ENQ, now)

    def _see_eot(self, events: list[LinkEvent]) -> None:
        self._withdraw_late_answers()
        if self.state is State.RECEIVING:
            session = self._session
            awaited = session.stx_answered
            event = Event.EOT_AFTER_LOSS if session.lost or (awaited and session.nak_open) else Event.EOT
            self._end("eot", events)
            self._answers.go(event, awaited=awaited)

    def _withdraw_late_answers(self) -> None:
        """Withdraw answers that are no longer awaited: the sender went on, and would take them as answers to its next
        frame.

        This happens where a frame was held for longer than senders wait. Their bytes since then arrive together: the
        EOT with which they gave up, an ENQ, the EOT after that. Only the last of them still wants an answer.
        """
        if self._behind:
            self._answers.outgoing()

    def _begins_without_enq(self, token: Token, now: float, events: list[LinkEvent]) -> bool:
        """Whether a frame or text that came while idle begins a session."""
        if token.seen is None or (token.seen is Seen.TEXT and not token.text):
            return False
        if self._options.framing == "e1381":
            sample = token.frame.raw[:SAMPLE_BYTES] if token.frame else token.sample
            events.append(LinkFault("no-enq", "a frame outside any session", sample))
            return False
        self._begin(Event.BEGUN, now)
        return True

    # -- frames and text -----------------------------------------------------------------------------------------------

    def _take_frame(self, frame: WireFrame, now: float, events: list[LinkEvent]) -> None:
        self._reader.unframed = False
        session = self._session
        if session.starts_over(frame):
            self._end("enq", events)
            session = self._session = Session(self._options, by_enq=False)
        fault = session.judge(frame, events)
        if fault is not None and fault.kind == "frame-number" and self._options.acks != "frame":
            events.append(fault)  # the frames between are lost for good; this one may begin the next message
            session.reject(None, b"")
        elif fault is not None:
            events.append(fault)
            self._answer_bad(frame.number, frame.text, now)
            return
        self._wait_for_frame(now)
        if session.repeats(frame):
            session.nak_open = False
            self._answers.go(Event.DUPLICATE)
            return
        assembled = session.messages.take(frame.text, last=frame.last)
        each = self._options.commit == "frame" or self._options.end == "eot"  # EOT cannot wait: keep all before it
        if each or assembled.completes:
            number = frame.number if frame.number is not None else session.expected or 0
            self._hold(_Held(frame, frame.text, assembled, now))
            # The rest of a message with a hole is evidence, and comes with the end of the session. Stored as a frame it
            # would, after a crash, be joined with the text before the hole.
            durable = each and not (assembled.torn and self._options.acks != "frame")
            events.append(Frame(frame.raw, number, durable=durable, completes=assembled.completes))
        else:
            session.accept(frame, assembled)
            self._answers.go(Event.GOOD_FRAME_INSIDE)

    def _take_text(self, text: bytes, now: float, events: list[LinkEvent]) -> None:
        """Text without frames: no number, no sum, no answer. An empty one means that the line fell silent."""
        session = self._session
        if not text and not session.messages.terminator_pending:
            return
        session.messages.header_restarts = True
        if (full := session.no_room_for(text)) is not None:
            events.append(LinkFault("too-large", full))
            session.reject(None, text, answered=False)
            return
        assembled = session.messages.take(text, last=not text)
        if text[-1:] in (b"\r", b"\n", b""):
            self._wait_for_frame(now)
        if assembled.completes:
            self._hold(_Held(None, text, assembled, now))
            events.append(Frame(b"".join(assembled.completes), number=0, durable=False, completes=assembled.completes))
        else:
            session.accept(None, assembled)

    def _hold(self, held: _Held) -> None:
        self._held = held
        self._frame_due = None
        self._answers.go(Event.GOOD_FRAME)

    def _release(self, now: float) -> _Held:
        held, self._held = self._held, None
        if held is None:
            raise ValueError("no frame waits to be committed")
        self._wait_for_frame(now)
        self._silent_at = now + SILENCE_S
        return held

    def _answer_to(self, held: _Held, event: Event, now: float) -> Event:
        if held.frame is None:
            return Event.UNANSWERED
        within = STX_ANSWER_S if self._session.stx_answered else self._options.answer_within
        if now - held.since > within:
            self._behind = True
            return Event.UNANSWERED
        return event

    def _answer_bad(self, number: int | None, text: bytes, now: float) -> None:
        self._wait_for_frame(now)
        self._session.reject(number, text)
        self._answers.go(Event.BAD_FRAME)

    # -- sessions ------------------------------------------------------------------------------------------------------

    def _begin(self, event: Event, now: float) -> None:
        """Begin a session: with its ENQ, or with a frame or text (BEGUN), which may have any number."""
        self._session = Session(self._options, by_enq=event is Event.ENQ)
        self._answers.go(event)
        self._wait_for_frame(now)

    def _wait_for_frame(self, now: float) -> None:
        self._frame_due = now + self._options.receive_timeout

    def _end(self, cause: str, events: list[LinkEvent]) -> None:
        in_text = self._reader.in_text
        end = self._session.end(cause, self._reader.restart(), in_text=in_text)
        if end is not None:
            events.append(end)
        self._rest()

    def _rest(self) -> None:
        """Be as between two sessions."""
        self._frame_due = None
        self._reader.unframed = self._options.framing != "e1381"

    def _check_frame_timer(self, now: float, events: list[LinkEvent]) -> None:
        if self._frame_due is None or now < self._frame_due:
            return
        # Without ENQ there may be no EOT either.
        if self._session.by_enq or self._reader.open or not self._session.messages.blank:
            detail = (
                f"no whole frame within {self._options.receive_timeout:g} s; expected number {self._session.expected}"
            )
            events.append(LinkFault("receive-timeout", detail))
        self._end("timeout", events)
        self._answers.go(Event.TIMEOUT)

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
            self._session.accept(held.frame, held.assembled)
            self._answers.go(Event.UNANSWERED)
            if held.assembled.completes:
                events.append(SessionEnd("closed", held.assembled.completes))


def assemble(frames: Iterable[bytes], source: object = None) -> SessionEnd:
    """The content of the committed frames of one session; for a start after a crash.

    ``frames``: `Frame.raw` of each, in order. ``source``: as of `links`. The cause is ``closed``.
    """
    messages = Session(options_of(AstmOptions, source), by_enq=False).messages
    completes: list[bytes] = []
    behind_etx = True
    for raw in frames:
        frame = read_frame(raw)
        if frame is not None:
            if messages.misplaced(frame.text, last=frame.last, behind_etx=behind_etx):  # the setting was another then
                messages.tear()
            behind_etx = frame.last
            assembled = messages.take(frame.text, last=frame.last)
            messages.keep(assembled)
            completes += assembled.completes
    _, incomplete = messages.end(complete=False)
    return SessionEnd("closed", tuple(completes), incomplete)
