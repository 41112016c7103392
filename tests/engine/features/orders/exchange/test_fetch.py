"""`labrelay orders fetch`: the analyzer is asked for results that it keeps; they come as ever."""

import asyncio
from pathlib import Path

from tests.engine.features.orders.exchange.test_kinds_of_questions import chemistry
from tests.support.asking import AskingAnalyzer, asking, result
from tests.support.running import RunningSite, astm_channel, running_site
from tests.support.waiting import until


async def fetched(site: RunningSite, analyzer: AskingAnalyzer, *how: str) -> bytes:
    """The request that the analyzer gets."""
    running = asyncio.create_task(site.labrelay("orders", "fetch", "chemistry", *how, "-o", "json"))
    request = await analyzer.answer()
    ran = await running
    assert ran.code == 0, ran.err
    assert ran.json["channel"] == "chemistry"
    return request


async def test_results_are_fetched_and_a_repeat_is_recognised(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        stored = result("00042", "P-17", "TSH3", "1.20")
        await analyzer.send(stored)
        await until(lambda: site.ends("chemistry") == ["delivered"])

        request = await fetched(site, analyzer, "--specimen", "00042")

        assert b"\rQ|1|^00042||ALL||||||||F\r" in request
        await analyzer.send(stored, result("00042", "P-17", "Ferritin", "30"))
        await until(lambda: len(site.messages("chemistry")) == 3 and site.is_settled())
        assert site.ends("chemistry") == ["delivered", "ECHO", "delivered"]


async def test_results_since_a_time_have_both_ends_in_the_zone_of_the_channel(tmp_path: Path) -> None:
    async with running_site(tmp_path, chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        request = await fetched(site, analyzer, "--since", "2026-11-20 08:00")
        assert b"\rQ|1|ALL||ALL|R|20261120080000|20" in request


async def test_a_cobas_c111_is_asked_for_one_tube_in_its_own_words(tmp_path: Path) -> None:
    channel = astm_channel(dialect="roche-cobas-c111", orders={"codes": {"GLU": "767"}})
    async with running_site(tmp_path, {"chemistry": channel}) as site, asking(site.port("chemistry")) as analyzer:
        request = await fetched(site, analyzer, "--specimen", "00042")
        assert request == b"H|\\^&|||LabRelay||||||RSREQ^REAL|P|1\rQ|1|^00042||ALL||||||||F\rL|1|N\r"


async def test_why_nothing_is_fetched_is_said(tmp_path: Path) -> None:
    channels = {
        **chemistry(),
        "access": astm_channel(dialect="beckman-access", orders={"codes": {"TSH": "TSH3"}}),
        "small": astm_channel(dialect="roche-cobas-c111", orders={"codes": {"GLU": "767"}}),
        "plain": astm_channel(),
    }
    async with running_site(tmp_path, channels) as site:
        for name, words in (
            ("chemistry", "is not connected"),
            ("plain", "has no orders:"),
            ("nowhere", "there is no channel nowhere"),
        ):
            ran = await site.labrelay("orders", "fetch", name, "--specimen", "00042")
            assert ran.code != 0
            assert words in ran.err, ran.err
        async with asking(site.port("access")):
            await until(lambda: bool(site.app.parts.sources["access"].channel.connections))
            ran = await site.labrelay("orders", "fetch", "access", "--since", "2h")
            assert ran.code != 0
            assert "gives no stored results" in ran.err
        async with asking(site.port("small")):
            await until(lambda: bool(site.app.parts.sources["small"].channel.connections))
            ran = await site.labrelay("orders", "fetch", "small", "--since", "2h")
            assert ran.code != 0
            assert "name it with --specimen" in ran.err
        ran = await site.labrelay("orders", "fetch", "chemistry")
        assert "--specimen or --since" in ran.err
