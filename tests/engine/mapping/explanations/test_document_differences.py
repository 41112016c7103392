"""Two documents of one message: what came, went or changed, by element and without numbers."""

import json
from typing import Any

import pytest

from engine.mapping.explanations.differences import DOCUMENT, Change, differences


def bundle(*resources: dict[str, Any], **more: Any) -> bytes:
    entries = [
        {
            "fullUrl": f"urn:uuid:{one['id']}",
            "resource": one,
            "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"},
        }
        for one in resources
    ]
    return json.dumps({"resourceType": "Bundle", "type": "transaction", **more, "entry": entries}).encode()


def result(identity: str = "a", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": identity, "status": "final", **more}


def test_the_same_is_no_difference_whatever_its_order_and_mapping() -> None:
    provenance = {"resourceType": "Provenance", "id": "p", "policy": ["urn:labrelay:mapping:x:0123456789abcdef"]}
    other = {"resourceType": "Provenance", "id": "p", "policy": ["urn:labrelay:mapping:y:fedcba9876543210"]}

    assert differences(bundle(result("a"), provenance), bundle(other, result("a"))) == []


def test_elements_are_told_with_paths_that_have_no_numbers() -> None:
    before = result(valueQuantity={"value": 14.8, "unit": "g/dL"}, note=[{"text": "x"}])
    after = result(valueQuantity={"value": 148, "unit": "g/dL", "code": "g/L"})

    assert differences(bundle(before), bundle(after)) == [
        Change("changed", "Observation.valueQuantity.value", "14.8", "148"),
        Change("added", "Observation.valueQuantity.code", after="g/L"),
        Change("removed", "Observation.note.text", before="x"),
    ]


def test_numbers_are_compared_as_they_are_written() -> None:
    before, after = bundle(result(value=1)), bundle(result(value=1))
    after = after.replace(b'"value": 1', b'"value": 1.0')

    assert [(change.before, change.after) for change in differences(before, after)] == [("1", "1.0")]


def test_one_more_item_at_the_front_changes_none_behind_it() -> None:
    local, second = {"code": "HGB"}, {"code": "718-7", "system": "http://loinc.org"}

    assert differences(
        bundle(result(coding=[local, {"code": "z"}])), bundle(result(coding=[second, local, {"code": "z"}]))
    ) == [
        Change("added", "Observation.coding.code", after="718-7"),
        Change("added", "Observation.coding.system", after="http://loinc.org"),
    ]


def test_items_that_differ_are_paired() -> None:
    before = result(coding=[{"code": "a", "display": "x"}, {"code": "b"}])
    after = result(coding=[{"code": "a", "display": "y"}, {"code": "b"}, {"code": "c"}])

    assert differences(bundle(before), bundle(after)) == [
        Change("changed", "Observation.coding.display", "x", "y"),
        Change("added", "Observation.coding.code", after="c"),
    ]


def test_a_resource_of_another_id_is_another_one() -> None:
    assert differences(bundle(result("a")), bundle(result("b"))) == [
        Change("added", "Observation"),
        Change("removed", "Observation"),
    ]


def test_requests_and_the_bundle_itself_are_compared_too() -> None:
    after = bundle(result("a"), type="message").replace(b"PUT", b"POST")

    assert {(change.kind, change.path) for change in differences(bundle(result("a")), after)} == {
        ("changed", "Bundle.type"),
        ("changed", "Observation (entry).request.method"),
    }


@pytest.mark.parametrize(
    ("before", "after"), [(b"MSH|1", b"MSH|2"), (b"[1]", b"[2]"), (b"{}", b"MSH"), (b"\xff", b"{}")]
)
def test_what_is_no_json_object_differs_as_a_whole(before: bytes, after: bytes) -> None:
    assert differences(before, after) == [Change("changed", DOCUMENT)]
    assert differences(before, before) == []


def test_very_long_lists_are_compared_place_by_place() -> None:
    before = bundle(result(x=[str(at) for at in range(5000)]))
    after = bundle(result(x=["new", *(str(at) for at in range(1, 4999)), "other", "more"]))

    assert [(change.kind, change.path) for change in differences(before, after)] == [
        ("changed", "Observation.x"),
        ("changed", "Observation.x"),
        ("added", "Observation.x"),
    ]
