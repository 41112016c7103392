"""Documents of ABDM: the facts for their care contexts, and the form in which they go out."""

import json
import re
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.codecs import json_tree
from engine.features.abdm.rules.abha import PROFILES, AbhaAddress, AbhaNumber, Profile
from engine.features.abdm.rules.care_contexts import Step, followed, step
from engine.features.abdm.wire.documents import WITHOUT_PDF, LeftOut, read_report
from engine.model.errors import ContentError
from tests.documents.test_abdm_documents import PDF_ONLY, SETTINGS, STRUCTURED, verdict
from tests.support.abdm_documents import prepared

Json = dict[str, Any]
SYSTEM = SETTINGS["abha_system"]
MEERA = AbhaNumber("91123456789015")
ROOM = 5 * 1024 * 1024


@cache
def body(payload: bytes = STRUCTURED, **settings: Any) -> bytes:
    (made, _), *others = verdict(payload, **settings).documents
    assert not others
    return made.body


def of(bundle: Json, kind: str) -> list[Json]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


def changed(path: tuple[str, ...], value: Any, kind: str = "") -> bytes:
    """The document with one member that is another; ``...``: without it."""
    bundle = json.loads(body())
    node = of(bundle, kind)[0] if kind else bundle
    for name in path[:-1]:
        node = node[name]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return json.dumps(bundle).encode()


# -- the facts ---------------------------------------------------------------------------------------------------------


def test_a_document_says_whose_report_it_is_and_which_issue() -> None:
    report = read_report(body())
    assert report.document.startswith("urn:uuid:")
    assert (report.version, report.issued.isoformat()) == (20260301044500, "2026-03-01T10:15:00+05:30")
    assert report.laboratory == {"IN2710001234"}
    assert {one.dashed for one in report.numbers} == {"91-1234-5678-9015"}
    assert {one.text for one in report.addresses} == {"meera.rao@abdm"}
    assert report.own_numbers == {("urn:labrelay:ns:CITYLAB:CITYLAB", "MR-1001")}
    assert (report.own_number, report.accession, str(report.measured)) == ("MR-1001", "2603010042", "2026-03-01")
    assert (report.is_day_alone, report.is_correction) == (False, False)
    assert (report.name, report.gender, report.birth_year) == ("Meera S Rao", "F", 1984)


@pytest.mark.parametrize(
    ("sent", "number"),
    [(b"||2603010042|", "2603010042"), (b"|PL-7|2603010042|", "2603010042"), (b"|PL-7||", "PL-7")],
)
@pytest.mark.parametrize("payload", [STRUCTURED, PDF_ONLY], ids=["results", "a finished document"])
def test_the_number_of_a_report_is_the_laboratorys_own_else_that_of_who_ordered_it(
    payload: bytes, sent: bytes, number: str
) -> None:
    payload = re.sub(rb"ORC[^\r\n]*[\r\n]+", b"", payload)
    assert read_report(body(re.sub(rb"OBR\|1\|[^|]*\|[^|]*\|", b"OBR|1" + sent, payload))).accession == number


@pytest.mark.parametrize("profile", PROFILES)
def test_both_profiles_say_the_same_of_the_patient(profile: Profile) -> None:
    sent = prepared(body(), version=7, max_bytes=ROOM, profile=profile, system=SYSTEM).body
    before, after = read_report(body()), read_report(sent)
    assert (after.numbers, after.addresses, after.own_numbers) == (
        before.numbers,
        before.addresses,
        before.own_numbers,
    )
    assert (after.version, after.patient, after.document) == (7, before.patient, before.document)


def test_the_same_message_again_is_no_amendment_and_another_value_is_one() -> None:
    known = followed(None, read_report(body()), "IN1")
    again = STRUCTURED.replace(b"20260301101530+0530", b"20260301113000+0530")
    other = STRUCTURED.replace(b"148.50", b"184.50")
    assert again != STRUCTURED
    assert step(known, read_report(body(again))) is Step.REPEATED
    assert step(known, read_report(body(other))) is Step.AMENDED
    assert followed(known, read_report(body(other)), "IN1").version == known.version + 1


def test_a_number_that_comes_again_for_another_patient_or_day_is_another_context() -> None:
    other = STRUCTURED.replace(b"MR-1001", b"MR-2002")
    later = STRUCTURED.replace(b"|20260301091500|||||||20260301093000", b"|20260302091500|||||||20260302093000")
    assert len({read_report(body(one)).document for one in (STRUCTURED, other, later)}) == 3


@pytest.mark.parametrize(
    ("said", "mobiles"),
    [
        ("+91 98200 12345", {"9820012345"}),
        ("09820012345", {"9820012345"}),
        ("9820012345", {"9820012345"}),
        ("+91 20 5551234", set()),
        ("1234567890", set()),
        ("982001234", set()),
    ],
)
def test_a_mobile_is_ten_digits_and_a_landline_is_none(said: str, mobiles: set[str]) -> None:
    assert read_report(changed(("telecom",), [{"system": "phone", "value": said}], "Patient")).mobiles == mobiles


@pytest.mark.parametrize("text", ["91-1234-5678-901", "00-0000-0000-0000", "", "meera"])
def test_a_number_that_is_none_is_counted_and_goes_out_in_no_form(text: str) -> None:
    wrong = changed(("identifier",), [{"system": SYSTEM, "value": text, "type": {"text": "x"}}], "Patient")
    report = read_report(wrong)
    assert (report.numbers, report.unreadable, report.own_numbers) == (frozenset(), 1, frozenset())
    sent = json.loads(prepared(wrong, version=1, max_bytes=ROOM, profile="6.5", system=SYSTEM).body)
    assert of(sent, "Patient")[0]["identifier"] == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (b"", "UNREADABLE"),
        (b"{}", "no Bundle"),
        (b"[]", "no Bundle"),
        (b'{"resourceType": "Bundle"}', "at Patient: 0 and not one"),
        (b'{"resourceType": "Bundle", "entry": 7}', "at Patient: 0 and not one"),
        (changed(("identifier",), ...), "at identifier.value"),
        (changed(("meta", "versionId"), ...), "at meta.versionId"),
        (changed(("meta", "versionId"), "2a"), "no whole number"),
        (changed(("meta", "versionId"), "9" * 19), "no whole number"),
        (changed(("date",), "2026-03", "Composition"), "no time with its zone"),
        (changed(("date",), "2026-13-01T10:00:00Z", "Composition"), "no time with its zone"),
        (changed(("date",), ..., "Composition"), "at Composition.date"),
        (changed(("id",), ..., "Patient"), "at Patient.id"),
        (changed(("resourceType",), "Patient", "Organization"), "at Patient: 2 and not one"),
    ],
)
def test_what_is_no_document_is_refused_by_its_place_and_quotes_nothing(wrong: bytes, words: str) -> None:
    with pytest.raises(ContentError, match=words) as refused:
        read_report(wrong)
    assert not any(text in str(refused.value) for text in ("Meera", "9012", "MR-1001"))


# -- the form in which it goes out -------------------------------------------------------------------------------------


def test_the_digits_of_each_number_stay_as_they_were_sent() -> None:
    sent = prepared(body(), version=1, max_bytes=ROOM, profile="6.5", system=SYSTEM).body
    assert b'"value":148.50' in sent
    before, after = json.loads(body(), parse_float=str), json.loads(sent, parse_float=str)
    before["meta"]["versionId"] = "1"
    assert after == before


def test_a_patient_who_is_linked_later_has_both_in_the_document() -> None:
    address = AbhaAddress("meera@sbx")
    sent = json.loads(
        prepared(body(), version=2, max_bytes=ROOM, profile="6.5", system=SYSTEM, number=MEERA, address=address).body
    )
    found = of(sent, "Patient")[0]["identifier"]
    assert [one["value"] for one in found] == ["91-1234-5678-9015", "91-1234-5678-9015", "meera@sbx", "MR-1001"]


def test_2_0_1_has_no_codes_of_nrces() -> None:
    old, later = (prepared(body(), version=1, max_bytes=ROOM, profile=one, system=SYSTEM).body for one in PROFILES)
    assert b"ndhm-identifier-type-code" not in old
    assert later.count(b"ndhm-identifier-type-code") == 2


def test_above_its_limit_a_report_goes_without_its_pdf_and_says_so() -> None:
    whole = body()
    made = prepared(whole, version=1, max_bytes=len(whole) - 200, profile="6.5", system=SYSTEM)
    bundle = json.loads(made.body)
    assert made.left_out is LeftOut.PDF_TOO_LARGE
    assert of(bundle, "DocumentReference") == []
    assert len(of(bundle, "Observation")) == 4
    (composition,) = of(bundle, "Composition")
    assert [one["type"] for one in composition["section"][0]["entry"]] == ["DiagnosticReport"]
    assert f"<p>{WITHOUT_PDF}</p></div>" in composition["text"]["div"]
    assert prepared(whole, version=1, max_bytes=len(whole), profile="6.5", system=SYSTEM).left_out is None


@pytest.mark.parametrize("payload", [STRUCTURED, PDF_ONLY])
def test_one_that_does_not_fit_without_its_pdf_does_not_go(payload: bytes) -> None:
    with pytest.raises(ContentError, match="TOO_LARGE"):
        prepared(body(payload), version=1, max_bytes=500, profile="6.5", system=SYSTEM)


names = st.text('abcé"\\ ', max_size=5)
trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(names, trees, max_size=4))
def test_what_is_written_reads_as_the_same(tree: Json) -> None:
    given_text = json.dumps(tree, default=lambda number: float(number)).encode()
    read, _ = json_tree.read(given_text)
    assert json_tree.read(json_tree.write(read))[0] == read
    assert json_tree.write(json_tree.read(json_tree.write(read))[0]) == json_tree.write(read)


def test_a_document_is_of_the_time_that_it_says() -> None:
    assert read_report(body()).issued.astimezone(UTC) == datetime(2026, 3, 1, 4, 45, tzinfo=UTC)


def test_a_day_without_time_is_its_midnight_in_the_zone_of_the_document() -> None:
    issued = read_report(changed(("date",), "2026-03-02", "Composition")).issued
    assert issued.isoformat() == "2026-03-02T00:00:00+05:30"
