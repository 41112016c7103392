"""The receiving side of E1381 as a host of another maker might have it: byte by byte, strict, and no code of ours.

`StrictHost` is the receiver's table of the standard and nothing else. `serving` puts it behind a real socket, with bad
habits on request.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

ENQ, ACK, NAK, EOT, STX = 0x05, 0x06, 0x15, 0x04, 0x02
_WHOLE = re.compile(rb"\x02([0-7])([^\x02\x03\x17]*)([\x03\x17])([0-9A-Fa-f]{2})\r\n\Z", re.DOTALL)
_OVER = re.compile(rb"[\x03\x17][0-9A-Fa-f]{2}\r\n\Z")


def sum8(characters: bytes) -> int:
    total = 0
    for character in characters:
        total += character
    return total % 256


@dataclass
class StrictHost:
    """Attributes:
    sessions: the text of each session that ended with EOT.
    frames: good frames in all, ``bad`` refused ones, ``again`` repeats that were recognised.
    """

    sessions: list[bytes] = field(default_factory=list)
    frames: int = 0
    bad: int = 0
    again: int = 0
    receiving: bool = False
    _expected: int = 1
    _last: bytes = b""
    _frame: bytes = b""
    _text: bytes = b""

    @property
    def text(self) -> bytes:
        """What the session under way has brought."""
        return self._text if self.receiving else b""

    def take(self, data: bytes) -> bytes:
        """What is answered, in order."""
        answers = b""
        for byte in data:
            answers += self._byte(byte)
        return answers

    def _byte(self, byte: int) -> bytes:
        if self._frame and byte == ENQ:  # no text has it: the sender gave up in the middle, and begins anew
            self._frame = b""
        if self._frame:
            self._frame += bytes([byte])
            return self._judge() if byte == 0x0A and _OVER.search(self._frame) else b""
        if byte == ENQ:
            self.receiving, self._expected, self._last, self._text = True, 1, b"", b""
            return bytes([ACK])
        if not self.receiving:
            return b""
        if byte == EOT:
            self.receiving = False
            self.sessions.append(self._text)
        elif byte == STX:
            self._frame = b"\x02"
        return b""

    def _judge(self) -> bytes:
        frame, self._frame = self._frame, b""
        match = _WHOLE.match(frame)
        if match is None or int(match[4], 16) != sum8(frame[1 : match.end(3)]):
            self.bad += 1
            return bytes([NAK])
        if frame == self._last:
            self.again += 1
            return bytes([ACK])
        if int(match[1]) != self._expected:
            self.bad += 1
            return bytes([NAK])
        self._last, self._expected = frame, (self._expected + 1) % 8
        self._text += match[2]
        self.frames += 1
        return bytes([ACK])


Habit = Callable[[bytes, bytes], bytes]  # (what came, the right answer) -> the answer that is given


@dataclass
class Served:
    """``hosts``: one for each connection, in order."""

    port: int
    hosts: list[StrictHost]

    @property
    def messages(self) -> list[bytes]:
        return [text for host in self.hosts for text in host.sessions if text]


@asynccontextmanager
async def serving(habit: Habit = lambda came, answer: answer) -> AsyncIterator[Served]:
    served = Served(0, [])
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        host = StrictHost()
        served.hosts.append(host)
        try:
            while data := await reader.read(4096):
                writer.write(habit(data, host.take(data)))
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        if tasks:  # what clients wrote before they closed is still read
            await asyncio.wait(tasks, timeout=2.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
