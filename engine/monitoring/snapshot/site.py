"""The state of the whole site at one moment, with its journal and copies; findings for people, the same for scripts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from enum import Enum, StrEnum
from functools import cache
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from engine.model.journal.records import UNMAPPED_ROWS
from engine.model.texts.phrases import Phrase, Said, Span, phrase_of
from engine.monitoring.snapshot.channels import ChannelSnapshot, DestinationSnapshot, LaneSnapshot
from engine.monitoring.snapshot.states import ChannelState, Level


class About(StrEnum):
    """The part of the site that a notice is about; a key of the to-do list, so names stay as they are."""

    DELIVERIES = "deliveries"  # all of them are paused
    JOURNAL = "journal"
    BACKUP = "backup"
    ANCHOR = "second-anchor"
    KEY = "key"
    REFUSED = "refused-by-receivers"
    PAGE = "page"
    CLOCK = "clock"
    CERTIFICATE = "certificate"
    PERSONS = "persons"
    ERASURE = "erasure"
    CONFIGURATION = "configuration"
    DISK = "disk"


class Notice(Said):
    """A sentence; a string, so that JSON and the command line show it as such.

    Attributes:
        about: the part of the site.
    """

    about: About

    def __new__(cls, text: str, about: About) -> "Notice":
        made = str.__new__(cls, text)
        made.phrase = phrase_of(text)
        made.about = about
        return made

    def __getnewargs__(self) -> tuple[str, About]:  # type: ignore[override]  # of a string it has one
        return str(self), self.about


def notices(about: About, texts: Iterable[str]) -> Iterator[Notice]:
    """These sentences, about one part of the site; empty ones are left out."""
    return (Notice(text, about) for text in texts if text)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSnapshot:
    """The journal's health.

    Attributes:
        last_id: the number of the newest message.
        fsync_ms_p50, fsync_ms_p99: how long a commit with its sync took lately; None before the first.
        integrity: ``ok``, or the damage and its rows, or why none can be read.
        writable: no recent write has failed (a full disk); `SiteSnapshot.alarms` has the details.
    """

    last_id: int = 0
    size_bytes: int = 0
    wal_bytes: int = 0
    fsync_ms_p50: float | None = None
    fsync_ms_p99: float | None = None
    integrity: str = "ok"
    writable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSnapshot:
    """The age of the journal's content.

    Attributes:
        since: when the oldest remaining message was received; None without one.
        next_at: when the next message is old enough to be deleted, at the earliest.
        largest_bytes: the size of the journal once as much is deleted as comes in; None while that is not known.
        last_at, last_messages: when retention last deleted rows, and how many messages.
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
        folder: where they are; empty where the site has none.
        missing: the site has none, and gives no reason for that.
        verified_at: when the newest verified copy was begun.
        rows_at: the time up to which the folder has rows of the journal.
        drill_at: the time of the last restore test; ``drill_s``: its duration.
        running: the work under way, as text, or empty.
        fault: why the last attempt failed, or empty.
        same_disk: they are on the journal's own disk.
        spare: the machine that follows them, and since when (``spare_behind_s``) it lacks something.
    """

    folder: str = ""
    missing: bool = False
    verified_at: datetime | None = None
    rows_at: datetime | None = None
    drill_at: datetime | None = None
    drill_s: float | None = None
    running: str = ""
    fault: str = ""
    same_disk: bool = False
    spare: str = ""
    spare_behind_s: float | None = None


SCHEMA_VERSION = 1
DISK_DAYS_PROBLEM, DISK_DAYS_ATTENTION = 7, 30
DISK_FREE_PROBLEM = 1 << 30
_AS_THEY_ARE = frozenset({str, int, float, bool, type(None)})  # in JSON; most values are
_STOPS_ALL = frozenset({About.DISK, About.DELIVERIES})
_OF_EACH_PART = ("site_name", "version", "started_at", "now", "timezone", "config_hash", "held_alarm_s", "notifies")
P = TypeVar("P", ChannelSnapshot, DestinationSnapshot, LaneSnapshot)
NO_BACKUP = Phrase("No backup is configured: set backup.folder to a folder on another disk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem or notice for people.

    Attributes:
        subject: the channel or destination concerned, or empty.
    """

    level: Level
    phrase: Phrase
    subject: str = ""


@runtime_checkable
class Troubled(Protocol):
    """A feature's part of a snapshot that has findings."""

    def findings(self) -> Sequence[Finding]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSnapshot:
    """The state of the site at one moment.

    Attributes:
        timezone: the site's IANA zone: instants are shown to people in it.
        config_hash: the first digits of the hash over the configuration in force.
        dead_total: open dead letters, messages and deliveries.
        incomplete_total: messages that broke off; the analyzer may not send them again, so a person decides.
        unmapped_total: different codes without an entry in their table, up to the counting limit (`UNMAPPED_ROWS`).
        disk_days_left: at the rate of the last days; None while that is not known.
        usual_by_hour: how many messages usually come in each hour of this day, the least and the most; None where too
            few weeks are known. Empty until it was read.
        of_features: by the names that they have in JSON.
        task_restarts: supervised tasks that failed since the start, with the number of restarts.
        held_alarm_s: a result held longer than this is a problem.
        notifies: people are notified of what waits for them, wherever they are (`alerts:`).
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
    incomplete_total: int = 0
    unmapped_total: int = 0
    disk_free_bytes: int | None = None
    disk_days_left: float | None = None
    journal: JournalSnapshot = field(default_factory=JournalSnapshot)
    kept: KeptSnapshot = field(default_factory=KeptSnapshot)
    backup: BackupSnapshot = field(default_factory=BackupSnapshot)
    usual_by_hour: tuple[tuple[int, int] | None, ...] = ()
    of_features: Mapping[str, object] = field(default_factory=dict)
    task_restarts: Mapping[str, int] = field(default_factory=dict)
    held_alarm_s: float = 86_400.0
    notifies: bool = True
    alarms: tuple[Notice, ...] = ()
    notes: tuple[Notice, ...] = ()

    def without_notes(self) -> "SiteSnapshot":
        """The same without the reasons of pauses, for those who do not read them (`Principal.reads_notes`)."""
        channels = tuple(
            _without_reason(replace(one, lanes=tuple(map(_without_reason, one.lanes))))
            if one.paused is not None or any(lane.paused is not None for lane in one.lanes)
            else one
            for one in self.channels
        )
        return replace(self, channels=channels, destinations=tuple(map(_without_reason, self.destinations)))

    def within(self, channels: Set[str]) -> "SiteSnapshot":
        """The same for those who see these channels alone: totals and destinations have their part, the site what stops
        all work. Codes without a mapping are not counted.
        """
        seen = tuple(one for one in self.channels if one.name in channels)
        return SiteSnapshot(
            **{name: getattr(self, name) for name in _OF_EACH_PART},
            channels=seen,
            destinations=tuple(filter(None, (one.within(seen) for one in self.destinations))),
            dead_total=sum(one.dead_total for one in seen),
            incomplete_total=sum(one.incomplete for one in seen),
            of_features=dict(_parts(self.of_features, channels)),
            alarms=tuple(one for one in self.alarms if one.about in _STOPS_ALL),
        )

    @property
    def unsent_after_s(self) -> Mapping[str, float]:
        """By channel, where it is not the usual: how long an order may wait that was asked for in vain."""
        return cast(Mapping[str, float], self.of_features.get("unsent_after_s", {}))

    @property
    def facilities(self) -> Mapping[str, str]:
        """Laboratories of the patients' network, id -> name."""
        return cast(Mapping[str, str], self.of_features.get("facilities", {}))

    @property
    def unmapped_words(self) -> Phrase:
        """`unmapped_total` as text; it shows where the counting limit was reached."""
        if self.unmapped_total >= UNMAPPED_ROWS:
            return Phrase("{n} or more", {"n": self.unmapped_total})
        return Phrase("{text}", {"text": str(self.unmapped_total)})

    def findings(self) -> list[Finding]:
        """All findings, worst first. Within a level, those about results come first, and channels that never sent
        anything last.
        """
        return sorted(self._findings(), key=lambda finding: finding.level.rank)

    def overall(self) -> Finding:
        """The worst finding, or the sentence that all is well."""
        return min(
            self._findings(),
            key=lambda finding: finding.level.rank,
            default=Finding(level=Level.OK, phrase=Phrase("Everything works")),
        )

    def _findings(self) -> list[Finding]:
        found = [Finding(level=Level.PROBLEM, phrase=phrase_of(text)) for text in self.alarms]
        if critical := sum(destination.held_critical for destination in self.destinations):
            found.append(_found("Critical results held back: {n}", Level.PROBLEM, n=critical))
        if self.journal.integrity != "ok" and not self.alarms:  # an alarm already reports it, in more words
            found.append(_found("The journal is damaged: {what}", Level.PROBLEM, what=self.journal.integrity))
        never: list[Finding] = []
        for channel in sorted(self.channels, key=_longest_silent_first):
            name = channel.name
            alarmed = (
                channel.state is ChannelState.REFUSING and self.alarms and not channel.notice
            )  # one alarm already covers all channels
            if channel.state.level is not Level.OK and not alarmed:
                unknown = channel.state is ChannelState.WAITING and channel.last_message_age_s is None
                finding = Finding(level=channel.state.level, phrase=_channel_phrase(channel), subject=name)
                (never if unknown else found).append(finding)
            if channel.notice:
                found.append(_found("{name}: {notice}", Level.ATTENTION, name, name=name, notice=channel.notice))
            if channel.late is not None:
                found.append(Finding(level=Level.ATTENTION, phrase=channel.late, subject=name))
            for level, words in ((Level.ATTENTION, channel.behind), (Level.PROBLEM, channel.gap)):
                if words is not None:
                    found.append(_found("{name}: {notice}", level, name, name=name, notice=words))
            if channel.tee is not None and (lost := channel.tee.not_kept):
                found.append(_found("{name} tee: {n} messages not kept", Level.PROBLEM, name, name=name, n=lost))
            for lane in channel.lanes:
                if lane.paused is not None:
                    phrase = _with_waiting(f"{name}/{lane.destination}", lane.paused.words, lane.waiting)
                    found.append(Finding(level=Level.ATTENTION, phrase=phrase, subject=name))
        for one in self.destinations:
            if one.state.level is not Level.OK:
                found.append(Finding(level=one.state.level, phrase=destination_phrase(one), subject=one.name))
        for part in self.of_features.values():
            if isinstance(part, Troubled):
                found.extend(part.findings())
        found.extend(disk_findings(self.disk_free_bytes, self.disk_days_left))
        if self.backup.missing:
            found.append(Finding(level=Level.PROBLEM, phrase=NO_BACKUP))
        if self.dead_total:
            found.append(_found("Dead letters: {n}", Level.ATTENTION, n=self.dead_total))
        if self.incomplete_total:
            found.append(_found("Incomplete messages: {n}", Level.ATTENTION, n=self.incomplete_total))
        found.extend(self._held())
        if self.unmapped_total:
            found.append(_found("Codes without a mapping: {n}", Level.ATTENTION, n=self.unmapped_words))
        found.extend(Finding(level=Level.ATTENTION, phrase=phrase_of(text)) for text in self.notes)
        return found + never

    def _held(self) -> list[Finding]:
        """Results that wait for a person; a problem where one has waited longer than `held_alarm_s`."""
        held = sum(destination.held for destination in self.destinations)
        if not held:
            return []
        age = max((one.held_age_s for one in self.destinations if one.held_age_s is not None), default=None)
        if age is None:
            return [_found("Held back: {n}", Level.ATTENTION, n=held)]
        level = Level.PROBLEM if age > self.held_alarm_s else Level.ATTENTION
        return [_found("Held back: {n}, the oldest for {age}", level, n=held, age=Span(age))]

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``/status.json`` and ``labrelay status -o json`` (`labrelay help status` describes them)."""
        found = self.findings()
        overall = self.overall()
        return {
            "schema_version": SCHEMA_VERSION,
            "overall": {"level": overall.level.value, "words": str(overall.phrase)},
            "findings": [
                {"level": finding.level.value, "subject": finding.subject, "words": str(finding.phrase)}
                for finding in found
            ],
            **{name: one for name, one in _plain(self).items() if name != "of_features"},
            **_plain(self.of_features),
        }


def _parts(of_features: Mapping[str, object], channels: Set[str]) -> Iterator[tuple[str, object]]:
    """What features have by channel, or as a list of what has one."""
    for name, one in of_features.items():
        if isinstance(one, Mapping):
            yield name, {channel: value for channel, value in one.items() if channel in channels}
        elif isinstance(one, tuple | list):
            yield name, tuple(row for row in one if getattr(row, "channel", "") in channels)


def _without_reason(one: P) -> P:
    return replace(one, paused=replace(one.paused, reason="")) if one.paused is not None else one


def _found(text: str, level: Level, subject: str = "", /, **values: str | int | Span | Phrase) -> Finding:
    return Finding(level=level, phrase=Phrase(text, values), subject=subject)


def _longest_silent_first(channel: ChannelSnapshot) -> float:
    """Sort key: channels that were silent longest come first, all others keep their order."""
    return -(channel.last_message_age_s or 0.0) if channel.state is ChannelState.SILENT else 1.0


def _channel_phrase(channel: ChannelSnapshot) -> Phrase:
    if channel.state is ChannelState.SILENT and channel.last_message_age_s is not None:
        return Phrase("{name} silent {age}", {"name": channel.name, "age": Span(channel.last_message_age_s)})
    state = channel.paused.words if channel.state is ChannelState.PAUSED and channel.paused else channel.words
    return Phrase("{name} {state}", {"name": channel.name, "state": state})


def _with_waiting(name: str, state: Phrase, waiting: int) -> Phrase:
    values: dict[str, str | int | Span | Phrase] = {"name": name, "state": state}
    if not waiting:
        return Phrase("{name} {state}", values)
    return Phrase("{name} {state}, {n} waiting", values | {"n": waiting})


def destination_phrase(one: DestinationSnapshot) -> Phrase:
    """Its state, how much waits, and whom to call."""
    if one.paused is not None:
        return _with_waiting(one.name, one.paused.words, one.waiting)
    said = _with_waiting(one.name, one.words, one.waiting)
    return Phrase("{what}. Call {who}", {"what": said, "who": one.contact}) if one.contact else said


def disk_findings(free_bytes: int | None, days_left: float | None) -> list[Finding]:
    """The finding about a disk that runs full; none while it does not."""
    if days_left is not None and days_left < DISK_DAYS_PROBLEM:
        return [_found("Disk full in {days} days", Level.PROBLEM, days=int(days_left))]
    if free_bytes is not None and free_bytes < DISK_FREE_PROBLEM:
        return [_found("Disk almost full: {mib} MiB left", Level.PROBLEM, mib=free_bytes >> 20)]
    if days_left is not None and days_left < DISK_DAYS_ATTENTION:
        return [_found("Disk full in {days} days", Level.ATTENTION, days=int(days_left))]
    return []


@cache
def _keys(kind: Any) -> tuple[str, ...] | None:
    """The fields of a dataclass, and its properties that are named in ``derived``; None: it is another class."""
    if not is_dataclass(kind):
        return None
    return (*(entry.name for entry in fields(kind)), *getattr(kind, "derived", ()))


def _plain(value: object) -> Any:
    """Dataclasses to objects, instants to ISO 8601."""
    kind: Any = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if isinstance(value, tuple | list):
        return [one if type(one) in _AS_THEY_ARE else _plain(one) for one in value]
    if kind is Phrase:
        return str(value)
    if (keys := _keys(kind)) is not None:
        return {key: one if type(one := getattr(value, key)) in _AS_THEY_ARE else _plain(one) for key in keys}
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return value
