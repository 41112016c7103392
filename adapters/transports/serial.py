"""Serial lines: keep one line open, at a port of this machine or at a device server.

    device: /dev/serial/by-id/...   a port of this machine (`serial_ports` lists the forms of a name)
    device: rfc2217://host:port     a device server that sets its line as we ask
    device: socket://host:port      a device server, or anything else, that passes bytes on over TCP

A line is one stream, handed to the handler for as long as it lives. When it breaks (cable or adapter pulled, server
gone), the handler sees the end and puts incomplete text aside. The line is opened again with a back-off: half a second,
doubled up to 5 s for a port and 30 s for a server. A line that breaks soon after it was opened counts as one that could
not be opened, so a line that keeps failing is retried slowly.

`fault` says in words why there is no line, and clears itself; the log gets a line when that changes, not for each try.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from adapters.codecs.rfc2217 import LineSettings
from adapters.transports.errors import LineError
from adapters.transports.serial_lines import serial_server
from adapters.transports.serial_lines.serial_device import DeviceStream, open_device
from adapters.transports.serial_lines.serial_ports import look, ports
from adapters.transports.serial_lines.serial_server import ServerStream
from adapters.transports.waiting import finish
from engine.model.process import back_off

__all__ = ["SerialLine", "build", "look", "ports"]

logger = logging.getLogger("labrelay.channel")

REOPEN_FIRST_S = 0.5
REOPEN_MAX_S = 5.0  # a port of this machine: trying costs nothing, and a person who plugs a cable in waits for it
REOPEN_SERVER_MAX_S = 30.0
STABLE_S = 5.0  # a line that lived this long was a line
LATE_S = 20.0  # after this an attempt to open has hung; one at a device server takes 15 s at most
LOOK_S = 10.0  # between checks of a line: whether its device is still there, and its bytes arrive undamaged

LineStream = DeviceStream | ServerStream
Handler = Callable[[LineStream], Awaitable[None]]
Opener = Callable[[], Awaitable[LineStream]]


class Settings(LineSettings, Protocol):
    """The settings of a channel's ``source:`` for the line."""

    device: str


def build(source: Settings, handler: Handler) -> "SerialLine":
    """The transport of one channel."""
    if "://" in source.device:
        opener: Opener = partial(serial_server.connect, source.device, source)
        return SerialLine(source.device, opener, handler, reopen_max_s=REOPEN_SERVER_MAX_S)
    return SerialLine(source.device, partial(open_device, source.device, source), handler)


class SerialLine:
    """Keep one line open, and run ``handler`` for as long as it lives; a `engine.model.ports.Transport`.

    Attributes:
        fault: why there is no line just now, or none that works, in words; empty where there is nothing to say.
        opened: how often the line was opened.
    """

    def __init__(self, device: str, opener: Opener, handler: Handler, *, reopen_max_s: float = REOPEN_MAX_S) -> None:
        self._device = device
        self._opener = opener
        self._handler = handler
        self._reopen_max_s = reopen_max_s
        self._stream: LineStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._failures = 0  # tries in a row that gave no line that lived
        self._doubtful = False  # the last line broke soon after it was opened: being open is no proof of the next one
        self._said: set[str] = set()  # faults in the log since there was a line
        self.fault = ""
        self.opened = 0

    async def start(self) -> int:
        """Begin to open the line, and return 0: a line has no port number."""
        self._task = asyncio.get_running_loop().create_task(self._keep_open())
        return 0

    async def stop(self, grace_s: float = 3.0) -> None:
        self._stopping = True
        if self._task is None:
            return
        if self._stream is not None:
            self._stream.end()
        else:
            self._task.cancel()
        await finish({self._task}, grace_s)

    async def _keep_open(self) -> None:
        async for attempt in back_off.trying(back_off.ALWAYS, first_s=REOPEN_FIRST_S, max_s=self._reopen_max_s):
            with attempt:
                await self._open()
            if self._stopping:
                return
            back_off.begin_anew(attempt, self._failures)

    async def _open(self) -> None:
        """Try once, and serve the line that there is then."""
        hangs = "the port does not open, its driver hangs; plug it in anew"
        late = asyncio.get_running_loop().call_later(LATE_S, self._down, hangs)
        try:
            stream = await self._opener()
        except LineError as error:
            self._failures += 1
            self._down(str(error))
        except Exception:  # a fault of ours; the next try is as ever
            self._failures += 1
            logger.exception("opening a serial line failed", extra={"peer": self._device})
        else:
            late.cancel()
            await self._serve(stream)
        finally:
            late.cancel()

    async def _serve(self, stream: LineStream) -> None:
        """Run the handler on an open line, to its end."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.opened += 1
        self._stream = stream
        if not self._doubtful:
            self._up()
        looking = loop.create_task(self._look_after(stream))
        try:
            if not self._stopping:
                await self._handler(stream)
        except OSError:
            logger.debug("line lost", extra={"peer": self._device})
        except Exception:  # a fault of ours in one line's handling costs that line; the next is handled as ever
            logger.exception("connection handler failed", extra={"peer": self._device})
        finally:
            self._stream = None
            looking.cancel()
            await stream.close()
        young = loop.time() - began < STABLE_S
        self._failures = self._failures + 1 if young else 0
        self._doubtful = young and bool(stream.fault)
        if stream.fault:
            self._down(stream.fault)

    async def _look_after(self, stream: LineStream) -> None:
        await asyncio.sleep(STABLE_S)
        if not stream.fault:
            self._up()
        while True:
            await asyncio.sleep(LOOK_S)
            trouble = stream.look()
            if trouble:
                self._down(trouble, change="trouble")  # its figures are others each time
            elif not stream.fault:
                self._up()

    def _up(self) -> None:
        if self.fault:
            logger.info("serial line works again", extra={"peer": self._device})
        self.fault = ""
        self._said.clear()

    def _down(self, fault: str, change: str = "") -> None:
        """``change``: differs for another fault than the one before; the words, if not given."""
        if (change or fault) not in self._said:
            logger.warning("serial line does not work", extra={"peer": self._device, "detail": fault})
        self._said.add(change or fault)
        self.fault = fault
