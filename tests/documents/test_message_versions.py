"""The same result as HL7 v2.1 to 2.8 write it, and messages whose MSH-9 says less than it should.

Each version's message is as its chapters have it: 2.1 knows no trigger event and no ORC in results, 2.4 brought OUL,
2.5 TQ1 and SPM, 2.6 UAC, 2.7 a fifth encoding character and PRT.
"""

from typing import Any

import pytest

from engine.mapping.trying.inputs import Mapper, messages_in
from engine.model.message import MapContext
from engine.model.texts.reasons import ReasonCode
from tests.support.fhir_check import check_bundle, resources
from tests.support.shipped import MAPPINGS, verdict_of

PID = "PID|1||4711^^^HOSP^MR||Rao^Asha||19800412|F"
OBX = "OBX|1|NM|GLU^Glucose^L||5.10|mmol/L|3.9-5.8|N|||F"
RESULT = f"OBR|1|P1|F1|GLU^Glucose^L|||20260301091500||||||||||||||||||F\r{OBX}"

VERSIONS = {
    "2.1": (
        "MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||ORU|1|P|2.1\rPID|1||4711||RAO^ASHA||19800412|F\r"
        "OBR|1|P1|F1|GLU^GLUCOSE|||20260301091500\rOBX|1|NM|GLU^GLUCOSE||5.10|mmol/L|3.9-5.8|N|||F"
    ),
    "2.2": (
        "MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||ORU^R01|1|P|2.2\rPID|1||4711^2^M10||Rao^Asha||19800412|F\r"
        "ORC|RE|P1|F1\rOBR|1|P1|F1|GLU^Glucose^L|||20260301091500||||||||||||||||||F\rNTE|1|L|fasting\r" + OBX
    ),
    "2.3": f"MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||ORU^R01|1|P|2.3\r{PID}\rPV1|1|O\rORC|RE|P1|F1\r{RESULT}\rCTI|A",
    "2.3.1": f"MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||ORU^R01^ORU_R01|1|P|2.3.1\r{PID}\r{RESULT}",
    "2.4": (
        f"MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||OUL^R21^OUL_R21|1|P|2.4\r{PID}\rPV1|1|O\rSAC|||T1\rORC|RE|P1|F1\r"
        f"{RESULT}"
    ),
    "2.5": (
        f"MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530+0530||ORU^R01^ORU_R01|1|P|2.5\rSFT|ACME|1|XN\r{PID}\rORC|RE|P1|F1\r"
        "OBR|1|P1|F1|GLU^Glucose^L|||20260301091500||||||||||||||||||F\rTQ1|1||||||||R\r" + OBX + "\rSPM|1|S1||SER"
    ),
    "2.5.1": f"MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530+0530||ORU^R01^ORU_R01|1|P|2.5.1\r{PID}\rORC|RE|P1|F1\r{RESULT}",
    "2.6": f"MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530+0530||ORU^R01^ORU_R01|1|P|2.6\rUAC|K\r{PID}\r{RESULT}\rSPM|1|S1",
    "2.7": (
        f"MSH|^~\\&#|XN|LAB|LIS|HOSP|20260301101530+0530||ORU^R01^ORU_R01|1|P|2.7\r{PID}\rARV||A|X\rORC|RE|P1|F1\r"
        "OBR|1|P1|F1|GLU^Glucose^L|||20260301091500||||||||||||||||||F\rPRT||UC||RO|77^Menon\r"
        + OBX
        + "\rPRT||UC||EQUIP"
    ),
    "2.8": (
        f"MSH|^~\\&#|XN|LAB|LIS|HOSP|20260301101530+0530||OUL^R22^OUL_R22|1|P|2.8\r{PID}\rSPM|1|S1||SER\rSAC|||T1\r"
        "OBR|1|P1|F1|GLU^Glucose^L|||20260301091500||||||||||||||||||F\rORC|SC|P1|F1\r" + OBX
    ),
}
WARNINGS = {"2.1": ["NO_EVENT"], "2.3": ["UNREAD_SEGMENT"], "2.7": ["UNREAD_SEGMENT", "UNREAD_SEGMENT"]}


def mapped(text: str) -> tuple[dict[str, Any], list[str]]:
    """The Bundle of a message by the mapping of its type, and the codes of its warnings."""
    (found,) = messages_in(text.encode())
    context = MapContext(channel="xn", timezone="Asia/Kolkata", patient_numbers="lasting")
    mapper = Mapper((MAPPINGS,), context=context)
    parsed = mapper.read(found)
    made = mapper.program_for(parsed).apply(parsed, mapper.context_for(parsed, found.payload))
    (document,) = made.documents
    return check_bundle(document.body), [issue.code for issue in (*parsed.warnings, *made.issues)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_of_every_version_is_the_same_result(version: str) -> None:
    bundle, warnings = mapped(VERSIONS[version])
    (patient,) = resources(bundle, "Patient")
    assert [one["value"] for one in patient["identifier"]] == ["4711"]
    assert patient["birthDate"] == "1980-04-12"
    (observation,) = resources(bundle, "Observation")
    assert observation["status"] == "final"
    assert str(observation["valueQuantity"]["value"]) == "5.10"
    assert observation["effectiveDateTime"] == "2026-03-01T09:15:00+05:30"
    assert observation["referenceRange"][0]["text"] == "3.9-5.8"
    (report,) = resources(bundle, "DiagnosticReport")
    assert {one["value"] for one in report["identifier"]} == {"P1", "F1"}
    assert len(report["result"]) == len(resources(bundle, "Specimen")) == 1
    assert warnings == WARNINGS.get(version, [])


PEOPLE = {"ADT": "EVN|A08|20260301\r" + PID, "MDM": f"{PID}\rTXA|1|LR||||||||||D1\rOBX|1|TX|T||Words||||||F"}
ORDERS = "ORC|NW|P1\rOBR|1|P1||GLU^Glucose^L"


@pytest.mark.parametrize(
    ("msh9", "body", "made"),
    [
        ("ORU", f"{PID}\r{RESULT}", {"Observation": 1, "DiagnosticReport": 1}),
        ("ORU^", f"{PID}\r{RESULT}", {"Observation": 1, "DiagnosticReport": 1}),
        ("ORU^R01", f"{PID}\r{RESULT}", {"Observation": 1, "DiagnosticReport": 1}),
        ("ORU^R01^", f"{PID}\r{RESULT}", {"Observation": 1, "DiagnosticReport": 1}),
        ("ORU^^ORU_R01", f"{PID}\r{RESULT}", {"Observation": 1, "DiagnosticReport": 1}),
        ("OUL", f"{PID}\rSPM|1|S1||SER\r{RESULT}", {"Observation": 1, "Specimen": 1}),
        ("OUL", f"{PID}\rSAC|||T1\r{RESULT}", {"Observation": 1, "Specimen": 1}),
        ("OUL", f"{PID}\r{RESULT.replace(OBX, 'SPM|1|S1||SER')}\r{OBX}", {"Observation": 1, "Specimen": 1}),
        ("OUL^R23", f"{PID}\rSPM|1|S1||SER\rSAC|||T1\r{RESULT}", {"Observation": 1, "Specimen": 1}),
        ("ORM", f"{PID}\r{ORDERS}", {"ServiceRequest": 1}),
        ("OML", f"{PID}\r{ORDERS}\rSPM|1|S1||SER", {"ServiceRequest": 1, "Specimen": 1}),
        ("OML", f"{PID}\rSPM|1|S1||SER\r{ORDERS}", {"ServiceRequest": 1, "Specimen": 1}),
        ("OML^O35", f"{PID}\rSPM|1|S1||SER\rSAC|||T1\r{ORDERS}", {"ServiceRequest": 1, "Specimen": 1}),
        ("ORL", f"MSA|AA|1\r{PID}\rORC|OK|P1", {"Task": 1}),
        ("ADT", PEOPLE["ADT"], {"Patient": 1}),
        ("ADT^A08", PEOPLE["ADT"], {"Patient": 1}),
        ("ADT", f"EVN|A40|2026\r{PID}\rMRG|8^^^HOSP^MR", {"Patient": 2}),
        ("MDM", PEOPLE["MDM"], {"DocumentReference": 1}),
    ],
)
def test_msh_9_may_leave_out_what_the_message_shows(msh9: str, body: str, made: dict[str, int]) -> None:
    bundle, warnings = mapped(f"MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||{msh9}|1|P|2.3\r{body}\r")
    assert {kind: len(resources(bundle, kind)) for kind in made} == made
    assert ("NO_EVENT" in warnings) == (msh9.rstrip("^") in ("ORU", "OUL", "ORM", "OML", "ORL", "ADT", "MDM"))


@pytest.mark.parametrize(
    ("msh9", "told"), [("ADT", "ADT: no shipped mapping"), ("", "this kind of message: no shipped")]
)
def test_nothing_is_guessed_of_what_happened_to_a_patient(msh9: str, told: str) -> None:
    """An ADT message that names no event, in MSH-9 or EVN-1, and a message that names nothing at all."""
    verdict, _ = verdict_of(f"MSH|^~\\&|A|B|||20260301||{msh9}|1|P|2.3\r{PID}\r".encode(), "hl7v2")
    assert verdict.reason is ReasonCode.NO_ROUTE
    assert verdict.detail.startswith(told)
