"""Bundles for servers that give ids: conditional requests, no id in their bodies, everything else as it was."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs.fhir.versions import SYSTEM, TAGGED, for_server_ids
from engine.mapping.fhir.r4 import ELEMENTS, RESOURCES
from tests.support.deliveries import put, shared, transaction

UUID = "00000000-0000-4000-8000-00000000000b"


def rewritten(*entries: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(for_server_ids(transaction(*entries)))["entry"]
    return found


def test_our_own_resource_is_found_by_its_former_id() -> None:
    own = [{"system": "urn:lab", "value": "7"}]
    [entry] = rewritten(put("Specimen", UUID, identifier=own))
    assert entry["request"] == {"method": "PUT", "url": f"Specimen?identifier=urn:labrelay:id%7C{UUID}"}
    assert entry["resource"] == {
        "resourceType": "Specimen",
        "identifier": [*own, {"system": SYSTEM, "value": UUID}],
    }
    assert entry["fullUrl"] == f"urn:uuid:{UUID}"


@pytest.mark.parametrize("kind", sorted(RESOURCES))
def test_every_type_gets_what_it_can_carry(kind: str) -> None:
    [entry] = rewritten(put(kind, UUID))
    identifier = ELEMENTS[kind].get("identifier")
    can_carry = identifier is not None and identifier.many
    assert (kind in TAGGED) == (not can_carry)
    assert ("identifier" in entry["resource"]) == can_carry
    assert entry["request"]["url"].startswith(f"{kind}?{'identifier' if can_carry else '_tag'}=")


def test_shared_resources_stay_as_they_are() -> None:
    entry = shared("Patient", UUID, "urn:lab:pid", "P-1")
    assert rewritten(entry) == [entry]
    assert rewritten({**entry, "resource": {**entry["resource"], "id": UUID}}) == [entry]


def test_a_plain_create_keeps_its_body() -> None:
    entry = {"resource": {"resourceType": "Patient", "id": "x"}, "request": {"method": "POST", "url": "Patient"}}
    assert rewritten(entry) == [entry]


def test_references_inside_the_bundle_go_by_full_url() -> None:
    observation = put(
        "Observation",
        UUID,
        specimen={"reference": "Specimen/s"},
        hasMember=[{"reference": "urn:uuid:other"}, {"reference": "Observation/elsewhere"}],
    )
    [entry, _] = rewritten(observation, put("Specimen", "s"))
    assert entry["resource"]["specimen"] == {"reference": "urn:uuid:s"}
    assert entry["resource"]["hasMember"] == observation["resource"]["hasMember"]


decimals = st.from_regex(r"-?(0|[1-9][0-9]{0,20})\.[0-9]{1,12}([eE][+-]?[0-9]{1,2})?", fullmatch=True)


@given(decimals, st.text())
def test_decimals_keep_their_text_and_strings_theirs(number: str, text: str) -> None:
    text = text.replace("\0", "")
    body = transaction(put("Observation", UUID, valueQuantity={"value": 1}, note=[{"text": text}]))
    result = for_server_ids(body.replace(b'{"value":1}', b'{"value":' + number.encode() + b"}"))
    assert b'"value":' + number.encode() + b"}" in result
    resource = json.loads(result, parse_float=Decimal)["entry"][0]["resource"]
    assert resource["note"] == [{"text": text}]


def test_the_same_bundle_gives_the_same_bytes() -> None:
    body = transaction(put("Observation", UUID), shared("Patient", UUID, "s", "v"))
    assert for_server_ids(body) == for_server_ids(body)
