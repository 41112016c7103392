"""People may expect this of `engine.features.reports`; `tests/support/oracle.py` says how."""

from tests.support.oracle import LOOK, NONE, OWN

PAGES = {
    "GET /shift": LOOK,
    "GET /reports": LOOK,
    "GET /reports.csv": LOOK,
}
LISTS = {
    "/reports/volume": (LOOK, "volume"),
    "/reports/turnaround": (LOOK, "turnaround"),
    "/reports/utilisation": (LOOK, "utilisation"),
    "/reports/downtime": (LOOK, "downtime"),
    "/reports/unmapped": (LOOK, "unmapped"),
    "/reports/callback": (LOOK, "callback"),
    "/reports/calls": (LOOK, "calls"),
}
TABLES = {
    "downtime": OWN,
    "result_position": NONE,
}
