"""The envelope, the counts, and the policies that hold for every message."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from engine.mapping import Program
from engine.mapping.functions import FUNCTIONS
from engine.model.errors import ContentError
from engine.model.texts.reasons import ReasonCode
from tests.support.mapping_texts import ASTM, HEAD, HL7, Workshop, apply, context, parse

OBSERVATIONS = """
- each: PATIENT_RESULT
  do:
    - create: Patient
      as: patient
      when: =PID-3
      key: =PID-3.1
      body:
        identifier: =cx(PID-3[*])
        name: =xpn(PID-5[*])
    - each: ORDER_OBSERVATION
      filter:
        when: =OBR-4.1 == 'QC'
        as: qc
      do:
        - each: OBSERVATION
          as: results
          where: =OBX-2 != 'CE'
          do:
            - drop: not wanted
              when: =OBX-3.1 == 'SKIP'
            - dead: "BAD_VALUE: an old analyzer's fault"
              when: =OBX-5 == 'BAD'
            - warn: "ODD: a value that is odd"
              when: =OBX-5 == 'ODD'
            - create: Observation
              when: =OBX-3.1 != 'SKIP'
              key: =[OBR-3.1 | '-', OBX-3.1, OBX-4 | '-']
              body:
                status: =lookup('0085', OBX-11)
                code: =cwe(OBX-3)
                valueString: =join(OBX-5[*])
                note: =annotation(NTE-3)
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


@pytest.fixture
def program(workshop: Workshop) -> Program:
    return workshop.steps(OBSERVATIONS)


def dead(program: Program, message: str, **given: object) -> ContentError:
    with pytest.raises(ContentError) as caught:
        program.apply(parse(message), context(**given))
    trace = program.explain(parse(message), context(**given))
    assert trace.error is not None
    assert (trace.error.reason, trace.error.place) == (caught.value.reason, caught.value.place)
    return caught.value


def test_identifier_time_and_provenance_come_from_the_message_and_the_context(program: Program) -> None:
    given = datetime(2026, 3, 1, 10, 20, 30, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    document = apply(program, received_at=given, payload_hash="ab" * 32).document
    assert document["identifier"] == {"system": "urn:labrelay:message:LAB:XN", "value": "M1"}
    assert document["timestamp"] == "2026-03-01T10:15:30+05:30"
    assert document["type"] == "transaction"
    provenance = document["entry"][-1]["resource"]
    assert provenance["recorded"] == "2026-03-01T04:50:30.123+00:00"
    assert provenance["entity"][0]["what"]["identifier"]["value"] == "ab" * 32
    assert provenance["policy"] == [f"urn:labrelay:mapping:m:{program.content_hash[:16]}"]
    assert len(provenance["target"]) == 2 + 1


def test_without_a_time_of_receipt_there_is_no_provenance(program: Program) -> None:
    made = apply(program, HL7.replace("20260301101530", ""), received_at=None)
    assert not made.all("Provenance")
    assert "timestamp" not in made.document


def test_two_senders_with_the_same_control_id_made_two_documents(program: Program, workshop: Workshop) -> None:
    """Where the bytes of the message are not known, its sender tells it from another one's."""

    def identity(program: Program, message: str) -> str:
        return str(apply(program, message).one("Provenance")["id"])

    assert identity(program, HL7) == identity(program, HL7)
    assert identity(program, HL7) != identity(program, HL7.replace("|XN|", "|XP|"))
    steps = """
        - each: PATIENT
          do:
            - create: Patient
              key: =P-4
              body: {active: true}
            - each: ORDER
              do: [{drop: not wanted}]
        """
    astm = workshop.steps(steps, message_format="astm/E1394")
    assert identity(astm, ASTM) == identity(astm, ASTM)
    assert identity(astm, ASTM) != identity(astm, ASTM.replace("XN-550", "XN-330"))


@pytest.mark.parametrize("bundle", ["collection", "message", "document"])
def test_other_envelopes_have_no_requests(workshop: Workshop, bundle: str) -> None:
    composition = """
- create: Composition
  key: =MSH-10
  body:
    status: final
    type: =concept('http://loinc.org', '11502-2')
    date: =message_time()
    author: =ref(lab)
    title: Report
"""
    steps = (
        """
- create: Organization
  as: lab
  key: =MSH-4
  request: create_if_none
  body:
    name: =MSH-4
"""
        + (composition if bundle == "document" else "")
        + OBSERVATIONS
    )
    program = workshop.load(f"{HEAD}bundle: {bundle}\nsteps:" + steps.replace("\n", "\n  "))
    made = apply(program)
    assert made.document["type"] == bundle
    assert all("request" not in entry for entry in made.document["entry"])
    assert all(entry["fullUrl"] == f"urn:uuid:{entry['resource']['id']}" for entry in made.document["entry"])
    first = made.document["entry"][0]["resource"]
    if bundle == "message":
        assert first["resourceType"] == "MessageHeader"
        assert first["eventCoding"]["code"] == "R01"
        assert first["source"] == {"name": "XN", "endpoint": "urn:labrelay:app:XN"}
    if bundle == "document":
        assert first["resourceType"] == "Composition"


def test_every_result_is_accounted_for(program: Program) -> None:
    assert apply(program).mapped.counts == {"results_in": 2, "observations": 2}
    dropped = apply(program, HL7.replace("COL^Color", "SKIP^Color"))
    assert dropped.mapped.counts == {"results_in": 2, "observations": 1, "dropped": 1}
    fault = dead(program, HL7.replace("|ST|COL", "|CE|COL"))
    assert fault.reason is ReasonCode.COUNT_MISMATCH
    assert "for 1 of them" in fault.detail


def test_controls_are_counted_and_no_result(program: Program) -> None:
    control = "OBR|2|O2|F2|QC^Control^L\nOBX|1|NM|HGB^Hb^L||7.0|g/dL||||F\n"
    mixed = apply(program, HL7 + control)
    assert mixed.mapped.counts == {"results_in": 3, "observations": 2, "qc": 1}
    only = apply(program, HL7.replace("CBC^Blood count", "QC^Control"))
    assert (only.mapped.filtered, only.mapped.documents) == (ReasonCode.QUALITY_CONTROL, ())
    assert only.mapped.counts["qc"] == 2


def test_a_message_of_training_or_debugging_does_not_pass(program: Program) -> None:
    training = HL7.replace("|M1|P|", "|M1|T|")
    fault = dead(program, training)
    assert (fault.reason, fault.place) == (ReasonCode.NOT_PRODUCTION, "MSH-11")
    assert apply(program, training, {"processing_ids": ["T"]}).mapped.documents
    control = apply(program, HL7.replace("|M1|P|", "|M1|Q|"))
    assert control.mapped.filtered is ReasonCode.QUALITY_CONTROL


def test_rules_may_warn_and_make_a_message_dead(program: Program) -> None:
    assert apply(program, HL7.replace("yellow", "ODD")).warnings == ["ODD"]
    fault = dead(program, HL7.replace("yellow", "BAD"))
    assert (fault.reason, fault.place) == (ReasonCode.BAD_VALUE, "OBX[2]")
    assert fault.detail.startswith("an old analyzer's fault (m.yaml:")


def test_a_required_element_without_a_value_is_dead_and_never_a_broken_resource(program: Program) -> None:
    fault = dead(program, HL7.replace("||||||F\nNTE", "||||||\nNTE"))
    assert (fault.reason, fault.place) == (ReasonCode.REQUIRED_ABSENT, "OBX[2]")
    assert "Observation.status" in fault.detail


def test_segments_that_no_rule_reads_are_told_once(program: Program, workshop: Workshop) -> None:
    message = HL7 + "SPM|1|S1\nZXX|1\n"
    assert apply(program, message).warnings == ["UNREAD_SEGMENT"]
    assert apply(program, message, {"unread_segment": "ignore"}).warnings == []
    assert dead(program, message, settings={"unread_segment": "dead"}).reason is ReasonCode.UNREAD_SEGMENT


def test_no_patient_is_allowed_unless_the_channel_says_otherwise(program: Program) -> None:
    nobody = HL7.replace("4711^^^HOSP^MR", "")
    assert apply(program, nobody).mapped.documents
    assert dead(program, nobody, settings={"no_patient": "dead"}).reason is ReasonCode.NO_PATIENT


def test_a_structure_that_the_mapping_does_not_read_is_no_route(program: Program) -> None:
    fault = dead(program, HL7.replace("ORU^R01", "ORM^O01"))
    assert fault.reason is ReasonCode.NO_ROUTE
    assert dead(program, ASTM).reason is ReasonCode.NO_ROUTE


def test_control_characters_never_reach_the_json(program: Program) -> None:
    message = HL7.replace("yellow", 'a\\X0001\\b\\\\\\X08\\"c')
    made = apply(program, message)
    text = made.all("Observation")[1]["valueString"]
    assert not any(sign < " " for sign in text)
    assert '"c' in text


def test_control_characters_of_settings_do_not_either(workshop: Workshop) -> None:
    program = workshop.steps(
        """
        - each: PATIENT
          do:
            - each: ORDER
              do:
                - each: RESULT
                  create: Observation
                  key: =[O-3, R-3.5]
                  body:
                    status: =lookup('astm-status', R-9)
                    code: =local_concept(R-3.5)
                    valueString: =concat(setting('mark'), join(R-4[*]))
                    note: =annotation(C-4)
        """,
        message_format="astm/E1394",
    )
    made = apply(program, ASTM, {"mark": '\x01\b\\\\b\\u0001"\x1f'})
    assert made.all("Observation")[0]["valueString"] == '\ufffd\ufffd\\\\b\\u0001"\ufffd8.13'
    assert made.all("Observation")[0]["note"] == [{"text": "clots"}]
    assert "CONTROL_CHARACTER" in made.warnings


def test_a_fault_of_ours_names_the_rule_and_no_content(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("Doe^Jane")

    monkeypatch.setitem(FUNCTIONS, "xpn", replace(FUNCTIONS["xpn"], call=broken))
    program = workshop.steps(OBSERVATIONS)
    with pytest.raises(ContentError) as caught:
        program.apply(parse(HL7), context())
    assert caught.value.reason is ReasonCode.MAPPING_FAULT
    lines = (workshop.folder / "m.yaml").read_text().splitlines()
    rule = next(number for number, line in enumerate(lines, 1) if "xpn(" in line)
    assert caught.value.detail == f"ZeroDivisionError in rule m.yaml:{rule}"
    assert "Doe" not in str(caught.value)


def test_the_document_is_json_with_the_digits_that_were_sent(workshop: Workshop) -> None:
    program = workshop.steps("""
        - each: PATIENT_RESULT
          do:
            - each: ORDER_OBSERVATION
              do:
                - each: OBSERVATION
                  create: Observation
                  key: =OBX-1
                  body:
                    status: final
                    code: =cwe(OBX-3)
                    valueQuantity:
                      value: =OBX-5
                      unit: =OBX-6
                      comparator: =OBX-8
        """)
    made = apply(program, HL7.replace("|14.8|", "|0014.800|"))
    first, second = made.all("Observation")
    assert first["valueQuantity"] == {"value": "14.800", "unit": "g/dL"}
    assert "valueQuantity" not in second
    assert "BAD_VALUE" in made.warnings  # N is no comparator
    assert b'"value":14.800' in made.mapped.documents[0].body
    json.loads(made.mapped.documents[0].body)


def test_no_clock_is_read(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> float:
        raise AssertionError("the mapping asked for the time")

    monkeypatch.setattr("time.time", never)
    assert apply(program).mapped.documents


def test_received_is_utc_whatever_zone_it_came_in(program: Program) -> None:
    made = apply(program, received_at=datetime(2026, 3, 1, tzinfo=UTC))
    assert made.document["entry"][-1]["resource"]["recorded"] == "2026-03-01T00:00:00.000+00:00"
