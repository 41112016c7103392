"""The daemon is killed amid a replay, again and again; each start goes on with it: it sends everything once more and,
of what was under way when it was killed, at most one thing twice, under its old key."""

import asyncio
import random
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.actions.control import SOCKET_NAME, call
from engine.model.journal.journal_views import Filter
from engine.store.integrity.verify import run as verify
from engine.store.queries.acts import acts_page
from engine.store.queries.bulk import operation_if
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import Reader
from tests.support.live import Analyzer, Daemon, Server
from tests.support.waiting import until

MESSAGES, KILLS = 40, 3


async def ask(site: Daemon, verb: str, args: dict[str, Any]) -> dict[str, Any]:
    return await asyncio.to_thread(call, site.folder / "var" / SOCKET_NAME, verb, args, timeout=120.0)


@pytest.mark.parametrize("seed", [11])
async def test_a_replay_that_is_killed_is_taken_up_where_it_was(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    server = Server()
    await server.start()
    destination = (
        f"{{kind: fhir, url: 'http://127.0.0.1:{server.port}/fhir', retry: {{first: 10ms, max: 50ms}},"
        " breaker: {probe_after: 20ms}}"
    )
    site = Daemon(tmp_path / "site", ["mllp"], destination)
    analyzer = Analyzer(0, site.port_of[0], "mllp")
    analyzer.gate = lambda: len(analyzer.acked) < MESSAGES
    try:
        await site.start()
        sending = asyncio.create_task(analyzer.run())
        await until(lambda: len(server.arrived[0]) == MESSAGES, 240.0)
        began = await ask(site, "replay", {"selection": {"all": True}, "rate": 15, "dry_run": False})
        number = began["operation"]
        for _ in range(KILLS):
            goal = sum(map(len, server.keys.values())) + rng.randrange(2, 8)
            await until(partial(_has_taken, server, goal), 240.0)
            await site.kill()
            await site.start()
        await until(partial(_has_ended, tmp_path / "site" / "var", number), 240.0)
        analyzer.stop()
        await sending
        assert await site.terminate() == 0
    finally:
        await site.end()
        await server.stop()
    counts = Counter(len(keys) for (_, n), keys in server.keys.items() if n <= MESSAGES)
    assert set(counts) <= {2, 3}, "each was sent again"
    assert counts[3] <= KILLS, "of what was under way at a kill, one each"
    assert all(len(set(keys)) == 1 for keys in server.keys.values()), "a repeat is known by its key"
    journal = Reader.beside(tmp_path / "site" / "var")
    try:
        views = [trace_of(journal, view.id) for view in messages_page(journal, Filter(), limit=MESSAGES)]
        assert {len(view.deliveries) for view in views if view is not None} == {2}
        assert sum(act.verb == "replay" for act in acts_page(journal, limit=50)) == 1, "it is one act"
    finally:
        journal.close()
    assert verify(tmp_path / "site" / "var", deep=True) == []


def _has_taken(server: Server, count: int) -> bool:
    return sum(map(len, server.keys.values())) >= count


def _has_ended(data: Path, number: int) -> bool:
    journal = Reader.beside(data)
    try:
        found = operation_if(journal, number)
    finally:
        journal.close()
    assert found is not None
    return found.stage == "ended" and found.outcomes == {"requeued": MESSAGES}
