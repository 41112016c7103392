"""The analyzer's end of a line: a TCP connection that it opens, or waits for, or a serial line at its pace.

A serial line is played as it looks to the other side: bytes come as fast as the line carries them, and with seven data
bits the eighth is the parity, made here. That is right on a pty, which knows neither, and on a real port, which is
opened with eight data bits and no parity: seven and a parity bit are eight bits on the wire.
"""

import asyncio
import contextlib
import os
import termios
import tty
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from engine.model.texts.units import HostPort

OPEN_WITHIN_S = 10.0
PEER_WITHIN_S = 60.0  # how long a listening analyzer waits for its peer
SLICE = 16  # bytes that a serial port hands over at once: the size of a UART's FIFO
SILENCE_S = 0.5  # on a serial line nothing else says that a transmission broke off
READ_BYTES = 65_536

Parity = Literal["none", "even", "odd", "mark", "space"]


class Wire(Protocol):
    """A line as the analyzer sees it. Everything raises OSError when the line breaks."""

    where: str

    async def open(self) -> None:
        """Raises: OSError, TimeoutError: the peer does not answer."""

    async def read(self, within_s: float) -> bytes:
        """The next bytes, as many as there are. Raises: TimeoutError."""

    def unread(self) -> bytes:
        """Received bytes that were not read."""

    async def write(self, pieces: list[bytes], pause_s: float = 0.0) -> None:
        """Hand over each piece for itself, so that the other side may read in between."""

    async def drop(self) -> None:
        """Break off, without a word."""

    async def hang_up(self) -> None:
        """As `drop`, but what was written goes out first."""

    async def close(self) -> None:
        """End it for good; written bytes go out first."""

    @property
    def is_open(self) -> bool: ...


class _Connection(asyncio.Protocol):
    """Bytes of one TCP connection. ``opened`` is called once it is there."""

    def __init__(self, opened: Callable[["_Connection"], None] = lambda _: None) -> None:
        self._opened = opened
        self.came = bytearray()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._full = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods, not by its class
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        self.came += data
        _wake(self._reader)

    def eof_received(self) -> bool:
        return False  # close: a peer that has ended its half answers nothing any more

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        _wake(self._writer)

    async def read(self, within_s: float) -> bytes:
        if not self.came and not self.lost.done():
            self._reader = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(within_s):
                await self._reader
        if not self.came:
            raise ConnectionResetError("the other side closed the connection")
        return self.take()

    def take(self) -> bytes:
        data = bytes(self.came)
        self.came.clear()
        return data

    async def write(self, data: bytes) -> None:
        if self.lost.done() or self.transport.is_closing():
            raise ConnectionResetError("the other side closed the connection")
        self.transport.write(data)
        if self._full:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


class _Tcp:
    """Behaviour of both ends of an established TCP connection."""

    _connection: _Connection | None = None

    @property
    def is_open(self) -> bool:
        connection = self._connection
        return connection is not None and not connection.lost.done() and not connection.transport.is_closing()

    @property
    def _here(self) -> _Connection:
        if self._connection is None:
            raise ConnectionResetError("there is no connection")
        return self._connection

    async def read(self, within_s: float) -> bytes:
        return await self._here.read(within_s)

    def unread(self) -> bytes:
        return self._connection.take() if self._connection is not None else b""

    async def write(self, pieces: list[bytes], pause_s: float = 0.0) -> None:
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(pause_s)
            await self._here.write(piece)

    async def drop(self) -> None:
        if self._connection is not None:
            self._connection.transport.abort()
            await self._connection.lost
            self._connection = None

    async def hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.transport.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OPEN_WITHIN_S):
                    await asyncio.shield(connection.lost)


class ClientWire(_Tcp):
    """An analyzer that connects, which is most of them."""

    def __init__(self, address: HostPort) -> None:
        self.where = str(address)
        self._address = address

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(OPEN_WITHIN_S):
            _, self._connection = await loop.create_connection(_Connection, self._address.host, self._address.port)

    async def close(self) -> None:
        await self.hang_up()


class ServerWire(_Tcp):
    """An analyzer that is itself the server; its newest connection is the line."""

    def __init__(self, address: HostPort) -> None:
        self.where = str(address)
        self._address = address
        self._server: asyncio.Server | None = None
        self._came: asyncio.Queue[_Connection] = asyncio.Queue()

    async def listen(self) -> int:
        """Begin to listen; the port. Raises: OSError."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                lambda: _Connection(self._came.put_nowait), self._address.host, self._address.port
            )
            self.where = str(HostPort(self._address.host, self._server.sockets[0].getsockname()[1]))
        return int(self._server.sockets[0].getsockname()[1])

    async def open(self) -> None:
        await self.listen()
        async with asyncio.timeout(PEER_WITHIN_S):
            connection = await self._came.get()
            while connection.lost.done():
                connection = await self._came.get()
        self._connection = connection

    async def close(self) -> None:
        await self.hang_up()
        if self._server is not None:
            self._server.close()
            self._server = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Serial:
    """How a serial line carries a byte.

    Attributes:
        parity: ``none`` has eight data bits, any other seven.
    """

    baud: int = 9600
    parity: Parity = "none"

    @property
    def bytes_per_s(self) -> float:
        """A start bit, eight, and a stop bit."""
        return self.baud / 10

    def encode(self, data: bytes) -> bytes:
        return data if self.parity == "none" else data.translate(_TABLES[self.parity])

    def decode(self, data: bytes) -> bytes:
        return data if self.parity == "none" else bytes(byte & 0x7F for byte in data)


def _parity_table(parity: str) -> bytes:
    def bit(byte: int) -> int:
        ones = (byte & 0x7F).bit_count() % 2
        return {"even": ones, "odd": 1 - ones, "mark": 1, "space": 0}[parity]

    return bytes(byte & 0x7F | bit(byte) << 7 for byte in range(256))


_TABLES = {parity: _parity_table(parity) for parity in ("even", "odd", "mark", "space")}


class SerialLine:
    """A serial device, or one end of a pty."""

    def __init__(self, device: str | int, settings: Serial | None = None) -> None:
        """``device``: its path, or an open file descriptor, which stays the caller's."""
        self.where = device if isinstance(device, str) else f"descriptor {device}"
        self._device = device
        self._settings = settings or Serial()
        self._file: int | None = None
        self._came = bytearray()
        self._reader: asyncio.Future[None] | None = None
        self._broken = False

    @property
    def is_open(self) -> bool:
        return self._file is not None and not self._broken

    async def open(self) -> None:
        if self._file is None:
            flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK
            self._file = os.open(self._device, flags) if isinstance(self._device, str) else self._device
            os.set_blocking(self._file, False)
            if os.isatty(self._file) and isinstance(self._device, str):
                _raw(self._file, self._settings.baud)
            asyncio.get_running_loop().add_reader(self._file, self._take_what_came)
        self._broken = False

    def _take_what_came(self) -> None:
        assert self._file is not None
        try:
            data = os.read(self._file, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._came += self._settings.decode(data)
        else:
            self._broken = True
            asyncio.get_running_loop().remove_reader(self._file)
        _wake(self._reader)

    async def read(self, within_s: float) -> bytes:
        if not self._came and not self._broken:
            self._reader = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(within_s):
                await self._reader
        if not self._came:
            raise ConnectionResetError("the line broke")
        return self.unread()

    def unread(self) -> bytes:
        data = bytes(self._came)
        self._came.clear()
        return data

    async def write(self, pieces: list[bytes], pause_s: float = 0.0) -> None:
        """At the pace of the line; ``pieces`` and pauses make no difference that it would not make itself."""
        loop = asyncio.get_running_loop()
        data = self._settings.encode(b"".join(pieces))
        due = loop.time()
        for at in range(0, len(data), SLICE):
            part = data[at : at + SLICE]
            due += len(part) / self._settings.bytes_per_s
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._put(part)

    async def _put(self, data: bytes) -> None:
        while data:
            if self._file is None or self._broken:
                raise ConnectionResetError("the line broke")
            try:
                data = data[os.write(self._file, data) :]
            except BlockingIOError:
                await asyncio.sleep(SLICE / self._settings.bytes_per_s)

    async def drop(self) -> None:
        """A serial line cannot be hung up: it falls silent, as when a cable is out for a moment."""
        await asyncio.sleep(SILENCE_S)
        self._came.clear()

    hang_up = drop

    async def close(self) -> None:
        if self._file is not None:
            if not self._broken:
                asyncio.get_running_loop().remove_reader(self._file)
            if isinstance(self._device, str):
                os.close(self._file)
            self._file = None


def _raw(file: int, baud: int) -> None:
    """Eight data bits, no parity, no flow control, and nothing done to what passes."""
    tty.setraw(file)
    attributes = termios.tcgetattr(file)
    speed = getattr(termios, f"B{baud}", None)
    if speed is None:
        raise ValueError(f"a serial port has no rate of {baud} baud; usual ones are 1200 to 115200")
    attributes[2] |= termios.CLOCAL | termios.CREAD
    attributes[2] &= ~(termios.CRTSCTS | termios.CSTOPB)
    attributes[4] = attributes[5] = speed
    termios.tcsetattr(file, termios.TCSANOW, attributes)
