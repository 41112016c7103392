"""People may expect this of `engine.features.rules`; `tests/support/oracle.py` says how."""

from tests.support.oracle import LOOK

PAGES = {
    "GET /rules": LOOK,
    "GET /rules.csv": LOOK,
    "GET /rules/untouched.csv": LOOK,
}
LISTS = {
    "/rules": (LOOK, "rules"),
    "/rules/days": (LOOK, "days"),
    "/rules/untouched": (LOOK, "untouched"),
}
