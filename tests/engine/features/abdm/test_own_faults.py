"""Faults of our own and of the journal: nothing is left under way of which no end would come, nothing that was
acknowledged is lost, and nothing that was not kept is acknowledged."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import linking, pushing, turns
from engine.features.abdm.flows.flow import Flow
from engine.features.abdm.rows import callbacks
from engine.features.abdm.rules.network import GatewayAnswer
from engine.features.abdm.service import dispatcher
from engine.features.abdm.wire import verdicts
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from tests.support import abdm_records as records
from tests.support.abdm_site import FACILITY, AbdmSite, abdm_site, destination, person, report
from tests.support.waiting import until
from workbench.abdm import Faults

WEST = "IN0000000002"
NAMES = {FACILITY: "Made-up Laboratory", WEST: "Made-up West"}
CALLS = ("generate-token", "link", "context-notify")


def both(url: str) -> AbdmDestination:
    """A site with two laboratories."""
    return destination(
        url,
        facilities={
            FACILITY: {"name": "Made-up Laboratory", "channels": "chem"},
            WEST: {"name": "Made-up West", "channels": "west"},
        },
    )


class Once:
    """Raises at its first transaction, which the journal tries with others and alone; then does its work."""

    def __init__(self, work: Any) -> None:
        self.work, self.raised = work, 0

    def __call__(self, *arguments: Any) -> Any:
        if self.raised < 2:
            self.raised += 1
            raise KeyError("a fault of ours, with a name in it")
        return self.work(*arguments)


def with_fault(name: str, part: str) -> tuple[tuple[Flow, ...], Once]:
    kinds = {kind.name: kind for kind in linking.FLOW.calls}
    fault = Once(getattr(kinds[name], part))
    kinds[name] = replace(kinds[name], **{part: fault})
    flow = replace(linking.FLOW, calls=tuple(kinds.values()))
    return tuple(flow if one is linking.FLOW else one for one in dispatcher.FLOWS), fault


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_whose_end_meets_a_fault_of_ours_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The gateway refuses the call at once, so that its end is the work of the attempt itself."""
    flows, fault = with_fault(name, "ended")
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={name: ["ABDM-1099 no"]}), flows=flows) as site:
        number = await site.ours.offer(report(), person())
        await site.ours.is_told(number)
        assert fault.raised == 2


async def test_calls_that_were_under_way_are_made_again_when_the_loop_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor begins a loop again that a fault of the journal has ended."""
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"link": ["hang"]})) as site:
        number = await site.ours.offer(report(), person())
        await until(lambda: site.ours.rows("abdm_call WHERE name = 'link' AND state = 'sending'"))
        site.ours.tasks[1].cancel()
        await until(site.ours.tasks[1].done)
        site.ours.tasks[1] = asyncio.create_task(site.ours.dispatcher.carry_out())
        await site.ours.is_told(number)


async def test_calls_of_a_laboratory_that_the_configuration_lacks_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(calls={"link": ["hang"]})
    async with abdm_site(tmp_path, monkeypatch, faults, config=both, facilities=NAMES) as site:
        number = await site.ours.offer(report(channel="west", facility=WEST), person())
        await until(lambda: site.ours.rows("abdm_call WHERE name = 'link' AND state = 'sending'"))
        site.config = destination(site.sandbox.url)
        await site.restart()
        due = "abdm_call WHERE name = 'link' AND state = 'waiting' AND not_before_us > changed_us"
        await until(lambda: site.ours.rows(due))
        first = await site.ours.offer(report("A-2", message_id=2), person(1))
        await until(lambda: site.ours.rows(f"abdm_context WHERE number = {first} AND notified = 1"))
        assert [task.done() for task in site.ours.tasks] == [False] * 3
        assert site.ours.rows(f"abdm_context WHERE number = {number}", "state") == [("linking",)]


async def test_a_result_that_is_nested_deeply_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch, Faults(callbacks={"on-link": ["dropped"]})) as site:
        number = await site.ours.offer(report(), person())
        await until(lambda: site.ours.rows("abdm_call WHERE name = 'link' AND state = 'accepted'"))
        asked = site.ours.rows("abdm_request ORDER BY call DESC", "request_id")[0][0]
        body = f'{{"status": "x", "more": {"[" * 300}{"]" * 300}, "response": {{"requestId": "{asked}"}}}}'.encode()
        await site.ours.journal.run(callbacks.store, "/v3/link/on_carecontext", FACILITY, "r-1", body, 0)
        site.ours.dispatcher.stored()
        await site.ours.is_told(number)


@pytest.mark.parametrize("status", ["ERRORED", "errored"])
def test_an_app_that_was_not_told_is_shown(status: str) -> None:
    said = {"acknowledgement": {"status": status}, "response": {"requestId": "x"}}
    found: GatewayAnswer = verdicts.result(said, b"{}")
    assert (found.is_taken, found.code) == (False, "ERRORED")
    assert verdicts.result(said | {"acknowledgement": {"status": "SUCCESS"}}, b"{}").is_taken


async def test_a_revocation_that_is_stored_stops_the_page_before_it_is_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was acknowledged: no page goes after that, however many callbacks wait before it."""
    async with abdm_site(tmp_path, monkeypatch, Faults(reader="down")) as site:
        await records.published(site, "A-1")
        consent = await records.granted(site)
        await records.asked(site, consent)
        await until(lambda: site.ours.rows("abdm_page WHERE attempt > 0"))
        for task in site.ours.tasks:  # nothing is folded and sent any more but by our own turn
            task.cancel()
        await until(lambda: all(task.done() for task in site.ours.tasks))
        await records.act(site, "revoke", {"consentId": consent})
        await until(lambda: site.ours.rows("abdm_callback WHERE state = 'stored'"))
        assert await turn_of(site) == (False, False)
        await site.ours.dispatcher.fold_all()
        assert await turn_of(site) == (True, False)


async def turn_of(site: AbdmSite) -> tuple[bool, bool]:
    """Whether the transfer is over, and whether a page goes now."""

    @operation(priority=Priority.SETTLE)
    def look(batch: Batch) -> Any:
        batch.execute("UPDATE abdm_page SET not_before_us = 0")
        return turns.look(batch, site.config, 1, can_send=True, ahead_s=0.0)

    turn = await site.ours.journal.run(look)
    return turn.is_over, turn.page is not None


async def test_without_its_acknowledgement_no_page_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of the acknowledgement is damaged: it is never made."""
    monkeypatch.setattr(pushing, "IDLE_S", 0.1)
    async with abdm_site(tmp_path, monkeypatch, Faults(calls={"on-request": ["503"] * 1000})) as site:
        await records.published(site, "A-1")
        await records.asked(site, await records.granted(site))
        await until(lambda: site.ours.rows("abdm_transfer WHERE state = 'pushing'"))

        @operation(priority=Priority.SETTLE)
        def damage(batch: Batch) -> None:
            batch.execute("UPDATE abdm_call SET content = zeroblob(40) WHERE name = 'on-request'")

        await site.ours.journal.run(damage)
        await until(lambda: site.ours.rows("abdm_transfer WHERE state = 'ended'"))
        assert site.ours.rows("abdm_transfer", "reason") == [("not-acknowledged",)]
        assert site.ours.rows("abdm_page", "attempt") == [(0,)]
