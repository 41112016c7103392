"""`workers: 1` under load: the worker is killed, stopped, starved; the main process is killed; the site is reloaded.

As with one process, nothing acknowledged is lost, order is kept, and what comes twice comes under the same key.
`LABRELAY_KILLS=100 pytest tests/faults/test_worker_kill.py` for a longer run.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.processing.intake import MEMORY_MESSAGES
from engine.runtime.app import App
from engine.runtime.worker import process
from engine.runtime.worker.processor import WINDOW_MESSAGES
from engine.store.integrity.verify import run as verify
from tests.support.command_line import labrelay
from tests.support.live import Analyzer, Daemon, Mood, Server
from tests.support.waiting import until

KILLS = int(os.environ.get("LABRELAY_KILLS", "4"))  # each mood of the server once
PROTOCOLS = ["mllp", "astm", "mllp"]
PAUSE_S = 0.05  # of each analyzer, between two messages
RETRY = "retry: {first: 50ms, max: 200ms}, breaker: {probe_after: 200ms}"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # or it ends between the two calls
        return False


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


class Load:
    """A daemon with a worker, a server and analyzers that send all the time."""

    def __init__(self, folder: Path, *, real_workers: bool = False) -> None:
        self.folder = folder
        self.server = Server()
        self.real_workers = real_workers

    async def __aenter__(self) -> "Load":
        await self.server.start()
        destination = f'{{kind: fhir, url: "http://127.0.0.1:{self.server.port}/fhir", {RETRY}}}'
        self.daemon = Daemon(self.folder, PROTOCOLS, destination, workers=1, real_workers=self.real_workers)
        await self.daemon.start()
        self.analyzers = [
            Analyzer(number, self.daemon.port_of[number], protocol, pause_s=PAUSE_S)
            for number, protocol in enumerate(PROTOCOLS)
        ]
        self._playing = [asyncio.create_task(analyzer.run()) for analyzer in self.analyzers]
        await until(lambda: all(len(analyzer.acked) > 3 for analyzer in self.analyzers), 240.0)
        return self

    async def __aexit__(self, *error: object) -> None:
        for analyzer in self.analyzers:
            analyzer.stop()
        await asyncio.gather(*self._playing)
        with contextlib.suppress(ProcessLookupError):
            await self.daemon.terminate()
        await self.server.stop()

    @property
    def acked(self) -> int:
        return sum(len(analyzer.acked) for analyzer in self.analyzers)

    @property
    def arrived(self) -> int:
        return sum(len(numbers) for numbers in self.server.arrived.values())

    async def worker(self, other_than: int | None = None) -> int:
        """The worker that is there now, once there is one that has delivered something."""
        before = self.arrived
        await until(lambda: self.daemon.worker_pid() not in (None, other_than) and self.arrived > before + 3, 240.0)
        pid = self.daemon.worker_pid()
        assert pid is not None
        return pid

    async def check(self) -> None:
        """Wait until all is delivered, stop, and count."""
        for analyzer in self.analyzers:
            analyzer.stop()
        await asyncio.gather(*self._playing)
        await until(lambda: all(set(a.acked) <= set(self.server.arrived[a.channel]) for a in self.analyzers), 300.0)
        assert await self.daemon.terminate() == 0
        for analyzer in self.analyzers:
            arrived = self.server.arrived[analyzer.channel]
            assert arrived == sorted(arrived), "out of order within a lane"
        for ident, keys in self.server.keys.items():
            assert len(set(keys)) == 1, f"{ident} was delivered under different keys"
            assert keys[0]
        assert verify(self.folder / "var", deep=True) == []


@pytest.mark.timeout(600 + 15 * KILLS)
async def test_a_worker_killed_again_and_again_loses_nothing_and_keeps_order(tmp_path: Path) -> None:
    rng = random.Random(4711)
    moods = [Mood.WELL, Mood.LOST, Mood.WELL, Mood.BUSY]
    async with Load(tmp_path / "site") as load:
        killed: int | None = None
        for kill in range(KILLS):
            load.server.mood = Mood.WELL
            killed = await load.worker(other_than=killed)
            load.server.mood = moods[kill % len(moods)]
            await asyncio.sleep(rng.uniform(0.0, 0.25))  # the moment of the kill is meant to be any moment
            before = load.acked
            os.kill(killed, signal.SIGKILL)
            # Analyzers do not wait for the next worker.
            await until(lambda before=before: load.acked > before + 10, 240.0)
        load.server.mood = Mood.WELL
        await load.worker(other_than=killed)
        await load.check()
        repeated = [keys for keys in load.server.keys.values() if len(keys) > 1]
        assert len(repeated) < load.arrived / 2


async def test_a_worker_goes_with_its_main_process_even_if_it_hangs(tmp_path: Path) -> None:
    async with Load(tmp_path / "site", real_workers=True) as load:
        for hangs in (False, True):
            pid = await load.worker()
            if hangs:
                os.kill(pid, signal.SIGSTOP)
            await load.daemon.kill()
            await until(lambda pid=pid: not alive(pid), 240.0)
            await load.daemon.start()
        await load.worker()
        await load.check()


async def test_a_stop_of_the_whole_group_is_a_stop_in_order(tmp_path: Path) -> None:
    """systemd sends SIGTERM to both processes; the worker must finish what the main process waits for."""
    async with Load(tmp_path / "site") as load:
        pid = await load.worker()
        os.kill(pid, signal.SIGTERM)
        assert await load.daemon.terminate() == 0
        assert not alive(pid)
        assert "replaced" not in load.daemon.log.read_text()
        await load.daemon.start()
        await load.check()
        assert all(len(keys) == 1 for keys in load.server.keys.values()), "something was under way at the stop"


async def test_a_reload_under_load_loses_nothing_and_keeps_the_worker(tmp_path: Path) -> None:
    async with Load(tmp_path / "site") as load:
        pid = await load.worker()
        site = tmp_path / "site" / "config" / "labrelay.yaml"
        channel = tmp_path / "site" / "channels" / "c0.yaml"
        first = site.read_text()
        for turn in range(6):
            # a destination that differs, then a channel
            site.write_text(first.replace("first: 50ms", f"first: {51 + turn}ms"))
            channel.write_text(channel.read_text() + f"# {turn}\n")
            ran = await asyncio.to_thread(labrelay, "reload", site=load.folder)
            assert ran.code == 0, ran.err
            await load.worker()
        assert load.daemon.worker_pid() == pid
        await load.check()


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[App]:
    app = App(folder)
    up = asyncio.Event()
    task = asyncio.create_task(app.run(lambda _: up.set()))
    try:
        await asyncio.wait_for(up.wait(), 240.0)
        yield app
    finally:
        app.stop()
        await asyncio.wait_for(task, 240.0)


async def test_a_worker_that_stands_still_costs_neither_acknowledgements_nor_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "HUNG_S", 3600.0)
    messages = MEMORY_MESSAGES + 2 * WINDOW_MESSAGES
    server = Server()
    await server.start()
    destination = f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir", {RETRY}}}'
    site = Daemon(tmp_path / "site", ["mllp"] * 8, destination, workers=1)
    async with running(site.folder) as app:
        worker = app.parts.worker_process
        assert worker is not None
        await until(lambda: worker.ready, 240.0)
        pid = worker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        analyzers = [Analyzer(number, port, "mllp") for number, port in site.port_of.items()]
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        most = 0

        def enough() -> bool:
            nonlocal most
            most = max(most, app.parts.intake.waiting)
            return sum(len(analyzer.acked) for analyzer in analyzers) >= messages

        await until(enough, 240.0)
        assert server.arrived == {}
        assert worker.processor.outstanding <= WINDOW_MESSAGES
        assert most <= MEMORY_MESSAGES + 1
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)
        os.kill(pid, signal.SIGCONT)
        await until(lambda: all(a.acked == server.arrived.get(a.channel) for a in analyzers), 90.0)
        assert worker.pid == pid
        assert all(len(keys) == 1 for keys in server.keys.values())
    await server.stop()
