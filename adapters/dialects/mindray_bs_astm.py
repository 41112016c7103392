"""Mindray BS and CL over E1394: how they ask for orders.

    > H|\\^&|||Mindray^^|||||||RQ|1394-97|20230927130401     Q|1|^20231012||||||||||O     L|1|N
    < H|..|SA|..     P|1     O|1|1^^|20231012|1^GLU^^\\2^ALT^^|R||||||N||||||||||||||Q     L|1|N
    < H|..|QA|..     L|1|I          no order

H-12 is the kind of the message: RQ question, SA orders, QA none. O-4 is the number of the tube; O-3 has rack and
position, which stay empty. O-5 counts the tests; behind the code are dilution and repeats, which stay empty too: their
codes are the laboratory's.

Departures: none in results.

Sources: public drivers of the CL series and the BS series, with logs of a BS-430.
"""

from adapters.codecs.astm.habits import Habits
from engine.model.message import Parsed

DIALOGUE = Habits(processing=("SA", "QA"), specimen="instrument", place="1^^", test="{n}^{}^^", end="N")


def adapt(parsed: Parsed) -> Parsed:
    return parsed
