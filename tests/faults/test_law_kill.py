"""The daemon is killed at each step of an exchange with an analyzer of IHE LAW: question, orders, answer, result.

The analyzer asks until it has its orders, then measures, and sends its result until that is acknowledged. It never
sends an ORL^O34 twice. Each order has its result then, and no order went to another tube. An order that the analyzer
has is never one that the worklist takes for new.
"""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from pathlib import Path

import orjson

from engine.features.orders.rows.reading import item as read_item
from engine.model.journal.journal_views import Filter
from engine.model.orders import ItemState, WorkItem, item_number
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader
from tests.engine.features.orders.exchange.test_law import answer_to, query, result
from tests.faults.harness.trial import Trial
from tests.support.asking_hl7 import asking_hl7, values, was_sent
from tests.support.command_line import labrelay
from tests.support.failpoints import When
from tests.support.forking import Forked, live
from tests.support.ports import quiet_ports
from tests.support.waiting import until

SITE = """\
site: {name: Test Lab, timezone: Asia/Kolkata, practice: true}
web: {enabled: false}
patient_numbers: lasting
destinations:
  archive: {kind: file, folder: out}
"""
CHANNEL = """\
channel: lab
source: {kind: mllp, listen: "127.0.0.1:PORT"}
orders: {codes: {TSH: 658^TSH^99ABT}, deadline: 60s}
routes:
  - when: =MSH-9.1 == 'OUL'
    mapping: hl7-oul-results
    to: archive
"""
BOTH: tuple[When, When] = ("before", "after")
# (step, number of the call). Stored: question, ORL, result. Written: response, orders, acknowledgement.
CALLS = [
    *(("receive", nth) for nth in (1, 2, 3)),
    *(("store a message", nth) for nth in (1, 2, 3)),
    *(("answer", nth) for nth in (1, 2, 3)),
    ("look up the orders", 1),
    ("note that it was sent", 1),
    ("note what an analyzer said", 1),
    *(("map", nth) for nth in (1, 2, 3)),
]
POINTS = [(name, when, nth) for name, nth in CALLS for when in BOTH]
QUICK: list[tuple[str, When, int]] = [
    ("store a message", "after", 1), ("look up the orders", "after", 1), ("answer", "after", 1),
    ("answer", "before", 2), ("note that it was sent", "before", 1), ("note what an analyzer said", "after", 1),
    ("answer", "before", 3),
]  # fmt: skip


class Site:
    """The site, whose daemon lives, is killed, and lives again."""

    def __init__(self, folder: Path, *, more: str = "") -> None:
        """``more``: keys of ``orders``."""
        self.folder = folder
        (self.port,) = quiet_ports(1)
        of_channel = CHANNEL.replace("deadline: 60s", f"deadline: 60s{more}")
        for name, text in (("config/labrelay.yaml", SITE), ("channels/lab.yaml", of_channel)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.replace("PORT", str(self.port)))
        self.life: Forked | None = None

    async def lives(self, *point: str) -> None:
        self.life = await live(self.folder, self.folder / "daemon.log", *point)
        async with asyncio.timeout(240.0):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                assert self.life.returncode is None, (self.folder / "daemon.log").read_text()[-2000:]
                await asyncio.sleep(0.01)  # while nothing listens

    async def dies(self) -> None:
        if self.life is not None:
            self.life.kill()
            await self.life.wait()

    async def orders(self, tube: str) -> int:
        add = ("orders", "add", tube, "TSH", "--patient", "P1", "-o", "json")
        async with asyncio.timeout(240.0):
            while (ran := await asyncio.to_thread(labrelay, *add, site=self.folder)).code != 0:
                assert "is using this data folder" in ran.err  # it does not listen to commands yet
        number = item_number(orjson.loads(ran.out)["orders"][0]["order"])
        assert number is not None
        return number

    def item(self, number: int) -> WorkItem:
        reader = Reader.beside(self.folder / "var")
        try:
            found = read_item(reader, number)
            assert found is not None
            return found.item
        finally:
            reader.close()

    def documents(self) -> list[Path]:
        return list((self.folder / "out").rglob("*.json"))

    def messages(self) -> list[tuple[str, str]]:
        """Type and state of each message of the journal."""
        reader = Reader.beside(self.folder / "var")
        try:
            return [(view.message_type, view.state) for view in messages_page(reader, Filter(), limit=500)]
        finally:
            reader.close()


class Analyzer:
    """What one analyzer knows of one tube."""

    def __init__(self, site: Site, tube: str) -> None:
        self._site, self._tube = site, tube
        self.sent: list[list[str]] = []  # work steps of each OML
        self.acknowledged = False

    async def goes_on(self) -> None:
        """Until its result is acknowledged, or the connection is lost."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            async with asking_hl7(self._site.port) as line:
                if not self.sent:
                    response = await line.ask(query(self._tube))
                    assert values(response, "QAK", 2) == ["OK"], response
                    order = await line.hear()
                    assert values(order, "SAC", 3) == [self._tube]
                    self.sent.append(values(order, "OBR", 2))
                    line.send(answer_to(order, *((step, "OK") for step in self.sent[-1])))
                step = self.sent[0][0]
                number = f"r{self._tube}"
                answer = await line.ask(result(step, self._tube, "658^TSH^99ABT", "1.2", number=number))
                self.acknowledged = values(answer, "MSA", 1) == ["AA"]


async def test_no_order_is_lost_sent_twice_in_silence_or_wrong_wherever_the_daemon_is_killed(
    tmp_path: Path, trial: Trial
) -> None:
    steps = QUICK if trial.scale == "quick" else POINTS
    done = 0
    async with AsyncExitStack() as ending:
        site = Site(tmp_path)
        ending.push_async_callback(site.dies)
        for done in trial.rounds(quick=len(steps), long=len(steps), unit="steps"):
            name, when, nth = steps[done]
            point = f"{when} {name}, call {nth}"
            tube = f"T{done:03d}"
            await site.lives(name, when, str(nth))
            number = await site.orders(tube)
            analyzer = Analyzer(site, tube)
            await analyzer.goes_on()
            assert site.life is not None
            life = site.life
            await until(lambda life=life: life.returncode is not None, 240.0)
            assert life.returncode == -9, point

            await site.lives()
            item = site.item(number)
            if analyzer.sent:
                assert was_sent(item) or item.state is ItemState.RESULTED, point
            async with asyncio.timeout(240.0):
                while not analyzer.acknowledged:
                    await analyzer.goes_on()
            assert analyzer.sent == [[item.item_id]], point
            await until(lambda number=number: site.item(number).state is ItemState.RESULTED, 240.0)
            await until(lambda count=done + 1: len(site.documents()) == count, 240.0)
            await site.dies()
        kept = site.messages()
    questions = [state for kind, state in kept if kind == "QBP^Q11"]
    assert len(questions) > done
    assert "dead" not in {state for _, state in kept}
    assert len(site.documents()) == done + 1, "a result came twice"
