"""Reports on a period: volume, turnaround, utilisation, downtime; and on a shift."""

from engine.feature import Feature

FEATURE = Feature(
    service="service:downtime_watch",
)
