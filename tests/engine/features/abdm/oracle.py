"""People may expect this of `engine.features.abdm`; `tests/support/oracle.py` says how."""

from tests.support.oracle import ACT, LOOK, NONE

ACTS = {
    "abdm_link": ACT,
    "abdm_withdraw": ACT,
    "abdm_retry": ACT,
    "abdm_resume": ACT,
}
PAGES = {
    "GET /abdm": LOOK,
    "GET /abdm/contexts": LOOK,
    "GET /abdm/consents": LOOK,
    "GET /abdm/transfers": LOOK,
    "GET /abdm/context": LOOK,
    "GET /abdm/consent": LOOK,
    "GET /abdm/link": ACT,
    "POST /abdm/link": ACT,
    "GET /abdm/withdraw": ACT,
    "POST /abdm/withdraw": ACT,
    "GET /abdm/retry": ACT,
    "POST /abdm/retry": ACT,
    "GET /abdm/resume": ACT,
    "POST /abdm/resume": ACT,
}
LISTS = {
    "/abdm/status": (LOOK, "well account facilities"),
    "/abdm/contexts": (LOOK, "contexts cursor next"),
    "/abdm/contexts/{number}": (LOOK, "number state reason patient version versions calls sent"),
    "/abdm/consents": (LOOK, "consents cursor next"),
    "/abdm/consents/{number}": (LOOK, "number id state ends signature grants granted contexts transfers"),
    "/abdm/transfers": (LOOK, "transfers cursor next"),
}
TABLES = {
    "abdm_call": NONE,
    "abdm_callback": NONE,
    "abdm_code": NONE,
    "abdm_consent": NONE,
    "abdm_context": NONE,
    "abdm_invitation": NONE,
    "abdm_link_token": NONE,
    "abdm_offer": NONE,
    "abdm_page": NONE,
    "abdm_patient": NONE,
    "abdm_request": NONE,
    "abdm_share": NONE,
    "abdm_transfer": NONE,
}
