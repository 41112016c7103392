"""How controls ended, read from messages: the analyzer's flag decides, else the range that it sent."""

import pytest

from adapters.codecs.astm import records as astm_records
from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.content.quality_controls import control_results
from engine.model.message import FormatOptions, Parsed
from tests.support.shipped import facts_of

HEAD = "MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||ORU^R01|M1|P|2.5\rOBR|1||QC-L1|QC\r"


def no_time(text: str | None) -> int:
    return 0


def hl7(*results: str, head: str = HEAD) -> Parsed:
    return hl7v2.parse((head + "\r".join(results) + "\r").encode(), FormatOptions())


def astm(*records: str) -> Parsed:
    text = "\r".join(["H|\\^&|||XN-550|||||||Q|E1394-97|20260301101530", "P|1", *records, "L|1|N"]) + "\r"
    return astm_records.parse(text.encode(), FormatOptions())


def found(parsed: Parsed) -> list[tuple[str, str, bool]]:
    facts = facts_of(parsed)
    runs = control_results(facts, parsed, no_time, {result.place for _, _, result in facts.results()})
    return [(code, run.number, run.failed) for run in runs if run.failed is not None for code in run.codes]


@pytest.mark.parametrize(
    ("value", "limits", "flags", "status", "failed"),
    [
        ("14.8", "", "N", "F", False),
        ("14.8", "", "H", "F", True),
        ("14.8", "10-20", "H", "F", True),  # the analyzer has its own reasons
        ("14.8", "", "N~A", "F", True),
        ("14.8", "", '""', "F", None),
        ("14.8", "13.5-17.5", "", "F", False),
        ("12.8", "13.5 - 17.5", "", "F", True),
        ("13.5", "13.5-17.5", "", "F", False),
        ("-2.5", "-3.0--2.0", "", "F", False),
        ("14.8", "", "", "F", None),
        ("14.8", "<20", "", "F", None),
        ("----", "13.5-17.5", "", "F", None),
        ("", "", "", "X", True),
    ],
)
def test_a_control_is_judged_by_flag_then_range(
    value: str, limits: str, flags: str, status: str, failed: bool | None
) -> None:
    expected = [] if failed is None else [("HGB", "QC-L1", failed)]

    assert found(hl7(f"OBX|1|NM|HGB||{value}|g/dL|{limits}|{flags}|||{status}")) == expected
    flags = flags.replace("~", "\\")
    record = f"R|1|^^^HGB|{value}|g/dL|{limits}|{flags}||{status}"
    assert found(astm("O|1|QC-L1||^^^CBC|||||||Q", record)) == expected


def test_every_code_of_the_test_and_the_material_of_its_order() -> None:
    parsed = hl7(
        "OBX|1|NM|718-7^Hemoglobin^LN^HGB^x^L||1|||N|||F",
        "OBR|2|F2||QC",
        "SPM|1|QC-L2",
        "OBX|1|NM|HGB||9|||HH|||F",
        "OBR|3|F3||QC",
        "OBX|1|NM|HGB||9|||LL|||F",
    )
    assert found(parsed) == [
        ("718-7", "QC-L1", False),
        ("HGB", "QC-L1", False),
        ("HGB", "QC-L2", True),
        ("HGB", "F3", True),
    ]


def test_one_material_has_one_name_wherever_its_tube_stands() -> None:
    """So that a control that passes takes the place of the one that failed, and not of another level's."""
    rack = [astm(f"O|1||1^{place}^     QC-1^B|^^^^WBC^1|||||||Q", "R|1|^^^^WBC^1|5|||H||F") for place in (1, 2)]
    assert [found(one) for one in rack] == [[("WBC", "QC-1", True)]] * 2
    levels = [hl7(f'SPM|1|""|||||||||Q|||||||||||||||||||{level}', "OBX|1|NM|GLU||5|||N|||F") for level in ("L1", "L2")]
    assert [found(one) for one in levels] == [[("GLU", level, False)] for level in ("L1", "L2")]


def test_only_what_a_filter_took_is_a_control() -> None:
    parsed = hl7("OBX|1|NM|HGB||9|||H|||F", "OBX|2|NM|WBC||9|||H|||F")
    (only,) = control_results(facts_of(parsed), parsed, no_time, {2})
    assert (only.test, only.number, only.value, only.failed, only.place) == ("WBC", "QC-L1", "9", True, 2)
    assert control_results(facts_of(parsed), parsed, no_time) == ()
    many = [f"OBX|{place}|NM|T{place}||9|||H|||F" for place in range(1, 700)]
    assert len(found(hl7(*many))) == len(many)
