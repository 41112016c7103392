"""A simulated analyzer of each kind asks a whole site for its orders over HL7 v2, and measures exactly these."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from adapters.codecs.hl7v2.dialogues import ByMessage, dialogue
from engine.config import registry
from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import item as read_item
from engine.features.orders.rows.reading import items as read_items
from engine.model.texts.units import HostPort
from tests.support.ports import quiet_ports
from tests.support.running import MLLP, RunningSite, channel, running_site
from tests.support.waiting import until
from workbench.simulator.asking import AskingAnalyzer, find_asker
from workbench.simulator.asking_hl7 import LAW, WAYS
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.play import PlaySettings
from workbench.simulator.wires import ClientWire, ServerWire

CODES = {"GLU": "10", "UREA": "20", "NA": "30"}
MODES = {"GLU": "CBC", "UREA": "CBC+DIFF", "NA": "CBC+DIFF+RET"}
ZONE = ZoneInfo("Asia/Kolkata")  # of the site
ROUTES = (
    {"when": "=MSH-9.1 == 'OUL'", "mapping": "hl7-oul-results", "to": "lab-fhir"},
    {"when": "=MSH-9.1 == 'ORU'", "mapping": "hl7-results", "to": "lab-fhir"},
)


def site_of(name: str, **orders: Any) -> dict[str, Any]:
    dialect = name if name in registry.dialects() else None
    more = {} if dialect is None else {"dialect": dialect}
    codes = MODES if name == "mindray-bc5380" else CODES
    return {"asked": channel(MLLP, *ROUTES, orders={"codes": codes, "deadline": "60s", **orders}, **more)}


def analyzer(site: RunningSite, name: str, **more: Any) -> tuple[AskingAnalyzer, Dialogue]:
    talk = Dialogue()
    wire = ClientWire(HostPort("127.0.0.1", site.port("asked")))
    asks = AskingAnalyzer(
        find_asker(name), wire, talk, PlaySettings(seed=7, again_after=0.01), start=datetime.now(ZONE), **more
    )
    return asks, talk


async def ordered(site: RunningSite, tube: str, *tests: str) -> None:
    ran = await site.labrelay("orders", "add", tube, *tests, "--patient", f"P-{tube}")
    assert ran.code == 0, ran.err


def states(site: RunningSite) -> dict[tuple[str, str], str]:
    return {(one.line.specimen, one.line.test): one.state.value for one in read_items(site.journal, ItemFilter())}


def test_each_dialogue_over_hl7_is_played_and_nothing_else() -> None:
    dialects = {name for name in registry.dialects() if dialogue(name) is not None}
    assert dialects == set(WAYS) & set(registry.dialects())
    assert isinstance(dialogue(None), ByMessage)
    assert {find_asker(name).link for name in WAYS} == {"mllp"}


@pytest.mark.parametrize("name", sorted(WAYS))
async def test_an_analyzer_measures_what_was_ordered_and_nothing_else(name: str, tmp_path: Path) -> None:
    several = ("UREA",) if name == "mindray-bc5380" else ("GLU", "NA")  # a blood cell counter has one mode for a tube
    async with running_site(tmp_path, site_of(name)) as site:
        await ordered(site, "2603020001", *several)
        await ordered(site, "2603020002", "UREA")
        asks, talk = analyzer(site, name)

        await asks.work(["2603020001", "2603020009", "2603020002"])

        assert talk.tally.violations == []
        count = len(several) + 1
        assert asks.counts == {
            "asked": 3, "answered": 3, "none": 1, "orders": count, "unanswered": 0, "measured": count,
        }  # fmt: skip
        await site.settled()
        expected = {("2603020001", test): "resulted" for test in several} | {("2603020002", "UREA"): "resulted"}
        assert states(site) == expected
        await until(lambda: {one.outcome for one in queries(site.journal)} <= {"sent", "accepted"})
        assert "dead" not in {one.state for one in site.messages("asked")}


@asynccontextmanager
async def taking_orders() -> AsyncIterator[ServerWire]:
    (port,) = quiet_ports(1)
    wire = ServerWire(HostPort("127.0.0.1", port))
    await wire.listen()
    try:
        yield wire
    finally:
        await wire.close()


async def test_an_analyzer_of_ihe_law_takes_its_orders_on_a_connection_that_labrelay_opens(tmp_path: Path) -> None:
    async with taking_orders() as orders:
        port = int(orders.where.rpartition(":")[2])
        own = {"orders_on": "own", "connect": f"127.0.0.1:{port}"}
        async with running_site(tmp_path, site_of(LAW, **own)) as site:
            await ordered(site, "T1", "GLU", "NA")
            asks, talk = analyzer(site, LAW, orders=orders)
            await asks.work(["T1", "T2"])
            assert talk.tally.violations == []
            await site.settled()
            assert set(states(site).values()) == {"resulted"}


@pytest.mark.parametrize("name", ["cepheid-genexpert-hl7", "mindray-bs", LAW])
async def test_an_analyzer_refuses_a_test(name: str, tmp_path: Path) -> None:
    async with running_site(tmp_path, site_of(name)) as site:
        await ordered(site, "T1", "UREA")
        await ordered(site, "T2", "GLU")
        asks, talk = analyzer(site, name, refuses=["20"])
        await asks.work(["T1", "T2"])
        assert talk.tally.violations == []
        await site.settled()
        assert states(site) == {("T1", "UREA"): "refused", ("T2", "GLU"): "resulted"}


async def test_a_work_step_that_it_has_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    async with running_site(tmp_path, site_of(LAW)) as site:
        await ordered(site, "T1", "GLU")
        asks, talk = analyzer(site, LAW)
        assert await asks.ask("T1") is not None
        assert await asks.ask("T1") is not None
        assert talk.tally.violations == []
        await site.settled()
        assert states(site) == {("T1", "GLU"): "accepted"}


async def test_a_cancelled_order_is_given_up(tmp_path: Path) -> None:
    async with running_site(tmp_path, site_of(LAW)) as site:
        await ordered(site, "T1", "GLU")
        asks, talk = analyzer(site, LAW)
        await asks.ask("T1")
        ran = await site.labrelay("orders", "cancel", "W1", "--reason", "asked the ward")
        assert ran.code == 0, ran.err
        await until(lambda: _events(site, 1)[-1] == "cancel_sent")
        await asks.ask("T2")  # it takes what came before the answer
        await until(lambda: states(site) == {("T1", "GLU"): "cancelled"})
        assert talk.tally.violations == []


def _events(site: RunningSite, number: int) -> list[str]:
    found = read_item(site.journal, number)
    assert found is not None
    return [one.event for one in found.history]


async def test_an_answer_for_another_tube_is_told_in_words(tmp_path: Path) -> None:
    """The host is one that answers with orders of a tube that was not asked for."""
    other = "MSH|^~\\&|LIS||||1||ORR^O02|1|P|2.3.1\rMSA|AA|{}\rORC|AF|T9\rOBR|1|T9\rOBX|1|IS|08003^T^99MRC||CBC\r"
    (port,) = quiet_ports(1)

    async def answers(reader: Any, writer: Any) -> None:
        asked = (await reader.readuntil(b"\x1c\r")).decode().split("|")
        writer.write(b"\x0b" + other.format(asked[9]).encode() + b"\x1c\r")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answers, "127.0.0.1", port):
        talk = Dialogue()
        wire = ClientWire(HostPort("127.0.0.1", port))
        asks = AskingAnalyzer(find_asker("mindray-bc5380"), wire, talk, PlaySettings(seed=7), start=datetime.now(ZONE))
        assert await asks.ask("T1") is None
        await wire.close()
    assert talk.tally.violations == ["the answer for T1 is wrong: ORC-2 is 'T9'; due is 'T1'"]


async def test_the_command_plays_it_to_the_channel_and_listens_where_the_channel_connects(tmp_path: Path) -> None:
    (port,) = quiet_ports(1)
    own = {"orders_on": "own", "connect": f"127.0.0.1:{port}"}
    async with running_site(tmp_path, site_of(LAW, **own)) as site:
        await ordered(site, "T1", "GLU", "UREA")
        there = ("--connect", f"127.0.0.1:{site.port('asked')}", "--orders-listen", f"127.0.0.1:{port}")
        ran = await site.labrelay("simulate", LAW, "--ask", "--specimen", "T1", *there, "--refuse", "20", "-q")
        assert ran.code == 0, ran.out + ran.err
        assert "1 answers with 1 orders" in ran.out
        await site.settled()
        assert states(site) == {("T1", "GLU"): "resulted", ("T1", "UREA"): "refused"}
        ran = await site.labrelay("simulate", LAW, "--refuse", "20", *there)
        assert "give --ask, too" in ran.err
