"""Orders as the daemon runs them."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from engine.config.load import Site
from engine.features.orders import rows as worklist
from engine.features.orders.config.together import unsent_after_s
from engine.features.orders.exchange import expiry, status
from engine.features.orders.exchange.desk import Desk
from engine.features.orders.exchange.lis import OrderDesk
from engine.features.orders.exchange.listening import listeners
from engine.features.orders.exchange.polling import JournalMemory
from engine.runtime.build import BuiltChannel
from engine.runtime.service import Desks, Loop, Service
from engine.runtime.sources import ChannelSource

if TYPE_CHECKING:
    from engine.runtime.app import App

logger = logging.getLogger("labrelay.site")


class OrderService(Service):
    """Of a running site."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self.clock = app.clock

    @property
    def sources(self) -> Mapping[str, ChannelSource]:
        """Those that are open, by channel."""
        return self._app.parts.sources

    async def start(self) -> None:
        journal, loop = self._app.journal, asyncio.get_running_loop()
        if under_way := await journal.run(worklist.recover):
            logger.warning("an analyzer may know orders that it was being sent", extra={"count": under_way})

        def changed() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._changed)

        journal.upkeep.orders_changed = changed  # called by the writer's thread

    def desks(self, built: BuiltChannel, current: Callable[[], BuiltChannel]) -> Desks:
        app, name = self._app, built.config.channel
        questions = answers = None
        # A channel that gets or loses its orders, or its answers, gets another source.
        if built.asking is not None:
            questions = Desk(name, lambda: current().asking, journal=app.journal, clock=app.clock)
        if built.answering is not None:
            answers = OrderDesk(name, lambda: current().answering, journal=app.journal, clock=app.clock)
        return Desks(questions=questions, answers=answers, polled=JournalMemory(name, app.journal))

    def replaced(self) -> None:
        self._changed()  # an analyzer may have got a code for an order that waits

    def _changed(self) -> None:
        for source in self.sources.values():
            if isinstance(source.desk, Desk):
                source.desk.orders_changed()

    def loops(self) -> dict[str, Loop]:
        return {"orders": self._expire, "status of orders": self._tell}

    async def _expire(self) -> None:
        await expiry.run(self._app.journal)

    async def _tell(self) -> None:
        parts = self._app.parts
        await status.run(self._app.journal, lambda: listeners(parts.built.site.channels), parts.stored)

    def shown(self, site: Site) -> dict[str, object]:
        return {"unsent_after_s": unsent_after_s(site.channels)}
