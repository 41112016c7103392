"""Who sends a request: a person in a session, a program with a token, a wall screen, or a user of this machine.

Over TLS cookies have the prefix ``__Host-`` (RFC 6265bis, 4.1.3.2): no other host, and no page without TLS, can set
them. Without TLS, on loopback, browsers do not keep such cookies; there they have no prefix. None is readable for a
script, and none is sent with a request that another site causes.

What the frame of the pages asks about accounts: who a secret belongs to.

The person a page is drawn for, as the top of each page shows them.
"""

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

from aiohttp import hdrs, web

from engine.model.site.actor import Actor
from engine.model.site.permissions import ROLES, WATCHING, Principal
from engine.web.forms import PAGE, local
from engine.web.languages import choose
from engine.web.sender import sender_of


class User(Protocol):
    """A person who may log in.

    Attributes:
        language: of the pages, as `engine.web.languages` has it; empty: as the browser asks.
    """

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def language(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who asks in a session.

    Attributes:
        ends_us: when it ends if no person asks again.
        latest_us: when it ends in any case.
    """

    principal: Principal
    user: User
    ends_us: int
    latest_us: int


class Users(Protocol):
    async def list(self) -> Sequence[User]: ...


class Accounts(Protocol):
    """Who a secret belongs to."""

    @property
    def users(self) -> Users: ...
    async def principal_of_token(self, secret: str, *, address: str) -> Principal | None: ...
    async def principal_of_session(self, secret: str, *, address: str, by_person: bool) -> Session | None: ...


SIGNED_IN = web.RequestKey("signed in", Session)

SESSION, BROWSER, WALL, THEME = "labrelay", "labrelay-browser", "labrelay-wall", "labrelay-theme"
THEMES = ("light", "dark")  # another choice: as the device has it
BROWSER_S = 90 * 86_400
WALL_S = THEME_S = 400 * 86_400  # the longest that browsers keep a cookie
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


def theme_of(request: web.Request) -> str:
    """The colours that a browser has chosen, of `THEMES`, by ``?theme=`` or before; empty: as the device has them."""
    chosen = request.query.get(THEME_ASKED) or cookie(request, THEME)
    return chosen if chosen in THEMES else ""


def keep_theme(request: web.Request, answer: web.StreamResponse) -> None:
    """Keep the colours that a request chooses."""
    if THEME_ASKED in request.query and not answer.prepared:
        set_cookie(request, answer, THEME, theme_of(request), THEME_S)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What the top of a page says, and leads to.

    Attributes:
    name, role: empty: no person has logged in.
    looks, acts, changes, administers: what the top of the page leads to.
    sees_patients: a number of a patient is looked for, too.
    reads_notes: as of `Principal`.
    form: the hidden field of the forms that each page has (`engine.web.forms`).
    until: the time of the day when the log-in ends, ``16:05``.
    left_s: seconds until then, at least.
    is_last: it ends then in any case.
    address: of the page without its language (`address_of`).
    theme: as of `theme_of`.
    """

    name: str = ""
    role: str = ""
    looks: bool = False
    acts: bool = False
    changes: bool = False
    administers: bool = False
    sees_patients: bool = False
    reads_notes: bool = False
    form: str = ""
    until: str = ""
    left_s: int = 0
    is_last: bool = False
    address: str = ""
    theme: str = ""

    @property
    def path(self) -> str:
        """Of the page, to mark it in the menu."""
        return self.address.partition("?")[0]


BY_ITSELF = "auto"  # in the query of a request that a page sends without its reader
THEME_ASKED = "theme"
NOT_OF_THE_PAGE = {"lang", THEME_ASKED, BY_ITSELF}
PERSON = web.RequestKey("person", Person)


def person_of(request: web.Request) -> Person:
    return request[PERSON] if PERSON in request else Person()


def address_of(request: web.Request) -> str:
    """The address that shows the page of a request again, without a language; of an answer, the page with its form."""
    if PAGE in request:
        return local(request[PAGE])
    query = urlencode([pair for pair in request.query.items() if pair[0] not in NOT_OF_THE_PAGE])
    return f"{request.rel_url.raw_path}?{query}" if query else request.rel_url.raw_path
