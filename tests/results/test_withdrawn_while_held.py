"""A result is withdrawn while it is held: nothing of it goes out, and a release says why; its order is open again.

the withdrawal                      the held result                    the withdrawal itself
of all that is held                 replaced, by the withdrawal        goes out
the same, and a rule holds it       stays held, also where a person    is held, until a person decides
                                    releases it before that
of another time, or person          stays held                         goes out
of a part of it                     stays held; its release: overtaken goes out
of the rest of it, later            replaced                           goes out
X, no result can be obtained        stays held: a person decides       is held (VALUE_GONE)
of a correction that is held        replaced                           goes out, and withdraws what was sent
"""

import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from engine.succession.judge import clock
from tests.results.test_results_in_succession import SETTINGS
from tests.results.test_results_in_succession import Lab as Told
from tests.support.running import HL7_ROUTE, MLLP, RunningSite, channel, running_site
from tests.support.waiting import until

HOLD = [{"when": "=value and value > 50", "reason": "implausible"}]
ORDERS = {"answer": "query", "codes": {"GLU": "GLU", "UREA": "UREA"}}


class Lab(Told):
    """Its results are measured some hours from now: no order is newer, and their times can be."""

    def _hl7(self, *told: Any, **more: Any) -> bytes:
        return re.sub(rb"202603\d\d(\d\d)(\d\d)(\d\d)", _soon, super()._hl7(*told, **more))


NOW = datetime.now(ZoneInfo("Asia/Kolkata"))


def _soon(told: re.Match[bytes]) -> bytes:
    """Ten hours of the message are one."""
    hours, minutes, seconds = map(int, told.groups())
    at = NOW + timedelta(hours=1) + timedelta(hours=hours, minutes=minutes, seconds=seconds) / 10
    return at.strftime("%Y%m%d%H%M%S").encode()


@pytest.fixture(autouse=True)
def times_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "AHEAD", timedelta(days=1))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[RunningSite]:
    hl7 = channel(MLLP, {**HL7_ROUTE, "hold": HOLD}, settings=SETTINGS, dialect="mindray-bs", orders=ORDERS)
    async with running_site(tmp_path, {"hl7": hl7}) as site:
        yield site


def ended(site: RunningSite, message: int) -> list[str]:
    return [one.state for one in site.deliveries(message)]


def orders(site: RunningSite) -> list[tuple[str, str]]:
    return [(one.state.value, one.reason.value) for one in read_items(site.journal, ItemFilter())][::-1]


async def decide(site: RunningSite, verb: str, message: int) -> tuple[int, str]:
    ran = await site.labrelay("held", verb, str(message), "--reason", "looked at", "--yes")
    await site.settled()
    return ran.code, ran.out + ran.err


async def ordered(site: RunningSite, *tests: str) -> None:
    ran = await site.labrelay("orders", "add", "S1", *tests)
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("status", ["D", "W"])
async def test_a_withdrawal_takes_the_held_result_back_and_its_release_is_refused(
    site: RunningSite, status: str
) -> None:
    await ordered(site, "GLU")
    lab = Lab(site, "hl7", count(1))
    assert await lab.says("F GLU 99 09:30") == "held"
    first = site.messages()[0].id
    assert orders(site) == [("in_progress", "RESULT_HELD")]

    assert await lab.says(f"{status} GLU - 09:30") == "delivered"

    withdrawal = site.messages()[-1].id
    assert (lab.held(), ended(site, first)) == ([], ["superseded"])
    assert lab.results() == {"GLU": "entered-in-error -"}
    assert orders(site) == [("waiting", "")]  # as before: it may be measured again
    code, said = await decide(site, "release", first)
    assert code == ExitCode.REFUSED
    assert "withdrawn by its sender" in said
    assert f"message {withdrawal}" in said
    assert (ended(site, first), lab.results()) == (["superseded"], {"GLU": "entered-in-error -"})
    trace = await site.labrelay("messages", "show", str(first))
    assert "withdrawn by its sender" in trace.out


@pytest.mark.parametrize("verb", ["release", "reject"])
async def test_a_withdrawal_that_a_rule_holds_leaves_it_to_a_person(site: RunningSite, verb: str) -> None:
    """Who rejects the withdrawal still has the result to decide about."""
    await ordered(site, "GLU")
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 99 09:30")
    assert await lab.says("D GLU 99 09:30") == "held"
    first, withdrawal = (one.id for one in site.messages())
    assert lab.held() == ["HELD_BY_RULE", "HELD_BY_RULE"]

    assert (await decide(site, verb, withdrawal))[0] == ExitCode.OK
    assert ended(site, first) == ["held"]
    await decide(site, "release", first)

    if verb == "release":
        assert (ended(site, first), lab.results()) == (["superseded"], {"GLU": "entered-in-error 99"})
        assert orders(site) == [("waiting", "")]
    else:
        assert (ended(site, first), lab.results()) == (["delivered"], {"GLU": "final 99"})


async def test_a_release_waits_for_the_decision_about_a_held_withdrawal(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    for said in ("F GLU 99 09:30", "D GLU 99 09:30"):
        assert await lab.says(said) == "held"
    first, withdrawal = (one.id for one in site.messages())

    code, said = await decide(site, "release", first)

    assert (code, ended(site, first), lab.results()) == (ExitCode.PARTLY, ["held"], {})
    assert "overtaken" in said
    shown = await site.labrelay("held", "show", str(first))
    assert "A release leaves it held" in shown.out
    assert f"Message {withdrawal} is newer and has 1 of these results" in shown.out
    await decide(site, "reject", withdrawal)
    assert (await decide(site, "release", first))[0] == ExitCode.OK
    assert lab.results() == {"GLU": "final 99"}


@pytest.mark.parametrize(
    ("held", "withdrawal"),
    [
        ({}, {"at": "08:30"}),  # an earlier run
        ({"patient": ""}, {"patient": "8888"}),  # nothing says that they are one person
    ],
    ids=["another time", "another person"],
)
async def test_a_withdrawal_of_another_leaves_it(
    site: RunningSite, held: dict[str, str], withdrawal: dict[str, str]
) -> None:
    lab = Lab(site, "hl7", count(1))
    assert await lab.says("F GLU 99 09:30", **held) == "held"
    await lab.says(f"D GLU 9.9 {withdrawal.pop('at', '09:30')}", **withdrawal)
    assert ended(site, site.messages()[0].id) == ["held"]


async def test_a_withdrawal_of_a_part_leaves_the_rest_to_a_person(site: RunningSite) -> None:
    await ordered(site, "GLU", "UREA")
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 99 09:30", "F UREA 4.0 09:30")
    assert await lab.says("D GLU - 09:30") == "delivered"
    first = site.messages()[0].id
    assert ended(site, first) == ["held"]

    code, said = await decide(site, "release", first)

    assert code == ExitCode.PARTLY
    assert "overtaken" in said
    assert (ended(site, first), lab.results()) == (["held"], {"GLU": "entered-in-error -"})
    assert (await decide(site, "reject", first))[0] == ExitCode.OK
    assert orders(site) == [("waiting", ""), ("waiting", "")]


async def test_the_last_of_several_withdrawals_takes_it_back(site: RunningSite) -> None:
    await ordered(site, "GLU", "UREA")
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 99 09:30", "F UREA 4.0 09:30")
    first = site.messages()[0].id
    for test, left in (("GLU", ["held"]), ("UREA", ["superseded"])):
        assert await lab.says(f"D {test} - 09:30") == "delivered"
        assert ended(site, first) == left

    assert (await decide(site, "release", first))[0] == ExitCode.REFUSED
    assert lab.results() == {"GLU": "entered-in-error -", "UREA": "entered-in-error -"}
    assert orders(site) == [("waiting", ""), ("waiting", "")]


async def test_a_withdrawal_from_before_is_none_of_the_held_one(site: RunningSite) -> None:
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 5.5 09:30")
    await lab.says("D GLU - 09:30")
    assert await lab.says("F GLU 99 09:30", "F UREA 4.0 09:30") == "held"
    await lab.says("D UREA - 09:30")
    assert ended(site, site.messages()[2].id) == ["held"]


async def test_that_no_result_can_be_obtained_is_no_withdrawal_of_a_held_one(site: RunningSite) -> None:
    """A rerun that failed: the held value may be right, and a person decides."""
    await ordered(site, "GLU")
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 99 09:30")
    assert await lab.says("X GLU - 09:40") == "held"
    first, gone = (one.id for one in site.messages())
    assert lab.held() == ["HELD_BY_RULE", "VALUE_GONE"]

    assert (await decide(site, "release", gone))[0] == ExitCode.OK
    assert ended(site, first) == ["held"]
    await decide(site, "release", first)

    assert (ended(site, first), lab.results()) == (["superseded"], {"GLU": "cancelled -"})
    assert orders(site) == [("in_progress", "")]  # and no result of it is held any more


async def test_a_withdrawal_takes_back_a_held_correction_and_what_was_sent(site: RunningSite) -> None:
    await ordered(site, "GLU")
    lab = Lab(site, "hl7", count(1))
    assert await lab.says("F GLU 5.5 09:30") == "delivered"
    assert await lab.says("C GLU 99 09:30") == "held"
    assert await lab.says("D GLU - 09:30") == "delivered"
    assert (lab.held(), lab.results()) == ([], {"GLU": "entered-in-error -"})
    assert orders(site) == [("in_progress", "RESULT_WITHDRAWN")]


async def test_a_withdrawal_on_its_way_takes_it_back_at_once(site: RunningSite) -> None:
    """The destination is down: nothing was delivered yet, and a release sends nothing that is withdrawn already."""
    lab = Lab(site, "hl7", count(1))
    await lab.says("F GLU 99 09:30")
    ran = await site.labrelay("pause", "destination", "lab-fhir", "--reason", "tested", "--yes")
    assert ran.code == 0, ran.err
    await lab.says("D GLU - 09:30", wait=False)
    first = site.messages()[0].id
    await until(lambda: ended(site, first) == ["superseded"])
    ran = await site.labrelay("held", "release", str(first), "--reason", "looked at", "--yes")
    assert ran.code == ExitCode.REFUSED
    assert "withdrawn by its sender" in ran.err


@pytest.mark.parametrize("to", ["csv", "json"])
async def test_a_held_list_is_taken_back_too(tmp_path: Path, to: str) -> None:
    hl7 = channel(MLLP, {"mapping": f"hl7-to-{to}", "to": "lis"})
    files = {"lis": {"kind": "file", "folder": "out"}}
    async with running_site(tmp_path, {"hl7": hl7}, files) as site:
        lab = Told(site, "hl7", count(1))
        assert await lab.says("F GLU 5.5 10:30") == "delivered"
        assert await lab.says("P GLU 6.5 09:30") == "held"
        assert await lab.says("D GLU 6.5 09:30") == "delivered"
        assert (lab.held(), ended(site, 2)) == ([], ["superseded"])
        assert (await decide(site, "release", 2))[0] == ExitCode.REFUSED
