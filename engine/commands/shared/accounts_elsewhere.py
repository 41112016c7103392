"""Look at a site's accounts at others: at its identity provider, and at ABDM."""

from typing import TYPE_CHECKING

from engine.config.load import Site
from engine.features.abdm.config import destination as destination_abdm

if TYPE_CHECKING:
    from engine.model.health import Line


async def examined(site: Site) -> "list[Line]":
    """What `engine.features.access.examine` and `engine.features.abdm.service.examine` find; nothing where the site has
    neither."""
    found: list[Line] = []
    oidc = site.config.access.oidc
    if oidc is not None:
        from engine.features.access.examine import examine
        from engine.features.access.pages.oidc import BACK
        from engine.model.clock import SystemClock

        found += [line async for line in examine(oidc, site.config.web.public_address + BACK, SystemClock())]
    if destination_abdm.found_in(site.config.destinations) is not None:
        from engine.features.abdm.service import examine as abdm

        found += await abdm.lines(site)
    return found
