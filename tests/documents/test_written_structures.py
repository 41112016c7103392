"""HL7 v2 from HL7 v2: orders, patients and specimen-centred results, as one would translate them for another receiver.

Each message is held against the structure that the standard gives it (hl7apy), and read back by our own parser.
"""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared import sampling
from engine.mapping import Program, load
from engine.mapping.language.targets import HL7_STRUCTURES
from tests.support.mapping_texts import context, parse

PATIENT = "PID|1||4711^^^HOSP^MR||Doe^Jane^Q||19800412|F\rPV1|1|I|W1^12\r"
ORDER = (
    "MSH|^~\\&|HIS|HOSP|LIS|LAB|20260301101530||OML^O21^OML_O21|M1|P|2.5.1\r"
    + PATIENT
    + "ORC|NW|P-1||||||20260301100000\rOBR|1|P-1||CBC^Blood count^L\rNTE|1||fasting \\T\\ early\rSPM|1|S-1||BLD\r"
    + "ORC|NW|P-2\rOBR|2|P-2||CRP^C reactive protein^L\rSPM|1|S-2||SER\r"
)
ADMISSION = "MSH|^~\\&|HIS|HOSP|LIS|LAB|20260301101530||ADT^A01^ADT_A01|M2|P|2.5\rEVN|A01|20260301101500\r" + PATIENT
MERGE = (
    "MSH|^~\\&|HIS|HOSP|LIS|LAB|20260301101530||ADT^A40^ADT_A39|M3|P|2.5\rEVN|A40|20260301101500\r"
    "PID|1||4711^^^HOSP^MR||Doe^Jane\rMRG|4712^^^HOSP^MR\r"
)
RESULTS = (
    "MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||ORU^R01^ORU_R01|M4|P|2.5.1\r"
    + PATIENT
    + "OBR|1|O1|F1|CBC^Blood count^L|||20260301091500||||||||||||||||||F\r"
    "OBX|1|NM|HGB^Hemoglobin^L||14.8|g/dL|13.5-17.5|N~A|||F\rNTE|1||seen twice\rSPM|1|S1||BLD^Blood^HL70487\r"
)

OLD_ORDERS = """
- each: PATIENT
  do:
    - segment: PID
      fields: {3: "=PID-3[*]", 5: =PID-5, 7: =PID-7, 8: =PID-8}
    - each: ORDER
      do:
        - segment: ORC
          fields: {1: NW, 2: =ORC-2, 9: =ORC-9}
        - segment: OBR
          fields: {2: =OBR-2, 4: =OBR-4, 15: "=SPM[1]-4"}
        - each: NTE
          segment: NTE
          fields: {3: =NTE-3}
"""
NEW_ORDERS = (
    OLD_ORDERS.replace(', 15: "=SPM[1]-4"', "")
    + """
        - each: SPECIMEN
          segment: SPM
          fields: {2: {1: =SPM-2.1}, 4: =SPM-4}
"""
)
BY_SPECIMEN = """
- each: PATIENT
  do:
    - segment: PID
      fields: {3: "=PID-3[*]", 5: =PID-5}
    - each: ORDER
      do:
        - each: SPECIMEN
          segment: SPM
          fields: {2: {1: =SPM-2.1}, 4: =SPM-4}
        - segment: ORC
          fields: {1: NW, 2: =ORC-2}
        - segment: OBR
          fields: {2: =OBR-2, 4: =OBR-4}
"""
UPDATE = """
- segment: EVN
  fields: {2: =EVN-2}
- each: PATIENT
  do:
    - segment: PID
      fields: {3: "=PID-3[*]", 5: =PID-5, 7: =PID-7}
    - segment: PV1
      fields: {2: =PV1-2, 3: =PV1-3}
"""
MERGED = """
- segment: EVN
  fields: {2: =EVN-2}
- each: PATIENT
  do:
    - segment: PID
      fields: {3: =PID-3, 5: =PID-5}
    - segment: MRG
      fields: {1: "=MRG-1[*]"}
"""
OUL = """
- each: PATIENT_RESULT
  do:
    - segment: PID
      fields: {3: "=PID-3[*]", 5: =PID-5}
    - each: ORDER_OBSERVATION
      do:
        - each: SPECIMEN
          segment: SPM
          fields: {2: {1: =SPM-2.1}, 4: =SPM-4}
        - segment: OBR
          fields: {3: =OBR-3, 4: =OBR-4, 25: =OBR-25}
        - each: OBSERVATION
          do:
            - segment: OBX
              fields: {2: =OBX-2, 3: =OBX-3, 5: "=OBX-5[*]", 6: =OBX-6, 7: =OBX-7, 8: "=OBX-8[*]", 11: =OBX-11}
            - each: NTE
              segment: NTE
              fields: {3: =NTE-3}
"""

CASES = {
    "OML^O21 to ORM^O01 of version 2.3": ("OML_O21", "ORM_O01", OLD_ORDERS, ORDER, "2.3", "ORM^O01"),
    "OML^O21 again": ("OML_O21", "OML_O21", NEW_ORDERS, ORDER, "2.5.1", "OML^O21^OML_O21"),
    "OML^O21 to OML^O33": ("OML_O21", "OML_O33", BY_SPECIMEN, ORDER, "2.5.1", "OML^O33^OML_O33"),
    "ADT^A01 to A08": ("ADT_A01", "ADT_A08", UPDATE, ADMISSION, "2.5", "ADT^A08^ADT_A01"),
    "ADT^A01 to A31": ("ADT_A01", "ADT_A31", UPDATE, ADMISSION, "2.5", "ADT^A31^ADT_A05"),
    "ADT^A40": ("ADT_A39", "ADT_A40", MERGED, MERGE, "2.5", "ADT^A40^ADT_A39"),
    "ORU^R01 to OUL^R22": ("ORU_R01", "OUL_R22", OUL, RESULTS, "2.5.1", "OUL^R22^OUL_R22"),
}


def program(folder: Path, source: str, target: str, steps: str, version: str) -> Program:
    head = f"mapping: m\nformat: labrelay-mapping/1\nfrom: hl7v2/{source}\nto: hl7v2/{target}\nsteps:\n"
    msh = f"  - segment: MSH\n    fields: {{4: LAB, 12: '{version}'}}\n"
    (folder / "m.yaml").write_text(head + msh + textwrap.indent(steps.strip("\n"), "  ") + "\n", encoding="utf-8")
    return load("m", [folder])


@pytest.mark.parametrize("case", CASES)
def test_a_message_of_another_structure_is_sound(case: str, tmp_path: Path) -> None:
    source, target, steps, message, version, type_said = CASES[case]
    made = program(tmp_path, source, target, steps, version)
    assert made.problems == ()
    parsed, ctx = parse(message), context()
    mapped = made.apply(parsed, ctx)
    assert [issue for issue in mapped.issues if issue.code != "UNREAD_SEGMENT"] == []
    (document,) = mapped.documents
    trace = made.explain(parsed, ctx)
    assert trace.mapped is not None
    assert trace.mapped.documents == mapped.documents
    text = document.body.decode()
    assert text.split("|")[8] == type_said
    # hl7apy wants of the orders that ORM chooses from all at once, and takes a second order of OML for a prior result.
    assert target == "ORM_O01" or set(sampling.hl7_departures(text)[0]) <= {
        "OML_O21_ORDER_PRIOR.OML_O21_OBSERVATION_PRIOR is required"
    }
    view = made.view(document)
    assert view.faults() == []
    parts = view.parts()
    assert _of(parts, "PID")["5.1"] == "Doe"
    if "ORC" in view.counts():
        assert [part["2"] for part in parts if part["resourceType"] == "OBR"] == ["P-1", "P-2"]
    if target == "OML_O33":  # an order set of its own below each specimen
        assert [part.get("1") for part in parts if part["resourceType"] in ("SPM", "OBR")] == ["1", "1", "2", "1"]


def _of(parts: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(part for part in parts if part["resourceType"] == name)


def test_what_was_read_is_what_is_written(tmp_path: Path) -> None:
    made = program(tmp_path, "ORU_R01", "OUL_R22", OUL, "2.5.1")
    (document,) = made.apply(parse(RESULTS), context()).documents
    segments = document.body.decode().split("\r")
    assert "PID|1||4711^^^HOSP^MR||Doe^Jane^Q" in segments
    assert "SPM|1|S1||BLD^Blood^HL70487" in segments
    assert "OBX|1|NM|HGB^Hemoglobin^L||14.8|g/dL|13.5-17.5|N~A|||F" in segments


@pytest.mark.parametrize("event", HL7_STRUCTURES)
def test_every_structure_that_can_be_named_can_be_written(event: str, tmp_path: Path) -> None:
    made = program(
        tmp_path, "ADT_A01", event, "- each: PATIENT\n  segment: PID\n  fields: {3: =PID-3, 5: =PID-5}\n", "2.5.1"
    )
    (document,) = made.apply(parse(ADMISSION), context()).documents
    code, trigger, structure = document.body.decode().split("|")[8].split("^")
    assert f"{code}_{trigger}" == event
    assert structure.startswith(code)
