"""What a process asked of the kernel, in order: reads `strace -f -y`, finds what stood between a receive and its ACK.

A call that another thread interrupts is written as ``<unfinished ...>`` and later ``<... resumed>``: a write to a
socket counts when it begins (the peer may have the bytes), a sync when it has returned.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

SYSCALLS = "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,fsync,fdatasync"
_CALL = re.compile(r"^(?P<pid>\d+)\s+(?P<name>\w+)\((?P<rest>.*)$")
_RESUMED = re.compile(r"^(?P<pid>\d+)\s+<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$")
_FILE = re.compile(r"^\d+<(?P<file>[^>]*)>")


@dataclass(frozen=True, slots=True)
class Call:
    """``end``: this line is where the call returned; a call on one line is both begin and end."""

    name: str
    file: str
    text: str
    begin: bool
    end: bool


def read(lines: Iterable[str]) -> list[Call]:
    open_calls: dict[str, tuple[str, str]] = {}
    found: list[Call] = []
    for line in lines:
        if match := _CALL.match(line):
            rest = match["rest"]
            file = _FILE.match(rest)
            name = file["file"] if file else ""
            unfinished = rest.rstrip().endswith("<unfinished ...>")
            if unfinished:
                open_calls[match["pid"]] = (name, rest)
            found.append(Call(match["name"], name, rest, begin=True, end=not unfinished))
        elif match := _RESUMED.match(line):
            name, before = open_calls.pop(match["pid"], ("", ""))
            found.append(Call(match["name"], name, before + match["rest"], begin=False, end=True))
    return found


@dataclass(slots=True)
class Exchange:
    """One acknowledged unit.

    Attributes:
        wal_writes: since it was received.
        synced: a sync followed the last of them.
        began_anew: not so, but a sync followed some of them, and the next transaction had begun.
    """

    wal_writes: int = 0
    synced: bool = False
    began_anew: bool = False


def exchanges(calls: Iterable[Call], *, received: str, answered: str) -> list[Exchange]:
    """Cut the calls at each receive whose text has ``received`` and each answer whose text has ``answered``.

    With one unit in flight at a time, everything written to the WAL in between may belong to it.
    """
    found: list[Exchange] = []
    current: Exchange | None = None
    for call in calls:
        socket = "socket:" in call.file or "TCP" in call.file
        if socket and call.end and call.name.startswith(("read", "recv")) and received in call.text:
            current = Exchange()
        elif socket and call.begin and call.name.startswith(("write", "send")) and answered in call.text:
            if current is not None:
                found.append(current)
            current = None
        elif current is not None and call.file.endswith("-wal"):
            if call.begin and "write" in call.name:
                current.wal_writes += 1
                current.began_anew = current.began_anew or current.synced
                current.synced = False
            elif call.end and "sync" in call.name:
                current.synced = current.wal_writes > 0
                current.began_anew = False
    return found
