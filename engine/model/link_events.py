"""Events that a pure link finds in the bytes, and their connection. Plain data; nothing here does I/O."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from engine.model.values import value


@value()
class Block:
    """One whole message as framed by a link that frames whole messages (MLLP).

    Attributes:
        payload: the content, without framing bytes.
        notes: tolerated departures from the protocol (``"no CR after FS"``); counted, never patient data.
    """

    payload: bytes
    notes: tuple[str, ...] = ()


@value()
class Frame:
    """One good ASTM E1381 frame that waits to be committed before it is acknowledged.

    Attributes:
        raw: the frame as received, STX through LF (or as far as it came).
        number: the frame number digit.
        durable: commit before the ACK (``commit: frame``); False where the link holds back only the last ACK.
        completes: the whole text of each message that this frame ends (usually none or one), in order.
    """

    raw: bytes
    number: int
    durable: bool = True
    completes: tuple[bytes, ...] = ()


@value()
class SessionEnd:
    """An ASTM session is over.

    Attributes:
        completes: messages that only the end completes (``end: eot``, or a last text that asks for no more).
        incomplete: text that never became a message; kept as evidence, never a result. Empty if there is none.
        cause: ``eot``, ``enq`` (sender restarted), ``timeout``, ``closed``.
        too_large: ``incomplete`` outgrew `max_message`; only its beginning is worth keeping.
    """

    cause: str
    completes: tuple[bytes, ...] = ()
    incomplete: bytes = b""
    too_large: bool = False


@value()
class LinkFault:
    """The peer departed from its protocol; counted and shown, costs no message.

    Attributes:
        kind: a short constant for the counter (``bad-checksum``, ``noise``, ``too-large``, ``frame-number`` ...).
        detail: both checksums, both numbers, sizes; never content.
        sample: the bytes concerned, at most 64; for the sealed line trace, never for a log.
        fatal: the connection must be closed.
    """

    kind: str
    detail: str = ""
    sample: bytes = b""
    fatal: bool = False


@value()
class Sent:
    """The other side has acknowledged all of a message that was offered to the link."""

    ticket: int


@value()
class NotSent:
    """A message that was offered was given up.

    Attributes:
        reason: of `NOT_SENT`.
        maybe: the other side may have all of it: its last frame went out, and no answer came.
    """

    ticket: int
    reason: str
    maybe: bool = False


NOT_SENT = frozenset({"no-answer", "busy", "contention", "rejected", "interrupted", "closed"})

LinkEvent = Block | Frame | SessionEnd | LinkFault
SendEnd = Sent | NotSent


class Direction(Enum):
    """Where bytes came from, on a line that LabRelay only listens to (a tee)."""

    ANALYZER = "analyzer"
    MIDDLEWARE = "middleware"

    @property
    def other(self) -> "Direction":
        return Direction.MIDDLEWARE if self is Direction.ANALYZER else Direction.ANALYZER


class Answered(Enum):
    """How the other side answered a message that passed a tee."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT = "not"  # nothing, or nothing that was heard


@value()
class OverheardMessage:
    """A message from one side of a tee, once the other side's answer is known.

    Attributes:
        whole: a message; False for text that never became one, which is evidence and never a result.
        notes: in words, for the journal; never patient data.
    """

    way: Direction
    payload: bytes
    whole: bool = True
    answered: Answered = Answered.NOT
    notes: tuple[str, ...] = ()


TeeEvent = OverheardMessage | LinkFault


def _never() -> bool:
    return False


def _has_ended() -> bool:
    return True


@dataclass(slots=True, eq=False)
class Line:
    """The connection that a message came by: who sent it, and whether our answer could still reach the sender.

    Attributes:
        peer: the other side, without the port, which is another one each time.
        gone: the other side has ended the connection; asked from the journal's thread, too.
        ended_us: when the connection ended, or our answer was none that lets the sender go on; None while it is open.
    """

    peer: str
    gone: Callable[[], bool] = _never
    ended_us: int | None = None

    def end(self, at_us: int) -> None:
        """Release the connection, too: thousands of messages without an answer keep their line."""
        self.ended_us = at_us
        self.gone = _has_ended
