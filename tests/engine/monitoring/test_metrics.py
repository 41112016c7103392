"""Metrics: cheap to count, bounded, consistent with the snapshot, and documented."""

import re
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from engine.commands.shared.verb_list import TOPICS
from engine.features.alerts.rules.machine import AlertsSnapshot
from engine.model.process.timing import Timing
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.counters import Counters, Kind
from engine.monitoring.metrics import (
    ATTEMPTS_FAILED,
    COMMIT,
    DELIVERY,
    LINK_FAULTS,
    RECEIVED,
    all_metrics,
    new_registry,
)
from engine.monitoring.snapshot.site import SiteSnapshot
from tests.support.status_sites import NOW, large_site, quiet_site, troubled_site


def scraped(registry: CollectorRegistry) -> dict[str, float]:
    """``name{label="value"}`` -> value, read back by Prometheus's own parser."""
    samples = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


def test_counters_are_exported_with_their_labels() -> None:
    counters = Counters()
    received = counters.cell(RECEIVED, "chemistry")
    received.n += 1
    received.n += 1
    for _ in range(3):
        counters.add(ATTEMPTS_FAILED, "lab-fhir", ReasonCode.NO_ANSWER.value)
    samples = scraped(new_registry(counters, quiet_site))
    assert samples["labrelay_messages_received_total{channel=chemistry}"] == 2
    assert samples["labrelay_delivery_failures_total{destination=lab-fhir,reason=NO_ANSWER}"] == 3


def test_the_same_labels_give_the_same_cell() -> None:
    counters = Counters()
    assert counters.cell(RECEIVED, "a") is counters.cell(RECEIVED, "a")
    assert counters.cell(RECEIVED, "a") is not counters.cell(RECEIVED, "b")
    with pytest.raises(ValueError, match="takes the labels"):
        counters.cell(RECEIVED, "a", "b")


def test_a_peer_cannot_grow_the_labels_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.monitoring.counters.MAX_LABEL_SETS", 10)
    counters = Counters()
    for number in range(1000):
        counters.add(LINK_FAULTS, "chemistry", f"kind-{number}")
    counters.add(LINK_FAULTS, "chemistry", "kind-3")
    samples = scraped(new_registry(counters, quiet_site))
    mine = {name: value for name, value in samples.items() if name.startswith("labrelay_link_faults")}
    assert len(mine) == 11
    assert mine["labrelay_link_faults_total{channel=other,kind=other}"] == 990
    assert mine["labrelay_link_faults_total{channel=chemistry,kind=kind-3}"] == 2


def test_timings_are_histograms() -> None:
    counters = Counters()
    timing, delivery = Timing(), Timing()
    counters.adopt(COMMIT, timing)
    counters.adopt(DELIVERY, delivery, "lab-fhir")
    for seconds in (0.0004, 0.002, 0.002, 100.0):
        timing.observe(seconds)
    delivery.observe(0.2)
    samples = scraped(new_registry(counters, quiet_site))
    assert samples["labrelay_commit_seconds_bucket{le=0.0005}"] == 1
    assert samples["labrelay_commit_seconds_bucket{le=0.0025}"] == 3
    assert samples["labrelay_commit_seconds_bucket{le=60.0}"] == 3
    assert samples["labrelay_commit_seconds_bucket{le=+Inf}"] == 4
    assert samples["labrelay_commit_seconds_count"] == 4
    assert samples["labrelay_commit_seconds_sum"] == pytest.approx(100.0044)
    assert samples["labrelay_delivery_seconds_count{destination=lab-fhir}"] == 1


def test_the_snapshot_is_exported_as_the_page_shows_it() -> None:
    samples = scraped(new_registry(Counters(), troubled_site))
    assert samples["labrelay_level"] == 2
    assert samples["labrelay_channel_state{channel=haematology-1,state=silent}"] == 1
    assert samples["labrelay_channel_state{channel=haematology-1,state=receiving}"] == 0
    assert samples["labrelay_channel_connections{channel=chemistry}"] == 2
    assert samples["labrelay_channel_last_message_time_seconds{channel=chemistry}"] == NOW.timestamp() - 12
    assert "labrelay_channel_last_message_time_seconds{channel=urinalysis}" not in samples
    assert samples["labrelay_lane_waiting{channel=chemistry,destination=lab-fhir}"] == 38
    assert samples["labrelay_lane_oldest_seconds{channel=chemistry,destination=lab-fhir}"] == 1204
    assert samples["labrelay_destination_state{destination=lab-fhir,state=breaker_open}"] == 1
    assert samples["labrelay_dead_letters_open"] == 3
    assert samples["labrelay_incomplete_open"] == 2
    assert samples["labrelay_task_restarts_total{task=channel coagulation}"] == 14
    assert samples["labrelay_journal_intact"] == 1
    assert samples["labrelay_info{config=3f9ac1d2,version=0.1.0}"] == 1


def test_the_process_is_measured_without_proc_stat() -> None:
    """A hardened service sees only /proc/self (ProcSubset=pid)."""
    samples = scraped(new_registry(Counters(), quiet_site))
    assert 10 << 20 < samples["process_resident_memory_bytes"] <= samples["process_max_resident_memory_bytes"] * 1.1
    assert samples["process_virtual_memory_bytes"] > samples["process_resident_memory_bytes"]
    assert samples["process_cpu_seconds_total"] > 0
    before = samples["process_open_fds"]
    with open("/dev/null", "rb"):
        assert scraped(new_registry(Counters(), quiet_site))["process_open_fds"] == before + 1
    assert samples["process_max_fds"] > before


def test_no_metric_is_exported_twice() -> None:
    """Prometheus refuses the whole scrape if one is."""
    counters = Counters()
    for spec in all_metrics():
        if spec.kind is Kind.COUNTER:
            counters.add(spec, *spec.labels)
        elif spec.kind is Kind.HISTOGRAM:
            counters.adopt(spec, Timing(), *spec.labels)
    alerts = AlertsSnapshot({("dead", "attention"): 1}, {"chief": None})
    families = [
        family.name
        for family in new_registry(counters, troubled_site, lambda: services(alerts, {"erp": NOW})).collect()
    ]
    assert len(families) == len(set(families))


def services(alerts: AlertsSnapshot | None, untaken: dict[str, datetime | None]) -> dict[str, object]:
    """Of the features with metrics, what they read."""
    webhooks = SimpleNamespace(untaken_since=lambda: untaken)
    return {"alerts": SimpleNamespace(seen=alerts), "events": SimpleNamespace(webhooks=webhooks)}


def test_alerts_are_counted_by_rule_and_level_and_unsent_ones_by_their_age() -> None:
    at_us = round(NOW.timestamp() * 1e6)
    alerts = AlertsSnapshot(
        {("dead", "attention"): 2, ("dead", "problem"): 0},
        {"chief": None, "mail": at_us - 90_000_000, "set-back": at_us + 5},
    )
    samples = scraped(new_registry(Counters(), quiet_site, lambda: services(alerts, {})))
    assert {name: value for name, value in samples.items() if name.startswith("labrelay_alert")} == {
        "labrelay_alerts_open{level=attention,rule=dead}": 2,
        "labrelay_alerts_open{level=problem,rule=dead}": 0,
        "labrelay_alerts_unsent_oldest_seconds{sink=chief}": 0,
        "labrelay_alerts_unsent_oldest_seconds{sink=mail}": 90,
        "labrelay_alerts_unsent_oldest_seconds{sink=set-back}": 0,
    }


def test_events_that_a_webhook_has_not_taken_are_there_by_their_age() -> None:
    untaken = {"erp": NOW - timedelta(seconds=90), "bus": None, "set-back": NOW + timedelta(seconds=5)}
    samples = scraped(new_registry(Counters(), quiet_site, lambda: services(None, untaken)))
    assert {name: value for name, value in samples.items() if name.startswith("labrelay_webhook")} == {
        "labrelay_webhook_unsent_oldest_seconds{webhook=erp}": 90,
        "labrelay_webhook_unsent_oldest_seconds{webhook=bus}": 0,
        "labrelay_webhook_unsent_oldest_seconds{webhook=set-back}": 0,
    }


def test_nothing_is_collected_before_there_is_a_snapshot() -> None:
    def not_yet() -> SiteSnapshot:
        raise AssertionError("asked too early")

    new_registry(Counters(), not_yet)


def test_a_large_network_can_be_scraped() -> None:
    assert len(scraped(new_registry(Counters(), large_site))) > 9_000


def test_names_follow_prometheus_and_are_unique() -> None:
    names = [spec.name for spec in all_metrics()]
    assert len(names) == len(set(names))
    for spec in all_metrics():
        assert re.fullmatch(r"labrelay_[a-z_]+", spec.name)
        assert not spec.name.endswith("_total")
        assert spec.help.endswith(".")
        assert set(spec.labels) <= {
            *("channel", "destination", "reason", "kind", "state", "outcome", "code", "task", "level"),
            *("version", "config", "facility", "rule", "sink", "webhook", "result"),
        }
        if spec.kind is Kind.HISTOGRAM:
            assert spec.name.endswith("_seconds")


def test_the_help_names_exactly_these_metrics() -> None:
    rows = re.findall(r"^  (labrelay_\w+) \(([a-z]+)(?:, )?([^)]*)\)\n +(.+)$", TOPICS["metrics"].text(), re.M)
    documented = {name: (kind, labels, text) for name, kind, labels, text in rows}
    assert documented == {
        spec.name + ("_total" if spec.kind is Kind.COUNTER else ""): (
            spec.kind.value,
            ", ".join(spec.labels),
            spec.help.replace("`", ""),
        )
        for spec in all_metrics()
    }
