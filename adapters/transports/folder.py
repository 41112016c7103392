"""A watched folder: each file is a stream of its own, read at once, and put away when its messages are durable.

    look    every few seconds; a file is ready when it has settled, or when its marker is there
    claim   renamed, so that no other program takes it
    handle  the channel reads the file as it reads a connection, and answers ACK once everything in it is committed
    put     renamed to the folder of the finished ones, or of those that failed

The answer decides (P1): a file without ACK stays claimed and is read again, after a pause that grows to half a minute.
After a crash between the commit and the last rename the file is read again, too; its messages are repeats then.

All calls that can block are made in one thread of the folder's own: a network share that hangs stops nothing else.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from adapters.codecs.text.whole_link import ACK, NAK
from adapters.transports import folder_files
from adapters.transports.errors import FolderError
from adapters.transports.folder_files import Files, FoundFile
from adapters.transports.polling import Polling
from engine.model.errors import StoreError
from engine.model.ports import StreamHandler
from engine.model.process import back_off
from engine.model.process.clock import Clock, SystemClock

logger = logging.getLogger("labrelay.channel")

ANSWER_WITHIN_S = 30.0  # of a call to the file system; then the folder is said to hang
MAX_UNMOVED = 100  # finished files that cannot be put away; with so many, no further file is taken
REST = 20  # a look that took a while is followed by so many times that long, so that it costs at most 5 % of a core

T = TypeVar("T")


class Settings(folder_files.Settings, Protocol):
    """The settings of a channel's ``source:`` for the folder."""

    settle: float
    every: float


def build(source: Settings, handler: StreamHandler) -> "WatchedFolder":
    """The transport of one channel."""
    return WatchedFolder(source, handler)


class WatchedFolder(Polling):
    """Watch one folder. One file at a time, the oldest first."""

    def __init__(self, source: Settings, handler: StreamHandler, clock: Clock | None = None) -> None:
        super().__init__(str(source.folder), handler)
        self._files = Files(source)
        self._settle_s = source.settle
        self._every_s = min(source.every, back_off.MAX_S)
        self._clock = clock or SystemClock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="folder")
        self._hanging: asyncio.Future[None] | None = None
        self._settling: dict[str, tuple[FoundFile, float]] = {}
        self._ended: dict[str, bool] = {}  # claimed files that only have to be put away: finished or failed
        self._unreached = ""  # why the folder cannot be used
        self._unmoved = ""  # why a finished file cannot be put away

    @property
    def fault(self) -> str:
        """Why files are not taken just now; no file's name."""
        return "; ".join(filter(None, (self._unreached, super().fault, self._unmoved)))

    async def stop(self, grace_s: float = 3.0) -> None:
        """Take no further file, let the one that is being read finish."""
        await super().stop(grace_s)
        self._thread.shutdown(wait=False, cancel_futures=True)

    # -- watching ----------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        """One look, and every file that is ready."""
        self._pause_s = self._every_s
        try:
            look = await self._call(self._files.look)
        except FolderError as error:  # the next look comes as soon as ever
            self._unreached = str(error)
            return
        self._unreached = ""
        self._pause_s = min(max(self._every_s, look.took_s * REST), back_off.MAX_S)
        self._notices = {}
        if look.failed:
            self._notices[f"files that could not be taken: {look.failed}; see the failed folder"] = None
        await self._put_away()
        for name in look.claimed:
            if name not in self._ended:
                await self._take(name)
        now = self._clock.monotonic()
        ready: list[FoundFile] = []
        empty = 0
        settling: dict[str, tuple[FoundFile, float]] = {}
        for file in look.files:
            known, since = self._settling.get(file.name, (None, now))
            since = since if known == file else now
            settling[file.name] = (file, since)
            if file.marked or now - since >= self._settle_s:
                if file.size:
                    ready.append(file)
                else:
                    empty += 1
        self._settling = settling
        if empty:
            self._notices[f"empty files: {empty}; each is taken once there is something in it"] = None
        for file in ready:
            if self._stopping.is_set() or len(self._ended) >= MAX_UNMOVED:
                return
            try:
                claimed = await self._call(partial(self._files.claim, file))
            except FolderError as error:  # it stays where it is, and costs the others nothing
                self._notices[str(error)] = None
                continue
            del self._settling[file.name]
            if claimed is not None:
                await self._take(claimed)

    async def _take(self, name: str) -> None:
        """Hand one claimed file to the channel.

        Raises:
            StoreError: nothing can be kept just now, so no other is tried either.
        """
        if self._stopping.is_set():
            return
        try:
            content = await self._call(partial(self._files.read, name))
        except FolderError as error:
            self._notices[str(error)] = None
            return
        if content is None:
            logger.error("a file is empty, or larger than max_message", extra={"peer": self._peer})
            await self._end(name, finished=False)
            return
        answer = await self._hand_on(content)
        if answer not in (ACK, NAK):
            raise StoreError("a file could not be kept yet; it is tried again")
        self._works()
        await self._end(name, finished=answer == ACK)

    async def _end(self, name: str, *, finished: bool) -> None:
        self._ended[name] = finished
        await self._put_away()

    async def _put_away(self) -> None:
        """Move finished files. A file that cannot be moved is tried again, and not read again."""
        self._unmoved = ""
        for name, finished in list(self._ended.items()):
            try:
                await self._call(partial(self._files.put_away, name, finished=finished))
            except FolderError as error:
                self._unmoved = str(error)
                return
            del self._ended[name]

    async def _call(self, function: Callable[[], T]) -> T:
        """A call that can block.

        Raises:
            FolderError: also where it did not return in time; no other call is made before it has.
        """
        if self._hanging is not None and not self._hanging.done():
            raise FolderError(f"the folder has not answered for more than {ANSWER_WITHIN_S:g} s")
        future = asyncio.get_running_loop().run_in_executor(self._thread, function)
        done, _ = await asyncio.wait({future}, timeout=ANSWER_WITHIN_S)
        if not done:
            self._hanging = asyncio.ensure_future(_heard(future))
            raise FolderError(f"the folder has not answered for more than {ANSWER_WITHIN_S:g} s")
        return future.result()


async def _heard(future: "asyncio.Future[T]") -> None:
    """Wait for an abandoned call, so that its exception is not logged as never retrieved."""
    with contextlib.suppress(Exception):
        await future
