"""16-byte keyed hashes in one run of bytes, as a document's row keeps them and as they travel between processes.

conditional keys    16 each
reports             16 of the number, 16 of its patient and 16 of the person (zeros where the message names none)

The key of a report is 12 bytes of a keyed hash of its number and 4 of the day of measurement, so that the days beside
it are a range of keys.
"""

from datetime import date
from functools import lru_cache

from engine.model.message import Report

HASH_BYTES = 16
_NOBODY = bytes(HASH_BYTES)
_NUMBER_BYTES = 12
_LAST_DAY = 2**32 - 1


def split_hashes(packed: bytes) -> tuple[bytes, ...]:
    return tuple(packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES))


def pack_reports(reports: tuple[Report, ...]) -> bytes:
    return b"".join(one.key + (one.patient or _NOBODY) + (one.person or _NOBODY) for one in reports)


def unpack_reports(packed: bytes) -> list[Report]:
    parts = split_hashes(packed)
    said = [b"" if part == _NOBODY else part for part in parts]
    return [Report(parts[at], said[at + 1], said[at + 2]) for at in range(0, len(parts), 3)]


def report_key(number: bytes, day: str) -> bytes:
    """The key of a report.

    Args:
        number: a keyed hash; the first 12 bytes count.
        day: ``20260301``; empty where no day belongs to the number.
    """
    return number[:_NUMBER_BYTES] + ordinal(day).to_bytes(HASH_BYTES - _NUMBER_BYTES, "big")


@lru_cache(maxsize=64)
def ordinal(day: str) -> int:
    """A day as ``20260301`` in days since the year 1 (`date.toordinal`); 0 where it is none."""
    try:
        return date(int(day[:4]), int(day[4:6]), int(day[6:8])).toordinal()
    except ValueError:
        return 0


def neighbours(key: bytes, days: int) -> tuple[bytes, bytes]:
    """The first and the last key of a report's number within so many days; without a day the key itself."""
    number, day = key[:_NUMBER_BYTES], int.from_bytes(key[_NUMBER_BYTES:], "big")
    if not day:
        return key, key
    ends = (max(day - days, 1), min(day + days, _LAST_DAY))
    first, last = (number + one.to_bytes(HASH_BYTES - _NUMBER_BYTES, "big") for one in ends)
    return first, last
