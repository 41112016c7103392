"""Alerts: entries of the to-do list that people are notified of, wherever they are. Values only.

An alert has one cause, and its key is the cause's. It is pending until the cause has lasted for a time, then it fires:
its start is sent. Once the cause has been gone for a time, its end is sent. `engine.features.alerts` has the rules.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from engine.model.texts.phrases import Phrase

NOTHING = Phrase("")
MOST_CRITICAL = 5000  # critical values that one look has; where more wait for a person, the newest


class State(StrEnum):
    OK = "ok"  # over; its last starts are remembered for an hour
    PENDING = "pending"  # the cause is there, for a shorter time than its rule asks
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"  # a person has taken it
    CLEARING = "clearing"  # the cause is gone, for a shorter time than its rule asks
    UNSTEADY = "unsteady"  # it started four times within an hour; it ends after an hour of calm


class What(StrEnum):
    """What is sent of an alert."""

    START = "start"
    STILL = "still"
    WORSE = "worse"
    ESCALATED = "escalated"
    NO_MORE = "no-more"
    END = "end"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """All that is kept about one alert. Instants are microseconds since 1970; 0: never, or not.

    Attributes:
        key: the same for the same cause.
        rule: its name in the configuration.
        level: of the entry (`engine.monitoring.snapshot.states.Level`); once it was sent, the worst one that was.
        phrase: what is the matter.
        subject: the channel or destination concerned, or empty.
        count: of the entry now.
        since_us: when the cause came, this time.
        fired_us: when it fired.
        gone_us: since when the cause is gone.
        sent_us: when its start was sent.
        sent_count: the count that was sent last.
        said_us: when anything was sent of it last.
        sent_to: names of the sinks that its start was sent to; its end goes there.
        steps: how many steps of the escalation have been sent.
        starts: when it fired, within the last hour, the oldest first.
        unsteady: see `State`.
        taken_us: when a person took it.
        taken: the audit row of that.
        urgent: it is never grouped, muted, silenced or held.
    """

    key: str
    rule: str
    level: str
    phrase: Phrase = NOTHING
    subject: str = ""
    count: int = 1
    since_us: int = 0
    fired_us: int = 0
    gone_us: int = 0
    sent_us: int = 0
    sent_count: int = 0
    said_us: int = 0
    sent_to: tuple[str, ...] = ()
    steps: int = 0
    starts: tuple[int, ...] = ()
    unsteady: bool = False
    taken_us: int = 0
    taken: int = 0
    urgent: bool = False

    @property
    def state(self) -> State:
        if not self.fired_us:
            return State.PENDING if self.since_us else State.OK
        if self.unsteady:
            return State.UNSTEADY
        if self.gone_us:
            return State.CLEARING
        return State.ACKNOWLEDGED if self.taken_us else State.FIRING

    @property
    def is_open(self) -> bool:
        """Whether it has fired and has not ended."""
        return bool(self.fired_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing to send to one sink.

    Attributes:
        phrase: what is the matter.
        lasted_us: how long it has been so, or was.
        due_us: not before then.
    """

    sink: str
    key: str
    what: What
    level: str
    phrase: Phrase
    at_us: int
    due_us: int
    lasted_us: int = 0
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What one look changes.

    Attributes:
        changed: alerts that are another than before.
        gone: keys of those that are not kept any more.
        lines: what is to be sent, starts before ends.
    """

    changed: list[Alert] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.changed or self.gone or self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A person's word that some alerts are not sent for a time.

    Attributes:
        act: its audit row, which has the owner and the reason; it is the silence's number, too.
        pattern: a key, or the beginning of keys with a ``*`` behind it.
    """

    act: int
    pattern: str
    until_us: int
    by: str = ""
    reason: str = ""
    at_us: int = 0

    def covers(self, key: str) -> bool:
        if self.pattern.endswith("*"):
            return key.startswith(self.pattern[:-1])
        return key == self.pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Lines that go to one sink together.

    Attributes:
        number: the same at each attempt, so that a receiver can tell a repeat.
        repeat: an earlier attempt may have reached the sink.
        attempt: from 1.
    """

    number: int
    sink: str
    lines: tuple[Line, ...]
    attempt: int = 1
    repeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A message as a sink sends it. No part of it has patient data.

    Attributes:
        id: of the message; the same at each attempt.
        state: start, still, worse, escalated, no-more, end or test.
        level: the worst of its lines: problem or attention.
        subject: one line.
        text: all of it, with lines.
        key: of the first alert.
        count: the number of alerts in it.
        at_us: when the first of it happened.
    """

    id: str
    site: str
    state: str
    level: str
    subject: str
    text: str
    key: str
    count: int
    at_us: int
    repeat: bool = False

    @property
    def values(self) -> dict[str, str]:
        """What a template may name."""
        return {
            "id": self.id,
            "site": self.site,
            "state": self.state,
            "level": self.level,
            "subject": self.subject,
            "text": self.text,
            "key": self.key,
            "count": str(self.count),
        }


SAMPLE = Notification(
    id="labrelay-1",
    site='A "laboratory"',
    state="start",
    level="problem",
    subject="one line",
    text="two\nlines",
    key="silent/chemistry",
    count=1,
    at_us=0,
)
