"""A folder that gets one file per document, whole or not at all.

    20260301-chemistry-0000004711-3f9c2a7e51d04b86.json
    day received (UTC), channel, number of the message in the journal, first 16 characters of the delivery key

Nothing in a name comes from the message's content. A delivery that is tried again writes the same name again, so a
repeat replaces itself. Each file is written under a hidden name, synced, renamed, and the folder is synced before the
delivery counts as made: a reader of the folder never sees half a file, and a power cut loses none.

Syncs are the main cost. Deliveries that come while a batch is being written form the next batch: their files are
written together, then synced one after the other (the first sync of a batch does most of the work), and share one sync
of the folder. The destination does this in one thread of its own, so that a hanging network drive stops nothing else.
"""

import asyncio
import contextlib
import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from engine.model.errors import DestinationDownError, TransientDeliveryError
from engine.model.message import Delivery
from engine.model.process.clock import Clock, from_us
from engine.model.texts.reasons import ReasonCode

MAX_BATCH = 64  # also the most files open at once
FILE_MODE = 0o640
FOLDER_MODE = 0o750
# The folder itself is at fault, not the document: missing, read-only, forbidden, no folder.
FOLDER_FAULTS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENODEV})
_OUTSIDE_NAMES = re.compile(r"[^A-Za-z0-9._-]")


class FileConfig(Protocol):
    folder: Path
    timeout: float


class FileOut:
    """See `engine.model.ports.Destination`."""

    def __init__(self, name: str, config: FileConfig) -> None:
        self._folder = Path(config.folder)
        self._timeout_s = config.timeout
        self._waiting: list[tuple[Delivery, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._name_is_durable = False  # the folder's own
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"file-{name}")

    async def start(self) -> None:
        """Make the folder if it is missing; where that fails, each delivery will say so."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().run_in_executor(self._thread, self._begin)

    async def deliver(self, delivery: Delivery) -> None:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_waiting(), name="file destination")
        try:
            async with asyncio.timeout(self._timeout_s):
                await written
        except TimeoutError as error:
            raise TransientDeliveryError(ReasonCode.STORAGE, f"not written within {self._timeout_s:g} s") from error

    async def probe(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, _check_folder, self._folder)
        except OSError as error:
            raise _storage_error(error) from error

    async def close(self) -> None:
        """Wait for the batch under way, as long as for a delivery."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=self._timeout_s)
        self._thread.shutdown(wait=False)

    def _begin(self) -> None:
        """Make the folder's name durable: an earlier process may have made it, and ended before it was. Blocks."""
        if not self._name_is_durable:
            _start_folder(self._folder)
            self._name_is_durable = True

    def _write(self, batch: list[Delivery]) -> list[OSError | None]:
        try:
            self._begin()
        except OSError as error:
            return [error] * len(batch)
        return write_batch(self._folder, batch)

    async def _write_waiting(self) -> None:
        """Write batch after batch until nothing waits any more."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                batch = [item for item in taken if not item[1].done()]  # cancelled while it waited
                outcomes = await loop.run_in_executor(self._thread, self._write, [delivery for delivery, _ in batch])
                for (_, written), error in zip(batch, outcomes, strict=True):
                    if written.done():
                        continue
                    if error is None:
                        written.set_result(None)
                    else:
                        written.set_exception(_storage_error(error))
        finally:
            self._writing = None


def build(name: str, config: FileConfig, clock: Clock) -> FileOut:
    """The destination ``name`` of a site."""
    return FileOut(name, config)


def file_name(delivery: Delivery) -> str:
    """The name of a delivery's file: the same for every attempt."""
    day = from_us(delivery.received_us).strftime("%Y%m%d")
    channel = _OUTSIDE_NAMES.sub("_", delivery.channel)[:64]
    key = _OUTSIDE_NAMES.sub("_", delivery.key)[:16]
    return f"{day}-{channel}-{delivery.message_id:010d}-{key}{_suffix(delivery.media_type)}"


def write_batch(folder: Path, batch: list[Delivery]) -> list[OSError | None]:
    """Write, sync and name the files of ``batch``; returns what went wrong with each, in the same order. Blocks.

    A file whose sync failed is written anew by the next attempt: the pages of the failed one may be lost although
    marked clean, so that syncing them again would prove nothing.
    """
    outcomes: list[OSError | None] = [None] * len(batch)
    opened: dict[int, int] = {}
    try:
        _make_folder(folder)
    except OSError as error:
        return [error] * len(batch)
    for position, delivery in enumerate(batch):
        try:
            opened[position] = _write(folder / _hidden(delivery), delivery.body)
        except OSError as error:
            outcomes[position] = error
    for position, descriptor in opened.items():
        try:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(folder / _hidden(batch[position]), folder / file_name(batch[position]))
        except OSError as error:
            _remove(folder / _hidden(batch[position]))
            outcomes[position] = error
    try:
        _sync_folder(folder)
    except OSError as error:
        return [outcome or error for outcome in outcomes]
    return outcomes


def _write(path: Path, body: bytes) -> int:
    """A new file with ``body``, not yet synced; returns its descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        rest = memoryview(body)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        os.close(descriptor)
        _remove(path)
        raise
    return descriptor


def _start_folder(folder: Path) -> None:
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    _sync_way_to(folder)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _start_folder(folder)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hidden(delivery: Delivery) -> str:
    return f".{file_name(delivery)}.part"


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _suffix(media_type: str) -> str:
    if media_type.partition(";")[0].rstrip().endswith("json"):
        return ".json"
    return ".hl7" if "hl7" in media_type else ".csv" if media_type.startswith("text/csv") else ".bin"


def _storage_error(error: OSError) -> TransientDeliveryError:
    detail = os.strerror(error.errno).lower() if error.errno else type(error).__name__
    kind = DestinationDownError if error.errno in FOLDER_FAULTS else TransientDeliveryError
    failure = kind(ReasonCode.STORAGE, detail)
    failure.__cause__ = error
    return failure


def _sync_way_to(folder: Path) -> None:
    """Make the folder's own name durable, and those above it, as far as they are on one file system and may be read."""
    device = folder.stat().st_dev
    for above in folder.resolve().parents:
        if above.stat().st_dev != device:
            return
        with contextlib.suppress(PermissionError):
            _sync_folder(above)
