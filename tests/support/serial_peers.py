"""Serial lines for tests: pseudo-terminals with an analyzer at the other end, and device servers on real sockets."""

import asyncio
import os
import pty
import tty
from pathlib import Path

from tests.support.senders import ACK, ENQ, EOT, STX, Played, pieces

ANSWER_WITHIN_S = 10.0


class Cable:
    """A pseudo-terminal: LabRelay opens ``path``, the analyzer holds the other end.

    A link can lead to it, as udev makes them; the cable can be pulled, and a new one plugged in under the same link.
    """

    def __init__(self, link: Path | None = None) -> None:
        self.link = link
        self.plug()

    def plug(self) -> None:
        """A new device, under a new number; the link leads to it."""
        self.analyzer, slave = pty.openpty()
        tty.setraw(slave)
        self.device = os.ttyname(slave)
        os.set_blocking(self.analyzer, False)
        self._keeper = slave  # while nobody has it open, a pty's master reads an error
        if self.link is not None:
            self.point(self.device)

    def point(self, device: str) -> None:
        """Let the link lead to another device, in one step as udev does it."""
        assert self.link is not None
        new = self.link.with_name(self.link.name + ".new")
        new.symlink_to(device)
        new.replace(self.link)

    @property
    def path(self) -> str:
        return str(self.link) if self.link is not None else self.device

    def pull(self) -> None:
        """The adapter is gone: reads end, the name leads nowhere."""
        if self.link is not None:
            self.link.unlink()
        self.close()

    def close(self) -> None:
        for end in (self._keeper, self.analyzer):
            if end >= 0:
                os.close(end)
        self._keeper = self.analyzer = -1

    # -- the analyzer's end ------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        rest = memoryview(data)
        async with asyncio.timeout(ANSWER_WITHIN_S):
            while rest:
                try:
                    rest = rest[os.write(self.analyzer, rest) :]
                except BlockingIOError:
                    await asyncio.sleep(0.005)

    async def receive(self, number: int = 1) -> bytes:
        """Exactly so many bytes, or fewer once the other end has hung up."""
        data = b""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            while len(data) < number:
                try:
                    data += os.read(self.analyzer, number - len(data))
                except BlockingIOError:
                    await asyncio.sleep(0.005)
        return data

    async def play(self, wire: bytes) -> Played:
        """ENQ, frames and EOT as they stand in ``wire``, each after the answer to the one before."""
        played = Played()
        for piece in pieces(wire):
            await self.send(piece)
            if piece[:1] in (ENQ, STX):
                answer = await self.receive()
                played.answers += answer
                played.acknowledged += piece[:1] == STX and answer == ACK
                if answer != ACK:
                    await self.send(EOT)
                    played.gave_up = True
                    break
        return played
