"""When a result was measured, as the worklist compares it with the time of an order. Pure.

A day, a month or a year ends with its last moment, so that it never lies before an order of the same day. A clock that
has lost its battery (`engine.succession.steps.FIRST_YEAR`) says nothing.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from engine.mapping.values.local_time import LocalTimes, silent
from engine.model.message import Parsed
from engine.model.process.clock import to_us
from engine.succession.steps import FIRST_YEAR


def exact_times(parsed: Parsed, zone: str) -> Callable[[str], int]:
    """A reader of times that say at least the minute: text -> microseconds since 1970; 0: it is no such time.

    Args:
        zone: IANA name.
    """
    at = 7 if parsed.format == "hl7v2" else 14
    said = parsed.segments[0].get(at).strip() if parsed.segments else ""
    times = LocalTimes(said, zone, silent)

    def read(text: str) -> int:
        found = times.datetime(text) if text else None
        return 0 if found is None or len(found) <= len("2026-03-01") else moment(found, zone)

    return read


def moment(found: str | None, zone: str) -> int:
    """The last moment that a FHIR dateTime may mean, in microseconds since 1970; 0: it says nothing.

    Args:
        zone: IANA name.
    """
    if found is None or int(found[:4]) < FIRST_YEAR:
        return 0
    try:
        return to_us(_last_moment(found, zone))
    except (ValueError, OverflowError):
        return 0


def _last_moment(found: str, zone: str) -> datetime:
    """Args: found: a FHIR dateTime."""
    if len(found) > 10:
        return datetime.fromisoformat(found)
    parts = [int(part) for part in found.split("-")]
    if len(parts) == 3:
        return datetime(parts[0], parts[1], parts[2], tzinfo=ZoneInfo(zone)) + timedelta(days=1)
    year, month = parts if len(parts) == 2 else (parts[0], 12)
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=ZoneInfo(zone))
