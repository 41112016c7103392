"""A receiver of HL7 messages that answers, byte for byte, what a test scripts. A real socket; no code of ours.

A script is a list of answers, one a message (the last one repeats): bytes, in which ``{id}`` stands for the control
id of the message, a step, or a tuple of those, in order. `PAUSE` waits until the test lets the peer go on.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

from tests.support.serving import serving


class Step(Enum):
    CLOSE = "close the connection"
    SILENCE = "say nothing more"
    PAUSE = "wait for the test"


CLOSE, SILENCE, PAUSE = Step.CLOSE, Step.SILENCE, Step.PAUSE
Answer = bytes | Step | tuple[bytes | Step, ...]

VT, END = b"\x0b", b"\x1c\r"


def ack(code: str = "AA", control_id: str = "{id}", *more: str) -> bytes:
    """A framed acknowledgement."""
    lines = ["MSH|^~\\&|R|R|||20260301101530||ACK|99|P|2.5", f"MSA|{code}|{control_id}", *more, ""]
    return VT + "\r".join(lines).encode() + END


@dataclass
class MllpPeer:
    """``messages`` came whole, in order; ``connections`` counts all."""

    script: list[Answer]
    port: int = 0
    messages: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    block = await reader.readuntil(END)
                    assert block[:1] == VT
                    self.messages.append(block[1 : -len(END)])
                    if await self._answer(writer) is CLOSE:
                        return
        finally:
            self.closed += 1
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> Step | None:
        control_id = self.messages[-1].split(b"|")[9]
        answer = self.script[min(len(self.messages), len(self.script)) - 1]
        for part in answer if isinstance(answer, tuple) else (answer,):
            if part is CLOSE:
                return CLOSE
            if part is PAUSE:
                await self.go_on.wait()
            elif isinstance(part, bytes):
                writer.write(part.replace(b"{id}", control_id))
                await writer.drain()
        return None


@asynccontextmanager
async def mllp_peer(*script: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[MllpPeer]:
    peer = MllpPeer(list(script))
    async with serving(peer.serve, tls=tls) as peer.port:
        yield peer
