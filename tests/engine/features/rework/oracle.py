"""People may expect this of `engine.features.rework`; `tests/support/oracle.py` says how."""

from typing import Any

from tests.support.oracle import ACT, CHANGE, EDIT, LOOK, NEITHER, SEE, SELECTED

ACTS = {
    "retry": ACT,
    "set_aside": ACT,
    "replay": ACT,
    "edit": EDIT,
    "reprocess": CHANGE,
}
ABOUT: dict[str, dict[str, Any]] = {
    "retry": SELECTED,
    "replay": SELECTED,
    "edit": {"message": "{message}", "content": "TVNI", "reason": "asked"},
    "set_aside": {"message": "{message}", "destination": "{unit}ward", "reason": "asked"},
}
PAGES = {
    "GET /do/retry": ACT,
    "POST /do/retry": ACT,
    "GET /do/dismiss": ACT,
    "POST /do/dismiss": ACT,
    "GET /operations": LOOK,
    "GET /operations/{number}": LOOK,
    "POST /operations/{number}": ACT,
    "GET /affected.csv": CHANGE,
    "POST /affected.csv": NEITHER,
    "POST /affected/results": NEITHER,
    "GET /replay": ACT,
    "POST /replay": ACT,
    "POST /messages/{number}/test": SEE,
    "GET /messages/{number}/set-aside": ACT,
    "POST /messages/{number}/set-aside": ACT,
    "GET /messages/{number}/edit": SEE,
    "POST /messages/{number}/edit": SEE,
    "POST /messages/{number}/edit/do": SEE,
    "GET /api/v1/operations/{number}/wait": LOOK,
    "GET /conflicts/{number}": LOOK,
    "GET /dead-letters": LOOK,
    "GET /dead-letters/each": LOOK,
    "GET /affected": CHANGE,
    "POST /affected": CHANGE,
}
LISTS = {
    "/dead-letters": (LOOK, "dead_letters cursor next"),
    "/dead-letters/groups": (LOOK, "groups"),
    "/dead-letters/{message}": (LOOK, "message dead_letters masked raw"),
    "/operations": (LOOK, "operations cursor next"),
    "/operations/{number}": (LOOK, "number verb stage total done failed skipped left outcomes undelivered reason"),
}
