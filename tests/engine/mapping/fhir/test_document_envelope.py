"""`bundle: document`: what every document has, what `create: Bundle` says of it, and the profiles claimed."""

from pathlib import Path

import pytest

from engine.model.errors import ContentError
from engine.model.texts.reasons import ReasonCode
from tests.support.mapping_texts import HEAD, HL7, Workshop, apply, context, parse

COMPOSITION = """\
- create: Organization
  as: lab
  key: =MSH-4
  body: {name: "=MSH-4"}
- create: Composition
  as: document
  key: =OBR[1]-3.1
  body:
    status: final
    type: =concept('http://loinc.org', '11502-2')
    date: =message_time()
    author: =ref(lab)
    title: Report
    meta: {tag: "=coding('urn:x', 'a')"}
- each: PATIENT_RESULT
  do:
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          do:
            - drop: not of interest here
"""
ENVELOPE = """\
- create: Bundle
  key: =MSH-10
  body:
    type: document
    meta: {versionId: "=issue_number(OBR[1]-7)"}
    identifier: =document_identifier(ref(document))
    timestamp: =instant(OBR[1]-7)
"""
PROFILES = "profiles: {Bundle: 'urn:p:bundle', Composition: 'urn:p:composition'}\n"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def text(steps: str, *, bundle: str = "document", profiles: str = "") -> str:
    return f"{HEAD}bundle: {bundle}\n{profiles}steps:\n{steps}"


def test_without_a_word_the_envelope_is_that_of_the_message(workshop: Workshop) -> None:
    made = apply(workshop.load(text(COMPOSITION)))
    assert list(made.document) == ["resourceType", "type", "identifier", "timestamp", "entry"]
    assert made.document["identifier"]["value"] == "M1"
    assert made.document["timestamp"] == "2026-03-01T10:15:30+05:30"
    assert [entry["resource"]["resourceType"] for entry in made.document["entry"]] == ["Composition", "Organization"]


def test_a_step_says_what_the_envelope_is(workshop: Workshop) -> None:
    made = apply(workshop.load(text(COMPOSITION + ENVELOPE)))
    document = made.document
    assert document["identifier"] == {"system": "urn:ietf:rfc:3986", "value": document["entry"][0]["fullUrl"]}
    assert document["timestamp"] == "2026-03-01T09:15:00+05:30"
    assert document["meta"] == {"versionId": "20260301034500"}
    assert "id" not in document
    assert not made.all("Bundle")


def test_profiles_stand_in_meta_beside_what_a_rule_wrote(workshop: Workshop) -> None:
    made = apply(workshop.load(text(COMPOSITION + ENVELOPE, profiles=PROFILES)))
    assert made.document["meta"] == {"profile": ["urn:p:bundle"], "versionId": "20260301034500"}
    assert made.one("Composition")["meta"] == {
        "profile": ["urn:p:composition"],
        "tag": [{"system": "urn:x", "code": "a"}],
    }
    assert "meta" not in made.one("Organization")


def test_a_document_without_its_time_has_that_of_receipt_or_is_dead(workshop: Workshop) -> None:
    program = workshop.load(text(COMPOSITION.replace("=message_time()", "2026-03-01")))
    untimed = HL7.replace("20260301101530", "")
    assert apply(program, untimed).document["timestamp"] == "2026-03-01T04:50:00.000+00:00"
    with pytest.raises(ContentError) as caught:
        program.apply(parse(untimed), context(received_at=None))
    assert caught.value.reason is ReasonCode.REQUIRED_ABSENT
    assert "Bundle.timestamp" in str(caught.value)


def test_a_document_without_a_composition_is_dead(workshop: Workshop) -> None:
    program = workshop.load(
        text(COMPOSITION.replace("key: =OBR[1]-3.1", "key: =OBR[1]-3.1\n  when: =OBR[1]-3.1 == 'F9'"))
    )
    with pytest.raises(ContentError) as caught:
        program.apply(parse(HL7), context())
    assert caught.value.reason is ReasonCode.REQUIRED_ABSENT


def test_an_envelope_of_anything_else_and_profiles_that_are_none_are_refused(workshop: Workshop) -> None:
    (problem,) = workshop.problems(text(COMPOSITION + ENVELOPE, bundle="transaction"))
    assert "write bundle: document" in problem
    problems = workshop.problems(text(COMPOSITION, profiles="profiles: {Compositon: urn:x, Composition: report}\n"))
    assert "did you mean Composition" in problems[0]
    assert "is a URL" in problems[1]
