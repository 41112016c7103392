"""A result proposes one more test of its tube, on a whole site: as a technician may expect it.

a final result that the rule says yes of      one test is proposed, once, whatever comes again
a preliminary one, or one below               nothing
one that is held                              nothing until a person has released it; rejected: nothing
the test is ordered already                   nothing
a correction that makes it untrue             it is withdrawn; what a person has confirmed stays, and is told
a person confirms                             the order of the same tube and patient, with its parent; once, also by two
a person declines                             it is never proposed again
auto: true                                    the order, once, made by the rule and its version; a correction later is
                                              told as above; the rule unsure, no analyzer runs it, or somebody wants the
                                              order to end: a person decides
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from engine.features.orders.rows import TABLES, reading, reflex
from engine.features.orders.rows.reflex import PROPOSED, WITHDRAWN
from engine.model.errors import ConfigError, RefusedError
from engine.model.worklist import TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.queries.acts import acts_page
from tests.engine.features.orders.exchange.test_orders_of_a_lis import lis
from tests.support.asking import AskingAnalyzer, asking, question, result
from tests.support.ordering_lis import OrderingLis, order, ordering
from tests.support.running import ASTM, RunningSite, channel, running_site
from tests.support.waiting import until

HIGH = {"when": "=value > 50", "name": "TSH is high", "shadow": True}
ABSURD = {"when": "=value > 900", "reason": "implausible"}
ORDERS: dict[str, Any] = {
    "answer": "query",
    "codes": {"TSH": "TSH3", "FT4": "Free T4", "FERR": "Ferritin"},
    "reflex": [{"test": "TSH", "rule": "TSH is high", "add": "FT4"}],
}
AUTO = {**ORDERS, "reflex": [{**ORDERS["reflex"][0], "auto": True}]}


@asynccontextmanager
async def site_of(
    folder: Path, orders: dict[str, Any] = ORDERS
) -> AsyncIterator[tuple[RunningSite, OrderingLis, AskingAnalyzer]]:
    route = {"mapping": "astm-results", "to": "lab-fhir", "hold": [HIGH, ABSURD]}
    channels = {"chemistry": channel(ASTM, route, orders=orders), "his": lis()}
    async with (
        running_site(folder, channels) as site,
        ordering(site.port("his")) as his,
        asking(site.port("chemistry")) as peer,
    ):
        await his.ask(order("M1", ("NW", "P1", "TSH")))
        await peer.ask(question("00042"))
        yield site, his, peer


async def send(site: RunningSite, peer: AskingAnalyzer, value: str, status: str = "F", at: str = "") -> None:
    await peer.send(result("00042", "P-17", "TSH3", value, status, at=at))
    await site.settled()


def found(site: RunningSite) -> list[tuple[str, str]]:
    return [(one.adds, one.state) for one in reflex.proposals(site.journal, all_of_them=True)]


async def decide(site: RunningSite, verb: str, proposal: int = 1) -> int:
    ran = await site.labrelay("orders", verb, str(proposal), "--reason", "seen")
    return int(ran.code)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([("60.0", "F")], [("FT4", PROPOSED)]),
        ([("60.0", "F"), ("60.0", "F")], [("FT4", PROPOSED)]),
        ([("40.0", "F")], []),
        ([("60.0", "P")], []),
        ([("60.0", "P"), ("60.0", "F")], [("FT4", PROPOSED)]),
        ([("60.0", "F"), ("40.0", "C")], [("FT4", WITHDRAWN)]),
        ([("60.0", "F"), ("40.0", "C"), ("61.0", "C")], [("FT4", PROPOSED)]),
        ([("60.0", "F"), ("61.0", "C")], [("FT4", PROPOSED)]),
        ([("40.0", "F"), ("60.0", "C")], [("FT4", PROPOSED)]),
    ],
)
async def test_what_results_propose(
    tmp_path: Path, sent: list[tuple[str, str]], expected: list[tuple[str, str]]
) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        at = f"{datetime.now(ZoneInfo('Asia/Kolkata')):%Y%m%d%H%M%S}"
        for value, status in sent:
            await send(site, peer, value, status, at)
        assert found(site) == expected


async def test_a_person_confirms_once_and_the_order_has_its_parent(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        await send(site, peer, "60.0")
        codes = await asyncio.gather(decide(site, "confirm"), decide(site, "confirm"))
        assert sorted(map(bool, codes)) == [False, True]
        assert found(site) == [("FT4", "confirmed")]
        made = reading.item(site.journal, 2)
        assert made is not None
        one = made.item
        assert (one.line.test, one.line.specimen, one.line.patient.number, one.parent) == ("FT4", "00042", "P-17", 1)
        assert one.state == "waiting"
        assert [act.verb for act in acts_page(site.journal) if act.verb.startswith("reflex")] == ["reflex-confirm"]
        answer = await peer.ask(question("00042"))
        assert b"^^^Free T4" in answer
        await send(site, peer, "40.0", "C")
        assert found(site) == [("FT4", "untrue")]
        assert reading.item(site.journal, 3) is None


async def test_a_test_that_no_analyzer_runs_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        await send(site, peer, "60.0")
        settings = TakeSettings(known_channels={"chemistry": frozenset({"TSH"})})
        with pytest.raises(RefusedError, match="cannot be ordered"):
            await site.journal.run(reflex.confirm, 1, settings, actor="Asha", reason="seen")
        assert found(site) == [("FT4", PROPOSED)]
        assert reading.item(site.journal, 2) is None
        assert not [act for act in acts_page(site.journal) if act.verb.startswith("reflex")]


@pytest.mark.parametrize(
    "row", [{"test": "TSH", "rule": "other", "add": "FT4"}, {"test": "TSH", "rule": "TSH is high", "add": "TSH"}]
)
async def test_a_row_that_names_no_shadow_rule_or_its_own_test_is_refused(tmp_path: Path, row: dict[str, str]) -> None:
    route = {"mapping": "astm-results", "to": "lab-fhir", "hold": [HIGH]}
    with pytest.raises(ConfigError, match=r"channels/chemistry.yaml:[0-9:]+ .*reflex: "):
        async with running_site(tmp_path, {"chemistry": channel(ASTM, route, orders={**ORDERS, "reflex": [row]})}):
            pass


@pytest.mark.parametrize(
    ("more", "is_refused"),
    [([("FT4", "FERR")], False), ([("FT4", "TSH")], True), ([("FT4", "FERR"), ("FERR", "TSH3")], True)],
)
async def test_a_result_leads_to_two_tests_at_most(
    tmp_path: Path, more: list[tuple[str, str]], *, is_refused: bool
) -> None:
    """The second analyzer has the more rows: tests go on where they are run."""
    route = {"mapping": "astm-results", "to": "lab-fhir", "hold": [HIGH]}
    rows = [{"test": test, "rule": HIGH["name"], "add": add} for test, add in more]
    channels = {
        name: channel(ASTM, route, orders={**ORDERS, "reflex": reflexes})
        for name, reflexes in (("chemistry", ORDERS["reflex"]), ("immuno", rows))
    }
    with (
        pytest.raises(ConfigError, match=r"channels/chemistry.yaml:[0-9:]+ .*'FT4' adds \w+, which adds a test, too")
        if is_refused
        else nullcontext()
    ):
        async with running_site(tmp_path, channels):
            pass


async def test_a_declined_test_is_never_proposed_again(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        await send(site, peer, "60.0")
        assert await decide(site, "decline") == 0
        await send(site, peer, "70.0", "C")
        assert found(site) == [("FT4", "declined")]
        assert await decide(site, "confirm") != 0
        assert reading.item(site.journal, 2) is None


@pytest.mark.parametrize(("verb", "expected"), [("release", PROPOSED), ("reject", WITHDRAWN)])
async def test_a_held_result_proposes_nothing_until_a_person_has_released_it(
    tmp_path: Path, verb: str, expected: str
) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        await send(site, peer, "950.0")
        assert found(site) == [("FT4", "waits")]
        message = str(site.messages("chemistry")[-1].id)
        assert (await site.labrelay("held", verb, message, "--reason", "looked at", "--yes")).code == 0
        await site.settled()
        assert found(site) == [("FT4", expected)]


async def test_a_test_that_is_ordered_is_not_proposed(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, his, peer):
        await his.ask(order("M2", ("NW", "P2", "FT4")))
        await send(site, peer, "60.0")
        assert found(site) == []


async def test_a_result_without_an_order_proposes_nothing(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, _, peer):
        await peer.send(result("00099", "P-18", "TSH3", "60.0"))
        await site.settled()
        assert found(site) == []


@pytest.mark.parametrize("again", ["60.0", "61.0"])
async def test_a_row_with_auto_is_ordered_once_by_its_rule(tmp_path: Path, again: str) -> None:
    async with site_of(tmp_path, AUTO) as (site, _, peer):
        await send(site, peer, "60.0")
        await until(lambda: found(site) == [("FT4", "confirmed")])
        await send(site, peer, again, "C")
        assert found(site) == [("FT4", "confirmed")]
        made = reading.item(site.journal, 2)
        assert made is not None
        one = made.item
        assert (one.line.test, one.line.specimen, one.line.patient.number, one.parent) == ("FT4", "00042", "P-17", 1)
        (proposal,) = reflex.proposals(site.journal, all_of_them=True)
        (act,) = [one for one in acts_page(site.journal) if one.verb.startswith("reflex")]
        assert (act.actor, act.what["rule"], act.what["version"]) == ("labrelay", "TSH is high", proposal.version)
        assert proposal.version
        assert b"^^^Free T4" in await peer.ask(question("00042"))
        await send(site, peer, "40.0", "C")
        assert found(site) == [("FT4", "untrue")]
        assert [one.state for one in reflex.proposals(site.journal)] == ["untrue"], "a person is told"
        assert reading.item(site.journal, 3) is None


@pytest.mark.parametrize(("codes", "value"), [({"TSH": "TSH3", "FERR": "Ferritin"}, "60.0"), (ORDERS["codes"], ">45")])
async def test_what_auto_cannot_order_or_decide_is_for_a_person(
    tmp_path: Path, codes: dict[str, str], value: str
) -> None:
    async with site_of(tmp_path, {**AUTO, "codes": codes}) as (site, _, peer):
        await send(site, peer, value)
        await until(lambda: bool(reflex.proposals(site.journal)))
        assert not reflex.due(site.journal)
        assert reading.item(site.journal, 2) is None


async def test_a_held_result_orders_nothing_until_a_person_has_released_it(tmp_path: Path) -> None:
    async with site_of(tmp_path, AUTO) as (site, _, peer):
        await send(site, peer, "950.0")
        assert found(site) == [("FT4", "waits")]
        message = str(site.messages("chemistry")[-1].id)
        assert (await site.labrelay("held", "release", message, "--reason", "looked at", "--yes")).code == 0
        await until(lambda: found(site) == [("FT4", "confirmed")])


@pytest.mark.parametrize(
    ("ends", "value", "is_released"),
    [
        *(("CA", "60.0", False), ("person", "60.0", False), ("CA", "950.0", True)),
        *(("XO 00043", "60.0", False), ("XO 00043", "950.0", True), ("XO 00042 S", "60.0", False)),
    ],
)
async def test_what_somebody_wants_to_end_orders_nothing_by_itself(
    tmp_path: Path, ends: str, value: str, is_released: bool
) -> None:
    """The analyzer has the order, and measures it all the same."""
    async with site_of(tmp_path, AUTO) as (site, his, peer):
        if is_released:  # the result waits, and then the LIS cancels
            await send(site, peer, value)
        if ends == "person":
            assert (await site.labrelay("orders", "cancel", "W1", "--reason", "not wanted")).code == 0
        else:
            control, tube, priority = (*ends.split(), "00042", "R")[:3] if " " in ends else (ends, "00042", "R")
            await his.ask(order("M2", (control, "P1", "TSH"), tube=tube, priority=priority))
        if is_released:
            message = str(site.messages("chemistry")[-1].id)
            assert (await site.labrelay("held", "release", message, "--reason", "seen", "--yes")).code == 0
        else:
            await send(site, peer, value)
        await until(lambda: bool(reflex.proposals(site.journal)))
        assert found(site) == [("FT4", PROPOSED)]
        assert not reflex.due(site.journal)
        assert reading.item(site.journal, 3 if ends.startswith("XO") else 2) is None
        assert await decide(site, "confirm") == 0, "a person may"


async def test_a_restored_proposal_is_for_a_person(tmp_path: Path) -> None:
    async with site_of(tmp_path, AUTO) as (site, _, peer):
        await send(site, peer, "950.0")
        (table,) = [one for one in TABLES if one.name == "order_reflex"]
        await site.journal.run(as_restored, table.restored)
        message = str(site.messages("chemistry")[-1].id)
        assert (await site.labrelay("held", "release", message, "--reason", "looked at", "--yes")).code == 0
        await until(lambda: found(site) == [("FT4", PROPOSED)])
        assert not reflex.due(site.journal)


@operation(priority=Priority.SETTLE)
def as_restored(batch: Batch, statement: str) -> None:
    batch.execute(statement)


async def test_random_histories_of_one_order_propose_at_most_one_test(tmp_path: Path) -> None:
    chance = random.Random(41)
    async with site_of(tmp_path) as (site, _, peer):
        state = ""
        for at in range(40):
            value = chance.choice([40.0, 60.0, 61.0, 39.0])
            await send(site, peer, str(value + at / 100), "F" if not state and at == 0 else "C")
            is_high = value > 50
            before: dict[str, Any] = {"confirmed": "confirmed", "untrue": "confirmed", "declined": "declined"}
            if state or is_high:
                falls = {"confirmed": "untrue", "untrue": "untrue", "declined": "declined"}
                state = before.get(state, PROPOSED) if is_high else falls.get(state, WITHDRAWN)
            assert found(site) == ([("FT4", state)] if state else []), at
            if at > 25 and state == PROPOSED:
                assert await decide(site, "confirm") == 0
                state = "confirmed"
        assert len([one for one in acts_page(site.journal, limit=1000) if one.verb == "reflex-confirm"]) == 1
