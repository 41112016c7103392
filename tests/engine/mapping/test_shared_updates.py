"""`request: update_by_identifier`: what the sender is the master of takes the place of what the server has."""

from pathlib import Path

import pytest

from tests.support.fhir_check import check_bundle
from tests.support.mapping_texts import HL7, Made, Workshop, apply

STEPS = """
- each: PATIENT_RESULT
  do:
    - create: Patient
      as: patient
      when: =PID-3
      key: =cx(PID-3)
      request: update_by_identifier
      body:
        identifier: =cx(PID-3)
        active: true
    - create: Patient
      as: former
      when: =PID-2
      key: =cx(PID-2)
      request: update_by_identifier
      body:
        identifier: =cx(PID-2)
        active: false
        link: [{other: "=ref(patient)", type: replaced-by}]
    - create: Patient
      as: again
      when: =PID-2
      key: =cx(PID-3)
      request: update_by_identifier
      body:
        identifier: =cx(PID-3)
        name: =xpn(PID-5)
        link: [{other: "=ref(former)", type: replaces}]
    - drop: not of interest here
"""
NUMBER = "4711^^^&1.2.3&ISO^MR"
ONE = HL7.replace("4711^^^HOSP^MR", NUMBER)
BOTH = ONE.replace("PID|1||", "PID|1|12^^^&1.2.3&ISO^MR|")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def made(workshop: Workshop, message: str, **given: object) -> Made:
    return apply(workshop.steps(STEPS), message, **given)


def test_a_conditional_update_names_the_identifier_and_carries_no_id(workshop: Workshop) -> None:
    found = made(workshop, ONE)
    entry = found.entry("Patient")
    assert entry["request"] == {"method": "PUT", "url": "Patient?identifier=urn%3Aoid%3A1.2.3%7C4711"}
    assert "id" not in entry["resource"]
    assert len(found.mapped.documents[0].conditional) == 1
    check_bundle(found.mapped.documents[0].body)


def test_two_steps_with_one_key_make_one_resource_and_may_refer_to_each_other(workshop: Workshop) -> None:
    found = made(workshop, BOTH)
    stays, goes = found.document["entry"][:2]
    assert stays["resource"]["link"] == [{"other": {"reference": goes["fullUrl"]}, "type": "replaces"}]
    assert goes["resource"]["link"] == [{"other": {"reference": stays["fullUrl"]}, "type": "replaced-by"}]
    assert stays["resource"]["name"]
    assert stays["resource"]["active"] == "true"
    assert len(stays["resource"]["identifier"]) == 1
    check_bundle(found.mapped.documents[0].body)


def test_the_journal_remembers_which_resources_are_updated_together(workshop: Workshop) -> None:
    """So that an older message for the same ones is superseded, and a merge is not superseded by a mere update."""
    (one,), (both,) = (made(workshop, text).mapped.documents[0].reports for text in (ONE, BOTH))
    (later,) = made(workshop, ONE.replace("Doe^Jane", "Roe^Jane")).mapped.documents[0].reports
    assert one.key == later.key != both.key
    assert len(one.key) == 16
    assert one.patient == b""


def test_a_number_without_a_system_is_never_searched_for_alone(workshop: Workshop) -> None:
    entry = made(workshop, HL7.replace("4711^^^HOSP^MR", "4711"), channel="").entry("Patient")
    assert entry["request"]["url"].startswith("Patient?identifier=urn%3Alabrelay%3Aid%7C")
    assert entry["resource"]["identifier"][-1]["system"] == "urn:labrelay:id"


def test_without_a_transaction_there_is_no_request(workshop: Workshop) -> None:
    text = "mapping: m\nformat: labrelay-mapping/1\nfrom: hl7v2/ORU_R01\nto: fhir/R4\nbundle: collection\nsteps:\n"
    program = workshop.load(text + "\n".join("  " + line for line in STEPS.strip().splitlines()))
    entry = apply(program, ONE).entry("Patient")
    assert "request" not in entry
    assert entry["resource"]["id"] == entry["fullUrl"].removeprefix("urn:uuid:")
