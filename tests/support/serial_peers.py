"""Serial lines for tests: pseudo-terminals with an analyzer at the other end, and device servers on real sockets."""

import asyncio
import contextlib
import os
import pty
import shutil
import tempfile
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serial.rfc2217 import SERVER_NOTIFY_LINESTATE, PortManager

from tests.support.senders import ACK, ENQ, EOT, STX, Played, pieces

WITHIN_S = 240.0


@dataclass(frozen=True)
class Settings:
    """How a line is set, as a channel's ``source:`` says it."""

    device: str = ""
    baud: int = 9600
    bytesize: int = 8
    parity: str = "none"
    stopbits: int = 1
    flow: str = "none"


class AnalyzerEnd:
    """The analyzer's end of a line."""

    async def send(self, data: bytes) -> None:
        raise NotImplementedError

    async def receive(self, number: int = 1) -> bytes:
        """Exactly so many bytes."""
        raise NotImplementedError

    async def play(self, wire: bytes) -> Played:
        """ENQ, frames and EOT as they stand in ``wire``, each after the answer to the one before."""
        played = Played()
        for piece in pieces(wire):
            await self.send(piece)
            if piece[:1] not in (ENQ, STX):
                continue
            answer = await self.receive()
            played.answers += answer
            if answer != ACK:
                await self.send(EOT)
                played.gave_up = True
                break
            played.acknowledged += piece[:1] == STX
        return played


class Cable(AnalyzerEnd):
    """A pseudo-terminal: LabRelay opens ``path``, the analyzer holds the other end.

    A link leads to it, as udev makes them; it can be pulled out, and plugged in again as another device. The link ends
    before the device does: the device's number is another test's a moment later, and a program that still opens it
    would take it.
    """

    def __init__(self, link: Path | None = None) -> None:
        self.link = link or Path(tempfile.mkdtemp(prefix="labrelay-cable-")) / "line"
        self._own = link is None
        self._analyzer = self._keeper = -1
        self.plug()

    def plug(self) -> None:
        """A new device, under a new number; the link leads to it."""
        self._analyzer, self._keeper = pty.openpty()  # without a keeper, reading before anybody has opened it fails
        tty.setraw(self._keeper)
        os.set_blocking(self._analyzer, False)
        self.device = os.ttyname(self._keeper)
        self.link.parent.mkdir(parents=True, exist_ok=True)
        new = self.link.with_name(self.link.name + ".new")  # in one step, as udev does it
        new.symlink_to(self.device)
        new.replace(self.link)

    @property
    def path(self) -> str:
        return str(self.link)

    def pull(self) -> None:
        """The adapter is gone: reads end, its name leads nowhere."""
        self.close()

    def close(self) -> None:
        self.link.unlink(missing_ok=True)
        if self._own:
            shutil.rmtree(self.link.parent, ignore_errors=True)
        for end in (self._keeper, self._analyzer):
            if end >= 0:
                os.close(end)
        self._keeper = self._analyzer = -1

    async def send(self, data: bytes) -> None:
        rest = memoryview(data)
        async with asyncio.timeout(WITHIN_S):
            while rest:
                try:
                    rest = rest[os.write(self._analyzer, rest) :]
                except BlockingIOError:
                    await asyncio.sleep(0.002)

    async def receive(
        self, number: int = 1, *, while_: Callable[[], bool] = lambda: True, within_s: float = WITHIN_S
    ) -> bytes:
        """As for every end; given up at once when ``while_`` holds no more.

        Raises:
            TimeoutError
        """
        data = b""
        async with asyncio.timeout(within_s):
            while len(data) < number:
                if not while_():
                    raise TimeoutError("nobody listens any more")
                try:
                    data += os.read(self._analyzer, number - len(data))
                except BlockingIOError:
                    await asyncio.sleep(0.002)
        return data

    async def drop(self) -> None:
        """Throw away what has come and was not read: answers to what was sent before."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._analyzer, 4096):
                pass


class StandInPort:
    """What pyserial's `PortManager` needs of a serial port: how it was set."""

    def __init__(self) -> None:
        self.baudrate = 1200
        self.bytesize = 8
        self.parity = "N"
        self.stopbits: float = 1
        self.xonxoff = self.rtscts = self.dtr = self.rts = False
        self.cts = self.dsr = True
        self.ri = self.cd = False


class DeviceServer(AnalyzerEnd):
    """A device server with one line: RFC 2217 as pyserial's `PortManager` speaks it, or bare bytes.

    One client at a time, as the real ones: another is hung up on.
    """

    def __init__(self, *, bare: bool = False, port: StandInPort | None = None) -> None:
        self.bare = bare
        self.port = port or StandInPort()
        self.number = 0
        self.connections = 0
        self.manager: PortManager | None = None
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._came = bytearray()

    @property
    def device(self) -> str:
        return f"{'socket' if self.bare else 'rfc2217'}://127.0.0.1:{self.number}"

    @property
    def connected(self) -> bool:
        return self._writer is not None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.number)
        self.number = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.hang_up()
            self._server = None

    def hang_up(self) -> None:
        """As a network cable that is pulled, and noticed."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """What the analyzer sends: sent on to the client, or lost where there is none."""
        if self._writer is not None:
            self._writer.write(data if self.manager is None else b"".join(self.manager.escape(data)))
            await self._writer.drain()

    async def receive(self, number: int = 1) -> bytes:
        async with asyncio.timeout(WITHIN_S):
            while len(self._came) < number:  # noqa: ASYNC110  # whoever waits is a test
                await asyncio.sleep(0.002)
        data = bytes(self._came[:number])
        del self._came[:number]
        return data

    def tell_line_state(self, bits: int) -> None:
        assert self.manager is not None
        self.manager.rfc2217_send_subnegotiation(SERVER_NOTIFY_LINESTATE, bytes([bits]))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            writer.close()
            return
        self._writer = writer
        self.connections += 1
        self.manager = None if self.bare else PortManager(self.port, writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(1024):
                self._came += data if self.manager is None else b"".join(self.manager.filter(data))
        self._writer = self.manager = None
        writer.close()
