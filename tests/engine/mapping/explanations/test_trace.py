"""Traces: both variants of a mapping agree, and every value can say where it came from."""

from pathlib import Path

import pytest

from engine.mapping import Program
from engine.mapping.explanations.explain_text import chosen, lines
from engine.mapping.trying.inputs import Mapper, messages_in
from engine.model.errors import ContentError
from engine.model.message import MapContext, Mapped, Parsed
from tests.support.corpus import CorpusFile, own_and_captured
from tests.support.mapping_texts import HL7, RECEIVED, Workshop, context, parse
from tests.support.shipped import MAPPINGS

STEPS = """
- each: PATIENT_RESULT
  do:
    - create: Patient
      as: patient
      key: =PID-3.1
      body:
        name: =xpn(PID-5)
    - each: ORDER_OBSERVATION
      let:
        at: =datetime(OBR-7)
      do:
        - each: OBSERVATION
          create: Observation
          key: =[OBX-3.1, OBX-4 | '-']
          let:
            row: =lookup('analytes', OBX-3.1, OBX-6)
          body:
            status: final
            code: =cwe(OBX-3)
            subject: =ref(patient)
            effectiveDateTime: =datetime(OBX-14) | at
            valueQuantity: =quantity(decimal(OBX-5), row, OBX-6)
            component:
              - code: =text_concept('x')
                valueString: =OBX-5
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    workshop = Workshop(tmp_path)
    workshop.write("t.csv", "code,unit_in,loinc,unit,ucum,factor,digits\nHGB,g/dL,718-7,g/L,g/L,10,0\n")
    tables = "tables:\n  analytes: {csv: t.csv, key: [code, unit_in], on_missing: local}\n"
    return workshop.steps(STEPS, tables=tables)


def test_a_value_tells_its_rule_fields_and_row(program: Program) -> None:
    trace = program.explain(parse(HL7), context())
    leaves = {leaf.path: leaf for leaf in trace.leaves}
    value = leaves["Observation[1].valueQuantity.value"]
    assert value.value == "148"
    assert value.rule.startswith("m.yaml:")
    assert value.function == "quantity()"
    assert value.sources == ("OBX[1]-5", "OBX[1]-3.1", "OBX[1]-6")
    assert value.rows == ("row HGB,g/dL factor 10 digits 0",)
    assert leaves["Observation[1].effectiveDateTime"].sources == ("OBX[1]-14",)
    assert leaves["Observation[2].effectiveDateTime"].sources == ("OBR[1]-7",)  # through the let:
    assert leaves["Observation[2].component[0].valueString"].value == "yellow"
    assert leaves["Patient[1].name[0].given[1]"].value == "Q"


def test_a_row_tells_what_it_did_to_the_value_and_nothing_that_it_did_not(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    workshop.write(
        "t.csv", "code,unit_in,loinc,unit,ucum,factor,offset,digits\nHGB,g/dL,718-7,Cel,Cel,1,-32,1\nCOL,,5778-6,,,,,\n"
    )
    tables = "tables:\n  analytes: {csv: t.csv, key: [code, unit_in], on_missing: local}\n"
    trace = workshop.steps(STEPS, tables=tables).explain(parse(HL7), context())
    leaves = {leaf.path: leaf for leaf in trace.leaves}
    value = leaves["Observation[1].valueQuantity.value"]
    assert (value.value, value.rows) == ("-17.2", ("row HGB,g/dL offset -32 digits 1",))


def test_a_segment_or_repetition_chosen_by_its_number_is_told_as_source(tmp_path: Path) -> None:
    program = Workshop(tmp_path).steps("""
        - each: PATIENT_RESULT
          do:
            - create: Patient
              key: =PID-3.1
              body:
                identifier: =[identifier(absent, PID-3[1].1), identifier(absent, OBX[2]-3.1)]
                gender: =lookup('0001', PID-8)
                birthDate: =date(PID-7[1])
            - drop: rest
        """)
    message = parse(HL7)
    trace = program.explain(message, context())
    sources = {leaf.path: leaf.sources for leaf in trace.leaves}
    assert sources["Patient[1].birthDate"] == ("PID[1]-7",)
    assert {"PID[1]-3.1", "OBX[2]-3.1"} <= {
        source for path, found in sources.items() if path.startswith("Patient[1].identifier") for source in found
    }
    assert not {"PID-7", "PID-8"} & set(trace.unread)


def test_unread_are_the_fields_that_no_rule_touched(program: Program) -> None:
    trace = program.explain(parse(HL7), context())
    assert {"PID-1", "PID-7", "PID-8", "OBR-2", "OBX-11", "NTE-3"} <= set(trace.unread)
    assert not {"PID-3", "PID-5", "OBR-7", "OBX-3", "OBX-5", "MSH-2"} & set(trace.unread)


def test_a_part_of_a_trace_is_chosen_by_element_or_source(program: Program) -> None:
    trace = program.explain(parse(HL7), context())

    def paths(field: str) -> list[str]:
        return [leaf.path for leaf in chosen(trace.leaves, field)]

    assert paths("Observation[2].component") == [
        "Observation[2].component[0].code.text",
        "Observation[2].component[0].valueString",
    ]
    assert paths("Patient.name.family") == ["Patient[1].name[0].family"]
    assert set(paths("OBX[1]-14")) == {"Observation[1].effectiveDateTime"}
    assert "Observation[1].valueQuantity.value" in paths("OBX-5")
    assert paths("OBX-1") == []
    assert len(paths("")) == len(trace.leaves)


def test_values_are_shown_only_on_request(program: Program) -> None:
    trace = program.explain(parse(HL7), context())
    hidden = "\n".join(lines(trace, trace.leaves, values=False, whole=True))
    shown = "\n".join(lines(trace, trace.leaves, values=True, whole=True))
    assert "Doe" not in hidden
    assert "yellow" not in hidden
    assert "name[0].family = Doe" in shown
    assert "unread: " in hidden


def test_a_dead_message_is_explained_up_to_where_it_died(program: Program) -> None:
    trace = program.explain(parse(HL7.replace("COL^", "^")), context())
    assert trace.error is not None
    assert trace.error.place == "OBX[2]"
    assert [leaf.path for leaf in trace.leaves if leaf.path.startswith("Observation[1].value")]
    assert list(lines(trace, [], values=False, whole=True))[-1].startswith("dead: NO_IDENTITY at OBX[2]")


@pytest.mark.parametrize("file", own_and_captured(), ids=lambda file: file.name)
def test_plain_and_traced_variants_agree(file: CorpusFile) -> None:
    given = MapContext(
        channel="c", timezone="Asia/Kolkata", received_at=RECEIVED, settings={"processing_ids": ["T", "D"]}
    )
    mapper = SHIPPED
    for found in messages_in(file.path.read_bytes()):
        try:
            parsed = mapper.read(found)
            program = mapper.program_for(parsed)
        except ContentError:
            continue
        trace = program.explain(parsed, given)
        mapped, fault = outcome(program, parsed, given)
        assert str(trace.error or "") == fault
        if mapped is not None:
            assert trace.mapped is not None
            assert trace.mapped.documents == mapped.documents
            assert trace.mapped.counts == mapped.counts
            assert trace.mapped.unmapped == mapped.unmapped
            assert len(trace.leaves) > 0 or not mapped.documents


def outcome(program: Program, parsed: Parsed, given: MapContext) -> tuple[Mapped | None, str]:
    """What the plain variant makes of a message, or why it is dead."""
    try:
        return program.apply(parsed, given), ""
    except ContentError as error:
        return None, str(error)


SHIPPED = Mapper([MAPPINGS])
