"""Acts by the API: who may give them, each once for each key, under the caller's own name."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.actions.control import Request
from engine.actions.kept import Room
from engine.actions.verbs import all_acts, of_api
from engine.model.errors import NoRoomError, StoreError, UnreachableError
from engine.store.queries.acts import acts_page
from engine.store.queries.letters import dead_letters
from tests.support import oracle
from tests.support.api import Site, acting_site
from tests.support.filled_journal import (
    CANARY,
    DELIVERED,
    DESTINATION,
    REFUSED,
    UNMAPPED,
    WAITING,
    fill_journal,
    payload,
)

# Who may do what; a request of each is refused before anything else is looked at.
ACT = {"": 401, "wall": 403, "viewer": 403, "seeing viewer": 403, "operator": 0, "engineer": 0, "admin": 0}
CHANGE = {**ACT, "operator": 403}
ADMINISTER = {**CHANGE, "engineer": 403}
EDIT = {**ACT, "operator": 403, "engineer": 403, "admin": 403, "seeing operator": 0}
STATUSES = {oracle.ACT: ACT, oracle.CHANGE: CHANGE, oracle.ADMIN: ADMINISTER, oracle.EDIT: EDIT}
ORACLE = {verb: STATUSES[may] for verb, may in oracle.gathered("ACTS").items() if verb in of_api()}
ALL = {"all": True}


@pytest.fixture
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("journal")
    asyncio.run(asyncio.to_thread(fill_journal, folder))
    return folder


@pytest.fixture
async def site(data: Path) -> AsyncIterator[Site]:
    async with acting_site(data) as running:
        yield running


def test_each_verb_is_offered_or_there_is_a_reason() -> None:
    assert set(of_api()) == set(ORACLE), "give each act its line in ACTS of an oracle"
    assert [name for name, act in all_acts().items() if bool(act.api) == bool(act.not_in_api)] == []


async def test_each_person_may_give_the_verbs_of_the_table(site: Site) -> None:
    for verb, persons in ORACLE.items():
        for person, status in persons.items():
            found = await site.act(verb, person, unknown=1)
            assert found.status == (status or 422), (verb, person)
    assert site.called == []


# -- counting, and acting ----------------------------------------------------------------------------------------------


async def test_an_act_on_a_filter_is_counted_first_and_does_what_was_counted(site: Site) -> None:
    counted = await site.act("dismiss", selection=ALL, reason="seen", dry_run=True)
    assert (counted.status, counted.body["count"], counted.body["act"]) == (200, 3, None)
    chosen = dict(ALL)
    for name in ("last", "counted_us"):
        found = await site.act("dismiss", key="k1", selection=chosen, reason="seen")
        assert (found.status, found.body["errors"][0]["pointer"]) == (422, f"#/selection/{name}")
        chosen[name] = counted.body[name]

    done = await site.act("dismiss", key="k1", selection=chosen, reason="seen")
    assert (done.status, done.body["done"]) == (202, {"dismissed": 3})
    assert site.trail() == [("operator", "dismiss")] * 2, "the operation, and what its one step closed"
    assert dead_letters(site.journal) == []
    again = await site.act("dismiss", key="k1", selection=chosen, reason="seen")
    assert done.headers["Location"] == again.headers["Location"] == f"/api/v1/operations/{done.body['operation']}"
    found = await site.api.ask(done.headers["Location"].removeprefix("/api/v1"))
    assert (found.body["stage"], found.body["done"], found.body["left"]) == ("ended", 3, 0)


async def test_an_operation_is_cancelled_once(site: Site) -> None:
    done = await site.act("dismiss", key="k1", selection={"ids": [UNMAPPED]}, reason="seen")
    number = done.body["operation"]
    found = await site.act("operation_cancel", key="k2", number=number)
    assert (found.status, found.body["detail"]) == (409, f"operation {number} has ended before")
    found = await site.act("operation_cancel", key="k3", number=number + 1)
    assert found.status == 409


DRY = {
    **{verb: {"selection": ALL, "reason": "seen"} for verb in ("retry", "dismiss", "release", "reject")},
    "tell_apart": {"message": UNMAPPED, "answer": "same", "mark": "none", "reason": "seen"},
    "edit": {"message": UNMAPPED, "content": base64.b64encode(payload(UNMAPPED)).decode(), "reason": "typo"},
    "set_aside": {"message": WAITING, "reason": "seen"},
    "replay": {"selection": ALL},
    **{verb: {"kind": "deliveries", "name": "", "reason": "seen"} for verb in ("pause", "resume")},
    "restart": {"kind": "destination", "name": DESTINATION, "reason": "seen"},
    "table_set": {"channel": "lab", "table": "analytes", "where": {"code": "GLU"}, "cells": {"loinc": "2345-7"}},
    "table_undo": {"correction": 1},
    "reload": {},
}


async def test_a_dry_run_of_any_verb_does_nothing(site: Site) -> None:
    assert set(DRY) == {name for name, act in of_api().items() if "dry_run" in act.arguments.model_fields}
    before = site.journal.last_id, dead_letters(site.journal)
    for verb, args in DRY.items():
        person = "engineer" if ORACLE[verb] is CHANGE else "seeing operator"
        found = await site.act(verb, person, dry_run=True, **args)
        assert found.status in (200, 409, 503), (verb, found.body)  # some are refused: nothing runs here
        assert (site.journal.last_id, dead_letters(site.journal)) == before, verb
    assert site.called == list(DRY)


async def test_numbers_are_their_own_count(site: Site) -> None:
    done = await site.act("dismiss", key="k1", selection={"ids": [UNMAPPED]}, reason="seen")
    assert (done.status, done.body["done"]) == (200, {"dismissed": 1})
    assert done.headers["Location"] == f"/api/v1/operations/{done.body['operation']}"


async def test_an_act_needs_a_key(site: Site) -> None:
    found = await site.act("dismiss", selection={"ids": [UNMAPPED]}, reason="seen")
    assert (found.status, "Idempotency-Key" in found.body["detail"]) == (400, True)
    assert (await site.act("dismiss", key="x" * 201, selection={"ids": [UNMAPPED]}, reason="seen")).status == 400
    assert site.called == []


async def test_the_same_key_is_answered_again_and_nothing_is_repeated(data: Path) -> None:
    asked = {"selection": {"ids": [UNMAPPED, REFUSED]}, "reason": "seen"}
    async with acting_site(data) as site:
        first = await site.act("dismiss", key="k1", **asked)
        again = await site.act("dismiss", key="k1", **asked)
        assert (again.status, again.body) == (first.status, first.body)
        assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
        other = await site.act("dismiss", key="k1", **{**asked, "reason": "other"})
        assert (other.status, other.body["type"]) == (422, "urn:labrelay:problem:other-body")
        assert (await site.act("retry", key="k1", **asked)).status == 422
        theirs = await site.act("dismiss", "admin", key="k1", **asked)  # another caller's key is another key
        assert (theirs.body["count"], theirs.body["operation"]) == (0, None)
        assert site.called == ["dismiss"] * 2
    async with acting_site(data) as site:
        again = await site.act("dismiss", key="k1", **asked)
        assert (again.status, again.body, site.called) == (200, first.body, [])


async def test_a_refusal_is_answered_again(site: Site) -> None:
    for _ in range(2):
        found = await site.act("dismiss", key="k1", selection={"ids": [UNMAPPED]}, reason=" ")
        assert (found.status, found.body["detail"]) == (409, "a dismissal needs a reason")
        assert found.headers["Content-Type"].startswith("application/problem+json")
    assert site.called == ["dismiss"]


async def test_requests_with_one_key_at_once_are_one_act(data: Path) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slowly(request: Request) -> dict[str, Any]:
        begun.set()
        await go.wait()
        return {"count": 1, "going_on": True}

    async with acting_site(data, retry=slowly) as site:
        asked = [asyncio.ensure_future(site.act("retry", key="k1", selection={"ids": [1]})) for _ in range(5)]
        await begun.wait()
        go.set()
        found = await asyncio.gather(*asked)
        assert [(one.status, one.body) for one in found] == [(202, found[0].body)] * 5
        assert site.called == ["retry"]


async def test_only_so_many_acts_are_under_way(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.web.api.acts.PROGRAMS", Room(under_way=1, kept=10))
    begun, go = asyncio.Event(), asyncio.Event()

    async def slowly(request: Request) -> dict[str, Any]:
        begun.set()
        await go.wait()
        return {}

    async with acting_site(data, retry=slowly) as site:
        first = asyncio.ensure_future(site.act("retry", key="k1", selection={"ids": [1]}))
        await begun.wait()
        assert (await site.act("retry", key="k2", selection={"ids": [1]})).status == 503
        assert (await site.act("retry", key="k1", selection={"ids": [2]})).status == 422
        go.set()
        assert (await first).status == 200
        assert (await site.act("retry", key="k2", selection={"ids": [1]})).status == 200


async def test_an_act_that_a_stop_cut_short_is_not_begun_again(data: Path) -> None:
    async def never(request: Request) -> dict[str, Any]:
        raise asyncio.CancelledError

    async with acting_site(data, retry=never) as site:
        with pytest.raises(Exception):  # noqa: B017 - the connection ends, in one way or another
            assert (await site.act("retry", key="k1", selection={"ids": [1]})).status == 200
    async with acting_site(data) as site:
        found = await site.act("retry", key="k1", selection={"ids": [1]})
        assert (found.status, found.body["type"]) == (409, "urn:labrelay:problem:cut-short")
        assert site.called == []


@pytest.mark.parametrize("error", [UnreachableError("no daemon runs"), NoRoomError("the disk is full")])
async def test_an_act_that_could_not_begin_is_tried_again_under_its_key(data: Path, error: Exception) -> None:
    fails = [error]

    async def work(request: Request) -> dict[str, Any]:
        if fails:
            raise fails.pop()
        return {"count": 1}

    async with acting_site(data, retry=work) as site:
        first = await site.act("retry", key="k1", selection={"ids": [1]})
        assert (first.status, first.body["type"]) == (503, "urn:labrelay:problem:unavailable")
        assert int(first.headers["Retry-After"]) > 0
        again = await site.act("retry", key="k1", selection={"ids": [1]})
        assert (again.status, again.body["count"]) == (200, 1)
        assert (await site.act("retry", key="k1", selection={"ids": [1]})).headers["Idempotency-Replayed"] == "true"
        assert site.called == ["retry"] * 2


async def test_an_act_amid_which_the_store_failed_is_not_begun_again(data: Path) -> None:
    async def work(request: Request) -> dict[str, Any]:
        raise StoreError("a transaction failed")

    async with acting_site(data, retry=work) as site:
        assert (await site.act("retry", key="k1", selection={"ids": [1]})).status == 503
        again = await site.act("retry", key="k1", selection={"ids": [1]})
        assert (again.status, again.body["type"]) == (409, "urn:labrelay:problem:cut-short")
        assert site.called == ["retry"]


async def test_a_fault_inside_is_answered_without_its_text(data: Path) -> None:
    async def fails(request: Request) -> dict[str, Any]:
        raise ValueError(CANARY)

    async with acting_site(data, retry=fails) as site:
        for _ in range(2):
            found = await site.act("retry", key="k1", selection={"ids": [1]})
            assert (found.status, CANARY in json.dumps(found.body)) == (500, False)
        assert site.called == ["retry"]


# -- what is wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "args", "pointer"),
    [
        ("retry", {}, "#/selection"),
        ("retry", {"selection": {}}, "#/selection"),
        ("retry", {"selection": {"ids": ["1"]}}, "#/selection"),
        ("retry", {"selection": {"ids": [2**63]}}, "#/selection"),
        ("retry", {"selection": {"after_us": 2**70}}, "#/selection"),
        ("retry", {"selection": {"channel": 5}}, "#/selection"),
        ("retry", {"selection": ALL, "dry_run": "yes"}, "#/dry_run"),
        ("retry", {"selection": {"ids": [1]}, "actor": "root"}, "#/actor"),
        ("set_aside", {"message": 2**63}, "#/message"),
        ("set_aside", {"message": -1}, "#/message"),
        ("operation_cancel", {"number": 2**64}, "#/number"),
        ("backup", {"do": "everything"}, "#/do"),
        ("pause", {"name": "x", "reason": "seen"}, "#/kind"),
    ],
)
async def test_a_wrong_argument_is_named(site: Site, verb: str, args: dict[str, Any], pointer: str) -> None:
    found = await site.act(verb, "admin", key="k1", **args)
    assert (found.status, [one["pointer"] for one in found.body["errors"]]) == (422, [pointer])
    assert site.called == []


async def test_a_page_of_another_site_gives_no_act(site: Site) -> None:
    asked = {"method": "POST", "body": {"selection": {"ids": [UNMAPPED]}}, "Idempotency_Key": "k1"}
    for header in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        assert (await site.api.ask("/acts/retry", "operator", **asked, **header)).status == 403
    async with site.api.http.post("/api/v1/acts/retry", data="a=b", headers={"X-Person": "operator"}) as answer:
        assert answer.status == 415
    assert (await site.api.ask("/acts/retry", "operator")).status == 405
    assert (await site.api.ask("/acts/erase", "admin", method="POST", body={})).status == 404


# -- contents ----------------------------------------------------------------------------------------------------------


async def test_contents_are_shown_to_who_may_see_them_and_each_time_it_is_recorded(site: Site) -> None:
    path = f"/messages/{DELIVERED}/contents"
    asked = {"method": "POST", "body": {"purpose": "a doctor asked"}}
    for person, status in {"": 401, "viewer": 403, "operator": 403, "admin": 403, "seeing viewer": 200}.items():
        assert (await site.api.ask(path, person, **asked)).status == status, person
    found = await site.api.ask(path, "seeing viewer", **asked)
    assert found.body["payload"] == payload(DELIVERED).decode()
    assert [CANARY in body for body in found.body["bodies"].values()] == [True]
    (last, first) = (act for act in acts_page(site.journal) if act.verb == "unmask")
    assert last.what == first.what == {"message": DELIVERED, "purpose": "a doctor asked"}
    assert (last.actor, last.by["role"]) == ("seeing viewer", "seeing viewer")


async def test_a_search_for_a_patient_is_recorded_before_it(site: Site) -> None:
    asked = {"method": "POST", "body": {"patient": "mrn-1"}}
    assert (await site.api.ask("/message-search", "viewer", **asked)).status == 403
    assert site.trail() == []
    assert (await site.api.ask("/message-search", "seeing viewer", **asked)).status == 200
    (act,) = (act for act in acts_page(site.journal) if act.verb == "search")
    token = site.journal.vault.search_token("patient", "MRN-1").hex()
    assert (act.actor, act.what) == ("seeing viewer", {"patient_token": token})


async def test_contents_need_a_purpose_and_a_message(site: Site) -> None:
    for path, body, status in (
        (f"/messages/{DELIVERED}/contents", {}, 422),
        (f"/messages/{DELIVERED}/contents", {"purpose": "     "}, 422),
        (f"/messages/{DELIVERED}/contents", {"purpose": "x" * 201}, 422),
        ("/messages/99/contents", {"purpose": "a doctor asked"}, 404),
        ("/messages/x/contents", {"purpose": "a doctor asked"}, 422),
    ):
        assert (await site.api.ask(path, "seeing viewer", method="POST", body=body)).status == status, (path, body)
    assert (await site.api.ask(f"/messages/{DELIVERED}/contents", "seeing viewer")).status == 405
    assert site.called == []


async def test_without_a_row_of_the_trail_nothing_is_shown(data: Path) -> None:
    async def full(request: Request) -> dict[str, Any]:
        raise StoreError("the disk is full")

    async with acting_site(data, shown=full) as site:
        asked = {"method": "POST", "body": {"purpose": "a doctor asked"}}
        found = await site.api.ask(f"/messages/{DELIVERED}/contents", "seeing viewer", **asked)
        assert (found.status, CANARY in json.dumps(found.body)) == (503, False)


async def test_an_edit_takes_the_whole_message_in_base_64(site: Site) -> None:
    content = base64.b64encode(payload(UNMAPPED)).decode()
    wrong = await site.act("edit", "seeing operator", message=UNMAPPED, reason="typo", content="%%", dry_run=True)
    assert (wrong.status, wrong.body["errors"][0]["pointer"]) == (422, "#/content")
    found = await site.act("edit", "seeing operator", message=UNMAPPED, reason="typo", content=content, dry_run=True)
    assert found.status == 409  # no change, or no such channel: refused by the act itself
    large = io.BytesIO(b"A" * (5 * 1024 * 1024))
    headers = {"X-Person": "seeing operator", "Content-Type": "application/json"}
    async with site.api.http.post("/api/v1/acts/edit", data=large, headers=headers) as answer:
        assert answer.status == 413


async def test_why_an_operation_waits_is_a_resource(site: Site) -> None:
    assert (await site.api.ask("/operations/7/wait")).body["waits"] == ""
    assert (await site.api.ask("/operations/x/wait")).status == 422


async def test_a_replay_is_an_operation_of_what_was_counted(site: Site) -> None:
    wrong = await site.act("replay", key="k1", selection=ALL)
    assert (wrong.status, wrong.body["errors"][0]["pointer"]) == (422, "#/selection/last")
    dry = (await site.act("replay", selection=ALL, dry_run=True)).body
    counted = {name: dry[name] for name in ("last", "counted_us")}
    done = await site.act("replay", key="k2", selection=ALL | counted)
    assert (done.status, done.body["count"]) == (202, dry["count"])
    found = await site.api.ask(f"/operations/{done.body['operation']}")
    assert (found.body["verb"], found.body["total"]) == ("replay", dry["count"])
