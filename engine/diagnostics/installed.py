"""The installed program and the one before it: their places, the journals that they can read, and the exchange of both.

`tools/install.sh` makes ``/opt/labrelay/venv`` and keeps the program that it replaces as ``venv.old`` beside it. Going
back is possible while the journal's schema is one that the earlier program knows; nothing here touches the journal.
"""

import ctypes
import errno
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from engine.model.errors import LabRelayError, StoreError
from engine.model.site.health import Health, Line
from engine.model.texts.units import size_text
from engine.store.core import connecting
from engine.store.core.connecting import connect
from engine.store.core.files.ownership import as_given
from engine.store.integrity import before_upgrade

NAME, OLD_NAME = "venv", "venv.old"
UNIT = "labrelay.service"
_ASK = (
    "import json; from importlib.metadata import version; from engine.store.core.connecting import steps; "
    "print(json.dumps([version('labrelay'), steps()[-1][0]]))"
)
_ASK_TIMEOUT_S = 30
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@dataclass(frozen=True, slots=True)
class Program:
    """An installed program.

    Attributes:
        folder: its virtual environment.
        schema: the newest schema of a journal that it knows.
    """

    folder: Path
    version: str
    schema: int


def earlier(folder: Path | None = None) -> Program | None:
    """The program that the installed one has replaced; None if there is none, or it does not run.

    Args:
        folder: the installed program's; by default that of this process.
    """
    old = (folder or Path(sys.prefix)).with_name(OLD_NAME)
    try:
        # A program of ours, from a folder that only root can write; nothing else is executed.
        told = subprocess.run(  # noqa: S603
            [old / "bin" / "python", "-I", "-c", _ASK], capture_output=True, timeout=_ASK_TIMEOUT_S, check=True, cwd="/"
        ).stdout
        version, schema = json.loads(told)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Program(old, str(version), int(schema))


def schema_of(journal: Path, *, readable: bool = False) -> int:
    """The schema of the journal at this path; 0 if there is none yet.

    Args:
        readable: by this program, or raise.

    Raises:
        StoreError: it cannot be read.
    """
    if not journal.exists():
        return 0
    try:
        with closing(connect(journal)) as connection:
            if readable:
                connecting.check_readable(connection)
            return connecting.version(connection)
    except sqlite3.Error as error:
        raise StoreError(f"{journal}: cannot be read: {error}; run this as root or as the service's user") from error


def examine_journal(journal: Path) -> Line:
    """The effect of this program's next start on the journal."""
    try:
        found = schema_of(journal, readable=True)
    except StoreError as error:
        return Line(Health.FAIL, "journal", str(error))
    newest = connecting.steps()[-1][0]
    if found in (0, newest):
        return Line(Health.OK, "journal", f"schema {newest}: nothing to change" if found else "there is none yet")
    stat = os.statvfs(journal.parent)
    free, need = stat.f_bavail * stat.f_frsize, before_upgrade.room_needed(journal)
    text = f"the next start takes it from schema {found} to {newest}"
    if free < need:
        return Line(
            Health.WARN,
            "journal",
            f"{text}; a copy of how it is now needs {size_text(need)}, and {size_text(free)} are free",
            "make room, or go on without the copy: going back is then not possible",
        )
    return Line(Health.OK, "journal", f"{text}; a copy of how it is now stays beside it for a month")


def examine_earlier(journal: Path, found: Program | None) -> Line:
    """Whether `labrelay upgrade --rollback` would work."""
    if found is None:
        return Line(Health.OK, "way back", "no earlier program is kept")
    schema = schema_of(journal)
    if schema > found.schema:
        return Line(
            Health.OK,
            "way back",
            f"{found.version} is kept, and knows schema {found.schema}; the journal has {schema}: "
            f"going back needs the copy in {journal.parent / before_upgrade.FOLDER}",
        )
    return Line(
        Health.OK, "way back", f"{found.version} is kept, and can read this journal: labrelay upgrade --rollback"
    )


def roll_back(program: Path, journal: Path) -> Program:
    """Put the earlier program in the place of the installed one, which becomes the earlier one, in one step.

    Returns:
        The program that is installed now.

    Raises:
        LabRelayError: there is no earlier program, it cannot read the journal, or the folders cannot be changed.
            Nothing was done.
    """
    old = earlier(program)
    if old is None:
        raise LabRelayError(f"{program.with_name(OLD_NAME)}: there is no earlier program to go back to")
    schema = schema_of(journal)
    if schema > old.schema:
        raise LabRelayError(
            f"{old.version} knows schema {old.schema} of the journal, and this one has {schema}: it would refuse to "
            "start. docs/operations.md, 'Going back', says how to use the copy in "
            f"{journal.parent / before_upgrade.FOLDER}, and what would be missing"
        )
    try:
        with as_given(program):
            exchange(program, old.folder)
    except OSError as error:
        raise LabRelayError(f"{program.parent}: {error.strerror}; run this as root") from error
    return Program(program, old.version, old.schema)


def exchange(one: Path, other: Path) -> None:
    """Swap two names in one step, so that no moment is without a program."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number))
    # A file system that cannot: three steps. After a power failure between them, rename venv.swap by hand.
    between = one.with_name(f"{NAME}.swap")
    one.rename(between)
    other.rename(one)
    between.rename(other)
