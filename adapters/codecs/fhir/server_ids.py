"""A transaction Bundle for a FHIR server that gives ids itself (``ids: server``). Pure: bytes in, bytes out.

Our own resources are written with ``PUT Type/id``, the id being a keyed hash. A server that refuses client ids gets
the same hash as an identifier instead, and finds its resource by it:

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
from typing import Any

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
