"""Reading by the API: who may read what, and what each resource says, as a table that the tests walk."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from engine.commands.shared.output import to_json
from engine.config.pack import find_pack
from engine.diagnostics.packs import suggestions_of
from engine.features.abdm.rules.account import AbdmFault, AbdmSnapshot
from engine.features.codes import rows as corrections
from engine.features.orders import rows as worklist
from engine.features.rework.lists.dead_letters import LETTER
from engine.mapping.code_tables.suggestions import Suggestion
from engine.model.errors import ConfigError
from engine.model.message import Unmapped
from engine.model.orders import OrderedPatient, OrderLine
from engine.model.site.corrections import RowChange
from engine.model.site.permissions import ACTING, ADMINISTERING, LOOKING
from engine.model.texts.phrases import Phrase
from engine.model.worklist import TakeSettings
from engine.store.operations import bulk
from engine.store.operations.bulk import Member
from engine.store.queries import reader
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader
from engine.views.messages import MESSAGE
from engine.web.api.lists import resources
from engine.web.api.service import MOST_REMEMBERED, Buckets
from tests.support import abdm_rows, journals, oracle
from tests.support.api import Client, served
from tests.support.command_line import labrelay
from tests.support.filled_journal import CANARY, CHANNEL, DELIVERED, REFUSED, WAITING, fill_journal

# What each person gets: the address, with what it must be given; the name of the list, or some names of the object.
OPERATION = WAITING + 1
NUMBERS = {"/abdm/contexts/{number}": abdm_rows.LINKED, "/abdm/consents/{number}": abdm_rows.GRANTED}
LOOK = {"": 401, "wall": 403, "viewer": 200, "operator": 200, "admin": 200}
DECIDE = LOOK | {"viewer": 403, "operator": 503, "admin": 503}  # no look can be recorded here
ADMINISTER = {"": 401, "wall": 403, "viewer": 403, "operator": 403, "engineer": 403, "seeing viewer": 403, "admin": 200}
POSTED = {"/message-search": {}, "/held-results": {"message": REFUSED, "purpose": "a test"}}
STATUSES = {oracle.LOOK: LOOK, oracle.ACT: DECIDE, oracle.ADMIN: ADMINISTER}
ORACLE = {path: (STATUSES[may], names) for path, (may, names) in oracle.gathered("LISTS").items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("journal")
    fill_journal(folder, gaps=[Unmapped("lab.csv", "GLU", "mg/dL", "Glucose")])
    journal = journals.opened(folder)
    what = {"selection": {"all": True}, "count": 1, "reason": "known"}
    begin = partial(bulk.begin, verb="retry", members=[Member(REFUSED)], last=5, counted_us=1, actor="anita", what=what)
    assert journal.run_alone(begin) == OPERATION
    line = OrderLine(specimen=CANARY, test="TSH", placer=CANARY, patient=OrderedPatient(number="1", family=CANARY))
    taken = TakeSettings(known_channels={CHANNEL: frozenset({"TSH"})})
    journal.run_alone(partial(worklist.take_orders, message_id=1, channel="his", lines=[line], settings=taken))
    journal.run_alone(abdm_rows.fill)
    journal.close()
    return folder


@pytest.fixture
def journal(data: Path) -> AsyncIterator[Reader]:
    opened = Reader.beside(data)
    yield opened
    opened.close()


@pytest.fixture
async def api(journal: Reader, tmp_path: Path) -> AsyncIterator[Client]:
    async with served(journal, backups=tmp_path) as client:
        yield client


def test_the_table_has_every_resource() -> None:
    assert set(ORACLE) == {one.path for one in resources()}, "give each list its line in LISTS of an oracle"
    assert {one.path for one in resources() if one.needs == ADMINISTERING} == {"/acts", "/backups"}
    assert {one.path for one in resources() if one.needs == ACTING} == {"/held-results"}
    assert all(one.needs in (LOOKING, ACTING, ADMINISTERING) for one in resources())


@pytest.mark.parametrize("path", ORACLE)
async def test_each_person_gets_what_the_table_says(api: Client, path: str) -> None:
    statuses, names = ORACLE[path]
    given = POSTED.get(path)
    for person, status in statuses.items():
        found = await api.ask(
            path.format(message=REFUSED, number=NUMBERS.get(path, OPERATION), item="W1"),
            person,
            method="GET" if given is None else "POST",
            body=given,
        )
        assert found.status == status, person
        if status == 200:
            assert set(names.split()) <= set(found.body)
            assert found.body["schema_version"] == 1
            assert found.body["time_zone"] == "Asia/Kolkata"
            assert found.headers["Content-Type"].startswith("application/json")
        else:
            assert found.body["status"] == status
            assert found.body["trace_id"] == found.headers["X-Trace-Id"]
            assert found.headers["Content-Type"].startswith("application/problem+json")


async def test_no_answer_names_a_patient(api: Client) -> None:
    for path in ORACLE:
        given = POSTED.get(path)
        for number in (DELIVERED, REFUSED):
            found = await api.ask(
                path.format(message=number, number=NUMBERS.get(path, OPERATION), item="W1"),
                "admin",
                method="GET" if given is None else "POST",
                body=given,
            )
            assert [one for one in (CANARY, *abdm_rows.secrets()) if one in json.dumps(found.body)] == [], path


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("contexts", [6, 5, 4, 3, 2, 1]),
        ("contexts?state=linked", [abdm_rows.LINKED]),
        (f"contexts?facility={abdm_rows.WEST}", [abdm_rows.OF_WEST]),
        ("contexts?reason=moved", [abdm_rows.MOVED]),
        ("contexts?message=2", [abdm_rows.LINKED]),
        ("contexts?message=0", []),
        ("contexts?state=none", 422),
        ("contexts?patient=1", 422),
        ("contexts/99", 404),
        ("consents", [4, 3, 2, 1]),
        ("consents?reason=suspended", [abdm_rows.SUSPENDED]),
        ("consents?state=REVOKED", [abdm_rows.REVOKED]),
        ("consents/99", 404),
        ("transfers?consent=1", [2, 1]),
        ("transfers?consent=2", []),
        ("transfers?state=refused&facility=other", []),
    ],
)
async def test_abdm_is_narrowed_as_asked_for(api: Client, query: str, found: list[int] | int) -> None:
    answer = await api.ask(f"/abdm/{query}")
    if isinstance(found, int):
        assert answer.status == found
    else:
        name = query.partition("?")[0]
        assert [row["number"] for row in answer.body[name]] == found


async def test_abdm_is_not_well_with_a_fault_of_the_account(api: Client) -> None:
    assert (await api.ask("/abdm/status")).body["account"] is None
    fault = AbdmFault(code="url-other", text=Phrase("another URL"), remedy=Phrase("set it"))
    account = AbdmSnapshot(destination="abdm", faults=(fault,))
    api.site = replace(api.site, of_features={"abdm": account, "facilities": {"IN9": "New"}})
    said = (await api.ask("/abdm/status")).body
    assert (said["well"], [one["code"] for one in said["account"]["faults"]]) == (False, ["url-other"])
    assert {one["facility"]: one["well"] for one in said["facilities"]}["IN9"] is True


async def test_a_consent_says_what_was_sent_under_it(api: Client) -> None:
    said = (await api.ask(f"/abdm/consents/{abdm_rows.GRANTED}")).body
    assert said["signature"].startswith("not verified")
    assert (said["granted"]["purpose"], said["granted"]["reader_name"]) == ("CAREMGT", "Hospital")
    refused, sent = said["transfers"]
    assert (refused["reason"], refused["sent_pages"]) == ("frequency", [])
    assert [(page["context"], page["state"]) for page in sent["sent_pages"]] == [
        (abdm_rows.LINKED, "delivered"),
        (abdm_rows.FAILED, "failed"),
    ]
    assert sent["not_sent"] == [
        {"context": abdm_rows.LINKED, "reason": "range"},
        {"context": None, "reason": "absent"},
    ]
    own = (await api.ask(f"/abdm/consents/{abdm_rows.OWN}")).body
    assert own["granted"]["reader_name"] == "", "a patient reads his own records: it may be his"


async def test_suggestions_are_those_of_the_command_line(journal: Reader) -> None:
    asked: list[str | None] = []

    def suggestions(channel: str | None) -> list[Suggestion]:
        asked.append(channel)
        if channel == "broken":
            raise ConfigError("analyzers/mine/suggestions.csv:3:1: the cell under 'link' is empty")
        return suggestions_of(find_pack("roche-cobas-c311"))

    async with served(journal, suggestions=suggestions) as api:
        rows = (await api.ask("/suggestions")).body["suggestions"]
        assert rows == labrelay("tables", "suggest", "roche-cobas-c311", "-o", "json").json["suggestions"]
        assert (await api.ask("/suggestions?channel=chem")).body["suggestions"] == rows
        refused = await api.ask("/suggestions?channel=broken")
        assert "analyzers/mine/suggestions.csv:3:1" in json.dumps(refused.body)
        assert refused.headers["Content-Type"].startswith("application/problem+json")
    assert asked == [None, "chem", "broken"]


async def test_rows_are_those_of_the_command_line(api: Client, journal: Reader) -> None:
    listed = (await api.ask("/messages")).body["messages"]
    rows = json.loads(to_json(MESSAGE.rows(messages_page(journal))))
    assert [row | {"delivery": None} for row in listed] == [row | {"delivery": None} for row in rows]
    assert {row["id"]: row["delivery"] for row in listed}[DELIVERED] == "delivered"

    letters = (await api.ask("/dead-letters")).body["dead_letters"]
    assert letters == json.loads(to_json(LETTER.rows(dead_letters(journal))))
    groups = (await api.ask("/dead-letters/groups")).body["groups"]
    assert sum(group["count"] for group in groups) == len(letters)
    (gap,) = (await api.ask("/gaps")).body["gaps"]
    assert (gap["where"], gap["code"], gap["unit"], gap["count"]) == (CHANNEL, "GLU", "mg/dL", 1)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("channel=haematology", {1, 2, 3, 4, 5}),
        ("channel=other", set()),
        ("state=delivered", {1}),
        ("destination=archive", {1, 2, 5}),
        ("destination=archive&state=waiting", {5}),
        ("state=waiting", {5}),
        ("state=incomplete", {4}),
        ("code=UNMAPPED_CODE", {3}),
        ("type=ORU^R01", {1, 2, 3, 4, 5}),
        ("type=ORU%5ER02", set()),
        ("since=2h", {1, 2, 3, 4, 5}),
        ("until=2h", set()),
        ("since=2026-03-01", {1, 2, 3, 4, 5}),
        ("until=2026-03-01T10:30:00%2B05:30", set()),
        ("lot=X1", set()),
        ("control_id=C4", {4}),  # of any channel, before a mapping has noted it
        ("specimen=F1", set()),  # no number of these messages was noted
    ],
)
async def test_filters_are_those_of_the_command_line(api: Client, query: str, found: set[int]) -> None:
    answer = await api.ask(f"/messages?{query}")
    assert {row["id"] for row in answer.body["messages"]} == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 1),
        ("?tab=waiting", 1),
        ("?tab=held", 0),
        ("?state=waiting", 1),
        ("?state=resulted", 0),
        ("?reason=MAYBE_KNOWN", 0),
        (f"?channel={CHANNEL}", 1),
        (f"?specimen={CANARY}", 1),
        (f"?specimen={CANARY.lower()}", 0),
        (f"?placer={CANARY}&tab=waiting", 1),
        ("?tab=none", "tab"),
        ("?state=none", "state"),
        ("?tab=waiting&state=waiting", "tab"),
        ("?cursor=x", "cursor"),
        ("/W1", "W1"),
        ("/W9", 404),
        ("/17", "item"),
    ],
)
async def test_orders_are_found_by_list_state_and_number(api: Client, query: str, found: int | str) -> None:
    answer = await api.ask(f"/orders{query}")
    if isinstance(found, int) and found < 400:
        assert [row["order"] for row in answer.body["orders"]] == ["W1"] * found
    elif query.startswith("/W"):
        assert (answer.body.get("order", answer.status)) == found
    else:
        assert (answer.status, [one["parameter"] for one in answer.body["errors"]]) == (422, [found])


async def test_a_dead_letter_in_full_is_masked(api: Client) -> None:
    found = (await api.ask(f"/dead-letters/{REFUSED}")).body
    (letter,) = found["dead_letters"]
    assert (letter["code"], letter["detail"], letter["destination"]) == ("REFUSED", "HTTP 422", "archive")
    assert letter["fix"]
    assert (found["masked"], CANARY in json.dumps(found)) == (True, False)
    assert any(line.startswith("PID|") for line in found["raw"])


async def test_a_search_for_a_patient_needs_the_permission_and_is_in_no_address(api: Client) -> None:
    assert (await api.ask("/messages?patient=1")).status == 422
    for person, status in {"viewer": 403, "admin": 403, "seeing viewer": 200}.items():
        found = await api.ask("/message-search", person, method="POST", body={"patient": "1"})
        assert found.status == status, person


async def test_peoples_words_about_a_code_are_shown_to_those_who_do_the_work(tmp_path: Path) -> None:
    """The reason and the note; also where a later correction covers an earlier one."""
    cells, note = {"loinc": "2345-7", "note": "asked Dr. Rao"}, "asked Dr. Rao"
    change = RowChange(
        channel="lab", table="analytes", key={"code": "GLU"}, cells=cells, covers=cells, reason="asked Dr. Rao"
    )
    async with journals.running(tmp_path) as journal:
        await journal.run(corrections.add, change, "meena", version=0)
        async with served(journal) as api:
            for person, shown in (("viewer", ""), ("seeing viewer", note), ("operator", note), ("admin", note)):
                (made,) = (await api.ask("/corrections", person)).body["corrections"]
                assert made["cells"] == made["covers"] == {"loinc": "2345-7", "note": shown}, person
                assert (made["by"], made["reason"]) == ("meena", shown), person


async def test_reasons_of_acts_are_shown_to_few(data: Path) -> None:
    from engine.store.operations import audit
    from tests.support import journals

    journal = await journals.started(data)
    try:
        await journal.run(audit.note, "meena", "unmask", {"message": DELIVERED, "reason": f"for {CANARY}"})
        async with served(journal) as api:
            for person, shown in {
                "viewer": "",
                "operator": "",
                "seeing viewer": "for SHARMA",
                "admin": "for SHARMA",
            }.items():
                (act,) = (await api.ask(f"/messages/{DELIVERED}", person)).body["acts"]
                assert (act["actor"], act["act"], act["reason"]) == ("meena", "unmask", shown), person
    finally:
        await journal.stop()


# -- what is wrong ---------------------------------------------------------------------------------------------------

WRONG = [
    ("/messages?limit=0", 422, "limit"),
    ("/messages?limit=1001", 422, "limit"),
    ("/messages?limit=many", 422, "limit"),
    ("/messages?limit=1&limit=2", 422, "limit"),
    ("/messages?colour=red", 422, "colour"),
    ("/messages?state=lost", 422, "state"),
    ("/messages?code=NO_CODE", 422, "code"),
    ("/messages?since=yesterday", 422, "since"),
    ("/messages?since=0001-01-01", 422, "since"),
    ("/messages?since=9999-12-31", 200, ""),
    ("/messages?channel=", 422, "channel"),
    (f"/messages?channel={'x' * 201}", 422, "channel"),
    ("/messages?cursor=%00", 422, "cursor"),
    ("/messages?cursor=W10", 422, "cursor"),
    ("/messages?cursor=WyJtZXNzYWdlcyIsIDFlOTld", 422, "cursor"),
    ("/messages/0", 404, ""),
    ("/messages/-1", 422, "message"),
    ("/messages/x", 422, "message"),
    ("/messages/9223372036854775807", 422, "message"),
    ("/messages/9223372036854775806", 404, ""),
    ("/messages/99", 404, ""),
    ("/messages/1?message=2", 422, "message"),
    ("/dead-letters/1", 404, ""),
    ("/dead-letters/99", 404, ""),
    ("/nothing", 404, ""),
    ("/messages/1/nothing", 404, ""),
]


@pytest.mark.parametrize(("path", "status", "field"), WRONG)
async def test_a_wrong_argument_is_named(api: Client, path: str, status: int, field: str) -> None:
    found = await api.ask(path)
    assert found.status == status
    if status != 200:
        assert found.body["type"].startswith("urn:labrelay:problem:")
        assert {one["parameter"] for one in found.body.get("errors", ())} == ({field} if field else set())


async def test_methods_kinds_and_bodies(api: Client) -> None:
    assert (await api.ask("/messages", method="DELETE")).status == 405
    assert (await api.ask("/messages", method="DELETE")).headers["Allow"] == "GET,HEAD"
    assert (await api.ask("/messages", method="OPTIONS")).status == 405
    assert (await api.ask("/messages", Accept="text/html")).status == 406
    assert (await api.ask("/messages", Accept="text/html, application/json;q=0.5")).status == 200
    assert (await api.ask("/messages", Accept="application/json;q=0")).status == 406
    head = await api.ask("/messages", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    search = {"method": "POST"}
    assert (await api.ask("/message-search", **search)).status == 415
    async with api.http.post("/api/v1/message-search", data=b"[1]", headers=JSON) as answer:
        assert answer.status == 400
    async with api.http.post("/api/v1/message-search", data=b'{"a"', headers=JSON) as answer:
        assert answer.status == 400
    async with api.http.post("/api/v1/message-search", data=b" " * 70_000, headers=JSON) as answer:
        assert answer.status == 413
    found = await api.ask("/message-search", **search, body={"limit": "x", "colour": 1})
    assert {one["pointer"] for one in found.body["errors"]} == {"#/limit", "#/colour"}


JSON = {"Content-Type": "application/json", "X-Person": "viewer"}


async def test_a_too_wide_question_says_how_to_narrow_it(
    api: Client, journal: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_STEPS_BETWEEN_LOOKS", 30)  # more than a BEGIN has
    journal.deadline_s = -1.0
    found = await api.ask("/messages")
    assert (found.status, found.body["type"]) == (422, "urn:labrelay:problem:too-wide")
    assert "narrow it" in found.body["detail"]


async def test_a_fault_inside_is_a_problem_and_logged(
    api: Client, journal: Reader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "snapshot", None)
    found = await api.ask("/lanes")
    assert found.status == 500
    assert "NoneType" not in json.dumps(found.body)
    (line,) = [record for record in caplog.records if getattr(record, "trace", "") == found.body["trace_id"]]
    assert line.exc_info is not None


# -- conditions, compression, limits ---------------------------------------------------------------------------------


async def test_an_unchanged_document_is_not_sent_again(api: Client) -> None:
    for path in ("/status", "/messages"):
        first = await api.ask(path)
        again = await api.ask(path, If_None_Match=first.headers["ETag"])
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        assert (await api.ask(path, If_None_Match='"other"')).status == 200
        assert (await api.ask(path, If_Match='"other"')).status == 412
        assert (await api.ask(path, If_Match=f'"other", {first.headers["ETag"]}')).status == 200


async def test_large_answers_are_compressed_for_those_who_ask(api: Client) -> None:
    for path, large in (("/status", True), ("/version", False)):
        found = await api.ask(path, Accept_Encoding="gzip")
        assert (found.headers.get("Content-Encoding") == "gzip") is large, path
        assert found.status == 200
        assert (await api.ask(path, Accept_Encoding="identity")).headers.get("Content-Encoding") is None


async def test_the_status_is_made_once_for_each_snapshot(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    site = type(api.site)
    real = site.to_json

    def counting(self: object) -> object:
        nonlocal made
        made += 1
        return real(self)  # type: ignore[arg-type]  # a snapshot

    monkeypatch.setattr(site, "to_json", counting)
    for _ in range(5):
        await asyncio.gather(*(api.ask(path) for path in ("/status", "/channels", "/destinations")))
    assert made == 1


async def test_who_asks_too_often_must_wait(journal: Reader) -> None:
    slow = Buckets(rate=0.001, burst=10.0)
    async with served(journal, buckets=slow) as api:
        statuses = [(await api.ask("/messages")).status for _ in range(6)]
        assert statuses == [200] * 5 + [429]
        found = await api.ask("/messages", "admin")  # from the same address
        assert (found.status, found.body["title"]) == (429, "Too many requests")
        assert int(found.headers["Retry-After"]) > 1


def test_a_bucket_fills_again_and_few_are_remembered() -> None:
    buckets = Buckets(rate=10.0, burst=5.0)
    assert [buckets.take("a", 2.0, 0.0) for _ in range(2)] == [0.0, 0.0]
    assert buckets.take("a", 2.0, 0.0) == pytest.approx(0.1)
    assert buckets.take("b", 2.0, 0.0) == 0.0
    assert buckets.take("a", 2.0, 0.1) == 0.0
    for number in range(3 * MOST_REMEMBERED):
        buckets.take(str(number), 1.0, 1.0)
    assert len(buckets) == MOST_REMEMBERED
