"""What becomes of every field of P, O, R and C in the shipped mappings of ASTM: a value of each shape is in the
document or told of, or it is one of those that no rule reads on purpose, each with its reason."""

from functools import cache, partial

import pytest

from adapters.codecs.astm.records import FIELDS
from tests.support.census import Census, Plant
from tests.support.shipped import verdict_of

MESSAGE = r"""H|\^&|||XN^1.0|||||||P|1|20260301101500
P|1||4711||RAO^MEERA||19840219|F
O|1|S1||^^^WBC|R||20260301093000||||||||||||||||||F
R|1|^^^WBC|5.5|10*3/uL|4.0 to 10.0|N||F||||20260301101200
C|1|I|lipaemic|G
L|1|N"""
FIRST = 3  # of fields that say something: behind record type and sequence number
RECORDS = {name: range(FIRST, len(FIELDS[name])) for name in "PORC"}

DATES = {"P": {8}, "O": {7, 8, 9, 15, 23}, "R": {10, 12, 13}}
# Fields whose values the standard lists: a legal one that the message does not have, and how documents show it.
CODES = {
    "P-9": ("M", ("male", "|19840219|M")),
    "O-26": ("P", ("preliminary", "|||P||")),
    "R-7": ("HH", ("HH",)),
    "R-9": ("P", ("preliminary", "|||P||")),
}

# No rule reads these, and why.
NOT_OF_A_PERSON = "says nothing of who the person is, and a result is filed without it"
OF_THE_ORDER = "a matter of the request, which the laboratory's own system has; a result is understood without it"
ON_PURPOSE = {
    "P-7": "the mother's maiden name is no name of the patient",
    "P-10": NOT_OF_A_PERSON,
    "P-11": "the address is the hospital's to keep; results are not found by it",
    "P-12": "reserved by the standard",
    "P-14": "the attending physician is named by the order's own system",
    **{f"P-{number}": NOT_OF_A_PERSON for number in range(15, 36)},
    "O-3 components": "rack, position and how the number was read stand behind the number of a tube",
    "O-3 a later part": "told of as a missing specimen number",
    "O-4": "the instrument's own number counts where O-3 is empty, or where instrument_specimens says so",
    "O-5": "what was asked for: what was measured says R-3",
    "O-6": OF_THE_ORDER,
    "O-7": OF_THE_ORDER,
    "O-9": "the start of the collection (O-8) is its time",
    **{f"O-{number}": OF_THE_ORDER for number in (10, 11, 13, 14, 17, 18, 19, 20, 21, 22, 24, 25, 27, 28, 29, 30, 31)},
    "O-12": "what a host asked for; Q alone says something of the results: they are a control's",
    "R-3 components": "names, versions and lots of a test are no part of its code (setting test_code)",
    "R-8": "how the flag was found: the flag itself is read",
    "R-10": "when the norms were changed: the range itself is read",
    "R-11": "the operator at the instrument is no performer of a result",
    "R-12": "the completion (R-13) is the time of a result, the start where there is none",
    "R-14": "the analyzer is named by H-5, as one Device of all its modules",
    "C-3": "who wrote the comment: its words are kept",
    "C-5": "which kind of comment it is: its words are kept",
}
ONE_NUMBER = "one number of the patient: the first of P-3, P-4 and P-5"
NO_COLUMN = "the list has no place for it"
OUTPUTS: dict[str, dict[str, str]] = {
    "astm-results": {},
    "astm-to-hl7": {},
    "astm-to-csv": {
        **dict.fromkeys(("P-13", "O-8", "O-15", "O-16", "O-23"), NO_COLUMN),
        "P-5": ONE_NUMBER,
        "O-26": "a line has the status of its result (R-9), that of the report where there is none",
    },
    "astm-to-json": {**dict.fromkeys(("P-13", "O-16", "O-23"), NO_COLUMN), "P-5": ONE_NUMBER},
}
MAPPINGS = {name: ON_PURPOSE | own for name, own in OUTPUTS.items()}


def plants(record: str, number: int) -> list[Plant]:
    plant = partial(Plant, record, number)
    words = [
        plant("plain", "Qa7", (("Qa7",),)),
        plant("components", "Qa7^Qb8^Qc9", (("Qa7",), ("Qb8",), ("Qc9",))),
        plant("a later part", "^^Qc9", (("Qc9",),)),
        plant("repetitions", r"Qa7\Qb8", (("Qa7",), ("Qb8",))),
        plant("escaped", "Qa7&S&Qb8", (("Qa7^Qb8", r"Qa7\S\Qb8"),)),
        plant("padded", "  Qa7  ", (("Qa7",),)),
        plant("a number", "77.31", (("77.31",),)),
        plant("absent", ""),
        plant("deleted", '""'),
    ]
    if number in DATES.get(record, ()):
        day, other = (("2031-02-03", "20310203"), ("2031-02-04", "20310204"))
        words += [
            plant("a time", "20310203040506", (day,)),
            plant("a day", "20310203", (day,)),
            plant("two times", r"20310203\20310204", (day, other)),
            plant("a time and words", "20310203^Qb8", (day, ("Qb8",))),
        ]
    if code := CODES.get(f"{record}-{number}"):
        words += [
            plant("a code", code[0], (code[1],)),
            plant("two codes", rf"{code[0]}\Qb8", (code[1], ("Qb8",))),
            plant("a code and words", f"{code[0]}^Qb8", (code[1], ("Qb8",))),
        ]
    return words


@cache
def census(mapping: str, message: str = MESSAGE) -> Census:
    """Of results as FHIR, the ids are no place for a value; a line of CSV holds the patient's, too."""
    fhir = mapping == "astm-results"
    return Census(
        message,
        lambda payload: verdict_of(payload, "astm", mapping=mapping),
        also_at=("R",) if mapping == "astm-to-csv" else (),
        **({} if fhir else {"ignored": frozenset()}),
    )


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_no_field_is_lost_without_a_word(mapping: str, record: str) -> None:
    planted = [plant for number in RECORDS[record] for plant in plants(record, number)]
    assert census(mapping).lost(planted, MAPPINGS[mapping]) == []


@pytest.mark.parametrize("record", RECORDS)
def test_what_is_said_to_be_read_by_no_rule_is_read_by_none(record: str) -> None:
    planted = [plant for number in RECORDS[record] for plant in plants(record, number)]
    partly = ["O-5"] if record == "O" else []  # one test that was asked for is the code of its report
    whole = {place: why for place, why in ON_PURPOSE.items() if " " not in place}
    assert census("astm-results").read(planted, whole) == partly


# A field that is read where another one is empty: the message without this one, and the shapes left out on purpose.
IN_THE_PLACE_OF = {
    ("R", 12): (MESSAGE.replace("||||20260301101200", ""), {}),
    ("O", 4): (MESSAGE.replace("|S1|", "||"), {"O-4 components": ON_PURPOSE["O-3 components"]}),
    ("P", 3): (MESSAGE.replace("|4711|", "||"), {}),
    ("P", 5): (MESSAGE.replace("|4711|", "||"), {}),
}


@pytest.mark.parametrize("field", IN_THE_PLACE_OF, ids=lambda field: f"{field[0]}-{field[1]}")
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_field_in_the_place_of_an_empty_one_is_not_lost_either(mapping: str, field: tuple[str, int]) -> None:
    message, on_purpose = IN_THE_PLACE_OF[field]
    assert census(mapping, message).lost(plants(*field), on_purpose) == []
