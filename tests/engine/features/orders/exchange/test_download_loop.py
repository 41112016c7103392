"""When downloads are tried: not at once after a failure, and one refused message stops no other."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.codecs.astm import records
from adapters.codecs.astm.dialogue import dialogue
from engine.features.orders import rows as worklist
from engine.features.orders.exchange import download
from engine.features.orders.exchange.asking import Asking
from engine.features.orders.rows.order_questions import queries
from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from engine.model.link_events import NotSent, SendEnd, Sent
from engine.model.message import FormatOptions
from engine.model.orders import ItemState, OrderedPatient, OrderLine, Reply
from engine.model.process.clock import SystemClock
from engine.model.worklist import AskSettings, TakeSettings
from engine.store.journal import Journal
from tests.support.journals import running
from tests.support.waiting import until

CODES = {"TSH": "TSH3"}


def asking(**more: Any) -> Asking:
    speaks = dialogue(None)
    assert speaks is not None
    return Asking(
        message_format=records,
        options=FormatOptions(),
        dialogue=speaks,
        settings=AskSettings(channel="chem", codes=CODES),
        timezone="Asia/Kolkata",
        demographics=False,
        deadline_s=8.0,
        closes=False,
        cancels=True,
        **{"download": "on_order", **more},
    )


class Line:
    """An outlet whose sendings end as they are told to: by the tube, else ``sent``."""

    def __init__(self, **ends: str) -> None:
        self.ends = ends
        self.tried: list[str] = []
        self.gone = False

    async def free(self) -> bool:
        return not self.gone

    async def send(self, reply: Reply) -> SendEnd:
        tube = next(line for line in reply.payload.decode().split("\r") if line.startswith("O|")).split("|")[2]
        self.tried.append(tube)
        await asyncio.sleep(0)
        reason = self.ends.get(tube, "sent")
        return Sent(1) if reason == "sent" else NotSent(1, reason, maybe=reason == "no-answer")


async def taken(journal: Journal, *tubes: str) -> None:
    settings = TakeSettings(known_channels={"chem": frozenset(CODES)})
    lines = [
        OrderLine(specimen=tube, test="TSH", placer=tube, patient=OrderedPatient(number=f"P-{tube}")) for tube in tubes
    ]
    await journal.run(worklist.take_orders, 1, "", lines, settings)


def states(journal: Journal) -> dict[str, ItemState]:
    return {one.line.specimen: one.state for one in read_items(journal, ItemFilter())}


@contextmanager
def loading(journal: Journal, line: Line, **more: Any) -> Iterator[tuple[download.Downloads, list[float]]]:
    """Downloads that wait no time; the times are kept."""
    downloads = download.Downloads("chem", lambda: asking(**more), line, journal=journal, clock=SystemClock())
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(0)

    downloads._pause = pause  # type: ignore[method-assign]
    task = asyncio.get_running_loop().create_task(downloads.run())
    try:
        yield downloads, waited
    finally:
        line.gone = True
        downloads.close()
        task.cancel()


async def test_after_each_failure_it_waits_longer_up_to_a_limit(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as journal:
        await taken(journal, "A")
        line = Line(A="no-answer")
        with loading(journal, line) as (_, waited):
            await until(lambda: len(waited) >= 10)
        tries = waited[:10]
        for n, seconds in enumerate(tries):
            longest = min(download.FIRST_PAUSE_S * 2**n, download.LONGEST_PAUSE_S)
            assert 0.8 * longest <= seconds <= longest
        assert set(line.tried) == {"A"}
        assert len(line.tried) <= len(waited) + 1


async def test_a_refused_message_is_passed_over_until_all_others_were_sent(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as journal:
        await taken(journal, "A", "B", "C")
        line = Line(A="rejected")
        with loading(journal, line) as (_, waited):
            await until(lambda: bool(waited))
            assert line.tried[:3] == ["A", "B", "C"]
            await until(lambda: line.tried.count("A") >= 2)
        assert states(journal) == {"A": ItemState.WAITING, "B": ItemState.OFFERED, "C": ItemState.OFFERED}
        assert line.tried.count("B") == 1


async def test_a_line_that_refuses_everything_is_left_alone_for_a_while(tmp_path: Path) -> None:
    tubes = ["A", "B", "C", "D", "E"]
    async with running(tmp_path / "data") as journal:
        await taken(journal, *tubes)
        line = Line(**dict.fromkeys(tubes, "rejected"))
        with loading(journal, line) as (_, waited):
            await until(lambda: bool(waited))
            assert line.tried[: download.REFUSALS] == tubes[: download.REFUSALS]
            await until(lambda: set(line.tried) == set(tubes))
        assert set(states(journal).values()) == {ItemState.WAITING}


async def test_batches_come_at_their_interval(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as journal:
        line = Line()
        with loading(journal, line, download="batch", download_every_s=600.0) as (_, waited):
            await until(lambda: len(waited) >= 2)
            await taken(journal, "A")
            await until(lambda: line.tried == ["A"])
        assert set(waited) == {600.0}


async def test_without_orders_to_download_only_cancels_are_looked_for(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as journal:
        await taken(journal, "A")
        line = Line()
        with loading(journal, line, download=None) as (downloads, waited):
            for looks in (1, 2):
                await until(lambda looks=looks: looked_again(downloads, waited, looks))
        assert line.tried == []
        assert queries(journal) == []


def looked_again(downloads: download.Downloads, waited: list[float], looks: int) -> bool:
    downloads.changed()
    return len(waited) >= looks
