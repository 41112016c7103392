"""Roche cobas c111: clinical chemistry over E1394.

    O|1||T20 10134GA D28^^6|...     the specimen number only in O-4: <sample>^^<position>
    R|1|^^^687|48.4|U/L|20.0\\30.0   the reference range as two repetitions

What departs: the range is joined to ``20.0-30.0``; comments that are alarm numbers say so; Q among the action codes
makes a control. M records (raw absorbances) stay with the message. A blocked result comes with R-9 = X and no value,
which needs no dialect.

Sources: cobas c 111 Host Interface Manual 2.1, 9.4.04, 9.4.12 and 10.1.04-09; capture roche-c111.
"""

from adapters.dialects.fields import groups
from adapters.dialects.roche_cobas import adapt_results, mark_control
from engine.message import Parsed


def adapt(parsed: Parsed) -> Parsed:
    for order in groups(parsed, "ORDER"):
        for record in order.segments.get("O", ()):
            mark_control(record, parsed.delimiters)
    adapt_results(parsed)
    return parsed
