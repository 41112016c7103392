"""IHE LAW with orders: LAB-27, LAB-28 and LAB-29 over real sockets, on the question's connection and on our own.

Each assertion of the test tools that concerns the side of LabRelay (the analyzer manager) is a test of its name.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rows.reading import ItemDetails, ItemFilter, items, without_order
from engine.features.orders.rows.reading import item as read_item
from engine.model.orders import OrderedPatient
from engine.model.process.clock import SystemClock
from engine.model.worklist import DAY_US
from tests.engine.features.orders.exchange.test_hl7_questions import (
    becomes,
    line,
    ordered,
    reasons,
    states,
    without_ours,
)
from tests.support.asking_hl7 import AskingHl7, TakingAnalyzer, asking_hl7, taking, values
from tests.support.running import MLLP, RunningSite, channel, running_site
from tests.support.waiting import until

CODES = {"TSH": "658^TSH^99ABT", "FT4": "20490^^99ROC", "CTNG": "72828-7^CT/NG^LN"}
ORDERS = {"answer": "query", "codes": CODES, "deadline": "60s"}
OUL = {"when": "=MSH-9.1 == 'OUL'", "mapping": "hl7-oul-results", "to": "lab-fhir"}
WHO = OrderedPatient(number="P1")
HEAD = "MSH|^~\\&|BA200|Biosystems|Host|Host provider|20250305201642||{}|{}|P|2.5.1|||{}||UNICODE UTF-8|||{}^IHE\n"


def query(specimen: str, name: str = "WOS^Work Order Step^IHE_LABTF", tag: str = "dd980f", number: str = "dd98") -> str:
    """QBP^Q11, as BioSystems prints it; of a rack or tray, ``specimen`` has the fields behind."""
    asks = f"QPD|{name}|{tag}|{specimen}".rstrip("|")
    return HEAD.format("QBP^Q11^QBP_Q11", number, "ER|AL", "LAB-27") + f"{asks}\nRCP|I||R"


def answer_to(order: list[str], *steps: tuple[str, str], code: str = "AA", structure: str = "ORL_O42") -> str:
    """ORL^O34: the analyzer's answer to an OML; of each work step ORC-2 and ORC-1."""
    (number,) = values(order, "MSH", 10)
    said = [f"MSH|^~\\&|A||H||1||ORL^O34^{structure}|o{number}|P|2.5.1".replace("^|", "|"), f"MSA|{code}|{number}"]
    if steps:
        said += ["SPM|1|x||||||||||P", "SAC|||x"]
    said += [f"ORC|{how}|{step}|||{'SC' if how == 'OK' else 'CA'}" for step, how in steps]
    return "\n".join(said)


def result(
    step: str, specimen: str, code: str, value: str, *, more: str = "", role: str = "P", number: str = "r1"
) -> str:
    """OUL^R22 of one specimen and one work step."""
    return HEAD.format("OUL^R22^OUL_R22", number, "NE|AL", "LAB-29") + (
        f"PID|||P1\nSPM|1|{specimen}||SER^Serum^HL70487|||||||{role}^^HL70369\nSAC|||{specimen}\n"
        f"OBR|1|{step}||{code}{more}\nORC|SC||||CM\n"
        f"OBX|1|NM|{code}||{value}|mIU/L|||||F|||20250305201600"
    )


def law(**orders: Any) -> dict[str, Any]:
    return {"lab": channel(MLLP, OUL, orders={**ORDERS, **orders})}


@asynccontextmanager
async def law_site(folder: Path, **orders: Any) -> AsyncIterator[tuple[RunningSite, AskingHl7]]:
    async with running_site(folder, law(**orders)) as site, asking_hl7(site.port("lab")) as analyzer:
        yield site, analyzer


@asynccontextmanager
async def own_site(folder: Path, **orders: Any) -> AsyncIterator[tuple[RunningSite, AskingHl7, TakingAnalyzer]]:
    """The analyzer takes orders on an address of its own."""
    async with taking() as takes:
        own = {"orders_on": "own", "connect": f"127.0.0.1:{takes.port}"}
        async with law_site(folder, **own, **orders) as (site, analyzer):
            yield site, analyzer, takes


async def asked(analyzer: AskingHl7, message: str) -> tuple[list[str], list[str]]:
    """RSP^K11 and the OML^O33 that follows on the same connection."""
    return await analyzer.ask(message), await analyzer.hear()


# -- LAB-27 and LAB-28 on the connection of the question ---------------------------------------------------------------


async def test_a_query_gets_a_response_without_orders_and_then_one_oml(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO, specimen_namespace="BARCODE", specimen_type="SER"))

        response, order = await asked(analyzer, query("022"))

        assert without_ours(response) == [
            r"MSH|^~\&|Host||BA200||||RSP^K11^RSP_K11||P|2.5.1||||||UNICODE UTF-8|||LAB-27^IHE",
            "MSA|AA|dd98",
            "QAK|dd980f|OK|WOS^Work Order Step^IHE_LABTF",
            "QPD|WOS^Work Order Step^IHE_LABTF|dd980f|022",
        ]
        (now,) = values(order, "MSH", 7)
        assert without_ours(order) == [
            r"MSH|^~\&|Host||BA200||||OML^O33^OML_O33||P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-28^IHE",
            "SPM|1|022&BARCODE||SER^Serum^HL70487|||||||P^^HL70369",
            "SAC|||022",
            f"ORC|NW||||||||{now}",
            "TQ1|||||||||R^^HL70485",
            "OBR||W1||658^TSH^99ABT",
            "TCD|658^TSH^99ABT",
        ]
        await becomes(site, "offered")
        analyzer.send(answer_to(order, ("W1", "OK")))
        await becomes(site, "accepted")
        await site.settled()
        assert site.ends("lab") == ["QUESTION", "ORDER_ANSWER"]


@pytest.mark.parametrize(
    "name",
    [
        "WOS^Work Order Step^IHE_LABTF",
        "WOS^Work Order Step^IHELAW",
        "WOS^Work Order Step^HL70487",
        "INISEQ^^99ROC",
        "INIBAR^^99ROC",
    ],
)
async def test_qpd_1_is_compared_by_its_first_component_and_echoed_whole(tmp_path: Path, name: str) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        response, order = await asked(analyzer, query("022", name))
        assert (values(response, "QPD", 1), values(response, "QAK", 3)) == ([name], [name])
        assert values(order, "OBR", 2) == ["W1"]


async def test_a_query_that_cannot_be_read_is_ae_and_no_order_follows(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        response = await analyzer.ask(query("022", "SOMETHING^^ELSE"))
        assert (values(response, "MSA", 1), values(response, "QAK", 2)) == (["AE"], ["AE"])
        again, order = await asked(analyzer, query("022"))  # nothing came between
        assert (values(again, "QAK", 2), values(order, "OBR", 2)) == (["OK"], ["W1"])


async def test_for_one_specimen_asked_only_that_specimen_is_sent(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO), line("0220", "TSH", WHO), line("22", "FT4", WHO))
        _, order = await asked(analyzer, query("022"))
        assert (values(order, "SAC", 3), values(order, "OBR", 2)) == (["022"], ["W1"])
        await becomes(site, "offered", "waiting", "waiting")


async def test_several_containers_of_one_query_get_a_message_each(tmp_path: Path) -> None:
    """QPD-3 is one container in the framework; where an analyzer repeats it, none of them is left out."""
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO), line("023", "FT4", OrderedPatient(number="P2")))

        response, order = await asked(analyzer, query("022~none~023~022|7|4"))

        assert response[-1] == "QPD|WOS^Work Order Step^IHE_LABTF|dd980f|022~none~023~022|7|4"
        given = {}
        for more in (True, True, False):
            (tube,) = values(order, "SAC", 3)
            given[tube] = (values(order, "ORC", 1), values(order, "OBR", 2), values(order, "SAC", 10))
            steps = [(step, "OK") for step in values(order, "OBR", 2)]
            analyzer.send(answer_to(order, *steps))
            order = await analyzer.hear() if more else []
        assert given == {
            "022": (["NW"], ["W1"], [""]), "023": (["NW"], ["W2"], [""]), "none": (["DC"], [], [""]),
        }  # fmt: skip
        await becomes(site, "accepted", "accepted")


async def test_rack_and_position_of_the_query_are_echoed(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        _, order = await asked(analyzer, query("022|50001|1"))
        assert "SAC|||022|||||||50001|1" in order


async def test_no_work_is_a_negative_oml_and_changes_nothing(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        response, order = await asked(analyzer, query("20250107000003"))
        assert values(response, "QAK", 2) == ["OK"]
        (now,) = values(order, "MSH", 7)
        assert order[1:] == ["SPM|1||||||||||U^^HL70369", "SAC|||20250107000003", f"ORC|DC||||||||{now}"]
        analyzer.send(answer_to(order))
        analyzer.send(answer_to(order, code="AR") + "\nERR|||204^Unknown key identifier^HL70357|E")
        await site.settled()
        await until(lambda: len(site.messages("lab")) == 3)
        await site.settled()
        assert site.ends("lab") == ["QUESTION", "ORDER_ANSWER", "ORDER_ANSWER"]


async def test_wos_all_is_everything_open_in_several_oml_each_after_the_answer_to_the_one_before(
    tmp_path: Path,
) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, *(line(f"T{at}", "TSH", WHO) for at in (1, 2, 3)))
        response = await analyzer.ask(query("", "WOS_ALL^Work Order Step All^IHE_LABTF"))
        assert response[-1] == "QPD|WOS_ALL^Work Order Step All^IHE_LABTF|dd980f"
        seen = []
        for _ in range(3):
            order = await analyzer.hear()
            seen += values(order, "SAC", 3)
            assert states(site).count("offered") <= 1  # nothing is sent beside the one that is awaited
            analyzer.send(answer_to(order, (values(order, "OBR", 2)[0], "OK")))
        assert sorted(seen) == ["T1", "T2", "T3"]
        await becomes(site, "accepted", "accepted", "accepted")


async def test_wos_all_is_capped_by_the_setting_and_marked(tmp_path: Path) -> None:
    async with law_site(tmp_path, all_limit=2) as (site, analyzer):
        await ordered(site, *(line(f"T{at}", "TSH", WHO) for at in (1, 2, 3)))
        await analyzer.ask(query("", "WOS_ALL"))
        for _ in range(2):
            order = await analyzer.hear()
            analyzer.send(answer_to(order, (values(order, "OBR", 2)[0], "OK")))
        await until(lambda: states(site).count("accepted") == 2)
        (found,) = queries(site.journal)
        assert (found.cut, states(site).count("waiting")) == (True, 1)


async def test_wos_all_without_work_has_one_negative_oml(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (_, analyzer):
        _, order = await asked(analyzer, query("", "WOS_ALL"))
        assert (values(order, "ORC", 1), values(order, "OBR", 2)) == (["DC"], [])


@pytest.mark.parametrize(
    ("places", "given", "found"),
    [
        ("|R7|3", {"rack": "R7", "position": "3"}, ["022"]),  # the LIS said it today
        ("|R7|4", {"rack": "R7", "position": "3"}, [""]),
        ("|R7|3", {}, [""]),
        ("|R7", {"rack": "R7", "position": "3"}, [""]),
        ("|||R7|3", {"rack": "R7", "position": "3"}, [""]),  # a tray is no rack
        ("|||Y7|4", {"tray": "Y7", "tray_position": "4"}, ["022"]),
        ("|||Y7|3", {"tray": "Y7", "tray_position": "4"}, [""]),
        ("|||Y7", {"tray": "Y7", "tray_position": "4"}, [""]),
        ("|Y7|4", {"tray": "Y7", "tray_position": "4"}, [""]),
    ],
)
async def test_by_rack_or_tray_is_answered_only_if_the_lis_gave_positions(
    tmp_path: Path, places: str, given: dict[str, str], found: list[str]
) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO, **given))
        _, order = await asked(analyzer, query(places))
        assert values(order, "SAC", 3) == found
        assert values(order, "ORC", 1) == (["NW"] if found != [""] else ["DC"])
        if found != [""]:
            assert ("SAC|||022|||||||R7|3" if "rack" in given else "SAC|||022||||||||||Y7|4") in order


async def test_a_place_that_the_lis_gave_yesterday_is_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO, tray="Y7", tray_position="4"))
        tomorrow = site.app.clock.now_us() + DAY_US
        monkeypatch.setattr(SystemClock, "now_us", lambda _: tomorrow)
        _, order = await asked(analyzer, query("|||Y7|4"))
        assert values(order, "ORC", 1) == ["DC"]


async def test_two_tubes_at_one_place_are_no_work(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        place = {"rack": "R7", "position": "3"}
        await ordered(site, line("022", "TSH", WHO, **place), line("023", "TSH", WHO, **place))
        _, order = await asked(analyzer, query("|R7|3"))
        assert values(order, "ORC", 1) == ["DC"]
        assert states(site) == ["waiting", "waiting"]


# -- LAB-29 ------------------------------------------------------------------------------------------------------------


async def test_a_result_closes_its_work_step_and_the_repeated_message_is_acknowledged_aa_again(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO), line("022", "FT4", WHO))
        await asked(analyzer, query("022"))
        first = await analyzer.ask(result("W1", "022", "658^TSH^99ABT", "1.2"))
        again = await analyzer.ask(result("W1", "022", "658^TSH^99ABT", "1.2"))
        assert (values(first, "MSA", 1), values(again, "MSA", 1)) == (["AA"], ["AA"])
        await becomes(site, "resulted", "offered")
        await site.settled()
        assert site.ends("lab") == ["QUESTION", "delivered", "ECHO"]


async def test_a_result_of_a_pool_is_no_patients_and_no_order_is_invented(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        assert values(await analyzer.ask(result('""', "077", "658^TSH^99ABT", "9.9", role="L")), "MSA", 1) == ["AA"]
        await site.settled()
        assert site.ends("lab") == ["QUALITY_CONTROL"]
        assert states(site) == []


async def test_a_result_that_was_ordered_at_the_analyzer_has_an_order_of_its_own_and_is_listed_without_one(
    tmp_path: Path,
) -> None:
    """Filed by its specimen, never dropped; the laboratory system has no order for it, so a person sees it."""
    async with law_site(tmp_path) as (site, analyzer):
        assert values(await analyzer.ask(result('""', "077", "658^TSH^99ABT", "9.9")), "MSA", 1) == ["AA"]
        await site.settled()
        assert site.ends("lab") == ["delivered"]
        (made,) = histories(site)
        assert (made.item.state, made.item.origin, made.item.parent, made.item.line.test) == (
            "resulted", "analyzer", 0, "TSH",
        )  # fmt: skip
        assert [(one.event, one.state, one.cause, one.channel) for one in made.history] == [
            ("taken", "accepted", "ordered at the analyzer", "lab"),
            ("final", "resulted", "", "lab"),
        ]
        assert [one.results for one in without_order(site.journal)] == [1]


def reflex(parent: str = "W1", test: str = "", step: str = '""', **more: Any) -> str:
    """FT4 that the analyzer ordered itself: OBR-26 the test, OBR-29 the work step whose result was the cause."""
    fields = "|" * 22 + f"{test}|||{parent}".rstrip("|")
    return result(step, "022", "20490^^99ROC", "14.1", more=fields, **more)


def histories(site: RunningSite) -> list[ItemDetails]:
    found = [read_item(site.journal, one.number) for one in reversed(items(site.journal, ItemFilter()))]
    return [one for one in found if one is not None]


@pytest.mark.parametrize(
    ("parent", "test", "step"),
    [("W1", "", '""'), ("W1&LABRELAY^F1", "658&TSH&99ABT", ""), ("", "658&TSH&99ABT^1", '""')],
)
async def test_a_reflex_of_the_analyzer_has_an_order_of_its_own_that_names_its_parent(
    tmp_path: Path, parent: str, test: str, step: str
) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        await asked(analyzer, query("022"))
        await analyzer.ask(result("W1", "022", "658^TSH^99ABT", "9.9"))

        assert values(await analyzer.ask(reflex(parent, test, step, number="r2")), "MSA", 1) == ["AA"]

        await becomes(site, "resulted", "resulted")
        await site.settled()
        assert site.ends("lab") == ["QUESTION", "delivered", "delivered"]
        first, made = histories(site)
        assert (made.item.origin, made.item.parent, made.item.line.test, made.item.code) == (
            "analyzer", 1, "FT4", "20490",
        )  # fmt: skip
        assert (made.item.line.patient, made.item.line.placer, made.item.line.filler) == (WHO, "", "")
        assert [(one.event, one.state, one.cause) for one in made.history] == [
            ("taken", "accepted", "reflex"),
            ("final", "resulted", ""),
        ]
        assert first.item.origin != "analyzer"
        assert without_order(site.journal) == []
        _, order = await asked(analyzer, query("022", number="dd99"))
        assert values(order, "ORC", 1) == ["DC"]  # what the analyzer made itself is never offered to it


async def test_a_reflex_that_is_sent_again_or_measured_again_makes_no_second_order(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        await asked(analyzer, query("022"))
        await analyzer.ask(reflex(number="r2"))
        again = await analyzer.ask(reflex(number="r2"))
        await analyzer.ask(reflex(number="r3").replace("14.1", "14.2"))
        assert values(again, "MSA", 1) == ["AA"]
        await site.settled()
        assert states(site) == ["offered", "resulted"]


@pytest.mark.parametrize("parent", ["", "W7", "W2", "W1"])
async def test_a_reflex_whose_parent_is_not_known_on_this_very_tube_stays_without_an_order(
    tmp_path: Path, parent: str
) -> None:
    """W2 is of another tube; W1 is of this one, and the analyzer never got it."""
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO), line("0220", "TSH", WHO, placer="L2"))
        await asked(analyzer, query("0220"))
        await analyzer.ask(reflex(parent, "658"))
        await site.settled()
        assert site.ends("lab") == ["QUESTION", "delivered"]
        *_, made = histories(site)
        assert (made.item.origin, made.item.parent, made.item.state) == ("analyzer", 0, "resulted")
        assert [one.results for one in without_order(site.journal)] == [1]


async def test_a_reflex_closes_no_order_but_that_of_its_own_test(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO), line("022", "FT4", WHO))
        await asked(analyzer, query("022"))
        await analyzer.ask(reflex().replace("20250305201600", ""))  # with a time it is older than its order
        await becomes(site, "offered", "resulted")
        await site.settled()
        assert [one.item.origin for one in histories(site)] == ["person", "person"]


async def test_a_reflex_repeats_the_test_of_an_order_that_has_its_result(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        await asked(analyzer, query("022"))
        await analyzer.ask(result("W1", "022", "658^TSH^99ABT", "99"))
        await becomes(site, "resulted")
        await analyzer.ask(result('""', "022", "658^TSH^99ABT", "97", more="|" * 25 + "W1", number="r2"))
        await becomes(site, "resulted", "resulted")
        assert [one.item.parent for one in histories(site)] == [0, 1]


async def test_a_preliminary_reflex_is_in_progress_and_its_final_result_ends_it(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        await asked(analyzer, query("022"))
        await analyzer.ask(reflex().replace("|||||F|||", "|||||P|||"))
        await becomes(site, "offered", "in_progress")
        _, order = await asked(analyzer, query("022", number="dd99"))
        assert values(order, "OBR", 2) == ["W1"]
        ran = await site.labrelay("orders", "resend", "W2", "--reason", "asked", "-o", "json")
        assert ran.code != 0
        await analyzer.ask(reflex(number="r2"))
        await becomes(site, "offered", "resulted")


@pytest.mark.parametrize("status", ["IP", "CA", "ER"])
async def test_the_status_of_a_work_step_without_a_result_is_acknowledged_and_closes_nothing(
    tmp_path: Path, status: str
) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        await asked(analyzer, query("022"))
        message = result("W1", "022", "658^TSH^99ABT", "1").replace("ORC|SC||||CM", f"ORC|SC||||{status}")
        said = "\n".join(one for one in message.split("\n") if not one.startswith("OBX"))
        assert values(await analyzer.ask(said), "MSA", 1) == ["AA"]
        await site.settled()
        assert states(site) == ["offered"]
        assert site.ends("lab") == ["QUESTION", "delivered"]


async def test_a_result_under_the_id_of_another_test_closes_nothing(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        await asked(analyzer, query("022"))
        await analyzer.ask(result("W1", "022", "20490^^99ROC", "14.1"))
        await site.settled()
        assert states(site) == ["offered"]


async def test_a_result_that_names_the_order_of_another_tube_closes_none_and_is_shown(tmp_path: Path) -> None:
    """Its work step says one tube, and its specimen number another: one of the two is wrong."""
    async with law_site(tmp_path) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO), line("023", "TSH", WHO))
        await asked(analyzer, query("022"))
        await asked(analyzer, query("023"))
        await until(lambda: states(site) == ["offered", "offered"])

        timeless = result("W2", "022", "658^TSH^99ABT", "14.1").replace("20250305201600", "")
        await analyzer.ask(timeless)

        await site.settled()
        assert states(site) == ["offered", "offered"]
        assert "delivered" in site.ends("lab")
        (document,) = site.sandbox.resources("Observation")
        assert "basedOn" not in document
        (shown,) = without_order(site.journal)
        assert shown.results == 1
        await analyzer.ask(result("W1", "022", "658^TSH^99ABT", "14.1", number="r2"))
        await until(lambda: states(site) == ["resulted", "offered"])


# -- our own connection ------------------------------------------------------------------------------------------------


async def test_each_side_opens_its_own_connection_for_what_it_starts(tmp_path: Path) -> None:
    async with own_site(tmp_path) as (site, analyzer, takes):
        line_of_ours = await takes.line()
        await ordered(site, line("022", "TSH", WHO))
        response = await analyzer.ask(query("022"))
        assert values(response, "MSH", 9) == ["RSP^K11^RSP_K11"]
        order = await line_of_ours.hear()
        assert (values(order, "MSH", 9), values(order, "OBR", 2)) == (["OML^O33^OML_O33"], ["W1"])
        await becomes(site, "offered")
        line_of_ours.send(answer_to(order, ("W1", "OK")))
        await becomes(site, "accepted")
        assert values(await analyzer.ask(result("W1", "022", "658^TSH^99ABT", "1")), "MSA", 1) == ["AA"]
        await becomes(site, "resulted")


async def test_a_second_query_takes_nothing_from_the_orders_of_the_first(tmp_path: Path) -> None:
    async with own_site(tmp_path) as (site, analyzer, takes):
        line_of_ours = await takes.line()
        await ordered(site, line("022", "TSH", WHO), line("023", "TSH", WHO))
        await analyzer.ask(query("022"))
        await analyzer.ask(query("023", number="dd99"))
        first = await line_of_ours.hear()
        await becomes(site, "offered", "waiting")  # one at a time
        line_of_ours.send(answer_to(first, ("W1", "OK")))
        second = await line_of_ours.hear()
        line_of_ours.send(answer_to(second, ("W2", "OK")))
        assert (values(first, "SAC", 3), values(second, "SAC", 3)) == (["022"], ["023"])
        await becomes(site, "accepted", "accepted")


async def test_our_connection_is_lost_before_the_answer_and_the_orders_may_be_known(tmp_path: Path) -> None:
    async with own_site(tmp_path) as (site, analyzer, takes):
        ours = await takes.line()
        await ordered(site, line("022", "TSH", WHO))
        await analyzer.ask(query("022"))
        first = await ours.hear()
        await becomes(site, "offered")
        await ours.close()
        await becomes(site, "waiting")
        assert reasons(site) == ["MAYBE_KNOWN"]

        ours = await takes.line()
        await analyzer.ask(query("022", number="dd99"))
        second = await ours.hear()
        assert values(first, "OBR", 2) == values(second, "OBR", 2) == ["W1"]
        ours.send(answer_to(second, ("W1", "UA")))
        await becomes(site, "offered")


async def test_orders_wait_again_where_our_connection_is_not_there_in_time(tmp_path: Path) -> None:
    async with taking() as takes:
        port = takes.port
    own = {"orders_on": "own", "connect": f"127.0.0.1:{port}", "deadline": "500ms"}
    async with law_site(tmp_path, **own) as (site, analyzer):
        await ordered(site, line("022", "TSH", WHO))
        assert values(await analyzer.ask(query("022")), "QAK", 2) == ["OK"]
        await until(lambda: [one.outcome for one in queries(site.journal)] == ["no_connection"])
        assert (states(site), reasons(site)) == (["waiting"], [""])


async def cancelled(site: RunningSite, order: str) -> None:
    ran = await site.labrelay("orders", "cancel", order, "--reason", "asked the ward", "-o", "json")
    assert ran.code == 0, ran.err


@pytest.mark.parametrize(("said", "ends"), [("CR", "cancelled"), ("UC", "cancel_pending")])
async def test_an_order_that_the_analyzer_has_is_taken_back_with_the_same_id(
    tmp_path: Path, said: str, ends: str
) -> None:
    async with own_site(tmp_path) as (site, analyzer, takes):
        ours = await takes.line()
        (number,) = await ordered(site, line("022", "TSH", WHO))
        await analyzer.ask(query("022"))
        order = await ours.hear()
        ours.send(answer_to(order, ("W1", "OK")))
        await becomes(site, "accepted")

        await cancelled(site, "W1")

        back = await ours.hear()
        (now,) = values(back, "MSH", 7)
        assert [one for one in back if one[:3] in ("SAC", "ORC", "OBR")] == [
            "SAC|||022",
            f"ORC|CA||||||||{now}",
            "OBR||W1||658^TSH^99ABT",
        ]
        ours.send(answer_to(back, ("W1", said)))
        await becomes(site, ends)
        found = read_item(site.journal, number)
        assert found is not None
        await until(lambda: len(site.messages("lab")) == 3)
        await site.settled()


async def test_a_cancel_that_nothing_answered_is_sent_again_on_the_next_connection(tmp_path: Path) -> None:
    async with own_site(tmp_path) as (site, analyzer, takes):
        ours = await takes.line()
        await ordered(site, line("022", "TSH", WHO))
        await analyzer.ask(query("022"))
        ours.send(answer_to(await ours.hear(), ("W1", "OK")))
        await becomes(site, "accepted")
        await cancelled(site, "W1")
        await ours.hear()
        await ours.close()

        ours = await takes.line()
        back = await ours.hear()
        assert (values(back, "ORC", 1), values(back, "OBR", 2)) == (["CA"], ["W1"])
        ours.send(answer_to(back, ("W1", "CR")))
        await becomes(site, "cancelled")


async def test_an_order_that_is_cancelled_before_our_connection_is_there_is_not_sent(tmp_path: Path) -> None:
    async with own_site(tmp_path) as (site, analyzer, takes):
        ours = await takes.line()
        await ordered(site, line("022", "TSH", WHO))
        await cancelled(site, "W1")
        await analyzer.ask(query("022"))
        assert values(await ours.hear(), "ORC", 1) == ["DC"]


# -- the same test on two analyzers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("redundant", [True, False])
async def test_the_first_result_cancels_the_twin_on_the_other_analyzer_only_where_redundant_is_set(
    tmp_path: Path, redundant: bool
) -> None:
    async with taking() as takes:
        second = {"orders_on": "own", "connect": f"127.0.0.1:{takes.port}"}
        channels = {
            "one": channel(MLLP, OUL, orders={**ORDERS, "redundant": redundant}),
            "two": channel(MLLP, OUL, orders={**ORDERS, **second}),
        }
        async with (
            running_site(tmp_path, channels) as site,
            asking_hl7(site.port("one")) as one,
            asking_hl7(site.port("two")) as two,
        ):
            ours = await takes.line()
            first = line("022", "TSH", WHO, placer="L1", targets=("one",))
            twin = line("022", "TSH", WHO, placer="L2", targets=("two",))
            another = line("022", "FT4", WHO, placer="L3", targets=("two",))
            await ordered(site, first, twin, another)
            await asked(one, query("022"))
            await two.ask(query("022"))
            order = await ours.hear()
            assert values(order, "OBR", 2) == ["W2", "W3"]
            ours.send(answer_to(order, ("W2", "OK"), ("W3", "OK")))
            await becomes(site, "offered", "accepted", "accepted")

            await one.ask(result("W1", "022", "658^TSH^99ABT", "1.2"))

            if not redundant:
                await becomes(site, "resulted", "accepted", "accepted")
                return
            back = await ours.hear()
            assert (values(back, "ORC", 1), values(back, "OBR", 2)) == (["CA"], ["W2"])
            ours.send(answer_to(back, ("W2", "CR")))
            await becomes(site, "resulted", "cancelled", "accepted")
