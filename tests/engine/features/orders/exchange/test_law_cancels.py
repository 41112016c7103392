"""IHE LAW with `orders_on: query`: a cancelled order is taken back on the connection that the analyzer keeps open."""

from pathlib import Path
from typing import Any

import pytest

from engine.features.orders.exchange import lines
from engine.features.orders.rows.reading import given_up
from engine.features.orders.rows.reading import item as read_item
from engine.model.orders import WorkItem
from tests.engine.features.orders.exchange.test_hl7_questions import BC_QUERY, analyzer, becomes, line, ordered, states
from tests.engine.features.orders.exchange.test_law import (
    WHO,
    answer_to,
    asked,
    cancelled,
    law,
    law_site,
    query,
    result,
)
from tests.support.asking_hl7 import asking_hl7, values
from tests.support.running import RunningSite, running_site
from tests.support.waiting import until


def events(site: RunningSite, number: int) -> list[str]:
    found = read_item(site.journal, number)
    assert found is not None
    return [one.event for one in found.history]


async def test_an_order_is_taken_back_on_the_connection_of_its_question(tmp_path: Path) -> None:
    async with law_site(tmp_path) as (site, one):
        await ordered(site, line("022", "TSH", WHO), line("022", "FT4", WHO))
        _, order = await asked(one, query("022"))
        one.send(answer_to(order, ("W1", "OK"), ("W2", "OK")))
        await becomes(site, "accepted", "accepted")

        await cancelled(site, "W1")

        back = await one.hear()
        assert (values(back, "MSH", 9), values(back, "ORC", 1)) == (["OML^O33^OML_O33"], ["CA"])
        assert (values(back, "SAC", 3), values(back, "OBR", 2)) == (["022"], ["W1"])
        await until(lambda: events(site, 1)[-1] == "cancel_sent")
        assert states(site) == ["cancel_pending", "accepted"]
        one.send(answer_to(back, ("W1", "CR")))
        await becomes(site, "cancelled", "accepted")
        assert values(await one.ask(result("W2", "022", "20490^^99ROC", "1")), "MSA", 1) == ["AA"]


async def test_an_analyzer_that_does_not_give_it_up_is_not_asked_again_and_the_history_says_so(tmp_path: Path) -> None:
    async with running_site(tmp_path, law()) as site:
        await ordered(site, line("022", "TSH", WHO))
        async with asking_hl7(site.port("lab")) as one:
            _, order = await asked(one, query("022"))
            one.send(answer_to(order, ("W1", "OK")))
            await becomes(site, "accepted")
            await cancelled(site, "W1")
            back = await one.hear()
            one.send(answer_to(back, ("W1", "UC")))
            await until(lambda: events(site, 1)[-2:] == ["cancel_sent", "cancel_refused"])
            assert states(site) == ["cancel_pending"]
        async with asking_hl7(site.port("lab")) as one:
            assert values((await asked(one, query("023")))[1], "ORC", 1) == ["DC"]
            await ordered(site, line("024", "TSH", WHO))
            _, order = await asked(one, query("024", number="q3"))
            assert values(order, "ORC", 1) == ["NW"]  # nothing came between


async def test_a_cancel_waits_for_the_next_question_of_the_analyzer_where_it_has_gone(tmp_path: Path) -> None:
    async with running_site(tmp_path, law()) as site:
        await ordered(site, line("022", "TSH", WHO))
        async with asking_hl7(site.port("lab")) as one:
            _, order = await asked(one, query("022"))
            one.send(answer_to(order, ("W1", "OK")))
            await becomes(site, "accepted")
        await cancelled(site, "W1")
        assert events(site, 1)[-1] == "cancel"

        async with asking_hl7(site.port("lab")) as one:
            _, order = await asked(one, query("023"))
            one.send(answer_to(order))
            back = await one.hear()
            assert (values(back, "ORC", 1), values(back, "OBR", 2)) == (["CA"], ["W1"])
        async with asking_hl7(site.port("lab")) as one:  # it was not answered: once more
            _, order = await asked(one, query("023", number="q3"))
            one.send(answer_to(order))
            back = await one.hear()
            assert (values(back, "ORC", 1), values(back, "OBR", 2)) == (["CA"], ["W1"])
            one.send(answer_to(back, ("W1", "CR")))
            await becomes(site, "cancelled")


async def test_a_cancel_waits_for_the_answer_to_the_orders_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def looking(*arguments: Any, **more: Any) -> list[WorkItem]:
        found = given_up(*arguments, **more)
        looks.append(len(found))
        return found

    monkeypatch.setattr(lines, "given_up", looking)
    monkeypatch.setattr(lines, "LOOK_S", 0.01)
    async with law_site(tmp_path) as (site, one):
        await ordered(site, line("022", "TSH", WHO), line("023", "TSH", WHO))
        _, order = await asked(one, query("022"))
        one.send(answer_to(order, ("W1", "OK")))
        await becomes(site, "accepted", "waiting")
        _, order = await asked(one, query("023", number="q2"))
        await becomes(site, "accepted", "offered")
        await cancelled(site, "W1")
        await until(lambda: sum(looks) > 2)
        _, again = await asked(one, query("023", number="q3"))  # no cancel came before it
        assert values(again, "ORC", 1) == ["NW"]
        one.send(answer_to(again, ("W2", "UA")))
        back = await one.hear()
        assert (values(back, "ORC", 1), values(back, "OBR", 2)) == (["CA"], ["W1"])


async def test_nothing_is_sent_to_an_analyzer_that_asks_in_another_way(tmp_path: Path) -> None:
    async with running_site(tmp_path, analyzer()) as site, asking_hl7(site.port("lab")) as bc:
        await ordered(site, line("SampleID1", "CBC"))
        assert values(await bc.ask(BC_QUERY), "MSA", 1) == ["AA"]
        await becomes(site, "offered")
        await cancelled(site, "W1")
        await ordered(site, line("T2", "CBC"))
        answer = await bc.ask(BC_QUERY.replace("SampleID1", "T2"))
        assert values(answer, "MSH", 9) == ["ORR^O02"]
        assert states(site)[0] == "cancel_pending"
        assert "cancel_sent" not in events(site, 1)
