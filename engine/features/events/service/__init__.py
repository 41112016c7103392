"""What runs of this feature while a site runs.

Events about the states of channels and destinations, as the page has them: looked at every `LOOK_S`, so a state that
was over before the next look has none. A start begins with the state of each.

Events as the daemon has them: its webhooks, and the states of its channels and destinations.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from engine.config.load import Site
from engine.features.events import rows as state_events
from engine.features.events.config import webhooks_of
from engine.features.events.rows import StateChange
from engine.features.events.service.webhooks import Webhooks
from engine.model.errors import StoreError
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.runtime.service import Loop, Service
from engine.store.journal import Journal

if TYPE_CHECKING:
    from engine.runtime.app import App


LOOK_S = 10.0

States = Mapping[tuple[str, str], str]


async def run(journal: Journal, snapshot: Callable[[], Awaitable[SiteSnapshot]]) -> None:
    """Look and note until cancelled."""
    known: States = {}
    while True:
        seen = states_of(await snapshot())
        if found := list(changes(known, seen)):
            with suppress(StoreError):  # a full disk: the next look tries again
                await journal.run(state_events.note, found)
                known = seen
        else:
            known = seen
        await asyncio.sleep(LOOK_S)


def states_of(site: SiteSnapshot) -> States:
    """By kind and name."""
    return {
        **{("channel", one.name): one.state.value for one in site.channels},
        **{("destination", one.name): one.state.value for one in site.destinations},
    }


def changes(known: States, seen: States) -> Iterator[StateChange]:
    """Those that are new, or another than before."""
    for (kind, name), state in seen.items():
        if (was := known.get((kind, name), "")) != state:
            yield StateChange(kind, name, state, was)


class EventService(Service):
    """Of a running site."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self.webhooks = Webhooks(app.journal, lambda: webhooks_of(app.parts.built.site.config), app.clock)

    async def prepare(self, site: Site) -> None:
        await self.webhooks.begin(webhooks_of(site.config))

    def loops(self) -> dict[str, Loop]:
        return {"webhooks": self.webhooks.run, "states": self._note_states}

    async def _note_states(self) -> None:
        await run(self._app.journal, self._app.observer.present)
