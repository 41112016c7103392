"""Serum and urine of one order, under one number or none: neither is a word of the other, and a person is asked. The
alarm of one of them stays.
"""

from pathlib import Path
from typing import Any

import pytest

from engine.features.alerts.rows.reading import critical_values
from tests.results.test_judged_by_place import CSV, NOON, desk, message
from tests.results.test_wrong_clocks import TODAY, astm, clocks, says

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


@pytest.mark.parametrize("status", ["F", "C", "D"])
def test_urine_says_nothing_of_the_alarm_of_serum(tmp_path: Path, status: str) -> None:
    with desk(tmp_path, FHIR) as it:
        it.journal.upkeep.notes_critical = True
        critical = message("P NA 118", material="SER").replace(b"|mmol/L||", b"|mmol/L||LL", 1)
        it.say("hl7", critical, NOON)
        assert it.says(f"{status} NA 40", material="UR") != "delivered"
        assert [value.over_us for value in critical_values(it.journal)] == [0]
        assert it.says("F NA 138", material="SER") == "delivered"
        assert all(value.over_us for value in critical_values(it.journal))


def test_the_letters_of_astm_are_materials(tmp_path: Path) -> None:
    with clocks(tmp_path, "astm-to-csv", astm=True) as it:
        ends = []
        for material, value in ((b"S", "118"), (b"U", "40"), (b"S", "118")):
            sent = astm(1, TODAY, result=f"F NA {value}")
            ends.append(says(it, sent.replace(b"|" * 18 + b"F", b"|" * 8 + material + b"|" * 10 + b"F")))
    assert ends == ["delivered", ASKED, "ECHO"]
