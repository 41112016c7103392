"""People may expect this of `engine.features.orders`; `tests/support/oracle.py` says how."""

from typing import Any

from tests.support.oracle import ACT, LOOK, OWN, SEE

ACTS = {
    "order_add": ACT,
    "order_cancel": ACT,
    "reflex_confirm": ACT,
    "reflex_decline": ACT,
    "order_release": ACT,
    "order_resend": ACT,
    "order_fetch": ACT,
    "order_match": ACT,
    "order_unmatch": ACT,
    "order_shown": SEE,
    "order_worklist": SEE,
}
ABOUT: dict[str, dict[str, Any]] = {
    "order_add": {"specimen": "1", "tests": ["{unit}-test"], "targets": ["{unit}tubes"]},
    "order_fetch": {"channel": "{unit}tubes", "specimen": "1"},
    "order_match": {"order": "{order}", "message": "{message}", "reason": "asked"},
    "order_cancel": {"order": "{order}", "reason": "asked"},
    "order_release": {"order": "{order}", "reason": "asked"},
    "order_resend": {"order": "{order}", "reason": "asked"},
    "order_unmatch": {"order": "{order}", "reason": "asked"},
    "reflex_confirm": {"proposal": 1, "reason": "asked"},
    "reflex_decline": {"proposal": 1, "reason": "asked"},
}
PAGES = {
    "GET /orders": LOOK,
    "GET /orders/worklist": SEE,
    "GET /questions": LOOK,
    "GET /reflexes": LOOK,
    "POST /reflexes": ACT,
    "GET /order": LOOK,
    "POST /order": SEE,
    "GET /order/cancel": ACT,
    "POST /order/cancel": ACT,
    "GET /order/release": ACT,
    "POST /order/release": ACT,
    "GET /order/resend": ACT,
    "POST /order/resend": ACT,
    "GET /order/match": ACT,
    "POST /order/match": ACT,
    "GET /order/unmatch": ACT,
    "POST /order/unmatch": ACT,
}
LISTS = {
    "/orders": (LOOK, "orders cursor next"),
    "/reflexes": (LOOK, "reflexes cursor next"),
    "/orders/{item}": (LOOK, "order test state reason for from after parent history"),
    "/results-without-order": (LOOK, "results cursor next"),
    "/questions": (LOOK, "questions cursor next"),
}
TABLES = {
    "order_asked": "order_query",
    "order_event": "order_item",
    "order_notice": "order_item",
    "order_item": OWN,
}
