"""Log-ins on pages: who is in one, how one begins, and all of a user in a list."""

from collections.abc import Iterable

from aiohttp import web

from engine.features.access.rules.accounts import LogInSession
from engine.features.access.service.accounts import Accounts, LogIn, SignedIn
from engine.web.desk import Desk
from engine.web.identity import BROWSER, BROWSER_S, SESSION, SIGNED_IN, cookie, set_cookie
from engine.web.sender import sender_of


def signed_in(request: web.Request) -> SignedIn:
    """The session of a request for a page that only a person may see.

    Raises:
        web.HTTPForbidden: a program or a screen asks.
    """
    found = request.get(SIGNED_IN)
    if not isinstance(found, SignedIn):
        raise web.HTTPForbidden
    return found


def begin_session(request: web.Request, answer: web.StreamResponse, done: LogIn) -> None:
    """Give the browser the secrets of a log-in: both are new, so that one set before is of no use."""
    set_cookie(request, answer, SESSION, done.secret, None)
    set_cookie(request, answer, BROWSER, done.device, BROWSER_S)


async def enter(desk: Desk, accounts: Accounts, request: web.Request, done: LogIn, to: str) -> web.Response:
    """Into the new session; the one that this browser had before ends."""
    await accounts.log_out(cookie(request, SESSION), address=sender_of(request))
    answer = desk.go(request, to)
    begin_session(request, answer, done)
    return answer


def log_ins(desk: Desk, sessions: Iterable[LogInSession], here: int = 0) -> list[dict[str, object]]:
    """Rows for a list of log-ins. ``here``: the number of the one that asks."""
    return [
        {
            "number": one.number,
            "here": one.number == here,
            "address": one.address,
            "how": one.how,
            "began": desk.at(one.began_us),
            "seen": desk.at(one.seen_us),
        }
        for one in sessions
    ]
