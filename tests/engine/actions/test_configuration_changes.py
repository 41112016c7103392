"""The configuration changes while messages are mapped again: each is stored with the one that mapped it.

| it changes                              | retry, a person's answer        | reprocessing                           |
|-----------------------------------------|---------------------------------|----------------------------------------|
| between mapping and storing of a message | the message is mapped once more | it stops; the message stays as it was  |
| between two messages                    | the next is mapped with the new | it stops; those left stay as they were |
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest_asyncio

from engine.actions.selection import Selection
from engine.actions.underway import Acts, process_again
from engine.features.rework.acts.verbs import reprocess_messages, retry_letters
from engine.model.journal.journal_views import Trace
from engine.model.journal.records import Decision
from engine.model.message import Document, MapContext, Mapped, Parsed
from engine.model.process.clock import SystemClock
from engine.model.routes import Route
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.queries.acts import acts_page
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import stored_document
from engine.views.trail import entries
from tests.engine.actions.test_actions import ROUTES
from tests.support.filled_journal import CHANNEL, DELIVERED, DESTINATION, REFUSED, UNMAPPED, fill_journal

OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def nothing() -> None:
    pass


@dataclass
class Mapping:
    """Its documents name the configuration. ``then`` happens each time that it has mapped a message."""

    name: str
    then: Callable[[], None] = nothing
    content_hash: str = "1" * 64

    def apply(self, parsed: Parsed, context: MapContext) -> Mapped:
        self.then()
        return Mapped(documents=(Document(body=f'{{"mapped_with": "{self.name}"}}'.encode()),))


class ChangingSite:
    """A journal, and acts on it; its configuration is `OLD` until `change`."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.at_queueing: Callable[[], None] = nothing
        self.acts = Acts(
            journal, channels=lambda: {CHANNEL: self.routes}, reclaim=lambda channel, destination: self.at_queueing()
        )
        self.put_in_force(OLD)

    def put_in_force(self, config: str, then: Callable[[], None] = nothing) -> None:
        program: Any = Mapping(config, then)
        self.routes = replace(ROUTES, routes=(Route(when=None, program=program, to=(DESTINATION,)),))
        self.journal.upkeep.config_hash = config

    def change(self) -> None:
        self.put_in_force(NEW)

    def trace(self, message: int) -> Trace:
        trace = trace_of(self.journal, message)
        assert trace is not None
        return trace

    def mapped_with(self, message: int) -> tuple[str, str]:
        """The configuration that a message names, and the one that made its newest document."""
        trace = self.trace(message)
        body = stored_document(self.journal, trace.documents[-1].id)
        return trace.config, next((name for name in (OLD, NEW) if name.encode() in body), "")

    async def reprocess(self, **which: Any) -> dict[str, int]:
        selection = Selection(channel=CHANNEL, **which)
        config = self.journal.upkeep.config_hash
        ran = await reprocess_messages(self.acts, selection, config=config, actor="anita", reason="repaired")
        done: dict[str, int] = ran["done"]
        return done


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[ChangingSite]:
    await asyncio.to_thread(fill_journal, tmp_path)
    journal = Journal.open(tmp_path, clock=SystemClock())
    recover(journal)
    journal.start(asyncio.get_running_loop())
    site = ChangingSite(journal)
    yield site
    await site.acts.stop()
    await journal.stop()


async def test_a_retried_message_names_the_configuration_that_mapped_it(site: ChangingSite) -> None:
    site.put_in_force(OLD, then=site.change)
    answer = await retry_letters(site.acts, Selection(ids=(UNMAPPED,)), actor="anita")

    assert answer["done"] == {"processed": 1}
    assert site.mapped_with(UNMAPPED) == (NEW, NEW)


async def test_so_does_a_message_that_is_mapped_again_after_an_answer(site: ChangingSite) -> None:
    site.put_in_force(OLD, then=site.change)
    recorded = await process_again(site.acts, UNMAPPED, Decision(again=True, while_dead=True))

    assert recorded is not None
    assert recorded.state == "mapped"
    assert site.mapped_with(UNMAPPED) == (NEW, NEW)


async def test_a_reprocessing_stops_before_it_stores_what_another_configuration_mapped(site: ChangingSite) -> None:
    before = site.trace(DELIVERED)
    site.put_in_force(OLD, then=site.change)

    assert await site.reprocess(ids=(DELIVERED,)) == {"configuration_changed": 1}
    assert site.trace(DELIVERED) == before


async def test_a_reprocessing_stops_between_messages_and_goes_on_with_the_new_configuration(site: ChangingSite) -> None:
    site.at_queueing = site.change  # the first message's new document is stored
    chosen = (DELIVERED, REFUSED)

    assert await site.reprocess(ids=chosen) == {"processed": 1, "configuration_changed": 1}
    assert site.mapped_with(DELIVERED) == (OLD, OLD)
    assert [delivery.state for delivery in site.trace(REFUSED).deliveries] == ["dead"]
    act = next(entries(acts_page(site.journal), frozenset()))
    assert (act.verb, act.state, act.outcome["configuration_changed"]) == ("reprocess", "cut short", 1)

    site.at_queueing = nothing
    assert await site.reprocess(ids=chosen) == {"processed": 1, "unsettled": 1}
    assert site.mapped_with(REFUSED) == (NEW, NEW)


async def test_a_reload_that_changes_nothing_stops_no_reprocessing(site: ChangingSite) -> None:
    site.at_queueing = lambda: site.put_in_force(OLD)

    assert await site.reprocess(ids=(DELIVERED, REFUSED)) == {"processed": 2}
