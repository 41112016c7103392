"""The running site: build its parts, start them in order, keep them alive, stop them in order.

    lock -> journal (anchor, last rows checked) -> recovery -> destinations -> intake -> sources -> page, control

Sources open last: nothing is accepted before recovery is done. The stop has the opposite order: no new bytes, then work
under way, then the journal. Nothing volatile needs flushing, so a kill at any moment loses nothing.
"""

import asyncio
import contextlib
import logging
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from engine.actions.admission import system_users
from engine.actions.control import SOCKET_NAME
from engine.actions.control_server import ControlServer
from engine.actions.kept import KeptActs
from engine.actions.pause_resume import Switches
from engine.actions.underway import Acts, Yielding
from engine.actions.verbs import bulk_acts, verbs_of
from engine.config.findings import tls_files
from engine.config.findings.changes import REFUSED, Change, changes
from engine.config.load import Site, load_site
from engine.config.web import AT_START, WebConfig
from engine.model.errors import ConfigError, LabRelayError, StoreError
from engine.model.journal.records import DELIVERIES, Recovery
from engine.model.message import Delivery
from engine.model.process import allocator
from engine.model.process.clock import Clock, SystemClock
from engine.model.site.corrections import Corrections, in_force
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.counters import Counters
from engine.runtime.build import BuiltSite, build_site
from engine.runtime.compiled_code import CompiledCode
from engine.runtime.control_handlers import admission, followers, running_site
from engine.runtime.large import process as large_process
from engine.runtime.observing import notices
from engine.runtime.observing.notices import ClockWatch
from engine.runtime.observing.observe import Observer
from engine.runtime.pages import Here, server_of
from engine.runtime.parts import STOP_SOURCES_S, STOP_WORKERS_S, Parts, log_lost_data
from engine.runtime.reader.process import HEALTHY_S, LONGEST_BACK_OFF_S, PageReader
from engine.runtime.service import Service, services
from engine.runtime.supervisor import Supervisor
from engine.runtime.switching import Switchboard, replay_waits
from engine.runtime.upkeep.backup_scheduler import BackupScheduler
from engine.runtime.upkeep.certificate_watch import CertificateWatch
from engine.runtime.upkeep.other_history import OtherPlaces
from engine.runtime.upkeep.scrub import Scrub
from engine.runtime.upkeep.second_anchor import SecondAnchor
from engine.runtime.watchdog import Notifier, watch
from engine.store import journal
from engine.store.core.checks.trail_check import HEAD_WORDS
from engine.store.core.connecting import JOURNAL_NAME
from engine.store.journal import Journal
from engine.store.journal.starting import recover
from engine.store.operations import audit
from engine.store.queries.acts import list_corrections
from engine.store.queries.lanes import list_pauses
from engine.store.queries.warm_up import WarmUp
from engine.web.pages.frame import Trial
from engine.web.server import StatusServer

logger = logging.getLogger("labrelay.site")

S = TypeVar("S")

STOP_INTAKE_S = 1.0
STOP_RELOAD_S = 2.0
PAGE_RETRY_S = 5.0
HEAD_EVERY_S = 86_400.0
HEAD_WITHIN_S = 1.0
STALE_AFTER_S = 30.0  # intake and the loop beat at least every 5 s


class App:
    """One running site. Created and run within one event loop."""

    def __init__(
        self,
        folder: Path,
        *,
        counters: Counters | None = None,
        clock: Clock | None = None,
        trial: Trial | None = None,
        apart: bool = False,
    ) -> None:
        """
        Args:
            trial: tries mappings for the page, beside this process.
            apart: pages are drawn beside it, too.
        """
        self.folder = folder
        self.trial = trial
        self.reader = PageReader(self) if apart else None
        self.clock: Clock = clock or SystemClock()
        self.clock_watch = ClockWatch(self.clock)
        self.counters = counters or Counters()
        self.parts: Parts
        self.ready = False
        self.fatal: StoreError | None = None
        self.lost_corrections: Sequence[int] = ()  # versions of those that cannot be read
        self._stop, self._runs = asyncio.Event(), asyncio.Event()
        self._notifier = Notifier()
        self.page: StatusServer | None = None
        self._yielding: Yielding | None = None
        self.set_up_link = ""  # shown on a terminal, never in the log

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
        site = replace(site, corrections=self._corrections())
        self._code = CompiledCode(site.config.data, self.journal.vault.identity_key)
        _warn((*self.journal.notes, *elsewhere.silent))
        for text in self.journal.damage:
            logger.error("the journal is damaged", extra={"detail": text})
        recovery = recover(self.journal)
        self.journal.start(self._loop)
        self._web = site.config.web  # as it is in force; `_follow`
        try:
            await self._run(site, recovery, started)
        finally:
            # After a failed sync the kernel's state is unknown: stop without another write.
            await self.journal.stop()
        if self.fatal is not None:
            raise self.fatal

    async def _run(self, site: Site, recovery: Recovery, started: Callable[["App"], None]) -> None:
        built = self.build(site)
        _warn(built.doubts)
        if recovery.maybe_delivered or recovery.unprocessed:
            logger.info(
                "going on where the last run ended",
                extra={"count": recovery.unprocessed, "waiting": recovery.maybe_delivered},
            )
        if recovery.given_up:
            logger.error(
                "a message ended the process three times and is a dead letter now",
                extra={"journal_id": recovery.given_up},
            )
        self.parts = parts = Parts(self.journal, built, self.clock, recovery, self._settled)
        self.second_anchor = SecondAnchor(self.journal, site)
        self.backup = BackupScheduler(self.journal, lambda: parts.built.site, self.clock, self._paused_by_itself)
        parts.unproven = self.backup.spare.unproven
        self.certificates = CertificateWatch(lambda: parts.built.site, self.clock)
        self.observer = Observer(self)
        self.services: Mapping[str, Service] = services(self)
        parts.services = self.services.values()
        async with Supervisor(self.clock) as supervisor:
            self.supervisor = supervisor
            # Every begun part is ended, in the opposite order, also where a later step of the start fails.
            async with contextlib.AsyncExitStack() as running:
                await self._start(site, recovery, supervisor, running)
                allocator.settle(first=True)
                self.ready = True
                self._runs.set()
                self._notifier.ready("receiving")
                started(self)
                await self._until_stopped(supervisor)
                await self._write_head()
                self.ready = False
                self._notifier.stopping()

    async def _start(
        self, site: Site, recovery: Recovery, supervisor: Supervisor, running: contextlib.AsyncExitStack
    ) -> None:
        parts = self.parts
        running.push_async_callback(self.second_anchor.close)
        # The process for large messages outlives the work under way in it: the supervisor ends last.
        supervisor.supervise(
            "large messages", parts.large.run, healthy_s=large_process.HEALTHY_S, max_s=large_process.LONGEST_BACK_OFF_S
        )
        await parts.begin(unfinished_sessions=recovery.sessions > 0)
        for service in parts.services:
            await service.start()
            running.push_async_callback(service.stop)
        running.push_async_callback(self._stop_workers)
        for worker in parts.delivery_workers.values():
            await worker.start()
        running.push_async_callback(self._stop_intake)
        supervisor.supervise(
            "intake",
            lambda: self._process(lambda: supervisor.heartbeat("intake")),
            stale_after_s=STALE_AFTER_S,
        )
        running.push_async_callback(self._stop_receiving)
        await parts.prepare(site)  # before the first message can come
        for source in parts.sources.values():
            await source.start()
        warm_up = WarmUp(site.config.data / JOURNAL_NAME)
        await warm_up.start()
        running.push_async_callback(warm_up.stop)
        acts = Acts(
            self.journal,
            channels=parts.routes,
            reclaim=parts.read_lane,
            accept=parts.intake.accept,
            clock=self.clock,
            attempts=parts.attempts_of,
            waits=partial(replay_waits, parts),
        )
        self._yielding = acts.yielding
        running.push_async_callback(acts.stop)
        taken_up = acts.operations.take_up(bulk_acts(acts))
        await acts.give_up(act for act in recovery.acts if act not in taken_up)
        self._switchboard = Switchboard(parts, self.observer.expire)
        switches = Switches(self.journal, self._switchboard)
        acting = running_site(self, acts, switches)
        verbs = verbs_of(acting)
        self._control = control = ControlServer(
            site.config.data / SOCKET_NAME,
            {name: verb.work for name, verb in verbs.items()},
            followers=followers(acting),
            admission=admission(self),
        )
        await control.start()
        control.open_to_group(bool(system_users(site.config)))
        running.push_async_callback(control.stop)
        kept = KeptActs(verbs, self.journal)
        running.push_async_callback(kept.stop)
        self.page = await self._start_page(site, kept)
        for service in parts.services:
            running.callback(service.leave)
            self.set_up_link += await service.greeting(site)
            for name, loop in service.loops().items():
                supervisor.supervise(name, loop)
        self._supervise(supervisor, killed=recovery.killed)

    def _supervise(self, supervisor: Supervisor, *, killed: bool) -> None:
        """What runs beside messages for as long as the site."""
        supervisor.supervise("second anchor", self.second_anchor.run)
        supervisor.supervise("backup", self.backup.run)
        supervisor.supervise("backup rows", self.backup.run_rows)
        large = self.parts.large.process
        scrub = Scrub(
            self.journal,
            lambda: self.parts.built.site,
            self.clock,
            killed=killed,
            busy=lambda: large.pid is not None,
        )
        supervisor.supervise("daily look", scrub.run)
        supervisor.supervise("snapshots", self.observer.keep_fresh)
        supervisor.supervise("certificates", self.certificates.run)
        supervisor.supervise("audit head", self._write_heads)
        supervisor.supervise("clock", lambda: self.clock_watch.run(self._clock_moved))
        supervisor.supervise("watchdog", lambda: watch(self._notifier, supervisor.stale, self.observer.status_line))

    async def _process(self, heartbeat: Callable[[], None]) -> None:
        """Map messages until cancelled, once there is code to do it."""
        await self.compile(self.parts.built, heartbeat)
        allocator.settle(first=True)
        await self.parts.intake.run(heartbeat)

    async def compile(self, built: BuiltSite, heartbeat: Callable[[], None] = lambda: None) -> None:
        """Compile the mappings of which no earlier start kept the code; a thread waits for that."""
        await self._code.complete(built.made, heartbeat)

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

    async def _paused_by_itself(self) -> None:
        """All deliveries were paused in the journal: follow."""
        pauses = {pause.target: pause for pause in list_pauses(self.journal)}
        await self._switchboard.switched(DELIVERIES, pauses.get(DELIVERIES))

    async def _write_heads(self) -> None:
        """Log the head of the journal's chain, out of reach of the journal's writer; see
        `engine.store.core.checks.trail_check`.
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
                await self.parts.reloading.acquire()
        sources = list(self.parts.sources.values())
        page = () if self.page is None else (self.page.stop(),)
        await asyncio.gather(self.parts.stop_sources(sources, self._grace(STOP_SOURCES_S)), *page)
        for source in sources:
            log_lost_data(source)

    async def _stop_intake(self) -> None:
        """Let decided outcomes become durable, so that the workers know their deliveries when they give them back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_INTAKE_S), self.parts.intake.between_messages():
                await self.supervisor.release("intake")

    async def _stop_workers(self) -> None:
        await self.parts.stop_workers(self._grace(STOP_WORKERS_S))

    def _grace(self, seconds: float) -> float:
        """The time for work under way to end. After a failed sync: none."""
        return 0.0 if self.fatal is not None else seconds

    # -- configuration -----------------------------------------------------------------------------------------

    async def reload(self) -> Site:
        """Read the site again once it runs, and swap to it (`Parts.swap`), or keep everything as it is.

        Raises:
            ConfigError: with every problem; nothing was changed.
        """
        await self._runs.wait()
        async with self.parts.reloading:
            self._notifier.reloading()
            try:
                built, found = await self.anew()
                if fixed := [one.name for one in found if one.then == REFUSED]:
                    raise ConfigError(
                        *(
                            f"config/labrelay.yaml: {key}: cannot be changed while running; restart instead"
                            for key in fixed
                        )
                    )
                await self.parts.prepare(built.site)
                await self.parts.swap(built)
                self._control.open_to_group(bool(system_users(built.site.config)))
                allocator.settle()
            finally:
                self._notifier.ready("receiving")
            _warn(built.doubts)
            site = built.site
            later = [*self._follow(site.config.web), *(line for one in self.parts.services for line in one.later(site))]
            return replace(site, warnings=(*site.warnings, *built.doubts, *later))

    async def anew(self) -> tuple[BuiltSite, tuple[Change, ...]]:
        """The site as its files are now, read, compiled and checked, and what a reload of it changes; it does not run.

        Raises:
            ConfigError: it is wrong; with every problem.
        """
        # In a thread: analyzers are served while hundreds of files are read and compiled.
        site = await asyncio.to_thread(load_site, self.folder)
        site = replace(site, corrections=await asyncio.to_thread(self._corrections))
        if unusable := await asyncio.to_thread(lambda: list(tls_files.problems_of_page(site))):
            raise ConfigError(*unusable)
        built = await asyncio.to_thread(self.build, site)
        await self.compile(built)
        return built, tuple(changes(self.parts.built.site, site))

    def _corrections(self) -> Corrections:
        """Those of code tables that can be read: results are worth more than one correction."""
        lost: list[int] = []
        made = list_corrections(self.journal, lost.append)
        self.lost_corrections = tuple(lost)
        for text in notices.lost_corrections(lost):
            logger.error("a correction of a code table is damaged or missing", extra={"detail": text})
        return in_force(made)

    def _follow(self, config: WebConfig) -> list[str]:
        """Follow a new ``web:``; the keys of it that take effect at the next start, each in a sentence."""
        if self.page is not None:
            self.page.follow(config)
        changed = [key for key in AT_START if getattr(config, key) != getattr(self._web, key)]
        return [f"config/labrelay.yaml: web: {key}: a change takes effect at the next start" for key in changed]

    def build(self, site: Site) -> BuiltSite:
        """Compile a configuration. Takes part of a second for each mapping without code; raises ConfigError."""
        key = self.journal.vault.identity_key
        built = build_site(site, identity_key=key, clock=self.clock, others=self.journal.others)
        self._code.read(built.programs)
        return built

    # -- the page ----------------------------------------------------------------------------------------------

    async def _start_page(self, site: Site, acts: KeptActs) -> StatusServer | None:
        if not site.config.web.enabled:
            return None
        page = server_of(Here(self), acts, self.reader)
        await self._open_page(page)
        if self.reader is not None:
            self.supervisor.supervise("pages", self.reader.run, healthy_s=HEALTHY_S, max_s=LONGEST_BACK_OFF_S)
        self.supervisor.supervise("page", lambda: self._keep_opening(page))
        return page

    async def _keep_opening(self, page: StatusServer) -> None:
        """Open the page where it could not be opened, and elsewhere once it may be."""
        while True:
            await asyncio.sleep(PAGE_RETRY_S)
            await self._open_page(page)

    async def _open_page(self, page: StatusServer) -> None:
        """Results matter more than the page: a fault is reported, and does not stop the start."""
        try:
            await page.listen()
            self.observer.page_fault = ""
        except (OSError, ValueError, LabRelayError) as error:  # also of the accounts, which cannot be read
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            listen = self.parts.built.site.config.web.listen
            if not self.observer.page_fault:
                logger.error("the status page cannot be opened", extra={"listen": str(listen), "detail": reason})
            self.observer.page_fault = f"the status page cannot listen on {listen}: {reason}"

    def service(self, kind: type[S]) -> S:
        """The service of this type; each feature has one at most."""
        return next(one for one in self.services.values() if isinstance(one, kind))

    # -- callbacks of the parts --------------------------------------------------------------------------------------

    def _settled(self, delivery: Delivery, reason: ReasonCode | None) -> None:
        if self._yielding is not None:
            self._yielding.moved()
        self.observer.settled(delivery, reason)

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


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        logger.warning("%s", line)


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
