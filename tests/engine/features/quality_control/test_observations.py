"""Controls in FHIR: valid by the rules for all documents; of an analyzer and a control material, never of a patient."""

from decimal import Decimal
from pathlib import Path

import pytest

from engine.features.quality_control.lists.observations import bundle
from engine.features.quality_control.rows import reading
from tests.engine.features.quality_control.rows.test_judging import at, control, laboratory, measure
from tests.support.fhir_check import check_bundle, resources

PATIENTS = ("Patient", "DiagnosticReport", "ServiceRequest")


def test_each_point_is_an_observation_of_the_device(tmp_path: Path) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control("101.50", "L1", at(0)), control("<60", "L2", at(1)))
        measure(journal, 2, control("130", "L1", at(2)))
        made = check_bundle(bundle(reading.list_points(journal)))
    found = {one["effectiveDateTime"]: one for one in resources(made, "Observation")}
    (device,) = resources(made, "Device")
    first, words, failed = (found[when] for when in sorted(found))
    assert {one["subject"]["reference"] for one in found.values()} == {f"urn:uuid:{device['id']}"}
    assert {one["category"][0]["coding"][0]["code"] for one in found.values()} == {"quality-control"}
    assert str(first["valueQuantity"]["value"]) == str(Decimal("101.50"))
    assert (words["valueString"], words["note"][-1]["text"]) == ("<60", "not evaluated: no number")
    assert {"text": "verdict: reject"} in failed["note"]
    assert len(resources(made, "Specimen")) == 2
    assert [resources(made, kind) for kind in PATIENTS] == [[], [], []]


@pytest.mark.parametrize("value", ["1e3", "0.10", "-5", "+7", "007", "NaN", "Infinity", "positive", "5,2"])
def test_a_value_of_any_form_makes_a_valid_document(tmp_path: Path, value: str) -> None:
    with laboratory(tmp_path) as journal:
        measure(journal, 1, control(value, "L1", at(0)))
        check_bundle(bundle(reading.list_points(journal)))
        check_bundle(bundle([]))
