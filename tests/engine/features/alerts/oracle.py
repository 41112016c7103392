"""People may expect this of `engine.features.alerts`; `tests/support/oracle.py` says how."""

from typing import Any

from tests.support.oracle import ACT, LOOK, OWN

ACTS = {
    "alerts": LOOK,
    "alert_sent": LOOK,
    "alert_test": ACT,
    "alert_acknowledge": ACT,
    "alert_silence": ACT,
    "alert_unsilence": ACT,
}
ABOUT: dict[str, dict[str, Any]] = {
    "alert_acknowledge": {"key": "silent/{unit}bench"},
    "alert_silence": {"pattern": "silent/{unit}bench", "seconds": 60.0, "reason": "known"},
    "alert_unsilence": {"silence": 1},
}
PAGES = {
    "GET /alerts": LOOK,
    "POST /alerts": ACT,
}
LISTS = {
    "/alerts": (LOOK, "alerts"),
    "/alerts/sent": (LOOK, "sent cursor next"),
    "/silences": (LOOK, "silences"),
}
TABLES = {
    "alert_line": "alert",
    "alert_silence": "alert",
    "alert": OWN,
}
