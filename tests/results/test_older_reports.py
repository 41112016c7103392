"""An older message of a specimen whose report a newer one has brought further, in a running site."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.results.test_held_results import send
from tests.support.running import HL7_ROUTE, MLLP, RunningSite, channel, running_site


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
    """Its tests come into the report, which is partial from then on: not all of its results are final."""
    await send_and_refuse(site, message("M1", "P", "0800", "WBC 5.11", "HGB 115"))
    await send(site, message("M2", "F", "1000", "PLT 250"))
    assert report(site) == ("final", 1)

    assert (await site.retry(1))["requeued"] == 1
    assert site.deliveries(1)[0].state == "delivered"
    assert (report(site), values(site)) == (("partial", 3), {5.11, 115, 250})


async def test_a_replay_takes_nothing_out_of_the_report(site: RunningSite) -> None:
    await send(site, message("M1", "F", "0800", "WBC 5.11", "HGB 115"))
    await send(site, message("M2", "F", "1000", "PLT 250"))

    assert await site.replay(1) == {"requeued": 2}, "the newer message of the report goes along"
    assert (report(site), values(site)) == (("final", 3), {5.11, 115, 250})
    assert await site.replay(2) == {"requeued": 1}
    assert (report(site), values(site)) == (("final", 3), {5.11, 115, 250})


async def test_another_session_with_the_same_status_goes_out_late(site: RunningSite) -> None:
    await send_and_refuse(site, message("M1", "F", "0800", "WBC 5.11", "HGB 115"))
    await send(site, message("M2", "F", "1000", "PLT 250"))

    assert (await site.retry(1))["requeued"] == 1
    assert site.ends() == ["delivered", "delivered"]
    assert values(site) == {5.11, 115, 250}


async def test_what_overtook_a_retry_is_named_wherever_one_looks(
    site: RunningSite, caplog: pytest.LogCaptureFixture
) -> None:
    await send_and_refuse(site, message("M1", "F", "0800", "WBC 5.11", "HGB 115"))
    await send(site, message("M2", "C", "1000", "WBC 5.22"))
    caplog.clear()

    ran = await site.labrelay("dlq", "retry", "1", "--yes")
    assert "held list --code OVERTAKEN" in ran.err
    await site.settled()
    (said,) = (one for one in caplog.records if "overtaken" in one.getMessage())
    assert said.levelname == "WARNING"
    assert (said.__dict__["journal_id"], said.__dict__["destination"]) == (1, "lab-fhir")
    (row,) = (await site.labrelay("held", "list", "-o", "json")).json["held"]
    assert row["why"] == "overtaken by message 2"
    (row,) = (await site.labrelay("held", "show", "1", "-o", "json")).json["held"]
    (newer,) = row["newer"]
    assert (newer["message"], newer["in_common"], newer["report_further_on"]) == (2, 1, False)
    assert "WBC" in newer["codes"][0]
    shown = (await site.labrelay("held", "show", "1")).out
    assert "Message 2 is newer and has 1 of these results: " in shown
    assert "A release leaves it held" in shown
    shown = (await site.labrelay("messages", "show", "1")).out
    assert "lab-fhir (1): held OVERTAKEN" in shown
    assert "    overtaken by message 2\n" in shown

    ran = await site.labrelay("held", "release", "1", "--reason", "x", "--yes")
    assert (ran.code, "labrelay held show NUMBER" in ran.err) == (ExitCode.PARTLY, True)


async def test_an_older_version_of_all_results_is_closed_and_that_is_said(
    site: RunningSite, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "labrelay")
    await send_and_refuse(site, message("M1", "F", "0800", "WBC 5.11"))
    await send(site, message("M2", "C", "1000", "WBC 5.22"))

    await site.retry(1)
    assert site.ends() == ["superseded", "delivered"]
    (said,) = (one for one in caplog.records if "overtaken" in one.getMessage())
    assert (said.levelname, said.__dict__["journal_id"]) == ("INFO", 1)
    shown = (await site.labrelay("messages", "show", "1")).out
    assert "superseded REFUSED" not in shown
    assert "    overtaken by message 2\n" in shown


async def test_what_was_refused_and_is_delivered_now_is_not_shown_as_refused(site: RunningSite) -> None:
    await send_and_refuse(site, message("M1", "F", "0800", "WBC 5.11"))
    await site.retry(1)

    shown = (await site.labrelay("messages", "show", "1")).out
    assert "delivered REFUSED" not in shown
    assert "attempt 1" in shown
    assert "lab-fhir (1): delivered" in shown
