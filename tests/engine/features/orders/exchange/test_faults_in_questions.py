"""A fault of ours while a question is read, looked up or answered: the line ends, the analyzer asks again, and gets its
answer. Over real sockets, for each way in which analyzers ask.
"""

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.features.orders import rows as worklist
from engine.features.orders.exchange import desk
from engine.features.orders.exchange.asking import Asking
from engine.features.orders.exchange.lines import Line
from engine.features.orders.rows.order_questions import queries
from engine.model.orders import OrderedPatient, OrderLine
from engine.monitoring.counters import Counters
from engine.monitoring.logs import Fields, JsonFormatter
from engine.processing.intake import Intake
from tests.engine.features.orders.exchange.test_hl7_questions import (
    A19_QUERY,
    BC_QUERY,
    BS_QUERY,
    GX_QUERY,
    analyzer,
    becomes,
    ordered,
    states,
)
from tests.engine.features.orders.exchange.test_law import law, query, result
from tests.engine.features.orders.exchange.test_questions import chemistry
from tests.support.asking import asking, fields, question
from tests.support.asking import result as astm_result
from tests.support.asking_hl7 import asking_hl7, values
from tests.support.running import RunningSite, running_site
from tests.support.waiting import until

SECRET = "Rao-P4711"  # in the words of each fault


class Way(NamedTuple):
    """How an analyzer asks: the channel, its question, the tube and the test, the message of the answer."""

    channels: dict[str, Any]
    asks: str
    tube: str
    test: str
    answer: str


WAYS = {
    "law": Way(law(), query("022"), "022", "TSH", "RSP^K11^RSP_K11"),
    "mindray-bs": Way(analyzer("mindray-bs"), BS_QUERY, "34567743", "TSH", "QCK^Q02"),
    "mindray-bc": Way(analyzer(), BC_QUERY, "SampleID1", "CBC", "ORR^O02"),
    "genexpert": Way(analyzer("cepheid-genexpert-hl7"), GX_QUERY, "s1", "MRSA", "RSP^Z02"),
}


class Place(NamedTuple):
    """Where the fault is: the owner of the function, its name, how many calls of it fail."""

    owner: Callable[[RunningSite, str], Any]
    name: str
    calls: int = 1


def _asking(site: RunningSite, name: str) -> Asking:
    found = site.app.parts.built.channels[name].asking
    assert found is not None
    return found


def _format_of(site: RunningSite, name: str) -> Any:
    found = _asking(site, name).message_format
    return found if inspect.ismodule(found) else type(found)


PLACES = {
    "put the message before off": Place(lambda site, name: desk.Desk, "_put_off"),
    "know how it asks": Place(lambda site, name: site.app.parts.sources[name].desk, "_asking"),
    "parse": Place(_format_of, "parse"),
    "find the question": Place(lambda site, name: desk, "question_in"),
    "throw the answer before away": Place(lambda site, name: desk.Desk, "_drop"),
    "say within which time": Place(lambda site, name: Asking, "waits_s"),
    "know what to look up": Place(lambda site, name: Asking, "look_up"),
    # Operations of a batch that has failed run again one by one.
    "look up": Place(lambda site, name: worklist, "answer", calls=2),
    "know what is said of the time": Place(lambda site, name: Asking, "context"),
    "write": Place(lambda site, name: type(_asking(site, name).dialogue), "answer"),
    "give it to the link": Place(lambda site, name: Line, "offer"),
}


def fails(monkeypatch: pytest.MonkeyPatch, site: RunningSite, name: str, place: Place) -> None:
    """The next call fails, with words about a patient; later ones do as ever."""
    owner = place.owner(site, name)
    original = getattr(owner, place.name)
    is_static = isinstance(inspect.getattr_static(owner, place.name), staticmethod)
    left = place.calls

    def failing(*arguments: Any, **more: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise RuntimeError(SECRET)
        return original(*arguments, **more)

    failing.__dict__.update(getattr(original, "__dict__", {}))
    monkeypatch.setattr(owner, place.name, staticmethod(failing) if is_static else failing)


def kept(site: RunningSite, name: str) -> bool:
    """Whether the journal has each question once: the second is a repeat where the first has its outcome by then."""
    return site.ends(name) in (["QUESTION", "QUESTION"], ["QUESTION", "REPEAT"])


def of_the_fault(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of the log about it, as the daemon writes them."""
    formatter = JsonFormatter(Fields(Counters()))
    return [formatter.format(one) for one in caplog.records if one.name.startswith("labrelay") and one.exc_info]


def is_in_the_log_without_patient(caplog: pytest.LogCaptureFixture) -> bool:
    found = of_the_fault(caplog)
    return any("RuntimeError" in one for one in found) and not any(SECRET in one for one in found)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
async def test_an_analyzer_on_mllp_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str, place: str
) -> None:
    channels, asks, tube, test, expected = WAYS[way]
    async with running_site(tmp_path, channels) as site:
        await ordered(site, OrderLine(specimen=tube, test=test, patient=OrderedPatient(number="P1", given="Tom")))
        async with asking_hl7(site.port("lab")) as line:
            fails(monkeypatch, site, "lab", PLACES[place])
            line.send(asks)
            assert await line.is_closed(), "it has said something"
        assert states(site) == ["waiting"]
        async with asking_hl7(site.port("lab")) as line:
            assert values(await line.ask(asks), "MSH", 9) == [expected]
            await becomes(site, "offered")
        await site.settled()
        assert kept(site, "lab")
    assert is_in_the_log_without_patient(caplog)


@pytest.mark.parametrize("place", ["parse", "look up"])
async def test_one_that_asks_who_a_patient_is_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    async with running_site(tmp_path, analyzer()) as site:
        async with asking_hl7(site.port("lab")) as line:
            fails(monkeypatch, site, "lab", PLACES[place])
            line.send(A19_QUERY)
            assert await line.is_closed(), "it has said something"
        async with asking_hl7(site.port("lab")) as line:
            assert values(await line.ask(A19_QUERY), "MSH", 9) == ["ADR^A19"]


@pytest.mark.parametrize("place", PLACES)
async def test_an_analyzer_with_a_commit_accept_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """It may have heard that its question has arrived, and nothing more."""
    asks = query("022").replace("|ER|AL|", "|AL|AL|")
    async with running_site(tmp_path, law()) as site:
        await ordered(site, OrderLine(specimen="022", test="TSH"))
        async with asking_hl7(site.port("lab")) as line:
            fails(monkeypatch, site, "lab", PLACES[place])
            line.send(asks)
            with pytest.raises(asyncio.IncompleteReadError):
                assert values(await line.hear(), "MSA", 1) == ["CA"]
                await line.hear()
        async with asking_hl7(site.port("lab")) as line:
            assert values(await line.ask(asks), "MSA", 1) == ["CA"]
            assert values(await line.hear(), "QAK", 2) == ["OK"]
            await becomes(site, "offered")


@pytest.mark.parametrize("place", PLACES)
async def test_an_analyzer_over_astm_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        await ordered(site, OrderLine(specimen="00042", test="TSH", patient=OrderedPatient(number="P1", given="Tom")))
        async with asking(site.port("chemistry")) as line:
            fails(monkeypatch, site, "chemistry", PLACES[place])
            with pytest.raises((asyncio.IncompleteReadError, AssertionError, OSError)) as ended:
                await line.ask(question("00042"))
            assert "closed" in str(ended.value) or not isinstance(ended.value, AssertionError)
        assert states(site) == ["waiting"]
        async with asking(site.port("chemistry")) as line:
            assert fields(await line.ask(question("00042")), "O")
            await becomes(site, "offered")
        await site.settled()
        assert kept(site, "chemistry")
    assert is_in_the_log_without_patient(caplog)


async def test_a_fault_of_intake_leaves_no_question_without_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_site(tmp_path, law()) as site:
        await ordered(site, OrderLine(specimen="022", test="TSH"))
        async with asking_hl7(site.port("lab")) as line:
            fails(monkeypatch, site, "lab", Place(lambda site, name: Intake, "accept"))
            assert values(await line.ask(query("022")), "QAK", 2) == ["OK"]
            await becomes(site, "offered")


@pytest.mark.parametrize("place", ["put the message before off", "know how it asks", "parse", "find the question"])
async def test_a_result_is_acknowledged_whatever_the_desk_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """Else its analyzer would send it without an end."""
    sent = result("W1", "022", "658^TSH^99ABT", "1.2")
    async with running_site(tmp_path, law()) as site, asking_hl7(site.port("lab")) as line:
        fails(monkeypatch, site, "lab", PLACES[place])
        assert values(await line.ask(sent), "MSA", 1) == ["AA"]
        assert values(await line.ask(query("022")), "QAK", 2) == ["OK"]
    assert is_in_the_log_without_patient(caplog)
    async with running_site(tmp_path / "astm", chemistry()) as site, asking(site.port("chemistry")) as analyzer:
        fails(monkeypatch, site, "chemistry", PLACES[place])
        await analyzer.send(astm_result("00042", "P-17", "TSH3", "1.20"))
        assert fields(await analyzer.ask(question("00042")), "O") == []


async def test_each_question_is_on_the_list_with_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_site(tmp_path, law()) as site:
        await ordered(site, OrderLine(specimen="022", test="TSH"))
        for place in ("find the question", "write"):
            async with asking_hl7(site.port("lab")) as line:
                fails(monkeypatch, site, "lab", PLACES[place])
                line.send(query("022"))
                assert await line.is_closed()
            monkeypatch.undo()
        await site.settled()
        await until(lambda: sorted(one.outcome for one in queries(site.journal)) == ["fault", "interrupted"])
        assert states(site) == ["waiting"]


@pytest.mark.parametrize(("place", "then"), [("parse", "acknowledged"), ("write", "ended later")])
async def test_a_fault_that_stays_does_not_have_an_analyzer_ask_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, then: str
) -> None:
    monkeypatch.setattr(desk, "FAULTS_WITHIN_S", 3600.0)
    later: list[Any] = []
    monkeypatch.setattr(desk.Desk, "_end_idle", staticmethod(later.append))
    monkeypatch.setattr(desk, "LATER_S", 0.0)
    async with running_site(tmp_path, law()) as site:
        await ordered(site, OrderLine(specimen="022", test="TSH"))
        fails(monkeypatch, site, "lab", PLACES[place]._replace(calls=1000))
        for _ in range(desk.FAULTS):
            async with asking_hl7(site.port("lab")) as line:
                line.send(query("022"))
                assert await line.is_closed(), "it has said something"
        assert later == []
        async with asking_hl7(site.port("lab")) as line:
            if then == "acknowledged":
                assert values(await line.ask(query("022")), "MSA", 1) == ["AA"]
                assert values(await line.ask(result("W1", "022", "658^TSH^99ABT", "1.2")), "MSA", 1) == ["AA"]
            else:
                line.send(query("022"))
                await until(lambda: len(later) == 1)
