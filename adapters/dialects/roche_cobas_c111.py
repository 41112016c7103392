"""Roche cobas c111: clinical chemistry over E1394.

    H-5 CITYLAB^Roche^c111^4.2.2.1730^1^13147     name of the host link ^ maker ^ model ^ software ^ protocol ^ serial
    O|1||T20 10134GA D28^^6|...     the specimen number only in O-4: <sample>^^<position>
    R|1|^^^687|48.4|U/L|20.0\\30.0   the reference range as two repetitions

Departures: the number becomes O-3. H-5.1 is a name that the site gave, not the analyzer's; model and serial number
take its place. The range is joined to ``20.0-30.0``; comments that are alarm numbers say so; Q among the action codes
makes a control. M records (raw absorbances) stay with the message. A blocked result comes with R-9 = X and no value,
which needs no dialect.

Sources: cobas c 111 Host Interface Manual 2.1, 9.4.04, 9.4.12 and 10.1.04-09; capture roche-c111.
"""

from adapters.dialects.shared.fields import components, get, put, records
from adapters.dialects.shared.roche_cobas import C111, adapt_results, mark_control
from engine.model.message import Parsed

SPECIMEN, INSTRUMENT_SPECIMEN, SENDER = 3, 4, 5  # O-3, O-4, H-5
DIALOGUE = C111


def adapt(parsed: Parsed) -> Parsed:
    for header in records(parsed, "H"):
        _, *rest = components(get(header, SENDER), parsed.delimiters)
        if len(rest) >= 5 and rest[1] and rest[4]:
            put(header, SENDER, parsed.delimiters.component.join([f"{rest[1]} {rest[4]}", *rest]))
    for order in records(parsed, "O"):
        mark_control(order, parsed.delimiters)
        if not get(order, SPECIMEN):
            put(order, SPECIMEN, components(get(order, INSTRUMENT_SPECIMEN), parsed.delimiters)[0])
    adapt_results(parsed)
    return parsed
