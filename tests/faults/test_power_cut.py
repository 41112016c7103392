"""T3: the power goes while the daemon works, beneath the kernel: whatever nobody synced is gone, files and names alike.

The whole site lies on a disk of the test's own (`tests.support.forgetful_disk`). The daemon is killed at a moment that
chance chooses, or amid the n-th change that reaches the disk, the start of it included; then the disk forgets what was
not synced, all of it or a part, and the next life begins with what is left. Analyzers and the destination, which are
other machines, remember everything.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import is_settled, judge
from tests.faults.harness.trial import Trial
from tests.support.forgetful_disk import ForgetfulDisk, forgetful_disk
from tests.support.forking import NEVER_SYNCS
from tests.support.live import Analyzer, Daemon, Server
from tests.support.waiting import until

PROTOCOLS = ["mllp", "astm"]
QUICK_RETRY = "retry: {first: 50ms, max: 200ms}, breaker: {probe_after: 100ms}"
CHANGES_OF_A_LIFE = 300  # some fifty of them are the start's
LONGEST_LIFE_S = 0.4
DIES_WITHIN_S = 60.0


@dataclass
class OnDisk(Daemon):
    """A daemon whose site is on a disk that forgets; its log is not."""

    @property
    def log(self) -> Path:
        return self.folder.parents[1] / "daemon.log"


@dataclass
class Site:
    """What lives through the power cuts, and what does not."""

    disk: ForgetfulDisk
    daemon: Daemon
    analyzers: list[Analyzer]
    playing: list[asyncio.Task[None]]

    @property
    def data(self) -> Path:
        return self.daemon.folder / "var"

    async def life(self, trial: Trial) -> None:
        """Until the power goes: at any moment once it listens, or amid any change of a life."""
        if trial.chance.random() < 0.5:
            await self.daemon.start()
            await asyncio.sleep(trial.chance.random() * LONGEST_LIFE_S)
            await self.daemon.kill()
        else:
            self.disk.cut_before(1 + int(CHANGES_OF_A_LIFE * trial.chance.random() ** 2))
            await self.daemon.launch()
            with contextlib.suppress(TimeoutError):  # it had less to do
                await until(lambda: self.daemon.code is not None, DIES_WITHIN_S)
            await self.daemon.end()
            assert self.daemon.code == -9, self.daemon.log.read_text()[-2000:]
        # All that is not durable, or a part of it.
        self.disk.cut(None if trial.chance.random() < 0.5 else trial.chance.randrange(10**6))

    async def to_its_end(self) -> None:
        """The power stays: everybody gets an answer, everything is delivered, and the daemon stops in order."""
        before = [len(analyzer.acked) for analyzer in self.analyzers]
        await self.daemon.start()
        await until(lambda: all(len(a.acked) > n for a, n in zip(self.analyzers, before, strict=True)), 240.0)
        for analyzer in self.analyzers:
            analyzer.stop()
        await asyncio.gather(*self.playing)
        await until(lambda: is_settled(self.data), 240.0)
        assert await self.daemon.terminate() == 0


@contextlib.asynccontextmanager
async def site_on(disk: ForgetfulDisk, destination: str, ledger: Ledger) -> AsyncIterator[Site]:
    async with contextlib.AsyncExitStack() as ending:
        daemon = OnDisk(disk.path / "site", PROTOCOLS, destination, mapped=False, page=False)
        ending.push_async_callback(daemon.end)
        disk.keep()  # the configuration is there for long
        analyzers = [
            Analyzer(number, daemon.port_of[number], protocol, ledger=ledger, pause_s=0.005)
            for number, protocol in enumerate(PROTOCOLS)
        ]
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        try:
            yield Site(disk, daemon, analyzers, playing)
        finally:
            for task in playing:
                task.cancel()


async def test_a_power_cut_costs_nothing_that_was_acknowledged(tmp_path: Path, trial: Trial) -> None:
    server = Server(ledger=Ledger())
    await server.start()
    destination = f'{{kind: http, url: "http://127.0.0.1:{server.port}/", {QUICK_RETRY}}}'
    try:
        with forgetful_disk(tmp_path / "disk") as disk:
            async with site_on(disk, destination, server.ledger) as site:
                for _ in trial.rounds(quick=8, long=200, soak=5_000, unit="power cuts beneath the kernel"):
                    await site.life(trial)
                await site.to_its_end()
            found = judge(site.data, server.ledger, settled=True)
    finally:
        await server.stop()
    site.daemon.watch.into(found.tally)
    trial.note(found.must_pass())


async def test_a_file_that_counts_as_delivered_outlives_a_power_cut(tmp_path: Path, trial: Trial) -> None:
    ledger = Ledger()
    with forgetful_disk(tmp_path / "disk") as disk:
        async with site_on(disk, f"{{kind: file, folder: out, {QUICK_RETRY}}}", ledger) as site:
            for _ in trial.rounds(quick=4, long=50, soak=1_000, unit="power cuts beneath a folder of files"):
                await site.life(trial)
            await site.to_its_end()
        disk.cut()  # after a stop in order, too
        found = judge(site.data, ledger, settled=True)
        with contextlib.closing(sqlite3.connect(site.data / "journal.db")) as connection:
            keys = [
                row[0].lower() for row in connection.execute("SELECT hex(key) FROM delivery WHERE state = 'delivered'")
            ]
        files = [path for path in (site.daemon.folder / "out").iterdir() if not path.name.startswith(".")]
        there = {path.stem.rpartition("-")[2] for path in files if path.stat().st_size}
    assert keys
    assert {key[:16] for key in keys} == there
    site.daemon.watch.into(found.tally)
    trial.note(found.must_pass())


@pytest.mark.parametrize("syncs", [True, False], ids=["syncs", "does not sync"])
async def test_the_first_messages_of_a_new_site_outlive_a_power_cut(tmp_path: Path, syncs: bool) -> None:
    """Nothing of its folders and files was there before. And a journal that does not sync loses them, and is found out:
    so the tests above do show something."""
    server = Server(ledger=Ledger())
    await server.start()
    destination = f'{{kind: http, url: "http://127.0.0.1:{server.port}/", {QUICK_RETRY}}}'
    try:
        with forgetful_disk(tmp_path / "disk") as disk:
            async with site_on(disk, destination, server.ledger) as site:
                site.daemon.dies_at = () if syncs else (NEVER_SYNCS, "before", "1")
                await site.daemon.start()
                await until(lambda: all(len(analyzer.acked) > 5 for analyzer in site.analyzers), 240.0)
                await site.daemon.kill()
                disk.cut()
                site.daemon.dies_at = ()
                if syncs:
                    await site.to_its_end()
                else:
                    for analyzer in site.analyzers:
                        analyzer.stop()
                    await asyncio.gather(*site.playing)
            found = judge(site.data, server.ledger, settled=syncs)
    finally:
        await server.stop()
    assert bool(found.wrong) != syncs, found.wrong
    assert bool(found.tally.lost) != syncs
