"""Siemens DCA Vantage: albumin, creatinine and HbA1c at the point of care over E1394.

    O|1||660^0090|...            O-3 is empty; O-4: sequence number (001 to 999, restarts) ^ reagent lot
    R|1|^^^Alb|63.7|mg/L|...
    C|1|I|1.000^0.0 mg/L|G       behind a result: the user's slope ^ offset ^ unit of HbA1c ^ average glucose

Departures: numbers in the comment of a result can be taken for results, so they say what they are. Other comments
stay. A control has Q in O-12, service mode D in H-12; both are known without a dialect.

Sources: DCA Vantage Host Computer Communications Link 17306 Rev. E (as the driver senaite.astm, dca_vantage.py,
describes its comments); capture siemens-dca-vantage.
"""

import re

from adapters.dialects.shared.fields import components, get, groups, put
from engine.model.message import Parsed

TEXT = 4  # C-4

_SLOPE = re.compile(r"-?[0-9]+\.[0-9]+", re.ASCII).fullmatch
_OFFSET = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?: \S+)?", re.ASCII).fullmatch


def adapt(parsed: Parsed) -> Parsed:
    for result in groups(parsed, "RESULT"):
        for comment in result.segments.get("C", ()):
            slope, *rest = components(get(comment, TEXT), parsed.delimiters)
            if _SLOPE(slope) and rest and _OFFSET(rest[0]):
                words = [f"user correction: slope {slope}", f"offset {rest[0]}", *(part for part in rest[1:] if part)]
                put(comment, TEXT, ", ".join(words))
    return parsed
