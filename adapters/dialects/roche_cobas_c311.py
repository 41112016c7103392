"""Roche cobas c311: clinical chemistry over E1394.

    O|1|11625^CL-PL-24-0370         ^1^^004|R1|^^^685/\\^^^687/|...
        |     |                      |   +-- counter of the day
        |     |                      +-- position
        |     +-- specimen number, padded with blanks
        +-- counter of the analyzer, without meaning for a laboratory

Departures: the manual says that O-3 is the specimen number alone; the capture has it in component 2, after a counter.
So component 2 becomes O-3, and the counter goes into O-4, where settings keep it as a number of the instrument beside
that of the specimen; without a number in component 2 (no barcode) it is the only number. Where no counter precedes it,
O-3 is the number, whatever follows. O-4 as it is sent holds the kind of rack (R1), which is no number. O-16 names the
container (SC, MC) and not what is in it, so it is no specimen type. Comments are alarm numbers (0: none), and say so. A
control has Q as its action code.

Sources: capture roche-c311 and the driver published with it (senaite.astm, roche_cobas_c311.py, which names the
components); cobas c 311 Host Interface Manual 1.3, E-12 to E-17.
"""

import re

from adapters.dialects.shared.fields import components, get, put, records
from adapters.dialects.shared.roche_cobas import COBAS, adapt_results, mark_control
from engine.model.message import Delimiters, Parsed, Segment

SPECIMEN, INSTRUMENT_SPECIMEN, DESCRIPTOR = 3, 4, 16  # O-3, O-4, O-16
CONTAINERS = ("SC", "MC")
WRITES_NUMBERS = (("O", 3, 1), ("O", 3, 2))  # counter, specimen
_NUMBER = re.compile(r"[0-9]+", re.ASCII).fullmatch
_RACK = re.compile(r"R[0-9]", re.ASCII).fullmatch
DIALOGUE = COBAS


def adapt(parsed: Parsed) -> Parsed:
    for order in records(parsed, "O"):
        _name_specimen(order, parsed.delimiters)
        mark_control(order, parsed.delimiters)
    adapt_results(parsed)
    return parsed


def _name_specimen(order: Segment, delimiters: Delimiters) -> None:
    counter, *rest = components(get(order, SPECIMEN), delimiters)
    if _RACK(get(order, INSTRUMENT_SPECIMEN)):
        put(order, INSTRUMENT_SPECIMEN, "")
    if rest and not counter:
        put(order, SPECIMEN, rest[0])
    elif len(rest) >= 3 and _NUMBER(counter):  # the layout above
        put(order, SPECIMEN, rest[0])
        put(order, INSTRUMENT_SPECIMEN, counter)
    if get(order, DESCRIPTOR) in CONTAINERS:
        put(order, DESCRIPTOR, "")
