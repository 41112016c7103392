"""Mindray over ASTM: whose result it is, of which test, where the maker's own forms differ."""

import pytest

from adapters.codecs.astm import records
from adapters.dialects import mindray_bs_astm
from engine.model.message import FormatOptions, Parsed
from tests.support.tubes_read import tubes

RESULT = "R|241|SGOT^Aspartate Aminotransferase^^F|67.98^^^^|U/L|5.0^40.0|N||F|67.98^^^^|0|20260302093000||Mindry^"


def adapted(*lines: str, kind: str = "PR") -> Parsed:
    header = f"H|\\^&|||Mindry^^|||||||{kind}|1394-97|20260302093001"
    payload = "".join(f"{line}\r" for line in (header, "P|1", *lines, "L|1|N")).encode()
    return mindray_bs_astm.adapt(records.parse(payload, FormatOptions()))


@pytest.mark.parametrize(
    ("order", "tube"),
    [
        ("O|796|9058^1^11|8766097|SGOT^^", "8766097"),
        ("O|1|1^1^1|SAMPLE123|1^Test1^2^1", "SAMPLE123"),
        ("O|1||00042|SGOT^^", "00042"),
        ("O|1|1^1^1||SGOT^^", None),  # no bar code: the count names no tube; the next day another tube has it
        ("O|1|00042||SGOT^^", "00042"),  # no count: nothing but a number
        ("O|1|00042|^SGOT^^|R|20260302090510", "00042"),  # its tests are in O-4: one field ahead
        (r"O|1|00042|SGOT^Aspartate^^\UREA^Urea^^|R", "00042"),
        ("O|1|00042|1^SGOT^2^1|S", "00042"),
        ("O|1|9058^1^11|SGOT^^|R", None),  # its tests again, and the number is a count
        ("O|1|9058^1^11|SGOT^Aspartate^^", None),  # tests or a number: it is not clear
        ("O|1|9058^1^11|8766097^^|SGOT^^", "8766097"),
        ("O|1|12|S77^1^3|1^GLU^2^1|R", None),  # nor here, and the count of the day is no tube's number
        (r"O|1|12|S77\S78|1^GLU|R", None),
        ("O|1||1^GLU^2^1||20260302090510", None),
    ],
)
def test_the_tube_is_the_bar_code_and_never_the_count(order: str, tube: str | None) -> None:
    found = tubes(adapted(order, RESULT), {"SGOT": "AST"})
    assert [one.specimen for one in found] == ([] if tube is None else [tube])
    assert [test.test for one in found for test in one.tests] == ["AST"] * len(found)


def test_an_order_one_field_ahead_is_read_in_its_places() -> None:
    ahead = "O|1|00042|GLU^Glucose^^|R|20260302090510|20260302090402|||||||20260302090402|serum||||||||||F|||||"
    order = next(one for one in adapted(ahead, RESULT).segments if one.name == "O")
    assert [order.get(at) for at in (3, 4, 5, 6, 8, 15, 16, 26)] == [
        "00042", "", "GLU^Glucose^^", "R", "20260302090402", "20260302090402", "serum", "F",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "code", "value", "flags"),
    [
        ("SGOT^Aspartate Aminotransferase^^F|67.98^^^^|U/L||N||F", "^^^SGOT^Aspartate Aminotransferase", "67.98", "N"),
        ("22^TSH^^F|12.3^^\u2191|mIU/L||N||F", "^^^TSH", "12.3", "N\\\u2191"),
        ("1^Test1^1^F|14.5^|Mg/ml||5.6^99.9|N||F", "^^^Test1", "14.5", "N"),
        ("4^Test4^1^I|^Negative|Mg/ml||||Positive|F", "^^^Test4", "Negative", ""),
        ("GLU^^^F|^|mg/dL||||F", "^^^GLU", "", ""),
        ("^^^GLU|92|mg/dL||N||F", "^^^GLU", "92", "N"),
    ],
)
def test_code_value_and_flags(sent: str, code: str, value: str, flags: str) -> None:
    result = next(one for one in adapted("O|1|9058^1^11|8766097", f"R|1|{sent}").segments if one.name == "R")
    assert (result.get(3), result.get(4), result.get(7), result.get(9)) == (code, value, flags, "F")


@pytest.mark.parametrize(("kind", "action"), [("PR", ""), ("QR", "Q"), ("CR", "Q")])
def test_controls_and_calibrations_are_no_patients_results(kind: str, action: str) -> None:
    order = next(one for one in adapted("O|1|2^^|QC-L1", RESULT, kind=kind).segments if one.name == "O")
    assert order.get(12) == action
