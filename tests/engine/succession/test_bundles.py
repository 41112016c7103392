"""The resources of a FHIR transaction, as they are compared; and the Bundle as it goes out once they are judged."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from engine.model.journal.document_facts import OWN_SYSTEM, DocumentFacts
from engine.succession.cultures import head_codes, reports_of_cultures
from engine.succession.statements import (
    PART,
    SENDER_STATUS,
    Listed,
    Resource,
    amended,
    as_sent,
    beside,
    change_status,
    changed_by,
    entries_in,
    id_of,
    joined,
    loads,
    rename,
    resource_id,
    resource_of,
    resources_in,
    text_of,
    under,
    written_anew,
)

Json = dict[str, Any]
SAID = {"system": SENDER_STATUS, "code": "final"}


def entry(kind: str, identity: str, **fields: Any) -> Json:
    return {
        "fullUrl": f"urn:uuid:{identity}",
        "resource": {"resourceType": kind, **fields},
        "request": {"method": "PUT", "url": f"{kind}/{identity}"},
    }


def refers(*ids: str) -> list[Json]:
    return [{"reference": f"urn:uuid:{one}"} for one in ids]


def observation(identity: str, value: float = 5.5, status: str = "final", **fields: Any) -> Json:
    (subject,) = refers("p")
    return entry(
        "Observation", identity, status=status, code={"coding": [{"system": "s", "code": identity}]}, subject=subject,
        valueQuantity={"value": value}, **fields,
    )  # fmt: skip


def report(identity: str, *results: str, status: str = "final", **fields: Any) -> Json:
    return entry("DiagnosticReport", identity, status=status, result=refers(*results), **fields)


PATIENT = {
    "fullUrl": "urn:uuid:p",
    "resource": {"resourceType": "Patient", "identifier": [{"system": OWN_SYSTEM, "value": "p"}, {"value": "900"}]},
    "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn|p"},
}
PROVENANCE = entry("Provenance", "v", target=refers("a"))


def bundle(*entries: Json) -> Json:
    return loads(orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}))


def made(body: bytes) -> dict[str, Json]:
    """Type/id -> the resource that goes out, in their order."""
    return {
        f"{one['resource']['resourceType']}/{id_of(one['fullUrl'])}": one["resource"]
        for one in orjson.loads(body)["entry"]
    }


def status_of(resource: Json) -> tuple[str, str]:
    """As it goes out, and as the tag says that its sender gave it."""
    tags = resource.get("meta", {}).get("tag", [])
    return resource["status"], next((one["code"] for one in tags if one["system"] == SENDER_STATUS), "")


# -- what is compared --------------------------------------------------------------------------------------------------


def of(**fields: Any) -> Resource:
    return resource_of("Observation/a", observation("a", **fields)["resource"])


def test_a_result_as_it_is_compared() -> None:
    one = of(effectiveDateTime="2026-03-01T09:30:00Z", hasMember=refers("b", "c"))
    assert (one.name, one.kind, one.identity) == ("Observation/a", "Observation", "a")
    assert (one.status, one.said, one.time) == ("final", "final", "2026-03-01T09:30:00Z")
    assert (one.codes, one.called, one.subject) == (frozenset({"s|a"}), "a", "urn:uuid:p")
    assert (one.members, one.lists, one.own, one.order, one.texts) == (("b", "c"), (), b"", b"", frozenset())
    assert (one.isolate, one.susceptible, one.version, one.mute) == (False, False, 0, False)
    assert len(one.whole) == len(one.meaning) == 16


@pytest.mark.parametrize(
    ("fields", "time"),
    [({"effectiveDateTime": "2026"}, "2026"), ({"effectiveInstant": "2026-01"}, "2026-01"),
     ({"effectivePeriod": {"start": "2025", "end": "2026"}}, "2025"), ({"effectivePeriod": {"end": "2026"}}, ""),
     ({"effectiveDateTime": "2026", "effectiveInstant": "2024"}, "2026"), ({}, "")],
)  # fmt: skip
def test_a_time_stands_in_one_of_three_places(fields: Json, time: str) -> None:
    assert of(**fields).time == time


@pytest.mark.parametrize(
    ("code", "codes", "called"),
    [({"coding": [{"system": "s", "code": "1"}, {"code": "2"}, {"display": "3"}]}, {"s|1", "|2"}, "1, 2"),
     ({"coding": [{"code": "2"}], "text": "Glucose"}, {"|2"}, "2"), ({"text": "Glucose"}, {"Glucose"}, "Glucose"),
     ({}, set(), "Observation")],
)  # fmt: skip
def test_a_test_is_called_by_its_codes_or_its_text(code: Json, codes: set[str], called: str) -> None:
    one = resource_of("Observation/a", {"resourceType": "Observation", "code": code})
    assert (one.codes, one.called, one.status, one.said, one.subject) == (codes, called, "", "", "")


OF_WHOLE = {  # what changes -> whether it is another result then, and means something else
    "value": ({"value": 5.6}, True, True),
    "status": ({"status": "corrected"}, False, False),
    "issue": ({"issued": "2026-03-01T10:00:00Z", "id": "x", "meta": {"tag": []}}, False, False),
    "note": ({"note": [{"text": "haemolytic"}]}, True, False),
    "our note": ({"note": [{"authorString": "LabRelay", "text": "late"}]}, False, False),
    "our order": ({"basedOn": [{"identifier": {"value": "P1"}}]}, False, False),
    "its order": ({"basedOn": refers("q")}, True, False),
    "flag": ({"interpretation": [{"coding": [{"code": "H"}]}]}, True, True),
    "range": ({"referenceRange": [{"text": "1-2"}]}, True, True),
    "reason": ({"dataAbsentReason": {"text": "clotted"}}, True, True),
    "parts": ({"component": [{"valueString": "x"}]}, True, True),
}


@pytest.mark.parametrize("what", OF_WHOLE)
def test_what_makes_another_result_of_it(what: str) -> None:
    fields, is_other, means_other = OF_WHOLE[what]
    assert (of(**fields).whole != of().whole, of(**fields).meaning != of().meaning) == (is_other, means_other)


def test_another_patient_means_something_else() -> None:
    other = observation("a")["resource"] | {"subject": {"reference": "Patient/7"}}
    assert resource_of("Observation/a", other).meaning != of().meaning


@pytest.mark.parametrize(
    ("fields", "is_one"),
    [({"interpretation": [{"coding": [{"code": "R"}]}]}, True),
     ({"interpretation": [{"coding": [{"code": "H"}]}]}, False),
     ({"interpretation": [{"text": "R"}, {"coding": [{}, {"code": "SDD"}]}]}, True),
     ({"valueCodeableConcept": {"coding": [{"display": "x"}, {"code": "S"}, {"code": "H"}]}}, True),
     ({"valueCodeableConcept": {"coding": [{"code": "H"}], "text": "S"}}, False),
     ({"valueCodeableConcept": {"text": "NS"}}, True), ({"valueString": "I"}, True), ({"valueString": "low"}, False)],
)  # fmt: skip
def test_a_susceptibility_says_s_i_or_r(fields: Json, is_one: bool) -> None:
    assert of(**fields).susceptible is is_one


def test_an_isolate_is_marked_and_the_senders_status_is_in_a_tag() -> None:
    one = of(status="amended", meta={"tag": [{"system": PART, "code": "1"}, SAID]})
    assert (one.isolate, one.status, one.said) == (True, "amended", "final")
    assert not of(meta={"tag": [{"system": "x", "code": PART}]}).isolate


def of_report(*results: str, **fields: Any) -> Resource:
    return resource_of("DiagnosticReport/r", report("r", *results, **fields)["resource"])


def test_a_report_as_it_is_compared() -> None:
    pdf = [{"contentType": "application/pdf", "data": "AAAA"}]
    one, plain = of_report("a", "b", presentedForm=pdf, conclusion="x"), of_report("a", "b")
    assert (one.kind, one.lists, one.texts) == ("DiagnosticReport", ("a", "b"), {"presentedForm", "conclusion"})
    assert (one.meaning, plain.texts, plain.susceptible) == (b"", frozenset(), False)
    assert len({one.own, plain.own, of_report(media=[{"comment": "x"}]).own}) == 3
    assert one.whole != plain.whole == of_report("c", status="amended", issued="2026").whole
    assert plain.own == of_report("c", code={"text": "CHEM"}).own
    assert plain.whole != of_report("a", "b", code={"text": "CHEM"}).whole


def test_what_was_ordered_is_the_numbers_and_the_code() -> None:
    number, tube, code = [{"value": "F1"}], refers("t"), {"text": "CHEM"}
    orders = [
        of_report(identifier=number, code=code), of_report(specimen=tube, code=code), of_report(code=code),
        of_report(identifier=number), of_report(),
    ]  # fmt: skip
    assert len({one.order for one in orders}) == 5
    assert orders[0].order == of_report("a", identifier=number, specimen=tube, code=code, status="partial").order


def test_the_resources_of_a_transaction_are_those_under_our_ids() -> None:
    found = [{"fullUrl": "urn:uuid:x", "resource": {"resourceType": "Observation"}}]
    by_query = observation("q") | {"request": {"method": "PUT", "url": "Observation?identifier=1"}}
    content = bundle(PATIENT, observation("a"), *found, by_query, report("r"), PROVENANCE, entry("MessageHeader", "h"))
    assert [one.name for one in resources_in(content)] == ["Observation/a", "DiagnosticReport/r"]
    assert resources_in({"resourceType": "Bundle"}) == []


BROKEN = [
    b"[]", b'{"resourceType": "Patient"}', b"{", b'{"resourceType": "Bundle", "entry": [{"resource": {}}]}',
    b'{"resourceType": "Bundle", "entry": [{"fullUrl": "urn:uuid:a"}]}',
]  # fmt: skip


@pytest.mark.parametrize("body", BROKEN)
def test_what_is_no_bundle_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"no Bundle|without its|Expecting"):
        loads(body)


@pytest.mark.parametrize("request_of", [{"method": "PUT"}, {"method": "PUT", "url": 5}, []])
def test_an_entry_of_another_shape_is_refused(request_of: Any) -> None:
    with pytest.raises(ValueError, match=r"^(KeyError|TypeError|AttributeError)$"):
        resources_in(bundle(observation("a") | {"request": request_of}))


def test_names_and_ids() -> None:
    assert [id_of(one) for one in ("urn:uuid:a", "Observation/b", "http://x/Observation/c", "d")] == list("abcd")
    assert under("Observation/a", {"a": "b"}) == "Observation/b"
    assert under("Observation/c", {"a": "b"}) == "Observation/c"
    assert [entries_in(one) for one in (b"MSH|", b"{}", b'{"entry": [1, 2]}')] == [0, 0, 2]
    first, *parts = resource_id("x").split("-")
    assert [len(one) for one in (first, *parts)] == [8, 4, 4, 4, 12]
    assert (parts[1][0], parts[2][0]) == ("8", "a")
    assert resource_id("x") == resource_id("x") != resource_id("y")


# -- as it goes out ----------------------------------------------------------------------------------------------------

CONTENT = (PATIENT, observation("a"), observation("b", 1.10), report("r", "a", "b"), PROVENANCE)


def sent(*entries: Json, **decided: Any) -> dict[str, Json]:
    return made(as_sent(bundle(*(entries or CONTENT)), DocumentFacts(**decided)))


def test_numbers_stay_as_they_are_written() -> None:
    body = orjson.dumps(bundle(*CONTENT)).replace(b"1.1}", b"1.10}")
    assert b"1.10}" in body
    assert as_sent(loads(body), DocumentFacts()) == body


def test_an_echo_is_left_out_and_what_listed_it_names_it_by_its_id() -> None:
    out = sent(echoes=frozenset({"Observation/a"}))
    assert [*out] == ["Patient/p", "Observation/b", "DiagnosticReport/r", "Provenance/v"]
    listed = [*out["DiagnosticReport/r"]["result"], *out["Provenance/v"]["target"]]
    assert [one["reference"] for one in listed] == ["Observation/a", "urn:uuid:b", "Observation/a"]


@pytest.mark.parametrize("how", ["waits", "absent"])
def test_what_the_receiver_does_not_have_is_named_by_nothing(how: str) -> None:
    other = observation("c", hasMember=refers("a"), derivedFrom=[{"reference": "Observation/a"}, *refers("b")])
    out = sent(*CONTENT, other, **{how: frozenset({"Observation/a"})})
    assert "Observation/a" not in out
    assert out["DiagnosticReport/r"]["result"] == refers("b")
    assert "hasMember" not in out["Observation/c"]
    assert out["Observation/c"]["derivedFrom"] == refers("b")
    assert "target" not in out["Provenance/v"]


def test_a_status_that_was_decided_goes_out_beside_the_senders() -> None:
    out = sent(statuses={"Observation/a": "amended", "DiagnosticReport/r": "final"})
    assert [status_of(out[one]) for one in ("Observation/a", "Observation/b", "DiagnosticReport/r")] == [
        ("amended", "final"),
        ("final", ""),
        ("final", ""),
    ]


def test_the_first_status_of_a_sender_stays_its_status() -> None:
    resource: Json = {"status": "final", "meta": {"tag": [{"system": PART, "code": "1"}]}}
    change_status(resource, "final")
    assert resource["meta"] == {"tag": [{"system": PART, "code": "1"}]}
    for status in ("amended", "corrected"):
        change_status(resource, status)
    assert resource == {"status": "corrected", "meta": {"tag": [{"system": PART, "code": "1"}, SAID]}}


def test_a_result_takes_the_id_of_the_one_that_it_corrects() -> None:
    out = orjson.loads(as_sent(bundle(*CONTENT), DocumentFacts(corrects={"a": "z", "p": "q"})))["entry"]
    assert [one["fullUrl"][-1] for one in out] == ["q", "z", "b", "r", "v"]
    assert [one["request"]["url"] for one in out[:3]] == ["Patient", "Observation/z", "Observation/b"]
    assert out[0]["resource"]["identifier"] == [{"system": OWN_SYSTEM, "value": "q"}, {"value": "900"}]
    assert out[0]["request"]["ifNoneExist"] == "identifier=urn|q"
    assert out[1]["resource"]["subject"] == {"reference": "urn:uuid:q"}
    assert out[3]["resource"]["result"] == refers("z", "b")


def test_a_number_of_another_specimen_is_changed_before_it_is_corrected() -> None:
    content = bundle(observation("a", id="a"), observation("b", id="b"))
    out = made(as_sent(content, DocumentFacts(apart={"a": "m"}, corrects={"m": "z"})))
    assert {name: one["id"] for name, one in out.items()} == {"Observation/z": "z", "Observation/b": "b"}
    assert made(rename(bundle(observation("a")), {"a": "n"})).keys() == {"Observation/n"}
    assert rename(bundle(*CONTENT), {}) == orjson.dumps(bundle(*CONTENT))


def test_results_of_other_messages_stand_in_front_of_the_provenance() -> None:
    other = orjson.dumps([PATIENT, observation("o")]).decode()
    for how in ("reports", "finished", "withdrawn"):
        out = sent(**{how: (other, other)})
        assert [*out][-3:] == ["DiagnosticReport/r", "Observation/o", "Provenance/v"]
    assert [*made(beside(bundle(observation("a")), [other]))] == ["Observation/a", "Patient/p", "Observation/o"]


def test_beside_one_that_is_finished_each_names_the_others_by_their_addresses() -> None:
    """Then it says just what it would say if its value had been sent again."""
    listing = report("s", status="final") | {}
    listing["resource"]["result"] = [{"reference": "Observation/a"}]
    finished = orjson.dumps([listing]).decode()
    assert sent(finished=(finished,))["DiagnosticReport/s"]["result"] == refers("a")
    assert sent(reports=(finished,))["DiagnosticReport/s"]["result"] == [{"reference": "Observation/a"}]


# -- what is written anew ----------------------------------------------------------------------------------------------


def anew(content: Json, statuses: dict[str, str], **how: bool) -> dict[str, list[Json]]:
    return {name: orjson.loads(text) for name, text in written_anew(content, statuses, **how).items()}


def test_a_result_is_written_anew_with_what_it_refers_to() -> None:
    found = anew(bundle(*CONTENT), {"Observation/b": "amended"})
    patient, one = found["Observation/b"]
    assert (found.keys(), patient["resource"]["resourceType"]) == ({"Observation/b"}, "Patient")
    assert (status_of(one["resource"]), one["request"]["url"]) == (("amended", "final"), "Observation/b")


def test_a_report_that_is_written_anew_names_its_results_by_their_ids() -> None:
    (one,) = anew(bundle(*CONTENT), {"DiagnosticReport/r": "corrected"})["DiagnosticReport/r"]
    assert [name["reference"] for name in one["resource"]["result"]] == ["Observation/a", "Observation/b"]


@pytest.mark.parametrize(
    ("meta", "left"),
    [({"tag": [SAID]}, None),
     ({"tag": [SAID, {"system": PART, "code": "1"}]}, {"tag": [{"system": PART, "code": "1"}]}),
     ({"tag": [SAID], "source": "x"}, {"source": "x"}), (None, None)],
)  # fmt: skip
def test_the_status_that_its_sender_says_now_has_no_other_one_beside_it(meta: Json | None, left: Json | None) -> None:
    content = bundle(observation("b", **({} if meta is None else {"meta": meta})))
    (one,) = anew(content, {"Observation/b": "corrected"}, by_sender=True)["Observation/b"]
    assert (one["resource"]["status"], one["resource"].get("meta")) == ("corrected", left)


# -- reports that list what they did not send --------------------------------------------------------------------------


def result(identity: str, status: str, whole: bytes = b"1", kind: str = "Observation") -> Resource:
    return Resource(f"{kind}/{identity}", status, status, whole)


@pytest.mark.parametrize(
    ("mine", "before", "is_changed"),
    [(result("a", "final", b"2"), "final", True), (result("a", "final", b"2"), "corrected", True),
     (result("a", "final", b"2"), "preliminary", False), (result("a", "final", b"2"), "cancelled", False),
     (result("a", "final", b"1"), "final", False), (result("a", "corrected", b"2"), "final", False),
     (result("b", "final", b"2"), "final", False), (result("a", "final", b"2", "DiagnosticReport"), "final", False)],
)  # fmt: skip
def test_a_final_result_that_differs_from_a_finished_one(mine: Resource, before: str, is_changed: bool) -> None:
    assert changed_by([mine], {"a": result("a", before)}) == ({mine.name} if is_changed else set())


def test_results_that_changed_are_amended_and_so_are_the_final_reports_that_list_them() -> None:
    reports = [
        report("r", "a"),
        report("s", "b"),
        report("t", "a", status="preliminary"),
        entry("List", "l", status="final"),
    ]
    reports[-1]["resource"]["result"] = refers("a")
    out = made(amended(bundle(observation("a"), observation("b"), *reports), {"Observation/a"}))
    assert {name: one["status"] for name, one in out.items()} == {
        "Observation/a": "amended", "Observation/b": "final", "DiagnosticReport/r": "amended",
        "DiagnosticReport/s": "final", "DiagnosticReport/t": "preliminary", "List/l": "final",
    }  # fmt: skip


def join(*entries: Json, there: Listed | None, wanted: Sequence[str] = ("r",)) -> Json:
    known = {} if there is None else {"r": there}
    return made(joined(bundle(*entries), known, wanted))["DiagnosticReport/r"]


def listed(resource: Json) -> list[str]:
    return [one["reference"] for one in resource.get("result", [])]


def test_a_report_keeps_the_results_that_the_receiver_has() -> None:
    there = Listed("final", {"x": "final", "a": "final"}, {"conclusion": "as before"})
    out = join(observation("a"), report("r", "a"), there=there)
    assert (listed(out), status_of(out), "conclusion" in out) == (["Observation/x", "urn:uuid:a"], ("final", ""), False)


def test_a_report_of_other_tests_keeps_the_texts_that_the_receiver_has() -> None:
    texts = {"conclusion": "as before"}
    assert join(observation("a"), report("r", "a"), there=Listed("final", {"x": "final"}, texts))["conclusion"]
    changed = report("r", "a", status="corrected")
    assert "conclusion" not in join(observation("a"), changed, there=Listed("final", {"x": "final"}, texts))
    assert "conclusion" not in join(observation("a"), report("r", "a"), there=None)


def test_what_the_receiver_never_got_is_not_listed() -> None:
    content = report("r", "a")
    content["resource"]["result"] += [{"reference": "Observation/x"}, {"reference": "Observation/y"}]
    out = join(observation("a"), content, there=Listed("final", {"x": "final"}, {}))
    assert listed(out) == ["urn:uuid:a", "Observation/x"]
    gone = report("r")
    gone["resource"]["result"] = [{"reference": "Observation/y"}]
    assert "result" not in join(gone, there=None)
    assert listed(join(observation("a"), report("r", "a"), there=Listed("final", {"x": "final"}, {}), wanted=())) == [
        "urn:uuid:a"
    ]


@pytest.mark.parametrize(
    ("said", "before", "known", "mine", "becomes"),
    [("final", "final", {"x": "preliminary"}, "final", ("partial", "final")),
     ("final", "corrected", {"x": "final"}, "final", ("corrected", "final")),
     ("final", "final", {"a": "corrected"}, "final", ("final", "")),
     ("final", "final", {"x": "entered-in-error"}, "final", ("corrected", "final")),
     ("cancelled", "final", {"x": "final"}, "cancelled", ("final", "cancelled")),
     ("cancelled", "final", {"x": "final"}, "", ("cancelled", ""))],
)  # fmt: skip
def test_the_status_of_a_report_is_that_of_all_that_it_lists(
    said: str, before: str, known: dict[str, str], mine: str, becomes: tuple[str, str]
) -> None:
    entries = [observation("a", status=mine)] if mine else []
    out = join(*entries, report("r", *("a" for _ in entries), status=said), there=Listed(before, known, {}))
    assert status_of(out) == becomes


def test_a_report_that_went_out_as_withdrawn_says_what_its_sender_said() -> None:
    content = report("r", "a", status="entered-in-error", meta={"tag": [SAID]})
    out = join(observation("a"), content, there=Listed("final", {"x": "final"}, {}))
    assert status_of(out) == ("final", "final")


def test_a_text_of_a_report_is_found_by_its_id() -> None:
    content = bundle(report("q", conclusion="no"), report("r", conclusion="yes"))
    assert text_of(content, "r", "conclusion") == "yes"


# -- cultures ----------------------------------------------------------------------------------------------------------

MARKED = {"meta": {"tag": [{"system": PART, "code": "1"}]}}
RESISTANT = {"interpretation": [{"coding": [{"code": "R"}]}]}


@pytest.mark.parametrize(
    ("entries", "codes"),
    [([observation("ORG", **MARKED)], {"s|ORG"}), ([observation("ORG")], set()),
     ([observation("ORG", hasMember=refers("AMP")), observation("AMP", **RESISTANT)], {"s|ORG"}),
     ([observation("ORG", hasMember=refers("AMP")), observation("AMP")], set()),
     ([observation("ORG", hasMember=refers("b")), observation("AMP", **RESISTANT)], set())],
)  # fmt: skip
def test_which_codes_are_of_isolates(entries: list[Json], codes: set[str]) -> None:
    assert head_codes(iter(resources_in(bundle(*entries)))) == codes


def test_a_loinc_term_may_say_that_it_is_an_isolate() -> None:
    one = entry("Observation", "o", code={"coding": [{"system": "http://loinc.org", "code": "600-7"}]})
    assert head_codes(resources_in(bundle(one))) == {"http://loinc.org|600-7"}


def test_reports_that_list_isolates_or_their_susceptibilities() -> None:
    (subject,) = refers("p")
    withdrawn = {"status": "entered-in-error", "meta": {"tag": [SAID]}}
    content = bundle(
        observation("ORG", hasMember=refers("AMP")), observation("AMP"), observation("GLU"),
        report("r", "ORG", subject=subject), report("s", "AMP", subject=subject), report("t", "GLU", subject=subject),
        report("u", "ORG"), report("v", "ORG", subject=subject, **withdrawn),
        report("w", "ORG", subject=subject, status="entered-in-error"),
        entry("List", "x", result=refers("ORG"), subject=subject, code={"coding": [{"system": "s", "code": "ORG"}]}),
    )  # fmt: skip
    assert reports_of_cultures(resources_in(content), frozenset({"s|ORG"})) == {"r", "s", "u", "w"}
    alone = bundle(observation("ORG"), report("u", "ORG"))
    assert reports_of_cultures(resources_in(alone), frozenset({"s|ORG"})) == set()
    assert reports_of_cultures(resources_in(alone), frozenset()) == set()
