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
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from adapters.codecs.text.whole_link import ACK, NAK
from adapters.transports import folder_files
from adapters.transports.errors import FolderError
from adapters.transports.folder_files import Files, FoundFile
from adapters.transports.whole_stream import WholeStream
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


@dataclass(slots=True)
class _Trouble:
    """The current problems, by subject; each clears itself."""

    folder: str = ""
    file: str = ""
    store: str = ""
    unmoved: str = ""
    left: list[str] = field(default_factory=list)

    @property
    def fault(self) -> str:
        """Why no file is taken."""
        return "; ".join(filter(None, (self.folder, self.store, self.unmoved)))

    @property
    def notice(self) -> str:
        """The problems of single files."""
        return "; ".join(filter(None, (self.file, *self.left)))


class WatchedFolder:
    """Watch one folder; a `engine.model.ports.Transport`. One file at a time, the oldest first."""

    def __init__(self, source: Settings, handler: StreamHandler, clock: Clock | None = None) -> None:
        self._place = str(source.folder)
        self._files = Files(source)
        self._handler = handler
        self._settle_s = source.settle
        self._every_s = source.every
        self._clock = clock or SystemClock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="folder")
        self._hanging: asyncio.Future[None] | None = None
        self._settling: dict[str, tuple[FoundFile, float]] = {}
        self._ended: dict[str, bool] = {}  # claimed files that only have to be put away: finished or failed
        self._stream: WholeStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._trouble = _Trouble()
        self._failures = 0  # files in a row that could not be kept
        self._pause_s = source.every
        self._said = ""

    @property
    def fault(self) -> str:
        """Why files are not taken just now; no file's name."""
        return self._trouble.fault

    @property
    def notice(self) -> str:
        """Which files need a person, while others are taken; no file's name."""
        return self._trouble.notice

    async def start(self) -> int:
        """Begin to look. The folder may come later."""
        self._task = asyncio.get_running_loop().create_task(self._watch(), name="watched folder")
        return 0

    async def stop(self, grace_s: float = 3.0) -> None:
        """Take no further file, let the one that is being read finish."""
        self._stopping.set()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=grace_s)
            if not done:
                if self._stream is not None:
                    self._stream.end()
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=1.0)
        self._thread.shutdown(wait=False, cancel_futures=True)

    # -- watching ----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        async for attempt in back_off.trying(back_off.ALWAYS, sleep=self._pause):
            if self._stopping.is_set():
                return
            with attempt:
                self._pause_s = self._every_s
                try:
                    self._pause_s = max(self._every_s, await self._round() * REST)
                    self._trouble.folder = ""
                except FolderError as error:
                    self._trouble.folder = str(error)
                except Exception:
                    logger.exception("looking at the folder failed", extra={"peer": self._place})
                    self._trouble.folder = "looking at the folder failed; the log says why"
                self._say()
            back_off.begin_anew(attempt, self._failures)

    async def _pause(self, back_off_s: float) -> None:
        pause_s = max(self._pause_s, back_off_s) if self._failures else self._pause_s
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), min(pause_s, back_off.MAX_S))

    async def _round(self) -> float:
        """One look, and every file that is ready; returns how long the look took."""
        look = await self._call(self._files.look)
        self._trouble.left = []
        self._trouble.file = ""
        if look.failed:
            self._trouble.left.append(f"files that could not be taken: {look.failed}; see the failed folder")
        await self._put_away()
        for name in look.claimed:
            if name not in self._ended and not await self._take(name):
                return look.took_s
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
            self._trouble.left.append(f"empty files: {empty}; each is taken once there is something in it")
        for file in ready:
            if self._stopping.is_set() or len(self._ended) >= MAX_UNMOVED:
                return look.took_s
            try:
                claimed = await self._call(partial(self._files.claim, file))
            except FolderError as error:  # it stays where it is, and costs the others nothing
                self._trouble.file = str(error)
                continue
            del self._settling[file.name]
            if claimed is not None and not await self._take(claimed):
                return look.took_s
        return look.took_s

    async def _take(self, name: str) -> bool:
        """Hand one claimed file to the channel. False: nothing can be kept just now, so no other is tried either."""
        if self._stopping.is_set():
            return False
        try:
            content = await self._call(partial(self._files.read, name))
        except FolderError as error:
            self._trouble.file = str(error)
            return True
        if content is None:
            logger.error("a file is empty, or larger than max_message", extra={"peer": self._place})
            await self._end(name, finished=False)
            return True
        self._stream = stream = WholeStream(self._place, content)
        try:
            await self._handler(stream)
        except Exception:  # a fault of ours costs this attempt, never the folder
            logger.exception("connection handler failed", extra={"peer": self._place})
        finally:
            self._stream = None
        if stream.answer not in (ACK, NAK):
            self._failures += 1
            self._trouble.store = "a file could not be kept yet; it is tried again"
            return False
        self._failures = 0
        self._trouble.store = ""
        await self._end(name, finished=stream.answer == ACK)
        return True

    async def _end(self, name: str, *, finished: bool) -> None:
        self._ended[name] = finished
        await self._put_away()

    async def _put_away(self) -> None:
        """Move finished files. A file that cannot be moved is tried again, and not read again."""
        self._trouble.unmoved = ""
        for name, finished in list(self._ended.items()):
            try:
                await self._call(partial(self._files.put_away, name, finished=finished))
            except FolderError as error:
                self._trouble.unmoved = str(error)
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

    def _say(self) -> None:
        """One line in the log when what is wrong has changed."""
        trouble = "; ".join(filter(None, (self.fault, self.notice)))
        if trouble != self._said:
            self._said = trouble
            if trouble:
                logger.error("trouble with the folder", extra={"peer": self._place, "detail": trouble})
            else:
                logger.info("the folder is read again", extra={"peer": self._place})


async def _heard(future: "asyncio.Future[T]") -> None:
    """Wait for an abandoned call, so that its exception is not logged as never retrieved."""
    with contextlib.suppress(Exception):
        await future
