"""T2: the process ends itself at each named step of a message's way, just before it and just after: nothing is lost.

One site lives through all of them, with analyzers that go on sending; each life begins with what the last one left.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from engine.model.journal.journal_views import Filter
from engine.store.queries.messages import messages_page
from engine.store.queries.reader import Reader
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import is_settled, judge
from tests.faults.harness.trial import Trial
from tests.support.command_line import labrelay
from tests.support.failpoints import ABDM, CONSENTS, KEYS, ORDERS, RECORDS, SMS, STEPS, UPGRADE, When
from tests.support.live import Analyzer, Daemon, Mood, Server
from tests.support.waiting import until

PROTOCOLS = ["mllp", "astm"]
BOTH: tuple[When, When] = ("before", "after")
CREATED = ("create", "create the anchor")
ACTS = ("begin an act", "replay", "end an act")
MOODS = {"postpone": Mood.BUSY, "claim": Mood.BUSY}
REFUSED = {(channel, number) for channel in range(len(PROTOCOLS)) for number in range(3, 100_000, 7)}
# Needs a session of which some frames are durable.
AFTER_A_TORN_SESSION = ("assemble",)
ORDER = [name for name in STEPS if name not in (*CREATED, *UPGRADE, *ORDERS, *ABDM, *CONSENTS, *RECORDS, *SMS, *KEYS)]
QUICK: list[tuple[str, When]] = [
    ("receive", "before"), ("assemble", "before"), ("flush", "after"), ("commit", "before"),
    ("anchor", "after"), ("answer", "before"), ("answer", "after"), ("send", "after"),
    ("settle", "after"), ("end an act", "before"),
]  # fmt: skip


def points(trial: Trial) -> list[tuple[str, When, int]]:
    """(step, before or after, number of the call)."""
    if trial.scale == "quick":
        return [(name, when, 1) for name, when in QUICK]
    return [(name, when, nth) for nth in (1, 4) for name in ORDER for when in BOTH if nth == 1 or name not in SELDOM]


# What happens once or twice in a life.
SELDOM = {*ACTS, "void the leases", "assemble", "close", "claim", "checkpoint", "sync the anchor"}


class Life:
    """The site, its server and its analyzers, which go on whatever becomes of the daemon."""

    def __init__(self, daemon: Daemon, server: Server, analyzers: list[Analyzer]) -> None:
        self.daemon, self.server, self.analyzers = daemon, server, analyzers

    @property
    def acked(self) -> int:
        return sum(len(analyzer.acked) for analyzer in self.analyzers)

    async def ends_at(self, name: str, when: When, nth: int) -> None:
        if name in AFTER_A_TORN_SESSION:
            await self.ends_at("store the last frame", "before", 1)
        self.daemon.dies_at = (name, when, str(nth))
        self.server.mood = MOODS.get(name, Mood.WELL)
        before = self.acked
        await self.daemon.launch()
        try:
            if name in ACTS:
                await until(lambda: self.daemon.code is not None or self.acked > before + 1, 240.0)
                async with asyncio.timeout(240.0):
                    while self.daemon.code is None:  # until then the daemon may not listen to commands yet
                        await asyncio.to_thread(labrelay, "replay", *self._newest(), "--yes", site=self.daemon.folder)
            elif name == "close":
                await until(lambda: self.acked > before + 1, 240.0)
                await self.daemon.terminate()
            await until(lambda: self.daemon.code is not None, 240.0)
        except TimeoutError:
            raise AssertionError(f"{when} {name}, call {nth}: never got there") from None
        assert self.daemon.code == -9, f"{when} {name}: {self.daemon.log.read_text()[-2000:]}"

    def _newest(self) -> list[str]:
        """Messages of which some were delivered; the first row may be a frame, or refused."""
        journal = Reader.beside(self.daemon.folder / "var")
        try:
            return [str(view.id) for view in messages_page(journal, Filter(state="mapped"), limit=10)] or ["1"]
        finally:
            journal.close()


async def test_nothing_is_lost_wherever_the_process_ends(tmp_path: Path, trial: Trial) -> None:
    ledger = Ledger()
    server = Server(ledger=ledger, refuse=REFUSED)
    await server.start()
    retry = "retry: {first: 50ms, max: 200ms}, breaker: {probe_after: 100ms}"
    async with AsyncExitStack() as ending:
        ending.push_async_callback(server.stop)
        destination = f'{{kind: http, url: "http://127.0.0.1:{server.port}/", {retry}}}'
        daemon = Daemon(tmp_path / "site", PROTOCOLS, destination, mapped=False, page=False)
        ending.push_async_callback(daemon.end)
        analyzers = [
            Analyzer(number, daemon.port_of[number], protocol, ledger=ledger, pause_s=0.01)
            for number, protocol in enumerate(PROTOCOLS)
        ]
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        life = Life(daemon, server, analyzers)
        steps = points(trial)
        for number in trial.rounds(quick=len(steps), long=len(steps), unit="steps"):
            await life.ends_at(*steps[number])
        daemon.dies_at, server.mood = (), Mood.WELL
        await daemon.start()
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)
        await until(lambda: is_settled(tmp_path / "site" / "var"), 240.0)
        assert await daemon.terminate() == 0
    found = judge(tmp_path / "site" / "var", ledger, settled=True)
    daemon.watch.into(found.tally)
    trial.note(found.must_pass())
    assert found.tally.delivered


async def test_a_site_whose_first_start_was_cut_short_starts(tmp_path: Path) -> None:
    for name in CREATED:
        for when in BOTH:
            folder = tmp_path / f"{when} {name}"
            daemon = Daemon(folder, ["mllp"], "{kind: file, folder: var/out}", mapped=False, page=False)
            try:
                daemon.dies_at = (name, when, "1")
                await daemon.launch()
                await until(lambda daemon=daemon: daemon.code is not None, 240.0)
                assert daemon.code == -9
                daemon.dies_at = ()
                await daemon.start()
                assert await daemon.terminate() == 0
            finally:
                await daemon.end()
