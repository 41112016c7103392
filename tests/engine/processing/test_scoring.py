"""Numbers of another program (`score:`), as a laboratory may expect them. A real server answers, slowly, or dies.

a high number            the result is held; the reason has number and version
a low number             it goes out
none, and no answer      it goes out, and its message says why there is no number
mapped again by hand     the program was not asked: a person decides
while it does not answer the ACK and other channels wait for nothing; after that it is not asked for a while
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from adapters.codecs.astm import records
from engine.config.reading.yaml_nodes import Node
from engine.features.results.lists.held_results import held_of
from engine.mapping.hold_rules.rules import RuleText, compile_holding
from engine.model.content.results import Result
from engine.model.errors import ConfigError
from engine.model.message import FormatOptions
from engine.model.texts.reasons import ReasonCode
from engine.processing.scoring import WITHIN_S, Numbers, answer_in, with_scores
from tests.engine.mapping.test_hold_rules import Known
from tests.support.asking import result
from tests.support.astm_peer import one_record_a_frame
from tests.support.astm_peer import session as frames
from tests.support.running import ASTM, RunningSite, channel, running_site
from tests.support.senders import AstmAnalyzer
from tests.support.waiting import until

ROUTE = {"mapping": "astm-results", "to": "lab-fhir"}


class Program:
    """The other program. ``answer``: a number, a text that is sent as it is, or None: it does not answer."""

    def __init__(self) -> None:
        self.answer: Any = 0.1
        self.asked: list[dict[str, Any]] = []
        self.dies = False
        self.ending = asyncio.Event()

    async def score(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        if self.dies:
            assert request.transport is not None
            request.transport.close()
        if self.answer is None:
            await self.ending.wait()
        if isinstance(self.answer, str):
            return web.Response(text=self.answer)
        if isinstance(self.answer, int):
            return web.Response(status=self.answer)
        return web.json_response({"version": "m7", "scores": [self.answer] * len(self.asked[-1]["results"])})


@asynccontextmanager
async def program() -> AsyncIterator[tuple[Program, str]]:
    made, app = Program(), web.Application()
    app.router.add_post("/score", made.score)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield made, f"http://127.0.0.1:{runner.addresses[0][1]}/score"
    finally:
        made.ending.set()
        await runner.cleanup()


@asynccontextmanager
async def site_of(folder: Path) -> AsyncIterator[tuple[RunningSite, Program]]:
    async with program() as (made, url):
        rule = {"when": "=score > 0.9", "name": "model", "score": url}
        channels = {"chem": channel(ASTM, {**ROUTE, "hold": [rule]}), "other": channel(ASTM, ROUTE)}
        async with running_site(folder, channels) as site:
            yield site, made


async def send(site: RunningSite, value: str, to: str = "chem", specimen: str = "T1") -> None:
    played = await AstmAnalyzer(site.port(to)).play(frames(*one_record_a_frame(result(specimen, "P-17", "GLU", value))))
    assert not played.gave_up


def last(site: RunningSite, name: str = "chem") -> tuple[str, str, list[str]]:
    """State and reason of the newest delivery of a channel, and the warnings of its message."""
    trace = site.trace(site.messages(name)[-1].id)
    (delivery,) = trace.deliveries
    why = next((one.detail for one in held_of(site.journal, trace.message.id)), "")
    return delivery.state, why, [one["text"] for one in trace.issues if one["code"] == "NO_SCORE"]


async def test_a_high_number_holds_with_its_version_and_a_low_one_does_not(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, other):
        await send(site, "5.1")
        await site.settled()
        assert last(site)[0] == "delivered"
        other.answer = 0.97
        await send(site, "9.9", specimen="T2")
        await site.settled()
        state, why, _ = last(site)
        assert state == "held"
        assert "score 0.97 of m7" in why
        said = json.dumps(other.asked)
        assert '"9.9"' in said
        assert not [one for one in ("T1", "T2", "P-17", "LabRelay") if one in said], "no name and no number goes there"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (503, "HTTP 503"),
        ("{}", "its answer is no score"),
        ('{"version": "m7", "scores": [0.5, 0.5]}', "its answer is no score"),
        ('{"version": "m7", "scores": ["0.97"]}', "its answer is no score"),
        ('{"version": "m7", "scores": [NaN]}', "its answer is no score"),
        ('{"version": "m7", "scores": [null]}', "its program gave none for a result"),
    ],
)
async def test_without_a_number_it_goes_out_and_says_so(tmp_path: Path, answer: Any, why: str) -> None:
    async with site_of(tmp_path) as (site, other):
        other.answer = answer
        await send(site, "5.1")
        await site.settled()
        assert last(site) == ("delivered", "", [f"the rule model has no number: {why}"])


async def test_a_program_that_dies_is_not_asked_for_a_while(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, other):
        other.dies = True
        await send(site, "5.1")
        await site.settled()
        assert last(site)[0] == "delivered"
        assert len(last(site)[2]) == 1
        await send(site, "5.2", specimen="T2")
        await site.settled()
        assert last(site)[2] == ["the rule model has no number: its program failed a moment ago"]
        assert len(other.asked) == 1


async def test_a_slow_program_delays_no_ack_and_no_other_channel(tmp_path: Path) -> None:
    async with site_of(tmp_path) as (site, other):
        other.answer = None
        await send(site, "5.1")  # it returns once its ACK is there
        await until(lambda: bool(other.asked))
        await send(site, "6.1", "other", "T2")
        await until(lambda: site.ends("other") == ["delivered"])
        assert site.messages("other")[-1].id > site.messages("chem")[-1].id
        await site.settled()
        assert last(site) == ("delivered", "", [f"the rule model has no number: no answer within {WITHIN_S:g} s"])


def test_what_its_program_was_not_asked_about_is_held() -> None:
    node = Node(kind="scalar", file="c.yaml", line=1, column=1, value="=score > 0.9")
    holding = compile_holding([RuleText(node, name="m", score="http://127.0.0.1/")], "astm", "fhir/R4", [])
    facts = holding.facts(records.parse(result("T1", "P-17", "GLU", "5.1"), FormatOptions()), [Result()])
    nothing: dict[str, Numbers | None] = {"m": None}
    said = [holding.about(one).decide(Known(), 0) for one in (facts, with_scores(facts, nothing))]
    assert [one and one.reason for one in said] == [ReasonCode.HOLD_UNDECIDED, None]


@pytest.mark.parametrize(
    ("url", "when"), [("http://10.0.0.7/", "=score > 1"), ("http://127.0.0.1/", "=value > 1"), (None, "=score > 1")]
)
async def test_a_rule_that_sends_in_clear_or_asks_for_nothing_is_refused(
    tmp_path: Path, url: str | None, when: str
) -> None:
    rule = {"when": when, "name": "model"} | ({"score": url} if url else {})
    with pytest.raises(ConfigError):
        async with running_site(tmp_path, {"chem": channel(ASTM, {**ROUTE, "hold": [rule]})}):
            pass


def test_an_answer_keeps_its_digits() -> None:
    assert answer_in(b'{"version": "m7", "scores": [0.10, 1e-7, null, 3]}', 4) == (
        "m7",
        ["0.1", "0.0000001", None, "3"],
    )
