"""A time as HL7 and ASTM write it, where it is given to the minute at least: what tells two messages apart. Pure."""

import re

_TO_THE_MINUTE = re.compile(r"[0-9]{12}(?:[0-9]{2})?(?![0-9])").match


def to_the_minute(text: str) -> str:
    """The first 12 or 14 digits of a time stamp (HL7 v2.5 2.A.77 TS, E1394 5.6.2: YYYYMMDDHHMMSS).

    Empty where they are not given; also at midnight, which most often stands for a date alone.
    """
    found = _TO_THE_MINUTE(text)
    if found is None or not found[0][8:].strip("0"):
        return ""
    return found[0]
