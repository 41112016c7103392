"""Sysmex XN and XP: blood counts over E1394.

    O|1||1^1^           QC-82151403^B|...|Q     a control: its file's number begins with QC-
    O|1||^^BACKGROUNDCHECK^A|...|Q              a background check

Departures: none. But a control is marked twice, in O-12 and by its number, and one of the two is enough: a control must
never become a patient's result because a user switched the other off.

Sources: captures sysmex-xn550-qc and sysmex-xn350-background (O-4, component 3; on other models O-3).
"""

from adapters.dialects.shared.fields import components, get, put, records
from engine.model.message import Parsed

NUMBER, INSTRUMENT_NUMBER, ACTION = 3, 4, 12  # O-3, O-4, O-12
CONTROL = "Q"
CONTROL_NUMBER = "QC-"
BACKGROUND = "BACKGROUNDCHECK"


def adapt(parsed: Parsed) -> Parsed:
    for order in records(parsed, "O"):
        numbers = [
            part for field in (NUMBER, INSTRUMENT_NUMBER) for part in components(get(order, field), parsed.delimiters)
        ]
        if any(number.startswith(CONTROL_NUMBER) or number == BACKGROUND for number in numbers):
            put(order, ACTION, CONTROL)
    return parsed
