"""Values that the store takes and returns, beyond those of `engine.model.message`; what its readers return is in
`engine.model.journal.journal_views`. Plain data.

Rows are named tuples: each short command creates all of these classes, and creating a dataclass takes seven times as
long. They are built by keyword, like the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from engine.model.content.list_form import Form
from engine.model.texts.reasons import ReasonCode
from engine.model.values import value

if TYPE_CHECKING:
    from engine.model.content.results import EarlierResults, Result
    from engine.model.message import Delivery, Document, Received
    from engine.model.orders import LineAnswer

MessageState = Literal["stored", "mapped", "filtered", "dead", "incomplete", "dismissed"]
LETTER_STATES = ("dead", "incomplete")  # of what failed and waits for a person
DeliveryState = Literal["waiting", "sending", "delivered", "dead", "held", "rejected", "dismissed", "superseded"]

JOURNAL_NAME = "journal.db"  # in the data folder

UNMAPPED_ROWS = 10_000  # distinct codes kept; a device that sends noise as codes must not fill the disk
REAGENT_ROWS = 20_000  # distinct reagent lots kept, for the same reason ...
REAGENT_TESTS = 100  # ... and tests of each

KIND_MESSAGE = 1
KIND_FRAME = 2
KIND_ACT = 3
KIND_PRUNED = 4  # which rows were deleted: engine/store/lifecycle/retention.py
KIND_ERASED = 5  # which rows were emptied: engine/store/lifecycle/erasure.py

HOUR_PARTS = 12  # five minutes each: engine/store/operations/hour_counts.py

INCOMPLETE_BYTES = 64 * 1024 * 1024  # of incomplete messages that are kept, unless the site says otherwise

MAYBE_DELIVERED = 1  # delivery.flags
MANUAL = 2
RELEASED = 4
UNCONDITIONAL = 16
SHARED = 32  # its message has, or had, more than this one
AGAIN = 64  # of a replay: beside what the message was queued with
JOINS = 128
KNOWN_ORDER = 256
CRITICAL = 512  # its message has a critical value (`engine.succession.critical`)
ORDERED = 1024  # its message has results of tubes that may have orders (`engine.features.orders.rows.holding`)
OF_CRITICAL = 2048  # its message says something of a result that is critical, or was


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldReason:
    """Why a document is held.

    Attributes:
        text: the rules that hold it, with the results that they are about; for people, and sealed.
    """

    reason: ReasonCode
    text: str = ""


class RuleAnswer(NamedTuple):
    """What one rule says of one document.

    Attributes:
        rule: its name. version: of its text. shadow: it only counts.
        seen: results that it was asked about; 1 where it asks about the message.
        hit, unknown: the tests of those that it holds, and of those that it cannot judge.
    """

    rule: str
    version: str
    shadow: bool
    seen: int
    hit: tuple[str, ...]
    unknown: tuple[str, ...]


class Rules(Protocol):
    """The rules of a route that hold results back (`engine.mapping.hold_rules.rules`), about one document.

    Attributes:
        results: those that later rules may ask for; empty where no rule asks for earlier ones.
        answers: of each rule, once it was decided. tests: of all its results.
    """

    @property
    def results(self) -> "Sequence[Result]": ...

    @property
    def answers(self) -> Sequence[RuleAnswer]: ...

    @property
    def tests(self) -> Sequence[str]: ...

    def decide(self, earlier: "EarlierResults", now_us: int) -> HoldReason | None:
        """Why the document is held, or None. Never raises: a document is held if its rules cannot be decided."""

    def among(self, wanted: Callable[["Result"], bool]) -> "Rules":
        """The same, about these results alone."""


@value(kw_only=True)
class Routed:
    """A document and where it goes.

    Attributes:
        hold: asked in the transaction that queues its deliveries; None: nothing holds it.
        claimed: for each destination, whether the caller delivers it at once (the row is born ``sending`` under our
            lease) or leaves it to a later claim (``waiting``). Shorter than ``destinations``: the rest waits.
        joins: its reports list the results that other messages of the same orders brought, too.
        of_site: results of other channels for the same order and test are the same results.
        is_copy: it is the message as it came. passes: it goes out, whatever was decided about its results.
        echo: it says again what was accepted before, and is not sent (`engine.features.results.rows.applying`).
        form: of CSV and JSON, where the results are; None: they are not compared.
        lacks: of one part of a document, the places of results that its other part has.
    """

    document: "Document"
    destinations: tuple[str, ...]
    claimed: tuple[bool, ...] = ()
    hold: Rules | None = None
    joins: bool = True
    of_site: bool = False
    is_copy: bool = False
    passes: bool = False
    echo: bool = False
    form: Form | None = None
    lacks: frozenset[int] = frozenset()


@value(kw_only=True)
class Decision:
    """A person's decision about the outcome of a message.

    Attributes:
        again: process the message anew; its open and dead deliveries are superseded by the new ones. Without it, a
            message that has an outcome keeps it. An edited message always keeps it: its edit has taken its place.
        while_dead: only if it is still a dead letter: another person may have decided meanwhile.
        accept_conflict: the person has compared both messages and accepts that another patient has the same order
            number.
        moved: the answer where the message corrects an order of another patient; empty: none
            (`engine.features.results.rows.moved_orders.ANSWERS`). moved_from: the messages that reported it of those
            patients whom the person has compared.
    """

    again: bool = False
    while_dead: bool = False
    accept_conflict: bool = False
    moved: str = ""
    moved_from: frozenset[int] = frozenset()


NO_DECISION = Decision()


@value(kw_only=True)
class Recorded:
    """The outcome of a message as it was stored.

    Attributes:
        deliveries: the claimed ones, with their bodies, in the order they were queued.
        waiting: how many more were queued for a later claim.
        held: positions, in the order of queueing from 0, of deliveries that a rule holds back, or that are an echo.
        already: the message had been processed before; nothing was changed.
        answers: to each of its order lines; None: it brought none.
        detail: the reason in words; it may hold values of the message, and goes to its sender alone.
        is_other: other documents than those that were handed over.
    """

    state: MessageState
    reason: ReasonCode | None = None
    deliveries: "tuple[Delivery, ...]" = ()
    waiting: int = 0
    held: frozenset[int] = frozenset()
    already: bool = False
    answers: "tuple[LineAnswer, ...] | None" = None
    detail: str = ""
    is_other: bool = False


@dataclass(frozen=True, slots=True)
class Assembled:
    """The content of a link session that a crash cut short.

    Attributes:
        messages: those that are complete.
        rest: leftover bytes, to be kept as evidence; None if there are none.
    """

    messages: "tuple[Received, ...]" = ()
    rest: "Received | None" = None


class OpenLane(NamedTuple):
    """A lane with work. ``oldest_us`` is the receive time of its oldest open delivery."""

    channel: str
    destination: str
    open: int
    oldest_us: int


class Recovery(NamedTuple):
    """The state that the last run left behind.

    Attributes:
        unprocessed: messages without an outcome.
        sessions: link sessions with frames that belong to no message yet.
        maybe_delivered: deliveries that were under way; they are sent again with the same key.
        acts: ids of operator actions that were begun and not finished.
        killed: the previous process did not stop in an orderly way.
        given_up: the message that is a dead letter now, because processing it crashed the process repeatedly, or 0.
    """

    lanes: tuple[OpenLane, ...] = ()
    unprocessed: int = 0
    sessions: int = 0
    maybe_delivered: int = 0
    acts: tuple[int, ...] = ()
    killed: bool = False
    given_up: int = 0


class ChannelView(NamedTuple):
    """A channel's numbers; all of them are kept, none is counted when asked.

    Attributes:
        last_seq: the number of its newest message. Retention deletes older ones.
        stored, dead, incomplete: messages in this state; ``stored`` ones are not processed yet.
    """

    name: str
    last_seq: int
    last_us: int
    stored: int
    dead: int
    incomplete: int


class LaneView(NamedTuple):
    """A lane's numbers.

    Attributes:
        held_by: the dead delivery that holds it, or 0.
        held_since_us: since when the oldest of its held deliveries is held, or 0.
        held_critical: how many of these contain a critical value.
    """

    id: int
    channel: str
    destination: str
    last_seq: int
    open: int
    dead: int
    held: int
    delivered_us: int
    paused: bool
    held_by: int
    held_since_us: int = 0
    held_critical: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target to pause, resume or restart: a channel, a destination, or the lane of both; without either, all
    deliveries.
    """

    channel: str = ""
    destination: str = ""

    @property
    def kind(self) -> str:
        if not self.channel:
            return "destination" if self.destination else "deliveries"
        return "lane" if self.destination else "channel"

    @property
    def name(self) -> str:
        """As people write it; a lane is ``channel/destination``, deliveries have none."""
        return "/".join(part for part in (self.channel, self.destination) if part)

    @property
    def words(self) -> str:
        return f"{self.kind} {self.name}".strip()


DELIVERIES = Target()


@dataclass(frozen=True, slots=True, kw_only=True)
class PossibleOtherPerson:
    """A record of a person that seems to be of who bore the same patient number before.

    Attributes:
        message_id: the first message with the record.
        before: the first with the record that it was compared with; 0 where that is not known any more.
    """

    message_id: int
    channel: str
    received_us: int
    before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Something is paused.

    Attributes:
        since_us: 0 where it is not known.
        actor, reason: who paused it, and why, in that person's words; empty where the keys are not at hand.
        by_itself: LabRelay did, or a restore; the reason is no person's.
    """

    target: Target
    since_us: int
    actor: str = ""
    reason: str = ""
    by_itself: bool = False
