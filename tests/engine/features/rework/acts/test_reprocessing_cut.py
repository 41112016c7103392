"""A reprocessing that is cut short anywhere: the next start goes on with it, and each difference is sent once."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.actions.selection import Selection
from engine.actions.underway import Acts
from engine.actions.verbs import bulk_acts
from engine.features.rework.acts.verbs import reprocess_messages
from engine.model.content.search_keys import Number
from engine.model.outcome import Outcome
from engine.model.routes import Route
from engine.store.journal import Journal
from engine.store.operations import bulk, record_outcome
from engine.store.operations.outbox import attempts, claims
from engine.store.queries.acts import acts_page
from engine.store.queries.bulk import operation_if
from engine.store.queries.messages import deliveries_of
from tests.engine.actions.test_actions import ROUTES
from tests.engine.actions.test_configuration_changes import Mapping
from tests.support.filled_journal import payload
from tests.support.journals import queue, routed, started, store
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


async def test_the_number_that_selected_it_is_in_no_audit_row(tmp_path: Path) -> None:
    """It may be a patient's, and the row outlives an erasure."""
    journal = await started(tmp_path)
    (stored,) = await store(journal, payload(1))
    outcome = Outcome[Any]("mapped", numbers=(Number("specimen", "26-4711"),))
    await journal.run(record_outcome.record, stored.id, outcome, [routed(stored.payload, "fhir")])
    await deliver(journal)
    selection = Selection(channel="chem", specimen="26-4711")
    begun = await reprocess_messages(acts_on(journal), selection, config=CONFIG, actor="anita", reason="repaired")
    assert begun["done"] == {"processed": 1}
    (act,) = [one for one in acts_page(journal) if not one.ended]
    assert act.what["selection"] == {"channel": "chem", "ids": [stored.id]}
    await journal.stop()
