"""What of a server's answer may stand in the detail of a dead letter: kinds and places of errors, and no name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.fhir.outcome import reasons

STATUS = "Bundle.entry[4].resource.status"


def outcome(*issues: dict[str, object]) -> bytes:
    return json.dumps({"resourceType": "OperationOutcome", "issue": issues}).encode()


def error(code: str, *places: str, **more: object) -> dict[str, object]:
    return {"severity": "error", "code": code, "expression": list(places), "diagnostics": "Anna Doe 4711", **more}


TOLD = {
    outcome(error("value", STATUS)): f"value at {STATUS}",
    outcome(error("value", STATUS), error("value", STATUS)): f"value at {STATUS}",
    outcome(error("required", "Patient.name[0]"), error("business-rule")): "required at Patient.name[0]; business-rule",
    outcome(
        error("invariant", "Observation.value.ofType(Quantity)")
    ): "invariant at Observation.value.ofType(Quantity)",
    outcome(
        {"severity": "fatal", "code": "structure", "location": ["Bundle.entry[0]"]}
    ): "structure at Bundle.entry[0]",
    outcome({"severity": "warning", "code": "value"}, {"severity": "information", "code": "informational"}): "",
    outcome(error("Anna", "Patient.Doe", "Anna", "Patient.name.where(family='Doe')")): "",
    outcome(error("Anna", STATUS)): STATUS,
    outcome(*[error("value", f"Bundle.entry[{n}]") for n in range(9)]): (
        "value at Bundle.entry[0]; value at Bundle.entry[1]; value at Bundle.entry[2]"
    ),
    b"<html>Anna</html>": "",
    b"{}": "",
    b'{"resourceType":"OperationOutcome","issue":[7]}': "",
    b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"value","expression":"Anna"}]}': "value",
}


@pytest.mark.parametrize(("answer", "said"), TOLD.items())
def test_kinds_and_places_of_errors_are_told(answer: bytes, said: str) -> None:
    assert reasons(answer) == said


WORDS = st.text(st.characters(whitelist_categories=("Lu", "Ll")), min_size=1, max_size=12).map(
    lambda word: f"{word}Anna"
)


@given(WORDS)
def test_no_word_of_the_servers_own_comes_through(word: str) -> None:
    issue = error(word, word, f"Patient.{word}", f"{word}.name", details={"text": word})
    assert "Anna" not in reasons(outcome(issue, error("value", STATUS)))


@given(st.binary(max_size=300))
def test_no_answer_of_a_server_is_a_fault(answer: bytes) -> None:
    assert isinstance(reasons(answer), str)
    assert isinstance(reasons(b'{"resourceType":"OperationOutcome","issue":' + answer + b"}"), str)
