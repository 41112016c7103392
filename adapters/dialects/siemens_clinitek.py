"""Siemens Clinitek Status: urine test strips over HL7 v2.4.

    PID|1||010820187||010820187       the patient id typed at the instrument, and again in the place of the name
    OBR|1||143|Multistix 10 SG|...    the instrument's sample number, and the strip
    OBR-15 ORH^^^^^^Q                 a control; there is no PID then

Departures: a name that is only the number of the patient is no name, and is taken out. A name that says anything else
stays.

Sources: captures siemens-clinitek and siemens-clinitek-qc.
"""

from adapters.dialects.shared.fields import components, get, put, records
from engine.model.message import Parsed

IDS, NAME = 3, 5  # PID-3, PID-5


def adapt(parsed: Parsed) -> Parsed:
    for record in records(parsed, "PID"):
        words = [part for part in components(get(record, NAME), parsed.delimiters) if part]
        if words == components(get(record, IDS), parsed.delimiters)[:1]:
            put(record, NAME, "")
    return parsed
