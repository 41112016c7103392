"""Instants as people and programs give them: an age (``2h``), a day, a day and time."""

from datetime import datetime, timedelta, tzinfo

from engine.model.units import parse_duration


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
