"""The kinds of document whose results are compared with those of other messages: how each is read, and changed. Pure.

    kind                 a result is                 its status is in                     an unchanged result
    FHIR transaction     an Observation, by its id   status, the sender's own in a tag    is left out
    FHIR document        an Observation, by its id   the same, and Composition.status     stays: it is replaced whole
    HL7 v2               an OBX                      OBX-11, OBR-25                       is left out
    CSV, JSON            where ``results:`` of the mapping says                           is left out

Kinds without an entry here are not compared: documents that pass through, and those without a rule to read results.

The results of a FHIR document, as they are compared with those of other messages. Pure.

A document is one unit: its receiver shows the newest issue (the same Bundle.identifier, a higher ``meta.versionId``)
and no other one. So no result is left out of it, and a result of an older issue that the new one lacks would be gone.

    Observation    by its id, as in a transaction
    Composition    the whole: all that the document says, but for ids, statuses and times of issue; by its id the
                   document is known, as it is of Bundle.identifier and Composition.identifier

A document that changes what a final one said is ``amended`` (Composition.status has no ``corrected``), and so are its
report and the reference to a finished document (``docStatus``). The version rises, also where the sender's time of
issue does not.

Source: FHIR R4, Composition, Documents.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from hashlib import blake2b

import orjson
from orjson import OPT_SORT_KEYS

from engine.model.content.list_form import Form
from engine.model.journal.document_facts import DocumentFacts
from engine.model.message import Document
from engine.model.packing import unpack
from engine.succession import hl7_statements, statements
from engine.succession.list_statements import LISTS, List
from engine.succession.order_names import with_orders
from engine.succession.statements import Json, Resource, change_status, resource_of
from engine.succession.steps import WITHDRAWN

FHIR = "application/fhir+json"
RESULT = "Result/"  # before the number of a result in its message


@dataclass(frozen=True, slots=True)
class OpenedDocument:
    """A document whose results were read.

    Attributes:
        resources: the results to compare, in their order.
        write: the document as it goes out under facts; asked once.
        by_id: a correction takes the id of the result that it corrects.
        whole: it takes the place of the one before as a whole, so that nothing is left out of it.
    """

    resources: Sequence[Resource]
    write: Callable[[DocumentFacts], bytes]
    by_id: bool = False
    whole: bool = False


def opened(
    body: bytes,
    media_type: str,
    form: Form | None,
    zone: tzinfo = UTC,
    places: Sequence[tuple[int, str]] | None = None,
) -> OpenedDocument | None:
    """A document that a mapping wrote; None where its results are not judged.

    Args:
        form: of CSV and JSON, where the results are.
        zone: of times without an offset.
        places: as of `engine.model.message.Document`, of HL7 v2 and lists: their results are ``Result/place`` then.

    Raises:
        ValueError: it is not what its type says.
    """
    names = None if places is None else {part: f"{RESULT}{place}" for place, part in places}
    if media_type == hl7_statements.MEDIA_TYPE:
        read = hl7_statements.results_in(body, zone, names)
        return OpenedDocument(read, lambda facts: hl7_statements.as_sent(body, facts, names))
    if media_type != FHIR:
        if form is None or media_type not in LISTS:
            return None
        found = List(body, form, zone, names)
        return OpenedDocument(found.resources, found.write)
    bundle = statements.loads(body)
    if bundle.get("type") == "document":
        results = results_in(bundle)
        return OpenedDocument(results, lambda facts: as_sent(bundle, facts), whole=True)
    return OpenedDocument(statements.resources_in(bundle), lambda facts: statements.as_sent(bundle, facts), by_id=True)


def open_of(document: Document, form: Form | None, zone: tzinfo = UTC) -> OpenedDocument | None:
    """As `opened`, of a document as its mapping has made it."""
    body = unpack(document.body) if document.packed else document.body
    return opened(body, document.media_type, form, zone, document.places)


def has_ids(media_type: str) -> bool:
    """Whether results of such documents have our ids, which contain the day, and tags for the sender's status.
    Receivers of all others go by the numbers and codes that are sent.
    """
    return media_type == FHIR


def under(document: Document, form: Form | None, facts: DocumentFacts | None) -> bytes | None:
    """A document as it goes out under ``facts``; None where it is not sent. Kinds that are not judged stay as they
    are.
    """
    body, media_type = document.body, document.media_type
    if not facts:
        return body
    if facts.not_sent:
        return None
    try:
        if facts.orders:
            body = with_orders(body, media_type, facts.orders)
        found = opened(body, media_type, form, places=document.places)
    except ValueError:
        return body
    return body if found is None else found.write(facts)


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
    statements.give_ids(bundle, facts.apart)
    statements.give_ids(bundle, facts.corrects)
    for name, resource in _named(bundle, ("Observation", "Composition")):
        if name in facts.statuses:
            change_status(resource, facts.statuses[name])
    statuses = {*facts.statuses.values()}
    if statuses:  # a sender says itself what it corrects
        statuses |= {resource["status"] for _, resource in _named(bundle, ("Observation",))}
    changed = next((status for status in ("corrected", "amended") if status in statuses), "")
    if any(name.startswith("Composition/") and one == WITHDRAWN for name, one in facts.statuses.items()):
        changed = WITHDRAWN
    for _, resource in _named(bundle, ("DiagnosticReport", _FINISHED)):
        if changed and resource["resourceType"] == _FINISHED and resource.get("docStatus") == "final":
            resource["docStatus"] = "amended"
        elif changed == WITHDRAWN or (changed and resource.get("status") == "final"):
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
