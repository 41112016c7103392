"""Times as ABDM's bodies carry them. Pure.

They are in UTC, written ``2026-11-20T06:10:00.587Z``. Programs of the field also send an offset, more digits of a
second, no zone, or a date alone, which is its midnight. NHA's documents do not say which zone is meant where none is
named: UTC (as Java's LocalDateTime often has it) or India's. The caller says which; where records go out by a time, it
is the one by which fewer go.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

_BEGIN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}|$)")
LONGEST = 40  # characters
INDIA = timezone(timedelta(hours=5, minutes=30))


def instant(text: object, zone: timezone = UTC) -> datetime | None:
    """A time in UTC; None where the value is none.

    Args:
        zone: of a time that names none. Of the two that may be meant UTC gives the later instant, `INDIA` the earlier.
    """
    if not isinstance(text, str) or len(text) > LONGEST or _BEGIN.match(text) is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found.replace(tzinfo=zone) if found.tzinfo is None else found).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def written(at: datetime) -> str:
    """A time as NHA wants it: UTC, milliseconds, ``Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
