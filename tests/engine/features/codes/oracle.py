"""People may expect this of `engine.features.codes`; `tests/support/oracle.py` says how."""

from tests.support.oracle import CHANGE, LOOK, NONE

ACTS = {
    "table_set": CHANGE,
    "table_undo": CHANGE,
}
PAGES = {
    "GET /codes.csv": LOOK,
    "GET /codes/corrections": LOOK,
    "POST /codes/row/do": CHANGE,
    "GET /codes/undo": CHANGE,
    "POST /codes/undo": CHANGE,
    "GET /codes": LOOK,
    "GET /codes/row": CHANGE,
    "POST /codes/row": CHANGE,
}
LISTS = {
    "/gaps": (LOOK, "gaps"),
    "/suggestions": (LOOK, "suggestions"),
    "/corrections": (LOOK, "corrections"),
}
TABLES = {
    "correction": NONE,
}
