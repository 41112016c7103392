"""The state of a receiving E1381 link, and the answers that it owes. Pure.

A table maps a state and an event to the next state and the answer. A good frame has no answer there: its ACK is due
once the caller says that the frame is durable.
"""

from enum import Enum, auto
from typing import Literal

from adapters.codecs.astm.frames import ACK, NAK


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
