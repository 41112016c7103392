"""Whose files are: what root makes for the service belongs to the service.

Commands are often given by root (`sudo labrelay ...`), and the service has a user of its own. A journal that root has
written anew, or a lock file that root has made, would keep the service from its next start. Where a file system knows
no owners, or lets root set none (a share), all stays as it is.
"""

import os
from contextlib import suppress
from pathlib import Path


def hand_over(descriptor: int, folder: Path) -> None:
    """Give an open file, which lies in ``folder``, to whom the folder belongs; only root can, and only root need."""
    if os.geteuid() == 0:
        with suppress(OSError):
            owner = folder.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def hand_over_path(path: Path, like: Path) -> None:
    """The same for a name, to whom ``like`` belongs; of a link the link itself."""
    if os.geteuid() == 0:
        with suppress(OSError):
            owner = like.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def hand_over_all(tree: Path, like: Path) -> None:
    """The same for a folder and all that is in it."""
    for path in (tree, *tree.rglob("*")):
        hand_over_path(path, like)
