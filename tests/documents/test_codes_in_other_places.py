"""Codes that makers write in another place than the standard: what each message says, in every output."""

from typing import Any

import orjson
import pytest

from engine.mapping.trying.inputs import messages_in
from engine.model.texts.reasons import ReasonCode
from tests.documents.test_field_faults import astm, hl7, observations, one_result
from tests.support.shipped import verdict_of

DRUGS = [f"R|{at}|^^^MIC^77^{drug}|{at}^S" for at, drug in enumerate(["AMP", "GEN"], 1)]
SAMPLE = "R|1|^^^Lac^^^^88.12|1.4|mmol/L||||F|||||88.12"
ISOLATES = ["R|1|^^^AMP|S", "O|2|M7^2||^^^AST", "R|1|^^^AMP|R"]
NAMED_ISOLATES = [ISOLATES[0], "O|2|M7^2^KLE||^^^AST", ISOLATES[2]]
NUMBERED_DRUGS = [
    f"R|{at}|^^^AST_MIC^77^{drug}|{at}|||{call}||||||2026030110140{at}"
    for at, drug, call in [(1, 12, "S"), (2, 13, "R")]
]
GLUCOSE = "R|1|^^^GLU^Glucose|6"
LOTS = [f"R|{at}|^^^GLU^^^^^{lot}|{at}" for at, lot in enumerate(["LOTA", "LOTB"], 1)]
NAMED, NUMBERED = "OBX|1|NM|1|ALT|5|U/L|||||F", "OBX|2|NM|2|AST|6|U/L|||||F"
DOUBT, BESIDE = {"CODE_PLACE"}, {"CODE_PLACE", "SAME_CODE"}
SHARED = "!SAME_CODE"
FROM_0 = [row.replace(f"NM|{at}", f"NM|{at - 1}") for at, row in enumerate((NAMED, NUMBERED), 1)]
UNCOUNTED = [f"OBX|{row[5:]}" for row in (NAMED, NUMBERED)]


def rows(*names: str) -> list[str]:
    return [f"OBX|{at}|NM|{at}|{name}|{at}|||||||F" for at, name in enumerate(names, 1)]


def called(*ids: str) -> list[str]:
    return [f"OBX|{at}|NM|{id}||{at}|||{call}|||F" for at, (id, call) in enumerate(zip(ids, "SR", strict=True), 1)]


# Name -> message, settings, the results (or `!` and the reason of a dead letter), codes of warnings.
Says = tuple[bytes, dict[str, Any], list[str], set[str]]
ORACLE: dict[str, Says] = {
    # Two test ids of a message.
    "drugs in component 6": (astm(*DRUGS), {}, [SHARED, "test_code: 4/6`"], set()),
    "drugs that the channel reads": (
        astm(*DRUGS),
        {"test_code": "4/6", "r4": "value^call"},
        ["MIC/AMP: 1", "MIC/GEN: 2"],
        set(),
    ),
    "drugs in other orders": (astm(DRUGS[0], "O|2|S2||^^^X", DRUGS[1]), {}, [SHARED, "test_code: 4/6`"], set()),
    "isolates in component 5": (
        astm("R|1|^^^MIC^1^AMP|2", "R|2|^^^MIC^2^AMP|8"),
        {"test_code": "4/6"},
        [SHARED, "test_code: 4/6/5`"],
        set(),
    ),
    "isolates in O-3": (astm(*ISOLATES, order="O|1|M7^1||^^^AST"), {}, [SHARED, "test_code: 4/O-3.2`"], set()),
    "isolates in O-3 that the channel reads": (
        astm(*ISOLATES, order="O|1|M7^1||^^^AST"),
        {"test_code": "4/O-3.2"},
        ["AMP/1: S", "AMP/2: R"],
        set(),
    ),
    "one isolate": (astm(ISOLATES[0], order="O|1|M7^1||^^^AST"), {}, ["AMP: S"], {"UNLINKED"}),
    "positions of a rack": (
        astm("R|1|^^^GLU|5", "O|2|S1^2||^^^X", "R|1|^^^GLU|6", order="O|1|S1^1||^^^X"),
        {},
        ["GLU: 5", "GLU: 6"],
        {"UNLINKED"},
    ),
    "runs of one specimen": (
        astm("R|1|^^^GLU|5", "O|2|S1^2||^^^X", "R|1|^^^GLU|5", order="O|1|S1^1||^^^X"),
        {},
        ["GLU: 5", "GLU: 5"],
        set(),
    ),
    "isolates with names": (astm(*NAMED_ISOLATES, order="O|1|M7^1^ECO||^^^AST"), {}, [SHARED, "4/O-3.2`"], set()),
    "isolates in the third component": (
        astm(ISOLATES[0], ISOLATES[1].replace("^2", "^^B"), ISOLATES[2], order="O|1|M7^^A||^^^AST"),
        {"test_code": "4/O-3.3"},
        ["AMP/A: S", "AMP/B: R"],
        set(),
    ),
    "isolates by letters": (
        astm("R|1|^^^AMP|2|||s", "O|2|M7^B||^^^AST", "R|1|^^^AMP|32|||r", order="O|1|M7^A||^^^AST"),
        {},
        [SHARED, "test_code: 4/O-3.2`"],
        set(),
    ),
    "isolates in O-4": (
        astm(ISOLATES[0], "O|2|M7|M7^002|^^^AST", ISOLATES[2], order="O|1|M7|M7^001|^^^AST"),
        {},
        [SHARED, "test_code: 4/O-4.2`"],
        set(),
    ),
    "isolates in O-4 that the channel reads": (
        astm(ISOLATES[0], "O|2|M7|M7^002|^^^AST", ISOLATES[2], order="O|1|M7|M7^001|^^^AST"),
        {"test_code": "4/O-4.2"},
        ["AMP/001: S", "AMP/002: R"],
        set(),
    ),
    "places of one tube in O-4": (
        astm("R|1|^^^HIV|R", "O|2|S77|2^3|^^^X", "R|1|^^^HIV|R", order="O|1|S77|2^1|^^^X"),
        {},
        ["HIV: R", "HIV: R"],
        set(),
    ),
    "names in component 1": (astm("R|1|ALT^^^1|5", "R|2|AST^^^1|6"), {}, [SHARED, "test_code: 4/1`"], set()),
    "words in component 6": (astm("R|1|^^^GLU|5", "R|2|^^^GLU^^POST|9"), {}, [SHARED, "test_code: 4/6`"], set()),
    "runs": (
        astm("R|1|^^^^WBC^1|5|||||||||20260301101400", "R|2|^^^^WBC^2|6|||||||||20260301101500"),
        {},
        ["WBC: 5", "WBC: 6"],
        set(),
    ),
    "numbers of drugs": (astm(*NUMBERED_DRUGS), {}, [SHARED, "test_code: 4/6`"], set()),
    "numbers of drugs in component 5": (
        astm(*(drug.replace("^77^", "^") for drug in NUMBERED_DRUGS)),
        {},
        [SHARED, "test_code: 4/5`"],
        set(),
    ),
    "a rerun that a flag marks": (
        astm("R|1|^^^GLU^^1|5|||N||||||20260301101400", "R|2|^^^GLU^^2|6|||R||||||20260301101500"),
        {},
        ["GLU: 5", "GLU: 6"],
        set(),
    ),
    "replicates": (
        astm("R|1|^^^Ferritin^1|105|||||||||20260301101400", "R|2|^^^Ferritin^2|104|||||||||20260301101500"),
        {},
        ["Ferritin: 105", "Ferritin: 104"],
        set(),
    ),
    "dilutions in component 5": (
        astm("R|1|^^^CRP^0.0|>99|||||||||20260301101400", "R|2|^^^CRP^5.0|145|||||||||20260301101500"),
        {},
        ["CRP: >99", "CRP: 145"],
        set(),
    ),
    "counts behind a name": (
        astm("R|1|ISE^1^1^0|140|||||||||20260301101400", "R|2|ISE^2^1^0|4.1|||||||||20260301101500"),
        {},
        ["ISE: 140", "ISE: 4.1"],
        {"SAME_CODE"},
    ),
    "one count behind each name": (astm("R|1|ALT^1^1^0|31", "R|2|AST^1^1^0|29"), {}, ["ALT: 31", "AST: 29"], set()),
    "two patients": (
        astm("R|1|^^^GLU^Fasting glucose|5", "P|2|7002", "O|1|S2||^^^X", GLUCOSE),
        {},
        [SHARED, "test_code: 4/5`"],
        set(),
    ),
    "dilutions": (
        astm("R|1|^^^16^TSH^UNDILUTED|>99|||||||||20260301101400", "R|2|^^^16^TSH^1:10|145|||||||||20260301101500"),
        {},
        ["16: >99", "16: 145"],
        set(),
    ),
    "a name that one lacks": (
        astm("R|1|^^^GLU^Glucose|5|||||||||20260301101400", "R|2|^^^GLU|6|||||||||20260301101500"),
        {},
        ["GLU Glucose: 5", "GLU: 6"],
        set(),
    ),
    "lots before a kind": (
        astm(*(f"R|{at}|^^^16^TSH^1^P^LOT{at}^7^^F|{at}|||||||||2026030110140{at}" for at in (1, 2))),
        {},
        ["16: 1", "16: 2"],
        set(),
    ),
    "lots": (astm(*LOTS), {"test_code": 4}, [SHARED, "beside_code: 9`"], set()),
    "lots that the channel names": (
        astm(*LOTS),
        {"test_code": "4", "beside_code": "9"},
        ["GLU: 1", "GLU: 2"],
        {"SAME_CODE"},
    ),
    "units of donors": (astm("R|1|XM^1234567|1", "R|2|XM^7654321|2"), {}, ["XM/1234567: 1", "XM/7654321: 2"], set()),
    "units of donors with letters": (astm("R|1|XM^W123422000001|1"), {}, ["XM/W123422000001: 1"], set()),
    "a code behind its number": (astm("R|1|1^WBC|1"), {}, ["WBC: 1"], set()),
    "a code behind a word": (astm("R|1|Sodium^NA2|1"), {}, ["NA2: 1"], set()),
    "a code of LOINC behind a word": (astm("R|1|Sodium^2951-2|1"), {}, ["2951-2: 1"], set()),
    "counts alone behind a name": (astm("R|1|ALT^1^1^0|1"), {}, ["ALT: 1"], set()),
    "drugs by their names": (hl7(*called("MIC^Ciprofloxacin", "MIC^Piperacillin")), {}, [SHARED, "OBX-3.1"], set()),
    "drugs by their other names": (hl7(*called("MIC^MIC^L^CIP", "MIC^MIC^L^PIP")), {}, [SHARED, "OBX-3.1"], set()),
    "drugs by the names of other codes": (
        hl7(*called("MIC^MIC^L^^Cipro", "MIC^MIC^L^^Pip")),
        {},
        [SHARED, "OBX-3.1"],
        set(),
    ),
    "one drug of LOINC by two names": (
        hl7(*called("18864-9^Ampicillin^LN", "18864-9^Ampicillin MIC^LN")),
        {},
        ["18864-9 Ampicillin: 1", "18864-9 Ampicillin MIC: 2"],
        {"SAME_CODE", "UNLINKED"},
    ),
    "one drug of two isolates": (
        hl7(*called("AMP^Ampicillin^L", "AMP^AMPICILLIN^L")),
        {},
        ["AMP Ampicillin: 1", "AMP AMPICILLIN: 2"],
        {"SAME_CODE", "UNLINKED"},
    ),
    "one code by two names": (
        hl7("OBX|1|NM|X^Sodium||1||||||F", "OBX|2|NM|X^Potassium||2||||||F"),
        {},
        ["X Sodium: 1", "X Potassium: 2"],
        {"SAME_CODE"},
    ),
    # A number of the sample.
    "R-14": (astm(SAMPLE), {}, ["Lac: 1.4 mmol/L"], set()),
    "O-3": (astm("R|1|^^^Lac^^^^S77|1", order="O|1|S77||^^^X"), {}, ["Lac: 1"], set()),
    "O-4": (astm("R|1|^^^Lac^^^^^S77|1", order="O|1||S77||^^^X"), {}, ["Lac: 1"], set()),
    "P-3": (astm("R|1|^^^Lac^^^4711|1", patient="P|1|4711"), {}, ["Lac: 1"], set()),
    "R-14 behind a blank": (astm(SAMPLE.replace("^88.12", "^ 88.12")), {}, ["Lac: 1.4 mmol/L"], set()),
    "a blank before O-3": (astm("R|1|^^^Lac^^^^S77|1", order="O|1|   S77||^^^X"), {}, ["Lac: 1"], set()),
    "a blank before a part of O-4": (astm("R|1|^^^Lac^^^^^S77|1", order="O|1||^ S77|^^^X"), {}, ["Lac: 1"], set()),
    "P-4": (astm("R|1|^^^Lac^^^^^4711|1"), {}, ["Lac: 1"], set()),
    "the test itself": (astm("R|1|^^^4711|1"), {}, ["4711: 1"], DOUBT),
    "the test itself, said so": (astm("R|1|^^^4711|1"), {"test_code": "4"}, ["4711: 1"], set()),
    "the test before its name": (astm("R|1|^^^S77^Lactate|1", order="O|1|S77||^^^X"), {}, ["S77 Lactate: 1"], DOUBT),
    "the first chosen": (astm("R|1|^4711^^Lac|1"), {}, ["4711/Lac: 1"], DOUBT),
    "a test with the number of a place": (astm("R|1|^^^5^TSH|1", order="O|1|S7^5^2||^^^X"), {}, ["5: 1"], set()),
    "two signs": (astm("R|1|^^^Lac^^^^Ct|1", order="O|1|Ct||^^^X"), {}, ["Lac/Ct: 1"], DOUBT),
    "another part": (astm("R|1|^^^HIV^^^^Ct|31"), {}, ["HIV/Ct: 31"], set()),
    # Rows.
    "rows with names": (hl7(NAMED, NUMBERED), {}, ["ALT: 5 U/L", "AST: 6 U/L"], DOUBT),
    "rows with names, said so": (hl7(NAMED, NUMBERED), {"obx3": "row"}, ["ALT: 5 U/L", "AST: 6 U/L"], set()),
    "codes with names, said so": (hl7(NAMED, NUMBERED), {"obx3": "code"}, ["1 ALT: 5 U/L", "2 AST: 6 U/L"], set()),
    "codes of the table": (
        hl7(NAMED, NUMBERED),
        {"tables": {"analytes": "numbered-tests"}},
        ["1 ALT: 5 U/L", "2 AST: 6 U/L"],
        set(),
    ),
    "one row": (hl7(NAMED), {}, ["1 ALT: 5 U/L"], DOUBT),
    "rows in two orders": (
        hl7(NAMED, NUMBERED, "OBR|2||S2|B", NAMED, NUMBERED),
        {},
        ["ALT: 5 U/L", "AST: 6 U/L"] * 2,
        DOUBT,
    ),
    "one row in an order of its own": (
        hl7(NAMED, NUMBERED, "OBR|2||S2|B", NAMED),
        {},
        ["ALT: 5 U/L", "AST: 6 U/L", "1 ALT: 5 U/L"],
        DOUBT,
    ),
    "rows with zeros": (
        hl7(*(row.replace("NM|", "NM|0") for row in (NAMED, NUMBERED))),
        {},
        ["ALT: 5 U/L", "AST: 6 U/L"],
        DOUBT,
    ),
    "rows from 0": (hl7(*FROM_0), {}, ["0 ALT: 5 U/L", "1 AST: 6 U/L"], DOUBT),
    "rows from 0, said so": (hl7(*FROM_0), {"obx3": "row"}, ["ALT: 5 U/L", "AST: 6 U/L"], set()),
    "rows without OBX-1": (hl7(*UNCOUNTED), {}, ["1 ALT: 5 U/L", "2 AST: 6 U/L"], DOUBT),
    "rows without OBX-1, said so": (hl7(*UNCOUNTED), {"obx3": "row"}, ["ALT: 5 U/L", "AST: 6 U/L"], set()),
    "a letter among names": (hl7(*rows("K", "Na", "Cl")), {}, ["K: 1", "Na: 2", "Cl: 3"], DOUBT),
    "letters alone": (hl7(*rows("K", "P")), {}, ["1 K: 1", "2 P: 2"], DOUBT),
    "letters alone, said so": (hl7(*rows("K", "P")), {"obx3": "row"}, ["K: 1", "P: 2"], set()),
    "hours of a curve": (hl7(*rows("0H", "1H", "2H")), {}, ["1 0H: 1", "2 1H: 2", "3 2H: 3"], DOUBT),
    "hours of a curve, said so": (hl7(*rows("0H", "1H")), {"obx3": "row"}, ["0H: 1", "1H: 2"], set()),
    "a word beside a code of digits": (hl7("OBX|1|NM|14|ALT|5|||||||F"), {}, ["14 ALT: 5"], set()),
    "a word beside a named code": (hl7("OBX|1|NM|1500^GLU|BLOOD|5|||||||F"), {}, ["1500 GLU: 5"], set()),
    "numbers of parts beside codes of digits": (
        hl7(*(row.replace("|1|ALT", "|1|1").replace("|2|AST", "|2|1.2") for row in (NAMED, NUMBERED))),
        {},
        ["1: 5 U/L", "2: 6 U/L"],
        set(),
    ),
    "letters of parts": (
        hl7("OBX|1|NM|1^K^L|a|4|||||||F", "OBX|2|NM|2^NA^L|1b|140|||||||F"),
        {},
        ["1 K: 4", "2 NA: 140"],
        set(),
    ),
    "one row, said so": (hl7("OBX|1|NM|1^B12|206|5|||||||F"), {"obx3": "row"}, ["206 B12: 5"], set()),
    "a row with a name and a number": (hl7("OBX|1|NM|1^B12|206|5|||||||F"), {}, ["1 B12 206: 5"], DOUBT),
    "a code beside a row that it numbers": (
        hl7(NAMED, NUMBERED.replace("|2|AST", "|7|AST")),
        {},
        ["1 ALT: 5 U/L", "7 AST: 6 U/L"],
        DOUBT,
    ),
    "one number for two": (
        hl7(NAMED, NUMBERED.replace("|2|AST", "|1|AST")),
        {},
        ["1 ALT: 5 U/L", "1 AST: 6 U/L"],
        BESIDE,
    ),
    "a row without a name, said so": (hl7(NAMED.replace("ALT", ""), NUMBERED), {"obx3": "row"}, ["AST: 6 U/L"], DOUBT),
    "numbers of parts": (
        hl7("OBX|1|NM|1^K^L|1|4|||||||F", "OBX|2|NM|2^NA^L|1|140|||||||F"),
        {},
        ["1 K: 4", "2 NA: 140"],
        set(),
    ),
    "a code beside a part": (hl7("OBX|1|NM|K^Kalium|1/2|4|||||||F"), {}, ["K Kalium: 4"], set()),
    # No code in OBX-3.
    "OBX-4 alone": (hl7("OBX|1|NM||CRP|23.7|mg/L|||||F"), {}, ["CRP: 23.7 mg/L"], DOUBT),
    "a letter in OBX-4 alone": (
        hl7("OBX|1|NM||K|7.9|||HH||||F", "OBX|2|NM||Na|140|||||||F", "OBX|3|NM||1a|3|||||||F"),
        {},
        ["K: 7.9", "Na: 140", "1a: 3"],
        DOUBT,
    ),
    "OBX-4 alone, said so": (hl7("OBX|1|NM||1|5|||||||F"), {"obx3": "row"}, ["1: 5"], set()),
    "OBX-4 beside a coding system": (hl7("OBX|1|NM|^^99RX|CRP|23.7|||||||F"), {}, ["CRP: 23.7"], DOUBT),
    "a coding system alone": (
        hl7("OBX|1|NM|^^99RX||5|||||||F", "OBX|2|NM|NA||140|||||||F"),
        {},
        ["NA: 140"],
        DOUBT,
    ),
    "no name, and critical": (
        hl7("OBX|1|NM|K||4|||||||F", "OBX|2|NM||1|5|||A~HH||||F"),
        {},
        ["!NO_IDENTITY"],
        set(),
    ),
    "a number in OBX-4 alone": (hl7("OBX|1|NM||206|5|||||||F"), {}, ["206: 5"], DOUBT),
    "no name among others": (
        hl7("OBX|1|NM|K||4|||||||F", "OBX|2|NM||1|5|||||||F", "NTE|1||of no result", "OBX|3|NM|NA||140|||||||F"),
        {},
        ["K: 4", "NA: 140"],
        DOUBT,
    ),
    "no name at all": (hl7("OBX|1|NM||1|5|||||||F"), {}, ["!NO_IDENTITY"], set()),
    "words alone": (hl7("OBX|1|NM|^^^K^Kalium||4|||||||F"), {}, ["K Kalium: 4"], set()),
    "the fourth component": (hl7("OBX|1|NM|^^^WBC||4|||||||F"), {}, ["WBC: 4"], set()),
}


def outputs(data: bytes) -> list[str]:
    return [f"{'astm' if data.startswith(b'H') else 'hl7'}-to-{end}" for end in ("json", "csv")]


@pytest.mark.parametrize("name", ORACLE)
def test_a_message_has_the_codes_that_it_says(name: str) -> None:
    data, settings, says, warned = ORACLE[name]
    (found,) = messages_in(data)
    verdict, _ = verdict_of(found.payload, found.format, settings)
    if says[0].startswith("!"):
        assert verdict.reason is ReasonCode[says[0][1:]]
        assert all(words in verdict.detail for words in says[1:])
    else:
        assert [one_result(one) for one in observations(verdict.documents[0][0].body)] == says
    assert {issue.code for issue in verdict.issues} & {"CODE_PLACE", "SAME_CODE", "UNLINKED"} == warned
    codes = [one.partition(":")[0].split()[0] for one in says if not says[0].startswith("!")]
    for mapping in outputs(data):
        other, _ = verdict_of(found.payload, found.format, settings, mapping=mapping)
        assert (other.reason, other.detail.partition(" (")[0]) == (verdict.reason, verdict.detail.partition(" (")[0])
        if other.documents and mapping.endswith("json"):
            (patient,) = orjson.loads(other.documents[0][0].body)["patients"]
            assert [result["test"] for order in patient["orders"] for result in order["results"]] == codes
    if verdict.read is not None and verdict.read.known is not None:
        assert [result.measure.test for *_, result in verdict.read.known.results()] == codes


def test_a_row_without_a_name_takes_its_comment_along() -> None:
    data, *_ = ORACLE["no name among others"]
    verdict, mapped = verdict_of(data, "hl7v2")
    assert b"of no result" not in verdict.documents[0][0].body
    assert mapped is not None
    assert (mapped.counts["results_in"], mapped.counts["observations"], mapped.counts["dropped"]) == (3, 2, 1)


@pytest.mark.parametrize("order", ["O|1|QC1||^^^X|||||||Q", "O|1|QC1||^^^X", "O|1||QC1^1|^^^X"])
def test_an_id_of_a_control_has_the_code_of_no_patients_result(order: str) -> None:
    control = ["R|1|^^^GLU^QC level 1|5", "R|2|^^^GLU^QC level 2|9", "P|2|7002", "O|1|S2||^^^X", GLUCOSE]
    for mapping in ("astm-results", "astm-to-json"):
        data = astm(*control, order=order, patient="P|1")
        verdict, _ = verdict_of(data, "astm", {"control_numbers": ["QC*"]}, mapping=mapping)
        assert verdict.reason is None
        assert [len(verdict.controls), len(verdict.documents)] == [2, 1]
