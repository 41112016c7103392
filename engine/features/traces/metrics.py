"""Metrics of traces."""

from collections.abc import Callable

from engine.features.traces.service import Tracing
from engine.monitoring.counters import Cell, counter
from engine.monitoring.metrics import Metrics

SPANS = counter(
    "labrelay_trace_spans",
    "Spans of traces: sent, dropped (no room while the collector is away, or it refused them).",
    ("result",),
)


def _counted(service: Tracing, cell: Callable[..., Cell]) -> None:
    if service.witness is not None or service.dropped:
        cell(SPANS, "sent").n = service.sent
        cell(SPANS, "dropped").n = service.dropped


METRICS = Metrics(specs=(SPANS,), counted=_counted)
