"""Listen to the traffic through a tee on an MLLP connection. Pure; it answers nothing.

    analyzer     <VT>MSH ... ORU^R01 ...<FS><CR>
    middleware                                   <VT>MSH ... MSA|AA|...<FS><CR>

A block waits until the other side's MSA has named it (MSA-2), so that the journal can record the answer. Blocks keep
their order: earlier blocks without an answer go first, marked as unanswered. A block also counts as unanswered after
`ANSWER_WITHIN_S`, or when the line is gone. A block with nothing but an answer in it (MSH, MSA, ERR) is no message; one
with more (the answer to a query) is both.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adapters.codecs.hl7v2.acknowledgement import Ack, read_ack
from adapters.codecs.hl7v2.batch import split
from adapters.codecs.hl7v2.header import header, read_msh
from adapters.codecs.hl7v2.mllp import MllpLink, MllpOptions
from adapters.codecs.link_options import options_of
from engine.model.errors import ContentError
from engine.model.link_events import Answered, Block, Direction, LinkEvent, LinkFault, OverheardMessage, TeeEvent

ANSWER_WITHIN_S = 30.0
WAITING_MESSAGES = 256  # of one side, for their answers; a sender that does not wait for them is heard all the same
_OF_AN_ANSWER = frozenset({"MSH", "SFT", "UAC", "MSA", "ERR", "NTE", ""})


def listeners(source: object) -> "Callable[[], MllpListener]":
    """Return the factory that makes a listener for each connection of a channel."""
    options = options_of(MllpOptions, source)
    return lambda: MllpListener(options)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A message whose answer has not been heard yet."""

    payload: bytes
    control_id: str
    notes: tuple[str, ...]
    since: float


class MllpListener:
    """One connection, heard from the middle (`engine.model.ports.TeeLink`)."""

    def __init__(self, options: MllpOptions | None = None) -> None:
        self._options = options or MllpOptions()
        self._links = {way: MllpLink(self._options) for way in Direction}
        self._waiting: dict[Direction, deque[_Waiting]] = {way: deque() for way in Direction}
        self._waiting_bytes = dict.fromkeys(Direction, 0)
        # The last message answered: it may be answered once more (CA, then AA).
        self._answered = dict.fromkeys(Direction, "")

    @property
    def held(self) -> int:
        return sum(link.held for link in self._links.values()) + sum(self._waiting_bytes.values())

    @property
    def receiving(self) -> bool:
        return any(link.held for link in self._links.values())

    def hear(self, way: Direction, data: bytes, now: float) -> list[TeeEvent]:
        return self._take(way, self._links[way].receive(data, now), now)

    def deadline(self) -> float | None:
        due = [link.deadline() for link in self._links.values()]
        due += [waiting[0].since + ANSWER_WITHIN_S for waiting in self._waiting.values() if waiting]
        return min((at for at in due if at is not None), default=None)

    def tick(self, now: float) -> list[TeeEvent]:
        events = [event for way, link in self._links.items() for event in self._take(way, link.tick(now), now)]
        for way, waiting in self._waiting.items():
            while waiting and now - waiting[0].since >= ANSWER_WITHIN_S:
                events.append(self._unanswered(way))
        return events

    def closed(self) -> list[TeeEvent]:
        events = [event for way, link in self._links.items() for event in self._take(way, link.closed(), 0.0)]
        for way, waiting in self._waiting.items():
            events += [self._unanswered(way) for _ in range(len(waiting))]
        return events

    def _take(self, way: Direction, found: Sequence[LinkEvent], now: float) -> list[TeeEvent]:
        events: list[TeeEvent] = []
        for event in found:
            if isinstance(event, Block):
                events += self._take_block(way, event, now)
            elif isinstance(event, LinkFault):
                events.append(LinkFault(event.kind, event.detail, event.sample))
                if event.fatal:  # we would hang up; the others go on, and so does the listener, with what comes next
                    self._links[way] = MllpLink(self._options)
            elif incomplete := getattr(event, "incomplete", b""):
                events.append(OverheardMessage(way, incomplete, whole=False))
        return events

    def _take_block(self, way: Direction, block: Block, now: float) -> list[TeeEvent]:
        events: list[TeeEvent] = []
        ack, alone = _answer_in(block.payload)
        if ack is not None:
            events += self._answers(way.other, ack)
            if alone:
                return events
        for payload in split(block.payload):
            self._waiting[way].append(_Waiting(payload, header(payload).control_id, block.notes, now))
            self._waiting_bytes[way] += len(payload)
        while len(self._waiting[way]) > WAITING_MESSAGES or self._waiting_bytes[way] > self._options.max_message:
            events.append(self._unanswered(way))
        return events

    def _answers(self, way: Direction, ack: Ack) -> list[TeeEvent]:
        """The waiting blocks from ``way`` that ``ack`` answers; an answer without MSA-2 is to the oldest."""
        waiting = self._waiting[way]
        named = [at for at, one in enumerate(waiting) if one.control_id == ack.control_id or not ack.control_id]
        if not named:
            if ack.control_id == self._answered[way]:
                return []
            return [LinkFault("unmatched-answer", f"{way.other.value} answered what {way.value} has not said")]
        events: list[TeeEvent] = [self._unanswered(way) for _ in range(named[0])]
        one = self._next(way)
        self._answered[way] = one.control_id
        if ack.code in ("AA", "CA"):
            events.append(OverheardMessage(way, one.payload, answered=Answered.ACCEPTED, notes=one.notes))
        else:
            notes = (*one.notes, f"{way.other.value} answered {ack.code}")
            events.append(OverheardMessage(way, one.payload, answered=Answered.REFUSED, notes=notes))
        return events

    def _unanswered(self, way: Direction) -> OverheardMessage:
        one = self._next(way)
        return OverheardMessage(way, one.payload, notes=(*one.notes, f"{way.other.value} was not heard to answer"))

    def _next(self, way: Direction) -> _Waiting:
        one = self._waiting[way].popleft()
        self._waiting_bytes[way] -= len(one.payload)
        return one


def _answer_in(payload: bytes) -> tuple[Ack | None, bool]:
    """The acknowledgement in a block, and whether there is nothing else."""
    if b"MSA" not in payload and b"\0M\0S" not in payload and b"M\0S\0" not in payload:  # nearly always
        return None, False
    try:
        ack = read_ack(payload)
    except ContentError:
        return None, False
    msh = read_msh(payload)
    text = payload.decode(msh.wide or "latin-1", "replace").replace("\n", "\r")
    names = {line.partition(msh.delimiters.field)[0].strip("\ufeff \0\xef\xbb\xbf") for line in text.split("\r")}
    return ack, names <= _OF_AN_ANSWER
