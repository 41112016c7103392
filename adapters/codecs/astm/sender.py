"""The sending side of an ASTM E1381 (LIS1) link: one message a session, frame by frame. Pure: bytes in, events out.

    sender    ENQ      frame 1      frame 2      frame 2      EOT
    receiver      ACK          ACK          NAK          ACK

A message is sent when its last frame was acknowledged, and not before: after any failure it starts over with ENQ and
frame 1. A line is half duplex: bytes that came together with an answer are older than the next frame, and no answer to
it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from adapters.codecs.astm.frames import ACK, ENQ, EOT, NAK, encode_frame

FORBIDDEN = bytes([*range(1, 7), 0x0A, *range(0x10, 0x18)])  # SOH to ACK, LF, DLE, DC1 to DC4, NAK, SYN, ETB

frame = encode_frame  # frame(text, number, last=...) -> bytes


def frames_of(message_text: bytes, limit: int = 240, pack: Literal["record", "packed"] = "record") -> list[bytes]:
    """The frames that carry a message, numbered from 1.

    Args:
        message_text: records, each ended by CR (a missing last one is added).
        limit: bytes of text in a frame: 240 for receivers of the older generation, 63993 for those of LIS1-A.
        pack: ``record`` begins a frame with each record, ``packed`` fills each frame.

    Raises:
        ValueError: the text is empty or has a control character that E1381 keeps for itself.
    """
    text = message_text.removesuffix(b"\r") + b"\r"
    reserved = next((byte for byte in text if byte in FORBIDDEN), None)
    if reserved is not None or len(text) == 1:
        raise ValueError("no text" if reserved is None else f"control character {reserved:02X} in the text")
    units = [text] if pack == "packed" else [record + b"\r" for record in text.removesuffix(b"\r").split(b"\r")]
    frames: list[bytes] = []
    for unit in units:
        for at in range(0, len(unit), limit):
            frames.append(frame(unit[at : at + limit], len(frames) + 1, last=at + limit >= len(unit)))
    return frames


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderOptions:
    """How to send, in seconds and counts.

    Attributes:
        role: who yields when both sides send ENQ: the ``host``. An ``instrument`` repeats its own.
        on_interrupt: the reaction when the receiver answers a frame with EOT to get the line: ``yield`` it and start
            over later, or ``finish`` the message first.
        max_attempts: sendings of one frame, and ENQs of one message, before it fails.
    """

    role: Literal["host", "instrument"] = "host"
    frame_limit: int = 240
    pack: Literal["record", "packed"] = "record"
    on_interrupt: Literal["yield", "finish"] = "yield"
    enq_timeout: float = 15.0
    nak_hold: float = 10.0
    contention_hold: float = 20.0
    contention_wait: float = 1.0
    interrupt_hold: float = 15.0
    frame_timeout: float = 15.0
    max_attempts: int = 6


@dataclass(frozen=True, slots=True)
class Sent:
    """The receiver acknowledged the last frame."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The message was given up. The receiver may have all of it but its last frame, or even that.

    Attributes:
        reason: ``no-answer``; ``busy``, ENQ was answered with NAK each time; ``contention``; ``rejected``, so was a
            frame; ``interrupted``; ``closed``.
        maybe: the receiver may have all of it: its last frame went out, and NAK was not all that came back.
    """

    message: bytes
    reason: str
    maybe: bool = False


SenderEvent = Sent | Failed


class State(Enum):
    IDLE = auto()  # nothing to send, or a hold is running
    ESTABLISHING = auto()  # ENQ is out
    TRANSFERRING = auto()  # a frame is out


class Seen(Enum):
    ACK = auto()
    NAK = auto()
    ENQ = auto()
    EOT = auto()
    OTHER = auto()
    SILENCE = auto()


_SEEN = {ACK: Seen.ACK, NAK: Seen.NAK, ENQ: Seen.ENQ, EOT: Seen.EOT}


class AstmSender:
    """Sends the messages offered to it, one after the other.

    The caller gives it what comes on the line (`receive`), calls `tick` at `deadline`, and writes what `outgoing`
    returns after each call. Where the line is used in both directions the caller says when the other side has it
    (`pause`), and gives `receive` only what comes while this side is not `State.IDLE`.

    Attributes:
        state: the current state.
        resent: frames sent again since the start.
    """

    def __init__(self, options: SenderOptions | None = None) -> None:
        self.state = State.IDLE
        self.resent = 0
        self._options = options or SenderOptions()
        self._waiting: deque[tuple[bytes, list[bytes]]] = deque()
        self._frame = 0  # index of the frame that is out
        self._attempts = 0  # how often it was sent
        self._damaged = False  # one of its answers was neither ACK, NAK nor EOT, and may have been ACK
        self._enqs = 0  # how often ENQ was sent for this message
        self._due: float | None = None
        self._hold_until = float("-inf")
        self._yielded = False  # that hold leaves the line to the other side
        self._paused = False
        self._out = bytearray()
        # (state, token) -> action. A missing pair is ignored: while idle nothing is an answer to us,
        # and only ACK, NAK and ENQ mean something after ENQ. After a frame everything but ACK and EOT is as bad as
        # NAK: the frame is sent again under its number.
        self._actions: dict[tuple[State, Seen], Callable[[float], list[SenderEvent]]] = {
            (State.ESTABLISHING, Seen.ACK): self._send_first,
            (State.ESTABLISHING, Seen.NAK): self._refused,
            (State.ESTABLISHING, Seen.ENQ): self._contended,
            (State.ESTABLISHING, Seen.SILENCE): self._unanswered,
            (State.TRANSFERRING, Seen.ACK): self._send_next,
            (State.TRANSFERRING, Seen.NAK): self._send_again,
            (State.TRANSFERRING, Seen.ENQ): self._send_again,
            (State.TRANSFERRING, Seen.OTHER): self._send_again,
            (State.TRANSFERRING, Seen.EOT): self._interrupted,
            (State.TRANSFERRING, Seen.SILENCE): self._unanswered,
        }

    # -- what the caller does ------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many messages are not sent yet, the one in work included."""
        return len(self._waiting)

    def offer(self, message_text: bytes, now: float) -> None:
        """Send a message as soon as the line is free.

        Raises:
            ValueError: as `frames_of`.
        """
        self._waiting.append((message_text, frames_of(message_text, self._options.frame_limit, self._options.pack)))
        self._start(now)

    def pause(self, paused: bool, now: float) -> None:
        """``True``: the other side has the line, begin nothing."""
        self._paused = paused
        self._start(now)

    def peer_had_line(self, now: float) -> None:
        """The other side had a session: a hold that left it the line is over, and contention begins anew."""
        if self._yielded:
            self._hold_until = now
            self._yielded = False
            self._enqs = 0
            self._start(now)

    def yield_line(self, now: float) -> list[SenderEvent]:
        """The other side sends without asking: end this session now, and begin again later."""
        return self._contended(now) if self.state is State.ESTABLISHING else self._interrupt(now)

    def withdraw(self) -> bool:
        """Take back the first message; False: a frame of it is out, or there is none.

        After its ENQ the session ends without a frame, and without an event.
        """
        if self.state is State.TRANSFERRING or not self._waiting:
            return False
        message, _ = self._waiting.popleft()
        if self.state is State.ESTABLISHING:
            self._waiting.appendleft((message, []))
        self._enqs = 0
        return True

    def receive(self, data: bytes, now: float) -> list[SenderEvent]:
        return self.answered(data, now)[0]

    def answered(self, data: bytes, now: float) -> tuple[list[SenderEvent], bytes]:
        """As `receive`, and the bytes behind the answer where it ended the session: they are the other side's."""
        for at in range(len(data)):
            seen = _SEEN.get(data[at : at + 1], Seen.OTHER)
            action = self._actions.get((self.state, seen))
            if action is not None:
                self._damaged = self._damaged or seen in (Seen.OTHER, Seen.ENQ)
                events = action(now)
                # Otherwise the rest came before what is sent now.
                return events, data[at + 1 :] if self.state is State.IDLE else b""
        return [], b""

    def tick(self, now: float) -> list[SenderEvent]:
        if self.state is State.IDLE:
            self._start(now)
            return []
        if self._due is None or now < self._due:
            return []
        return self._actions[self.state, Seen.SILENCE](now)

    def deadline(self) -> float | None:
        if self.state is not State.IDLE:
            return self._due
        return self._hold_until if self._waiting and not self._paused else None

    def outgoing(self) -> bytes:
        out = bytes(self._out)
        self._out.clear()
        return out

    def closed(self) -> list[SenderEvent]:
        """The line is gone: all messages that were not sent fail."""
        maybe = self._last_is_out()
        events: list[SenderEvent] = []
        for message, frames in self._waiting:
            if frames:
                events.append(Failed(message, "closed", maybe=maybe))
            maybe = False
        self._waiting.clear()
        self._out.clear()
        self.state = State.IDLE
        self._enqs = 0
        return events

    # -- what is done --------------------------------------------------------------------------------------------------

    def _start(self, now: float) -> None:
        if self.state is State.IDLE and self._waiting and not self._paused and now >= self._hold_until:
            self._say(ENQ, State.ESTABLISHING, now + self._options.enq_timeout)
            self._enqs += 1
            self._yielded = False

    def _last_is_out(self) -> bool:
        return self.state is State.TRANSFERRING and self._frame + 1 == len(self._waiting[0][1])

    def _send_first(self, now: float) -> list[SenderEvent]:
        self._frame = -1
        return self._send_next(now)

    def _send_next(self, now: float) -> list[SenderEvent]:
        _, frames = self._waiting[0]
        self._frame += 1
        return self._send(now) if self._frame < len(frames) else self._done(now)

    def _send(self, now: float) -> list[SenderEvent]:
        _, frames = self._waiting[0]
        self._attempts = 1
        self._damaged = False
        self._say(frames[self._frame], State.TRANSFERRING, now + self._options.frame_timeout)
        return []

    def _send_again(self, now: float) -> list[SenderEvent]:
        if self._attempts >= self._options.max_attempts:
            return self._fail("rejected", now, maybe=self._damaged and self._last_is_out())
        _, frames = self._waiting[0]
        self._attempts += 1
        self.resent += 1
        self._say(frames[self._frame], State.TRANSFERRING, now + self._options.frame_timeout)
        return []

    def _refused(self, now: float) -> list[SenderEvent]:
        if self._enqs >= self._options.max_attempts:
            return self._give_up("busy", now)
        return self._hold(self._options.nak_hold, now)

    def _contended(self, now: float) -> list[SenderEvent]:
        if self._enqs >= self._options.max_attempts:
            return self._give_up("contention", now)
        host = self._options.role == "host"
        self._yielded = host
        return self._hold(self._options.contention_hold if host else self._options.contention_wait, now)

    def _unanswered(self, now: float) -> list[SenderEvent]:
        return self._fail("no-answer", now, maybe=self._last_is_out())

    def _interrupted(self, now: float) -> list[SenderEvent]:
        """EOT for an answer is an ACK, and a request for the line."""
        _, frames = self._waiting[0]
        self._hold_until = now + self._options.interrupt_hold
        self._yielded = True
        if self._options.on_interrupt == "finish" or self._frame + 1 == len(frames):
            return self._send_next(now)
        return self._interrupt(now)

    def _interrupt(self, now: float) -> list[SenderEvent]:
        if self._enqs >= self._options.max_attempts:
            return self._fail("interrupted", now, maybe=self._last_is_out())
        self._yielded = True
        self._out += EOT
        return self._hold(self._options.interrupt_hold, now)

    def _done(self, now: float) -> list[SenderEvent]:
        message, frames = self._waiting.popleft()
        self._say(EOT, State.IDLE, None)
        self._enqs = 0
        self._start(now)
        return [Sent(message)] if frames else []

    def _fail(self, reason: str, now: float, *, maybe: bool = False) -> list[SenderEvent]:
        self._out += EOT
        return self._give_up(reason, now, maybe=maybe)

    def _give_up(self, reason: str, now: float, *, maybe: bool = False) -> list[SenderEvent]:
        message, frames = self._waiting.popleft()
        self._enqs = 0
        self._hold(self._options.nak_hold, now)
        return [Failed(message, reason, maybe=maybe)] if frames else []

    def _hold(self, seconds: float, now: float) -> list[SenderEvent]:
        self.state = State.IDLE
        self._due = None
        self._hold_until = now + seconds
        if self._waiting and not self._waiting[0][1]:
            self._waiting.popleft()  # it was withdrawn
        return []

    def _say(self, data: bytes, state: State, due: float | None) -> None:
        self._out += data
        self.state = state
        self._due = due
