"""The server of the pages and of the API: its parts, for the whole site or for some channels of it.

The daemon builds it of the running site, and the process that draws of what that one knows (`engine.runtime.reader`).
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from engine.actions.admission import Refusals
from engine.actions.kept import KeptActs
from engine.actions.within import Narrowed
from engine.config.load import Site, changed_files
from engine.model.process.clock import Clock
from engine.model.routes import ChannelRoutes
from engine.monitoring.metrics import new_registry, samples_within
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.runtime.control_handlers import refusal_row, sources, sources_of
from engine.runtime.observing.ends import SeenEnds
from engine.store.queries.reader import Reader
from engine.store.queries.within import Within
from engine.web.api.lists import Sources
from engine.web.api.service import Api
from engine.web.pages.frame import Loaded, Trial
from engine.web.running import Apart, Running
from engine.web.server import StatusServer

if TYPE_CHECKING:
    from engine.runtime.app import App


class Behind(Protocol):
    """What the server is built of.

    Attributes:
        refused: counts the acts that were refused.
        trial: tries a mapping, for those who see the whole site.
    """

    refused: Refusals
    trial: Trial | None

    @property
    def clock(self) -> Clock: ...
    @property
    def journal(self) -> Reader: ...
    def site(self) -> Site: ...
    def snapshot(self) -> SiteSnapshot: ...
    def routes(self) -> Mapping[str, ChannelRoutes]: ...
    def sources(self) -> Sources: ...
    def running(self, acts: KeptActs, seen: "Seen | None" = None) -> Running:
        """``seen``: of some channels alone."""
        ...


class Here:
    """`Behind`, in the daemon."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self.clock, self.journal = app.clock, app.journal
        self.refused, self.snapshot, self.trial = Refusals(refusal_row(app)), app.observer.snapshot, app.trial

    def site(self) -> Site:
        return self._app.parts.built.site

    def routes(self) -> Mapping[str, ChannelRoutes]:
        return self._app.parts.routes()

    def sources(self) -> Sources:
        return sources(self._app)

    def running(self, acts: KeptActs, seen: "Seen | None" = None) -> Running:
        app = self._app
        registry = new_registry(app.counters, app.observer.snapshot, lambda: app.services)
        return Running(
            snapshot=self.snapshot if seen is None else seen.snapshot,
            missing=app.observer.obstacles,
            metrics=registry.collect if seen is None else partial(samples_within, registry, seen.channels),
            ends=SeenEnds(app.parts, app.clock),
            acts=acts,
            **{name: one for service in app.parts.services for name, one in service.of_pages(seen).items()},
        )


class Seen:
    """`Behind`, for those who see these channels alone: all that they read, count and do is theirs.

    Attributes:
        others: names of channels and destinations that are another's.
    """

    trial: Trial | None = None

    def __init__(self, whole: Behind, channels: frozenset[str]) -> None:
        self.whole, self.channels = whole, channels
        self.clock, self.refused = whole.clock, whole.refused
        self.journal = Within(whole.journal, channels)
        self._made: tuple[SiteSnapshot, SiteSnapshot] | None = None

    def site(self) -> Site:
        whole = self.whole.site()
        return replace(whole, channels={name: one for name, one in whole.channels.items() if name in self.channels})

    def snapshot(self) -> SiteSnapshot:
        site = self.whole.snapshot()
        if self._made is None or self._made[0] is not site:
            self._made = site, site.within(self.channels)
        return self._made[1]

    def others(self) -> set[str]:
        whole, theirs = self.whole.snapshot(), self.snapshot()
        gone = {one.name for one in whole.channels} - self.channels
        return gone | {one.name for one in whole.destinations} - {one.name for one in theirs.destinations}

    def routes(self) -> Mapping[str, ChannelRoutes]:
        return {name: one for name, one in self.whole.routes().items() if name in self.channels}

    def sources(self) -> Sources:
        theirs = sources_of(self.journal, self.site, self.snapshot, self.routes)
        return replace(theirs, reached=self.whole.sources().reached, backups=lambda: None)

    def running(self, acts: KeptActs, seen: "Seen | None" = None) -> Running:
        running = self.whole.running(acts, self)
        theirs = Narrowed(self.journal, running.todo, self.others, self.refused).verbs(acts.verbs)
        return replace(running, acts=acts.given(theirs))


def server_of(site: Behind, acts: KeptActs, apart: Apart | None = None) -> StatusServer:
    """The server of the whole site, or of a part of it; as of `StatusServer`."""
    reads, running = site.sources(), site.running(acts)
    api = Api(reads, running.acts)

    def end() -> None:
        api.end_streams()
        if not reads.journal.is_whole:
            reads.journal.close()

    return StatusServer(
        site.site().config.web,
        running,
        clock=site.clock,
        reader=reads.journal,
        loaded=Loaded(
            reads.routes, lambda: site.site().hash, reads.suggestions, lambda: changed_files(site.site()), site.trial
        ),
        api=api.routes(),
        ending=end,
        within=lambda channels: server_of(Seen(site, channels), acts),
        apart=apart,
    )
