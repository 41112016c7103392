"""Sysmex XN and XP: blood counts over E1394.

    O|1||1^1^           QC-82151403^B|...|Q     a control: its file's number begins with QC-
    O|1||^^BACKGROUNDCHECK^A|...|Q              a background check

Departures: none. But a control is marked twice, in O-12 and by its number, and one of the two is enough: a control must
never become a patient's result because a user switched the other off.

Orders: the analyzer asks with rack, tube, its number padded with blanks, and how it got it (``2^1^     123^B``); the
answer repeats all of it in O-3. ``A`` says that the analyzer has counted: it read no barcode, and the same number comes
again each day. Such a number is looked up as little as an unread one. O-6 stays empty, and "none" has Y in O-26.

Sources: captures sysmex-xn550-qc and sysmex-xn350-background (O-4, component 3; on other models O-3); the maker's
examples of a question and its answer, as public drivers of the XE and XN quote them.
"""

from adapters.codecs.astm.habits import Habits
from adapters.dialects.shared.fields import components, get, put, records
from engine.model.message import Parsed

NUMBER, INSTRUMENT_NUMBER, ACTION = 3, 4, 12  # O-3, O-4, O-12
CONTROL = "Q"
CONTROL_NUMBER = "QC-"
BACKGROUND = "BACKGROUNDCHECK"

DIALOGUE = Habits(
    asks_at=3,
    counted=(4, "A"),
    specimen="whole",
    downloads_as="^^{}^C",  # A counted, B barcode, C given by the host, M typed in
    pads=22,
    test="^^^^{}",
    none="order",
    no_order="Y",
    requested=True,
    priorities={},
    routine="",
    numbers_at=5,
    name="^{given}^{family}",
    end="N",
    none_end="N",
)


def adapt(parsed: Parsed) -> Parsed:
    for order in records(parsed, "O"):
        numbers = [
            part for field in (NUMBER, INSTRUMENT_NUMBER) for part in components(get(order, field), parsed.delimiters)
        ]
        if any(number.startswith(CONTROL_NUMBER) or number == BACKGROUND for number in numbers):
            put(order, ACTION, CONTROL)
    return parsed
