"""Windows of expected downtime: their edges, midnight, and the nights on which the clocks are set."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.site.downtime_windows import DAY_MINUTES, Window, open_until, spared
from tests.support.examples import examples

KOLKATA = ZoneInfo("Asia/Kolkata")
BERLIN = ZoneInfo("Europe/Berlin")
EVERY = frozenset(range(7))
SUNDAY = frozenset({6})


def at(text: str, zone: ZoneInfo = KOLKATA, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def hm(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def window(start: str, end: str, days: frozenset[int] = EVERY) -> Window:
    return Window(days, hm(start), hm(end))


@pytest.mark.parametrize(
    ("now", "open_"),
    [
        ("2026-03-01T01:59:59.999999", False),  # a Sunday
        ("2026-03-01T02:00:00", True),
        ("2026-03-01T03:59:59.999999", True),
        ("2026-03-01T04:00:00", False),
        ("2026-03-02T03:00:00", False),
        ("2026-03-08T03:00:00", True),
    ],
)
def test_a_window_begins_and_ends_at_its_minutes_on_its_days(now: str, open_: bool) -> None:
    until = open_until([window("02:00", "04:00", SUNDAY)], KOLKATA, at(now))
    assert (until is not None) is open_
    if until is not None:
        assert until == at(now[:10] + "T04:00:00")
        assert until.tzinfo is UTC


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-03-01T23:29:59", ""),
        ("2026-03-01T23:30:00", "2026-03-02T00:30:00"),
        ("2026-03-02T00:29:59", "2026-03-02T00:30:00"),
        ("2026-03-02T00:30:00", ""),
        ("2026-03-02T23:45:00", ""),  # on Mondays none begins
        ("2026-03-01T00:15:00", ""),  # nor had one begun on Saturday
    ],
)
def test_a_window_may_pass_midnight_and_belongs_to_the_day_it_begins_on(now: str, end: str) -> None:
    until = open_until([window("23:30", "00:30", SUNDAY)], KOLKATA, at(now))
    assert until == (at(end) if end else None)


def test_a_whole_day_and_every_day() -> None:
    assert open_until([window("00:00", "24:00", SUNDAY)], KOLKATA, at("2026-03-01T23:59:59")) == at(
        "2026-03-02T00:00:00"
    )
    assert open_until([window("00:00", "24:00", SUNDAY)], KOLKATA, at("2026-03-02T00:00:00")) is None
    assert open_until([window("00:00", "24:00")], KOLKATA, at("2026-03-02T00:00:00")) is not None


def test_windows_that_meet_or_overlap_are_one() -> None:
    night = [window("22:00", "24:00", SUNDAY), window("00:00", "02:00"), window("01:00", "03:00")]
    assert open_until(night, KOLKATA, at("2026-03-01T22:30:00")) == at("2026-03-02T03:00:00")
    assert open_until([], KOLKATA, at("2026-03-01T22:30:00")) is None


def test_a_time_that_there_is_twice_is_meant_both_times() -> None:
    """In the night to 2026-10-25 the clocks in Berlin go from 03:00 back to 02:00."""
    hour = [window("02:00", "02:30")]
    first, again = at("2026-10-25T02:15:00", BERLIN), at("2026-10-25T02:15:00", BERLIN, fold=1)
    end = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # the second 02:30
    assert open_until(hour, BERLIN, first) == open_until(hour, BERLIN, again) == end
    assert open_until(hour, BERLIN, at("2026-10-25T02:45:00", BERLIN)) == end
    assert open_until(hour, BERLIN, end) is None


def test_a_time_that_there_is_not_still_has_its_window() -> None:
    """In the night to 2026-03-29 the clocks in Berlin go from 02:00 to 03:00."""
    hour = [window("02:15", "02:45")]
    assert open_until(hour, BERLIN, at("2026-03-29T01:59:59", BERLIN)) is not None
    assert open_until(hour, BERLIN, at("2026-03-29T03:30:00", BERLIN)) == at("2026-03-29T03:45:00", BERLIN)
    assert open_until(hour, BERLIN, at("2026-03-29T03:45:00", BERLIN)) is None
    over = [window("01:30", "03:30")]
    assert open_until(over, BERLIN, at("2026-03-29T01:30:00", BERLIN)) == at("2026-03-29T03:30:00", BERLIN)


@given(
    st.lists(
        st.builds(
            Window,
            st.frozensets(st.integers(0, 6), min_size=1),
            st.integers(0, DAY_MINUTES - 1),
            st.integers(0, DAY_MINUTES),
        ),
        max_size=4,
    ),
    st.datetimes(datetime(2026, 3, 25), datetime(2026, 11, 1)),
    st.sampled_from([KOLKATA, BERLIN, ZoneInfo("UTC"), ZoneInfo("America/St_Johns")]),
)
def test_an_open_window_ends_later_and_is_open_until_then(windows: list[Window], now: datetime, zone: ZoneInfo) -> None:
    now = now.replace(tzinfo=UTC)
    until = open_until(windows, zone, now)
    if until is None:
        return
    assert until > now
    half = now + (until - now) / 2
    assert open_until(windows, zone, half) is not None


WINDOWS = st.lists(
    st.builds(
        Window,
        st.frozensets(st.integers(0, 6)),
        st.integers(0, DAY_MINUTES - 1),
        st.integers(1, DAY_MINUTES),
    ).filter(lambda made: made.start != made.end),
    max_size=3,
)


@settings(max_examples=examples(40))
@given(WINDOWS, st.integers(0, 14 * DAY_MINUTES), st.integers(0, 2 * DAY_MINUTES), st.sampled_from((KOLKATA, BERLIN)))
def test_what_is_spared_are_the_minutes_of_open_windows(
    windows: list[Window], begins: int, lasts: int, zone: ZoneInfo
) -> None:
    """Counted minute by minute, over the nights on which the clocks are set too (29 March and 25 October)."""
    for start in ("2026-03-20T00:00:00", "2026-10-16T00:00:00"):
        since = at(start, zone).astimezone(UTC) + timedelta(minutes=begins)
        minutes = [since + timedelta(minutes=n) for n in range(lasts)]
        open_ = sum(open_until(windows, zone, minute) is not None for minute in minutes)
        assert spared(windows, zone, since, since + timedelta(minutes=lasts)) == timedelta(minutes=open_)
