"""Examine the machine that LabRelay runs on: each examination returns findings, and changes nothing that lasts.

Facts that decide whether results are safe and timely: does the disk sync and how fast, is the clock right, can the
ports be opened, do certificates last, who may read the key; can each serial port be opened, and does no other program
use it; has the disk room for the log; what say a site's accounts at others, its identity provider and networks that it
is part of. `labrelay doctor` prints them.
"""

import ctypes
import errno
import os
import platform
import shutil
import socket
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine.feature import Hook
from engine.model.process.log_limits import LINE_BYTES, MOST_LINES_A_DAY, bad_day_lines
from engine.model.site.health import Health, Line
from engine.model.texts.units import HostPort, size_text

if TYPE_CHECKING:
    from engine.config.load import Site

GIB = 1 << 30
DISK_WARN_BYTES, DISK_FAIL_BYTES = 10 * GIB, 1 * GIB
SYNC_TRIALS = 200
SYNC_BLOCK_BYTES = 4096
SYNC_BUDGET_S = 3.0
SYNC_SLOW_S = 0.02  # p99; a group commit still carries hundreds of messages a second, but one waits for it
SYNC_UNBELIEVABLE_S = 0.000_005  # p50; no medium is that fast: nothing was synced
CERTIFICATE_WARN_DAYS = 30
WAL_RESET_FIXED_IN = (3, 51, 3)
# Folders whose sync promises nothing, or whose locks are not those of one machine.
UNSAFE_FILE_SYSTEMS = {"tmpfs": "is in memory: a power cut empties it", "ramfs": "is in memory: a power cut empties it"}
SHARED_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "glusterfs", "ceph"})
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 512  # struct timex is 208 bytes on 64-bit Linux


def python_version() -> Line:
    return Line(Health.OK, "python", f"Python {platform.python_version()} ({sys.executable})")


def sqlite_version() -> Line:
    """LabRelay is safe on older versions too, since one connection does every write and checkpoint."""
    text = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < (3, 37, 0):
        return Line(Health.FAIL, "sqlite", text, "use a Python with SQLite 3.37 or newer")
    if sqlite3.sqlite_version_info < WAL_RESET_FIXED_IN:
        text += (
            "; before 3.51.3 two connections that write or checkpoint at once can, rarely, damage a log. LabRelay uses "
            "one: never write to the journal with another program while it runs"
        )
    return Line(Health.OK, "sqlite", text)


def origin() -> Line:
    root = Path(__file__).resolve().parents[2]
    kind = "checkout" if (root / "pyproject.toml").is_file() else "installed package"
    return Line(Health.OK, "package", f"{kind} {root}")


def clock_is_synchronised(state: int | None = None) -> Line:
    """The kernel's state of its clock; ``state`` is the answer of adjtimex(2), called if not given."""
    state = _clock_state() if state is None else state
    now = datetime.now(UTC)
    if now.year < 2025:
        return Line(Health.FAIL, "clock", f"it says {now:%Y-%m-%d}", "set the clock and start time synchronisation")
    if state == _TIME_ERROR:
        return Line(
            Health.WARN,
            "clock",
            "not synchronised, as far as the kernel knows",
            "start systemd-timesyncd or chrony; times of receipt and days of counters come from this clock",
        )
    if state < 0:
        return Line(Health.WARN, "clock", "its state cannot be asked for here", "check that time is synchronised")
    return Line(Health.OK, "clock", f"synchronised, {now:%Y-%m-%dT%H:%M:%SZ}")


def data_folder(folder: Path) -> Iterator[Line]:
    """Where the journal lives: rights, room, and the kind of file system."""
    place = folder if folder.is_dir() else _nearest(folder)
    if not folder.is_dir():
        advice = "" if os.access(place, os.W_OK) else f"make it, or let this user write to {place}"
        yield Line(Health.FAIL if advice else Health.OK, "data", f"{folder} does not exist yet", advice)
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Line(Health.FAIL, "data", f"{folder} cannot be written by this user", "run this as the service's user")
    else:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o007:
            yield Line(Health.WARN, "data", f"{folder} is open to every user (mode {mode:o})", f"chmod 700 {folder}")
        else:
            yield Line(Health.OK, "data", str(folder))
    free = shutil.disk_usage(place).free
    text = f"{free / GIB:.1f} GiB free"
    if free < DISK_FAIL_BYTES:
        yield Line(Health.FAIL, "disk", text, "make room; a full disk stops every acknowledgement")
    elif free < DISK_WARN_BYTES:
        yield Line(Health.WARN, "disk", text, f"plan for more than {size_text(DISK_WARN_BYTES)}")
    else:
        yield Line(Health.OK, "disk", text)
    kind = file_system(place)
    if kind in UNSAFE_FILE_SYSTEMS:
        yield Line(Health.FAIL, "file system", f"{kind} {UNSAFE_FILE_SYSTEMS[kind]}", "put data: on a disk")
    elif kind in SHARED_FILE_SYSTEMS:
        yield Line(
            Health.FAIL,
            "file system",
            f"{kind} is shared between machines",
            "SQLite's locks need a local disk: move data:",
        )
    else:
        yield Line(Health.OK, "file system", kind or "unknown")


def file_system(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that ``path`` is on, empty where that cannot be read."""
    try:
        lines = (Path("/proc/mounts").read_text(encoding="utf-8") if mounts is None else mounts).splitlines()
    except OSError:
        return ""
    resolved = path.resolve()
    found, depth = "", -1
    for line in lines:
        parts = line.split()
        if len(parts) < 3:
            continue
        at = Path(parts[1].encode().decode("unicode_escape"))
        if (resolved == at or at in resolved.parents) and len(at.parts) >= depth:
            found, depth = parts[2], len(at.parts)  # the last of equal mounts is the one on top
    return found


def sync_speed(folder: Path) -> Line:
    """How long a 4 KiB write and its sync take here: each acknowledgement waits for one."""
    try:
        times = sorted(_sync_times(folder))
    except OSError as error:
        return Line(Health.FAIL, "sync", f"cannot be measured: {error.strerror}", "check rights and room of data:")
    p50, p99 = times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.99))]
    text = f"p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms over {len(times)} writes"
    if p50 < SYNC_UNBELIEVABLE_S:
        return Line(Health.WARN, "sync", text, "too fast to be true: this disk may not keep what it says it has kept")
    if p99 > SYNC_SLOW_S:
        return Line(
            Health.WARN, "sync", text, "slow: analyzers wait this long for each answer; an SSD takes 0.1 to 5 ms"
        )
    return Line(Health.OK, "sync", text)


def address(place: HostPort, owner: str, *, daemon_runs: bool) -> Line:
    """Whether ``place`` can be listened on; the running daemon's own ports are busy, and that is right."""
    if place.port == 0:
        return Line(Health.OK, "port", f"{place} ({owner}): any free one")
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(target)
            trial.listen(1)
    except OSError as error:
        return _cannot_listen(place, owner, error, daemon_runs=daemon_runs)
    if daemon_runs:
        return Line(Health.WARN, "port", f"{place} ({owner}) is not open", "reload, or see `labrelay status` why not")
    return Line(Health.OK, "port", f"{place} ({owner}) is free")


def _cannot_listen(place: HostPort, owner: str, error: OSError, *, daemon_runs: bool) -> Line:
    if error.errno == errno.EADDRINUSE:
        if daemon_runs:
            return Line(Health.OK, "port", f"{place} ({owner}) is open")
        advice = f"find its owner with: ss -ltnp sport = :{place.port}; or use another port"
        return Line(Health.FAIL, "port", f"{place} ({owner}) is used by another program", advice)
    if error.errno in (errno.EACCES, errno.EPERM):
        advice = "use a port from 1024 up, or give the service AmbientCapabilities=CAP_NET_BIND_SERVICE"
        return Line(Health.FAIL, "port", f"{place} ({owner}) may not be opened by this user", advice)
    if error.errno == errno.EADDRNOTAVAIL:
        return Line(Health.FAIL, "port", f"{place} ({owner}) is no address of this machine", "correct listen:")
    return Line(Health.FAIL, "port", f"{place} ({owner}): {error.strerror or error}", "correct listen:")


def certificate(path: Path, owner: str, now: datetime | None = None) -> Line:
    """When the first certificate of a PEM file ends."""
    from cryptography import x509

    now = now or datetime.now(UTC)
    try:
        end = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except OSError as error:
        return Line(Health.FAIL, "certificate", f"{path} ({owner}): {error.strerror}", "correct the path or its rights")
    except ValueError:
        return Line(Health.FAIL, "certificate", f"{path} ({owner}) is no PEM certificate", "give the PEM file")
    days = (end - now).days
    if end <= now:
        return Line(Health.FAIL, "certificate", f"{path} ({owner}) ended on {end:%Y-%m-%d}", "renew it, then reload")
    if days < CERTIFICATE_WARN_DAYS:
        return Line(Health.WARN, "certificate", f"{path} ({owner}) ends in {days} days", "renew it, then reload")
    return Line(Health.OK, "certificate", f"{path} ({owner}) is valid until {end:%Y-%m-%d}")


def private_file(path: Path, what: str) -> Line | None:
    """A key that only its owner may read; None where there is no such file."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Line(Health.FAIL, what, f"{path}: {error.strerror}", "run this as the service's user")
    mode = stat.S_IMODE(facts.st_mode)
    if mode & 0o077:
        return Line(Health.FAIL, what, f"{path} can be read by others (mode {mode:o})", f"chmod 600 {path}")
    return Line(Health.OK, what, f"{path} (mode {mode:o})")


def open_files(connections: int) -> Line:
    """Room for all the connections that ``max_connections`` allows, and for our own files beside them."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = connections + 128
    if soft != resource.RLIM_INFINITY and soft < need:
        return Line(
            Health.WARN,
            "open files",
            f"limit {soft}, {need} may be needed",
            f"set LimitNOFILE={need * 2} for the service",
        )
    return Line(Health.OK, "open files", f"limit {soft}")


def is_locked(path: Path, locks: str | None = None) -> bool:
    """Whether a process holds an advisory lock on ``path``; checks without taking it, so it disturbs no process."""
    try:
        facts = path.stat()
        listed = Path("/proc/locks").read_text(encoding="ascii") if locks is None else locks
    except OSError:
        return False
    ours = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    return any(ours in line.split() for line in listed.splitlines())


def worst(lines: Iterable[Line]) -> Health:
    ranks = [Health.OK, Health.WARN, Health.FAIL]
    return max((line.health for line in lines), key=ranks.index, default=Health.OK)


def _sync_times(folder: Path) -> Iterator[float]:
    block = os.urandom(SYNC_BLOCK_BYTES)
    until = time.perf_counter() + SYNC_BUDGET_S
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".sync-") as file:
        for _ in range(SYNC_TRIALS):
            start = time.perf_counter()
            os.pwrite(file.fileno(), block, 0)
            os.fdatasync(file.fileno())
            end = time.perf_counter()
            yield end - start
            if end > until:
                return


def _clock_state() -> int:
    """The state that adjtimex(2) returns, -1 where it cannot be called."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return -1
    return int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))  # modes 0: read only, no rights needed


def _nearest(folder: Path) -> Path:
    """The nearest folder above that exists."""
    while not folder.is_dir():
        folder = folder.parent
    return folder


PLACES = ("/var/log/journal", "/var/log")  # of journald, and of other programs that keep logs
DAYS = 30  # bad ones, which the disk has to have room for


def budget(site: "Site", place: Path | None = None) -> Line:
    """The line for the log.

    Args:
        place: the folder that logs are kept in; by itself the first of `PLACES` that is there.
    """
    channels = sum(channel.enabled for channel in site.channels.values())
    lines = bad_day_lines(channels, len(site.config.destinations))
    text = (
        f"some hundred lines on a good day, {lines:,} on a bad one ({size_text(lines * LINE_BYTES)}),"
        f" never more than {MOST_LINES_A_DAY:,} ({size_text(MOST_LINES_A_DAY * LINE_BYTES)})"
    )
    found = place if place is not None else next((one for one in map(Path, PLACES) if one.is_dir()), None)
    if found is None:
        return Line(Health.OK, "log", text)
    free = shutil.disk_usage(found).free
    if DAYS * lines * LINE_BYTES <= free:
        return Line(Health.OK, "log", text)
    return Line(
        Health.WARN,
        "log",
        f"{text}; {DAYS} bad days do not fit into the {size_text(free)} that are free at {found}",
        "limit what is kept: SystemMaxUse= in /etc/systemd/journald.conf, or rotate",
    )


PROC = Path("/proc")
# Programs that open any serial port that appears, and send to it: to a modem, or a Braille display.
BUSYBODIES = {"ModemManager": "ModemManager", "brltty": "brltty"}


class User(Protocol):
    @property
    def pid(self) -> int: ...
    @property
    def command(self) -> str: ...


class Port(Protocol):
    """A serial port of this machine (`adapters.transports.serial_lines.serial_ports`)."""

    @property
    def device(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def permitted(self) -> bool: ...
    @property
    def in_use(self) -> bool: ...
    @property
    def users(self) -> Sequence[User]: ...


def missing(name: str, owner: str, why: str) -> Line:
    """A channel's port that is not there; ``name`` as in the configuration."""
    return Line(Health.FAIL, "line", f"{name} ({owner}): {why}", "plug it in, or correct device: (labrelay ports)")


def port(name: str, owner: str, found: Port, *, daemon_runs: bool) -> Line:
    """A channel's port; ``name`` as in the configuration."""
    text = f"{name} ({owner})"
    if found.device != name:
        text += f" is {found.device}"
    if not found.permitted:
        group = found.group or "dialout"
        advice = f"sudo usermod -aG {group} labrelay, or run this as the service's user; a restart is needed after that"
        return Line(Health.FAIL, "line", f"{text}: this user may not open it", advice)
    if found.in_use and not daemon_runs:
        who = ", ".join(f"{user.command} ({user.pid})" for user in found.users) or "a program of another user"
        return Line(Health.FAIL, "line", f"{text}: {who} has it open", "stop that program; a line has one reader")
    return Line(Health.OK, "line", text)


def server(name: str, owner: str) -> Line:
    """A line at a device server: not tried, since most serve one connection and would drop the daemon's for it."""
    return Line(Health.OK, "line", f"{name} ({owner}): at a device server; `labrelay status` says whether it answers")


def busybodies() -> Line | None:
    """Programs that may send to an analyzer on their own account."""
    running = {_command(folder) for folder in PROC.iterdir() if folder.name.isdigit()} if PROC.is_dir() else set()
    found = sorted(name for command, name in BUSYBODIES.items() if command in running)
    if not found:
        return None
    return Line(
        Health.WARN,
        "line",
        f"{' and '.join(found)} runs here, and may open a serial port that is plugged in and send to it",
        f"systemctl disable --now {' '.join(found)}, unless this machine needs it; LabRelay's udev rule makes "
        "ModemManager ignore the port",
    )


def _command(folder: Path) -> str:
    try:
        return (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


ELSEWHERE: "Hook[Callable[[Site], Awaitable[Sequence[Line]]]]" = Hook("elsewhere")


async def examined(site: "Site") -> list[Line]:
    """What features find; nothing where the site has no such account."""
    return [line for lines in ELSEWHERE.each() for line in await lines(site)]
