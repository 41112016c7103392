"""Invitations by SMS, against the simulator: where the site wants it, once for each report, and none too many."""

from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import inviting
from engine.features.abdm.rows import forgetting, invitations
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.integrity.verify import run as verify
from engine.store.lifecycle import erasure
from tests.engine.features.abdm.test_leaving import left, notice
from tests.support.abdm_site import AbdmSite, abdm_site, destination, keep, person, report
from tests.support.clocks import MovedClock
from tests.support.waiting import until
from workbench.abdm import Faults
from workbench.abdm.people import PEOPLE

MOBILE = PEOPLE[0].mobile


def wanted(url: str, **other: Any) -> AbdmDestination:
    return destination(url, **({"invite": True} | other))


def patient(mobile: str = MOBILE, own: str = "PID-9", **ids: str) -> dict[str, Any]:
    """A report's patient, without ABHA where no more is given."""
    identifiers = [{"type": {"coding": [{"code": kind}]}, "value": text} for kind, text in {"MR": own, **ids}.items()]
    telecom = [{"system": "phone", "value": mobile}] if mobile else []
    return {"content": {"display": "Lab report", "patient": {"identifier": identifiers, "telecom": telecom}}}


@operation(priority=Priority.SETTLE)
def take(batch: Batch, ours: AbdmDestination, new: Any) -> int:
    """As `engine.features.abdm.flows.reports.take`."""
    number = keep(batch, ours, new, None)
    inviting.invite(batch, ours, number)
    return number


async def comes(site: AbdmSite, name: str = "A-1", *, message_id: int = 1, **who: Any) -> int:
    number = await site.ours.journal.run(take, site.config, report(name, message_id=message_id, **patient(**who)))
    site.ours.dispatcher.changed()
    await site.ours.is_quiet()
    return number


def sent(site: AbdmSite) -> int:
    return site.sandbox.state.counts["call sms-notify"]


async def test_a_patient_without_abha_is_invited_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=wanted) as site:
        number = await comes(site)
        assert await comes(site, message_id=2) == number
        await site.is_clean()
        assert site.ours.rows("abdm_context", "state, reason") == [("waiting", "invited")]
        assert site.ours.rows("abdm_invitation", "state, code") == [("invited", "")]
        assert sent(site) == 1
        assert "sms-link" in str(await site.ask(f"/app/{PEOPLE[0].address}"))
    assert MOBILE.encode() not in files(tmp_path)
    assert verify(tmp_path, deep=True) == []


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


NOBODY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # the site, the patient
    "the site does not want it": ({"invite": False}, {}),
    "no mobile": ({}, {"mobile": ""}),
    "a number of another country": ({}, {"mobile": "+1 900 000 0001"}),
    "a line of a house": ({}, {"mobile": "0205551234"}),
    "an ABHA address": ({}, {"ABHA": "x.y@sbx"}),
    "an ABHA number": ({}, {"HIN": "91100000000016"}),
}


@pytest.mark.parametrize("name", NOBODY)
async def test_no_one_else_is_invited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    keys, who = NOBODY[name]
    async with abdm_site(tmp_path, monkeypatch, config=lambda url: wanted(url, **keys)) as site:
        await comes(site, **who)
        assert site.ours.states() == ["waiting"]
        assert site.ours.rows("abdm_invitation") == []
        assert sent(site) == 0


@pytest.mark.parametrize("prefix", ["91", "+91", "+91-", ""])
async def test_the_form_of_a_mobile_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=lambda url: wanted(url, invite_prefix=prefix)) as site:
        await comes(site, mobile=f"+91 {MOBILE}")
        await site.is_clean()
        assert site.ours.rows("abdm_context", "reason") == [("invited",)]


async def test_one_mobile_is_invited_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, config=wanted) as site:
        for n in range(4):
            await comes(site, f"A-{n}", message_id=n + 1, own=f"PID-{n}")
        await comes(site, "B-1", message_id=9, mobile=PEOPLE[3].mobile)
        assert sent(site) == 2
        await site.ours.journal.run(a_day_before)
        await comes(site, "A-9", message_id=10)
        assert sent(site) == 3


@operation(priority=Priority.SETTLE)
def a_day_before(batch: Batch) -> None:
    batch.execute("UPDATE abdm_invitation SET made_us = made_us - ?", (invitations.DAY_US,))


@pytest.mark.parametrize("kind", ["503", "lost", "reset", "429", "401"])
async def test_a_call_that_fails_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    faults = Faults(calls={"sms-notify": [kind]}, retry_after_s=0)
    async with abdm_site(tmp_path, monkeypatch, faults, config=wanted) as site:
        await comes(site)
        await site.is_clean()
        assert site.ours.rows("abdm_context", "reason") == [("invited",)]


async def test_an_sms_that_may_have_gone_is_not_sent_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(calls={"sms-notify": ["lost"] * 100}, callbacks={"on-sms-notify": ["dropped"] * 100})
    async with abdm_site(tmp_path, monkeypatch, faults, config=wanted) as site:
        await comes(site)
        assert sent(site) == inviting.MOST_ATTEMPTS
        assert site.ours.rows("abdm_invitation", "state, code") == [("not_invited", "GAVE_UP")]
        assert site.ours.rows("abdm_context", "state, reason") == [("waiting", "not_invited")]


async def test_one_without_a_result_is_not_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(callbacks={"on-sms-notify": ["dropped"]})
    config = lambda url: wanted(url, answer_within="1s")  # noqa: E731
    async with abdm_site(tmp_path, monkeypatch, faults, config=config) as site:
        await comes(site)
        assert sent(site) == 1
        assert site.ours.rows("abdm_invitation", "state, code") == [("not_invited", "NO_CALLBACK")]


@pytest.mark.parametrize("where", ["calls", "callbacks"])
async def test_a_refusal_is_shown_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    faults = {
        "calls": Faults(calls={"sms-notify": ["ABDM-1057"]}),
        "callbacks": Faults(callbacks={"on-sms-notify": ["ABDM-1057"]}),
    }
    async with abdm_site(tmp_path, monkeypatch, faults[where], config=wanted) as site:
        await comes(site)
        assert site.ours.rows("abdm_context", "state, reason") == [("waiting", "not_invited")]
        assert site.ours.rows("abdm_invitation", "state, code") == [("not_invited", "ABDM-1057")]
        await comes(site, message_id=2)
        assert sent(site) == 1


@pytest.mark.parametrize("kind", ["duplicate", "repeat", "early", "late", "wrong-signature", "other-facility"])
async def test_a_result_of_any_habit_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    faults = Faults(callbacks={"on-sms-notify": [kind]}, late_s=0.2)
    async with abdm_site(tmp_path, monkeypatch, faults, config=wanted) as site:
        await comes(site)
        await site.is_clean()
        assert site.ours.rows("abdm_invitation", "state") == [("invited",)]
        assert sent(site) == 1


@pytest.mark.parametrize("who", [{"mobile": PEOPLE[1].mobile, "own": "PID-0"}, {"mobile": MOBILE, "own": "other"}])
async def test_one_who_has_left_is_not_invited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: Any) -> None:
    """Neither by his mobile nor by the laboratory's number of him; an erasure takes both hashes and that of his
    address."""
    async with abdm_site(tmp_path, monkeypatch, config=wanted) as site:
        await site.ours.is_told(await site.ours.offer(report(), person()))
        await notice(site, left())
        await comes(site, "A-2", message_id=2, **who)
        assert sent(site) == 0
        assert site.ours.rows("abdm_invitation", "state, context") == [("left", 0)]
        await site.ours.journal.run(erasure.erase, [], ["PID-0"], actor="a", reason="b", more={})
        assert site.ours.rows("abdm_invitation", "leaver, mobile = x'', patient = x''") == [(0, 1, 1)]
        assert site.ours.rows("abdm_patient", "state, address = x'', abha = x''") == [("dropped", 1, 1)]


async def test_one_who_leaves_while_his_sms_waits_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(calls={"sms-notify": ["503"] * 100})
    slow, clock = lambda url: wanted(url, retry={"first": "2m", "max": "2m"}), MovedClock()
    both: dict[str, Any] = {"clock": clock, "gateway_clock": clock}
    async with abdm_site(tmp_path, monkeypatch, faults, config=slow, **both) as site:
        await site.ours.is_told(await site.ours.offer(report(), person()))
        new = report("A-2", message_id=2, **patient())
        await site.ours.journal.run(take, site.config, new)
        site.ours.dispatcher.changed()
        await until(lambda: sent(site) == 1)
        await until(lambda: site.ours.rows("abdm_call WHERE name = 'sms-notify' AND state = 'waiting'"))
        await notice(site, left())
        clock.passed_s += 121
        site.ours.dispatcher.changed()
        await site.ours.is_quiet()
        assert sent(site) == 1
        assert site.ours.rows("abdm_call WHERE name = 'sms-notify'", "state, code") == [("failed", "changed")]


async def test_an_erased_report_keeps_no_mobile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(calls={"sms-notify": ["503"] * 100})
    async with abdm_site(tmp_path, monkeypatch, faults, config=wanted) as site:
        await site.ours.journal.run(take, site.config, report(message_id=1, **patient()))
        await site.ours.journal.run(gone)
        assert site.ours.rows("abdm_invitation", "mobile = x'', patient = x''") == [(1, 1)]
        assert site.ours.rows("abdm_call", "state, content = x''") == [("failed", 1)]


@operation(priority=Priority.SETTLE)
def gone(batch: Batch) -> None:
    forgetting.erase(batch, [1], [])


async def test_a_restart_forgets_no_invitation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults(callbacks={"on-sms-notify": ["late"]}, late_s=0.3)
    async with abdm_site(tmp_path, monkeypatch, faults, config=wanted) as site:
        await site.ours.journal.run(take, site.config, report(**patient()))
        site.ours.dispatcher.changed()
        for _ in range(2):
            await site.restart()
        await site.ours.is_quiet()
        await until(lambda: site.ours.rows("abdm_invitation", "state") == [("invited",)])
        assert site.ours.rows("abdm_patient") == []
