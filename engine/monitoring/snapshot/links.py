"""What the page says of a connection: where its conversation stands, its last steps, and what its peer did wrong."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from engine.model.phrases import Phrase
from engine.receiving.link_words import fault_words


class LinkState(Enum):
    """What the line of a channel is doing."""

    OFF = "off"
    DOWN = "down"  # it cannot be opened, or the cable is out
    UNCONNECTED = "unconnected"  # nobody has connected to us, or we to nobody
    CONNECTED = "connected"
    WAITING_ENQ = "waiting_for_enq"
    RECEIVING = "receiving"


_LINK_WORDS = {
    LinkState.OFF: "switched off",
    LinkState.DOWN: "no line",
    LinkState.UNCONNECTED: "nobody connected",
    LinkState.CONNECTED: "line idle",
    LinkState.WAITING_ENQ: "waiting for ENQ",
    LinkState.RECEIVING: "message coming in",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineStep:
    """One thing that passed on a line lately, without its content.

    Attributes:
        way: ``in`` from the analyzer, ``out`` to it, ``about``: what the link said about it; ``analyzer`` and
            ``middleware`` at a tee: who said it.
        phrase: ENQ, ``frame 3, 57 bytes`` ...
        verdict: of a frame, what its checksum is; of what passed a tee, what the other side answered; None where there
            is nothing to judge.
        good: the verdict is a good one; None where there is none, or it is neither.
    """

    at: datetime
    way: str
    phrase: Phrase
    verdict: Phrase | None = None
    good: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFaults:
    """How often one kind of fault was seen since the start, and what it means."""

    kind: str
    n: int

    @property
    def phrase(self) -> Phrase:
        return Phrase(fault_words(self.kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSnapshot:
    """The line of a channel.

    Attributes:
        stray_bytes: bytes since the start that came outside of any session.
        faults: the most frequent first.
        last_fault: its kind, and when it was.
        steps: what passed lately, oldest first.
    """

    state: LinkState = LinkState.UNCONNECTED
    stray_bytes: int = 0
    faults: tuple[LinkFaults, ...] = ()
    last_fault: str = ""
    last_fault_at: datetime | None = None
    steps: tuple[LineStep, ...] = ()

    @property
    def words(self) -> Phrase:
        return Phrase(_LINK_WORDS[self.state])


@dataclass(frozen=True, slots=True, kw_only=True)
class TeeSnapshot:
    """What a tee has heard since the start.

    Attributes:
        seen, acknowledged, refused: messages of the analyzer, and what the middleware answered to them.
        middleware_seen, middleware_acknowledged: messages of the middleware, and of those what the analyzer accepted.
        not_kept: messages that passed and are not in the journal.
    """

    seen: int = 0
    acknowledged: int = 0
    refused: int = 0
    middleware_seen: int = 0
    middleware_acknowledged: int = 0
    not_kept: int = 0
