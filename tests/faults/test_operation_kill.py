"""The daemon is killed amid acts of people, again and again: an act on many letters goes on by itself and does each of
them once, a correction of a code table is made with its row of the audit trail or not at all."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from engine.actions.control import SOCKET_NAME, call
from engine.features.codes.rows import list_corrections
from engine.model.errors import LabRelayError
from engine.store.integrity.verify import run as verify
from engine.store.journal import Journal
from engine.store.queries.acts import acts_page
from engine.store.queries.bulk import operations_page
from engine.store.queries.letters import dead_letters
from engine.store.queries.reader import Reader
from tests.faults.harness.trial import seeds
from tests.support.live import Analyzer, Daemon, Server
from tests.support.waiting import until

LETTERS, KILLS = 400, 4
CORRECTIONS = 6
QUICK = "retry: {first: 10ms, max: 50ms}, breaker: {probe_after: 20ms}"


class Lab:
    """A daemon, its server, and a person at its control socket who may be cut off at any moment."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.server = server
        self.data = folder / "var"
        destination = f'{{kind: fhir, url: "http://127.0.0.1:{server.port}/fhir", {QUICK}}}'
        self.daemon = Daemon(folder, ["mllp"], destination)

    @contextmanager
    def reading(self) -> Iterator[Journal]:
        journal = Reader.beside(self.data)
        try:
            yield journal
        finally:
            journal.close()

    async def ask(self, verb: str, **args: Any) -> dict[str, Any]:
        return await asyncio.to_thread(call, self.data / SOCKET_NAME, verb, args, timeout=60.0)

    async def cut_off(self, after_s: float, verb: str, **args: Any) -> None:
        """Ask, have the daemon killed so long after it, and start it again."""
        asked = asyncio.create_task(self.ask(verb, **args))
        await asyncio.sleep(after_s)  # the moment of the kill is meant to be any moment
        await self.daemon.kill()
        with suppress(LabRelayError, OSError):
            await asked
        await self.daemon.start()

    def dead(self) -> int:
        with self.reading() as journal:
            return len(dead_letters(journal, limit=LETTERS + 1))

    def stages(self) -> list[str]:
        with self.reading() as journal:
            return [one.stage for one in operations_page(journal)]

    def acts(self, verb: str) -> list[dict[str, Any]]:
        with self.reading() as journal:
            return [act.what for act in acts_page(journal, limit=500) if act.verb == verb]


@pytest.fixture
async def lab(tmp_path: Path) -> Any:
    server = Server()
    await server.start()
    made = Lab(tmp_path / "site", server)
    try:
        await made.daemon.start()
        yield made
    finally:
        await made.daemon.end()
        await server.stop()


@pytest.mark.parametrize("seed", seeds(3, 8))
async def test_a_retry_of_many_letters_does_each_of_them_once(lab: Lab, seed: int) -> None:
    chance = random.Random(seed)
    lab.server.refuse = {(0, number) for number in range(1, LETTERS + 1)}
    await Analyzer(0, lab.daemon.port_of[0], "mllp", last_number=LETTERS).run()
    await until(lambda: lab.dead() == LETTERS, 240.0)
    lab.server.refuse = set()
    asked = asyncio.create_task(lab.ask("retry", selection={"all": True}, reason="mended", dry_run=False))
    amid = 0
    for _ in range(KILLS):
        await until(lambda: bool(lab.stages()), 240.0)
        await asyncio.sleep(chance.uniform(0.0, 0.1))  # the moment of the kill is meant to be any moment
        await lab.daemon.kill()
        amid += lab.stages() == ["running"]
        await lab.daemon.start()
    with suppress(LabRelayError, OSError):
        await asked
    assert amid, "each kill came after the operation had ended"
    await until(lambda: lab.stages() == ["ended"] and not lab.dead(), 240.0)
    await until(lambda: len(lab.server.arrived[0]) == LETTERS, 240.0)
    assert await lab.daemon.terminate() == 0

    repeats = [len(keys) - 1 for keys in lab.server.keys.values()]
    assert sum(repeats) <= KILLS, "of what was under way at a kill, one each; it may be the same letter at two"
    assert all(len(set(keys)) == 1 for keys in lab.server.keys.values()), "a repeat is known by its key"
    with lab.reading() as journal:
        (operation,) = operations_page(journal)
        assert (operation.total, operation.outcomes) == (LETTERS, {"requeued": LETTERS})
    assert verify(lab.data, deep=True) == []


@pytest.mark.parametrize("seed", [5])
async def test_a_correction_is_made_with_its_row_of_the_trail_or_not_at_all(lab: Lab, seed: int) -> None:
    chance = random.Random(seed)
    made: list[str] = []
    for number in range(CORRECTIONS):
        cells = {"loinc": "2345-7", "display": f"glucose {number}"}
        row = {"channel": "c0", "table": "analytes", "where": {"code": "GLU", "unit_in": "mg/dL"}, "cells": cells}
        await lab.cut_off(
            chance.uniform(0.0, 0.5), "table_set", version=len(made), reason="confirmed", dry_run=False, **row
        )
        with lab.reading() as journal:
            found = [one.cells["display"] for one in list_corrections(journal)]
        assert found in (made, [*made, cells["display"]])
        made = found
        assert [what["cells"]["display"] for what in reversed(lab.acts("table-set"))] == made
    assert await lab.daemon.terminate() == 0
    assert verify(lab.data, deep=True) == []
