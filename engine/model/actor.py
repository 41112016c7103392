"""The user who asks: a name, with the user's role here and where they work.

An `Actor` is a string, so code that passes a name on passes the rest on too, down to the row of the audit trail
(`engine.store.operations.audit`). The rest comes from the kernel and is read at the moment of asking: the process at
the other end of the socket, the account that once logged in to it (which stays the same through ``sudo``), its
terminal, and the log-in session, whose origin the system has recorded. A process's own statement (``SSH_CONNECTION``)
is kept beside, marked as given.
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

ROOT, SERVICE, OPERATOR = "root", "service user", "operator"
_NOBODY_LOGGED_IN = 2**32 - 1
_PSEUDO_TERMINALS = range(136, 144)  # major numbers of devices (Linux, admin-guide/devices.txt)
_CONSOLES, _FIRST_SERIAL = 4, 64
_SESSIONS = Path("/run/systemd/sessions")
_LONGEST = 100  # characters of an address or a terminal that are kept


class Actor(str):
    """A user's name.

    Attributes:
        by: what else is known of them: ``role`` (root, service user, operator), ``login`` (the account that logged in,
            where it is another one), ``from`` (where they work), ``given`` (where their process says they work; no
            other source confirms it).
    """

    by: Mapping[str, str]

    def __new__(cls, name: str, **by: str) -> "Actor":
        made = super().__new__(cls, name)
        made.by = {key: value for key, value in by.items() if value}
        return made


def of_process(uid: int, pid: int, proc: Path = Path("/proc"), sessions: Path = _SESSIONS) -> Actor:
    """The user of a process, as far as the kernel knows; a process that is gone has a name and a role."""
    name, login = user_name(uid), _login(pid, proc)
    role = ROOT if uid == 0 else SERVICE if uid == os.geteuid() else OPERATOR
    seat = _seat(pid, proc, sessions)
    given = _given(pid, proc, seat)
    return Actor(name, role=role, login=login if login != name else "", given=given, **{"from": seat})


def of_this_process() -> Actor:
    """The user who gave a command that acts by itself, without the daemon."""
    return of_process(os.geteuid(), os.getpid())


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _login(pid: int, proc: Path) -> str:
    try:
        uid = int((proc / str(pid) / "loginuid").read_text("ascii"))
    except (OSError, ValueError):
        return ""
    return user_name(uid) if uid != _NOBODY_LOGGED_IN else ""


def _seat(pid: int, proc: Path, sessions: Path) -> str:
    """``10.0.0.5 (ssh)``, ``/dev/pts/0``, or empty.

    The kernel gives a session a number when a person logs in (``sessionid``, which no process can change) and names the
    terminal that controls a process; which address a session came from, the system's log-in service has written down.
    """
    host = _session_host(pid, proc, sessions)
    return f"{host[:_LONGEST]} (ssh)" if host else _terminal(pid, proc)


def _session_host(pid: int, proc: Path, sessions: Path) -> str:
    """``REMOTE_HOST`` of the log-in session, where the file is the system's own."""
    try:
        number = int((proc / str(pid) / "sessionid").read_text("ascii"))
        file = sessions / str(number)
        if number == _NOBODY_LOGGED_IN or file.stat().st_uid not in (0, sessions.stat().st_uid):
            return ""
        lines = file.read_text("utf-8", "replace").splitlines()
    except (OSError, ValueError):
        return ""
    return next((line.partition("=")[2].strip() for line in lines if line.startswith("REMOTE_HOST=")), "")


def _terminal(pid: int, proc: Path) -> str:
    """The controlling terminal (proc(5), ``tty_nr`` of ``stat``), or empty."""
    try:
        stat = (proc / str(pid) / "stat").read_text("utf-8", "replace")
        device = int(stat.rpartition(")")[2].split()[4])
    except (OSError, ValueError, IndexError):
        return ""
    major, minor = os.major(device), os.minor(device)
    if major in _PSEUDO_TERMINALS:
        return f"/dev/pts/{minor + 256 * (major - _PSEUDO_TERMINALS[0])}"
    if major == _CONSOLES:
        return f"/dev/tty{minor}" if minor < _FIRST_SERIAL else f"/dev/ttyS{minor - _FIRST_SERIAL}"
    return ""


def _given(pid: int, proc: Path, seat: str) -> str:
    """The origin that the process states, where the kernel states another one. Any user can set it."""
    try:
        environment = (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    for setting in environment:
        if setting.startswith(b"SSH_CONNECTION="):
            address = setting.partition(b"=")[2].split(b" ")[0].decode("ascii", "replace")[:_LONGEST]
            return "" if seat == f"{address} (ssh)" else f"{address} (SSH_CONNECTION)"
    return ""
