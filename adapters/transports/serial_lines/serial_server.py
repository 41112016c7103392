"""A serial line at a device server, over TCP: bare bytes (``socket://``), or RFC 2217 (``rfc2217://``).

With RFC 2217 we set the line ourselves, as at a port of this machine; with bare bytes the server's own pages do, and
only bit 7 of a line of seven data bits is left for us (`adapters.codecs.astm.text`).
"""

import asyncio
import socket

from adapters.codecs.astm import text
from adapters.codecs.rfc2217 import ComPortClient, LineSettings
from adapters.transports.errors import LineError
from adapters.transports.serial_lines.serial_device import LineHealth
from adapters.transports.sockets import tcp_stream
from adapters.transports.sockets.tcp_stream import READ_HIGH_WATER, TcpStream

NEGOTIATE_TIMEOUT_S = 5.0


class BarePort:
    """Bytes of the line as they are, but for bit 7 of seven."""

    refusal = ""
    suspended = False
    ready = True
    errors = 0

    def __init__(self, settings: LineSettings) -> None:
        self._parity = settings.parity if settings.bytesize == 7 else None

    def receive(self, data: bytes) -> bytes:
        return data if self._parity is None else text.strip(data)

    def outgoing(self) -> bytes:
        return b""

    def encode(self, data: bytes) -> bytes:
        return data if self._parity is None else text.with_parity(data, self._parity)


class SevenBitPort(ComPortClient):
    """RFC 2217 for a line of seven data bits; few servers' ports fail to clear bit 7, and it is unknown which."""

    def receive(self, data: bytes) -> bytes:
        return text.strip(super().receive(data))


# It translates between the bytes of the line and those of the connection.
Port = ComPortClient | BarePort


class ServerStream:
    """A connection to a device server as a `engine.model.ports.Stream`, for one task that reads and writes.

    Attributes:
        peer: the device as it is named in the configuration.
        fault: why the line broke, in words; empty while it lives.
    """

    def __init__(self, stream: TcpStream, port: Port, peer: str) -> None:
        self._stream = stream
        self._port = port
        self._came = bytearray()  # not read yet by whom it is for
        self._received = 0
        self._health = LineHealth()
        self._ended = False
        self.peer = peer
        self.fault = ""

    async def negotiate(self) -> None:
        """Have the line set as it should be.

        Raises:
            LineError: the server will not, or does not answer.
        """
        try:
            async with asyncio.timeout(NEGOTIATE_TIMEOUT_S):
                await self._say()
                while not self._port.ready:
                    await self._hear(None)
                    if len(self._came) > READ_HIGH_WATER:
                        raise self._broke("the device server sends and sends, and does not confirm the line's settings")
        except TimeoutError as error:
            speaks = isinstance(self._port, ComPortClient) and self._port.speaks
            what = (
                "confirm the line's settings" if speaks else "speak RFC 2217; is this its raw port? Then use socket://"
            )
            raise self._broke(f"the device server does not {what}") from error

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as the protocol has it
        due = None if timeout is None else asyncio.get_running_loop().time() + timeout
        while not self._came:
            left = None if due is None else due - asyncio.get_running_loop().time()
            if not await self._hear(left):
                return b""
        data = bytes(self._came)
        self._came.clear()
        return data

    async def write(self, data: bytes) -> None:
        while self._port.suspended:
            if not await self._hear(None):
                raise LineError("the line is being closed, and what was written does not go out")
            if len(self._came) > READ_HIGH_WATER:
                raise self._broke("the device server takes nothing from us, and never stops sending")
        await self._send(self._port.encode(data))

    def rouse(self) -> None:
        """End the read that waits now with `TimeoutError`, from outside its task."""
        if not self._port.suspended:  # else a write waits
            self._stream.rouse()

    def end(self) -> None:
        """Make the reader see the end of the stream now, from outside its task."""
        self._ended = True
        self._stream.end()

    async def close(self) -> None:
        await self._stream.close()

    def look(self) -> str:
        """The problem with the bytes from this line, in words."""
        return self._health.look(self._received, self._port.errors)

    async def _say(self) -> None:
        if out := self._port.outgoing():
            await self._send(out)

    async def _send(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except OSError as error:
            raise self._broke("the connection to the device server was lost") from error

    async def _hear(self, timeout: float | None) -> bool:  # noqa: ASYNC109 - a timer of the stream's own
        """Take what comes next. False: nothing will, since we have ended the stream."""
        if self.fault:
            raise LineError(self.fault)
        try:
            data = await self._stream.read(timeout)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._broke("the connection to the device server was lost") from error
        if not data:
            if self._ended:
                return False
            raise self._broke("the device server closed the connection; does another program use this line?")
        line = self._port.receive(data)
        self._came += line
        self._received += len(line)
        await self._say()
        if self._port.refusal:
            raise self._broke(self._port.refusal)
        return True

    def _broke(self, fault: str) -> LineError:
        self.fault = self.fault or fault
        return LineError(self.fault)


async def connect(device: str, settings: LineSettings) -> ServerStream:
    """Connect to a device server and set the line.

    Args:
        device: ``rfc2217://host:port`` or ``socket://host:port``.

    Raises:
        LineError: it cannot be reached, or will not set the line; the text says why.
    """
    scheme, _, place = device.partition("://")
    host, _, number = place.rpartition(":")
    try:
        stream = await tcp_stream.connect(host.strip("[]"), int(number))
    except (OSError, ValueError) as error:
        raise LineError(_why_not(error)) from error
    port: Port = BarePort(settings)
    if scheme == "rfc2217":
        port = SevenBitPort(settings) if settings.bytesize == 7 else ComPortClient(settings)
    line = ServerStream(stream, port, device)
    try:
        await line.negotiate()
    except BaseException:
        stream.abort()
        raise
    return line


def _why_not(error: OSError | ValueError) -> str:
    if isinstance(error, (socket.gaierror, ValueError)):
        return "the device server's name is not known; check device: and the network's names"
    if isinstance(error, ConnectionRefusedError):
        return "the device server refuses the connection; check the port number and that its serial port is enabled"
    if isinstance(error, TimeoutError):
        return "the device server does not answer; check its address, power and network cable"
    return f"the device server cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}"
