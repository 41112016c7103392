"""The results of a FHIR document, as they are compared with those of other messages. Pure.

A document is one unit: its receiver shows the newest issue (the same Bundle.identifier, a higher ``meta.versionId``)
and no other one. So no result is left out of it, and a result of an older issue that the new one lacks would be gone.

    Observation    by its id, as in a transaction
    Composition    the whole: all that the document says, but for ids, statuses and times of issue

A document that changes what a final one said is ``amended`` (Composition.status has no ``corrected``), and so are its
report and the reference to a finished document (``docStatus``). The version rises, also where the sender's time of
issue does not.

Source: FHIR R4, Composition, Documents.
"""

from collections.abc import Iterator
from hashlib import blake2b

import orjson
from orjson import OPT_SORT_KEYS

from engine.model.document_facts import DocumentFacts
from engine.succession.statements import Json, Resource, change_status, resource_of

_ENVELOPE = frozenset({"id", "meta", "status", "docStatus", "issued", "date", "text"})
_FINISHED = "DocumentReference"


def results_in(bundle: Json) -> list[Resource]:
    """The results of a document, and the Composition, which represents the whole document.

    Raises:
        ValueError: it is not a Bundle of the form that mappings write.
    """
    try:
        found = [resource_of(name, resource) for name, resource in _named(bundle, ("Observation", _FINISHED))]
        ((name, composition),) = _named(bundle, ("Composition",))
        version = bundle.get("meta", {}).get("versionId", "")
        whole = resource_of(name, composition)._replace(
            whole=_whole(bundle),
            meaning=b"",
            time=composition["date"],
            version=int(version) if version.isdecimal() else 0,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(type(error).__name__) from error
    return [*found, whole]


def as_sent(bundle: Json, facts: DocumentFacts) -> bytes:
    """The document as it goes out under ``facts``; ``bundle`` is used up."""
    for name, resource in _named(bundle, ("Observation", "Composition")):
        if name in facts.statuses:
            change_status(resource, facts.statuses[name])
    statuses = facts.statuses.values()
    changed = next((status for status in ("corrected", "amended") if status in statuses), "")
    for _, resource in _named(bundle, ("DiagnosticReport", _FINISHED)):
        if changed and resource["resourceType"] == _FINISHED and resource.get("docStatus") == "final":
            resource["docStatus"] = "amended"
        elif changed and resource.get("status") == "final":
            change_status(resource, changed)
    if facts.version:
        bundle["meta"] = bundle.get("meta", {}) | {"versionId": str(facts.version)}
    return orjson.dumps(bundle)


def _named(bundle: Json, kinds: tuple[str, ...]) -> Iterator[tuple[str, Json]]:
    """The resources of these types by type and id, in the order of the document."""
    for entry in bundle["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] in kinds:
            yield f"{resource['resourceType']}/{entry['fullUrl'].removeprefix('urn:uuid:')}", resource


def _whole(bundle: Json) -> bytes:
    state = blake2b(digest_size=16)
    for entry in bundle["entry"]:
        said = {name: value for name, value in entry["resource"].items() if name not in _ENVELOPE}
        state.update(orjson.dumps(said, option=OPT_SORT_KEYS))
    return state.digest()
