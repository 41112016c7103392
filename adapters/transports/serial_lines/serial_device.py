"""An open serial port as a stream: the event loop reads its file descriptor.

The number of wake-ups per line is bounded. The event loop watches a quiet line. Once bytes have come, the line is read
once in a *rest*, the time of some 24 characters (5 to 25 ms), and all bytes of that time are read together. So a
byte-wise adapter at 9600 baud costs 40 reads a second instead of 960, noise costs no more than data, and a descriptor
that is always ready (its device is gone) can never spin. Lines of the same speed rest until the same moment, so that
one wake-up of the process and one timer serve them all. A full output buffer is tried again at the same pace.

A line is watched again once it was silent for a rest. But watching it costs more than four reads, and between two
frames a line is silent for a rest or two. So after more than a single character the line is watched again only after
five silent rests. An ENQ after an EOT, or one answer after another, still finds it watched.

The reader gets complete units instead of single pieces. Bytes are handed on when the last of them is a control
character, since every protocol of analyzers ends its units with one; else when the line has been silent for a rest, and
at the latest after eight. So the reader runs once per frame, not four times.

A device that is gone reads as an error or as the end of the file. Some drivers do neither, so the port's name is
resolved now and then: if it leads elsewhere or nowhere, twice in a row, the line is given up, too.

Run calls that may block in threads that can be abandoned.

Whether the bytes of a line arrive undamaged: a UART notices bytes that do not fit its speed, bits or parity.

The driver counts them (TIOCGICOUNT), and so does a device server that speaks RFC 2217. A few are noise; where they are
a large part of all that comes, the line is set another way than the analyzer, and nothing on it can be believed.
"""

import asyncio
import errno
import fcntl
import os
import struct
import termios
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from adapters.codecs.astm import text
from adapters.codecs.rfc2217 import LineSettings
from adapters.transports.errors import LineError
from adapters.transports.serial_lines.serial_ports import OpenPort, open_port
from adapters.transports.waiting import expire, wake

TIOCGICOUNT = 0x545D  # linux/serial.h, the same on all architectures LabRelay's packages exist for
# cts, dsr, rng, dcd, rx, tx, frame, overrun, parity, brk, buf_overrun, and nine that are reserved
_COUNTERS = struct.Struct("20i")
_RX, _FRAME, _PARITY, _BREAK = 4, 6, 8, 9

FEWEST_ERRORS = 5
SHARE = 0.1  # of all bytes; even at the wrong speed many bytes fit by chance


class LineHealth:
    """The state of one line, from counters that only grow."""

    def __init__(self) -> None:
        self._received = 0
        self._errors = 0
        self._trouble = ""

    def look(self, received: int, errors: int) -> str:
        """The problem of the line, in words; empty while there is none. A silent line keeps its state.

        Args:
            received: bytes that came since the line was opened.
            errors: those that came with a framing or parity error, and breaks.
        """
        came, bad = received - self._received, errors - self._errors
        self._received, self._errors = received, errors
        if bad >= FEWEST_ERRORS and bad >= came * SHARE:
            self._trouble = (
                f"the bytes do not fit the line's settings ({bad} errors in {came} bytes); check baud, bytesize, "
                "parity and stopbits against the analyzer's, and the cable"
            )
        elif came > 0:
            self._trouble = ""
        return self._trouble


def counters(fd: int) -> tuple[int, int] | None:
    """Bytes received and errors, as the driver counts them; None where it does not (a pty, for one)."""
    try:
        counted = _COUNTERS.unpack(fcntl.ioctl(fd, TIOCGICOUNT, bytes(_COUNTERS.size)))
    except OSError:
        return None
    return counted[_RX], counted[_FRAME] + counted[_PARITY] + counted[_BREAK]


READ_BYTES = 4096
READS_AT_ONCE = 16
READ_HIGH_WATER = 256 * 1024  # bytes that wait for the reader before we look no more; then the kernel slows the sender
REST_CHARACTERS = 24
REST_MIN_S, REST_MAX_S = 0.005, 0.025
SILENT_RESTS = 5  # in a row, behind a frame, and the line is watched again
HOLD_RESTS = 8  # at most 0.2 s; a link takes 0.3 s for the end of a frame
HOLD_BYTES = 4096
CLOSE_TIMEOUT_S = 1.0


async def open_device(device: str, settings: LineSettings) -> "DeviceStream":
    """Open a port of this machine, in a thread.

    Raises:
        LineError: it cannot be opened; the text says why.
    """
    port = await in_thread(partial(open_port, device, settings), undo=partial(OpenPort.shut, drop=True))
    return DeviceStream(port, device, settings)


class DeviceStream:
    """An open port as a `engine.model.ports.Stream`, for one reader.

    Attributes:
        peer: the device as it is named in the configuration.
        fault: why the line broke, in words; empty while it lives.
        wakeups: how often the event loop has looked at the port.
    """

    def __init__(self, port: OpenPort, peer: str, settings: LineSettings) -> None:
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
        self._rests = _rests_of(self._loop, self._rest_s)
        self._resting = 0  # until which moment; 0: it does not rest
        self._silent = 0  # rests in a row in which nothing came ...
        self._silent_most = 1  # ... and after how many the line is watched again
        self._held = 0  # rests since bytes were handed on
        self._misses = 0
        self._health = LineHealth()
        self.peer = peer
        self.fault = ""
        self.wakeups = 0
        self._watch()

    # -- Stream ------------------------------------------------------------------------------------------------

    async def read(self, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as the protocol has it
        if not self._chunks and not self._ended and not self.fault:
            self._reader = waiter = self._loop.create_future()
            timer = None if timeout is None else self._loop.call_later(max(timeout, 0.0), expire, waiter)
            try:
                await waiter
            except TimeoutError:
                if not self._chunks:
                    raise
            finally:
                self._reader = None
                if timer is not None:
                    timer.cancel()
        if self._chunks:
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._buffered = 0
            if not self._watching and not self._resting and not self._ended and not self.fault:
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
                ready = not self._waits_for_dsr or await in_thread(partial(_data_set_ready, self._fd))
                if ready and not self._closed:  # the descriptor's number may be another file's since
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

    def rouse(self) -> None:
        """End the read that waits now with `TimeoutError`, from outside its task."""
        if self._reader is not None:
            expire(self._reader)

    def end(self) -> None:
        """Make the reader see the end of the stream now, from outside its task."""
        self._ended = True
        self._stop_looking()
        wake(self._reader)

    async def close(self) -> None:
        """Close, giving what was written a second to go out."""
        if self._closed:
            return
        self._closed = True
        self._stop_looking()
        sent = False
        try:
            sent = not self.fault and await self._drain()
        finally:
            shutting = asyncio.ensure_future(in_thread(partial(self._port.shut, drop=not sent)))
            await asyncio.wait({shutting}, timeout=CLOSE_TIMEOUT_S)

    def look(self) -> str:
        """The problem with the bytes from this line, in words. Gives the line up where its device is gone."""
        try:
            self._misses = self._misses + 1 if os.stat(self._port.path).st_rdev != self._port.device_number else 0
        except OSError:
            self._misses += 1
        if self._misses >= 2:  # once may be the moment in which names are renewed
            self._broke("the device is gone, or its name leads to another one now")
        counted = None if self.fault else counters(self._fd)
        return "" if counted is None else self._health.look(*counted)

    # -- reading -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._loop.add_reader(self._fd, self._ready)
        self._watching = True

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._fd)

    def _stop_looking(self) -> None:
        self._unwatch()
        self._rests.leave(self, self._resting)
        self._resting = 0

    def _ready(self) -> None:
        """A quiet line has bytes, or has ended. Where neither turns out to be true, it is left alone as well."""
        self._unwatch()
        self.wakeups += 1
        self._silent = 0
        if self._take() and self._is_answerable():
            self._hand_on()
        self._rest()

    def rested(self, until: int) -> None:
        """A rest is over, if it is still this one that the line has."""
        if self._resting != until:
            return
        self._resting = 0
        self.wakeups += 1
        self._held += 1
        came = self._take()
        self._silent = 0 if came else self._silent + 1
        if not came or self._held >= HOLD_RESTS or self._is_answerable():
            self._hand_on()
        if self._silent < self._silent_most:
            self._rest()
        elif not self.fault:
            self._watch()

    def _is_answerable(self) -> bool:
        """Whether what came may be whole."""
        return self._chunks[-1][-1] & 0x7F < 0x20 or self._buffered >= HOLD_BYTES

    def _hand_on(self) -> None:
        self._held = 0
        if self._chunks:
            self._silent_most = SILENT_RESTS if self._buffered > 1 else 1
            wake(self._reader)

    def _rest(self) -> None:
        if not self.fault and self._buffered <= READ_HIGH_WATER:
            self._resting = self._rests.begin(self, self._loop)

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
            self._chunks.append(text.strip(data) if self._seven_bits else data)
            self._buffered += len(data)
            if len(data) < READ_BYTES // 2:  # what a terminal has is less than its buffer: that was all
                break
        return self._buffered > before

    def _broke(self, fault: str) -> None:
        self.fault = self.fault or fault
        self._stop_looking()
        wake(self._reader)

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


class _Rests:
    """The rests of all lines of one speed. They end at multiples of a rest, each such moment having one timer."""

    def __init__(self, rest_s: float) -> None:
        self._rest_s = rest_s
        self._resting: dict[int, list[DeviceStream]] = {}

    def begin(self, line: DeviceStream, loop: asyncio.AbstractEventLoop) -> int:
        """When it ends, in rests: the next multiple that is half a rest away or more. Then `DeviceStream.rested`."""
        until = int(loop.time() / self._rest_s + 1.5)
        lines = self._resting.get(until)
        if lines is None:
            lines = self._resting[until] = []
            loop.call_at(until * self._rest_s, self._end, until, loop)
        lines.append(line)
        return until

    def leave(self, line: DeviceStream, until: int) -> None:
        if line in (lines := self._resting.get(until, [])):
            lines.remove(line)

    def _end(self, until: int, loop: asyncio.AbstractEventLoop) -> None:
        for line in self._resting.pop(until):
            try:
                line.rested(until)
            except Exception as error:  # a fault of ours at one line must not leave the others asleep
                loop.call_exception_handler({"message": f"looking at {line.peer} failed", "exception": error})


_all_rests: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[float, _Rests]] = WeakKeyDictionary()


def _rests_of(loop: asyncio.AbstractEventLoop, rest_s: float) -> _Rests:
    of_loop = _all_rests.setdefault(loop, {})
    return of_loop.setdefault(rest_s, _Rests(rest_s))


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


T = TypeVar("T")


async def in_thread(call: Callable[[], T], undo: Callable[[T], None] = lambda result: None) -> T:
    """Run ``call`` in a thread of its own.

    Not in a pool: a driver that hangs would occupy a place in it permanently, and keep the process from ending. A
    thread costs some 50 us, so this is for rare calls.

    Args:
        undo: reverts the effect of ``call`` if its result is no longer awaited.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def take_back(result: T) -> None:
        threading.Thread(target=undo, args=(result,), daemon=True).start()

    def resolve(result: T) -> None:
        if future.done():  # cancelled
            take_back(result)
        else:
            future.set_result(result)

    def fail(error: Exception) -> None:
        if not future.done():
            future.set_exception(error)

    def run() -> None:
        try:
            result = call()
        except Exception as error:
            _call_soon(loop, partial(fail, error))
            return
        if not _call_soon(loop, partial(resolve, result)):
            undo(result)

    threading.Thread(target=run, daemon=True).start()
    try:
        return await future
    except asyncio.CancelledError:
        if not future.cancelled() and future.exception() is None:  # it was done in the same moment
            take_back(future.result())
        raise


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> bool:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:  # the loop has closed meanwhile
        return False
    return True
