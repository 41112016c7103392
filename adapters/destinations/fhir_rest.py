"""A FHIR R4 server: each document, a transaction Bundle, is one POST to the base address.

Delivered means that the server says so for every single entry: a transaction-response Bundle with as many entries as
were sent and a 2xx status in each. Any other 2xx is somebody else's page (a proxy, a log-in form, a captive portal)
and says nothing about the results; the breaker opens and nothing is lost. 412 says that several resources on the
server match one identifier: a person must merge them there. The rest stands in `http_exchange`.

A repeat is harmless on the server's side, since our ids are keyed hashes and our requests PUT or conditional; it is
also recognisable, by two headers of every request:

    Idempotency-Key  the delivery key: the same over retries, restarts and replays
    X-Request-Id     the key's first 32 characters and the attempt, as FHIR servers write it into their logs
"""

from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from adapters.codecs.fhir_server_ids import for_server_ids
from adapters.destinations.http_exchange import MAX_KEPT_ANSWER_BYTES, Answer, HttpConfig, HttpExchange
from engine.clock import Clock
from engine.errors import DeliveryError, DestinationDownError, RefusedDeliveryError
from engine.message import Delivery
from engine.reasons import Reason

MEDIA_TYPE = "application/fhir+json"
HEADERS: Mapping[str, str] = {"Prefer": "return=minimal"}
# A Bundle that our codec wrote has this once an entry, and no string can contain it (a quote in it is escaped).
REQUEST = b'"request":{'


class FhirConfig(HttpConfig, Protocol):
    @property
    def ids(self) -> str: ...


class FhirRest:
    """See `engine.ports.Destination`."""

    def __init__(self, name: str, config: FhirConfig, clock: Clock) -> None:
        self._http = HttpExchange(
            name,
            config,
            clock,
            accept=MEDIA_TYPE,
            redirected=Reason.NOT_FHIR,
            refusals={412: Reason.AMBIGUOUS_ON_SERVER},
        )
        self._server_ids = config.ids == "server"

    async def start(self) -> None:
        await self._http.start()

    async def deliver(self, delivery: Delivery) -> None:
        body = for_server_ids(delivery.body) if self._server_ids else delivery.body
        answer = await self._http.send("POST", delivery, HEADERS, body)
        problem = shortfall(answer, body, delivery.entries)
        if problem:
            raise DestinationDownError(
                Reason.NOT_FHIR, f"HTTP {answer.status}, {problem}", answer=answer.body[:MAX_KEPT_ANSWER_BYTES]
            )

    async def probe(self) -> None:
        """Ask for the CapabilityStatement."""
        url = (self._http.url / "metadata").with_query(_summary="true")
        answer = await self._http.exchange("GET", url, {})
        if not 200 <= answer.status < 300:
            raise _about_the_destination(self._http.failure(answer))
        if _read(answer.body).get("resourceType") != "CapabilityStatement":
            raise DestinationDownError(Reason.NOT_FHIR, f"HTTP {answer.status}, no CapabilityStatement")

    async def close(self) -> None:
        await self._http.close()


def build(name: str, config: FhirConfig, clock: Clock) -> FhirRest:
    """The destination ``name`` of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return FhirRest(name, config, clock)


def shortfall(answer: Answer, sent: bytes, entries_sent: int = 0) -> str:
    """What keeps a 2xx answer from meaning *delivered*, or an empty text. Positions and statuses only.

    Args:
        entries_sent: how many entries ``sent`` has, where that is known: counting them takes as long as all the rest.
    """
    if not answer.whole:
        return f"an answer of more than {len(answer.body)} bytes"
    bundle = _read(answer.body)
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction-response":
        return "not a transaction-response Bundle"
    entries = bundle.get("entry", [])
    try:
        for position, entry in enumerate(entries):
            status = entry["response"]["status"]
            if status[0] != "2" or not status[:3].isdigit() or len(status) < 3:
                return f"entry {position} of the answer does not say 2xx"
        if len(entries) == (entries_sent or sent.count(REQUEST)):
            return ""
    except (KeyError, IndexError, TypeError, AttributeError):
        return "a transaction-response whose entries have no status"
    # Somebody else's way of writing JSON: count properly before believing it.
    expected = len(_read(sent).get("entry", []))
    return "" if len(entries) == expected else f"{len(entries)} entries answered of {expected} sent"


def _read(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``, or an empty one."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _about_the_destination(error: DeliveryError) -> DeliveryError:
    """A probe carries no document: whatever is refused, the destination is at fault."""
    if isinstance(error, RefusedDeliveryError):
        return DestinationDownError(Reason.WRONG_ADDRESS, error.detail, answer=error.answer)
    return error
