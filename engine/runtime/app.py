"""The running site: build its parts, start them in order, keep them alive, swap them at a reload, stop them in order.

    lock -> journal (anchor, last rows checked) -> recovery -> destinations -> intake -> sources -> page, control

Sources open last: nothing is accepted before recovery is done. The stop has the opposite order: no new bytes, then work
under way, then the journal. Nothing volatile needs flushing, so a kill at any moment loses nothing.
"""

import asyncio
import contextlib
import logging
import resource
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from engine.actions.control import SOCKET_NAME
from engine.actions.control_server import ControlServer
from engine.actions.pause_resume import Switches, concerns
from engine.actions.replay_messages import LIVE_FIRST, Replays
from engine.actions.underway import Acts
from engine.config.destination import DestinationConfig
from engine.config.downtime_windows import DowntimeCalendar, Window
from engine.config.load import Site, load_site
from engine.config.receive_memory import ReceiveMemory
from engine.config.renewal import fingerprints
from engine.delivery.breaker import BreakerState
from engine.delivery.events import DeliveryEvents
from engine.delivery.worker import DestinationWorker
from engine.model.clock import Clock, SystemClock
from engine.model.errors import ConfigError, StoreError
from engine.model.message import Delivery, Stored
from engine.model.reasons import ReasonCode
from engine.model.records import DELIVERIES, Pause, Recovery, Target
from engine.monitoring.metrics import Counters, new_registry
from engine.monitoring.taps import Taps
from engine.processing.intake import Intake
from engine.receiving.channel import Channel
from engine.receiving.outcomes import Outcomes
from engine.receiving.tee import TeeChannel
from engine.runtime import gc_tuning
from engine.runtime.backup_scheduler import BackupScheduler
from engine.runtime.build import BuiltChannel, BuiltSite, build_site, build_worker, reassemble
from engine.runtime.clock_watch import ClockWatch
from engine.runtime.control_handlers import followers, handlers
from engine.runtime.observe import Observer
from engine.runtime.other_history import OtherPlaces
from engine.runtime.scrub import Scrub
from engine.runtime.second_anchor import SecondAnchor
from engine.runtime.sources import ChannelSource
from engine.runtime.supervisor import Supervisor
from engine.runtime.watchdog import Notifier, watch
from engine.runtime.worker.large import LargeMessages
from engine.runtime.worker.process import HEALTHY_S, LONGEST_BACK_OFF_S, WorkerProcess
from engine.store import journal
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.core.trail_check import HEAD_WORDS
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.lifecycle.retention import Policy
from engine.store.operations import append, audit
from engine.store.queries.lanes import list_lanes, list_pauses
from engine.store.queries.messages import trace_of
from engine.store.queries.tallies import list_reagents
from engine.store.queries.warm_up import WarmUp
from engine.web.server import StatusServer

logger = logging.getLogger("labrelay.site")

STOP_SOURCES_S = 2.0  # with the following grace periods well within ten seconds altogether
STOP_WORKERS_S = 2.0
STOP_INTAKE_S = 1.0
STOP_RELOAD_S = 2.0
REAGENTS_FOUND = 200  # the most lots that the page lists
PAGE_RETRY_S = 5.0
STORE_RETRY_S = 1.0
HEAD_EVERY_S = 86_400.0
HEAD_WITHIN_S = 1.0
QUIET = 32  # operations that wait for the journal's writer: with more, a replay waits
STRICTEST_FIRST = ("channel", "specimen", "none")
STALE_AFTER_S = 30.0  # intake and the loop beat at least every 5 s


class App:
    """One running site. Created and run within one event loop."""

    def __init__(self, folder: Path, *, counters: Counters | None = None, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock: Clock = clock or SystemClock()
        self.clock_watch = ClockWatch(self.clock)
        self.counters = counters or Counters()
        self.sources: dict[str, ChannelSource] = {}
        self.delivery_workers: dict[str, DestinationWorker] = {}
        self.worker_process: WorkerProcess | None = None
        self.large: LargeMessages
        self.memory = ReceiveMemory()
        self.taps = Taps(self.clock, lambda: {name: channel.routes for name, channel in self.built.channels.items()})
        self.pauses: dict[Target, Pause] = {}
        self.ready = False
        self.fatal: StoreError | None = None
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._notifier = Notifier()
        self._page: StatusServer | None = None
        self._replays: Replays | None = None

    def stop(self) -> None:
        """Ask the running site to stop; safe from a signal handler."""
        self._stop.set()

    async def run(self, started: Callable[["App"], None] = lambda app: None) -> None:
        """Run until `stop`.

        Args:
            started: called once everything is up.

        Raises:
            ConfigError, LockedError, IntegrityError: before anything is accepted.
            StoreError: the journal failed for good; the process must end now.
        """
        site = load_site(self.folder)
        _raise_file_limit()
        self._loop = asyncio.get_running_loop()
        elsewhere = OtherPlaces(site.config)
        self.journal = Journal.open(
            site.config.data,
            clock=self.clock,
            on_fatal=self._store_failed,
            zone=ZoneInfo(site.config.site.timezone or "UTC"),
            reserve=True,
            elsewhere=elsewhere.witnesses,
        )
        self._say((*self.journal.notes, *elsewhere.silent))
        for text in self.journal.damage:
            logger.error("the journal is damaged", extra={"detail": text})
        recovery = recover(self.journal, judges=not site.config.workers)
        self.journal.start(self._loop)
        try:
            await self._run(site, recovery, started)
        finally:
            # After a failed sync the kernel's state is unknown: stop without another write.
            await self.journal.stop()
        if self.fatal is not None:
            raise self.fatal

    async def _run(self, site: Site, recovery: Recovery, started: Callable[["App"], None]) -> None:
        built = build_site(
            site, identity_key=self.journal.vault.identity_key, clock=self.clock, others=self.journal.others
        )
        self._say(built.doubts)
        if recovery.maybe_delivered or recovery.unprocessed:
            logger.info(
                "going on where the last run ended",
                extra={"count": recovery.unprocessed, "waiting": recovery.maybe_delivered},
            )
        self.built = built
        self.journal.upkeep.config_hash = built.site.hash[:12]
        self._certificates = fingerprints(built.site)
        self.pauses = {pause.target: pause for pause in list_pauses(self.journal)}
        if site.config.workers:
            self.worker_process = WorkerProcess(self.journal.vault.identity_key)
            self.worker_process.configure(site)
        self.large = LargeMessages(WorkerProcess(self.journal.vault.identity_key, delivers=False))
        self.large.process.configure(site)
        self.outcomes = Outcomes(partial(trace_of, self.journal))
        if recovery.given_up:
            logger.error(
                "a message ended the process three times and is a dead letter now",
                extra={"journal_id": recovery.given_up},
            )
        self.intake = Intake(
            self.journal,
            clock=self.clock,
            processor=self.worker_process.processor if self.worker_process else None,
            outcomes=self.outcomes,
            mapped=self.taps.mapped,
            warily=recovery.killed and self.worker_process is None,
            aside=self.large,
        )
        self.second_anchor = SecondAnchor(self.journal, site)
        self.backup = BackupScheduler(self.journal, lambda: self.built.site, self.clock)
        self.observer = Observer(self)
        async with Supervisor(self.clock) as supervisor:
            self.supervisor = supervisor
            # Every begun part is ended, in the opposite order, also where a later step of the start fails.
            async with contextlib.AsyncExitStack() as running:
                await self._start(site, recovery, supervisor, running)
                self.ready = True
                self._notifier.ready("receiving")
                started(self)
                await self._until_stopped(supervisor)
                await self._write_head()
                self.ready = False
                self._notifier.stopping()

    async def _start(
        self, site: Site, recovery: Recovery, supervisor: Supervisor, running: contextlib.AsyncExitStack
    ) -> None:
        running.push_async_callback(self.second_anchor.close)
        # The worker process, if there is one, outlives the work under way in it: the supervisor ends last.
        for name, config in site.config.destinations.items():
            self.delivery_workers[name] = self._worker(name, config)
        if self.worker_process is not None:
            supervisor.supervise("worker", self.worker_process.run, healthy_s=HEALTHY_S, max_s=LONGEST_BACK_OFF_S)
        supervisor.supervise("large messages", self.large.run, healthy_s=HEALTHY_S, max_s=LONGEST_BACK_OFF_S)
        self._take_over(self.built)
        if recovery.sessions:
            await self._assemble(self.built)
        self._find_open(set(self.delivery_workers))
        running.push_async_callback(self._stop_workers)
        for worker in self.delivery_workers.values():
            await worker.start()
        running.push_async_callback(self._stop_intake)
        supervisor.supervise(
            "intake",
            lambda: self.intake.run(lambda: supervisor.heartbeat("intake")),
            stale_after_s=STALE_AFTER_S,
        )
        running.push_async_callback(self._stop_receiving)
        gc_tuning.settle()
        for source in self.sources.values():
            await source.start()
        warm_up = WarmUp(site.config.data / JOURNAL_NAME)
        await warm_up.start()
        running.push_async_callback(warm_up.stop)
        acts = Acts(
            self.journal,
            channels=lambda: {name: channel.routes for name, channel in self.built.channels.items()},
            look_again=self._look_again,
            accept=self.intake.accept,
            clock=self.clock,
            attempts=lambda message: [
                name for name, worker in self.delivery_workers.items() if worker.attempts_of(message)
            ],
            waits=self._replay_waits,
        )
        self._replays = acts.replays
        await acts.give_up(recovery.acts)
        running.push_async_callback(acts.stop)
        switches = Switches(self.journal, self)
        control = ControlServer(
            site.config.data / SOCKET_NAME, handlers(self, acts, switches), followers=followers(self)
        )
        await control.start()
        running.push_async_callback(control.stop)
        self._page = await self._start_page(site)
        supervisor.supervise("second anchor", self.second_anchor.run)
        supervisor.supervise("backup", self.backup.run)
        supervisor.supervise("backup rows", self.backup.run_rows)
        supervisor.supervise("daily look", Scrub(self.journal, lambda: self.built.site, self.clock).run)
        supervisor.supervise("audit head", self._write_heads)
        supervisor.supervise("clock", lambda: self.clock_watch.run(self._clock_moved))
        supervisor.supervise("watchdog", lambda: watch(self._notifier, supervisor.stale, self.observer.status_line))

    async def _until_stopped(self, supervisor: Supervisor) -> None:
        """Wait for `stop`.

        Raises:
            BaseException: the fatal error of a supervised task.
        """
        failed = self._loop.create_task(supervisor.wait())
        stopping = self._loop.create_task(self._stop.wait())
        await asyncio.wait({failed, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if failed.done():
            failed.result()
        failed.cancel()

    async def _write_heads(self) -> None:
        """Log the head of the journal's chain, out of reach of the journal's writer; see
        `engine.store.core.trail_check`.
        """
        while True:
            await self._write_head()
            await asyncio.sleep(HEAD_EVERY_S)

    async def _write_head(self) -> None:
        with contextlib.suppress(StoreError, TimeoutError):  # reported elsewhere; a hanging disk is not waited for
            async with asyncio.timeout(HEAD_WITHIN_S):
                last_id, head = await self.journal.run(journal.head)
            own = self.journal.journal_id.hex()[:8]
            logger.info(HEAD_WORDS, extra={"journal_id": last_id, "head": head, "detail": own})

    # -- stopping ----------------------------------------------------------------------------------------------

    async def _stop_receiving(self) -> None:
        # A reload under way would reopen the sources that are closed here.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_RELOAD_S):
                await self._reloading.acquire()
        page = () if self._page is None else (self._page.stop(),)
        await asyncio.gather(self._stop_sources(list(self.sources.values())), *page)
        for source in self.sources.values():
            _say_what_is_lost(source)

    async def _stop_intake(self) -> None:
        """Let decided outcomes become durable, so that the workers know their deliveries when they give them back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_INTAKE_S), self.intake.between_messages():
                await self.supervisor.release("intake")

    async def _stop_workers(self) -> None:
        await asyncio.gather(*(worker.stop(self._grace(STOP_WORKERS_S)) for worker in self.delivery_workers.values()))

    # -- configuration -----------------------------------------------------------------------------------------

    async def reload(self) -> Site:
        """Read the site again and swap to it, or keep everything as it is.

        First everything is read, compiled and checked; only then channels and destinations that differ are stopped,
        replaced and started. Unchanged ones go on untouched, including their connections.

        Raises:
            ConfigError: with every problem; nothing was changed.
        """
        async with self._reloading:
            self._notifier.reloading()
            old = self.built.site.config
            try:
                # In a thread: analyzers are served while hundreds of files are read and compiled.
                site = await asyncio.to_thread(load_site, self.folder)
                self._refuse_what_needs_a_restart(site)
                key = self.journal.vault.identity_key
                built = await asyncio.to_thread(
                    build_site, site, identity_key=key, clock=self.clock, others=self.journal.others
                )
                await self._swap(built)
                gc_tuning.settle()
            finally:
                self._notifier.ready("receiving")
            self._say(built.doubts)
            later = ("config/labrelay.yaml: web: a change takes effect at the next start",)
            return replace(
                site, warnings=(*site.warnings, *built.doubts, *(later if site.config.web != old.web else ()))
            )

    def _say(self, lines: tuple[str, ...]) -> None:
        for line in lines:
            logger.warning("%s", line)

    def _refuse_what_needs_a_restart(self, site: Site) -> None:
        old = self.built.site.config
        for key in ("data", "workers"):
            if getattr(site.config, key) != getattr(old, key):
                raise ConfigError(f"config/labrelay.yaml: {key}: cannot be changed while running; restart instead")

    async def _swap(self, built: BuiltSite) -> None:
        old, new = self.built.site.config, built.site.config
        certificates = fingerprints(built.site)
        renewed = {key for key, found in certificates.items() if self._certificates.get(key) != found}
        changed = {
            name
            for name in {*old.destinations, *new.destinations}
            if old.destinations.get(name) != new.destinations.get(name) or ("destination", name) in renewed
        }
        made = {name: self._worker(name, new.destinations[name]) for name in changed & new.destinations.keys()}
        leaving = [
            source
            for name, source in self.sources.items()
            if ("channel", name) in renewed or not _same_source(source.built, built.channels.get(name))
        ]
        await self._stop_sources(leaving)
        for source in leaving:
            del self.sources[source.built.config.channel]
        # No message is half-way now, so none has a place at a worker that leaves. New workers take deliveries into the
        # store only, until they have claimed the rows that the old ones gave back: so the lanes keep their order.
        async with self.intake.between_messages():
            replaced = [self.delivery_workers.pop(name) for name in changed & self.delivery_workers.keys()]
            self.delivery_workers.update(made)
            self._follow_pauses(made)
            self.built = built
            self.journal.upkeep.config_hash = built.site.hash[:12]
            self._certificates = certificates
            self._take_over(built)
            for source in leaving:
                self._leave(source)
            if self.worker_process is not None:
                self.worker_process.configure(built.site)
            self.large.process.configure(built.site)
        await asyncio.gather(*(worker.stop(STOP_WORKERS_S) for worker in replaced))
        await self._find_open_for_sure(changed)
        for worker in made.values():
            await worker.start()
        for source in self.sources.values():
            if source.idle:
                await source.start()
        logger.info("configuration reloaded", extra={"config_hash": built.site.hash[:12]})

    def _leave(self, source: ChannelSource) -> None:
        """Hand a channel's unstored data to the channel that replaces it; no sender would send it again."""
        name, left = source.built.config.channel, source.channel.unkept
        if (new := self.sources.get(name)) is not None:
            new.channel.unkept.take_over(left)
        else:
            _say_what_is_lost(source)

    async def _find_open_for_sure(self, names: set[str]) -> None:
        """As `_find_open`; a worker must not start without knowing which of its lanes are held."""
        while True:
            try:
                self._find_open(names)
                return
            except StoreError as error:
                logger.error("cannot read the outbox, will try again", extra={"detail": str(error)})
                await asyncio.sleep(STORE_RETRY_S)

    def _find_open(self, names: set[str]) -> None:
        """Give the workers in ``names`` the state of their lanes in the store."""
        for view in list_lanes(self.journal):
            if view.destination in names and view.destination in self.delivery_workers:
                worker = self.delivery_workers[view.destination]
                worker.lane(view.channel).held = bool(view.held_by) or view.paused
                if view.open:
                    worker.look_again(view.channel)

    def _look_again(self, channel: str, destination: str, added: int) -> None:
        """A person's action changed ``added`` rows of a lane; a lane without its destination waits in the store."""
        worker = self.delivery_workers.get(destination)
        if worker is None:
            return
        for view in list_lanes(self.journal):
            if (view.channel, view.destination) == (channel, destination):
                worker.lane(channel).held = bool(view.held_by) or view.paused
        worker.look_again(channel)

    # -- pauses and restarts (`engine.actions.pause_resume.PauseListener`)
    # -----------------------------------------------------

    async def switched(self, target: Target, pause: Pause | None) -> None:
        """``target`` was paused, or (None) resumed."""
        if pause is not None:
            self.pauses[target] = pause
        else:
            self.pauses.pop(target, None)
        try:
            await self._switch(target)
        finally:
            self.observer.look_again()

    async def _switch(self, target: Target) -> None:
        # Deliveries first, at once: no further attempt begins.
        if target.kind == "lane":
            self._look_again(target.channel, target.destination, 0)
        elif target.kind in ("destination", "deliveries"):
            self._follow_pauses([name for name in self.delivery_workers if target.destination in ("", name)])
        elif target.kind == "channel":
            async with self._reloading:
                source = self.sources.get(target.channel)
                if source is None:
                    return
                source.paused = target in self.pauses
                if source.paused:
                    await self._stop_sources([source])
                elif source.idle:
                    await source.start()

    async def restarted(self, target: Target) -> None:
        """Close and open a source or destination, or retry a lane's deliveries at once."""
        if target.kind == "lane":
            if (lanes := self.delivery_workers.get(target.destination)) is not None:
                lanes.try_now(target.channel)
            return
        async with self._reloading:
            if target.kind == "channel":
                if (source := self.sources.get(target.channel)) is not None:
                    await self._stop_sources([source])
                    await source.start()
                return
            name = target.destination
            # As at a reload: the new worker has the lanes, and claims them from the store once the old one is gone.
            config = self.built.site.config.destinations.get(name)
            if config is None:
                return
            made = self._worker(name, config)
            async with self.intake.between_messages():
                old = self.delivery_workers[name]
                self.delivery_workers[name] = made
                self._follow_pauses((name,))
                self._take_over(self.built)
            await old.stop(STOP_WORKERS_S)
            await self._find_open_for_sure({name})
            made.try_now()
            await made.start()

    def connections(self, channel: str) -> int:
        source = self.sources.get(channel)
        return len(source.channel.connections) if source is not None else 0

    def in_flight(self, target: Target) -> int:
        return sum(
            len(lane.in_flight)
            for name, worker in self.delivery_workers.items()
            for lane in worker.memory.lanes.values()
            if concerns(target, lane.channel, name)
        )

    async def _assemble(self, built: BuiltSite) -> None:
        """Assemble messages from committed frames that the last run had no time to process."""
        made = await self.journal.run(
            append.assemble,
            lambda channel, frames, at_us: reassemble(built.channels.get(channel), channel, frames, at_us),
            repeat_window_s=min((c.settings.repeat_window_s for c in built.channels.values()), default=86_400.0),
            before=self.journal.first_session,
        )
        logger.info("frames of the last run assembled", extra={"count": len(made)})

    def _take_over(self, built: BuiltSite) -> None:
        """Give intake and lanes the new configuration, and create sources for channels without one."""
        self.journal.upkeep.policy = Policy.of(built.site.config.retention)
        self.journal.tail.incomplete_bytes, self.journal.tail.incomplete_us = (
            built.site.config.limits.incomplete,
            round(built.site.config.retention.incomplete * 1_000_000),
        )
        largest = max((channel.config.source.max_message for channel in built.channels.values()), default=0)
        self.memory.limit = max(built.site.config.limits.receive_memory, largest)
        for name, channel in built.channels.items():
            for route in channel.routes.routes:
                for destination in route.to:
                    lane = self.delivery_workers[destination].lane(name)
                    routes = [other for other in channel.routes.routes if destination in other.to]
                    # Several routes into one lane: the strictest of them applies to all.
                    lane.order = min((other.order for other in routes), key=STRICTEST_FIRST.index)
                    lane.hold_on_dead = any(other.hold_on_dead for other in routes)
                    newest_first = all(other.newest_first for other in routes)
                    if lane.newest_first != newest_first:
                        lane.newest_first = newest_first
                        self.delivery_workers[destination].look_again(
                            name
                        )  # deliveries in memory were taken in another order
            if name in self.sources:
                self.sources[name].built = channel
            else:
                self.sources[name] = self._source(channel)
                self.sources[name].paused = Target(channel=name) in self.pauses
        self.intake.configure({name: channel.routes for name, channel in built.channels.items()}, self.delivery_workers)

    def _worker(self, name: str, config: DestinationConfig) -> DestinationWorker:
        made = build_worker(
            name,
            config,
            self.journal,
            self.clock,
            DeliveryEvents(settled=self._settled, postponed=self.taps.postponed),
            downtime=DowntimeCalendar(partial(self._downtime, name)),
            process=self.worker_process,
        )
        if self._is_paused(name):
            made.pause()
        return made

    def _follow_pauses(self, names: Iterable[str]) -> None:
        """Apply orders that came between the creation of these workers and now, and that went to the old ones."""
        for name in names:
            worker, paused = self.delivery_workers[name], self._is_paused(name)
            if paused and not worker.paused:
                worker.pause()
            elif worker.paused and not paused:
                worker.resume()

    def _is_paused(self, destination: str) -> bool:
        return Target(destination=destination) in self.pauses or DELIVERIES in self.pauses

    def _downtime(self, destination: str) -> tuple[list[Window], ZoneInfo]:
        site = self.built.site.config
        config = site.destinations.get(destination)
        windows = [given.window for given in config.expected_downtime] if config is not None else []
        return windows, ZoneInfo(site.site.timezone or "UTC")

    def _source(self, built: BuiltChannel) -> ChannelSource:
        if built.new_listener is not None:
            return ChannelSource(
                built,
                TeeChannel(
                    built.settings,
                    new_listener=built.new_listener,
                    message_format=built.message_format,
                    journal=self.journal,
                    stored=self._stored,
                    clock=self.clock,
                    memory=self.memory,
                ),
            )
        channel = Channel(
            built.settings,
            new_link=built.new_link,
            message_format=built.message_format,
            answer=built.answer,
            journal=self.journal,
            stored=self._stored,
            clock=self.clock,
            outcomes=self.outcomes,
            memory=self.memory,
        )
        return ChannelSource(built, channel)

    async def _stop_sources(self, sources: list[ChannelSource]) -> None:
        if sources:
            await asyncio.gather(*(source.stop(self._grace(STOP_SOURCES_S)) for source in sources))

    def _grace(self, seconds: float) -> float:
        """The time for work under way to end. After a failed sync: none."""
        return 0.0 if self.fatal is not None else seconds

    # -- the page ----------------------------------------------------------------------------------------------

    async def _start_page(self, site: Site) -> StatusServer | None:
        if not site.config.web.enabled:
            return None
        listen = site.config.web.listen
        page = StatusServer(
            (listen.host, listen.port),
            self.observer.snapshot,
            self.observer.obstacles,
            new_registry(self.counters, self.observer.snapshot),
            reagents=lambda lot, channel: list_reagents(self.journal, channel, lot=lot, limit=REAGENTS_FOUND),
        )
        try:
            await page.start()
        except OSError as error:
            # Results matter more than the page: report it, and try again.
            logger.error("the status page cannot be opened", extra={"listen": str(listen), "detail": error.strerror})
            self.observer.page_fault = f"the status page cannot listen on {listen}: {error.strerror}"
            self.supervisor.supervise("page", lambda: self._keep_opening(page))
        return page

    async def _keep_opening(self, page: StatusServer) -> None:
        while self.observer.page_fault:
            await asyncio.sleep(PAGE_RETRY_S)
            with contextlib.suppress(OSError):
                await page.start()
                self.observer.page_fault = ""
        await asyncio.Event().wait()

    # -- callbacks of the parts --------------------------------------------------------------------------------------

    def _replay_waits(self, channel: str, destination: str) -> str:
        """Why a replay queues nothing in a lane now, or "": live messages go first
        (`engine.actions.replay_messages`).
        """
        worker = self.delivery_workers.get(destination)
        if worker is None:
            return ""  # it waits in the store for the destination to be configured again
        if self.intake.waiting or self.journal.writer.waiting > QUIET:
            return LIVE_FIRST
        probe = worker.breaker.next_probe
        if worker.breaker.state is not BreakerState.CLOSED and (probe is None or probe > self.clock.monotonic()):
            return f"{destination} is not reachable"
        if worker.paused:
            return f"{destination} is paused"
        lane = worker.lane(channel)
        if worker.paused or lane.held:
            return f"{destination} or its lane is paused, or held by a dead letter"
        return "" if lane.drained and not lane.spilled else LIVE_FIRST

    def _stored(self, stored: Stored) -> None:
        self.intake.accept(stored)
        self.taps.raw(stored)

    def _settled(self, delivery: Delivery, reason: ReasonCode | None) -> None:
        if self._replays is not None:
            self._replays.settled(delivery.id, reason)
        self.taps.ended(delivery, reason)
        self.observer.settled(delivery, reason)
        if reason is not ReasonCode.OVERTAKEN:  # held: a person decides, and until then it is open
            self.outcomes.ended(delivery.message_id, delivery.id, dead=reason not in (None, ReasonCode.SUPERSEDED))

    async def _clock_moved(self, seconds: float) -> None:
        logger.warning(
            "the clock of this machine was moved: times before and after cannot be compared",
            extra={"duration_s": round(seconds, 1)},
        )
        await self.journal.run(audit.note, "labrelay", "clock-moved", {"seconds": round(seconds, 1)})

    def _store_failed(self, error: StoreError) -> None:
        """A commit or sync failed for good."""
        self.fatal = error
        self._stop.set()


def _same_source(old: BuiltChannel, new: BuiltChannel | None) -> bool:
    """Whether a channel's connections may stay open: all settings of its link are unchanged."""
    if new is None:
        return False
    keys = ("source", "enabled", "repeat_window", "ack", "ack_timeout", "on_store_fault", "ack_code", "timezone")
    return all(getattr(old.config, key) == getattr(new.config, key) for key in keys)


def _say_what_is_lost(source: ChannelSource) -> None:
    if size := source.channel.unkept.waiting_bytes:
        logger.error(
            "data that a channel could not store is lost; its acknowledged frames are in the journal",
            extra={"channel": source.built.config.channel, "detail": f"{size} bytes"},
        )


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
