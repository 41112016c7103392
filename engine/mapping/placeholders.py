"""Recognise placeholders for a patient number: words, signs, one digit repeated. Pure.

Some analyzers require a number, so operators type these for people who have none, or whose number is not known. Taken
as numbers, they would join all these people into one patient.
"""

import re
from collections.abc import Container, Iterable

# Compared without what is no letter or digit: N.A., n/a and (NA) are one word. Only whole ones: TEMP00123 is a number.
WORDS = frozenset(
    (
        *("UNKNOWN", "UNKNOW", "UNK", "UNKNOWNPATIENT", "NOTKNOWN", "UNIDENTIFIED", "ANONYMOUS"),
        *("NA", "NONE", "NULL", "NIL", "NO", "NOID", "NONUMBER", "NOTAVAILABLE", "NOTAPPLICABLE"),
        *("TEMP", "TEST", "DEMO", "DUMMY", "OPD", "IPD", "CASUALTY", "EMERGENCY", "STAT", "WALKIN", "PATIENT"),
    )
)
_REPEATED_DIGIT = re.compile(r"([0-9])\1{2,}|0+", re.ASCII)
_CROSSES = re.compile(r"X+")


def says_nothing(text: str) -> bool:
    """Whether a text has no letter and no digit, in any script: such a text is never a number."""
    return not any(map(str.isalnum, text))


def stands_for_none(text: str, words: Container[str] = WORDS) -> bool:
    """Whether a text says that there is no number: one of the words, crosses, zeros, one digit three times or more."""
    bare = (text if text.isalnum() else "".join(filter(str.isalnum, text))).upper()
    if bare in words or not bare:
        return True
    if bare[0] != bare[-1]:  # more than one sign
        return False
    return _CROSSES.fullmatch(bare) is not None or _is_digit(text.strip())


def _is_digit(text: str) -> bool:
    return _REPEATED_DIGIT.fullmatch(text) is not None


def is_listed(text: str, listed: Iterable[object]) -> bool:
    """As `stands_for_none`, by a channel's own list (`no_patient_ids`) in any case; ``0`` is any number of zeros."""
    said = {str(one).upper() for one in listed}
    return says_nothing(text) or text.upper() in said or ("0" in said and not text.strip("0"))
