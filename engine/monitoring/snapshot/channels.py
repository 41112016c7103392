"""One analyzer, one destination, and the lane between them; their connections, with the latest steps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Literal

from engine.diagnostics.lines.dialogue import Step, dialogue, plain_size
from engine.model.journal.journal_views import ReagentView
from engine.model.process.clock import from_us
from engine.model.texts.link_words import fault_words
from engine.model.texts.phrases import N_, Phrase, Span
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.pickled import pickled
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Level, Paused, State
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


@pickled
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


@pickled
@dataclass(frozen=True, slots=True, kw_only=True)
class UsualGap:
    """How far apart messages usually are at this hour.

    Attributes:
        gap_s: None while it is not known.
        source: ``configured`` in the channel's YAML, or ``learned`` for this hour of the week; ``unknown`` while there
            is too little history.
        day_off: today nothing is expected.
        expected: messages usually come at this hour.
        silent: of a learned gap: it is exceeded, and that is no chance.
    """

    gap_s: float | None = None
    source: Literal["configured", "learned", "unknown"] = "unknown"
    day_off: bool = False
    expected: bool = True
    silent: bool = False
    derived: ClassVar = ("words",)

    @property
    def words(self) -> Phrase | None:
        """For people; None where there is nothing to say."""
        if self.day_off:
            return Phrase("nothing expected: day off")
        if self.gap_s is None:
            return None
        if self.source == "configured":
            return Phrase("usual {gap}", {"gap": Span(self.gap_s)})
        if not self.expected and not self.silent:
            return Phrase("nothing expected at this hour")
        return Phrase("usual {gap} at this hour", {"gap": Span(self.gap_s)})


LATE_S = 60.0  # a message that waits longer to be mapped is on the to-do list


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRetry:
    """A failed delivery that waits for its next attempt; of several the one with the most attempts.

    Attributes:
        attempt: how many attempts have failed so far.
        code: the reason code of the last failure.
        next_at: when the next attempt is due; None while it is under way or a breaker holds it.
        channel, message: of the waiting delivery; the message's number.
        others_taken: the destination has taken others since its first failure: this document may be at fault.
    """

    attempt: int
    code: ReasonCode
    next_at: datetime | None = None
    channel: str = ""
    message: int | None = None
    others_taken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LastError:
    """The last refusal or failure of a destination: reason, time, and why it cannot be reached
    (`engine.delivery.settlement`)."""

    code: ReasonCode
    at: datetime
    away: str = ""


@pickled
@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSnapshot:
    """The deliveries of one channel to one destination.

    Attributes:
        waiting: deliveries not yet delivered, without those that are dead or held.
        oldest_age_s: since the oldest waiting delivery's message was received.
        dead: open dead letters of this lane.
        held: deliveries that a rule of the route holds until a person decides.
        held_age_s: since the oldest of these is held.
        held_critical: how many of these have a critical value.
        paused: the lane alone; its destination as a whole may be paused, too.
        expected: attempts fail, in a window of the destination's expected downtime.
    """

    destination: str
    waiting: int = 0
    oldest_age_s: float | None = None
    retrying: PendingRetry | None = None
    dead: int = 0
    held: int = 0
    held_age_s: float | None = None
    held_critical: int = 0
    delivered_today: int = 0
    paused: Paused | None = None
    expected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReagentSnapshot:
    """A reagent lot that the analyzer has named recently; the attributes are those of
    `engine.model.journal.journal_views.ReagentView`.
    """

    name: str
    lot: str
    expires: str = ""
    tests: tuple[str, ...] = ()
    left: str = ""
    last_at: datetime | None = None

    @classmethod
    def of(cls, view: ReagentView) -> "ReagentSnapshot":
        return cls(
            name=view.name,
            lot=view.lot,
            expires=view.expires,
            tests=view.tests,
            left=view.left,
            last_at=from_us(view.last_us),
        )


@pickled
@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSnapshot:
    """One analyzer or system.

    Attributes:
        kind: as in the channel's YAML (``mllp``, ``astm``, ...).
        address: where it listens, connects to, or which device; as configured, without secrets.
        fault: for FAULTED, the problem, without patient data (``address already in use``).
        notice: a task for a person although the channel works (``files that could not be taken: 1``).
        paused: by a person, else None.
        connections: the peers connected now.
        last_message_age_s: None before the first message ever.
        usual: the usual time between its messages, at this hour.
        received_by_hour, dead_by_hour: of the last 24 hours on the wall clock, the present one last; empty where they
            are not known.
        today_delivered: messages whose last delivery was made today, or superseded by one that was.
        stored_waiting: journaled and acknowledged, not mapped yet.
        unread: records that wait in the topic that it reads; None: it reads none.
        unread_age_s: of the oldest of these, where that is too long; else None.
        lost: records that the topic deleted before they were read, since the start.
        stored_age_s: since the oldest of these that is known was received; None: none is.
        dead: open dead letters that died before they had a destination (unreadable, mapping errors).
        incomplete: messages that broke off and wait for a person; none of them is a dead letter.
        link_faults: violations of the protocol by the peer since the start, by kind.
        tee: of a channel that listens between an analyzer and its middleware, else None.
        unheard: its analyzer waits for no acknowledgement, so what it sends while nothing is stored is lost.
        reagents: lots that the analyzer has named recently, the latest first.
    """

    name: str
    kind: str
    address: str
    description: str = ""
    state: ChannelState = ChannelState.QUIET
    fault: str = ""
    notice: str = ""
    paused: Paused | None = None
    connections: tuple[str, ...] = ()
    last_message_at: datetime | None = None
    last_message_age_s: float | None = None
    usual: UsualGap = field(default_factory=UsualGap)
    received_by_hour: tuple[int, ...] = ()
    dead_by_hour: tuple[int, ...] = ()
    today_received: int = 0
    today_delivered: int = 0
    today_dead: int = 0
    today_filtered: int = 0
    today_repeat: int = 0
    today_same_bytes: int = 0  # delivered, though the same bytes came before: they are not known to be a repeat
    today_incomplete: int = 0
    stored_waiting: int = 0
    unread: int | None = None
    unread_age_s: float | None = None
    lost: int = 0
    stored_age_s: float | None = None
    dead: int = 0
    incomplete: int = 0
    link_faults: Mapping[str, int] = field(default_factory=dict)
    link: LinkSnapshot = field(default_factory=LinkSnapshot)
    tee: TeeSnapshot | None = None
    unheard: bool = False
    reagents: tuple[ReagentSnapshot, ...] = ()
    lanes: tuple[LaneSnapshot, ...] = ()
    derived: ClassVar = ("level", "words", "waiting", "dead_total", "oldest_age_s", "usual_gap_s")

    @property
    def usual_gap_s(self) -> float | None:
        return self.usual.gap_s

    @property
    def waiting(self) -> int:
        """All deliveries that are still to be made."""
        return self.stored_waiting + sum(lane.waiting for lane in self.lanes)

    @property
    def oldest_age_s(self) -> float | None:
        """The greatest of its lanes; messages that are not mapped yet do not count."""
        return max((lane.oldest_age_s for lane in self.lanes if lane.oldest_age_s is not None), default=None)

    @property
    def late(self) -> Phrase | None:
        """Words about messages that wait to be mapped, the oldest for longer than `LATE_S`."""
        age_s = self.stored_age_s
        if age_s is None or age_s <= LATE_S:
            return None
        more: dict[str, str | int | Span | Phrase] = {"n": max(1, self.stored_waiting), "age": Span(age_s)}
        return Phrase(
            "{name}: {notice}", {"name": self.name, "notice": Phrase("not mapped yet: {n}, the oldest for {age}", more)}
        )

    @property
    def behind(self) -> Phrase | None:
        """Words about records that wait in the topic for too long."""
        if self.unread_age_s is None:
            return None
        more: dict[str, str | int | Span | Phrase] = {"n": self.unread or 1, "age": Span(self.unread_age_s)}
        return Phrase("records wait in the topic: {n}, for {age}", more)

    @property
    def gap(self) -> Phrase | None:
        """Words about records that are lost."""
        if not self.lost:
            return None
        return Phrase("records that the topic deleted before they were read: {n}", {"n": self.lost})

    @property
    def dead_total(self) -> int:
        return self.dead + sum(lane.dead for lane in self.lanes)

    @property
    def level(self) -> Level:
        """The worst of its state, its notice, its late, dead and incomplete messages, and its lanes."""
        if self.lost or (self.tee is not None and self.tee.not_kept):
            return Level.PROBLEM
        unwell = (
            self.notice
            or self.late
            or self.behind
            or self.dead_total
            or self.incomplete
            or any(_unwell(lane) for lane in self.lanes)
        )
        if self.state.level is Level.OK and unwell:
            return Level.ATTENTION
        return self.state.level

    @property
    def words(self) -> Phrase:
        """The state as text; the age of the last message is shown beside it."""
        if self.state is ChannelState.FAULTED and self.fault:
            return Phrase("down: {fault}", {"fault": self.fault})
        return Phrase(self.state.words)


def _unwell(lane: LaneSnapshot) -> bool:
    return bool((lane.retrying and not lane.expected) or lane.held or lane.paused)


_AWAY = frozenset({DestinationState.RETRYING, DestinationState.BREAKER_OPEN, DestinationState.PROBING})


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationSnapshot:
    """One destination, over all channels.

    Attributes:
        address: the URL or folder, without user, password, query or token.
        contact: whom to call when it is down.
        breaker_until: when an open breaker lets the next probe through.
        paused: by a person, else None.
        expected_until: the end of the present window of expected downtime; None outside of any.
        in_flight: present attempts.
        rate_per_min: delivered in the last minute.
    """

    name: str
    kind: str
    address: str
    contact: str = ""
    state: DestinationState = DestinationState.IDLE
    breaker_until: datetime | None = None
    paused: Paused | None = None
    expected_until: datetime | None = None
    waiting: int = 0
    oldest_age_s: float | None = None
    in_flight: int = 0
    dead: int = 0
    held: int = 0
    held_age_s: float | None = None
    held_critical: int = 0
    delivered_today: int = 0
    last_delivered_at: datetime | None = None
    last_error: LastError | None = None
    retrying: PendingRetry | None = None
    rate_per_min: float = 0.0
    derived: ClassVar = ("level", "words")

    def within(self, channels: Sequence[ChannelSnapshot]) -> "DestinationSnapshot | None":
        """The part of these channels, as far as their lanes have it; None: they send nothing here."""
        lanes = [lane for one in channels for lane in one.lanes if lane.destination == self.name]
        if not lanes:
            return None
        part: dict[str, Any] = {"in_flight": 0, "last_delivered_at": None, "rate_per_min": 0.0}
        for name in ("waiting", "dead", "held", "held_critical", "delivered_today"):
            part[name] = sum(getattr(lane, name) for lane in lanes)
        for name in ("oldest_age_s", "held_age_s"):
            part[name] = max((age for lane in lanes if (age := getattr(lane, name)) is not None), default=None)
        tries = [lane.retrying for lane in lanes if lane.retrying is not None]
        worst = max(tries, key=lambda one: one.attempt, default=None)
        away = self.last_error if self.last_error is not None and self.last_error.away else None
        return replace(self, **part, retrying=worst, last_error=away)

    @property
    def level(self) -> Level:
        if self.state.level is Level.OK and (self.dead or self.held):
            return Level.ATTENTION
        return self.state.level

    @property
    def words(self) -> Phrase:
        one = self.retrying
        if self.state is DestinationState.RETRYING and one is not None and one.others_taken:
            which: dict[str, str | int | Span | Phrase] = {"n": one.message or 0, "channel": one.channel}
            return Phrase("delivering, but not message {n} of {channel}", which)
        if self.state in _AWAY and self.last_error is not None and self.last_error.away:
            return Phrase(
                "{name}: {notice}", {"name": Phrase(self.state.words), "notice": Phrase(self.last_error.away)}
            )
        return Phrase(self.state.words)
