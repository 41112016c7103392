"""Events about the states of channels and destinations, as the page has them: looked at every `LOOK_S`, so a state that
was over before the next look has none. A start begins with the state of each.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress

from engine.features.events.rows import state_events
from engine.features.events.rows.state_events import StateChange
from engine.model.errors import StoreError
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.journal import Journal

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
