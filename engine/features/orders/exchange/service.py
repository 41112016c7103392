"""Orders as the daemon runs them.

End the orders whose time has come.

What a channel has taken of the server that it polls, in the journal (`engine.model.ports.PollMemory`).

Report changes of orders to their laboratory systems: channels of kind ``order-status`` get a message for each.

The worklist notes a change in the transaction that makes it. Here it becomes a message of the journal, which is handed
to intake as a received one is. Where that cannot be stored now, it is tried again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from engine.config.load import Site
from engine.features.orders import rows as worklist
from engine.features.orders.config.orders import orders_of
from engine.features.orders.config.together import unsent_after_s
from engine.features.orders.exchange.asking import OrderDesk
from engine.features.orders.exchange.desk import Desk
from engine.features.orders.exchange.listening import listeners
from engine.features.orders.exchange.taking import take_settings
from engine.features.orders.rows import reflex
from engine.features.orders.rows.announcing import Listener, announce, has_notices
from engine.model.errors import RefusedError, StoreError
from engine.model.message import Stored
from engine.model.ports import PollCursor, PolledVersion
from engine.receiving import made_here
from engine.runtime.build import BuiltChannel
from engine.runtime.service import Desks, Loop, Service
from engine.runtime.sources import ChannelSource
from engine.store.journal import Journal
from engine.store.operations import incarnation
from engine.store.operations import servers as operations
from engine.store.queries.lanes import has_open
from engine.store.queries.servers import cursor_of, is_old, taken_number

if TYPE_CHECKING:
    from engine.runtime.app import App


async def run_notices(
    journal: Journal, listeners: Callable[[], Mapping[str, Sequence[Listener]]], stored: Callable[[Stored], None]
) -> None:
    """Until cancelled.

    Args:
        listeners: of the configuration in force, by the channel of the orders.
        stored: as of `engine.receiving.channel.Channel`.
    """
    await made_here.run(journal, has_notices, lambda: journal.run(announce, listeners()), stored)


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

    async def prepare(self, site: Site) -> None:
        rows = sorted(
            reflex.RuleRow(name, one.test, one.add, one.rule, one.auto)
            for name, channel in site.channels.items()
            if (orders := orders_of(channel)) is not None
            for one in orders.reflex
        )
        await self._app.journal.run(reflex.in_force, rows)

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
        return {"orders": self._expire, "status of orders": self._tell, "proposed tests": self._order_due}

    async def _expire(self) -> None:
        await run(self._app.journal)

    async def _tell(self) -> None:
        parts = self._app.parts
        await run_notices(self._app.journal, lambda: listeners(parts.built.site.channels), parts.stored)

    async def _order_due(self) -> None:
        journal = self._app.journal
        while True:
            with contextlib.suppress(StoreError):
                for number in reflex.due(journal):
                    settings = take_settings(self._app.parts.built.site.channels)
                    try:
                        await journal.run(reflex.order_due, number, settings)
                    except RefusedError:
                        await journal.run(reflex.leave, number)
            await asyncio.sleep(made_here.EVERY_S)

    def shown(self, site: Site) -> dict[str, object]:
        return {"unsent_after_s": unsent_after_s(site.channels)}


EVERY_S = 60.0


async def run(journal: Journal) -> None:
    """Until cancelled. What cannot be stored now is tried a minute later."""
    while True:
        try:
            while await journal.run(worklist.expire):
                pass
        except StoreError:
            pass
        await asyncio.sleep(EVERY_S)


class JournalMemory:
    """Of one channel."""

    def __init__(self, channel: str, journal: Journal) -> None:
        self._channel = channel
        self._journal = journal

    def cursor(self) -> PollCursor | None:
        return cursor_of(self._journal, self._channel)

    def is_old(self, polled: PolledVersion) -> bool:
        return is_old(self._journal, self._channel, polled)

    def number(self, resource: str) -> int:
        return taken_number(self._journal, self._channel, resource)

    def journal(self) -> str:
        return incarnation.named(self._journal.snapshot, self._journal.journal_id)

    def waits(self) -> bool:
        return has_open(self._journal, self._channel)

    async def move(self, cursor: PollCursor) -> None:
        await self._journal.run(operations.move_cursor, self._channel, cursor)
