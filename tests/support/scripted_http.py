"""An HTTP server that says, byte for byte, what a test scripts: whole answers, broken ones, or none.

It speaks on a real socket and parses just enough to record each request. A script is a list of steps, one a request
(the last one repeats): bytes to write, `RESET`, `SILENCE`, or a tuple of those, in order; or a function, which makes
one of these of the request.
"""

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

from tests.support.serving import serving


class Step(Enum):
    RESET = "reset the connection"
    CLOSE = "close the connection"
    SILENCE = "say nothing more until the client gives up"


RESET, CLOSE, SILENCE = Step.RESET, Step.CLOSE, Step.SILENCE


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> bytes:
        """The body, unpacked."""
        return gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body


Fixed = bytes | Step | tuple[bytes | Step, ...]
Script = Fixed | Callable[[Request], Fixed]


@dataclass
class ScriptedServer:
    """``requests`` are those that came whole, in order; ``arrived`` is set by the first; ``connections`` counts all."""

    script: list[Script]
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            while True:
                self.requests.append(await _request(reader))
                self.arrived.set()
                step = self.script[min(len(self.requests), len(self.script)) - 1]
                if callable(step):
                    step = step(self.requests[-1])
                for part in step if isinstance(step, tuple) else (step,):
                    if isinstance(part, bytes):
                        writer.write(part)
                        await writer.drain()
                    elif part is RESET:
                        _reset(writer)
                        return
                    elif part is CLOSE:
                        writer.close()
                        return
                    else:
                        await asyncio.wait_for(reader.read(), 240.0)
                        return


async def _request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    if headers.get("transfer-encoding") == "chunked":
        raise AssertionError("the client sent chunks; these servers get a Content-Length")
    return Request(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the peer sees RST: linger of no time."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def scripted(*script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
    """Serve ``script`` on a free port of 127.0.0.1; `ScriptedServer.url` is its base address."""
    scripted_server = ScriptedServer(list(script))
    async with serving(scripted_server.serve, tls=tls) as port:
        scripted_server.url = f"http{'s' if tls else ''}://127.0.0.1:{port}/fhir"
        yield scripted_server


def http(status: int, body: bytes = b"", *headers: str, media_type: str = "application/fhir+json") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}", f"Content-Type: {media_type}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
