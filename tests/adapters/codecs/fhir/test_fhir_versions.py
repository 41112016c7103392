"""Versions in Bundles: what is asked for, what an answer gives, and what counts as the same content."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from adapters.codecs.fhir.versions import (
    addresses_of,
    expected,
    given,
    links,
    local,
    renewed,
    resources_of,
    says_the_same,
    version_of,
)
from engine.model.versions import conditioned, worth_keeping, written
from tests.support.deliveries import put, shared, transaction

BODY = transaction(
    put("Observation", "a1", note=[{"text": '"request":{"method":"PUT","url":"Observation/zz"'}]),
    shared("Patient", "p", "urn:x", "1"),
    put("DiagnosticReport", "r1"),
    put("Provenance", "v1"),
)


def test_only_our_own_resources_that_may_come_again_are_conditional() -> None:
    assert written(BODY) == ("Observation/a1", "DiagnosticReport/r1")
    assert conditioned(BODY, {}) is BODY
    sent = conditioned(BODY, {"Observation/a1": "3", "Provenance/v1": "1", "Observation/zz": "9"})
    entries = orjson.loads(sent)["entry"]
    assert entries[0]["request"] == {"method": "PUT", "url": "Observation/a1", "ifMatch": 'W/"3"'}
    assert [entry["request"].get("ifMatch") for entry in entries[1:3]] == [None, None]
    assert entries[0]["resource"] == orjson.loads(BODY)["entry"][0]["resource"], "a text is never taken for a request"


def test_conditions_are_read_and_renewed() -> None:
    sent = conditioned(BODY, {"Observation/a1": "3", "DiagnosticReport/r1": "v-7"})
    assert expected(BODY) == {}
    assert expected(sent) == {"Observation/a1": "3", "DiagnosticReport/r1": "v-7"}
    assert expected(renewed(sent, {"Observation/a1": "12"})) == {"Observation/a1": "12", "DiagnosticReport/r1": "v-7"}


@pytest.mark.parametrize(
    ("answered", "version"),
    [
        ({"response": {"status": "200", "etag": 'W/"4"'}}, "4"),
        ({"response": {"status": "200", "etag": '"x"'}}, "x"),
        ({"response": {"status": "201", "location": "http://s/fhir/Observation/a1/_history/7"}}, "7"),
        ({"response": {"status": "201", "location": "Observation/a1"}}, ""),
        ({"response": {"status": "200"}, "resource": {"meta": {"versionId": "2"}}}, "2"),
        ({"response": {"status": "200", "etag": "4"}}, ""),
        ("junk", ""),
    ],
)
def test_a_version_is_found_wherever_a_server_puts_it(answered: Any, version: str) -> None:
    assert version_of(answered) == version


def test_an_answer_gives_versions_in_the_order_of_the_request() -> None:
    answer = {"entry": [{"response": {"etag": f'W/"{number}"'}} for number in range(1, 5)]}
    assert given(BODY, answer) == (("Observation/a1", "1"), ("DiagnosticReport/r1", "3"), ("Provenance/v1", "4"))
    assert given(BODY, {}) == ()


def test_a_version_that_cannot_be_a_condition_is_not_kept() -> None:
    good = ("Observation/a", "1")
    assert worth_keeping([good, ("b", ""), ("c", 'x"y'), ("d", "é"), ("e", "\\"), ("f", "x" * 65)]) == (good,)


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ({"status": "final"}, {"status": "final", "meta": {"versionId": "2"}, "id": "a", "text": {}}, True),
        ({"status": "final"}, {"status": "amended"}, False),
        ({"status": "final"}, {"status": "final", "note": [{}]}, False),
        ({"value": Decimal("5.40")}, {"value": Decimal("5.4")}, True),
        ({"subject": {"reference": "urn:uuid:1"}}, {"subject": {"reference": "Patient/9"}}, True),
        ({"subject": {"reference": "Patient/8"}}, {"subject": {"reference": "Patient/9"}}, False),
        ({"coding": [{"code": "a"}]}, {"coding": [{"code": "a"}, {"code": "b"}]}, False),
        ({"flag": True}, {"flag": 1}, False),
        ({"value": {"text": "Negative"}}, {"value": {"text": "Positive"}}, False),
        ({"note": [{"text": "a"}]}, {"note": [{"text": "b"}]}, False),
        ({"code": {"coding": []}}, {"code": {"coding": [], "text": "theirs"}}, False),
        ({"subject": {"reference": "urn:uuid:1"}}, {"subject": {"reference": "Patient/9", "display": "x"}}, False),
        ({"subject": {"reference": "urn:uuid:1"}}, {"subject": {"display": "x"}}, False),
        ({"contained": [{"resourceType": "A", "id": "1"}]}, {"contained": [{"resourceType": "A", "id": "2"}]}, True),
        ({"contained": [{"resourceType": "A", "a": 1}]}, {"contained": [{"resourceType": "A", "a": 2}]}, False),
    ],
)
def test_what_a_server_manages_itself_makes_no_other_content(ours: Any, theirs: Any, same: bool) -> None:
    assert says_the_same(ours, theirs) is same


def test_resources_are_told_by_the_address_they_had_before_they_went_out() -> None:
    sent = BODY.replace(b'"url":"Observation/a1"', b'"url":"Observation?identifier=x"')
    assert set(resources_of(BODY, sent)) == {"Observation/a1", "Patient", "DiagnosticReport/r1", "Provenance/v1"}


def test_what_the_server_made_of_a_reference_is_told() -> None:
    ours = {"subject": {"reference": "urn:uuid:1"}, "result": [{"reference": "Observation/a"}, {"reference": "P?x=1"}]}
    theirs = {
        "subject": {"reference": "http://lab/fhir/Patient/9/_history/3"},
        "result": [{"reference": "Observation/a"}, {"reference": "P/2"}],
    }
    assert sorted(links(ours, theirs)) == [("P?x=1", "P/2"), ("urn:uuid:1", "Patient/9")]
    assert local("Patient/9") == "Patient/9"


def test_how_a_server_finds_what_an_entry_is_about() -> None:
    def entry(name: str, **request: str) -> dict[str, Any]:
        return {"fullUrl": name, "request": request}

    entries = [
        entry("urn:a", method="PUT", url="Observation/1"),
        entry("urn:b", method="PUT", url="Observation?identifier=x"),
        entry("urn:c", method="POST", url="Patient", ifNoneExist="identifier=y"),
        entry("urn:d", method="POST", url="Task"),
    ]
    found = addresses_of(orjson.dumps({"entry": entries}))
    assert found == {"urn:a": "Observation/1", "urn:b": "Observation?identifier=x", "urn:c": "Patient?identifier=y"}
