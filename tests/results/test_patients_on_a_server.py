"""What a FHIR server has after results, admissions, merges and orders came to it: who is the master of what."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.shipped import verdict_of
from workbench.sandbox import Sandbox

HEAD = "MSH|^~\\&|HIS|HOSP|||20260301101530||{}|{}|P|2.5.1\r"
PID = "PID|1||7^^^HOSP^MR||Rao^Asha||19800412|F\r"
MOVED = "PID|1||7^^^HOSP^MR||Rao^Asha||19800412|F|||12 Main St^^Pune\r"
OTHER = "PID|1||8^^^HOSP^MR||Rao^A||19800412|F\r"
VISIT = "PV1|1|I|MED^1" + "|" * 16 + "V1^^^HOSP^VN"
RESULT = "OBR|1|P1|F1|GLU^Glucose^L|||20260301091500\rOBX|1|NM|GLU^Glucose^L||5.1|mmol/L|||||F\r"


class Server:
    """A sandbox, and messages that go to it through the mapping of their name."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session
        self.number = 0

    async def take(self, kind: str, body: str, mapping: str, **settings: Any) -> None:
        self.number += 1
        payload = (HEAD.format(kind, self.number) + body).encode()
        verdict, _ = verdict_of(payload, "hl7v2", settings, mapping=mapping, specimen_ids="unique")
        assert verdict.state == "mapped", verdict.detail
        ((document, _route),) = verdict.documents
        head = {"Content-Type": "application/fhir+json"}
        async with self.session.post(self.sandbox.url, data=document.body, headers=head) as answer:
            assert answer.status == 200, await answer.text()

    def all(self, kind: str) -> list[dict[str, Any]]:
        return self.sandbox.resources(kind)

    def one(self, kind: str) -> dict[str, Any]:
        (found,) = self.all(kind)
        return found


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    sandbox = Sandbox()
    await sandbox.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Server(sandbox, session)
    finally:
        await sandbox.stop()


async def test_the_hospital_changes_a_patient_and_a_result_does_not(server: Server) -> None:
    await server.take("ORU^R01", PID + RESULT, "hl7-results")
    await server.take("ADT^A31", MOVED, "hl7-patients")
    moved = server.one("Patient")
    assert moved["address"] == [{"line": ["12 Main St"], "city": "Pune"}]
    await server.take("ORU^R01", PID + RESULT, "hl7-results")
    await server.take("ORM^O01", PID + "ORC|NW|P2\rOBR|1|P2||UREA\r", "hl7-orders")
    assert server.one("Patient") == moved


async def test_a_master_who_may_not_change_patients_only_adds_them(server: Server) -> None:
    await server.take("ADT^A28", PID, "hl7-patients", demographics="keep")
    await server.take("ADT^A31", MOVED, "hl7-patients", demographics="keep")
    assert "address" not in server.one("Patient")


async def test_a_number_without_a_name_empties_no_record(server: Server) -> None:
    await server.take("ADT^A28", MOVED, "hl7-patients")
    await server.take("ADT^A08", "PID|1||7^^^HOSP^MR\r", "hl7-patients")
    assert server.one("Patient")["name"] == [{"family": "Rao", "given": ["Asha"]}]


async def test_a_visit_begins_and_ends(server: Server) -> None:
    await server.take("ADT^A01", PID + VISIT + "|" * 25 + "20260301080000\r", "hl7-patients")
    assert server.one("Encounter")["status"] == "in-progress"
    leaving = VISIT + "|" * 25 + "20260301080000|20260303080000\r"
    await server.take("ADT^A03", PID + leaving, "hl7-patients")
    await server.take("ORU^R01", PID + VISIT + "\r" + RESULT, "hl7-results")
    visit = server.one("Encounter")
    assert visit["status"] == "finished"
    assert server.one("Observation")["encounter"]["reference"] == f"Encounter/{visit['id']}"
    await server.take("ADT^A13", PID + leaving, "hl7-patients")
    assert server.one("Encounter")["status"] == "in-progress"
    assert "end" not in server.one("Encounter")["period"]


async def test_a_merge_leaves_two_records_that_name_each_other(server: Server) -> None:
    await server.take("ADT^A28", PID, "hl7-patients")
    await server.take("ADT^A28", OTHER, "hl7-patients")
    await server.take("ORU^R01", OTHER + RESULT, "hl7-results")
    await server.take("ADT^A40", MOVED + "MRG|8^^^HOSP^MR||||||Rao^A\r", "hl7-patients")
    stays, goes = sorted(server.all("Patient"), key=lambda one: one["identifier"][0]["value"])
    assert (stays["active"], goes["active"]) == (True, False)
    assert stays["link"] == [{"other": {"reference": f"Patient/{goes['id']}"}, "type": "replaces"}]
    assert goes["link"] == [{"other": {"reference": f"Patient/{stays['id']}"}, "type": "replaced-by"}]
    assert stays["address"]
    # The result stays where it was: the server knows that the record was replaced.
    assert server.one("Observation")["subject"]["reference"] == f"Patient/{goes['id']}"


async def test_an_order_its_answer_its_result_and_its_cancellation_are_one_request(server: Server) -> None:
    order = PID + "ORC|{}|P1\rOBR|1|P1||GLU^Glucose^L\r"
    await server.take("ORM^O01", order.format("NW"), "hl7-orders", tasks="yes")
    await server.take("ORR^O02", "MSA|AA|1\r" + order.format("OK"), "hl7-order-answers")
    assert server.one("Task")["status"] == "accepted"
    await server.take("ORU^R01", PID + RESULT, "hl7-results")
    request = server.one("ServiceRequest")
    assert server.one("DiagnosticReport")["basedOn"] == [{"reference": f"ServiceRequest/{request['id']}"}]
    await server.take("ORM^O01", order.format("CA"), "hl7-orders", tasks="yes")
    assert server.one("ServiceRequest")["status"] == "revoked"
    assert server.one("Task")["status"] == "cancelled"


async def test_a_document_leaves_the_results_of_its_order_alone(server: Server) -> None:
    await server.take("ORU^R01", PID + RESULT, "hl7-results")
    document = "TXA|1|LR||||||||||D1\rOBX|1|ED|PDF||^application^PDF^Base64^JVBERi0xLjQK||||||F\r"
    await server.take("MDM^T02", PID + "ORC|RE|P1|F1\rOBR|1|P1|F1|GLU^Glucose^L\r" + document, "hl7-documents")
    reports = server.all("DiagnosticReport")
    assert sorted("result" in report for report in reports) == [False, True]
    assert sorted("presentedForm" in report for report in reports) == [False, True]
    assert server.one("DocumentReference")["content"][0]["attachment"]["data"] == "JVBERi0xLjQK"
