"""The judge of Bundles finds each kind of fault, so that a green test elsewhere means something."""

import copy
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.support.fhir_check import check_bundle, faults, resources

PATIENT = "7b9f6f0a-43c6-4c8e-9d0f-2a4b6f1d3c55"
RESULT = "0d9a1b62-5d0e-4f7e-8a53-0f6f2f9c1e10"


def _bundle() -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": f"urn:uuid:{PATIENT}",
                "resource": {"resourceType": "Patient", "identifier": [{"system": "urn:x:mr", "value": "7"}]},
                "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn%3Ax%3Amr%7C7"},
            },
            {
                "fullUrl": f"urn:uuid:{RESULT}",
                "resource": {
                    "resourceType": "Observation",
                    "id": RESULT,
                    "status": "final",
                    "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
                    "subject": {"reference": f"urn:uuid:{PATIENT}"},
                    "effectiveDateTime": "2026-03-01T09:15:00+05:30",
                    "valueQuantity": {"value": 148, "unit": "g/L"},
                },
                "request": {"method": "PUT", "url": f"Observation/{RESULT}"},
            },
        ],
    }


def _body(bundle: dict[str, Any]) -> bytes:
    return json.dumps(bundle).encode()


def test_a_good_bundle_has_no_faults() -> None:
    assert faults(_body(_bundle())) == []


def test_decimals_keep_their_text() -> None:
    body = _body(_bundle()).replace(b'"value": 148,', b'"value": 148.50,')
    result = resources(check_bundle(body), "Observation")[0]
    assert str(result["valueQuantity"]["value"]) == "148.50"
    assert isinstance(result["valueQuantity"]["value"], Decimal)


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(result: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for part in parents:
            result = result[int(part)] if isinstance(result, list) else result[part]
        result[last] = value

    return change


BROKEN = {
    "status outside its binding": (_set("status", "nonsense"), "not in observation-status"),
    "value beside dataAbsentReason": (_set("dataAbsentReason", {"text": "x"}), "obs-6"),
    "two values": (_set("valueString", "148"), "exclude each other"),
    "dangling reference": (_set("subject.reference", f"urn:uuid:{RESULT[:-1]}1"), "not in the Bundle"),
    "reference to a wrong type": (_set("specimen", {"reference": f"urn:uuid:{PATIENT}"}), "leads to a Patient"),
    "empty string": (_set("valueQuantity.unit", ""), "empty or blank"),
    "empty list": (_set("note", []), "empty list"),
    "empty object": (_set("valueQuantity", {}), "empty object"),
    "scalar for a list": (_set("category", {"text": "x"}), "needs a list"),
    "list for a scalar": (_set("code", [{"text": "x"}]), "must not be a list"),
    "unknown element": (_set("valueQuantum", {"text": "x"}), "no such element"),
    "minute without a second": (_set("effectiveDateTime", "2026-03-01T09:15+05:30"), "not a dateTime"),
    "time without an offset": (_set("effectiveDateTime", "2026-03-01T09:15:00"), "not a dateTime"),
    "control character": (_set("valueQuantity.unit", "g\x01L"), "control character"),
    "number as text": (_set("valueQuantity.value", "148"), "must be a number"),
    "unit code without its system": (_set("valueQuantity.code", "g/L"), "qty-3"),
    "id of another resource": (_set("id", PATIENT), "not the resource's own type and id"),
    "missing status": (lambda result: result.pop("status"), "status: required"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_fault_of_a_resource_is_found(name: str) -> None:
    change, expected = BROKEN[name]
    bundle = _bundle()
    change(bundle["entry"][1]["resource"])
    assert any(expected in fault for fault in faults(_body(bundle))), faults(_body(bundle))


BROKEN_ENTRIES = {
    "full url twice": (0, _set("fullUrl", f"urn:uuid:{RESULT}"), "used twice"),
    "full url in upper case": (0, _set("fullUrl", f"urn:uuid:{PATIENT.upper()}"), "lower case"),
    "PUT with ifNoneExist": (1, _set("request.ifNoneExist", "identifier=a%7Cb"), "only beside POST"),
    "POST of a resource with an id": (0, _set("resource.id", PATIENT), "gives the id"),
    "identifier of no system": (0, _set("request.ifNoneExist", "identifier=%7C7"), "system|value"),
    "bare identifier": (0, _set("request.ifNoneExist", "identifier=7"), "system|value"),
    "query not encoded": (0, _set("request.ifNoneExist", "identifier=urn:x:mr|7"), "percent-encoded"),
    "no request": (0, lambda entry: entry.pop("request"), "POST or PUT expected"),
}


@pytest.mark.parametrize("name", BROKEN_ENTRIES)
def test_each_fault_of_an_entry_is_found(name: str) -> None:
    number, change, expected = BROKEN_ENTRIES[name]
    bundle = copy.deepcopy(_bundle())
    change(bundle["entry"][number])
    assert any(expected in fault for fault in faults(_body(bundle))), faults(_body(bundle))


def test_a_number_with_an_exponent_is_found() -> None:
    body = _body(_bundle()).replace(b'"value": 148,', b'"value": 1.5e2,')
    assert any("plain decimal" in fault for fault in faults(body))
