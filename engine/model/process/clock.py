"""Time as an argument, so that tests never sleep.

Two clocks that must not be mixed: ``now`` is wall time (aware UTC, for rows and people; it may jump), ``monotonic``
measures durations and timers (seconds; it never jumps).

Instants as people and programs give them: an age (``2h``), a day, a day and time.
"""

import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

from engine.model.texts.units import parse_duration


class Clock(Protocol):
    def now(self) -> datetime:
        """Wall time, aware, UTC."""

    def now_us(self) -> int:
        """Wall time in microseconds since 1970, as stored in rows."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; comparable only within this process."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stops until a test moves it; both clocks move together."""

    def __init__(self, start: datetime = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def now_us(self) -> int:
        return int(self._now.timestamp() * 1_000_000)

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


_EPOCH, _DAY_S = datetime(1970, 1, 1, tzinfo=UTC), 86_400


def to_us(at: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    since = at - _EPOCH  # by its parts: a third of the time of a division
    return (since.days * _DAY_S + since.seconds) * 1_000_000 + since.microseconds


def from_us(microseconds: int) -> datetime:
    """The aware UTC instant of a stored time."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def instant_us(text: str, zone: tzinfo, now: datetime) -> int:
    """Microseconds since 1970.

    Args:
        zone: of days and times without an offset.
        now: an age counts from here.

    Raises:
        ValueError: neither an age nor a time; the error is the explanation.
    """
    try:
        return _us(now - timedelta(seconds=parse_duration(text)))
    except (ValueError, OverflowError):
        pass
    try:
        instant = datetime.fromisoformat(text)
        return _us(instant if instant.tzinfo is not None else instant.replace(tzinfo=zone))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"'{text}' is neither an age (2h, 3d) nor a time (2026-03-01, 2026-03-01T10:30)") from error


def _us(instant: datetime) -> int:
    return int(instant.timestamp() * 1_000_000)
