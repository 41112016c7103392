"""Documents name the orders of their results: FHIR transactions and HL7 v2, as bytes."""

from typing import Any

import orjson
import pytest

from engine.model.journal.document_facts import DocumentFacts, facts_from
from engine.model.message import Document
from engine.succession.hl7_statements import MEDIA_TYPE as HL7
from engine.succession.kinds import under
from engine.succession.order_marks import without_ours
from engine.succession.order_names import FHIR, with_orders
from engine.succession.statements import loads, resources_in

GLU = {"item": 1, "specimen": "00042", "codes": ["10", "GLU"], "placer": "P1", "namespace": "HIS", "filler": "F1"}
UREA = {"item": 2, "specimen": "00042", "codes": ["20"], "placer": "P2"}
LATE = {**GLU, "late": "ordered, cancelled at 2026-03-01 09:00, measured"}


def entry(kind: str, number: str, **more: Any) -> dict[str, Any]:
    resource = {"resourceType": kind, "status": "final", **more}
    return {
        "fullUrl": f"urn:uuid:{number}",
        "resource": resource,
        "request": {"method": "PUT", "url": f"{kind}/{number}"},
    }


def observation(number: str, code: str, tube: str = "s1", **more: Any) -> dict[str, Any]:
    code_of = {"coding": [{"system": "http://loinc.org", "code": "1-8"}, {"code": code}]}
    return entry("Observation", number, code=code_of, specimen={"reference": f"urn:uuid:{tube}"}, **more)


def bundle(*entries: dict[str, Any]) -> bytes:
    tubes = [entry("Specimen", name, identifier=[{"value": tube}]) for name, tube in (("s1", "00042"), ("s2", "42"))]
    return orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [*tubes, *entries]})


def numbers(body: bytes) -> dict[str, list[str]]:
    return {
        one["request"]["url"]: [
            said["identifier"]["value"] for said in one["resource"]["basedOn"] if "identifier" in said
        ]
        for one in orjson.loads(body)["entry"]
        if "basedOn" in one["resource"]
    }


REPORT = entry("DiagnosticReport", "r", result=[{"reference": "urn:uuid:a"}, {"reference": "urn:uuid:b"}])


def test_results_and_their_report_point_to_their_orders() -> None:
    body = with_orders(bundle(observation("a", "10"), observation("b", "20"), REPORT), FHIR, [GLU, UREA])
    assert numbers(body) == {"Observation/a": ["P1"], "Observation/b": ["P2"], "DiagnosticReport/r": ["P1", "P2"]}
    (first, *_) = [one["resource"] for one in orjson.loads(body)["entry"] if "basedOn" in one["resource"]]
    assert first["basedOn"][0]["identifier"]["assigner"] == {"display": "HIS"}


@pytest.mark.parametrize(
    ("order", "identifier"),
    [(UREA, {"value": "P2"}), ({**UREA, "namespace": "urn:x"}, {"system": "urn:x", "value": "P2"}),
     ({**UREA, "namespace": "HIS"}, {"value": "P2", "assigner": {"display": "HIS"}}),
     ({**UREA, "placer": "", "filler": "F2", "namespace": "HIS"}, {"value": "F2"})],
)  # fmt: skip
def test_an_order_is_named_by_the_number_of_who_placed_it_or_of_who_fills_it(
    order: dict[str, Any], identifier: dict[str, Any]
) -> None:
    (*_, result) = orjson.loads(with_orders(bundle(observation("b", "20")), FHIR, [order]))["entry"]
    kind = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "PLAC" if order["placer"] else "FILL"}
    (one,) = result["resource"]["basedOn"]
    assert one == {"type": "ServiceRequest", "identifier": {"type": {"coding": [kind]}} | identifier}


def test_of_a_result_what_its_sender_gave_stays() -> None:
    said = {"basedOn": [{"reference": "urn:uuid:q"}], "note": [{"text": "haemolytic"}], "status": "final"}
    ours = {"basedOn": [{"identifier": {"value": "P1"}}], "note": [{"authorString": "LabRelay", "text": "late"}]}
    assert without_ours(said) == said
    assert without_ours({"status": "final", **ours}) == {"status": "final"}
    assert without_ours({name: [*said[name], *ours[name]] for name in ours} | {"status": "final"}) == said


def test_a_result_of_another_tube_or_test_names_none() -> None:
    body = bundle(observation("a", "10", "s2"), observation("b", "30"), REPORT)
    assert with_orders(body, FHIR, [GLU, UREA]) == body


def test_an_order_without_numbers_is_not_named() -> None:
    order = {"item": 1, "specimen": "00042", "codes": ["10"]}
    assert numbers(with_orders(bundle(observation("a", "10"), REPORT), FHIR, [order])) == {}


@pytest.mark.parametrize(("others", "named"), [
    ([{**GLU, "codes": ["11", "GLU"]}], "P1"),  # of one order
    ([{**GLU, "item": 3}], ""),
    ([{"specimen": "00042", "codes": ["10"]}], ""),  # a result of no order has the code, too
    ([{"specimen": "00042", "codes": ["11"]}, {"specimen": "42", "codes": ["10"]}], "P1"),
])  # fmt: skip
def test_a_code_that_may_mean_two_orders_names_none(others: list[dict[str, Any]], named: str) -> None:
    code = {"coding": [{"code": "10"}, {"code": "GLU"}]}
    result = entry("Observation", "a", code=code, specimen={"reference": "urn:uuid:s1"})
    body = with_orders(bundle(result), FHIR, [GLU, *others])
    assert numbers(body) == ({"Observation/a": [named]} if named else {})
    lines = [HEAD, "PID|1||4711", "OBR|1||00042|GLU", "OBX|1|NM|10||5"]
    text = "".join(f"{line}\r" for line in lines).encode()
    assert (b"OBR|1|P1^HIS|" in with_orders(text, HL7, [GLU, *others])) == bool(named)


def test_a_work_step_stays_beside_the_number_of_its_order() -> None:
    asked = entry("ServiceRequest", "q", identifier=[{"value": "W17"}])
    body = with_orders(bundle(asked, observation("a", "10", basedOn=[{"reference": "urn:uuid:q"}])), FHIR, [GLU])
    (based,) = [one["resource"]["basedOn"] for one in orjson.loads(body)["entry"] if "basedOn" in one["resource"]]
    assert (based[0], based[1]["identifier"]["value"]) == ({"reference": "urn:uuid:q"}, "P1")


def test_of_two_orders_for_one_test_each_result_has_that_of_its_work_step() -> None:
    """Over IHE LAW, in one message; one whose step is not said, or is another one, names none."""
    first, second = GLU, {**GLU, "item": 2, "placer": "P2"}
    steps = {"q": "W1", "r": "W2", "s": "W3"}
    asked = [entry("ServiceRequest", name, identifier=[{"value": step}]) for name, step in steps.items()]
    results = [
        observation(name, "10", basedOn=[{"reference": f"urn:uuid:{of}"}])
        for name, of in zip("abc", steps, strict=True)
    ]
    report = entry("DiagnosticReport", "t", result=[{"reference": f"urn:uuid:{one}"} for one in "abcd"])
    body = with_orders(bundle(*asked, *results, observation("d", "10"), report), FHIR, [first, second])
    named = {name: found for name, found in numbers(body).items() if found}
    assert named == {"Observation/a": ["P1"], "Observation/b": ["P2"], "DiagnosticReport/t": ["P1", "P2"]}


def test_a_number_that_the_message_has_is_not_named_twice() -> None:
    asked = entry("ServiceRequest", "q", identifier=[{"value": "P1"}])
    body = with_orders(bundle(asked, observation("a", "10", basedOn=[{"reference": "urn:uuid:q"}])), FHIR, [GLU])
    assert numbers(body) == {"Observation/a": []}


def test_it_makes_no_other_result_of_it() -> None:
    """An analyzer's memory comes when the order has ended: it is an echo all the same."""
    plain = bundle(observation("a", "10", note=[{"text": "haemolytic"}]))
    named = with_orders(plain, FHIR, [LATE])
    assert named != plain
    assert [one.whole for one in resources_in(loads(named))] == [one.whole for one in resources_in(loads(plain))]


def test_a_late_result_says_so() -> None:
    body = with_orders(bundle(observation("a", "10", note=[{"text": "haemolytic"}])), FHIR, [LATE])
    (notes,) = [one["resource"]["note"] for one in orjson.loads(body)["entry"] if "note" in one["resource"]]
    assert [one["text"] for one in notes] == ["haemolytic", LATE["late"]]


def test_the_facts_make_the_same_document() -> None:
    body = bundle(observation("a", "10"), REPORT)
    facts = facts_from(orjson.loads(orjson.dumps(DocumentFacts(orders=(GLU,)).as_json())))
    assert numbers(under(Document(body=body), None, facts) or b"{}") == {
        "Observation/a": ["P1"],
        "DiagnosticReport/r": ["P1"],
    }


HEAD = "MSH|^~\\&|A|||||||ORU^R01|1|P|2.5.1"
MESSAGES = {
    "empty numbers are filled": (
        ["ORC|RE", "OBR|1|||GLU", "OBX|1|NM|10||5", "SPM|1|00042"],
        [GLU],
        ["ORC|RE|P1^HIS|F1", "OBR|1|P1^HIS|F1|GLU", "OBX|1|NM|10||5", "SPM|1|00042"],
    ),
    "a number that is there stays": (
        ["ORC|RE|X1", "OBR|1|W17|00042|GLU", "OBX|1|NM|10||5"],
        [GLU],
        ["ORC|RE|X1|F1", "OBR|1|W17|00042|GLU", "OBX|1|NM|10||5"],
    ),
    "an order of two order numbers has none": (
        ["OBR|1||00042|GLU", "OBX|1|NM|10||5", "OBX|2|NM|20||5"],
        [GLU, UREA],
        ["OBR|1||00042|GLU", "OBX|1|NM|10||5", "OBX|2|NM|20||5"],
    ),
    "two orders for one test, by their work steps": (
        ["ORC|RE", "OBR|1|W1|00042|GLU", "OBX|1|NM|10||5", "ORC|RE", "OBR|2|W2|00042|GLU", "OBX|1|NM|10||6"],
        [GLU, {**GLU, "item": 2, "placer": "P2", "filler": "F2"}],
        [
            *("ORC|RE|P1^HIS|F1", "OBR|1|W1|00042|GLU", "OBX|1|NM|10||5"),
            *("ORC|RE|P2^HIS|F2", "OBR|2|W2|00042|GLU", "OBX|1|NM|10||6"),
        ],
    ),
    "another tube": (["OBR|1||43|GLU", "OBX|1|NM|10||5"], [GLU], None),
    "no tube": (["OBR|1|||GLU", "OBX|1|NM|10||5"], [GLU], None),
    "each order has its own": (
        ["OBR|1||00042|GLU", "OBX|1|NM|10||5", "OBR|2||00042|UREA", "OBX|1|NM|20||5"],
        [GLU, UREA],
        ["OBR|1|P1^HIS|00042|GLU", "OBX|1|NM|10||5", "OBR|2|P2|00042|UREA", "OBX|1|NM|20||5"],
    ),
    "a delimiter in a number": (["OBR|1||00042|GLU", "OBX|1|NM|20||5"], [{**UREA, "placer": "P|2"}], None),
    "a late one": (
        ["OBR|1||00042|GLU", "OBX|1|NM|10||5"],
        [LATE],
        ["OBR|1|P1^HIS|00042|GLU", "OBX|1|NM|10||5", f"NTE|1|L|{LATE['late']}"],
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_hl7_output_has_the_numbers(name: str) -> None:
    lines, orders, wanted = MESSAGES[name]

    def text(some: list[str]) -> bytes:
        return "".join(f"{line}\r" for line in [HEAD, "PID|1||4711", *some]).encode()

    assert with_orders(text(lines), HL7, orders) == text(wanted or lines)


def test_other_kinds_stay() -> None:
    assert with_orders(b"a,b", "text/csv; charset=utf-8", [GLU]) == b"a,b"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"{", FHIR),
        (b"[]", FHIR),
        (b'{"type": "transaction", "entry": [{"resource": {}}]}', FHIR),
        (b'{"type": "transaction", "entry": 5}', FHIR),
        (b"no segment at all", HL7),
        (b"{}", "text/csv"),
    ],
)
def test_a_document_of_another_making_goes_out_as_it_is(body: bytes, media_type: str) -> None:
    assert with_orders(body, media_type, [GLU]) == body
