"""Horiba ABX Pentra 400: clinical chemistry over E1394; it asks for orders as the Roche analyzers do.

Departures: none in results. Orders: H-5 is ``abxpentra400^1``. O-16 is never blank, so a tube whose kind is in neither
the order nor the question gets none. Each record has a frame.

Source: public drivers of the Pentra 400.
"""

from adapters.dialects.shared.roche_cobas import PENTRA_400
from engine.model.message import Parsed

DIALOGUE = PENTRA_400


def adapt(parsed: Parsed) -> Parsed:
    return parsed
