"""The daemon is killed again and again under load: nothing acknowledged is lost, order is kept, repeats are known.

`LABRELAY_KILLS=100 pytest tests/faults/test_kill.py` for a longer run.
"""

import asyncio
import os
import random
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from engine.bench.sink import CONTROL_ID
from engine.clock import SystemClock
from engine.journal import Journal
from engine.reasons import Reason
from engine.records import Filter
from engine.verify import run as verify
from tests.support.live import Analyzer, Daemon, Mood, Server
from tests.support.waiting import until

KILLS = int(os.environ.get("LABRELAY_KILLS", "20"))
PROTOCOLS = ["mllp", "astm", "mllp"]
TROUBLE = [Mood.WELL, Mood.BUSY, Mood.WELL, Mood.RESET, Mood.LOST, Mood.PROXY]


# What the troubled server refuses for ever (422), by the number of the message.
REFUSED = {(channel, number) for channel in range(len(PROTOCOLS)) for number in range(5, 100_000, 11)}


def missing(server: Server, analyzer: Analyzer) -> set[int]:
    """Acknowledged, not refused by the server, and not there."""
    wanted = {number for number in analyzer.acked if (analyzer.channel, number) not in server.refuse}
    return wanted - set(server.arrived[analyzer.channel])


def refused_letters(data: Path) -> set[tuple[int, int]]:
    """(channel, number) of the messages whose delivery is dead because the server refused it."""
    journal = Journal.open(data, clock=SystemClock(), read_only=True)
    try:
        letters = journal.dead(Filter(reason=Reason.REFUSED.value), limit=100_000)
        found = (CONTROL_ID.search(journal.payload(letter.message_id)) for letter in letters)
        return {(int(match[1]), int(match[2])) for match in found if match}
    finally:
        journal.close()


def check(server: Server, analyzers: list[Analyzer]) -> None:
    for analyzer in analyzers:
        arrived = server.arrived[analyzer.channel]
        lost = missing(server, analyzer)
        assert not lost, f"acknowledged and not delivered: {sorted(lost)[:10]}"
        assert arrived == sorted(arrived), "out of order within a lane"
    for ident, keys in server.keys.items():
        assert len(set(keys)) == 1, f"{ident} was delivered under different keys"
        assert keys[0]


def _each_was_heard(analyzers: list[Analyzer], before: list[int]) -> bool:
    return all(len(analyzer.acked) > count for analyzer, count in zip(analyzers, before, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(60 + 15 * KILLS)
@pytest.mark.parametrize("moods", [[Mood.WELL], TROUBLE], ids=["healthy server", "troubled server"])
@pytest.mark.parametrize("workers", [0, 1], ids=["one process", "two processes"])
async def test_nothing_acknowledged_is_lost_when_killed(tmp_path: Path, moods: list[Mood], workers: int) -> None:
    rng = random.Random(4711)
    server = Server(refuse=set() if moods == [Mood.WELL] else REFUSED)
    await server.start()
    retry = "retry: {first: 50ms, max: 200ms}, breaker: {probe_after: 200ms}"
    destination = f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir", {retry}}}'
    daemon = Daemon(tmp_path / "site", PROTOCOLS, destination, workers=workers)
    async with AsyncExitStack() as ending:
        ending.push_async_callback(server.stop)
        ending.push_async_callback(daemon.end)
        await daemon.start()
        analyzers = [
            Analyzer(number, daemon.port_of[number], protocol, pause_s=0.002)
            for number, protocol in enumerate(PROTOCOLS)
        ]
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        kills = KILLS if moods == [Mood.WELL] else max(KILLS // 2, len(moods))
        for kill in range(kills):
            server.mood = moods[kill % len(moods)]
            before = [len(analyzer.acked) for analyzer in analyzers]
            # Each has to be heard between two kills, also on a machine where one of them is slow.
            heard = partial(_each_was_heard, analyzers, before)
            await until(heard, 60.0)
            await asyncio.sleep(rng.uniform(0.0, 0.25))  # the moment of the kill is meant to be any moment
            await daemon.kill()
            await daemon.start()
        server.mood = Mood.WELL
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)
        await until(lambda: not any(missing(server, analyzer) for analyzer in analyzers), 60.0)
        acked = {(analyzer.channel, number) for analyzer in analyzers for number in analyzer.acked}
        unsure = {(analyzer.channel, analyzer.last) for analyzer in analyzers} - acked
        await until(lambda: refused_letters(tmp_path / "site" / "var") - unsure == acked & server.refuse, 60.0)
        assert await daemon.terminate() == 0
    check(server, analyzers)
    assert refused_letters(tmp_path / "site" / "var") - unsure == acked & server.refuse
    assert all(len(analyzer.acked) > kills for analyzer in analyzers)
    assert verify(tmp_path / "site" / "var", deep=True) == []
