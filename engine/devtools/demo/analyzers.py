"""The demo's analyzers: simulated ones (`engine.devtools.simulator`) that keep one TCP connection and give no message
up."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from engine.devtools.simulator.dialogue import Dialogue
from engine.devtools.simulator.packs import read_model
from engine.devtools.simulator.play import Analyzer as Simulated
from engine.devtools.simulator.play import Manner
from engine.devtools.simulator.shift import shift
from engine.devtools.simulator.wires import Connecting
from engine.model.units import HostPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A simulated analyzer.

    Attributes:
        samples: files of `samples/` that it plays in turn.
        protocol: ``mllp`` or ``e1381``.
    """

    name: str
    channel: str
    protocol: str
    address: HostPort
    samples: tuple[Path, ...]


class Analyzer:
    """One simulated analyzer.

    Attributes:
        sent: messages so far; all but the one under way are ``acknowledged``.
    """

    def __init__(self, model: Model, *, zone: ZoneInfo, seed: int) -> None:
        self.model = model
        self.sent = 0
        self.acknowledged = 0
        self._wire = Connecting(model.address)
        self._talk = Dialogue()
        self._simulated = Simulated(model.protocol, self._wire, self._talk, Manner(tries=sys.maxsize))
        self._sendings = shift(read_model(model.name, model.samples), seed=seed, start=datetime.now(zone), specimens=0)

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
