"""The file of a full copy. A thread of its own does everything that may block on the disk.

The folder of copies is often a share, which may be slow or unresponsive. SQLite's writes there go into the page cache
and cost the journal's writer nothing while few of them are dirty: beyond a limit the kernel blocks the writing process.
Opening and closing always wait for the share (a close on NFS until all is written). So a thread opens, syncs and
closes; the caller goes on with other work, and gives up in the end.
"""

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from engine.model.errors import StoreError
from engine.store.core.durable import write_without_log
from engine.store.core.writer import Pump

UNWRITTEN_BYTES = 32 * 1024 * 1024  # dirty bytes that the kernel may hold for the share
STALLED_S = 600.0  # without a single answer, after which the copy is given up
_LOOK_S = 0.02

T = TypeVar("T")


class FarFile:
    """A new database file, at a place that may not answer. Used by one thread.

    Attributes:
        connection: for writing, once `open` is done.
    """

    connection: sqlite3.Connection

    def __init__(self, path: Path, pump: Pump) -> None:
        """``pump``: called while this waits, so that other work goes on."""
        self._path = path
        self._pump = pump
        self._unwritten = 0
        self._whole = False
        self._descriptor = -1
        self._steps: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="backup-file", daemon=True).start()

    def open(self) -> None:
        """Create the file, for its owner only.

        Raises:
            OSError, sqlite3.Error: it cannot be created.
            StoreError: its disk does not answer. The other methods raise it, too.
        """
        self._wait_for(self._open)

    def wrote(self, size: int) -> None:
        """Count written bytes; wait while too many of them are dirty."""
        self._unwritten += size
        if self._unwritten >= UNWRITTEN_BYTES:
            self._wait_for(lambda: sync(self._descriptor))
            self._unwritten = 0

    def close(self) -> None:
        """Finish: everything is written."""
        self._wait_for(self._close)
        self._whole = True

    def leave(self) -> None:
        """Give up waiting: as soon as its disk answers, the file is closed, and removed if it is incomplete. It may
        well be the one that filled the disk.
        """
        if not self._whole:
            self._steps.put(self._take_away)
        self._steps.put(self._close)
        self._steps.put(None)

    # -- on the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (step := self._steps.get()) is not None:
            with suppress(Exception):  # the waiting caller gets the error
                step()

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        write_without_log(self.connection)

    def _take_away(self) -> None:
        # Only the file that was made here: another copy may be under way under the same name by now.
        if self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), self._path.stat()):
            self._path.unlink()

    def _close(self) -> None:
        if hasattr(self, "connection"):
            self.connection.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # -- waiting -------------------------------------------------------------------------------------------------

    def _wait_for(self, step: Callable[[], T]) -> None:
        done, trouble = threading.Event(), list[Exception]()

        def run() -> None:
            try:
                step()
            except Exception as error:
                trouble.append(error)
            done.set()

        self._steps.put(run)
        until = time.monotonic() + STALLED_S
        while not done.is_set():
            looked = time.monotonic()
            if looked > until:
                raise StoreError(f"{self._path.parent.parent}: does not answer")
            self._pump(_LOOK_S)
            if time.monotonic() - looked < _LOOK_S:  # no other work is waiting
                done.wait(_LOOK_S)
        if trouble:
            raise trouble[0]


def sync(descriptor: int) -> None:
    os.fdatasync(descriptor)
