"""The side of the process for large messages: process them for the main process at the other end of the pipe.

It opens no database, no journal, no listener and no destination. It builds the same site from the same files as the
main process and confirms it, or reports the errors. It has one message at a time, and each takes little memory, and
gives it back.
"""

import asyncio
import gc
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from socket import socket

from engine.config.load import changed_files, load_site
from engine.model.errors import ConfigError
from engine.model.outcome import Outcome
from engine.model.packing import Packer
from engine.model.process import allocator
from engine.model.process.clock import SystemClock
from engine.model.routes import Processed, Route
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.counters import Counters
from engine.monitoring.logs import loop_exception_handler, setup_logging
from engine.processing.process import process
from engine.runtime.build import BuiltSite, build_site
from engine.runtime.compiled_code import CompiledCode
from engine.runtime.large import frames
from engine.runtime.large.wire import Frame, Pipe

logger = logging.getLogger("labrelay.large")


class Child:
    """The process for large messages, connected."""

    def __init__(self, leave: Callable[[], None]) -> None:
        """``leave`` ends the process; called when the main process is gone."""
        self.pipe = Pipe(self._received, leave)
        self.stopped = asyncio.Event()
        self._site: BuiltSite | None = None
        self._waiting: Frame | None = None
        self._pack = Packer().pack
        self._configuring = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()

    def _received(self, frame: Frame) -> None:
        match frame.kind:
            case "map":
                self._waiting = frame
                # Not at once: what takes it back may have come with it.
                asyncio.get_running_loop().call_soon(self._process)
            case "forget":
                self._waiting = None
            case "ping":
                self.pipe.send(frames.PONG)
            case "configure":
                self._waiting = None  # main asks again for a message that it still wants processed, once we are ready
                task = asyncio.get_running_loop().create_task(self._take_over(frames.read_configure(frame)))
                self._background.add(task)
                task.add_done_callback(self._background.discard)
            case "stop":
                self.stopped.set()

    async def _take_over(self, wanted: frames.Configuration) -> None:
        async with self._configuring:
            setup_logging(Counters(), level=wanted.log_level, style=wanted.log_style)
            try:
                site = replace(load_site(Path(wanted.folder)), corrections=wanted.corrections)
                if site.hash != wanted.config_hash:
                    raise ConfigError("the files of the configuration are not those that the main process has read")
                built = build_site(site, identity_key=wanted.identity_key, clock=SystemClock())
                code = CompiledCode(site.config.data, wanted.identity_key)
                await code.complete(built.made)
                if changed_files(site):
                    raise ConfigError("files of the configuration were changed while it was built")
            except ConfigError as error:
                self.pipe.send(frames.refused(wanted.epoch, error.problems))
                return
            except Exception as error:
                logger.exception("the configuration cannot be built")
                self.pipe.send(frames.refused(wanted.epoch, [type(error).__name__]))
                return
            self._site = built
            allocator.settle()
            self.pipe.send(frames.ready(wanted.epoch))

    def _process(self) -> None:
        frame, self._waiting = self._waiting, None
        if frame is None:
            return
        self.pipe.send(self._processed(frame))
        del frame
        gc.collect()  # a parsed message is part of a cycle
        allocator.trim()

    def _processed(self, frame: Frame) -> frames.Parts:
        number, stored, others = frames.read_map(frame)
        assert self._site is not None, "configured first"
        channel = self._site.channels[stored.channel].routes
        channel = replace(
            channel,
            context=replace(channel.context, others=others, packs=True),
            # values kept for the next message take 10 MiB of one, and go with it
            routes=tuple(_aside(route) for route in channel.routes),
        )
        outcome = process(stored, channel)
        try:
            return frames.outcome(number, outcome, channel, self._pack)
        except Exception as error:
            # P2: an error in an outcome must not leave its message stuck here.
            logger.exception("an outcome cannot be sent", extra={"channel": stored.channel, "journal_id": stored.id})
            fault: Processed = Outcome("dead", ReasonCode.MAPPING_FAULT, type(error).__name__)
            return frames.outcome(number, fault, channel, self._pack)


def _aside(route: Route) -> Route:
    """The route with caches of its own."""
    return route if route.program is None else replace(route, program=route.program.aside())


async def serve(end: socket) -> None:
    """Work for the main process at the other end of ``end`` until it sends stop."""
    # Without the main process no outcome could be recorded: end at once, as a crash would.
    child = Child(leave=lambda: os._exit(0))
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(loop_exception_handler)
    await loop.create_unix_connection(lambda: child.pipe, sock=end)
    await child.stopped.wait()
