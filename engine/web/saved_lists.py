"""Saved views as links: on the overview, and beside the list that each is of.

An address is kept as path and query of a list that the route table has, so a view leads nowhere else. It is shown to
those alone who may open the list. No address with a number is kept: it may be a patient's, and would be here still when
retention or an erasure has taken the messages away.
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from aiohttp import web

from engine.access.saved_views import SavedViews
from engine.model.errors import StoreError
from engine.model.saved_views import SavedView
from engine.web.access.identity import SIGNED_IN
from engine.web.routes import PRINCIPAL, Listed, Route


class Link(NamedTuple):
    """A view as a link.

    Attributes:
        is_here: it is the address that is being shown.
    """

    name: str
    href: str
    is_shared: bool
    is_here: bool = False


class Beside(NamedTuple):
    """What a list has of saved views.

    Attributes:
        links: of this list.
        path, query: what would be saved.
        has_number: the address has a number, so it is not kept.
    """

    links: tuple[Link, ...]
    path: str
    query: str
    has_number: bool


class SavedLists:
    """The views of the person who asks; a program and a wall screen have none.

    Args:
        views: None: no person can log in.

    Attributes:
        lists: the routes of lists by their paths; `pages_of` sets it.
    """

    def __init__(self, views: SavedViews | None) -> None:
        self._views = views
        self.lists: Mapping[str, Route] = {}

    async def of(self, request: web.Request) -> tuple[SavedView, ...]:
        """All views that this person has; none where they cannot be read."""
        if self._views is None or SIGNED_IN not in request:
            return ()
        try:
            return await self._views.of(request[SIGNED_IN].user.id)
        except StoreError:
            return ()

    def listed(self, request: web.Request, path: str) -> Listed | None:
        """The list at a path; None: there is none, or this person may not open it."""
        route = self.lists.get(path)
        return route.listed if route is not None and request[PRINCIPAL].may(route.needs) else None

    async def links(self, request: web.Request, language: str) -> tuple[Link, ...]:
        """Of all views whose list this person may open."""
        found = await self.of(request)
        return tuple(_link(one, language) for one in found if self.listed(request, one.path) is not None)

    async def beside(self, request: web.Request, query: Mapping[str, str], language: str) -> Beside | None:
        """What the list at the address of a request has; None: it is no list, or no person asks.

        Args:
            query: of the address.
        """
        listed = self.listed(request, request.path)
        if listed is None or self._views is None or SIGNED_IN not in request:
            return None
        here = kept(listed, query)
        links = tuple(
            _link(one, language)._replace(is_here=one.query == here)
            for one in await self.of(request)
            if one.path == request.path
        )
        return Beside(links, request.path, here, has_number(listed, query))


def kept(listed: Listed, query: Mapping[str, str]) -> str:
    """What a view keeps of the query of a list: no page of it, no language, no name that the list does not know."""
    return urlencode({name: value for name in listed.names if (value := query.get(name, "").strip())})


def has_number(listed: Listed, query: Mapping[str, str]) -> bool:
    return any(query.get(name) for name in listed.numbers)


def address(view: SavedView, language: str) -> str:
    return f"{view.path}?{view.query}{'&' if view.query else ''}lang={language}"


def _link(view: SavedView, language: str) -> Link:
    return Link(view.name, address(view, language), view.is_shared)
