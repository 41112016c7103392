"""ABDM as a destination: a report is delivered once the journal has it as a care context.

Nothing is sent here. The patient's app asks for the report under a consent, which may be in years; linking, consents
and pages are the work of `engine.features.abdm`, which is handed each document by `take`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from engine.model.errors import TransientDeliveryError
from engine.model.message import Delivery
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode

NOT_YET = "a destination of kind abdm takes effect at the next start"


class Settings(Protocol):
    timeout: float


class AbdmOut:
    """See `engine.model.ports.Destination`.

    Attributes:
        take: keeps a report durably; raises DeliveryError. None: ABDM does not run here yet.
    """

    def __init__(self, timeout_s: float) -> None:
        self.take: Callable[[Delivery], Awaitable[None]] | None = None
        self._timeout_s = timeout_s

    async def start(self) -> None:
        """Nothing is opened."""

    async def deliver(self, delivery: Delivery) -> None:
        if self.take is None:
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, NOT_YET)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.take(delivery)
        except TimeoutError:
            words = f"the journal did not keep the report within {self._timeout_s:g} s"
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, words) from None

    async def probe(self) -> None:
        """It is this process."""
        if self.take is None:
            raise TransientDeliveryError(ReasonCode.NO_ANSWER, NOT_YET)

    async def close(self) -> None:
        """Nothing is open."""


def build(name: str, config: Settings, clock: Clock) -> AbdmOut:
    """The destination ``name`` of a site."""
    return AbdmOut(config.timeout)
