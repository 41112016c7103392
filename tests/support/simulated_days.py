"""Simulated laboratories: when the messages of an analyzer come, day by day, and what a year of them teaches."""

import math
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from engine.model.journal.journal_views import HourCount
from engine.model.journal.records import HOUR_PARTS
from engine.monitoring.usual_gaps import UsualHour, hour_of, is_silent, learn, same_hours

Day = Callable[[date, ZoneInfo, random.Random], list[datetime]]
PART = timedelta(hours=1) / HOUR_PARTS
MONDAY = date(2025, 10, 6)
WORKDAYS = range(6)


def arrivals(rate: Callable[[int, int], float]) -> Day:
    """Random arrivals; ``rate``: (day of the week, hour) -> messages an hour."""

    def day(on: date, zone: ZoneInfo, rnd: random.Random) -> list[datetime]:
        return [
            _at(on, hour, zone) + timedelta(hours=rnd.random())
            for hour in range(24)
            for _ in range(_poisson(rnd, rate(on.weekday(), hour)))
        ]

    return day


def working_hours(rate: float, days: Collection[int] = WORKDAYS) -> Day:
    return arrivals(lambda day, hour: rate if day in days and 8 <= hour < 18 else 0.0)


def batches(hour: int, days: Collection[int] = WORKDAYS, *, within: float = 15, lasts: float = 10, n: int = 60) -> Day:
    """``n`` messages in ``lasts`` minutes, which begin within some minutes after an hour."""

    def day(on: date, zone: ZoneInfo, rnd: random.Random) -> list[datetime]:
        if on.weekday() not in days:
            return []
        begins = _at(on, hour, zone) + timedelta(minutes=rnd.uniform(0, within))
        return [begins + timedelta(minutes=rnd.uniform(0, lasts)) for _ in range(n)]

    return day


def runs(rate: float, days: Collection[int] = WORKDAYS) -> Day:
    """Runs of 40 minutes with a message every other minute, that begin at random."""
    starts = working_hours(rate, days)

    def day(on: date, zone: ZoneInfo, rnd: random.Random) -> list[datetime]:
        return [began + timedelta(minutes=2 * n) for began in starts(on, zone, rnd) for n in range(20)]

    return day


def _at(on: date, hour: int, zone: ZoneInfo) -> datetime:
    return datetime(on.year, on.month, on.day, hour, tzinfo=zone).astimezone(UTC)


def _poisson(rnd: random.Random, mean: float) -> int:
    limit, n, product = math.exp(-mean), 0, rnd.random()
    while product > limit:
        n, product = n + 1, product * rnd.random()
    return n


@cache
def _same_hours(hour: datetime, zone: ZoneInfo) -> tuple[tuple[int, datetime], ...]:
    """Most laboratories are watched in the same weeks."""
    return tuple(same_hours(hour, zone))


@dataclass(frozen=True, slots=True)
class Walk:
    """What happened while a laboratory was watched.

    Attributes:
        silent: when the analyzer was called silent, from and until; None: at the end it is.
    """

    silent: list[tuple[datetime, datetime | None]]

    def within(self, since: datetime, before: datetime) -> list[datetime]:
        """When it was called silent anew in this time."""
        return [began for began, _ in self.silent if since <= began < before]


def watch(
    day: Day,
    days: int,
    *,
    zone: str = "Asia/Kolkata",
    seed: int = 1,
    begins: date = MONDAY,
    broken: Callable[[datetime], bool] = lambda at: False,
    closed: Collection[date] = (),
    days_off: Collection[date] = (),
) -> Walk:
    """Simulate an analyzer and LabRelay beside it, which looks every half an hour.

    Args:
        broken: nothing comes then.
        closed: on these days nothing comes.
        days_off: what the site's configuration says of that.
    """
    rnd, where = random.Random(seed), ZoneInfo(zone)
    drawn = [(on, day(on, where, rnd)) for on in (begins + timedelta(days=n) for n in range(days))]
    came = sorted(at for on, times in drawn if on not in closed for at in times if not broken(at))
    hours: dict[datetime, HourCount] = {}
    known: dict[datetime, UsualHour | None] = {}

    def usual(hour: datetime) -> UsualHour | None:
        if hour not in known:
            before = [(ago, then) for ago, then in _same_hours(hour, where) if then in hours]
            known[hour] = learn(
                [(ago, hours[then]) for ago, then in before if then.astimezone(where).date() not in days_off]
            )
        return known[hour]

    now, last, taken, silent = _at(begins, 0, where), None, 0, list[tuple[datetime, datetime | None]]()
    end = _at(begins + timedelta(days=days), 0, where)
    hour = hour_of(now, where)
    while now < end:
        if not now.minute % 30:  # no zone's hour begins at another minute
            hour = hour_of(now, where)
        now, before = now + PART, taken
        while taken < len(came) and came[taken] < now:
            last, taken = came[taken], taken + 1
        if last is None:
            continue
        was = hours.get(hour, HourCount("chem", 0, 0, 0, 0, 0, 0, 0, 0))
        age_s = max(was.age_s, int((now - last).total_seconds()))
        hours[hour] = was._replace(parts=was.parts + 1, active=was.active + (taken > before), age_s=age_s)
        if now.minute % 30:
            continue
        called = bool(silent) and silent[-1][1] is None
        if is_silent(last, now, where, usual, days_off.__contains__) is not called:
            if called:
                silent[-1] = silent[-1][0], now
            else:
                silent.append((now, None))
    return Walk(silent)
