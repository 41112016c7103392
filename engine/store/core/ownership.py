"""File ownership: files that root creates for the service belong to the service.

Commands are often run by root (`sudo labrelay ...`), and the service has a user of its own. A journal or a lock file
that belongs to root would keep the service from starting. Where a file system has no owners, or root cannot set them (a
share), nothing changes.
"""

import os
from contextlib import suppress
from pathlib import Path


def hand_over(descriptor: int, folder: Path) -> None:
    """Give an open file in ``folder`` to the owner of the folder. Only root can do that, and only root needs it."""
    if os.geteuid() == 0:
        with suppress(OSError):
            owner = folder.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def hand_over_path(path: Path, like: Path) -> None:
    """The same for a path, which gets the owner of ``like``; for a link the link itself."""
    if os.geteuid() == 0:
        with suppress(OSError):
            owner = like.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def hand_over_all(tree: Path, like: Path) -> None:
    """The same for a folder and everything in it."""
    for path in (tree, *tree.rglob("*")):
        hand_over_path(path, like)
