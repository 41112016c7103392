"""Erba and Transasia EM and XL: clinical chemistry over E1394; delimiters are ``|`^&``.

    > Q|1|^0000000406`00001001|||S|||||||O              two tubes
    < O|1|0000000406||^^^GLU`^^^UREA|R||||||A||||SERUM

An answer for each tube; all of its records share a frame of at most 1024 bytes of text.

Departures: none in results. Orders: O-12 is A; O-16 is the word for the specimen, where the order names one.

Sources: captures erba-em200-query and erba-em200-query-multi; the public driver Ruby-ASTM for the answer.
"""

from adapters.codecs.astm.habits import Habits
from engine.model.message import Parsed

DIALOGUE = Habits(
    asks_alone=True,  # of several tubes, only the first number is behind ^
    delimiters="|`^&",
    pack="packed",
    frame_limit=1024,
    new="A",
    asked="",
    types={"SER": "SERUM", "SERUM": "SERUM", "PLAS": "PLASMA", "PLASMA": "PLASMA", "UR": "URINE", "URINE": "URINE"},
)


def adapt(parsed: Parsed) -> Parsed:
    return parsed
