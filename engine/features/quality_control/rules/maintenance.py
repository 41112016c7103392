"""Maintenance of analyzers: which day a job is due on, by the days on which it was done. Pure.

    every       so many days after it was done last
    on dates    the first date that no doing covers: one covers all dates up to its day; where none of these is
                open, the next date, if that is near

A job that was never noted has no day yet, and a person sees it at once.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from engine.config.channel import ChannelConfig
from engine.config.reading.joining import part
from engine.features.quality_control.config import AnalyzerKeys
from engine.model.process.clock import from_us

LEAD = 7  # days: so early a job is on the to-do list, at most
AHEAD_US = 300_000_000  # a later time than this is no time of a doing: a clock was wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """``every``: days, 0: by dates, which are in order. ``control``: controls are due once it was done."""

    channel: str
    job: str
    every: int = 0
    dates: tuple[date, ...] = ()
    control: bool = True


class JobView(NamedTuple):
    """A job as it is now.

    Attributes:
        done_us: when it was done last; 0: it was never noted.
        due: the day of the site; None: no date is left, or it was never noted.
        state: ``never``, ``late``, ``due``, ``later`` or ``over``.
    """

    channel: str
    job: str
    done_us: int
    due: date | None
    state: str


def jobs_of(channels: Mapping[str, ChannelConfig]) -> Iterator[Job]:
    """The jobs of a site's channels."""
    for name, channel in channels.items():
        for job, one in part(channel, AnalyzerKeys).maintenance.items():
            dates = tuple(sorted(set(one.dates)))
            yield Job(channel=name, job=job, every=one.every or 0, dates=dates, control=one.control)


def look(job: Job, done: Iterable[int], now_us: int, zone: tzinfo) -> JobView:
    """``done``: each time at which it was done. One ahead of the clock does not count."""
    times = sorted(at_us for at_us in done if at_us <= now_us + AHEAD_US)
    today = _day(now_us, zone)
    due, lead = _due(job, sorted({_day(at_us, zone) for at_us in times}))
    if due is None:
        state = "over" if job.dates else "never"
    else:
        state = "late" if due < today else "due" if due - lead <= today else "later"
    return JobView(job.channel, job.job, times[-1] if times else 0, due, state)


def _day(at_us: int, zone: tzinfo) -> date:
    local: datetime = from_us(at_us).astimezone(zone)
    return local.date()


def _due(job: Job, days: list[date]) -> tuple[date | None, timedelta]:
    """The day on which it is due next, and how early it is listed."""
    if job.every:
        return (days[-1] + timedelta(job.every) if days else None), timedelta(min(LEAD, job.every // 4))
    leads = _leads(job.dates)
    left = list(job.dates)
    for day in days:
        if left and left[0] <= day:
            left = [one for one in left if one > day]
        elif left and left[0] - leads[left[0]] <= day:
            del left[0]
    return (left[0], leads[left[0]]) if left else (None, timedelta())


def _leads(dates: tuple[date, ...]) -> dict[date, timedelta]:
    """How near a date is one that is done early; never nearer to the one before it."""
    before = (None, *dates)
    return {
        one: timedelta(LEAD if last is None else min(LEAD, (one - last).days // 2))
        for last, one in zip(before, dates, strict=False)
    }
