"""The main process's side: start a worker, configure it, watch it, replace it.

    down -> starting -> ready             `run` is one life of a worker; its supervisor starts the next one
    ready -> starting                     another configuration, between two messages
    starting -> here                      it refused the configuration, or several did not even start

*Here* means that this process maps and delivers itself until a worker is ready: a laboratory's results do not wait for
a process that cannot be started, or for files that are about to be changed. The page shows it.

When a worker ends, or hangs and is ended, it sends nothing any more once `run` continues: only then its deliveries fail
and its messages go to the next one, so nothing of it can arrive later.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from engine.config.load import Site
from engine.model.errors import DeliveryError, TransientDeliveryError, WorkerError
from engine.model.message import Delivery, LateRefusal
from engine.model.texts.reasons import ReasonCode
from engine.model.versions import Versions
from engine.monitoring.logs import OURS, HumanFormatter
from engine.runtime.worker import frames
from engine.runtime.worker.processor import RemoteProcessor
from engine.runtime.worker.wire import Frame, Pipe
from engine.store.core.key_encryption_key import VARIABLE

logger = logging.getLogger("labrelay.worker")

PING_S = 2.0
HUNG_S = 15.0  # a ready worker without a sign for so long is replaced
LARGE_HUNG_S = 120.0  # ... one for large messages, which takes up to 10 s of processor time for one, on a busy machine
START_S = 60.0  # ... and one that builds its configuration, after so long
STOP_S = 2.0
HEALTHY_S = 2.0  # after so long, the back-off of its restarts begins anew
LONGEST_BACK_OFF_S = 5.0  # results wait for it
FAILED_STARTS = 3
NOTICE_S = 3600.0  # how long the page shows that workers ended
ENDS_REMEMBERED = 1000
WINDOW_DELIVERIES = 512
WINDOW_BYTES = 8 * 1024 * 1024
BEHIND_MESSAGES = 32  # with the worker and not processed: some 20 ms of its work


class WorkerProcess:
    """One for the whole run of the main process; workers come and go. Lives on the event loop.

    Attributes:
        processor: for intake.
        here: no worker is available: this process maps and delivers.
        ready: a worker has built the configuration.
    """

    def __init__(self, identity_key: bytes, *, delivers: bool = True) -> None:
        """``delivers``: the worker makes deliveries, too; else it opens no destination, and has one message at a
        time."""
        self.processor = RemoteProcessor(self._send, one_by_one=not delivers)
        self.here = False
        self.pid: int | None = None
        self._wanted = frames.Configuration(
            epoch=0, folder="", config_hash="", identity_key=identity_key, delivers=delivers
        )
        self._pipe: Pipe | None = None
        self._broken: asyncio.Future[str] | None = None
        self.ready = False
        self._failed_starts = 0
        self._why_here = ""
        self._ends: deque[float] = deque(maxlen=ENDS_REMEMBERED)
        self._silent_s = 0.0
        self._requests = itertools.count(1)
        self._under_way: dict[int, tuple[asyncio.Future[Versions], int]] = {}
        self._bytes = 0
        self._late: dict[str, Callable[[LateRefusal], None]] = {}
        self._changed: asyncio.Future[None] | None = None

    def configure(self, site: Site) -> None:
        """Set the configuration from now on; the worker gets it between two messages."""
        self._wanted = replace(
            self._wanted,
            epoch=self._wanted.epoch + 1,
            folder=str(site.folder),
            config_hash=site.hash,
            corrections=site.corrections,
        )
        self._failed_starts = 0
        if self._pipe is not None:
            self._configure()

    @property
    def notice(self) -> str:
        """A message about the worker for the page; empty where all is well."""
        if self.here:
            return self._why_here
        since = asyncio.get_running_loop().time() - NOTICE_S
        recent = sum(at >= since for at in self._ends)
        return f"the worker process was replaced in the last hour ({recent} times); the log says why" if recent else ""

    # -- deliveries --------------------------------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether a worker is ready and may get one more delivery."""
        return self.ready and len(self._under_way) < WINDOW_DELIVERIES and self._bytes < WINDOW_BYTES

    @property
    def behind(self) -> bool:
        """Whether the worker has so much to map that another process had better deliver."""
        return self.processor.outstanding >= BEHIND_MESSAGES

    async def changed(self) -> None:
        """Wait until `here` or the room has changed."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    async def deliver(self, delivery: Delivery) -> Versions | None:
        """Hand a delivery over; as `Destination.deliver`. Cancelling it cancels the delivery in the worker."""
        request = next(self._requests)
        self._send(frames.deliver(request, delivery))
        future: asyncio.Future[Versions] = asyncio.get_running_loop().create_future()
        self._under_way[request] = (future, len(delivery.body))
        self._bytes += len(delivery.body)
        try:
            return await future
        except asyncio.CancelledError:
            if self._forget(request) is not None:
                self._send(frames.cancel(request))
            raise

    def hear_late(self, destination: str, late: Callable[[LateRefusal], None]) -> None:
        """Call ``late`` for documents that this destination refuses after they were delivered."""
        self._late[destination] = late

    def _forget(self, request: int) -> "asyncio.Future[Versions] | None":
        entry = self._under_way.pop(request, None)
        if entry is None:
            return None  # it was cancelled
        self._bytes -= entry[1]
        self._wake_waiting()
        return entry[0]

    def _settle(self, request: int, error: DeliveryError | None, versions: Versions = ()) -> None:
        future = self._forget(request)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(versions)
        else:
            future.set_exception(error)

    def _wake_waiting(self) -> None:
        """Wake all that wait for a change."""
        if self._changed is not None:
            self._changed.set_result(None)
            self._changed = None

    # -- one life ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start a worker and watch it until it ends; cancelling ends it in order.

        Raises:
            WorkerError: it ended by itself, or had to be ended.
        """
        process, pipe, broken = await self._start()
        try:
            why = await self._attend(process, pipe, broken)
            logger.error("the worker process is replaced", extra={"pid": process.pid, "detail": why})
            self._ends.append(asyncio.get_running_loop().time())
        except asyncio.CancelledError:
            await self._stop(process, pipe)
            raise
        finally:
            await self._end(process, pipe)
        raise WorkerError(why)

    async def _start(self) -> tuple[Process, Pipe, "asyncio.Future[str]"]:
        loop = asyncio.get_running_loop()
        broken: asyncio.Future[str] = loop.create_future()

        def lost() -> None:
            if not broken.done():
                broken.set_result("it ended")

        pipe = Pipe(self._received, lost)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                await loop.create_unix_connection(lambda: pipe, sock=ours)
                process = await launch(theirs.fileno(), _environment())
            except BaseException as error:
                pipe.abort()
                if not isinstance(error, OSError):
                    raise
                self._start_failed()
                raise WorkerError("the worker process cannot be started") from error
        self._pipe, self._broken, self.pid = pipe, broken, process.pid
        self._configure()
        return process, pipe, broken

    async def _attend(self, process: Process, pipe: Pipe, broken: "asyncio.Future[str]") -> str:
        """Watch the worker until it is unusable; return the reason."""
        self._silent_s = 0.0
        while True:
            # Silence is counted in pings, not by the clock: a pause of this process is none of the worker's.
            done, _ = await asyncio.wait({broken}, timeout=PING_S)
            if done:
                why = broken.result()
                if why == "it ended":
                    with contextlib.suppress(TimeoutError):
                        why = f"it ended with status {await asyncio.wait_for(process.wait(), 1.0)}"
                return why
            self._silent_s += PING_S
            hung_s = HUNG_S if self._wanted.delivers else LARGE_HUNG_S
            if self._silent_s > (hung_s if self.ready else START_S):
                return "it does not answer"
            pipe.send(frames.PING)

    async def _stop(self, process: Process, pipe: Pipe) -> None:
        """Let it close its connections in order; its work under way is over by now, or will be sent again."""
        pipe.send(frames.STOP)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_S)

    async def _end(self, process: Process, pipe: Pipe) -> None:
        if not self.ready:
            self._start_failed()
        self.ready = False
        self._pipe, self._broken, self.pid = None, None, None
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        pipe.abort()
        self.processor.lost()
        for request in list(self._under_way):
            self._settle(
                request,
                TransientDeliveryError(ReasonCode.MAYBE_DELIVERED, "the worker process ended before it answered"),
            )

    def _start_failed(self) -> None:
        self._failed_starts += 1
        if self._failed_starts >= FAILED_STARTS and not self.here:
            self._work_here("the worker process does not start; the main process maps and delivers until it does")

    def _work_here(self, why: str) -> None:
        logger.error("the main process maps and delivers itself")
        self.here, self._why_here = True, why
        self.processor.process_here()
        self._wake_waiting()

    # -- frames ------------------------------------------------------------------------------------------------

    def _send(self, parts: list[bytes]) -> None:
        if self._pipe is not None:
            self._pipe.send(parts)

    def _configure(self) -> None:
        self.ready = False
        self.processor.pause()
        formatter = next((handler.formatter for handler in logging.getLogger().handlers), None)
        self._send(
            frames.configure(
                replace(
                    self._wanted,
                    log_style="human" if isinstance(formatter, HumanFormatter) else "json",
                    log_level=logging.getLevelName(logging.getLogger(OURS).getEffectiveLevel()),
                )
            )
        )

    def _received(self, frame: Frame) -> None:
        self._silent_s = 0.0
        try:
            match frame.kind:
                case "outcome":
                    self.processor.outcome(frame)
                case "delivered":
                    self._settle(frame.fields[0], None, frames.read_delivered(frame))
                case "failed":
                    self._settle(frame.fields[0], frames.read_failed(frame))
                case "late":
                    destination, refusal = frames.read_late(frame)
                    if (hear := self._late.get(destination)) is not None:
                        hear(refusal)
                case "ready":
                    self._is_ready(frame.fields[0])
                case "refused":
                    self._is_refused(*frame.fields)
        except Exception:
            logger.exception("the answer of the worker process cannot be used", extra={"kind": frame.kind})
            self._break("it cannot be understood")

    def _is_ready(self, epoch: int) -> None:
        if epoch != self._wanted.epoch or self._pipe is None:  # no pipe: the worker was just ended as too slow
            return
        if self.here:
            logger.warning("a worker process maps and delivers again", extra={"pid": self.pid})
        self.ready, self.here, self._failed_starts = True, False, 0
        self.processor.ready()
        self._wake_waiting()

    def _is_refused(self, epoch: int, problems: list[str]) -> None:
        if epoch != self._wanted.epoch:
            return
        for problem in problems:
            logger.error("the worker process refuses the configuration", extra={"detail": problem})
        if not self.here:
            self._work_here(
                "the files of the configuration changed since they were read; the main process maps and delivers "
                "until `labrelay reload`"
            )
        self._break("it refused the configuration")

    def _break(self, why: str) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_result(why)


async def launch(descriptor: int, environ: Mapping[str, str]) -> Process:
    """A new worker process.

    Args:
        descriptor: of its end of the pipe.

    Raises:
        OSError: it cannot be started.
    """
    return await asyncio.create_subprocess_exec(
        # -P: our own package, never a folder `engine` in the working directory
        sys.executable, "-P", "-m", "engine.runtime.worker", str(descriptor),
        stdin=DEVNULL, pass_fds=(descriptor,), env=environ,
    )  # fmt: skip


def _environment() -> dict[str, str]:
    """The environment of the worker: everything but the journal's key, which it does not need."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}
