"""Who sends a request: a person in a session, a program with a token, a wall screen, or a user of this machine.

Over TLS cookies have the prefix ``__Host-`` (RFC 6265bis, 4.1.3.2): no other host, and no page without TLS, can set
them. Without TLS, on loopback, browsers do not keep such cookies; there they have no prefix. None is readable for a
script, and none is sent with a request that another site causes.
"""

import ipaddress
import secrets

from aiohttp import hdrs, web

from engine.model.actor import Actor
from engine.model.permissions import ROLES, WATCHING, Principal
from engine.web.accounts import Accounts, Session
from engine.web.languages import choose
from engine.web.person import BY_ITSELF
from engine.web.sender import sender_of

SIGNED_IN = web.RequestKey("signed in", Session)

SESSION, BROWSER, WALL = "labrelay", "labrelay-browser", "labrelay-wall"
BROWSER_S = 90 * 86_400
WALL_S = 400 * 86_400  # the longest that browsers keep a cookie
PROGRAMS = "/api/"
RENEWING = ("/events", ".json")  # ends of the paths that only scripts of a page ask for


class Identity:
    """Finds out who asks. Until there is a user, each user of this machine may look: no patient is shown."""

    def __init__(self, accounts: Accounts | None) -> None:
        self._accounts = accounts

    async def of(self, request: web.Request) -> Principal | None:
        """Who sends this request; None: not known.

        Raises:
            StoreError: the accounts cannot be read.
        """
        address = sender_of(request)
        if self._accounts is None:
            return _local_user(address)
        if hdrs.AUTHORIZATION in request.headers:
            scheme, _, secret = request.headers[hdrs.AUTHORIZATION].partition(" ")
            if scheme.lower() != "bearer":
                return None
            return await self._accounts.principal_of_token(secret.strip(), address=address)
        signed_in = await _signed_in(self._accounts, request)
        if signed_in is not None:
            request[SIGNED_IN] = signed_in
            return signed_in.principal
        if wall := cookie(request, WALL):
            found = await self._accounts.principal_of_token(wall, address=address)
            if found is not None and found.permissions == WATCHING:
                return found
        return _local_user(address) if is_loopback(address) and not await self.has_users() else None

    async def has_users(self) -> bool:
        return self._accounts is not None and bool(await self._accounts.users.list())


async def _signed_in(accounts: Accounts, request: web.Request) -> Session | None:
    """The session that a request belongs to; one that a page sends by itself does not keep it open."""
    secret = cookie(request, SESSION)
    if not secret:
        return None
    by_itself = request.path.endswith(RENEWING) or request.path.startswith(PROGRAMS) or BY_ITSELF in request.query
    return await accounts.principal_of_session(secret, address=sender_of(request), by_person=not by_itself)


def _local_user(address: str) -> Principal:
    return Principal(Actor("local user", **{"from": address}), ROLES["viewer"])


def cookie(request: web.Request, name: str) -> str:
    """The value of one of our cookies; empty: the browser sends none."""
    return request.cookies.get(_full_name(request, name), "")


def log_in_of(request: web.Request, principal: Principal) -> str:
    """The log-in that a request was let in by: a session by its secret, a token by its name. Empty: a user of this
    machine, without a log-in. A cookie that was not checked is none.
    """
    if SIGNED_IN in request:
        return cookie(request, SESSION)
    return str(principal.actor) if principal.actor.by.get("role") == "token" else ""


def language_of(request: web.Request) -> str:
    """The language for the sender of a request."""
    own = request[SIGNED_IN].user.language if SIGNED_IN in request else ""
    return choose(request.query.get("lang", ""), own, request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))


def set_cookie(request: web.Request, answer: web.StreamResponse, name: str, secret: str, for_s: int | None) -> None:
    """Set one of our cookies. ``for_s``: seconds; None: until the browser is closed."""
    answer.set_cookie(
        _full_name(request, name), secret, max_age=for_s, path="/", secure=request.secure, httponly=True,
        samesite="Strict",
    )  # fmt: skip


def drop_cookie(request: web.Request, answer: web.StreamResponse, name: str) -> None:
    answer.del_cookie(_full_name(request, name), path="/", secure=request.secure, httponly=True, samesite="Strict")


def keep_wall_screen(request: web.Request, answer: web.StreamResponse) -> None:
    """A wall screen has no end: its cookie lasts from each page on."""
    secret = cookie(request, WALL)
    if secret and SIGNED_IN not in request:
        set_cookie(request, answer, WALL, secret, WALL_S)


def browser_secret(request: web.Request) -> tuple[str, bool]:
    """The browser's own secret, and whether it is a new one, to be set as a cookie."""
    known = cookie(request, BROWSER)
    return (known, False) if known else (secrets.token_urlsafe(32), True)


def _full_name(request: web.Request, name: str) -> str:
    return f"__Host-{name}" if request.secure else name


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
