"""What a Mindray BS says in other places than HL7 (`adapters.dialects.mindray_bs`)."""

import pytest

from adapters.codecs.hl7v2 import message as hl7v2
from adapters.dialects.mindray_bs import adapt
from engine.model.message import FormatOptions, Parsed

MESSAGE = (
    "MSH|^~\\&|Mindray|BS-200E|||20070719145353||ORU^R01|1|P|2.3.1||||0||ASCII|||\r"
    "PID|1|||12|Tommy||19830719145307|F|A\r"
    "OBR|1|0000000002|2|Mindray^BS-200E|Y||20070719145300||||||||serum\r"
    "OBX|1|NM|2|test2|5.000000|g/ml|-||||F\r"
)


def adapted(text: str) -> Parsed:
    return adapt(hl7v2.parse(text.encode(), FormatOptions()))


def field(parsed: Parsed, name: str, number: int) -> str:
    segment = next(segment for segment in parsed.segments if segment.name == name)
    return segment.fields[number] if number < len(segment.fields) else ""


def test_a_bed_is_no_number_of_a_patient() -> None:
    assert field(adapted(MESSAGE), "PID", 4) == ""


def test_the_bar_code_is_the_specimens_number_and_without_one_the_counter_is() -> None:
    assert field(adapted(MESSAGE), "OBR", 3) == "0000000002"
    assert field(adapted(MESSAGE.replace("|0000000002|", "||")), "OBR", 3) == "2"


def test_the_test_stands_where_the_analyzer_named_itself() -> None:
    parsed = adapted(MESSAGE)
    assert (field(parsed, "OBR", 4), field(parsed, "OBX", 3), field(parsed, "OBX", 4)) == ("2^test2", "2^test2", "")
    assert field(parsed, "OBX", 5) == "5.000000"


@pytest.mark.parametrize(("kind", "processing"), [("0", "P"), ("", "P"), ("1", "Q"), ("2", "Q"), ("AL", "P")])
def test_calibrations_and_controls_are_marked_as_controls(kind: str, processing: str) -> None:
    assert field(adapted(MESSAGE.replace("||||0||ASCII", f"||||{kind}||ASCII")), "MSH", 11) == processing


@pytest.mark.parametrize("service", ["", "GLU^Glucose", "Mindray^bs-200e", "MINDRAY^BS-300"])
def test_a_control_is_one_whatever_stands_where_the_analyzer_names_itself(service: str) -> None:
    text = MESSAGE.replace("Mindray^BS-200E", service).replace("||||0||ASCII", "||||2||ASCII")
    assert field(adapted(text), "MSH", 11) == "Q"


def test_a_message_of_something_else_is_left_as_it_is() -> None:
    text = MESSAGE.replace("Mindray^BS-200E", "GLU^Glucose").replace("||||0||ASCII", "||||AL||ASCII")
    before = [list(segment.fields) for segment in hl7v2.parse(text.encode(), FormatOptions()).segments]
    assert [segment.fields for segment in adapted(text).segments] == before
