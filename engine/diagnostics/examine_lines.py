"""Examine the serial lines of a site: whether each port exists, this user may open it, another program uses it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from engine.model.health import Health, Line

PROC = Path("/proc")
# Programs that open any serial port that appears, and send to it: to a modem, or a Braille display.
BUSYBODIES = {"ModemManager": "ModemManager", "brltty": "brltty"}


class User(Protocol):
    @property
    def pid(self) -> int: ...
    @property
    def command(self) -> str: ...


class Port(Protocol):
    """A serial port of this machine (`adapters.transports.serial_ports`)."""

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
