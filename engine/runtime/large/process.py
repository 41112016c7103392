"""The main process's side: start the process for large messages, configure it, watch it.

    down -> starting -> ready             `run` is one life of it; its supervisor starts the next one
    ready -> starting                     another configuration, between two messages
    starting -> here                      it refused the configuration, or several did not even start

*Here* means that this process maps large messages itself until one is ready: a laboratory's results do not wait for a
process that cannot be started, or for files that are about to be changed.

When one ends, or hangs and is ended, it sends nothing any more once `run` continues: only then its message goes to the
next one, so nothing of it can arrive later.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from dataclasses import replace

from engine.config.load import Site
from engine.model.errors import LargeProcessError
from engine.monitoring.logs import OURS, HumanFormatter
from engine.runtime.large import frames
from engine.runtime.large.processor import RemoteProcessor
from engine.runtime.large.wire import Frame, Pipe
from engine.store.core.key_encryption_key import VARIABLE

logger = logging.getLogger("labrelay.large")

PING_S = 2.0
HUNG_S = 120.0  # silent for so long it is replaced: one message takes up to 10 s of processor time, the machine is busy
START_S = 60.0  # ... and one that builds its configuration, after so long
STOP_S = 2.0
HEALTHY_S = 2.0  # after so long, the back-off of its restarts begins anew
LONGEST_BACK_OFF_S = 5.0  # results wait for it
FAILED_STARTS = 3


class ChildProcess:
    """One process beside the main one, for its whole run; processes come and go. Lives on the event loop.

    Attributes:
        called: in an error.
        ready: one has taken over the configuration.
    """

    called = ""

    @property
    def hung_s(self) -> float:
        """Silent for so long it is replaced."""
        return HUNG_S

    def __init__(self) -> None:
        self.pid: int | None = None
        self.ready = False
        self._pipe: Pipe | None = None
        self._broken: asyncio.Future[str] | None = None
        self._silent_s = 0.0

    async def _launch(self, descriptor: int) -> Process:
        raise NotImplementedError

    def _configure(self) -> None:
        """Send the configuration."""

    def _frame(self, frame: Frame) -> None:
        """Take what it says."""

    def _replaced(self, extra: Mapping[str, object]) -> None:
        """Log that it could not be used any more."""

    def _lost(self) -> None:
        """It has ended, and sends nothing any more."""

    def _start_failed(self) -> None:
        """It has ended before it was ready."""

    # -- one life ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start a process and watch it until it ends; cancelling ends it in order.

        Raises:
            LargeProcessError: it ended by itself, or had to be ended.
        """
        process, pipe, broken = await self._start()
        try:
            why = await self._attend(process, pipe, broken)
            self._replaced({"pid": process.pid, "detail": why})
        except asyncio.CancelledError:
            await self._stop(process, pipe)
            raise
        finally:
            await self._end(process, pipe)
        raise LargeProcessError(why)

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
                process = await self._launch(theirs.fileno())
            except BaseException as error:
                pipe.abort()
                if not isinstance(error, OSError):
                    raise
                self._start_failed()
                raise LargeProcessError(f"{self.called} cannot be started") from error
        self._pipe, self._broken, self.pid = pipe, broken, process.pid
        self._configure()
        return process, pipe, broken

    async def _attend(self, process: Process, pipe: Pipe, broken: "asyncio.Future[str]") -> str:
        """Watch the process until it is unusable; return the reason."""
        self._silent_s = 0.0
        while True:
            # Silence is counted in pings, not by the clock: a pause of this process is none of the other's.
            done, _ = await asyncio.wait({broken}, timeout=PING_S)
            if done:
                why = broken.result()
                if why == "it ended":
                    with contextlib.suppress(TimeoutError):
                        why = f"it ended with status {await asyncio.wait_for(process.wait(), 1.0)}"
                return why
            self._silent_s += PING_S
            if self._silent_s > (self.hung_s if self.ready else START_S):
                return "it does not answer"
            pipe.send(frames.PING)

    async def _stop(self, process: Process, pipe: Pipe) -> None:
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
        self._lost()

    # -- frames ------------------------------------------------------------------------------------------------

    def _send(self, parts: list[bytes]) -> None:
        if self._pipe is not None:
            self._pipe.send(parts)

    def _received(self, frame: Frame) -> None:
        self._silent_s = 0.0
        try:
            self._frame(frame)
        except Exception:
            logger.exception("the answer of a process cannot be used", extra={"kind": frame.kind})
            self._break("it cannot be understood")

    def _break(self, why: str) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_result(why)


class LargeProcess(ChildProcess):
    """One for the whole run of the main process; processes come and go. Lives on the event loop.

    Attributes:
        processor: for intake.
        here: none is available: this process maps.
    """

    called = "the process for large messages"

    def __init__(self, identity_key: bytes) -> None:
        super().__init__()
        self.processor = RemoteProcessor(self._send)
        self.here = False
        self._wanted = frames.Configuration(epoch=0, folder="", config_hash="", identity_key=identity_key)
        self._failed_starts = 0

    def configure(self, site: Site) -> None:
        """Set the configuration from now on; the process gets it between two messages."""
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

    def _start_failed(self) -> None:
        self._failed_starts += 1
        if self._failed_starts >= FAILED_STARTS:
            self._work_here("the process does not start")

    def _work_here(self, why: str) -> None:
        if not self.here:
            logger.error("the main process maps large messages itself", extra={"detail": why})
            self.here = True
            self.processor.process_here()

    # -- frames ------------------------------------------------------------------------------------------------

    async def _launch(self, descriptor: int) -> Process:
        return await launch(descriptor, environment())

    def _replaced(self, extra: Mapping[str, object]) -> None:
        logger.error("the process for large messages is replaced", extra=extra)

    def _lost(self) -> None:
        self.processor.lost()

    def _configure(self) -> None:
        self.ready = False
        self.processor.pause()
        style, level = log_setting()
        self._send(frames.configure(replace(self._wanted, log_style=style, log_level=level)))

    def _frame(self, frame: Frame) -> None:
        match frame.kind:
            case "outcome":
                self.processor.outcome(frame)
            case "ready":
                self._is_ready(frame.fields[0])
            case "refused":
                self._is_refused(*frame.fields)

    def _is_ready(self, epoch: int) -> None:
        if epoch != self._wanted.epoch or self._pipe is None:  # no pipe: the process was just ended as too slow
            return
        if self.here:
            logger.warning("a process for large messages maps them again", extra={"pid": self.pid})
        self.ready, self.here, self._failed_starts = True, False, 0
        self.processor.ready()

    def _is_refused(self, epoch: int, problems: list[str]) -> None:
        if epoch != self._wanted.epoch:
            return
        for problem in problems:
            logger.error("the process for large messages refuses the configuration", extra={"detail": problem})
        self._work_here("the files of the configuration changed since they were read; until `labrelay reload`")
        self._break("it refused the configuration")


async def launch(descriptor: int, environ: Mapping[str, str], module: str = "engine.runtime.large") -> Process:
    """A new process.

    Args:
        descriptor: of its end of the pipe.
        module: for large messages, or another that serves such a pipe.

    Raises:
        OSError: it cannot be started.
    """
    return await asyncio.create_subprocess_exec(
        # -P: our own package, never a folder `engine` in the working directory
        sys.executable, "-P", "-m", module, str(descriptor),
        stdin=DEVNULL, pass_fds=(descriptor,), env=environ,
    )  # fmt: skip


def environment() -> dict[str, str]:
    """The environment of the process: everything but the journal's key, which it does not need."""
    return {name: value for name, value in os.environ.items() if name != VARIABLE}


def log_setting() -> tuple[str, str]:
    """Style and level of this process's log, as `engine.monitoring.logs.setup_logging` takes them."""
    formatter = next((handler.formatter for handler in logging.getLogger().handlers), None)
    level = logging.getLevelName(logging.getLogger(OURS).getEffectiveLevel())
    return "human" if isinstance(formatter, HumanFormatter) else "json", level
