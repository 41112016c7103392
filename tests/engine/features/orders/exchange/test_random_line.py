"""Orders, cancels, questions, results and broken connections in any order, at an analyzer that asks and gets downloads.

each message that came whole    has orders of one tube, tests of that tube alone; an answer, of the tube asked last
each order                      came whole as often as its history says sent or maybe sent, or less
what is taken back              was cancelled
in the end                      no order waits, once a person has closed the cancels that nothing answered
"""

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from engine.features.orders import rows as worklist
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import item as read_item
from engine.features.orders.rows.reading import items as read_items
from engine.model.orders import ItemReason, ItemState, WorkItem
from tests.engine.features.orders.exchange.test_downloads import chemistry, taken
from tests.support.asking import AskingAnalyzer, fields, question, result
from tests.support.astm_peer import ACK, ENQ, EOT, one_record_a_frame
from tests.support.running import RunningSite, running_site
from tests.support.waiting import WITHIN_S, until

STEPS = 40
CODES = {"TSH": "TSH3", "FERR": "Ferritin"}


class Bench:
    """The analyzer: one connection after the other, and the messages that came whole by them."""

    def __init__(self, site: RunningSite, random: Random) -> None:
        self.site, self.random = site, random
        self.came: list[bytes] = []
        self.asked = ""
        self.line: AskingAnalyzer | None = None
        self._seen = 0

    async def connect(self) -> AskingAnalyzer:
        if self.line is None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.site.port("chemistry"))
            self.line = AskingAnalyzer(reader, writer)
            self._seen = 0
        return self.line

    async def cut(self) -> None:
        if self.line is not None:
            self.collect()
            if b"\rL|1" in self.line.host.text:  # the host may have the ACK of it, and is never sure
                self.judge(self.line.host.text)
            await self.line.close()
            self.line = None

    def collect(self) -> None:
        assert self.line is not None
        answers = self.line.answers
        for message in answers[self._seen :]:
            self.judge(message)
        self._seen = len(answers)

    def judge(self, message: bytes) -> None:
        self.came.append(message)
        tubes = {order[2] for order in fields(message, "O")}
        assert len(tubes) <= 1
        if any(order[25] == "Q" for order in fields(message, "O")):
            assert tubes == {self.asked}

    async def hear(self, seconds: float) -> None:
        """All that the host says within this time, to the end of its session."""
        line = await self.connect()
        try:
            async with asyncio.timeout(seconds):
                await line.hear()
        except TimeoutError:
            return
        while line.host.receiving:
            await line.hear()
        self.collect()

    async def say(self, message: bytes) -> None:
        """A session of ours; where the host has sent ENQ at the same time it is silent, and answers the next one."""
        line = await self.connect()
        await self.hear(0.01)
        for part in (ENQ, *one_record_a_frame(message)):
            line.write(part)
            while (answer := await line.byte()) != ACK:
                assert (part, answer) == (ENQ, ENQ)
                line.write(ENQ)
        line.write(EOT)

    async def step(self, number: int) -> None:
        tube = f"{self.random.randrange(6):05}"
        test = self.random.choice(tuple(CODES))
        kind = self.random.choice(("order", "order", "order", "cancel", "ask", "result", "cut", "hear", "cut amid"))
        if kind in ("order", "cancel"):
            action = "new" if kind == "order" else "cancel"
            await taken(self.site, tube, test, patient=f"P-{tube}", action=action, unsure=True)
        elif kind == "ask":
            await self.say(question(tube))
            self.asked = tube
        elif kind == "result":
            await self.say(result(tube, f"P-{tube}", CODES[test], f"1.{number}"))
        elif kind == "hear":
            await self.hear(0.5)
        elif kind == "cut":
            await self.cut()
        else:
            line = await self.connect()
            for _ in range(self.random.randrange(1, 5)):
                try:
                    async with asyncio.timeout(0.4):
                        await line.hear()
                except TimeoutError:
                    break
            await self.cut()


def those(site: RunningSite, state: ItemState) -> list[WorkItem]:
    return read_items(site.journal, ItemFilter(states=(state,)), limit=1_000)


async def given_up(site: RunningSite) -> bool:
    """A person has looked at the analyzer, and closes each cancel that it does not answer: what was ordered again after
    such a cancel goes on then. Return whether an order waits still.
    """
    waiting = those(site, ItemState.WAITING)
    if waiting and all(one.reason is ItemReason.AFTER_CANCEL for one in waiting):
        for one in those(site, ItemState.CANCEL_PENDING):
            await site.journal.run(worklist.cancel, one.number, actor="ann", reason="not on the analyzer")
    return bool(waiting)


@pytest.mark.parametrize("seed", range(12))
async def test_no_tube_gets_anothers_tests_and_no_order_is_lost_or_doubled(tmp_path: Path, seed: int) -> None:
    async with running_site(tmp_path, chemistry()) as site:
        bench = Bench(site, Random(seed))
        for number in range(STEPS):
            await bench.step(number)
        await bench.cut()
        async with asyncio.timeout(WITHIN_S):
            while await given_up(site):
                await bench.hear(0.2)
        await bench.cut()
        await until(lambda: not site.app.parts.sources["chemistry"].channel.connections)
        judged(site, bench.came)


def judged(site: RunningSite, came: list[bytes]) -> None:
    times: Counter[tuple[str, str]] = Counter()
    back: Counter[tuple[str, str]] = Counter()
    for message in came:
        for order in fields(message, "O"):
            for code in order[4].split("\\"):
                (back if order[11] == "C" else times)[order[2], code.removeprefix("^^^")] += 1
    said: Counter[tuple[str, str]] = Counter()
    taken_back: set[tuple[str, str]] = set()
    for item in read_items(site.journal, ItemFilter(), limit=1_000):
        details = read_item(site.journal, item.number)
        assert details is not None
        key = item.line.specimen, CODES[item.line.test]
        said[key] += sum(one.event in ("sent", "maybe_sent") for one in details.history)
        if any(one.event == "cancel" for one in details.history):
            taken_back.add(key)
        assert item.state not in (ItemState.WAITING, ItemState.HELD)
    assert times.keys() <= said.keys()
    assert [key for key in times if times[key] > said[key]] == []
    assert back.keys() <= taken_back
