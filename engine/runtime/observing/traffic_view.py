"""Each channel and destination at one moment: rows of the journal, and the state of the running parts."""

from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from engine.actions.pause_resume import waits_for_no_answer
from engine.config.destinations.destination import DestinationConfig
from engine.delivery.breaker import BreakerState
from engine.delivery.lane import Lane
from engine.delivery.worker import DestinationWorker
from engine.model.journal.records import DELIVERIES, ChannelView, LaneView, Pause, Target
from engine.model.process.clock import from_us
from engine.model.texts.link_words import fault_words
from engine.model.texts.phrases import Span
from engine.monitoring.snapshot.channels import (
    ChannelSnapshot,
    DestinationSnapshot,
    LaneSnapshot,
    LastError,
    PendingRetry,
    ReagentSnapshot,
)
from engine.monitoring.snapshot.states import DestinationState, Paused, channel_state
from engine.runtime.observing.link_view import ArrivalsView, LinkViews, tee_snapshot
from engine.runtime.parts import Parts
from engine.runtime.sources import ChannelSource
from engine.store.queries.tallies import list_reagents

RATE_WINDOW_S = 60.0
REAGENTS_SHOWN = 20  # lots of each channel
UNREAD_FAULTS = 5  # after so many unreadable transfers without a message, the page reports it
UNREAD_S = 900.0  # for so long after the last of them
DAY_COUNTS = ("received", "delivered", "dead", "filtered", "repeat", "same_bytes", "incomplete")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The rows of one reading of the journal, and its time: of the wall clock, and monotonic.

    Attributes:
        today: (channel, destination or nothing) -> name of a counter -> how many today.
        oldest: lane -> when its oldest open delivery was received, where a lane is at a standstill.
        unmapped: channel -> when its oldest message was received that is not mapped yet.
    """

    now: datetime
    now_s: float
    today: Mapping[tuple[str, str], Mapping[str, int]]
    channels: Mapping[str, ChannelView]
    lanes: Mapping[tuple[str, str], LaneView]
    oldest: Mapping[tuple[str, str], int]
    unmapped: Mapping[str, int]


class TrafficViews:
    """Makes the snapshots of all channels and destinations."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._clock = parts.clock
        self._started = parts.clock.monotonic()
        self._rates: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)
        self._links = LinkViews()
        self._arrivals = ArrivalsView(parts.journal)
        self._reagents: dict[str, tuple[ReagentSnapshot, ...]] = {}
        self._reagents_seen: dict[str, int] = {}

    def read_reagents(self) -> None:
        """Read the lots again of channels that have named some since the last time.

        Raises:
            StoreError: the journal cannot be read.
        """
        seen = self._parts.intake.counts.reagents
        for name in self._parts.sources:
            if self._reagents_seen.get(name) != seen[name]:
                self._reagents_seen[name] = seen[name]
                self._reagents[name] = tuple(
                    ReagentSnapshot.of(view) for view in list_reagents(self._parts.journal, name, limit=REAGENTS_SHOWN)
                )

    def read_arrivals(self, channels: Mapping[str, ChannelView], now: datetime, started: datetime) -> None:
        """Read what is usual for each channel at this hour.

        Raises:
            StoreError: the journal cannot be read.
        """
        site = self._parts.built.site.config
        last_us = {name: self._last_us(source, channels.get(name)) for name, source in self._parts.sources.items()}
        configs = [source.built.config for source in self._parts.sources.values()]
        zone = ZoneInfo(site.site.timezone or "UTC")
        self._arrivals.read(configs, last_us, now, started, zone, site.days_off)

    def usual_by_hour(self) -> tuple[tuple[int, int] | None, ...]:
        """As of `ArrivalsView`."""
        return self._arrivals.usual_by_hour()

    @staticmethod
    def _last_us(source: ChannelSource, view: ChannelView | None) -> int:
        """When its last message came; 0 before the first ever."""
        return source.channel.counts.last_message_us or (view.last_us if view else 0)

    def channel(self, name: str, source: ChannelSource, reading: Reading, *, storing: bool) -> ChannelSnapshot:
        """
        Args:
            storing: a message of this channel would be stored if it came now.
        """
        config, counts = source.built.config, source.channel.counts
        view, counted = reading.channels.get(name), reading.today.get((name, ""), {})
        last_at = _instant(self._last_us(source, view))
        usual, last_day = self._arrivals.usual(name), self._arrivals.last_day(name)
        age_s = _seconds_since(last_at, reading.now)
        today: dict[str, Any] = {f"today_{count}": counted.get(count, 0) for count in DAY_COUNTS}
        return ChannelSnapshot(
            name=name,
            kind=config.source.kind,
            address=config.source.place,
            description=config.description,
            state=channel_state(
                enabled=config.enabled,
                paused=source.paused,
                fault=source.fault,
                storing=storing,
                connected=source.connected,
                connects=not source.listens,
                last_message_age_s=age_s,
                usual_gap_s=usual.gap_s if usual.source == "configured" and not usual.day_off else None,
                silent=usual.silent,
                up_s=reading.now_s - self._started,
            ),
            fault=source.fault,
            notice=source.notice or "; ".join(_notices(source, reading)),
            paused=_paused(self._parts.pauses.get(Target(channel=name))),
            connections=tuple(connection.peer for connection in source.channel.connections.values()),
            last_message_at=last_at,
            last_message_age_s=age_s,
            usual=usual,
            received_by_hour=last_day.received,
            dead_by_hour=last_day.dead,
            **today,
            stored_waiting=view.stored if view else 0,
            **source.waits,
            stored_age_s=_seconds_since(_instant(reading.unmapped.get(name)), reading.now),
            dead=view.dead if view else 0,
            incomplete=view.incomplete if view else 0,
            link_faults=dict(counts.faults),
            link=self._links.snapshot(source, reading.now, reading.now_s),
            tee=tee_snapshot(source.channel),
            unheard=waits_for_no_answer(config.source),
            reagents=self._reagents.get(name, ()),
            lanes=tuple(
                self._lane(worker, worker.memory.lanes[name], reading)
                for worker in self._parts.delivery_workers.values()
                if name in worker.memory.lanes
            ),
        )

    def _lane(self, worker: DestinationWorker, lane: Lane, reading: Reading) -> LaneSnapshot:
        target = Target(channel=lane.channel, destination=worker.name)
        return LaneSnapshot(
            destination=worker.name,
            **self._queue(worker, [lane], {(lane.channel, worker.name)}, reading),
            paused=_paused(self._parts.pauses.get(target)),
            expected=lane.failure is not None and self._expected_until(worker) is not None,
        )

    def destination(
        self, worker: DestinationWorker, config: DestinationConfig, reading: Reading
    ) -> DestinationSnapshot:
        counts, pauses = worker.counts, self._parts.pauses
        mine = {key for key in (*reading.lanes, *reading.today) if key[1] == worker.name}
        queue = self._queue(worker, worker.memory.lanes.values(), mine, reading)
        probe, expected_until = worker.breaker.next_probe, self._expected_until(worker)
        return DestinationSnapshot(
            name=worker.name,
            kind=config.kind,
            address=config.place,
            contact=config.contact,
            state=_state(worker, queue["retrying"], expected=expected_until is not None),
            paused=_paused(pauses.get(Target(destination=worker.name)) or pauses.get(DELIVERIES)),
            expected_until=expected_until,
            breaker_until=None if probe is None else reading.now + timedelta(seconds=max(0.0, probe - reading.now_s)),
            in_flight=worker.attempts.in_flight,
            last_delivered_at=_instant(counts.last_delivered_us),
            last_error=LastError(code=counts.last_error[0], at=from_us(counts.last_error[1]), away=counts.last_error[2])
            if counts.last_error
            else None,
            rate_per_min=self._rate(worker, reading.now_s),
            **queue,
        )

    def _queue(
        self, worker: DestinationWorker, lanes: Collection[Lane], keys: Collection[tuple[str, str]], reading: Reading
    ) -> dict[str, Any]:
        """The fields that a lane and a destination have in common, over these lanes.

        Args:
            keys: of their rows.
        """
        views = [reading.lanes[key] for key in keys if key in reading.lanes]
        # A lane at a standstill has its oldest in the store only.
        ages = [
            oldest.received_us
            if (oldest := lane.oldest()) is not None
            else reading.oldest.get((lane.channel, worker.name))
            for lane in lanes
        ]
        oldest_us = min((age for age in ages if age), default=None)
        held_us = min((view.held_since_us for view in views if view.held_since_us), default=None)
        return {
            "waiting": sum(view.open for view in views),
            "oldest_age_s": _seconds_since(_instant(oldest_us), reading.now),
            "retrying": self._retrying(worker, lanes, reading.now),
            "dead": sum(view.dead for view in views),
            "held": sum(view.held for view in views),
            "held_age_s": _seconds_since(_instant(held_us), reading.now),
            "held_critical": sum(view.held_critical for view in views),
            "delivered_today": sum(reading.today.get(key, {}).get("delivered", 0) for key in keys),
        }

    def _expected_until(self, worker: DestinationWorker) -> datetime | None:
        return _instant(worker.downtime.until_us(self._clock.now_us()))

    def _retrying(self, worker: DestinationWorker, lanes: Collection[Lane], now: datetime) -> PendingRetry | None:
        failures = [(lane.failure, lane.channel) for lane in lanes if lane.failure is not None]
        if not failures:
            return None
        worst, channel = max(failures, key=lambda failed: failed[0].attempt)
        wait_s = worst.due - self._clock.monotonic()
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


def _notices(source: ChannelSource, reading: Reading) -> Iterator[str]:
    """Notices of the line: incoming data does not become messages, for a cable or a speed; or a stranger connects."""
    unread = source.channel.counts.unread
    if unread.faults >= UNREAD_FAULTS and reading.now_s - unread.at <= UNREAD_S:
        what = f"{unread.faults} faults since the last message; last from {unread.peer}: {fault_words(unread.kind)}"
        yield f"incoming bytes cannot be read ({what})"
    backlog = source.channel.backlog
    if backlog.pause_s:
        age_s = _seconds_since(_instant(reading.unmapped.get(source.channel.settings.name)), reading.now)
        oldest = f", the oldest for {Span(age_s).say()}" if age_s is not None else ""
        so = "nothing more is taken until some of them are" if backlog.full else "answers are slow"
        yield f"{backlog.bytes >> 20} MiB are not mapped yet{oldest}, so {so}"
    for why, strangers in source.channel.counts.strangers.items():
        if reading.now_s <= strangers.until:
            what = f"{strangers.connections} (last from {strangers.peer}: {why})"
            yield f"connections refused at their first bytes: {what}"


def _instant(at_us: int | None) -> datetime | None:
    return from_us(at_us) if at_us else None


def _seconds_since(at: datetime | None, now: datetime) -> float | None:
    return None if at is None else max(0.0, (now - at).total_seconds())


def _paused(pause: Pause | None) -> Paused | None:
    if pause is None:
        return None
    return Paused(by=pause.actor, since=_instant(pause.since_us), reason=pause.reason)


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
