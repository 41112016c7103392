"""The metrics at ``/metrics`` for Prometheus, and the counters behind them.

The hot path adds to plain integers (`Cell.n += 1`, 30 ns) that it fetched once; prometheus-client runs only during a
scrape. Values of the snapshot (queues, ages, states) are read from it, so that page and metrics never disagree. Labels
are channel and destination names from the configuration and codes from our own enums; values that a peer could choose
are limited to `engine.monitoring.counters.MAX_LABEL_SETS` per metric, and the rest is counted as ``other``.

Every metric is named in `OWN` or declared by a feature, and `labrelay help metrics` lists them.

The ``process_*`` metrics that Prometheus's own tools expect, from the files that a hardened service can read.

The collector in prometheus-client needs the boot time from ``/proc/stat`` and shows nothing without it; under
``ProcSubset=pid`` that file does not exist. Everything here comes from ``/proc/self`` and getrusage(2).
"""

import os
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.feature import Hook
from engine.model.process.timing import TIMING_BUCKETS
from engine.monitoring import counters
from engine.monitoring.counters import Cell, Counters, Kind, Spec, counter
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, DestinationState, Level

gauge, _histogram = partial(Spec, Kind.GAUGE), partial(Spec, Kind.HISTOGRAM)
_CHANNEL = ("channel",)
_DESTINATION = ("destination",)
_LANE = ("channel", "destination")

RECEIVED = counter("labrelay_messages_received", "Messages journaled.", _CHANNEL)
ENDED = counter(
    "labrelay_messages_processed",
    "Messages after mapping: mapped, filtered, dead, repeat, incomplete.",
    ("channel", "outcome"),
)
LINK_FAULTS = counter("labrelay_link_faults", "Departures of the peer from its protocol, by kind.", ("channel", "kind"))
CONNECTIONS_OPENED = counter(
    "labrelay_connections_opened", "Connections accepted or made, serial ports opened.", _CHANNEL
)
DEAD = counter("labrelay_dead_letters", "Messages and deliveries buried, by reason.", ("channel", "reason"))
UNMAPPED = counter("labrelay_unmapped_codes", "Results whose code had no row in its table.", _CHANNEL)
DELIVERED = counter("labrelay_deliveries", "Documents delivered.", _DESTINATION)
ATTEMPTS_FAILED = counter("labrelay_delivery_failures", "Attempts that failed, by reason.", ("destination", "reason"))
BREAKER_OPENED = counter("labrelay_breaker_opened", "Times a destination was no longer reachable.", _DESTINATION)
# Read from the snapshot, like the gauges below: the supervisor counts.
TASK_RESTARTS = counter("labrelay_task_restarts", "Supervised tasks that fell over.", ("task",))
LOG_LINES, LOG_REPEATS = counters.LOG_LINES, counters.LOG_REPEATS
LOG_OVER_BUDGET, LOG_FIELDS_DROPPED = counters.LOG_OVER_BUDGET, counters.LOG_FIELDS_DROPPED
COMMIT = _histogram("labrelay_commit_seconds", "Time of a journal commit with its sync.")
DELIVERY = _histogram("labrelay_delivery_seconds", "Time of a successful attempt.", _DESTINATION)

INFO = gauge("labrelay_info", "Always 1; version and configuration hash.", ("version", "config"))
STARTED = gauge("labrelay_start_time_seconds", "When the daemon started, seconds since 1970.")
LEVEL = gauge("labrelay_level", "The site as a whole: 0 in order, 1 attention, 2 problem.")
CHANNEL_STATE = gauge("labrelay_channel_state", "1 for the state that the channel is in, else 0.", ("channel", "state"))
CHANNEL_CONNECTIONS = gauge("labrelay_channel_connections", "Peers connected now.", _CHANNEL)
CHANNEL_LAST = gauge("labrelay_channel_last_message_time_seconds", "Last message, seconds since 1970.", _CHANNEL)
CHANNEL_GAP = gauge("labrelay_channel_usual_gap_seconds", "How far apart messages usually are.", _CHANNEL)
CHANNEL_STORED = gauge("labrelay_channel_unmapped_messages", "Journaled, not mapped yet.", _CHANNEL)
CHANNEL_UNREAD = gauge("labrelay_channel_unread_records", "Records that wait in the topic of Kafka.", _CHANNEL)
LANE_WAITING = gauge("labrelay_lane_waiting", "Deliveries waiting.", _LANE)
LANE_OLDEST = gauge("labrelay_lane_oldest_seconds", "Age of the oldest waiting delivery.", _LANE)
LANE_DEAD = gauge("labrelay_lane_dead", "Open dead letters.", _LANE)
LANE_HELD = gauge("labrelay_lane_held", "Deliveries held back.", _LANE)
LANE_HELD_OLDEST = gauge("labrelay_lane_held_oldest_seconds", "For how long the oldest of them is held back.", _LANE)
LANE_HELD_CRITICAL = gauge("labrelay_lane_held_critical", "Held deliveries with a critical value.", _LANE)
DESTINATION_STATE = gauge(
    "labrelay_destination_state", "1 for the state that the destination is in, else 0.", ("destination", "state")
)
DESTINATION_IN_FLIGHT = gauge("labrelay_destination_in_flight", "Attempts under way.", _DESTINATION)
DEAD_OPEN = gauge("labrelay_dead_letters_open", "Dead letters that wait for a person.")
INCOMPLETE_OPEN = gauge("labrelay_incomplete_open", "Messages that were broken off and wait for a person.")
UNMAPPED_OPEN = gauge("labrelay_unmapped_codes_open", "Different codes seen and not in their table.")
DISK_FREE = gauge("labrelay_disk_free_bytes", "Free on the journal's file system.")
JOURNAL_LAST = gauge("labrelay_journal_last_id", "Number of the newest message.")
JOURNAL_BYTES = gauge("labrelay_journal_bytes", "Size of the journal.")
JOURNAL_WAL = gauge("labrelay_journal_wal_bytes", "Size of the journal's write-ahead log.")
JOURNAL_WRITABLE = gauge("labrelay_journal_writable", "0 while what comes in cannot be kept (a full disk), else 1.")
JOURNAL_INTACT = gauge("labrelay_journal_intact", "1 while the journal is what it was and can be read, else 0.")

BACKUP_AT = gauge("labrelay_backup_time_seconds", "Newest copy that was found whole, seconds since 1970; none: absent.")
BACKUP_ROWS_AT = gauge(
    "labrelay_backup_rows_time_seconds", "Up to when new rows are in the backup, seconds since 1970."
)

OWN: tuple[Spec, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Spec))


class Put(Protocol):
    """Exports a gauge; None: there is no value."""

    def __call__(self, spec: Spec, value: float | None, *labels: str) -> None: ...


def _nothing(*given: Any) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The metrics of a feature.

    Attributes:
        specs: all of them.
        measured: ``(service, snapshot, put)``: put the gauges of what the feature runs.
        counted: ``(service, cell)``: bring its counters up to date; ``cell`` is `Counters.cell`.
    """

    specs: Sequence[Spec]
    measured: Callable[[Any, SiteSnapshot, Put], None] = _nothing
    counted: Callable[[Any, Callable[..., "Cell"]], None] = _nothing


METRICS: Hook[Metrics] = Hook("metrics")


def all_metrics() -> tuple[Spec, ...]:
    return (*OWN, *(spec for one in METRICS.each() for spec in one.specs))


def count(services: Mapping[str, object], cell: Callable[..., "Cell"]) -> None:
    """Bring the counters of features up to date; ``services``: what they run, by feature."""
    for name, one in METRICS.by_feature().items():
        if name in services:
            one.counted(services[name], cell)


@dataclass(eq=False)
class SiteCollector(Collector):
    """Exports the counters and the current snapshot on each scrape."""

    counters: Counters
    snapshot: Callable[[], SiteSnapshot]
    services: Callable[[], Mapping[str, object]] = dict

    def collect(self) -> Iterator[Metric]:
        site = self.snapshot()  # first: taking the snapshot updates its counters
        yield from _counted(self.counters)
        yield from _seen(site, self.services())

    def describe(self) -> list[Metric]:
        """Nothing: keeps the registry from collecting when this is registered, before there is a snapshot."""
        return []


def new_registry(
    counters: Counters, snapshot: Callable[[], SiteSnapshot], services: Callable[[], Mapping[str, object]] = dict
) -> CollectorRegistry:
    """A registry of our own metrics and the process's (``process_*``: memory, CPU, open files).

    Args:
        services: what features run, by feature.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SiteCollector(counters, snapshot, services))
    registry.register(ProcessMetrics())
    return registry


def samples_within(registry: CollectorRegistry, channels: Set[str]) -> Iterator[Metric]:
    """The samples of these channels alone."""
    for metric in registry.collect():
        metric.samples = [one for one in metric.samples if one.labels.get("channel") in channels]
        if metric.samples:
            yield metric


def _counted(counters: Counters) -> Iterator[Metric]:
    for spec, cells in list(counters.cells.items()):
        if spec is TASK_RESTARTS:
            continue
        family = CounterMetricFamily(spec.name, spec.help, labels=spec.labels)
        for labels, cell in list(cells.items()):
            family.add_metric(labels, cell.n)
        yield family
    for spec, timings in list(counters.timings.items()):
        histogram = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
        for labels, timing in list(timings.items()):
            histogram.add_metric(labels, _buckets(timing.counts), timing.sum_s)
        yield histogram


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound, count in zip([*map(str, TIMING_BUCKETS), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


class _Gauges:
    """Collects gauge samples by metric."""

    def __init__(self) -> None:
        self.families: dict[Spec, GaugeMetricFamily] = {}

    def set(self, spec: Spec, value: float | None, *labels: str) -> None:
        if value is None:
            return
        family = self.families.get(spec)
        if family is None:
            family = self.families[spec] = GaugeMetricFamily(spec.name, spec.help, labels=spec.labels)
        family.add_metric(labels, value)


def _seen(site: SiteSnapshot, services: Mapping[str, object]) -> Iterator[Metric]:
    gauges = _Gauges()
    put = gauges.set
    put(INFO, 1, site.version, site.config_hash)
    put(STARTED, site.started_at.timestamp())
    put(LEVEL, {Level.OK: 0, Level.ATTENTION: 1, Level.PROBLEM: 2}[site.overall().level])
    put(DEAD_OPEN, site.dead_total)
    put(INCOMPLETE_OPEN, site.incomplete_total)
    put(UNMAPPED_OPEN, site.unmapped_total)
    put(DISK_FREE, site.disk_free_bytes)
    put(JOURNAL_LAST, site.journal.last_id)
    put(JOURNAL_BYTES, site.journal.size_bytes)
    put(JOURNAL_WAL, site.journal.wal_bytes)
    put(JOURNAL_WRITABLE, site.journal.writable)
    put(JOURNAL_INTACT, site.journal.integrity == "ok")
    backup = site.backup
    put(BACKUP_AT, None if backup.verified_at is None else backup.verified_at.timestamp())
    put(BACKUP_ROWS_AT, None if backup.rows_at is None else backup.rows_at.timestamp())
    for name, one in METRICS.by_feature().items():
        if name in services:
            one.measured(services[name], site, put)
    for channel in site.channels:
        for state in ChannelState:
            put(CHANNEL_STATE, channel.state is state, channel.name, state.value)
        put(CHANNEL_CONNECTIONS, len(channel.connections), channel.name)
        last = channel.last_message_at
        put(CHANNEL_LAST, None if last is None else last.timestamp(), channel.name)
        put(CHANNEL_GAP, channel.usual_gap_s, channel.name)
        put(CHANNEL_STORED, channel.stored_waiting, channel.name)
        put(CHANNEL_UNREAD, channel.unread, channel.name)
        for lane in channel.lanes:
            put(LANE_WAITING, lane.waiting, channel.name, lane.destination)
            put(LANE_OLDEST, lane.oldest_age_s or 0, channel.name, lane.destination)
            put(LANE_DEAD, lane.dead, channel.name, lane.destination)
            put(LANE_HELD, lane.held, channel.name, lane.destination)
            put(LANE_HELD_OLDEST, lane.held_age_s or 0, channel.name, lane.destination)
            put(LANE_HELD_CRITICAL, lane.held_critical, channel.name, lane.destination)
    for destination in site.destinations:
        for condition in DestinationState:
            put(DESTINATION_STATE, destination.state is condition, destination.name, condition.value)
        put(DESTINATION_IN_FLIGHT, destination.in_flight, destination.name)
    restarts = CounterMetricFamily(TASK_RESTARTS.name, TASK_RESTARTS.help, labels=TASK_RESTARTS.labels)
    for task, count in site.task_restarts.items():
        restarts.add_metric((task,), count)
    yield restarts
    yield from gauges.families.values()


class ProcessMetrics(Collector):
    """Memory, processor time and open files of this process."""

    def collect(self) -> Iterator[Metric]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily(
            "process_cpu_seconds", "User and system processor time.", value=usage.ru_utime + usage.ru_stime
        )
        yield GaugeMetricFamily(
            "process_max_resident_memory_bytes", "Most memory held so far.", value=usage.ru_maxrss * 1024
        )
        yield GaugeMetricFamily("process_max_fds", "Limit of open files.", value=_file_limit())
        try:
            with open("/proc/self/statm", "rb") as file:
                virtual, resident = file.read().split()[:2]
            open_files = len(os.listdir("/proc/self/fd")) - 1  # the listing itself is one
        except (OSError, ValueError):  # not Linux, or no /proc at all
            return
        page = resource.getpagesize()
        yield GaugeMetricFamily("process_virtual_memory_bytes", "Address space.", value=int(virtual) * page)
        yield GaugeMetricFamily("process_resident_memory_bytes", "Memory held.", value=int(resident) * page)
        yield GaugeMetricFamily("process_open_fds", "Open files and sockets.", value=open_files)


def _file_limit() -> float:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else float(soft)
