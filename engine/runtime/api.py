"""The API of a running site: what it reads from, and the verbs that it gives."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from engine.actions.control import Handler
from engine.diagnostics.suggested import suggested
from engine.runtime.control_handlers import HANDLERS
from engine.web.api.acts import OfferedActs, Verb
from engine.web.api.sources import Present, Sources

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


def offered_acts(app: "App", handlers: Mapping[str, Handler]) -> OfferedActs:
    """
    Args:
        handlers: of the control socket (`engine.runtime.control_handlers.handlers`).
    """
    verbs = {name: Verb(verb.needs, verb.arguments, handlers[name]) for name, verb in HANDLERS.items()}
    return OfferedActs(verbs, app.journal)
