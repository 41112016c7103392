"""Three channels flood with large messages, and a fourth channel is served at once (T41). The real daemon."""

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import judge
from tests.faults.harness.tally import percentile
from tests.faults.harness.trial import Trial
from tests.support.live import Analyzer, Daemon, Server
from tests.support.waiting import until

FLOOD = 3  # channels; the one after them is quiet
RESULTS = {"quick": 1_100, "long": 20_000, "soak": 20_000}
MESSAGE = 1_200_000  # bytes
MOST_S = 10.0
EACH = 6  # messages of each flooding channel, at the quick scale
MOST_BEFORE = 4  # of them all, attempted before the last one of the quiet channel
RETRY = "retry: {first: 50ms, max: 200ms}"


@dataclass
class Acknowledged(Ledger):
    """Attributes:
    at: when each message of a channel was acknowledged, in their order.
    """

    at: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def note_acked(self, channel: str, payload: bytes) -> None:
        super().note_acked(channel, payload)
        self.at[channel].append(asyncio.get_running_loop().time())


@dataclass
class Arrivals(Server):
    """Attributes:
    seen: the channel of each document that came for the first time, and when.
    """

    most_bytes: int = 1 << 28
    seen: list[tuple[int, float]] = field(default_factory=list)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        at = body.index(b"B0")
        if (one := (int(body[at + 1 : at + 4]), int(body[at + 5 : at + 13]))) not in self.keys:
            self.seen.append((one[0], asyncio.get_running_loop().time()))
        return await super()._take(request)


@dataclass
class Flooding(Analyzer):
    """Attributes:
    results: of each message, beside the usual ones.
    """

    results: int = 0

    def _records(self, number: int, rng: random.Random) -> list[bytes]:
        name = "T" * (MESSAGE // self.results - 40)
        lines = (
            f"OBX|{n}|NM|{n}-{n % 10}^{name}^L||{rng.random() * 10:.2f}|mg/dL|1-9|N|||F\r"
            for n in range(21, self.results)
        )
        [message] = super()._records(number, rng)
        return [message.replace(b"|MR", b"|X"), "".join(lines).encode()]  # no patient of the quiet channel


async def test_a_quiet_channel_does_not_wait_for_the_flood_of_others(tmp_path: Path, trial: Trial) -> None:
    """Once the flood is accepted, a message of a quiet channel is attempted before most of the flood. Where the backlog
    is processed in the order of the journal, 8 of the 18 come before it."""
    ledger = Acknowledged()
    server = Arrivals(ledger=ledger)
    await server.start()
    destination = f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir", {RETRY}}}'
    daemon = Daemon(tmp_path / "site", ["mllp"] * (FLOOD + 1), destination, interpreter=True)
    is_quick = trial.scale == "quick"
    playing: list[asyncio.Task[None]] = []
    try:
        await daemon.start()
        flood = [
            Flooding(n, daemon.port_of[n], "mllp", ledger=ledger, results=RESULTS[trial.scale]) for n in range(FLOOD)
        ]
        quiet = Analyzer(FLOOD, daemon.port_of[FLOOD], "mllp", ledger=ledger, pause_s=0.0 if is_quick else 1.0)
        for one in flood:
            one.last_number = EACH if is_quick else 10**9
        playing = [asyncio.create_task(one.run()) for one in flood]
        if is_quick:
            await until(lambda: all(len(one.acked) == EACH for one in flood), 240.0)
        quiet.gate = lambda: len(quiet.acked) < rounds
        playing.append(asyncio.create_task(quiet.run()))
        rounds = 0
        for _ in trial.rounds(quick=3, long=25, soak=600, unit="messages"):
            rounds += 1
            await until(lambda sent=rounds: len(quiet.acked) == sent, 240.0)
        for one in (*flood, quiet):
            one.stop()
        await until(lambda: len(server.arrived[FLOOD]) == len(quiet.acked), 240.0)
        came = [at for channel, at in server.seen if channel == FLOOD]
        assert server.arrived[FLOOD] == quiet.acked
        waits = [at - acked for at, acked in zip(came, ledger.at[f"c{FLOOD}"], strict=True)]
        if is_quick:
            await until(lambda: sum(map(len, server.arrived.values())) == FLOOD * EACH + rounds, 240.0)
            passed = [channel for channel, at in server.seen if channel != FLOOD and at < came[-1]]
            assert len(passed) <= MOST_BEFORE, server.seen
        else:
            assert percentile(waits, 0.99) <= MOST_S
        await asyncio.gather(*playing)
        await daemon.terminate()
        tally = judge(daemon.folder / "var", ledger, settled=is_quick, deep=is_quick).must_pass()
        daemon.watch.into(tally)
        trial.note(tally, p99_ms=round(percentile(waits, 0.99) * 1000), most_ms=round(max(waits) * 1000))
    finally:
        for task in playing:
            task.cancel()
        await daemon.end()
        await server.stop()
