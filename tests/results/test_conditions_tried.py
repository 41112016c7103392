"""`check --online` tries whether a server looks at conditions, before it overwrites a result of another system."""

import asyncio
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.results.test_conflicts import change_elsewhere, corrected, hemoglobin
from tests.support.command_line import Ran, labrelay
from tests.support.filled_journal import payload
from tests.support.running import MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from workbench.sandbox import Sandbox

CHANNELS = {"chem": channel(MLLP, {"mapping": "hl7-results", "to": "lab-fhir"})}


def make(folder: Path, sandbox: Sandbox, **more: object) -> None:
    make_running_site(folder, CHANNELS, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK, **more}})


async def check(folder: Path) -> Ran:
    return await asyncio.to_thread(labrelay, "check", "--online", "-o", "json", site=folder)


def said(ran: Ran) -> list[tuple[str, str]]:
    return [(one["severity"], one["text"]) for one in ran.json["remarks"] if "lab-fhir" in one["text"]]


def left(sandbox: Sandbox) -> int:
    return sandbox.count("Basic") + sandbox.count("Organization")


# (ids, what the server does wrong) -> what the check says
EXPECTED = {
    ("client", False): "",
    ("server", False): "",
    ("client", True): "",  # of updates under our own ids it does look at conditions
    ("server", True): "the server does not look at ifMatch of PUT Basic?identifier=...",
}


@pytest.mark.parametrize(("ids", "blind"), EXPECTED)
async def test_a_server_that_does_not_look_at_conditions_is_found(
    tmp_path: Path, sandbox: Sandbox, ids: str, blind: bool
) -> None:
    sandbox.faults.blind = blind
    make(tmp_path, sandbox, ids=ids, conflicts="check")
    ran = await check(tmp_path)

    found = said(ran)
    assert [severity for severity, _ in found] == (["problem"] if EXPECTED[ids, blind] else [])
    assert all(EXPECTED[ids, blind] in text for _, text in found)
    assert ran.code == (ExitCode.CONFIG if EXPECTED[ids, blind] else ExitCode.OK)
    assert left(sandbox) == 0, "what was written for the trial is removed"


async def test_nothing_is_written_where_nothing_rests_on_conditions(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.faults.blind = True
    make(tmp_path, sandbox, ids="server")
    assert said(await check(tmp_path)) == []
    assert sandbox.stats()["requests"].get("transactions", 0) == 0


async def test_what_cannot_be_tried_is_said_and_is_no_problem(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.faults.next = ["403", "403"]  # of a Basic, and of an Organization
    make(tmp_path, sandbox, ids="server", conflicts="check")
    ran = await check(tmp_path)

    ((severity, text),) = said(ran)
    assert (severity, "could not be tried: the server answered 403" in text) == ("warning", True)
    assert ran.code == ExitCode.OK


async def test_a_server_without_a_basic_is_tried_with_an_organization(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.faults.blind, sandbox.faults.next = True, ["400"]
    make(tmp_path, sandbox, ids="server", conflicts="check")
    ((_, text),) = said(await check(tmp_path))
    assert "ifMatch of PUT Organization?identifier=..." in text
    assert left(sandbox) == 0


async def test_what_cannot_be_removed_is_named(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.faults.next = [None, None, None, "403"]  # three updates, then the deletion
    make(tmp_path, sandbox, conflicts="check")
    ((severity, text),) = said(await check(tmp_path))
    (basic,) = sandbox.resources("Basic")
    assert (severity, f"remove there what was written for the trial: Basic/{basic['id']}" in text) == ("warning", True)


async def test_the_sandbox_overwrites_as_such_a_server_does(tmp_path: Path, sandbox: Sandbox) -> None:
    """What the trial is for: the delivery notices it, too, but afterwards."""
    sandbox.faults.blind = True
    make(tmp_path, sandbox, ids="server", conflicts="check")
    async with running_app(tmp_path) as app:
        site = RunningSite(tmp_path, app, sandbox)
        await send_blocks(site.port("chem"), [payload(1)])
        await site.settled()
        await change_elsewhere(site, note=[{"text": "looked at by a person"}])
        await send_blocks(site.port("chem"), [corrected("13.2", "C2")])
        await site.settled()
        assert site.ends() == ["delivered", "CONFLICT"]
        assert "note" not in hemoglobin(site)
        assert "does not look at ifMatch" in site.deliveries(2)[-1].detail
