"""What is usual for each channel at this hour, and its last day hour by hour; read from the journal a little at a time.

One reading learns at most `LEARNED_AT_ONCE` hours: with five hundred channels a new hour is learned within a quarter of
a minute, and until then a channel keeps what was said of it before. Nothing is learned at a start but what is asked.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from engine.config.channel import ChannelConfig
from engine.model.records import HourCount
from engine.monitoring.snapshot.usual import UsualGap
from engine.monitoring.usual_gaps import UsualHour, hour_of, is_silent, learn, same_hours
from engine.store.journal import Journal
from engine.store.queries.hours import hours_between, hours_of

LEARNED_AT_ONCE = 40
HOURS_SHOWN = 24
HOURS_KNOWN = 50_000  # of all channels; beyond it they are learned again as they are needed
NEWS_S = 300  # so often the hours change
EVER_US = 2**62


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
        self._days: dict[str, LastDay] = {}
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
            ago = {
                round(then.timestamp() * 1e6): days
                for days, then in same_hours(begins, zone)
                if then.astimezone(zone).date() not in off
            }
            rows = hours_of(self._journal, channel, list(ago))
            self._known[key] = learn([(ago[row.begins_us], row) for row in rows])
        return self._known[key]

    def _read_last_day(self, now: datetime, zone: ZoneInfo) -> None:
        begins = hour_of(now, zone)
        read_for = int(now.timestamp()) // NEWS_S, begins
        if read_for == self._read_for:
            return
        shown = [begins]
        while len(shown) < HOURS_SHOWN:
            shown.append(hour_of(shown[-1] - timedelta(minutes=1), zone))
        place = {round(hour.timestamp() * 1e6): n for n, hour in enumerate(reversed(shown))}
        found: dict[str, list[HourCount | None]] = {}
        for row in hours_between(self._journal, min(place), EVER_US):
            if row.begins_us in place:
                found.setdefault(row.channel, [None] * HOURS_SHOWN)[place[row.begins_us]] = row
        self._days = {
            name: LastDay(
                tuple(row.received if row else 0 for row in rows), tuple(row.dead if row else 0 for row in rows)
            )
            for name, rows in found.items()
        }
        self._read_for = read_for
