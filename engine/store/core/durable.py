"""Files and names that outlast a power failure: a file's content needs a sync of its own, and so does its name."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def write_atomically(path: Path, part: Path | None = None) -> Iterator[Path]:
    """Give the block a new empty file, which takes the name of ``path`` when the block ends: whole and durable.

    Only its owner can read it. If anything fails, ``path`` is as it was, and the new file is removed.

    Args:
        part: the name until then, in the same folder. A file that a crash left under it is replaced. The default is a
            hidden name with the number of this process.
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
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()  # it may be what has filled the disk
        raise
    with suppress(PermissionError):  # a folder that one may write to, and not read
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make what stands in a file durable, by whomever it was written."""
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
    """Make the names of ``folder`` and of the folders above it durable, as far as they are on one file system.

    A folder that was just made is lost in a power failure without this, with all that was synced in it. Those that may
    not be read here were not made here.
    """
    device = folder.stat().st_dev
    for above in folder.resolve().parents:
        if above.stat().st_dev != device:
            return
        with suppress(PermissionError):
            sync_folder(above)


def write_without_log(connection: sqlite3.Connection, schema: str = "main") -> None:
    """No rollback journal and no sync: for a database that nothing reads before it is whole."""
    connection.execute(f"PRAGMA {schema}.journal_mode = OFF")
    connection.execute(f"PRAGMA {schema}.synchronous = OFF")
