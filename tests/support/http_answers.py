"""A server whose answers the test writes byte by byte."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable

Answering = Callable[[bytes], Awaitable[bytes]]


@contextlib.asynccontextmanager
async def http_server(answer: Answering) -> AsyncIterator[int]:
    """A server that hands each request whole to ``answer`` and writes what that returns; its port."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"\r\nContent-Length: *(\d+)", head, re.IGNORECASE)
                writer.write(await answer(head + await reader.readexactly(int(length[1]) if length else 0)))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections)


def response(status: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
