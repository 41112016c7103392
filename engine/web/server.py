"""The status page's HTTP server.

    GET /             the overview             GET /status.json   the same as data
    GET /events       live updates             GET /live.json     one live update, for browsers without an event slot
    GET /healthz      the process answers      GET /readyz        503 with reasons until messages can be taken
    GET /metrics      Prometheus text          GET /static/...    style, script, icon
    /api/v1/...       the API for programs (`engine.web.api`)

All other pages are those of `engine.web.pages.all_pages`.

All here is read from one snapshot that the daemon makes; no handler touches the journal, so a reader can never delay an
acknowledgment. Connections, event readers, request lines and headers are limited.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from urllib.parse import urlencode

import orjson
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from engine.config.web import AT_START, WebConfig
from engine.model.process.clock import Clock, SystemClock
from engine.model.site.permissions import LOOKING, WATCHING, Principal
from engine.model.site.todo import Since
from engine.model.texts.phrases import Said
from engine.model.texts.units import HostPort
from engine.store.queries.reader import Reader
from engine.web import bodies, sender
from engine.web.apart import GIVEN, Answer, Given, answer_of, answered, request_of, trusted
from engine.web.api import problems
from engine.web.bodies import Body, KeptBodies, html, prepared
from engine.web.desk import ACCOUNT, LOG_IN, Desk
from engine.web.feed import Feed, everything
from engine.web.guard import MESSAGES, add_headers, from_another_site, host_allowed, wall
from engine.web.identity import (
    BY_ITSELF,
    PERSON,
    SIGNED_IN,
    Identity,
    Person,
    address_of,
    keep_theme,
    keep_wall_screen,
    language_of,
    log_in_of,
    person_of,
    theme_of,
)
from engine.web.languages import LANGUAGES
from engine.web.listener import Listener
from engine.web.pages.all_pages import pages_of
from engine.web.pages.frame import NOTHING_LOADED, Frame, Loaded
from engine.web.render import STATIC, Renderer
from engine.web.routes import IN_USE, OPEN_TO_ALL, PART, PRINCIPAL, InUse, Route, add_routes, gate, unlimited
from engine.web.running import Apart, Running

logger = logging.getLogger("labrelay.web")

MAX_CONNECTIONS = 64
PATIENCE_S = 10.0  # a connection without a request for so long may lose its place to a new one
MAX_EVENT_READERS = 16
MOST_PARTS = 64  # of pages for those who see some channels alone
MAX_OF_ONE_LOG_IN = 3  # a browser has six connections to one server, and needs some for other pages
MAX_REQUEST_BODY = 4096  # no request here has a body
MAX_LINE = 4096
SEND_TIMEOUT_S = 10.0  # an event reader that does not take its event in this time is dropped
STOP_TIMEOUT_S = 2.0
INTERVAL_S = 1.0  # between live updates


class StatusServer:
    """Serves the status page of one daemon.

    Args:
        config: ``web:`` of the site; `follow` gives another one.
        running: the daemon, for all that these pages show and do.
        reader: of the journal, for all pages but the overview; None: there are none of them.
        loaded: the configuration in force.
        api: the routes of `engine.web.api`.
        ending: called when the server stops: endless answers of the API end.
        within: a server of the same pages for those who see these channels alone; it does not listen.
        apart: the process that draws in place of this one.
    """

    def __init__(
        self,
        config: WebConfig,
        running: Running,
        *,
        clock: Clock | None = None,
        reader: Reader | None = None,
        loaded: Loaded = NOTHING_LOADED,
        api: Sequence[Route] = (),
        ending: Callable[[], None] = lambda: None,
        within: Callable[[frozenset[str]], "StatusServer"] | None = None,
        apart: Apart | None = None,
    ) -> None:
        self.config = config
        self._apart = apart
        self._make_within = within
        self._within: dict[frozenset[str], StatusServer] = {}
        self._ending = ending
        self._identity = Identity(running.accounts)
        self._has_users = False
        self.listener = Listener(config, most=MAX_CONNECTIONS, patience_s=PATIENCE_S)
        self._running = running
        self._relays = sender.networks(config.relays)
        self._renderer = Renderer(running.snapshot, running.todo, running.bell)
        self._kept = KeptBodies()
        self._feeds = {
            (language, notes): Feed(partial(self._renderer.live, language, notes=notes), INTERVAL_S)
            for language in LANGUAGES
            for notes in (False, True)
        }
        self._app = app = web.Application(client_max_size=MAX_REQUEST_BODY)
        self._desk = Desk(running, self._renderer, clock or SystemClock())
        pages: Sequence[Route] = ()
        if reader is not None:
            self._frame = Frame(reader, self._renderer, running, loaded, self._desk, lambda: self.config)
            pages = pages_of(self._frame)
        self.routes = add_routes(app, (*self._routes(), *pages, *api))
        app.middlewares.extend(
            [
                self._record_request,
                wall(self._error_page, self._refusal),
                gate(self._identify, self.routes, self.part, self._forward),
            ]
        )
        app.on_response_prepare.extend([add_headers, self._keep_to_tls])
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=STOP_TIMEOUT_S,
            keepalive_timeout=30.0,
            auto_decompress=False,  # no request here has a body that is worth it
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
        )
        self.port = 0  # on which we listen, also where 0 was configured

    async def listen(self) -> None:
        """Listen where the site says; beyond this machine only once there is a user. Called again, it moves there.

        Raises:
            OSError, ValueError: the address is taken; the certificate cannot be used.
        """
        if self._runner.server is None:
            await self._runner.setup()
        assert self._runner.server is not None
        self._has_users = await self._identity.has_users()
        place = self._place()
        if place in self.listener.places:
            return
        if place.is_every_interface:  # this machine's own address is one of them
            self.listener.stop()
        self.port = await self.listener.open(self._runner.server, place)

    def follow(self, config: WebConfig) -> None:
        """Follow a new configuration, but for the keys of `AT_START`."""
        self.config = config.model_copy(update={key: getattr(self.config, key) for key in AT_START})
        self.listener.follow(self.config)
        self._relays = sender.networks(self.config.relays)

    def _place(self) -> HostPort:
        listen = self.config.listen
        return listen if listen.is_loopback or self._has_users else replace(listen, host="127.0.0.1")

    async def stop(self) -> None:
        """Stop listening, end the live updates, let running answers finish for a moment."""
        self.listener.stop()
        if self._apart is not None:
            self._apart.leave()
        for part in (self, *self._within.values()):
            await part.end()
        await self._runner.cleanup()

    async def end(self) -> None:
        """End the live updates."""
        self._ending()
        for feed in self._feeds.values():
            await feed.close()

    def draw_apart(self) -> None:
        """Be the one of the process that draws: `draw` takes what another one has admitted."""
        routes = {key: replace(route, limit=unlimited) for key, route in self.routes.items()}  # the daemon has limits
        admitted = gate(trusted, routes, self.part)
        self._app.middlewares[:] = [wall(self._error_page, lambda request: 0), admitted]
        self._app.on_response_prepare.clear()
        self._app.freeze()

    async def draw(self, asked: Given) -> Answer:
        """
        Raises:
            ElsewhereError: this process cannot.
        """
        await self._renderer.prepare()
        return answer_of(await self._app._handle(request_of(asked)))

    async def _forward(self, request: web.Request, route: Route) -> web.StreamResponse | None:
        if self._apart is None:
            return None
        part = request.get(PART, self)
        request[SINCE] = await part._since(request) if route.path == "/" else None
        tell = partial(answered, part._frame, request)
        return await self._apart.draw(request, route, part._running, request[SINCE], tell)

    async def part(self, channels: frozenset[str]) -> "StatusServer":
        """It is made at its first use, and kept."""
        assert self._make_within is not None
        part = self._within.pop(channels, None) or self._make_within(channels)
        part.listener, part.config = self.listener, self.config
        part._identity, part._apart = self._identity, self._apart
        while len(self._within) >= MOST_PARTS:
            await self._within.pop(next(iter(self._within))).end()
        self._within[channels] = part  # the one that was used last is the last
        await part._renderer.prepare()
        return part

    def _names(self) -> frozenset[str]:
        """Names under which the page answers, besides those of loopback."""
        own = {name.lower() for name in (*self.config.names, self.config.listen.host)}
        certificate = self.listener.certificate
        return frozenset(own | (certificate.names if certificate is not None else set()))

    def _refusal(self, request: web.Request) -> int:
        """The status for a request that comes under a wrong name, from a client with one, or that a page of another
        site causes and that may change something; 0: none.
        """
        if not host_allowed(request.headers.get(hdrs.HOST, ""), self._names()):
            return 421
        foreign = request.method not in (hdrs.METH_GET, hdrs.METH_HEAD) and from_another_site(request.headers)
        return 403 if foreign or not self.listener.knows(request) else 0

    async def _identify(self, request: web.Request) -> Principal | None:
        if request.path in _FOR_ALL or request.path.startswith("/static/"):
            return None
        principal = await self._identity.of(request)
        request[PERSON] = (
            self._desk.person(request, principal)
            if self._running.accounts is not None
            else Person(looks=principal is not None, address=address_of(request), theme=theme_of(request))
        )
        return principal

    async def _keep_to_tls(self, request: web.Request, response: web.StreamResponse) -> None:
        if request.secure:
            response.headers["Strict-Transport-Security"] = f"max-age={self.config.hsts:.0f}"

    def notices(self) -> Iterator[str]:
        """Sentences about the page itself, for the page."""
        if self._place() != self.config.listen:
            yield Said(
                "the page answers on this machine alone, and not on {address}, until it has a user",
                address=str(self.config.listen),
            )
        if self._apart is not None and self._apart.fault:
            yield self._apart.fault
        if self.listener.certificate is not None and self.listener.certificate.fault:
            yield self.listener.certificate.fault

    @web.middleware
    async def _record_request(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        sender.note(request, self._relays)
        request[IN_USE] = InUse(partial(self.listener.heard, request.protocol))
        request[IN_USE].again()
        if request.path not in _WITHOUT_TEMPLATES and not request.path.startswith(API):
            await self._renderer.prepare()
        answer = await handler(request)
        keep_theme(request, answer)
        return answer

    def _routes(self) -> Sequence[Route]:
        return (
            Route("/", self._overview, WATCHING, todo=True),
            Route("/events", self._events, WATCHING, here="it has no end, and its parts are drawn apart"),
            Route("/live.json", self._live, WATCHING, todo=True),
            Route("/status.json", self._status, LOOKING),
            Route("/metrics", self._metrics, LOOKING, here="its values are those of this process"),
            Route("/healthz", self._healthz, OPEN_TO_ALL),
            Route("/readyz", self._readyz, OPEN_TO_ALL),
            Route("/static/{name}", self._static, OPEN_TO_ALL),
        )

    # -- pages -------------------------------------------------------------------------------------------------

    async def _overview(self, request: web.Request) -> web.Response:
        language, person, wall, since = language_of(request), person_of(request), "wall" in request.query, None
        live = await self._renderer.live(language, notes=person.reads_notes)
        if not wall:
            since = await self._since(request)

        def make() -> Body:
            drawn = self._renderer.overview(live, language, person, wall=wall, since=since)
            return prepared(request, html(drawn))

        body = await self._kept.of(("overview", language, person, wall, since), live, make)
        answer = bodies.answer(request, body, vary=hdrs.ACCEPT_LANGUAGE)
        keep_wall_screen(request, answer)
        return answer

    async def _since(self, request: web.Request) -> Since | None:
        """What came and went since this person looked; noted once for each request."""
        if GIVEN in request:
            return request[GIVEN].since
        if SINCE in request:
            return request[SINCE]
        if self._running.look is None or SIGNED_IN not in request or "wall" in request.query:
            return None
        by_person = request.method == hdrs.METH_GET and BY_ITSELF not in request.query
        return await self._running.look(request[SIGNED_IN].user.id, by_person=by_person)

    async def _status(self, request: web.Request) -> web.Response:
        site = self._running.snapshot()
        notes = request[PRINCIPAL].reads_notes

        def make() -> Body:
            shown = site if notes else site.without_notes()
            return prepared(request, Body(orjson.dumps(shown.to_json(), option=orjson.OPT_INDENT_2)))

        return bodies.answer(request, await self._kept.of(("status", notes), site, make))

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        missing = self._running.missing()
        if not missing:
            return web.Response(text="ready\n")
        return web.Response(status=503, text="".join(f"not ready: {reason}\n" for reason in missing))

    async def _metrics(self, _request: web.Request) -> web.Response:
        # The metrics belong to the event loop, so they are collected here. Writing ten thousand samples (a site with
        # hundreds of channels) as text takes longer, and runs in a thread.
        body = await asyncio.to_thread(generate_latest, _Collected(list(self._running.metrics())))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_LATEST})

    async def _static(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in _STATIC_FILES:
            raise web.HTTPNotFound
        # The address carries the content's hash: a new release has a new address.
        keep = "public, max-age=31536000, immutable" if "v" in request.query else "no-cache"
        return bodies.answer(request, _static_body(name), {hdrs.CACHE_CONTROL: keep})

    def _error_page(self, request: web.Request, status: int, message: str) -> web.Response:
        if request.path.startswith(API):
            return problems.page(request, status, message)
        part: StatusServer = request.get(PART, self)
        if part is not self:
            return part._error_page(request, status, message)
        if status == 401 and "text/html" in request.headers.get(hdrs.ACCEPT, ""):
            to = {"next": request.path_qs} if request.method == hdrs.METH_GET else {}
            return web.Response(status=303, headers={hdrs.LOCATION: f"{LOG_IN}?{urlencode(to)}".rstrip("?")})
        held_up = PRINCIPAL in request and request[PRINCIPAL].held_up
        if status == 403 and held_up and request.method == hdrs.METH_GET:
            return self._desk.go(request, ACCOUNT)
        # What a form answers has no address of its own; and without a part, the frame would count what others have.
        others = PRINCIPAL in request and request[PRINCIPAL].channels is not None and PART not in request
        is_page = PERSON in request and request.method == hdrs.METH_GET and not others
        person = request[PERSON] if is_page else Person(theme=theme_of(request))
        page = self._renderer.error(language_of(request), person, status, message)
        headers = {hdrs.WWW_AUTHENTICATE: "Bearer"} if status == 401 else None
        return web.Response(status=status, text=page, content_type="text/html", headers=headers)

    # -- live --------------------------------------------------------------------------------------------------

    async def _live(self, request: web.Request) -> web.Response:
        language, notes = language_of(request), request[PRINCIPAL].reads_notes
        live = await self._renderer.live(language, notes=notes)

        def make() -> Body:
            return prepared(request, Body(orjson.dumps(everything(live))))

        return bodies.answer(request, await self._kept.of(("live", language, notes), live, make))

    def events(self, language: str, reads_notes: bool, last: str) -> AsyncGenerator[bytes, None]:
        return self._feeds[language, reads_notes].events(last)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        principal, followers = request[PRINCIPAL], self.listener.followers
        log_in = log_in_of(request, principal)
        beside = sum(log_in == one for one in followers.values()) if log_in else 0
        if len(followers) >= MAX_EVENT_READERS or beside >= MAX_OF_ONE_LOG_IN:
            page = self._error_page(request, 503, MESSAGES[503])
            page.headers[hdrs.RETRY_AFTER] = "10"
            return page
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream", "X-Accel-Buffering": "no"})
        followers[request.protocol] = log_in
        reads_notes = principal.reads_notes
        last = request.headers.get("Last-Event-ID", "")
        events = self._apart.events(request, self._running, last) if self._apart is not None else None
        if events is None:
            events = self.events(language_of(request), reads_notes, last)
        try:
            await response.prepare(request)
            if request.method == hdrs.METH_HEAD:
                return response
            async for event in events:
                now = await self._identity.of(request)
                if now is None or now.where(WATCHING) != principal:  # the session has ended, or a right has
                    break
                await asyncio.wait_for(response.write(event), SEND_TIMEOUT_S)
        except (TimeoutError, ConnectionResetError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            followers.pop(request.protocol, None)
            await events.aclose()
        return response


@cache
def _static_body(name: str) -> Body:
    return Body((STATIC / name).read_bytes(), _STATIC_FILES[name])


_FOR_ALL = frozenset({"/healthz", "/readyz"})
_WITHOUT_TEMPLATES = _FOR_ALL | {"/status.json", "/reagents.json", "/messages.json", "/session.json", "/metrics"}
API = "/api/"
_STATIC_FILES = {
    "page.css": "text/css",
    "fonts.css": "text/css",
    "noto-sans.licence.txt": "text/plain",
    **{one.name: "font/woff2" for one in STATIC.glob("noto-sans-*.woff2")},
    "live.js": "text/javascript",
    "menus.js": "text/javascript",
    "page.js": "text/javascript",
    "session.js": "text/javascript",
    "todo.js": "text/javascript",
    "list.js": "text/javascript",
    "progress.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


class _Collected(CollectorRegistry):
    """Metrics as they were at one moment."""

    def __init__(self, metrics: list[Metric]) -> None:
        super().__init__(auto_describe=False)
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


SINCE: web.RequestKey[Since | None] = web.RequestKey("since", Since)
