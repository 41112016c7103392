"""People may expect this of `engine.features.access`; `tests/support/oracle.py` says how."""

from tests.support.oracle import ADMIN, LOOK, NONE, OPEN

ACTS = {
    "user_add": ADMIN,
    "user_change": ADMIN,
    "token_add": ADMIN,
    "token_revoke": ADMIN,
}
PAGES = {
    "GET /log-in": OPEN,
    "POST /log-in": OPEN,
    "POST /log-in/code": OPEN,
    "GET /log-in/oidc": OPEN,
    "GET /log-in/oidc/back": OPEN,
    "GET /log-in/oidc/out": OPEN,
    "POST /log-in/oidc/ended": OPEN,
    "GET /change-user": OPEN,
    "POST /change-user": OPEN,
    "GET /set-up": OPEN,
    "POST /set-up": OPEN,
    "GET /wall": OPEN,
    "POST /wall": OPEN,
    "POST /log-out": LOOK,
    "POST /stay": LOOK,
    "GET /session.json": LOOK,
    "GET /users": ADMIN,
    "POST /users": ADMIN,
    "GET /user": ADMIN,
    "POST /user": ADMIN,
    "GET /tokens": ADMIN,
    "POST /tokens": ADMIN,
    "GET /account": LOOK,
    "POST /account": LOOK,
}
TABLES = {
    "api_token": NONE,
    "app_user": NONE,
    "failed_log_in": NONE,
    "log_in_device": NONE,
    "log_in_session": NONE,
    "refused_log_in": NONE,
}
