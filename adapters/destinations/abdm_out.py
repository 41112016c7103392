"""ABDM as a destination: a report is delivered once the journal has it as a care context.

Nothing is sent here. The patient's app asks for the report under a consent, which may be in years; linking, consents
and pages are the work of `engine.abdm`, which is handed each document by `take`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from engine.model.clock import Clock
from engine.model.errors import TransientDeliveryError
from engine.model.message import Delivery
from engine.model.reasons import ReasonCode


async def _not_ready(delivery: Delivery) -> None:
    raise TransientDeliveryError(ReasonCode.NO_ANSWER, "a destination of kind abdm takes effect at the next start")


class AbdmOut:
    """See `engine.model.ports.Destination`.

    Attributes:
        take: keeps a report durably; raises DeliveryError.
    """

    def __init__(self) -> None:
        self.take: Callable[[Delivery], Awaitable[None]] = _not_ready

    async def start(self) -> None:
        """Nothing is opened."""

    async def deliver(self, delivery: Delivery) -> None:
        await self.take(delivery)

    async def probe(self) -> None:
        """It is this process."""

    async def close(self) -> None:
        """Nothing is open."""


def build(name: str, config: Any, clock: Clock) -> AbdmOut:
    """The destination ``name`` of a site."""
    return AbdmOut()
