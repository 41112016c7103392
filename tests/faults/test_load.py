"""More comes than goes (T23), and weeks of traffic in little memory (T24). The real daemon in a process of its own.

In T23 it may take 144 MiB, which are counted as the kernel counts them. In T24 the daemon lives in a control group of
the kernel's that has 128 MiB, and no swap: there the kernel takes pages of files back, and ends what it cannot get
enough from.
"""

import asyncio
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web

from engine.store.core.files.reserve import RESERVE_NAME, SHARE
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import judge
from tests.faults.harness.trial import Trial
from tests.faults.test_daemon import HOST, MiB, status
from tests.support.live import Analyzer, Daemon, Server
from tests.support.memory_group import memory_group
from tests.support.small_disk import small_disk
from tests.support.waiting import until

MEMORY = 128 * MiB
RESIDENT = 144 * MiB  # files that are mapped are in it
MOST_WAL = 64 * MiB
CACHES = 8 * MiB  # of SQLite, which a short run does not fill at once; a long one must not grow at all
MOST_BEHIND = 100  # messages
MANY = 50  # messages, which come within the first seconds where two processors have little else to do
DISK = 256 * MiB
ROOM_LEFT = MiB
AT_THE_MARK_S = 2
SLOWEST_DRAIN = 50  # messages a second, on the busiest machine
WARM_UP = 0.3  # of a run, in which caches fill
RETRY = "retry: {first: 50ms, max: 200ms}, breaker: {probe_after: 200ms}"


@dataclass
class TardyServer(Server):
    """Attributes:
    delay_s: how long each answer takes.
    """

    delay_s: float = 0.0

    async def _take(self, request: web.Request) -> web.StreamResponse:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return await super()._take(request)


def memory(pid: int) -> dict[str, int]:
    """``VmRSS``, ``VmHWM``, ``RssAnon`` ... in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {name: int(kb) * 1024 for name, kb in re.findall(r"^(Vm\w+|Rss\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def _behind(analyzers: list[Analyzer], server: Server) -> int:
    """How many acknowledged messages the server does not have yet."""
    return sum(len(analyzer.acked) for analyzer in analyzers) - sum(map(len, server.arrived.values()))


async def restarts(daemon: Daemon) -> list[str]:
    """Of tasks; no page is asked for, which starts one more process."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{HOST}:{daemon.web_port}/metrics") as answer:
        assert answer.status == 200
        return re.findall(r"(?m)^labrelay_task_restarts_total\{.*", await answer.text())


@asynccontextmanager
async def under_load(
    folder: Path, protocols: list[str], server: TardyServer, *, mapped: bool, wrapper: Sequence[str] = ()
) -> AsyncIterator[tuple[Daemon, list[Analyzer]]]:
    """A daemon with so many analyzers, which send as fast as they are answered."""
    await server.start()
    kind = "fhir" if mapped else "http"
    destination = f'{{kind: {kind}, url: "http://127.0.0.1:{server.port}/fhir", {RETRY}}}'
    daemon = Daemon(folder, protocols, destination, mapped=mapped, wrapper=list(wrapper), interpreter=True)
    playing: list[asyncio.Task[None]] = []
    analyzers: list[Analyzer] = []
    try:
        await daemon.start()
        for number, protocol in enumerate(protocols):
            cable = daemon.cables.get(number)
            analyzers.append(Analyzer(number, daemon.port_of[number], protocol, cable=cable, ledger=server.ledger))
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        yield daemon, analyzers
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)
        await until(lambda: _behind(analyzers, server) <= 0, 300.0 + _behind(analyzers, server) / SLOWEST_DRAIN)
        daemon.watch.look(daemon.pid)
        assert await restarts(daemon) == []
        assert await daemon.terminate() == 0
    finally:
        for task in playing:
            task.cancel()
        await daemon.end()
        for cable in daemon.cables.values():
            cable.close()
        await server.stop()


async def test_what_the_destination_does_not_take_waits_on_disk_and_not_in_memory(tmp_path: Path, trial: Trial) -> None:
    """Analyzers send ten times what the server takes, and more; once it is quick again, all of it arrives in order."""
    server = TardyServer(ledger=Ledger(), delay_s=5.0)
    folder = tmp_path / "site"
    async with under_load(folder, ["mllp", "mllp", "astm"], server, mapped=False) as (daemon, analyzers):
        loop, most_wal = asyncio.get_running_loop(), 0
        began = loop.time()
        for _ in trial.rounds(quick=4, long=50, soak=3_600, unit="seconds"):
            await asyncio.sleep(1.0)
            wal = folder / "var" / "journal.db-wal"
            most_wal = max(most_wal, wal.stat().st_size if wal.exists() else 0)
        came = went = waiting = 0
        async with asyncio.timeout(240.0):
            while came < MANY or came <= 10 * went:  # on a busy machine the first of them takes longer than all of this
                await asyncio.sleep(0.1)
                came, went = sum(len(analyzer.acked) for analyzer in analyzers), sum(map(len, server.arrived.values()))
            took = loop.time() - began
            while waiting <= came / 2:  # what is said is of some moment before, and more and more wait
                await asyncio.sleep(0.1)
                waiting = (await status(daemon))["destinations"][0]["waiting"]
        for analyzer in analyzers:
            analyzer.stop()
        server.delay_s = 0.0
    tally = judge(folder / "var", server.ledger, settled=True).must_pass()
    daemon.watch.into(tally)
    assert tally.max_rss * MiB < RESIDENT
    assert most_wal < MOST_WAL
    size = (folder / "var" / "journal.db").stat().st_size
    trial.note(
        tally, came_a_second=round(came / took), went_a_second=round(went / took), most_waiting=waiting,
        most_wal_mib=round(most_wal / MiB, 1), bytes_a_message=round(size / max(1, came)),
    )  # fmt: skip


async def test_at_the_mark_nothing_is_answered_and_then_all_goes_on(tmp_path: Path, trial: Trial) -> None:
    """More comes than goes until the disk has no room but the reserve: that is the mark. Beyond it nobody is answered,
    however long they ask, memory stays where it is, and what was stored goes on being delivered; once there is room
    everybody is answered again, without a person or a restart."""
    server = TardyServer(ledger=Ledger(), delay_s=0.5)
    folder = tmp_path / "site"
    folder.mkdir()
    reserve_file = folder / "var" / RESERVE_NAME
    with small_disk(folder / "var", DISK) as disk:
        async with under_load(folder, ["mllp", "mllp", "astm"], server, mapped=False) as (daemon, analyzers):
            answered, refused_s = [], 0
            for _ in trial.rounds(quick=1, long=3, soak=50, unit="times at the mark"):
                # Made a step at a time; without all of it what is left is too little to go on with.
                await until(lambda: reserve_file.exists() and reserve_file.stat().st_size == DISK // SHARE, 240.0)
                async with asyncio.timeout(240.0):
                    while _says(await status(daemon), "disk is full"):  # noqa: ASYNC110  # another process
                        await asyncio.sleep(0.05)
                disk.fill(leave=ROOM_LEFT)
                server.delay_s = 0.5
                async with asyncio.timeout(90.0):
                    while not _says(await status(daemon), "disk is full"):  # noqa: ASYNC110  # another process
                        await asyncio.sleep(0.05)
                held = await _when_nobody_is_answered(analyzers)
                went = sum(map(len, server.arrived.values()))
                for _ in range(AT_THE_MARK_S):
                    await asyncio.sleep(1.0)
                    refused_s += 1
                    assert memory(daemon.pid)["RssAnon"] < MEMORY
                    assert [len(each.acked) for each in analyzers] == held
                assert sum(map(len, server.arrived.values())) > went
                disk.free()
                server.delay_s = 0.0
                await until(partial(_each_got_on, analyzers, held), 240.0)
                for analyzer in analyzers:  # until what has piled up is gone
                    analyzer.gate = lambda: _behind(analyzers, server) < MOST_BEHIND
                await until(lambda: _behind(analyzers, server) < MOST_BEHIND, 120.0)
                for analyzer in analyzers:
                    analyzer.gate = lambda: True
                answered.append(sum(held))
            for analyzer in analyzers:
                analyzer.stop()
        tally = judge(folder / "var", server.ledger, settled=True).must_pass()
    daemon.watch.into(tally)
    assert tally.max_rss * MiB < RESIDENT
    trial.note(tally, seconds_at_the_mark=refused_s, answered_before_it=answered[-1])


async def _when_nobody_is_answered(analyzers: list[Analyzer]) -> list[int]:
    """How many messages of each were answered, once the answers that were under way have come."""
    async with asyncio.timeout(240.0):
        held: list[int] = []
        while held != (now := [len(each.acked) for each in analyzers]):
            held = now
            await asyncio.sleep(1.0)
    return held


def _each_got_on(analyzers: list[Analyzer], before: list[int]) -> bool:
    return all(len(analyzer.acked) > count + 3 for analyzer, count in zip(analyzers, before, strict=True))


def _says(status: dict[str, object], words: str) -> bool:
    return words in str(status)


async def test_weeks_of_traffic_fit_into_little_memory(tmp_path: Path, trial: Trial) -> None:
    """Everything is mapped and delivered, as fast as it goes; the daemon has 128 MiB, and the kernel sees to that."""
    server = TardyServer(ledger=Ledger())
    folder = tmp_path / "site"
    protocols = ["mllp", "mllp", "astm", "pty"]
    with memory_group(MEMORY) as group:
        async with under_load(folder, protocols, server, mapped=True, wrapper=group.enter) as (daemon, analyzers):
            assert daemon.pid in group.members()
            for analyzer in analyzers:  # as fast as it all goes on: what piles up is another test
                analyzer.gate = lambda: _behind(analyzers, server) < MOST_BEHIND
            looked: list[int] = []
            for _ in trial.rounds(quick=5, long=75, soak=6 * 3_600, unit="seconds"):
                await asyncio.sleep(1.0)
                looked.append(memory(daemon.pid)["RssAnon"])
            for analyzer in analyzers:
                analyzer.stop()
        seen = group.seen()
    assert seen.killed == 0
    assert seen.most <= MEMORY
    tally = judge(folder / "var", server.ledger, settled=True).must_pass()
    daemon.watch.into(tally)
    assert max(looked) < MEMORY
    warm = looked[int(len(looked) * WARM_UP) :]
    half = len(warm) // 2
    grown = statistics.mean(warm[half:]) - statistics.mean(warm[:half])
    if len(looked) >= 60:
        assert grown < (CACHES if trial.scale == "long" else MiB)
    days = tally.acked / 86_400
    trial.note(
        tally, group_most_mib=round(seen.most / MiB, 1), limit_met=seen.reached, out_of_memory=seen.killed,
        most_at_work_mib=round(max(looked) / MiB, 1), grown_mib=round(grown / MiB, 2),
        days_at_one_message_a_second=round(days, 2),
    )  # fmt: skip


def test_a_group_ends_what_does_not_fit_into_it() -> None:
    """So the test above does show something."""
    eats = f"import sys; eaten = bytes(1) * {2 * MEMORY}; sys.exit(0)"
    with memory_group(MEMORY) as group:
        ended = subprocess.run([*group.enter, sys.executable, "-c", eats], check=False, timeout=60)
        seen = group.seen()
    assert ended.returncode == -signal.SIGKILL
    assert seen.killed == 1
    assert seen.most <= MEMORY
