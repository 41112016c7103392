"""Abbott Architect and AxSYM over E1394: how they ask for orders.

    > Q|1|^SID13||^^^ALL||||||||O     L|1
    < O|1|SID13||^^^16|R||||||N||||||||||||||Q     L|1
    < Q|1|^SID13||^^^ALL||||||||X     L|1            no order

Departures: none in results. "None" is the question again with X in Q-13. A test is added with A and cancelled with C
in O-12.

Sources: public drivers of the Architect, and the driver senaite.astm (architect.py).
"""

from adapters.codecs.astm.habits import Habits
from engine.model.message import Parsed

DIALOGUE = Habits(cancels=True, end=None, none="question", none_end=None)


def adapt(parsed: Parsed) -> Parsed:
    return parsed
