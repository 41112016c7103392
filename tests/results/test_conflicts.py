"""`conflicts: check`: what somebody else has changed on a server is never written over in silence."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from engine.commands.shared.output import ExitCode
from engine.model.journal.journal_views import DeliveryView
from engine.store.queries.acts import acts_page
from tests.support.filled_journal import payload
from tests.support.running import MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from workbench.sandbox import Sandbox

CHANNELS = {"chem": channel(MLLP, {"mapping": "hl7-results", "to": "lab-fhir"})}


def corrected(value: str, control: str) -> bytes:
    """A later message about the same specimen."""
    message = payload(1).replace(b"|C1|", f"|{control}|".encode()).replace(b"||14.1|", f"||{value}|".encode())
    return message.replace(b"|||||F\r", b"|||||C\r")


@pytest_asyncio.fixture(params=["client", "server"])
async def site(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[RunningSite]:
    sandbox = Sandbox()
    await sandbox.start()
    destination = {"kind": "fhir", "url": sandbox.url, "conflicts": "check", "ids": request.param, **QUICK}
    make_running_site(tmp_path, CHANNELS, {"lab-fhir": destination})
    try:
        async with running_app(tmp_path) as app:
            yield RunningSite(tmp_path, app, sandbox)
    finally:
        await sandbox.stop()


async def send(site: RunningSite, *messages: bytes) -> None:
    await send_blocks(site.port("chem"), list(messages))
    await site.settled()


def hemoglobin(site: RunningSite) -> dict[str, Any]:
    (found,) = (one for one in site.sandbox.resources("Observation") if "valueQuantity" in one)
    return found


async def change_elsewhere(site: RunningSite, **changes: Any) -> None:
    """Somebody else writes a new version of the result."""
    found = {**hemoglobin(site), **changes}
    address = f"{site.sandbox.url}/Observation/{found['id']}"
    async with aiohttp.ClientSession() as session, session.put(address, data=orjson.dumps(found)) as answer:
        assert answer.status == 200


def last(site: RunningSite, message: int) -> DeliveryView:
    return site.deliveries(message)[-1]


async def test_a_correction_goes_out_where_nobody_else_has_written(site: RunningSite) -> None:
    await send(site, payload(1), corrected("13.2", "C2"), corrected("13.4", "C3"))

    assert site.ends() == ["delivered"] * 3
    assert (hemoglobin(site)["valueQuantity"]["value"], hemoglobin(site)["meta"]["versionId"]) == (13.4, "3")


async def test_what_somebody_else_changed_is_a_conflict_with_both_versions(site: RunningSite) -> None:
    await send(site, payload(1))
    await change_elsewhere(site, status="entered-in-error")
    await send(site, corrected("13.2", "C2"))

    assert site.ends() == ["delivered", "CONFLICT"]
    assert hemoglobin(site)["status"] == "entered-in-error", "theirs stays until a person has decided"
    delivery = last(site, 2)
    assert "we wrote version 1, the server has 2" in delivery.detail
    (conflict,) = orjson.loads(delivery.answer)["conflicts"]
    assert (conflict["wrote"], conflict["has"], conflict["theirs"]["status"]) == ("1", "2", "entered-in-error")


async def test_ours_wins_once_a_person_has_said_so_and_why(site: RunningSite) -> None:
    await send(site, payload(1))
    await change_elsewhere(site, status="entered-in-error")
    await send(site, corrected("13.2", "C2"))
    refused = await site.labrelay("dlq", "retry", "2", "--yes", "-o", "json")
    assert (refused.code, refused.json["done"]["conflicts"]) == (ExitCode.PARTLY, 1)
    assert "--overwrite" in refused.err
    kept = await site.labrelay("dlq", "retry", "--all", "--reason", "the server is up again", "--yes", "-o", "json")
    assert (kept.code, kept.json["done"]["conflicts"]) == (ExitCode.PARTLY, 1)
    unsaid = await site.labrelay("dlq", "retry", "2", "--overwrite", "--yes")
    assert unsaid.code == ExitCode.REFUSED
    assert "needs a reason" in unsaid.err
    assert site.ends() == ["delivered", "CONFLICT"]

    ran = await site.labrelay("dlq", "retry", "2", "--overwrite", "--reason", "called the ward", "--yes", "-o", "json")
    assert (ran.code, ran.json["done"]["requeued"]) == (ExitCode.OK, 1)
    await site.settled()
    assert site.ends() == ["delivered", "delivered"]
    assert (hemoglobin(site)["status"], hemoglobin(site)["valueQuantity"]["value"]) == ("corrected", 13.2)
    begun = next(act for act in acts_page(site.journal, limit=5) if act.verb == "retry" and act.what.get("reason"))
    assert begun.what["reason"] == "called the ward"
    await send(site, corrected("13.4", "C3"))
    assert site.ends()[-1] == "delivered", "what ours became is what the next one expects"


async def test_ours_takes_the_place_of_what_a_person_was_shown_and_of_nothing_newer(site: RunningSite) -> None:
    await send(site, payload(1))
    await change_elsewhere(site, status="entered-in-error")
    await send(site, corrected("13.2", "C2"))
    await change_elsewhere(site, note=[{"text": "clotted: called the ward"}])
    overwrite = ("dlq", "retry", "2", "--overwrite", "--reason", "ours is right", "--yes")
    assert (await site.labrelay(*overwrite)).code == ExitCode.OK
    await site.settled()
    assert site.ends() == ["delivered", "CONFLICT"], "nobody has decided about the newest one"
    assert hemoglobin(site)["note"] == [{"text": "clotted: called the ward"}]
    (conflict,) = orjson.loads(last(site, 2).answer)["conflicts"]
    assert (conflict["has"], conflict["theirs"]["note"][0]["text"]) == ("3", "clotted: called the ward")

    site.sandbox.faults.next = ["503", "lost"]
    assert (await site.labrelay(*overwrite)).code == ExitCode.OK
    await site.settled()
    assert site.ends() == ["delivered", "delivered"]
    assert (hemoglobin(site)["status"], hemoglobin(site)["valueQuantity"]["value"]) == ("corrected", 13.2)


async def test_what_was_deleted_there_is_written_anew_once_a_person_has_said_so(site: RunningSite) -> None:
    await send(site, payload(1))
    address = f"{site.sandbox.url}/Observation/{hemoglobin(site)['id']}"
    async with aiohttp.ClientSession() as session, session.delete(address) as answer:
        assert answer.status < 300
    await send(site, corrected("13.2", "C2"))
    await site.labrelay("dlq", "retry", "2", "--overwrite", "--reason", "it is a result", "--yes")
    await site.settled()
    assert site.ends() == ["delivered", "delivered"]
    assert hemoglobin(site)["valueQuantity"]["value"] == 13.2


async def test_theirs_stays_where_the_dead_letter_is_dismissed(site: RunningSite) -> None:
    await send(site, payload(1))
    await change_elsewhere(site, status="entered-in-error")
    await send(site, corrected("13.2", "C2"))
    await site.labrelay("dlq", "dismiss", "2", "--reason", "theirs is right", "--yes")
    assert hemoglobin(site)["status"] == "entered-in-error"
    await send(site, corrected("13.4", "C3"))
    assert site.ends() == ["delivered", "dismissed", "CONFLICT"], "and the next one is asked about again"


async def test_an_answer_that_was_lost_is_no_conflict(site: RunningSite) -> None:
    await send(site, payload(1))
    site.sandbox.faults.next = ["lost", "cut"]
    await send(site, corrected("13.2", "C2"))

    assert site.ends() == ["delivered"] * 2
    assert hemoglobin(site)["valueQuantity"]["value"] == 13.2
    await send(site, corrected("13.4", "C3"))
    assert site.ends() == ["delivered"] * 3


async def test_what_was_deleted_there_is_a_conflict(site: RunningSite) -> None:
    await send(site, payload(1))
    identity = hemoglobin(site)["id"]
    address = f"{site.sandbox.url}/Observation/{identity}"
    async with aiohttp.ClientSession() as session, session.delete(address) as answer:
        assert answer.status < 300
    await send(site, corrected("13.2", "C2"))
    assert site.ends() == ["delivered", "CONFLICT"]
    assert "was deleted" in last(site, 2).detail


async def test_a_replay_of_what_is_there_as_we_wrote_it_is_harmless(site: RunningSite) -> None:
    await send(site, payload(1))
    await site.replay(1)
    assert [one.state for one in site.deliveries(1)] == ["delivered"] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": {"reference": "Patient/another"}},
        {"code": {"coding": [{"code": "HGB", "display": "Hb"}], "text": "not from this analyzer"}},
        {"note": [{"text": "clotted"}]},
    ],
)
async def test_a_replay_undoes_nothing_that_a_person_has_put_right(site: RunningSite, changes: dict[str, Any]) -> None:
    await send(site, payload(1))
    await change_elsewhere(site, **changes)
    await site.replay(1)
    assert last(site, 1).cause == "CONFLICT"
    assert {name: hemoglobin(site)[name] for name in changes} == changes


async def test_a_new_version_with_the_same_content_is_no_conflict(site: RunningSite) -> None:
    await send(site, payload(1))
    await change_elsewhere(site)
    await site.replay(1)
    assert [one.state for one in site.deliveries(1)] == ["delivered"] * 2


async def test_what_was_written_is_remembered_over_a_restart(tmp_path: Path) -> None:
    sandbox = Sandbox()
    await sandbox.start()
    make_running_site(
        tmp_path, CHANNELS, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, "conflicts": "check", **QUICK}}
    )
    try:
        async with running_app(tmp_path) as app:
            await send(RunningSite(tmp_path, app, sandbox), payload(1))
        sandbox.faults.foreign = 1
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, sandbox)
            await send(site, corrected("13.2", "C2"))
            assert site.ends() == ["delivered", "CONFLICT"]
            assert sandbox.stats()["faults"] == {"foreign": 1}
    finally:
        await sandbox.stop()


async def test_without_the_check_ours_is_written(tmp_path: Path) -> None:
    sandbox = Sandbox()
    await sandbox.start()
    make_running_site(tmp_path, CHANNELS, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}})
    try:
        async with running_app(tmp_path) as app:
            site = RunningSite(tmp_path, app, sandbox)
            await send(site, payload(1))
            sandbox.faults.foreign = 1
            await send(site, corrected("13.2", "C2"))
            assert site.ends() == ["delivered"] * 2
    finally:
        await sandbox.stop()
