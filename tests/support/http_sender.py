"""A sender of HTTP requests, byte for byte: a real socket, no code of ours and no library that corrects anything."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"
HL7_TYPE = "x-application/hl7-v2+er7"


@dataclass(frozen=True)
class Response:
    """What came back. ``closed``: the connection ended behind it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Sender:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def response(self) -> Response | None:
        """The next response; None where the connection ends without one."""
        async with asyncio.timeout(240.0):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
            if lines[0].split()[1] == "100":
                return await self.response()
            body = await self.reader.readexactly(int(headers["content-length"]))
            return Response(int(lines[0].split()[1]), headers, body)

    async def post(self, body: bytes, path: str = "/", **headers: str) -> Response | None:
        await self.write(post(body, path, **headers))
        return await self.response()

    async def ended(self) -> bool:
        """Wait until the other side ends the connection."""
        async with asyncio.timeout(240.0):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(1000):
                    pass
        return True


def post(body: bytes, path: str = "/", method: str = "POST", **headers: str) -> bytes:
    """A request; ``Content_Type`` is the header ``Content-Type``, and an empty value leaves a header out."""
    usual = {"Host": "lab", "Content-Type": HL7_TYPE, "Content-Length": str(len(body))}
    named = {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@asynccontextmanager
async def sender(port: int, tls: ssl.SSLContext | None = None, source: str = HOST) -> AsyncIterator[Sender]:
    """``source``: its own address."""
    reader, writer = await asyncio.open_connection(HOST, port, ssl=tls, local_addr=(source, 0))
    try:
        yield Sender(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def said(port: int, request: bytes) -> Response | None:
    """The response to some bytes on a connection of their own."""
    async with sender(port) as one:
        await one.write(request)
        return await one.response()
