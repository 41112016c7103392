"""A reprocessing that is cut short anywhere: the next start goes on with it, and each difference is sent once."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.actions.bulk_acts import bulk_acts
from engine.actions.reprocess import reprocess_messages
from engine.actions.selection import Selection
from engine.actions.underway import Acts
from engine.processing.process import Route
from engine.store.journal import Journal
from engine.store.operations import bulk
from engine.store.operations.outbox import attempts, claims
from engine.store.queries.bulk import operation_if
from engine.store.queries.messages import deliveries_of
from tests.engine.actions.test_actions import ROUTES
from tests.engine.actions.test_configuration_changes import Mapping
from tests.support.filled_journal import payload
from tests.support.journals import queue, started
from tests.support.waiting import until

COUNT = 4
CONFIG = "aaaaaaaaaaaa"


def acts_on(journal: Journal, config: str = CONFIG) -> Acts:
    program: Any = Mapping(config)
    routes = replace(ROUTES, channel="chem", routes=(Route(when=None, program=program, to=("fhir",)),))
    journal.upkeep.config_hash = config
    return Acts(journal, channels=lambda: {"chem": routes})


async def deliver(journal: Journal) -> None:
    for delivery in await journal.run(claims.claim, "chem", "fhir", 50):
        await journal.run(attempts.settle, delivery.id, delivered_us=1)


class Killed:
    """Lets a number of steps through; then the process is gone, before or after the next."""

    def __init__(self, journal: Journal, steps: int, *, after: bool) -> None:
        self.gone = asyncio.Event()
        self._left, self._after = steps, after
        self._run: Any = journal.run
        journal.run = self  # type: ignore[method-assign, assignment]

    def __call__(self, function: Any, /, *given: Any, **named: Any) -> Any:
        if function is not bulk.step:
            return self._run(function, *given, **named)
        return asyncio.ensure_future(self._step(*given, **named))

    async def _step(self, *given: Any, **named: Any) -> Any:
        self._left -= 1
        if self._left >= 0:
            return await self._run(bulk.step, *given, **named)
        if self._after:
            await self._run(bulk.step, *given, **named)
        self.gone.set()
        return await asyncio.Event().wait()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("steps", range(COUNT))
async def test_wherever_the_process_ends_each_difference_is_sent_once(tmp_path: Path, steps: int, after: bool) -> None:
    journal = await started(tmp_path)
    ids = await queue(journal, *(payload(number) for number in range(1, COUNT + 1)))
    await deliver(journal)
    acts = acts_on(journal)
    killed = Killed(journal, steps, after=after)
    begun = await reprocess_messages(
        acts, Selection(channel="chem"), config=CONFIG, actor="anita", reason="repaired", within_s=0
    )
    await until(killed.gone.is_set)
    await acts.stop()
    journal.recovered = False
    await journal.stop()

    journal = await started(tmp_path)
    acts = acts_on(journal)
    last = steps == COUNT - 1 and after
    assert acts.operations.take_up(bulk_acts(acts)) == (set() if last else {begun["operation"]})
    assert await acts.operations.wait(begun["operation"], 120.0)
    found = operation_if(journal, begun["operation"])
    assert found is not None
    assert (found.stage, found.actor, found.outcomes) == ("ended", "anita", {"processed": COUNT})
    await deliver(journal)
    assert sorted((one.message_id, one.state) for one in deliveries_of(journal, ids)) == [
        (message, "delivered") for message in ids for _ in range(2)
    ]
    await journal.stop()


async def test_a_restart_with_another_configuration_leaves_the_rest_as_it_was(tmp_path: Path) -> None:
    journal = await started(tmp_path)
    ids = await queue(journal, *(payload(number) for number in range(1, COUNT + 1)))
    await deliver(journal)
    acts = acts_on(journal)
    killed = Killed(journal, 1, after=False)
    begun = await reprocess_messages(
        acts, Selection(channel="chem"), config=CONFIG, actor="anita", reason="repaired", within_s=0
    )
    await until(killed.gone.is_set)
    await acts.stop()
    await journal.stop()

    journal = await started(tmp_path)
    acts = acts_on(journal, "bbbbbbbbbbbb")
    acts.operations.take_up(bulk_acts(acts))
    assert await acts.operations.wait(begun["operation"], 120.0)
    found = operation_if(journal, begun["operation"])
    assert found is not None
    assert found.outcomes == {"processed": 1, "configuration_changed": COUNT - 1}
    assert len(deliveries_of(journal, ids)) == COUNT + 1
    await journal.stop()
