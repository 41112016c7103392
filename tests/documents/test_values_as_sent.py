"""What makers put into places of a value that the standard has otherwise: the same on each output, and for alerts.

`SCENES` says of each message what a person may expect: the value as a list has it, its flags, its range, whether it
rings, and the warnings. FHIR, CSV, JSON and HL7 v2 are made of it, and the facts by which it is judged.
"""

import csv
import io
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from engine.diagnostics.lines.look import look
from engine.mapping.trying.capture import CapturedBytes
from tests.support.shipped import verdict_of

OUTPUTS = {"astm": ("astm-to-csv", "astm-to-json", "astm-to-hl7"), "hl7v2": ("hl7-to-csv", "hl7-to-json")}


def astm(*records: str, signs: str = "|\\^&", order: str = "O|1|S1||^^^X", patient: str = "P|1||4711") -> bytes:
    return "\r".join([f"H{signs}|||X|||||||P|1|20260301101500", patient, order, *records, "L|1|N", ""]).encode()


def hl7(*segments: str, order: str = "OBR|1||S1|PAN|||20260301091500||||||||||||||||||F", mode: str = "P") -> bytes:
    header = f"MSH|^~\\&|L|F|||20260301101500||ORU^R01|m1|{mode}|2.5.1"
    return "\r".join([header, "PID|1||4711^^^H^MR||Rao^Asha||19800101|F", order, *segments, ""]).encode()


def of_type(kind: str, *values: str) -> bytes:
    return hl7(*(f"OBX|{at}|{kind}|T{at}||{sent}||||||F" for at, sent in enumerate(values, 1)))


@dataclass
class Scene:
    """A message, and what it says.

    Attributes:
        says: of each result its value in words, its flags and its range, as a list has them.
        warned: codes of warnings that each output gives, no other.
        rings: places of results that are critical.
    """

    message: bytes
    says: list[str]
    warned: set[str] = field(default_factory=set)
    rings: tuple[int, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


QUOTE = "'"  # before a sign that a spreadsheet would compute with
FLAG, CALL = {"r4": "value^flag"}, {"r4": "value^call"}
DXH = astm("R|1|!!!HGB|71!  LL |g/L||109 to 143|A||F", signs="|\\!~", order="O|1|S1||!!!CBC")
LOST = ("5981666^^390.9", "68^^LL", "^68^^LL", "100^^%", "5^^^^6")
WORDS = ("68^^LL", "^68^^LL", "<^68^^LL", "^68^H", "LL^68", "^68^g/L", "^68^-^70^H", "^1^:^128^R", "^5^-^6^7")
RANGES = ("3.5 - 5.1", "(3.5-5.1)", "[3.5-5.1]", "3,5-5,1", "70_99", "3.5^5.1", ">60")
RULES = ("1-3s", "1-2S", "2-2s", "4-1s", "R-4s", "1-2-3", "10x", "2of3-2s", "1-2.5s", "-2.5", "+3SD", "1_2", "12")
SCENES = {
    "a maker one field further": Scene(DXH, ["71!  LL [] 109 to 143"], {"VALUE_PARTS", "RANGE_AS_FLAG"}),
    "the same, said by r4": Scene(DXH, ["71 [LL] 109 to 143"], {"RANGE_AS_FLAG"}, (1,), FLAG),
    "a call that is a flag": Scene(astm("R|1|^^^HGB|68^LL|g/L|110-160|||F"), ["68 [LL] 110-160"], set(), (1,), CALL),
    "beside a flag of R-7": Scene(astm("R|1|^^^HGB|68^ll|g/L||A||F"), ["68 [A ll] "], set(), (1,), CALL),
    "a call of high": Scene(astm("R|1|^^^K|5.9^H|mmol/L||||F"), ["5.9 [H] "], set(), (), CALL),
    "a call AA": Scene(astm("R|1|^^^K|5.9^AA|mmol/L||||F"), ["5.9 [AA] "], set(), (1,), CALL),
    "answers are no flags": Scene(
        astm(*(f"R|{at}|^^^T{at}|0.4^{word}|||||F" for at, word in enumerate(("A", "B", "N", "POS"), 1))),
        ["A 0.4 [] ", "B 0.4 [] ", "N 0.4 [] ", "POS 0.4 [] "],
        settings=CALL,
    ),
    "a rerun is no resistance": Scene(astm("R|1|^^^AST|31^R|U/L||||F"), ["R 31 [] "], settings=CALL),
    "a resistance": Scene(astm("R|1|^^^AST_MIC^1^CIP|4^R|ug/mL||||F"), ["4 [R] "], settings=CALL),
    "a code with mic in it is no drug": Scene(
        astm(*(f"R|{at}|^^^{code}|31^R|||||F" for at, code in enumerate(("MICROALB", "MicroR", "MICA"), 1))),
        ["R 31 [] "] * 3,
        settings=CALL,
    ),
    "mic is one of a drug": Scene(
        astm(*(f"R|{at}|^^^{code}|31^R|||||F" for at, code in enumerate(("MIC", "MIC_CIP", "mic/CIP", "AST_MIC"), 1))),
        ["31 [R] "] * 4,
        settings=CALL,
    ),
    "an answer by its role": Scene(astm("R|1|^^^HBS|0.4^POS|||||F"), ["0.4 [POS] "], settings=FLAG),
    "a number is no flag": Scene(
        astm("R|1|^^^CT|^31.2|||||F", "R|2|^^^K|5^6|||||F"), ["^31.2 [] ", "5^6 [] "], {"VALUE_PARTS"}, (), FLAG
    ),
    "a flag without a value": Scene(astm("R|1|^^^PLT|^LL|10*9/L||||F"), [" [LL] "], set(), (1,), FLAG),
    "a flag alone in R-7": Scene(astm("R|1|^^^K|6.9|mmol/L|3.5-5.1|A\\HH||F"), ["6.9 [A HH] 3.5-5.1"], rings=(1,)),
    "a name in R-6": Scene(
        astm("R|1|12^214^|35.4||25-OH Vitamin D^214^20260310|||F", "R|2|13^107|5||3-9|||F"),
        ["35.4 [] ", "5 [] 3-9"],
        {"NAME_AS_RANGE"},
    ),
    "words of a range": Scene(
        astm("R|1|^^^HIV^1|neg||Negative^1|||F", "R|2|^^^GLU|5||^DEFAULT|||F"), ["neg [] Negative^1", "5 [] ^DEFAULT"]
    ),
    "a range in R-7": Scene(astm("R|1|^^^K|6.9|mmol/L||3.5-5.1|H|F"), ["6.9 [] 3.5-5.1"], {"RANGE_AS_FLAG"}),
    "a limit in R-7": Scene(astm("R|1|^^^K|6.9|mmol/L||<5.1||F"), ["6.9 [] <5.1"], {"RANGE_AS_FLAG"}),
    "a range beside a flag": Scene(astm("R|1|^^^K|2|||3 to 5\\LL||F"), ["2 [LL] 3 to 5"], {"RANGE_AS_FLAG"}, (1,)),
    "ranges as people write them": Scene(
        astm(*(f"R|{at}|^^^K{at}|4|mmol/L||{sent}||F" for at, sent in enumerate(RANGES, 1))),
        [f"4 [] {sent}" for sent in RANGES],
        {"RANGE_AS_FLAG"},
    ),
    "a range of seconds": Scene(astm("R|1|^^^PT|12|s||10-14s||F"), ["12 [] 10-14s"], {"RANGE_AS_FLAG"}),
    "rules of controls are flags": Scene(
        astm(*(f"R|{at}|^^^K{at}|4|mmol/L||{sent}||F" for at, sent in enumerate(RULES, 1))),
        [f"4 [{sent}] " for sent in RULES],
    ),
    "off the scale is a flag": Scene(astm("R|1|^^^K|9|mmol/L|3-5|>||F"), ["9 [>] 3-5"]),
    "a maker's own flag with a digit": Scene(astm("R|1|^^^K|9|mmol/L|3-5|H1||F"), ["9 [H1] 3-5"]),
    "a signal and a number": Scene(
        hl7("OBX|1|NM|B12||5981666^390.946|pg/mL|||||F"), ["5981666^390.946 [] "], {"VALUE_PARTS"}
    ),
    "the same, said by obx5": Scene(
        hl7("OBX|1|NM|B12||5981666^390.946|pg/mL|||||F"), ["390.946 [] "], settings={"obx5": "-^value"}
    ),
    "a flag in OBX-5": Scene(
        hl7("OBX|1|NM|HGB||68^LL|g/L||A|||F"), ["68 [A LL] "], set(), (1,), {"obx5": "value^flag"}
    ),
    "a number and its unit": Scene(hl7("OBX|1|NM|TSH||0.4^mIU/L||||||F"), ["0.4^mIU/L [] "], {"VALUE_PARTS"}),
    "two numbers in a text": Scene(hl7("OBX|1|ST|TSH||5^6||||||F"), ["5^6 [] "], {"VALUE_PARTS"}),
    "a comparator of its own": Scene(hl7("OBX|1|NM|TSH||<^5|mIU/L|||||F"), ["< 5 [] "]),
    "nothing behind the number": Scene(hl7("OBX|1|NM|TSH||5^^|mIU/L||HH|||F"), ["5 [HH] "], rings=(1,)),
    "components that no number has": Scene(of_type("NM", *LOST), [f"{sent} [] " for sent in LOST], {"VALUE_PARTS"}),
    "components that a number has": Scene(of_type("SN", ">^5", "^1^:^128", "^5^^"), [">5 [] ", "1:128 [] ", "5 [] "]),
    "components that no number has of type SN": Scene(
        of_type("SN", *WORDS), [f"{sent} [] " for sent in WORDS], {"VALUE_PARTS"}
    ),
    "signs in a structured number": Scene(
        of_type("SN", "^5^+", ">=^1^:^320", "^^68"), ["5+ [] ", ">=1:320 [] ", "68 [] "]
    ),
    "a word alone of that type": Scene(hl7("OBX|1|SN|TSH||^POS^||||||F"), ["POS [] "]),
    "its flag, said by obx5": Scene(
        hl7("OBX|1|SN|HGB||68^^LL|g/L|||||F", "OBX|2|SN|CRP||<^5|mg/L|||||F"),
        ["68 [LL] ", "<5 [] "],
        set(),
        (1,),
        {"obx5": "value^-^flag"},
    ),
    "a structured number": Scene(
        hl7("OBX|1|SN|TSH||<^5|mIU/L|||||F"), ["<5 [] "], settings={"obx5": "-^value"}
    ),
    "a status one field further": Scene(
        astm("R|1|^^^TP|10|g/dL|6-8|||N|F", "R|2|^^^ALB|5|g/dL|3-5|||N|P"), ["10 [] 6-8", "5 [] 3-5"], {"STATUS_PLACE"}
    ),
    "its time, too": Scene(
        astm("R|1|^^^TP|10|g/dL|6-8|H||N|F||||20260228101500|DEV"), ["10 [H] 6-8"], {"STATUS_PLACE"}
    ),
    "ranges in OBX-8": Scene(
        hl7(*(f"OBX|{at}|NM|K{at}||4|mmol/L||{sent}|||F" for at, sent in enumerate(RANGES, 1))),
        [f"4 [] {sent}" for sent in RANGES],
        {"RANGE_AS_FLAG"},
    ),
    "flag and range have changed places": Scene(
        hl7("OBX|1|NM|K||7.1|mmol/L|HH|3.5-5.1|||F", "OBX|2|NM|NA||140|mmol/L|130-150|135-145~LL|||F"),
        ["7.1 [HH] 3.5-5.1", "140 [LL] 130-150; 135-145"],
        {"RANGE_AS_FLAG"},
        (1, 2),
    ),
    "flags of their own in OBX-8": Scene(
        hl7(*(f"OBX|{at}|NM|K{at}||4|mmol/L|3-5|{sent}|||F" for at, sent in enumerate(("H", "1-3s", "H1", ">"), 1))),
        [f"4 [{sent}] 3-5" for sent in ("H", "1-3s", "H1", ">")],
    ),
    "full stops for a number": Scene(
        hl7("OBX|1|NM|A||.||||||F", "OBX|2|NM|B||,,||||||F", "OBX|3|ST|C||.||||||F"),
        [" [] ", " [] ", ". [] "],
        {"NO_NUMBER"},
    ),
    "signs for a number": Scene(
        of_type("NM", "+", "++", "+-", "1+"), ["+ [] ", "++ [] ", "+- [] ", "1+ [] "], {"NO_NUMBER"}
    ),
    "signs of a strip": Scene(hl7("OBX|1|ST|PRO||+||||||F", "OBX|2|ST|GLU||1+||||||F"), ["+ [] ", "1+ [] "]),
    "light units": Scene(
        astm(*(f"R|{at}|^^^TSH^^^^RLU|17{at}||||||||20260301101{at}" for at in (1, 2)), "R|3|^^^TSH^^^^DOSE|2||||||F"),
        ["171 [] ", "172 [] ", "2 [] "],
        {"LIGHT_UNITS", "SAME_CODE"},
    ),
    "light units that say so": Scene(astm("R|1|^^^TSH^^^^RLU|178|RLU||||F"), ["178 [] "]),
    "other units without a unit": Scene(
        astm("R|1|^^^HIV^^^^COI|0.3|||||F", "R|2|^^^HCV^^^^S/CO|0.1|||||F", "R|3|^^^CT^^^^Ct|31|||||F"),
        ["0.3 [] ", "0.1 [] ", "31 [] "],
    ),
    "an unknown mode": Scene(hl7("OBX|1|NM|K||4.9|mmol/L|||||F", mode="P^LJ"), ["4.9 [] "], {"CONTROL_MODE"}),
    "an unknown mode beside a known one": Scene(
        hl7("OBX|1|NM|K||4.9|mmol/L|||||F", mode="P^QC"), ["4.9 [] "], {"CONTROL_MODE"}, (), {"control_modes": ["LJ"]}
    ),
    "a mode of HL7": Scene(hl7("OBX|1|NM|K||4.9|mmol/L|||||F", mode="P^T"), ["4.9 [] "]),
    "a mode of samples": Scene(
        hl7("OBX|1|NM|K||4.9|mmol/L|||||F", mode="P^S"), ["4.9 [] "], settings={"control_modes": ["LJ"]}
    ),
}  # fmt: skip


def said(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{row['value'].lstrip(QUOTE)} [{row['flags'].lstrip(QUOTE)}] {row['range']}" for row in rows]


@pytest.mark.parametrize("name", SCENES)
def test_each_output_says_it(name: str) -> None:
    scene = SCENES[name]
    kind = "hl7v2" if scene.message.startswith(b"MSH") else "astm"
    for mapping in (None, *OUTPUTS[kind]):
        verdict, _ = verdict_of(scene.message, kind, scene.settings, mapping=mapping)
        assert verdict.reason is None
        assert {one.code for one in verdict.issues} - {"RULE"} == scene.warned, mapping
        assert verdict.critical == scene.rings, mapping
        bodies = [document[0].body for document in verdict.documents]
        if mapping and mapping.endswith("csv"):
            rows = list(csv.DictReader(io.StringIO(bodies[0].decode())))
            assert said(rows) == scene.says
        elif mapping and mapping.endswith("json"):
            (person,) = orjson.loads(bodies[0])["patients"]
            listed = [one for order in person["orders"] for one in order["results"]]
            names = {"value": "text", "range": "range"}
            rows = [{key: one.get(of, "") for key, of in names.items()} for one in listed]
            flags = [" ".join(one.get("flags", ())) for one in listed]
            assert said([{**row, "flags": each} for row, each in zip(rows, flags, strict=True)]) == scene.says
        elif mapping is None and scene.rings:
            observations = [one["resource"] for one in orjson.loads(bodies[0])["entry"]]
            codes = [
                coding["code"].upper()
                for one in observations
                for concept in one.get("interpretation", ())
                for coding in concept.get("coding", ())
            ]
            assert {"HH", "LL", "AA"}.intersection(codes)


PICTURE = "Qk02AAAAAAAA"


@pytest.mark.parametrize(
    ("sent", "kind", "warned"),
    [
        (f"OBX|1|ED|1^RBC Scattergram.BMP||{PICTURE}||||||F", "Media", "BARE_DATA"),
        ("OBX|1|ED||HGRAM|eyJQTFQiOiB7ImNvdW50IjogODB9fQ==||||||F", "DocumentReference", "BARE_DATA"),
        (f"OBX|1|ED|1^Scattergram||^IM^BMP^Base64^{PICTURE}||||||F", "Media", ""),
        ("OBX|1|ED|1^Scattergram||see attached sheet||||||F", "", "BAD_VALUE"),
    ],
)
def test_data_in_component_1_are_an_enclosure_or_warned_of(sent: str, kind: str, warned: str) -> None:
    verdict, _ = verdict_of(hl7("OBX|2|NM|K||4.9|mmol/L|||||F", sent), "hl7v2")
    kinds = {one["resource"]["resourceType"] for one in orjson.loads(verdict.documents[0][0].body)["entry"]}
    assert kinds & {"Media", "DocumentReference"} == {kind} - {""}
    assert {one.code for one in verdict.issues} == {warned} - {""}


@pytest.mark.parametrize(
    ("mode", "settings"), [("P^LJ", {"control_modes": ["LJ"]}), ("P^lj", {"control_modes": ["LJ"]}), ("Q", {})]
)
def test_a_control_by_its_mode_goes_nowhere_and_is_judged(mode: str, settings: dict[str, Any]) -> None:
    for mapping in (None, *OUTPUTS["hl7v2"]):
        verdict, _ = verdict_of(hl7("OBX|1|NM|K||4.9|mmol/L|||||F", mode=mode), "hl7v2", settings, mapping=mapping)
        assert (verdict.documents, len(verdict.controls)) == ((), 1)


@pytest.mark.parametrize(("sent", "code"), [("a\\S\\b\\S\\c", None), ("a^b^L", "a"), ("a\\F\\b", "a|b")])
def test_an_escaped_coded_value_is_no_code(sent: str, code: str | None) -> None:
    verdict, _ = verdict_of(hl7(f"OBX|1|CE|ORG||{sent}||||||F"), "hl7v2")
    (answer,) = (
        one["resource"]["valueCodeableConcept"]
        for one in orjson.loads(verdict.documents[0][0].body)["entry"]
        if one["resource"]["resourceType"] == "Observation"
    )
    assert next(iter(answer.get("coding", ())), {}).get("code") == code


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b'<OBS.R01><HDR><HDR.control_id V="1"/></HDR></OBS.R01>', "POCT1-A"),
        (b"\x0b<?xml version='1.0'?>\r<HEL.R01></HEL.R01>", "POCT1-A"),
        (b"PK\x03\x04\x14\x00\x06\x00", "workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 20, "workbook"),
        ("Sample;Test\r\nS1;K\r\n".encode("utf-16"), "UTF-16"),
        ("Sample;Test\r\nS1;K\r\n".encode("utf-16-be"), "UTF-16"),
        (b"Port 4 is already in use\r\n", "line is in use"),
        (b"The port is already open by another client\r\n", "line is in use"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><OBS.R01>', "POCT1-A"),
        (b'<poct:HEL.R01 xmlns:poct="x"><HDR.control_id V="1"/></poct:HEL.R01>', "POCT1-A"),
        ("\u0906\u0936\u093e;4.9\r\n".encode("utf-16-le"), "UTF-16"),
        ("\u0906\u0936\u093e;4.9\r\n".encode("utf-16"), "UTF-16"),
        (b"1\t2\t3\t4\t5\t6\t7\t8\t9\r\n", ""),
        (b"All channels are BUSY, try later\r\n", ""),
        (b"S1;K;4.9\r\n", "printer port"),
        (b"<RESULTS><K>4.9</K></RESULTS>\r\n", "printer port"),
    ],
)
def test_what_comes_over_a_line_is_named(sent: bytes, words: str) -> None:
    assert words in " ".join(map(str, look([CapturedBytes(sent)]).remarks))
