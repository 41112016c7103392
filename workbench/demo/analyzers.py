"""The demo's analyzers: simulated ones (`workbench.simulator`) that keep one TCP connection and give no message
up."""

import asyncio
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from zoneinfo import ZoneInfo

from engine.config.channel import ChannelConfig
from engine.model.texts.units import HostPort
from workbench.simulator.dialogue import Dialogue
from workbench.simulator.packs import Model
from workbench.simulator.play import Analyzer as Simulated
from workbench.simulator.play import PlaySettings
from workbench.simulator.shift import Kind, PlannedMessage, shift
from workbench.simulator.wires import ClientWire

BEGAN_BEFORE = timedelta(minutes=30)  # so long before now is its first measurement


class Analyzer:
    """One simulated analyzer.

    Attributes:
        protocol: ``mllp`` or ``e1381``.
        sent: messages so far; all but the one under way are ``acknowledged``.
    """

    def __init__(
        self, model: Model, channel: ChannelConfig, *, protocol: str, address: HostPort, seed: int, first: bytes = b""
    ) -> None:
        """
        Args:
            first: a message that it sends as it is, before its shift.
        """
        self.name = model.name
        self.channel = channel.channel
        self.protocol = protocol
        self.address = address
        self.sent = 0
        self.acknowledged = 0
        self._wire = ClientWire(address)
        self._talk = Dialogue()
        self._simulated = Simulated(protocol, self._wire, self._talk, PlaySettings(tries=sys.maxsize))
        now = partial(datetime.now, ZoneInfo(channel.timezone))
        before = [PlannedMessage(Kind.RESULT, "trouble", (), first)] if first else []
        self._sendings = chain(before, shift(model, seed=seed, start=now() - BEGAN_BEFORE, specimens=0, now=now))

    @property
    def repeated(self) -> int:
        """Tries that came to nothing."""
        return max(0, self._talk.tally.sessions - self._talk.tally.acknowledged)

    async def play(self, *, count: int | None, pause_s: Callable[[], float]) -> None:
        """Send ``count`` messages (None: until cancelled), each until it is acknowledged."""
        while count is None or self.acknowledged < count:
            self.sent += 1
            await self._simulated.deliver(next(self._sendings), self.acknowledged)
            self.acknowledged += 1
            await asyncio.sleep(pause_s())
        await self.close()

    async def close(self) -> None:
        await self._wire.close()
