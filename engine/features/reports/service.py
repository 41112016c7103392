"""Look what does not work, and have it noted (`engine.features.reports.rows.reading`)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from engine.features.reports.rows import reading
from engine.features.reports.rows.reading import Subject
from engine.model.errors import StoreError
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, DestinationState
from engine.runtime.service import Loop, Service
from engine.store.journal import Journal

if TYPE_CHECKING:
    from engine.runtime.app import App

LOOK_S = 30.0
LOOKS_A_NOTE = 2  # where nothing changes
_OF_CHANNELS = frozenset(
    {ChannelState.SILENT, ChannelState.WAITING, ChannelState.FAULTED, ChannelState.REFUSING, ChannelState.PAUSED}
)
_OF_DESTINATIONS = {
    DestinationState.BREAKER_OPEN: DestinationState.BREAKER_OPEN,
    DestinationState.PROBING: DestinationState.BREAKER_OPEN,  # one attempt now and then, and it is still away
    DestinationState.EXPECTED: DestinationState.EXPECTED,
    DestinationState.PAUSED: DestinationState.PAUSED,
}


def not_working(site: SiteSnapshot) -> dict[Subject, str]:
    """The state of each channel and destination that does not work."""
    found = {("channel", one.name): one.state.value for one in site.channels if one.state in _OF_CHANNELS}
    for one in site.destinations:
        if (state := _OF_DESTINATIONS.get(one.state)) is not None:
            found["destination", one.name] = state.value
    return found


class DowntimeWatch(Service):
    """Looks at one running site.

    Args:
        present: takes a snapshot of it.
    """

    def __init__(self, journal: Journal, present: Callable[[], Awaitable[SiteSnapshot]]) -> None:
        self._journal = journal
        self._present = present
        self._noted: dict[Subject, str] | None = None
        self._began = False
        self._looks = 0

    def loops(self) -> dict[str, Loop]:
        return {"downtime": self.run}

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            StoreError: the journal has failed for good.
        """
        while True:
            try:
                await self.look()
            except StoreError as error:
                if error.fatal:
                    raise
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Note what has changed, and now and then that nothing has. The first time, before any analyzer can have
        connected, only that LabRelay runs."""
        found = not_working(await self._present()) if self._began else None
        self._began, self._looks = True, self._looks + 1
        if found is None or found != self._noted or self._looks >= LOOKS_A_NOTE:
            await self._journal.run(reading.note, found)
            self._noted, self._looks = found, 0


def downtime_watch(app: "App") -> DowntimeWatch:
    """Of a running site."""
    return DowntimeWatch(app.journal, app.observer.present)
