"""Reports on a period: volume, turnaround, utilisation, downtime; and on a shift."""

from engine.feature import Feature

FEATURE = Feature(
    lists="lists.listed:LISTS",
)
