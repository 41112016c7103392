"""The acts of a running daemon (`engine.actions.verbs`), for the control socket, the pages and the API.

Where no daemon runs, a command calls the same functions itself (`RunningSite.running` is None then).

Also what its API reads from.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from engine.actions.admission import Admission, system_users
from engine.actions.control import Follower
from engine.actions.pause_resume import Switches
from engine.actions.running_site import RunningSite
from engine.actions.underway import Acts
from engine.actions.verbs import FOLLOWED, needs
from engine.config.load import Site
from engine.diagnostics.packs import suggested
from engine.model.routes import ChannelRoutes
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.operations import audit
from engine.store.queries.reader import Reader
from engine.web.api.lists import Present, Sources

if TYPE_CHECKING:
    from engine.runtime.app import App


def sources(app: "App") -> Sources:
    made = sources_of(app.journal, lambda: app.parts.built.site, app.observer.snapshot, app.parts.routes)
    return replace(made, reached=lambda: app.journal.reached)


def sources_of(
    journal: Reader,
    site: Callable[[], Site],
    snapshot: Callable[[], SiteSnapshot],
    routes: Callable[[], Mapping[str, ChannelRoutes]],
) -> Sources:
    return Sources(
        journal=journal,
        present=Present(snapshot),
        zone=ZoneInfo(site().config.site.timezone or "UTC"),
        routes=routes,
        backups=lambda: site().config.backup.folder,
        suggestions=lambda channel: suggested(site(), channel),
        shifts=lambda: site().config.web.shifts,
    )


def running_site(app: "App", acts: Acts, switches: Switches) -> RunningSite:
    data = app.parts.built.site.config.data
    return RunningSite(acts=acts, switches=switches, data=data, loaded=lambda: app.parts.built.site, running=app)


def followers(site: RunningSite) -> Mapping[str, Follower]:
    """The verbs with a stream of items on the control socket."""
    return {name: partial(verb.items, site) for name, verb in FOLLOWED.items()}


def admission(app: "App") -> Admission:
    """Who may give these verbs: the roles of the configuration in force."""

    return Admission(needs(), lambda: system_users(app.parts.built.site.config), refusal_row(app))


def refusal_row(app: "App") -> Callable[[str, dict[str, Any]], Awaitable[None]]:
    """Writes the audit row of a request that was refused."""

    async def note(actor: str, what: dict[str, Any]) -> None:
        await app.journal.run(audit.note, actor, "refused", what)

    return note
