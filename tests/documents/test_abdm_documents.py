"""Documents for India's ABDM (mapping `abdm-report`): what all have, the NRCeS profiles, and what is refused."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.mapping.shipped import SHIPPED
from engine.model.routes import Processed
from tests.support.corpus import PROFILES, CorpusFile, corpus_files, payloads
from tests.support.explanations import assert_whole
from tests.support.fhir_check import check_bundle, faults, resources
from tests.support.mapping_texts import context, parse
from tests.support.profile_check import bundle_faults, required_bindings
from tests.support.shipped import program, verdict_of

FOLDER = Path(__file__).parents[2] / "samples" / "abdm_report"
SETTINGS: dict[str, Any] = yaml.safe_load((FOLDER / "settings.yaml").read_text("utf-8"))["settings"]
STRUCTURED = (FOLDER / "01-structured.hl7").read_bytes()
PDF_ONLY = (FOLDER / "02-pdf-only.hl7").read_bytes()
OLD_GUIDE = {"abdm_profile": "2.0.1"}

Json = dict[str, Any]


def verdict(payload: bytes, *without: str, **settings: Any) -> Processed:
    given = {name: value for name, value in (SETTINGS | settings).items() if name not in without}
    return verdict_of(payload, "hl7v2", given, mapping="abdm-report")[0]


def document(payload: bytes, *without: str, **settings: Any) -> Json:
    said = verdict(payload, *without, **settings)
    assert len(said.documents) == 1, said.detail
    return check_bundle(said.documents[0][0].body)


def one(bundle: Json, kind: str) -> Json:
    (found,) = resources(bundle, kind)
    return found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "reference":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


# -- the mapping -----------------------------------------------------------------------------------------------------


def test_the_check_finds_nothing_to_complain_of_and_nobody_gets_it_unasked() -> None:
    assert program("abdm-report").problems == ()
    assert "abdm-report" not in SHIPPED["hl7v2"]


def test_a_report_of_a_year_that_the_clock_here_does_not_have_yet_is_made() -> None:
    """Received on 1 March 2026, as this machine says."""
    bundle = document(STRUCTURED.replace(b"20260301", b"20270105"))
    assert one(bundle, "Composition")["date"].startswith("2027-01-05")


@pytest.mark.parametrize("payload", [STRUCTURED, PDF_ONLY])
def test_a_document_stands_alone(payload: bytes) -> None:
    """FHIR R4, Documents: Composition first, identifier, time, and all that is referred to is inside."""
    bundle = document(payload)
    assert (bundle["type"], bundle["entry"][0]["resource"]["resourceType"]) == ("document", "Composition")
    assert bundle["identifier"]["value"] == bundle["entry"][0]["fullUrl"]
    assert bundle["timestamp"].endswith("+05:30")
    inside = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(inside)) == len(inside)
    assert all(url.startswith("urn:uuid:") for url in inside)
    assert all(set(entry) == {"fullUrl", "resource"} for entry in bundle["entry"])
    assert set(references(bundle)) == set(inside) - {inside[0]}, "no orphan, and nothing outside"


def test_explaining_gives_the_same_bytes() -> None:
    plain = verdict(STRUCTURED).documents[0][0].body
    traced, _ = verdict_of(STRUCTURED, "hl7v2", SETTINGS, mapping="abdm-report", explained=True)
    assert traced.documents[0][0].body == plain


def test_the_envelope_is_explained_as_well() -> None:
    message = parse(STRUCTURED)
    trace = program("abdm-report").explain(message, context(settings=SETTINGS))
    assert_whole(trace)
    leaves = {leaf.path: leaf for leaf in trace.leaves}
    version = leaves["Bundle[1].meta.versionId"]
    assert (version.value, version.sources) == ("20260301044500", ("OBR[1]-22",))
    assert leaves["Composition[1].meta.profile[0]"].about == "profiles: of mapping abdm-report"


def test_an_amended_report_is_the_same_document_in_a_later_version() -> None:
    amended = STRUCTURED.replace(b"20260301101500||CH|F", b"20260301121500||CH|C")
    first, second = document(STRUCTURED), document(amended)
    assert first["identifier"] == second["identifier"]
    assert int(first["meta"]["versionId"]) < int(second["meta"]["versionId"])
    assert one(second, "Composition")["status"] == "amended"
    assert one(second, "DiagnosticReport")["status"] == "corrected"


def test_the_same_number_for_another_patient_or_day_is_another_document() -> None:
    other = STRUCTURED.replace(b"MR-1001", b"MR-2002")
    later = STRUCTURED.replace(b"|20260301091500|||||||20260301093000", b"|20260302091500|||||||20260302093000")
    found = {document(payload)["identifier"]["value"] for payload in (STRUCTURED, other, later)}
    assert len(found) == 3


# -- nothing is invented -----------------------------------------------------------------------------------------------


def test_local_codes_become_words() -> None:
    observations = resources(document(STRUCTURED), "Observation")
    assert [one["code"].get("coding", [{}])[0].get("code") for one in observations] == ["2345-7", None, None, None]
    assert [one["code"]["text"] for one in observations[1:]] == [
        "C reactive protein",
        "Hepatitis B surface antigen",
        "Potassium",
    ]
    assert b"urn:citylab:codes" not in verdict(STRUCTURED).documents[0][0].body


def test_digits_comparators_and_missing_values_are_those_of_every_mapping() -> None:
    glucose, protein, antigen, potassium = resources(document(STRUCTURED), "Observation")
    assert str(glucose["valueQuantity"]["value"]) == "148.50"
    assert protein["valueQuantity"]["comparator"] == "<"
    assert protein["valueQuantity"]["value"] == Decimal("0.6")
    assert antigen["valueString"] == "Non-reactive"
    assert potassium["dataAbsentReason"]["coding"][0]["code"] == "not-performed"


def test_without_a_comment_the_conclusion_is_neutral_and_without_a_person_the_laboratory_interprets() -> None:
    bare = STRUCTURED.replace(b"NTE|1||Fasting sample.\n", b"")
    bundle = document(bare, "interpreter", "interpreter_registration", "practitioner_system")
    report = one(bundle, "DiagnosticReport")
    assert report["conclusion"] == "See results."
    assert one(document(STRUCTURED), "DiagnosticReport")["conclusion"] == "Fasting sample."
    assert resources(bundle, "Practitioner") == []
    assert report["resultsInterpreter"] == report["performer"]


def test_the_interpreter_of_the_message_comes_first_where_its_numbers_are_registered() -> None:
    named = STRUCTURED.replace(b"||CH|F", b"||CH|F|||||||11-22&Menon&Vikram&&&Dr")
    assert one(document(named), "Practitioner")["name"] == [{"text": "Dr. Kavita Nair"}]
    person = one(document(named, registered_interpreters="yes"), "Practitioner")
    assert person["name"] == [{"text": "Dr Vikram Menon"}]
    assert person["identifier"][0]["value"] == "11-22"


@pytest.mark.parametrize(("patient_numbers", "stands"), [("lasting", True), ("counter", False)])
def test_a_number_that_another_person_may_have_tomorrow_stands_in_no_document(
    patient_numbers: str, stands: bool
) -> None:
    said, _ = verdict_of(STRUCTURED, "hl7v2", SETTINGS, mapping="abdm-report", patient_numbers=patient_numbers)
    body = said.documents[0][0].body
    assert (b"MR-1001" in body) is stands
    numbers = {number["value"] for number in one(check_bundle(body), "Patient")["identifier"]}
    assert numbers == {"91-1234-5678-9015", "meera.rao@abdm"} | ({"MR-1001"} if stands else set())


def test_a_specimen_of_unknown_receipt_is_left_out() -> None:
    of_the_order = STRUCTURED.replace(b"|20260301091500|20260301093000\n", b"|20260301091500\n")
    assert one(document(of_the_order), "Specimen")["receivedTime"] == "2026-03-01T09:30:00+05:30"  # OBR-14
    bundle = document(of_the_order.replace(b"|||||||20260301093000|", b"||||||||"))
    assert resources(bundle, "Specimen") == []
    assert "specimen" not in one(bundle, "DiagnosticReport")


WITHOUT_ABHA = STRUCTURED.replace(b"~91123456789015^^^NDHM^HIN~meera.rao@abdm^^^NDHM^ABHA", b"")


@pytest.mark.parametrize(
    ("abha", "patient_numbers", "made"),
    [("", "lasting", False), ("later", "counter", False), ("later", "lasting", True)],
)
def test_a_patient_without_abha_has_a_document_where_a_later_link_can_find_him(
    abha: str, patient_numbers: str, made: bool
) -> None:
    """A counter is another person's tomorrow: a link by it would show that person this report."""
    settings = SETTINGS | {"abha": abha}
    said, _ = verdict_of(WITHOUT_ABHA, "hl7v2", settings, mapping="abdm-report", patient_numbers=patient_numbers)
    assert (said.reason.value if said.reason else "") == ("" if made else "NO_PATIENT")
    if made:
        patient = one(check_bundle(said.documents[0][0].body), "Patient")
        assert [number["value"] for number in patient["identifier"]] == ["MR-1001"]
        with_abha = one(document(STRUCTURED), "Patient")
        assert patient["id"] == with_abha["id"], "the same person, also before the number was known"


def test_a_collection_has_one_time_as_its_profile_wants() -> None:
    """A urine of a day says when it ended; without a time there is no collection."""
    of_a_day = STRUCTURED.replace(
        b"|20260301091500|20260301093000\n", b"|20260228091500^20260301091500|20260301093000\n"
    )
    specimen = one(document(of_a_day), "Specimen")
    assert specimen["collection"] == {"collectedDateTime": "2026-02-28T09:15:00+05:30"}
    assert {"text": "Collected until 2026-03-01T09:15:00+05:30"} in specimen["note"]
    untimed = STRUCTURED.replace(b"|20260301091500|20260301093000\n", b"||20260301093000\n")
    untimed = untimed.replace(b"|||20260301091500|||||||", b"||||||||||")
    assert "collection" not in one(document(untimed), "Specimen")


def test_the_finished_document_alone() -> None:
    """Where there is no result, and where the channel wants it so."""
    for bundle in (document(PDF_ONLY), document(STRUCTURED, abdm_shape="pdf")):
        (entry,) = one(bundle, "Composition")["section"][0]["entry"]
        assert entry["type"] == "DocumentReference"
        assert resources(bundle, "DiagnosticReport") == resources(bundle, "Observation") == []
        assert one(bundle, "DocumentReference")["content"][0]["attachment"]["contentType"] == "application/pdf"


def test_a_name_is_escaped_in_the_narrative() -> None:
    div = one(document(STRUCTURED, lab="Rao & <Sons>"), "Composition")["text"]["div"]
    assert "<p>Rao &amp; &lt;Sons&gt;</p>" in div


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("lab", "settings lab, hfr_id and hfr_system"),
        ("hfr_id", "settings lab, hfr_id and hfr_system"),
        ("hfr_system", "settings lab, hfr_id and hfr_system"),
        ("abha_system", "setting abha_system"),
        ("practitioner_system", "practitioner_system together"),
        ("interpreter_registration", "practitioner_system together"),
    ],
)
def test_a_setting_that_is_missing_is_named(missing: str, words: str) -> None:
    said = verdict(STRUCTURED, missing)
    assert said.reason is not None
    assert (said.state, said.reason.value) == ("dead", "REQUIRED_ABSENT")
    assert words in said.detail


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"~91123456789015^^^NDHM^HIN~meera.rao@abdm^^^NDHM^ABHA", b"", "NO_PATIENT"),
        (b"91123456789015", b"9112345678901", "BAD_VALUE"),
        (b"meera.rao@abdm", b"meera", "BAD_VALUE"),
        (b"Rao^Meera^S^^Ms", b"", "NO_PATIENT"),
        (b"|2603010042|24323", b"||24323", ""),
        # Of data that nobody names it is not known that they are no part of the report: nothing is sent without them.
        (b"^application^PDF^Base64^JVBERi0x", b"^^^Base64^AAAARi0x", "COUNT_MISMATCH"),
        (
            b"|ED|PDF^Report^L||^application^PDF^Base64^JVBERi0xLjQK|",
            b"|RP|PDF^Report^L||a.pdf^https://x^AP^PDF|",
            "BAD_VALUE",
        ),
        (b"||CH|F", b"||CH|X", "BAD_STATUS"),
        (b"||CH|F", b"||CH|Q", "UNMAPPED_STATUS"),
    ],
)
def test_what_is_missing_or_wrong_is_dead_with_its_reason(old: bytes, new: bytes, reason: str) -> None:
    assert old in STRUCTURED
    said = verdict(STRUCTURED.replace(old, new))
    assert (said.reason.value if said.reason else "") == reason, said.detail


@pytest.mark.parametrize(
    ("order", "result", "status"),
    [
        ("HM", "P", "partial"),  # no status, but a section of the laboratory (Mindray)
        ("", "P", "partial"),
        ("HM", "F", "final"),
        ("F", "P", "final"),
        ("P", "F", "partial"),
    ],
)
def test_an_order_without_a_status_has_that_of_its_results(order: str, result: str, status: str) -> None:
    other = (
        f"OBR|2|ORD-89|F9|RBC^RBC^L|||20260301091500{'|' * 18}{order}\nOBX|1|NM|RBC^RBC^L||4.9|10*6/uL|||||{result}\n"
    )
    assert one(document(STRUCTURED + other.encode()), "DiagnosticReport")["status"] == status


@pytest.mark.parametrize("sent", [b"25690301100000", b"19700101000000"])
def test_a_report_without_a_day_that_can_be_is_refused_for_that(sent: bytes) -> None:
    assert STRUCTURED.count(b"20260301101500||CH|F") == 1
    header, rest = STRUCTURED.split(b"||ORU^R01", 1)
    early = header.rpartition(b"|")[0] + b"|" + sent + b"||ORU^R01" + rest
    said = verdict(early.replace(b"20260301101500||CH|F", b"||CH|F"))
    assert (said.reason.value if said.reason else "") == "REQUIRED_ABSENT"
    assert "neither OBR-22 nor MSH-7 is a time of issue that can be" in said.detail


def test_a_report_of_an_impossible_day_is_issued_with_its_message() -> None:
    assert STRUCTURED.count(b"20260301101500||CH|F") == 1
    bundles = [
        document(STRUCTURED.replace(b"20260301101500||CH|F", issued + b"||CH|F"))
        for issued in (b"20260301101500", b"25690301101500", b"19700101101500", b"")
    ]
    times = [one(bundle, "DiagnosticReport")["issued"] for bundle in bundles]
    versions = [bundle["meta"]["versionId"] for bundle in bundles]
    assert times[0] == "2026-03-01T10:15:00+05:30"
    assert versions[0] == "20260301044500"
    assert times[1:] == [times[3]] * 3
    assert versions[1:] == [versions[3]] * 3


def test_a_document_is_about_one_patient() -> None:
    second = b"PID|2||MR-9~91123456789019^^^^HIN||Other^One\nOBR|1||F9|GLU\nOBX|1|NM|GLU||5||||||F\n"
    said = verdict(STRUCTURED + second)
    assert said.reason is not None
    assert said.reason.value == "NO_IDENTITY"
    assert "one patient" in said.detail


# -- the profiles ------------------------------------------------------------------------------------------------------


@pytest.mark.reference
def test_the_checker_takes_the_examples_of_the_guide_and_has_no_required_binding_to_look_up() -> None:
    assert required_bindings() == []
    example = json.loads((PROFILES / "example" / "Bundle-DiagnosticReport-Lab-example-03.json").read_text("utf-8"))
    assert bundle_faults(example) == []


@pytest.mark.reference
@pytest.mark.parametrize("payload", [STRUCTURED, PDF_ONLY])
@pytest.mark.parametrize("shape", ["", "pdf"])
def test_a_document_keeps_to_the_profiles(payload: bytes, shape: str) -> None:
    assert bundle_faults(document(payload, abdm_shape=shape, **OLD_GUIDE)) == []


@pytest.mark.reference
def test_of_the_later_guide_only_the_types_of_abha_differ() -> None:
    found = set(bundle_faults(document(STRUCTURED)))
    assert {fault.partition(": ")[0] for fault in found} == {"Patient.identifier.type.coding.system"}


@pytest.mark.reference
@pytest.mark.parametrize(
    ("kind", "change", "fault"),
    [
        ("Composition", lambda it: it["section"][0]["entry"][0].pop("type"), "stands in no slice"),
        ("Composition", lambda it: it["section"].append(it["section"][0]), "2 and not 1..1"),
        ("Composition", lambda it: it["type"]["coding"][0].update(system="urn:x"), "is not http://snomed.info/sct"),
        ("Composition", lambda it: it["subject"].update(reference="Patient/1"), "points to nothing"),
        ("DiagnosticReport", lambda it: it.pop("conclusion"), "DiagnosticReport.conclusion: 0"),
        ("DiagnosticReport", lambda it: it.update(result=it["performer"]), "points to a Organization"),
        ("Observation", lambda it: it["code"].update(coding=[{"code": "K"}]), "stands in no slice"),
        ("Observation", lambda it: it["code"]["coding"][0].pop("display"), "LOINC.display: 0"),
        ("Specimen", lambda it: it["collection"].pop("collectedDateTime"), "collected[x]: 0"),
        ("Patient", lambda it: it["identifier"][0].pop("type"), "Patient.identifier.type: 0"),
    ],
)
def test_the_checker_sees_what_is_broken(kind: str, change: Any, fault: str) -> None:
    bundle = document(STRUCTURED, **OLD_GUIDE)
    change(resources(bundle, kind)[0])
    assert any(fault in found for found in bundle_faults(bundle)), bundle_faults(bundle)


# -- the corpus --------------------------------------------------------------------------------------------------------

EXPECTED = {
    "BAD_STATUS", "BAD_VALUE", "NO_IDENTITY", "NO_PATIENT", "NO_ROUTE", "NO_VALUE", "NOT_PRODUCTION", "QUALITY_CONTROL",
    "REQUIRED_ABSENT", "UNKNOWN_CHARSET", "UNMAPPED_STATUS", "UNMAPPED_UNIT", "UNREADABLE",
}  # fmt: skip
FILES = [
    file
    for file in corpus_files()
    if file.format == "hl7v2" and any(b"ORU^R01" in payload[:500] for payload in payloads(file))
]


def _with_number(payload: bytes) -> bytes:
    """The message with an ABHA number as a further repetition of PID-3, and a name where it has none."""
    lines = re.split(b"[\r\n]+", payload)
    for at, line in enumerate(lines):
        if line.startswith(b"PID|"):
            fields = line.split(b"|") + [b""] * 6
            fields[3] += b"~91123456789015^^^^HIN" if fields[3] else b"91123456789015^^^^HIN"
            fields[5] = fields[5] or b"Rao^Meera"
            lines[at] = b"|".join(fields)
    return b"\r".join(lines)


@pytest.mark.corpus
@pytest.mark.reference
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_messages_of_the_corpus_keep_to_the_profiles_or_say_why_not(file: CorpusFile) -> None:
    for number, payload in enumerate(payloads(file), 1):
        if b"ORU^R01" not in payload[:500]:
            continue
        numbered = _with_number(payload)
        said = verdict(numbered, **OLD_GUIDE)
        if said.reason is not None:
            assert said.reason.value in EXPECTED, f"message {number}: {said.detail}"
            continue
        for found, _ in said.documents:
            assert faults(found.body) == [], f"message {number}"
            assert bundle_faults(json.loads(found.body)) == [], f"message {number}"
            assert_whole(program("abdm-report").explain(parse(numbered), context(settings=SETTINGS | OLD_GUIDE)))


@pytest.mark.corpus
def test_many_messages_of_the_corpus_become_documents() -> None:
    made = sum(
        bool(verdict(_with_number(payload)).documents)
        for file in FILES
        for payload in payloads(file)
        if b"ORU^R01" in payload[:500]
    )
    assert made > 20
