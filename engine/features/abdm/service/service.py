"""ABDM as the daemon runs it: the gateway's client, the listener for callbacks, the dispatcher, reports that come, the
watchdog."""

import asyncio
import logging
from typing import TYPE_CHECKING

from engine.config import registry
from engine.config.load import Site
from engine.features.abdm.config import ABDM
from engine.features.abdm.config.destination import AbdmDestination, facilities_of, found_in
from engine.features.abdm.flows import consents, reports, sharing
from engine.features.abdm.flows.pushing import Pushing
from engine.features.abdm.flows.texting import Texting
from engine.features.abdm.service.dispatcher import Dispatcher
from engine.features.abdm.service.listener import CallbackListener
from engine.features.abdm.service.watch import Watch
from engine.model.errors import StoreError, TransientDeliveryError
from engine.model.message import Delivery
from engine.model.packing import UnpackingDestination
from engine.model.process import back_off
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode
from engine.runtime.service import Loop, Service
from engine.store.journal import Journal

if TYPE_CHECKING:
    from engine.runtime.app import App

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
        self._journal, self._clock = journal, clock
        self.gateway = registry.load(ABDM, "gateway").build(name, ours, clock)
        self.dispatcher = Dispatcher(journal, self.gateway, lambda: ours, clock)
        self.pushes = registry.load(ABDM, "pushes").build(name, ours)
        self.pushing = Pushing(journal, self.gateway, self.pushes, ours, clock, self.dispatcher.changed)
        self.dispatcher.follow(self.pushing.came)
        self.dispatcher.follow_calls(self.pushing.heard)
        table = self.dispatcher.table
        self.listener = CallbackListener(
            ours, self.gateway, journal, clock, table.paths, self.dispatcher.stored, table.refused
        )
        self.texts, self.texting = None, None
        if ours.sms is not None:
            self.texts = registry.load(ABDM, "texts").build(name, ours.sms, clock)
            self.texting = Texting(journal, self.texts, lambda: ours, clock, self.dispatcher.changed)
            self.dispatcher.follow(self.texting.changed)
        self.watch = Watch(name, ours, self.gateway, journal, clock, registry.load(ABDM, "gateway").fault_of)
        self.dispatcher.is_elsewhere = lambda: self.watch.is_elsewhere
        self.fault = ""

    async def start(self) -> None:
        """Before reports are delivered. The listener opens by `loops`."""
        await self.gateway.start()
        await self.pushes.start()
        await self.dispatcher.recover()
        if self.texts is not None and self.texting is not None:
            await self.texts.start()
            await self.texting.recover()

    @property
    def loops(self) -> dict[str, Loop]:
        """What runs until it is cancelled, by name."""
        return {
            "callbacks of ABDM": self.dispatcher.fold,
            "calls to ABDM": self.dispatcher.carry_out,
            "records to readers of ABDM": self.pushing.run,
            "listener for ABDM": self.listen,
            "watchdog of ABDM": self.watch.run,
            "ends of consents": lambda: consents.keep_time(self._journal, self._clock),
            **({"SMS of ABDM": self.texting.carry_out} if self.texting is not None else {}),
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
        await self.pushes.close()
        if self.texts is not None:
            await self.texts.close()
        await self.gateway.close()

    async def take(self, delivery: Delivery) -> None:
        """Keep a delivered report.

        Raises:
            DeliveryError: it is not kept.
        """
        found = reports.read(delivery.body)
        facility = reports.facility_of(self.ours, delivery)
        try:
            await self._journal.run(reports.take, self.ours, delivery.id, facility, delivery.channel, found)
        except StoreError as error:
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, str(error)) from error
        self.dispatcher.changed()


class AbdmService(Service):
    """ABDM of a running site.

    Attributes:
        abdm: None: the site is not in the network.
    """

    def __init__(self, app: "App") -> None:
        """
        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        self._app = app
        found = found_in(app.parts.built.site.config.destinations)
        self.abdm = None if found is None else Abdm(*found, app.journal, app.clock)

    def later(self, site: Site) -> list[str]:
        before = None if self.abdm is None else (self.abdm.name, self.abdm.ours)
        now = found_in(site.config.destinations)
        if before == now:
            return []
        name = (now or before or ("",))[0]
        return [f"config/labrelay.yaml: destinations: {name}: a change takes effect at the next start"]

    def made(self, name: str, destination: UnpackingDestination) -> None:
        if self.abdm is not None and self.abdm.name == name:
            destination.hand_to(self.abdm.take)

    async def start(self) -> None:
        if self.abdm is not None:
            await self.abdm.start()

    async def stop(self) -> None:
        if self.abdm is not None:
            await self.abdm.stop()

    def loops(self) -> dict[str, Loop]:
        return {} if self.abdm is None else self.abdm.loops | {"profiles shared by ABDM": self._announce}

    async def _announce(self) -> None:
        parts = self._app.parts
        await sharing.run(self._app.journal, lambda: parts.built.site.channels, parts.stored)

    def shown(self, site: Site) -> dict[str, object]:
        return {
            "abdm": None if self.abdm is None else self.abdm.watch.snapshot,
            "facilities": facilities_of(site.config.destinations),
        }
