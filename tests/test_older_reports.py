"""An older message of a specimen whose report a newer one has brought further, in a running site."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.commands.output import ExitCode
from tests.support.running import HL7_ROUTE, MLLP, RunningSite, channel, running_site
from tests.support.senders import lines, send_blocks


def message(control_id: str, status: str, at: str, *results: str) -> bytes:
    """Results, as ``WBC 5.11``, of one specimen; ``status`` is the report's."""
    segments = [
        f"MSH|^~\\&|XN|LAB|||20260301{at}30||ORU^R01|{control_id}|P|2.5",
        "PID|1||4711^^^HOSP^MR||Doe^Jane||19800412|F",
        f"OBR|1|O6|SPECM6|CBC^Blood count^L|||20260301{at}00||||||||||||||20260301{at}00||HM|{status}",
    ]
    for number, result in enumerate(results, 1):
        code, value = result.split()
        segments.append(f"OBX|{number}|NM|{code}^{code}^L||{value}|10*9/L|||||{status}|||20260301{at}00")
    return "\r".join([*segments, ""]).encode()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[RunningSite]:
    async with running_site(tmp_path, {"lab": channel(MLLP, HL7_ROUTE)}) as site:
        yield site


async def send(site: RunningSite, *messages: bytes) -> None:
    for one in messages:
        (answer,) = await send_blocks(site.port("lab"), [one])
        assert lines(answer)["MSA"][1] == "AA"
    await site.settled()


async def send_and_refuse(site: RunningSite, one: bytes) -> None:
    site.sandbox.faults.refuse = frozenset({"SPECM6"})
    await send(site, one)
    site.sandbox.faults.refuse = frozenset()
    assert site.ends() == ["REFUSED"]


def report(site: RunningSite) -> tuple[str, int]:
    """The status of the one report on the server, and how many results it lists."""
    (one,) = site.sandbox.resources("DiagnosticReport")
    return one["status"], len(one["result"])


def values(site: RunningSite) -> set[float]:
    return {one["valueQuantity"]["value"] for one in site.sandbox.resources("Observation")}


async def test_a_retry_does_not_take_a_final_report_back_to_preliminary(site: RunningSite) -> None:
    await send_and_refuse(site, message("M1", "P", "0800", "WBC 5.11", "HGB 115"))
    await send(site, message("M2", "F", "1000", "PLT 250"))
    assert report(site) == ("final", 1)

    assert (await site.retry(1))["requeued"] == 1
    (kept,) = site.deliveries(1)
    assert (kept.state, kept.cause) == ("held", "OVERTAKEN")
    assert (report(site), values(site)) == (("final", 1), {250})


async def test_what_a_person_releases_goes_out_and_a_replay_puts_the_newer_report_back(site: RunningSite) -> None:
    await send_and_refuse(site, message("M1", "P", "0800", "WBC 5.11", "HGB 115"))
    await send(site, message("M2", "F", "1000", "PLT 250"))
    await site.retry(1)

    ran = await site.labrelay("held", "release", "1", "--reason", "seen", "--yes", "-o", "json")
    assert (ran.code, ran.json["done"]["released"]) == (ExitCode.OK, 1)
    await site.settled()
    assert site.deliveries(1)[0].state == "delivered"
    assert (report(site), values(site)) == (("preliminary", 2), {5.11, 115, 250})

    assert await site.replay(2) == {"messages": 1, "deliveries": 1}
    assert (report(site), values(site)) == (("final", 1), {5.11, 115, 250})


async def test_another_session_with_the_same_status_goes_out_late(site: RunningSite) -> None:
    await send_and_refuse(site, message("M1", "F", "0800", "WBC 5.11", "HGB 115"))
    await send(site, message("M2", "F", "1000", "PLT 250"))

    assert (await site.retry(1))["requeued"] == 1
    assert site.ends() == ["delivered", "delivered"]
    assert values(site) == {5.11, 115, 250}
