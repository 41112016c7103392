"""The server of the pages and of the API: its parts, for the whole site or for some channels of it.

The daemon builds it of the running site, and the process that draws of what that one knows (`engine.runtime.reader`).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from engine.actions.admission import Refusals
from engine.actions.kept import KeptActs
from engine.actions.within import Narrowed
from engine.config.load import Site, changed_files
from engine.model.process.clock import Clock
from engine.model.routes import ChannelRoutes
from engine.monitoring.metrics import new_registry, samples_within
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.runtime.control_handlers import refusal_row, sources
from engine.runtime.observing.ends import SeenEnds
from engine.runtime.service import Seen
from engine.store.queries.reader import Reader
from engine.store.queries.within import Within
from engine.web.api.lists import Present, Sources
from engine.web.api.service import Api
from engine.web.pages.frame import Loaded
from engine.web.running import Apart, Running
from engine.web.server import StatusServer

if TYPE_CHECKING:
    from engine.runtime.app import App


class Behind(Protocol):
    """What the server is built of.

    Attributes:
        refused: writes the audit row of an act that was refused.
    """

    @property
    def clock(self) -> Clock: ...
    @property
    def journal(self) -> Reader: ...
    @property
    def refused(self) -> Callable[[str, dict[str, Any]], Awaitable[None]]: ...
    def site(self) -> Site: ...
    def snapshot(self) -> SiteSnapshot: ...
    def routes(self) -> Mapping[str, ChannelRoutes]: ...
    def sources(self) -> Sources: ...
    def loaded(self, plain: Loaded) -> Loaded:
        """With what only those ask for who see the whole site."""
        ...

    def running(self, acts: KeptActs, seen: Seen | None) -> Running:
        """``seen``: of some channels alone."""
        ...


class Here:
    """`Behind`, in the daemon."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self.clock, self.journal = app.clock, app.journal
        self.refused = refusal_row(app)

    def site(self) -> Site:
        return self._app.parts.built.site

    def snapshot(self) -> SiteSnapshot:
        return self._app.observer.snapshot()

    def routes(self) -> Mapping[str, ChannelRoutes]:
        return self._app.parts.routes()

    def sources(self) -> Sources:
        return sources(self._app)

    def loaded(self, plain: Loaded) -> Loaded:
        return plain._replace(trial=self._app.trial)

    def running(self, acts: KeptActs, seen: Seen | None) -> Running:
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


def server_of(site: Behind, acts: KeptActs, apart: Apart | None = None) -> StatusServer:
    """Of the whole site; as of `StatusServer`."""
    reads = site.sources()
    within = partial(_within, site, acts, Refusals(site.refused))
    return _server(site, reads, site.running(acts, None), site.loaded(_loaded(site, reads)), within, apart)


def _within(site: Behind, acts: KeptActs, refused: Refusals, channels: frozenset[str]) -> StatusServer:
    """For those who see these channels alone: all that it reads, counts and does is theirs."""
    journal = Within(site.journal, channels)
    seen = Seen(channels, journal, site.snapshot)
    running = site.running(acts, seen)

    async def keys() -> Collection[str]:
        listed: Sequence[Any] = await running.todo()
        return {one.entry.key for one in listed if one.entry.subject in channels}

    def others() -> set[str]:
        whole, mine = seen.whole(), seen.snapshot()
        gone = {one.name for one in whole.channels} - channels
        return gone | {one.name for one in whole.destinations} - {one.name for one in mine.destinations}

    def routes() -> dict[str, ChannelRoutes]:
        return {name: one for name, one in site.routes().items() if name in channels}

    narrowed = acts.given(Narrowed(journal, channels, keys, others, refused).verbs(acts.verbs))
    reads = site.sources().within(journal, Present(seen.snapshot), routes)
    return _server(site, reads, replace(running, acts=narrowed), _loaded(site, reads))


def _loaded(site: Behind, reads: Sources) -> Loaded:
    return Loaded(reads.routes, lambda: site.site().hash, reads.suggestions, lambda: changed_files(site.site()))


def _server(
    site: Behind,
    reads: Sources,
    running: Running,
    loaded: Loaded,
    within: Callable[[frozenset[str]], StatusServer] | None = None,
    apart: Apart | None = None,
) -> StatusServer:
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
        loaded=loaded,
        api=api.routes(),
        ending=end,
        within=within,
        apart=apart,
    )
