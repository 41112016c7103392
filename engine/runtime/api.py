"""What the API of a running site reads from."""

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from engine.diagnostics.packs import suggested
from engine.web.api.lists import Present, Sources

if TYPE_CHECKING:
    from engine.runtime.app import App


def sources(app: "App") -> Sources:
    site = app.parts.built.site.config.site
    return Sources(
        journal=app.journal,
        present=Present(app.observer.snapshot),
        zone=ZoneInfo(site.timezone or "UTC"),
        routes=app.parts.routes,
        backups=lambda: app.parts.built.site.config.backup.folder,
        suggestions=lambda channel: suggested(app.parts.built.site, channel),
        reached=lambda: app.journal.reached,
    )
