"""The daemon is killed again and again while results are held, released and rejected: what a person has released
arrives, what was rejected or left alone never does, and every release that happened is in the audit trail.

`LABRELAY_KILLS=100 pytest tests/faults/test_held_kill.py` for a longer run.
"""

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from engine.actions.control import SOCKET_NAME, call
from engine.model.errors import LabRelayError
from engine.model.journal.journal_views import DeadLetter, Filter
from engine.store.integrity.verify import run as verify
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from engine.store.queries.letters import held_deliveries
from engine.store.queries.messages import messages_page, trace_of
from engine.store.queries.reader import Reader, stored_payload
from tests.support.live import Analyzer, Daemon, Server
from tests.support.waiting import until
from workbench.bench.sink import CONTROL_ID

KILLS = int(os.environ.get("LABRELAY_KILLS", "6"))
# Of every six messages the person releases one, rejects one and leaves one alone; the others are not held.
RELEASED, REJECTED, LEFT = 2, 0, 4
RULE = "    hold: =MSH-10 matches '[02468]$'\n"


@contextmanager
def reading(data: Path) -> Iterator[Journal]:
    journal = Reader.beside(data)
    try:
        yield journal
    finally:
        journal.close()


@dataclass
class Person:
    """Looks at what is held and decides, as long as there is a daemon that listens.

    Attributes:
        sure: numbers whose decision was confirmed, by verb.
    """

    data: Path
    sure: dict[str, set[int]] = field(default_factory=lambda: {"release": set(), "reject": set()})
    _numbers: dict[int, int] = field(default_factory=dict)

    def number(self, journal: Journal, letter: DeadLetter) -> int:
        if letter.message_id not in self._numbers:
            found = CONTROL_ID.search(stored_payload(journal, letter.message_id))
            assert found is not None
            self._numbers[letter.message_id] = int(found[2])
        return self._numbers[letter.message_id]

    def held(self, state: str | None = None) -> dict[int, DeadLetter]:
        with reading(self.data) as journal:
            letters = held_deliveries(journal, Filter(state=state), limit=100_000)
            return {self.number(journal, letter): letter for letter in letters}

    def decide(self) -> None:
        """One round of acts; whatever the daemon was in the middle of when it was killed is found in the next."""
        for verb, kind in (("release", RELEASED), ("reject", REJECTED)):
            try:
                chosen = {n: letter for n, letter in self.held().items() if n % 6 == kind}
                for at in range(0, len(chosen), 5):
                    part = list(chosen.items())[at : at + 5]
                    ids = [letter.message_id for _, letter in part]
                    asked = {"selection": {"ids": ids}, "reason": "seen", "dry_run": False}
                    call(self.data / SOCKET_NAME, verb, asked, timeout=5.0)
                    self.sure[verb].update(n for n, _ in part)
            except (LabRelayError, OSError):
                pass  # killed meanwhile


@pytest.mark.timeout(600 + 15 * KILLS)
async def test_only_what_was_released_arrives(tmp_path: Path) -> None:
    rng = random.Random(4711)
    server = Server()
    await server.start()
    retry = "retry: {first: 50ms, max: 200ms}, breaker: {probe_after: 200ms}"
    destination = f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir", {retry}}}'
    daemon = Daemon(tmp_path / "site", ["mllp"], destination)
    channel = tmp_path / "site/channels/c0.yaml"
    channel.write_text(channel.read_text() + RULE)
    person = Person(tmp_path / "site/var")
    async with AsyncExitStack() as ending:
        ending.push_async_callback(server.stop)
        ending.push_async_callback(daemon.end)
        await daemon.start()
        analyzer = Analyzer(0, daemon.port_of[0], "mllp", pause_s=0.005)
        playing = asyncio.create_task(analyzer.run())
        for _ in range(KILLS):
            before = len(analyzer.acked)
            await until(lambda: len(analyzer.acked) > before + 5, 240.0)  # noqa: B023 - awaited in this round
            deciding = asyncio.create_task(asyncio.to_thread(person.decide))
            await asyncio.sleep(rng.uniform(0.0, 0.15))  # the moment of the kill is meant to be any moment
            await daemon.kill()
            await deciding
            await daemon.start()
        analyzer.stop()
        await playing
        acked = set(analyzer.acked)
        wanted = {n for n in acked if n % 2 or n % 6 == RELEASED}
        unsure = {analyzer.last} - acked

        def all_decided() -> bool:
            person.decide()
            return wanted <= set(server.arrived[0])

        await until(partial(all_decided), 240.0)
        assert await daemon.terminate() == 0
    arrived = set(server.arrived[0])
    assert arrived - unsure == wanted
    assert person.sure["release"] <= arrived
    left, rejected = set(person.held()), set(person.held("rejected"))
    assert left - unsure == {n for n in acked if n % 6 == LEFT}
    assert rejected - unsure == {n for n in acked if n % 6 == REJECTED}
    assert person.sure["reject"] <= rejected
    assert_all_released_are_in_the_audit_trail(person, arrived)
    assert verify(tmp_path / "site/var", deep=True) == []


def assert_all_released_are_in_the_audit_trail(person: Person, arrived: set[int]) -> None:
    with reading(person.data) as journal:
        acts = acts_page(journal, limit=100_000)
        steps = [act for act in acts if act.verb == "release" and "deliveries" in act.what]
        released = {number for act in steps for number in act.what["deliveries"]}
        traces = [trace_of(journal, view.id) for view in messages_page(journal, limit=100_000)]
    deliveries = [delivery for trace in traces if trace is not None for delivery in trace.deliveries]
    held = {one.id for one in deliveries if one.state == "delivered" and one.cause == "HELD_BY_RULE"}
    assert held <= released
    assert len(held) == sum(n % 2 == 0 for n in arrived)
