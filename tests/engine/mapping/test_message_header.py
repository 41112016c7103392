"""FHIR messages: the MessageHeader, which names event, source and destination whatever the sender said."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.explanations import assert_whole
from tests.support.fhir_check import faults
from tests.support.mapping_texts import ASTM, HEAD, HL7, Workshop, apply, context, parse

REPORT = """
- create: Patient
  key: =MSH-10
  body: {active: true}
- each: PATIENT_RESULT
  do:
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          do:
            - drop: not asked here
        - create: DiagnosticReport
          key: =OBR-3.1
          body:
            status: final
            code: =cwe(OBR-4)
"""
OF_ASTM = """
- each: PATIENT
  do:
    - each: ORDER
      do:
        - each: RESULT
          do:
            - drop: not asked here
        - create: Specimen
          key: =O-3
          body: {receivedTime: =datetime(O-8)}
"""
FHIR = "http://terminology.hl7.org/CodeSystem/"


def _header(folder: Path, message: str, *, steps: str = REPORT, **given: Any) -> dict[str, Any]:
    head = HEAD.replace("hl7v2/ORU_R01", "astm/E1394") if steps is OF_ASTM else HEAD
    program = Workshop(folder).load(f"{head}bundle: message\nsteps:" + steps.replace("\n", "\n  "))
    made = apply(program, message, given.get("settings"))
    document = made.mapped.documents[0].body
    assert faults(document) == []
    assert all("request" not in entry for entry in made.document["entry"])
    assert_whole(program.explain(parse(message), context(settings=given.get("settings", {}))))
    header: dict[str, Any] = made.document["entry"][0]["resource"]
    assert header["resourceType"] == "MessageHeader"
    return header


def test_event_source_and_destination_are_named(tmp_path: Path) -> None:
    header = _header(tmp_path, HL7)
    assert header["eventCoding"] == {"system": FHIR + "v2-0003", "code": "R01"}
    assert header["source"] == {"name": "XN", "endpoint": "urn:labrelay:app:XN"}
    assert header["sender"]["identifier"] == {"system": "urn:labrelay:facility", "value": "LAB"}
    assert header["destination"] == [
        {"name": "LIS", "endpoint": "urn:labrelay:app:LIS", "receiver": {"type": "Organization", "display": "HOSP"}}
    ]
    assert len(header["focus"]) == 1  # the report
    assert "meta" not in header


@pytest.mark.parametrize(
    ("old", "new", "endpoint"),
    [
        ("|XN|LAB|", "|^2.16.840.1.113883.3.72.5.20^ISO|LAB|", "urn:oid:2.16.840.1.113883.3.72.5.20"),
        ("|XN|LAB|", "|XN^xn.example^DNS|LAB|", "urn:labrelay:app:XN"),
        ("|XN|LAB|", "||LAB|", "urn:labrelay:channel:xn"),
        ("|P|2.5", "|P|2.5||||||||||||https://xn.example/hl7", "https://xn.example/hl7"),
        ("|P|2.5", "|P|2.5||||||||||||10.0.0.7:2575", "urn:labrelay:app:XN"),
        ("|P|2.5", "|P|2.5||||||||||||X^1.2.3^ISO", "urn:oid:1.2.3"),
    ],
)
def test_the_source_has_an_address_that_is_one(tmp_path: Path, old: str, new: str, endpoint: str) -> None:
    assert _header(tmp_path, HL7.replace(old, new, 1))["source"]["endpoint"] == endpoint


def test_a_receiver_that_nobody_names_is_left_out(tmp_path: Path) -> None:
    assert "destination" not in _header(tmp_path, HL7.replace("|LIS|HOSP|", "|||"))
    sent_to = _header(tmp_path, HL7.replace("|LIS|HOSP|", "|||").replace("|P|2.5", "|P|2.5|||||||||||||urn:x:y"))
    assert sent_to["destination"] == [{"endpoint": "urn:x:y"}]


def test_a_training_message_says_so(tmp_path: Path) -> None:
    header = _header(tmp_path, HL7.replace("|M1|P|", "|M1|T|"), settings={"processing_ids": ["T"]})
    assert header["meta"] == {"tag": [{"system": FHIR + "v2-0103", "code": "T"}]}


def test_astm_names_no_event_of_hl7(tmp_path: Path) -> None:
    header = _header(tmp_path, ASTM, steps=OF_ASTM)
    assert header["eventUri"] == "urn:labrelay:event:astm"
    assert "eventCoding" not in header
    assert header["source"]["name"] == "XN-550"
