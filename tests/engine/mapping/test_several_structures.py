"""One mapping for several structures: a group that only one of them has has no rounds in the others."""

from pathlib import Path

import pytest

from tests.support.mapping_texts import Workshop, apply

HEAD = "mapping: m\nformat: labrelay-mapping/1\nfrom: [hl7v2/OML_O21, hl7v2/OML_O33]\nto: fhir/R4\nsteps:\n"
STEPS = """
  - each: PATIENT
    do:
      - each: ORDER
        do:
          - each: SPECIMEN
            do:
              - create: Specimen
                as: below
                key: =SPM-2
                body: {type: "=cwe(SPM-4)"}
          - create: Task
            key: =ORC-2
            body: {status: requested, intent: order, code: "=cwe(OBR-4)", input: [{type: {text: specimen}, valueReference: "=first(ref(below))"}]}
      - each: SPECIMEN
        do:
          - create: Specimen
            as: above
            key: =SPM-2
            body: {type: "=cwe(SPM-4)"}
          - each: ORDER
            do:
              - create: Task
                key: =ORC-2
                body: {status: requested, intent: order, code: "=cwe(OBR-4)", focus: "=ref(above)"}
      - create: Organization
        as: names
        key: ='all'
        body: {name: "='Lab'", alias: ["=concat('n', count(ref(below)))"]}
"""  # noqa: E501 - the flow style of YAML
TEXT = "MSH|^~\\&|A|B|||20260301101530||{}|1|P|2.5.1\nPID|1||7\n{}\n"
ORDER, SPECIMEN = "ORC|NW|O1\nOBR|1|O1||GLU", "SPM|1|S1||SER"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_each_structure_runs_the_loops_that_it_has(workshop: Workshop) -> None:
    program = workshop.load(HEAD + STEPS.replace("alias: [\"=concat('n', count(ref(below)))\"]", "alias: [x]"))
    first = apply(program, TEXT.format("OML^O21", f"{ORDER}\n{SPECIMEN}"))
    second = apply(program, TEXT.format("OML^O33", f"{SPECIMEN}\n{ORDER}"))
    for made in (first, second):
        assert len(made.all("Specimen")) == 1
        assert len(made.all("Task")) == 1
    assert "input" in first.one("Task")
    assert "focus" in second.one("Task")


def test_names_from_a_loop_without_rounds_are_empty_lists(workshop: Workshop) -> None:
    program = workshop.load(HEAD + STEPS)
    first = apply(program, TEXT.format("OML^O21", f"{ORDER}\n{SPECIMEN}"))
    second = apply(program, TEXT.format("OML^O33", f"{SPECIMEN}\n{ORDER}"))
    assert first.one("Organization")["alias"] == ["n1"]
    assert second.one("Organization")["alias"] == ["n0"]


def test_a_group_that_no_structure_has_there_is_a_mistake(workshop: Workshop) -> None:
    found = workshop.problems(HEAD + STEPS.replace("each: SPECIMEN", "each: SPECIMENS"))
    assert any("SPECIMENS" in line for line in found)
    found = workshop.problems(HEAD + "  - each: ORDER\n    do:\n      - drop: nothing\n")
    assert any("put each: PATIENT around it" in line for line in found)
