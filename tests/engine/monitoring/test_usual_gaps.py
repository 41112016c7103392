"""The learned gap, on simulated laboratories: how often it rings falsely, and how soon it notices a broken analyzer."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from engine.model.journal.journal_views import HourCount
from engine.model.journal.records import HOUR_PARTS
from engine.monitoring.usual_gaps import (
    LEAST_WEEKS,
    WEEKS,
    UsualHour,
    band,
    hour_of,
    hours_of_day,
    is_silent,
    learn,
    same_hours,
    weeks_before,
)
from tests.support.simulated_days import MONDAY, Day, arrivals, batches, runs, watch, working_hours

HOUR = timedelta(hours=1)
LEARNED = timedelta(days=7 * LEAST_WEEKS)
BROKEN = datetime(2025, 11, 19, 4, 30, tzinfo=UTC)  # a Wednesday, 10:00 in Kolkata; in the seventh week


def around_the_clock(day: int, hour: int) -> float:
    return 10 if day == 6 else 60 if 7 <= hour < 20 else 5


# What comes; how often it may be called silent falsely in sixteen weeks; after how many hours at most it is called
# silent once it breaks on a Wednesday at 10:00. What is open from 8 to 18 is so for six days of the week.
LABORATORIES: dict[str, tuple[Day, int, float]] = {
    "60 an hour by day, 5 by night": (arrivals(around_the_clock), 0, 1.5),
    "6 an hour while open": (working_hours(6), 0, 3.5),
    "2.5 an hour while open": (working_hours(2.5), 0, 6),
    "1 an hour while open": (working_hours(1), 2, 26),
    "2 a day while open": (working_hours(0.2), 1, 8 * 24),
    "one every two hours, day and night": (arrivals(lambda day, hour: 0.5), 1, 26),
    "runs of 40 minutes, five a day": (runs(0.5), 6, 28),
    "60 at five in the afternoon": (batches(17), 0, 8.5),
    "60 between five and six": (batches(17, within=40, lasts=20), 0, 8.5),
    "microbiology on Fridays, within an hour": (batches(10, days=(4,), within=30, lasts=30, n=25), 0, 49.5),
    "microbiology on Fridays, within minutes": (batches(10, days=(4,), within=1, lasts=4, n=25), 0, 9 * 24 + 1.5),
}


@pytest.mark.parametrize("name", LABORATORIES)
def test_it_rings_rarely_where_all_is_well(name: str) -> None:
    day, most, _ = LABORATORIES[name]
    assert len(watch(day, 16 * 7).silent) <= most


@pytest.mark.parametrize("name", LABORATORIES)
def test_a_broken_analyzer_is_noticed(name: str) -> None:
    day, _, within = LABORATORIES[name]
    for seed in (2, 3):
        walk = watch(day, 55, seed=seed, broken=lambda at: at >= BROKEN)
        noticed = walk.within(BROKEN, BROKEN + within * HOUR)
        assert noticed, f"seed {seed}: {walk.silent}"


def test_nothing_is_called_silent_in_its_first_three_weeks() -> None:
    walk = watch(working_hours(6), 40, broken=lambda at: at.date() >= MONDAY + timedelta(days=10))
    start = datetime(MONDAY.year, MONDAY.month, MONDAY.day, tzinfo=UTC)
    assert walk.within(start, start + LEARNED - timedelta(days=1)) == []


@pytest.mark.parametrize("days", [3, 7])
def test_a_bad_week_is_noticed_and_teaches_no_silence(days: int) -> None:
    bad = datetime(2025, 11, 12, 4, 30, tzinfo=UTC)

    def broken(at: datetime) -> bool:
        return bad <= at < bad + timedelta(days=days) or at >= bad + timedelta(days=14)

    for name in ("6 an hour while open", "60 at five in the afternoon"):
        day, _, within = LABORATORIES[name]
        walk = watch(day, 55, broken=broken)
        assert walk.within(bad, bad + within * HOUR)
        again = bad + timedelta(days=14)
        assert walk.within(again, again + (within + 1) * HOUR), name


def test_an_analyzer_that_is_gone_for_good_does_not_ring_for_ever() -> None:
    gone = datetime(2025, 11, 12, 4, 30, tzinfo=UTC)
    walk = watch(working_hours(6), 120, broken=lambda at: at >= gone)
    assert walk.silent
    last = walk.silent[-1][1]
    assert last is not None
    assert last < gone + timedelta(weeks=WEEKS)


def test_days_off_do_not_ring_and_teach_nothing() -> None:
    diwali = frozenset(date(2025, 11, 17) + timedelta(days=n) for n in range(6))
    day, _, within = LABORATORIES["6 an hour while open"]
    later = datetime(2025, 12, 3, 4, 30, tzinfo=UTC)
    known = watch(day, 70, closed=diwali, days_off=diwali, broken=lambda at: at >= later)
    first = known.silent[0][0]
    assert later < first <= later + within * HOUR
    unknown = watch(day, 70, closed=diwali, broken=lambda at: at >= later)
    assert unknown.within(datetime(2025, 11, 17, tzinfo=UTC), datetime(2025, 11, 18, tzinfo=UTC))
    assert unknown.within(later, later + 2 * within * HOUR)


@pytest.mark.parametrize("begins", [date(2026, 2, 2), date(2026, 9, 7)], ids=["spring", "autumn"])
def test_a_change_of_the_clocks_rings_nothing(begins: date) -> None:
    for name in ("60 an hour by day, 5 by night", "60 at five in the afternoon"):
        assert watch(LABORATORIES[name][0], 70, zone="Europe/Berlin", begins=begins).silent == []


# -- one hour ------------------------------------------------------------------------------------------------------


def hour(active: int, age_s: int = 1800, parts: int = HOUR_PARTS) -> HourCount:
    return HourCount("chem", 0, active, active, 0, 0, parts, active, age_s)


def weekly(*hours: HourCount) -> list[tuple[int, HourCount]]:
    """The same hour of so many weeks, the latest first."""
    return [(7 * (n + 1), one) for n, one in enumerate(hours)]


def test_hours_that_were_hardly_watched_teach_nothing() -> None:
    assert learn(weekly(hour(6), hour(6))) is None
    assert learn(weekly(hour(6), hour(6), hour(2, parts=5))) is None
    assert learn(weekly(hour(6), hour(6), hour(3, parts=6))) is not None
    assert learn([]) is None


def test_the_gap_is_one_that_two_bad_weeks_do_not_change() -> None:
    good = [hour(6, 1000 + n) for n in range(6)]
    usual = learn(weekly(*good, hour(0, 200_000), hour(0, 300_000)))
    assert usual is not None
    assert usual.gap_s == 1005
    taught = learn(weekly(*good[:5], *[hour(0, 200_000)] * 3))
    assert taught is not None
    assert taught.gap_s == 200_000


def test_where_nothing_ever_comes_nothing_is_expected() -> None:
    nothing = learn(weekly(*[hour(0)] * 8))
    assert nothing is not None
    assert (nothing.rate, nothing.missed) == (0.0, 0.0)
    now_and_then = learn(weekly(hour(1), *[hour(0)] * 7))
    assert now_and_then is not None
    assert now_and_then.rate == 0.0


def test_a_gap_is_never_shorter_than_can_be_seen() -> None:
    busy = learn(weekly(*[hour(12, 3)] * 8))
    assert busy is not None
    assert busy.gap_s == 60.0


def test_days_that_are_alike_teach_each_other_and_a_sunday_teaches_no_monday() -> None:
    days = [(ago, hour(0, 90_000) if ago % 7 == 1 else hour(6, 1200)) for ago in range(1, 57)]
    usual = learn(days)
    assert usual is not None
    assert usual.gap_s == 1200
    assert usual.rate > 5


def test_a_message_of_the_future_is_no_silence() -> None:
    zone, now = ZoneInfo("Asia/Kolkata"), datetime(2026, 3, 2, 6, 10, tzinfo=UTC)
    busy = UsualHour(60.0, 50.0, 50.0)
    assert is_silent(now - 2 * HOUR, now, zone, lambda at: busy, lambda day: False)
    assert not is_silent(now + 2 * HOUR, now, zone, lambda at: busy, lambda day: False)


def test_an_hour_is_one_of_the_wall_clock() -> None:
    kolkata, berlin = ZoneInfo("Asia/Kolkata"), ZoneInfo("Europe/Berlin")
    assert hour_of(datetime(2026, 3, 1, 6, 10, tzinfo=UTC), kolkata) == datetime(2026, 3, 1, 5, 30, tzinfo=UTC)
    before = dict(same_hours(datetime(2026, 3, 30, 0, 0, tzinfo=UTC), berlin))  # 02:00, the day after it was left out
    assert 1 not in before
    assert before[2] == datetime(2026, 3, 28, 1, 0, tzinfo=UTC)
    assert len(before) == 7 * WEEKS - 1
    twice = [hour_of(datetime(2026, 10, 25, at, 20, tzinfo=UTC), berlin) for at in (0, 1)]
    assert twice == [datetime(2026, 10, 25, at, tzinfo=UTC) for at in (0, 1)]


def test_the_usual_band_leaves_the_rarest_weeks_out_and_needs_three() -> None:
    assert band([50, 52, 54, 56, 58, 60, 62, 500]) == (51, 193)
    assert band([7, 7, 7]) == (7, 7)
    assert band([7, 9]) is None


@pytest.mark.parametrize(("day", "hours"), [("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_has_the_hours_of_its_clock(day: str, hours: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    found = hours_of_day(datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=berlin), berlin)
    assert len(found) == hours
    assert {one.astimezone(berlin).date().isoformat() for one in found} == {day}
    weeks = weeks_before(found[-1], berlin, lambda one: one.isoformat() < "2026-03-01")
    assert {one.astimezone(berlin).strftime("%a %H") for one in weeks} == {
        found[-1].astimezone(berlin).strftime("%a %H")
    }
