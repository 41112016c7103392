"""A result is changed, and one that is computed from it stays: a person is asked, whatever goes out."""

from pathlib import Path
from typing import Any

import pytest

from engine.mapping.code_tables.units import loinc_check_digit_holds
from engine.model.content.computed import SHIPPED
from tests.results.test_judged_by_place import CSV, NOON, desk, message

FHIR = {"mapping": "hl7-results", "to": "out1"}
SETTINGS = {"computed": {"EGFR": ["CRE"], "STAGE": ["EGFR"], "MLDL": []}}
ASKED = "COMPUTED_BEFORE"
CREA, GFR, INR = "CR^c^L^2160-0^c^LN", "GF^g^L^33914-3^g^LN", "IN^i^L^6301-6^i^LN"  # only LOINC says what they are
OTHERS = [[f"F T{n} 1"] for n in range(12)]
# name -> messages, each with its results; how the last one ended
SCENES: dict[str, tuple[list[list[str]], str]] = {
    "corrected, and the computed one stays": ([["F CRE 1.1", "F EGFR 80"], ["C CRE 2.2"]], ASKED),
    "changed without a word": ([["F CRE 1.1", "F EGFR 80"], ["F CRE 2.2 1030"]], ASKED),
    "withdrawn": ([["F CRE 1.1", "F EGFR 80"], ["D CRE 1.1"]], ASKED),
    "in messages of their own": ([["F CRE 1.1"], ["F EGFR 80"], ["C CRE 2.2"]], ASKED),
    "computed from what is computed from it": ([["F CRE 1.1", "F STAGE 2"], ["C CRE 2.2"]], ASKED),
    "one of two is brought": ([["F CRE 1.1", "F EGFR 80", "F STAGE 2"], ["C CRE 2.2", "C EGFR 30"]], ASKED),
    "the computed one is repeated": ([["F CRE 1.1", "F EGFR 80"], ["C CRE 2.2", "F EGFR 80"]], ASKED),
    "both are corrected": ([["F CRE 1.1", "F EGFR 80"], ["C CRE 2.2", "C EGFR 30"]], "delivered"),
    "the computed one came first": ([["F CRE 1.1", "F EGFR 80"], ["C EGFR 30"], ["C CRE 2.2"]], "delivered"),
    "both are withdrawn": ([["F CRE 1.1", "F EGFR 80"], ["D CRE 1.1", "D EGFR 80"]], "delivered"),
    "the computed one was withdrawn": ([["F CRE 1.1", "F EGFR 80"], ["D EGFR 80"], ["C CRE 2.2"]], "delivered"),
    "corrected to the same value": ([["F CRE 1.1", "F EGFR 80"], ["C CRE 1.1"]], "delivered"),
    "the computed one alone": ([["F CRE 1.1", "F EGFR 80"], ["C EGFR 79"]], "delivered"),
    "nothing was computed": ([["F CRE 1.1", "F NA 140"], ["C CRE 2.2"]], "delivered"),
    "another test": ([["F NA 140", "F CRE 1.1", "F EGFR 80"], ["C NA 141"]], "delivered"),
    "by the codes that are meant": ([[f"F {CREA} 1.1", f"F {GFR} 80"], [f"C {CREA} 2.2"]], ASKED),
    "by these, behind many messages": ([[f"F {CREA} 1.1"], [f"F {GFR} 80"], *OTHERS, [f"C {CREA} 2.2"]], ASKED),
    "by these, withdrawn": ([[f"F {CREA} 1.1", f"F {GFR} 80"], [f"D {CREA} 1.1"]], ASKED),
    "by these, both": ([[f"F {CREA} 1.1", f"F {GFR} 80"], [f"C {CREA} 2.2", f"C {GFR} 30"]], "delivered"),
    "by these, another one": ([[f"F {CREA} 1.1", f"F {INR} 80"], [f"C {CREA} 2.2"]], "delivered"),
    "preliminary, then final": ([["P CRE 1.1", "P EGFR 80"], ["F CRE 2.2"]], "delivered"),
}  # fmt: skip


@pytest.mark.parametrize("route", [FHIR, CSV], ids=["FHIR", "CSV"])
@pytest.mark.parametrize("name", SCENES)
def test_a_computed_result_that_is_left_behind(tmp_path: Path, name: str, route: dict[str, Any]) -> None:
    messages, wanted = SCENES[name]
    with desk(tmp_path, route, settings=SETTINGS) as it:
        *_, ended = [it.says(*results) for results in messages]
        assert ended == wanted


def test_another_persons_order_asks_nothing(tmp_path: Path) -> None:
    with desk(tmp_path, FHIR, settings=SETTINGS) as it:
        it.say("hl7", message("F EGFR 80").replace(b"|S1|", b"|S2|"), NOON)
        it.says("F CRE 1.1")
        assert it.says("C CRE 2.2") == "delivered"


def test_a_released_correction_takes_its_place(tmp_path: Path) -> None:
    with desk(tmp_path, CSV, settings=SETTINGS) as it:
        it.says("F CRE 1.1", "F EGFR 80")
        assert it.says("C CRE 2.2") == ASKED
        assert it.statuses() == [["CRE 2.2 corrected"]]
        it.decide("release", it.last)
        assert it.says("C EGFR 30") == "delivered"
        assert it.says("C CRE 2.2") == "ECHO"


def test_each_code_of_the_shipped_table_is_one_of_loinc() -> None:
    codes = {*SHIPPED, *(source for sources in SHIPPED.values() for source in sources)}
    assert [code for code in codes if not loinc_check_digit_holds(code)] == []
