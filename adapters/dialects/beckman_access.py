"""Beckman Coulter Access and DxI over E1394: how they ask for orders.

    > H|\\^&|||ACCESS^500001|||||LIS||P|1|20111231235959     Q|1|^SPEC1234||ALL||||||||O     L|1|F
    < H|..|ACCESS^500001|..     P|1|098765678     O|1|SPEC1234||^^^Ferritin|R||||||A||||Serum     L|1|F

Departures: none in results. O-12 is A, O-16 a word for the specimen, and O-26 stays empty.

Source: the maker's example of a dialogue, with its checksums, as public drivers of the Access and DxI quote it.
"""

from adapters.codecs.astm.habits import Habits
from engine.model.message import Parsed

DIALOGUE = Habits(
    new="A",
    asked="",
    types={"SER": "Serum", "SERUM": "Serum", "PLAS": "Plasma", "PLASMA": "Plasma", "UR": "Urine", "URINE": "Urine"},
)


def adapt(parsed: Parsed) -> Parsed:
    return parsed
