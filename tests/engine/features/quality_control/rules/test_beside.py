"""Beside a judged control only the same in words, in another unit, or the number behind a word is no other one."""

import pytest

from engine.features.quality_control.rules.beside import says_the_same

BESIDE = {  # a judged control -> what says the same; what does not
    "100 mg/dL": (
        "normal, normal mg/dL, within limits g/L, 1.00 g/L, 1000.0 mg/L, 1000 ug/mL, 100000 ug/dl",
        "100, 100 g/L, 1.4 g/L, 1 G/L, 5.6 mmol/L, 1000 IU/L, ----, -- g/L, *, , >600, >1.00 g/L, <, normal 0.9",
    ),
    "0 mg/dL": ("0.0 g/L", "0, 0 mmol/L, 0 mg/g"),
    "4.0 mmol/L": ("4000 umol/L", "4.0 mEq/L, 40 mmol/dL, 4.0 mol/m3"),
    "100": ("normal, normal mg/dL", "100, 140, 100 mg/dL, 1.00 g/L, ----, , <"),
    "NEG": ("0.12 S/CO, <0.10 S/CO", "POS, POS S/CO, ---- S/CO, "),
}


@pytest.mark.parametrize("judged", BESIDE)
def test_what_says_the_same_as_a_judged_control_is_no_other_one(judged: str) -> None:
    expected = {
        text.strip(): is_same
        for is_same, row in zip((True, False), BESIDE[judged], strict=True)
        for text in row.split(",")
    }
    assert {text: says_the_same(*parts(text), *parts(judged)) for text in expected} == expected


def parts(text: str) -> tuple[str, str]:
    """Value and unit."""
    sent, _, unit = text.rpartition(" ") if "/" in text else (text, "", "")
    return sent, unit
