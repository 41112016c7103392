"""Analyzers on real sockets: they send bytes as they stand, and wait for answers as analyzers do. No code of ours."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

ENQ, ACK, NAK, STX, EOT = b"\x05", b"\x06", b"\x15", b"\x02", b"\x04"
VT, FS, CR = b"\x0b", b"\x1c", b"\r"
ATTEMPTS = 6  # E1381: a frame that is refused so often ends the session
ANSWER_WITHIN_S = 240.0

_PIECES = re.compile(rb"\x05|\x04|\x02[^\x02\x03\x17]*[\x03\x17](?:[0-9A-Fa-f]{2})?\r?\n?")
_BLOCKS = re.compile(rb"\x0b(.*?)\x1c\r", re.DOTALL)


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


# -- MLLP ----------------------------------------------------------------------------------------------------------


async def send_raw(port: int, data: bytes) -> bytes:
    """Send bytes, say that no more follow, and return everything that is answered until the other side closes."""
    async with _connected(port) as (reader, writer):
        writer.write(data)
        writer.write_eof()
        return await reader.read()


async def send_blocks(port: int, messages: Iterable[bytes]) -> list[bytes]:
    """Send each message in an MLLP block, one after the other on one connection; the contents of all answers."""
    return blocks_of(await send_raw(port, b"".join(VT + message + FS + CR for message in messages)))


def blocks_of(wire: bytes) -> list[bytes]:
    return _BLOCKS.findall(wire)


def lines(message: bytes) -> dict[str, list[str]]:
    """The segments of an HL7 answer by name, split at ``|``; MSA-1 is ``lines(answer)["MSA"][1]``."""
    return {line[:3]: line.split("|") for line in message.decode("latin-1").split("\r") if line}


# -- ASTM ----------------------------------------------------------------------------------------------------------


@dataclass
class Played:
    """How a session went: frames acknowledged, answers of NAK, whether the sender gave up."""

    acknowledged: int = 0
    refused: int = 0
    gave_up: bool = False
    answers: bytes = b""


@dataclass
class AstmAnalyzer:
    """The sending side of E1381, byte for byte what it is given.

    Attributes:
        chunks: sizes of the writes; frames that are longer are cut there, as a serial server would.
    """

    port: int
    chunks: Sequence[int] = ()
    _written: int = 0
    _bounds: list[int] = field(default_factory=list)

    async def play(self, wire: bytes, *, patience: int = ATTEMPTS) -> Played:
        """Send ENQ, frames and EOT as they stand in ``wire``, each after the answer to the one before."""
        played = Played()
        self._written, self._bounds = 0, _sums(self.chunks)
        async with _connected(self.port) as (reader, writer):
            for piece in pieces(wire):
                if not await self._say(piece, reader, writer, played, patience):
                    played.gave_up = True
                    writer.write(EOT)
                    break
            writer.write_eof()
            played.answers += await reader.read()
        return played

    async def _say(
        self,
        piece: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        played: Played,
        patience: int,
    ) -> bool:
        for _ in range(patience):
            await self._write(piece, writer)
            if piece[:1] not in (ENQ, STX):
                return True
            answer = await reader.readexactly(1)
            played.answers += answer
            if answer == ACK:
                played.acknowledged += piece[:1] == STX
                return True
            played.refused += 1
        return False

    async def _write(self, piece: bytes, writer: asyncio.StreamWriter) -> None:
        at = 0
        for bound in [b - self._written for b in self._bounds if 0 < b - self._written < len(piece)]:
            writer.write(piece[at:bound])
            await writer.drain()
            await asyncio.sleep(0)  # the other side reads before the next write
            at = bound
        writer.write(piece[at:])
        await writer.drain()
        self._written += len(piece)


def pieces(wire: bytes) -> list[bytes]:
    """ENQ, EOT and frames one by one, and what stands between them as it is."""
    found, at = [], 0
    for match in _PIECES.finditer(wire):
        found += [wire[at : match.start()], match[0]]
        at = match.end()
    return [piece for piece in [*found, wire[at:]] if piece]


def session(wire: bytes) -> bytes:
    """``wire`` with the ENQ before and the EOT behind it that the capture tool left out."""
    body = wire if ENQ in wire else ENQ + wire
    return body if EOT in wire else body + EOT


def _sums(sizes: Sequence[int]) -> list[int]:
    sums, total = [], 0
    for size in sizes:
        total += size
        sums.append(total)
    return sums
