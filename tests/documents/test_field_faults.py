"""Messages of the field that are easily read wrongly: what each of them says, and nothing else.

`FACTS` has one entry for each file. Below it each kind of fault has a message of our own.
"""

import csv
import io
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from engine.commands.shared.mapping_options import BARE_SETTINGS
from engine.config.mapping_settings import with_known_forms
from engine.config.pack import read_pack
from engine.config.reading.yaml_nodes import Node
from engine.diagnostics.packs import recognise
from engine.mapping.hold_rules.rules import RuleText, StatedHistory, compile_holding
from engine.mapping.trying.inputs import FoundMessage, Mapper, messages_in
from engine.mapping.values.local_time import LocalTimes, bounds_of_events
from engine.model.content.quality_controls import is_control_number, matches
from engine.model.content.results import Result
from engine.model.texts.reasons import ReasonCode
from tests.support.corpus import field_faults
from tests.support.shipped import ANALYZERS, verdict_of

FAILED = "(failed)"


@dataclass
class Says:
    """What a file says.

    Attributes:
        results: ``code: value unit`` of each result that goes out, in order.
        issues: codes of the warnings that must be there.
        reason: of a message that gives no document.
        refused: codes of warnings that must not be there.
        table: the code table of its channel.
    """

    results: list[str] = field(default_factory=list)
    issues: set[str] = field(default_factory=set)
    reason: str = ""
    refused: set[str] = field(default_factory=set)
    table: str = ""


# Of T1 on. Not coded on purpose: IU/L and kU/L are other units for an enzyme and for a hormone (ucum.csv).
UNITS = (Path(__file__).parent / "field_units.txt").read_text("utf-8").splitlines()

FACTS: dict[str, Says] = {
    "uwam-strip.astm": Says(
        ["C-PRO/MAINFORMAT: -", "C-GLU/MAINFORMAT: +-", "C-NIT/MAINFORMAT: +", "C-BLD/MAINFORMAT: 3+"]
    ),
    # OBX-2 says NM of a strip: the code table says of KET and BLD that their answers are words.
    "hl7-plus-untyped.hl7": Says(["PRO: +++", "GLU: ++", "KET: -", "BLD: +1"], {"NO_NUMBER"}, table="urine-strip"),
    "bs240-two-tests.astm": Says(["ALT: 52 U/L", "AST: 480 U/L"]),
    "d10.astm": Says(["A1c A1c AREA: 5.4 %", "F F AREA: 0.3 %", "A2 A2 AREA: 2.8 %"]),
    "architect-fip.astm": Says(["651 _B-hCG: >15000.0 m[IU]/mL", "651/I _B-hCG: Positive", "651/P _B-hCG: 1277 RLU"]),
    "background-blank.hl7": Says(reason="QUALITY_CONTROL"),
    "maglumi-qc-hash.astm": Says(reason="QUALITY_CONTROL"),
    "qc-hash-behind-patient.astm": Says(["AFP: 3.1 ng/mL"]),
    "snibe-simplified.bin": Says(["FT4 II: 1.58 ng/dL"]),
    "alinity-lt20.hl7": Says(["1006 HIV-1: < 20 Copies/mL"]),
    "urit-grades.astm": Says(["LEU: 2+", "NIT: neg"]),
    "cs2500-no-cr-frames.bin": Says(["041 PT INN~sec: 10.6 s"]),
    "implausible-years.astm": Says([f"{code}: 5.1 g/L" for code in "ABCDE"], {"BAD_DATE"}),
    "jis.hl7": Says(["3B0350000023272 AST(GOT): 25 U/L"], refused={"CONTROL_CHARACTER"}),
    "immulite-two-delimiters.astm": Says(["TT4: 10.3 ug/dL", "FER: 173 ng/mL"]),
    "o26-unknown.astm": Says(["A: 5.1 g/L"], {"UNKNOWN_CODE"}),
    "ed-last-field.hl7": Says(["WBC: 5.2 10*9/L"], {"COMMENT"}),
    "gem3500-value-in-unit.astm": Says([f"pH: {FAILED}", f"pCO2: {FAILED}"], {"NO_VALUE"}),
    "ba200-bare-obx.hl7": Says(["UREA-BUN-UV: 60.7323189 mg/dL"], {"NO_SPECIMEN"}),
    # Neither format is one that mappings read: a channel needs their pack or a layout.
    "vitek-bci.bin": Says(reason="UNREADABLE"),
    "vidaspc-comma.bin": Says(reason="UNREADABLE"),
    "units-60.astm": Says([f"T{at}: 5.1 {unit}" for at, unit in enumerate(UNITS, 1)]),
    "frame-digit-and-checksum-lines.astm": Says(reason="UNREADABLE"),
    "micro-astm2.astm": Says(
        ["ID: Escherichia coli", "CIP: <=0.25 ug/mL", "ID: Klebsiella pneumoniae", "CIP: >=4 ug/mL"], {"UNLINKED"}
    ),
    "obx14-only-time.hl7": Says(["K: 4.9 mmol/L", "NA: 140 mmol/L", "CL: 100 mmol/L"], {"BAD_DATE"}),
}


def said(found: FoundMessage, settings: dict[str, Any]) -> tuple[list[str], set[str], str]:
    verdict, _ = verdict_of(found.payload, found.format, {**BARE_SETTINGS, **settings})
    results = []
    for document in verdict.documents:
        results += map(one_result, observations(document[0].body))
    reason = "CONTROL_NUMBER" if verdict.conflict and results else verdict.reason.name if verdict.reason else ""
    return results, {issue.code for issue in verdict.issues}, reason


def check(data: bytes, says: Says, settings: dict[str, Any] | None = None) -> None:
    (found,) = messages_in(data)
    results, issues, reason = said(found, settings or {}) if found.format else ([], set(), "UNREADABLE")
    assert (results, reason) == (says.results, says.reason)
    assert says.issues <= issues
    assert not says.refused & issues


def resources(body: bytes, kind: str) -> list[dict[str, Any]]:
    found = (entry["resource"] for entry in orjson.loads(body)["entry"])
    return [resource for resource in found if resource["resourceType"] == kind]


def observations(body: bytes) -> list[dict[str, Any]]:
    return resources(body, "Observation")


def one_result(observation: dict[str, Any]) -> str:
    code = observation["code"]
    names = dict.fromkeys([code["coding"][0]["code"], code["text"]])
    value = observation.get("valueString") or FAILED
    if quantity := observation.get("valueQuantity"):
        number = f"{quantity.get('comparator', '')}{quantity['value']}"
        value = " ".join([number, *filter(None, [quantity.get("code") or quantity.get("unit")])])
    return f"{' '.join(names)}: {value}"


@pytest.mark.corpus
def test_each_file_has_its_entry() -> None:
    assert sorted(field_faults()) == sorted(FACTS)


@pytest.mark.corpus
@pytest.mark.parametrize("name", FACTS)
def test_a_file_says_what_it_says(name: str) -> None:
    says = FACTS[name]
    check(field_faults()[name].read_bytes(), says, {"tables": {"analytes": says.table}} if says.table else {})


def astm(*records: str, order: str = "O|1|S1||^^^X", patient: str = "P|1||4711") -> bytes:
    return "\r".join(["H|\\^&|||X^1|||||LIS||P|1|20260301101500", patient, order, *records, "L|1|N", ""]).encode()


def hl7(
    *segments: str,
    order: str = "OBR|1||S1|PAN^Panel^L|||20260301091500||||||||||||||||||F",
    kind: str = "ORU^R01",
) -> bytes:
    header = f"MSH|^~\\&|L|F|||20260301101500||{kind}|m1|P|2.5.1"
    person = "PID|1||4711^^^H^MR||Rao^Asha||19800101|F"
    return "\r".join([header, person, *filter(None, [order]), *segments, ""]).encode()


MARKS = ["+++++", "*--*", "--.-*", "---*", "-*", "+.-", "---"]
CONTROL = Says(reason="QUALITY_CONTROL")
PATIENT = Says(["K: 4.9 mmol/L"])
UNDECIDED = Says(reason="CONTROL_NUMBER")  # likewise, and its mapping takes it for a control's: a dead letter
DOUBTED = Says(["K: 4.9 mmol/L"], reason="CONTROL_NUMBER")  # a control's number, and a patient's name: people decide
ONE = "OBX|1|NM|K||4.9|mmol/L|||||F"
OF_NONE = "OBR|1|||PAN"
OWN: dict[str, tuple[bytes, Says]] = {
    "K1 signs are words": (
        astm("R|1|^^^PRO|+++", "R|2|^^^KET|--", "R|3|^^^UBG|-+"),
        Says(["PRO: +++", "KET: --", "UBG: -+"]),
    ),
    "K1 stars are none": (astm("R|1|^^^WBC|***", "R|2|^^^RBC|----"), Says([f"WBC: {FAILED}", f"RBC: {FAILED}"])),
    "K1 a dash among numbers": (
        hl7("OBX|1|NM|K||-|mmol/L|||||F", "OBX|2|ST|U||-||||||F", "OBX|3||V||--||||||F"),
        Says([f"K: {FAILED}", "U: -", "V: --"], {"NO_NUMBER"}),
    ),
    "K1 an excess with its unit is a number": (
        hl7("OBX|1|NM|BE||+2|mmol/L|||||F", "OBX|2|NM|BED||+2||||||F"),
        Says(["BE: 2 mmol/L", "BED: 2"], refused={"RULE"}),
    ),
    "K1 a grade is a word": (
        astm("R|1|^^^BLD|+1", "R|2|^^^LEU|+++|neg/+/++/+++"),
        Says(["BLD: +1", "LEU: +++"], {"GRADE"}),
    ),
    "K1 a grade of a scale is no doubt": (
        astm("R|1|^^^BLD|+1|neg/+1/+2", "R|2|^^^LEU|2+"),
        Says(["BLD: +1", "LEU: 2+"], refused={"GRADE"}),
    ),
    "K1 a grade as a number is a number": (
        hl7("OBX|1|ST|PRO||+++||||||F", "OBX|2|NM|BLD||+1||||||F", "OBX|3|NM|GLU||++||||||F", "OBX|4||U||+2||||||F"),
        Says(["PRO: +++", "BLD: 1", "GLU: ++", "U: +2"], {"GRADE", "NO_NUMBER"}, refused={"RULE"}),
    ),
    "K1 marks of failures": (
        astm(*(f"R|{at}|^^^X{at}|{mark}" for at, mark in enumerate(MARKS, 1))),
        Says([f"X{at}: {FAILED}" for at in range(1, len(MARKS) + 1)]),
    ),
    "K1 a sign beside a unit is a word in doubt": (
        astm("R|1|^^^PRO|+++|mg/dL", "R|2|^^^HBS|-|COI", "R|3|^^^WBC|++++|10*9/L"),
        Says(["PRO: +++", "HBS: -", "WBC: ++++"], {"NO_NUMBER"}),
    ),
    "K1 a sign beside a unit (HL7)": (
        hl7("OBX|1||PRO||+++|mg/dL|||||F", "OBX|2|NM|GLU||+++|mg/dL|||||F", "OBX|3|NM|NA||-|mmol/L|||||F"),
        Says(["PRO: +++", "GLU: +++", f"NA: {FAILED}"], {"NO_NUMBER"}, refused={"RULE"}),
    ),
    "K1 a plus is no doubt": (astm("R|1|^^^PRO|+|mg/dL"), Says(["PRO: +"], refused={"NO_NUMBER"})),
    "K2 a name before counts": (
        astm("R|1|TSH^1^2^0|1.5|mIU/L", "R|2|T3^1^2^0|1.5|nmol/L"),
        Says(["TSH: 1.5 m[IU]/L", "T3: 1.5 nmol/L"]),
    ),
    "K2 no name before anything else": (
        astm("R|1|SERUM^^^101|5|mg/dL", "R|2|SERUM^^^102|6|mg/dL", "R|3|GLU^Glucose^L^103|7|mg/dL"),
        Says(["101: 5 mg/dL", "102: 6 mg/dL", "Glucose/103: 7 mg/dL"]),
    ),
    "K2 component 11 is no kind": (astm("R|1|^^^HIV^^^^Ct^^^X|31"), Says(["HIV/Ct: 31"])),
    "K2 a shared name has the test before it once": (
        astm("R|1|^^^Xpert^Xpert Ultra|NEG", "R|2|^^^Trace^Xpert Ultra|NEG"),
        Says(["Xpert Xpert Ultra: NEG", "Trace Trace Xpert Ultra: NEG"]),
    ),
    "K2 a lot is no part of a code": (
        astm("R|1|^^^16^TSHX^UNDILUTED^P^LOT1^77^^F|1.5|mIU/L", "R|2|^^^16^TSHX^UNDILUTED^P^LOT2^77^^P|900|RLU"),
        Says(["16 TSHX: 1.5 m[IU]/L", "16/P TSHX: 900 RLU"]),
    ),
    "K2 other units": (
        astm("R|1|^^^A|1.5|g/L||||F", "R|2|^^^A|4|mmol/L||||F"),
        Says(["A: 1.5 g/L", "A: 4 mmol/L"], {"SAME_CODE"}),
    ),
    "K2 no time of its own": (hl7(ONE, ONE.replace("|1|", "|2|")), Says(["K: 4.9 mmol/L"] * 2, {"SAME_CODE"})),
    "K2 a run anew": (
        astm("R|1|^^^A|1.5|g/L||||F||||20260301101400", "R|2|^^^A|1.6|g/L||||F||||20260301101500"),
        Says(["A: 1.5 g/L", "A: 1.6 g/L"], refused={"SAME_CODE"}),
    ),
    "K2 names beside one number (OBX-4)": (
        hl7("OBX|1|NM|1|ALT|55|U/L|||||F", "OBX|2|NM|1|AST|480|U/L||HH|||F"),
        Says(["1 ALT: 55 U/L", "1 AST: 480 U/L"], {"SAME_CODE"}),
    ),
    "K2 names beside one number, each with its time": (
        hl7("OBX|1|NM|1^ALT||55|U/L|||||F|||20260301091000", "OBX|2|ST|1^AST||48|U/L|||||F|||20260301091001"),
        Says(["1 ALT: 55 U/L", "1 AST: 48 U/L"], {"SAME_CODE"}),
    ),
    "K2 names beside one number (ASTM)": (
        astm("R|1|ALT^^^1|52|U/L||||F||||20260301091000", "R|2|AST^^^1|480|U/L||||F||||20260301091001"),
        Says(reason="SAME_CODE"),
    ),
    "K2 one name and lines of a text": (
        hl7("OBX|1|NM|K^Kalium|1/1|4.9|mmol/L|||||F", "OBX|2|NM|K|1/2|4.8|mmol/L|||||F", *["OBX|3|TX|N||1||||||F"] * 2),
        Says(["K Kalium: 4.9 mmol/L", "K: 4.8 mmol/L", "N: 1", "N: 1"], refused={"SAME_CODE"}),
    ),
    "K2 a number of its own": (
        hl7("OBX|1|NM|K|1|4.9|mmol/L|||||F", "OBX|2|NM|K|2|4.8|mmol/L|||||F"),
        Says(["K: 4.9 mmol/L", "K: 4.8 mmol/L"], refused={"SAME_CODE"}),
    ),
    "K3 a blank": (hl7(ONE, order="OBR|1||BACKGROUND|1^Count"), CONTROL),
    "K3 a blank in ORC-3": (hl7(OF_NONE, ONE, order="ORC|RE||Background"), CONTROL),
    "K3 a blank in SPM-30": (hl7(ONE, "SPM|1|||BLD" + "|" * 26 + "Background", order=OF_NONE), CONTROL),
    "K3 a blank in SAC-4": (hl7(ONE, "SPM|1|||BLD", "SAC||||Background", order=OF_NONE), UNDECIDED),
    "K3 a blank among words": (hl7(ONE, order="OBR|1||Background 7|1^Count"), PATIENT),
    "K3 a pool": (hl7(ONE, "SPM|1|S1||BLD|||||||L"), CONTROL),
    "K3 the left knee": (hl7(ONE, order="OBR|1||S1|PAN|||||||||||SYN^^^KNEE^^^L"), PATIENT),
    "K3 a role in lower case": (hl7(ONE, "SPM|1|S1||BLD|||||||q"), CONTROL),
    "K3 a role in lower case (ASTM)": (astm("R|1|^^^A|1", order="O|1|S1||^^^A|R||||||q"), CONTROL),
    "K3 two roles": (hl7(ONE, "SPM|1|S1||BLD|||||||Q", order="OBR|1||S1|PAN|||||||||||B^^^^^^P"), CONTROL),
    "K3 the right knee": (hl7(ONE, order="OBR|1||S1|PAN|||||||||||SYN^^^KNEE^^^r"), PATIENT),
    "K3 a patient's specimen": (hl7(ONE, "SPM|1|S1||BLD|||||||p", order="OBR|1||S1|PAN|||||||||||B^^^^^^Q"), PATIENT),
    "K3 a patient's specimen before its order": (
        hl7("SPM|1|S1||BLD|||||||P", "OBR|1||S1|PAN|||||||||||B^^^^^^Q", ONE, order="", kind="OUL^R22^OUL_R22"),
        PATIENT,
    ),
    "K3 a role of the order": (hl7(ONE, "SPM|1|S1||BLD", order="OBR|1||S1|PAN|||||||||||B^^^^^^V"), CONTROL),
    "K3 the right side": (hl7(ONE, order="OBR|1||S1|PAN|||||||||||SYN^^^KNEE^^^R"), PATIENT),
    "K3 the right side, before its order": (
        hl7("SPM|1|S1||SYN", "OBR|1||S1|PAN|||||||||||SYN^^^KNEE^^^R", ONE, order="", kind="OUL^R22^OUL_R22"),
        PATIENT,
    ),
    "K3 a replicate": (hl7(ONE, "SPM|1|S1||BLD|||||||R"), CONTROL),
    "K3 a blank that was ordered": (hl7(ONE, order="OBR|1|Background||PAN"), CONTROL),
    "K3 a blank that was ordered beside a counter": (hl7(ONE, order="OBR|1|Background check|12|PAN"), UNDECIDED),
    "K3 a patient's tube ordered as background": (
        hl7("ORC|RE|Background", "OBR|1|Background||PAN", ONE, "SPM|1|S1||BLD", order=""),
        PATIENT,
    ),
    "K3 a patient's tube before its order": (
        hl7("SPM|1|S1||BLD", "OBR|1|Background||PAN", ONE, order="", kind="OUL^R22^OUL_R22"),
        PATIENT,
    ),
    "K3 a number of the site that was ordered": (hl7(ONE, order="OBR|1|LJ-1||PAN"), DOUBTED),
    "K3 a number of the site beside a counter": (hl7(ONE, order="OBR|1|LJ-1|12|PAN"), DOUBTED),
    "K3 a number of the site beside the one of a tube": (hl7(ONE, "SPM|1|S1||BLD", order="OBR|1|LJ-1|12|PAN"), PATIENT),
    "K3 a number of the site beside a container": (
        hl7(ONE, "SPM|1|||BLD", "SAC|||S1", order="OBR|1|LJ-1|12|PAN"),
        PATIENT,
    ),
    "K3 the analyzer's own count": (hl7(ONE, "SPM|1|S1||BLD|||||||P", order="OBR|1||9001|PAN"), PATIENT),
    "K3 the analyzer's own count, before its order": (
        hl7("SPM|1|S1||BLD|||||||P", "OBR|1||9001|PAN", ONE, order="", kind="OUL^R22^OUL_R22"),
        PATIENT,
    ),
    "K3 a count of no known patient": (hl7(ONE, "SPM|1|S1||BLD", order="OBR|1||9001|PAN"), DOUBTED),
    "K3 a count that is all that names the tube": (hl7(ONE, "SPM|1|||BLD|||||||P", order="OBR|1||9001|PAN"), DOUBTED),
    "K3 a number of the site beside its patient's tube": (
        hl7(ONE, "SPM|1|9001||BLD|||||||P", order="OBR|1||17|PAN"),
        DOUBTED,
    ),
    "K3 lot and level": (astm("R|1|^^^A|1", order="O|1|#12345Q1#||^^^A"), CONTROL),
    "K3 a number between signs": (astm("R|1|^^^A|1", order="O|1|#A17Q1#||^^^A"), Says(["A: 1"])),
    "K3 rack, position and namespace": (
        astm("R|1|^^^A|1", order="O|1|S1^LJ-1^LJ-2|3^LJ-4^        9^A|^^^A"),
        Says(["A: 1"]),
    ),
    "K3 a component that may be the number": (
        astm("R|1|^^^A|1", order="O|1||LJ-3^LJ-4^9^A|^^^A"),
        Says(["A: 1"], reason="CONTROL_NUMBER"),
    ),
    "K3 an authority": (hl7(ONE, order="OBR|1|7^LJ-1|S1^LJ-2|PAN"), PATIENT),
    "K3 a number in P": (astm("R|1|^^^A|1", order="C|1|I|x", patient="P|1||LJ-7"), CONTROL),
    "K3 of several tests one": (astm("R|1|^^^A|1", order="O|1|S1||^^^A\\^^^X QCR"), Says(["A: 1"])),
    "K3 a pattern is as written": (astm("R|1|^^^A|1", order="O|1|lj-1||^^^A"), Says(["A: 1"])),
    "K3 a control among the orders of a specimen": (
        hl7(
            *("SPM|1|S1||BLD|||||||P", "OBR|1||S1|PAN", ONE),
            *("OBR|2||LJ-1|PAN", ONE.replace("|K|", "|NA|")),
            order="",
            kind="OUL^R22^OUL_R22",
        ),
        Says(["K: 4.9 mmol/L", "NA: 4.9 mmol/L"], reason="CONTROL_NUMBER"),
    ),
    "K3 a number of the site": (
        astm("R|1|^^^A|1", order="O|1||1^2^LJ-77^B|^^^A"),
        Says(["A: 1"], reason="CONTROL_NUMBER"),
    ),
    "K3 an order of the site": (hl7(ONE, order="OBR|1||17|00003^LJ QCR^99MRC"), CONTROL),
    "K5 a unit in component 2": (hl7("OBX|1|ST|V||<20|^Copies/mL|||||F"), Says(["V: <20 Copies/mL"])),
    "K5 a number that its unit begins with": (hl7("OBX|1|ST|B||100|100/uL|||||F"), Says(["B: 100 100/uL"])),
    "K7 a birth in another century": (hl7(ONE).replace(b"19800101", b"1640"), Says(["K: 4.9 mmol/L"], {"BAD_DATE"})),
    "K7 another calendar": (astm("R|1|^^^A|1|g/L||||F||||25690301101500"), Says(["A: 1 g/L"], {"BAD_DATE"})),
    "K10 an order of its own": (
        hl7(ONE, order="OBR|1||S1|PAN^Panel^L|||20260301091500||||||||||||||||||HM"),
        Says(["K: 4.9 mmol/L"], {"UNKNOWN_CODE"}),
    ),
    "K10 a word that may mean preliminary": (
        hl7(ONE, order="OBR|1||S1|PAN^Panel^L|||20260301091500||||||||||||||||||PRELIM"),
        Says(reason="UNMAPPED_STATUS"),
    ),
    "K10 no result says more": (
        hl7(ONE.removesuffix("F"), order="OBR|1||S1|PAN^Panel^L|||20260301091500||||||||||||||||||HM"),
        Says(reason="UNMAPPED_STATUS"),
    ),
    "K14 words beside isolates": (
        astm("R|1|^^^ID|E. coli", "R|2|^^^CIP|S", "R|3|^^^ID|K. oxytoca", "R|4|^^^CIP|R"),
        Says(["ID: E. coli", "CIP: S", "ID: K. oxytoca", "CIP: R"], {"UNLINKED"}),
    ),
}
SITE = {"control_numbers": ["LJ-*", "90*"], "control_orders": "*QCR", "specimen_in_patient": "yes"}


@pytest.mark.parametrize("kind", OWN)
def test_a_kind_of_fault_is_none(kind: str) -> None:
    data, says = OWN[kind]
    check(data, says, SITE)


def test_a_blank_is_no_patient_in_any_output_and_no_order() -> None:
    for mapping, data in (
        *(("astm-to-" + end, OWN["K3 lot and level"][0]) for end in ("csv", "json", "hl7")),
        *(("hl7-to-" + end, OWN["K3 a blank"][0]) for end in ("csv", "json")),
        *((name, OWN["K3 a pool"][0]) for name in ("hl7-to-csv", "hl7-to-json")),
    ):
        verdict, _ = verdict_of(data, messages_in(data)[0].format, mapping=mapping)
        assert verdict.reason is ReasonCode.QUALITY_CONTROL, mapping
    assert is_control_number("Background")
    assert is_control_number("BACKGROUND CHECK")
    assert not is_control_number("QC-1")


@pytest.mark.parametrize(
    ("number", "pattern", "is_one"),
    [
        ("QC-1", "QC*", True),
        ("qc-1", "QC*", False),
        ("QC-1", "QC?1", False),
        ("Q5", "Q[0-9]", False),
        ("Q[0-9]", "Q[0-9]", True),
        ("1-QC-2", "*QC*", True),
        ("LJ-7-end", "LJ*7*end", True),
        ("LJ-7-end", "LJ*8*end", False),
        ("aba", "ab*ba", False),
    ],
)
def test_a_star_is_any_text_and_nothing_else_is_a_sign(number: str, pattern: str, is_one: bool) -> None:
    assert matches(number, [pattern]) is is_one


@pytest.mark.parametrize("mapping", ["hl7-results", "hl7-oul-results"])
def test_a_comment_behind_a_document_is_not_lost_silently(mapping: str) -> None:
    oul = {"kind": "OUL^R22^OUL_R22", "order": ""} if mapping == "hl7-oul-results" else {}
    lead = ("SPM|1|S1||BLD", "OBR|1||S1|PAN") if oul else ()
    pdf = "OBX|2|ED|PDF||^application^pdf^Base64^JVBERi0xLjQK||||||F"
    for comment in ("NTE|1|L|See report", ""):
        verdict, _ = verdict_of(hl7(*lead, ONE, pdf, *filter(None, [comment]), **oul), "hl7v2", mapping=mapping)
        assert ("COMMENT" in {issue.code for issue in verdict.issues}) is bool(comment)


@pytest.mark.parametrize("listed", ["5", 5, ["5"], [5, None], None, []])
def test_one_number_is_a_list_of_it(listed: Any) -> None:
    data = hl7(ONE, order="OBR|1||5|PAN")
    for message, listed_is in ((data, "conflict"), (re.sub(rb"PID[^\r]*\r", b"", data, count=1), "reason")):
        verdict, _ = verdict_of(message, "hl7v2", {"control_numbers": listed})
        assert bool(getattr(verdict, listed_is)) is bool(listed)


@pytest.mark.parametrize(
    ("order", "specimen", "is_one"),
    [
        ("OBR|1|QC778|T1|GLU", "SPM|1|T1||SER|||||||P", False),
        ("OBR|1|QC778||GLU", "SPM|1|T1||SER", False),
        ("OBR|1|QC778|12|GLU", "SPM|1|||SER|||||||P", False),
        ("OBR|1|QC778|12|GLU", "SPM|1|||SER", True),
        ("OBR|1|QC778||GLU", None, True),
        ("OBR|1|QC778|12|GLU", None, True),
        ("OBR|1|5|QC778|GLU", None, True),
    ],
)
def test_a_number_of_who_ordered_counts_where_nothing_says_whose_specimen_it_is(
    order: str, specimen: str | None, is_one: bool
) -> None:
    data = hl7(ONE, *filter(None, [specimen]), order=order)
    verdict, _ = verdict_of(data, "hl7v2", {"control_numbers": ["QC*"]})
    assert bool(verdict.conflict) is is_one  # it names a patient, too: people decide


@pytest.mark.parametrize("name", ["control_numbers", "control_orders"])
def test_a_pattern_that_fits_everything_is_refused(name: str) -> None:
    assert with_known_forms({name: ["QC*", "", 5, None]})
    for given in ("*", ["QC*", "**"]):
        with pytest.raises(ValidationError, match="fits each number"):
            with_known_forms({name: given})


@pytest.mark.parametrize("given", ["QC?", ["QC*", "Q[0-9]"], "[!0]*"])
@pytest.mark.parametrize("name", ["control_numbers", "control_orders"])
def test_a_sign_that_is_none_in_a_pattern_is_refused(name: str, given: Any) -> None:
    with pytest.raises(ValidationError, match="the only sign of a pattern is"):
        with_known_forms({name: given})
    assert with_known_forms({name: ["QC[", "Q]*"]})


def test_a_pack_knows_its_controls_until_the_site_names_others() -> None:
    found = []
    for own in ({}, {"control_orders": "LJ*"}, {"control_orders": []}):
        channel: dict[str, Any] = {"settings": own}
        read_pack(ANALYZERS / "mindray-bc5380").fill(channel)
        found.append(channel["settings"]["control_orders"])
        assert "control_numbers" not in channel["settings"]
    assert found == [["*QCR*"], "LJ*", []]


def test_the_pack_of_a_counter_knows_its_blanks_and_controls() -> None:
    settings = read_pack(ANALYZERS / "mindray-bc5380").config.gives.settings
    for order in ("OBR|1||Background|00001^Automated Count^99MRC", "OBR|1||7|00003^LJ QCR^99MRC"):
        assert said(messages_in(hl7(ONE, order=order))[0], settings) == ([], set(), "QUALITY_CONTROL")


def test_texts_of_neighbours_of_an_analyzer_are_not_taken_for_its_own() -> None:
    """Tags of mini VIDAS have an RS each; VITEK 2 and VIDAS PC put several behind one."""
    for text, is_one in (
        ("\x1emtrsl|\x1epi7|", True),
        ("\x1emtrsl|\r\n\x1epi7|", True),
        ("\x1emtrsl|iiV2|pi7|", False),
    ):
        found = [pack.name for pack, _ in recognise(b"\x02" + text.encode() + b"\x03")]
        assert found == (["biomerieux-minividas"] if is_one else [])


def test_ranges_are_whole_in_every_output() -> None:
    data = astm(
        "R|1|^^^A|1|g/L|0^120|N||F", "R|2|^^^B|1|g/L|4\\4^12\\24|N||F", "R|3|^^^C|1|g/L|3-5\\2-6^critical 1|N||F"
    )
    verdict, _ = verdict_of(data, "astm", mapping="astm-to-csv")
    body = verdict.documents[0][0].body.decode()
    assert ",0^120," in body
    assert ",4\\4^12\\24," in body
    verdict, _ = verdict_of(data, "astm")
    ranges = [one.get("referenceRange") for one in observations(verdict.documents[0][0].body)]
    assert [len(one) for one in ranges] == [1, 1, 2]
    assert ranges[2][0]["low"]["value"] == 3


def test_signs_say_the_same_in_every_output() -> None:
    rows = ("R|1|^^^A|***|mmol/L", "R|2|^^^B|-|mmol/L", "R|3|^^^C|+2", "R|4|^^^D|+2|mmol/L")
    (hl7_text,) = (verdict_of(astm(*rows), "astm", mapping="astm-to-hl7")[0].documents[0][0].body.decode(),)
    told = [row.split("|") for row in hl7_text.split("\r") if row.startswith("OBX")]
    assert [(row[2], row[5], row[11]) for row in told] == [
        ("ST", "***", "X"),
        ("ST", "-", "R"),
        ("ST", "+2", "R"),
        ("NM", "2", "R"),
    ]
    for mapping, data in (
        ("astm-to-json", astm(*rows)),
        ("hl7-to-json", hl7("OBX|1||A||***|mmol/L", "OBX|2||B||-|mmol/L", "OBX|3||C||+2", "OBX|4||D||+2|mmol/L")),
    ):
        verdict, _ = verdict_of(data, messages_in(data)[0].format, mapping=mapping)
        document = orjson.loads(verdict.documents[0][0].body)
        results = document["patients"][0]["orders"][0]["results"]
        told = [tuple(one.get(name) for name in ("value", "text", "comment", "status")) for one in results[:2]]
        assert told == [(None, None, "***", "cancelled"), (None, "-", None, told[1][3])], mapping
        assert told[1][3] in ("final", "unknown")
        assert results[3]["value"] == 2
        assert {issue.code for issue in verdict.issues} == {"NO_NUMBER", "GRADE"}, mapping
    for mapping, data in (
        ("astm-to-csv", astm("R|1|^^^A|---|mmol/L||||F", "R|2|^^^B|***|||||F", "R|3|^^^C|--|U||||F")),
        (
            "hl7-to-csv",
            hl7("OBX|1||A||---|mmol/L|||||F", "OBX|2||B||***||||||F", "OBX|3||C||--|U|||||F", "OBX|4|NM|D||---||||||D"),
        ),
        ("hl7-to-csv", hl7("OBX|1|NM|A||---|g/L|||||F", "OBX|2|SN|B||***||||||F", "OBX|3|NM|C||-+||||||F")),
    ):
        verdict, _ = verdict_of(data, messages_in(data)[0].format, {"csv_guard": "no"}, mapping=mapping)
        assert "NO_NUMBER" in {issue.code for issue in verdict.issues}, mapping
        lines = csv.DictReader(io.StringIO(verdict.documents[0][0].body.decode()))
        told = [tuple(line[name] for name in ("value", "comment", "status")) for line in lines]
        assert told[:2] == [("", "---", "cancelled"), ("", "***", "cancelled")], mapping
        assert told[2] in [("--", "", "final"), ("-+", "", "final")], mapping
        assert told[3:] in ([], [("", "---", "entered-in-error")]), mapping
    data = hl7("OBX|1|NM|A||-|mmol/L|||||?")
    reasons = {verdict_of(data, "hl7v2", mapping=name)[0].reason for name in (None, "hl7-to-csv", "hl7-to-json")}
    assert reasons == {ReasonCode.UNMAPPED_STATUS}


def test_a_dash_as_a_number_fails_in_every_output() -> None:
    data = hl7("OBX|1|NM|A||-|mmol/L|||||F")
    verdict, _ = verdict_of(data, "hl7v2", {"csv_guard": "no"}, mapping="hl7-to-csv")
    (line,) = csv.DictReader(io.StringIO(verdict.documents[0][0].body.decode()))
    assert (line["value"], line["comment"], line["status"]) == ("", "-", "cancelled")
    assert {issue.code for issue in verdict.issues} == {"NO_NUMBER"}
    assert said(messages_in(data)[0], {})[:2] == ([f"A: {FAILED}"], {"NO_NUMBER"})


@pytest.mark.parametrize("end", ["csv", "json"])
def test_a_correction_that_failed_is_a_correction_in_a_list(end: str) -> None:
    for told, data in (("astm", astm("R|1|^^^A|***|g/L||||C")), ("hl7", hl7("OBX|1|NM|A||***|g/L|||||C"))):
        verdict, _ = verdict_of(data, messages_in(data)[0].format, mapping=f"{told}-to-{end}")
        body = verdict.documents[0][0].body
        assert b"corrected" in body, told
        assert b"cancelled" not in body, told


@pytest.mark.parametrize("mapping", ["hl7-orders", "orders-hl7"])
@pytest.mark.parametrize(
    ("kind", "segments"),
    [
        ("ORM^O01", ["ORC|NW|{no}", "OBR|1|{no}||GLU|||||||||||{role}"]),
        ("OML^O33^OML_O33", ["SPM|1|S{no}||SER", "SAC|||S{no}", "ORC|NW|{no}", "OBR|1|{no}||{code}|||||||||||{role}"]),
        ("OML^O35^OML_O35", ["SPM|1|S{no}||SER", "SAC|||S{no}", "ORC|NW|{no}", "OBR|1|{no}||{code}|||||||||||{role}"]),
    ],
)
def test_a_control_is_none_at_order_entry_as_in_results(mapping: str, kind: str, segments: list[str]) -> None:
    whose = [{"no": 71, "code": "GLU", "role": ""}, {"no": 72, "code": "GLU", "role": "SER^^^^^^Q"}]
    if kind != "ORM^O01":
        whose.append({"no": 73, "code": "LJ QCR", "role": ""})
    data = hl7(*(segment.format(**one) for one in whose for segment in segments), order="", kind=kind)
    _, mapped = verdict_of(data, "hl7v2", SITE, mapping=mapping)
    assert mapped is not None
    assert [issue.code for issue in mapped.issues].count("QUALITY_CONTROL") == len(whose) - 1
    told = b"".join(document.body for document in mapped.documents).decode()
    assert set(re.findall('"(7[1-3])"', told)) == {"71"}


# -- times of events, and other dates --------------------------------------------------------------------------------


def test_a_year_that_cannot_be_is_left_out_of_events_alone() -> None:
    rows = ("OBX|1|DT|LMP||19750312||||||F", "OBX|2|DT|EXP||20400101||||||F", "OBX|3|NM|K||4.9|mmol/L|||||F|||19750312")
    data = hl7(*rows).replace(b"||19800101|F", b"||195503120830|F||||||||||||||||||||||19790101")
    verdict, _ = verdict_of(data, "hl7v2")
    found = observations(verdict.documents[0][0].body)
    assert [one.get("valueDateTime") for one in found] == ["1975-03-12", "2040-01-01", None]
    assert [one.get("effectiveDateTime", "")[:10] for one in found] == ["2026-03-01", "2026-03-01", ""]
    assert [issue.code for issue in verdict.issues] == ["BAD_DATE"]
    (patient,) = resources(verdict.documents[0][0].body, "Patient")
    assert patient["birthDate"] == "1955-03-12"


@pytest.mark.parametrize(
    ("received", "message_time", "last"),
    [
        (2027, "20270301", "20270302053000"),
        (2027, "20990301", "20270302053000"),  # all of the message is of a day to come
        (2027, "", "20270302053000"),
        (2026, "20270301", "20261231235959"),
        (2000, "20280301", "20281231235959"),  # our clock was reset
        (2000, "", "20261231235959"),
        (2000, "25690301", "20261231235959"),  # another calendar
        (2000, "19700101", "20261231235959"),
        (2000, "abc", "20261231235959"),
    ],
)
def test_events_are_not_later_than_a_day_after_receipt(received: int, message_time: str, last: str) -> None:
    at = datetime(received, 3, 1, tzinfo=UTC)
    assert bounds_of_events("1980", at, message_time, "Asia/Kolkata") == ("1980", last)
    assert bounds_of_events("1980", None, message_time, "Asia/Kolkata") == ("1980", "9999")


@pytest.mark.parametrize(
    ("said", "is_one"), [("20270302", True), ("202703020530", True), ("202703020531", False), ("2028", False)]
)
def test_a_time_to_come_is_left_out(said: str, is_one: bool) -> None:
    times = LocalTimes("", "Asia/Kolkata", lambda *_: None, ("1980", "20270302053000"))
    assert (times.event(said) is not None, times.birth(said) is not None) == (is_one, is_one)
    assert times.event(f"{said[:8]}+0530" if is_one else said) is None or is_one


@pytest.mark.parametrize(
    ("message_time", "said", "is_one"),
    [
        ("20270312235959", "20270312235959", True),  # a clock of ours that is ten days behind
        ("20270311235959", "20270312", False),
        ("20270405", "202704", False),
        ("20270312235959+0530", "20270311", True),
        ("20270313053000", "20270312", False),  # ahead by more
        ("20271203", "20270312", False),  # a month and a day that are swapped
        ("20270310", "20270310101500", True),
        ("", "20270310", False),
        ("20270301", "19790101", False),
    ],
)
def test_a_time_to_come_that_its_sender_has_as_well_is_kept_with_a_warning(
    message_time: str, said: str, is_one: bool
) -> None:
    warned = []
    bounds = ("1980", "20270302053000")
    times = LocalTimes(message_time, "Asia/Kolkata", lambda code, text, _: warned.append((code, text)), bounds)
    assert (times.event(said) is not None) is is_one
    assert [(code, text.endswith("kept")) for code, text in warned] == [("BAD_DATE", is_one)]
    if said > bounds[1]:
        assert times.birth(said) is None


@pytest.mark.parametrize("to_come", ["20271231235959", "20990101000000"])
def test_a_result_of_a_day_to_come_has_no_time_and_no_person_is_born_then(to_come: str) -> None:
    data = hl7(f"OBX|1|NM|K||4.9|mmol/L|||||F|||{to_come}").replace(b"|19800101|", f"|{to_come[:8]}|".encode())
    verdict, _ = verdict_of(data.replace(b"20260301101500", to_come.encode()), "hl7v2")
    body = verdict.documents[0][0].body
    assert to_come[:4].encode() + b"-" not in body
    assert [one.get("effectiveDateTime") for one in observations(body)] == [None]
    assert "BAD_DATE" in {issue.code for issue in verdict.issues}


LATE, GOOD = "25690301101500", "20260301101400"
OF_HL7 = hl7(
    "OBX|1|NM|K||4.9|mmol/L|||||F",
    f"SPM|1|S1||BLD{'|' * 13}{GOOD}|{LATE}",
    order=f"OBR|1||S1|PAN|||{LATE}|||||||20260301101300||||||||20260301101500|||F",
)
OF_OUL = hl7(
    f"SPM|1|S1||BLD{'|' * 13}{LATE}|{LATE}",
    f"OBR|1||S1|PAN|||{LATE}|{GOOD}||||||20260301101300",
    "OBX|1|NM|K||4.9|mmol/L|||||F",
    order="",
    kind="OUL^R22^OUL_R22",
)


@pytest.mark.parametrize(
    ("mapping", "data"),
    [
        *((name, OF_HL7) for name in ("hl7-results", "hl7-to-csv", "hl7-to-json")),
        *((name, OF_OUL) for name in ("hl7-oul-results", "hl7-oul-to-csv", "hl7-oul-to-json")),
    ],
)
def test_behind_a_collection_time_that_cannot_be_the_next_one_counts(mapping: str, data: bytes) -> None:
    verdict, _ = verdict_of(data, messages_in(data)[0].format, mapping=mapping)
    body = verdict.documents[0][0].body.decode()
    assert "2569" not in body
    assert re.search(r"2026-03-01T10:14|20260301101400", body), body
    if not mapping.startswith("astm") and not mapping.endswith("csv"):
        assert re.search(r"2026-03-01T10:13", body), body


FIRST_RUN, AGAIN = "20260301090000", "20260301101200"
OF_RERUN = (
    *(
        (name, astm(f"R|1|^^^A|1|g/L||||F|||{started}|{ended}", order=f"O|1|S1||^^^A|||{FIRST_RUN}"), at)
        for name in ("astm-results", "astm-to-csv", "astm-to-json", "astm-to-hl7")
        for started, ended, at in (
            ("", "19700101000312", ""),
            (AGAIN, "1040", AGAIN),
            (LATE, "", ""),
            (LATE, "1040", ""),
        )
    ),
    *(
        (
            name,
            hl7(f"OBX|1|NM|K||4.9|mmol/L|||||F|||19700101000312|||||{analysed}", order=f"OBR|1||S1|PAN|||{FIRST_RUN}"),
            analysed,
        )
        for name in ("hl7-results", "hl7-to-csv", "hl7-to-json")
        for analysed in ("", AGAIN)
    ),
)


@pytest.mark.parametrize(("mapping", "data", "at"), OF_RERUN)
def test_behind_a_measurement_time_that_cannot_be_only_another_time_of_the_run_counts(
    mapping: str, data: bytes, at: str
) -> None:
    """The time of collection is that of the first run as well: the rerun would be older than it."""
    verdict, _ = verdict_of(data, messages_in(data)[0].format, mapping=mapping)
    assert "BAD_DATE" in {issue.code for issue in verdict.issues}
    body = verdict.documents[0][0].body
    if mapping.endswith("results"):
        (told,) = (one.get("effectiveDateTime", "") for one in observations(body))
    elif mapping.endswith("json"):
        told = orjson.loads(body)["patients"][0]["orders"][0]["results"][0].get("measured") or ""
    elif mapping.endswith("csv"):
        (line,) = csv.DictReader(io.StringIO(body.decode()))
        told = line["measured"]
    else:
        (row,) = (line.split("|") + [""] * 15 for line in body.decode().split("\r") if line.startswith("OBX"))
        told = row[14]
    assert re.sub("[^0-9]", "", told[:19])[:14] == at


def test_identity_is_of_the_time_that_was_sent() -> None:
    """Two days of an impossible year are two days, as of any other."""
    ids = []
    for day in ("25690301", "25690302"):
        verdict, _ = verdict_of(astm(f"R|1|^^^A|1|g/L||||F||||{day}101500", order="O|1|S1||^^^A"), "astm")
        ids.append([entry["fullUrl"] for entry in orjson.loads(verdict.documents[0][0].body)["entry"]])
    assert ids[0] != ids[1]


@pytest.mark.parametrize(("year", "is_one"), [("1995", True), (1995, True), ("abc", False), (95, False), (True, False)])
def test_the_first_year_has_four_digits(year: Any, is_one: bool) -> None:
    if is_one:
        assert with_known_forms({"first_year": year}) == {"first_year": year}
        return
    with pytest.raises(ValidationError, match="four digits"):
        with_known_forms({"first_year": year})


def test_a_route_may_hold_what_its_mapping_warned_of() -> None:
    node = Node(kind="scalar", file="route", line=1, column=1, value="=warnings == 'SAME_CODE'")
    holding = compile_holding([RuleText(node)], "astm", "fhir/R4", ())
    data = OWN["K2 other units"][0]
    _, mapped = verdict_of(data, "astm")
    assert mapped is not None
    parsed = Mapper(()).read(messages_in(data)[0])
    codes = [issue.code for issue in mapped.issues]
    assert holding.about(holding.facts(parsed, [Result()], codes)).decide(StatedHistory({}, {}), 0) is not None
    assert holding.about(holding.facts(parsed, [Result()])).decide(StatedHistory({}, {}), 0) is None
