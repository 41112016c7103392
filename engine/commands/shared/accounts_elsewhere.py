"""Look at a site's accounts at others: at its identity provider, and at networks that it is part of."""

from collections.abc import Awaitable, Callable, Sequence

from engine.config.load import Site
from engine.feature import Hook
from engine.model.site.health import Line

ELSEWHERE: Hook[Callable[[Site], Awaitable[Sequence[Line]]]] = Hook("elsewhere")


async def examined(site: Site) -> list[Line]:
    """What features find; nothing where the site has no such account."""
    return [line for lines in ELSEWHERE.each() for line in await lines(site)]
