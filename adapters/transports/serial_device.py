"""A serial port of this machine as a stream: pyserial opens and sets it, the event loop reads its file descriptor.

How many wake-ups a line can cost is bounded, whatever comes: a quiet line is watched by the event loop; once bytes
have come, the loop does not look again for as long as some 24 characters take (5 to 25 ms), and then all that came
meanwhile is read at once. A byte-wise adapter at 9600 baud so costs 40 reads a second instead of 960, noise costs no
more than data, and a descriptor that is always ready (its device is gone) can never spin. A full output buffer is
tried again at the same pace.

What a line is worth knowing about:

- A device that is gone reads as an error or as the end of the file. Some drivers do neither, so every ten seconds the
  port's name is looked up: where it leads elsewhere or nowhere, twice in a row, the line is given up as well.
- VMIN is 1, so that "nothing there" (EAGAIN) and "hung up" (end of file) differ.
- A break condition reads as a NUL byte; with BRKINT it would empty the buffers.
- The port is ours alone: flock(2) as all careful programs use it, and TIOCEXCL for the others.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import serial

from adapters.codecs import seven_bits
from adapters.transports import serial_ports

READ_BYTES = 4096
READS_AT_ONCE = 16
READ_HIGH_WATER = 256 * 1024  # bytes that wait for the reader before we look no more; then the kernel slows the sender
REST_CHARACTERS = 24
REST_MIN_S, REST_MAX_S = 0.005, 0.025
LOOK_S = 10.0
CLOSE_TIMEOUT_S = 1.0
PTY_MAJORS = range(136, 144)  # slave ends of pseudo-terminals: they know neither parity nor data bits

T = TypeVar("T")


class Settings(Protocol):
    """How the line is set; ``parity`` and ``flow`` in words."""

    @property
    def baud(self) -> int: ...
    @property
    def bytesize(self) -> int: ...
    @property
    def parity(self) -> str: ...
    @property
    def stopbits(self) -> int: ...
    @property
    def flow(self) -> str: ...


class LineError(OSError):
    """The line cannot be opened, or broke; the text is for people."""


@dataclass(slots=True)
class OpenPort:
    """An open port, and which device it was when it was opened."""

    serial: serial.Serial
    path: str
    device_number: int

    @property
    def fd(self) -> int:
        return int(self.serial.fileno())

    def shut(self, *, drop: bool = False) -> None:
        """Close. ``drop``: throw away what was not sent yet; close(2) would wait for it, up to half a minute."""
        if drop:
            with contextlib.suppress(OSError, termios.error):  # the device is gone
                termios.tcflush(self.fd, termios.TCIOFLUSH)
        self.serial.close()


def open_port(device: str, settings: Settings) -> OpenPort:
    """Open and set a port, for us alone. Blocks, usually for milliseconds.

    Raises:
        LineError: it cannot be opened; the text says why and what to do.
    """
    try:
        path = serial_ports.find(device)
    except serial_ports.NoSuchPortError as error:
        raise LineError(str(error)) from error
    port = serial.Serial()
    port.port = path
    port.baudrate = settings.baud
    port.bytesize = settings.bytesize
    port.parity = {"none": "N", "even": "E", "odd": "O", "mark": "M", "space": "S"}[settings.parity]
    port.stopbits = settings.stopbits
    port.xonxoff = settings.flow == "xonxoff"
    port.rtscts = settings.flow == "rtscts"
    port.exclusive = True
    try:
        port.open()
    except (OSError, termios.error, ValueError) as error:
        raise LineError(why_not(path, error)) from error
    try:
        number = _finish(port.fileno(), settings)
    except LineError:
        port.close()
        raise
    except (OSError, termios.error) as error:
        port.close()
        raise LineError(why_not(path, error)) from error
    return OpenPort(port, path, number)


def _finish(fd: int, settings: Settings) -> int:
    """What pyserial leaves undone; returns the device's number."""
    number = os.fstat(fd).st_rdev
    fcntl.ioctl(fd, termios.TIOCEXCL)
    attributes = termios.tcgetattr(fd)
    attributes[0] &= ~(termios.BRKINT | termios.INPCK | termios.ISTRIP)
    control = attributes[6]
    control[termios.VMIN], control[termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
    if os.major(number) not in PTY_MAJORS and (wrong := _not_as_asked(termios.tcgetattr(fd)[2], settings)):
        raise LineError(f"the port cannot do {wrong}; another adapter may")
    return number


def _not_as_asked(flags: int, settings: Settings) -> str:
    """A driver that cannot do a setting takes it back without an error."""
    if flags & termios.CSIZE != (termios.CS7 if settings.bytesize == 7 else termios.CS8):
        return f"{settings.bytesize} data bits"
    if bool(flags & termios.PARENB) != (settings.parity != "none"):
        return f"parity {settings.parity}"
    if bool(flags & termios.CSTOPB) != (settings.stopbits == 2):
        return f"{settings.stopbits} stop bits"
    return ""


def why_not(path: str, error: Exception) -> str:
    """Why a port cannot be opened, and what to do, in words."""
    code = getattr(error, "errno", None) or (error.args[0] if error.args else None)
    if code == errno.ENOENT:
        return "there is no such device; is the cable or adapter plugged in? (labrelay ports lists what there is)"
    if code == errno.EACCES:
        group = serial_ports.group_of(path)
        if not group:
            return "this user may not open it; add the user to the device's group, usually dialout"
        return f"this user may not open it; add the user to the group {group} (usermod -aG {group} USER), and restart"
    if code == errno.EPERM:
        return "the service may not open this kind of device; add DeviceAllow= for it to the unit"
    if code in (errno.EBUSY, errno.EAGAIN):
        return "another program has it open (labrelay ports says which)"
    if code in (errno.ENXIO, errno.ENODEV, errno.EIO):
        return "the name is there, but no device behind it; is it plugged in and powered?"
    if code in (errno.ENOTTY, errno.EISDIR) or "Inappropriate ioctl" in str(error):
        return "this is no serial port"
    if code == errno.EINVAL or isinstance(error, (ValueError, termios.error)):
        return "the port does not take these settings (baud, bytesize, parity, stopbits, flow)"
    return os.strerror(code) if isinstance(code, int) else type(error).__name__


class DeviceStream:
    """An open port as a `engine.ports.Stream`, for one reader.

    Attributes:
        peer: the device as it is named in the configuration.
        fault: why the line broke, in words; empty while it lives.
        wakeups: how often the event loop has looked at the port.
    """

    def __init__(self, port: OpenPort, peer: str, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._fd = port.fd
        self._seven_bits = settings.bytesize == 7
        self._waits_for_dsr = settings.flow == "dsrdtr"
        self._rest_s = min(max(REST_CHARACTERS * 10 / settings.baud, REST_MIN_S), REST_MAX_S)
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._reader: asyncio.Future[None] | None = None
        self._ended = self._closed = False
        self._watching = False
        self._resting: asyncio.TimerHandle | None = None
        self._misses = 0
        self.peer = peer
        self.fault = ""
        self.wakeups = 0
        self._watch()
        self._looking = self._loop.call_later(LOOK_S, self._look)

    # -- Stream ------------------------------------------------------------------------------------------------

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as the protocol has it
        if not self._chunks and not self._ended and not self.fault:
            self._reader = waiter = self._loop.create_future()
            timer = None if timeout is None else self._loop.call_later(max(timeout, 0.0), _expire, waiter)
            try:
                await waiter
            finally:
                self._reader = None
                if timer is not None:
                    timer.cancel()
        if self._chunks:
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._buffered = 0
            if not self._watching and self._resting is None and not self._ended and not self.fault:
                self._watch()
            return data
        if self.fault and not self._ended:
            raise LineError(self.fault)
        return b""

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if self.fault or self._closed:
                raise LineError(self.fault or "the line is closed")
            try:
                if not self._waits_for_dsr or await in_thread(partial(_data_set_ready, self._fd)):
                    rest = rest[os.write(self._fd, rest) :]
                    continue
            except BlockingIOError:
                pass
            except OSError as error:
                self._broke(_broken(error))
                continue
            if self._ended:
                raise LineError("the line is being closed, and what was written does not go out")
            await asyncio.sleep(self._rest_s)

    def end(self) -> None:
        """Make the reader see the end of the stream now, from outside its task."""
        self._ended = True
        self._rest_for_ever()
        _wake(self._reader)

    async def close(self) -> None:
        """Close, giving what was written a second to go out."""
        if self._closed:
            return
        self._closed = True
        self._rest_for_ever()
        sent = False
        try:
            sent = not self.fault and await self._drain()
        finally:
            shutting = asyncio.ensure_future(in_thread(partial(self._port.shut, drop=not sent)))
            await asyncio.wait({shutting}, timeout=CLOSE_TIMEOUT_S)

    # -- reading -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._loop.add_reader(self._fd, self._ready)
        self._watching = True

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._fd)

    def _rest_for_ever(self) -> None:
        self._unwatch()
        self._looking.cancel()
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def _ready(self) -> None:
        """A quiet line has bytes, or has ended. Where neither turns out to be true, it is left alone as well."""
        self._unwatch()
        self.wakeups += 1
        self._take()
        self._rest()

    def _rested(self) -> None:
        self._resting = None
        self.wakeups += 1
        if self._take():
            self._rest()
        elif not self.fault:
            self._watch()

    def _rest(self) -> None:
        if not self.fault and self._buffered <= READ_HIGH_WATER:
            self._resting = self._loop.call_later(self._rest_s, self._rested)

    def _take(self) -> bool:
        """Read what is there. True: there was something."""
        before = self._buffered
        for _ in range(READS_AT_ONCE):
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                self._broke(_broken(error))
                break
            if not data:
                self._broke("the line has hung up; was the cable or the adapter pulled out?")
                break
            self._chunks.append(seven_bits.strip(data) if self._seven_bits else data)
            self._buffered += len(data)
            if len(data) < READ_BYTES // 2:  # what a terminal has is less than its buffer: that was all
                break
        if self._buffered == before:
            return False
        _wake(self._reader)
        return True

    def _look(self) -> None:
        """Whether the name still leads to this device."""
        try:
            self._misses = self._misses + 1 if os.stat(self._port.path).st_rdev != self._port.device_number else 0
        except OSError:
            self._misses += 1
        if self._misses >= 2:  # once may be the moment in which names are made anew
            self._broke("the device is gone, or its name leads to another one now")
        else:
            self._looking = self._loop.call_later(LOOK_S, self._look)

    def _broke(self, fault: str) -> None:
        self.fault = self.fault or fault
        self._rest_for_ever()
        _wake(self._reader)

    # -- the end -----------------------------------------------------------------------------------------------

    async def _drain(self) -> bool:
        """Wait a moment for what was written. True: it has all gone out."""
        until = self._loop.time() + CLOSE_TIMEOUT_S
        while self._loop.time() < until:
            try:
                (left,) = struct.unpack("I", fcntl.ioctl(self._fd, termios.TIOCOUTQ, b"\0\0\0\0"))
            except OSError:
                return False
            if not left:
                return True
            await asyncio.sleep(self._rest_s)
        return False


async def in_thread(call: Callable[[], T], undo: Callable[[T], None] = lambda result: None) -> T:
    """Run ``call``, which may block, in a thread of its own; one that hangs for ever keeps nothing from going on.

    Args:
        undo: takes back what ``call`` did, where nobody waits for it any more.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def resolve(result: T | None, error: BaseException | None) -> None:
        if future.done():
            if error is None:
                threading.Thread(target=undo, args=(result,), daemon=True).start()
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # no error, so there is a result

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(resolve, result, error)
        except RuntimeError:  # the loop has closed meanwhile
            if error is None:
                undo(result)  # type: ignore[arg-type]  # as above

    threading.Thread(target=run, name="serial", daemon=True).start()
    return await future


def _data_set_ready(fd: int) -> bool:
    """The analyzer's DSR; a port without modem lines is always ready."""
    try:
        (lines,) = struct.unpack("I", fcntl.ioctl(fd, termios.TIOCMGET, b"\0\0\0\0"))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            return True
        raise
    return bool(lines & termios.TIOCM_DSR)


def _broken(error: OSError) -> str:
    if error.errno in (errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBADF):
        return "the line broke off; was the cable or the adapter pulled out?"
    return f"the line broke: {os.strerror(error.errno) if error.errno else type(error).__name__}"


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
