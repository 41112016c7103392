"""Users and their sessions in the daemon."""

import logging
from typing import TYPE_CHECKING, Any

from engine.config.load import Site
from engine.features.access.config import access_of
from engine.features.access.service.accounts import Accounts
from engine.model.errors import StoreError
from engine.runtime.service import Service

if TYPE_CHECKING:
    from engine.runtime.app import App
    from engine.runtime.pages import Seen

logger = logging.getLogger("labrelay.site")


class AccessService(Service):
    """Of a running site."""

    def __init__(self, app: "App") -> None:
        web = app.parts.built.site.config.web
        self.accounts = Accounts(
            app.journal,
            app.clock,
            idle_s=web.idle,
            longest_s=web.session,
            rules=lambda: access_of(app.parts.built.site.config),
            units=lambda: app.parts.built.site.config.site.units,
        )

    def configured(self, site: Site) -> None:
        self.accounts.last(site.config.web.idle, site.config.web.session)

    async def greeting(self, site: Site) -> str:
        """The link for the first admin; empty: there is a user, or no page."""
        if not site.config.web.enabled:
            return ""
        try:
            return await self.accounts.set_up.offer(site.config.web.local_address)
        except (OSError, StoreError) as error:  # results matter more
            logger.error("the set-up link cannot be written", extra={"detail": getattr(error, "strerror", str(error))})
            return ""

    def leave(self) -> None:
        self.accounts.set_up.withdraw()

    def of_pages(self, seen: "Seen | None") -> dict[str, Any]:
        return {"accounts": self.accounts}
