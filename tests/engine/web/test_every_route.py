"""Every route of the server as every kind of person. The table is written by hand: a route without a line fails."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from unittest import mock

import pytest
from yarl import URL

from engine.actions.kept import KeptActs
from engine.actions.verbs import all_acts
from engine.model.site.permissions import WATCHING
from engine.web.api.service import Api
from tests.support.access import ROOT, Browser, Site, site

# What each kind of person gets of a route: "-" a log-in is asked for, "x" refused, "+" let in.
PERSONS = ("nobody", "wall", "viewer", "operator", "engineer", "admin", "seeing", "revoked", "disabled")
OPEN = "+++++++++"
WATCH = "-++++++--"
LOOK = "-x+++++--"
ACT = "-xx++++--"
CHANGE = "-xxx++x--"
ADMIN = "-xxxx+x--"
PATIENTS = "-xxxxx+--"
NEITHER = "-xxxxxx--"  # an engineer who sees patients besides
TABLE = {
    "GET /": WATCH,
    "GET /events": WATCH,
    "GET /live.json": WATCH,
    "GET /status.json": LOOK,
    "GET /analyzer": LOOK,
    "GET /analyzer.json": LOOK,
    "GET /destinations/{name}": LOOK,
    "GET /destination.json": LOOK,
    **{f"{method} /do/{verb}": ACT for verb in ("pause", "resume", "restart") for method in ("GET", "POST")},
    "GET /quality": LOOK,
    "GET /quality/chart": LOOK,
    "GET /quality/chart.csv": LOOK,
    "GET /quality/month": LOOK,
    "POST /quality": ACT,
    "POST /quality/chart": ACT,
    "POST /quality/maintenance": ACT,
    **{f"GET /rules{more}": LOOK for more in ("", ".csv", "/untouched.csv")},
    "GET /reagents": LOOK,
    "GET /reagents.json": LOOK,
    "GET /metrics": LOOK,
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    "GET /static/{name}": OPEN,
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
    "GET /account": LOOK,
    "POST /account": LOOK,
    "GET /users": ADMIN,
    "POST /users": ADMIN,
    "GET /user": ADMIN,
    "POST /user": ADMIN,
    "GET /tokens": ADMIN,
    "POST /tokens": ADMIN,
    "GET /messages": LOOK,
    "POST /messages": LOOK,
    "GET /messages.json": LOOK,
    "GET /messages/{number}": LOOK,
    "GET /dead-letters": LOOK,
    "GET /dead-letters/each": LOOK,
    "GET /conflicts/{number}": LOOK,
    "GET /held": LOOK,
    "GET /held/{number}": LOOK,
    "POST /held/{number}": PATIENTS,
    **{f"{method} /do/{verb}": ACT for verb in ("retry", "dismiss", "release", "reject") for method in ("GET", "POST")},
    "GET /operations": LOOK,
    "GET /operations/{number}": LOOK,
    "POST /operations/{number}": ACT,
    "POST /messages/{number}/contents": PATIENTS,
    "GET /affected": CHANGE,
    "POST /affected": CHANGE,
    "GET /affected.csv": CHANGE,
    "POST /affected.csv": NEITHER,
    "POST /affected/results": NEITHER,
    "GET /replay": ACT,
    "POST /replay": ACT,
    "POST /messages/{number}/test": PATIENTS,
    "GET /try": CHANGE,
    "POST /try": CHANGE,
    "GET /messages/{number}/set-aside": ACT,
    "POST /messages/{number}/set-aside": ACT,
    "GET /messages/{number}/edit": PATIENTS,
    "POST /messages/{number}/edit": PATIENTS,
    "POST /messages/{number}/edit/do": PATIENTS,
    "GET /waiting": LOOK,
    "GET /abdm": LOOK,
    **{f"GET /abdm/{page}": LOOK for page in ("contexts", "consents", "transfers", "context", "consent")},
    **{f"{method} /abdm/{act}": ACT for act in ("link", "withdraw", "retry", "resume") for method in ("GET", "POST")},
    "GET /orders": LOOK,
    "GET /orders/worklist": PATIENTS,
    "GET /questions": LOOK,
    "GET /reflexes": LOOK,
    "POST /reflexes": ACT,
    "GET /order": LOOK,
    "POST /order": PATIENTS,
    **{
        f"{method} /order/{act}": ACT
        for act in ("cancel", "release", "resend", "match", "unmatch")
        for method in ("GET", "POST")
    },
    "GET /alerts": LOOK,
    "POST /alerts": ACT,
    "GET /todo": LOOK,
    "POST /todo": ACT,
    "GET /codes": LOOK,
    "GET /codes.csv": LOOK,
    "GET /codes/corrections": LOOK,
    "POST /codes/row/do": CHANGE,
    **{f"{method} /codes/{page}": CHANGE for page in ("row", "undo") for method in ("GET", "POST")},
    "GET /add": CHANGE,
    **{f"{method} /add/new": CHANGE for method in ("GET", "POST")},
    **{
        f"{method} /add/{{name}}/{step}": CHANGE
        for step in ("listen", "recognise", "codes", "code", "first")
        for method in ("GET", "POST")
    },
    "POST /add/{name}/first": NEITHER,
    "GET /acts": ADMIN,
    "GET /system": LOOK,
    "GET /shift": LOOK,
    "GET /help": LOOK,
    "GET /help/{page}": LOOK,
    "GET /reports": LOOK,
    "GET /reports.csv": LOOK,
    "GET /api/v1/events": LOOK,
    "GET /api/v1/status": LOOK,
    "GET /api/v1/channels": LOOK,
    "GET /api/v1/destinations": LOOK,
    "GET /api/v1/version": LOOK,
    "GET /api/v1/messages": LOOK,
    "POST /api/v1/message-search": LOOK,
    "GET /api/v1/messages/{message}": LOOK,
    "GET /api/v1/messages/{message}/deliveries": LOOK,
    "GET /api/v1/messages/{message}/wire": LOOK,
    "GET /api/v1/dead-letters": LOOK,
    "GET /api/v1/dead-letters/groups": LOOK,
    "GET /api/v1/dead-letters/{message}": LOOK,
    "GET /api/v1/held": LOOK,
    "GET /api/v1/held/persons": LOOK,
    "POST /api/v1/held-results": ACT,
    "GET /api/v1/gaps": LOOK,
    "GET /api/v1/suggestions": LOOK,
    "GET /api/v1/corrections": LOOK,
    "GET /api/v1/quality": LOOK,
    **{f"GET /api/v1/quality/{name}": LOOK for name in ("points", "targets", "maintenance", "lots", "failures")},
    "GET /api/v1/quality/failures/{number}/results": LOOK,
    "GET /api/v1/quality/runs/{number}/verdicts": LOOK,
    **{f"GET /api/v1/rules{more}": LOOK for more in ("", "/days", "/untouched")},
    "GET /api/v1/reagents": LOOK,
    "GET /api/v1/lanes": LOOK,
    "GET /api/v1/pauses": LOOK,
    **{f"GET /api/v1/reports/{name}": LOOK for name in ("volume", "turnaround", "utilisation", "downtime", "unmapped")},
    **{f"GET /api/v1/reports/{name}": LOOK for name in ("callback", "calls")},
    "GET /api/v1/operations": LOOK,
    "GET /api/v1/operations/{number}": LOOK,
    "GET /api/v1/orders": LOOK,
    "GET /api/v1/reflexes": LOOK,
    **{
        f"GET /api/v1/abdm/{path}": LOOK
        for path in ("status", "contexts", "contexts/{number}", "consents", "consents/{number}", "transfers")
    },
    "GET /api/v1/orders/{item}": LOOK,
    "GET /api/v1/results-without-order": LOOK,
    "GET /api/v1/questions": LOOK,
    "GET /api/v1/alerts": LOOK,
    "GET /api/v1/alerts/sent": LOOK,
    "GET /api/v1/silences": LOOK,
    "GET /api/v1/acts": ADMIN,
    "GET /api/v1/backups": ADMIN,
    "POST /api/v1/acts/order_add": ACT,
    "POST /api/v1/acts/order_cancel": ACT,
    "POST /api/v1/acts/reflex_confirm": ACT,
    "POST /api/v1/acts/reflex_decline": ACT,
    "POST /api/v1/acts/order_release": ACT,
    "POST /api/v1/acts/order_resend": ACT,
    "POST /api/v1/acts/order_fetch": ACT,
    "POST /api/v1/acts/order_match": ACT,
    "POST /api/v1/acts/abdm_link": ACT,
    "POST /api/v1/acts/abdm_withdraw": ACT,
    "POST /api/v1/acts/abdm_retry": ACT,
    "POST /api/v1/acts/abdm_resume": ACT,
    "POST /api/v1/acts/order_unmatch": ACT,
    "POST /api/v1/acts/todo_take": ACT,
    "POST /api/v1/acts/todo_note": ACT,
    "POST /api/v1/acts/todo_snooze": ACT,
    "POST /api/v1/acts/todo_drop": ACT,
    "POST /api/v1/acts/alert_acknowledge": ACT,
    "POST /api/v1/acts/alert_silence": ACT,
    "POST /api/v1/acts/alert_unsilence": ACT,
    "POST /api/v1/acts/alert_test": ACT,
    **{f"POST /api/v1/acts/quality_{name}": CHANGE for name in ("load", "accept", "end", "rules")},
    **{
        f"POST /api/v1/acts/quality_{name}": ACT
        for name in ("exclude", "include", "event", "done", "enter", "close", "look")
    },
    "GET /api/v1/todo": LOOK,
    "GET /api/v1/openapi.json": LOOK,
    "GET /api": LOOK,
    "POST /api/v1/messages/{message}/contents": PATIENTS,
    "GET /api/v1/operations/{number}/wait": LOOK,
    "POST /api/v1/acts/retry": ACT,
    "POST /api/v1/acts/dismiss": ACT,
    "POST /api/v1/acts/release": ACT,
    "POST /api/v1/acts/reject": ACT,
    "POST /api/v1/acts/operation_cancel": ACT,
    "POST /api/v1/acts/tell_apart": PATIENTS,
    "POST /api/v1/acts/edit": PATIENTS,
    "POST /api/v1/acts/set_aside": ACT,
    "POST /api/v1/acts/replay": ACT,
    "POST /api/v1/acts/reprocess": CHANGE,
    "POST /api/v1/acts/table_set": CHANGE,
    "POST /api/v1/acts/table_undo": CHANGE,
    "POST /api/v1/acts/pause": ACT,
    "POST /api/v1/acts/resume": ACT,
    "POST /api/v1/acts/restart": ACT,
    "POST /api/v1/acts/reload": CHANGE,
    "POST /api/v1/acts/backup": ADMIN,
    "POST /api/v1/acts/prune": ADMIN,
}
GAPS = {"{name}": "page.css", "{number}": "1", "{message}": "1", "{page}": "keys", "{item}": "W1"}
EXPIRED = "This form is too old. Please open the page again."


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    # Behind the gate the API has nothing to read: an answer of 500 is one of a person who was let in.
    api = Api(mock.Mock(), KeptActs(all_acts(), mock.Mock())).routes()
    async with site(tmp_path, api=api, verbs=lambda journal: all_acts(), trial=mock.AsyncMock()) as made:
        yield made


def address_of(path: str) -> str:
    for gap, filled in GAPS.items():
        path = path.replace(gap, filled)
    return path


async def persons(here: Site, stack: AsyncExitStack) -> dict[str, Browser]:
    """A browser of each kind."""
    found = {name: await stack.enter_async_context(here.browser()) for name in PERSONS}
    await here.add("seeing", "operator", sees_patients=True)
    for name in ("revoked", "disabled"):
        await here.add(name, "admin", sees_patients=True)
    for name in PERSONS[2:]:
        assert (await found[name].log_in(name))[0] == 200
    secret = await here.accounts.tokens.create("lobby", WATCHING, ends_us=0, by=ROOT)
    await found["wall"].send(f"/wall?token={secret}")
    ((_, session),) = await here.accounts.sessions("revoked")
    await here.accounts.revoke(session.number, by=ROOT)
    await here.accounts.users.disable("disabled", True, by=ROOT)
    return found


async def test_each_route_as_each_person(here: Site) -> None:
    known = {f"{method} {path}" for path, method in here.page.server.routes if method != "HEAD"}
    assert known - set(TABLE) == set(), "give each new route its line in TABLE"
    assert set(TABLE) - known == set(), "take the line of a route that is gone out of TABLE"
    async with AsyncExitStack() as stack:
        browsers = await persons(here, stack)
        for route, line in TABLE.items():
            method, _, path = route.partition(" ")
            for name, expected in zip(PERSONS, line, strict=True):
                got = await answer_to(browsers[name], method, address_of(path))
                assert got == expected, f"{route} as {name}"


async def answer_to(browser: Browser, method: str, path: str) -> str:
    """How the gate answers: what comes behind it (no such analyzer, no form) counts as let in."""
    async with browser.client.request(method, path, allow_redirects=False) as answer:
        if answer.status == 401:
            return "-"
        return "x" if answer.status == 403 and path != "/set-up" and EXPIRED not in await answer.text() else "+"


async def test_head_is_let_in_as_get_is(here: Site) -> None:
    async with here.browser() as browser:
        for path, method in here.page.server.routes:
            if method == "HEAD" and TABLE[f"GET {path}"] != OPEN:
                async with browser.client.head(address_of(path)) as answer:
                    assert answer.status == 401, path


async def test_nothing_else_is_let_in(here: Site) -> None:
    """Of a path that has routes, another method is refused before who asks matters; of one that has none, all are."""
    async with here.browser() as browser:
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            for path in {address_of(path) for path, _ in here.page.server.routes}:
                async with browser.client.request(method, path) as answer:
                    assert answer.status == 405, (method, path)
        async with browser.client.get("/users/../users") as answer:
            assert answer.status == 401
        for path in ("//users", "/Users", "/users/", "/%75sers%00"):
            async with browser.client.get(URL(f"{here.base}{path}", encoded=True)) as answer:
                assert answer.status in (401, 404), path
