"""People may expect this of `engine.features.results`; `tests/support/oracle.py` says how."""

from typing import Any

from tests.support.oracle import ACT, EDIT, LOOK, SEE, SELECTED

ACTS = {
    "dismiss": ACT,
    "release": ACT,
    "reject": ACT,
    "held_look": ACT,
    "tell_apart": EDIT,
}
ABOUT: dict[str, dict[str, Any]] = {
    "dismiss": SELECTED,
    "release": SELECTED,
    "reject": SELECTED,
    "tell_apart": {"message": "{message}", "answer": "same", "mark": "0000000000000000", "reason": "asked"},
}
PAGES = {
    "GET /held/{number}": LOOK,
    "POST /held/{number}": SEE,
    "GET /do/release": ACT,
    "POST /do/release": ACT,
    "GET /do/reject": ACT,
    "POST /do/reject": ACT,
    "GET /held": LOOK,
}
LISTS = {
    "/held": (LOOK, "held cursor next"),
    "/held-results": (ACT, "message results"),
    "/held/persons": (LOOK, "persons"),
}
