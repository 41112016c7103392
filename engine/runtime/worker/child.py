"""The worker's side: process messages, deliver documents, for the main process at the other end of the pipe.

It opens no database, no journal and no listener. It builds the same site from the same files as the main process and
confirms it, or reports the errors. Frames are handled as they come; messages wait their turn and are processed a few at
a time, so that neither a delivery nor a ping waits behind them.
"""

import asyncio
import contextlib
import gc
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any

from engine.config.destinations.destination import DestinationConfig
from engine.config.findings.tls_files import Fingerprints, fingerprints
from engine.config.load import changed_files, load_site
from engine.model.errors import ConfigError, DeliveryError, TransientDeliveryError
from engine.model.message import Delivery, LateRefusal
from engine.model.outcome import Outcome
from engine.model.packing import Packer
from engine.model.ports import Destination
from engine.model.process import allocator
from engine.model.process.clock import SystemClock
from engine.model.routes import Processed, Route
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.counters import Counters
from engine.monitoring.logs import loop_exception_handler, setup_logging
from engine.processing.process import process
from engine.runtime.build import BuiltSite, build_destination, build_site
from engine.runtime.compiled_code import CompiledCode
from engine.runtime.worker import frames
from engine.runtime.worker.wire import Frame, Pipe

logger = logging.getLogger("labrelay.worker")

PROCESS_S = 0.002  # messages processed in one turn of the loop, before deliveries get theirs
CLOSE_S = 1.0


class Child:
    """One worker process, connected."""

    def __init__(self, leave: Callable[[], None]) -> None:
        """``leave`` ends the process; called when the main process is gone."""
        self.pipe = Pipe(self._received, leave, self._go_on)
        self.stopped = asyncio.Event()
        self._clock = SystemClock()
        self._site: BuiltSite | None = None
        self._configs: Mapping[str, DestinationConfig] = {}
        self._certificates: Fingerprints = {}
        self._destinations: dict[str, Destination] = {}
        self._waiting: deque[Frame] = deque()
        self._is_for_large = False  # its messages are: each takes little memory, and gives it back
        self._processing = False  # a turn of `_process_some` is due
        self._pack = Packer().pack
        self._under_way: dict[int, tuple[Destination, asyncio.Task[None]]] = {}
        self._configuring = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self._handlers: dict[str, Callable[[Frame], None]] = {
            "map": self._map,
            "deliver": self._deliver,
            "cancel": self._cancel,
            "forget": lambda frame: self._waiting.clear(),
            "ping": lambda frame: self.pipe.send(frames.PONG),
            "configure": self._configure,
            "stop": lambda frame: self.stopped.set(),
        }

    def _received(self, frame: Frame) -> None:
        self._handlers[frame.kind](frame)

    # -- configuration -----------------------------------------------------------------------------------------

    def _configure(self, frame: Frame) -> None:
        wanted = frames.read_configure(frame)
        self._waiting.clear()  # main asks again for messages that it still wants processed, once we are ready
        self._in_background(self._take_over(wanted))

    async def _take_over(self, wanted: frames.Configuration) -> None:
        async with self._configuring:
            setup_logging(Counters(), level=wanted.log_level, style=wanted.log_style)
            try:
                site = replace(load_site(Path(wanted.folder)), corrections=wanted.corrections)
                if site.hash != wanted.config_hash:
                    raise ConfigError("the files of the configuration are not those that the main process has read")
                built = build_site(site, identity_key=wanted.identity_key, clock=self._clock)
                code = CompiledCode(site.config.data, wanted.identity_key)
                await code.complete(built.made)
                if changed_files(site):
                    raise ConfigError("files of the configuration were changed while it was built")
                await self._open(site.config.destinations if wanted.delivers else {}, fingerprints(site))
            except ConfigError as error:
                self.pipe.send(frames.refused(wanted.epoch, error.problems))
                return
            except Exception as error:
                logger.exception("the configuration cannot be built")
                self.pipe.send(frames.refused(wanted.epoch, [type(error).__name__]))
                return
            self._site = built
            self._is_for_large = not wanted.delivers
            allocator.settle()
            self.pipe.send(frames.ready(wanted.epoch))

    async def _open(self, configs: Mapping[str, DestinationConfig], certificates: Fingerprints) -> None:
        """Open exactly these destinations; unchanged ones keep their connections.

        Deliveries under way to one that leaves are not cancelled here: the main process cancels those that it gives up.
        """
        changed = {
            name
            for name in {*self._configs, *configs}
            if self._configs.get(name) != configs.get(name)
            or certificates.get(("destination", name)) != self._certificates.get(("destination", name))
        }
        made = {name: build_destination(name, configs[name], self._clock) for name in configs if name in changed}
        for name in changed & self._destinations.keys():
            self._in_background(self._retire(self._destinations.pop(name)))
        for name, one in made.items():
            one.hear_late(partial(self._say_late, name))
            await one.start()
            self._destinations[name] = one
        self._configs = configs
        self._certificates = certificates

    async def _retire(self, leaving: Destination) -> None:
        under_way = [task for destination, task in self._under_way.values() if destination is leaving]
        if under_way:
            await asyncio.wait(under_way)
        await leaving.close()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Close connections in order, as far as that is quick."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                for one in self._destinations.values():
                    await one.close()

    # -- processing --------------------------------------------------------------------------------------------

    def _map(self, frame: Frame) -> None:
        self._waiting.append(frame)
        self._go_on()

    def _go_on(self) -> None:
        if not self._processing and self._waiting:
            self._processing = True
            asyncio.get_running_loop().call_soon(self._process_some)

    def _process_some(self) -> None:
        self._processing = False
        until = time.monotonic() + PROCESS_S
        while self._waiting and not self.pipe.congested:
            self.pipe.send(self._processed(self._waiting.popleft()))
            if self._is_for_large:
                gc.collect()  # a parsed message is part of a cycle
                allocator.trim()
            if time.monotonic() >= until:
                self._go_on()
                return

    def _processed(self, frame: Frame) -> frames.Parts:
        number, stored, others = frames.read_map(frame)
        assert self._site is not None, "configured first"
        channel = self._site.channels[stored.channel].routes
        if others or self._is_for_large:
            context = replace(channel.context, others=others, packs=self._is_for_large)
            channel = replace(channel, context=context)
        if self._is_for_large:  # values kept for the next message take 10 MiB of one, and go with it
            routes = tuple(_aside(route) for route in channel.routes)
            channel = replace(channel, routes=routes)
        outcome = process(stored, channel)
        try:
            return frames.outcome(number, outcome, channel, self._pack)
        except Exception as error:
            # P2: an error in an outcome must not leave its message stuck here.
            logger.exception("an outcome cannot be sent", extra={"channel": stored.channel, "journal_id": stored.id})
            fault: Processed = Outcome("dead", ReasonCode.MAPPING_FAULT, type(error).__name__)
            return frames.outcome(number, fault, channel, self._pack)

    # -- delivering --------------------------------------------------------------------------------------------

    def _deliver(self, frame: Frame) -> None:
        request, delivery = frames.read_deliver(frame)
        destination = self._destinations.get(delivery.destination)
        if destination is None:  # it has left the configuration, and main does not know it yet
            self.pipe.send(frames.failed(request, TransientDeliveryError(ReasonCode.NO_DESTINATION)))
            return
        task = asyncio.get_running_loop().create_task(self._send(request, destination, delivery))
        self._under_way[request] = (destination, task)
        task.add_done_callback(lambda _: self._under_way.pop(request))

    async def _send(self, request: int, destination: Destination, delivery: Delivery) -> None:
        try:
            versions = await destination.deliver(delivery)
        except DeliveryError as error:
            self.pipe.send(frames.failed(request, error))
        except Exception as error:
            logger.exception(
                "delivery failed inside LabRelay",
                extra={"destination": delivery.destination, "delivery_id": delivery.id},
            )
            self.pipe.send(frames.fault(request, error))
        else:
            self.pipe.send(frames.delivered(request, versions or ()))

    def _say_late(self, name: str, late: LateRefusal) -> None:
        self.pipe.send(frames.late(name, late))

    def _cancel(self, frame: Frame) -> None:
        if (under_way := self._under_way.get(frame.fields[0])) is not None:
            under_way[1].cancel()


def _aside(route: Route) -> Route:
    """The route with caches of its own."""
    return route if route.program is None else replace(route, program=route.program.aside())


async def serve(end: socket) -> None:
    """Work for the main process at the other end of ``end`` until it sends stop."""
    # Without the main process the result of a delivery could not be recorded: end at once, as a crash would.
    child = Child(leave=lambda: os._exit(0))
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(loop_exception_handler)
    await loop.create_unix_connection(lambda: child.pipe, sock=end)
    await child.stopped.wait()
    await child.close()
