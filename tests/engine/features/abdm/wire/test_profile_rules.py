"""The rules for documents of ABDM: one that keeps them all, and for each rule documents that break it alone."""

import contextlib
import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.features.abdm.rules.abha import NDHM_IDENTIFIER_TYPE, PROFILES, Profile
from engine.features.abdm.wire import profile_rules
from engine.features.abdm.wire.documents import read_report
from engine.features.abdm.wire.profile_rules import MAX_FAULTS, faults
from engine.model.errors import ContentError
from tests.documents.test_abdm_documents import PDF_ONLY, STRUCTURED
from tests.engine.features.abdm.wire.test_documents import ROOM, SYSTEM, body
from tests.support.abdm_documents import prepared
from tests.support.corpus import PROFILES as GUIDE
from tests.support.examples import examples

Json = dict[str, Any]
RULES = [rule for rules in profile_rules.RULES.values() for rule in rules]
SCT = "http://snomed.info/sct"


def sent(profile: Profile, payload: bytes = STRUCTURED) -> Json:
    found: Json = json.loads(prepared(body(payload), version=1, max_bytes=ROOM, profile=profile, system=SYSTEM).body)
    return found


def of(bundle: Json, kind: str) -> Json:
    found: Json = next(one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind)
    return found


def url(bundle: Json, kind: str) -> Json:
    return {"reference": next(one["fullUrl"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind)}


def made_whole(profile: Profile) -> Json:
    """A document with every type of resource that the guide knows for a report, without a fault."""
    bundle = sent(profile)
    patient = url(bundle, "Patient")
    more: list[Json] = [
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "code": {"coding": [{"system": SCT, "code": "15220000", "display": "Laboratory test"}]},
            "subject": patient,
            "requester": url(bundle, "Practitioner"),
        },
        {"resourceType": "Media", "status": "completed", "content": {"contentType": "image/png", "data": "AAAA"}},
        {"resourceType": "Binary", "contentType": "application/pdf", "data": "AAAA"},
        {
            "resourceType": "Encounter",
            "status": "finished",
            "class": {"code": "AMB"},
            "type": [{"coding": [{"system": SCT, "code": "1", "display": "x"}]}],
        },
    ]
    for number, one in enumerate(more):
        bundle["entry"].append({"fullUrl": f"urn:uuid:00000000-0000-4000-8000-00000000000{number}", "resource": one})
    report = of(bundle, "DiagnosticReport")
    report["media"] = [{"link": url(bundle, "Media")}]
    report["presentedForm"] = [{"contentType": "text/plain", "data": "QUJD"}]
    report["conclusionCode"] = [{"coding": [{"system": SCT, "code": "1", "display": "x"}]}]
    report["category"] = [{"coding": [{"system": SCT, "code": "708196005", "display": "Hematology service"}]}]
    of(bundle, "Composition")["encounter"] = url(bundle, "Encounter")
    of(bundle, "Observation")["hasMember"] = [report["result"][1]]
    organization = of(bundle, "Organization")
    organization["telecom"] = [{"system": "phone", "value": "+91 20 5550000"}]
    organization["type"] = [
        {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/organization-type",
                    "code": "prov",
                    "display": "Healthcare Provider",
                }
            ]
        }
    ]
    of(bundle, "Practitioner")["telecom"] = [{"system": "phone", "value": "+91 20 5550001"}]
    return bundle


WHOLE = {profile: json.dumps(made_whole(profile)) for profile in PROFILES}


def whole(profile: Profile) -> Json:
    found: Json = json.loads(WHOLE[profile])
    return found


Change = Callable[[Json], Any]


def put(kind: str, path: str, value: Any) -> Change:
    """One member becomes another; ``...``: it is gone."""

    def change(bundle: Json) -> None:
        node: Any = of(bundle, kind) if kind != "Bundle" else bundle
        *way, last = (int(step) if step.isdigit() else step for step in path.split("."))
        for step in way:
            node = node[step]
        if value is ...:
            del node[last]
        else:
            node[last] = value

    return change


def to(kind: str, path: str, target: str) -> Change:
    """A reference that leads to a resource of another type."""

    def change(bundle: Json) -> None:
        put(kind, path, url(bundle, target))(bundle)

    return change


def second_patient(bundle: Json) -> None:
    other = copy.deepcopy(of(bundle, "Patient"))
    bundle["entry"].append({"fullUrl": "urn:uuid:00000000-0000-4000-8000-0000000000ff", "resource": other})


def of_another(bundle: Json) -> None:
    """One result among the others is another patient's."""
    second_patient(bundle)
    of(bundle, "Observation")["subject"] = {"reference": "urn:uuid:00000000-0000-4000-8000-0000000000ff"}


def codes(kind: str, path: str) -> list[Change]:
    """The faults that a coding can have."""
    return [
        put(kind, f"{path}.coding.0.system", "urn:city"),
        put(kind, f"{path}.coding.0.system", ...),
        put(kind, f"{path}.coding.0.code", ...),
        put(kind, f"{path}.coding.0.display", " "),
    ]


def people(name: str, kind: str) -> dict[str, list[Change]]:
    return {
        f"{name}-identifier": [put(kind, "identifier", ...), put(kind, "identifier", [])],
        f"{name}-identifier-type": [put(kind, "identifier.0.type", ...)],
        f"{name}-identifier-type-coding": [
            put(kind, "identifier.0.type.coding.0.code", ...),
            put(kind, "identifier.0.type.coding.0.display", ...),
        ],
        f"{name}-identifier-type-0203": [put(kind, "identifier.0.type.coding.0.system", NDHM_IDENTIFIER_TYPE)],
        f"{name}-identifier-value": [put(kind, "identifier.0.value", ""), put(kind, "identifier.0.value", ...)],
        f"{name}-telecom": [put(kind, "telecom.0.value", ...)],
    }


NOT_FINAL, NO_TIME, NO_ZONE = "entered-in-error", "2026-13-01T10:00:00+05:30", "2026-03-01T10:00:00"

BROKEN: dict[str, list[Change]] = {
    "bundle-version": [put("Bundle", "meta.versionId", ...)],
    "bundle-profile": [put("Bundle", "meta.profile", ["urn:other"])],
    "bundle-identifier": [
        put("Bundle", "identifier.system", ...),
        put("Bundle", "identifier.value", ""),
        put("Bundle", "identifier", ...),
    ],
    "bundle-type": [put("Bundle", "type", "collection"), put("Bundle", "type", ...)],
    "bundle-timestamp": [put("Bundle", "timestamp", value) for value in (..., NO_TIME, NO_ZONE, "2026-03-01")],
    "bundle-composition": [lambda it: it["entry"].append(it["entry"].pop(0))],
    "bundle-url": [
        lambda it: it["entry"][-2].update(fullUrl="https://city.example/Binary/1"),
        lambda it: it["entry"][-2].pop("fullUrl"),
        lambda it: it["entry"].append(copy.deepcopy(it["entry"][-2])),
    ],
    "bundle-closed": [put("Observation", "performer.0.reference", "Practitioner/1")],
    "ours-pdf-once": [
        lambda it: put(
            "DiagnosticReport",
            "presentedForm.0.data",
            of(it, "DocumentReference")["content"][0]["attachment"]["data"],
        )(it)
    ],
    "ours-one-patient": [second_patient],
    "ours-one-subject": [of_another],
    "composition-profile": [put("Composition", "meta", ...)],
    "composition-status": [put("Composition", "status", value) for value in (..., NOT_FINAL, "unknown")],
    "composition-type": [lambda it: put("Composition", "type.coding", of(it, "Composition")["type"]["coding"] * 2)(it)],
    "composition-type-coding": codes("Composition", "type"),
    "composition-subject": [put("Composition", "subject", ...), to("Composition", "subject", "Organization")],
    "composition-date": [put("Composition", "date", value) for value in (..., NO_TIME)],
    "composition-title": [put("Composition", "title", "")],
    "composition-author": [put("Composition", "author", ...), to("Composition", "author.0", "Specimen")],
    "composition-encounter": [to("Composition", "encounter", "Organization")],
    "composition-attester": [
        put("Composition", "attester", ...),
        put("Composition", "attester.0.mode", "personal"),
        to("Composition", "attester.0.party", "Practitioner"),
    ],
    "composition-custodian": [to("Composition", "custodian", "Practitioner")],
    "section": [
        put("Composition", "section", ...),
        lambda it: put("Composition", "section", of(it, "Composition")["section"] * 2)(it),
    ],
    "section-code": codes("Composition", "section.0.code"),
    "section-entries": [put("Composition", "section.0.entry", [])],
    "section-entry-type": [put("Composition", "section.0.entry.0.type", value) for value in (..., "Media")],
    "section-entry-once": [
        lambda it: put("Composition", "section.0.entry.1", of(it, "Composition")["section"][0]["entry"][0])(it)
    ],
    "section-entry-target": [
        lambda it: put("Composition", "section.0.entry.0.reference", url(it, "Patient")["reference"])(it)
    ],
    "narrative": [put("Composition", "text.div", ...)],
    "report-status": [put("DiagnosticReport", "status", value) for value in (..., NOT_FINAL, "cancelled", "unknown")],
    "report-category": codes("DiagnosticReport", "category.0"),
    "report-code": [put("DiagnosticReport", "code", ...), put("DiagnosticReport", "code", {})],
    "report-code-loinc": [
        *codes("DiagnosticReport", "code"),
        put("DiagnosticReport", "code.coding.0.system", SCT),
    ],
    "report-subject": [put("DiagnosticReport", "subject", ...), to("DiagnosticReport", "subject", "Organization")],
    "report-issued": [put("DiagnosticReport", "issued", value) for value in ("2026-03-01", NO_ZONE, NO_TIME)],
    "report-effective": [put("DiagnosticReport", "effectiveDateTime", value) for value in (NO_TIME, NO_ZONE, "now")],
    "report-performer": [to("DiagnosticReport", "performer.0", "Patient")],
    "report-interpreter": [
        put("DiagnosticReport", "resultsInterpreter", ...),
        to("DiagnosticReport", "resultsInterpreter.0", "Patient"),
    ],
    "report-specimen": [to("DiagnosticReport", "specimen.0", "Patient")],
    "report-result": [put("DiagnosticReport", "result", []), to("DiagnosticReport", "result.0", "Specimen")],
    "report-media": [to("DiagnosticReport", "media.0.link", "Binary")],
    "report-conclusion": [put("DiagnosticReport", "conclusion", value) for value in (..., " ")],
    "report-conclusion-code": codes("DiagnosticReport", "conclusionCode.0"),
    "report-form": [
        put("DiagnosticReport", "presentedForm.0.data", ...),
        put("DiagnosticReport", "presentedForm.0.contentType", ...),
    ],
    "result-status": [put("Observation", "status", value) for value in (..., "done")],
    "result-code": [put("Observation", "code", ...)],
    "result-code-system": codes("Observation", "code"),
    "result-subject": [put("Observation", "subject", ...), to("Observation", "subject", "Organization")],
    "result-specimen": [to("Observation", "specimen", "Patient")],
    "result-members": [to("Observation", "hasMember.0", "Specimen")],
    "result-value": [
        lambda it: [put("Observation", name, ...)(it) for name in ("valueQuantity", "hasMember")],
        lambda it: [put("Observation", "valueQuantity", {})(it), put("Observation", "hasMember", ...)(it)],
    ],
    "result-effective": [put("Observation", "effectiveDateTime", value) for value in (NO_TIME, NO_ZONE, "20260301")],
    "result-issued": [put("Observation", "issued", value) for value in ("2026-03-01", NO_ZONE, NO_TIME)],
    "result-number": [
        put("Observation", "valueQuantity.value", "148.50"),
        put("Observation", "valueQuantity.value", None),
        put("Observation", "referenceRange.0.low.value", "70"),
    ],
    "result-unit": [
        put("Observation", "valueQuantity.system", SCT),
        put("Observation", "valueQuantity.system", ...),
        put("Observation", "referenceRange.0.low.system", "urn:city"),
    ],
    **people("patient", "Patient"),
    **people("practitioner", "Practitioner"),
    **people("lab", "Organization"),
    "patient-abha": [
        put("Patient", "identifier.1.value", "91123456789012"),
        put("Patient", "identifier.1.value", "91-1234-5678-901"),
        put("Patient", "identifier.2.value", "meera"),
    ],
    "patient-name": [put("Patient", "name.0.text", ...)],
    "patient-gender": [put("Patient", "gender", "F")],
    "patient-birth": [put("Patient", "birthDate", value) for value in ("19840219", "1984-02-30", "1984-2", "")],
    "practitioner-name": [put("Practitioner", "name.0.text", ...)],
    "lab-name": [put("Organization", "name", value) for value in (..., ["A", "B"])],
    "lab-identifier-system": [put("Organization", "identifier.0.system", ...)],
    "lab-type": codes("Organization", "type.0"),
    "specimen-type": codes("Specimen", "type"),
    "specimen-received": [put("Specimen", "receivedTime", value) for value in (..., NO_ZONE)],
    "specimen-collected": [
        put("Specimen", "collection.collectedDateTime", ...),
        put("Specimen", "collection.collectedDateTime", NO_TIME),
        put("Specimen", "collection.collectedPeriod", {"start": "2026-03-01"}),
    ],
    "specimen-subject": [to("Specimen", "subject", "Organization")],
    "specimen-subject-reference": [put("Specimen", "subject", {"display": "x"})],
    "order-status": [put("ServiceRequest", "status", ...), put("ServiceRequest", "intent", ...)],
    "order-code": [
        *codes("ServiceRequest", "code"),
        put("ServiceRequest", "code.coding.0.system", "http://loinc.org"),
    ],
    "order-subject": [put("ServiceRequest", "subject", ...)],
    "order-requester": [put("ServiceRequest", "requester", ...)],
    "order-subject-reference": [put("ServiceRequest", "subject", {"display": "x"})],
    "order-requester-reference": [put("ServiceRequest", "requester", {"display": "x"})],
    "finished-status": [put("DocumentReference", "status", value) for value in (..., "superseded")],
    "finished-content": [put("DocumentReference", "content", [])],
    "finished-attachment": [
        put("DocumentReference", "content.0.attachment.data", ...),
        put("DocumentReference", "content.0.attachment.contentType", ...),
        put("DocumentReference", "content.0.attachment.url", "https://city.example/report.pdf"),
    ],
    "finished-subject": [put("DocumentReference", "subject", ...), to("DocumentReference", "subject", "Specimen")],
    "finished-date": [put("DocumentReference", "date", value) for value in ("2026-03-01", NO_ZONE)],
    "finished-type": [put("DocumentReference", "type", ...)],
    "picture-status": [put("Media", "status", ...)],
    "picture-content": [put("Media", "content.data", ...), put("Media", "content.contentType", ...)],
    "binary": [put("Binary", "data", ...), put("Binary", "contentType", ...)],
    "encounter-status": [put("Encounter", "status", ...), put("Encounter", "class", ...)],
    "encounter-codes": [put("Encounter", "type.0.coding.0.display", ...)],
}

# What cannot be broken alone.
BESIDE = {
    "ours-one-subject": {"ours-one-patient"},
    "specimen-subject-reference": {"specimen-subject", "ours-one-subject"},
    "order-subject-reference": {"ours-one-subject"},
    "report-subject": {"ours-one-subject"},
    "result-subject": {"ours-one-subject"},
    "finished-subject": {"ours-one-subject"},
    "composition-subject": {"ours-one-subject"},
    "specimen-subject": {"ours-one-subject"},
    "section": {"section-entries"},
    "section-entry-type": {"section-entry-target"},
}


def names(bundle: Json, profile: Profile) -> set[str]:
    return {fault.rule for fault in faults(json.dumps(bundle).encode(), profile)}


def test_each_rule_has_a_name_of_its_own_and_a_document_that_breaks_it() -> None:
    rules = [rule.name for rule in RULES]
    assert len(set(rules)) == len(rules)
    assert set(BROKEN) == set(rules)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("payload", [STRUCTURED, PDF_ONLY])
def test_a_document_that_goes_out_keeps_all_rules(profile: Profile, payload: bytes) -> None:
    made = prepared(body(payload), version=1, max_bytes=ROOM, profile=profile, system=SYSTEM)
    assert faults(made.body, profile) == ()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_document_with_every_type_of_resource_keeps_all_rules(profile: Profile) -> None:
    assert faults(json.dumps(whole(profile)).encode(), profile) == ()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_document_that_breaks_a_rule_is_found_where_the_rule_holds(rule: Any, profile: Profile) -> None:
    for number, change in enumerate(BROKEN[rule.name]):
        bundle = whole(profile)
        try:
            change(bundle)
        except (IndexError, KeyError):
            assert profile not in rule.profiles
            continue
        found = names(bundle, profile)
        assert (rule.name in found) == (profile in rule.profiles), (number, found)
        if rule.profiles == PROFILES:
            assert found <= {rule.name} | BESIDE.get(rule.name, set()), (number, found)


def test_the_two_profiles_differ_where_the_reference_says() -> None:
    later = {rule.name for rule in RULES if rule.profiles == ("6.5",)}
    old = {rule.name for rule in RULES if rule.profiles == ("2.0.1",)}
    assert later == {"bundle-type", "patient-abha"}
    assert old == {
        *(f"{one}-identifier-type-0203" for one in ("patient", "practitioner", "lab")),
        *("specimen-subject-reference", "order-subject-reference", "order-requester-reference"),
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_the_abha_types_of_6_5_are_faults_under_2_0_1(profile: Profile) -> None:
    assert names(sent("6.5"), profile) == ({"patient-identifier-type-0203"} if profile == "2.0.1" else set())


def test_a_fault_says_where_and_what_and_quotes_nothing() -> None:
    bundle = whole("6.5")
    put("Patient", "identifier.1.value", "91-9999-8888")(bundle)
    (fault,) = faults(json.dumps(bundle).encode(), "6.5")
    assert (fault.rule, fault.path) == ("patient-abha", "$.entry[2].resource.identifier[1].value")
    assert fault.words == "an ABHA number has dashes, an address a domain"
    assert "9999" not in repr(fault)


def test_the_path_of_a_coding_leads_to_it() -> None:
    bundle = whole("6.5")
    put("DiagnosticReport", "category.0.coding.0.display", ...)(bundle)
    (fault,) = faults(json.dumps(bundle).encode(), "6.5")
    node: Any = bundle
    for step in fault.path.removeprefix("$.").replace("[", ".").replace("]", "").split("."):
        node = node[int(step) if step.isdigit() else step]
    assert node == {"system": SCT, "code": "708196005"}


@pytest.mark.reference
def test_the_guides_own_example_keeps_all_that_the_guide_says() -> None:
    example = (GUIDE / "example" / "Bundle-DiagnosticReport-Lab-example-03.json").read_bytes()
    assert {fault.rule for fault in faults(example, "2.0.1")} == {"ours-pdf-once", "composition-attester"}


@pytest.mark.parametrize("wrong", [b"", b"x", b"[]", b"7", b"{}", b'{"resourceType": "Patient"}', b"\xff"])
def test_what_is_no_document_is_a_fault(wrong: bytes) -> None:
    (fault,) = faults(wrong, "6.5")
    assert (fault.rule, fault.path) == ("json", "$")


def test_a_document_with_endless_faults_is_cut() -> None:
    bundle = whole("6.5")
    for _ in range(3 * MAX_FAULTS):
        bundle["entry"].append({"resource": {"resourceType": "Binary"}})
    assert len(faults(json.dumps(bundle).encode(), "6.5")) == MAX_FAULTS


ODD = [None, True, 7, 1.5, "", "x", [], {}, [[]], [None], {"reference": 7}, {"coding": [7, None]}]


def damaged(seed: int, profile: Profile) -> bytes:
    """The document with one to four of its values replaced by odd ones."""
    choose = random.Random(seed)
    bundle = json.loads(WHOLE[profile])
    for _ in range(choose.randint(1, 4)):
        node: Any = bundle
        while True:
            name = choose.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if not isinstance(node[name], dict | list) or not node[name] or choose.random() < 0.2:
                break
            node = node[name]
        node[name] = copy.deepcopy(choose.choice(ODD))
    return json.dumps(bundle).encode()


@given(st.integers(0, 2**32), st.sampled_from(PROFILES))
def test_any_json_has_faults_or_none_and_never_an_error(seed: int, profile: Profile) -> None:
    assert isinstance(faults(damaged(seed, profile), profile), tuple)


@settings(max_examples=examples(300))
@given(st.integers(0, 2**32), st.sampled_from(PROFILES), st.integers(500, 9000))
def test_any_json_is_read_and_prepared_or_refused(seed: int, profile: Profile, room: int) -> None:
    wrong = damaged(seed, profile)
    with contextlib.suppress(ContentError):
        assert read_report(wrong).document
    with contextlib.suppress(ContentError):
        made = prepared(wrong, version=2, max_bytes=room, profile=profile, system=SYSTEM)
        assert len(made.body) <= room
