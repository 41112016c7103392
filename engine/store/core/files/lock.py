"""One process per data folder: an advisory lock on ``<data>/labrelay.lock``.

The kernel drops the lock when its holder dies, so there is no stale lock to clean up after a crash. The file stays;
its content (the holder's process id) is only for people and for the error message.
"""

import fcntl
import os
from pathlib import Path

from engine.model.errors import LockedError
from engine.store.core.files.ownership import open_own

LOCK_NAME = "labrelay.lock"


class SiteLock:
    """Holds a data folder until `release`, the end of a ``with``, or that of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, data: Path, *, shared: bool = False) -> "SiteLock":
        """Lock ``data``, or report which process holds it.

        Args:
            shared: only keep writers out, for readers of a folder that cannot be written.

        Raises:
            LockedError: another process has it.
            StoreError: the file is not the folder's owner's.
            OSError: it cannot be opened.
        """
        path = data / LOCK_NAME
        flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
        descriptor = open_own(path, flags)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise LockedError(
                f"{path}: another LabRelay (process {holder}) is using this data folder; "
                "for a command that needs it stopped, run sudo systemctl stop labrelay first"
            ) from error
        if not shared:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def __enter__(self) -> "SiteLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Release the folder; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
