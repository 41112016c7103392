"""Which part of a document waits: by kind of document, and where one cannot be taken apart."""

from dataclasses import replace
from datetime import UTC
from typing import Any

import orjson
import pytest

from engine.features.quality_control.rules.parting import Closed, Measured, Parts, Waits, parted
from engine.model.content.list_form import Form
from engine.model.journal.records import HoldReason, Routed
from engine.model.message import Document, Report
from engine.model.texts.reasons import ReasonCode

WHY = HoldReason(reason=ReasonCode.CONTROL_FAILED, text="the control failed: GLU (run 7)")
HL7 = "x-application/hl7-v2+er7"
CODES = {"GLU": {"GLU"}, "2345-7": {"GLU"}}
CLOSED, NONE = Closed(CODES, {"GLU"}), Closed(CODES, ())


def observation(name: str, code: str, **more: Any) -> dict[str, Any]:
    made = {"resourceType": "Observation", "id": name, "status": "final", "valueQuantity": {"value": 5}, **more}
    made["code"] = {"coding": [{"system": "http://loinc.org", "code": code}]}
    return made


def report(*names: str, **more: Any) -> dict[str, Any]:
    listed = [{"reference": f"urn:uuid:{name}"} for name in names]
    return {"resourceType": "DiagnosticReport", "id": "r", "status": "final", "result": listed, **more}


def routed(*resources: dict[str, Any], kind: str = "transaction", **more: Any) -> Routed:
    entries = [
        {
            "fullUrl": f"urn:uuid:{one['id']}",
            "resource": one,
            "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"},
        }
        for one in resources
    ]
    targets = [{"reference": entry["fullUrl"]} for entry in entries]
    provenance = {"resourceType": "Provenance", "id": "v", "target": targets}
    entries.append(
        {"fullUrl": "urn:uuid:v", "resource": provenance, "request": {"method": "POST", "url": "Provenance"}}
    )
    body = orjson.dumps({"resourceType": "Bundle", "type": kind, "entry": entries})
    return of(body, "application/fhir+json", entries=len(entries), **more)


def of(body: bytes, media_type: str, *, entries: int = 0, **more: Any) -> Routed:
    document = Document(body=body, media_type=media_type, reports=(Report(key=b"k" * 16),), entries=entries)
    return Routed(document=document, destinations=("lis",), claimed=(True,), **more)


def divided(one: Routed, closed: Closed = CLOSED) -> Parts:
    found = parted(one, closed, WHY, UTC)
    assert isinstance(found, Parts)
    return found


def named(one: Routed) -> list[str]:
    return [entry["resource"]["id"] for entry in orjson.loads(one.document.body)["entry"]]


def test_the_results_of_the_test_wait_and_the_others_go_on() -> None:
    found = divided(routed(observation("a", "2345-7"), observation("b", "2823-3"), report("a", "b")))
    assert (named(found.goes), named(found.waits)) == (["b", "r", "v"], ["a", "r", "v"])
    assert (found.goes.document.entries, found.goes.claimed, found.waits.claimed) == (3, (True,), ())
    assert found.goes.hold is None
    assert found.waits.hold.decide(None, 0) == WHY
    goes, waits = (orjson.loads(one.document.body)["entry"] for one in (found.goes, found.waits))
    assert [one["resource"]["status"] for one in (goes[1], waits[1])] == ["partial", "final"]
    for entries, name in ((goes, "b"), (waits, "a")):
        assert entries[1]["resource"]["result"] == [{"reference": f"urn:uuid:{name}"}]
        assert entries[2]["resource"]["target"] == [{"reference": f"urn:uuid:{one}"} for one in (name, "r")]
    assert found.codes == {"2345-7"}


def test_a_panel_waits_with_each_of_its_results() -> None:
    members = [{"reference": f"urn:uuid:{name}"} for name in ("a", "b")]
    panel = observation("p", "24323-8", hasMember=members)
    found = divided(routed(panel, observation("a", "2345-7"), observation("b", "2823-3"), observation("c", "718-7")))
    assert (named(found.goes), named(found.waits)) == (["c", "v"], ["p", "a", "b", "v"])


ISOLATE = {"meta": {"tag": [{"system": "urn:labrelay:part", "code": "1"}]}}
GLU, K = observation("a", "2345-7"), observation("b", "2823-3")


@pytest.mark.parametrize(
    "one",
    [
        routed(GLU),
        routed(GLU, K, report("a", "b"), joins=False),
        routed(GLU, K, report("a", "b", conclusion="glucose is low")),
        routed(GLU, K, report("a", "b", presentedForm=[{"data": "AA=="}])),
        routed(GLU, observation("b", "634-6", **ISOLATE)),
        routed({"resourceType": "Composition", "id": "c", "date": "2026-03-01"}, GLU, K, kind="document"),
        of(b"R|1|^^^GLU|5", "text/plain"),
        of(b"not JSON", "application/fhir+json"),
        Routed(document=Document(body=b"MSH|", media_type=HL7), destinations=("copies",)),
    ],
    ids=[
        "nothing else", "a whole report each time", "a conclusion", "a PDF", "a culture", "a document", "a copy",
        "unreadable", "no report",
    ],
)  # fmt: skip
def test_a_document_that_cannot_be_taken_apart_waits_whole(one: Routed) -> None:
    found = parted(one, CLOSED, WHY, UTC)
    assert isinstance(found, Routed)
    assert isinstance(found.hold, Waits)
    assert found.document == one.document


def test_a_document_without_the_test_goes_on() -> None:
    for one in (routed(K), Routed(document=Document(body=b"MSH|", media_type=HL7), destinations=("copies",))):
        assert parted(one, NONE, WHY, UTC) == one


def test_a_document_that_names_the_test_otherwise_waits_whole() -> None:
    """Its message has a result of the test; a site's own mapping may have a code of its own for it."""
    found = parted(routed(K), CLOSED, WHY, UTC)
    assert isinstance(found, Routed)
    assert isinstance(found.hold, Waits)


def test_a_document_of_another_order_of_its_message_goes_on() -> None:
    """Its results are known as those of other tests: the result of the closed one is in another document."""
    one = routed(K, report("b"))
    assert parted(one, CLOSED._replace(others={"2823-3"}), WHY, UTC) == one


@pytest.mark.parametrize(
    "one",
    [
        routed(GLU, observation("b", "1111-1"), K),
        routed(K, report("b", conclusion="glucose is low")),
        routed(report(presentedForm=[{"data": "AA=="}])),
    ],
    ids=["one of two under a code of its own", "in words", "in a file"],
)
def test_what_may_be_a_result_of_a_closed_test_waits_with_its_document(one: Routed) -> None:
    two = Closed({**CODES, "CREA": {"CREA"}}, {"GLU", "CREA"}, {"2823-3"})
    found = parted(one, two, WHY, UTC)
    assert isinstance(found, Routed)
    assert isinstance(found.hold, Waits)


def test_a_diluted_result_waits_with_those_of_its_test() -> None:
    found = divided(routed(observation("a", "717/10"), K), Closed({"717/": {"717/"}}, {"717/"}))
    assert (named(found.goes), named(found.waits)) == (["b", "v"], ["a", "v"])


def test_of_two_closed_tests_only_others_go_on() -> None:
    two = Closed({**CODES, "CREA": {"CREA"}}, {"GLU", "CREA"})
    found = divided(routed(GLU, observation("c", "CREA"), K, report("a", "b", "c")), two)
    assert (named(found.goes), named(found.waits)) == (["b", "r", "v"], ["a", "c", "r", "v"])


def test_a_result_that_is_withdrawn_never_waits() -> None:
    one = routed(observation("a", "2345-7", status="entered-in-error"), K)
    assert parted(one, CLOSED, WHY, UTC) == one


def test_a_message_of_hl7_says_that_not_all_is_there() -> None:
    text = (
        "MSH|^~\\&|A|B|||20260301||ORU^R01|1|P|2.5.1\rPID|1||7\rOBR|1||S1|CHEM|||||||||||||||||||||F\r"
        "OBX|1|NM|GLU||5|||||||F|||20260301\rNTE|1||low\rOBX|2|NM|K||4|||||||F|||20260301\r"
        "OBR|2||S1|HEMA|||||||||||||||||||||F\rOBX|1|NM|HGB||14|||||||F|||20260301\r"
    )
    text = text.replace("||||||F|||2026", "|||||F|||2026")
    found = divided(of(text.encode(), HL7))
    goes, waits = (one.document.body.decode().split("\r") for one in (found.goes, found.waits))
    assert [line[:13] for line in goes if line[:2] == "OB"] == [
        "OBR|1||S1|CHE",
        "OBX|2|NM|K||4",
        "OBR|2||S1|HEM",
        "OBX|1|NM|HGB|",
    ]
    assert [line[:13] for line in waits if line[:2] in ("OB", "NT")] == ["OBR|1||S1|CHE", "OBX|1|NM|GLU|", "NTE|1||low"]
    assert [line.split("|")[25] for line in goes if line.startswith("OBR")] == ["A", "F"]
    assert [line.split("|")[25] for line in waits if line.startswith("OBR")] == ["F"]  # then all are there


def test_the_facts_of_a_message_say_which_rows_are_of_the_test() -> None:
    """A mapping of the site has codes of its own, and a row without a result may be one of the test."""
    form = Form(
        patient="patient", order="order", test="test", value=("value",), columns=("patient", "order", "test", "value")
    )
    body = b"patient,order,test,value\r\n7,S1,Zucker,5\r\n7,S1,Kalium,4\r\n"
    list_of_site = of(body, "text/csv; charset=utf-8", form=form)
    places = replace(list_of_site.document, places=((1, "1"), (2, "2")))
    results = {1: Measured(frozenset({"GLU"}), frozenset({"GLU"})), 2: Measured(frozenset(), frozenset({"K"}))}
    closed = CLOSED._replace(results=results)
    found = divided(replace(list_of_site, document=places), closed)
    assert [b"Zucker" in one.document.body for one in (found.goes, found.waits)] == [False, True]
    assert "GLU" in found.codes
    whole = parted(
        replace(list_of_site, document=replace(places, places=((2, "2"),))), CLOSED._replace(results=results), WHY, UTC
    )
    assert isinstance(whole, Routed)
    assert isinstance(whole.hold, Waits)


def test_the_rows_of_a_list_are_divided() -> None:
    form = Form(
        patient="patient", order="order", test="test", value=("value",), columns=("patient", "order", "test", "value")
    )
    body = b"patient,order,test,value\r\n7,S1,GLU,5\r\n7,S1,K,4\r\n"
    found = divided(of(body, "text/csv; charset=utf-8", form=form))
    assert [b"GLU" in one.document.body for one in (found.goes, found.waits)] == [False, True]
    assert [b"K,4" in one.document.body for one in (found.goes, found.waits)] == [True, False]


class Rules:
    """Hold rules that say which results they are asked about."""

    def __init__(self, *names: str) -> None:
        self.names = names

    @property
    def results(self) -> tuple:
        return ()

    answers = tests = results

    def among(self, wanted: Any) -> "Rules":
        class Result:
            def __init__(self, name: str) -> None:
                self.codes = (("", name),)

        return Rules(*(name for name in self.names if wanted(Result(name))))

    def decide(self, earlier: Any, now_us: int) -> HoldReason | None:
        return HoldReason(reason=ReasonCode.HELD_BY_RULE, text=", ".join(self.names)) if self.names else None


def test_each_part_keeps_the_rules_of_its_route_about_its_own_results() -> None:
    found = divided(routed(GLU, K, hold=Rules("2345-7", "2823-3")))
    assert found.goes.hold.decide(None, 0).text == "2823-3"
    assert found.waits.hold.decide(None, 0) == HoldReason(reason=WHY.reason, text=f"{WHY.text}; 2345-7")
