"""Files and names that survive a power failure, and new folders, in which nothing is ever overwritten.

A file's content needs a sync, and so does its name.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.model.errors import StoreError


@contextmanager
def write_atomically(
    path: Path, part: Path | None = None, may_name: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """Give the block a new empty file, which is renamed to ``path`` when the block ends: whole and durable.

    Only its owner can read it. If anything fails, ``path`` stays unchanged, and the new file is removed.

    Args:
        part: the name until then, in the same folder. A file that a crash left under it is replaced. The default is a
            hidden name with this process's id.
        may_name: called right before the renaming; raises where it may not be.
    """
    part = part or path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            yield part
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        may_name()
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()  # it may be the file that filled the disk
        raise
    with suppress(PermissionError):  # a folder may be writable and not readable
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make the content of a file durable, whichever process wrote it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable; a new file is lost in a power failure without this."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_way_to(folder: Path) -> None:
    """Make the names of ``folder`` and of the folders above it durable, within one file system.

    A new folder is lost in a power failure without this, with all that was synced in it. Folders that may not be read
    here were not created here.
    """
    device = folder.stat().st_dev
    for above in folder.resolve().parents:
        if above.stat().st_dev != device:
            return
        with suppress(PermissionError):
            sync_folder(above)


def write_without_log(connection: sqlite3.Connection, schema: str = "main") -> None:
    """Disable rollback journal and sync: for a database that is not read before it is complete."""
    connection.execute(f"PRAGMA {schema}.journal_mode = OFF")
    connection.execute(f"PRAGMA {schema}.synchronous = OFF")


SALVAGING, RESTORING = "salvaging-", "restoring-"  # prefixes of the working folders
_WORK = {SALVAGING: "salvage", RESTORING: "restore"}


def publish(scratch: Path, target: Path, *, last: str) -> None:
    """Move finished files into their folder, durably; ``last`` goes last: without it the folder is not in use."""
    for entry in sorted(scratch.iterdir(), key=lambda entry: entry.name == last):
        entry.rename(target / entry.name)
    sync_folder(target)
    sync_way_to(target)


def raise_if_in_use(target: Path) -> None:
    """
    Raises:
        StoreError: it is not empty; the error names a leftover of an interrupted run.
        OSError: it is no folder, or cannot be read.
    """
    if not target.exists():
        return
    names = sorted(entry.name for entry in target.iterdir())
    for prefix, work in _WORK.items():
        left = next((name for name in names if name.startswith(prefix)), "")
        if left:
            raise StoreError(
                f"{target}: not empty: {left} in it is of a {work} that was interrupted, or still runs. Name another "
                f"folder: a {work} begins anew, and needs nothing of that one (where none runs, {left} can be removed)"
            )
    if names:
        raise StoreError(f"{target}: not empty; name a folder that is new, for nothing is ever written over")
