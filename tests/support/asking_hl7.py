"""An analyzer that asks for its orders over MLLP: a real socket, one message after another, byte for byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.model.orders import ItemReason, ItemState, WorkItem
from tests.support.mllp_peer import END, VT

WITHIN_S = 60.0


class AskingHl7:
    """One connection. Messages are texts with a line for each segment."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, *messages: str) -> None:
        self._writer.write(b"".join(VT + message.replace("\n", "\r").encode() + b"\r" + END for message in messages))

    async def hear(self) -> list[str]:
        """The segments of the next message."""
        async with asyncio.timeout(WITHIN_S):
            block = await self._reader.readuntil(END)
        assert block[:1] == VT
        assert block[-3:] == b"\r" + END
        return block[1:-3].decode().split("\r")

    async def ask(self, message: str) -> list[str]:
        self.send(message)
        return await self.hear()

    async def is_closed(self) -> bool:
        """Whether the other side ends the connection, and says nothing before that."""
        async with asyncio.timeout(WITHIN_S):
            return await self._reader.read(1) == b""

    async def first(self) -> bytes:
        """The next byte, of what it may be."""
        async with asyncio.timeout(WITHIN_S):
            return await self._reader.readexactly(1)

    async def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def asking_hl7(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[AskingHl7]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    analyzer = AskingHl7(reader, writer)
    try:
        yield analyzer
    finally:
        await analyzer.close()


class TakingAnalyzer:
    """Where an analyzer takes orders (IHE LAW, LAB-28): each connection that comes is one `AskingHl7`."""

    def __init__(self) -> None:
        self.port = 0
        self._came: asyncio.Queue[AskingHl7] = asyncio.Queue()
        self.open: list[AskingHl7] = []

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = AskingHl7(reader, writer)
        self.open.append(line)
        self._came.put_nowait(line)

    async def line(self) -> AskingHl7:
        """The next connection."""
        async with asyncio.timeout(WITHIN_S):
            return await self._came.get()


@asynccontextmanager
async def taking(port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[TakingAnalyzer]:
    analyzer = TakingAnalyzer()
    server = await asyncio.start_server(analyzer._accept, "127.0.0.1", port, ssl=tls)
    analyzer.port = server.sockets[0].getsockname()[1]
    try:
        yield analyzer
    finally:
        server.close()
        for line in analyzer.open:
            await line.close()


def values(message: list[str], segment: str, field: int) -> list[str]:
    """A field of each segment of a name, as the standard numbers it; empty where it is not there."""
    found = [line.split("|") for line in message if line.startswith(f"{segment}|")]
    at = field - 1 if segment == "MSH" else field
    return [parts[at] if len(parts) > at else "" for parts in found]


def was_sent(item: WorkItem) -> bool:
    """Whether the worklist says that an analyzer has the order, or may have it."""
    return item.state not in (ItemState.WAITING, ItemState.HELD) or item.reason is ItemReason.MAYBE_KNOWN
