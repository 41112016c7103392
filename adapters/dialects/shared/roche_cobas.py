"""Common habits of the Roche analyzers of the E1394 generation (cobas c111, c311, e411).

    C|1|I|43|I              the comment of a result is the number of a data alarm, 0 where there is none
    O|...|X\\Q              the action code of a control may be a repetition: X measured, Q control
    20.0\\30.0   20.0^30.0   a reference range as two repetitions (c111) or two components (e411)

Sources: cobas e 411 Host Interface Manual 2.3 (test order record 12, result record 6, table 19: comment record), cobas
c 311 Host Interface Manual 1.3 (E-17), cobas c 111 Host Interface Manual 2.1 (result record 10.1.06); the captures
roche-c111, roche-c311 (which sends 0 for no alarm, where the manual leaves the record out) and roche-e411-multiframe.
"""

import re

from adapters.dialects.shared.fields import components, get, groups, put, repetitions
from engine.model.message import Delimiters, Group, Parsed, Segment

COMMENT_TEXT = 4  # C-4
ACTION_CODE = 12  # O-12
RANGE = 6

_ALARM = re.compile(r"[0-9]{1,3}", re.ASCII).fullmatch
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII).fullmatch


def name_alarms(result: Group, delimiters: Delimiters) -> None:
    """A bare number in the comment of a result can be taken for a value: say what it is. A text beside it stays."""
    for comment in result.segments.get("C", ()):
        number, *text = components(get(comment, COMMENT_TEXT), delimiters)
        if not _ALARM(number):
            continue
        words = ", ".join(part for part in text if part)
        if int(number) == 0 and not words:
            put(comment, COMMENT_TEXT, "")
        else:
            put(comment, COMMENT_TEXT, f"data alarm {number}: {words}" if words else f"data alarm {number}")


def join_range(result: Group, delimiters: Delimiters) -> None:
    """Low and high in two parts become one text, ``20.0-30.0``; anything else stays."""
    for record in result.segments.get("R", ()):
        sent = get(record, RANGE)
        for parts in (repetitions(sent, delimiters), components(sent, delimiters)):
            limits = [part.strip() for part in parts]
            if len(limits) == 2 and all(map(_NUMBER, limits)):
                put(record, RANGE, f"{limits[0]}-{limits[1]}")


def mark_control(order: Segment, delimiters: Delimiters, *, sample_type: str = "") -> None:
    """Q anywhere in the action code, or a sample type that says control, makes the action code plain ``Q``.

    Args:
        order: the O record.
        sample_type: as the order says it, where it says one.
    """
    codes = {code.strip() for code in repetitions(get(order, ACTION_CODE), delimiters)}
    if "Q" in codes or sample_type in ("QC", "CONTROL"):
        put(order, ACTION_CODE, "Q")


def adapt_results(parsed: Parsed) -> None:
    """Alarms and ranges of every result."""
    for result in groups(parsed, "RESULT"):
        name_alarms(result, parsed.delimiters)
        join_range(result, parsed.delimiters)
