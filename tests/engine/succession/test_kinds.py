"""How each kind of document is opened, and what goes out of it: transactions, FHIR documents, HL7 v2, CSV, JSON."""

from typing import Any

import orjson
import pytest

from engine.model.content.list_form import Form
from engine.model.journal.document_facts import NOTHING, DocumentFacts
from engine.model.message import Document
from engine.model.packing import Packer
from engine.succession.critical import tells_critical
from engine.succession.hl7_statements import MEDIA_TYPE as HL7
from engine.succession.kinds import FHIR, OpenedDocument, has_ids, open_of, opened, under
from engine.succession.statements import SENDER_STATUS, Resource
from tests.engine.succession.test_bundles import bundle, entry, made, observation, refers, report, status_of
from tests.engine.succession.test_hl7_statements import PID, message, obr, obx
from tests.engine.succession.test_list_statements import CSV, GLU, NA, table

Json = dict[str, Any]
TRANSACTION = orjson.dumps(bundle(observation("a"), observation("b")))
MESSAGE = message(PID, obr(), obx("GLU", "5.5"), obx("NA", "140"))
LIST = table(GLU, NA)
KINDS: dict[str, tuple[bytes, str, Form | None]] = {
    "transaction": (TRANSACTION, FHIR, None),
    "message": (MESSAGE, HL7, None),
    "list": (LIST, "text/csv; charset=utf-8", CSV),
}


def composed(*entries: Json, version: str = "3", **composition: Any) -> Json:
    """A FHIR document."""
    said = {"status": "final", "date": "2026-03-01T10:00:00Z", **composition}
    return bundle(entry("Composition", "c", **said), *entries) | {"type": "document", "meta": {"versionId": version}}


def open_(body: bytes, media_type: str, form: Form | None = None, **more: Any) -> OpenedDocument:
    found = opened(body, media_type, form, **more)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_opened_by_its_type(kind: str) -> None:
    body, media_type, form = KINDS[kind]
    document = open_(body, media_type, form)
    first, second = document.resources
    assert (document.by_id, document.whole) == (kind == "transaction", False)
    assert document.write(NOTHING) == body
    left = open_(document.write(DocumentFacts(echoes=frozenset({first.name}))), media_type, form)
    assert [one.name for one in left.resources] == [second.name]


def test_results_that_were_read_have_the_names_of_their_places() -> None:
    places = [(7, "1"), (9, "2")]
    for kind in ("message", "list"):
        assert [one.name for one in open_(*KINDS[kind], places=places).resources] == ["Result/7", "Result/9"]
        body = open_(*KINDS[kind], places=places).write(DocumentFacts(echoes=frozenset({"Result/9"})))
        assert len(open_(body, *KINDS[kind][1:]).resources) == 1


@pytest.mark.parametrize(("media_type", "form"), [("text/csv; charset=utf-8", None), ("text/plain", CSV), ("", None)])
def test_other_kinds_are_not_judged(media_type: str, form: Form | None) -> None:
    assert opened(LIST, media_type, form) is None
    document = Document(body=LIST, media_type=media_type)
    assert under(document, form, DocumentFacts(echoes=frozenset({"x"}))) == LIST


def test_receivers_of_fhir_go_by_ids() -> None:
    assert [has_ids(one) for one in (FHIR, HL7, "text/csv; charset=utf-8")] == [True, False, False]


def test_a_document_may_be_packed() -> None:
    body = orjson.dumps(bundle(*(observation(one) for one in "abcdefgh")))
    packed, is_packed = Packer().pack(body)
    assert is_packed
    for document in (Document(body=packed, packed=True), Document(body=body)):
        found = open_of(document, None)
        assert found is not None
        assert len(found.resources) == 8


def test_under_facts_a_document_goes_out_changed_or_not_at_all() -> None:
    first, _ = open_(MESSAGE, HL7).resources
    document = Document(body=MESSAGE, media_type=HL7)
    assert under(document, None, None) == under(document, None, NOTHING) == MESSAGE
    assert under(document, None, DocumentFacts(not_sent=True, echoes=frozenset({first.name}))) is None
    left = message(PID, obr(), obx("NA", "140"))
    assert under(document, None, DocumentFacts(echoes=frozenset({first.name}))) == left
    placed = Document(body=MESSAGE, media_type=HL7, places=((7, "1"), (9, "2")))
    assert under(placed, None, DocumentFacts(echoes=frozenset({"Result/7"}))) == left
    broken = Document(body=b"PID|1", media_type=HL7)
    assert under(broken, None, DocumentFacts(echoes=frozenset({"x"}))) == b"PID|1"


# -- a FHIR document ---------------------------------------------------------------------------------------------------


def results(content: Json) -> dict[str, Resource]:
    document = open_(orjson.dumps(content), FHIR)
    assert (document.whole, document.by_id) == (True, False)
    return {one.name: one for one in document.resources}


def test_a_document_is_its_results_and_its_composition() -> None:
    found = results(
        composed(observation("a"), entry("Patient", "p"), entry("DocumentReference", "d", status="current"))
    )
    assert [*found] == ["Observation/a", "DocumentReference/d", "Composition/c"]
    whole = found["Composition/c"]
    assert (whole.version, whole.time, whole.meaning, whole.status) == (3, "2026-03-01T10:00:00Z", b"", "final")
    assert [results(composed(version=one))["Composition/c"].version for one in ("x", "12")] == [0, 12]
    assert results(composed() | {"meta": {}})["Composition/c"].version == 0


@pytest.mark.parametrize(
    ("changed", "is_other"),
    [(composed(observation("a", status="corrected")), False), (composed(observation("a", issued="x")), False),
     (composed(observation("a"), date="2027"), False), (composed(observation("a"), status="amended"), False),
     (composed(observation("a", 5.6)), True), (composed(observation("a"), title="x"), True),
     (composed(observation("a"), entry("Patient", "p")), True), (composed(), True)],
)  # fmt: skip
def test_a_composition_is_the_whole_document_but_for_ids_statuses_and_times_of_issue(
    changed: Json, is_other: bool
) -> None:
    whole = results(composed(observation("a")))["Composition/c"].whole
    assert (results(changed)["Composition/c"].whole != whole) is is_other


@pytest.mark.parametrize(
    "content",
    [bundle(observation("a")) | {"type": "document"}, composed(entry("Composition", "d", date="x")),
     bundle(entry("Composition", "c")) | {"type": "document"}],
)  # fmt: skip
def test_a_document_of_another_form_is_refused(content: Json) -> None:
    with pytest.raises(ValueError, match=r"^(ValueError|KeyError)$"):
        opened(orjson.dumps(content), FHIR, None)


def issued(statuses: dict[str, str], **facts: Any) -> tuple[dict[str, Json], Json]:
    content = composed(
        observation("a"), observation("b"), report("r", "a"), report("s", "b", status="preliminary"),
        entry("DocumentReference", "d", status="current", docStatus="final"),
        entry("DocumentReference", "e", status="current", docStatus="preliminary"),
        entry("DocumentReference", "f", status="final"),
    )  # fmt: skip
    body = open_(orjson.dumps(content), FHIR).write(DocumentFacts(statuses=statuses, **facts))
    return made(body), orjson.loads(body)


@pytest.mark.parametrize(
    ("statuses", "of_report", "of_unfinished", "of_file"),
    [({"Observation/a": "preliminary"}, "final", "preliminary", "final"),
     ({"Observation/a": "amended", "Composition/c": "amended"}, "amended", "preliminary", "amended"),
     ({"Observation/a": "corrected", "Observation/b": "amended"}, "corrected", "preliminary", "amended"),
     ({"Observation/a": "entered-in-error"}, "final", "preliminary", "final"),
     ({"Composition/c": "entered-in-error"}, "entered-in-error", "entered-in-error", "amended")],
)  # fmt: skip
def test_a_document_that_changes_says_so_of_its_reports_and_files(
    statuses: dict[str, str], of_report: str, of_unfinished: str, of_file: str
) -> None:
    out, _ = issued(statuses)
    for name in ("Observation/a", "Observation/b", "Composition/c"):
        assert out[name]["status"] == statuses.get(name, "final")
    assert out["DiagnosticReport/r"]["status"] == of_report
    assert out["DiagnosticReport/s"]["status"] == of_unfinished
    assert out["DocumentReference/d"]["docStatus"] == of_file
    assert out["DocumentReference/e"]["docStatus"] == "preliminary"
    assert out["DocumentReference/f"]["status"] == of_report
    if of_report != "final":
        assert status_of(out["DiagnosticReport/r"])[1] == "final"


def test_its_version_rises_where_the_senders_does_not() -> None:
    assert issued({}, version=7)[1]["meta"] == {"versionId": "7"}
    assert issued({}, version=0)[1]["meta"] == {"versionId": "3"}


def test_nothing_is_left_out_of_a_document() -> None:
    out, _ = issued({}, echoes=frozenset({"Observation/a"}), version=4)
    assert "Observation/a" in out
    assert out["DiagnosticReport/r"]["result"] == refers("a")
    assert SENDER_STATUS.startswith("urn:")


# -- critical values in documents that no reader has read --------------------------------------------------------------


def flagged(code: str, status: str = "final") -> bytes:
    flag = [
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "code": code}]}
    ]
    return orjson.dumps(bundle(observation("a", status=status, interpretation=flag)))


@pytest.mark.parametrize(
    ("body", "is_critical"),
    [(flagged("HH"), True), (flagged("LL"), True), (flagged("AA"), True), (flagged("H"), False),
     (flagged("HH", "entered-in-error"), False), (flagged("HH", "cancelled"), False),
     (orjson.dumps(bundle(observation("a", note=[{"text": "HH"}]))), False),
     (b'{"flag": "HH"}', False), (b'"HH"', False),
     (message(PID, obr(), "OBX|1|NM|GLU||5.5|||HH|||F"), True),
     (message(PID, "OBX|1|NM|GLU||5.5|||H~LL^low|||C"), True),
     (message(PID, "OBX|1|NM|GLU||5.5|||HH"), True), (message(PID, "OBX|1|NM|GLU||5.5|||HH|||"), True),
     (message(PID, "OBX|1|NM|GLU||5.5|||HH|||D"), False), (message(PID, "OBX|1|NM|GLU||5.5|||HH|||W"), False),
     (message(PID, "OBX|1|NM|GLU||5.5|||H|||F"), False), (message(PID, "OBX|1|NM|GLU||5.5||HH"), False),
     (message(PID, "NTE|1|NM|GLU||5.5|||HH|||F"), False), (message(PID, "OBX|1|NM|GLU||5.5|||\xc3HH|||F"), False),
     (message(PID, "OBX|1|NM|GLU||5.5|||N^HH|||F"), False), (b"time,HH\r\n", False)],
)  # fmt: skip
def test_a_document_tells_a_critical_value_by_its_flag(body: bytes, is_critical: bool) -> None:
    assert tells_critical(Document(body=body)) is is_critical


def test_a_packed_document_tells_it_too() -> None:
    padded = orjson.dumps(orjson.loads(flagged("HH")) | {"more": "x" * 500})
    packed, is_packed = Packer().pack(padded)
    assert is_packed
    assert tells_critical(Document(body=packed, packed=True))
    assert not tells_critical(Document(body=flagged("HH"), packed=True)), "it cannot be read"
