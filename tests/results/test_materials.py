"""Serum and urine of one order, under one number or none: neither is a word of the other, and a person is asked."""

from pathlib import Path
from typing import Any

import pytest

from tests.results.test_judged_by_place import CSV, desk

FHIR = {"mapping": "hl7-results", "to": "out1"}
OUL = {"mapping": "hl7-oul-results", "to": "out1"}
ASKED = "SAMPLE_UNKNOWN"
# name -> messages, each of a material and its results; how each ended
SCENES: dict[str, tuple[list[tuple[str, str]], list[str]]] = {
    "urine after serum": ([("SER", "P NA 118"), ("UR", "F NA 40")], ["delivered", ASKED]),
    "serum after urine": ([("UR", "F NA 40"), ("SER", "F NA 118")], ["delivered", ASKED]),
    "the same value in the same minute": ([("SER", "F NA 118"), ("UR", "F NA 118")], ["delivered", ASKED]),
    "the urine is corrected": ([("SER", "F NA 118"), ("UR", "C NA 41")], ["delivered", "CORRECTS_UNKNOWN"]),
    "the urine is withdrawn": ([("SER", "F NA 118"), ("UR", "D NA 118")], ["delivered", "CORRECTS_UNKNOWN"]),
    "the serum's own final": (
        [("SER", "P NA 118"), ("UR", "F NA 40"), ("SER", "F NA 119")],
        ["delivered", ASKED, "delivered"],
    ),
    "capillary and venous": ([("BLDC", "F GLU 5"), ("BLDV", "F GLU 6")], ["delivered", ASKED]),
    "other words of one material": ([("SER", "P NA 118"), ("S", "F NA 119"), ("Serum", "C NA 120")], ["delivered"] * 3),
    "the first names none": ([("", "P NA 118"), ("UR", "F NA 119")], ["delivered"] * 2),
    "the second names none": ([("SER", "P NA 118"), ("", "F NA 119")], ["delivered"] * 2),
    "the same": ([("SER", "P NA 118"), ("SER", "F NA 119")], ["delivered"] * 2),
}  # fmt: skip


@pytest.mark.parametrize("route", [FHIR, CSV, OUL], ids=["FHIR", "CSV", "OUL"])
@pytest.mark.parametrize("name", SCENES)
def test_another_material_is_another_sample(tmp_path: Path, name: str, route: dict[str, Any]) -> None:
    messages, ends = SCENES[name]
    kind = "OUL^R22" if route is OUL else "ORU^R01"
    with desk(tmp_path, route) as it:
        assert [it.says(result, material=material, kind=kind) for material, result in messages] == ends
