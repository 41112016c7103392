"""A reserve of disk space: released when the disk is full, so that people can still act, and filled again afterwards.

On a full disk nothing new is stored, and so nothing acknowledged. But the outcome of a stored message, an audit row or
a person's decision also needs a few pages, and these help most then. A file of `RESERVE_BYTES` lies beside the journal
while LabRelay runs. When a write fails for lack of space, the file is truncated, and from then on only operations
without new payload are accepted: they have the room to themselves. Once there is room for the reserve again and
`MARGIN_BYTES` more, everything is accepted, and the file grows back in steps. On a small disk both are limited to a
share of it, since no more than the whole disk can be freed.

A process that was killed leaves the file behind: a start on a full disk releases it first. An orderly stop removes it.
Where the disk has no room for it, LabRelay works without one.
"""

import contextlib
import logging
import os
import time
from pathlib import Path

from engine.model.errors import StoreError
from engine.store.core.files.ownership import open_own

logger = logging.getLogger("labrelay.journal")

RESERVE_NAME = "labrelay.reserve"
RESERVE_BYTES = 64 * 1024 * 1024
MARGIN_BYTES = 64 * 1024 * 1024  # with less than this left after a failed write, the disk counts as full
SHARE = 8  # each is at most this part of the disk
SPENT_BYTES = 256 * 1024  # with less than this left, not even an audit row is sure to find room
STEP_BYTES = 8 * 1024 * 1024  # made in one go, so short that no acknowledgement waits long


class Reserve:
    """The file in a data folder. Used by the writer thread; `given` may be read anywhere.

    Attributes:
        given: the disk is full and the reserve (if any) is released: only operations without payload are accepted.
        ended: when the disk was last full, on the monotonic clock; None where it never was.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._path = data / RESERVE_NAME
        self.given = False
        self.ended: float | None = None

    def open(self) -> None:
        """Before the journal is opened: release an old reserve on a disk that is full."""
        _, margin, free = self._disk()
        if self._path.exists() and free < min(STEP_BYTES, margin):
            self.give()

    def give(self) -> bool:
        """A write has failed for lack of space: release the reserve. False: the disk is not full, so it is kept."""
        _, margin, free = self._disk()
        if free >= margin:
            return False
        if not self.given:
            logger.error("the disk is full: nothing new is kept; the reserve is given back, so that people can act")
        with contextlib.suppress(OSError, StoreError):
            descriptor = open_own(self._path, os.O_WRONLY)
            try:
                os.ftruncate(descriptor, 0)
            finally:
                os.close(descriptor)
        self.given = True
        return True

    def look(self) -> None:
        """Accept everything again once there is room, and grow the file to its size, a step at a time."""
        try:
            if self._lacks() > 0:
                return
            if self.given:
                logger.warning("there is room on the disk again: messages are kept as before")
                self.ended = time.monotonic()
            self.given = False
            size, (full_size, _, _) = self._size(), self._disk()
            if size < full_size:
                self._grow(size, full_size)
        except (OSError, StoreError) as error:
            logger.debug("the reserve cannot be made", extra={"cause": getattr(error, "strerror", str(error))})

    @property
    def lacking(self) -> int:
        """Bytes that must be freed on the disk before everything is accepted again."""
        try:
            return max(0, self._lacks())
        except OSError:
            return RESERVE_BYTES + MARGIN_BYTES

    @property
    def spent(self) -> bool:
        """Whether the released space is used up, too, by us or others: people's actions find no room any more."""
        try:
            return self._disk()[2] < SPENT_BYTES
        except OSError:
            return True

    def remove(self) -> None:
        """Remove the file at an orderly stop: nothing is written any more."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _grow(self, size: int, full_size: int) -> None:
        descriptor = open_own(self._path, os.O_WRONLY | os.O_CREAT)
        try:
            # Not sparse: the system must allocate the blocks, for a file with a hole would be no reserve.
            os.posix_fallocate(descriptor, size, min(STEP_BYTES, full_size - size))
        finally:
            os.close(descriptor)

    def _lacks(self) -> int:
        full_size, margin, free = self._disk()
        return full_size - self._size() + margin - free

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _disk(self) -> tuple[int, int, int]:
        """Bytes: of a full reserve and of the margin on this disk, and those that this process may still write."""
        stat = os.statvfs(self._data)
        share = stat.f_blocks * stat.f_frsize // SHARE
        return min(RESERVE_BYTES, share), min(MARGIN_BYTES, share), stat.f_bavail * stat.f_frsize
