"""A FHIR server that is searched: its addresses, its pages, single resources of it, and its clock.

Log-in, TLS and errors are those of destinations over HTTP (`adapters.clients.http.exchange`). A next page is read
at the same origin only, since the log-in goes with the request. No error names a resource.
"""

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
from adapters.transports.errors import SearchError
from engine.model.errors import ContentError
from engine.model.process.clock import Clock
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


class Settings(Config, Protocol):
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

    def __init__(self, source: Settings, clock: Clock) -> None:
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
