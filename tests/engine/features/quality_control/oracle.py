"""People may expect this of `engine.features.quality_control`; `tests/support/oracle.py` says how."""

from typing import Any

from tests.support.oracle import ACT, CHANGE, LOOK, OWN

ACTS = {
    "quality_load": CHANGE,
    "quality_accept": CHANGE,
    "quality_end": CHANGE,
    "quality_rules": CHANGE,
    "quality_exclude": ACT,
    "quality_include": ACT,
    "quality_event": ACT,
    "quality_done": ACT,
    "quality_enter": ACT,
    "quality_close": ACT,
    "quality_look": ACT,
}
ABOUT: dict[str, dict[str, Any]] = {
    "quality_include": {"point": 1, "reason": "asked"},
    "quality_exclude": {"point": 1, "cause": "other", "reason": "asked"},
    "quality_event": {"channel": "{unit}bench", "kind": "calibration", "reason": "asked"},
    "quality_done": {"channel": "{unit}bench", "job": "daily", "reason": "asked"},
    "quality_enter": {
        "channel": "{unit}bench",
        "test": "GLU",
        "number": "QC",
        "value": "1",
        "unit": "g/L",
        "reason": "asked",
    },
    "quality_close": {"failure": 1, "cause": "c", "action": "a", "reason": "asked"},
    "quality_look": {"failure": 1, "messages": ["{message}"], "reason": "asked"},
}
PAGES = {
    "GET /quality": LOOK,
    "GET /quality/chart": LOOK,
    "GET /quality/chart.csv": LOOK,
    "GET /quality/month": LOOK,
    "GET /quality/targets": LOOK,
    "POST /quality": ACT,
    "POST /quality/chart": ACT,
    "POST /quality/maintenance": ACT,
    "POST /quality/targets": CHANGE,
}
LISTS = {
    "/quality": (LOOK, "tests"),
    "/quality/points": (LOOK, "points cursor next"),
    "/quality/targets": (LOOK, "targets"),
    "/quality/maintenance": (LOOK, "jobs"),
    "/quality/lots": (LOOK, "lots"),
    "/quality/failures": (LOOK, "failures"),
    "/quality/failures/{number}/results": (LOOK, "looks"),
    "/quality/runs/{number}/verdicts": (LOOK, "verdicts"),
}
TABLES = {
    "qc_excluded": "qc_point",
    "qc_level": "qc_stream",
    "qc_point": "qc_stream",
    "qc_run": "qc_stream",
    "qc_verdict": "qc_run",
    "qc_lot": OWN,
    "qc_rules": OWN,
}
