"""Mappings that write no FHIR: what steps make of a message, in the plain and in the traced variant alike."""

import csv
import io
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.mapping import Program, load
from engine.mapping.explanations.differences import differences
from engine.mapping.explanations.explaining import ENVELOPE, LITERAL, RULE
from engine.mapping.language.targets import CsvForm
from engine.mapping.outputs import documents
from engine.mapping.outputs.collected import MessageParts
from engine.mapping.outputs.documents import lines
from engine.mapping.values.json_text import as_text
from engine.model.errors import ConfigError, ContentError
from engine.model.message import Mapped, Report
from engine.model.texts.reasons import ReasonCode
from tests.support.mapping_texts import ASTM, HL7, Workshop, context, parse, run_of


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def program(workshop: Workshop, to: str, steps: str, *, source: str = "astm/E1394", head: str = "") -> Program:
    begin = f"mapping: m\nformat: labrelay-mapping/1\nfrom: {source}\nto: {to}\n{head}steps:\n"
    workshop.write("m.yaml", begin + textwrap.indent(textwrap.dedent(steps).strip("\n"), "  ") + "\n")
    return load("m", [workshop.folder])


def problems(workshop: Workshop, to: str, steps: str, **more: Any) -> tuple[str, ...]:
    try:
        return program(workshop, to, steps, **more).problems
    except ConfigError as error:
        return error.problems


def mapped(made: Program, message: str = ASTM, settings: dict[str, Any] | None = None, **given: Any) -> Mapped:
    parsed, ctx = parse(message), context(settings=settings or {}, **given)
    found = made.apply(parsed, ctx)
    trace = made.explain(parsed, ctx)
    assert trace.mapped is not None, trace.error
    assert trace.mapped.documents == found.documents
    assert trace.mapped.counts == found.counts
    return found


def text(made: Program, message: str = ASTM, settings: dict[str, Any] | None = None, **given: Any) -> str:
    (document,) = mapped(made, message, settings, **given).documents
    return made.view(document).text()


def segments(made: Program, message: str = ASTM, settings: dict[str, Any] | None = None, **given: Any) -> list[str]:
    """All but MSH."""
    return text(made, message, settings, **given).splitlines()[1:]


RESULTS = """
- each: PATIENT
  do:
    - each: ORDER
      do:
        - segment: OBR
          fields: {4: {1: CBC, 3: L}}
        - each: RESULT
          do:
            - segment: OBX
              fields:
FIELDS
"""
OBX = "- segment: OBX\n  fields: {2: ST, 3: {1: =R-3.5}, 5: =R-4, 11: F}\n"


def results(fields: str) -> str:
    return RESULTS.replace("FIELDS", textwrap.indent(textwrap.dedent(fields).strip("\n"), " " * 16))


def first_result(workshop: Workshop, fields: str, message: str = ASTM, **given: Any) -> list[str]:
    """The fields of the first OBX."""
    made = program(workshop, "hl7v2/ORU_R01", results(fields))
    return next(line for line in segments(made, message, **given) if line.startswith("OBX")).split("|")


# -- HL7 v2 ----------------------------------------------------------------------------------------------------------


def test_a_message_is_built_around_the_segments(workshop: Workshop) -> None:
    made = program(workshop, "hl7v2/ORU_R01", results("{2: NM, 3: {1: =R-3.5}, 5: =R-4, 6: {1: =whole(R-5)}, 11: F}"))
    msh, *rest = text(made).splitlines()
    head = msh.split("|")
    assert head[1:3] == ["^~\\&", "LABRELAY"]
    assert (head[6], head[8], head[10], head[11], head[17]) == (
        "20260301101530", "ORU^R01^ORU_R01", "P", "2.5.1", "UNICODE UTF-8",
    )  # fmt: skip
    assert rest == ["OBR|1|||CBC^^L", "OBX|1|NM|WBC||8.13|10*3/uL|||||F", "OBX|2|NM|RBC||4.50|10*6/uL|||||F"]
    assert mapped(made).counts == {"results_in": 2, "observations": 2}


def test_fields_hold_components_subcomponents_and_repetitions(workshop: Workshop) -> None:
    found = first_result(
        workshop,
        """
        2: ST
        '3.1': =R-3.5
        3.3: L
        3.4: absent-looking
        5: [=R-4, fixed, =R-6]
        8: =R-7[*]
        11: F
        16: {2: {1: =P-6.1, 2: von}, 9: {1: a|b, 2: c&d}}
        """,
    )
    assert found[3] == "WBC^^L^absent-looking"
    assert found[5] == "8.13~fixed~4.0-11.0"
    assert found[8] == "N"
    assert found[16] == "^Doe&von^^^^^^^a\\F\\b&c\\T\\d"


def test_a_part_whose_expressions_are_all_absent_is_left_out(workshop: Workshop) -> None:
    found = first_result(workshop, "{2: ST, 3: {1: =R-3.5, 3: L}, 5: =R-4, 6: {1: =R-10, 3: UCUM}, 11: F}")
    assert found[6] == ""
    made = program(
        workshop,
        "hl7v2/ORU_R01",
        "- each: PATIENT\n  do:\n    - segment: PV1\n      fields: {2: O, 19: =P-30}\n"
        "    - segment: PID\n      fields: {3: =P-4, 5: =P-6}\n    - each: ORDER\n      do: [{drop: not wanted}]\n",
    )
    assert segments(made) == ["PID|1||4711||Doe^Jane"]


def test_settings_alone_make_no_segment(workshop: Workshop) -> None:
    steps = """
    - each: PATIENT
      let: {authority: =setting('authority')}
      do:
        - segment: PID
          fields: {3: {1: =P-5, 4: =authority}, 5: {1: =P-6.1}}
        - each: ORDER
          do: [{drop: not wanted}]
    """
    made = program(workshop, "hl7v2/ORU_R01", steps)
    assert segments(made, settings={"authority": "HOSP"}) == ["PID|1||||Doe"]


def test_a_field_that_was_read_is_carried_over_in_the_delimiters_of_the_message(workshop: Workshop) -> None:
    steps = """
    - segment: MSH
      fields: {1: "#", 2: "^~?*", "9.2": R40}
    - each: PATIENT_RESULT
      do:
        - segment: PID
          fields: {3: "=PID-3[*]", 5: =PID-5, 13: =PID-13}
        - each: ORDER_OBSERVATION
          do: [{drop: not wanted}]
    """
    made = program(workshop, "hl7v2/ORU_R01", steps, source="hl7v2/ORU_R01")
    message = HL7.replace("4711^^^HOSP^MR", "4711^^^HOSP&1.2&ISO^MR~88^^^L\\T\\B").replace("Doe^Jane", "D*e?^Ja\\S\\e")
    (document,) = mapped(made, message).documents
    head, pid = document.body.decode().split("\r")[:2]
    assert head.startswith("MSH#^~?*#")
    assert "ORU^R40^ORU_R01" in head
    assert pid == "PID#1##4711^^^HOSP*1.2*ISO^MR~88^^^L&B##D?T?e?E?^Ja?S?e^Q"


def test_times_are_written_as_hl7_has_them(workshop: Workshop) -> None:
    fields = "{2: ST, 3: a, 5: =R-4, 11: F, 14: =datetime(R-13)}"
    assert first_result(workshop, fields)[14] == "20260301101500"  # the offset of the channel's own zone
    elsewhere = ASTM.replace("|20260301101500\nC", "|20260301101500+0100\nC")
    assert first_result(workshop, fields, elsewhere)[14] == "20260301101500+0100"
    assert first_result(workshop, fields, settings={"time_offsets": "yes"})[14] == "20260301101500+0530"
    first_day = ASTM.replace("|20260301101500\nC", "|00010101000000+0530\nC")  # of the calendar: in UTC it has no date
    assert first_result(workshop, fields, first_day)[14] == "00010101000000+0530"
    assert first_result(workshop, "{2: DT, 3: a, 5: =date(R-13), 11: =R-9}")[5] == "20260301"
    assert first_result(workshop, "{2: TM, 3: a, 5: =time('1015'), 11: =R-9}")[5] == "101500"


def test_the_control_id_is_that_of_what_is_written(workshop: Workshop) -> None:
    made = program(workshop, "hl7v2/ORU_R01", results("{2: NM, 3: {1: =R-3.5}, 5: =R-4, 11: F}"))

    def control_id(message: str, **given: Any) -> str:
        return text(made, message, **given).split("|")[9]

    first = control_id(ASTM, payload_hash="aa")
    assert len(first) == 20
    assert first == control_id(ASTM, payload_hash="aa")
    assert first != control_id(ASTM, payload_hash="bb")
    assert first != control_id(ASTM.replace("8.13", "8.14"), payload_hash="aa")
    assert first != control_id(ASTM, payload_hash="aa", key=bytes(32))


def test_without_a_time_of_its_own_a_message_has_that_of_its_receipt(workshop: Workshop) -> None:
    made = program(workshop, "hl7v2/ORU_R01", results("{2: NM, 3: {1: =R-3.5}, 5: =R-4, 11: F}"))
    assert text(made, ASTM.replace("|20260301101530", "")).split("|")[6] == "20260301045000+0000"


def test_a_result_that_becomes_nothing_makes_the_message_dead(workshop: Workshop) -> None:
    made = program(
        workshop,
        "hl7v2/ORU_R01",
        results("{2: NM, 3: {1: =R-3.5}, 5: =R-4, 11: F}").replace(
            "            - segment: OBX", "            - segment: OBX\n              when: =R-6"
        ),
    )
    with pytest.raises(ContentError) as caught:
        made.apply(parse(ASTM), context())
    assert caught.value.reason is ReasonCode.COUNT_MISMATCH


def test_a_field_that_the_standard_requires_and_that_is_empty_makes_the_message_dead(workshop: Workshop) -> None:
    made = program(workshop, "hl7v2/ORU_R01", results("{2: NM, 3: {1: =R-3.9}, 5: =R-4, 11: F}"))
    with pytest.raises(ContentError) as caught:
        made.apply(parse(ASTM), context())
    assert caught.value.reason is ReasonCode.REQUIRED_ABSENT
    assert "OBX[1]-3" in caught.value.detail


def test_a_value_without_its_type_and_a_number_that_is_none_are_noticed(workshop: Workshop) -> None:
    made = program(workshop, "hl7v2/ORU_R01", results("{2: =R-20, 3: a, 5: =R-4, 11: F}"))
    with pytest.raises(ContentError, match="OBX\\[1\\]-2"):
        made.apply(parse(ASTM), context())
    made = program(workshop, "hl7v2/ORU_R01", results("{2: NM, 3: a, 5: =R-5, 11: F}"))
    found = [issue.code for issue in mapped(made).issues]
    assert found.count("NOT_A_NUMBER") == 2


def test_what_is_wrong_with_the_message_that_is_written_is_told_of_no_place_in_the_one_that_was_read(
    workshop: Workshop,
) -> None:
    made = program(workshop, "hl7v2/ORU_R01", results("{2: NM, 3: a, 5: =R-5, 11: F}"))
    assert {one.place for one in mapped(made).issues if one.code == "NOT_A_NUMBER"} == {""}
    for fields in ("{2: NM, 3: {1: =R-3.9}, 5: =R-4, 11: F}", "{2: =R-20, 3: a, 5: =R-4, 11: F}"):
        with pytest.raises(ContentError) as caught:
            program(workshop, "hl7v2/ORU_R01", results(fields)).apply(parse(ASTM), context())
        assert caught.value.place == ""


def test_a_patient_without_number_or_name_is_warned_of(workshop: Workshop) -> None:
    steps = """
    - each: PATIENT
      do:
        - segment: PID
          fields: {3: =P-4, 5: =P-6}
        - each: ORDER
          do: [{drop: not wanted}]
    """
    made = program(workshop, "hl7v2/ORU_R01", steps, head="policies: {no_patient: dead}\n")

    def warnings(message: str) -> list[tuple[str, str]]:
        return [(one.text, one.place) for one in mapped(made, message).issues if one.code == "REQUIRED_ABSENT"]

    assert warnings(ASTM) == []
    nameless = ASTM.replace("Doe^Jane", "")
    assert warnings(nameless) == [("PID[1]-5 of the message that is written is empty", "")]


def test_a_group_may_be_dropped_or_filtered_as_with_fhir(workshop: Workshop) -> None:
    steps = """
    - each: PATIENT
      do:
        - each: ORDER
          filter: {when: =O-3 == 'QC', as: qc}
          do:
            - each: RESULT
              where: =R-6
              row: {code: =R-3.5}
            - each: RESULT
              where: =not R-6
              do: [{drop: no range}]
    """
    made = program(workshop, "csv", steps)
    assert mapped(made).counts == {"results_in": 2, "observations": 1, "dropped": 1}
    assert mapped(made, ASTM.replace("|S77|", "|QC|")).filtered is ReasonCode.QUALITY_CONTROL


def test_cases_fragments_and_lets_work_in_fields(workshop: Workshop) -> None:
    workshop.write(
        "parts.yaml",
        """\
        mapping-library: parts
        format: labrelay-mapping/1
        fragments:
          coded:
            takes: [code]
            body: {1: =code, 3: L}
          typed:
            takes: []
            let: {number: =decimal(R-4)}
            body:
              $case:
                - when: =number.value
                  2: NM
                  5: =number.value
                - else: true
                  2: ST
                  5: =R-4
          line:
            takes: []
            steps:
              - segment: OBX
                fields:
                  $use: typed
                  $let: {unit: =whole(R-5)}
                  3: {$use: coded, $with: {code: =R-3.5}}
                  6: =unit
                  11: F
        """,
    )
    steps = "- each: PATIENT\n  do:\n    - each: ORDER\n      do:\n        - each: RESULT\n          $use: line\n"
    made = program(workshop, "hl7v2/ORU_R01", steps, head="import: [parts]\n")
    found = segments(made, ASTM.replace("|8.13|", "|many|"))
    assert found == ["OBX|1|ST|WBC^^L||many|10*3/uL|||||F", "OBX|2|NM|RBC^^L||4.50|10*6/uL|||||F"]


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        ("{3: a, 11: F, 99: =R-4}", "m.yaml:15:39: OBX has 33 fields, there is no OBX-99"),
        ("{3: a, 11: F, x: =R-4}", "m.yaml:15:39: 'x' is no number of a part of OBX"),
        ("{3: a, 11: F, 0: =R-4}", "m.yaml:15:39: '0' is no number of a part of OBX"),
        ("{3: a, 11: F, 18: {9: =R-4}}", "m.yaml:15:44: OBX-18 (EI) has 4 components, there is no OBX-18.9"),
        ("{3: a, 11: F, 23.6.9: =R-4}", "m.yaml:15:39: OBX-23.6 (HD) has 3 subcomponents, there is no OBX-23.6.9"),
        ("{3: a, 11: F, 8: {2: =R-4}}", "m.yaml:15:43: OBX-8 is a IS in v2.5, which has no parts"),
        ("{3: a, 11: F, 3.1: =R-4}", "m.yaml:15:39: 3.1 is here a second time"),
        ("{3: a, 11: F, 18: R-14}", "m.yaml:15:43: 'R-14' looks like an expression and is a literal"),
        ("{3: a, 11: F, 18: {1: [=R-4]}}", "m.yaml:15:44: OBX-18.1 is no field: only fields repeat"),
        ('{3: a, 11: F, 18: {1: "=R-7[*]"}}', "m.yaml:15:49: OBX-18.1 takes one text, and this is a list of field"),
        (
            "{3: a, 11: F, 18: =decimal(R-4)}",
            "m.yaml:15:44: OBX-18 takes a text or a field, and this is measured; .value",
        ),
        ("{3: a, 11: F, 18: =R-4 == '1'}", "m.yaml:15:44: OBX-18 takes a text or a field, and this is flag; write 'Y'"),
        (
            "{3: a, 11: F, 18: =text_concept(R-4)}",
            "m.yaml:15:44: OBX-18 takes a text or a field, and this is CodeableConcept",
        ),
        ("{5: =R-4, 3: a, 11: F}", "m.yaml:14:26: OBX-2 is missing; it names the type of OBX-5"),
        ("{2: NM, 5: =R-4, 11: F}", "m.yaml:14:26: OBX-3 is missing; the standard requires it"),
    ],
)
def test_what_is_wrong_with_fields_is_found_when_they_are_loaded(workshop: Workshop, fields: str, finding: str) -> None:
    found = problems(workshop, "hl7v2/ORU_R01", results(fields).replace("fields:\n                {", "fields: {"))
    assert any(line.startswith(finding) for line in found), found


@pytest.mark.parametrize(
    ("to", "steps", "finding"),
    [
        ("hl7v2/ORU_R01", "- segment: TXA\n  fields: {2: =H-5}\n", "m.yaml:6:14: ORU_R01 has no segment TXA"),
        ("hl7v2/ORU_R01", "- segment: OBY\n  fields: {2: =H-5}\n", "m.yaml:6:14: ORU_R01 has no segment OBY"),
        ("hl7v2/ORU_R01", "- row: {a: =H-5}\n", "m.yaml:6:10: row: is no part of hl7v2/ORU_R01; write segment:"),
        ("csv", "- segment: OBX\n  fields: {3: =H-5}\n", "m.yaml:6:14: segment: is no part of csv; write row:"),
        (
            "json",
            "- create: Patient\n  key: =H-5\n  body: {active: true}\n",
            "m.yaml:6:13: create: makes FHIR, and this mapping writes json",
        ),
        ("fhir/R4", "- row: {a: =H-5}\n", "m.yaml:6:10: row: is no part of fhir/R4"),
        ("hl7v2/ORU_R01", "- segment: =H-5\n  fields: {3: =H-5}\n", "m.yaml:6:14: segment: is a fixed name"),
        ("hl7v2/ORU_R01", "- segment: OBX\n", "m.yaml:6:5: a segment: needs fields:"),
        ("hl7v2/ORU_R01", "- drop: x\n  fields: {3: =H-5}\n", "m.yaml:7:5: fields: belongs to a segment:"),
        ("hl7v2/ORU_R01", "- segment: MSH\n  fields: {1: =H-5}\n", "m.yaml:7:14: MSH-1 is written as a literal"),
        (
            "hl7v2/ORU_R01",
            "- segment: MSH\n  fields: {2: '^^\\&'}\n",
            "m.yaml:7:18: MSH-1 is one sign and MSH-2 four others",
        ),
        (
            "hl7v2/ORU_R01",
            "- segment: MSH\n  fields: {12: 2.5.2}\n",
            "m.yaml:7:18: there is no version 2.5.2; did you mean",
        ),
        ("hl7v2/ORU_R01", "- segment: MSH\n  fields: {10: =H-3}\n", "m.yaml:7:14: LabRelay gives MSH-10 by itself"),
        ("hl7v2/ORU_R01", "- segment: PID\n  fields: {5: =P-6}\n", "m.yaml:7:18: P is inside a group"),
        ("csv", "- row: {a: [=H-5]}\n", "m.yaml:6:11: a is a cell, which holds one text"),
        ("csv", "- row: {a: '=H-5[*]'}\n", "m.yaml:6:16: row.a takes one text, and this is a list of field; join it"),
        ("csv", "- row: {a: =decimal(H-5)}\n", "m.yaml:6:15: row.a takes a text, and this is measured"),
        ("json", "- record: a\n  body: {x: =decimal(H-5)}\n", "m.yaml:7:16: a.x takes a text, a number"),
        ("json", "- record: a\n  body: {x: R-4}\n", "m.yaml:7:15: 'R-4' looks like an expression"),
        ("hl7v2/ORU_X01", "- drop: x\n", "m.yaml:4:5: 'hl7v2/ORU_X01' is not written; did you mean hl7v2/ORU_R01?"),
        ("xml", "- drop: x\n", "m.yaml:4:5: 'xml' is not written; write fhir/R4, hl7v2/ORU_R01"),
    ],
)
def test_what_is_wrong_with_steps_is_found_when_they_are_loaded(
    workshop: Workshop, to: str, steps: str, finding: str
) -> None:
    found = problems(workshop, to, steps)
    assert any(line.startswith(finding) for line in found), found


@pytest.mark.parametrize(
    ("to", "head", "finding"),
    [
        ("csv", "bundle: transaction\n", "m.yaml:5:1: bundle: belongs to fhir/R4, and this mapping writes csv"),
        ("json", "csv: {header: no}\n", "m.yaml:5:1: csv: belongs to a mapping with to: csv"),
        ("csv", "csv: {delimiter: x}\n", "m.yaml:5:18: the delimiter is one of"),
        ("csv", "csv: {header: maybe}\n", "m.yaml:5:15: header is yes or no"),
        ("csv", "csv: {heading: no}\n", "m.yaml:5:7: csv: has no key 'heading'"),
        ("csv", "csv: plain\n", "m.yaml:5:6: csv: is a map"),
    ],
)
def test_what_is_wrong_with_the_head_is_found_when_it_is_loaded(
    workshop: Workshop, to: str, head: str, finding: str
) -> None:
    found = problems(workshop, to, "- drop: x\n", head=head)
    assert any(line.startswith(finding) for line in found), found


def test_every_written_value_is_explained(workshop: Workshop) -> None:
    fields = "{2: NM, 3: {1: =R-3.5, 3: L}, 5: =R-4, 8: [=R-7, =R-9, X], 11: F}"
    made = program(workshop, "hl7v2/ORU_R01", results(fields))
    trace = made.explain(parse(ASTM), context())
    found = {leaf.path: (leaf.value, leaf.origin, leaf.sources) for leaf in trace.leaves}
    assert found["OBX[2].5"] == ("4.50", RULE, ("R[2]-4",))
    assert found["OBX[2].3.1"] == ("RBC", RULE, ("R[2]-3.5",))
    assert found["OBX[2].3.3"][1] == LITERAL
    assert found["OBX[2].1"] == ("2", ENVELOPE, ())
    assert found["OBX[1].8[2]"] == ("F", RULE, ("R[1]-9",))
    assert found["OBX[1].8[3]"][1] == LITERAL
    assert found["MSH[1].10"][1] == ENVELOPE
    (document,) = trace.mapped.documents if trace.mapped else ()
    written = sum(
        1
        for part in made.view(document).parts()
        for place, value in part.items()
        if place != "resourceType" and value and f"{place}.1" not in part
    )
    assert written == len(found)


def test_a_code_that_the_table_lacks_drops_its_result_and_never_the_last_one(workshop: Workshop) -> None:
    workshop.write("tables/codes.csv", "code,loinc\nWBC,6690-2\n")
    head = "tables:\n  analytes: {csv: tables/codes.csv, key: [code], on_missing: drop}\n"
    steps = results("{2: NM, 3: {1: =R-3.5, 4: \"=lookup('analytes', R-3.5).loinc\"}, 5: =R-4, 11: F}")
    made = program(workshop, "hl7v2/ORU_R01", steps, head=head)
    found = mapped(made)
    assert found.counts == {"results_in": 2, "observations": 1, "dropped": 1}
    assert [one.code for one in found.unmapped] == ["RBC"]
    with pytest.raises(ContentError) as caught:
        made.apply(parse(ASTM.replace("WBC", "XXX")), context())
    assert caught.value.reason is ReasonCode.UNMAPPED_CODE


def test_policies_hold_for_every_output(workshop: Workshop) -> None:
    head = "policies: {no_patient: dead, unread_segment: dead}\n"
    steps = """
    - each: PATIENT
      do:
        - segment: PID
          fields: {3: =P-3, 5: =P-6}
        - each: ORDER
          do: [{drop: not wanted}]
    """
    made = program(workshop, "hl7v2/ORU_R01", steps, head=head)
    with pytest.raises(ContentError) as caught:
        made.apply(parse(ASTM.replace("C|1|I|clots|G\n", "")), context())
    assert caught.value.reason is ReasonCode.NO_PATIENT
    with pytest.raises(ContentError) as caught:
        made.apply(parse(ASTM.replace("L|1|N", "M|1|x\nL|1|N")), context())
    assert caught.value.reason is ReasonCode.UNREAD_SEGMENT


def test_nobodys_result_is_never_written_behind_the_pid_of_another_patient(workshop: Workshop) -> None:
    steps = """
    - each: PATIENT
      do:
        - segment: PID
          fields: {3: {1: =P-4}, 5: =P-6}
        - each: ORDER
          do:
            - segment: OBR
              fields: {3: =O-3, 4: CBC}
            - each: RESULT
              do:
                - segment: OBX
                  fields: {2: NM, 3: {1: =R-3.5}, 5: =R-4, 11: F}
    """
    made = program(workshop, "hl7v2/ORU_R01", steps)
    nobody = "P|2\nO|1|S78\nR|1|^^^^WBC|1\n"
    with pytest.raises(ContentError) as caught:
        made.apply(parse(ASTM.replace("L|1|N", nobody + "L|1|N")), context())
    assert caught.value.reason is ReasonCode.NO_PATIENT
    first = ASTM.replace("P|1||4711", f"{nobody}P|1||4711")  # before it, nothing can be taken for another's
    assert [line[:6] for line in segments(made, first)][:3] == ["OBR|1|", "OBX|1|", "PID|1|"]


def test_a_result_is_never_written_behind_the_obr_of_another_order(workshop: Workshop) -> None:
    steps = results("{2: NM, 3: {1: =R-3.5}, 5: =R-4, 11: F}").replace(
        "- segment: OBR\n", "- segment: OBR\n          when: =O-5\n"
    )
    made = program(workshop, "hl7v2/ORU_R01", steps)
    assert len(segments(made)) == 3
    with pytest.raises(ContentError) as caught:
        made.apply(parse(ASTM.replace("L|1|N", "O|2|S78\nR|1|^^^^WBC|1\nL|1|N")), context())
    assert caught.value.reason is ReasonCode.NO_IDENTITY


def test_an_order_number_and_its_patient_are_remembered(workshop: Workshop) -> None:
    steps = """
    - each: PATIENT
      do:
        - segment: PID
          fields: {3: {1: =P-4}, 5: =P-6}
        - each: ORDER
          do:
            - segment: OBR
              fields: {3: =O-3, 4: CBC}
            - each: RESULT
              do:
                - segment: OBX
                  fields: {2: NM, 3: {1: =R-3.5}, 5: =R-4, 11: F}
    """
    made = program(workshop, "hl7v2/ORU_R01", steps)

    def reports(message: str) -> tuple[Report, ...]:
        return mapped(made, message).documents[0].reports

    (first,), (again,) = reports(ASTM), reports(ASTM.replace("8.13", "9.13"))
    assert first == again
    (other,) = reports(ASTM.replace("4711", "4712"))
    assert (other.key, other.patient == first.patient) == (first.key, False)
    (elsewhere,) = reports(ASTM.replace("|S77|", "|S78|"))
    assert (elsewhere.key == first.key, elsewhere.patient) == (False, first.patient)
    assert len(first.person) == 16
    two = ASTM.replace("L|1|N", "P|2||4799||Roe^Rob||19700101|M\nO|1|S77\nR|1|^^^^WBC|1\nL|1|N")
    with pytest.raises(ContentError) as caught:
        made.apply(parse(two), context(specimen_ids="unique"))
    assert caught.value.reason is ReasonCode.IDENTITY_CONFLICT


# -- JSON --------------------------------------------------------------------------------------------------------------

JSON_STEPS = """
- document:
    sender: =H-5.1
    format: 1.50
    made: true
    fixed: {a/b~: b}
    quoted: "1.50"
    gone: {a: =H-3, b: c}
- each: PATIENT
  record: patients
  body: {id: =P-4, absent: =P-5}
  do:
    - each: ORDER
      do:
        - each: RESULT
          record: results
          body:
            code: =R-3.5
            value: =decimal(R-4).value
            double: =number(R-4) * 2
            high: =R-4 > 5
            flags: =R-7[*]
            at: =datetime(R-13)
            more: [=R-5, a, {x: =R-6, y: 1}]
"""


def test_records_stand_inside_each_other_with_every_digit(workshop: Workshop) -> None:
    made = program(workshop, "json", JSON_STEPS)
    (document,) = mapped(made).documents
    assert document.media_type == "application/json"
    assert document.body.decode() == (
        '{"sender":"XN-550","format":1.50,"made":true,"fixed":{"a/b~":"b"},"quoted":"1.50","patients":[{"id":"4711","results":['
        '{"code":"WBC","value":8.13,"double":16.26,"high":true,"flags":["N"],"at":"2026-03-01T10:15:00+05:30",'
        '"more":["10*3/uL","a",{"x":"4.0-11.0","y":1}]},'
        '{"code":"RBC","value":4.50,"double":9.00,"high":false,"flags":["N"],"more":["10*6/uL","a"]}]}]}'
    )


def test_every_member_is_explained_by_its_place_in_the_document(workshop: Workshop) -> None:
    trace = program(workshop, "json", JSON_STEPS).explain(parse(ASTM), context())
    found = {leaf.path: (leaf.value, leaf.origin, leaf.sources) for leaf in trace.leaves}
    assert found["sender"] == ("XN-550", RULE, ("H[1]-5.1",))
    assert found["made"][1] == LITERAL
    assert found["patients[0].results[1].value"] == ("4.50", RULE, ("R[2]-4",))
    assert found["patients[0].results[0].more[2].x"] == ("4.0-11.0", RULE, ("R[1]-6",))
    (document,) = trace.mapped.documents if trace.mapped else ()
    whole = as_text(document.body)
    for leaf in trace.leaves:
        assert _at(whole, leaf.pointer) == leaf.value
    assert len(trace.leaves) == len(list(_scalars(whole)))


def _at(value: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        value = value[int(step)] if isinstance(value, list) else value[step.replace("~1", "/").replace("~0", "~")]
    return value


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _scalars(inner)
    else:
        yield value


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_what_a_json_parser_reads(value: str) -> None:
    run = run_of(ASTM)
    making = MessageParts(run)
    making.describe({"a": value}, said=True)
    assert orjson.loads(documents.assemble(making)) == {"a": value}


# -- CSV ---------------------------------------------------------------------------------------------------------------

ROW = """\
- each: PATIENT
  do:
    - each: ORDER
      do:
        - each: RESULT
          row: {code: =R-3.5, value: =R-4, 'a b': fixed}
"""


def test_rows_have_the_same_columns_in_the_order_of_the_rules(workshop: Workshop) -> None:
    steps = ROW + '        - when: =O-3\n          do:\n            - row: {total: "=count(R[*])", code: sum}\n'
    made = program(workshop, "csv", steps)
    assert text(made).splitlines() == ["code,value,a b,total", "WBC,8.13,fixed,", "RBC,4.50,fixed,", "sum,,,2"]
    assert mapped(made).documents[0].media_type == "text/csv; charset=utf-8"


def test_a_mapping_and_a_channel_say_how_lines_are_written(workshop: Workshop) -> None:
    made = program(workshop, "csv", ROW, head="csv: {delimiter: ';', header: no}\n")
    assert text(made).splitlines()[0] == "WBC;8.13;fixed"
    assert text(made, settings={"csv_delimiter": "tab", "csv_header": "yes"}).splitlines()[0] == "code\tvalue\ta b"


def test_rows_without_a_header_are_compared_by_the_columns_of_the_rules(workshop: Workshop) -> None:
    made = program(workshop, "csv", ROW, head="csv: {delimiter: ';', header: no}\n")
    (document,) = mapped(made).documents
    first, second = made.view(document).parts()
    assert (first["code"], first["value"], second["code"]) == ("WBC", "8.13", "RBC")


def test_every_cell_is_explained(workshop: Workshop) -> None:
    trace = program(workshop, "csv", ROW).explain(parse(ASTM), context())
    found = {leaf.path: (leaf.value, leaf.sources) for leaf in trace.leaves}
    assert found["row[2].value"] == ("4.50", ("R[2]-4",))


cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(
    "=+-@\t\r\n,;\"' 1.5e\uff1d", max_size=8
)


@given(st.lists(st.tuples(cells, cells), max_size=4), st.sampled_from(",;|\t"), st.booleans())
def test_any_cell_is_what_a_csv_reader_reads_and_no_formula(
    rows: list[tuple[str, str]], delimiter: str, guard: bool
) -> None:
    form = CsvForm(delimiter, True, guard)
    made = lines(["a", "b"], [{"a": one, "b": other} for one, other in rows], form).decode()
    head, *found = csv.reader(io.StringIO(made, newline=""), delimiter=delimiter)
    assert head == ["a", "b"]
    assert len(found) == len(rows)
    for wanted, got in zip(rows, found, strict=True):
        for cell, read in zip(wanted, got, strict=True):
            plain = "".join("\ufffd" if ord(sign) < 0x20 and sign not in "\t\r\n" else sign for sign in cell)
            assert read in (plain, "'" + plain) if guard else read == plain
            if guard and read.lstrip(" ")[:1] in tuple("=@\t\r\n\uff1d"):
                pytest.fail(f"{read!r} is a formula")


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+ 49 30", "'+ 49 30"),
        ("-2.5", "-2.5"),
        ("+0,5", "+0,5"),
        ("-1e-3", "-1e-3"),
        ("-SUM(A1)", "'-SUM(A1)"),
        ("@x", "'@x"),
        (" =1", "' =1"),
        ("\uff1dx", "'\uff1dx"),
        ("++", "'++"),
        ("-", "'-"),
    ],
)
def test_a_text_is_no_formula_unless_it_is_a_number(cell: str, written: str) -> None:
    made = lines(["a"], [{"a": cell}], CsvForm(";", header=False)).decode()
    assert next(csv.reader([made], delimiter=";")) == [written]


# -- hostile -----------------------------------------------------------------------------------------------------------

names = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=20).filter(
    lambda name: name.strip() == name and name.isprintable() and not name.startswith("$")
)


@given(names, st.text("abc'\"\\{}()\n;#", max_size=12))
def test_no_name_and_no_literal_gets_into_the_generated_source(name: str, literal: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text_of_name, text_of_literal = orjson.dumps(name).decode(), orjson.dumps(f"zq{literal}").decode()
        head = "mapping: m\nformat: labrelay-mapping/1\nfrom: astm/E1394\nto: json\nsteps:\n"
        Path(folder, "m.yaml").write_text(f"{head}  - document: {{{text_of_name}: =H-5, other: {text_of_literal}}}\n")
        made = load("m", [Path(folder)])
        assert "zq" not in made.plain["E1394"].made.source
        document = orjson.loads(made.apply(parse("H|\\^&|||XN-550\nL|1|N\n"), context()).documents[0].body)
        assert document[name] == "XN-550"


# -- two of one message ---------------------------------------------------------------------------------------------


def test_two_messages_are_compared_field_by_field(workshop: Workshop) -> None:
    fields = "{2: NM, 3: {1: =R-3.5}, 5: =R-4, 11: F}"
    (before,) = mapped(program(workshop, "hl7v2/ORU_R01", results(fields))).documents
    steps = results("{2: NM, 3: {1: =R-3.5, 3: L}, 5: =R-4, 6: {1: =whole(R-5)}, 11: F}")
    steps += "            - segment: NTE\n              when: =C\n              fields: {3: =C-4}\n"
    (after,) = mapped(program(workshop, "hl7v2/ORU_R01", steps)).documents
    assert differences(before.body, before.body) == []
    found = [(change.kind, change.path) for change in differences(before.body, after.body)]
    both = [("changed", "OBX-3"), ("added", "OBX-6")]
    assert found == [*both, ("added", "NTE"), *both]
    again = [(change.kind, change.path) for change in differences(after.body, before.body)]
    assert again == [
        ("changed", "OBX-3"),
        ("removed", "OBX-6"),
        ("removed", "NTE"),
        ("changed", "OBX-3"),
        ("removed", "OBX-6"),
    ]
