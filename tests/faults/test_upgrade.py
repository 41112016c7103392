"""After a kill amid open work a program with more schema steps takes the journal over, and goes on where it stopped."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from engine.store.core import connecting
from engine.store.integrity import before_upgrade
from tests.faults.harness.ledger import Ledger
from tests.faults.harness.oracle import is_settled, judge
from tests.faults.test_upgrade_kill import ask
from tests.support.live import Analyzer, Daemon, Mood, Server
from tests.support.made_up_steps import with_made_up_steps
from tests.support.running import running_app
from tests.support.waiting import until

CHAIN = "SELECT id, kind, channel, seq, hash, chain FROM journal ORDER BY id"
KEYS = "SELECT id, lane, seq, message_id, key FROM delivery ORDER BY id"


async def test_the_journal_of_a_killed_program_is_upgraded_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    server = Server(ledger=ledger)
    async with AsyncExitStack() as ending:
        await server.start()
        ending.push_async_callback(server.stop)
        retry = "retry: {first: 50ms, max: 200ms}, breaker: {probe_after: 200ms}"
        destination = f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir", {retry}}}'
        daemon = Daemon(tmp_path / "site", ["mllp", "astm"], destination, page=False)
        ending.push_async_callback(daemon.end)
        await daemon.start()
        analyzers = [
            Analyzer(number, daemon.port_of[number], protocol, ledger=ledger)
            for number, protocol in enumerate(daemon.protocols)
        ]
        playing = [asyncio.create_task(analyzer.run()) for analyzer in analyzers]
        await until(lambda: all(server.arrived[analyzer.channel] for analyzer in analyzers), 60.0)
        server.mood = Mood.BUSY
        acked = len(ledger.acked)
        await until(lambda: len(ledger.acked) > acked + 20, 60.0)
        await daemon.kill()
        for analyzer in analyzers:
            analyzer.stop()
        await asyncio.gather(*playing)

        data = daemon.folder / "var"
        journal = data / "journal.db"
        chain, keys = ask(journal, CHAIN), ask(journal, KEYS)
        states = {row[0] for row in ask(journal, "SELECT DISTINCT state FROM delivery")}
        assert "delivered" in states
        assert states & {"waiting", "sending"}
        steps, first = with_made_up_steps(), connecting.steps()[-1][0]
        monkeypatch.setattr(connecting, "steps", lambda: steps)
        server.mood = Mood.WELL
        async with running_app(daemon.folder) as app:
            assert f"goes from {first} to {steps[-1][0]}" in app.journal.notes[0]
            await until(lambda: is_settled(data), 60.0)

    # Nothing that was there has changed, and every delivery kept its place and its key.
    judge(data, ledger, settled=True).must_pass()
    assert ask(journal, CHAIN)[: len(chain)] == chain
    assert ask(journal, KEYS)[: len(keys)] == keys
    copy = data / before_upgrade.FOLDER / f"journal-{first:04}.db"
    assert ask(copy, CHAIN) == chain
