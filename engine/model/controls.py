"""Who is no patient: a control, a calibrator, a blank or a pool, known by its role, its number or its order. Pure.

    role      OBR-15.7 and SPM-11 of HL7 table 0369; O-12 ``Q``
    number    of the specimen or the order, by a pattern in which ``*`` is any text: those of `BLANKS` for every
              analyzer, and those that a channel or its pack lists (`control_numbers`)
    order     the code of the order, by the patterns of `control_orders`

Upper and lower case are the same.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

ROLES = frozenset("QCBEFORVL")  # HL7 table 0369: controls, calibrators, proficiency tests ...; L: a pool
ASTM_ROLE = "Q"
# A blank count (Mindray, Erba, Sysmex); lot and level between two signs (Snibe: ``#49324031Q2#``).
BLANKS = ("background", "background check", "backgroundcheck", "#*q[0-9]#")


def matches(text: str, patterns: Iterable[str]) -> bool:
    """Whether a number or a code is one of these patterns."""
    folded = text.strip().casefold()
    return any(fnmatchcase(folded, pattern.casefold()) for pattern in patterns)


def is_control_number(number: str, listed: Iterable[str] = ()) -> bool:
    """Whether a number of a specimen or an order is that of a control; ``listed``: patterns of the site or the pack."""
    return matches(number, BLANKS) or matches(number, listed)
