"""When a result was measured, as the worklist compares it with the time of an order. Pure.

A time is read as mappings read it: in the offset of the message, else in the zone of the channel. A day, a month or a
year ends with its last moment, so that it never lies before an order of the same day. A text that is no time, and a
clock that has lost its battery (`engine.succession.steps.FIRST_YEAR`), say nothing.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from engine.mapping.local_time import LocalTimes, silent
from engine.model.clock import to_us
from engine.model.message import Parsed
from engine.succession.steps import FIRST_YEAR


def measured_times(parsed: Parsed, zone: str) -> Callable[[str], int]:
    """A reader of times: text -> microseconds since 1970, the last moment that it may mean; 0: it says nothing.

    Args:
        zone: IANA name.
    """
    return _reader(parsed, zone, 0, lambda text: _last_moment(text, zone))


def exact_times(parsed: Parsed, zone: str) -> Callable[[str], int]:
    """A reader of times that say at least the minute: text -> microseconds since 1970; 0: it is no such time.

    Args:
        zone: IANA name.
    """
    return _reader(parsed, zone, len("2026-03-01") + 1, datetime.fromisoformat)


def _reader(parsed: Parsed, zone: str, shortest: int, moment: Callable[[str], datetime]) -> Callable[[str], int]:
    times = _times_of(parsed, zone)

    def read(text: str) -> int:
        found = times.datetime(text) if text else None
        if found is None or len(found) < shortest or int(found[:4]) < FIRST_YEAR:
            return 0
        try:
            return to_us(moment(found))
        except (ValueError, OverflowError):
            return 0

    return read


def _times_of(parsed: Parsed, zone: str) -> LocalTimes:
    at = 7 if parsed.format == "hl7v2" else 14
    said = parsed.segments[0].get(at).strip() if parsed.segments else ""
    return LocalTimes(said, zone, silent)


def _last_moment(found: str, zone: str) -> datetime:
    """Args: found: a FHIR dateTime."""
    if len(found) > 10:
        return datetime.fromisoformat(found)
    parts = [int(part) for part in found.split("-")]
    if len(parts) == 3:
        return datetime(parts[0], parts[1], parts[2], tzinfo=ZoneInfo(zone)) + timedelta(days=1)
    year, month = parts if len(parts) == 2 else (parts[0], 12)
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=ZoneInfo(zone))
