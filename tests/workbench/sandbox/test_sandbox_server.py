"""The sandbox as a FHIR server: what a transaction keeps, refuses and answers; over real sockets."""

import gzip
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from engine.mapping.fhir.validity import SHAPES
from engine.model.process.clock import ManualClock
from engine.web.guard import machine_allowed
from tests.support.certificates import Authority
from tests.support.deliveries import put, shared, transaction
from workbench.sandbox import Sandbox

PATIENT = shared("Patient", "00000000-0000-4000-8000-00000000000a", "urn:lab:pid", "P-1")


def observation(identity: str = "b", **content: Any) -> dict[str, Any]:
    values = {"status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]}}
    return put("Observation", identity, **(values | content))


@dataclass
class Answer:
    status: int
    text: bytes
    headers: CIMultiDictProxy[str]

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def statuses(self) -> list[str]:
        return [entry["response"]["status"] for entry in self.json["entry"]]

    @property
    def issue(self) -> dict[str, Any]:
        assert self.json["resourceType"] == "OperationOutcome"
        issue: dict[str, Any] = self.json["issue"][0]
        return issue


@dataclass
class Client:
    sandbox: Sandbox
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        data = None if content is None else io.BytesIO(content)
        address = (
            self.sandbox.url.removesuffix("/fhir") + path if path.startswith("/") else self.sandbox.url + "/" + path
        )
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, address.rstrip("/"), data=data, headers=sent) as response:
            return Answer(response.status, await response.read(), response.headers)

    async def post(self, *entries: dict[str, Any], **headers: str) -> Answer:
        return await self.ask("POST", "", transaction(*entries), **headers)


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Client]:
    sandbox = Sandbox(**settings)
    await sandbox.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(sandbox, session)
    finally:
        await sandbox.stop()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running(clock=ManualClock()) as ready:
        yield ready


# -- transactions ------------------------------------------------------------------------------------------------


async def test_a_transaction_is_kept_and_answered_entry_by_entry(client: Client) -> None:
    answer = await client.post(
        PATIENT, observation(subject={"reference": PATIENT["fullUrl"]}), observation("c", status="preliminary")
    )
    assert answer.status == 200
    assert answer.json["type"] == "transaction-response"
    assert answer.statuses == ["201 Created", "201 Created", "201 Created"]
    patient = answer.json["entry"][0]["response"]["location"].split("/")[1]
    assert answer.json["entry"][1]["response"]["location"] == "Observation/b/_history/1"
    assert answer.json["entry"][1]["response"]["etag"] == 'W/"1"'
    stored = client.sandbox.read("Observation", "b")
    assert stored is not None
    assert stored["subject"] == {"reference": f"Patient/{patient}"}
    assert stored["meta"] == {"versionId": "1", "lastUpdated": "2026-03-01T06:00:00.000Z"}
    assert SHAPES["instant"].fullmatch(stored["meta"]["lastUpdated"])


async def test_the_same_transaction_again_makes_nothing_new(client: Client) -> None:
    entries = (PATIENT, observation(subject={"reference": PATIENT["fullUrl"]}))
    first = await client.post(*entries, Idempotency_Key="k1")
    second = await client.post(*entries, Idempotency_Key="k1")
    assert second.statuses == ["200 OK", "200 OK"]
    assert first.json["entry"][0]["response"]["location"] == second.json["entry"][0]["response"]["location"], (
        "the patient was found"
    )
    assert client.sandbox.stats()["resources"] == {"Observation": 1, "Patient": 1}
    assert client.sandbox.stats()["requests"] == {
        "created": 2,
        "found": 1,
        "repeats": 1,
        "requests": 2,
        "transactions": 2,
        "updated": 1,
    }
    assert client.sandbox.deliveries() == {"k1": 2}
    assert list(client.sandbox.accepted) == ["k1", "k1"]


async def test_a_transaction_is_all_or_nothing(client: Client) -> None:
    answer = await client.post(PATIENT, observation(), observation("c", status="finished"))
    assert answer.status == 422
    assert answer.issue["expression"] == ["Bundle.entry[2].Observation.status"]
    assert client.sandbox.stats()["resources"] == {}
    again = await client.post(PATIENT, observation())
    assert again.statuses == ["201 Created", "201 Created"]


async def test_a_plain_create_makes_a_new_resource_each_time(client: Client) -> None:
    entries = [
        {
            "fullUrl": "urn:uuid:1",
            "resource": {"resourceType": "Specimen", "id": "ignored"},
            "request": {"method": "POST", "url": "Specimen"},
        },
        observation(specimen={"reference": "urn:uuid:1"}),
    ]
    locations = [(await client.post(*entries)).json["entry"][0]["response"]["location"] for _ in range(2)]
    assert client.sandbox.count("Specimen") == 2
    assert not any("ignored" in location for location in locations)
    stored = client.sandbox.read("Observation", "b")
    assert stored is not None
    assert stored["specimen"]["reference"] == locations[1].removesuffix("/_history/1")


async def test_entries_are_written_in_the_specifications_order_and_answered_in_ours(client: Client) -> None:
    answer = await client.post(
        {"request": {"method": "GET", "url": "Observation?_summary=count"}}, observation(), PATIENT
    )
    assert answer.json["entry"][0]["resource"]["total"] == 1
    assert answer.statuses == ["200 OK", "201 Created", "201 Created"]


@pytest.mark.parametrize("number", ["148.50", "0.00", "-1.0", "1E+3", "1.0e-7", "12345678901234567890.10", "-0", "7"])
async def test_numbers_keep_their_text(client: Client, number: str) -> None:
    body = transaction(observation(valueQuantity={"value": 7})).replace(b'"value":7', b'"value":' + number.encode())
    assert (await client.ask("POST", "", body)).status == 200
    text = (await client.ask("GET", "Observation/b")).text
    assert re.search(rb'"value":([^,}]+)', text)[1] == number.encode()  # type: ignore[index]  # it is there
    found = (await client.ask("GET", "Observation?status=final")).text
    assert b'"value":' + number.encode() + b"}" in found


async def test_text_of_all_scripts_comes_back(client: Client) -> None:
    words = 'सीता "मिश्रा" \\ \U0001f9ea \u2028 urn:uuid:x "reference":"urn:uuid:none"'
    await client.post(observation(note=[{"text": words}]))
    stored = client.sandbox.read("Observation", "b")
    assert stored is not None
    assert stored["note"] == [{"text": words}]


async def test_compressed_requests_are_taken(client: Client) -> None:
    packed = gzip.compress(transaction(observation()))
    assert (await client.ask("POST", "", packed, Content_Encoding="gzip")).status == 200


async def test_several_megabytes_are_taken(client: Client) -> None:
    report = put(
        "DiagnosticReport", "r", status="final", code={"text": "x"}, presentedForm=[{"data": "QUJD" * 1_000_000}]
    )
    assert (await client.post(report)).status == 200


async def test_prefer_representation_returns_the_resources(client: Client) -> None:
    answer = await client.post(observation(), Prefer="return=representation")
    assert answer.json["entry"][0]["resource"]["id"] == "b"


# -- references --------------------------------------------------------------------------------------------------


async def test_references_of_every_kind(client: Client) -> None:
    await client.post(PATIENT, put("Specimen", "s", identifier=[{"system": "urn:lab:spm", "value": "S 1"}]))
    [patient] = client.sandbox.resources("Patient")
    await client.post(
        observation(
            subject={"reference": "Patient?identifier=urn:lab:pid%7CP-1"},
            specimen={"reference": "Specimen?identifier=urn:lab:spm|S%201"},
            encounter={"reference": "Encounter/not-checked"},
            basedOn=[{"reference": f"{client.sandbox.url}/ServiceRequest/x"}, {"reference": "#inside"}],
            performer=[{"reference": "https://other.example.org/fhir/Practitioner/1"}],
        )
    )
    stored = client.sandbox.read("Observation", "b")
    assert stored is not None
    assert stored["subject"]["reference"] == f"Patient/{patient['id']}"
    assert stored["specimen"]["reference"] == "Specimen/s"
    assert stored["encounter"]["reference"] == "Encounter/not-checked"
    assert [each["reference"] for each in stored["basedOn"]] == ["ServiceRequest/x", "#inside"]
    assert stored["performer"][0]["reference"] == "https://other.example.org/fhir/Practitioner/1"


@pytest.mark.parametrize(
    ("reference", "status"),
    [
        ("urn:uuid:00000000-0000-4000-8000-0000000000ff", 400),
        ("Patient?identifier=urn:lab:pid%7Cnobody", 400),
        ("Patient?", 400),
        ("Patent?identifier=x", 400),
    ],
)
async def test_a_reference_that_leads_nowhere_is_refused(client: Client, reference: str, status: int) -> None:
    answer = await client.post(observation(), observation("c", subject={"reference": reference}))
    assert answer.status == status
    assert answer.issue["expression"][0].startswith("Bundle.entry[1]")
    assert client.sandbox.count("Observation") == 0


# -- conditional requests ----------------------------------------------------------------------------------------


async def twins(client: Client) -> None:
    """Two patients with one identifier, as two systems might have left them."""
    for identity in ("p1", "p2"):
        await client.post(put("Patient", identity, identifier=[{"system": "urn:lab:pid", "value": "P-1"}]))


async def test_several_matches_are_412(client: Client) -> None:
    await twins(client)
    for entries in (
        [PATIENT],
        [observation(subject={"reference": "Patient?identifier=urn:lab:pid%7CP-1"})],
        [{**put("Patient", "p3"), "request": {"method": "PUT", "url": "Patient?identifier=urn:lab:pid%7CP-1"}}],
    ):
        answer = await client.post(*entries)
        assert answer.status == 412
        assert answer.issue["code"] == "multiple-matches"
    assert client.sandbox.count("Observation") == 0


async def test_a_conditional_create_never_overwrites(client: Client) -> None:
    await client.post(put("Patient", "p1", identifier=[{"system": "urn:lab:pid", "value": "P-1"}], gender="female"))
    await client.post(shared("Patient", "x", "urn:lab:pid", "P-1", gender="male"))
    [patient] = client.sandbox.resources("Patient")
    assert (patient["id"], patient["gender"], patient["meta"]["versionId"]) == ("p1", "female", "1")


def conditional_put(**content: Any) -> dict[str, Any]:
    return {
        "resource": {
            "resourceType": "Specimen",
            "identifier": [{"system": "urn:labrelay:id", "value": "s1"}],
            **content,
        },
        "request": {"method": "PUT", "url": "Specimen?identifier=urn:labrelay:id%7Cs1"},
    }


@pytest.mark.parametrize("number", ["12,34", "12$34", "12|34", "12\\34", "12\\", "a\\,b"])
async def test_an_escaped_number_is_one_number(client: Client, number: str) -> None:
    system = "urn:lab:pid"
    await client.post(
        *(
            put("Patient", f"p{at}", identifier=[{"system": system, "value": part}])
            for at, part in enumerate(["12", "34"])
        )
    )
    escaped = re.sub(r"[\\,$|]", r"\\\g<0>", number)
    query = f"identifier={quote(f'{system}|{escaped}', safe='')}"
    one = {
        "resource": {"resourceType": "Patient", "identifier": [{"system": system, "value": number}]},
        "request": {"method": "POST", "url": "Patient", "ifNoneExist": query},
    }
    assert (await client.post(one)).statuses == ["201 Created"]
    assert (await client.post(one)).statuses == ["200 OK"]
    found = (await client.ask("GET", f"Patient?{query}")).json["entry"]
    assert [entry["resource"]["identifier"][0]["value"] for entry in found] == [number]


async def test_a_conditional_update_creates_then_updates_one_resource(client: Client) -> None:
    assert (await client.post(conditional_put())).statuses == ["201 Created"]
    assert (await client.post(conditional_put(status="available"))).statuses == ["200 OK"]
    [specimen] = client.sandbox.resources("Specimen")
    assert specimen["status"] == "available"
    assert specimen["meta"]["versionId"] == "2"
    assert (await client.post(conditional_put(id=specimen["id"]))).statuses == ["200 OK"]
    assert (await client.post(conditional_put(id="another"))).status == 400


async def test_a_conditional_update_with_an_id_and_no_match_creates_under_it(client: Client) -> None:
    await client.post(put("Specimen", "taken"))
    assert (await client.post(conditional_put(id="taken"))).status == 409
    assert (await client.post(conditional_put(id="mine"))).statuses == ["201 Created"]
    assert client.sandbox.read("Specimen", "mine") is not None


async def test_tags_find_resources_without_identifiers(client: Client) -> None:
    entry = {
        "resource": {
            "resourceType": "Binary",
            "contentType": "text/plain",
            "meta": {"tag": [{"system": "urn:labrelay:id", "code": "d"}]},
        },
        "request": {"method": "PUT", "url": "Binary?_tag=urn:labrelay:id%7Cd"},
    }
    assert (await client.post(entry)).statuses == ["201 Created"]
    assert (await client.post(entry)).statuses == ["200 OK"]


async def test_a_changed_identifier_is_found_by_its_new_value_only(client: Client) -> None:
    for value in ("old", "new"):
        await client.post(put("Patient", "p", identifier=[{"system": "urn:x", "value": value}]))
    assert (await client.ask("GET", "Patient?identifier=old")).json["total"] == 0
    assert (await client.ask("GET", "Patient?identifier=new")).json["total"] == 1


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b'{"resourceType":"Bundle","type":"transaction","total":NaN}', 400),
        (b"[" * 100_000, 400),
        (b"[]", 400),
        (b'"Bundle"', 400),
        (b'{"resourceType":"Patient"}', 400),
        (b'{"resourceType":"Bundle","type":"collection"}', 400),
        (b'{"resourceType":"Bundle","type":"transaction","entry":{}}', 400),
        (b'{"resourceType":"Bundle","type":"transaction","entry":[1]}', 400),
        (b'{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":1}}]}', 400),
        (transaction({"request": {"method": "PATCH", "url": "Patient/1"}}), 400),
        (transaction({"request": {"method": "PUT", "url": "Patient/1"}}), 400),
        (transaction({**PATIENT, "request": {"method": "POST", "url": "Patent"}}), 400),
        (transaction({**PATIENT, "request": {"method": "POST", "url": "Observation"}}), 400),
        (transaction({**PATIENT, "request": {"method": "POST", "url": "Patient", "ifNoneExist": ""}}), 400),
        (transaction({**PATIENT, "request": {"method": "POST", "url": "Patient", "ifNoneExist": "name=x"}}), 400),
        (transaction({**PATIENT, "request": {"method": "PUT", "url": "Patient"}}), 400),
        (transaction(put("Patient", "under_score")), 400),
        (transaction({**PATIENT, "fullUrl": 1}), 400),
        (transaction({**PATIENT, "request": {"method": "POST", "url": "Patient/1"}}), 400),
        (transaction({**put("Patient", "a"), "request": {"method": "PUT", "url": "Patient/a?active=true"}}), 400),
        (transaction({**put("Patient", "a"), "request": {"method": "PUT", "url": "Patient/b"}}), 400),
        (transaction(observation(), observation()), 400),
        (transaction(PATIENT, {**PATIENT, "fullUrl": "urn:uuid:other"}), 400),
        (transaction(PATIENT, {**observation(), "fullUrl": PATIENT["fullUrl"]}), 400),
        (transaction(observation(note=[{"text": "half X"}])).replace(b"half X", rb"half \ud83d"), 400),
        (transaction(observation(status="finished")), 422),
        (transaction(put("Observation", "b", status="final")), 422),
        (transaction(observation(colour="red")), 422),
        (transaction(observation(category={"text": "x"})), 422),
        (transaction(observation(subject=[{"reference": "Patient/1"}])), 422),
        (transaction(observation(note=[])), 422),
        (transaction(observation(valueString="")), 422),
        (transaction(observation(subject={})), 422),
        (transaction(observation(valueQuantity={"value": None})), 422),
        (transaction(put("MessageHeader", "m", source={"endpoint": "urn:x"})), 422),
        (transaction(observation(meta=[])), 422),
    ],
)
async def test_malformed_and_unacceptable_requests(client: Client, body: bytes, status: int) -> None:
    answer = await client.ask("POST", "", body)
    assert answer.status == status
    assert answer.issue["severity"] == "error"
    assert client.sandbox.stats()["resources"] == {}
    assert client.sandbox.stats()["requests"]["refused"] == 1


async def test_strings_that_only_look_empty_pass(client: Client) -> None:
    answer = await client.post(observation(note=[{"text": 'a,{} and :[] and ,null and "" too'}]))
    assert answer.status == 200


async def test_refusals_quote_no_values(client: Client) -> None:
    await twins(client)
    for entries in (
        [PATIENT],
        [observation("b", status="P-1")],
        [observation("b", subject={"reference": "Patient?identifier=urn:lab:pid%7CP-1%7C"})],
    ):
        answer = await client.post(*entries)
        assert answer.status >= 400
        assert b"P-1" not in answer.text


# -- batch and single interactions -------------------------------------------------------------------------------


async def test_a_batch_answers_each_entry_for_itself(client: Client) -> None:
    bundle = json.loads(transaction(PATIENT, observation(status="finished"), observation("c")))
    answer = await client.ask("POST", "", bundle | {"type": "batch"})
    assert answer.status == 200
    assert answer.json["type"] == "batch-response"
    assert answer.statuses == ["201 Created", "422", "201 Created"]
    assert answer.json["entry"][1]["response"]["outcome"]["issue"][0]["code"] == "code-invalid"


async def test_one_resource_at_a_time(client: Client) -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:lab:pid", "value": "P-1"}]}
    created = await client.ask("POST", "Patient", patient, If_None_Exist="identifier=urn:lab:pid|P-1")
    assert created.status == 201
    location = created.headers["Location"]
    assert location.startswith(client.sandbox.url + "/Patient/")
    assert (await client.ask("POST", "Patient", patient, If_None_Exist="identifier=urn:lab:pid|P-1")).status == 200
    address = location.removeprefix(client.sandbox.url + "/").removesuffix("/_history/1")
    identity = address.split("/")[1]

    updated = await client.ask("PUT", address, patient | {"id": identity}, If_Match='W/"1"')
    assert updated.status == 200
    assert updated.headers["ETag"] == 'W/"2"'
    stale = await client.ask("PUT", address, patient | {"id": identity}, If_Match='W/"1"')
    assert stale.status == 412
    conditional = await client.ask("PUT", "Patient?identifier=P-1", patient | {"active": True})
    assert conditional.status == 200

    assert (await client.ask("GET", address)).json["active"] is True
    assert (await client.ask("GET", address + "/_history/2")).json["meta"]["versionId"] == "2"
    assert (await client.ask("GET", address + "/_history/9")).status == 404
    assert (await client.ask("DELETE", address)).status == 204
    assert (await client.ask("DELETE", address)).status == 204
    assert (await client.ask("GET", address)).status == 410
    assert (await client.ask("GET", "Patient")).json["total"] == 0
    history = (await client.ask("GET", address + "/_history")).json
    assert [entry["request"]["method"] for entry in history["entry"]] == ["DELETE", "PUT", "PUT", "POST"]
    assert (await client.ask("PUT", address, patient | {"id": identity})).status == 201


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "Patient/none", 404),
        ("GET", "Patient/none/_history", 404),
        ("GET", "Patent", 400),
        ("GET", "Patient?colour=red", 400),
        ("GET", "Patient?_count=many", 400),
        ("GET", "Patient?_lastUpdated=yesterday", 400),
        ("GET", "Patient?_sort=name", 400),
        ("GET", "Patient?_summary=text", 400),
        ("GET", "Observation?based-on=1", 400),
        ("GET", "Patient?identifier=", 400),
        ("GET", "Patient?identifier=urn:x%7C", 400),
        ("PUT", "", 405),
        ("DELETE", "Patient", 400),
        ("DELETE", "", 405),
        ("POST", "Patient/1/_search", 400),
    ],
)
async def test_addresses_that_lead_nowhere(client: Client, method: str, path: str, status: int) -> None:
    answer = await client.ask(method, path, b"{}" if method in ("PUT", "POST") else None)
    assert answer.status == status
    assert answer.issue["diagnostics"]


# -- search ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"a", "b", "c"}),
        ("_id=a", {"a"}),
        ("_id=a,b", {"a", "b"}),
        ("identifier=urn:1|x", {"a"}),
        ("identifier=urn:1%7Cx", {"a"}),
        ("identifier=x", {"a", "b"}),
        ("identifier=|x", set()),
        ("identifier=x,y", {"a", "b", "c"}),
        ("identifier=x&status=final", {"a"}),
        ("code=2345-7", {"a", "b"}),
        ("code=http://loinc.org|2345-7&identifier=urn:2|x", {"b"}),
        ("status=final", {"a", "c"}),
        ("subject=Patient/1", {"a", "b"}),
        ("subject=1", {"a", "b"}),
        ("patient=1", {"a", "b"}),
        ("patient=Patient/2", {"c"}),
        ("specimen=s", {"c"}),
        ("based-on=ServiceRequest/q", {"c"}),
        ("_lastUpdated=ge2026-03-01T06:01:00Z", {"b", "c"}),
        ("_lastUpdated=gt2026-03-01T06:01:00.000Z", {"c"}),
        ("_lastUpdated=lt2026-03-01T11:31:00%2B05:30", {"a"}),
        ("_lastUpdated=2026-03-01T06:02:00Z", {"c"}),
        ("_lastUpdated=ge2026-03-02", set()),
    ],
)
async def test_searches(query: str, found: set[str]) -> None:
    clock = ManualClock()
    loinc = {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]}
    other = {"coding": [{"system": "urn:local", "code": "GLU"}]}
    async with running(clock=clock) as client:
        for entry in (
            put("Observation", "a", status="final", code=loinc, subject={"reference": "Patient/1"}),
            put("Observation", "b", status="amended", code=loinc, subject={"reference": "Patient/1"}),
            put("Observation", "c", status="final", code=other, subject={"reference": "Patient/2"}),
        ):
            identity = entry["resource"]["id"]
            system, value = {"a": ("urn:1", "x"), "b": ("urn:2", "x"), "c": ("urn:1", "y")}[identity]
            entry["resource"]["identifier"] = [{"system": system, "value": value}]
            if identity == "c":
                entry["resource"] |= {
                    "specimen": {"reference": "Specimen/s"},
                    "basedOn": [{"reference": "ServiceRequest/q"}],
                }
            await client.post(entry)
            clock.advance(60)
        answer = await client.ask("GET", f"Observation?{query}")
        assert answer.status == 200
        assert {entry["resource"]["id"] for entry in answer.json.get("entry", [])} == found
        assert answer.json["total"] == len(found)
        counted = await client.ask("GET", f"Observation?{query}&_summary=count")
        assert counted.json == {"resourceType": "Bundle", "type": "searchset", "total": len(found)}


async def test_pages_of_results(client: Client) -> None:
    await client.post(*(observation(f"o{n}") for n in range(7)))
    seen, address = [], "Observation?_count=3&_sort=_lastUpdated"
    while address:
        page = (await client.ask("GET", address)).json
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        links = {link["relation"]: link["url"] for link in page.get("link", [])}
        address = links.get("next", "").removeprefix(client.sandbox.url + "/")
    assert seen == [f"o{n}" for n in range(7)]


# -- the rest ----------------------------------------------------------------------------------------------------


async def test_metadata_names_what_it_can_do(client: Client) -> None:
    statement = (await client.ask("GET", "metadata?_summary=true&_format=json")).json
    assert statement["resourceType"] == "CapabilityStatement"
    assert statement["fhirVersion"] == "4.0.1"
    assert {"code": "transaction"} in statement["rest"][0]["interaction"]
    names = [resource["type"] for resource in statement["rest"][0]["resource"]]
    assert len(names) == len(set(names)) == 146
    assert {"Observation", "DiagnosticReport", "Provenance"} <= set(names)


async def test_the_page_for_people_counts_and_shows_nobody(client: Client) -> None:
    await client.post(PATIENT, observation())
    page = await client.ask("GET", "/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert b"<th>Observation<td>1" in page.text
    assert b"P-1" not in page.text


async def test_other_paths_say_where_the_server_is(client: Client) -> None:
    answer = await client.ask("GET", "/fhirx")
    assert answer.status == 404
    assert client.sandbox.url in answer.text.decode()


async def test_a_base_at_the_root() -> None:
    async with running(base="/") as client:
        address = client.sandbox.url
        async with client.session.post(address, data=transaction(observation())) as response:
            assert response.status == 200
        async with client.session.get(f"{address}/Observation/b") as response:
            assert response.status == 200
        async with client.session.get(f"{address}/$stats") as response:
            assert (await response.json())["resources"] == {"Observation": 1}


async def test_a_folder_keeps_the_data(tmp_path: Path) -> None:
    async with running(folder=tmp_path / "data") as client:
        await client.post(observation(valueString="x"), Idempotency_Key="k")
    async with running(folder=tmp_path / "data") as client:
        assert client.sandbox.count("Observation") == 1
        assert client.sandbox.deliveries() == {"k": 1}
        assert (await client.post(observation())).statuses == ["200 OK"]


async def test_pausing_closes_the_port_and_keeps_the_data(client: Client) -> None:
    await client.post(observation())
    url = client.sandbox.url
    await client.sandbox.pause()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.ask("GET", "Observation/b")
    await client.sandbox.start()
    assert client.sandbox.url == url
    assert (await client.ask("GET", "Observation/b")).status == 200


async def test_a_taken_port_is_an_error(client: Client) -> None:
    second = Sandbox(port=int(client.sandbox.url.rsplit(":", 1)[1].partition("/")[0]))
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    await second.stop()


async def test_logins_are_demanded() -> None:
    async with running(basic=("lab", "secret")) as client:
        assert (await client.post(observation())).status == 401
        assert (await client.post(observation(), Authorization="Basic bGFiOnNlY3JldA==")).status == 200
    async with running(bearer="token") as client:
        assert (await client.ask("GET", "Observation")).status == 401
        assert (await client.ask("GET", "Observation", Authorization="Bearer token")).status == 200


async def test_https(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with running(tls=authority.server_context()) as client:
        assert client.sandbox.url.startswith("https://127.0.0.1:")
        async with client.session.get(client.sandbox.url + "/metadata", ssl=authority.trust()) as response:
            assert response.status == 200


async def test_clearing_forgets_everything(client: Client) -> None:
    await client.post(PATIENT, observation(), Idempotency_Key="k")
    assert (await client.ask("POST", "/$clear", b"", Content_Type="text/plain")).status == 415
    assert (await client.ask("POST", "/$clear", b"{}")).status == 204
    stats = (await client.ask("GET", "/$stats")).json
    assert stats == {"requests": {}, "faults": {}, "resources": {}}
    assert client.sandbox.deliveries() == {}


# -- the wall ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8581"}, 200),
        ({"Host": "rebound.example:8581"}, 421),  # a foreign name that points here (DNS rebinding)
        ({"Host": ""}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:8581", "Origin": "http://localhost:3000"}, 403),  # another server of this machine
        ({"Host": "localhost:8581", "Origin": "http://localhost:8581"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
async def test_pages_of_other_sites_write_nothing(client: Client, headers: dict[str, str], status: int) -> None:
    sent = {**headers, "Content-Type": "text/plain"}  # a form sends this without asking first
    answer = await client.ask("POST", "", transaction(PATIENT), **sent)
    assert (answer.status, client.sandbox.count("Patient")) == (status, int(status == 200))
    if status != 200:
        assert answer.json["resourceType"] == "OperationOutcome"
    read = await client.ask("GET", "/$stats", **headers)
    assert read.status == (421 if status == 421 else 200)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("192.0.2.7:8581", True),
        ("[2001:db8::7]:8581", True),
        ("fhir.lab:8581", True),
        ("localhost", True),
        ("rebound.example:8581", False),
        ("192.0.2.7.rebound.example", False),
        ("", False),
    ],
)
def test_a_server_that_is_open_to_the_network_has_addresses_and_the_names_that_it_was_given(
    host: str, allowed: bool
) -> None:
    assert machine_allowed(host, {"fhir.lab"}) is allowed
