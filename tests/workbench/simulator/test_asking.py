"""A simulated analyzer of each kind asks a whole site for its orders, over TCP, and measures exactly these."""

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from adapters.codecs.astm.dialogue import dialogue
from engine.config import registry
from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from engine.model.errors import LabRelayError
from engine.model.texts.units import HostPort
from tests.support.running import RunningSite, astm_channel, running_site
from tests.support.waiting import until
from workbench.errors import WrongAnswerError
from workbench.simulator.asking import AskingAnalyzer, find_asker, question, read_answer
from workbench.simulator.asking_forms import FORMS, GENERIC
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.faults import Fault
from workbench.simulator.play import PlaySettings
from workbench.simulator.wires import ClientWire

CODES = {"GLU": "10", "UREA": "20", "NA": "30"}
START = datetime(2026, 3, 2, 8, 0)
ZONE = ZoneInfo("Asia/Kolkata")  # of the site


def site_of(name: str) -> dict[str, Any]:
    more = {} if name == GENERIC else {"dialect": name}
    return {"asked": astm_channel(orders={"answer": "query", "codes": CODES, "deadline": "60s"}, **more)}


def analyzer(site: RunningSite, name: str, *faults: Fault) -> tuple[AskingAnalyzer, Dialogue]:
    talk = Dialogue()
    wire = ClientWire(HostPort("127.0.0.1", site.port("asked")))
    manner = PlaySettings(seed=7, faults=frozenset(faults), again_after=0.01)
    return AskingAnalyzer(find_asker(name), wire, talk, manner, start=datetime.now(ZONE)), talk


async def ordered(site: RunningSite, tube: str, *tests: str) -> None:
    ran = await site.labrelay("orders", "add", tube, *tests, "--patient", f"P-{tube}")
    assert ran.code == 0, ran.err


def states(site: RunningSite) -> dict[tuple[str, str], str]:
    return {(one.line.specimen, one.line.test): one.state.value for one in read_items(site.journal, ItemFilter())}


def test_what_is_played_is_answered() -> None:
    assert set(FORMS) <= {GENERIC, *(name for name in registry.dialects() if dialogue(name) is not None)}


@pytest.mark.parametrize("name", sorted(FORMS))
async def test_an_analyzer_measures_what_was_ordered_and_nothing_else(name: str, tmp_path: Path) -> None:
    async with running_site(tmp_path, site_of(name)) as site:
        await ordered(site, "2603020001", "GLU", "NA")
        await ordered(site, "2603020002", "UREA")
        asks, talk = analyzer(site, name)

        await asks.work(["2603020001", "2603020009", "2603020002"])

        assert talk.tally.violations == []
        assert asks.counts == {"asked": 3, "answered": 3, "none": 1, "orders": 3, "unanswered": 0, "measured": 3}
        await site.settled()
        assert states(site) == {
            ("2603020001", "GLU"): "resulted",
            ("2603020001", "NA"): "resulted",
            ("2603020002", "UREA"): "resulted",
        }
        await until(lambda: [one.outcome for one in queries(site.journal)] == ["sent", "sent", "sent"])
        results = [site.end_of(one.id) for one in site.messages("asked") if site.end_of(one.id) != "QUESTION"]
        assert results == ["delivered", "delivered"]


async def test_faults_on_the_line_cost_no_order(tmp_path: Path) -> None:
    async with running_site(tmp_path, site_of(GENERIC)) as site:
        tubes = [f"T{number}" for number in range(8)]
        for tube in tubes:
            await ordered(site, tube, "GLU")
        asks, talk = analyzer(site, GENERIC, Fault.BAD_CHECKSUM, Fault.LOST_ACK, Fault.SPLIT)

        await asks.work(tubes)

        assert talk.tally.violations == []
        assert talk.tally.faults["bad-checksum"] > 0
        await site.settled()
        assert set(states(site).values()) == {"resulted"}


async def test_a_host_that_says_nothing_is_asked_again_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.simulator.asking.ANSWER_WITHIN_S", 0.05)
    async with running_site(tmp_path, {"asked": astm_channel()}) as site:
        asks, talk = analyzer(site, GENERIC)
        await asks.work(["T1"])
        assert asks.counts["asked"] == 3
        assert asks.counts["unanswered"] == 1
        assert talk.tally.violations == []
        await until(lambda: len(site.messages("asked")) == 3)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("H|\\^&|||LIS\rP|1\rO|1|T2||^^^10|R\rL|1|F\r", "O-3 is 'T2'; asked for was 'T1'"),
        ("H|\\^&|||LIS\rP|1\rO|1|T1||^^^10\\^^^10|R\rL|1|F\r", "comes twice: 10, 10"),
        ("H|\\^&|||LIS\rP|1\rO|1|T1||^^^10|R\r", "records HPO"),
        ("H|`^&|||LIS\rL|1|I\r", "H-2 is `^&"),
        ("H|\\^&|||LIS\rP|1\rL|1|F\r", "no order, and the records HPL"),
    ],
)
def test_a_wrong_answer_is_told_in_words(answer: str, words: str) -> None:
    with pytest.raises(WrongAnswerError, match=words.replace("^", "\\^").replace("`", "`")):
        read_answer(answer.encode(), FORMS[GENERIC], "T1")


def test_the_questions_are_those_of_the_makers() -> None:
    asked = question(FORMS["sysmex"], "1234567890", datetime(2001, 10, 11, 15, 30))
    assert asked.split(b"\r")[1] == b"Q|1|2^1^            1234567890^B||||20011011153000"
    asked = question(FORMS["roche-cobas-e411"], "0000000387", START)
    assert asked.split(b"\r")[1] == b"Q|1|^^0000000387^587^0^2^^S1^SC||ALL||||||||A"


def test_an_analyzer_that_sends_results_only_is_refused_with_the_names_of_those_that_ask() -> None:
    with pytest.raises(LabRelayError, match="these do: abbott-architect-astm, beckman-access"):
        find_asker("siemens-dca-vantage")
    assert find_asker("sysmex-xn").dialect == "sysmex"
