"""Faults of the machine: its clock is moved (T12), a second daemon is started (T26), the loop hangs (T30)."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.process.clock import SystemClock, from_us
from engine.runtime.app import App
from engine.runtime.observing import notices
from engine.store.queries.acts import acts_page
from engine.store.queries.lanes import list_channels, list_lanes
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import judge
from tests.faults.harness.tally import Tally
from tests.faults.harness.trial import Trial
from tests.support.forking import live
from tests.support.live import Analyzer, Daemon, Mood, Server
from tests.support.running import QUICK, channel, make_running_site, running_app
from tests.support.waiting import until

HOUR_S, DAY_S = 3600.0, 86_400.0
PROTOCOLS = ["mllp", "astm"]


@asynccontextmanager
async def serving(ledger: Ledger) -> AsyncIterator[Server]:
    server = Server(ledger=ledger)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def sending(ports: dict[int, int], ledger: Ledger, pause_s: float = 0.005) -> AsyncIterator[list[Analyzer]]:
    """Analyzers at work; at the end each has its last answer."""
    analyzers = [Analyzer(n, ports[n], kind, ledger=ledger, pause_s=pause_s) for n, kind in enumerate(PROTOCOLS)]
    playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
    try:
        yield analyzers
    finally:
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)


def more(analyzers: list[Analyzer], by: int = 3) -> Callable[[], bool]:
    """Whether each has been acknowledged so many more messages from now on."""
    before = [len(analyzer.acked) for analyzer in analyzers]
    return lambda: all(len(one.acked) >= count + by for one, count in zip(analyzers, before, strict=True))


def all_arrived(server: Server, analyzers: list[Analyzer]) -> Callable[[], bool]:
    return lambda: all(set(one.acked) <= set(server.arrived[one.channel]) for one in analyzers)


# -- T12: the clock is moved ---------------------------------------------------------------------------------------


class MovedClock(SystemClock):
    """The machine's clock, moved on the wall; the monotonic one goes on, as it does on a machine."""

    def __init__(self) -> None:
        self.off_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + round(self.off_s * 1e6)

    def now(self) -> datetime:
        return from_us(self.now_us())


# What a clock does: steps of a time server, an hour either way (summer time taken for a change of the clock), a leap
# second, an empty battery (1970), a year ahead, and back again.
MOVES_S = (0.5, -0.5, 1.0, HOUR_S, -HOUR_S, -2 * HOUR_S, 365 * DAY_S, None, 0.0)


async def test_a_clock_that_is_moved_neither_stalls_nor_storms(
    tmp_path: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "POLL_S", 0.02)
    ledger, clock = Ledger(), MovedClock()
    async with serving(ledger) as server:
        folder = make_running_site(
            tmp_path,
            {
                f"c{n}": channel({"kind": kind, "listen": "127.0.0.1:0"}, {"to": "server", "doubtful": "pass"})
                for n, kind in enumerate(PROTOCOLS)
            },
            {"server": {"kind": "http", "url": f"http://127.0.0.1:{server.port}/", **QUICK}},
        )
        async with running_app(folder, clock=clock) as app:
            ports = {n: app.parts.sources[f"c{n}"].port or 0 for n in range(len(PROTOCOLS))}
            async with sending(ports, ledger) as analyzers:
                for turn in trial.rounds(quick=len(MOVES_S), long=5 * len(MOVES_S), unit="moves of the clock"):
                    move = MOVES_S[turn % len(MOVES_S)]
                    server.mood = Mood.BUSY  # there are deliveries that wait for their next attempt
                    await until(more(analyzers), 240.0)
                    was_s, attempts = clock.off_s, app.parts.delivery_workers["server"].counts.failed.total()
                    clock.off_s = -clock_now_s() if move is None else move  # None: 1970
                    await until(more(analyzers), 240.0)
                    tries = app.parts.delivery_workers["server"].counts.failed.total() - attempts
                    assert tries < 400, "a storm of attempts"
                    server.mood = Mood.WELL
                    await until(all_arrived(server, analyzers), 240.0)  # no stall: what waited goes out
                    if abs(clock.off_s - was_s) > notices.NOTICED_S:
                        await until(lambda: app.clock_watch.moved is not None)
                        assert any("was moved" in note for note in app.observer.take().notes)
                await until(all_arrived(server, analyzers), 240.0)
            await until(all_arrived(server, analyzers), 240.0)
            await until(lambda: settled(app), 240.0)
            noted = [act for act in acts_page(app.journal) if act.verb == "clock-moved"]
            assert len(noted) >= 4
            assert app.supervisor.stale() == []
    trial.note(judge(folder / "var", ledger, settled=True).must_pass())


def clock_now_s() -> float:
    return SystemClock().now_us() / 1e6


def settled(app: App) -> bool:
    return not any(view.open for view in list_lanes(app.journal)) and not any(
        view.stored for view in list_channels(app.journal)
    )


# -- T26: two daemons ----------------------------------------------------------------------------------------------


async def test_of_two_daemons_that_start_at_once_one_stays(tmp_path: Path, trial: Trial) -> None:
    ledger = Ledger()
    async with serving(ledger) as server:
        destination = f'{{kind: http, url: "http://127.0.0.1:{server.port}/", retry: {{first: 50ms, max: 200ms}}}}'
        daemon = Daemon(tmp_path / "site", PROTOCOLS, destination, mapped=False, page=False)
        async with sending(daemon.port_of, ledger) as analyzers:
            for _ in trial.rounds(quick=1, long=25, unit="pairs of daemons"):
                lives = [await live(daemon.folder, daemon.log) for _ in range(2)]
                try:
                    await until(lambda lives=lives: any(life.returncode is not None for life in lives), 240.0)
                    await until(more(analyzers), 240.0)  # the other one works
                    ended = [life for life in lives if life.returncode is not None]
                    assert [life.returncode for life in ended] == [ExitCode.UNREACHABLE]
                finally:
                    for life in lives:
                        life.kill()
                        await life.wait()
            last = await live(daemon.folder, daemon.log)
            await until(more(analyzers), 240.0)
        await until(all_arrived(server, analyzers), 240.0)
        last.send_signal(15)
        assert await last.wait() == 0
    trial.note(judge(tmp_path / "site" / "var", ledger, settled=True).must_pass())


# -- T30: the loop hangs -------------------------------------------------------------------------------------------


class Manager:
    """Does what systemd does for ``Type=notify`` and ``WatchdogSec=``: it listens; the test kills and starts again."""

    def __init__(self, address: Path, watchdog_s: float) -> None:
        self.watchdog_s = watchdog_s
        self.environ = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": str(round(watchdog_s * 1e6))}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address))
        self._socket.setblocking(False)

    async def silence(self) -> float:
        """Wait until nothing was heard for as long as the watchdog may be silent; seconds since the last word."""
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while True:
            with contextlib.suppress(BlockingIOError):
                while True:
                    if {b"WATCHDOG=1", b"READY=1"} & set(self._socket.recv(4096).split(b"\n")):
                        heard = loop.time()
            if loop.time() - heard > self.watchdog_s:
                return loop.time() - heard
            await asyncio.sleep(0.02)

    def close(self) -> None:
        self._socket.close()


async def test_a_loop_that_hangs_is_ended_by_the_watchdog_and_nothing_is_lost(tmp_path: Path, trial: Trial) -> None:
    ledger = Ledger()
    manager = Manager(tmp_path / "notify", trial.goal(quick=2, long=30, unit="s of WatchdogSec"))
    async with serving(ledger) as server, AsyncExitStack() as ending:
        ending.callback(manager.close)
        destination = f'{{kind: http, url: "http://127.0.0.1:{server.port}/", retry: {{first: 50ms, max: 200ms}}}}'
        environ = {**os.environ, **manager.environ}
        daemon = Daemon(tmp_path / "site", PROTOCOLS, destination, mapped=False, page=False, environ=environ)
        ending.push_async_callback(daemon.end)
        async with sending(daemon.port_of, ledger) as analyzers:
            for _ in trial.rounds(quick=1, long=2, unit="loops that hung"):
                daemon.dies_at = ("process", "hangs", "5")
                await daemon.start()
                silent_s = await manager.silence()
                assert daemon.code is None, "it ended by itself"
                assert any(analyzer.acked for analyzer in analyzers)
                await daemon.kill()
                daemon.dies_at = ()
                await daemon.start()
                await until(more(analyzers), 240.0)
                await daemon.kill()
            await daemon.start()
            await until(more(analyzers), 240.0)
        await until(all_arrived(server, analyzers), 240.0)
        assert await daemon.terminate() == 0
    tally: Tally = judge(tmp_path / "site" / "var", ledger, settled=True).must_pass()
    daemon.watch.into(tally)
    trial.note(tally, silent_s=round(silent_s, 1))
