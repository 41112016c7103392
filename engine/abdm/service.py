"""ABDM as the daemon runs it: the gateway's client, the listener for callbacks, the dispatcher, reports that come."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from engine.abdm import reports
from engine.abdm.dispatcher import Dispatcher
from engine.abdm.listener import CallbackListener
from engine.config import registry
from engine.config.destination_abdm import AbdmDestination
from engine.model import back_off
from engine.model.clock import Clock
from engine.model.errors import StoreError, TransientDeliveryError
from engine.model.message import Delivery
from engine.model.reasons import ReasonCode
from engine.store.journal import Journal

logger = logging.getLogger("labrelay.abdm")


class Abdm:
    """Of one site. A change of its configuration takes effect at the next start.

    Args:
        name: of the destination.

    Attributes:
        fault: why the listener is not open; empty: it is.
    """

    def __init__(self, name: str, ours: AbdmDestination, journal: Journal, clock: Clock) -> None:
        """
        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        self.name, self.ours = name, ours
        self._journal = journal
        self.gateway = registry.load(registry.ABDM, "gateway").build(name, ours, clock)
        self.dispatcher = Dispatcher(journal, self.gateway, lambda: ours, clock)
        self.listener = CallbackListener(
            ours, self.gateway, journal, clock, self.dispatcher.table.paths, self.dispatcher.stored
        )
        self.fault = ""

    async def start(self) -> None:
        """Before reports are delivered. The listener opens by `loops`."""
        await self.gateway.start()
        await self.dispatcher.recover()

    @property
    def loops(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs until it is cancelled, by name."""
        return {
            "callbacks of ABDM": self.dispatcher.fold,
            "calls to ABDM": self.dispatcher.carry_out,
            "listener for ABDM": self.listen,
        }

    async def listen(self) -> None:
        """Keep the listener open; where it cannot open, try again."""
        if not self.listener.port:
            await back_off.trying(back_off.NOT_YET)(self._open)
        await asyncio.Event().wait()

    async def _open(self) -> bool:
        try:
            await self.listener.start()
        except (OSError, ValueError) as error:
            fault = getattr(error, "strerror", None) or type(error).__name__
            if fault != self.fault:
                logger.error(
                    "cannot listen for callbacks of ABDM, will keep trying",
                    extra={"peer": str(self.ours.callbacks.listen), "detail": fault},
                )
            self.fault = fault
            return False
        self.fault = ""
        return True

    async def stop(self) -> None:
        await self.listener.stop()
        await self.gateway.close()

    async def take(self, delivery: Delivery) -> None:
        """Keep a delivered report.

        Raises:
            DeliveryError: it is not kept.
        """
        found = reports.read(delivery.body, self.ours.environment)
        facility = reports.facility_of(self.ours, delivery)
        try:
            await self._journal.run(reports.take, self.ours, delivery.id, facility, delivery.channel, found)
        except StoreError as error:
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, str(error)) from error
        self.dispatcher.changed()


def of_site(destinations: Mapping[str, object], journal: Journal, clock: Clock) -> Abdm | None:
    """ABDM of a site; None: it has none.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    found = ((name, one) for name, one in destinations.items() if isinstance(one, AbdmDestination))
    return next((Abdm(name, one, journal, clock) for name, one in found), None)


def changed(running: Abdm | None, destinations: Mapping[str, object]) -> list[str]:
    """A sentence where a new configuration has another ABDM than runs."""
    before = None if running is None else (running.name, running.ours)
    now = next(((name, one) for name, one in destinations.items() if isinstance(one, AbdmDestination)), None)
    if before == now:
        return []
    name = (now or before or ("",))[0]
    return [f"config/labrelay.yaml: destinations: {name}: a change takes effect at the next start"]
