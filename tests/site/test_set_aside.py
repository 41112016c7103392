"""A document that a server never digests: its lane waits for it, a person is told which it is, and sets it aside."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.content.tested_results import corrects
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.channels import DestinationSnapshot
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import DestinationState
from engine.runtime.observing import notices
from engine.store.queries.acts import acts_page
from tests.results.test_reprocessing import message
from tests.support.command_line import labrelay
from tests.support.running import HL7_ROUTE, MLLP, QUICK, RunningSite, channel, make_running_site, running_app
from tests.support.senders import send_blocks
from tests.support.waiting import until
from workbench.sandbox import Sandbox

CHOKES = "472"  # the patient's number of message 2
REASON = ("--reason", "the server resets the connection", "--yes")


@contextlib.asynccontextmanager
async def running(folder: Path, sandbox: Sandbox) -> AsyncIterator[RunningSite]:
    if not (folder / "config").exists():
        lane = channel(MLLP, HL7_ROUTE)
        make_running_site(
            folder, {"one": lane, "two": lane}, {"lab-fhir": {"kind": "fhir", "url": sandbox.url, **QUICK}}
        )
    async with running_app(folder) as app:
        yield RunningSite(folder, app, sandbox)


@pytest.fixture
def sandbox(sandbox: Sandbox) -> Sandbox:
    sandbox.faults.choke = frozenset({CHOKES})
    return sandbox


@pytest.fixture
async def site(tmp_path: Path, sandbox: Sandbox) -> AsyncIterator[RunningSite]:
    async with running(tmp_path, sandbox) as site:
        yield site


def look(site: RunningSite) -> SiteSnapshot:
    site.app.observer.expire()
    return site.app.observer.snapshot()


def server(site: RunningSite) -> DestinationSnapshot:
    (found,) = look(site).destinations
    return found


def attempts(site: RunningSite, number: int) -> int:
    return sum(len(one.attempts) for one in site.deliveries(number))  # none before it is mapped


async def send(site: RunningSite, name: str, *messages: bytes) -> None:
    await send_blocks(site.port(name), list(messages))


async def stuck(site: RunningSite, status: str = "F") -> None:
    """Message 2 holds the lane of `one`, with 3 behind it; 4 and on, of `two`, are taken. It withdraws message 1."""
    first = message(2).replace(b"|M2|", b"|M1|") if status == "D" else message(1)
    choke, site.sandbox.faults.choke = site.sandbox.faults.choke, frozenset()
    await send(site, "one", first)
    await until(lambda: site.end_of(1) == "delivered")
    site.sandbox.faults.choke = choke
    await send(site, "one", message(2, status=status), message(3))
    await until(lambda: attempts(site, 2) > 0)
    await send(site, "two", message(4), message(5))
    await until(lambda: [site.end_of(number) for number in (1, 4, 5)] == ["delivered"] * 3)


async def test_the_state_names_the_document_and_the_destination_is_not_called_down(site: RunningSite) -> None:
    await stuck(site)
    tried = attempts(site, 2)
    await until(lambda: attempts(site, 2) > max(tried, notices.ATTEMPTS_SAID))  # far more than the breaker's five

    found = server(site)
    assert found.state is DestinationState.RETRYING
    assert str(found.words) == "delivering, but not message 2 of one"
    (note,) = [one for one in look(site).notes if "has not taken" in one]
    assert "message 2 of one" in note
    assert site.app.parts.delivery_workers["lab-fhir"].counts.breaker_opened <= 1, (
        "once at most, before it had taken others"
    )
    ran = await site.labrelay("status")
    assert "lab-fhir delivering, but not message 2 of one" in ran.out


async def test_a_server_that_is_down_is_called_so_though_a_document_failed_before(site: RunningSite) -> None:
    await stuck(site)
    site.sandbox.faults.down = True
    await send(site, "two", *(message(number) for number in range(6, 9)))
    await until(lambda: server(site).state is DestinationState.BREAKER_OPEN)
    site.sandbox.faults.down = False
    await until(lambda: site.ends("two") == ["delivered"] * 5)


async def test_one_is_set_aside_and_those_behind_it_go_out(site: RunningSite) -> None:
    await stuck(site)
    ran = await site.labrelay("dlq", "set-aside", "2", *REASON)

    assert (ran.code, ran.out) == (ExitCode.OK, "message 2 for lab-fhir: SET_ASIDE\n"), ran.err
    await until(lambda: site.end_of(3) == "delivered")
    assert site.end_of(2) == ReasonCode.SET_ASIDE.value
    (act,) = acts_page(site.journal)
    assert (act.verb, act.what["messages"], act.what["reason"]) == (
        "set-aside",
        [2],
        "the server resets the connection",
    )
    assert look(site).alarms == ()
    assert server(site).retrying is None
    letters = (await site.labrelay("dlq", "list", "-o", "json")).json["dead_letters"]
    assert [(one["message"], one["code"]) for one in letters] == [(2, "SET_ASIDE")]

    site.sandbox.faults.choke = frozenset()
    assert (await site.retry(2))["requeued"] == 1
    await site.settled()
    assert site.end_of(2) == "delivered"


@pytest.mark.parametrize("status", ["C", "D", "X"])
async def test_a_correction_that_is_set_aside_alarms_until_it_is_done(site: RunningSite, status: str) -> None:
    await stuck(site, status)
    dry = await site.labrelay("dlq", "set-aside", "2", "--reason", "x", "--dry-run")
    assert "would be CORRECTION_SET_ASIDE" in dry.out
    assert site.end_of(2) == "waiting"
    assert (await site.labrelay("dlq", "set-aside", "2", *REASON)).code == ExitCode.OK
    await until(lambda: site.end_of(3) == "delivered")

    (alarm,) = look(site).alarms
    assert "message 2 of one" in alarm
    assert "lab-fhir goes on showing what it was to replace" in alarm
    site.sandbox.faults.choke = frozenset()
    assert (await site.retry(2))["requeued"] == 1
    await site.settled()
    assert (site.end_of(2), look(site).alarms) == ("delivered", ())


async def test_an_alarm_ends_where_a_person_closes_it(site: RunningSite) -> None:
    await stuck(site, "C")
    assert (await site.labrelay("dlq", "set-aside", "2", *REASON)).code == ExitCode.OK
    assert len(look(site).alarms) == 1
    ran = await site.labrelay("dlq", "dismiss", "2", "--reason", "corrected by hand on the server", "--yes")
    assert ran.code == ExitCode.OK
    assert look(site).alarms == ()


async def test_what_has_not_failed_is_not_set_aside(site: RunningSite) -> None:
    await stuck(site)
    waits = await site.labrelay("dlq", "set-aside", "3", *REASON)
    done = await site.labrelay("dlq", "set-aside", "1", *REASON)
    nowhere = await site.labrelay("dlq", "set-aside", "2", "--destination", "other", *REASON)
    missing = await site.labrelay("dlq", "set-aside", "99", *REASON)

    assert (waits.code, "waits behind another one" in waits.err) == (ExitCode.FAILED, True)
    assert (done.code, "nothing of message 1 waits" in done.err) == (ExitCode.FAILED, True)
    assert (nowhere.code, "nothing of message 2 waits for other" in nowhere.err) == (ExitCode.FAILED, True)
    assert missing.code == ExitCode.FAILED
    unsure = await site.labrelay("dlq", "set-aside", "2", "--reason", "x")
    assert (unsure.code, site.end_of(2)) == (ExitCode.REFUSED, "waiting")
    assert acts_page(site.journal) == []


async def test_it_is_set_aside_without_a_daemon_too(tmp_path: Path, sandbox: Sandbox) -> None:
    async with running(tmp_path, sandbox) as site:
        await stuck(site, "C")
    ran = await asyncio.to_thread(labrelay, "dlq", "set-aside", "2", *REASON, "-o", "json", site=tmp_path)
    assert (ran.code, ran.json["code"]) == (ExitCode.OK, "CORRECTION_SET_ASIDE")

    async with running(tmp_path, sandbox) as site:
        await until(lambda: site.end_of(3) == "delivered")
        assert site.end_of(2) == ReasonCode.CORRECTION_SET_ASIDE.value
        assert len(look(site).alarms) == 1


CORRECTING = {
    b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Observation","status":"final"}}]}': False,
    b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Observation","status":"amended"}}]}': True,
    b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"DiagnosticReport","status":"corrected"}}]}': True,
    b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","active":true}}]}': None,
    b"MSH|^~\\&|A\rOBR|1||F1\rOBX|1|NM|GLU||5.5||||||F\r": False,
    b"MSH|^~\\&|A\rOBR|1||F1\rOBX|1|NM|GLU||5.5||||||C\r": True,
    b"MSH|^~\\&|A\rOBR|1||F1\r": None,
    b"code;value\nGLU;5.5\n": None,
}


@pytest.mark.parametrize(("body", "expected"), CORRECTING.items())
def test_whether_a_document_corrects_is_read_from_its_own_status(body: bytes, expected: bool | None) -> None:
    assert corrects(body) is expected
