"""Open a serial port of this machine, set it, and lock it; or say in words why that failed.

pyserial opens the port and sets the line. This module does the rest:

- VMIN is 1, so that "nothing there" (EAGAIN) differs from "hung up" (end of file).
- A break condition reads as a NUL byte; with BRKINT it would empty the buffers.
- The port is ours alone: flock(2), which careful programs look at, and TIOCEXCL for the others.
- Bytes that have come already are kept: an analyzer that waits for no answer sends them only once.
- A driver that cannot do a setting takes it back without an error, so the settings are read back.
"""

import contextlib
import errno
import fcntl
import os
import termios
from dataclasses import dataclass

import serial

from adapters.codecs.rfc2217 import LineSettings
from adapters.transports.errors import LineError, NoSuchPortError
from adapters.transports.serial_lines import serial_ports

PTY_MAJORS = range(136, 144)  # slave ends of pseudo-terminals: they know neither parity nor data bits
PARITY = {
    "none": serial.PARITY_NONE,
    "even": serial.PARITY_EVEN,
    "odd": serial.PARITY_ODD,
    "mark": serial.PARITY_MARK,
    "space": serial.PARITY_SPACE,
}


class _Serial(serial.Serial):
    def _reset_input_buffer(self) -> None:
        """pyserial empties the buffer when it opens a port."""


@dataclass(slots=True)
class OpenPort:
    """An open port, under which path it was found, and which device it was then."""

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


def open_port(device: str, settings: LineSettings) -> OpenPort:
    """Open and set a port. Blocks: usually for milliseconds, with some drivers for seconds.

    Args:
        device: as `serial_ports` says.

    Raises:
        LineError: it cannot be opened; the text says why and what to do.
    """
    try:
        path = serial_ports.find(device)
    except NoSuchPortError as error:
        raise LineError(str(error)) from error
    port = _Serial()
    port.port = path
    port.baudrate = settings.baud
    if not _is_pty(path):  # glibc refuses to set seven bits or parity there, unless another setting changes too
        port.bytesize = settings.bytesize
        port.parity = PARITY[settings.parity]
    port.stopbits = settings.stopbits
    port.xonxoff = settings.flow == "xonxoff"
    port.rtscts = settings.flow == "rtscts"
    port.exclusive = True
    try:
        port.open()
        return OpenPort(port, path, _finish(port.fileno(), settings))
    except LineError:
        port.close()
        raise
    except (OSError, termios.error, ValueError) as error:
        port.close()
        raise LineError(why_not(path, error)) from error


def _is_pty(path: str) -> bool:
    try:
        return os.major(os.stat(path).st_rdev) in PTY_MAJORS
    except OSError:
        return False  # opening it says why


def why_not(path: str, error: Exception) -> str:
    """Why a port cannot be opened, and the remedy, in words."""
    code = getattr(error, "errno", None) or (error.args[0] if error.args else None)
    if code == errno.ENOENT:
        return "there is no such device; is the cable or adapter plugged in? (labrelay ports lists what there is)"
    if code == errno.EACCES:
        group = serial_ports.group_of(path)
        if not group:
            return "this user may not open it; add the user to the device's group, usually dialout, and restart"
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


def _finish(fd: int, settings: LineSettings) -> int:
    """Do the steps that pyserial does not do; return the device's number."""
    number = os.fstat(fd).st_rdev
    fcntl.ioctl(fd, termios.TIOCEXCL)
    attributes = termios.tcgetattr(fd)
    attributes[0] &= ~(termios.BRKINT | termios.INPCK | termios.ISTRIP)
    attributes[6][termios.VMIN], attributes[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
    if os.major(number) not in PTY_MAJORS and (wrong := not_as_asked(termios.tcgetattr(fd)[2], settings)):
        raise LineError(f"the port cannot do {wrong}; another adapter may")
    return number


def not_as_asked(flags: int, settings: LineSettings) -> str:
    """Which setting the control flags of a port do not have; empty where all is as asked."""
    if flags & termios.CSIZE != (termios.CS7 if settings.bytesize == 7 else termios.CS8):
        return f"{settings.bytesize} data bits"
    if bool(flags & termios.PARENB) != (settings.parity != "none"):
        return f"parity {settings.parity}"
    if bool(flags & termios.CSTOPB) != (settings.stopbits == 2):
        return f"{settings.stopbits} stop bits"
    return ""
