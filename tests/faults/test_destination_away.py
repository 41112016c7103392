"""Destinations that are away for a day, slow, or come and go (T8, T9, T10).

A whole site in the test's own process, on real sockets and a real journal. Where time must pass, the clock is the
test's own: a day takes as long as the work that is done in it.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from engine.delivery.breaker import BreakerState
from engine.model.process.clock import Clock, ManualClock
from engine.runtime.app import App
from engine.store.queries.lanes import list_channels, list_lanes
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import judge
from tests.faults.harness.tally import percentile
from tests.faults.harness.trial import Trial
from tests.support.live import Mood, Server
from tests.support.mllp_peer import END, VT
from tests.support.ports import quiet_ports
from tests.support.running import MLLP, channel, make_running_site, running_app
from tests.support.waiting import until
from workbench.bench.messages import control_id, oru

HOUR_S = 3600
LONGEST_RUN = 10  # failures in a row: each failed probe doubles the wait for the next, up to a minute
BURST = 60  # messages in one write: one a second, in steps of a minute
HEARD = "labrelay.delivery"


@dataclass
class Sender:
    """One analyzer on one connection: it sends some messages at once, and waits for all of their answers."""

    number: int
    port: int
    ledger: Ledger
    sent: int = 0
    answered_s: list[float] = field(default_factory=list)
    results: int = 1

    async def __aenter__(self) -> "Sender":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(self, count: int = 1) -> None:
        numbers = range(self.sent + 1, self.sent + count + 1)
        payloads = [oru(self.number, n, random.Random(n), results=self.results) for n in numbers]
        for payload in payloads:
            self.ledger.note_sent(f"c{self.number}", payload)
        began = time.perf_counter()
        self._writer.write(b"".join(VT + payload + END for payload in payloads))
        for number, payload in zip(numbers, payloads, strict=True):
            answer = await asyncio.wait_for(self._reader.readuntil(END), 240.0)
            assert f"MSA|AA|{control_id(self.number, number)}\r".encode() in answer
            self.ledger.note_acked(f"c{self.number}", payload)
        self.answered_s.append(time.perf_counter() - began)
        self.sent += count


@dataclass
class WaywardServer(Server):
    """One that takes its time, or changes its mind with every request.

    Attributes:
        gate: while it is not set, nothing is answered.
        choose: how the next request is answered.
    """

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    choose: Callable[[], Mood] | None = None

    async def _take(self, request: web.Request) -> web.StreamResponse:
        await self.gate.wait()
        await request.read()  # from here on nobody else is served before this one
        if self.choose is not None:
            self.mood = self.choose()
        return await super()._take(request)


@dataclass
class Site:
    """A running site with raw routes, one server a destination."""

    app: App
    folder: Path
    web: str
    ledger: Ledger
    servers: dict[str, WaywardServer]

    def sender(self, number: int) -> Sender:
        port = self.app.parts.sources[f"c{number}"].port
        assert port is not None
        return Sender(number, port, self.ledger)

    def open(self, *destinations: str) -> int:
        """Deliveries for these that are not settled, and messages that nobody has looked at."""
        waiting = sum(view.open for view in list_lanes(self.app.journal) if view.destination in destinations)
        return waiting + self.stored

    @property
    def stored(self) -> int:
        """Messages that nobody has looked at yet."""
        return sum(view.stored for view in list_channels(self.app.journal))

    async def status(self, destination: str = "") -> dict[str, Any]:
        """What the page says of the site, or of one destination."""
        async with aiohttp.ClientSession() as client, client.get(f"http://{self.web}/status.json") as response:
            found: dict[str, Any] = json.loads(await response.text())
        return next((row for row in found["destinations"] if row["name"] == destination), found)


@asynccontextmanager
async def site_of(
    folder: Path, routes: Sequence[Sequence[str]], *, clock: Clock | None = None, **settings: object
) -> AsyncIterator[Site]:
    """A site with one MLLP channel for each of ``routes``, which name destinations; each of them is a server."""
    names = sorted({name for route in routes for name in route})
    ledger = Ledger()
    ports = dict(zip(names, quiet_ports(len(names)), strict=True))  # a server that is away keeps its address
    servers = {name: WaywardServer(name=name, ledger=ledger, port=ports[name]) for name in names}
    for server in servers.values():
        server.gate.set()
        await server.start()
    (port,) = quiet_ports(1)
    make_running_site(
        folder,
        {f"c{n}": channel(MLLP, {"to": list(to)}) for n, to in enumerate(routes)},
        {
            name: {"kind": "http", "url": f"http://127.0.0.1:{server.port}/", **settings}
            for name, server in servers.items()
        },
        web=f"127.0.0.1:{port}",
    )
    try:
        async with running_app(folder, clock=clock) as app:
            yield Site(app, folder, f"127.0.0.1:{port}", ledger, servers)
    finally:
        for server in servers.values():
            await server.stop()


# -- T8: away for a day ------------------------------------------------------------------------------------------


async def test_a_day_without_the_destination_costs_nothing_and_is_drained_in_order(
    tmp_path: Path, trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    """One message a second meanwhile; at the scale of a soak three days of it."""
    caplog.set_level(logging.INFO, logger=HEARD)
    clock = ManualClock(datetime.now(UTC))
    async with site_of(tmp_path, [["server"]], clock=clock) as site:
        server, worker = site.servers["server"], site.app.parts.delivery_workers["server"]
        await server.stop()
        async with site.sender(0) as sender:
            most_in_memory = 0
            for _ in trial.rounds(quick=20, long=24 * 60, soak=72 * 60, unit="minutes"):
                clock.advance(BURST)
                worker.wake()
                await sender.send(BURST)
                await until(lambda: not worker.attempts.in_flight)
                most_in_memory = max(most_in_memory, worker.memory.deliveries)
            sent = span_s = sender.sent
        await until(lambda: not site.stored and site.open("server") == sent, 240.0)

        clock.advance(2.0)  # a snapshot is two seconds old at most
        shown, whole = await site.status("server"), await site.status()
        assert shown["waiting"] == sent
        assert shown["oldest_age_s"] >= span_s - BURST
        assert shown["state"] in {"breaker_open", "probing"}
        if span_s >= 7 * HOUR_S:  # of a shorter past nothing is foretold
            assert whole["disk_days_left"] > 0
        assert whole["disk_free_bytes"] > 0
        attempts = sum(worker.counts.failed.values())
        assert attempts <= span_s / 60 + 20  # five open the breaker, its pauses grow to a minute
        assert most_in_memory <= 256

        await server.start()
        began = time.perf_counter()
        while site.open("server"):
            clock.advance(30.0)
            worker.wake()
            await asyncio.sleep(0.02)  # what can be done in half a minute: nearly nothing of it is waiting
            assert worker.attempts.in_flight <= 1  # one lane, one at a time: the rate is what the server takes
            assert worker.memory.deliveries <= 256
        drained_s = time.perf_counter() - began
        assert server.arrived[0] == list(range(1, sent + 1))
        assert [len(set(keys)) for keys in server.keys.values()] == [1] * sent
        tally = judge(site.folder / "var", site.ledger, settled=True).must_pass()

    said = [record.message for record in caplog.records if "reachable" in record.message]
    assert said == ["destination is not reachable", "destination is reachable again"]
    assert len([record for record in caplog.records if record.name == HEARD]) < 10  # a day fills no log
    trial.note(tally, attempts=attempts, drained_a_second=round(sent / drained_s), most_in_memory=most_in_memory)


# -- T9: slow ----------------------------------------------------------------------------------------------------


async def test_a_slow_destination_is_nobody_elses_business(tmp_path: Path, trial: Trial) -> None:
    """Answers that take as long as they like (30 s and more, in the clock's time): the other one has everything."""
    clock = ManualClock(datetime.now(UTC))
    async with site_of(tmp_path, [["fast"], ["slow"], ["fast", "slow"]], clock=clock, timeout="60s") as site:
        fast, slow = site.servers["fast"], site.servers["slow"]
        worker = site.app.parts.delivery_workers["slow"]
        async with site.sender(0) as alone, site.sender(2) as both, site.sender(1) as other:
            for _ in trial.rounds(quick=100, long=2_000, unit="messages of each channel"):  # both are well
                for sender in (alone, both, other):
                    await sender.send()
            count = alone.sent
            usual = percentile(alone.answered_s, 0.99)
            await until(lambda: not site.open("fast", "slow"), 240.0)

            slow.gate.clear()
            alone.answered_s.clear()
            for number in range(count):
                for sender in (alone, both, other):
                    await sender.send()
                if number % 20 == 0:
                    clock.advance(30.0)  # an answer takes at least so long, and the page shows it
            held = percentile(alone.answered_s, 0.99)
            await until(lambda: not site.open("fast"), 240.0)
            assert fast.arrived[0] == fast.arrived[2] == list(range(1, 2 * count + 1))
            assert slow.arrived[1] == slow.arrived[2] == list(range(1, count + 1))
            assert worker.attempts.in_flight <= 2  # one of each lane
            assert worker.memory.deliveries <= 256
            assert (await site.status("fast"))["state"] == "ok"
            clock.advance(2.0)
            shown = await site.status("slow")
            assert shown["waiting"] == 2 * count
            assert shown["oldest_age_s"] >= 30.0

            slow.gate.set()
            await until(lambda: not site.open("slow"), 120.0)
            assert slow.arrived[1] == slow.arrived[2] == list(range(1, 2 * count + 1))
        tally = judge(site.folder / "var", site.ledger, settled=True).must_pass()
    trial.note(tally, ack_p99_ms=round(usual * 1000, 2), ack_p99_ms_beside_a_slow_one=round(held * 1000, 2))


# -- T10: flapping -----------------------------------------------------------------------------------------------


async def test_a_flapping_destination_gets_everything_in_order_and_nothing_under_two_keys(
    tmp_path: Path, trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of the requests fail: refused for now, reset before they are read, or taken and the answer lost."""
    caplog.set_level(logging.INFO, logger=HEARD)
    moods, in_a_row = (Mood.BUSY, Mood.RESET, Mood.LOST), 0

    def flap() -> Mood:
        nonlocal in_a_row
        fails = trial.chance.random() < 0.5 and in_a_row < LONGEST_RUN
        in_a_row = in_a_row + 1 if fails else 0
        return trial.chance.choice(moods) if fails else Mood.WELL

    fast = {"retry": {"first": "5ms", "max": "20ms"}, "breaker": {"failures": 5, "probe_after": "20ms"}}
    async with site_of(tmp_path, [["server"], ["server"]], **fast) as site:
        server, worker = site.servers["server"], site.app.parts.delivery_workers["server"]
        server.choose = flap
        async with site.sender(0) as one, site.sender(1) as two:
            for number in trial.rounds(quick=150, long=4_000, unit="messages of each channel"):
                await one.send()
                await two.send()
                if number % 50 == 49:  # now and then it is down for good, for a moment
                    server.mood, server.choose = Mood.RESET, None
                    await one.send()  # all before may have arrived: it is seen to be down by one that has not
                    await two.send()
                    await until(lambda: worker.breaker.state is not BreakerState.CLOSED, 240.0)
                    server.mood = Mood.WELL
                    server.choose = flap
            await until(lambda: not site.open("server"), 160.0)
            count = one.sent
        assert server.arrived[0] == server.arrived[1] == list(range(1, count + 1))
        again = sum(len(keys) - 1 for keys in server.keys.values())
        assert again > 0  # else no answer was lost
        tally = judge(site.folder / "var", site.ledger, settled=True).must_pass()
        assert tally.dup_flagged == again
        opened = worker.counts.breaker_opened
    said = [record.message for record in caplog.records if "reachable" in record.message]
    assert opened > 1
    assert said == ["destination is not reachable", "destination is reachable again"] * opened
    trial.note(tally, breaker_opened=opened, attempts_failed=sum(worker.counts.failed.values()))
