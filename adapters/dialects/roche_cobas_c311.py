"""Roche cobas c311: clinical chemistry over E1394.

    O|1|11625^CL-PL-24-0370         ^1^^004|R1|^^^685/\\^^^687/|...
        |     |                      |   +-- counter of the day
        |     |                      +-- position
        |     +-- specimen number, padded with blanks
        +-- counter of the analyzer, which says nothing to a laboratory

What departs: the manual says that O-3 is the specimen number alone; the capture has it in component 2, behind a
counter. So component 2 becomes O-3, and the counter goes into O-4 (which holds only the kind of rack), where settings
may keep it as a second number of the specimen. Without a number in component 2 (no barcode) O-3 stays as it is.
Comments are alarm numbers (0: none), and say so. A control has Q as its action code.

Sources: capture roche-c311 and the driver published with it (senaite.astm, roche_cobas_c311.py, which names the
components); cobas c 311 Host Interface Manual 1.3, E-12 to E-17.
"""

from adapters.dialects.fields import components, get, groups, put
from adapters.dialects.roche_cobas import adapt_results, mark_control
from engine.message import Delimiters, Group, Parsed

SPECIMEN, INSTRUMENT_SPECIMEN = 3, 4  # O-3, O-4


def adapt(parsed: Parsed) -> Parsed:
    for order in groups(parsed, "ORDER"):
        _name_specimen(order, parsed.delimiters)
        mark_control(order, parsed.delimiters)
    adapt_results(parsed)
    return parsed


def _name_specimen(order: Group, delimiters: Delimiters) -> None:
    for record in order.segments.get("O", ()):
        counter, *rest = components(get(record, SPECIMEN), delimiters)
        if len(rest) >= 3 and rest[0]:  # the layout above, and a number in it
            put(record, SPECIMEN, rest[0])
            put(record, INSTRUMENT_SPECIMEN, counter)
