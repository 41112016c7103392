"""Make a full copy of the journal while it is written, with the configuration beside it.

SQLite's backup interface copies pages in steps. On another connection it would restart after each commit, and never end
while results arrive. Therefore the steps run on the writer's own connection between commits
(`engine.store.core.writing.writer.Writer.lend`): pages that this connection writes meanwhile go into the copy as well.
After each step all waiting operations are committed and answered, so a message waits for `STEP_PAGES` pages at most.

Another thread does all that may block on the target's disk (`engine.store.recovery.backups.copying`), including the
sync at the end. Only then the copy gets its manifest and its name. A failure of the target costs the copy and nothing
else.

The file of a full copy. A thread of its own does everything that may block on the disk.

The folder of copies is often a share, which may be slow or unresponsive. SQLite's writes there go into the page cache
and cost the journal's writer nothing while few of them are dirty: beyond a limit the kernel blocks the writing process.
Opening and closing always wait for the share (a close on NFS until all is written). So a thread opens, syncs and
closes; the caller goes on with other work, and gives up in the end.
"""

import os
import queue
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from engine.model.errors import StoreError
from engine.store.core import connecting, key_encryption_key
from engine.store.core.anchor import ANCHOR_NAME, Anchor, Sealing
from engine.store.core.connecting import JOURNAL_NAME, connect, key_check
from engine.store.core.files.durable import sync_file, sync_folder, write_without_log
from engine.store.core.key_encryption_key import Source
from engine.store.core.vault import KEY_NAME, read_kek, write_kek
from engine.store.core.writing.writer import Job, Pump
from engine.store.integrity.verify import Progress
from engine.store.journal.upkeep import PAGE_BYTES
from engine.store.operations import incarnation
from engine.store.recovery.backups.catalog import SITE_FOLDER, Copy, Manifest, Shelf

STEP_PAGES = 32  # 128 KiB
REST = 3.0  # pause after each step, as a multiple of its duration: three quarters of the time are for results
LEAST_REST_S = 0.001
SPARE_BYTES = 64 * 1024 * 1024

CONFIGURATION = ("config", "channels", "mappings", "layouts", "tables", "analyzers", "samples")  # folders of a site
LARGEST_FILE = 32 * 1024 * 1024
_FILES = frozenset({Source.FILE, Source.NEW_FILE, Source.OLD_FILE})
_PRIVATE = b"PRIVATE KEY-----"


def job(target: Path, progress: Progress = lambda done, total: None) -> Job[None]:
    """The job for the writer: copy its journal into the new file ``target``.

    Raises, when it runs:
        StoreError: the target cannot be written, or does not answer.
    """

    def run(connection: sqlite3.Connection, pump: Pump) -> None:
        began = time.perf_counter()
        file = FarFile(target, pump)

        def step(status: int, remaining: int, total: int) -> None:
            nonlocal began
            took = time.perf_counter() - began
            progress(total - remaining, total)
            if remaining:
                file.wrote(STEP_PAGES * PAGE_BYTES)
                pump(max(LEAST_REST_S, REST * took))
            began = time.perf_counter()

        try:
            file.open()
            connection.backup(file.connection, pages=STEP_PAGES, progress=step, sleep=0.01)
            file.close()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{target.parent.parent}: the copy could not be made: {error}") from error
        finally:
            file.leave()

    return run


def room(shelf: Shelf, journal: Path) -> None:
    """Check that a copy has room.

    Raises:
        StoreError: it has none.
    """
    need, free = journal.stat().st_size + SPARE_BYTES, shutil.disk_usage(shelf.path).free
    if free < need:
        raise StoreError(f"{shelf.root}: no room for a copy: {need >> 20} MiB are needed, {free >> 20} MiB are free")


def complete(
    shelf: Shelf,
    making: Path,
    *,
    data: Path,
    site: Path,
    name: str,
    journal_id: bytes,
    seal: Sealing,
    with_key: bool = False,
) -> Copy:
    """Complete a copy after `job`, outside the writer: anchor, configuration, syncs, manifest, name.

    Args:
        making: the folder with the copied journal in it.
        data, site: the site's folders.
        name: of the site.
        seal: of the journal's vault, `Vault.anchor_seal`.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        path = making / JOURNAL_NAME
        with closing(connect(path, immutable=True)) as copy:
            schema = connecting.version(copy)
            row = copy.execute("SELECT id, chain FROM journal ORDER BY id DESC LIMIT 1").fetchone()
            check = key_check(copy)
            own = incarnation.of(copy.execute)
        made_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)  # when its last page was written
        last_id, chain = row if row is not None else (0, bytes(32))
        Anchor(making / ANCHOR_NAME, journal_id, last_id, chain, seal).close()
        files: dict[str, str] = {}
        left_out: list[str] = []
        for relative in _configuration(site):
            content = (site / relative).read_bytes()
            if _PRIVATE in content:
                left_out.append(str(relative))
                continue
            target = making / SITE_FOLDER / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            sync_file(target)
            files[str(relative)] = sha256(content).hexdigest()
        if with_key and (key := _key_file(data, check)) is not None:
            write_kek(making / KEY_NAME, read_kek(key))
        sync_file(path)
        for folder in {making, *(making / SITE_FOLDER / relative for relative in files)}:
            sync_folder(folder if folder.is_dir() else folder.parent)
        manifest = Manifest(
            journal_id=journal_id.hex(),
            site=name,
            made_at=made_at.isoformat(timespec="milliseconds"),
            last_id=last_id,
            chain=chain.hex(),
            schema=schema,
            bytes=path.stat().st_size,
            files=files,
            left_out=tuple(left_out),
            key=(making / KEY_NAME).exists(),
            incarnation=own.number,
            history=own.history,
            machine=own.machine,
        )
        copy_made = shelf.finish(making, manifest)
    except (sqlite3.Error, OSError) as error:
        shutil.rmtree(making, ignore_errors=True)  # it may be the file that filled the disk
        raise StoreError(f"{shelf.path}: the copy could not be made: {error}") from error
    return copy_made


def _configuration(site: Path) -> Iterator[Path]:
    """The files of a site's configuration, relative to its folder."""
    for folder in CONFIGURATION:
        for path in sorted((site / folder).rglob("*")):
            if path.is_file() and not path.name.startswith(".") and path.stat().st_size <= LARGEST_FILE:
                yield path.relative_to(site)


def _key_file(data: Path, check: bytes) -> Path | None:
    """The file with the key of the copied journal: a rotation may have renamed it since the last page."""
    files = (found for found in key_encryption_key.candidates(data) if found.source in _FILES)
    return next((Path(found.place) for found in files if found.check == check), None)


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
