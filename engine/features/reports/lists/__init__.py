"""The lists of this feature: their fields, as tables and JSON have them.

The report of a shift: what each channel received, and what became of it, from the counts of whole hours.

The reports on a period: volume, turnaround, utilisation, downtime, unmapped codes (docs/reports.md).

A report has a row for each analyzer (``channel``), each day (``day``), or each test of an analyzer (``test``).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import MAXYEAR, date, datetime, time, timedelta, tzinfo
from typing import Any, NamedTuple

from engine.features.reports.rows import reading as reports
from engine.features.reports.rules import STAGES, CallTimes, CountSum, ResultCounts, Stage
from engine.model.journal.journal_views import HourCount
from engine.model.journal.records import HOUR_PARTS
from engine.model.process.clock import from_us
from engine.model.texts.phrases import N_
from engine.monitoring.usual_gaps import hour_of
from engine.store.operations.hour_counts import BUSY, SEEN
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import hours_between
from engine.views.shifts import began
from engine.views.view import Field, View, age, at, or_none

HANDOVER = timedelta(hours=1)  # so long after its end a shift is still reported
LONGEST_US = 31 * 86_400 * 1_000_000
TOO_LONG = N_("The report has 31 days at most, and ends after it begins.")


class Shift(NamedTuple):
    """Attributes:
    since_us, until_us: its first moment, at the start of an hour, and its end.
    """

    since_us: int
    until_us: int


class ChannelShift(NamedTuple):
    """One channel in a shift.

    Attributes:
        received, delivered, dead, held: as `HourCount`.
        longest_s: how old the last message became at most; None: no hour is noted.
    """

    channel: str
    received: int
    delivered: int
    dead: int
    held: int
    longest_s: int | None


CHANNEL_SHIFT = View[ChannelShift](
    "channels",
    Field("channel", "CHANNEL"),
    Field("received", "RECEIVED", right=True),
    Field("delivered", "DELIVERED", right=True),
    Field("dead", "DEAD", right=True),
    Field("held", "HELD", right=True),
    Field("longest_s", "LONGEST GAP", shown=lambda one: age(one.longest_s), right=True),
)


def shift_of(after_us: int | None, until_us: int, shifts: Sequence[time], zone: tzinfo) -> Shift:
    """The report that ends then, and begins with the hour of ``after_us``; None: with the shift that was under way
    `HANDOVER` before its end.

    Raises:
        ValueError: it is too long, or ends before it begins; with the sentence for people.
    """
    if after_us is None:
        after_us = round(began(from_us(until_us) - HANDOVER, shifts, zone).timestamp() * 1e6)
    if not 0 < until_us - after_us <= LONGEST_US:
        raise ValueError(TOO_LONG)
    return Shift(hour_us(after_us, zone), until_us)


def hour_us(at_us: int, zone: tzinfo) -> int:
    """When the hour began that an instant is in, in microseconds since 1970."""
    return round(hour_of(from_us(at_us), zone).timestamp() * 1e6)


def by_channel(hours: Iterable[HourCount], names: Iterable[str]) -> list[ChannelShift]:
    """A row for each channel of these names, and for each one that has an hour."""
    found: dict[str, list[HourCount]] = {name: [] for name in names}
    for hour in hours:
        found.setdefault(hour.channel, []).append(hour)
    return [
        ChannelShift(
            channel=name,
            received=sum(hour.received for hour in those),
            delivered=sum(hour.delivered for hour in those),
            dead=sum(hour.dead for hour in those),
            held=sum(hour.held for hour in those),
            longest_s=max((hour.age_s for hour in those), default=None),
        )
        for name, those in sorted(found.items())
    ]


def received_by_hour(hours: Iterable[HourCount]) -> Counter[int]:
    """Messages of all channels, by the begin of the hour."""
    sums = Counter[int]()
    for one in hours:
        sums[one.begins_us] += one.received
    return sums


LONGEST_DAYS = 400
PIECE = timedelta(days=6)  # and a day are read at once: no query is long, and few rows are in memory
BAD_PERIOD = N_("The report has 400 days at most, and ends no earlier than it begins. Write a day as 2026-11-20.")
BAD_MONTH = "Write the month as 2026-11."
CHANNEL, DAY, TEST, SHIFT, MONTH = BY = ("channel", "day", "test", "shift", "month")
COUNTED = ("received", "repeat", "filtered", "delivered", "dead", "held", "incomplete", "ordered")


class Period(NamedTuple):
    """Days of the site's zone, both included."""

    first: date
    last: date

    def ends_us(self, zone: tzinfo) -> tuple[int, int]:
        """Its first moment, and the first one behind it."""
        begin, end = (datetime.combine(day, time(), zone) for day in (self.first, self.last + timedelta(days=1)))
        return round(begin.timestamp() * 1e6), round(end.timestamp() * 1e6)

    @property
    def days(self) -> tuple[str, str]:
        return self.first.isoformat(), self.last.isoformat()


def period_of(begin: str | None, end: str | None, today: date) -> Period:
    """The period from one day to another; without any the month up to today.

    Raises:
        ValueError: one is no day, or the period is too long; with the sentence for people.
    """
    try:
        last = date.fromisoformat(end) if end else today
        first = date.fromisoformat(begin) if begin else last.replace(day=1)
    except ValueError:
        raise ValueError(BAD_PERIOD) from None
    if not timedelta() <= last - first < timedelta(days=LONGEST_DAYS) or last.year == MAXYEAR:
        raise ValueError(BAD_PERIOD)
    return Period(first, last)


def month_of(text: str) -> Period:
    """A month, as ``2026-11``.

    Raises:
        ValueError: it is none; with the sentence for people.
    """
    try:
        first = date.fromisoformat(f"{text}-01")
        return Period(first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1))
    except (ValueError, OverflowError):
        raise ValueError(BAD_MONTH) from None


class Place(NamedTuple):
    """What a row is about; empty: all of them. ``code``: of a test; ``*``: all codes that no table had. ``day``: or a
    month; ``shift``: when it begins."""

    day: str = ""
    channel: str = ""
    code: str = ""
    shift: str = ""


class Volume(NamedTuple):
    """Messages and results of a place. ``counters``: name -> n, of messages."""

    place: Place
    counters: dict[str, int]
    results: ResultCounts


class Turnaround(NamedTuple):
    """The times of one stage, of a place."""

    place: Place
    stage: str
    times: Stage


class Utilisation(NamedTuple):
    """Parts of five minutes: in which LabRelay ran and took the channel's messages; with a message."""

    place: Place
    seen: int
    busy: int

    @property
    def percent(self) -> float | None:
        return round(100 * self.busy / self.seen, 1) if self.seen else None


class Callback(NamedTuple):
    """Critical values of a place, and how soon a person took them."""

    place: Place
    times: CallTimes


class Unmapped(NamedTuple):
    """Results whose code no table had."""

    place: Place
    results: int


def _placed() -> tuple[Field[Any], ...]:
    """The columns of a place."""
    return (
        Field("day", "DAY", of=lambda one: one.place.day),
        Field("channel", "CHANNEL", of=lambda one: one.place.channel),
    )


def _test() -> Field[Any]:
    return Field("test", "TEST", of=lambda one: one.place.code)


def _counter(name: str) -> Callable[[Volume], int | None]:
    """None of a test: a message has results of many."""
    return lambda one: None if one.place.code else one.counters.get(name, 0)


def _result(name: str) -> Callable[[Volume], int]:
    return lambda one: int(getattr(one.results, name))


def _percentile(percent: int) -> Callable[[Turnaround | Callback], int | None]:
    return lambda one: one.times.percentile_s(percent)


def _call(name: str) -> Callable[[Callback], int | float | None]:
    return lambda one: getattr(one.times, name)


def _hours(name: str) -> Callable[[Utilisation], float]:
    return lambda one: round(getattr(one, name) / HOUR_PARTS, 2)


VOLUME = View[Volume](
    "volume",
    *_placed(),
    _test(),
    *(Field(name, name.upper(), of=_counter(name), right=True) for name in COUNTED),
    *(
        Field(name, name.upper(), of=_result(name), right=True)
        for name in ("results", "final", "again", "corrected", "preliminary")
    ),
)
TURNAROUND = View[Turnaround](
    "turnaround",
    *_placed(),
    _test(),
    Field("stage", "STAGE"),
    Field("count", "COUNT", of=lambda one: one.times.count, right=True),
    Field("median_s", "MEDIAN S", of=_percentile(50), right=True),
    Field("p90_s", "P90 S", of=_percentile(90), right=True),
    Field("p95_s", "P95 S", of=_percentile(95), right=True),
    Field("missing", "NO TIME", of=lambda one: one.times.missing, right=True),
    Field("impossible", "IMPOSSIBLE", of=lambda one: one.times.impossible, right=True),
)
UTILISATION = View[Utilisation](
    "utilisation",
    *_placed(),
    Field("seen_h", "SEEN H", of=_hours("seen"), right=True),
    Field("busy_h", "BUSY H", of=_hours("busy"), right=True),
    Field("busy_percent", "BUSY %", of="percent", right=True),
)
DOWNTIME = View[reports.Downtime](
    "downtime",
    Field("kind", "KIND"),
    Field("name", "NAME"),
    Field("state", "STATE"),
    Field("since", "SINCE", of=at("since_us")),
    Field("until", "UNTIL", of=at("until_us")),
    Field("seconds", "SECONDS", of=lambda one: (one.until_us - one.since_us) // 1_000_000, right=True),
    Field("open", "OPEN", of="is_open"),
)
UNMAPPED = View[Unmapped]("unmapped", *_placed(), Field("results", "RESULTS", right=True))
CALLBACK = View[Callback](
    "callback",
    *_placed(),
    Field("shift", "SHIFT", of=lambda one: one.place.shift),
    Field("values", "VALUES", of=_call("count"), right=True),
    Field("taken", "TAKEN", of=_call("taken"), right=True),
    Field("never", "NOT TAKEN", of=_call("never"), right=True),
    Field("within", "IN 30 MIN", of=_call("within"), right=True),
    Field("percent_within", "%", of=_call("percent_within"), right=True),
    Field("median_s", "MEDIAN S", of=_percentile(50), right=True),
    Field("p90_s", "P90 S", of=_percentile(90), right=True),
    Field("impossible", "IMPOSSIBLE", of=_call("impossible"), right=True),
)
CALLS = View[reports.Call](
    "calls",
    Field("message", "MESSAGE", right=True),
    Field("channel", "CHANNEL"),
    Field("seen", "SEEN", of=at("seen_us")),
    Field("taken", "TAKEN", of=at("taken_us")),
    Field("seconds", "SECONDS", right=True),
    Field("over", "NO MORE", of=at("over_us")),
    Field("act", "ACT", of=or_none("act"), right=True),
)


class Asked(NamedTuple):
    """What is asked for. ``channel``: only this one; None: all. ``shifts``: when those of the site begin."""

    period: Period
    by: str
    channel: str | None
    zone: tzinfo
    shifts: Sequence[time] = (time(),)


class Results:
    """The counted results of a period, read once, a piece at a time.

    Attributes:
        places: by analyzer, day or test.
        unmapped: of codes that no table had, by analyzer or day.
    """

    def __init__(self, reader: Reader, asked: Asked) -> None:
        sums: dict[Place, CountSum] = defaultdict(CountSum)
        self.unmapped: dict[Place, int] = defaultdict(int)
        first, last = asked.period
        while first <= last:
            end = min(last, first + PIECE)
            for one in reports.results_between(reader, *Period(first, end).days, asked.channel):
                sums[_place(asked.by, one.day, one.channel, one.code or "*")].add(one.said)
                if not one.code:
                    place = _place(DAY if asked.by == DAY else CHANNEL, one.day, one.channel, "")
                    self.unmapped[place] += one.counts.results
            first = end + timedelta(days=1)
        self.places = {place: found.counts() for place, found in sorted(sums.items())}


def volume(reader: Reader, asked: Asked, results: Results | None = None) -> list[Volume]:
    """By test no messages are counted. ``results``: where they were read."""
    counters: dict[Place, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    if asked.by != TEST:
        for day, one in reports.counters_between(reader, *asked.period.days, asked.channel):
            # Of these two the channel's own counter is of messages, a destination's of its deliveries.
            if one.name in COUNTED and (not one.destination or one.name in ("dead", "held")):
                counters[_place(asked.by, day, one.channel, "")][one.name] += one.n
    places = (results or Results(reader, asked)).places
    return [
        Volume(place, dict(counters.get(place, {})), places.get(place, ResultCounts()))
        for place in sorted(counters.keys() | places)
    ]


def turnaround(reader: Reader, asked: Asked, results: Results | None = None) -> list[Turnaround]:
    """``results``: where they were read."""
    return [
        Turnaround(place, stage, counts.stages[stage])
        for place, counts in (results or Results(reader, asked)).places.items()
        if counts.final
        for stage in STAGES
    ]


def utilisation(reader: Reader, asked: Asked) -> list[Utilisation]:
    """By analyzer, or by analyzer and day."""
    parts: dict[Place, dict[str, int]] = defaultdict(lambda: {SEEN: 0, BUSY: 0})
    for day, one in reports.counters_between(reader, *asked.period.days, asked.channel):
        if one.name in (SEEN, BUSY):
            parts[Place(day if asked.by == DAY else "", one.channel)][one.name] += one.n
    return [Utilisation(place, n[SEEN], n[BUSY]) for place, n in sorted(parts.items())]


def downtime(reader: Reader, asked: Asked) -> list[reports.Downtime]:
    return reports.downtimes(reader, *asked.period.ends_us(asked.zone), asked.channel)


def unmapped(reader: Reader, asked: Asked, results: Results | None = None) -> list[Unmapped]:
    """``results``: where they were read."""
    found = (results or Results(reader, asked)).unmapped
    return [Unmapped(place, n) for place, n in sorted(found.items())]


def calls(reader: Reader, asked: Asked) -> list[reports.Call]:
    return reports.calls_between(reader, *asked.period.ends_us(asked.zone), asked.channel)


def callback(reader: Reader, asked: Asked) -> list[Callback]:
    """By shift all days together: each shift by the time of day at which it begins."""
    found: dict[Place, CallTimes] = defaultdict(CallTimes)
    for one in calls(reader, asked):
        seen = from_us(one.seen_us).astimezone(asked.zone)
        place = {
            CHANNEL: Place(channel=one.channel),
            DAY: Place(day=f"{seen:%Y-%m-%d}"),
            MONTH: Place(day=f"{seen:%Y-%m}"),
        }.get(asked.by) or Place(shift=f"{began(seen, asked.shifts, asked.zone).astimezone(asked.zone):%H:%M}")
        found[place].note(one.seen_us, one.taken_us)
    return [Callback(place, times) for place, times in sorted(found.items())]


def about(place: Place) -> str:
    """The one thing that a row is about."""
    return " ".join(filter(None, place))


def _place(by: str, day: str, channel: str, code: str) -> Place:
    return Place(day if by == DAY else "", channel if by != DAY else "", code if by == TEST else "")


def by_day(reader: Reader, asked: Asked) -> dict[str, ResultCounts]:
    """The results of each day of a period, also of one without any."""
    places = Results(reader, asked._replace(by=DAY)).places
    first, last = asked.period
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    return {day: places.get(Place(day=day), ResultCounts()) for day in days}


def by_hour(reader: Reader, asked: Asked) -> list[list[int]]:
    """Messages by day of the week (0: Monday) and hour of the day; hours are kept for some weeks."""
    grid = [[0] * 24 for _ in range(7)]
    for one in hours_between(reader, *asked.period.ends_us(asked.zone)):
        if asked.channel in (None, one.channel):
            begins = from_us(one.begins_us).astimezone(asked.zone)
            grid[begins.weekday()][begins.hour] += one.received
    return grid


class Report(NamedTuple):
    """A report: how it is read, and the view of its rows. ``by``: as its rows may be; the first is the usual one."""

    view: View[Any]
    read: Callable[[Reader, Asked], Sequence[Any]]
    by: Collection[str]


REPORTS = {
    "volume": Report(VOLUME, volume, (CHANNEL, DAY, TEST)),
    "turnaround": Report(TURNAROUND, turnaround, (TEST, CHANNEL, DAY)),
    "utilisation": Report(UTILISATION, utilisation, (CHANNEL, DAY)),
    "downtime": Report(DOWNTIME, downtime, ()),
    "unmapped": Report(UNMAPPED, unmapped, (CHANNEL, DAY)),
    "callback": Report(CALLBACK, callback, (SHIFT, MONTH, CHANNEL, DAY)),
    "calls": Report(CALLS, calls, ()),
}


def hours_down(found: Iterable[reports.Downtime]) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Kind, name and state -> how often, and seconds in all."""
    sums: dict[tuple[str, str, str], tuple[int, int]] = {}
    for one in found:
        times, seconds = sums.get(one[:3], (0, 0))
        sums[one[:3]] = times + 1, seconds + (one.until_us - one.since_us) // 1_000_000
    return dict(sorted(sums.items()))


def today_in(zone: tzinfo, now_us: int) -> date:
    return from_us(now_us).astimezone(zone).date()
