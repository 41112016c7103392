"""Times as ABDM's bodies carry them. Pure.

They are in UTC, written ``2026-11-20T06:10:00.587Z``. Programs of the field also send an offset, more digits of a
second, no zone (Java's LocalDateTime, whose value is UTC), or a date alone, which is its midnight.
"""

import re
from datetime import UTC, datetime

_BEGIN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}|$)")
LONGEST = 40  # characters


def instant(text: object) -> datetime | None:
    """A time in UTC; None where the value is none."""
    if not isinstance(text, str) or len(text) > LONGEST or _BEGIN.match(text) is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def written(at: datetime) -> str:
    """A time as NHA wants it: UTC, milliseconds, ``Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
