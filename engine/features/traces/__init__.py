"""Traces: the steps of each message as spans, for the site's collector."""

from engine.feature import Feature

FEATURE = Feature(
    service="service:tracing",
    metrics="metrics:METRICS",
    keys="config:TracesKeys",
    servers="config:servers",
    key_help="config:KEYS",
)
