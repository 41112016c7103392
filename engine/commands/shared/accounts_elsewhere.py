"""Look at a site's accounts at others: at its identity provider, and at ABDM."""

from typing import TYPE_CHECKING

from engine.config import destination_abdm
from engine.config.load import Site

if TYPE_CHECKING:
    from engine.model.health import Line


async def examined(site: Site) -> "list[Line]":
    """What `engine.access.oidc.examine` and `engine.abdm.examine` find; nothing where the site has neither."""
    found: list[Line] = []
    oidc = site.config.access.oidc
    if oidc is not None:
        from engine.access.oidc.examine import examine
        from engine.model.clock import SystemClock
        from engine.web.access.oidc import BACK

        found += [line async for line in examine(oidc, site.config.web.public_address + BACK, SystemClock())]
    if destination_abdm.found_in(site.config.destinations) is not None:
        from engine.abdm import examine as abdm

        found += await abdm.lines(site)
    return found
