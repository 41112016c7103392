"""People may expect this of `engine.features.events`; `tests/support/oracle.py` says how."""

from tests.support.oracle import LOOK, NONE

PAGES = {
    "GET /api/v1/events": LOOK,
}
TABLES = {
    "webhook": NONE,
}
