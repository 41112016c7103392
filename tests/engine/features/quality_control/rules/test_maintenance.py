"""Which day maintenance is due on: what a technician would say by the calendar on the wall."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from engine.features.quality_control.rules.maintenance import AHEAD_US, Job, JobView, look
from engine.model.process.clock import to_us

KOLKATA = ZoneInfo("Asia/Kolkata")
DAY = timedelta(days=1)
FIRST = date(2026, 3, 1)


def noon(day: date, zone: ZoneInfo = KOLKATA) -> int:
    return to_us(datetime(day.year, day.month, day.day, 12, tzinfo=zone))


def of(job: Job, done: list[date], today: date) -> tuple[str, date | None]:
    found = look(job, [noon(one) for one in done], noon(today), KOLKATA)
    return found.state, found.due


@pytest.mark.parametrize(
    ("every", "after", "state"),
    [(1, 0, "later"), (1, 1, "due"), (1, 2, "late"), (7, 5, "later"), (7, 6, "due"), (7, 7, "due"), (7, 8, "late"),
     (30, 22, "later"), (30, 23, "due"), (30, 30, "due"), (30, 31, "late"), (365, 357, "later"), (365, 358, "due")],
)  # fmt: skip
def test_a_job_is_listed_before_it_is_late(every: int, after: int, state: str) -> None:
    job = Job(channel="chem", job="needle", every=every)
    assert of(job, [FIRST], FIRST + after * DAY) == (state, FIRST + every * DAY)


def test_a_job_that_was_never_noted_is_listed() -> None:
    assert of(Job(channel="chem", job="needle", every=7), [], FIRST) == ("never", None)


DATES = (date(2026, 3, 10), date(2026, 6, 10), date(2026, 6, 14))


@pytest.mark.parametrize(
    ("done", "today", "expected"),
    [
        ([], date(2026, 3, 2), ("later", DATES[0])),
        ([], date(2026, 3, 3), ("due", DATES[0])),
        ([], date(2026, 3, 11), ("late", DATES[0])),
        ([date(2026, 3, 4)], date(2026, 3, 11), ("later", DATES[1])),  # done early
        ([date(2026, 3, 2)], date(2026, 3, 11), ("late", DATES[0])),  # so early that it was another time
        ([date(2026, 6, 9)], date(2026, 6, 9), ("due", DATES[1])),  # late for March, and no more than that
        ([date(2026, 3, 10), date(2026, 6, 10)], date(2026, 6, 11), ("later", DATES[2])),
        ([date(2026, 3, 10), date(2026, 6, 10)], date(2026, 6, 12), ("due", DATES[2])),
        ([date(2026, 6, 20)], date(2026, 6, 20), ("over", None)),
    ],
)
def test_one_doing_covers_the_dates_up_to_it_or_the_next_one(
    done: list[date], today: date, expected: tuple[str, date | None]
) -> None:
    assert of(Job(channel="chem", job="service", dates=DATES), done, today) == expected


def by_the_calendar(job: Job, done: set[date], today: date) -> bool:
    """Whether the job is late, by ticking off the days of a calendar one by one: the oracle."""
    ticks, open_dates, late_from = sorted(done), set(job.dates), None
    day = min([*ticks, *job.dates, today])
    last: date | None = None
    while day <= today:
        if day in done:
            last = day
            passed = {one for one in open_dates if one <= day}
            if passed:
                open_dates -= passed
            elif open_dates:
                following = min(open_dates)
                before = [one for one in job.dates if one < following]
                near = min(7, (following - max(before)).days // 2) if before else 7
                if (following - day).days <= near:
                    open_dates.discard(following)
        day += DAY
    if job.every:
        late_from = None if last is None else last + (job.every + 1) * DAY
    elif open_dates:
        late_from = min(open_dates) + DAY
    return late_from is not None and today >= late_from


def histories() -> Iterator[tuple[Job, list[int], set[date], date, ZoneInfo]]:
    for seed in range(300):
        chance = random.Random(seed)
        zone = ZoneInfo(chance.choice(["Asia/Kolkata", "Europe/Berlin", "America/New_York", "Pacific/Apia"]))
        dates = tuple(sorted({FIRST + chance.randrange(120) * DAY for _ in range(4)}))
        by_days = Job(channel="chem", job="j", every=chance.choice([1, 2, 7, 30]))
        job = chance.choice([by_days, Job(channel="chem", job="j", dates=dates)])
        today = FIRST + chance.randrange(1, 130) * DAY
        times, days = [], set()
        for _ in range(chance.randrange(6)):
            day = FIRST + chance.randrange(130) * DAY
            at = datetime(day.year, day.month, day.day, chance.randrange(24), 59, tzinfo=zone)
            times.append(to_us(at))
            if day < today or to_us(at) <= noon(today, zone) + AHEAD_US:  # one ahead of the clock does not count
                days.add(day)
        yield job, times, days, today, zone


def test_it_is_late_by_the_calendar_of_the_site_in_random_histories() -> None:
    late = 0
    for job, times, days, today, zone in histories():
        found = look(job, times, noon(today, zone), zone)
        assert (found.state == "late") is by_the_calendar(job, days, today), (job, days, today)
        assert (found.state in ("never", "over")) is (found.due is None)
        late += found.state == "late"
    assert late > 50


def test_the_day_is_the_site_s_also_where_the_clocks_change() -> None:
    berlin, job = ZoneInfo("Europe/Berlin"), Job(channel="chem", job="needle", every=1)
    done = [to_us(datetime(2026, 3, 28, 23, 30, tzinfo=berlin))]  # the night before the hour that is left out
    late_at = to_us(datetime(2026, 3, 30, 0, 0, tzinfo=berlin))
    assert look(job, done, late_at - 1, berlin).state == "due"
    assert look(job, done, late_at, berlin).state == "late"
    assert look(job, done, late_at - 1, UTC) == JobView("chem", "needle", done[0], date(2026, 3, 29), "due")


def test_a_clock_that_went_back_shows_a_job_again_and_hides_none() -> None:
    job = Job(channel="chem", job="needle", every=7)
    ahead = [noon(FIRST - 5 * DAY), noon(FIRST + 300 * DAY)]
    assert look(job, ahead, noon(FIRST), KOLKATA).due == FIRST + 2 * DAY
