"""Events as the daemon has them: its webhooks, and the states of its channels and destinations."""

from typing import TYPE_CHECKING

from engine.config.load import Site
from engine.features.events.config import webhooks_of
from engine.features.events.service import state_events
from engine.features.events.service.webhooks import Webhooks
from engine.runtime.service import Loop, Service

if TYPE_CHECKING:
    from engine.runtime.app import App


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
        await state_events.run(self._app.journal, self._app.observer.present)
