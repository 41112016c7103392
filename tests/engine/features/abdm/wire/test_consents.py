"""Notices of consents and requests for records: as NHA's documents have them, as programs of the field send them, and
wrong in every part."""

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.features.abdm.rules.abha import AbhaAddress
from engine.features.abdm.rules.consents import CareContext, ConsentState, Frequency, FrequencyUnit, Period
from engine.features.abdm.wire.consents import MAX_BODY_BYTES, read_notice, read_request
from engine.features.abdm.wire.times import instant, written
from engine.model.errors import ContentError
from engine.model.texts.reasons import ReasonCode

DETAIL: dict[str, Any] = {
    "schemaVersion": "v3",
    "consentId": "c-1",
    "createdAt": "2026-11-20T06:10:00.587Z",
    "patient": {"id": "Meera.Rao@sbx"},
    "careContexts": [
        {"patientReference": "P-7", "careContextReference": "LR-B"},
        {"patientReference": "P-7", "careContextReference": "LR-A"},
    ],
    "purpose": {"text": "Care Management", "code": "CAREMGT", "refUri": "https://example.org"},
    "hip": {"id": "IN2810014366"},
    "hiu": {"id": "HIU-1", "name": "City Hospital"},
    "consentManager": {"id": "sbx"},
    "requester": {"name": "Dr. Nair", "identifier": {"type": "REGNO", "value": "MH1", "system": "https://x.example"}},
    "hiTypes": ["DiagnosticReport", "Prescription"],
    "permission": {
        "accessMode": "VIEW",
        "dateRange": {"from": "2026-01-01T00:00:00.000Z", "to": "2026-11-20T06:10:00.587Z"},
        "dataEraseAt": "2026-12-20T06:10:00.587Z",
        "frequency": {"unit": "HOUR", "value": 1, "repeats": 0},
    },
}
NOTICE: dict[str, Any] = {
    "notification": {
        "status": "GRANTED",
        "consentId": "c-1",
        "consentDetail": DETAIL,
        "signature": "c2ln",
        "grantAcknowledgement": False,
    }
}
REQUEST: dict[str, Any] = {
    "requestId": "",
    "timestamp": "",
    "transactionId": "t-1",
    "hiRequest": {
        "consent": {"id": "c-1"},
        "dateRange": {"from": "2026-01-01T00:00:00.000Z", "to": "2026-11-20T06:10:00.587Z"},
        "dataPushUrl": "https://hiu.example/push",
        "keyMaterial": {"cryptoAlg": "ECDH", "curve": "Curve25519"},
    },
}
REMOVED = object()


def changed(body: dict[str, Any], place: str, to: Any) -> bytes:
    """The body with another value at this place."""
    body = copy.deepcopy(body)
    inner: Any = body
    *path, last = [int(step) if step.isdecimal() else step for step in place.split(".")]
    for step in path:
        inner = inner[step]
    if to is REMOVED:
        del inner[last]
    else:
        inner[last] = to
    return json.dumps(body).encode()


def test_a_grant_as_the_documents_have_it() -> None:
    notice = read_notice(json.dumps(NOTICE).encode())
    artefact = notice.artefact
    assert artefact is not None
    assert (notice.consent_id, notice.state, notice.signature) == ("c-1", ConsentState.GRANTED, "c2ln")
    assert artefact.patient == AbhaAddress("meera.rao@sbx")
    assert artefact.care_contexts == (CareContext("P-7", "LR-A"), CareContext("P-7", "LR-B"))
    assert (artefact.facility, artefact.purpose, artefact.access_mode) == ("IN2810014366", "CAREMGT", "VIEW")
    assert artefact.hi_types == {"DiagnosticReport", "Prescription"}
    assert artefact.period == Period(
        datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 11, 20, 6, 10, 0, 587000, tzinfo=UTC)
    )
    assert artefact.erase_at == datetime(2026, 12, 20, 6, 10, 0, 587000, tzinfo=UTC)
    assert artefact.frequency == Frequency(FrequencyUnit.HOUR, 1, 0)
    assert (artefact.reader, artefact.reader_name) == ("HIU-1", "City Hospital")


# place below notification, another value, which gives the same grant
SAME: dict[str, tuple[str, Any]] = {
    "one type as a text": ("consentDetail.hiTypes", "DiagnosticReport"),
    "status in lower case": ("status", "granted"),
    "purpose in lower case": ("consentDetail.purpose.code", "caremgt"),
    "numbers as texts": ("consentDetail.permission.frequency", {"unit": "hour", "value": "1", "repeats": "0"}),
    "no frequency": ("consentDetail.permission.frequency", None),
    "no reader": ("consentDetail.hiu", REMOVED),
    "a reader without a name": ("consentDetail.hiu", {"id": "HIU-1"}),
    "no requester": ("consentDetail.requester", None),
    "a requester that is a text": ("consentDetail.requester", "Dr. Nair"),
    "no signature": ("signature", None),
    "the id beside the detail alone": ("consentDetail.consentId", REMOVED),
    "the id within the detail alone": ("consentId", REMOVED),
    "nine digits of a second": ("consentDetail.permission.dataEraseAt", "2026-12-20T06:10:00.587000000Z"),
    "an offset": ("consentDetail.permission.dataEraseAt", "2026-12-20T11:40:00.587+05:30"),
    "no zone": ("consentDetail.permission.dataEraseAt", "2026-12-20T11:40:00.587"),
    "a context twice": ("consentDetail.careContexts", [*DETAIL["careContexts"], DETAIL["careContexts"][0]]),
    "contexts in another order": ("consentDetail.careContexts", DETAIL["careContexts"][::-1]),
    "an unknown member": ("consentDetail.colour", "green"),
}


@pytest.mark.parametrize("name", SAME)
def test_a_grant_as_programs_of_the_field_send_it(name: str) -> None:
    place, to = SAME[name]
    given_, right = read_notice(changed(NOTICE, f"notification.{place}", to)), read_notice(json.dumps(NOTICE).encode())
    assert given_.artefact is not None
    assert right.artefact is not None
    assert (given_.consent_id, given_.state) == (right.consent_id, right.state)
    assert given_.artefact.care_contexts == right.artefact.care_contexts
    assert given_.artefact.erase_at == right.artefact.erase_at
    assert given_.artefact.frequency in (right.artefact.frequency, None)
    assert "DiagnosticReport" in given_.artefact.hi_types


# A time -> as the end of a consent or of a range, and as the begin of a range. Where no zone is named, UTC and India's
# may be meant: a consent ends early, a range is short.
TIMES: dict[str, tuple[str, str]] = {
    "2026-12-20T06:10:00.587Z": ("2026-12-20T06:10:00.587Z", "2026-12-20T06:10:00.587Z"),
    "2026-12-20T06:10:00Z": ("2026-12-20T06:10:00.000Z", "2026-12-20T06:10:00.000Z"),
    "2026-12-20T06:10:00.587+00:00": ("2026-12-20T06:10:00.587Z", "2026-12-20T06:10:00.587Z"),
    "2026-12-20T06:10:00.587+05:30": ("2026-12-20T00:40:00.587Z", "2026-12-20T00:40:00.587Z"),
    "2026-12-20T06:10:00.587+0530": ("2026-12-20T00:40:00.587Z", "2026-12-20T00:40:00.587Z"),
    "2026-12-20T06:10:00.587-08:00": ("2026-12-20T14:10:00.587Z", "2026-12-20T14:10:00.587Z"),
    "2026-12-20T06:10:00.587": ("2026-12-20T00:40:00.587Z", "2026-12-20T06:10:00.587Z"),
    "2026-12-20T06:10": ("2026-12-20T00:40:00.000Z", "2026-12-20T06:10:00.000Z"),
    "2026-12-20": ("2026-12-19T18:30:00.000Z", "2026-12-20T00:00:00.000Z"),
}


@pytest.mark.parametrize("text", TIMES)
def test_a_time_without_a_zone_lets_less_out_in_each_place(text: str) -> None:
    end, begin = TIMES[text]
    permission = DETAIL["permission"] | {"dataEraseAt": text, "dateRange": {"from": text, "to": text}}
    artefact = read_notice(changed(NOTICE, "notification.consentDetail.permission", permission)).artefact
    assert artefact is not None
    assert [*map(written, (artefact.erase_at, artefact.period.begin, artefact.period.end))] == [end, begin, end]
    request = read_request(changed(REQUEST, "hiRequest.dateRange", {"from": text, "to": text}))
    assert [*map(written, (request.period.begin, request.period.end))] == [begin, end]
    assert artefact.period.covers(request.period), "a reader asks with the texts of the grant"


def test_a_grant_without_the_outer_object() -> None:
    assert read_notice(json.dumps(NOTICE["notification"]).encode()) == read_notice(json.dumps(NOTICE).encode())


def test_one_context_that_is_no_list() -> None:
    notice = read_notice(changed(NOTICE, "notification.consentDetail.careContexts", DETAIL["careContexts"][0]))
    assert notice.artefact is not None
    assert notice.artefact.care_contexts == (CareContext("P-7", "LR-B"),)


@pytest.mark.parametrize("status", ["REVOKED", "EXPIRED", "DENIED", "REQUESTED", "revoked"])
@pytest.mark.parametrize(
    "rest",
    [
        {"consentId": "c-1"},
        {"consentId": "c-1", "consentDetail": None, "signature": None},
        {"consentId": "c-1", "consentDetail": {"patient": 7}},
        {"consentDetail": {"consentId": "c-1"}},
        {"consentId": "c-1", "consentDetail": {"consentId": "c-2"}, "signature": ["x"]},
    ],
)
def test_each_word_but_a_grant_needs_the_id_alone(status: str, rest: dict[str, Any]) -> None:
    notice = read_notice(json.dumps({"notification": {"status": status, **rest}}).encode())
    assert (notice.consent_id, notice.state, notice.artefact) == ("c-1", ConsentState(status.upper()), None)


ABSENT, BAD = ReasonCode.REQUIRED_ABSENT, ReasonCode.BAD_VALUE
# place, another value, reason, place of the error
WRONG: list[tuple[str, Any, ReasonCode, str]] = [
    ("status", REMOVED, ABSENT, "status"),
    ("status", "PAUSED", BAD, "status"),
    ("status", ["GRANTED"], BAD, "status"),
    ("consentDetail", REMOVED, ABSENT, "consentDetail"),
    ("consentDetail", "x", BAD, "consentDetail"),
    ("consentDetail.consentId", "c-2", BAD, "consentDetail.consentId"),
    ("consentDetail.patient", REMOVED, ABSENT, "consentDetail.patient"),
    ("consentDetail.patient.id", "meera", BAD, "consentDetail.patient.id"),
    ("consentDetail.patient.id", 91123456789015, BAD, "consentDetail.patient.id"),
    ("consentDetail.hip", REMOVED, ABSENT, "consentDetail.hip"),
    ("consentDetail.hip.id", "", ABSENT, "consentDetail.hip.id"),
    ("consentDetail.hip.id", " ", BAD, "consentDetail.hip.id"),
    ("consentDetail.careContexts", REMOVED, ABSENT, "consentDetail.careContexts"),
    ("consentDetail.careContexts.1", "LR-A", BAD, "consentDetail.careContexts[1]"),
    ("consentDetail.careContexts.0.careContextReference", REMOVED, ABSENT,
     "consentDetail.careContexts[0].careContextReference"),
    ("consentDetail.careContexts.0.patientReference", {"x": 1}, BAD, "consentDetail.careContexts[0].patientReference"),
    ("consentDetail.hiTypes", REMOVED, ABSENT, "consentDetail.hiTypes"),
    ("consentDetail.hiTypes.1", {"type": "x"}, BAD, "consentDetail.hiTypes[1]"),
    ("consentDetail.purpose", REMOVED, ABSENT, "consentDetail.purpose"),
    ("consentDetail.purpose.code", REMOVED, ABSENT, "consentDetail.purpose.code"),
    ("consentDetail.permission", REMOVED, ABSENT, "consentDetail.permission"),
    ("consentDetail.permission.dateRange", REMOVED, ABSENT, "consentDetail.permission.dateRange"),
    ("consentDetail.permission.dateRange.from", "yesterday", BAD, "consentDetail.permission.dateRange.from"),
    ("consentDetail.permission.dateRange.to", REMOVED, ABSENT, "consentDetail.permission.dateRange.to"),
    ("consentDetail.permission.dataEraseAt", REMOVED, ABSENT, "consentDetail.permission.dataEraseAt"),
    ("consentDetail.permission.dataEraseAt", 1766211000587, BAD, "consentDetail.permission.dataEraseAt"),
    ("consentDetail.permission.frequency", "HOURLY", BAD, "consentDetail.permission.frequency"),
    ("consentDetail.permission.frequency.unit", "MINUTE", BAD, "consentDetail.permission.frequency.unit"),
    ("consentDetail.permission.frequency.value", -1, BAD, "consentDetail.permission.frequency.value"),
    ("consentDetail.permission.frequency.repeats", 1.5, BAD, "consentDetail.permission.frequency.repeats"),
    ("consentDetail.permission.frequency.repeats", 10**20, BAD, "consentDetail.permission.frequency.repeats"),
    ("consentDetail.permission.frequency.repeats", True, BAD, "consentDetail.permission.frequency.repeats"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "to", "reason", "at"), WRONG)
def test_a_grant_that_is_wrong_in_a_part_names_the_part(place: str, to: Any, reason: ReasonCode, at: str) -> None:
    with pytest.raises(ContentError) as caught:
        read_notice(changed(NOTICE, f"notification.{place}", to))
    assert (caught.value.reason, caught.value.place) == (reason, f"notification.{at}")


def test_a_notice_without_any_id_is_refused() -> None:
    with pytest.raises(ContentError) as caught:
        read_notice(b'{"notification": {"status": "REVOKED"}}')
    assert (caught.value.reason, caught.value.place) == (ABSENT, "notification.consentId")


BODIES: dict[bytes, ReasonCode] = {
    b"": ReasonCode.UNREADABLE,
    b"<html>502</html>": ReasonCode.UNREADABLE,
    b"[]": ReasonCode.UNREADABLE,
    b'"x"': ReasonCode.UNREADABLE,
    b'{"notification": {"status": "REVOKED", "status": "GRANTED"}}': ReasonCode.UNREADABLE,
    b'{"notification": {"status": NaN}}': ReasonCode.UNREADABLE,
    b"{\xff}": ReasonCode.UNKNOWN_CHARSET,
    b'{"a":' * 500 + b"1" + b"}" * 500: ReasonCode.TOO_LARGE,
    b" " * (MAX_BODY_BYTES + 1): ReasonCode.TOO_LARGE,
}


@pytest.mark.parametrize(("body", "reason"), BODIES.items(), ids=lambda one: repr(one)[:40])
def test_a_body_that_is_no_object_of_json(body: bytes, reason: ReasonCode) -> None:
    for read in (read_notice, read_request):
        with pytest.raises(ContentError) as caught:
            read(body)  # type: ignore[operator]
        assert caught.value.reason is reason


def test_no_error_quotes_the_patient() -> None:
    for place, to, _, _ in WRONG:
        with pytest.raises(ContentError) as caught:
            read_notice(changed(NOTICE, f"notification.{place}", to))
        assert "eera" not in str(caught.value)


def test_a_request_as_the_documents_have_it() -> None:
    request = read_request(json.dumps(REQUEST).encode())
    assert (request.transaction_id, request.consent_id) == ("t-1", "c-1")
    assert request.push_url == "https://hiu.example/push"
    assert request.period.begin == datetime(2026, 1, 1, tzinfo=UTC)
    assert request.key_material == {"cryptoAlg": "ECDH", "curve": "Curve25519"}


REQUESTS_WRONG: list[tuple[str, Any, ReasonCode, str]] = [
    ("transactionId", REMOVED, ABSENT, "hiRequest.transactionId"),
    ("hiRequest", REMOVED, ABSENT, "hiRequest"),
    ("hiRequest", [], BAD, "hiRequest"),
    ("hiRequest.consent", "c-1", BAD, "hiRequest.consent"),
    ("hiRequest.consent.id", REMOVED, ABSENT, "hiRequest.consent.id"),
    ("hiRequest.dateRange", REMOVED, ABSENT, "hiRequest.dateRange"),
    ("hiRequest.dateRange.from", "", ABSENT, "hiRequest.dateRange.from"),
    ("hiRequest.dateRange.to", "2026-13-01", BAD, "hiRequest.dateRange.to"),
    ("hiRequest.dataPushUrl", REMOVED, ABSENT, "hiRequest.dataPushUrl"),
    ("hiRequest.dataPushUrl", "x" * 2000, BAD, "hiRequest.dataPushUrl"),
    ("hiRequest.keyMaterial", REMOVED, ABSENT, "hiRequest.keyMaterial"),
    ("hiRequest.keyMaterial", "x", BAD, "hiRequest.keyMaterial"),
]


@pytest.mark.parametrize(("place", "to", "reason", "at"), REQUESTS_WRONG)
def test_a_request_that_is_wrong_in_a_part_names_the_part(place: str, to: Any, reason: ReasonCode, at: str) -> None:
    with pytest.raises(ContentError) as caught:
        read_request(changed(REQUEST, place, to))
    assert (caught.value.reason, caught.value.place) == (reason, at)


def test_the_transaction_may_be_named_within_the_request() -> None:
    body = copy.deepcopy(REQUEST)
    body["hiRequest"]["transactionId"] = body.pop("transactionId")
    assert read_request(json.dumps(body).encode()).transaction_id == "t-1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["GRANTED", "REVOKED", "c-1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*DETAIL, *NOTICE["notification"], "id", "from", "to", "unit"]), inner, max_size=5
        )
    ),
    max_leaves=20,
)


@given(st.one_of(st.binary(max_size=200), JSON.map(lambda tree: json.dumps({"notification": tree}).encode())))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    for read in (read_notice, read_request):
        try:
            read(body)  # type: ignore[operator]
        except ContentError:
            continue


PLACES = ["status", "consentId", "consentDetail", *(f"consentDetail.{name}" for name in DETAIL)]


@given(st.sampled_from(PLACES), JSON)
def test_any_value_in_any_part_is_read_or_refused(place: str, value: Any) -> None:
    try:
        notice = read_notice(changed(NOTICE, f"notification.{place}", value))
    except ContentError:
        return
    assert notice.consent_id
    assert (notice.artefact is not None) is (notice.state is ConsentState.GRANTED)


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)))
def test_a_time_that_we_write_is_read(at: datetime) -> None:
    at = at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC)
    text = written(at)
    assert (instant(text), text[-1], len(text)) == (at, "Z", 24)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "20261120", "2026-W47-5", "2026-11-20 06:10", "2026-11-20T25:00:00Z"),
        *("0001-01-01T00:00:00+14:00", "2026-11-20T06:10:00.587Z" * 2, 7, None),
    ],
)
def test_no_time(text: object) -> None:
    assert instant(text) is None
