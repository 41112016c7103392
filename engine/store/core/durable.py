"""Files and names that outlast a power failure: a file's content needs a sync of its own, and so does its name."""

import os
from contextlib import suppress
from pathlib import Path


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
