"""People may expect this of `engine.features.adding`; `tests/support/oracle.py` says how."""

from tests.support.oracle import CHANGE, NEITHER

ACTS = {
    "draft_listen": CHANGE,
    "draft_place": CHANGE,
    "draft_recognise": CHANGE,
    "draft_part": CHANGE,
    "draft_codes": CHANGE,
    "draft_remove": CHANGE,
    "draft_look": CHANGE,
    "draft_start": NEITHER,
}
PAGES = {
    "GET /add": CHANGE,
    "GET /add/new": CHANGE,
    "POST /add/new": CHANGE,
    "GET /add/{name}/listen": CHANGE,
    "POST /add/{name}/listen": CHANGE,
    "GET /add/{name}/recognise": CHANGE,
    "POST /add/{name}/recognise": CHANGE,
    "GET /add/{name}/codes": CHANGE,
    "POST /add/{name}/codes": CHANGE,
    "GET /add/{name}/code": CHANGE,
    "POST /add/{name}/code": CHANGE,
    "GET /add/{name}/first": CHANGE,
    "POST /add/{name}/first": NEITHER,
}
