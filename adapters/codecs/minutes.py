"""A time of HL7 or ASTM that is given at least to the minute, so that it can distinguish two messages. Pure."""

_DIGITS = (14, 12)  # to the second, to the minute


def to_the_minute(text: str) -> str:
    """The first 12 or 14 digits of a time stamp (HL7 v2.5 2.A.77 TS, E1394 5.6.2: YYYYMMDDHHMMSS).

    Empty where they are not given; also at midnight, which most often means a date alone.
    """
    for length in _DIGITS:
        digits = text[:length]
        if (
            len(digits) == length
            and digits.isdecimal()
            and digits.isascii()
            and not text[length : length + 1].isdecimal()
        ):
            return digits if digits[8:].strip("0") else ""
    return ""
