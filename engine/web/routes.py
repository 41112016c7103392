"""Routes of the page's server, each declared once with the permissions that it needs, and the gate that checks them.

A route without a permission is open to all who reach the server; `OPEN` says of each one why.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from engine.model.site.permissions import LOOKING, WATCHING, Permission, Principal

PRINCIPAL = web.RequestKey("principal", Principal)

OPEN_TO_ALL: frozenset[Permission] = frozenset()
OPEN = {
    "/healthz": "a supervisor asks whether the process answers",
    "/readyz": "a load balancer asks whether messages can be taken",
    "/log-in": "a person who logs in is not known yet",
    "/log-in/code": "the same, with the code that follows the password",
    "/log-in/oidc": "the way to the identity provider, for a person who is not known yet",
    "/log-in/oidc/back": "the way back from it",
    "/log-in/oidc/out": "the way back from a log-out there, when the session has ended",
    "/log-in/oidc/ended": "the provider ends a log-in; it proves by its signature who it is",
    "/change-user": "a shared computer: the person who comes is not known yet",
    "/set-up": "the first user comes in by a link that works once",
    "/wall": "a screen on a wall comes in by a link that works once",
    "/static/{name}": "style, script and icon, which the log-in page needs, too",
}


def unlimited(request: web.Request) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Route:
    """One address of the server.

    Attributes:
        needs: all permissions that a request must have; none: open to all.
        early: also for a person who is held up (`Principal.held_up`).
        whole: of the whole site: not for one who sees some channels alone.
        todo: it shows the to-do list, which goes with the request where another process draws it.
        here: why the daemon draws it; empty: another process may.
        limit: refuses a request in the daemon, wherever it is drawn; None: it is drawn.
    """

    path: str
    handler: Handler
    needs: frozenset[Permission]
    method: str = hdrs.METH_GET
    early: bool = False
    whole: bool = False
    todo: bool = False
    here: str = ""
    limit: Callable[[web.Request], web.Response | None] = unlimited

    @property
    def may_go(self) -> bool:
        """Whether another process may draw it: it only looks."""
        is_look = self.method == hdrs.METH_GET and bool(self.needs) and self.needs <= WATCHING | LOOKING
        return is_look and not self.here


def add_routes(app: web.Application, routes: Iterable[Route]) -> Mapping[tuple[str, str], Route]:
    """Add the routes to ``app``; return them by path and method. A route for GET answers HEAD, too."""
    table: dict[tuple[str, str], Route] = {}
    for route in routes:
        if not route.needs and route.path not in OPEN:
            raise ValueError(f"{route.path} needs a permission, or a reason in OPEN")
        if route.method == hdrs.METH_GET:
            app.router.add_get(route.path, route.handler)
            table[route.path, hdrs.METH_HEAD] = route
        else:
            app.router.add_route(route.method, route.path, route.handler)
        table[route.path, route.method] = route
    return table


@dataclass(frozen=True, slots=True)
class _Again:
    """The check of `gate`, kept with the request."""

    allow: Callable[[web.Request], Awaitable[Route | None]]


_AGAIN = web.RequestKey("again", _Again)


@dataclass(frozen=True, slots=True)
class InUse:
    """The connection of a request. ``again``: says that it is in use, although no other request comes on it."""

    again: Callable[[], None]


IN_USE = web.RequestKey("in use", InUse)

Table = Mapping[tuple[str, str], Route]
Within = Callable[[frozenset[str]], Awaitable[Any]]
"""The server for those who see these channels alone: the same routes, of parts that know no others."""
CHANNELS = web.RequestKey("channels", frozenset)
PART: web.RequestKey[Any] = web.RequestKey("part", object)


Forward = Callable[[web.Request, Route], Awaitable[web.StreamResponse | None]]
"""Has a request drawn by another process; None: it is drawn here."""


async def drawn_here(request: web.Request, route: Route) -> None:
    return None


Identify = Callable[[web.Request], Awaitable[Principal | None]]


def gate(identify: Identify, table: Table, within: Within | None = None, forward: Forward = drawn_here) -> Middleware:
    """The middleware that finds out who asks, and refuses those without the permissions of the route.

    Args:
        identify: who sends a request; None: not known.
        table: of `add_routes`.
        within: asked for one who does not see the whole site.
        forward: asked about each request that only looks.

    Raises:
        web.HTTPUnauthorized: the route needs permissions, and it is not known who asks.
        web.HTTPForbidden: one of them is missing, or this person has to do something else first.
    """

    async def allow(request: web.Request) -> Route | None:
        principal = await identify(request)
        if principal is not None:
            request[PRINCIPAL] = principal
        resource = request.match_info.route.resource
        route = table.get((resource.canonical, request.method)) if resource else None
        if route is None and resource is not None:  # the router has it, and the table does not
            raise web.HTTPForbidden
        if route is not None and route.needs:
            if principal is None:
                raise web.HTTPUnauthorized
            if not principal.may(route.needs) or (principal.held_up and not route.early):
                raise web.HTTPForbidden
        if route is not None and principal is not None and principal.channels is not None:
            request[PRINCIPAL] = there = principal.where(route.needs)
            channels = frozenset(there.channels or ())
            if route.whole or request.setdefault(CHANNELS, channels) != channels:  # or they have changed meanwhile
                raise web.HTTPForbidden
        return route

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = await allow(request)
        request[_AGAIN] = _Again(allow)
        if route is None:
            return await handler(request)
        if CHANNELS in request:
            assert within is not None
            request[PART] = part = await within(request[CHANNELS])
            handler = part.routes[route.path, request.method].handler
        drawn: web.StreamResponse | None = route.limit(request)
        if drawn is None and route.may_go:
            drawn = await forward(request, route)
        return await handler(request) if drawn is None else drawn

    return middleware


async def allow_again(request: web.Request) -> None:
    """Look once more whether a request is allowed, when its body is whole: a slow one may outlast a log-in or a role.

    Raises:
        web.HTTPException: as `gate`.
    """
    if (again := request.get(_AGAIN)) is not None:
        await again.allow(request)
