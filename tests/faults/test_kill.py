"""T1: the daemon is killed again and again under load: nothing acknowledged is lost, order is kept, repeats are known.

Each kill hits analyzers over MLLP, over ASTM on TCP, and over ASTM on a serial line (a pseudo-terminal) at once.
"""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from engine.model.journal.journal_views import Filter
from engine.model.texts.reasons import ReasonCode
from engine.store.queries.letters import dead_letters
from engine.store.queries.reader import Reader, stored_payload
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import is_settled, judge
from tests.faults.harness.trial import Trial
from tests.support.examples import examples
from tests.support.live import Analyzer, Daemon, Mood, Server
from tests.support.waiting import until
from workbench.bench.sink import CONTROL_ID

PROTOCOLS = ["mllp", "astm", "pty"]
HEALTHY = [Mood.WELL]
TROUBLE = [Mood.WELL, Mood.BUSY, Mood.WELL, Mood.RESET, Mood.LOST, Mood.PROXY]
KILLS = {"quick": examples(5, least=2), "long": 500}  # at each scale

# What the troubled server refuses for ever (422), by the number of the message.
REFUSED = {(channel, number) for channel in range(len(PROTOCOLS)) for number in range(5, 100_000, 11)}


SLOWEST_DRAIN = 20  # messages a second, on the busiest machine and after hundreds of kills


def missing(server: Server, analyzer: Analyzer) -> set[int]:
    """Acknowledged, not refused by the server, and not there."""
    wanted = {number for number in analyzer.acked if (analyzer.channel, number) not in server.refuse}
    return wanted - set(server.arrived[analyzer.channel])


def refused_letters(data: Path) -> set[tuple[int, int]]:
    """(channel, number) of the messages whose delivery is dead because the server refused it."""
    journal = Reader.beside(data)
    try:
        letters = dead_letters(journal, Filter(code=ReasonCode.REFUSED.value), limit=100_000)
        found = (CONTROL_ID.search(stored_payload(journal, letter.message_id)) for letter in letters)
        return {(int(match[1]), int(match[2])) for match in found if match}
    finally:
        journal.close()


def _each_was_heard(analyzers: list[Analyzer], before: list[int]) -> bool:
    return all(len(analyzer.acked) > count for analyzer, count in zip(analyzers, before, strict=True))


@pytest.mark.parametrize(
    "moods",
    [
        pytest.param(HEALTHY, id="healthy server", marks=pytest.mark.promise("kill")),
        pytest.param(TROUBLE, id="troubled server"),
    ],
)
async def test_nothing_acknowledged_is_lost_when_killed(tmp_path: Path, trial: Trial, moods: list[Mood]) -> None:
    ledger = Ledger()
    server = Server(refuse=set() if moods == HEALTHY else REFUSED, ledger=ledger)
    await server.start()
    retry = "retry: {first: 50ms, max: 200ms}, breaker: {probe_after: 200ms}"
    destination = f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir", {retry}}}'
    async with AsyncExitStack() as ending:
        ending.push_async_callback(server.stop)
        daemon = Daemon(tmp_path / "site", PROTOCOLS, destination, page=False)
        ending.push_async_callback(daemon.end)
        await daemon.start()
        analyzers = [
            Analyzer(
                number, daemon.port_of[number], protocol, daemon.cables.get(number), lambda: daemon.listening, ledger,
                pause_s=0.002,
            )
            for number, protocol in enumerate(PROTOCOLS)
        ]  # fmt: skip
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        for kill in trial.rounds(**KILLS, unit="kills"):
            server.mood = moods[kill % len(moods)]
            # Each has to be heard between two kills, also on a machine where one of them is slow.
            heard = partial(_each_was_heard, analyzers, [len(analyzer.acked) for analyzer in analyzers])
            await until(heard, 240.0)
            await asyncio.sleep(trial.chance.uniform(0.0, 0.25))  # the moment of the kill is meant to be any moment
            await daemon.kill()
            await daemon.start()
        server.mood = Mood.WELL
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)
        behind = sum(len(missing(server, analyzer)) for analyzer in analyzers)
        within_s = 60.0 + behind / SLOWEST_DRAIN
        try:
            await until(lambda: not any(missing(server, analyzer) for analyzer in analyzers), within_s)
        except TimeoutError:
            absent = {analyzer.protocol: sorted(missing(server, analyzer)) for analyzer in analyzers}
            pytest.fail(
                f"acknowledged and not at the server after {within_s:.0f} s (it was behind by {behind}): {absent}"
            )
        acked = {(analyzer.channel, number) for analyzer in analyzers for number in analyzer.acked}
        unsure = {(analyzer.channel, analyzer.last) for analyzer in analyzers} - acked
        await until(lambda: refused_letters(tmp_path / "site" / "var") - unsure == acked & server.refuse, 240.0)
        await until(lambda: is_settled(tmp_path / "site" / "var"), 240.0)  # what was kept and not acknowledged, too
        assert await daemon.terminate() == 0
    found = judge(tmp_path / "site" / "var", ledger, settled=True)
    daemon.watch.into(found.tally)
    trial.note(found.must_pass())
    assert refused_letters(tmp_path / "site" / "var") - unsure == acked & server.refuse
    for analyzer in analyzers:
        assert server.arrived[analyzer.channel] == sorted(server.arrived[analyzer.channel])
        assert not missing(server, analyzer)
    assert all(len(analyzer.acked) >= trial.reached[0].done for analyzer in analyzers), (
        "one was not heard between kills"
    )
