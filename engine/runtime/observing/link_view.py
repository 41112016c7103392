"""The line of each channel, for people: its state, its latest traffic, its faults. No content.

Frames come from the line's trace (`engine.store.operations.line_trace`), which is read again only after new traffic. A
tee has no trace: there the steps are whole messages, with the answers to them.

What is usual for each channel at this hour, and its last day hour by hour; read from the journal a little at a time.

One reading learns at most `LEARNED_AT_ONCE` hours: with five hundred channels a new hour is learned within a minute,
and until then a channel keeps what was said of it before. Nothing is learned at a start but what is asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import cast
from zoneinfo import ZoneInfo

from engine.config.channel import ChannelConfig
from engine.model.link_events import Answered, Direction
from engine.model.ports import TracedLink
from engine.model.process.clock import from_us
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.channels import (
    STEPS,
    LineStep,
    LinkFaults,
    LinkSnapshot,
    LinkState,
    TeeSnapshot,
    UsualGap,
    line_steps,
)
from engine.monitoring.usual_gaps import (
    TEACHING_PARTS,
    UsualHour,
    band,
    hour_of,
    hours_of_day,
    is_silent,
    learn,
    same_hours,
    weeks_before,
)
from engine.receiving.channel import Channel
from engine.receiving.channel_parts import Connection
from engine.receiving.tee import PassedMessage, TeeChannel
from engine.runtime.sources import ChannelSource
from engine.store.journal import Journal
from engine.store.operations.line_trace import LineEntry
from engine.store.queries.tallies import hours_between, hours_of, received_in

LEARNED_AT_ONCE = 10
HOURS_SHOWN = 24
HOURS_KNOWN = 50_000  # of all channels; beyond it they are learned again as they are needed
NEWS_S = 300  # so often the hours change


@dataclass(frozen=True, slots=True)
class LastDay:
    """A channel's last hours, the present one last."""

    received: tuple[int, ...] = ()
    dead: tuple[int, ...] = ()


class ArrivalsView:
    """Reads `HourCount` rows for the snapshots of channels."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: dict[tuple[str, datetime], UsualHour | None] = {}
        self._said: dict[str, UsualGap] = {}
        self._left = 0
        self._put_off = False  # what was asked last would have needed more than this reading may learn
        self._hours: dict[int, dict[str, tuple[int, int]]] = {}  # begin of an hour -> channel -> received, dead
        self._ended = frozenset[int]()  # those of them that no longer change
        self._days: dict[str, LastDay] = {}
        self._bands: dict[datetime, tuple[int, int] | None] = {}  # begin of an hour of this day -> usual messages
        self._read_for: tuple[int, datetime] | None = None

    def read(
        self,
        channels: Iterable[ChannelConfig],
        last_us: Mapping[str, int],
        now: datetime,
        started: datetime,
        zone: ZoneInfo,
        days_off: Iterable[date],
    ) -> None:
        """Bring up to date what `usual` and `last_day` say.

        Args:
            last_us: channel -> its last message.
            days_off: of the site.

        Raises:
            StoreError: the journal cannot be read.
        """
        self._left = LEARNED_AT_ONCE
        self._read_last_day(now, zone)
        if len(self._known) > HOURS_KNOWN:
            self._known.clear()
        site_off = frozenset(days_off)
        self._read_band(now, zone, site_off)
        for channel in channels:
            name = channel.channel
            off = site_off.union(channel.days_off)
            last = datetime.fromtimestamp(last_us[name] / 1e6, UTC) if last_us.get(name) else None
            self._put_off = False
            usual = self._usual(channel, last, now, started, zone, off)
            if not self._put_off:
                self._said[name] = usual

    def usual(self, channel: str) -> UsualGap:
        return self._said.get(channel, UsualGap())

    def last_day(self, channel: str) -> LastDay:
        return self._days.get(channel, LastDay())

    def usual_by_hour(self) -> tuple[tuple[int, int] | None, ...]:
        """How many messages of all channels usually come in each hour of this day, as far as it was read."""
        return tuple(self._bands.values())

    def _read_band(self, now: datetime, zone: ZoneInfo, off: frozenset[date]) -> None:
        """Read what is usual at one more hour of this day."""
        hours = hours_of_day(now, zone)
        if hours[0] not in self._bands:
            self._bands = {}
        for begins in hours[len(self._bands) : len(self._bands) + 1]:
            before = [round(then.timestamp() * 1e6) for then in weeks_before(begins, zone, off.__contains__)]
            self._bands[begins] = band([*received_in(self._journal, before, TEACHING_PARTS).values()])

    def _usual(
        self,
        channel: ChannelConfig,
        last: datetime | None,
        now: datetime,
        started: datetime,
        zone: ZoneInfo,
        off: frozenset[date],
    ) -> UsualGap:
        is_off = now.astimezone(zone).date() in off
        if channel.usual_gap is not None:
            return UsualGap(gap_s=channel.usual_gap, source="configured", day_off=is_off)
        if last is None:
            return UsualGap(day_off=is_off)

        def usual(begins: datetime) -> UsualHour | None:
            return self._learned(channel.channel, begins, zone, off)

        this = usual(hour_of(now, zone))
        if this is None:
            return UsualGap(day_off=is_off)
        # After a start, senders get time to reconnect before a channel counts as silent.
        silent = is_silent(max(last, started), now, zone, usual, off.__contains__)
        expected = this.rate > 0 and not is_off
        return UsualGap(gap_s=this.gap_s, source="learned", day_off=is_off, expected=expected, silent=silent)

    def _learned(self, channel: str, begins: datetime, zone: ZoneInfo, off: frozenset[date]) -> UsualHour | None:
        key = channel, begins
        if key not in self._known:
            if not self._left:
                self._put_off = True
                return None
            self._left -= 1
            ago = _before(begins, zone, off)
            rows = hours_of(self._journal, channel, list(ago))
            self._known[key] = learn([(ago[row.begins_us], row) for row in rows])
        return self._known[key]

    def _read_last_day(self, now: datetime, zone: ZoneInfo) -> None:
        """Read the hours that may have changed: an hour that has ended is written no more, but for its last part."""
        begins = hour_of(now, zone)
        read_for = int(now.timestamp()) // NEWS_S, begins
        if read_for == self._read_for:
            return
        shown = [begins]
        while len(shown) < HOURS_SHOWN:
            shown.append(hour_of(shown[-1] - timedelta(minutes=1), zone))
        places = [round(hour.timestamp() * 1e6) for hour in reversed(shown)]
        self._hours = {begins_us: self._hours[begins_us] if begins_us in self._ended else {} for begins_us in places}
        first_us = next(begins_us for begins_us in places if begins_us not in self._ended)
        for row in hours_between(self._journal, first_us, places[-1] + 1):
            if row.begins_us not in self._ended and row.begins_us in self._hours:
                self._hours[row.begins_us][row.channel] = row.received, row.dead
        self._ended = frozenset(places[:-2])
        channels = {channel for hour in self._hours.values() for channel in hour}
        self._days = {
            channel: LastDay(*zip(*(hour.get(channel, (0, 0)) for hour in self._hours.values()), strict=True))
            for channel in channels
        }
        self._read_for = read_for


@lru_cache(maxsize=64)
def _before(begins: datetime, zone: ZoneInfo, off: frozenset[date]) -> Mapping[int, int]:
    """The same hour on the days before without the days off, in microseconds since 1970 -> how many days ago."""
    hours = same_hours(begins, zone)
    return {round(then.timestamp() * 1e6): ago for ago, then in hours if then.astimezone(zone).date() not in off}


ENTRIES = 40  # of a trace are read for so many steps
_Key = tuple[int, int, int]
_ANSWERS: dict[Answered, tuple[Phrase, bool | None]] = {
    Answered.ACCEPTED: (Phrase("accepted"), True),
    Answered.REFUSED: (Phrase("refused"), False),
    Answered.NOT: (Phrase("no answer heard"), None),
}


class LinkViews:
    """Makes the `LinkSnapshot` of every channel."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[_Key, tuple[LineStep, ...]]] = {}

    def snapshot(self, source: ChannelSource, now: datetime, now_s: float) -> LinkSnapshot:
        """``now_s``: the same moment on the clock that channels use."""
        channel = source.channel
        counts = channel.counts
        kind, at_s = counts.last_fault or ("", 0.0)
        return LinkSnapshot(
            state=_state(source),
            stray_bytes=counts.stray_bytes + sum(_stray(one) for one in channel.connections.values()),
            faults=tuple(LinkFaults(kind=kind, n=n) for kind, n in counts.faults.most_common() if n),
            last_fault=kind,
            last_fault_at=now - timedelta(seconds=max(0.0, now_s - at_s)) if kind else None,
            steps=self._lately(channel),
        )

    def _lately(self, channel: Channel) -> tuple[LineStep, ...]:
        if isinstance(channel, TeeChannel):
            return tuple(_passed(one) for one in list(channel.lately)[-STEPS:])
        entries = _entries(channel)
        key = (entries[-1].at_us, len(entries), len(entries[-1].data)) if entries else (0, 0, 0)
        known = self._steps.get(channel.settings.name)
        if known is None or known[0] != key:
            known = self._steps[channel.settings.name] = (key, line_steps(entries))
        return known[1]


def tee_snapshot(channel: Channel) -> TeeSnapshot | None:
    if not isinstance(channel, TeeChannel):
        return None
    seen, answered = channel.tee.seen, channel.tee.answered
    return TeeSnapshot(
        seen=seen[Direction.ANALYZER],
        acknowledged=answered[Direction.ANALYZER, Answered.ACCEPTED],
        refused=answered[Direction.ANALYZER, Answered.REFUSED],
        middleware_seen=seen[Direction.MIDDLEWARE],
        middleware_acknowledged=answered[Direction.MIDDLEWARE, Answered.ACCEPTED],
        not_kept=channel.tee.not_kept,
    )


def _state(source: ChannelSource) -> LinkState:
    channel, config = source.channel, source.built.config
    if not config.enabled:
        return LinkState.OFF
    if channel.connections:
        if _is_receiving(channel):
            return LinkState.RECEIVING
        waits_for_enq = getattr(config.source, "framing", "") == "e1381" and config.source.link == "e1381"
        return LinkState.WAITING_ENQ if waits_for_enq else LinkState.CONNECTED
    if source.fault:
        return LinkState.DOWN
    return LinkState.CONNECTED if source.connected else LinkState.UNCONNECTED  # a folder is a line between files, too


def _is_receiving(channel: Channel) -> bool:
    if isinstance(channel, TeeChannel):
        return channel.receiving
    return any(_amid(one) for one in channel.connections.values())


def _amid(connection: Connection) -> bool:
    if connection.trace is not None:
        return not cast(TracedLink, connection.link).resting
    return connection.link.held > 0


def _stray(connection: Connection) -> int:
    return int(getattr(connection.link, "stray", 0))  # of links with sessions


def _entries(channel: Channel) -> Sequence[LineEntry]:
    """The latest entries: of the open connection if it has any, else of the last session."""
    live = [one.trace for one in channel.connections.values() if one.trace is not None and one.trace.entries]
    before = channel.last_line.entries if channel.last_line is not None else ()
    newest = max(live, key=lambda trace: trace.entries[-1][1], default=None)  # by its last instant
    if newest is None:
        return before[-ENTRIES:]
    return (*before, *(LineEntry(*entry) for entry in newest.entries[-ENTRIES:]))[-ENTRIES:]


def _passed(passed: PassedMessage) -> LineStep:
    size = {"size": passed.size}
    phrase = Phrase("message, {size} bytes", size) if passed.whole else Phrase("unfinished message, {size} bytes", size)
    verdict, good = _ANSWERS[passed.answered]
    return LineStep(at=from_us(passed.at_us), way=passed.way.value, words=phrase, verdict=verdict, good=good)
