"""IHE LAW at random: orders, questions, cancels, results, lost connections and answers, in any order.

The analyzer is the model: the work steps that it has, and those that it measured. At any time an order that it has is
one that the worklist says was sent. At the end each order has ended, and each that was measured has its result, or a
late one where a person had closed it before.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.features.orders import rows as worklist
from engine.features.orders.exchange import lines as exchange_lines
from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import item as read_item
from engine.features.orders.rows.reading import items as read_items
from engine.model.errors import RefusedError
from engine.model.orders import OPEN_STATES, ItemState, WorkItem, item_number
from tests.engine.features.orders.exchange.test_hl7_questions import line, ordered
from tests.engine.features.orders.exchange.test_law import CODES, WHO, answer_to, law_site, own_site, query, result
from tests.support.asking_hl7 import AskingHl7, TakingAnalyzer, asking_hl7, values, was_sent
from tests.support.running import RunningSite
from tests.support.waiting import until

TUBES = ["022", "0220", "22", "023"]
STEPS = 60


class Analyzer:
    """It takes orders on its own address, and asks and sends results by connections that it opens.

    Attributes:
        has: work step -> its tube, of those that it was given and has neither measured nor given up.
        wrong: what no analyzer may be sent.
        honest: it answers each message, and loses no connection.
    """

    def __init__(self, site: RunningSite, takes: TakingAnalyzer, chance: random.Random) -> None:
        self._site, self._takes, self._chance = site, takes, chance
        self.has: dict[str, str] = {}
        self.measured: set[str] = set()
        self.wrong: list[str] = []
        self.honest = False
        self.count = 0

    async def takes_orders(self) -> None:
        while True:
            ours = await self._takes.line()
            with contextlib.suppress(asyncio.IncompleteReadError, OSError, TimeoutError):
                while await self._takes_one(ours):
                    pass
            await ours.close()

    async def _takes_one(self, ours: AskingHl7) -> bool:
        """False: the connection is lost before or after the orders came, and nothing is answered."""
        order = await ours.hear()
        (tube,), how = values(order, "SAC", 3), values(order, "ORC", 1)[0]
        if not self.honest and self._chance.random() < 0.1:
            self._note(order, tube, how)
            return False
        said = self._note(order, tube, how)
        if self.honest or self._chance.random() < 0.9:
            ours.send(answer_to(order, *said))
        return True

    def _note(self, order: list[str], tube: str, how: str) -> list[tuple[str, str]]:
        said = []
        for step in values(order, "OBR", 2):
            if self._tube_of(step) != tube:
                self.wrong.append(f"{step} with tube {tube}")
            if how == "CA":
                given_up = step not in self.measured and self.has.pop(step, "")
                said.append((step, "CR" if given_up else "UC"))
            elif step in self.has or step in self.measured:
                said.append((step, "UA"))
            else:
                self.has[step] = tube
                said.append((step, "OK"))
        return said

    def _tube_of(self, step: str) -> str:
        return next(one.line.specimen for one in every(self._site) if one.item_id == step)

    async def asks(self, analyzer: AskingHl7, tube: str) -> None:
        self.count += 1
        response = await analyzer.ask(query(tube, number=f"q{self.count}"))
        assert values(response, "MSA", 2) == [f"q{self.count}"]

    async def measures(self, analyzer: AskingHl7, step: str) -> None:
        tube, test = self.has.pop(step), next(one.line.test for one in every(self._site) if one.item_id == step)
        self.measured.add(step)
        self.count += 1
        answer = await analyzer.ask(result(step, tube, CODES[test], "1.2", number=f"r{self.count}"))
        assert values(answer, "MSA", 1) == ["AA"]


class OnTheQuestionsConnection(Analyzer):
    """It takes orders on the connection of its question, and may hear of a cancel there at any time."""

    async def asks(self, analyzer: AskingHl7, tube: str) -> None:
        self.count += 1
        number = f"q{self.count}"
        analyzer.send(query(tube, number=number))
        await self._hears(analyzer, lambda message: values(message, "MSA", 2) == [number])
        await self._hears(
            analyzer,
            lambda message: values(message, "SAC", 3) == [tube] and values(message, "ORC", 1)[0] != "CA",
        )

    async def measures(self, analyzer: AskingHl7, step: str) -> None:
        tube, test = self.has.pop(step), next(one.line.test for one in every(self._site) if one.item_id == step)
        self.measured.add(step)
        self.count += 1
        number = f"r{self.count}"
        analyzer.send(result(step, tube, CODES[test], "1.2", number=number))
        answer = await self._hears(analyzer, lambda message: values(message, "MSA", 2) == [number])
        assert values(answer, "MSA", 1) == ["AA"]

    async def _hears(self, analyzer: AskingHl7, wanted: Callable[[list[str]], bool]) -> list[str]:
        """Take all that comes until that message."""
        while True:
            message = await analyzer.hear()
            if values(message, "MSH", 9)[0].startswith("OML"):
                said = self._note(message, values(message, "SAC", 3)[0], values(message, "ORC", 1)[0])
                if self.honest or self._chance.random() < 0.9:
                    analyzer.send(answer_to(message, *said))
            if wanted(message):
                return message


def every(site: RunningSite) -> list[WorkItem]:
    return read_items(site.journal, ItemFilter())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("orders_on", ["own", "query"])
async def test_no_order_is_lost_or_on_another_tube_whatever_happens(
    tmp_path: Path, seed: int, orders_on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(exchange_lines, "LOOK_S", 0.02)
    async with contextlib.AsyncExitStack() as lines:
        if orders_on == "own":
            site, _, takes = await lines.enter_async_context(own_site(tmp_path, deadline="500ms"))
            model = Analyzer(site, takes, chance)
        else:
            site, _ = await lines.enter_async_context(law_site(tmp_path))
            model = OnTheQuestionsConnection(site, TakingAnalyzer(), chance)
        serving = asyncio.create_task(model.takes_orders())
        lines.callback(serving.cancel)
        asking = await lines.enter_async_context(asking_hl7(site.port("lab")))
        for at in range(STEPS):
            act = chance.choice(["order", "ask", "ask", "cancel", "measure", "measure", "reconnect"])
            if act == "order":
                wanted = line(chance.choice(TUBES), chance.choice(["TSH", "FT4"]), WHO, placer=f"L{at}")
                await ordered(site, wanted)
            elif act == "ask":
                await model.asks(asking, chance.choice(TUBES))
            elif act == "cancel" and (open_ones := [one for one in every(site) if one.state in OPEN_STATES]):
                with contextlib.suppress(RefusedError):  # its result came meanwhile
                    number = chance.choice(open_ones).number
                    await site.app.journal.run(worklist.cancel, number, actor="test", reason="random")
            elif act == "measure" and model.has:
                await model.measures(asking, chance.choice(sorted(model.has)))
            elif act == "reconnect":
                await asking.close()
                asking = await lines.enter_async_context(asking_hl7(site.port("lab")))
            await until(lambda: all(_is_known(site, step) for step in model.has))
        model.honest = True
        async with asyncio.timeout(60.0):
            while not _is_over(site, model):
                for tube in TUBES:
                    await model.asks(asking, tube)
                await until(lambda: not any(one.open for one in queries(site.journal)))
                while model.has:
                    await model.measures(asking, min(model.has))
                await site.settled()
        await site.settled()
        assert model.wrong == []
        assert {step for step in model.measured if not _has_result(site, step)} == set()


def _is_over(site: RunningSite, model: Analyzer) -> bool:
    """Nothing is to come: a pending cancel of an order that the analyzer does not have is a person's."""
    return not model.has and {one.state for one in every(site) if one.state in OPEN_STATES} <= {
        ItemState.CANCEL_PENDING
    }


def _has_result(site: RunningSite, step: str) -> bool:
    number = item_number(step)
    assert number is not None
    found = read_item(site.journal, number)
    assert found is not None
    closed = any(one.event == "close" for one in found.history)
    return found.item.state is ItemState.RESULTED or (closed and any(one.late for one in found.history))


def _is_known(site: RunningSite, step: str) -> bool:
    number = item_number(step)
    item = next(one for one in every(site) if one.number == number)
    return was_sent(item)
