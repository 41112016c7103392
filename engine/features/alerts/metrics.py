"""Metrics of alerts."""

from collections.abc import Callable

from engine.features.alerts.service import Alerting
from engine.monitoring.counters import Cell, counter
from engine.monitoring.metrics import Metrics, Put, gauge
from engine.monitoring.snapshot.site import SiteSnapshot

NOTIFICATIONS = counter(
    "labrelay_alert_notifications",
    "Attempts to send alerts: taken, failed (tried again), refused (given up).",
    ("sink", "result"),
)
ALERTS_OPEN = gauge(
    "labrelay_alerts_open", "Alerts that have begun and not ended; absent without `alerts:`.", ("rule", "level")
)
ALERTS_UNSENT = gauge(
    "labrelay_alerts_unsent_oldest_seconds",
    "Age of the oldest alert that a sink has not taken, quiet windows left out; 0: none waits.",
    ("sink",),
)


def _measured(service: Alerting, site: SiteSnapshot, put: Put) -> None:
    if (seen := service.seen) is None:  # the site has no alerts
        return
    for (rule, level), n in seen.open.items():
        put(ALERTS_OPEN, n, rule, level)
    for sink, since_us in seen.unsent_since_us.items():
        age_s = 0.0 if since_us is None else site.now.timestamp() - since_us / 1e6
        put(ALERTS_UNSENT, max(age_s, 0.0), sink)


def _counted(service: Alerting, cell: Callable[..., Cell]) -> None:
    for (sink, result), n in service.notifications.items():
        cell(NOTIFICATIONS, sink, result).n = n


METRICS = Metrics(specs=(NOTIFICATIONS, ALERTS_OPEN, ALERTS_UNSENT), measured=_measured, counted=_counted)
