"""The process ends itself at each named step of a question and of a download, just before it and just after.

For an analyzer on a real socket, that never gives up, this holds in the end:

    each order that was entered     is offered: none is lost
    each message that came whole    has orders of one tube alone, under its number: none is wrong
    each order that came whole      as often as its history says sent or maybe sent, or less: none went twice unmarked
"""

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import pytest

from engine.features.orders.rows import reading as worklist
from engine.model.orders import ItemState
from engine.store.queries.reader import Reader
from tests.faults.harness.trial import Trial
from tests.support.asking import AskingAnalyzer, asking, fields, question
from tests.support.command_line import labrelay
from tests.support.failpoints import When
from tests.support.live import Daemon
from tests.support.waiting import until

CODES = {"TSH": "TSH3", "FERR": "Ferritin"}
SENT = ("sent", "maybe_sent")
BOTH: tuple[When, When] = ("before", "after")
# A question takes four ACKs before our ENQ; then come the frames of H, P, O and L, and EOT.
WRITES = {"query": range(5, 11), "download": range(1, 7)}
STEPS = {
    "query": (
        "receive a frame", "store the last frame", "look up the orders", "write the answer", "give it to the link",
        "note that it was sent",
    ),
    "download": ("look up a download", "write a download", "give it to the link", "note that it was sent"),
}  # fmt: skip
QUICK: dict[str, list[tuple[str, When, int]]] = {
    "query": [("look up the orders", "after", 1), ("answer", "before", 9), ("note that it was sent", "before", 1)],
    "download": [("look up a download", "after", 1), ("answer", "after", 5), ("note that it was sent", "after", 1)],
}


def points(way: str, trial: Trial) -> list[tuple[str, When, int]]:
    """(step, before or after, number of the call)."""
    if trial.scale == "quick":
        return QUICK[way]
    writes: list[tuple[str, When, int]] = [("answer", when, nth) for nth in WRITES[way] for when in BOTH]
    return [(name, when, 1) for name in STEPS[way] for when in BOTH] + writes


class Playing:
    """An analyzer that asks for a tube, or waits for orders, by one connection after the other.

    Attributes:
        came: the messages that it took whole.
        asks: the tube that it asks for; None: it waits.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.came: list[bytes] = []
        self.asks: str | None = None
        self._now: AskingAnalyzer | None = None

    @property
    def has_its_answer(self) -> bool:
        """Whether this connection has brought the answer to its question."""
        return self.asks is None or (self._now is not None and bool(self._now.answers))

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, AssertionError, TimeoutError):
                await self._connected()
            await asyncio.sleep(0.05)

    async def _connected(self) -> None:
        async with asking(self._port) as analyzer:
            self._now = analyzer
            try:
                if self.asks is not None:
                    await analyzer.send(question(self.asks))
                while await analyzer.hear():
                    pass
            finally:
                self._now = None
                whole = list(analyzer.answers)
                if b"\rL|1" in analyzer.host.text:  # the host thinks so, too, once it has the ACK of the last frame
                    whole.append(analyzer.host.text)
                self.came += whole


def judged(folder: Path, came: list[bytes], tubes: list[str]) -> None:
    times: Counter[tuple[str, str]] = Counter()
    for message in came:
        orders = fields(message, "O")
        assert len({order[2] for order in orders}) <= 1, "a message for two tubes"
        for order in orders:
            assert order[2] in tubes
            for test in order[4].split("\\"):
                assert test.removeprefix("^^^") in CODES.values()
                times[order[2], test.removeprefix("^^^")] += 1
    journal = Reader.beside(folder / "var")
    try:
        items = worklist.items(journal, worklist.ItemFilter(), limit=10_000)
        assert len(items) == len(tubes) * len(CODES)
        for item in items:
            assert item.state is ItemState.OFFERED, (item.item_id, item.state, item.reason)
            details = worklist.item(journal, item.number)
            assert details is not None
            said = sum(one.event in SENT for one in details.history)
            assert 0 < times[item.line.specimen, CODES[item.line.test]] <= said
    finally:
        journal.close()


@pytest.mark.parametrize("way", ["query", "download"])
async def test_no_order_is_lost_or_doubled_wherever_the_process_ends(way: str, tmp_path: Path, trial: Trial) -> None:
    folder = tmp_path / "site"
    daemon = Daemon(folder, ["astm"], "{kind: file, folder: var/out}", mapped=False, page=False)
    mode = "answer: query" if way == "query" else "download: on_order"
    with (folder / "channels" / "c0.yaml").open("a") as channel:
        channel.write(f"orders: {{{mode}, deadline: 60s, codes: {{TSH: TSH3, FERR: Ferritin}}}}\n")
    analyzer = Playing(daemon.port_of[0])
    playing = asyncio.create_task(analyzer.run())
    tubes: list[str] = []
    try:
        await daemon.start()
        assert await daemon.terminate() == 0
        steps = points(way, trial)
        for number in trial.rounds(quick=len(steps), long=len(steps), unit="kills"):
            step = steps[number]
            tubes.append(f"{number:05}")
            ran = await asyncio.to_thread(labrelay, "orders", "add", tubes[-1], *CODES, site=folder)
            assert ran.code == 0, ran.err
            analyzer.asks = tubes[-1] if way == "query" else None
            name, when, nth = step
            daemon.dies_at = (name, when, str(nth))
            await daemon.launch()
            await until(lambda: daemon.code is not None)
            assert daemon.code == -9, f"{step}: {daemon.log.read_text()[-2000:]}"
            daemon.dies_at = ()
            await daemon.start()
            await until(lambda: analyzer.has_its_answer and all_offered(folder))
            assert await daemon.terminate() == 0
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        await daemon.end()
    judged(folder, analyzer.came, tubes)


def all_offered(folder: Path) -> bool:
    journal = Reader.beside(folder / "var")
    try:
        return all(one.state is ItemState.OFFERED for one in worklist.items(journal, worklist.ItemFilter(open=True)))
    finally:
        journal.close()
