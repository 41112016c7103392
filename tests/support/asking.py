"""An analyzer that asks for its orders over ASTM: a real socket, the receiver's table of the standard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

from tests.support.astm_host import StrictHost
from tests.support.astm_peer import ACK, ENQ, EOT, one_record_a_frame

WITHIN_S = 60.0


class ContentionError(Exception):
    """ENQ has met ENQ (E1381, 8.2.7.1): the analyzer begins once more, and the host waits."""


class AskingAnalyzer:
    """One connection; it answers sessions of the host as the standard says.

    Attributes:
        host: reads what comes, frame by frame.
        silent: it answers nothing.
        holds: bytes with this text are answered by `answer_now`.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.host = StrictHost()
        self.silent = False
        self.holds: bytes | None = None
        self._held = b""

    @property
    def answers(self) -> list[bytes]:
        """The messages of the host so far."""
        return [text for text in self.host.sessions if text]

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def byte(self) -> bytes:
        """The next byte of the host, not answered."""
        async with asyncio.timeout(WITHIN_S):
            return await self._reader.readexactly(1)

    async def begin(self, message: bytes, *, follows: bool = False) -> None:
        """A session; where one ``follows`` it has begun with the same bytes that end this one."""
        await self._frames(ENQ, message)
        self._writer.write(EOT + ENQ if follows else EOT)

    async def go_on(self, message: bytes) -> None:
        """The session that has begun."""
        await self._frames(b"", message)
        self._writer.write(EOT)

    async def _frames(self, begin: bytes, message: bytes) -> None:
        frames = one_record_a_frame(message)
        for part in (begin, *frames):
            self._writer.write(part)
            async with asyncio.timeout(WITHIN_S):
                heard = await self._reader.readexactly(1)
            if heard == ENQ and part.endswith(ENQ):
                raise ContentionError
            assert heard == ACK

    async def send(self, *messages: bytes) -> None:
        """A session for each, every frame acknowledged. The line is never free between two of them."""
        begin = ENQ
        for message in messages:
            await self._frames(begin, message)
            begin = EOT + ENQ
        self._writer.write(EOT)

    async def hear(self) -> bytes:
        """The next bytes of the host, which are answered as they come."""
        async with asyncio.timeout(WITHIN_S):
            data = await self._reader.read(4096)
        answers = b"" if self.silent else self.host.take(data)
        if self.holds is not None and self.holds in data:
            self._held, answers = answers, b""
        if answers:
            self._writer.write(answers)
        return data

    def answer_now(self) -> None:
        """Give the answer that was held."""
        self.holds = None
        self._writer.write(self._held)

    async def contend(self, message: bytes) -> None:
        """Answer ENQ with ENQ, and then send: the host is silent, and answers the next ENQ."""
        self._writer.write(ENQ)
        await self.send(message)

    async def answer(self) -> bytes:
        """The host's next message."""
        before = len(self.answers)
        while len(self.answers) == before:
            assert await self.hear(), "the host has closed the connection"
        return self.answers[before]

    async def ask(self, message: bytes) -> bytes:
        await self.send(message)
        return await self.answer()

    async def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[AskingAnalyzer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    analyzer = AskingAnalyzer(reader, writer)
    try:
        yield analyzer
    finally:
        await analyzer.close()


def question(specimen: str, q13: str = "O") -> bytes:
    """As Beckman Access asks."""
    return f"H|\\^&|||ACCESS^500001|||||LIS||P|1|20111231235959\rQ|1|^{specimen}||ALL||||||||{q13}\rL|1|F\r".encode()


def result(specimen: str, patient: str, test: str, value: str, status: str = "F", *, at: str = "") -> bytes:
    """Args: at: when it was measured (R-13); empty: just now, by the clock of a site in India."""
    at = at or f"{datetime.now(ZoneInfo('Asia/Kolkata')):%Y%m%d%H%M%S}"
    return (
        f"H|\\^&|||ACCESS^500001|||||LIS||P|1|20261124100000\rP|1|{patient}\rO|1|{specimen}||^^^{test}|||||||||||Serum\r"
        f"R|1|^^^{test}|{value}|mIU/L||N||{status}||||{at}\rL|1|F\r"
    ).encode()


def fields(message: bytes, record: str) -> list[list[str]]:
    """The fields of each record of a type, as the standard numbers them from 1."""
    lines = [line for line in message.decode().split("\r") if line]
    assert lines[0].startswith("H"), lines
    assert lines[-1].startswith("L"), lines
    return [line.split("|") for line in lines if line.startswith(f"{record}|")]
