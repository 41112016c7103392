"""A FHIR server that is searched again and again, for a laboratory system that cannot send its orders by itself.

    search  ``_lastUpdated=ge...``, from the last cursor back by the overlap; page after page
    read    what an order refers to and the answer does not include, each once
    handle  each version that was not taken yet is a stream of one message; the channel answers ACK once it is durable
    move    the cursor, once all that the search found is durable

The cursor is a time of the server: that of the newest resource, and at least a day before the server's clock. It never
runs ahead of that clock, so that one resource of the future hides none. Where the clock was ahead and is set back, the
cursor goes back to a day before it. A kill leaves the old cursor: the search is
made anew, and what was taken is known by its version (`engine.model.ports.PollMemory`).

A fault says why nothing is taken, and a notice what a person should know; neither names a resource.

A FHIR server that is searched: its addresses, its pages, single resources of it, and its clock.

Log-in, TLS and errors are those of destinations over HTTP (`adapters.clients.http.exchange`). A next page is read
at the same origin only, since the log-in goes with the request. No error names a resource.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from yarl import URL

from adapters.clients.http.auth import log_in_of
from adapters.clients.http.exchange import HttpClient, HttpExchange, Server
from adapters.clients.http.log_in import Config, ServerTime, http_date
from adapters.clients.http.posts import Answer
from adapters.codecs.fhir import searchset
from adapters.codecs.fhir.outcome import reasons
from adapters.codecs.fhir.searchset import Found, Page
from adapters.codecs.text.whole_link import ACK
from adapters.transports.errors import SearchError
from adapters.transports.polling import Polling
from engine.model.errors import ContentError, TransientDeliveryError
from engine.model.ports import PollCursor, PolledVersion, PollMemory, StreamHandler
from engine.model.process.clock import Clock, SystemClock
from engine.model.texts.reasons import ReasonCode

MEDIA_TYPE = "application/fhir+json"
INCLUDED = {
    "ServiceRequest": (("_include", "ServiceRequest:subject"), ("_include", "ServiceRequest:specimen")),
    "Task": (
        ("_include", "Task:focus"),
        ("_include", "Task:patient"),
        ("_include:iterate", "ServiceRequest:subject"),
        ("_include:iterate", "ServiceRequest:specimen"),
    ),
}
NOT_KNOWN = (400, 422, 501)  # a parameter of the search


class ServerSettings(Config, Protocol):
    """The settings of a channel's ``source:`` for the requests."""

    search: str
    parameters: dict[str, str]
    gzip: bool
    page: int
    plain: bool


class FhirServer(HttpClient):
    """One server.

    Raises:
        ConfigError: a certificate or key file cannot be read or used.
    """

    def __init__(self, source: ServerSettings, clock: Clock) -> None:
        self._source = source
        self._times = ServerTime(clock)
        self.tells_time = False  # its last answer had a Date
        self._http = HttpExchange(
            "source",
            Server(url=source.url, tls=source.tls, timeout=source.timeout, gzip=source.gzip),
            clock,
            accept=MEDIA_TYPE,
            redirected=ReasonCode.NOT_FHIR,
            reasons=reasons,
            log_in=log_in_of("source", source, clock),
        )

    @property
    def ahead_s(self) -> float:
        """By how much its clock is ahead of ours; 0 for a few seconds."""
        return self._times.ahead_s

    @property
    def now_us(self) -> int:
        """The time of its clock."""
        return round(self._times.now().timestamp() * 1_000_000)

    def address(self, since_us: int, count: int) -> URL:
        """Where the resources are that changed since then, by its clock."""
        source = self._source
        since = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=since_us)
        query = [
            *source.parameters.items(),
            ("_lastUpdated", f"ge{since.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"),
            ("_count", str(count)),
        ]
        if not source.plain:
            query += [("_sort", "_lastUpdated"), *INCLUDED[source.search]]
        return (URL(source.url) / source.search).with_query(query)

    def following(self, url: URL, link: str) -> URL | None:
        """The address of the page after ``url``; None: that was the last.

        Raises:
            SearchError: it is at another origin, or is none.
        """
        if not link:
            return None
        try:
            found = url.join(URL(link))
            here = found.origin() == URL(self._source.url).origin()
        except ValueError:
            raise SearchError("the server's next page has no address that can be read") from None
        if not here:
            raise SearchError(
                "the server's next page is at another address, and is not asked for there; set the base address that "
                "the server gives itself"
            )
        return found

    async def page(self, url: URL) -> Page:
        """Read a page of a search.

        Raises:
            DeliveryError, SearchError: there is none now.
        """
        answer = await self._get(url)
        if answer.status in NOT_KNOWN and not self._source.plain:
            raise SearchError(
                f"{self._http.failure(answer)}; where the server refuses _sort or _include, say plain: true"
            )
        if not 200 <= answer.status < 300:
            raise self._http.failure(answer)
        if not answer.whole:
            raise SearchError(f"an answer of more than {len(answer.body)} bytes; make page smaller")
        try:
            return searchset.page(answer.body)
        except ContentError as error:
            raise SearchError(f"NOT_FHIR: HTTP {answer.status}, and {error.detail}") from None

    async def read(self, name: str) -> Found | None:
        """The resource ``Type/id``; None: the server has none.

        Raises:
            DeliveryError, SearchError: it cannot be read now.
        """
        answer = await self._get(URL(f"{self._source.url}/{name}"))
        if answer.status in (404, 410):
            return None
        if not 200 <= answer.status < 300:
            raise self._http.failure(answer)
        try:
            found = searchset.resource(answer.body) if answer.whole else None
        except ContentError:
            found = None
        if found is None or found.name != name:
            raise SearchError("NOT_FHIR: a resource that an order refers to cannot be read")
        return found

    async def _get(self, url: URL) -> Answer:
        answer = await self._http.exchange("GET", url, {})
        self._times.heard(answer.date)
        self.tells_time = http_date(answer.date) is not None
        return answer


MAX_PAGES = 200  # of one search; in order of time, the next search goes on from there
MAX_REFERRED = 50  # resources that one order refers to
MAX_READ = 1000  # resources that are read by themselves and remembered within one search
MAX_RETRY_AFTER_S = 3600.0
HOUR_US = 3_600_000_000
LAG_US = 24 * HOUR_US  # the cursor is at least so near to the server's clock
OLDEST_US = 30 * 24 * HOUR_US  # behind the cursor; older ones are left out: their versions may be forgotten
CLOCKS_APART_S = 300.0
SET_BACK_US = 60_000_000  # a cursor that is more ahead of the server's clock is of a clock that was wrong


class Settings(ServerSettings, Protocol):
    """The settings of a channel's ``source:`` for the searches."""

    every: float
    begin: float
    overlap: float
    max_message: int


def build(source: Settings, handler: StreamHandler, memory: PollMemory, clock: Clock | None = None) -> "FhirSearch":
    """The transport of one channel."""
    return FhirSearch(source, handler, memory, clock)


async def probe(source: Settings, clock: Clock | None = None) -> None:
    """Search once, for one resource, and take nothing.

    Raises:
        DeliveryError, SearchError, ConfigError: why it cannot be searched.
    """
    clock = clock or SystemClock()
    server = FhirServer(source, clock)
    try:
        await server.start()
        await server.page(server.address(clock.now_us() - round(source.begin * 1e6), 1))
    finally:
        await server.close()


@dataclass(slots=True)
class _Search:
    """One search under way.

    Attributes:
        since_us: what it asks for: changed since then.
        newest_us: of the resources so far.
        in_order: each page and resource was as new as the one before, or newer.
        read: resources that were read by themselves; None: the server has none of this name.
    """

    cursor: PollCursor
    since_us: int
    newest_us: int = 0
    in_order: bool = True
    pages: int = 0
    seen: set[URL] = field(default_factory=set)
    read: dict[str, Found | None] = field(default_factory=dict)
    notices: dict[str, int] = field(default_factory=dict)

    def note(self, text: str) -> None:
        self.notices[text] = self.notices.get(text, 0) + 1


class FhirSearch(Polling):
    """Search one server. One request at a time."""

    def __init__(
        self, source: Settings, handler: StreamHandler, memory: PollMemory, clock: Clock | None = None
    ) -> None:
        super().__init__(source.url, handler)
        self._source = source
        self._memory = memory
        self._clock = clock or SystemClock()
        self._server: FhirServer | None = None
        self._goes_on = False  # there is more to read at once

    async def stop(self, grace_s: float = 3.0) -> None:
        """Ask for nothing more, let the resource that is being stored finish."""
        await super().stop(grace_s)
        if self._server is not None:
            await self._server.close()

    # -- searching -----------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        self._pause_s = 0.0
        try:
            await self._search()
        except TransientDeliveryError as error:
            self._pause_s = min(error.retry_after or 0.0, MAX_RETRY_AFTER_S)
            raise
        self._pause_s = 0.0 if self._goes_on else self._source.every

    async def _search(self) -> None:
        """One search with all of its pages; then the cursor moves."""
        self._goes_on = False
        if self._server is None:
            self._server = FhirServer(self._source, self._clock)
            await self._server.start()
        server = self._server
        cursor = known = self._memory.cursor()
        if cursor is None:
            back_us = round(self._source.begin * 1e6)
            await server.page(server.address(server.now_us - back_us, 1))  # to hear its clock
            begin_us = server.now_us - back_us
            cursor = PollCursor(begin_us=begin_us, reached_us=begin_us)
        since_us = max(cursor.begin_us, cursor.reached_us - round(self._source.overlap * 1e6))
        search = _Search(cursor, since_us)
        began_us = 0
        url: URL | None = server.address(since_us, self._source.page)
        while url is not None and search.pages < MAX_PAGES and not self._stopping.is_set():
            if url in search.seen:
                raise SearchError("the server's next page is one that was read already; its paging is broken")
            search.seen.add(url)
            search.pages += 1
            found = await server.page(url)
            began_us = began_us or server.now_us
            if (back := self._set_back(cursor, began_us, search, server)) is not None:
                await self._memory.move(back)
                self._tell(search)
                return
            await self._take_page(found, search, server)
            url = server.following(url, found.next)
        if self._stopping.is_set():
            return
        reached_us = min(search.newest_us, began_us)
        if url is None:
            reached_us = max(reached_us, (began_us - LAG_US) // HOUR_US * HOUR_US)  # no write for each search
        elif search.in_order and reached_us - round(self._source.overlap * 1e6) > since_us:
            self._goes_on = True
        else:
            raise SearchError(
                f"a search has more than {MAX_PAGES} pages, and is not in order of time; make page larger, or begin or "
                "overlap shorter"
            )
        self._tell(search)
        if reached_us > cursor.reached_us or known is None:
            moved = PollCursor(begin_us=cursor.begin_us, reached_us=max(reached_us, cursor.reached_us))
            await self._memory.move(moved)

    def _set_back(self, cursor: PollCursor, now_us: int, search: _Search, server: FhirServer) -> PollCursor | None:
        """The cursor after the server's clock was ahead and was set back; None: it stays.

        Only a clock that ours agrees with is followed however far, and to before the first search: all that changed
        then is known. One that has lost its time would bring back the orders of years.
        """
        if cursor.reached_us <= now_us + SET_BACK_US:
            return None
        begin_us = cursor.begin_us
        if server.tells_time and abs(server.ahead_s) <= CLOCKS_APART_S:
            begin_us = min(begin_us, now_us - round(self._source.begin * 1e6))
        elif cursor.reached_us - now_us > OLDEST_US:
            search.note(
                "the server's clock was set back by more than 30 days; no new order is found until it is correct"
            )
            return None
        back = PollCursor(begin_us=begin_us, reached_us=max(now_us - LAG_US, begin_us))
        if back.reached_us >= cursor.reached_us:
            return None
        search.note("the server's clock was set back; the changes of a day are read again")
        return back

    # -- resources -----------------------------------------------------------------------------------------------

    async def _take_page(self, page: Page, search: _Search, server: FhirServer) -> None:
        source = self._source
        if page.said:
            search.note(f"the server warns: {page.said}")
        matches = [one for one in page.found if one.type == source.search and one.mode in ("", "match")]
        there = {one.name: one for one in page.found if one.id}
        if len(matches) > source.page:
            search.note("the server gives more resources at once than page says (_count)")
        ordered = sorted(matches, key=lambda one: one.updated_us)
        search.in_order &= matches == ordered
        for one in ordered:
            if self._stopping.is_set():
                return
            search.in_order &= one.updated_us >= search.newest_us
            search.newest_us = max(search.newest_us, one.updated_us)
            if one.updated_us and one.updated_us < search.since_us - 1_000_000:
                search.note("the server does not look at _lastUpdated: each search reads all that it has")
            if not one.id:
                search.note("resources without an id cannot be taken")
            elif not self._is_too_old(one, search.cursor):
                await self._take(one, there, search, server)

    def _is_too_old(self, one: Found, cursor: PollCursor) -> bool:
        return 0 < one.updated_us < max(cursor.begin_us, cursor.reached_us - OLDEST_US)

    async def _take(self, one: Found, there: dict[str, Found], search: _Search, server: FhirServer) -> None:
        polled = PolledVersion(
            resource=one.name, version=one.identity, updated_us=one.updated_us, number=one.version_number
        )
        if self._memory.is_old(polled):
            return
        content = searchset.message(one, await self._referred(one, there, search, server), self._peer)
        if len(content) > self._source.max_message:
            raise SearchError("an order is larger than max_message; make that larger")
        if await self._hand_on(content, polled) != ACK:
            raise SearchError("an order could not be stored yet; it is asked for again")

    async def _referred(self, one: Found, there: dict[str, Found], search: _Search, server: FhirServer) -> list[Found]:
        """The resources that an order is made of: those that came with it, the others by themselves."""
        found: dict[str, Found] = {}
        waiting = list(searchset.references(one.tree))
        while waiting and len(found) < MAX_REFERRED:
            name = searchset.local(waiting.pop(0), self._peer)
            if not name or name in found or name == one.name:
                continue
            other = there.get(name) or await self._read(name, search, server)
            if other is None:
                search.note("a resource that an order refers to is not on the server")
                continue
            found[name] = other
            if other.type == "ServiceRequest":
                waiting += searchset.references(other.tree)
        return list(found.values())

    async def _read(self, name: str, search: _Search, server: FhirServer) -> Found | None:
        """A resource by itself, asked for once in a search; None where the server has none."""
        if name not in search.read:
            if len(search.read) >= MAX_READ:
                search.read.clear()
            search.read[name] = await server.read(name)
        return search.read[name]

    # -- for people ----------------------------------------------------------------------------------------------

    def _tell(self, search: _Search) -> None:
        found = [text if count == 1 else f"{text} ({count})" for text, count in search.notices.items()]
        ahead_s = self._server.ahead_s if self._server is not None else 0.0
        if abs(ahead_s) > CLOCKS_APART_S:
            found.append(f"the server's clock is {abs(ahead_s) / 60:.0f} min {'ahead' if ahead_s > 0 else 'behind'}")
        self._notices = dict.fromkeys(found)
