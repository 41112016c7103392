"""List and describe the serial ports of this machine, and find the one that a ``device:`` means.

    /dev/ttyS0                       a port of the board
    /dev/serial/by-id/usb-FTDI_...   the name of a USB adapter, wherever it is plugged in and whatever its number is
    /dev/serial/by-id/usb-FTDI_*     a pattern; it must fit exactly one port
    usb:0403:6001                    the USB adapter with this vendor and product number; there must be exactly one
    usb:0403:6001/A50285BI           the one of them with this serial number

A name is looked up anew at each opening: an adapter that was pulled and plugged in again often comes back under another
number. Where several ports fit, none is taken: results of another analyzer would be worse than none.

Nothing here opens a port, since opening moves its modem lines, and some analyzers take that for a restart. All
information comes from files: ``/sys/class/tty`` (hardware), ``/dev/serial`` (names that udev gives), ``/proc/*/fd`` and
``/proc/locks`` (who uses a port).

Open a serial port of this machine, set it, and lock it; or say in words why that failed.

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
import glob
import grp
import os
import pwd
import re
import stat
import termios
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import serial

from adapters.codecs.rfc2217 import LineSettings
from adapters.transports.errors import LineError, NoSuchPortError

ROOT = Path("/")
NAMES = ("dev/labrelay", "dev/serial/by-id", "dev/serial/by-path")  # the most lasting first
USB = re.compile(r"usb:([0-9a-fA-F]{4}:[0-9a-fA-F]{4})(?:/(.+))?")
OVERFLOW_GID = 65534  # what a group is called in a user namespace that does not have it
NO_HARDWARE = "0"  # type of a port that the kernel has a name for, and no more
_FLOCK = re.compile(r"FLOCK\s.*\s([0-9a-f]+):([0-9a-f]+):(\d+)\s")  # 3: FLOCK  ADVISORY  WRITE 4711 00:05:623 0 EOF


@dataclass(frozen=True, slots=True)
class User:
    """A process that has a port open."""

    pid: int
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One serial port.

    Attributes:
        device: the kernel's name, ``/dev/ttyUSB0``.
        names: its other names, the most lasting first.
        usb: vendor and product number, ``0403:6001``; empty for ports that are not USB.
        driver: of the kernel, as ``ftdi_sio``.
        owner, group, mode: of the device file; the mode in octal.
        permitted: this user may open it.
        locked: a process holds a lock on it; only root may see which.
        users: processes that have it open, as far as this user may see.
    """

    device: str
    names: tuple[str, ...] = ()
    description: str = ""
    usb: str = ""
    serial_number: str = ""
    driver: str = ""
    owner: str = ""
    group: str = ""
    mode: str = ""
    permitted: bool = False
    locked: bool = False
    users: tuple[User, ...] = ()

    @property
    def in_use(self) -> bool:
        return self.locked or bool(self.users)


def ports(root: Path = ROOT) -> list[Port]:
    """Every serial port of this machine, USB adapters first. Reads files of the system only; takes milliseconds."""
    names, users, locks = _names(root), _users(root), _locks(root)
    found = [_seen(port, names, users, locks) for port in _hardware(root)]
    return sorted(found, key=lambda port: (not port.usb, _natural(port.device)))


def look(device: str, root: Path = ROOT) -> Port:
    """The port that ``device`` means now; also one that is not in the list, as a pseudo-terminal is not.

    Raises:
        NoSuchPortError: as `find`, or the path leads nowhere.
    """
    path = os.path.realpath(find(device, root))
    if not os.path.exists(path):
        raise NoSuchPortError("there is no such device")
    port = next((port for port in _hardware(root) if port.device == path), Port(device=path))
    return _seen(port, _names(root), _users(root), _locks(root))


def find(device: str, root: Path = ROOT) -> str:
    """The path that ``device`` means now. Blocks for milliseconds.

    Raises:
        NoSuchPortError: nothing has this name, or more than one port.
    """
    if match := USB.fullmatch(device):
        usb, number = match[1].lower(), match[2]
        fitting = [port.device for port in _hardware(root) if port.usb == usb and number in (None, port.serial_number)]
        return _only(fitting, device, "no USB adapter with this number is plugged in")
    if glob.has_magic(device):
        by_target = {os.path.realpath(name): name for name in sorted(glob.glob(device))}
        return _only(list(by_target.values()), device, "nothing fits this pattern; is the adapter plugged in?")
    return device


def group_of(path: str) -> str:
    """The group that may open ``path``; empty where its name cannot be known here."""
    try:
        gid = os.stat(path).st_gid
        return "" if gid == OVERFLOW_GID else grp.getgrgid(gid).gr_name
    except (OSError, KeyError):
        return ""


def _only(paths: list[str], device: str, none: str) -> str:
    if len(paths) == 1:
        return paths[0]
    if not paths:
        raise NoSuchPortError(none)
    raise NoSuchPortError(f"{len(paths)} ports fit {device} ({', '.join(sorted(paths))}); name one of them")


# -- what there is -----------------------------------------------------------------------------------------------------


def _hardware(root: Path) -> Iterator[Port]:
    """Terminals with a device behind them, and what it says of itself. Consoles have none; and of the board's ports the
    kernel makes four or 32 names, whether they exist or not."""
    folder = root / "sys/class/tty"
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not (entry / "device").exists() or _text(entry / "type") == NO_HARDWARE:
            continue
        device = str(root / "dev" / entry.name)
        place = (entry / "device").resolve()
        driver = (place / "driver").resolve().name if (place / "driver").exists() else ""
        adapter = _above(place, "idVendor")
        if adapter is None:
            yield Port(device=device, description="port of the board", driver=driver)
            continue
        interface = _above(place, "bInterfaceNumber") or place
        words = (_text(adapter / "manufacturer"), _text(adapter / "product"), _text(interface / "interface"))
        yield Port(
            device=device,
            description=" ".join(dict.fromkeys(word for word in words if word)) or "USB adapter",
            usb=f"{_text(adapter / 'idVendor')}:{_text(adapter / 'idProduct')}",
            serial_number=_text(adapter / "serial"),
            driver=driver,
        )


def _above(place: Path, name: str) -> Path | None:
    """The nearest folder from ``place`` upwards that has a file of this name."""
    return next((folder for folder in (place, *place.parents) if (folder / name).is_file()), None)


def _seen(port: Port, names: dict[str, list[str]], users: dict[str, list[User]], locks: set[tuple[int, int]]) -> Port:
    """``port`` with its names, its rights and its users."""
    try:
        state = os.stat(port.device)
    except OSError:  # pulled between the list and the look, or no node was made
        return replace(port, serial_number="")
    return replace(
        port,
        names=tuple(names.get(port.device, ())),
        owner=_user_name(state.st_uid),
        group=group_of(port.device),
        mode=f"{stat.S_IMODE(state.st_mode):03o}",
        permitted=os.access(port.device, os.R_OK | os.W_OK),
        locked=(state.st_dev, state.st_ino) in locks,
        users=tuple(users.get(port.device, ())),
    )


def _names(root: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for folder in (root / name for name in NAMES):
        for link in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if link.is_symlink():
                found.setdefault(os.path.realpath(link), []).append(str(link))
    return found


# -- who uses it -------------------------------------------------------------------------------------------------------


def _users(root: Path) -> dict[str, list[User]]:
    """As far as this user may see: everything as root, else our own processes."""
    found: dict[str, list[User]] = {}
    folder = root / "proc"
    for process in sorted(folder.iterdir()) if folder.is_dir() else ():
        if process.name.isdigit():
            for path in {path for path in _open_files(process / "fd") if path.startswith(str(root / "dev"))}:
                found.setdefault(path, []).append(User(int(process.name), _text(process / "comm")))
    return found


def _open_files(folder: Path) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError:  # not ours to see, or gone
        return
    for name in names:
        try:
            yield os.readlink(folder / name)
        except OSError:
            continue


def _locks(root: Path) -> set[tuple[int, int]]:
    """Device and inode of every file with a flock(2) on it: how programs mark a serial port as theirs."""
    lines = _text(root / "proc/locks").splitlines()
    return {
        (os.makedev(int(match[1], 16), int(match[2], 16)), int(match[3]))
        for match in map(_FLOCK.search, lines)
        if match is not None
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


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
        path = find(device)
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
        group = group_of(path)
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
