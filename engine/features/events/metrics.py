"""Metrics of webhooks."""

from collections.abc import Callable

from engine.features.events.service import EventService
from engine.monitoring.counters import Cell, counter
from engine.monitoring.metrics import Metrics, Put, gauge
from engine.monitoring.snapshot.site import SiteSnapshot

WEBHOOK_ATTEMPTS = counter(
    "labrelay_webhook_attempts",
    "Attempts to send events to webhooks: taken, failed (tried again), refused (given up).",
    ("webhook", "result"),
)
WEBHOOK_UNSENT = gauge(
    "labrelay_webhook_unsent_oldest_seconds",
    "Age of the oldest event that a webhook has not taken; 0: none waits.",
    ("webhook",),
)


def _measured(service: EventService, site: SiteSnapshot, put: Put) -> None:
    for webhook, since in service.webhooks.untaken_since().items():
        put(WEBHOOK_UNSENT, 0.0 if since is None else max((site.now - since).total_seconds(), 0.0), webhook)


def _counted(service: EventService, cell: Callable[..., Cell]) -> None:
    for (webhook, result), n in service.webhooks.attempts.items():
        cell(WEBHOOK_ATTEMPTS, webhook, result).n = n


METRICS = Metrics(specs=(WEBHOOK_ATTEMPTS, WEBHOOK_UNSENT), measured=_measured, counted=_counted)
