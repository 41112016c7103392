"""Observe the running site: one `SiteSnapshot`, at most one a second, for page, metrics and status.

The numbers of the day come from the journal's counters, so that they survive a restart; states, ages and queues come
from the running parts. The content of messages is never read here.
"""

import asyncio
import shutil
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from engine.model.errors import StoreError
from engine.model.journal.journal_views import Count
from engine.model.journal.records import ChannelView, LaneView
from engine.model.message import Delivery
from engine.model.texts.phrases import Said
from engine.model.texts.reasons import ReasonCode
from engine.monitoring import metrics
from engine.monitoring.snapshot.site import About, Notice, SiteSnapshot
from engine.monitoring.snapshot.site import notices as about
from engine.runtime.observing import notices
from engine.runtime.observing.journal_view import JournalView
from engine.runtime.observing.traffic_view import Reading, TrafficViews
from engine.runtime.service import Today
from engine.runtime.sources import ChannelSource
from engine.store.core.vault import KEY_NAME
from engine.store.queries.extent import is_compact_due
from engine.store.queries.lanes import list_channels, list_lanes, open_lanes
from engine.store.queries.tallies import counters_of

if TYPE_CHECKING:
    from engine.runtime.app import App

REFRESH_S = 1.0
KEPT_S = 5.0  # how old a snapshot may become while the next is being taken, with messages first
ASKED_S = 3.0  # since the last question: for so long the next snapshot is taken before it is asked for
AT_ONCE = 25  # channels, between two times that messages come first
COMPACT_DUE = Said("Data of a patient were erased, and older copies of them may be in unused parts of the file")
STORE_FAULT_S = 60.0  # how long a fault of the store is shown after the last attempt, if none followed


class Observer:
    """Reads the parts of one `App`."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self._parts = app.parts
        self._started_at = app.clock.now()
        self._snapshot: SiteSnapshot | None = None
        self._taken = 0.0
        self._asked = float("-inf")
        self._kept_fresh = False
        self._expired = 0  # times
        self._built = app.parts.built  # of the newest snapshot
        self._dead: Counter[tuple[str, str]] = Counter()  # deliveries; intake counts messages
        self._unreadable = ""
        self._oldest: dict[tuple[str, str], int] = {}
        self._traffic = TrafficViews(app.parts)
        self._journal = JournalView(app.journal, app.clock)
        self._key = notices.KeyNotices(app.journal, app.clock, app.parts.built.site.config.data / KEY_NAME)
        self.page_fault = ""
        try:
            self._version = version("labrelay")
        except PackageNotFoundError:
            self._version = "unknown"

    def settled(self, delivery: Delivery, reason: ReasonCode | None) -> None:
        """A delivery ended (None: delivered); its worker counts it, this remembers the reason only."""
        if reason is not None and reason not in (ReasonCode.SUPERSEDED, ReasonCode.OVERTAKEN):
            self._dead[delivery.channel, reason.value] += 1

    def expire(self) -> None:
        """An order was carried out: the next snapshot must show its effect."""
        self._snapshot = None
        self._expired += 1

    async def status_line(self) -> str:
        """The state of the site in words."""
        return str((await self.present()).overall().phrase)

    async def present(self) -> SiteSnapshot:
        """One for who is no reader: for it alone none is taken before it is asked for."""
        if self._age(self._app.clock.monotonic()) >= REFRESH_S:
            await self._take_in_slices()
        return self._snapshot or self.take()

    def obstacles(self) -> list[str]:
        """The reasons why messages cannot be taken now."""
        app = self._app
        found = [] if app.ready else ["starting or stopping"]
        if app.fatal is not None:
            found.append("the journal cannot be written")
        elif app.ready:
            self.snapshot()  # at most a second old, and notices a journal that cannot be read
        if self._unreadable:
            found.append(self._unreadable)
        found += self._store_faults()
        found += [f"{name}: {source.fault}" for name, source in self._parts.sources.items() if source.fault]
        found += [f"task {name} hangs" for name in app.supervisor.stale()]
        return found

    def _store_faults(self) -> list[str]:
        """Why something could not be stored recently; a channel or writer that has stored something since has
        recovered.
        """
        faults = [source.channel.counts.store_fault for source in self._parts.sources.values()]
        faults.append(self._app.journal.writer.stats.fault)
        recent = {fault[0] for fault in faults if fault is not None and self._is_recent(fault)}
        if self._app.journal.full and not recent:  # also where no attempt was made for long
            recent = {"the disk is full"}
        return [f"nothing can be stored, so nothing is acknowledged: {text}" for text in sorted(recent)]

    def _is_recent(self, fault: tuple[str, float] | None) -> bool:
        """Whether a recent write failed for lack of room that may still be missing."""
        since = self._app.clock.monotonic() - STORE_FAULT_S
        if (full_until := self._app.journal.upkeep.full_until) is not None:
            since = max(since, full_until)  # there is room again, and a part without an attempt since is not at fault
        return fault is not None and fault[1] > since

    def _is_storing(self, source: ChannelSource) -> bool:
        """Whether a message of this channel would be stored if it came now."""
        journal = self._app.journal
        faults = journal.writer.stats.fault, source.channel.counts.store_fault
        return (
            not journal.full and not source.channel.backlog.full and not any(self._is_recent(fault) for fault in faults)
        )

    def snapshot(self) -> SiteSnapshot:
        """The newest one, of the configuration in force: of the last second; while the next is being taken, of the last
        `KEPT_S`.
        """
        now_s = self._asked = self._app.clock.monotonic()
        if self._age(now_s) >= (KEPT_S if self._kept_fresh else REFRESH_S):
            self._keep(self.take(), now_s)
        assert self._snapshot is not None
        return self._snapshot

    def _age(self, now_s: float) -> float:
        """Seconds since the newest was taken; without end where it shows another configuration, or there is none."""
        is_present = self._snapshot is not None and self._built is self._parts.built
        return now_s - self._taken if is_present else float("inf")

    async def keep_fresh(self) -> None:
        """While there are readers, take each next snapshot in slices: a site with hundreds of channels takes tens of
        milliseconds, in which no message would be acknowledged."""
        while True:
            await asyncio.sleep(REFRESH_S)
            now_s = self._app.clock.monotonic()
            self._kept_fresh = self._snapshot is not None and now_s - self._asked < ASKED_S
            if self._kept_fresh and now_s - self._taken >= REFRESH_S:
                await self._take_in_slices()

    async def _take_in_slices(self) -> None:
        now_s, before, expired = self._app.clock.monotonic(), self._snapshot, self._expired
        built, steps = self._parts.built, self._steps()
        try:
            while True:
                next(steps)
                await asyncio.sleep(0)
        except StopIteration as taken:
            # Else it does not show an order's effect, or is older than one that was taken at once.
            if self._snapshot is before and self._expired == expired and self._parts.built is built:
                self._keep(taken.value, now_s)

    def _keep(self, snapshot: SiteSnapshot, now_s: float) -> None:
        self._snapshot, self._taken, self._built = snapshot, now_s, self._parts.built
        self._count()

    # -- taking the snapshot -----------------------------------------------------------------------------------------

    def take(self) -> SiteSnapshot:
        """A new snapshot, whatever the age of the last."""
        steps = self._steps()
        try:
            while True:
                next(steps)
        except StopIteration as taken:
            snapshot: SiteSnapshot = taken.value
            return snapshot

    def _steps(self) -> Generator[None, None, SiteSnapshot]:
        """Take a snapshot, with a pause after each list of all channels that is read, and after every `AT_ONCE`
        channels that are looked at.
        """
        app, parts = self._app, self._parts
        site, retention = parts.built.site.config, parts.built.site.config.retention
        now, now_us, now_s = app.clock.now(), app.clock.now_us(), app.clock.monotonic()
        workers = parts.delivery_workers.values()
        alarms, notes = self._alarms(), self._notes(now_us)
        zone = site.site.timezone or "UTC"
        today, channels, lanes, unmapped = yield from self._read_journal(now, zone, alarms, notes)
        if not app.journal.full:  # else an alarm has reported it
            alarms += about(About.JOURNAL, self._store_faults())
        notes += about(About.CLOCK, notices.newer_than_the_clock(channels.values(), now_us))
        notes += about(About.CONFIGURATION, notices.not_configured(channels.values(), lanes.values(), parts))
        yield
        reading = Reading(
            now=now, now_s=now_s, today=today, channels=channels, lanes=lanes, oldest=self._oldest,
            unmapped=parts.intake.oldest_us(),
        )  # fmt: skip
        seen = []
        for n, (name, source) in enumerate(tuple(parts.sources.items()), start=1):
            seen.append(self._traffic.channel(name, source, reading, storing=self._is_storing(source)))
            if n % AT_ONCE == 0:
                yield
        free = shutil.disk_usage(site.data).free
        self._journal.read_growth()
        notes += about(About.DISK, self._journal.size_notes(retention))
        return SiteSnapshot(
            site_name=site.site.name,
            version=self._version,
            started_at=self._started_at,
            now=now,
            timezone=zone,
            config_hash=parts.built.site.hash[:12],
            channels=tuple(seen),
            destinations=tuple(
                self._traffic.destination(worker, site.destinations[worker.name], reading) for worker in workers
            ),
            dead_total=sum(view.dead for view in channels.values()) + sum(view.dead for view in lanes.values()),
            incomplete_total=sum(view.incomplete for view in channels.values()),
            unmapped_total=unmapped,
            disk_free_bytes=free,
            disk_days_left=self._journal.days_left(free, retention),
            journal=self._journal.health(site.data, unreadable=self._unreadable, writable=not self._store_faults()),
            kept=self._journal.kept(retention),
            backup=app.backup.snapshot(),
            task_restarts={task.name: task.restarts for task in app.supervisor.report() if task.restarts},
            held_alarm_s=site.limits.held_alarm,
            notifies="alerts" in site.model_fields_set,
            alarms=tuple(alarms),
            notes=tuple(notes),
            usual_by_hour=self._traffic.usual_by_hour(),
            of_features={name: part for one in parts.services for name, part in one.shown(parts.built.site).items()},
        )

    def _alarms(self) -> list[Notice]:
        app = self._app
        return [
            *about(About.DISK, notices.no_room(app.journal)),
            *about(About.DELIVERIES, notices.standstill(self._parts.pauses)),
            *about(About.JOURNAL, app.journal.alarms),
            *about(About.CONFIGURATION, notices.lost_corrections(app.lost_corrections)),
            *about(About.BACKUP, app.backup.alarms()),
            *about(About.ANCHOR, app.second_anchor.alarms()),
            *about(About.KEY, self._key.alarms()),
            *about(About.CERTIFICATE, app.certificates.alarms()),
        ]

    def _notes(self, now_us: int) -> list[Notice]:
        app, parts = self._app, self._parts
        practice, workers = parts.built.site.config.site.practice, parts.delivery_workers.values()
        return [
            *about(About.PAGE, [self.page_fault]),
            *about(About.PAGE, app.page.notices() if app.page is not None else ()),
            *about(About.BACKUP, app.backup.notes()),
            *about(About.KEY, self._key.notes(practice=practice)),
            *about(About.CERTIFICATE, app.certificates.notes()),
            *about(About.CLOCK, notices.clock_moved(app.clock_watch, now_us)),
            *about(About.REFUSED, notices.refusals(workers)),
            *about(About.REFUSED, notices.in_words(workers)),
        ]

    def _read_journal(
        self, now: datetime, zone: str, alarms: list[Notice], notes: list[Notice]
    ) -> Generator[None, None, tuple[Today, dict[str, ChannelView], dict[tuple[str, str], LaneView], int]]:
        """The counts of the day, the channels, the lanes, and how many codes are not mapped.

        Args:
            alarms, notes: get what the journal says.
        """
        app, parts = self._app, self._parts
        try:
            today = _by_lane(counters_of(app.journal, now.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d")))
            yield
            channels = {view.name: view for view in list_channels(app.journal)}
            yield
            lanes = {(view.channel, view.destination): view for view in list_lanes(app.journal)}
            yield
            unmapped = sum(one.unmapped() for one in parts.services)
            notes += [note for one in parts.services for note in one.notes(parts.built.site, today)]
            still = parts.pauses or any(view.held_by for view in lanes.values())
            waiting = open_lanes(app.journal) if still else ()
            self._oldest = {(lane.channel, lane.destination): lane.oldest_us for lane in waiting}
            yield
            self._traffic.read_arrivals(channels, now, self._started_at)
            self._traffic.read_reagents()
            if any(view.dead for view in lanes.values()):
                alarms += about(About.REFUSED, notices.set_aside(app.journal))
            if is_compact_due(app.journal):
                notes.append(Notice(COMPACT_DUE, About.ERASURE))
            self._unreadable = ""
            return today, channels, lanes, unmapped
        except StoreError as error:
            # The page stays up with the values in memory, and names those that are missing.
            self._unreadable = Said("the journal cannot be read: {why}", why=str(error))
            alarms.append(Notice(self._unreadable, About.JOURNAL))
            return {}, {}, {}, 0

    # -- metrics -----------------------------------------------------------------------------------------------

    def _count(self) -> None:
        """Update the counters of `/metrics` from the counts of the parts; the hot path touches none of them."""
        app, cell = self._app, self._app.counters.cell
        for name, source in self._parts.sources.items():
            counts = source.channel.counts
            cell(metrics.CONNECTIONS_OPENED, name).n = counts.connections
            cell(metrics.RECEIVED, name).n = counts.messages
            for kind, n in counts.faults.items():
                cell(metrics.LINK_FAULTS, name, kind).n = n
        for (name, outcome), n in self._parts.intake.counts.ended.items():
            cell(metrics.ENDED, name, outcome).n = n
        for (name, reason), n in (self._dead + self._parts.intake.counts.dead).items():
            cell(metrics.DEAD, name, reason).n = n
        for name, n in self._parts.intake.counts.unmapped.items():
            cell(metrics.UNMAPPED, name).n = n
        for name, worker in self._parts.delivery_workers.items():
            cell(metrics.DELIVERED, name).n = worker.counts.delivered
            cell(metrics.BREAKER_OPENED, name).n = worker.counts.breaker_opened
            for failed, n in worker.counts.failed.items():
                cell(metrics.ATTEMPTS_FAILED, name, failed.value).n = n
            app.counters.adopt(metrics.DELIVERY, worker.counts.seconds, name)
        metrics.count(app.services, cell)
        app.counters.adopt(metrics.COMMIT, app.journal.writer.stats.commits)


def _by_lane(counts: Iterable[Count]) -> dict[tuple[str, str], dict[str, int]]:
    found: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for count in counts:
        found[count.channel, count.destination][count.name] = count.n
    return found
