"""What the API of the page's server reads from, of a running site."""

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from engine.web.api.sources import Present, Sources

if TYPE_CHECKING:
    from engine.runtime.app import App


def api_sources(app: "App") -> Sources:
    site = app.parts.built.site.config.site
    return Sources(
        journal=app.journal,
        site=Present(app.observer.snapshot),
        zone=ZoneInfo(site.timezone or "UTC"),
        backups=lambda: app.parts.built.site.config.backup.folder,
    )
