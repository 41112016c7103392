"""Horiba ABX Pentra XLR: blood counts over E1394.

    R|1|^^^WBC^804-5^1|8.5|1||||W||...     R-5 holds 1 in every result, whatever its unit

Departures: R-5 is a dilution and not a unit. It is emptied, because 1 is a unit too (that of pure numbers) and 8.5 of
nothing is not 8.5 thousand in a microlitre. Which units the analyzer is set to, no message says.

Source: capture horiba-pentra-xlr.
"""

from adapters.dialects.shared.fields import clear
from engine.model.message import Parsed

UNIT = 5
DILUTION = "1"


def adapt(parsed: Parsed) -> Parsed:
    clear(parsed, "R", UNIT, DILUTION)
    return parsed
