"""The daemon is killed at each step of a LAB-28 on LabRelay's own connection, and of that which takes the order back.

The analyzer asks until it has its order, and answers what comes: an order that it has already with UA, a cancel with
CR, also of what it gave up before. In the end no analyzer has the order and it is cancelled; it is never cancelled
before that, no order is for another tube, and one that the analyzer has is never one that the worklist takes for new.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from engine.model.orders import ItemState
from tests.engine.features.orders.exchange.test_law import answer_to, query
from tests.faults.test_law_kill import Site
from tests.support.asking_hl7 import AskingHl7, TakingAnalyzer, asking_hl7, taking, values, was_sent
from tests.support.command_line import labrelay
from tests.support.failpoints import When
from tests.support.waiting import until

WITHIN_S = 240.0
POINTS: list[tuple[str, When, int]] = [
    ("look up the orders", "after", 1),  # the response is not written
    ("note that it was sent", "before", 1),
    ("store a message", "before", 2),  # ORL of the order
    ("note what an analyzer said", "before", 1),
    ("note what an analyzer said", "after", 1),
    ("store a message", "before", 3),  # ORL of the cancel
    ("note what an analyzer said", "before", 2),
    ("note what an analyzer said", "after", 2),
]


class Analyzer:
    """Attributes:
    has: work steps that it would measure. gave_up: those that it had. told: tubes and work steps of all messages.
    """

    def __init__(self) -> None:
        self.has: set[str] = set()
        self.gave_up: set[str] = set()
        self.told: list[tuple[str, str, str]] = []

    def was_told_again(self, step: str) -> bool:
        """It says UA to that; the order is offered, and never accepted."""
        return [one for control, _, one in self.told if control == "NW"].count(step) > 1

    def answer(self, order: list[str]) -> str:
        (control,), (tube,) = values(order, "ORC", 1), values(order, "SAC", 3)
        if control == "DC":
            return answer_to(order)
        (step,) = values(order, "OBR", 2)
        self.told.append((control, tube, step))
        if control == "CA":
            self.gave_up.add(step)
            self.has.discard(step)
            return answer_to(order, (step, "CR"))
        known = step in self.has
        self.has.add(step)
        return answer_to(order, (step, "UA" if known else "OK"))

    async def serves(self, takes: TakingAnalyzer) -> None:
        while True:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError, TimeoutError):
                await self._serve(await takes.line())

    async def _serve(self, line: AskingHl7) -> None:
        while True:
            line.send(self.answer(await line.hear()))


@asynccontextmanager
async def analyzer_on(takes: TakingAnalyzer) -> AsyncIterator[Analyzer]:
    one = Analyzer()
    task = asyncio.create_task(one.serves(takes))
    try:
        yield one
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def goes_on(site: Site, number: int, tube: str, one: Analyzer) -> None:
    """Until the order is cancelled, or the daemon has ended."""
    life, step = site.life, f"W{number}"
    assert life is not None

    def is_in(*states: ItemState) -> bool:
        return life.returncode is not None or site.item(number).state in states

    if site.item(number).state in (ItemState.WAITING, ItemState.OFFERED):
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            async with asking_hl7(site.port) as line:
                await line.ask(query(tube))
                await until(
                    lambda: is_in(ItemState.ACCEPTED) or (is_in(ItemState.OFFERED) and one.was_told_again(step)),
                    WITHIN_S,
                )
    if life.returncode is None and is_in(ItemState.ACCEPTED, ItemState.OFFERED):
        cancel = ("orders", "cancel", step, "--reason", "asked the ward", "-o", "json")
        while (ran := await asyncio.to_thread(labrelay, *cancel, site=site.folder)).code != 0:
            if life.returncode is not None or "is using this data folder" not in ran.err:
                break
    await until(lambda: is_in(ItemState.CANCELLED), WITHIN_S)
    if site.item(number).state is ItemState.CANCELLED:
        assert step in one.gave_up


async def test_no_order_is_cancelled_while_the_analyzer_has_it_wherever_the_daemon_is_killed(tmp_path: Path) -> None:
    async with AsyncExitStack() as ending:
        takes = await ending.enter_async_context(taking())
        one = await ending.enter_async_context(analyzer_on(takes))
        own = f', orders_on: own, connect: "127.0.0.1:{takes.port}"'
        site = Site(tmp_path, more=own)
        ending.push_async_callback(site.dies)
        for done, point in enumerate(POINTS):
            name, when, nth = point
            tube = f"T{done:03d}"
            await site.lives(name, when, str(nth))
            number = await site.orders(tube)
            await goes_on(site, number, tube, one)
            assert site.life is not None
            life = site.life
            await until(lambda life=life: life.returncode is not None, WITHIN_S)
            assert life.returncode == -9, point

            await site.lives()
            if f"W{number}" in one.has:
                assert was_sent(site.item(number)), point  # from the start on
            await goes_on(site, number, tube, one)
            assert site.item(number).state is ItemState.CANCELLED, point
            mine = [(control, of) for control, of, step in one.told if step == f"W{number}"]
            assert {of for _, of in mine} == {tube}, point
            assert 1 <= [control for control, _ in mine].count("NW") <= 2, point
            await site.dies()
    assert not one.has
