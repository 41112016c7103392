"""A value of every shape in every field of the patient, order, result and specimen segments of HL7 v2: it is in the
document, or it is told of, or it is left out on purpose and stands here with the reason."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.census import NEITHER, Census, Plant
from tests.support.hl7_plants import LeftOut, lost, probes, reached
from tests.support.shipped import verdict_of

FOLDER = Path(__file__).parents[2] / "samples" / "abdm_report"
ABDM: dict[str, Any] = yaml.safe_load((FOLDER / "settings.yaml").read_text("utf-8"))["settings"]

HEAD = r"""MSH|^~\&|AN|LAB|LIS|H|20260301101530||ORU^R01^ORU_R01|1|P|2.5.1
PID|1||4711^^^HOSP^MR~91123456789015^^^NDHM^HIN||Rao^Asha||19840219|F
NTE|1||clotted
PV1|1|I|||||||||||||||||V1^^^HOSP
ORC|RE|O1|F1
OBR|1|O1|F1|CBC^Blood count^L|||20260301091500|||||||||||||||20260301101500||HM|F
NTE|1||fasting
OBX|1|NM|WBC^Leukocytes^L||5.5|10*3/uL|4.0-10.0|N|||F|||20260301101200
NTE|1||repeated"""
SPECIMEN = r"""
SPM|1|S1||119297000^Blood^SCT|||||||||||||20260301091500|20260301093000
OBX|1|NM|HEM^Haemolysis^L||12|mg/dL|||||F"""
BY_SPECIMEN = r"""MSH|^~\&|AN|LAB|LIS|H|20260301101530||OUL^R22^OUL_R22|1|P|2.5.1
PID|1||4711^^^HOSP^MR||Rao^Asha||19840219|F
NTE|1||clotted
PV1|1|I|||||||||||||||||V1^^^HOSP
SPM|1|S1||119297000^Blood^SCT|||||||||||||20260301091500|20260301093000
OBR|1|O1|F1|CBC^Blood count^L|||20260301091500|||||||||||||||20260301101500||HM|F
ORC|OK|O1|F1
NTE|1||fasting
OBX|1|NM|WBC^Leukocytes^L||5.5|10*3/uL|4.0-10.0|N|||F|||20260301101200
NTE|1||repeated"""
DILUTED = r"""MSH|^~\&|AN|LAB|LIS|H|20260301101530||OUL^R22^OUL_R22|1|P|2.5.1
PID|1||4711^^^HOSP^MR||Rao^Asha||19840219|F
SPM|1|S1||119297000^Blood^SCT
OBR|1|O1|F1|GLU^Glucose^L|||20260301091500||||||||||||||||||F
ORC|OK|O1|F1
OBX|1|NM|GLU^Glucose^L||5.5|mmol/L|4.0-10.0|N|||F|||20260301101200
TCD|GLU^Glucose^L|^1^:^5"""
# What stands in an OBR where there is no SPM is the specimen's; everything else is asked of a message with one.
BASES = {
    "OBR": HEAD.replace("20260301091500|||||||||||||||", "20260301091500|||||||20260301093000||||||||"),
    "TCD": DILUTED,
}
SEGMENTS = ("PID", "PV1", "ORC", "OBR", "OBX", "NTE", "SPM")
MAPPINGS = ("hl7-results", "abdm-report")
ALL = (*MAPPINGS, "hl7-oul-results")
# Codes of the fields that have a table, and how the document says them.
LEGAL = {
    "PID-8": ("M", "male"),
    "PV1-2": ("O", "AMB"),
    "ORC-1": ("DC", "revoked"),
    "ORC-5": ("HD", "on-hold"),
    "OBR-5": ("S", "stat"),
    "OBR-24": ("CH", "CH"),
    "OBR-25": ("C", "corrected"),
    "OBX-8": ("HH", "HH"),
    "OBX-11": ("C", "corrected"),
    "SPM-20": ("Y", "available"),
}

CODED = "words and alternatives of a code of a table, which is component 1 (CWE from 2.7 on)"
AUTHORITY = "the universal id beside it names the authority"
SECURITY = "who may see it, says the server"
CHECK_DIGIT = "a check digit is part of no number"
PERIOD = "old form of the two components behind it"
KINDS = {
    "SI": "a number of the segment within its group",
    "TS.2": "degree of precision: the time itself shows it",
    "ID.2": CODED,
    "IS.2": CODED,
    "NM.2": "a number has no components",
    "DT.2": "a date has no components",
    "DTM.2": "a time has no components",
    "CX.2": CHECK_DIGIT,
    "CX.3": CHECK_DIGIT,
    "CX.4.1": AUTHORITY,
    "CX.6": "facility of the number: only where no authority is named",
    "CX.9": "jurisdiction of a number",
    "CX.10": "department of a number",
    "CX.11": SECURITY,
    "CX.12": SECURITY,
    "EI.2": AUTHORITY,
    "EIP.1.2": AUTHORITY,
    "EIP.1.3": "numbers of specimens are of one system (specimen_system), with any authority beside them",
    "EIP.2": "the other number of the same thing: the first that is there names it",
    "XPN.1.2": "parts of the family name, which FN-1 holds whole",
    "XPN.1.3": "parts of the family name, which FN-1 holds whole",
    "XPN.1.4": "name of the partner",
    "XPN.1.5": "name of the partner",
    "XPN.8": "how a name is written (alphabet)",
    "XPN.9": "context of a name",
    "XPN.10": PERIOD,
    "XPN.11": "order of the parts of a name",
    "XPN.15": "called by: 2.8",
    "XAD.1.2": "parts of the street line, which SAD-1 holds whole",
    "XAD.1.3": "parts of the street line, which SAD-1 holds whole",
    "XAD.8": "other geographic designation",
    "XAD.10": "census tract",
    "XAD.11": "how an address is written (alphabet)",
    "XAD.12": PERIOD,
    **dict.fromkeys([f"XAD.{at}" for at in range(15, 24)], "why an address ended, who lives there: 2.7 and 2.8"),
    "XTN.9": "text beside a number (ask for ...)",
    "XTN.10": "how to dial an extension",
    "XTN.11": "how to dial at this place",
    **dict.fromkeys([f"XTN.{at}" for at in range(13, 19)], "since when, why, in which order: 2.7 and 2.8"),
    "XCN.2.2": "parts of the family name, which FN-1 holds whole",
    "XCN.2.3": "parts of the family name, which FN-1 holds whole",
    "XCN.2.4": "name of the partner",
    "XCN.2.5": "name of the partner",
    "XCN.7": "degree: XCN-5 and XCN-6 stand in the name",
    "XCN.8": "table of the number: XCN-9 names the authority",
    "XCN.9.1": AUTHORITY,
    "XCN.11": CHECK_DIGIT,
    "XCN.12": CHECK_DIGIT,
    "XCN.14": "facility of the number: only where no authority is named",
    **dict.fromkeys(
        [f"XCN.{at}" for at in range(15, 26)], "of a name and of its number: how written, how long, for whom"
    ),
    "XON.2": "kind of name",
    "XON.3": "number in its old form: XON-10 comes before it",
    "XON.4": CHECK_DIGIT,
    "XON.5": CHECK_DIGIT,
    "XON.6.1": AUTHORITY,
    "XON.8": "facility of the number",
    "XON.9": "how a name is written (alphabet)",
    "CQ.2.2": "words of the unit, whose code stands before them",
    **dict.fromkeys([f"CQ.2.{at}" for at in range(3, 10)], "system, words and alternatives of a unit"),
    "NDL.1.7": "degree",
    "NDL.1.8": "table of the number",
    "NDL.1.10": "kind of the universal id of the authority",
    "NDL.1.11": "kind of the universal id of the authority",
    **dict.fromkeys([f"NDL.{at}" for at in range(2, 12)], "when and where a person interpreted"),
}
OF_ADT = "of a person's record, which ADT messages keep"
OF_VISITS = "of a visit, which ADT messages keep; results name it"
OF_ENTRY = "how the order was entered, billed, moved or copied; of the ordering system"
OF_LABORATORY = "the laboratory's own fields: charge, transport, scheduling"
PLACES: dict[str, str] = {
    **dict.fromkeys(["PID-2", "PID-4"], "further numbers in old versions; PID-3 has them"),
    **dict.fromkeys([f"PID-{at}" for at in (6, 9, 10, 12, *range(15, 41))], OF_ADT),
    "PID-7 legal, unusual": "of a time of birth the day",
    **dict.fromkeys([f"PV1-{at}" for at in range(1, 55) if at not in (2, 19, 44, 45)], OF_VISITS),
    **dict.fromkeys([f"ORC-{at}" for at in (6, 9, 10, 11, *range(13, 35))], OF_ENTRY),
    "ORC-2": "OBR-2 comes first; another number is told (ORDER_NUMBER)",
    "ORC-3": "OBR-3 comes first; another number is told (ORDER_NUMBER)",
    "ORC-7": "priority alone (TQ-6): the rest times an order, and a result has come",
    "OBR-27": "priority alone (TQ-6): the rest times an order, and a result has come",
    "ORC-8.1": "the placer's number of the parent, beside the filler's",
    "OBR-29.1": "the placer's number of the parent, beside the filler's",
    "OBR-10": "who drew the specimen",
    "OBR-11": "what is to be done with the specimen: an order's",
    "OBR-12": "danger code, of old: SPM-16",
    **dict.fromkeys([f"OBR-{at}" for at in (17, 18, 19, 20, 21, 23, 28, 30, *range(33, 55))], OF_LABORATORY),
    **dict.fromkeys([f"OBR-15.1.{at}" for at in range(4, 10)], "alternatives of the kind of specimen"),
    "OBR-15.5": "modifier of the site",
    "OBR-15.6": "modifier of the method",
    "OBR-15.7": "role of the specimen: a control is filtered",
    "OBR-22 legal, unusual": "a time of issue has seconds in FHIR, and none are made up",
    "OBX-4": "part of what a result is, and of no resource; with head_codes hasMember",
    **dict.fromkeys(
        [f"OBX-6.{at}" for at in (2, 4, 5, 6, 7, 8, 9)], "words and alternatives of a unit, whose code is taken"
    ),
    "OBX-9": "probability: of systems that weigh diagnoses",
    "OBX-10": "which of the patient's data the range was chosen by",
    "OBX-12": "since when the range holds",
    "OBX-13": "access checks of the sender's own",
    "OBX-15": "of the laboratory its number and name",
    "OBX-18~": "lots, modules and expiry dates of the run: kept as reagents",
    "OBX-20 not escaped": "a coded value, whose components have no parts",
    "OBX-19": "when it was analysed: OBX-14 is when it was true",
    **dict.fromkeys(
        [f"OBX-{at}" for at in (21, 22, 24, 25, 26, 27, 28, 29, 30)], "other numbers of the result, address, director"
    ),
    **dict.fromkeys([f"NTE-{at}" for at in (1, 2, 4, 5, 6, 7, 8)], "source, kind, author and times of a comment"),
    **dict.fromkeys(
        [f"SPM-{at}" for at in (10, 13, 19, 25, 26, 28, 29, 31, 32)], "handling, amounts and children of a specimen"
    ),
    "SPM-11": "role of the specimen: a control is filtered",
    **dict.fromkeys(
        [f"SPM-{at}.{part}" for at in (5, 9, 15, 16) for part in (1, 3, 4, 5, 6, 7, 8)],
        "code and alternatives of what stands in words in the note",
    ),
    **dict.fromkeys([f"SPM-{at}.2 all components" for at in (5, 9, 15, 16)], "the original text (CWE-9) says it"),
}
OF_SPM = dict.fromkeys(["OBR-9", "OBR-14", "OBR-15"], "of the specimen, of which SPM tells")
NO_ORDER = "of the order, which the profiles of ABDM have no place for"
WORDS = "of a code that is neither LOINC nor SNOMED CT the words"
NO_DEVICE = "the laboratory answers for the result: no instrument, no person, no other laboratory"
ABDM_PLACES: dict[str, str] = {
    **dict.fromkeys(["PV1-2", "PV1-19", "PV1-44", "PV1-45"], "a document has no visit"),
    **dict.fromkeys([f"ORC-{at}" for at in (1, 4, 5, 8, 12)], NO_ORDER),
    **dict.fromkeys([f"OBR-{at}" for at in (5, 6, 13, 16, 31)], NO_ORDER),
    **dict.fromkeys([f"OBR-4.{at}" for at in (1, 4, 5, 6, 7, 8)], WORDS),
    "OBR-4.2 all components": WORDS,
    "OBR-29~": "an order has one parent; of several the first is asked for",
    "OBR-32": "only with the setting registered_interpreters",
    **dict.fromkeys([f"OBX-3.{at}" for at in (4, 5, 6, 8)], WORDS),
    **dict.fromkeys([f"OBX-17.{at}" for at in (4, 5, 6, 8)], WORDS),
    **dict.fromkeys(["OBX-16", "OBX-18", "OBX-23"], NO_DEVICE),
    **dict.fromkeys([f"SPM-{of}.{at}" for of in (4, 7, 8, 21, 22, 23, 24) for at in (4, 5, 6, 8)], WORDS),
    **dict.fromkeys([f"OBR-15.{of}.{at}" for of in (2, 4) for at in (4, 5, 6, 8)], WORDS),
    **dict.fromkeys(["SPM-6", "SPM-27", "SPM-30"], "of the tube: the document is about the specimen"),
}

# Of these a part, or one shape of them, is in the document.
PARTLY = {"ORC-2", "ORC-3", "ORC-7", "OBR-27", "OBX-15", "OBX-19", "OBX-29", "SPM-11", "PID-2", "PID-4"}
OTHER_TCD = [f"TCD-{at}" for at in range(5, 9)]


def census(mapping: str, segment: str) -> Census:
    settings = ABDM if mapping == "abdm-report" else {}
    usual = BY_SPECIMEN if mapping == "hl7-oul-results" else BASES.get(segment, HEAD + SPECIMEN)
    base = DILUTED if segment == "TCD" else usual
    return Census(base, lambda payload: verdict_of(payload, "hl7v2", settings, mapping=mapping))


def of_base(base: str, segment: str) -> Mapping[int, str]:
    line = next(line for line in base.splitlines() if line.startswith(f"{segment}|"))
    return dict(enumerate(line.split("|")))


def left_out(mapping: str) -> LeftOut:
    own = {"abdm-report": ABDM_PLACES, "hl7-oul-results": OF_SPM}.get(mapping, {})
    return LeftOut(PLACES | own, KINDS)


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize("mapping", ALL)
def test_nothing_is_lost_without_a_word(mapping: str, segment: str) -> None:
    asked = census(mapping, segment)
    assert lost(asked, list(probes(segment, of_base(asked.base, segment), LEGAL)), left_out(mapping)) == []


def test_no_dilution_is_lost_without_a_word() -> None:
    asked = census("hl7-oul-results", "TCD")
    on_purpose = LeftOut({"TCD-1": "the test, which OBX-3 names", **dict.fromkeys(OTHER_TCD, "of the rerun")}, KINDS)
    assert lost(asked, list(probes("TCD", of_base(asked.base, "TCD"), {})), on_purpose) == []


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_what_is_said_to_be_left_out_is_not_in_the_document(mapping: str) -> None:
    """A field that a rule reads by now has no business among those that are left out."""
    found: set[str] = set()
    own = ABDM_PLACES if mapping == "abdm-report" else PLACES
    whole = LeftOut({place: why for place, why in own.items() if place not in PARTLY}, {})
    for segment in SEGMENTS:
        asked = census(mapping, segment)
        found |= reached(asked, list(probes(segment, of_base(asked.base, segment), LEGAL)), whole)
    assert found == set()


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("behind", ["MSH", "PID", "PV1", "ORC", "OBR", "OBX", "SPM"])
def test_a_comment_anywhere_reaches_the_document_or_is_told(mapping: str, behind: str) -> None:
    asked = census(mapping, "PID")
    lines = [line for line in asked.base.splitlines() if not line.startswith("NTE")]
    at = next(at for at, line in enumerate(lines) if line.startswith(behind))
    lines.insert(at + 1, "NTE|1||nothing")
    with_comment = Census("\n".join(lines), asked.outcome)
    fate = with_comment.fate(Plant("NTE", 3, "behind", "Qcomment", (("Qcomment",),)))
    usual, found = (
        {(one.code, one.place) for one in asked.outcome(text.replace("\n", "\r").encode())[0].issues}
        for text in ("\n".join(lines), with_comment.message(fate.plant))
    )
    assert NEITHER not in fate.parts or found - usual, str(fate)


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize(
    ("kind", "value", "signs"),
    [
        ("NM", "<5.5", ("5.5", "<", "Qunit")),
        ("SN", "<=^5.5", ("5.5", "<=", "Qunit")),
        ("SN", "^1.5^-^5.5", ("1.5", "5.5", "Qunit")),
        ("SN", "^1^:^128", ("1", "128")),  # no unit applies to a ratio
        ("SN", "^5^+", ("5+ Qunit",)),
        ("NM", "7.1~7.3", ("7.1 Qunit\n7.3 Qunit",)),
        ("NM", "Qword 5", ("Qword 5 Qunit",)),
        ("NM", "----", ("----",)),
        ("", "5.5", ("5.5", "Qunit")),
        ("QQ", "5.5", ("5.5 Qunit",)),
        ("ST", "5.5", ("5.5 Qunit",)),
        ("ST", "Qa^Qb", ("Qa^Qb",)),
        ("TX", "Qa~Qb", ("Qa\nQb",)),
        ("FT", r"Qa\.br\Qb", ("Qa\nQb",)),
        ("CE", "<=5.5", ("5.5", "<=", "Qunit")),
        ("CWE", "^<=5.5", ("<=5.5 Qunit",)),
        ("CWE", "260373001^Qdetected^SCT~260415000^Qnot^SCT", ("260373001", "Qdetected", "260415000", "Qnot")),
        ("CWE", "^Qa~^5.5", ("Qa", "5.5 Qunit")),
        ("IS", "QX1", ("QX1",)),
        ("CQ", "5.5", ("5.5", "Qunit")),
        ("CQ", "5.5^Qown", ("5.5", "Qown")),
        ("CQ", "Qmuch^Qown", ("Qmuch^Qown",)),
        ("NR", "1.5^5.5", ("1.5", "5.5", "Qunit")),
        ("DR", "20190203^20190204", ("2019-02-03", "2019-02-04")),
        ("DT", "20190203", ("2019-02-03",)),
        ("DT", "Qday", ("Qday",)),
        ("TM", "081500.5", ("08:15:00.500",)),
        ("TM", "Qnoon", ("Qnoon",)),
        ("TS", "20190203081500", ("2019-02-03T08:15:00",)),
        ("NA", "1^2.5^3", ("1^2.5^3 Qunit",)),
        ("XPN", "Qrao^Qasha", ("Qrao^Qasha",)),
    ],
)
def test_a_value_of_each_type_has_all_that_was_sent(
    mapping: str, kind: str, value: str, signs: tuple[str, ...]
) -> None:
    base = HEAD.replace("|NM|WBC", f"|{kind}|WBC").replace("|10*3/uL|", "|Qunit|")
    asked = Census(base, census(mapping, "PID").outcome)
    fate = asked.fate(Plant("OBX", 5, kind, value, tuple((sign,) for sign in signs)))
    assert fate.parts == ("reached",) * len(signs), str(fate)
