"""Windows in which a destination is expected to be down, once a week or every day, by the clock on the wall. Pure.

    - {days: [sun], start: "02:00", end: "04:00"}      Sundays from two to four
    - {start: "23:30", end: "00:30"}                   every night; a window begins on its day and may pass midnight

The end is not part of a window: at 04:00:00 it is over. When the clocks change within a window, a time that occurs
twice, or not at all, is read so that the window is longer: "02:00" for a maintenance is meant by the same clock, and a
quiet hour too many does less harm than an alarm in the night.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from engine.model.process.clock import from_us

DAY_MINUTES = 24 * 60
# Adjacent windows count as one. All windows repeat weekly, so a chain is followed for a week and a day.
LONGEST_CHAIN = 8


@dataclass(frozen=True, slots=True)
class Window:
    """Attributes:
    days: on which it begins, 0 for Monday.
    start, end: minutes since midnight; an end that is not after the start is one of the next day.
    """

    days: frozenset[int]
    start: int
    end: int


class DowntimeCalendar:
    """A destination's windows, asked with wall time in microseconds.

    Args:
        windows: gives those of the configuration as it is now, and the zone of their clock.
    """

    def __init__(self, windows: Callable[[], tuple[Sequence[Window], tzinfo]] = lambda: ((), UTC)) -> None:
        self._windows = windows

    def until_us(self, now_us: int) -> int | None:
        """When the window ends that is open, or None."""
        windows, zone = self._windows()
        until = open_until(windows, zone, from_us(now_us)) if windows else None
        return None if until is None else round(until.timestamp() * 1e6)

    def spared_us(self, since_us: int, until_us: int) -> int:
        """How much of the time between two instants lay within windows."""
        windows, zone = self._windows()
        return spared(windows, zone, from_us(since_us), from_us(until_us)) // timedelta(microseconds=1)


def open_until(windows: Sequence[Window], zone: tzinfo, now: datetime) -> datetime | None:
    """When the window that is open at ``now`` ends, with those that follow on it at once; None outside of any.

    Args:
        now: aware; so is the answer, in UTC.
    """
    at = until = now.astimezone(UTC)
    for _ in range(len(windows) * LONGEST_CHAIN):
        further = max((end for window in windows for end in _ends(window, zone, until)), default=None)
        if further is None:
            break
        until = further
    return until if until > at else None


def spared(windows: Sequence[Window], zone: tzinfo, since: datetime, until: datetime) -> timedelta:
    """How much of the time between two instants lay within windows; where several were open at once, it counts once."""
    first, last = since.astimezone(zone).date() - timedelta(days=1), until.astimezone(zone).date()
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    spans = sorted(_span(window, zone, day) for day in days for window in windows if day.weekday() in window.days)
    total, counted = timedelta(0), since
    for begins, ends in spans:
        begins, ends = max(begins, counted), min(ends, until)
        if begins < ends:
            total += ends - begins
            counted = ends
    return total


def _ends(window: Window, zone: tzinfo, at: datetime) -> list[datetime]:
    """The ends of a window's occurrences that are open at ``at``."""
    today = at.astimezone(zone).date()
    found = []
    for day in (today - timedelta(days=1), today):  # one that began yesterday may still be open
        if day.weekday() in window.days:
            begins, ends = _span(window, zone, day)
            if begins <= at < ends:
                found.append(ends)
    return found


def _span(window: Window, zone: tzinfo, day: date) -> tuple[datetime, datetime]:
    """The window that begins on a day."""
    last = day if window.end > window.start else day + timedelta(days=1)
    return min(_instants(day, window.start, zone)), max(_instants(last, window.end, zone))


def _instants(day: date, minutes: int, zone: tzinfo) -> tuple[datetime, datetime]:
    """A time of the wall clock in UTC, in both ways that it can be meant where the clock is set."""
    if minutes == DAY_MINUTES:
        day, minutes = day + timedelta(days=1), 0
    local = datetime.combine(day, time(*divmod(minutes, 60)), tzinfo=zone)
    return local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)
