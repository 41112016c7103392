"""Analyzers that send one message after the other, each again and again until it is acknowledged."""

import asyncio
import contextlib

ENQ, ACK, STX, ETX, EOT = b"\x05", b"\x06", b"\x02", b"\x03", b"\x04"
ANSWER_WITHIN_S = 60.0
GIVE_UP_S = 300.0
AGAIN_AFTER_S = 0.05


class Sender:
    """One analyzer's line.

    Attributes:
        tries: (id of the message, its bytes, whether it was acknowledged), in order.
        answer: over MLLP, the last one.
    """

    def __init__(self, host: str, port: int, protocol: str) -> None:
        self._host, self._port = host, port
        self._hl7 = protocol == "hl7"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.tries: list[tuple[int, bytes, bool]] = []
        self.answer = b""

    async def send(self, ident: int, message: bytes) -> bool:
        """Until it is acknowledged, or refused (an AE or AR, a NAK); whether it was acknowledged.

        Raises:
            TimeoutError: nothing has come of it.
        """
        async with asyncio.timeout(GIVE_UP_S):
            while True:
                try:
                    async with asyncio.timeout(ANSWER_WITHIN_S):
                        taken = await (self._mllp(message) if self._hl7 else self._astm(message))
                except (OSError, TimeoutError, asyncio.IncompleteReadError):
                    self.tries.append((ident, message, False))
                    await self.close()
                    await asyncio.sleep(AGAIN_AFTER_S)
                    continue
                self.tries.append((ident, message, taken))
                return taken

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._reader = self._writer = None

    async def _mllp(self, message: bytes) -> bool:
        reader, writer = await self._connect()
        writer.write(b"\x0b" + message + b"\x1c\r")
        self.answer = await reader.readuntil(b"\x1c\r")
        return b"MSA|AA" in self.answer

    async def _astm(self, message: bytes) -> bool:
        if await self._ask(ENQ) != ACK:
            raise ConnectionResetError("the line is busy")
        for index, record in enumerate(message.split(b"\r")[:-1], 1):
            body = b"%d" % (index % 8) + record + b"\r" + ETX
            if await self._ask(STX + body + b"%02X\r\n" % (sum(body) % 256)) != ACK:
                await self.close()
                return False
        _, writer = await self._connect()
        writer.write(EOT)
        return True

    async def _ask(self, data: bytes) -> bytes:
        reader, writer = await self._connect()
        writer.write(data)
        return await reader.readexactly(1)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self._reader, self._writer
