"""What a person, a monitor or a script may see of the running site at one moment. Pure values.

The daemon builds one `SiteSnapshot` at most once a second; the status page, ``/status.json``, ``/metrics`` and
``labrelay status`` all read the same one, so that they never contradict each other and no request touches the journal.
Nothing in it comes from inside a message: names, counts, ages, addresses, reason codes.

Instants are aware UTC datetimes, durations are seconds, sizes are bytes, "today" is the site's local day.
`to_json` is a promise to scripts: a field is never renamed or given another meaning without a new `SCHEMA_VERSION`;
new fields may appear.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from engine.link_words import fault_words
from engine.reasons import Reason
from engine.records import UNMAPPED_ROWS
from engine.words import Phrase, Span

SCHEMA_VERSION = 1

# A channel is shown as silent after this many of its usual gaps without a message: one gap would cry wolf daily.
SILENT_AFTER_GAPS = 3
RECEIVING_S = 300.0  # without a known usual gap, a message within the last five minutes counts as "receiving"
DISK_DAYS_PROBLEM, DISK_DAYS_ATTENTION = 7, 30
DISK_FREE_PROBLEM = 1 << 30


class Level(Enum):
    """How much something concerns a person: nothing to do, look when you can, act now."""

    OK = "ok"
    ATTENTION = "attention"
    PROBLEM = "problem"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return _RANK[self]


_RANK = {Level.PROBLEM: 0, Level.ATTENTION: 1, Level.OK: 2}


class ChannelState(Enum):
    RECEIVING = "receiving"  # the last message is no older than the usual gap
    QUIET = "quiet"  # longer ago, but not worryingly
    SILENT = "silent"  # much longer ago than usual: look at the analyzer
    WAITING = "waiting_for_connection"  # nobody has connected (or we cannot connect)
    FAULTED = "faulted"  # the listener, device or task is down; being restarted
    PAUSED = "paused"  # by a person: nothing is received, so nothing is acknowledged
    DISABLED = "disabled"  # `enabled: false`

    @property
    def level(self) -> Level:
        return _CHANNEL_LEVEL.get(self, Level.OK)


_CHANNEL_LEVEL = {
    ChannelState.SILENT: Level.PROBLEM,
    ChannelState.FAULTED: Level.PROBLEM,
    ChannelState.WAITING: Level.ATTENTION,
    ChannelState.PAUSED: Level.ATTENTION,
}


class DestinationState(Enum):
    OK = "ok"  # the last attempt succeeded
    IDLE = "idle"  # nothing was sent yet
    RETRYING = "retrying"  # attempts fail and are repeated
    BREAKER_OPEN = "breaker_open"  # too many failed: nothing is sent until the breaker lets a probe through
    PROBING = "probing"  # one attempt is out to see whether it is back
    EXPECTED = "expected_downtime"  # attempts fail, in a window in which that is no surprise
    PAUSED = "paused"  # by a person: no attempt is made

    @property
    def level(self) -> Level:
        return _DESTINATION_LEVEL.get(self, Level.OK)


_DESTINATION_LEVEL = {
    DestinationState.BREAKER_OPEN: Level.PROBLEM,
    DestinationState.RETRYING: Level.ATTENTION,
    DestinationState.PROBING: Level.ATTENTION,
    DestinationState.PAUSED: Level.ATTENTION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """A person has paused a channel, a destination or a lane.

    Attributes:
        by: the user, empty where it is not known.
        since: None where it is not known.
        reason: in that person's words.
    """

    by: str = ""
    since: datetime | None = None
    reason: str = ""

    @property
    def words(self) -> Phrase:
        return Phrase("paused by {who}", {"who": self.by}) if self.by else Phrase("paused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """The delivery at the head of a lane failed and waits for its next attempt.

    Attributes:
        attempt: how many attempts have failed so far.
        reason: why the last one failed.
        next_at: when the next one is due; None while it is under way or a breaker holds it.
    """

    attempt: int
    reason: Reason
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastError:
    """Why a destination last refused or failed, and when."""

    reason: Reason
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSnapshot:
    """What one channel has for one destination.

    Attributes:
        waiting: deliveries not yet delivered, without those that are dead or held.
        oldest_age_s: since the oldest waiting delivery's message was received.
        dead: open dead letters of this lane.
        held: deliveries that a rule of the route keeps back until a person decides.
        held_age_s: since the oldest of these is held.
        paused: the lane alone; its destination as a whole may be paused, too.
        expected: attempts fail, in a window of the destination's expected downtime.
    """

    destination: str
    waiting: int = 0
    oldest_age_s: float | None = None
    retrying: Retrying | None = None
    dead: int = 0
    held: int = 0
    held_age_s: float | None = None
    delivered_today: int = 0
    paused: Paused | None = None
    expected: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReagentSnapshot:
    """A reagent lot that the analyzer has named lately; the attributes are those of `engine.records.ReagentView`."""

    name: str
    lot: str
    expires: str = ""
    tests: tuple[str, ...] = ()
    left: str = ""
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSnapshot:
    """One analyzer or system.

    Attributes:
        kind: as in the channel's YAML (``mllp``, ``astm``, ...).
        address: where it listens, connects to, or which device; as configured, without secrets.
        fault: for FAULTED, what is wrong, without patient data (``address already in use``).
        notice: what a person has to see to although it works (``files that could not be taken: 1``).
        paused: by a person, else None.
        connections: the peers connected now.
        last_message_age_s: None before the first message ever.
        usual_gap_s: how far apart its messages usually are.
        stored_waiting: journaled and acknowledged, not mapped yet.
        dead: open dead letters that died before they had a destination (unreadable, mapping faults).
        link_faults: how often the peer departed from its protocol since the start, by kind.
        tee: of a channel that listens between an analyzer and its middleware, else None.
        reagents: lots that the analyzer has named lately, the latest first.
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
    usual_gap_s: float | None = None
    today_received: int = 0
    today_delivered: int = 0
    today_dead: int = 0
    today_filtered: int = 0
    today_repeat: int = 0
    today_incomplete: int = 0
    stored_waiting: int = 0
    dead: int = 0
    link_faults: Mapping[str, int] = field(default_factory=dict)
    link: LinkSnapshot = field(default_factory=LinkSnapshot)
    tee: TeeSnapshot | None = None
    reagents: tuple[ReagentSnapshot, ...] = ()
    lanes: tuple[LaneSnapshot, ...] = ()

    @property
    def waiting(self) -> int:
        """Everything that still has to go somewhere."""
        return self.stored_waiting + sum(lane.waiting for lane in self.lanes)

    @property
    def dead_total(self) -> int:
        return self.dead + sum(lane.dead for lane in self.lanes)

    @property
    def level(self) -> Level:
        """The worst of its state, its notice, its dead letters and its lanes."""
        if self.tee is not None and self.tee.not_kept:
            return Level.PROBLEM
        unwell = self.notice or self.dead_total or any(_unwell(lane) for lane in self.lanes)
        if self.state.level is Level.OK and unwell:
            return Level.ATTENTION
        return self.state.level

    @property
    def words(self) -> Phrase:
        """The state as a person says it; the age of the last message stands beside it."""
        if self.state is ChannelState.FAULTED and self.fault:
            return Phrase("down: {fault}", {"fault": self.fault})
        return Phrase(_CHANNEL_WORDS[self.state])


_CHANNEL_WORDS = {
    ChannelState.RECEIVING: "receiving",
    ChannelState.QUIET: "quiet",
    ChannelState.SILENT: "silent",
    ChannelState.WAITING: "not connected",
    ChannelState.FAULTED: "down",
    ChannelState.PAUSED: "paused",
    ChannelState.DISABLED: "switched off",
}


def _unwell(lane: LaneSnapshot) -> bool:
    return bool((lane.retrying and not lane.expected) or lane.held or lane.paused)


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationSnapshot:
    """One place where documents go, over all channels.

    Attributes:
        address: the URL or folder, without user, password, query or token.
        breaker_until: when an open breaker lets the next probe through.
        paused: by a person, else None.
        expected_until: the end of the window of expected downtime that is open now; None outside of any.
        in_flight: attempts under way now.
        rate_per_min: delivered in the last minute.
    """

    name: str
    kind: str
    address: str
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
    delivered_today: int = 0
    last_delivered_at: datetime | None = None
    last_error: LastError | None = None
    retrying: Retrying | None = None
    rate_per_min: float = 0.0

    @property
    def level(self) -> Level:
        if self.state.level is Level.OK and (self.dead or self.held):
            return Level.ATTENTION
        return self.state.level

    @property
    def words(self) -> Phrase:
        return Phrase(_DESTINATION_WORDS[self.state])


_DESTINATION_WORDS = {
    DestinationState.OK: "delivering",
    DestinationState.IDLE: "ready",
    DestinationState.RETRYING: "retrying",
    DestinationState.BREAKER_OPEN: "not reachable",
    DestinationState.PROBING: "trying again",
    DestinationState.EXPECTED: "expected downtime",
    DestinationState.PAUSED: "paused",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSnapshot:
    """The journal's health.

    Attributes:
        last_id: the number of the newest message.
        fsync_ms_p50, fsync_ms_p99: how long a commit with its sync took lately; None before the first.
        integrity: ``ok``, or what is wrong with which rows, or why none can be read.
        writable: nothing has failed to be kept lately (a full disk); `SiteSnapshot.alarms` says what has.
    """

    last_id: int = 0
    size_bytes: int = 0
    wal_bytes: int = 0
    fsync_ms_p50: float | None = None
    fsync_ms_p99: float | None = None
    integrity: str = "ok"
    writable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a person should know.

    Attributes:
        subject: the channel or destination concerned, or empty.
    """

    level: Level
    phrase: Phrase
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSnapshot:
    """How far back the journal reaches.

    Attributes:
        since: when the oldest message that is kept was received; None without one.
        next_at: when the next message is old enough to go, at the earliest.
        largest_bytes: what the journal will take once as much goes as comes; None while that is not known.
        last_at, last_messages: when retention let something go last, and how many messages.
    """

    since: datetime | None = None
    next_at: datetime | None = None
    largest_bytes: int | None = None
    last_at: datetime | None = None
    last_messages: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSnapshot:
    """Copies of the journal.

    Attributes:
        folder: where they go; empty where the site has none.
        verified_at: when the newest copy that was read back and found whole was begun.
        rows_at: up to when rows of the journal are in the folder.
        drill_at: when a copy was last restored for practice; ``drill_s``, how long that took.
        running: what is under way, in words, or empty.
        fault: why the last try failed, or empty.
    """

    folder: str = ""
    verified_at: datetime | None = None
    rows_at: datetime | None = None
    drill_at: datetime | None = None
    drill_s: float | None = None
    running: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSnapshot:
    """Everything at one moment.

    Attributes:
        timezone: the site's IANA zone: instants are shown to people in it.
        config_hash: the first digits of the hash over the configuration in force.
        dead_total: open dead letters, messages and deliveries.
        unmapped_total: different codes seen and not in their table, as far as they are counted (`UNMAPPED_ROWS`).
        disk_days_left: at the rate of the last days; None while that is not known.
        task_restarts: supervised tasks that fell over since the start, and how often.
        held_alarm_s: a result that is held back longer is a problem.
        alarms: sentences that ask for action now (`Level.PROBLEM`).
        notes: sentences worth knowing (`Level.ATTENTION`).
    """

    site_name: str
    version: str
    started_at: datetime
    now: datetime
    timezone: str = "UTC"
    config_hash: str = ""
    channels: tuple[ChannelSnapshot, ...] = ()
    destinations: tuple[DestinationSnapshot, ...] = ()
    dead_total: int = 0
    unmapped_total: int = 0
    disk_free_bytes: int | None = None
    disk_days_left: float | None = None
    journal: JournalSnapshot = field(default_factory=JournalSnapshot)
    kept: KeptSnapshot = field(default_factory=KeptSnapshot)
    backup: BackupSnapshot = field(default_factory=BackupSnapshot)
    task_restarts: Mapping[str, int] = field(default_factory=dict)
    held_alarm_s: float = 86_400.0
    alarms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def unmapped_words(self) -> Phrase:
        """`unmapped_total` as a person reads it: where the journal counts no further, it says so."""
        if self.unmapped_total >= UNMAPPED_ROWS:
            return Phrase("{n} or more", {"n": self.unmapped_total})
        return Phrase("{text}", {"text": str(self.unmapped_total)})

    def findings(self) -> list[Finding]:
        """What is not as it should be, worst first; within a level, what concerns results comes first."""
        return sorted(self._findings(), key=lambda finding: finding.level.rank)

    def overall(self) -> Finding:
        """The worst finding, or the sentence that says that there is none."""
        return min(
            self._findings(),
            key=lambda finding: finding.level.rank,
            default=Finding(level=Level.OK, phrase=Phrase("Everything works")),
        )

    def _findings(self) -> list[Finding]:
        found = [Finding(level=Level.PROBLEM, phrase=Phrase("{text}", {"text": text})) for text in self.alarms]
        if self.journal.integrity != "ok" and not self.alarms:  # an alarm has said it, in more words
            phrase = Phrase("The journal is damaged: {what}", {"what": self.journal.integrity})
            found.append(Finding(level=Level.PROBLEM, phrase=phrase))
        for channel in sorted(self.channels, key=_longest_silent_first):
            if channel.state.level is not Level.OK:
                found.append(Finding(level=channel.state.level, phrase=_channel_phrase(channel), subject=channel.name))
            if channel.notice:
                phrase = Phrase("{name}: {notice}", {"name": channel.name, "notice": channel.notice})
                found.append(Finding(level=Level.ATTENTION, phrase=phrase, subject=channel.name))
            if channel.tee is not None and channel.tee.not_kept:
                phrase = Phrase("{name} tee: {n} messages not kept", {"name": channel.name, "n": channel.tee.not_kept})
                found.append(Finding(level=Level.PROBLEM, phrase=phrase, subject=channel.name))
            for lane in channel.lanes:
                if lane.paused is not None:
                    phrase = _lane_phrase(channel.name, lane, lane.paused)
                    found.append(Finding(level=Level.ATTENTION, phrase=phrase, subject=channel.name))
        for destination in self.destinations:
            if destination.state.level is not Level.OK:
                phrase = _destination_phrase(destination, self.now)
                found.append(Finding(level=destination.state.level, phrase=phrase, subject=destination.name))
        found.extend(_disk(self.disk_free_bytes, self.disk_days_left))
        if self.dead_total:
            phrase = Phrase("Dead letters: {n}", {"n": self.dead_total})
            found.append(Finding(level=Level.ATTENTION, phrase=phrase))
        found.extend(self._held())
        if self.unmapped_total:
            phrase = Phrase("Codes without a mapping: {n}", {"n": self.unmapped_words})
            found.append(Finding(level=Level.ATTENTION, phrase=phrase))
        found.extend(Finding(level=Level.ATTENTION, phrase=Phrase("{text}", {"text": text})) for text in self.notes)
        return found

    def _held(self) -> list[Finding]:
        """Results that wait for a person; a problem where one has waited longer than `held_alarm_s`."""
        held = sum(destination.held for destination in self.destinations)
        if not held:
            return []
        age = max((one.held_age_s for one in self.destinations if one.held_age_s is not None), default=None)
        if age is None:
            return [Finding(level=Level.ATTENTION, phrase=Phrase("Held back: {n}", {"n": held}))]
        level = Level.PROBLEM if age > self.held_alarm_s else Level.ATTENTION
        phrase = Phrase("Held back: {n}, the oldest for {age}", {"n": held, "age": Span(age)})
        return [Finding(level=level, phrase=phrase)]

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``/status.json`` and ``labrelay status -o json`` (docs/page.md describes them)."""
        found = self.findings()
        overall = self.overall()
        return {
            "schema_version": SCHEMA_VERSION,
            "overall": {"level": overall.level.value, "words": str(overall.phrase)},
            "findings": [
                {"level": finding.level.value, "subject": finding.subject, "words": str(finding.phrase)}
                for finding in found
            ],
            **_plain(self),
        }


def channel_state(
    *,
    enabled: bool,
    paused: bool = False,
    fault: str,
    connected: bool,
    connects: bool,
    last_message_age_s: float | None,
    usual_gap_s: float | None,
    up_s: float,
) -> ChannelState:
    """Decide what to say about a channel.

    Args:
        connects: we open the connection (or device); then being unconnected is worth saying even after messages
            came, while a sender that connects to us may do so for each message only.
        up_s: how long the daemon has been up: a channel that never received anything is silent since then.
    """
    if not enabled:
        return ChannelState.DISABLED
    if paused:
        return ChannelState.PAUSED
    if fault:
        return ChannelState.FAULTED
    age_s = up_s if last_message_age_s is None else last_message_age_s
    # After a start, senders get the time to connect again before anyone is called silent.
    if usual_gap_s is not None and min(age_s, up_s) > SILENT_AFTER_GAPS * usual_gap_s:
        return ChannelState.SILENT
    if not connected and (connects or last_message_age_s is None):
        return ChannelState.WAITING
    if last_message_age_s is not None and last_message_age_s <= (usual_gap_s or RECEIVING_S):
        return ChannelState.RECEIVING
    return ChannelState.QUIET


def _longest_silent_first(channel: ChannelSnapshot) -> float:
    """A sort key that leaves all others in their order, after the silent ones."""
    return -(channel.last_message_age_s or 0.0) if channel.state is ChannelState.SILENT else 1.0


def _channel_phrase(channel: ChannelSnapshot) -> Phrase:
    if channel.state is ChannelState.SILENT and channel.last_message_age_s is not None:
        return Phrase("{name} silent {age}", {"name": channel.name, "age": Span(channel.last_message_age_s)})
    state = channel.paused.words if channel.state is ChannelState.PAUSED and channel.paused else channel.words
    return Phrase("{name} {state}", {"name": channel.name, "state": state})


def _destination_phrase(destination: DestinationSnapshot, now: datetime) -> Phrase:
    state = destination.paused.words if destination.paused is not None else destination.words
    return _with_waiting(destination.name, state, destination.waiting)


def _lane_phrase(channel: str, lane: LaneSnapshot, paused: Paused) -> Phrase:
    return _with_waiting(f"{channel}/{lane.destination}", paused.words, lane.waiting)


def _with_waiting(name: str, state: Phrase, waiting: int) -> Phrase:
    values: dict[str, str | int | Span | Phrase] = {"name": name, "state": state}
    if not waiting:
        return Phrase("{name} {state}", values)
    return Phrase("{name} {state}, {n} waiting", values | {"n": waiting})


def _disk(free_bytes: int | None, days_left: float | None) -> list[Finding]:
    days = None if days_left is None else Phrase("Disk full in {days} days", {"days": int(days_left)})
    if days is not None and days_left is not None and days_left < DISK_DAYS_PROBLEM:
        return [Finding(level=Level.PROBLEM, phrase=days)]
    if free_bytes is not None and free_bytes < DISK_FREE_PROBLEM:
        phrase = Phrase("Disk almost full: {mib} MiB left", {"mib": free_bytes >> 20})
        return [Finding(level=Level.PROBLEM, phrase=phrase)]
    if days is not None and days_left is not None and days_left < DISK_DAYS_ATTENTION:
        return [Finding(level=Level.ATTENTION, phrase=days)]
    return []


def _plain(value: object) -> Any:
    """Dataclasses to objects (with ``level`` and ``words`` where a person would see them), instants to ISO 8601."""
    if isinstance(value, Phrase):
        return str(value)
    if is_dataclass(value):
        plain = {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
        if isinstance(value, (ChannelSnapshot, DestinationSnapshot)):
            plain["level"] = value.level.value
        if isinstance(value, (ChannelSnapshot, DestinationSnapshot, LinkSnapshot)):
            plain["words"] = str(value.words)
        if isinstance(value, (LineStep, LinkFaults)):
            plain.pop("phrase", None)
            plain["words"] = str(value.phrase)
        return plain
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return value
