"""Reports on a period: volume, turnaround, utilisation, downtime; and on a shift."""

from engine.feature import Feature

FEATURE = Feature(
    on_outcome="on_outcome:ResultCounts",
    tables="rows:TABLES",
    every="rows.result_counts:EVERY",
    in_steps="rows.result_counts:step",
    on_prune="rows.result_counts:finish",
    forgets="rows.result_counts:forget",
    salvage="rows.result_counts:SALVAGE",
    service="service:downtime_watch",
    pages="pages:routes",
    menu="pages:MENU",
    lists="lists.listed:LISTS",
)
