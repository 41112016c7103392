"""A connection on the page: the state of its conversation, its last steps, and the faults of its peer.

The traffic of a line as the page shows it: its latest steps, without content.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from engine.diagnostics.lines.dialogue import Step, dialogue, plain_size
from engine.model.process.clock import from_us
from engine.model.texts.link_words import fault_words
from engine.model.texts.phrases import N_, Phrase
from engine.monitoring.snapshot.states import State
from engine.store.operations.line_trace import LineEntry


class LinkState(State):
    """The state of a channel's line."""

    OFF = "off", N_("switched off")
    DOWN = "down", N_("no line")  # it cannot be opened, or the cable is out
    UNCONNECTED = "unconnected", N_("no connection")  # no peer has connected to us, or we to none
    CONNECTED = "connected", N_("line idle")
    WAITING_ENQ = "waiting_for_enq", N_("waiting for ENQ")
    RECEIVING = "receiving", N_("message coming in")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineStep:
    """One recent item on a line, without its content.

    Attributes:
        way: ``in`` from the analyzer, ``out`` to it, ``about``: a remark of the link; ``analyzer`` and ``middleware``
            at a tee: the sender.
        words: ENQ, ``frame 3, 57 bytes`` ...
        verdict: of a frame, the state of its checksum; at a tee, the answer of the other side; None where nothing is
            judged.
        good: whether the verdict is good; None without one, or where it is neither.
    """

    at: datetime
    way: str
    words: Phrase
    verdict: Phrase | None = None
    good: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFaults:
    """The count of one kind of fault since the start, and its meaning."""

    kind: str
    n: int
    derived: ClassVar = ("words",)

    @property
    def words(self) -> Phrase:
        return Phrase(fault_words(self.kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSnapshot:
    """The line of a channel.

    Attributes:
        stray_bytes: bytes since the start that came outside of any session.
        faults: the most frequent first.
        last_fault: its kind and time.
        steps: the latest items, oldest first.
    """

    state: LinkState = LinkState.UNCONNECTED
    stray_bytes: int = 0
    faults: tuple[LinkFaults, ...] = ()
    last_fault: str = ""
    last_fault_at: datetime | None = None
    steps: tuple[LineStep, ...] = ()
    derived: ClassVar = ("words",)

    @property
    def words(self) -> Phrase:
        return Phrase(self.state.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeeSnapshot:
    """The traffic of a tee since the start.

    Attributes:
        seen, acknowledged, refused: messages of the analyzer, and the middleware's answers to them.
        middleware_seen, middleware_acknowledged: messages of the middleware, and how many the analyzer accepted.
        not_kept: messages that passed and are not in the journal.
    """

    seen: int = 0
    acknowledged: int = 0
    refused: int = 0
    middleware_seen: int = 0
    middleware_acknowledged: int = 0
    not_kept: int = 0


STEPS = 12  # that the page shows


def line_steps(entries: Iterable[LineEntry]) -> tuple[LineStep, ...]:
    """The last steps of a session or of a part of it, in order."""
    return tuple(map(line_step, list(dialogue(entries))[-STEPS:]))


def line_step(step: Step) -> LineStep:
    """A step without its content."""
    if step.way == "--":
        kind, _, rest = step.what.partition(":")
        what = Phrase(fault_words(kind))
        phrase = Phrase("{what} ({detail})", {"what": what, "detail": rest.strip()}) if rest else what
        return LineStep(at=from_us(step.at_us), way="about", words=phrase)
    if step.good is not None:
        number = "?" if step.number is None else step.number
        phrase = Phrase("frame {n}, {size} bytes", {"n": number, "size": len(step.data)})
        verdict = Phrase("checksum right") if step.good else Phrase("checksum wrong")
        return LineStep(at=from_us(step.at_us), way=step.way, words=phrase, verdict=verdict, good=step.good)
    phrase = Phrase("{text}", {"text": step.what})  # ENQ, ACK, ...: in no language
    if step.what == plain_size(step.data):
        phrase = Phrase("{n} bytes", {"n": len(step.data)})
    return LineStep(at=from_us(step.at_us), way=step.way, words=phrase)
