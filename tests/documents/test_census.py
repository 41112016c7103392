"""The census of fields itself: it finds what is in the document, what was told of, and what is neither."""

import pytest

from tests.support.census import Census, Plant
from tests.support.shipped import verdict_of

ASTM = r"""H|\^&|||XN^1.0|||||||P|1|20260301101500
P|1||4711||RAO^MEERA||19840219|F
O|1|S1||^^^WBC|R||20260301093000||||||||||||||||||F
R|1|^^^WBC|5.5|10*3/uL|4.0 to 10.0|N||F||||20260301101200
L|1|N"""
HL7 = r"""MSH|^~\&|AN|LAB|LIS|H|20260301101530||ORU^R01|1|P|2.5.1
PID|1||4711||RAO^MEERA||19840219|F
OBR|1||S1|CBC^Blood count|||20260301093000||||||||||||||||||F
OBX|1|NM|WBC^Leukocytes||5.5|10*3/uL|4.0-10.0|N|||F|||20260301101200"""
CENSUS = {
    "astm": Census(ASTM, lambda payload: verdict_of(payload, "astm")),
    "hl7v2": Census(HL7, lambda payload: verdict_of(payload, "hl7v2")),
}


@pytest.mark.parametrize(
    ("message_format", "plant", "parts"),
    [
        ("astm", Plant("P", 6, "components", "Qa7^Qb8", (("Qa7",), ("Qb8",))), ("reached", "reached")),
        ("astm", Plant("P", 10, "plain", "Qa7", (("Qa7",),)), ("neither",)),
        ("astm", Plant("P", 8, "wrong type", "Qa7", (("Qa7",),)), ("told",)),
        ("astm", Plant("R", 9, "plain", "Qa7", (("Qa7",),)), ("dead",)),
        ("astm", Plant("O", 12, "a code", "Q", (("Q",),)), ("taken out",)),
        ("astm", Plant("O", 26, "a code", "P", (("preliminary",),)), ("reached",)),
        ("hl7v2", Plant("PID", 5, "components", "Qa7^Qb8", (("Qa7",), ("Qb8",))), ("reached", "reached")),
        ("hl7v2", Plant("PID", 10, "plain", "Qa7", (("Qa7",),)), ("neither",)),
        ("hl7v2", Plant("OBX", 11, "plain", "Qa7", (("Qa7",),)), ("dead",)),
        ("hl7v2", Plant("MSH", 4, "plain", "Qa7", (("Qa7",),)), ("reached",)),
    ],
    ids=lambda value: f"{value.place} {value.shape}" if isinstance(value, Plant) else None,
)
def test_each_part_of_a_planted_value_has_its_fate(message_format: str, plant: Plant, parts: tuple[str, ...]) -> None:
    assert CENSUS[message_format].fate(plant).parts == parts


def test_what_is_lost_is_named_and_what_is_left_out_on_purpose_is_not() -> None:
    plants = [Plant("P", number, "plain", "Qa7", (("Qa7",),)) for number in (6, 10, 11)]
    assert [line.split()[0] for line in CENSUS["astm"].lost(plants, {"P-11": "no place in a Patient"})] == ["P-10"]


def test_a_field_that_is_read_is_not_left_out_on_purpose() -> None:
    plants = [Plant("P", number, "plain", "Qa7", (("Qa7",),)) for number in (6, 10)]
    assert CENSUS["astm"].read(plants, {"P-6": "said wrongly", "P-10": "rightly"}) == ["P-6"]
