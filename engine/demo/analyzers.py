"""Simulated analyzers: each keeps one TCP connection, sends what it measures, and waits for its acknowledgement.

They know no more of LabRelay than a real analyzer does: an address. A connection that breaks, or an answer that does
not come, means sending the same message again, as analyzers do.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from engine import registry
from engine.demo.variation import Person, vary
from engine.errors import ContentError

VT, FS, CR = b"\x0b", b"\x1c", b"\r"
ANSWER_WITHIN_S = 20.0
AGAIN_AFTER_S = 1.0
MAX_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is simulated.

    Attributes:
        samples: files of `samples/` that it plays in turn.
        protocol: ``mllp`` or ``astm``.
    """

    name: str
    channel: str
    protocol: str
    host: str
    port: int
    samples: tuple[Path, ...]


@dataclass(slots=True)
class Played:
    """What one analyzer has done so far."""

    sent: int = 0
    acknowledged: int = 0
    repeated: int = 0


class Line(Protocol):
    async def send(self, message: bytes) -> bool:
        """True when the other side has acknowledged it."""

    def close(self) -> None: ...


class MllpLine:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._read_ack = registry.load(registry.ACKNOWLEDGEMENTS, "hl7v2").read_ack

    async def send(self, message: bytes) -> bool:
        self._writer.write(VT + message + FS + CR)
        answer = await self._reader.readuntil(FS + CR)
        try:
            return self._read_ack(answer.strip(VT + FS + CR)).code in {"AA", "CA"}
        except ContentError:
            return False

    def close(self) -> None:
        self._writer.close()


class AstmLine:
    """The sending side of E1381, driven by the same pure machine that the engine uses."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._module = registry.load(registry.SENDERS, "e1381")
        self._sender = self._module.AstmSender(self._module.SenderOptions(role="instrument"))

    async def send(self, message: bytes) -> bool:
        clock = asyncio.get_running_loop().time
        events = list(self._sender.offer(message, clock()) or ())
        while True:
            for event in events:
                if isinstance(event, (self._module.Sent, self._module.Failed)):
                    self._writer.write(self._sender.outgoing())
                    return isinstance(event, self._module.Sent)
            self._writer.write(self._sender.outgoing())
            due = self._sender.deadline()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - clock())):
                    data = await self._reader.read(4096)
            except TimeoutError:
                events = list(self._sender.tick(clock()))
                continue
            if not data:
                raise ConnectionResetError("the other side closed the connection")
            events = list(self._sender.receive(data, clock()))

    def close(self) -> None:
        self._writer.close()


class Analyzer:
    """One simulated analyzer."""

    def __init__(self, model: Model, *, zone: ZoneInfo, run: str, seed: int) -> None:
        self.model = model
        self.played = Played()
        self._zone = zone
        self._run = run
        self._rng = random.Random(seed)
        self._seed = seed
        self._line: Line | None = None

    def messages(self) -> Iterator[bytes]:
        """Messages without end: the samples in turn, each varied."""
        texts = [path.read_text(encoding="utf-8") for path in self.model.samples]
        number = 0
        while True:
            number += 1
            yield vary(
                texts[number % len(texts)],
                person=Person.invent(self._rng.randrange(60)),
                number=number,
                run=f"{self._run}{self._seed}",
                at=datetime.now(self._zone),
                rng=self._rng,
            ).encode()

    async def play(self, *, count: int | None, pause_s: Callable[[], float], told: Callable[[], None]) -> None:
        """Send ``count`` messages (None: until cancelled), each until it is acknowledged.

        Args:
            told: called after each acknowledgement.
        """
        for message in self.messages():
            if count is not None and self.played.acknowledged >= count:
                break
            self.played.sent += 1
            while not await self._deliver(message):
                self.played.repeated += 1
                await asyncio.sleep(AGAIN_AFTER_S)
            self.played.acknowledged += 1
            told()
            await asyncio.sleep(pause_s())
        self.close()

    async def _deliver(self, message: bytes) -> bool:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                if self._line is None:
                    reader, writer = await asyncio.open_connection(self.model.host, self.model.port, limit=MAX_ANSWER)
                    kind = MllpLine if self.model.protocol == "mllp" else AstmLine
                    self._line = kind(reader, writer)
                if await self._line.send(message):
                    return True
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        self.close()  # whatever an old connection may still bring is never taken for this message's answer
        return False

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
