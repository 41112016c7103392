"""What the charts of one analyzer and of one destination are made of: hours of messages, and what waits over time."""

from datetime import datetime, tzinfo
from itertools import accumulate
from typing import NamedTuple

from engine.model.process.clock import from_us
from engine.monitoring.usual_gaps import TEACHING_PARTS, band, hours_of_day, weeks_before
from engine.store.queries.lanes import waiting_by_time
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import received_in

STEPS = 30  # of what waits


class Hours(NamedTuple):
    """Hours of a day.

    Attributes:
        counts: messages; None: it has not begun.
        bands: what is usual on this day of the week.
    """

    names: list[str]
    counts: list[int | None]
    bands: list[tuple[int, int] | None]


def day_of(reader: Reader, channel: str, now: datetime, zone: tzinfo) -> Hours | None:
    """This day of a channel; None where neither it nor what is usual is known."""
    hours = hours_of_day(now, zone)
    weeks = [[_us(then) for then in weeks_before(begins, zone)] for begins in hours]
    today = received_in(reader, [_us(begins) for begins in hours], 0, channel)
    before = received_in(reader, [then for week in weeks for then in week], TEACHING_PARTS, channel)
    if not today and not before:
        return None
    return Hours(
        [f"{begins.astimezone(zone):%H}" for begins in hours],
        [None if begins > now else today.get(_us(begins), 0) for begins in hours],
        [band([before[then] for then in week if then in before]) for week in weeks],
    )


def queue_of(reader: Reader, destination: str, age_s: float, now: datetime, zone: tzinfo) -> dict[str, int]:
    """How much waited at moments since the oldest came that still waits; empty where none waits.

    Args:
        age_s: of the oldest, at least `STEPS`.
    """
    step_us = int(age_s * 1e6 / (STEPS - 1))
    since_us = _us(now) - (STEPS - 1) * step_us
    came = waiting_by_time(reader, destination, since_us, step_us)
    sums = accumulate(came.get(n, 0) for n in range(STEPS))
    moments = (from_us(since_us + n * step_us).astimezone(zone) for n in range(STEPS))
    return {f"{at:%m-%d %H:%M:%S}": waiting for at, waiting in zip(moments, sums, strict=True)} if came else {}


def _us(at: datetime) -> int:
    return round(at.timestamp() * 1e6)
