"""The user who asks: a name, with the user's role here and where they work.

An `Actor` is a string, so code that passes a name on passes the rest on too, down to the row of the audit trail
(`engine.store.operations.audit`). The rest comes from the kernel and is read at the moment of asking: the process at
the other end of the socket, the account that once logged in to it (which stays the same through ``sudo``), its
terminal, and the log-in session, whose origin the system has recorded.

A person's name is the account that logged in. Where the kernel knows of no log-in, it is the account that ``sudo`` says
it was used by, and its source is part of the name: ``asha (SUDO_USER)``. Only root and the service's user are believed
so far, who can write anything anyway. Else it is the account that the process runs under. A process's own statements
that the kernel does not confirm are kept beside, marked as given.
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT, SERVICE = "root", "service user"
STATED = ("SUDO_USER", "SSH_CONNECTION")  # what a process says of itself, in its environment
_NO_LOG_IN = 2**32 - 1
_PSEUDO_TERMINALS = range(136, 144)  # major numbers of devices (Linux, admin-guide/devices.txt)
_CONSOLES, _FIRST_SERIAL = 4, 64
_SESSIONS = Path("/run/systemd/sessions")
_LONGEST = 100  # characters of a statement, an address or a terminal that are kept
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Actor(str):
    """A user's name.

    Attributes:
        by: what else is known of them: ``role`` (root, service user, the roles of a system user, the role of a user who
            has logged in, or token), ``account`` (that
            the process runs under, where the name is another one), ``from`` (where they work), ``given`` (what their
            process says of itself; no other source confirms it).
    """

    by: Mapping[str, str]

    def __new__(cls, name: str, **by: str) -> "Actor":
        made = super().__new__(cls, name)
        made.by = {key: value for key, value in by.items() if value}
        return made


def of_process(
    uid: int,
    pid: int,
    stated: Mapping[str, str] = _NOTHING,
    *,
    role: str = "",
    proc: Path = Path("/proc"),
    sessions: Path = _SESSIONS,
) -> Actor:
    """The user of a process, as far as the kernel knows; a process that is gone has a name and a role.

    Args:
        stated: as `stated_by` returns it.
        role: of an account that is neither root nor the service's user.
    """
    account, login, seat = user_name(uid), _login(pid, proc), _seat(pid, proc, sessions)
    own_role = ROOT if uid == 0 else SERVICE if uid == os.geteuid() else ""
    sudo = stated.get("SUDO_USER", "")
    name = login or (f"{sudo} (SUDO_USER)" if own_role and sudo != account and _is_account(sudo) else account)
    address = stated.get("SSH_CONNECTION", "").partition(" ")[0]
    given = [
        f"{sudo} (SUDO_USER)" if sudo not in ("", login or account) else "",
        f"{address} (SSH_CONNECTION)" if address and seat != f"{address} (ssh)" else "",
    ]
    return Actor(
        name,
        role=own_role or role,
        account=account if account != name else "",
        given=", ".join(filter(None, given)),
        **{"from": seat},
    )


def of_this_process() -> Actor:
    """The user who gave a command that acts by itself, without the daemon."""
    return of_process(os.geteuid(), os.getpid(), stated_by(os.environ))


def stated_by(environment: Mapping[str, str]) -> dict[str, str]:
    """What an environment says of the user, shortened."""
    return {name: str(environment[name])[:_LONGEST] for name in STATED if environment.get(name)}


def is_called(actor: str, name: str) -> bool:
    """Whether an actor of the audit trail has this name, stated or proven."""
    return name in (actor, actor.removesuffix(f" ({STATED[0]})"))


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _is_account(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):  # a NUL in it
        return False
    return True


def _login(pid: int, proc: Path) -> str:
    try:
        uid = int((proc / str(pid) / "loginuid").read_text("ascii"))
    except (OSError, ValueError):
        return ""
    return user_name(uid) if uid != _NO_LOG_IN else ""


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
        if number == _NO_LOG_IN or file.stat().st_uid not in (0, sessions.stat().st_uid):
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
