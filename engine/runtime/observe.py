"""Observe the running site: one `SiteSnapshot`, at most one a second, for page, metrics and status.

The numbers of the day come from the journal's counters, so that they survive a restart; states, ages and queues come
from the running parts. The content of messages is never read here.
"""

import shutil
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from engine.config.destination import DestinationConfig
from engine.delivery.breaker import BreakerState
from engine.delivery.lane import Lane
from engine.delivery.worker import DestinationWorker
from engine.model.clock import from_us
from engine.model.errors import StoreError
from engine.model.message import Delivery
from engine.model.reasons import ReasonCode
from engine.model.records import DELIVERIES, ChannelView, Count, LaneView, RetainedSpan, Target
from engine.model.units import size_words
from engine.monitoring import metrics
from engine.monitoring.snapshot.channels import (
    ChannelSnapshot,
    DestinationSnapshot,
    LaneSnapshot,
    LastError,
    PendingRetry,
    ReagentSnapshot,
)
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import DestinationState, Paused, channel_state
from engine.monitoring.snapshot.store import JournalSnapshot, KeptSnapshot
from engine.receiving.link_words import fault_words
from engine.runtime import identity_questions, not_taken
from engine.runtime.link_view import LinkViews, tee_snapshot
from engine.runtime.sources import ChannelSource
from engine.store.core.growth import Growth
from engine.store.core.vault import KEY_NAME
from engine.store.lifecycle import key_rotation
from engine.store.queries.extent import growth_of, is_compact_due, kept_of
from engine.store.queries.lanes import list_channels, list_lanes, open_lanes
from engine.store.queries.tallies import counters_of, list_reagents, seeming_count, unmapped_count

if TYPE_CHECKING:
    from engine.runtime.app import App

CLOCK_NOTE_US = 86_400_000_000  # how long a jump of the clock is reported
SHEET_AFTER_US = 86_400_000_000  # how long a new key may be without a confirmed recovery sheet
REFRESH_S = 1.0
RATE_WINDOW_S = 60.0
REAGENTS_SHOWN = 20  # lots of each channel
GROWTH_EVERY_S = 600.0
REFUSED_SAID = 5  # so many refusals among a destination's last answers: more than a few bad messages
UNREAD_FAULTS = 5  # after so many unreadable transfers without a message, the page reports it
UNREAD_S = 900.0  # for so long after the last of them
AHEAD_US = 600_000_000  # by which a message may be younger than the clock
STORE_FAULT_S = 60.0  # how long a fault of the store is shown after the last attempt, if none followed


@dataclass(frozen=True, slots=True)
class _Look:
    """The rows of one reading of the journal, and its time: of the wall clock, and monotonic."""

    now: datetime
    now_s: float
    today: dict[tuple[str, str], dict[str, int]]
    channels: dict[str, ChannelView]
    lanes: dict[tuple[str, str], LaneView]


class Observer:
    """Reads the parts of one `App`."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self._started_at = app.clock.now()
        self._started = app.clock.monotonic()
        self._snapshot: SiteSnapshot | None = None
        self._taken = 0.0
        self._rates: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)
        self._dead: Counter[tuple[str, str]] = Counter()  # deliveries; intake counts messages
        self._unreadable = ""
        self._in_store: dict[tuple[str, str], int] = {}  # lane -> its oldest, where a lane is at a standstill
        self._links = LinkViews()
        self._reagents: dict[str, tuple[ReagentSnapshot, ...]] = {}
        self._reagents_seen: dict[str, int] = {}
        self._growth: Growth | None = None
        self._kept: RetainedSpan | None = None
        self._growth_due = 0.0
        self._key_file: Path | None = None  # the place of the key at the start, if in a file
        self.page_fault = ""
        try:
            self._version = version("labrelay")
        except PackageNotFoundError:
            self._version = "unknown"

    def settled(self, delivery: Delivery, reason: ReasonCode | None) -> None:
        """A delivery ended (None: delivered); its worker counts it, this remembers the reason only."""
        if reason is not None and reason not in (ReasonCode.SUPERSEDED, ReasonCode.OVERTAKEN):
            self._dead[delivery.channel, reason.value] += 1

    def look_again(self) -> None:
        """An order was carried out: the next snapshot must show its effect."""
        self._snapshot = None

    def status_line(self) -> str:
        return str(self.snapshot().overall().phrase)

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
        found += [f"{name}: {source.fault}" for name, source in app.sources.items() if source.fault]
        found += [f"task {name} hangs" for name in app.supervisor.stale()]
        return found

    def _store_faults(self) -> list[str]:
        """Why something could not be stored recently; a channel or writer that has stored something since has
        recovered.
        """
        faults = [source.channel.counts.store_fault for source in self._app.sources.values()]
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
        return not journal.full and not any(self._is_recent(fault) for fault in faults)

    def snapshot(self) -> SiteSnapshot:
        now = self._app.clock.monotonic()
        if self._snapshot is None or now - self._taken >= REFRESH_S:
            self._snapshot = self._look(now)
            self._taken = now
            self._count()
        return self._snapshot

    # -- taking the snapshot -----------------------------------------------------------------------------------------

    def _look(self, now_s: float) -> SiteSnapshot:
        app = self._app
        site = app.built.site.config
        now = app.clock.now()
        alarms = [*self._standstill(), *app.journal.alarms, *app.backup.alarms()]
        alarms += [*app.second_anchor.alarms(), *self._key_alarms(site.data / KEY_NAME)]
        notes = [*filter(None, (self.page_fault, app.worker_process.note if app.worker_process is not None else ""))]
        notes += [*app.backup.notes(), *self._key_notes(), *self._clock_notes(), *self._refusal_notes()]
        notes += not_taken.in_words(app.delivery_workers.values())
        try:
            today = _by_lane(counters_of(app.journal, self._day(now)))
            channels = {view.name: view for view in list_channels(app.journal)}
            lanes = {(view.channel, view.destination): view for view in list_lanes(app.journal)}
            unmapped = unmapped_count(app.journal)
            notes += identity_questions.in_words(app.built.site, today, seeming_count(app.journal))
            stand = app.pauses or any(view.held_by for view in lanes.values())
            self._in_store = (
                {(one.channel, one.destination): one.oldest_us for one in open_lanes(app.journal)} if stand else {}
            )
            self._look_for_reagents()
            if any(view.dead for view in lanes.values()):
                alarms += not_taken.set_aside(app.journal)
            if is_compact_due(app.journal):
                notes.append(
                    "Data of a patient were erased, and older copies of them may be in unused parts of the file: stop "
                    "LabRelay, then labrelay journal compact"
                )
            self._unreadable = ""
        except StoreError as error:
            # The page stays up with the values in memory, and names those that are missing.
            today, channels, lanes, unmapped = {}, {}, {}, 0
            self._unreadable = f"the journal cannot be read: {error}"
            alarms.append(self._unreadable)
        if not app.journal.full:  # else an alarm has reported it
            alarms += self._store_faults()
        notes += self._rows_of_tomorrow(channels.values(), now)
        notes += [
            f"{view.open} deliveries of {view.channel} wait for {view.destination}, which is not configured"
            for view in lanes.values()
            if view.open and view.destination not in app.delivery_workers
        ]
        notes += [
            f"{view.stored} messages of channel {view.name} wait, because it is not configured"
            for view in channels.values()
            if view.stored and view.name not in app.sources
        ]
        look = _Look(now, now_s, today, channels, lanes)
        free = shutil.disk_usage(site.data).free
        days_left = self._days_left(free, now_s)
        notes += self._kept_too_much()
        return SiteSnapshot(
            site_name=site.site.name,
            version=self._version,
            started_at=self._started_at,
            now=now,
            timezone=site.site.timezone or "UTC",
            config_hash=app.built.site.hash[:12],
            channels=tuple(self._channel(name, source, look) for name, source in app.sources.items()),
            destinations=tuple(
                self._destination(worker, site.destinations[name], look)
                for name, worker in app.delivery_workers.items()
            ),
            dead_total=sum(view.dead for view in channels.values()) + sum(view.dead for view in lanes.values()),
            incomplete_total=sum(view.incomplete for view in channels.values()),
            unmapped_total=unmapped,
            disk_free_bytes=free,
            disk_days_left=days_left,
            journal=self._journal(),
            kept=self._kept_so_far(),
            backup=app.backup.snapshot(),
            task_restarts={task.name: task.restarts for task in app.supervisor.report() if task.restarts},
            held_alarm_s=site.limits.held_alarm,
            alarms=tuple(alarms),
            notes=tuple(notes),
        )

    def _standstill(self) -> Iterator[str]:
        """The alarm that nothing is delivered at all, and why."""
        if (pause := self._app.pauses.get(DELIVERIES)) is not None:
            yield f"Nothing is delivered: {pause.reason or 'paused'}; labrelay resume deliveries lets it go on"

    def _clock_notes(self) -> Iterator[str]:
        """For a day after a jump of the clock: the warning that times of messages may be wrong."""
        moved = self._app.clock_watch.moved
        if moved is not None and abs(self._app.clock.now_us() - moved[1]) <= CLOCK_NOTE_US:
            how = f"{'forward' if moved[0] > 0 else 'back'} by {abs(moved[0]):,.0f} s"
            yield (
                f"the clock of this machine was moved {how}, to {from_us(moved[1]):%Y-%m-%d %H:%M} UTC: times of "
                "messages before and after cannot be compared"
            )

    def _refusal_notes(self) -> list[str]:
        """Destinations that refuse many documents: a mapping or a server was changed, and a person must check."""
        return [
            f"{name} refuses documents: {refused} of the last {len(worker.counts.refused)}; "
            f"labrelay dlq list --destination {name} shows why"
            for name, worker in self._app.delivery_workers.items()
            if (refused := sum(worker.counts.refused)) >= REFUSED_SAID
        ]

    def _rows_of_tomorrow(self, channels: Iterable[ChannelView], now: datetime) -> Iterator[str]:
        """Messages younger than the present time: the clock was wrong then, or it is now."""
        newest = max(channels, key=lambda one: one.last_us, default=None)
        if newest is not None and newest.last_us > self._app.clock.now_us() + AHEAD_US:
            yield (
                f"the clock of this machine says {now:%Y-%m-%d %H:%M} UTC, and {newest.name} has a message of "
                f"{from_us(newest.last_us):%Y-%m-%d %H:%M}: one of the two is wrong. Set the clock, and do not trust "
                "the times of messages from between"
            )

    def _key_alarms(self, file: Path) -> Iterator[str]:
        """The alarm that the key's file is gone: this process has the key in memory, the next one needs the file."""
        if self._key_file is None and file.exists():
            self._key_file = file
        if self._key_file is not None and not self._key_file.exists():
            yield (
                f"{self._key_file} is gone: LabRelay runs on, and does not start again without the key. Put your copy "
                "back, or take the recovery sheet: labrelay key init --from-sheet (if the key is a credential now: "
                "restart)"
            )

    def _key_notes(self) -> Iterator[str]:
        """A person's tasks about the key; a day after it was made, so that set-up comes first."""
        try:
            with self._app.journal.snapshot() as execute:
                facts = key_rotation.facts(execute)
        except StoreError:
            return  # reported elsewhere
        if not facts.sheet_us and self._app.clock.now_us() - facts.made_us >= SHEET_AFTER_US:
            yield (
                "The recovery sheet of the key is not confirmed: if the key is lost, so is everything stored "
                "here. labrelay key recovery-sheet"
            )

    def _days_left(self, free: int, now_s: float) -> float | None:
        """The growth is read seldom: it is an average over days."""
        if self._growth is None or now_s >= self._growth_due:
            self._growth_due = now_s + GROWTH_EVERY_S
            with suppress(StoreError):  # reported elsewhere
                self._growth = growth_of(self._app.journal, self._app.clock.now_us())
                self._kept = kept_of(self._app.journal)
        keep_s = self._app.built.site.config.retention.delivered
        return None if self._growth is None else self._growth.days_left(free, keep_s)

    def _kept_so_far(self) -> KeptSnapshot:
        kept, growth, config = self._kept, self._growth, self._app.built.site.config.retention
        if kept is None or growth is None or not kept.oldest_us:
            return KeptSnapshot()
        shortest = min(config.delivered, config.filtered, config.dismissed)
        return KeptSnapshot(
            since=from_us(kept.oldest_us),
            next_at=from_us(kept.oldest_us) + timedelta(seconds=shortest),
            largest_bytes=growth.largest_bytes(config.delivered),
            last_at=from_us(kept.last_us) if kept.last_us else None,
            last_messages=kept.last_messages,
        )

    def _kept_too_much(self) -> Iterator[str]:
        """A message where the journal exceeds the size that the site allows."""
        kept, config = self._kept, self._app.built.site.config.retention
        if kept is None or config.size is None:
            return
        if kept.used_bytes > config.size and self._growth is not None:
            young = self._app.clock.now_us() - kept.oldest_us < config.least * 1e6
            what = "nothing may go, for nothing is older than retention.minimum" if young else "the oldest messages go"
            yield (
                f"The journal takes {size_words(kept.used_bytes)}, more than retention.size "
                f"({size_words(config.size)}): {what}. Give it more room, or messages less time"
            )
        elif kept.last_early:
            yield (
                f"Retention let {kept.last_early} messages go before their time, because the journal had reached "
                f"retention.size ({size_words(config.size)})"
            )

    def _look_for_reagents(self) -> None:
        """Read the lots again of channels that have named some since the last time."""
        seen = self._app.intake.counts.reagents
        for name in self._app.sources:
            if self._reagents_seen.get(name) != seen[name]:
                self._reagents_seen[name] = seen[name]
                self._reagents[name] = tuple(
                    ReagentSnapshot.of(view) for view in list_reagents(self._app.journal, name, limit=REAGENTS_SHOWN)
                )

    def _day(self, now: datetime) -> str:
        return now.astimezone(ZoneInfo(self._app.built.site.config.site.timezone or "UTC")).strftime("%Y-%m-%d")

    def _journal(self) -> JournalSnapshot:
        data = self._app.built.site.config.data
        stats = self._app.journal.writer.stats
        return JournalSnapshot(
            last_id=self._app.journal.last_id,
            size_bytes=_size(data / "journal.db"),
            wal_bytes=_size(data / "journal.db-wal"),
            fsync_ms_p50=stats.commit_ms(0.5),
            fsync_ms_p99=stats.commit_ms(0.99),
            integrity="; ".join([*([self._unreadable] if self._unreadable else []), *self._app.journal.damage]) or "ok",
            writable=not self._store_faults(),
        )

    def _channel(self, name: str, source: ChannelSource, look: _Look) -> ChannelSnapshot:
        config, now, now_s = source.built.config, look.now, look.now_s
        view, counts = look.channels.get(name), look.today.get((name, ""), {})
        last_us = source.channel.counts.last_message_us or (view.last_us if view else 0)
        last_at = from_us(last_us) if last_us else None
        age = max(0.0, (now - last_at).total_seconds()) if last_at else None
        mine = tuple(
            self._lane(worker, worker.memory.lanes[name], look)
            for worker in self._app.delivery_workers.values()
            if name in worker.memory.lanes
        )
        connections = tuple(connection.peer for connection in source.channel.connections.values())
        return ChannelSnapshot(
            name=name,
            kind=config.source.kind,
            address=config.source.place,
            description=config.description,
            state=channel_state(
                enabled=config.enabled,
                paused=source.paused,
                fault=source.fault,
                storing=self._is_storing(source),
                connected=source.connected,
                connects=not source.listens,
                last_message_age_s=age,
                usual_gap_s=config.usual_gap,
                up_s=now_s - self._started,
            ),
            fault=source.fault,
            notice=source.notice or self._unread_notice(source, now_s),
            paused=self._paused(Target(channel=name)),
            connections=connections,
            last_message_at=last_at,
            last_message_age_s=age,
            usual_gap_s=config.usual_gap,
            today_received=counts.get("received", 0),
            today_delivered=counts.get("delivered", 0),
            today_dead=counts.get("dead", 0),
            today_filtered=counts.get("filtered", 0),
            today_repeat=counts.get("repeat", 0),
            today_same_bytes=counts.get("same_bytes", 0),
            today_incomplete=counts.get("incomplete", 0),
            stored_waiting=view.stored if view else 0,
            dead=view.dead if view else 0,
            incomplete=view.incomplete if view else 0,
            link_faults=dict(source.channel.counts.faults),
            link=self._links.look(source, now, now_s),
            tee=tee_snapshot(source.channel),
            reagents=self._reagents.get(name, ()),
            lanes=mine,
        )

    @staticmethod
    def _unread_notice(source: ChannelSource, now_s: float) -> str:
        """A notice that incoming data does not become messages: a cable, a speed, a stranger at the port."""
        unread = getattr(source.channel.counts, "unread", None)
        if unread is None or unread.faults < UNREAD_FAULTS or now_s - unread.at > UNREAD_S:
            return ""
        what = f"{unread.faults} faults since the last message; last from {unread.peer}: {fault_words(unread.kind)}"
        return f"what comes in cannot be read ({what}{'; ' + unread.detail if unread.kind == 'stranger' else ''})"

    def _lane(self, worker: DestinationWorker, lane: Lane, look: _Look) -> LaneSnapshot:
        view, now = look.lanes.get((lane.channel, worker.name)), look.now
        oldest_us = self._oldest_us(worker, [lane])
        return LaneSnapshot(
            destination=worker.name,
            waiting=view.open if view else 0,
            oldest_age_s=max(0.0, (now - from_us(oldest_us)).total_seconds()) if oldest_us else None,
            retrying=self._retrying(worker, [lane], now),
            dead=view.dead if view else 0,
            held=view.held if view else 0,
            held_age_s=_held_age([view] if view else [], now),
            held_critical=view.held_critical if view else 0,
            delivered_today=look.today.get((lane.channel, worker.name), {}).get("delivered", 0),
            paused=self._paused(Target(channel=lane.channel, destination=worker.name)),
            expected=lane.failure is not None and self._expected_until(worker) is not None,
        )

    def _oldest_us(self, worker: DestinationWorker, lanes: Iterable[Lane]) -> int | None:
        """When the oldest open delivery of these lanes was received; a lane at a standstill has its own in the store
        only.
        """
        ages = [
            delivery.received_us
            if (delivery := lane.oldest()) is not None
            else self._in_store.get((lane.channel, worker.name))
            for lane in lanes
        ]
        return min((age for age in ages if age), default=None)

    def _expected_until(self, worker: DestinationWorker) -> datetime | None:
        until_us = worker.downtime.until_us(self._app.clock.now_us())
        return None if until_us is None else from_us(until_us)

    def _paused(self, target: Target) -> Paused | None:
        if (pause := self._app.pauses.get(target)) is None:
            return None
        return Paused(by=pause.actor, since=from_us(pause.since_us) if pause.since_us else None, reason=pause.reason)

    def _destination(self, worker: DestinationWorker, config: DestinationConfig, look: _Look) -> DestinationSnapshot:
        now, now_s = look.now, look.now_s
        own = [view for (_, destination), view in look.lanes.items() if destination == worker.name]
        oldest = self._oldest_us(worker, worker.memory.lanes.values())
        counts = worker.counts
        error = counts.last_error
        retrying = self._retrying(worker, worker.memory.lanes.values(), now)
        probe = worker.breaker.next_probe
        expected_until = self._expected_until(worker)
        return DestinationSnapshot(
            name=worker.name,
            kind=config.kind,
            address=config.place,
            state=_state(worker, retrying, expected=expected_until is not None),
            paused=self._paused(Target(destination=worker.name)) or self._paused(DELIVERIES),
            expected_until=expected_until,
            breaker_until=now + timedelta(seconds=max(0.0, probe - now_s)) if probe is not None else None,
            waiting=sum(view.open for view in own),
            oldest_age_s=max(0.0, (now - from_us(oldest)).total_seconds()) if oldest is not None else None,
            in_flight=worker.attempts.in_flight,
            dead=sum(view.dead for view in own),
            held=sum(view.held for view in own),
            held_age_s=_held_age(own, now),
            held_critical=sum(view.held_critical for view in own),
            delivered_today=sum(
                counts.get("delivered", 0)
                for (_, destination), counts in look.today.items()
                if destination == worker.name
            ),
            last_delivered_at=from_us(counts.last_delivered_us) if counts.last_delivered_us else None,
            last_error=LastError(code=error[0], at=from_us(error[1])) if error else None,
            retrying=retrying,
            rate_per_min=self._rate(worker, now_s),
        )

    def _retrying(self, worker: DestinationWorker, lanes: Iterable[Lane], now: datetime) -> PendingRetry | None:
        failures = [(lane.failure, lane.channel) for lane in lanes if lane.failure is not None]
        if not failures:
            return None
        worst, channel = max(failures, key=lambda failed: failed[0].attempt)
        wait_s = worst.due - self._app.clock.monotonic()
        return PendingRetry(
            attempt=worst.attempt,
            code=worst.reason,
            # An open breaker lets nothing pass, whatever the lane's time: then the destination's time counts.
            next_at=now + timedelta(seconds=wait_s) if wait_s > 0 and worker.breaker.next_probe is None else None,
            channel=channel,
            message=worst.message_id,
            others_taken=worker.breaker.is_suspect(worst.delivery),
        )

    def _rate(self, worker: DestinationWorker, now_s: float) -> float:
        samples = self._rates[worker.name]
        samples.append((now_s, worker.counts.delivered))
        while len(samples) > 2 and now_s - samples[0][0] > RATE_WINDOW_S:
            samples.popleft()
        (began, before), (ended, after) = samples[0], samples[-1]
        return (after - before) * 60.0 / max(ended - began, 1.0) if ended > began else 0.0

    # -- metrics -----------------------------------------------------------------------------------------------

    def _count(self) -> None:
        """Update the counters of `/metrics` from the counts of the parts; the hot path touches none of them."""
        app, cell = self._app, self._app.counters.cell
        for name, source in app.sources.items():
            counts = source.channel.counts
            cell(metrics.CONNECTIONS_OPENED, name).n = counts.connections
            cell(metrics.RECEIVED, name).n = counts.messages
            for kind, n in counts.faults.items():
                cell(metrics.LINK_FAULTS, name, kind).n = n
        for (name, outcome), n in app.intake.counts.ended.items():
            cell(metrics.ENDED, name, outcome).n = n
        for (name, reason), n in (self._dead + app.intake.counts.dead).items():
            cell(metrics.DEAD, name, reason).n = n
        for name, n in app.intake.counts.unmapped.items():
            cell(metrics.UNMAPPED, name).n = n
        for name, worker in app.delivery_workers.items():
            cell(metrics.DELIVERED, name).n = worker.counts.delivered
            cell(metrics.BREAKER_OPENED, name).n = worker.counts.breaker_opened
            for failed, n in worker.counts.failed.items():
                cell(metrics.ATTEMPTS_FAILED, name, failed.value).n = n
            app.counters.adopt(metrics.DELIVERY, worker.counts.seconds, name)
        app.counters.adopt(metrics.COMMIT, app.journal.writer.stats.commits)


def _by_lane(counts: Iterable[Count]) -> dict[tuple[str, str], dict[str, int]]:
    found: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for count in counts:
        found[count.channel, count.destination][count.name] = count.n
    return found


def _held_age(views: Iterable[LaneView], now: datetime) -> float | None:
    """Seconds since the oldest held delivery of these lanes is held."""
    since = min((view.held_since_us for view in views if view.held_since_us), default=None)
    return None if since is None else max(0.0, (now - from_us(since)).total_seconds())


def _state(worker: DestinationWorker, retrying: PendingRetry | None, *, expected: bool) -> DestinationState:
    if worker.paused:
        return DestinationState.PAUSED
    if expected and (retrying is not None or worker.breaker.state is not BreakerState.CLOSED):
        return DestinationState.EXPECTED
    if worker.breaker.state is BreakerState.OPEN:
        return DestinationState.BREAKER_OPEN
    if worker.breaker.state is BreakerState.HALF_OPEN:
        return DestinationState.PROBING
    if retrying is not None:
        return DestinationState.RETRYING
    return DestinationState.OK if worker.counts.delivered else DestinationState.IDLE


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
