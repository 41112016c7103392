"""The serial ports of this machine: which there are, what each is, and which one a ``device:`` means.

    /dev/ttyS0                       a port of the board
    /dev/serial/by-id/usb-FTDI_...   the name of a USB adapter, wherever it is plugged in and whatever its number is
    /dev/serial/by-id/usb-FTDI_*     a pattern; it must fit exactly one name
    usb:0403:6001                    the USB adapter with this vendor and product number; there must be exactly one
    usb:0403:6001/A50285BI           the one of them with this serial number

A name is looked up anew at each opening: an adapter that was pulled and plugged in again often comes back under another
number. Where several ports fit, none is taken: results of another analyzer would be worse than none.

Nothing here opens a port, since opening moves its modem lines, and some analyzers take that for a restart.
"""

import glob
import grp
import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serial.tools import list_ports

BY_NAME = (Path("/dev/serial/by-id"), Path("/dev/serial/by-path"), Path("/dev/labrelay"))
TTY_CLASS = Path("/sys/class/tty")
PROC = Path("/proc")
USB = re.compile(r"usb:([0-9a-fA-F]{4}):([0-9a-fA-F]{4})(?:/(.+))?")
OVERFLOW_GID = 65534  # what a group is called in a user namespace that does not have it


class NoSuchPortError(OSError):
    """No port, or more than one, has this name; the text says which."""


@dataclass(frozen=True, slots=True)
class User:
    """A process that has a port open; ``command`` is empty where we may not look."""

    pid: int
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One serial port.

    Attributes:
        device: the kernel's name, ``/dev/ttyUSB0``.
        names: what else leads to it, the most lasting first; ``by-id`` comes before ``by-path``.
        vid, pid: USB vendor and product number, four hexadecimal digits; empty for ports that are not USB.
        permitted: this user may open it.
    """

    device: str
    names: tuple[str, ...] = ()
    description: str = ""
    manufacturer: str = ""
    vid: str = ""
    pid: str = ""
    serial_number: str = ""
    owner: str = ""
    group: str = ""
    mode: str = ""
    permitted: bool = False
    locked: bool = False
    users: tuple[User, ...] = field(default=())

    @property
    def in_use(self) -> bool:
        return self.locked or bool(self.users)


def ports() -> list[Port]:
    """Every serial port of this machine, USB adapters first. Looks at files of the system only; takes milliseconds."""
    links = dict(_links())
    users = _users()
    locks = _locks()
    found = [_port(info, links, users, locks) for info in _infos()]
    return sorted(found, key=lambda port: (not port.vid, _natural(port.device)))


def find(device: str) -> str:
    """The path that ``device`` means now. Blocks for milliseconds.

    Raises:
        NoSuchPortError: nothing has this name, or more than one port.
    """
    if match := USB.fullmatch(device):
        vid, pid, number = match.groups()
        fitting = [info for info in _infos() if _is_usb(info, vid, pid) and number in (None, info.serial_number)]
        return _only([info.device for info in fitting], device, "no USB adapter with this number is plugged in")
    if glob.has_magic(device):
        fitting_names = {os.path.realpath(name): name for name in sorted(glob.glob(device))}
        return _only(list(fitting_names.values()), device, "nothing fits this pattern; is the adapter plugged in?")
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


def _is_usb(info: Any, vid: str, pid: str) -> bool:
    return info.vid is not None and (info.vid, info.pid) == (int(vid, 16), int(pid, 16))


def _infos() -> Iterator[Any]:
    """Ports that have hardware behind them: the kernel makes names for four or 32 of the board whether they exist or
    not, and gives those that do not the type 0."""
    for info in list_ports.comports():
        try:
            kind = (TTY_CLASS / info.name / "type").read_text().strip()
        except OSError:
            kind = ""  # only ports of the board say what they are
        if kind != "0":
            yield info


def _port(info: Any, links: dict[str, list[str]], users: dict[str, list[User]], locks: set[tuple[int, int]]) -> Port:
    try:
        state = os.stat(info.device)
    except OSError:  # pulled between the list and the look
        state = None
    description = "" if info.description in (None, "n/a", info.name) else info.description
    return Port(
        device=info.device,
        names=tuple(links.get(info.device, ())),
        description=description,
        manufacturer=info.manufacturer or "",
        vid="" if info.vid is None else f"{info.vid:04x}",
        pid="" if info.pid is None else f"{info.pid:04x}",
        serial_number=info.serial_number or "",
        owner=_user_name(state.st_uid) if state is not None else "",
        group=group_of(info.device),
        mode=f"{stat.S_IMODE(state.st_mode):o}" if state is not None else "",
        permitted=os.access(info.device, os.R_OK | os.W_OK),
        locked=state is not None and (state.st_dev, state.st_ino) in locks,
        users=tuple(users.get(info.device, ())),
    )


def _links() -> Iterator[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for folder in BY_NAME:
        for link in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if link.is_symlink():
                found.setdefault(os.path.realpath(link), []).append(str(link))
    yield from found.items()


def _users() -> dict[str, list[User]]:
    """Who has which terminal open, as far as this user may see: everything as root, else our own processes."""
    found: dict[str, list[User]] = {}
    for folder in _numbered(PROC):
        for target in {target for target in _open_files(folder / "fd") if target.startswith("/dev/")}:
            found.setdefault(target, []).append(User(int(folder.name), _command(folder)))
    return found


def _numbered(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else ()


def _open_files(folder: Path) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError:  # not ours, or gone
        return
    for name in names:
        try:
            yield os.readlink(folder / name)
        except OSError:
            continue


def _command(folder: Path) -> str:
    try:
        return (folder / "comm").read_text().strip()
    except OSError:
        return ""


def _locks() -> set[tuple[int, int]]:
    """Device and inode of every file with a flock(2) on it: how programs mark a serial port as theirs."""
    found = set()
    try:
        lines = (PROC / "locks").read_text().splitlines()
    except OSError:
        return set()
    for line in lines:
        # 3: FLOCK  ADVISORY  WRITE 4711 00:05:623 0 EOF
        match = re.search(r"FLOCK\s.*\s([0-9a-f]+):([0-9a-f]+):(\d+)\s", line)
        if match:
            found.add((os.makedev(int(match[1], 16), int(match[2], 16)), int(match[3])))
    return found


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _natural(text: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]
