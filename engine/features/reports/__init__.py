"""Reports on a period: volume, turnaround, utilisation, downtime; and on a shift."""

from engine.feature import Feature

FEATURE = Feature(
    pages="pages.all_pages:routes",
    menu="pages.all_pages:MENU",
)
