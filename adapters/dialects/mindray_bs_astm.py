"""Mindray BS and CL over E1394: chemistry and immunoassays. They send results, and ask for orders.

    O|796|9058^1^11|8766097|...                              O-3: its own count ^ tray ^ position; O-4: the bar code
    R|241|SGOT^Aspartate Aminotransferase^^F|67.98^^^^|U/L   code ^ name ^ replicate ^ F; number ^ words
    R|1|1^Test1^1^F|14.5^|Mg/ml||5.6^99.9|N||F               the maker's example: a number, and an empty R-6 too many

Departures:
- The tube is the bar code in O-4; the count in O-3 begins anew each day. So O-4 becomes O-3. Without a bar code nothing
  names the tube: the count is kept in component 5 of O-4, where it is no number of a tube. Where O-4 has the tests, and
  O-5 the priority, all fields are one place ahead: O-3 without a tray is the bar code then. Any other O-4 with several
  components is none.
- R-3 begins with the code, in place of its component 4, which says F. Where component 1 is a bare number (a count, or a
  number of the site) and a name follows, the name is the code. It becomes component 4, a longer name component 5.
- R-4 is number ^ words: where both are there, the words become a flag; where one is, it is the value.
- Where R-6 is empty, and R-10 has the status in place of R-9, R-6 is one field too many, and goes.
- R-6 is low ^ high. P-8 is birth date ^ age ^ unit. H-12 is QR for controls and CR for calibrations: their orders get
  Q in O-12.

Orders:

    > H|\\^&|||Mindray^^|||||||RQ|1394-97|20230927130401     Q|1|^20231012||||||||||O     L|1|N
    < H|..|SA|..     P|1     O|1|1^^|20231012|1^GLU^^\\2^ALT^^|R||||||N||||||||||||||Q     L|1|N
    < H|..|QA|..     L|1|I          no order

H-12 is the kind of the message: RQ question, SA orders, QA none. O-4 is the number of the tube; O-3 has rack and
position, which stay empty. O-5 counts the tests; behind the code are dilution and repeats, which stay empty too: their
codes are the laboratory's. A driver for the BS-430 has the code first, as ``GLU^^2^1``; the key ``test`` of a channel
says so.

Sources: Mindray Host Interface Manual, 2.2.3 (order and result record), with its examples, as public drivers of the
BS-230, BS-240, BS-430 and BS-800 quote it; logs of a BS-430 (H-5 ``Mindry``) that one of them describes; public drivers
of the CL series. No capture of one was seen.
"""

import re

from adapters.codecs.astm.habits import Habits
from adapters.dialects.shared.fields import components, get, groups, put, records
from adapters.dialects.shared.roche_cobas import join_range
from engine.model.message import Delimiters, Parsed, Segment

PROCESSING = 12  # H-12
BIRTH_DATE = 8  # P-8
SPECIMEN, INSTRUMENT_SPECIMEN, TESTS, ACTION = 3, 4, 5, 12  # O-3, O-4, O-5, O-12
PRIORITIES = ("R", "S", "A")  # O-6
TEST, VALUE, RANGE, FLAGS, STATUS = 3, 4, 6, 7, 9
NO_SPECIMEN = ("QR", "CR")  # controls, calibrations
STATUSES = ("F", "C", "P", "I", "R", "X")

DIALOGUE = Habits(processing=("SA", "QA"), specimen="instrument", place="1^^", test="{n}^{}^^", end="N")

_NUMBER = re.compile(r"[0-9]+", re.ASCII).fullmatch


def adapt(parsed: Parsed) -> Parsed:
    delimiters = parsed.delimiters
    of_no_patient = any(get(header, PROCESSING) in NO_SPECIMEN for header in records(parsed, "H"))
    for patient in records(parsed, "P"):
        put(patient, BIRTH_DATE, components(get(patient, BIRTH_DATE), delimiters)[0])
    for order in records(parsed, "O"):
        _name_specimen(order, delimiters)
        if of_no_patient:
            put(order, ACTION, "Q")
    for result in records(parsed, "R"):
        if not get(result, RANGE) and get(result, STATUS) not in STATUSES and get(result, STATUS + 1) in STATUSES:
            del result.fields[RANGE]
        _name_test(result, delimiters)
        _read_value(result, delimiters)
    for result_group in groups(parsed, "RESULT"):
        join_range(result_group, delimiters)
    return parsed


def _name_specimen(order: Segment, delimiters: Delimiters) -> None:
    count, *place = components(get(order, SPECIMEN), delimiters)
    said = get(order, INSTRUMENT_SPECIMEN)
    has_parts = delimiters.component in said or delimiters.repetition in said
    if has_parts and get(order, TESTS) in PRIORITIES:  # its tests: no field is between them and O-3
        order.fields.insert(INSTRUMENT_SPECIMEN, "")
        said = ""
    bar_code, *more = components(said, delimiters)
    is_unclear = any(more) or delimiters.repetition in said  # tests, or a number
    if bar_code.strip("0") and not is_unclear:
        put(order, SPECIMEN, bar_code)
        put(order, INSTRUMENT_SPECIMEN, count)
    elif place or is_unclear:
        put(order, SPECIMEN, "")
        put(order, INSTRUMENT_SPECIMEN, 4 * delimiters.component + count)


def _name_test(result: Segment, delimiters: Delimiters) -> None:
    parts = components(get(result, TEST), delimiters)
    if len(parts) < 2 or not parts[0]:
        return
    code, name = parts[:2]
    if _NUMBER(code) and name:
        code, name = name, ""
    put(result, TEST, delimiters.component.join(["", "", "", code, name]).rstrip(delimiters.component))


def _read_value(result: Segment, delimiters: Delimiters) -> None:
    parts = components(get(result, VALUE), delimiters)
    if len(parts) < 2:
        return
    said = [part for part in parts if part]
    put(result, VALUE, said[0] if said else "")
    flags = [flag for flag in (get(result, FLAGS), *said[1:]) if flag]
    put(result, FLAGS, delimiters.repetition.join(flags))
