"""Shifts of a laboratory: when the one under way began, and when it ends. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo


def began(at: datetime, shifts: Sequence[time], zone: tzinfo) -> datetime:
    """When the shift began that is under way at an instant. ``shifts``: the times of day at which shifts begin."""
    return max(one for one in _begins(at, shifts, zone) if one <= at)


def ends(at: datetime, shifts: Sequence[time], zone: tzinfo) -> datetime:
    """When it ends: the next one begins."""
    return min(one for one in _begins(at, shifts, zone) if one > at)


def _begins(at: datetime, shifts: Sequence[time], zone: tzinfo) -> list[datetime]:
    """Of the day before, of the day, and of the day after."""
    today = at.astimezone(zone).date()
    days = [today + timedelta(days=n) for n in (-1, 0, 1)]
    return [datetime.combine(day, one, zone).astimezone(UTC) for day in days for one in shifts]
