"""A FHIR R4 server: each document, a transaction Bundle, is one POST to the base address.

Delivered means that the server says so for every single entry: a transaction-response Bundle with as many entries as
were sent and a 2xx status in each. Any other 2xx comes from another server (a proxy, a log-in form, a captive portal)
and does not confirm the results; the breaker opens and nothing is lost. 412 means that several resources on the server
match one identifier: a person must merge them there. `http.exchange` describes the rest.

A repeat is harmless on the server's side, since our ids are keyed hashes and our requests PUT or conditional; it is
also recognisable, by two headers of every request:

    Idempotency-Key  the delivery key: the same over retries, restarts and replays
    X-Request-Id     the key's first 32 characters and a number of the attempt, as FHIR servers write it into their logs

With ``conflicts: check`` a document that writes a resource again is conditional on the version that we wrote last
(`engine.model.versions`), and the versions in the server's answer are returned. Where it refuses (412, some servers
409), the resources are read back: content that differs from ours makes a dead letter with both versions, CONFLICT.
Equal content (the answer to an earlier attempt was lost) is no conflict: the document goes out once more, under the
current version. Equal content includes the patient: a reference on the server must point to the resource that the
server finds for it now, else the result was moved to another patient.

Before that, the server itself is tried with a resource of our own: where it takes an update whose ``ifMatch`` names a
version that is not there any more (R4, http.html#concurrency), the other system's change is lost, and neither side
notices. Some look at it for ``PUT Type/id`` and not for ``PUT Type?identifier=...``, so the trial sends what a delivery
would send.

    1  PUT the resource                       version A
    2  PUT it again, ifMatch A                version B: the server takes a condition that holds
    3  PUT it again, ifMatch A                must be refused, for there is B now
    4  DELETE it

The resource is a Basic with a random identifier; where a server knows no Basic, an Organization that is not active.

A Task in the document that is ``partOf`` one that a search has found gives its news to that one, after the document is
there (`fhir_tasks`).
"""

import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

import orjson
from yarl import URL

from adapters.clients.http.auth import log_in_of
from adapters.clients.http.exchange import MAX_CONFLICTS, MAX_KEPT_ANSWER_BYTES, HttpClient, HttpConfig, HttpExchange
from adapters.clients.http.log_in import Config
from adapters.clients.http.posts import Answer
from adapters.codecs.fhir.outcome import reasons
from adapters.codecs.fhir.versions import (
    SYSTEM,
    TAGGED,
    addresses_of,
    expected,
    for_server_ids,
    given,
    links,
    renewed,
    resources_of,
    says_the_same,
)
from adapters.destinations import fhir_tasks
from engine.model.errors import DeliveryError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.message import Delivery
from engine.model.ports import ConditionsTrial
from engine.model.process.clock import Clock
from engine.model.texts.reasons import ReasonCode

MEDIA_TYPE = "application/fhir+json"
HEADERS: Mapping[str, str] = {"Prefer": "return=minimal"}
# A Bundle that our codec wrote has this once an entry, and no string can contain it (a quote in it is escaped).
REQUEST = b'"request":{'
MAX_KEPT_THEIRS_BYTES = 256 * 1024
_VERSION = re.compile(r"[A-Za-z0-9.-]{1,64}")  # an id, as R4 says: it goes into a condition


class FhirConfig(HttpConfig, Config, Protocol):
    ids: str
    conflicts: str


@dataclass(frozen=True, slots=True)
class ServerResource:
    """A resource as the server has it. ``text`` is its JSON; both are empty where it is not there any more."""

    version: str = ""
    text: bytes = b""


class FhirRest(HttpClient):
    """See `engine.model.ports.Destination`."""

    def __init__(self, name: str, config: FhirConfig, clock: Clock) -> None:
        self._http = HttpExchange(
            name,
            config,
            clock,
            accept=MEDIA_TYPE,
            redirected=ReasonCode.NOT_FHIR,
            refusals={412: ReasonCode.AMBIGUOUS_ON_SERVER},
            reasons=reasons,
            log_in=log_in_of(name, config, clock),
        )
        self._server_ids = config.ids == "server"
        self._checks = config.conflicts == "check"

    async def deliver(self, delivery: Delivery) -> tuple[tuple[str, str], ...]:
        versions = await self._deliver(delivery)
        await fhir_tasks.update(self._http, delivery.body, HEADERS)
        return versions

    async def _deliver(self, delivery: Delivery) -> tuple[tuple[str, str], ...]:
        if not self._checks:
            await self._send(delivery, delivery.body)
            return ()
        body, wanted = delivery.body, expected(delivery.body)
        try:
            answer = await self._send(delivery, body)
        except DeliveryError as error:
            if not wanted or error.reason not in (ReasonCode.AMBIGUOUS_ON_SERVER, ReasonCode.CONFLICT):
                raise
            wanted = await self._not_ours(body, wanted, error)
            body = renewed(body, wanted)
            answer = await self._send_under_new_versions(delivery, body)
        versions = given(body, _read(answer.body))
        self._raise_if_overwritten(wanted, dict(versions))
        return versions

    async def _send(self, delivery: Delivery, body: bytes) -> Answer:
        if self._server_ids:
            body = for_server_ids(body)
        answer = await self._http.send("POST", delivery, HEADERS, body)
        problem = shortfall(answer, body, delivery.entries)
        if problem:
            raise DestinationDownError(
                ReasonCode.NOT_FHIR, f"HTTP {answer.status}, {problem}", answer=answer.body[:MAX_KEPT_ANSWER_BYTES]
            )
        return answer

    # -- conflicts -----------------------------------------------------------------------------------------------

    async def _not_ours(self, body: bytes, wanted: Mapping[str, str], error: DeliveryError) -> dict[str, str]:
        """The current versions of resources whose content is still ours.

        Raises:
            RefusedDeliveryError: CONFLICT, with what is there; or ``error``, where no version differs.
        """
        sent = for_server_ids(body) if self._server_ids else body
        ours, found = resources_of(body, sent), {resource: await self._read_back(resource) for resource in wanted}
        differ = {resource: theirs for resource, theirs in found.items() if theirs.version != wanted[resource]}
        addresses = _Addresses(addresses_of(sent))
        foreign = {
            resource: theirs
            for resource, theirs in differ.items()
            if not await self._is_ours(ours[resource], theirs, addresses)
        }
        if foreign:
            raise RefusedDeliveryError(
                ReasonCode.CONFLICT,
                "; ".join(f"{one}: we wrote version {wanted[one]}, {_has(foreign[one])}" for one in foreign),
                answer=_both(foreign, wanted),
            )
        if not differ:
            raise error
        return {**wanted, **{resource: theirs.version for resource, theirs in differ.items()}}

    async def _is_ours(self, ours: dict[str, Any], theirs: ServerResource, addresses: "_Addresses") -> bool:
        """Whether a resource on the server says what we send, of the same patient.

        Raises:
            TransientDeliveryError: the patient of a resource cannot be looked up.
        """
        if not theirs.text:
            return False
        content = json.loads(theirs.text, parse_float=Decimal)
        if not says_the_same(ours, content):
            return False
        for reference, address in links(ours, content):
            if reference not in addresses.found:
                addresses.found[reference] = await self._look_up(addresses.by_full_url.get(reference, reference))
            if (there := addresses.found[reference]) is not None and address not in there:
                return False
        return True

    async def _look_up(self, address: str) -> frozenset[str] | None:
        """The resources that ``Type/id`` or ``Type?query`` means on the server; None if that is unknown.

        Raises:
            TransientDeliveryError: the server gives no usable answer.
        """
        kind, asks, query = address.partition("?")
        if not asks:
            return frozenset({address}) if "/" in address else None
        answer = await self._get(URL(f"{self._http.url / kind}?{query}", encoded=True))
        if not 200 <= answer.status < 300 or not answer.whole:
            raise _not_read_back(answer)
        return frozenset(f"{kind}/{one['id']}" for one in _matches(_read(answer.body), kind) if "id" in one)

    async def _send_under_new_versions(self, delivery: Delivery, body: bytes) -> Answer:
        try:
            return await self._send(delivery, body)
        except DeliveryError as error:
            if error.reason is not ReasonCode.AMBIGUOUS_ON_SERVER:
                raise
            raise TransientDeliveryError(
                ReasonCode.CONFLICT, "another write came in between", limit=MAX_CONFLICTS, answer=error.answer
            ) from error

    async def _read_back(self, resource: str) -> ServerResource:
        """A resource as it is on the server now.

        Raises:
            TransientDeliveryError: it cannot be read.
        """
        kind, _, identity = resource.partition("/")
        url = self._http.url / kind
        if not self._server_ids:
            answer = await self._get(url / identity)
            if answer.status in (404, 410):
                return ServerResource()
            there, text = _read(answer.body), answer.body
        else:
            answer = await self._get(
                url.with_query({"_tag" if kind in TAGGED else "identifier": f"{SYSTEM}|{identity}"})
            )
            found = _matches(_read(answer.body), kind)
            if 200 <= answer.status < 300 and answer.whole and not found:
                return ServerResource()
            there = found[0] if found else {}
            text = orjson.dumps(there)
        meta = there.get("meta")
        version = meta.get("versionId") if isinstance(meta, dict) else None
        if not 200 <= answer.status < 300 or not answer.whole or not _VERSION.fullmatch(str(version or "")):
            raise _not_read_back(answer)
        return ServerResource(str(version), text)

    async def _get(self, url: URL) -> Answer:
        """Raises TransientDeliveryError where the server is busy: then it says nothing about a conflict."""
        answer = await self._http.exchange("GET", url, {})
        if answer.status in (408, 425, 429) or answer.status >= 500:
            raise self._http.failure(answer)
        return answer

    def _raise_if_overwritten(self, wanted: Mapping[str, str], versions: Mapping[str, str]) -> None:
        """Raise if a server that ignores conditions has overwritten a resource: a person must see that."""
        over = [
            f"{resource}: we wrote version {before}, and the server made {versions[resource]} of ours"
            for resource, before in wanted.items()
            if before.isdigit() and versions.get(resource, "").isdigit() and int(versions[resource]) > int(before) + 1
        ]
        if over:
            raise RefusedDeliveryError(
                ReasonCode.CONFLICT,
                f"{'; '.join(over)}: it does not look at ifMatch, and what was between is in its history only",
                answer=_both({}, wanted),
            )

    async def probe(self) -> None:
        """Ask for the CapabilityStatement."""
        url = (self._http.url / "metadata").with_query(_summary="true")
        answer = await self._http.exchange("GET", url, {})
        if not 200 <= answer.status < 300:
            raise _about_the_destination(self._http.failure(answer))
        if _read(answer.body).get("resourceType") != "CapabilityStatement":
            raise DestinationDownError(ReasonCode.NOT_FHIR, f"HTTP {answer.status}, no CapabilityStatement")

    async def try_conditions(self) -> ConditionsTrial:
        """Whether the server looks at what ``conflicts: check`` asks of it; writes a resource and removes it.

        Raises:
            DeliveryError: there was no answer.
        """

        async def send(body: bytes) -> tuple[int, dict[str, Any]]:
            headers = {"Content-Type": MEDIA_TYPE, **HEADERS}
            answer = await self._http.exchange("POST", self._http.url, headers, body)
            return answer.status, _read(answer.body)

        async def delete(address: str) -> int:
            kind, _, identity = address.partition("/")
            return (await self._http.exchange("DELETE", self._http.url / kind / identity, {})).status

        return await tried(send, delete, server_ids=self._server_ids)


@dataclass(frozen=True, slots=True)
class _Addresses:
    """The queries for a document's references on the server, and the results so far, by reference."""

    by_full_url: Mapping[str, str]
    found: dict[str, frozenset[str] | None] = field(default_factory=dict)


def _matches(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The matches of a search, without other entries (an OperationOutcome)."""
    entries = bundle.get("entry")
    resources = [one.get("resource") for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    return [one for one in resources if isinstance(one, dict) and one.get("resourceType") == kind]


def _not_read_back(answer: Answer) -> TransientDeliveryError:
    return TransientDeliveryError(
        ReasonCode.CONFLICT, f"the server's version cannot be read back (HTTP {answer.status})", limit=MAX_CONFLICTS
    )


def _has(theirs: ServerResource) -> str:
    return f"the server has {theirs.version}" if theirs.text else "on the server it was deleted"


def _both(foreign: Mapping[str, ServerResource], wanted: Mapping[str, str]) -> bytes:
    """For the person who chooses: ``{"conflicts": [{"resource", "wrote", "has", "theirs"}]}``; ``theirs`` is null where
    it is gone, or larger than what can be kept."""
    parts, room = [], MAX_KEPT_THEIRS_BYTES
    for resource, theirs in foreign.items():
        kept = theirs.text if 0 < len(theirs.text) <= room else b"null"
        room -= len(kept)
        head = orjson.dumps({"resource": resource, "wrote": wanted[resource], "has": theirs.version})
        parts.append(head[:-1] + b',"theirs":' + kept + b"}")
    return b'{"conflicts":[' + b",".join(parts) + b"]}"


def build(name: str, config: FhirConfig, clock: Clock) -> FhirRest:
    """The destination ``name`` of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return FhirRest(name, config, clock)


def shortfall(answer: Answer, sent: bytes, entries_sent: int = 0) -> str:
    """Why a 2xx answer does not mean *delivered*, or an empty text. Positions and statuses only.

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
        statuses = [entry["response"]["status"] for entry in entries]
        for status in dict.fromkeys(statuses):
            if status[0] != "2" or not status[:3].isdigit() or len(status) < 3:
                return f"entry {statuses.index(status)} of the answer does not say 2xx"
        if len(entries) == (entries_sent or sent.count(REQUEST)):
            return ""
    except (KeyError, IndexError, TypeError, AttributeError):
        return "a transaction-response whose entries have no status"
    # JSON written in an unknown way: count properly before believing it.
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
    """A probe carries no document, so any refusal is the destination's fault."""
    if isinstance(error, RefusedDeliveryError):
        return DestinationDownError(ReasonCode.WRONG_ADDRESS, error.detail, answer=error.answer)
    return error


WORDS = "LabRelay tries whether this server looks at conditions, and deletes this again"
KINDS: dict[str, dict[str, Any]] = {
    "Basic": {"code": {"text": WORDS}},
    "Organization": {"active": False, "name": WORDS},
}


# A transaction -> HTTP status and the JSON object of the answer.
Send = Callable[[bytes], Awaitable[tuple[int, dict[str, Any]]]]
Delete = Callable[[str], Awaitable[int]]


async def tried(send: Send, delete: Delete, *, server_ids: bool) -> ConditionsTrial:
    """Try it.

    Args:
        send: posts a transaction. delete: deletes ``Type/id``.

    Raises:
        DeliveryError: there was no answer.
    """
    trial = ConditionsTrial()
    for kind, content in KINDS.items():
        trial = await _tried(send, delete, kind, content, server_ids=server_ids)
        if not trial.unknown or trial.left:
            break
    return trial


async def _tried(
    send: Send, delete: Delete, kind: str, content: dict[str, Any], *, server_ids: bool
) -> ConditionsTrial:
    identity, made = str(uuid.uuid4()), set[str]()
    how = f"PUT {kind}?identifier=..." if server_ids else f"PUT {kind}/id"

    async def put(step: int, version: str = "") -> tuple[int, str]:
        body = _bundle(kind, identity, {**content, "language": "en" if step % 2 else "en-US"}, version)
        sent = for_server_ids(body) if server_ids else body
        status, answer = await send(sent)
        made.update(_addresses(answer, kind))
        versions = dict(given(body, answer)) if 200 <= status < 300 else {}
        return status, versions.get(f"{kind}/{identity}", "")

    trial = ConditionsTrial()
    try:
        status, first = await put(1)
        if not first:
            return ConditionsTrial(unknown=f"the server answered {status} to {how}, or names no version")
        status, second = await put(2, first)
        if len(made) > 1:
            trial = ConditionsTrial(
                problem=f"the server made a second {kind} of {how}, for it did not find what it had just taken"
            )
        elif not second:
            trial = ConditionsTrial(unknown=f"the server answered {status} to {how} with an ifMatch that holds")
        elif second == first:
            trial = ConditionsTrial(problem="the server does not give a new version to what is changed")
        else:
            status, third = await put(3, first)
            if third or 200 <= status < 300:
                trial = ConditionsTrial(
                    problem=f"the server does not look at ifMatch of {how}: it took an update on condition of version "
                    f"{first} where it had {second}"
                )
    finally:
        left = tuple([address for address in sorted(made) if not await _is_removed(delete, address)])
    return ConditionsTrial(trial.problem, trial.unknown, left)


async def _is_removed(delete: Delete, address: str) -> bool:
    try:
        return 200 <= await delete(address) < 300
    except DeliveryError:
        return False


def _bundle(kind: str, identity: str, content: dict[str, Any], version: str) -> bytes:
    request = {"method": "PUT", "url": f"{kind}/{identity}"} | ({"ifMatch": f'W/"{version}"'} if version else {})
    resource = {"resourceType": kind, "id": identity, **content}
    entry = {"fullUrl": f"urn:uuid:{identity}", "resource": resource, "request": request}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    return json.dumps(bundle, separators=(",", ":")).encode()


def _addresses(answer: dict[str, Any], kind: str) -> set[str]:
    """``Type/id`` of what an answer says was written."""
    found = set()
    for entry in answer.get("entry", ()) if isinstance(answer.get("entry"), list) else ():
        response = entry.get("response") if isinstance(entry, dict) else None
        parts: list[str] = str((response or {}).get("location") or "").split("/")
        if kind in parts[:-1]:
            found.add(f"{kind}/{parts[parts.index(kind) + 1]}")
    return found
