r"""Transactions for a FHIR server: the versions in requests and answers, and ids that the server gives. Pure.

    request   {"method": "PUT", "url": "Observation/6f1c...", "ifMatch": "W/\"3\""}
    answer    {"response": {"status": "200 OK", "etag": "W/\"4\"", "location": "Observation/6f1c.../_history/4"}}

Entries of an answer are in the order of the request's (R4, http.html#transaction-response).

Our own resources are written with ``PUT Type/id``, the id being a keyed hash. A server that refuses client ids
(``ids: server``) gets the same hash as an identifier instead, and finds its resource by it:

    PUT Observation/6f1c...    ->  PUT Observation?identifier=urn:labrelay:id%7C6f1c...
    resource.id = 6f1c...      ->  resource.identifier += {system: urn:labrelay:id, value: 6f1c...}
    no identifier in R4        ->  resource.meta.tag += {system: urn:labrelay:id, code: 6f1c...}, PUT Type?_tag=...
      (Provenance, Binary), or at most one (Composition, Bundle ...)

Bodies of conditional requests carry no id (R4, http.html#cond-update: 400 where it differs). References by fullUrl
stay as they are; a reference ``Type/id`` to a resource of the same Bundle becomes one by fullUrl, and one to a resource
that was sent before a conditional one: ``Type?identifier=urn:labrelay:id|6f1c...`` (R4, http.html#trules).

Decimals keep the text they have. The json module makes numbers of them, so they travel as strings that begin with
NUL, which no FHIR string may contain.
"""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

_ETAG = re.compile(r'(?:W/)?"([^"]*)"')
_HISTORY = re.compile(r"/_history/([^/?#]+)$")
_CONDITION = re.compile(rb'("url":"([A-Za-z]+/[A-Za-z0-9.-]+)","ifMatch":"W/\\")[^"\\]*')
# Members that a server adds or changes by itself, and members without meaning for a result. At the top level of a
# resource only: further inside, ``text`` is the text of a code, a value or a note for a person.
_SERVERS_OWN = frozenset({"meta", "text", "id"})
IF_MATCH = b'"ifMatch":'


def expected(body: bytes) -> dict[str, str]:
    """The version that each request of a Bundle is conditional on, by its address (``Type/id``)."""
    if IF_MATCH not in body:
        return {}
    found = {}
    for entry in json.loads(body).get("entry", []):
        request = entry.get("request", {})
        if (etag := _ETAG.fullmatch(request.get("ifMatch", ""))) is not None:
            found[request["url"]] = etag[1]
    return found


def renewed(body: bytes, versions: Mapping[str, str]) -> bytes:
    """The Bundle with other versions in its conditions."""

    def condition(found: re.Match[bytes]) -> bytes:
        version = versions.get(found[2].decode())
        return found[0] if version is None else found[1] + version.encode()

    return _CONDITION.sub(condition, body)


def given(sent: bytes, answer: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The versions that an answer gives for the resources that ``sent`` writes under ids of ours."""
    found = []
    for entry, answered in zip(json.loads(sent).get("entry", []), answer.get("entry", []), strict=False):
        request = entry.get("request", {})
        if request.get("method") == "PUT" and "?" not in request.get("url", "?") and (
            version := version_of(answered)
        ):  # fmt: skip
            found.append((request["url"], version))
    return tuple(found)


def version_of(answered: Any) -> str:
    """The version in an entry of an answer, or empty."""
    response = answered.get("response", {}) if isinstance(answered, dict) else {}
    etag, location = response.get("etag"), response.get("location")
    if isinstance(etag, str) and (found := _ETAG.fullmatch(etag)) is not None:
        return found[1]
    if isinstance(location, str) and (found := _HISTORY.search(location)) is not None:
        return found[1]
    resource = answered.get("resource") if isinstance(answered, dict) else None
    version = resource.get("meta", {}).get("versionId") if isinstance(resource, dict) else None
    return version if isinstance(version, str) else ""


def resources_of(body: bytes, sent: bytes) -> dict[str, dict[str, Any]]:
    """The resources that a Bundle writes, by address.

    Args:
        sent: the same Bundle with other addresses and resources, in the same order, as it went out.
    """
    addresses = [entry["request"]["url"] for entry in json.loads(body).get("entry", [])]
    entries = json.loads(sent, parse_float=Decimal).get("entry", [])
    return {
        address: entry["resource"] for address, entry in zip(addresses, entries, strict=True) if "resource" in entry
    }


def says_the_same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether a resource on the server is what we sent: every element of ours is there, and none beside them.

    Members that the server manages itself are ignored, and so are references within the Bundle that it replaced by
    addresses: `links` and `addresses_of` check those.
    """
    names = (ours.keys() | theirs.keys()) - _SERVERS_OWN
    return all(name in ours and name in theirs and _same(ours[name], theirs[name]) for name in names)


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if "resourceType" in ours:  # a resource within the resource
            return says_the_same(ours, theirs)
        if _is_found_by_server(ours.get("reference")):
            return isinstance(theirs.get("reference"), str) and _same(_without(ours), _without(theirs))
        return ours.keys() == theirs.keys() and all(_same(ours[name], theirs[name]) for name in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    if {type(ours), type(theirs)} == {Decimal, int}:  # 5 and 5.0
        return bool(ours == theirs)
    return type(ours) is type(theirs) and bool(ours == theirs)


def links(ours: Any, theirs: Any) -> Iterator[tuple[str, str]]:
    """References of ours that the server made an address of, with that address, of a resource that `says_the_same`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        reference, address = ours.get("reference"), theirs.get("reference")
        if isinstance(reference, str) and isinstance(address, str) and _is_found_by_server(reference):
            yield reference, local(address)
        for name in ours.keys() & theirs.keys():
            yield from links(ours[name], theirs[name])
    elif isinstance(ours, list) and isinstance(theirs, list):
        for one, other in zip(ours, theirs, strict=False):
            yield from links(one, other)


def addresses_of(sent: bytes) -> dict[str, str]:
    """How the server finds the resources of a Bundle's entries, by fullUrl: ``Type/id``, or ``Type?query`` where it
    searches. Resources that it creates anew each time are not included.
    """
    found = {}
    for entry in json.loads(sent).get("entry", []):
        request = entry.get("request", {})
        address, condition = request.get("url", ""), request.get("ifNoneExist")
        if condition:
            found[entry.get("fullUrl", "")] = f"{address}?{condition}"
        elif request.get("method") != "POST":
            found[entry.get("fullUrl", "")] = address
    return found


def local(reference: str) -> str:
    """``Type/id`` of a reference, without the server's address and without a version."""
    return "/".join(reference.partition("/_history/")[0].rsplit("/", 2)[-2:])


def _is_found_by_server(reference: Any) -> bool:
    """A reference within the Bundle, or one that is a search."""
    return isinstance(reference, str) and (reference.startswith("urn:") or "?" in reference)


def _without(reference: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reference.items() if name != "reference"}


SYSTEM = "urn:labrelay:id"
# FHIR R4: resources of our Bundles whose `identifier` is absent, or is not a list.
TAGGED = frozenset({"AuditEvent", "Binary", "Bundle", "Composition", "MessageHeader", "OperationOutcome", "Provenance"})
_DECIMAL_MARK = "\0"
_OURS = re.compile(r"(Observation)/([0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12})")
_MARKED_DECIMAL = re.compile(r'"\\u0000(-?\d+[0-9.eE+-]*)"')


def for_server_ids(body: bytes) -> bytes:
    """Rewrite a transaction Bundle as above.

    Args:
        body: a transaction Bundle as our own codec writes it.
    """
    bundle = json.loads(body, parse_float=_DECIMAL_MARK.__add__)
    entries = bundle.get("entry", [])
    full_urls: dict[str, str] = {}
    for entry in entries:
        request = entry["request"]
        resource = entry.get("resource")
        if resource is None:
            continue
        if request["method"] == "PUT" and "?" not in request["url"]:
            full_urls[request["url"]] = entry["fullUrl"]
            request["url"] = _identify(resource, request["url"])
            resource.pop("id", None)
        elif "ifNoneExist" in request:
            resource.pop("id", None)
    for entry in entries:
        _refer(entry.get("resource"), full_urls)
    text = json.dumps(bundle, ensure_ascii=False, separators=(",", ":"))
    return _MARKED_DECIMAL.sub(r"\1", text).encode()


def _identify(resource: dict[str, Any], url: str) -> str:
    """Write the id of ``Type/id`` into the resource as data, and return the conditional address for it."""
    kind, _, identity = url.partition("/")
    if kind in TAGGED:
        meta = resource.setdefault("meta", {})
        meta["tag"] = [*meta.get("tag", []), {"system": SYSTEM, "code": identity}]
        return f"{kind}?_tag={SYSTEM}%7C{identity}"
    resource["identifier"] = [*resource.get("identifier", []), {"system": SYSTEM, "value": identity}]
    return f"{kind}?identifier={SYSTEM}%7C{identity}"


def _refer(value: Any, full_urls: dict[str, str]) -> None:
    if isinstance(value, dict):
        reference = value.get("reference")
        if isinstance(reference, str):
            if reference in full_urls:
                value["reference"] = full_urls[reference]
            elif sent_before := _OURS.fullmatch(reference):
                value["reference"] = f"{sent_before[1]}?identifier={SYSTEM}%7C{sent_before[2]}"
        for inner in value.values():
            _refer(inner, full_urls)
    elif isinstance(value, list):
        for inner in value:
            _refer(inner, full_urls)
