"""`add_to`: what is added to a resource that the message made before, by rules and by what OBR-26 and OBX-4 say."""

from pathlib import Path

import pytest

from engine.mapping import Program
from engine.model.errors import ConfigError
from tests.support.explanations import assert_whole
from tests.support.mapping_texts import HL7, Workshop, apply, context, parse

STEPS = """
- each: PATIENT_RESULT
  do:
    - each: ORDER_OBSERVATION
      do:
        - each: OBSERVATION
          do:
            - create: Observation
              as: result
              key: =[OBX-1, OBX-3.1]
              body:
                status: =lookup('0085', OBX-11)
                code: =cwe(OBX-3)
                interpretation: =lookup('0078', OBX-8[*])
                valueQuantity: =quantity(decimal(OBX-5), absent, OBX-6)
            - add_to: Observation
              which: =ref(result)
              when: =NTE
              body:
                status: amended
                interpretation: =text_concept(NTE-3)
                valueQuantity: =quantity(decimal(OBX-1), absent, OBX-6)
                note:
                  - text: =NTE-3
"""
NOTED = HL7.replace("||yellow|", "|H|yellow|").replace("OBX|2|ST", "NTE|1||checked\nOBX|2|ST")


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Workshop(tmp_path).steps(STEPS)


def test_lists_grow_and_what_is_there_stays(program: Program) -> None:
    for _ in range(3):  # values are kept from message to message, and never changed
        made = apply(program, NOTED).all("Observation")
        assert [one["status"] for one in made] == ["final", "final"]
        assert [one["text"] for one in made[0]["interpretation"] if "text" in one] == ["checked"]
        assert [one["coding"][0]["code"] for one in made[0]["interpretation"] if "coding" in one] == ["N"]
        assert made[0]["note"] == [{"text": "checked"}]
        assert made[0]["valueQuantity"]["value"] == "14.8"
        plain = apply(program, HL7).all("Observation")
        assert len(plain[0]["interpretation"]) == 1
        assert "note" not in plain[0]


def test_additions_are_explained_to_the_last_leaf(program: Program) -> None:
    trace = program.explain(parse(NOTED), context())
    assert_whole(trace)
    leaves = {leaf.path: leaf for leaf in trace.leaves}
    assert leaves["Observation[1].interpretation[1].text"].sources == ("NTE[1]-3",)
    assert leaves["Observation[1].note[0].text"].sources == ("NTE[1]-3",)


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("{add_to: Observation, body: {status: final}}", "needs which:"),
        ("{add_to: Observation, which: x, body: {status: final}}", "needs which:"),
        ("{add_to: Observation, which: =ref(none), body: {status: final}}", "no step before this one made none"),
        ("{add_to: Observation, which: =MSH-3, body: {status: final}}", "which: is one reference"),
        ('{add_to: Observation, which: "=observations_of(OBX[*])", body: {status: final}}', "which: is one reference"),
        ('{add_to: Observation, which: "=parent_result(OBR[1])"}', "needs body:"),
        ('{add_to: Obsrvation, which: "=parent_result(OBR[1])", body: {}}', "did you mean Observation"),
        ('{add_to: Observation, which: "=parent_result(OBR[1])", body: {state: final}}', "state"),
        ('{add_to: Observation, which: "=parent_result(OBR[1])", body: {status: done}}', "is never 'done'"),
        ('{add_to: Observation, which: "=parent_result(OBR[1])", key: x, body: {status: final}}', "key: belongs to"),
        ("{warn: x, which: =MSH-3}", "which: belongs to an add_to:"),
        ('{add_to: Observation, warn: x, which: "=parent_result(OBR[1])", body: {status: final}}', "does one thing"),
    ],
)
def test_what_is_wrong_with_one(tmp_path: Path, step: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Workshop(tmp_path).steps(f"- {step}\n")
    assert problem in str(caught.value)
