"""A correction that people release, and an output whose mapping says one status for all: neither hides a result."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.results.test_judged_by_place import HL7, OWN, Desk, desk

FIXED = OWN.format(to="hl7v2/ORU_R01", results="", steps=HL7.replace("11: =OBX-11", "11: F"))
FHIR = {"mapping": "hl7-results", "to": "out1"}


@pytest.mark.parametrize(
    ("second", "ended", "expected"),
    [
        ("C GLU 6.5", "delivered", "GLU 6.5 C"),
        ("A GLU 6.5", "delivered", "GLU 6.5 C"),
        ("D GLU 5.5", "delivered", "GLU 5.5 W"),
        ("F GLU 6.5 1130", "delivered", "GLU 6.5 C"),
        ("C NA 140", "CORRECTS_UNKNOWN", "NA 140 C"),
        ("D NA 140", "CORRECTS_UNKNOWN", "NA 140 W"),
        ("F NA 140", "delivered", "NA 140 F"),
    ],
)
def test_what_is_taken_back_says_so_though_its_mapping_says_final(
    tmp_path: Path, second: str, ended: str, expected: str
) -> None:
    with desk(tmp_path, {"mapping": "own", "to": "out1"}, own=FIXED) as it:
        assert it.says("F GLU 5.5") == "delivered"
        assert it.says(second) == ended
        assert it.statuses() == [[expected]]


LIST = "results: {patient: patient, order: tube, test: test, value: value, status: status, time: at}"
ROWS = """
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            do:
              - row: {patient: =PID-3.1, tube: =OBR-3.1, test: =OBX-3.1, value: =OBX-5, status: F, at: =OBX-14}
"""


@pytest.mark.parametrize(
    ("first", "expected", "order"),
    [
        ("F GLU 5.5", "GLU 5.5 F", "F"),
        ("P GLU 5.5", "GLU 5.5 P", "A"),
        ("R GLU 5.5", "GLU 5.5 P", "A"),
        ("I GLU -", "GLU  I", "A"),
        ("X GLU -", "GLU  X", "A"),
    ],
)
def test_what_is_not_finished_is_not_called_final(tmp_path: Path, first: str, expected: str, order: str) -> None:
    """Whatever was known before it: nothing, another test, or the same."""
    with desk(tmp_path, {"mapping": "own", "to": "out1"}, own=FIXED) as it:
        assert it.says(first) == "delivered"
        assert it.statuses() == [[expected]]
        assert f"LAB||{order}"[-1] == it.documents()[0].split("OBR")[1].split("\r")[0].split("|")[25]
        assert it.says("F NA 140", first.replace("GLU", "UREA")) == "delivered"
        assert it.statuses() == [["NA 140 F", expected.replace("GLU", "UREA")]]
        assert it.says("F GLU 6.5") == "delivered"
        assert it.statuses() == [["GLU 6.5 C" if first[0] == "F" else "GLU 6.5 F"]]


@pytest.mark.parametrize(("first", "status"), [("F GLU 5.5", "F"), ("P GLU 5.5", "P"), ("X GLU -", "X")])
def test_no_list_calls_it_final(tmp_path: Path, first: str, status: str) -> None:
    with desk(tmp_path, {"mapping": "own", "to": "out1"}, own=OWN.format(to="csv", results=LIST, steps=ROWS)) as it:
        assert it.says(first) == "delivered"
        assert it.statuses() == [[f"GLU {first[6:].strip('-')} {status}"]]


CREATE = """
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            create: Observation
            key: =[OBR-3.1 | '-', OBX-3.1]
            body: {status: final, code: {text: =OBX-3.1}, valueString: =OBX-5}
"""


@pytest.mark.parametrize(("first", "status"), [("F GLU 5.5", "final"), ("P GLU 5.5", "preliminary")])
def test_no_observation_calls_it_final(tmp_path: Path, first: str, status: str) -> None:
    own = OWN.format(to="fhir/R4", results="bundle: transaction\npolicies: {unread_segment: ignore}", steps=CREATE)
    with desk(tmp_path, {"mapping": "own", "to": "out1"}, own=own) as it:
        for results in ([first], ["F NA 140", first.replace("GLU", "UREA")]):
            assert it.says(*results) == "delivered"
            (document,) = it.documents()
            assert f'"{status}"' in document.partition('"NA"')[2] or f'"status":"{status}"' in document


def shown(it: Desk) -> dict[str, str]:
    """Result -> its id, of the last message; each has one of its own."""
    (document,) = it.documents()
    entries: list[dict[str, Any]] = orjson.loads(document)["entry"]
    names = [one["fullUrl"] for one in entries]
    assert len({*names}) == len(names), "two results in one place"
    found = {}
    for one in entries:
        if (said := one["resource"])["resourceType"] == "Observation":
            value = said["valueQuantity"]["value"]
            found[f"{said['code']['coding'][0]['code']} {value:g} {said['status']}"] = one["fullUrl"]
    return found


@pytest.mark.parametrize(
    ("second", "expected", "in_its_place"),
    [
        (["C NA 140"], ["NA 140 corrected"], ""),
        (["C GLUC 5.5"], ["GLUC 5.5 corrected"], "GLUC 5.5 corrected"),
        (["C GLUC 6.5"], ["GLUC 6.5 corrected"], ""),
        (["D GLUC 5.5"], ["GLUC 5.5 entered-in-error"], "GLUC 5.5 entered-in-error"),
        (["F GLU 5.5", "C NA 140"], ["NA 140 corrected"], ""),
        (["F GLU 5.5", "C GLUC 5.5"], ["GLUC 5.5 corrected"], ""),
        (["C GLUC 5.5", "C GLU 6.5"], ["GLU 6.5 corrected", "GLUC 5.5 corrected"], "GLU 6.5 corrected"),
        (["C GLU 6.0", "C GLU 6.5"], ["GLU 6 corrected", "GLU 6.5 corrected"], "GLU 6 corrected"),
        (["F GLU 6.0 1030", "P GLU 6.5 1030"], ["GLU 6 amended", "GLU 6.5 preliminary"], "GLU 6 amended"),
    ],
    ids=" ".join,
)
def test_a_released_correction_takes_the_place_of_what_it_is_about_alone(
    tmp_path: Path, second: list[str], expected: list[str], in_its_place: str
) -> None:
    """Of a single result of its order it is one where the value is the same: then its code was spelled otherwise."""
    with desk(tmp_path, FHIR) as it:
        assert it.says("F GLU 5.5") == "delivered"
        (first,) = shown(it).values()
        assert it.says(*second) in ("CORRECTS_UNKNOWN", "SAMPLE_UNKNOWN")
        found = shown(it)
        assert sorted(found) == expected
        assert [one for one, name in found.items() if name == first] == ([in_its_place] if in_its_place else [])
        it.decide("release", it.last)
        assert it.says("F GLU 5.5") in ("ECHO", "WITHDRAWN_BEFORE"), "an analyzer's memory undoes no decision"


def test_what_waits_for_a_person_under_one_place_with_another_one_stays_apart(tmp_path: Path) -> None:
    """A result was taken for a code that is spelled otherwise, and both are said again at once."""
    with desk(tmp_path, FHIR) as it:
        assert it.says("A NA 5.5", at="1100") == "delivered"
        assert it.says("P GLUC 6.5", "C GLU 5.5") == "CORRECTS_UNKNOWN"
        assert it.says("C NA 7.5", "F GLU 5.5", "C GLUC 5.5", at="1125") == "SAMPLE_UNKNOWN"
        assert len(shown(it)) == 3
