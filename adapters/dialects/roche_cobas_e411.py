"""Roche cobas e411: immunoassays over E1394.

    R|1|^^^8/1/not|1.95|uIU/ml        a quantity; the code is application / dilution / pre-dilution
    R|1|^^^8/1/not|1.95^27|uIU/ml     a quantity, then the number of a result message: never the value
    R|4|^^^5/1/not|-1^0.282|COI       a call and its cutoff index: 1 positive, 0 borderline, -1 negative
    O|1|000002327|159^0^1^^S1^SC|     O-4.5 is the kind of sample: QC or CONTROL is a control, whatever O-12 says

Departures: component 1 of a value is a call in one case and the value itself in the other; afterwards every value of
two components is a call and a number, as the pack declares to the mapping (``r4: call^value``). Unit and number decide:
with the unit COI, 1, 0 and -1 are calls; -1 is one with any unit, since no concentration is negative. A call stays
beside its index, and its meaning becomes a flag in words (R-7); where the index is missing (seven blanks) the words are
the result, and -1 is no number. 1 and 0 with another unit and a second part could be either: both parts stay, as text.
The number after a quantity becomes a flag in words. Reference ranges come as ``low^high`` and are joined. Comments are
numbers of data alarms, and say so; O-16 is a number for what is in the tube, and says so. Q among the action codes
(``X\\Q``), or a sample type that says control, makes a control.

An unread barcode gives a specimen number such as ``@192``: the analyzer's sequence number. It is kept, and identifies
no patient.

Sources: cobas e 411 Host Interface Manual 2.3 (test order record 4, 12 and 16, result record 4 and 6, tables 7 and 19);
captures roche-e411-results, -multiframe, -dribble, -query, -query-unknown.
"""

import re

from adapters.dialects.shared.fields import components, get, put, records
from adapters.dialects.shared.roche_cobas import E411, adapt_results, mark_control
from engine.model.message import Delimiters, Parsed, Segment

VALUE, UNIT, FLAGS = 4, 5, 7
INSTRUMENT_SPECIMEN, DESCRIPTOR = 4, 16  # O-4, O-16
KINDS = {"1": "blood serum", "2": "urine", "5": "other"}
CALLS = {"1": "positive (reactive)", "0": "borderline", "-1": "negative (non-reactive)"}
INDEX_UNITS = ("COI",)

_MESSAGE_NUMBER = re.compile(r"[0-9]{1,3}", re.ASCII).fullmatch
DIALOGUE = E411


def adapt(parsed: Parsed) -> Parsed:
    delimiters = parsed.delimiters
    for order in records(parsed, "O"):
        kind = components(get(order, INSTRUMENT_SPECIMEN), delimiters)[4:5]
        mark_control(order, delimiters, sample_type=kind[0] if kind else "")
        put(order, DESCRIPTOR, KINDS.get(get(order, DESCRIPTOR), get(order, DESCRIPTOR)))
    for result in records(parsed, "R"):
        _read_value(result, delimiters)
    adapt_results(parsed)
    return parsed


def _read_value(record: Segment, delimiters: Delimiters) -> None:
    first, *rest = components(get(record, VALUE), delimiters)
    second = rest[0] if rest else ""
    if not first and not second:
        put(record, VALUE, "")  # blanks: no result
    elif first in CALLS and (first == "-1" or get(record, UNIT) in INDEX_UNITS):
        if second:
            _flag(record, CALLS[first], delimiters)
        else:
            put(record, VALUE, CALLS[first])
    elif not second:
        put(record, VALUE, first)
    elif first in CALLS or not _MESSAGE_NUMBER(second):
        put(record, VALUE, f"{first} / {second}")  # could be either: shown, never a number
    else:
        put(record, VALUE, first)
        _flag(record, f"result message {second}", delimiters)


def _flag(record: Segment, words: str, delimiters: Delimiters) -> None:
    flags = get(record, FLAGS)
    put(record, FLAGS, f"{flags}{delimiters.repetition}{words}" if flags else words)
