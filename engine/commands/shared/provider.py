"""Look at the identity provider of a site, where it has one."""

from typing import TYPE_CHECKING

from engine.config.load import Site

if TYPE_CHECKING:
    from engine.model.health import Line


async def examined(site: Site) -> "list[Line]":
    """What `engine.access.oidc.examine` finds; nothing where the site has no provider."""
    oidc = site.config.access.oidc
    if oidc is None:
        return []
    from engine.access.oidc.examine import examine
    from engine.model.clock import SystemClock
    from engine.web.access.oidc import BACK

    return [line async for line in examine(oidc, site.config.web.public_address + BACK, SystemClock())]
