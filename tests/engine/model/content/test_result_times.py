"""Which results a message has, with their times and states: a table for each format."""

from datetime import UTC, datetime

import pytest

from adapters.codecs.astm import records as astm
from adapters.codecs.hl7v2 import message as hl7v2
from engine.mapping.measured import measured, places_of
from engine.model.content.result_times import ResultGroup, result_groups
from engine.model.message import FormatOptions, MapContext
from engine.processing.process import moment
from tests.support.shipped import program, reader_of

HL7 = "MSH|^~\\&|X|L|Y|L|20260301101500||ORU^R01|1|P|2.5.1"
ZONE = "Asia/Kolkata"
ASTM = "H|\\^&|||X|||||||P|1|20260301101500"


def us(hour: int, minute: int, day: int = 1) -> int:
    """On a day of March 2026, in Kolkata's time."""
    return round(datetime(2026, 3, day, hour, minute, tzinfo=UTC).timestamp() - 19_800) * 1_000_000


def groups(
    head: str, *lines: str, controls: tuple[int, ...] = (), without_row: tuple[int, ...] = ()
) -> list[ResultGroup]:
    codec = hl7v2 if head == HL7 else astm
    parsed = codec.parse("\r".join((head, *lines, "")).encode(), FormatOptions())
    context = MapContext(timezone=ZONE)
    facts = program(reader_of(parsed.format)).facts_in(parsed, context)
    if facts is None:
        return []
    known = measured(facts, parsed, context, controls)
    lacking = places_of(without_row, parsed)
    return list(result_groups(known, parsed.format, lambda found: moment(found, ZONE), lacking))


def one(head: str, *lines: str) -> ResultGroup:
    (found,) = groups(head, *lines)
    return found


OBX = "OBX|1|NM|GLU^Glucose||5.1|mmol/l|||||{status}|||{at14}|||||{at19}"
CASES = {
    "SPM-17, OBX-19": (
        ["SPM|1|S1|||||||||||||||202603010800", "OBR|1||O1", OBX.format(status="F", at14="", at19="202603010930")],
        ("S1", us(8, 0), us(9, 30), "F"),
    ),
    "OBX-19 before OBX-14": (
        ["OBR|1||O1", OBX.format(status="F", at14="202603010800", at19="202603010930")], ("O1", 0, us(9, 30), "F"),
    ),
    "OBR-7 and OBR-22": (
        ["OBR|1||O1||||202603010700" + "|" * 15 + "202603010905", OBX.format(status="F", at14="", at19="")],
        ("O1", us(7, 0), us(9, 5), "F"),
    ),
    "the specimen behind its order": (
        ["OBR|1||O1", OBX.format(status="F", at14="202603010900", at19=""), "SPM|1|S1" + "|" * 15 + "202603010811"],
        ("S1", us(8, 11), us(9, 0), "F"),
    ),
    "a range of collection: its begin": (
        ["SPM|1|S1|||||||||||||||202603010800^202603010810", "OBR|1", OBX.format(status="F", at14="", at19="")],
        ("S1", us(8, 0), 0, "F"),
    ),
    "a day says nothing": (
        ["OBR|1||O1||||20260301", OBX.format(status="F", at14="20260301", at19="2026")], ("O1", 0, 0, "F"),
    ),
    "a clock that has lost its battery says nothing": (
        ["OBR|1||O1||||199901010800", OBX.format(status="F", at14="", at19="")], ("O1", 0, 0, "F"),
    ),
    "a correction": (["OBR|1||O1", OBX.format(status="C", at14="", at19="")], ("O1", 0, 0, "C")),
    "a withdrawal": (["OBR|1||O1", OBX.format(status="D", at14="", at19="")], ("O1", 0, 0, "C")),
    "preliminary": (["OBR|1||O1", OBX.format(status="P", at14="", at19="")], ("O1", 0, 0, "P")),
    "the report says its status": (
        ["OBR|1||O1" + "|" * 22 + "F", OBX.format(status="", at14="", at19="")], ("O1", 0, 0, "F"),
    ),
    "no status": (["OBR|1||O1", OBX.format(status="", at14="", at19="")], ("O1", 0, 0, "P")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_hl7(name: str) -> None:
    lines, expected = CASES[name]
    found = one(HL7, "PID|1||P1", *lines)
    assert (found.specimen, found.collected_us, found.resulted_us, found.state) == expected
    assert (found.patient, found.codes) == ("P1", ("GLU",))


def test_astm() -> None:
    order = "O|1|S1||^^^GLU|R||20260301080000" + "|" * 18 + "F"
    found = one(
        ASTM, "P|1|P1", order, "R|1|^^^GLU|5|mmol||||F||||20260301093000", "R|2|^^^NA|5|mmol||||F||||20260301093000"
    )
    assert found == ResultGroup("P1", "S1", us(8, 0), us(9, 30), "F", ("GLU", "NA"), ("GLU\0\0", "NA\0\0"))
    assert one(ASTM, "P|1", "O|1|S1||^^^GLU", "R|1|^^^GLU|5|||||C").state == "C"
    assert one(ASTM, "P|1", "O|1|S1||^^^GLU", "R|1|^^^GLU|5").state == "F"  # no status anywhere: final
    assert one(ASTM, "P|1", "O|1|S1||^^^GLU", "R|1|^^^GLU|5|||||P").state == "P"


@pytest.mark.parametrize(
    "lines",
    [
        ["SPM|1|S1|||||||||Q", "OBR|1", OBX.format(status="F", at14="", at19="")],
        ["OBR|1||O1|GLU", OBX.format(status="F", at14="", at19=""), "SPM|1|S1|||||||||Q"],
        ["OBR|1||O1", "OBX|1|ED|15^Picture||^Image^PNG^Base64^QQ==||||||F"],
    ],
)
def test_a_control_and_a_picture_are_no_results(lines: list[str]) -> None:
    assert groups(HL7, "PID|1||P1", *lines) == []


def test_an_astm_control_is_no_result_nor_is_what_the_mapping_takes_for_one() -> None:
    assert groups(ASTM, "P|1", "O|1|QC1||^^^GLU|R||||||Q", "R|1|^^^GLU|5|||||F") == []
    lines = ("P|1", "O|1|S1||^^^GLU", "R|1|^^^GLU|5|||||F", "R|2|^^^NA|5|||||F")
    assert [one.codes for one in groups(ASTM, *lines, controls=(4,))] == [("NA",)]


@pytest.mark.parametrize(
    ("identifier", "sub_id", "code", "test"),
    [
        ("GLU^Glucose^L", "", "GLU", "GLU\0Glucose\0"),
        ("^^^FERR^Ferritin", "", "FERR", "FERR\0\0"),
        ("HIVVL&&Xpert&LOG^Log", "1", "HIVVL", "HIVVL\0Xpert\x001"),
        ("", "7", "", "\0\x007"),
    ],
)
def test_a_result_is_of_a_test_by_its_code_name_and_number(identifier: str, sub_id: str, code: str, test: str) -> None:
    found = one(HL7, "OBR|1||O1", f"OBX|1|NM|{identifier}|{sub_id}|5||||||F")
    assert (found.codes, found.tests) == ((code,), (test,))


def test_a_code_that_no_table_has_is_not_shown() -> None:
    (found,) = groups(HL7, "OBR|1||O1", OBX.format(status="F", at14="", at19=""), without_row=(3,))
    assert (found.codes, found.tests) == (("",), ("GLU\0Glucose\0",))


def test_a_code_has_a_length() -> None:
    assert one(HL7, "OBR|1||O1", f"OBX|1|NM|{'X' * 300}||5||||||F").codes == ("X" * 40,)


# What facts say otherwise than a reading of segments did: of each kind one message, and what it counts as.
BY_FACTS = {
    "begun, where nothing says when it ended": ("R|1|^^^GLU|5|||||F|||20260301092000", us(9, 20), "F", "GLU"),
    "sent before, and final": ("R|1|^^^GLU|5|||||F\\R||||20260301093000", us(9, 30), "F", "GLU"),
    "a part of an assay": ("R|1|^^^HBV^^^LOG^^|5|||||F||||20260301093000", us(9, 30), "F", "HBV/LOG"),
}


@pytest.mark.parametrize("name", BY_FACTS)
def test_facts_decide(name: str) -> None:
    line, *expected = BY_FACTS[name]
    found = one(ASTM, "P|1|P1", "O|1|S1||^^^GLU|R||20260301080000", line)
    assert [found.resulted_us, found.state, *found.codes] == expected


def test_a_placeholder_is_no_patient_and_a_coded_answer_is_a_result() -> None:
    found = one(HL7, "PID|1||0000", "OBR|1||O1", "OBX|1|IS|12014^Flag||T||||||F")
    assert (found.patient, found.codes) == ("", ("12014",))
