"""Who asks: the name of a user, with the part that the user plays here and where they sit.

An `Actor` is a name like any other text, so everything that hands a name on hands the rest on too, down to the row of
the audit trail (`engine.audit`). What is known beside the name comes from the kernel and is read at the moment of
asking: the process at the other end of the socket, the account that once logged in to it (which stays the same through
``sudo``), its terminal, and the address that an SSH session came from.
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

ROOT, SERVICE, OPERATOR = "root", "service user", "operator"
_NOBODY_LOGGED_IN = 2**32 - 1
_LONGEST = 100  # characters of an address or a terminal that are kept


class Actor(str):
    """A user's name.

    Attributes:
        by: what else is known of them: ``role`` (root, service user, operator), ``login`` (the account that logged in,
            where it is another one), ``from`` (where they sit).
    """

    by: Mapping[str, str]

    def __new__(cls, name: str, **by: str) -> "Actor":
        made = super().__new__(cls, name)
        made.by = {key: value for key, value in by.items() if value}
        return made


def of_process(uid: int, pid: int, proc: Path = Path("/proc")) -> Actor:
    """The user of a process, as far as the kernel tells; a process that is gone has a name and a role."""
    name, login = user_name(uid), _login(pid, proc)
    role = ROOT if uid == 0 else SERVICE if uid == os.geteuid() else OPERATOR
    return Actor(name, role=role, login=login if login != name else "", **{"from": _seat(pid, proc)})


def of_this_process() -> Actor:
    """The user who gave a command that does by itself what it was told."""
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


def _seat(pid: int, proc: Path) -> str:
    """``10.0.0.5 (ssh)``, ``/dev/pts/0``, or empty."""
    try:
        environment = (proc / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        environment = []
    for setting in environment:
        if setting.startswith(b"SSH_CONNECTION="):
            address = setting.partition(b"=")[2].split(b" ")[0].decode("ascii", "replace")
            return f"{address[:_LONGEST]} (ssh)"
    for number in (0, 2):
        try:
            seat = os.readlink(proc / str(pid) / "fd" / str(number))
        except OSError:
            continue
        if seat.startswith(("/dev/pts/", "/dev/tty")):
            return seat[:_LONGEST]
    return ""
