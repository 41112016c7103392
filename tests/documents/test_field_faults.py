"""Messages of the field that are easily read wrongly: what each of them says, and nothing else.

`FACTS` has one entry for each file. Below it each kind of fault has a message of our own.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from adapters.codecs.astm.messages import MessageAssembler
from engine.commands.shared.mapping_options import BARE_SETTINGS
from engine.config.pack import read_pack
from engine.config.yaml_nodes import Node
from engine.mapping.hold_rules.rules import compile_holding
from engine.mapping.hold_rules.stated import StatedHistory
from engine.mapping.inputs import FoundMessage, Mapper, messages_in
from engine.model.controls import is_control_number
from engine.model.reasons import ReasonCode
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
        not_yet: why the file does not say this yet; it fails once it does.
    """

    results: list[str] = field(default_factory=list)
    issues: set[str] = field(default_factory=set)
    reason: str = ""
    refused: set[str] = field(default_factory=set)
    not_yet: str = ""


# Of T1 on. Not coded on purpose: IU/L and kU/L are other units for an enzyme and for a hormone (ucum.csv).
UNITS = [
    "10*9/L",
    "10*9/L",
    "10*9/L",
    "10*9/L",
    "10*9/L",
    "10*9/L",
    "10*9/L",
    "10*3/uL",
    "10*3/uL",
    "10*3/uL",
    "10*3/uL",
    "10*3/uL",
    "10*3/uL",
    "10*6/uL",
    "M/uL",
    "10*12/L",
    "g/dL",
    "g/L",
    "g/dL",
    "g/dL",
    "g/dL",
    "mg/dL",
    "mmol/L",
    "mmol/L",
    "umol/L",
    "u[IU]/mL",
    "m[IU]/L",
    "ng/mL",
    "pg/mL",
    "U/L",
    "IU/L",
    "[IU]/mL",
    "meq/L",
    "meq/L",
    "/uL",
    "/uL",
    "/[HPF]",
    "/[HPF]",
    "/[LPF]",
    "/uL",
    "/uL",
    "s",
    "s",
    "s",
    "ratio",
    "fL",
    "fL",
    "pg",
    "Pg",
    "mm[Hg]",
    "mm/h",
    "mm/h",
    "kU/L",
    "kU/l",
    "{COI}",
    "{s_co_ratio}",
    "{Index_val}",
    "mg/L{FEU}",
    "ng/mL{FEU}",
    "ug/mL",
    "ug/L",
    "ug/dL",
    "mL/min/{1.73_m2}",
    "log copies/mL",
    "{copies}/mL",
    "[IU]/mL",
    "RLU",
    "%",
    "Percnt",
    "g/dL",
]

FACTS: dict[str, Says] = {
    "uwam-strip.astm": Says(
        ["C-PRO/MAINFORMAT: -", "C-GLU/MAINFORMAT: +-", "C-NIT/MAINFORMAT: +", "C-BLD/MAINFORMAT: 3+"]
    ),
    # OBX-2 of KET is NM: there a dash is a measurement that failed, with a warning.
    "hl7-plus-untyped.hl7": Says(["PRO: +++", "GLU: ++", f"KET: {FAILED}", "BLD: +1"], {"NO_NUMBER", "RULE"}),
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
    "jis.hl7": Says(
        ["3B0350000023272 AST(GOT): 25 U/L"], refused={"CONTROL_CHARACTER"}, not_yet="MSH-18 ~ISO IR87 is not read"
    ),
    "immulite-two-delimiters.astm": Says(["TT4: 10.3 ug/dL", "FER: 173 ng/mL"]),
    "o26-unknown.astm": Says(["A: 5.1 g/L"], {"UNKNOWN_CODE"}),
    "ed-last-field.hl7": Says(["WBC: 5.2 10*9/L"], {"COMMENT"}, not_yet="a comment behind a document is left out"),
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
        for entry in orjson.loads(document[0].body)["entry"]:
            if entry["resource"]["resourceType"] == "Observation":
                results.append(one_result(entry["resource"]))
    return results, {issue.code for issue in verdict.issues}, verdict.reason.name if verdict.reason else ""


def check(data: bytes, says: Says, settings: dict[str, Any] | None = None) -> None:
    (found,) = messages_in(data)
    results, issues, reason = said(found, settings or {}) if found.format else ([], set(), "UNREADABLE")
    assert (results, reason) == (says.results, says.reason)
    assert says.issues <= issues
    assert not says.refused & issues


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
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.xfail(reason=says.not_yet, strict=True)] if says.not_yet else [])
        for name, says in FACTS.items()
    ],
)
def test_a_file_says_what_it_says(name: str) -> None:
    check(field_faults()[name].read_bytes(), FACTS[name])


def astm(*records: str, order: str = "O|1|S1||^^^X") -> bytes:
    return "\r".join(["H|\\^&|||X^1|||||LIS||P|1|20260301101500", "P|1||4711", order, *records, "L|1|N", ""]).encode()


def hl7(*segments: str, order: str = "OBR|1||S1|PAN^Panel^L|||20260301091500||||||||||||||||||F") -> bytes:
    header = "MSH|^~\\&|L|F|||20260301101500||ORU^R01|m1|P|2.5.1"
    return "\r".join([header, "PID|1||4711^^^H^MR||Rao^Asha||19800101|F", order, *segments, ""]).encode()


CONTROL = Says(reason="QUALITY_CONTROL")
ONE = "OBX|1|NM|K||4.9|mmol/L|||||F"
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
        hl7("OBX|1|NM|BE||+2|mmol/L|||||F", "OBX|2|NM|BLD||+2||||||F"),
        Says(["BE: 2 mmol/L", "BLD: +2"], {"RULE"}),
    ),
    "K2 a name before counts": (
        astm("R|1|TSH^1^2^0|1.5|mIU/L", "R|2|T3^1^2^0|1.5|nmol/L"),
        Says(["TSH: 1.5 m[IU]/L", "T3: 1.5 nmol/L"]),
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
    "K2 a number of its own": (
        hl7("OBX|1|NM|K|1|4.9|mmol/L|||||F", "OBX|2|NM|K|2|4.8|mmol/L|||||F"),
        Says(["K: 4.9 mmol/L", "K: 4.8 mmol/L"], refused={"SAME_CODE"}),
    ),
    "K3 a blank": (hl7(ONE, order="OBR|1||BACKGROUND|1^Count"), CONTROL),
    "K3 a pool": (hl7(ONE, "SPM|1|S1||BLD|||||||L"), CONTROL),
    "K3 lot and level": (astm("R|1|^^^A|1", order="O|1|#12345Q1#||^^^A"), CONTROL),
    "K3 a number of the site": (astm("R|1|^^^A|1", order="O|1||1^2^LJ-77|^^^A"), CONTROL),
    "K3 an order of the site": (hl7(ONE, order="OBR|1||17|00003^LJ QCR^99MRC"), CONTROL),
    "K5 a unit in component 2": (hl7("OBX|1|ST|V||<20|^Copies/mL|||||F"), Says(["V: <20 Copies/mL"])),
    "K7 a birth in another century": (hl7(ONE).replace(b"19800101", b"1640"), Says(["K: 4.9 mmol/L"], {"BAD_DATE"})),
    "K7 another calendar": (astm("R|1|^^^A|1|g/L||||F||||25690301101500"), Says(["A: 1 g/L"], {"BAD_DATE"})),
    "K10 an order of its own": (
        hl7(ONE, order="OBR|1||S1|PAN^Panel^L|||20260301091500||||||||||||||||||HM"),
        Says(["K: 4.9 mmol/L"], {"UNKNOWN_CODE"}),
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
SITE = {"control_numbers": ["LJ-*"], "control_orders": "*qcr"}


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
    assert not is_control_number("QC-1")
    assert is_control_number("qc-1", ("QC*",))


def test_a_pack_keeps_its_controls_beside_those_of_the_site() -> None:
    channel: dict[str, Any] = {"settings": {"control_numbers": ["LJ*"]}}
    read_pack(ANALYZERS / "mindray-bc5380").fill(channel)
    assert channel["settings"]["control_numbers"] == ["QC[0-9]*", "LJ*"]


def test_ranges_are_whole_in_every_output() -> None:
    data = astm("R|1|^^^A|1|g/L|0^120|N||F", "R|2|^^^B|1|g/L|4\\4^12\\24|N||F")
    verdict, _ = verdict_of(data, "astm", mapping="astm-to-csv")
    body = verdict.documents[0][0].body.decode()
    assert ",0^120," in body
    assert ",4\\4^12\\24," in body


def test_etx_ends_a_record_where_the_next_frame_begins_one() -> None:
    frames = [b"H|\\^&|||X", b"P|1", b"O|1|S1||^^^A", b"R|1|^^^A|5", b".1|g/L", b"R|2|^^^B|R|1", b"L|1|N"]
    assembler = MessageAssembler(max_message=10_000)
    done: list[bytes] = []
    for text in frames:
        taken = assembler.take(text, last=text != b"R|1|^^^A|5")
        done += taken.completes
        assembler.keep(taken)
    records = [b"H|\\^&|||X", b"P|1", b"O|1|S1||^^^A", b"R|1|^^^A|5.1|g/L", b"R|2|^^^B|R|1", b"L|1|N"]
    assert done == [b"\r".join(records)]


def test_a_route_may_hold_what_its_mapping_warned_of() -> None:
    node = Node(kind="scalar", file="route", line=1, column=1, value="=warnings == 'SAME_CODE'")
    holding = compile_holding([(node, "")], "astm", "fhir/R4", ())
    data = OWN["K2 other units"][0]
    verdict, mapped = verdict_of(data, "astm")
    assert mapped is not None
    parsed = Mapper(()).read(messages_in(data)[0])
    codes = [issue.code for issue in mapped.issues]
    body = verdict.documents[0][0].body
    assert holding.about(holding.facts(parsed, body, codes)).decide(StatedHistory({}, {}), 0) is not None
    assert holding.about(holding.facts(parsed, body)).decide(StatedHistory({}, {}), 0) is None
