"""The server of the pages and of the API: its parts, for the whole site or for some channels of it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import Metric

from engine.actions.admission import Refusals
from engine.actions.kept import KeptActs
from engine.actions.within import Narrowed
from engine.config.load import changed_files
from engine.model.routes import ChannelRoutes
from engine.monitoring.metrics import new_registry, samples_within
from engine.runtime.control_handlers import refusal_row, sources
from engine.runtime.observing.ends import SeenEnds
from engine.runtime.service import Seen
from engine.store.queries.within import Within
from engine.web.api.lists import Present, Sources
from engine.web.api.service import Api
from engine.web.pages.frame import Loaded
from engine.web.running import Running
from engine.web.server import StatusServer

if TYPE_CHECKING:
    from engine.runtime.app import App


def server_of(app: "App", acts: KeptActs) -> StatusServer:
    """Of the whole site."""
    reads = sources(app)
    registry = new_registry(app.counters, app.observer.snapshot, lambda: app.services)
    loaded = _loaded(app, reads)._replace(
        trial=app.trial, changed_files=lambda: changed_files(app.parts.built.site), changes=app.changes
    )
    within = partial(_within, app, acts, Refusals(refusal_row(app)))
    return _server(app, reads, acts, registry.collect, loaded, _of_services(app), within)


def _within(app: "App", acts: KeptActs, refused: Refusals, channels: frozenset[str]) -> StatusServer:
    """For those who see these channels alone: all that it reads, counts and does is theirs."""
    journal = Within(app.journal, channels)
    seen = Seen(channels, journal, app.observer.snapshot)
    of_services = _of_services(app, seen)

    async def keys() -> Collection[str]:
        return {one.entry.key for one in await of_services["todo"]() if one.entry.subject in channels}

    def others() -> set[str]:
        site, mine = seen.whole(), seen.snapshot()
        gone = {one.name for one in site.channels} - channels
        return gone | {one.name for one in site.destinations} - {one.name for one in mine.destinations}

    def routes() -> dict[str, ChannelRoutes]:
        return {name: one for name, one in app.parts.routes().items() if name in channels}

    registry = new_registry(app.counters, app.observer.snapshot, lambda: app.services)
    narrowed = acts.given(Narrowed(journal, channels, keys, others, refused).verbs(acts.verbs))
    reads = sources(app).within(journal, Present(seen.snapshot), routes)
    return _server(app, reads, narrowed, partial(samples_within, registry, channels), _loaded(app, reads), of_services)


def _loaded(app: "App", reads: Sources) -> Loaded:
    return Loaded(reads.routes, lambda: app.parts.built.site.hash, reads.suggestions)


def _server(
    app: "App",
    reads: Sources,
    acts: KeptActs,
    metrics: Callable[[], Iterable[Metric]],
    loaded: Loaded,
    of_services: Mapping[str, Any],
    within: Callable[[frozenset[str]], StatusServer] | None = None,
) -> StatusServer:
    api = Api(reads, acts)

    def end() -> None:
        api.end_streams()
        if not reads.journal.is_whole:
            reads.journal.close()

    running = Running(
        snapshot=reads.present.snapshot,
        missing=app.observer.obstacles,
        metrics=metrics,
        ends=SeenEnds(app.parts, app.clock),
        acts=acts,
        **of_services,
    )
    return StatusServer(
        app.parts.built.site.config.web,
        running,
        clock=app.clock,
        reader=reads.journal,
        loaded=loaded,
        api=api.routes(),
        ending=end,
        within=within,
    )


def _of_services(app: "App", seen: Seen | None = None) -> dict[str, Any]:
    return {name: one for service in app.parts.services for name, one in service.of_pages(seen).items()}
