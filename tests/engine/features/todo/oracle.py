"""People may expect this of `engine.features.todo`; `tests/support/oracle.py` says how."""

from typing import Any

from tests.support.oracle import ACT, LOOK, NONE

ACTS = {
    "todo": LOOK,
    "todo_take": ACT,
    "todo_note": ACT,
    "todo_snooze": ACT,
    "todo_drop": ACT,
}
ABOUT: dict[str, dict[str, Any]] = {
    "todo_take": {"key": "silent/{unit}bench"},
    "todo_note": {"key": "silent/{unit}bench", "text": "seen"},
    "todo_snooze": {"key": "silent/{unit}bench", "seconds": 60.0, "reason": "later"},
    "todo_drop": {"key": "silent/{unit}bench"},
}
PAGES = {
    "GET /todo": LOOK,
    "POST /todo": ACT,
    "GET /api/v1/todo": LOOK,
}
TABLES = {
    "todo": NONE,
    "todo_look": NONE,
}
