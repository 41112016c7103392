"""Who is no patient: a control, a calibrator, a blank or a pool, known by its role, its number or its order. Pure.

    role      SPM-11 of HL7 table 0369 and O-12 ``Q``, in upper or lower case; where SPM-11 is not ``P`` (a patient),
              OBR-15.7 as well, in upper case and without ``L`` and ``R``: there these are sides of a body
    number    of the specimen or the order: the word for a blank count, or lot and level between two signs (Snibe:
              ``#49324031Q2#``), for every analyzer; and by the patterns that a channel lists (`control_numbers`)
    order     the code of the order, by the patterns that a channel or its pack lists (`control_orders`)

In a pattern ``*`` is any text, and every other character is itself, in upper or lower case as it is written.
"""

import re
from collections.abc import Iterable

ROLES = frozenset("QCBEFOV")  # HL7 table 0369: controls, calibrators, proficiency tests ...
SPECIMEN_ROLES = ROLES | {"R", "L"}  # a replicate as a control; a pool of several patients' specimens
PATIENT = "P"  # of table 0369
ASTM_ROLE = "Q"
_BLANK = re.compile(r"background(?: ?check)?|#[0-9]+q[0-9]#", re.IGNORECASE | re.ASCII)


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Whether a number or a code is one of these patterns."""
    text = text.strip()
    return any(_fits(text, pattern) for pattern in patterns)


def is_control_number(number: str, listed: Iterable[str] = ()) -> bool:
    """Whether a number of a specimen or an order is that of a control; ``listed``: patterns of the site."""
    return _BLANK.fullmatch(number.strip()) is not None or matches(number, listed)


def _fits(text: str, pattern: str) -> bool:
    first, *inner = pattern.split("*")
    if not inner:
        return text == pattern
    last = inner.pop()
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in inner:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
