"""What is shown of a message or an answer without --unmask: texts, and what a person may read of each.

What names a person is masked at every place; what a technician needs to see (codes, units, status, paths, numbers
of errors) is not.
"""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.model.texts import technology
from engine.model.texts.signs import text
from engine.views.letter_in_full import outcome, raw

KNOWN = technology.codes_of("GLU", "mg/dL", "K", "Serum")
LINES = {
    # HL7 v2
    b"MSH|^~\\&|ANNA|LAB|LIS|H|20260301||ORU^R01^ORU_R01|4711|P|2.5.1||||||UNICODE UTF-8": (
        "MSH|^~\\&|xxxx|xxx|xxx|x|99999999||ORU^R01^ORU_R01|9999|P|2.5.1||||||UNICODE UTF-8"
    ),
    b"PID|1||4711^^^HOSP^MR||Doe^Jane||19800412|F": "PID|9||9999^^^xxxx^xx||xxx^xxxx||99999999|x",
    b"OBR|1|O1|F1|GLU^Glucose^L|||20260301||||||||||||||||||F": (
        "OBR|9|x9|x9|GLU^xxxxxxx^L|||99999999||||||||||||||||||F"
    ),
    b"OBX|1|NM|GLU^Glucose^L^2345-7^Glucose^LN||5.5|mg/dL|4-6|HH|||F|||20260301": (
        "OBX|9|NM|GLU^xxxxxxx^L^2345-7^xxxxxxx^LN||9.9|mg/dL|9-9|HH|||F|||99999999"
    ),
    b"OBX|1|NM|DOE^Jane^L^2345-8^x^LN||5.5|Jane|||||C": "OBX|9|NM|xxx^xxxx^L^9999-9^x^LN||9.9|xxxx|||||C",
    b"OBX|1|ST|K||Jane Doe||||||corrected": "OBX|9|ST|K||xxxx xxx||||||xxxxxxxxx",
    b"NTE|1||Jane asked": "NTE|9||xxxx xxxxx",
    # E1394
    b"H|\\^&|||XN^1|||||||P|E1394-97|20260301": "H|\\^&|||xx^9|||||||P|E1394-97|99999999",
    b"P|1||4711||Doe^Jane||19800412|F": "P|9||9999||xxx^xxxx||99999999|x",
    b"O|1|S77||^^^GLU|R||20260301||||A": "O|9|x99||^^^GLU|x||99999999||||A",
    b"R|1|^^^GLU|5.5|mg/dL|4-6|N||F||Jane": "R|9|^^^GLU|9.9|mg/dL|9-9|N||F||xxxx",
    b"R|1|^^^DOE|POS|Jane||Doe||Final": "R|9|^^^xxx|xxx|xxxx||xxx||xxxxx",
    b"C|1|I|Jane|G": "C|9|x|xxxx|x",
    # neither
    b"DOE^JANE|GLU": "xxx^xxxx|xxx",
    b"Doe|GLU": "xxx|xxx",
}


@pytest.mark.parametrize(("line", "shown"), LINES.items())
def test_codes_units_and_status_are_shown_and_people_are_not(line: bytes, shown: str) -> None:
    assert technology.line(line, KNOWN, lambda other: text(other, masked=True)) == shown
    assert raw(line, KNOWN, masked=True) == [shown]


@given(st.binary(max_size=200))
def test_any_line_is_masked_without_a_fault(line: bytes) -> None:
    shown = technology.line(line, frozenset(), lambda other: text(other, masked=True))
    assert "\r" not in shown
    assert "\x1b" not in shown


NAMES = st.text(st.characters(whitelist_categories=("Lu", "Ll")), min_size=5, max_size=20)


@given(NAMES, st.sampled_from([b"PID|1||%s", b"OBX|1|NM|%s||%s|%s||%s|||%s", b"R|1|%s|%s|%s||%s||%s", b"NTE|1||%s"]))
def test_a_name_is_masked_wherever_it_stands(name: str, shape: bytes) -> None:
    assume(name.lower() not in KNOWN)
    line = shape.replace(b"%s", name.encode())
    assert name not in technology.line(line, KNOWN, lambda other: text(other, masked=True))


SAID = {
    "HAPI-0389: Anna Doe (HTTP 422) fails obs-6 at Observation.value.ofType(Quantity)": (
        "HAPI-0389: xxxx xxx (HTTP 422) xxxxx obs-6 xx Observation.value.ofType(Quantity)"
    ),
    "Patient Anna not in table HL70203": "xxxxxxx xxxx xxx xx xxxxx HL70203",
    "Bundle.entry[4].resource: Anna.Doe": "Bundle.entry[4].resource: xxxx.xxx",
    "MSG_PARAM_INVALID Anna-0389": "MSG_PARAM_INVALID xxxx-9999",
}


@pytest.mark.parametrize(("words", "shown"), SAID.items())
def test_of_a_servers_words_numbers_of_errors_and_places_are_shown(words: str, shown: str) -> None:
    answer = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "value", "diagnostics": words}],
    }
    (issue,) = outcome(json.dumps(answer).encode(), masked=True)
    assert issue["diagnostics"] == shown
    assert outcome(json.dumps(answer).encode(), masked=False)[0]["diagnostics"] == words


def test_a_code_of_the_servers_own_is_shown_where_it_is_one_of_an_error() -> None:
    codings = [{"code": "MSG_NO_MATCH"}, {"code": "Anna"}, {"code": "obs-6"}, {}]
    answer = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "details": {"coding": codings}}]}
    (issue,) = outcome(json.dumps(answer).encode(), masked=True)
    assert issue["details"] == ["MSG_NO_MATCH", "xxxx", "obs-6"]


def test_an_acknowledgement_says_what_is_wrong_and_quotes_no_patient() -> None:
    answer = (
        b"MSH|^~\\&|LIS|H|LAB|L|2026||ACK^R01^ACK|9|P|2.5.1\rMSA|AE|4711|Anna is not known\r"
        b"ERR||PID^1^5|103^Table value not found^HL70357|E|||Anna Doe\r"
    )
    first, second = outcome(answer, masked=True)
    assert (first["code"], first["diagnostics"]) == ("AE", "xxxx xx xxx xxxxx")
    assert (second["severity"], second["code"], second["expression"]) == (
        "E",
        "AE 103 xxxxx xxxxx xxx xxxxx HL70357",
        ["PID-1-5"],
    )
    assert "Anna" not in str([first, second])
    assert outcome(answer, masked=False)[1]["diagnostics"] == "Anna Doe"


ELEMENTS = [
    ("Observation.status", "final", "final"),
    ("Observation.status", "Anna", "xxxx"),
    ("Observation.code.coding.code", "GLU", "GLU"),
    ("Observation.code.coding.code", "2345-7", "2345-7"),
    ("Observation.code.coding.code", "Anna", "xxxx"),
    ("Observation.code.coding.system", "http://loinc.org", "http://loinc.org"),
    ("Observation.valueQuantity.unit", "mg/dL", "mg/dL"),
    ("Observation.valueQuantity.value", "5.5", "9.9"),
    ("Observation.valueString", "GLU", "xxx"),
    ("Patient.name.family", "Glu", "xxx"),
    ("Patient.identifier.value", "2345-7", "9999-9"),
    ("Observation.code.text", "GLU", "xxx"),
]


@pytest.mark.parametrize(("path", "value", "shown"), ELEMENTS)
def test_of_two_versions_codes_and_status_are_shown(path: str, value: str, shown: str) -> None:
    assert technology.element(path, value, KNOWN) == shown
